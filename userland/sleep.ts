/**
 * sleep: waits for the sum of its arguments, each a number of seconds or with a suffix s, m, h or d.
 */
import type { Sys } from '../abi/process.ts';
import { eputs, nanosleep } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

const UNITS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86400 };

export function* main(argv: string[]): Sys<number> {
  const args = argv.slice(1);
  const parsed = getopt(args, '');
  if (parsed.error !== undefined) return yield* usageError('sleep', parsed.error);
  if (args.length === 0) return yield* usageError('sleep', 'missing operand');
  let seconds = 0;
  for (const arg of args) {
    const found = /^(\d+\.?\d*|\.\d+|inf(?:inity)?)([smhd]?)$/.exec(arg);
    if (!found) {
      yield* eputs(`sleep: invalid time interval '${arg}'\nTry 'sleep --help' for more information.`);
      return 1;
    }
    seconds += (found[1]?.startsWith('inf') ? 1e9 : Number(found[1])) * (UNITS[found[2] ?? ''] ?? 1);
  }
  let left = BigInt(Math.round(Math.min(seconds, 1e9) * 1e9));
  while (left > 0n) left = yield* nanosleep(left);
  return 0;
}
