/** Every lab, in the order of the course. */
import { lab as hlt } from '../01-hlt/check.ts';
import { lab as serial } from '../02-serial/check.ts';
import type { Lab } from './lab.ts';

export const labs: readonly Lab[] = [hlt, serial];

/** By number as one types it (1, 01) or by name (01-hlt). */
export const findLab = (word: string): Lab | undefined =>
  labs.find((lab) => lab.name === word || (/^\d+$/.test(word) && Number(lab.name.slice(0, 2)) === Number(word)));
