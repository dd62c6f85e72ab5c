/** date: the machine's date, in UTC. `+FORMAT` as strftime's, -u and -d @SECONDS as GNU's. */
import type { Sys } from '../abi/process.ts';
import { CLOCK_REALTIME } from '../abi/time.ts';
import { clock_gettime, eputs, puts } from './libc.ts';
import { strftime } from './lib/clock.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'ud:', { utc: 0, date: 1 });
  if (parsed.error !== undefined) return yield* usageError('date', parsed.error);
  const wanted = parsed.value('d', 'date');
  if (wanted !== undefined && !/^@\d+(\.\d+)?$/.test(wanted)) {
    yield* eputs(`date: invalid date '${wanted}'`);
    return 1;
  }
  const [format = '+%a %b %e %H:%M:%S UTC %Y'] = parsed.operands;
  if (!format.startsWith('+')) {
    yield* eputs(`date: invalid date '${format}'`);
    return 1;
  }
  const now = Number(yield* clock_gettime(CLOCK_REALTIME)) / 1e9;
  yield* puts(strftime(format.slice(1), wanted === undefined ? now : Number(wanted.slice(1))));
  return 0;
}
