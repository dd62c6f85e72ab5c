/** uptime: the time, how long the machine has run, its load. Options -p -s as procps's. */
import type { Sys } from '../abi/process.ts';
import { puts, readFile, time } from './libc.ts';
import { strftime } from './lib/clock.ts';
import { getopt, usageError } from './lib/options.ts';
import { readUptime } from './lib/procfs.ts';

/** The first line of `uptime` and `top`. */
export function* uptimeLine(): Sys<string> {
  const up = Math.floor(yield* readUptime());
  const days = Math.floor(up / 86400);
  const hours = Math.floor(up / 3600) % 24;
  const minutes = Math.floor(up / 60) % 60;
  const length = `${days > 0 ? `${days} day${days > 1 ? 's' : ''}, ` : ''}${hours > 0 ? `${String(hours).padStart(2)}:${String(minutes).padStart(2, '0')}` : `${minutes} min`}`;
  const load = (yield* readFile('/proc/loadavg')).split(' ').slice(0, 3).join(', ');
  return `${strftime('%H:%M:%S', yield* time())} up ${length},  1 user,  load average: ${load}`;
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'ps', { pretty: 0, since: 0 });
  if (parsed.error !== undefined) return yield* usageError('uptime', parsed.error);
  const up = yield* readUptime();
  if (parsed.has('s', 'since')) yield* puts(strftime('%Y-%m-%d %H:%M:%S', (yield* time()) - Math.floor(up)));
  else if (parsed.has('p', 'pretty')) {
    const parts = [[Math.floor(up / 86400), 'day'], [Math.floor(up / 3600) % 24, 'hour'], [Math.floor(up / 60) % 60, 'minute']] as const;
    const named = parts.filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}${n > 1 ? 's' : ''}`);
    yield* puts(`up ${named.length > 0 ? named.join(', ') : '0 minutes'}`);
  } else yield* puts(` ${yield* uptimeLine()}`);
  return 0;
}
