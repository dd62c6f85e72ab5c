/**
 * pgrep, pkill: processes whose name matches an expression; pkill sends them a signal. -f the whole command line,
 * -x all of it, -l with names, -a with command lines, -n the newest, -o the oldest, -v the others, -c how many.
 */
import type { Sys } from '../abi/process.ts';
import { SIGTERM } from '../abi/signal.ts';
import { eputs, getpid, kill, puts } from './libc.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError } from './lib/options.ts';
import { type TaskStat, commandLine, tasks } from './lib/procfs.ts';
import { parseSignal } from './lib/signals.ts';

export function* main(argv: string[]): Sys<number> {
  const program = argv[0]?.split('/').at(-1) ?? 'pgrep';
  let args = argv.slice(1);
  let signal: number | undefined = SIGTERM;
  const named = program === 'pkill' ? args.find((arg) => /^-(\d+|[A-Z][A-Z0-9]+)$/.test(arg)) : undefined;
  if (named !== undefined) {
    signal = parseSignal(named.slice(1));
    args = args.filter((arg) => arg !== named);
  }
  const parsed = getopt(args, 'fxlanovc', { full: 0, exact: 0, newest: 0, oldest: 0 });
  if (parsed.error !== undefined || signal === undefined) return yield* usageError(program, parsed.error ?? `invalid argument ${named}`, 2);
  const [pattern] = parsed.operands;
  if (pattern === undefined) return yield* usageError(program, 'no matching criteria specified', 2);
  let expression: RegExp;
  try {
    expression = new RegExp(parsed.has('x', 'exact') ? `^(?:${pattern})$` : pattern);
  } catch {
    yield* eputs(`${program}: Invalid regular expression: ${pattern}`);
    return 2;
  }
  const self = yield* getpid();
  let found: { task: TaskStat; line: string }[] = [];
  for (const task of yield* tasks(false)) {
    if (task.pid === self) continue;
    const line = yield* commandLine(task);
    if (expression.test(parsed.has('f', 'full') ? line : task.comm) !== parsed.has('v')) found.push({ task, line });
  }
  found.sort((a, b) => a.task.starttime - b.task.starttime || a.task.pid - b.task.pid);
  if (parsed.has('n', 'newest')) found = found.slice(-1);
  if (parsed.has('o', 'oldest')) found = found.slice(0, 1);
  found.sort((a, b) => a.task.pid - b.task.pid);
  if (parsed.has('c')) yield* puts(String(found.length));
  else if (program === 'pkill') for (const { task } of found) yield* maybe(kill(task.pid, signal));
  else for (const { task, line } of found) yield* puts(`${task.pid}${parsed.has('a') ? ` ${line}` : parsed.has('l') ? ` ${task.comm}` : ''}`);
  return found.length > 0 ? 0 : 1;
}
