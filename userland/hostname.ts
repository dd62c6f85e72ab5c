/** hostname: the machine's name. */
import type { Sys } from '../abi/process.ts';
import { puts, uname } from './libc.ts';

export function* main(): Sys<number> {
  yield* puts((yield* uname()).nodename);
  return 0;
}
