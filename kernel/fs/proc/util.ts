/** Small things that the files of proc share. */
import { current, machine } from '../../current.ts';
import { root_path } from '../root-path.ts';
import type { path } from '../types.ts';

/** The root as the reader sees it. */
export const root_of = (): path => current().fs?.root ?? root_path();

/** "0-3,5" of a bit mask. */
export function cpulist(mask: number): string {
  const parts: string[] = [];
  for (let i = 0; i < 32; i++) {
    if (((mask >>> i) & 1) === 0) continue;
    let last = i;
    while (last < 31 && ((mask >>> (last + 1)) & 1) !== 0) last++;
    parts.push(i === last ? String(i) : `${i}-${last}`);
    i = last;
  }
  return parts.join(',');
}

/** A processor mask in hexadecimal, as wide as the machine needs. */
export function cpumask(mask: number): string {
  const n = machine().processors.length;
  return (mask & (2 ** n - 1)).toString(16).padStart(Math.ceil(n / 4), '0');
}

export const kB = (pages: number): string => String(pages * 4).padStart(8);
