/**
 * taskset: on which processors a process may run. `taskset MASK CMD…`, `taskset -c LIST CMD…`, `taskset -p [MASK] PID`,
 * `-a` for all threads of the process.
 */
import type { Sys } from '../abi/process.ts';
import { ENOENT } from '../abi/errno.ts';
import { Errno, eputs, execvp, puts, readdir, sched_getaffinity, sched_setaffinity } from './libc.ts';
import { formatList, parseList, parseMask } from './lib/cpu-list.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'apc', { 'all-tasks': 0, pid: 0, 'cpu-list': 0 }, true);
  if (parsed.error !== undefined) return yield* usageError('taskset', parsed.error);
  const list = parsed.has('c', 'cpu-list');
  const operands = [...parsed.operands];
  const pidMode = parsed.has('p', 'pid');
  if (operands.length === 0 || (!pidMode && operands.length < 2)) return yield* usageError('taskset', 'bad usage');
  const what = pidMode && operands.length === 1 ? undefined : operands.shift();
  const mask = what === undefined ? undefined : list ? parseList(what) : parseMask(what);
  if (what !== undefined && mask === undefined) {
    yield* eputs(`taskset: failed to parse CPU ${list ? 'list' : 'mask'}: ${what}`);
    return 1;
  }
  if (!pidMode) {
    const [program = ''] = operands;
    try {
      yield* sched_setaffinity(0, mask ?? 0n);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`taskset: failed to set pid 0's affinity: ${e.text}`);
      return 1;
    }
    try {
      return yield* execvp(program, operands);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`taskset: failed to execute ${program}: ${e.text}`);
      return e.errno === ENOENT ? 127 : 126;
    }
  }
  const [pidText = ''] = operands;
  if (!/^\d+$/.test(pidText)) {
    yield* eputs(`taskset: invalid PID argument: '${pidText}'`);
    return 1;
  }
  const pid = Number(pidText);
  const tids = parsed.has('a', 'all-tasks') ? ((yield* maybe(readdir(`/proc/${pid}/task`))) ?? []).map((d) => Number(d.d_name)).filter((n) => n > 0) : [pid];
  const shown = (value: bigint) => (list ? `list: ${formatList(value)}` : `mask: ${value.toString(16)}`);
  for (const tid of tids) {
    let step = 'get';
    try {
      yield* puts(`pid ${tid}'s current affinity ${shown(yield* sched_getaffinity(tid))}`);
      if (mask === undefined) continue;
      step = 'set';
      yield* sched_setaffinity(tid, mask);
      step = 'get';
      yield* puts(`pid ${tid}'s new affinity ${shown(yield* sched_getaffinity(tid))}`);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`taskset: failed to ${step} pid ${tid}'s affinity: ${e.text}`);
      return 1;
    }
  }
  return 0;
}
