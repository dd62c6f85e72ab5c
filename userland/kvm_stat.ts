/**
 * kvm_stat: KVM's counters in debugfs, how they grow. At a terminal a table that refreshes; -1 counts for one interval,
 * -l prints a line an interval. Linux: tools/kvm/kvm_stat
 */
import type { Sys } from '../abi/process.ts';
import { DT_DIR } from '../abi/fcntl.ts';
import { CLOCK_MONOTONIC } from '../abi/time.ts';
import { clock_gettime, eputs, fputs, isatty, puts, readFile, readdir, sleep, sprintf, stat, windowSize } from './libc.ts';
import { waitForKey, withKeys } from './lib/keys.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError } from './lib/options.ts';

const DEBUGFS = '/sys/kernel/debug/kvm';
const BANNER_EVERY = 20;
/** The table's first interval, and the shortest and longest that -s takes; seconds. */
const FIRST = 0.25, SHORTEST = 0.1, LONGEST = 25.5;

interface Row { readonly name: string; readonly value: number; readonly delta: number }

class Stats {
  private readonly pid: string | undefined;
  private readonly fields: RegExp;
  /** Where counting began, and what was read last, by VM and counter. A VM that has gone keeps what it had. */
  private readonly baseline = new Map<string, number>();
  private readonly latest = new Map<string, number>();
  private previous = new Map<string, number>();
  private names: readonly string[] = [];
  constructor(pid: string | undefined, fields: RegExp) {
    this.pid = pid;
    this.fields = fields;
  }

  *begin(past: boolean): Sys {
    const entries = yield* readdir(DEBUGFS);
    this.names = entries.filter((e) => e.d_type !== DT_DIR && this.fields.test(e.d_name)).map((e) => e.d_name).sort();
    yield* this.read();
    if (!past) this.reset();
  }

  /** Counts from here on. */
  reset(): void {
    for (const [key, value] of this.latest) this.baseline.set(key, value);
    this.previous = new Map();
  }

  private *read(): Sys {
    for (const { d_name: vm, d_type } of yield* readdir(DEBUGFS)) {
      if (d_type !== DT_DIR || vm.startsWith('.') || (this.pid !== undefined && vm.split('-')[0] !== this.pid)) continue;
      for (const name of this.names) {
        const text = yield* maybe(readFile(`${DEBUGFS}/${vm}/${name}`));
        if (text !== undefined) this.latest.set(`${vm}/${name}`, Number(text));
      }
    }
  }

  /** Every counter by name: since counting began, and since the last call. */
  *get(): Sys<Row[]> {
    yield* this.read();
    const sums = new Map<string, number>(this.names.map((name) => [name, 0]));
    for (const [key, value] of this.latest) {
      const name = key.slice(key.indexOf('/') + 1);
      sums.set(name, (sums.get(name) ?? 0) + value - (this.baseline.get(key) ?? 0));
    }
    const before = this.previous;
    this.previous = sums;
    return [...sums].map(([name, value]) => ({ name, value, delta: value - (before.get(name) ?? 0) }));
  }
}

/** What is not zero, the fastest first, or the greatest. */
function table(rows: readonly Row[], seconds: number, byTotal: boolean, height: number, title: string): string {
  const total = rows.reduce((sum, { value }) => sum + value, 0);
  const shown = rows.filter(({ value, delta }) => value !== 0 || delta !== 0)
    .sort((a, b) => (byTotal ? 0 : b.delta - a.delta) || b.value - a.value).slice(0, Math.max(0, height - 5));
  const rate = (delta: number): string => (delta === 0 ? '' : String(Math.round(delta / seconds)));
  const lines = [title, '', sprintf(' %-40s %10s%7s %8s', 'Event', 'Total', '%Total', 'CurAvg/s')];
  for (const { name, value, delta } of shown) lines.push(sprintf(' %-40s %10d%7.1f %8s', name, value, (value * 100) / (total || 1), rate(delta)));
  if (shown.length === 0) return [...lines, '', ' No matching events reported yet'].join('\n');
  return [...lines, sprintf(' %-40s %10d        %8s', 'Total', total, rate(rows.reduce((sum, { delta }) => sum + delta, 0)))].join('\n');
}

