/** nice: runs a program with its nice value raised by 10, or by -n N; alone, prints the nice value. */
import type { Sys } from '../abi/process.ts';
import { ENOENT } from '../abi/errno.ts';
import { PRIO_PROCESS } from '../abi/sched.ts';
import { Errno, eputs, execvp, getpriority, nice, puts } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const args = argv.slice(1).map((arg, i, all) => (/^-\d+$/.test(arg) && all.slice(0, i).every((a) => a.startsWith('-')) && all[i - 1] !== '-n' ? `-n${arg.slice(1)}` : arg));
  const parsed = getopt(args, 'n:', { adjustment: 1 }, true);
  if (parsed.error !== undefined) return yield* usageError('nice', parsed.error, 125);
  const given = parsed.value('n', 'adjustment');
  const [program, ...rest] = parsed.operands;
  if (program === undefined) {
    if (given !== undefined) return yield* usageError('nice', 'a command must be given with an adjustment', 125);
    yield* puts(String(yield* getpriority(PRIO_PROCESS, 0)));
    return 0;
  }
  if (given !== undefined && !/^[-+]?\d+$/.test(given)) {
    yield* eputs(`nice: invalid adjustment '${given}'`);
    return 125;
  }
  try {
    yield* nice(Number(given ?? 10));
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`nice: cannot set niceness: ${e.text}`);
  }
  try {
    return yield* execvp(program, [program, ...rest]);
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`nice: '${program}': ${e.text}`);
    return e.errno === ENOENT ? 127 : 126;
  }
}
