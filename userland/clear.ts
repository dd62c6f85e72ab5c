/** clear: an empty screen. */
import type { Sys } from '../abi/process.ts';
import { writeAll } from './libc.ts';

export function* main(): Sys<number> {
  yield* writeAll(1, '\x1b[H\x1b[2J\x1b[3J');
  return 0;
}
