/** pidof: the processes of programs, the youngest first; -s only one of them. */
import type { Sys } from '../abi/process.ts';
import { puts } from './libc.ts';
import { tasks } from './lib/procfs.ts';

export function* main(argv: string[]): Sys<number> {
  const single = argv.includes('-s');
  const names = argv.slice(1).filter((arg) => !arg.startsWith('-')).map((name) => name.split('/').at(-1)?.slice(0, 15));
  const found = (yield* tasks(false)).filter((task) => names.includes(task.comm)).map((task) => task.pid).sort((a, b) => b - a);
  if (found.length === 0) return 1;
  yield* puts((single ? found.slice(0, 1) : found).join(' '));
  return 0;
}
