/** free: memory in use, from /proc/meminfo. Options -b -k -m -g -h -t as procps's. */
import type { Sys } from '../abi/process.ts';
import { puts } from './libc.ts';
import { readMeminfo } from './lib/procfs.ts';
import { getopt, usageError } from './lib/options.ts';

/** Three significant characters and a binary unit, as `free -h` prints them. */
function human(kib: number): string {
  if (kib === 0) return '0B';
  const units = ['Ki', 'Mi', 'Gi', 'Ti'];
  let value = kib;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value < 10 ? value.toFixed(1) : Math.floor(value)}${units[unit]}`;
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'bkmghtw', { bytes: 0, kibi: 0, mebi: 0, gibi: 0, human: 0, total: 0, wide: 0 });
  if (parsed.error !== undefined) return yield* usageError('free', parsed.error);
  const m = yield* readMeminfo();
  const get = (name: string): number => m.get(name) ?? 0;
  const show = (kib: number): string =>
    parsed.has('h', 'human') ? human(kib)
    : String(parsed.has('b', 'bytes') ? kib * 1024 : parsed.has('m', 'mebi') ? Math.floor(kib / 1024) : parsed.has('g', 'gibi') ? Math.floor(kib / 1048576) : kib);
  const row = (name: string, values: readonly number[]): string => name.padEnd(8) + values.map((v) => show(v).padStart(12)).join('');
  const cache = get('Buffers') + get('Cached') + get('SReclaimable');
  const available = m.get('MemAvailable') ?? get('MemFree') + cache;
  const used = get('MemTotal') - available;
  yield* puts('               total        used        free      shared  buff/cache   available');
  yield* puts(row('Mem:', [get('MemTotal'), used, get('MemFree'), get('Shmem'), cache, available]));
  yield* puts(row('Swap:', [get('SwapTotal'), get('SwapTotal') - get('SwapFree'), get('SwapFree')]));
  if (parsed.has('t', 'total')) yield* puts(row('Total:', [get('MemTotal') + get('SwapTotal'), used, get('MemFree') + get('SwapFree')]));
  return 0;
}
