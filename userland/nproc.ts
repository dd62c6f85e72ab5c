/** nproc: how many processors this process may run on; --all how many there are. */
import type { Sys } from '../abi/process.ts';
import { puts, readFile, sched_getaffinity } from './libc.ts';

export function* main(argv: string[]): Sys<number> {
  if (argv[1] === '--all') {
    yield* puts(String((yield* readFile('/proc/stat')).split('\n').filter((line) => /^cpu\d/.test(line)).length));
    return 0;
  }
  let count = 0;
  for (let mask = yield* sched_getaffinity(0); mask > 0n; mask &= mask - 1n) count++;
  yield* puts(String(count));
  return 0;
}
