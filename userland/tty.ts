/** tty: the name of the terminal on standard input. */
import type { Sys } from '../abi/process.ts';
import { isatty, puts, readlink } from './libc.ts';
import { maybe } from './lib/main.ts';

export function* main(): Sys<number> {
  const terminal = yield* isatty(0);
  yield* puts(terminal ? ((yield* maybe(readlink('/proc/self/fd/0'))) ?? '/dev/tty') : 'not a tty');
  return terminal ? 0 : 1;
}