function* live(stats: Stats, delay: number, title: string): Sys<number> {
  let byTotal = false;
  let wait = FIRST;
  for (let before = yield* clock_gettime(CLOCK_MONOTONIC); ; ) {
    const { rows } = yield* windowSize(1);
    const now = yield* clock_gettime(CLOCK_MONOTONIC);
    const seconds = Math.max(1, Number(now - before)) / 1e9;
    before = now;
    yield* fputs(`\x1b[H\x1b[2J${table(yield* stats.get(), seconds, byTotal, rows, title)}\n`);
    const key = yield* waitForKey(wait);
    wait = delay;
    if (key === 'q') return 0;
    if (key === 'o') byTotal = !byTotal;
    if (key === 'r') stats.reset();
  }
}

function* log(stats: Stats, delay: number, skipZero: boolean): Sys<never> {
  let line = 0;
  yield* stats.get();
  for (;;) {
    yield* sleep(delay);
    const rows = yield* stats.get();
    if (skipZero && rows.every(({ delta }) => delta === 0)) continue;
    if (line++ % BANNER_EVERY === 0) yield* puts(rows.map(({ name }) => `${name} `).join(''));
    yield* puts(rows.map(({ delta }) => sprintf(' %9d', delta)).join(''));
  }
}

const LONG = {
  once: 0, batch: 0, log: 0, debugfs: 0, 'debugfs-include-past': 0, fields: 1, pid: 1, 'set-delay': 1, 'skip-zero-records': 0,
} as const;

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), '1ldif:p:s:z', LONG);
  if (parsed.error !== undefined) return yield* usageError('kvm_stat', parsed.error, 2);
  if (parsed.operands.length > 0) {
    yield* eputs(`kvm_stat: error: unrecognized arguments: ${parsed.operands.join(' ')}`);
    return 2;
  }
  if (!(yield* maybe(stat(DEBUGFS)))) {
    yield* eputs("Please make sure, that debugfs is mounted and readable by the current user:\n('mount -t debugfs debugfs /sys/kernel/debug')\nAlso ensure, that the kvm modules are loaded.");
    return 1;
  }
  const pid = parsed.value('p', 'pid');
  if (pid !== undefined && !(/^\d+$/.test(pid) && (yield* maybe(stat(`/proc/${pid}`))))) {
    yield* eputs('Did you use a (unsupported) tid instead of a pid?\nSpecified pid does not exist.');
    return 1;
  }
  const pattern = parsed.value('f', 'fields') ?? '';
  let fields: RegExp;
  try {
    fields = new RegExp(pattern);
  } catch {
    yield* eputs(`Error: "${pattern}" is not a valid regular expression`);
    return 1;
  }
  const delayText = parsed.value('s', 'set-delay');
  const delay = Number(delayText ?? (parsed.has('1', 'once', 'batch', 'l', 'log') ? 1 : 3));
  if (!(delay >= SHORTEST && delay <= LONGEST)) {
    yield* eputs(`Error: Delay must be ${delay < SHORTEST ? `>=${SHORTEST}` : `<=${LONGEST}`}`);
    return 1;
  }
  const stats = new Stats(pid, fields);
  yield* stats.begin(parsed.has('i', 'debugfs-include-past'));
  if (parsed.has('l', 'log')) return yield* log(stats, delay, parsed.has('z', 'skip-zero-records'));
  if (!parsed.has('1', 'once', 'batch')) {
    if (yield* isatty(1)) return yield* withKeys(live(stats, delay, pid === undefined ? 'kvm statistics - summary' : `kvm statistics - pid ${pid}`));
    yield* eputs('kvm_stat: standard output is no terminal: use -1 or -l');
    return 1;
  }
  yield* stats.get();
  yield* sleep(delay);
  for (const { name, value, delta } of yield* stats.get()) yield* puts(sprintf('%-42s%10d%10d', name, value, delta));
  return 0;
}
