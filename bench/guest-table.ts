/** The benchmark guests: their images and the table of checksums and instruction counts beside them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export type GuestSet = 'tiny' | 'small' | 'full';
export interface GuestRow { readonly set: GuestSet | 'cliffs'; readonly kernel: string; readonly width: 16 | 32 | 64; readonly count: number; readonly checksum: string; readonly instructions: number }

export function guestTable(folder: string): GuestRow[] {
  return readFileSync(join(folder, 'expected.tsv'), 'utf8').trim().split('\n').slice(1).map((line) => {
    const [set, kernel, width, count, checksum, instructions] = line.split('\t');
    return { set: set as GuestSet, kernel: kernel!, width: Number(width) as 16 | 32 | 64, count: Number(count), checksum: checksum!, instructions: Number(instructions) };
  });
}

export const imageOf = (folder: string, row: GuestRow): string => join(folder, 'built', row.set, `${row.kernel}.${row.width}.elf`);
