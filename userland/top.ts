/**
 * top: who uses the processors, refreshed. -b batch, -n COUNT, -d SECONDS, -H threads, -p PIDS; at a terminal q quits,
 * H switches threads, M and P choose the order.
 */
import type { Sys } from '../abi/process.ts';
import { POLLIN } from '../abi/poll.ts';
import { ECHO, ICANON } from '../abi/termios.ts';
import { eputs, fputs, isatty, poll, read, readFile, sleep, sprintf, tcgetattr, tcsetattr, windowSize } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';
import { type TaskStat, USER_HZ, readMeminfo, readUptime, tasks } from './lib/procfs.ts';
import { uptimeLine } from './uptime.ts';

interface Sample { readonly at: number; readonly ticks: ReadonlyMap<number, number>; readonly cpu: readonly number[] }

/** The counters of /proc/stat's first line: user nice system idle iowait irq softirq steal. */
function* processorTicks(): Sys<number[]> {
  const line = (yield* readFile('/proc/stat')).split('\n')[0] ?? '';
  return line.trim().split(/\s+/).slice(1, 9).map(Number);
}

const hundredths = (ticks: number): string => {
  const minutes = Math.floor(ticks / (60 * USER_HZ));
  return sprintf('%d:%05.2f', minutes, (ticks - minutes * 60 * USER_HZ) / USER_HZ);
};

/** A number of KiB that fits six places, as top scales it. */
const scaled = (kib: number, width: number): string => {
  if (String(kib).length <= width) return String(kib);
  return kib < 10 * 1048576 * 1024 && String(Math.floor(kib / 1024)).length < width - 1 ? `${(kib / 1024).toFixed(1)}m` : `${(kib / 1048576).toFixed(1)}g`;
};

class Top {
  private before: Sample | undefined;
  threads: boolean;
  order: 'cpu' | 'memory' = 'cpu';
  private readonly pids: readonly number[] | undefined;
  constructor(threads: boolean, pids: readonly number[] | undefined) {
    this.threads = threads;
    this.pids = pids;
  }

  *screen(rows: number, width: number): Sys<string> {
    const list = yield* tasks(this.threads, this.pids);
    const at = yield* readUptime();
    const cpu = yield* processorTicks();
    const memory = yield* readMeminfo();
    const get = (name: string): number => memory.get(name) ?? 0;
    const before = this.before;
    this.before = { at, cpu, ticks: new Map(list.map((t) => [t.tid, t.utime + t.stime])) };
    const share = (t: TaskStat): number => {
      const span = before ? at - before.at : at - t.starttime / USER_HZ;
      const used = t.utime + t.stime - (before?.ticks.get(t.tid) ?? 0);
      return span > 0 ? (used / USER_HZ / span) * 100 : 0;
    };
    const shares = new Map(list.map((t) => [t, share(t)]));
    const state = (letters: string): number => list.filter((t) => letters.includes(t.state)).length;
    const spent = cpu.map((ticks, i) => ticks - (before?.cpu[i] ?? 0));
    const whole = spent.reduce((a, b) => a + b, 0) || 1;
    const percent = (i: number): string => sprintf('%5.1f', ((spent[i] ?? 0) / whole) * 100);
    const mib = (kib: number): string => sprintf('%8.1f', kib / 1024);
    const cache = get('Buffers') + get('Cached') + get('SReclaimable');
    const available = memory.get('MemAvailable') ?? get('MemFree') + cache;
    const head = [
      `top - ${yield* uptimeLine()}`,
      sprintf('%s: %3d total, %3d running, %3d sleeping, %3d stopped, %3d zombie', this.threads ? 'Threads' : 'Tasks', list.length, state('R'), state('SDI'), state('Tt'), state('Z')),
      `%Cpu(s):${percent(0)} us,${percent(2)} sy,${percent(1)} ni,${percent(3)} id,${percent(4)} wa,${percent(5)} hi,${percent(6)} si,${percent(7)} st `,
      `MiB Mem :${mib(get('MemTotal'))} total,${mib(get('MemFree'))} free,${mib(get('MemTotal') - available)} used,${mib(cache)} buff/cache     `,
      `MiB Swap:${mib(get('SwapTotal'))} total,${mib(get('SwapFree'))} free,${mib(get('SwapTotal') - get('SwapFree'))} used.${mib(available)} avail Mem `,
      '',
      '  PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND',
    ];
    const total = Math.max(1, get('MemTotal'));
    const sortKey = (t: TaskStat): number => (this.order === 'cpu' ? (shares.get(t) ?? 0) : t.rss);
    const lines = list.sort((a, b) => sortKey(b) - sortKey(a) || a.tid - b.tid).slice(0, Math.max(0, rows - head.length)).map((t) =>
      sprintf('%5d %-8s %3s %3d %7s %6s %6s %s %5.1f %5.1f %9s %s', t.tid, 'root', t.rt_priority > 0 ? 'rt' : String(t.priority), t.nice, scaled(t.vsize / 1024, 7), scaled(t.rss * 4, 6), '0',
        t.state, shares.get(t) ?? 0, ((t.rss * 4) / total) * 100, hundredths(t.utime + t.stime), t.comm));
    return [...head, ...lines].map((line) => line.slice(0, width)).join('\n');
  }
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'bn:d:Hp:iSc');
  if (parsed.error !== undefined) return yield* usageError('top', parsed.error);
  const batch = parsed.has('b');
  const count = Number(parsed.value('n') ?? Number.POSITIVE_INFINITY);
  const delay = Number(parsed.value('d') ?? 3);
  if (Number.isNaN(count) || Number.isNaN(delay) || delay < 0) {
    yield* eputs(`top: bad ${Number.isNaN(count) ? `iterations argument '${parsed.value('n')}'` : `delay interval '${parsed.value('d')}'`}`);
    return 1;
  }
  const top = new Top(parsed.has('H'), parsed.value('p')?.split(',').map(Number));
  const terminal = !batch && (yield* isatty(0)) && (yield* isatty(1));
  const settings = terminal ? yield* tcgetattr(0) : undefined;
  if (settings) {
    yield* tcsetattr(0, 0, settings, (t) => {
      t.c_lflag &= ~(ICANON | ECHO);
    });
  }
  for (let i = 0; i < count; i++) {
    const size = yield* windowSize(1);
    if (terminal) yield* fputs(`\x1b[H\x1b[2J${yield* top.screen(size.rows - 1, size.cols)}\n`);
    else yield* fputs(`${i > 0 ? '\n' : ''}${yield* top.screen(Number.POSITIVE_INFINITY, 512)}\n`);
    if (i + 1 >= count) break;
    if (!terminal) {
      yield* sleep(delay);
      continue;
    }
    if ((yield* poll([{ fd: 0, events: POLLIN, revents: 0 }], delay * 1000)) === 0) continue;
    const [key = 0x71] = yield* read(0, 1);
    const letter = String.fromCharCode(key);
    if (letter === 'q' || key === 3) break;
    if (letter === 'H') top.threads = !top.threads;
    else if (letter === 'M') top.order = 'memory';
    else if (letter === 'P') top.order = 'cpu';
  }
  if (settings) yield* tcsetattr(0, 0, settings);
  return 0;
}
