/**
 * kill: sends a signal, SIGTERM unless another is named, to processes. Negative numbers are process groups.
 */
import type { Sys } from '../abi/process.ts';
import { SIGTERM } from '../abi/signal.ts';
import { Errno, eputs, kill, puts } from './libc.ts';
import { parseSignal, shortName } from './lib/signals.ts';

export function* main(argv: string[]): Sys<number> {
  let args = argv.slice(1);
  const [first = ''] = args;
  if (first === '-l' || first === '-L' || first === '--list') {
    for (const arg of args.slice(1)) yield* puts(/^\d+$/.test(arg) ? shortName(Number(arg) & 0x7f) : String(parseSignal(arg) ?? ''));
    if (args.length === 1) yield* puts(Array.from({ length: 31 }, (_, i) => shortName(i + 1)).join(' '));
    return 0;
  }
  let signal: number | undefined = SIGTERM;
  let named = '';
  if (first === '-s' || first === '--signal') {
    named = args[1] ?? '';
    args = args.slice(2);
  } else if (/^-.+/.test(first) && first !== '--') {
    named = first.slice(1);
    args = args.slice(1);
  }
  if (named !== '') signal = parseSignal(named);
  if (signal === undefined) {
    yield* eputs(`kill: unknown signal name: ${named}`);
    return 1;
  }
  if (args[0] === '--') args = args.slice(1);
  if (args.length === 0) {
    yield* eputs('Usage: kill [-s SIGNAL | -SIGNAL] PID...\n   or: kill -l [SIGNAL]...');
    return 1;
  }
  let status = 0;
  for (const arg of args) {
    if (!/^-?\d+$/.test(arg)) {
      yield* eputs(`kill: failed to parse argument: '${arg}'`);
      status = 1;
      continue;
    }
    try {
      yield* kill(Number(arg), signal);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`kill: (${arg}): ${e.text}`);
      status = 1;
    }
  }
  return status;
}
