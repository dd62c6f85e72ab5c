/** pwd: the working directory. */
import type { Sys } from '../abi/process.ts';
import { getcwd, puts } from './libc.ts';

export function* main(): Sys<number> {
  yield* puts(yield* getcwd());
  return 0;
}
