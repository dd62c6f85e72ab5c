/** renice: changes the nice value of processes (-p), process groups (-g) or a user's processes (-u). */
import type { Sys } from '../abi/process.ts';
import { PRIO_PGRP, PRIO_PROCESS, PRIO_USER } from '../abi/sched.ts';
import { Errno, eputs, getpriority, puts, setpriority } from './libc.ts';

const WHO: Readonly<Record<string, readonly [number, string]>> = {
  '-p': [PRIO_PROCESS, 'process ID'], '--pid': [PRIO_PROCESS, 'process ID'], '-g': [PRIO_PGRP, 'process group ID'], '--pgrp': [PRIO_PGRP, 'process group ID'],
  '-u': [PRIO_USER, 'user ID'], '--user': [PRIO_USER, 'user ID'],
};

export function* main(argv: string[]): Sys<number> {
  const args = argv.slice(1);
  const relative = args[0] === '--relative';
  if (relative || args[0] === '-n' || args[0] === '--priority') args.shift();
  const value = args.shift();
  if (value === undefined || args.length === 0) {
    yield* eputs('renice: not enough arguments\nTry \'renice --help\' for more information.');
    return 1;
  }
  if (!/^[-+]?\d+$/.test(value)) {
    yield* eputs(`renice: invalid priority '${value}'\nTry 'renice --help' for more information.`);
    return 1;
  }
  let which: readonly [number, string] = [PRIO_PROCESS, 'process ID'];
  let status = 0;
  for (const arg of args) {
    const option = WHO[arg];
    if (option) {
      which = option;
      continue;
    }
    const [kind, name] = which;
    const who = arg === 'root' ? 0 : Number(arg);
    if (!Number.isInteger(who) || who < 0) {
      yield* eputs(`renice: bad ${name} value: ${arg}`);
      status = 1;
      continue;
    }
    let step = 'get';
    try {
      const before = yield* getpriority(kind, who);
      step = 'set';
      yield* setpriority(kind, who, relative ? before + Number(value) : Number(value));
      yield* puts(`${who} (${name}) old priority ${before}, new priority ${yield* getpriority(kind, who)}`);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`renice: failed to ${step} priority for ${who} (${name}): ${e.text}`);
      status = 1;
    }
  }
  return status;
}
