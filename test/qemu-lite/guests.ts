/** The bench guests as files for a system's ramfs, and what each must print. */
import { readFileSync } from 'node:fs';

const folder = new URL('../../bench/guests/', import.meta.url);

/** TSC cycles that a guest waits before it leaves, less one: the only constant of that value in each image. */
const LINGER = 259_999_999;

/** A guest that does not wait at its end, where only a harness outside would have something to do. */
function hasty(image: Uint8Array): Uint8Array {
  const constant = Buffer.alloc(4);
  constant.writeUInt32LE(LINGER);
  const copy = Buffer.from(image);
  const at = copy.indexOf(constant);
  if (at < 0 || copy.indexOf(constant, at + 1) >= 0) throw new Error('the guest does not wait as it did');
  copy.writeUInt32LE(0, at);
  return copy;
}

export interface BenchGuest {
  /** As in "sha256.64". */
  readonly name: string;
  readonly kernel: string;
  readonly path: string;
  readonly checksum: string;
  /** Retired between START and END. */
  readonly instructions: number;
  /** How often the kernel does its work: port writes of `out`. */
  readonly count: number;
}

/** Every guest of a set that expected.tsv knows. */
export const benchGuests = (set: string): BenchGuest[] => readFileSync(new URL('expected.tsv', folder), 'utf8').trim().split('\n').slice(1)
  .map((line) => line.split('\t'))
  .filter(([of]) => of === set)
  .map(([, kernel = '', width = '', count = '', checksum = '', instructions = '']) => ({
    name: `${kernel}.${width}`, kernel, path: `/guests/${kernel}.${width}.elf`, checksum, instructions: Number(instructions), count: Number(count),
  }));

export const guestFiles = (set: string, guests: readonly BenchGuest[]): Map<string, Uint8Array> =>
  new Map(guests.map(({ name, path }) => [path, hasty(readFileSync(new URL(`built/${set}/${name}.elf`, folder)))]));
