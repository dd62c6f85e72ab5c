/**
 * The files of tracefs: which trace points record, and what they recorded.
 *
 * Linux: kernel/trace/trace.c, kernel/trace/trace_events.c, Documentation/trace/{ftrace,events}.rst
 *
 * The kernel's trace buffer may already have a taker, the host's --trace. What is enabled here is recorded beside it, into a
 * ring of its own, so that reading these files shows the same with and without it.
 */
import { EAGAIN, EINVAL } from '../../abi/errno.ts';
import { O_ACCMODE, O_APPEND, O_NONBLOCK, O_RDONLY } from '../../abi/fcntl.ts';
import { POLLIN, POLLRDNORM } from '../../abi/poll.ts';
import { utf8 } from '../../lib/text.ts';
import { current, kernelVariable, machine } from '../current.ts';
import { schedule_timeout, signal_pending } from '../sched/core.ts';
import { type MaySleep, TASK_INTERRUPTIBLE } from '../sched/types.ts';
import { ERESTARTSYS } from '../errno-internal.ts';
import { ns_to_cycles } from '../time/timekeeping.ts';
import { type Predicate, parseFilter } from '../trace/filter.ts';
import { formatText } from '../trace/format.ts';
import { type TraceClock, traceHeader, traceLine } from '../trace/output.ts';
import type { TraceRecord } from '../trace/ring-buffer.ts';
import { type Tracepoint, trace_buffer, tracepoints } from '../trace/tracepoint.ts';
import { tracefs_create_dir, tracefs_create_file } from './debugfs.ts';
import type { iov_iter } from './iov-iter.ts';
import { textFile } from './libfs.ts';
import type { dentry, file, file_operations } from './types.ts';

/** Records kept; older ones are dropped. */
const CAPACITY = 65_536;
const CLOCKS: readonly TraceClock[] = ['local', 'x86-tsc'];
/** A reader of trace_pipe that finds nothing looks again after so long. A record must not wake anybody: it may be made inside the scheduler. */
const PIPE_POLL_NS = 1_000_000;

class TraceArray {
  readonly enabled = new Set<Tracepoint>();
  readonly filters = new Map<Tracepoint, { readonly text: string; readonly passes: Predicate }>();
  records: TraceRecord[] = [];
  written = 0;
  /** Records dropped since trace_pipe last gave some. */
  lost = 0;
  clock: TraceClock = 'local';
  on = true;
  private attached = false;

  private attach(): void {
    if (this.attached) return;
    this.attached = true;
    const buffer = trace_buffer();
    const host = buffer.consumer;
    buffer.consumer = (record) => {
      host?.(record);
      if (!this.on || !this.enabled.has(record.point)) return;
      if (this.filters.get(record.point)?.passes(record) ?? true) this.keep(record);
    };
  }

  private keep(record: TraceRecord): void {
    this.written++;
    this.records.push(record);
    if (this.records.length < 2 * CAPACITY) return;
    this.records = this.records.slice(-CAPACITY);
    this.lost += CAPACITY;
  }

  set(point: Tracepoint, on: boolean): void {
    if (on === this.enabled.has(point)) return;
    this.attach();
    const buffer = trace_buffer();
    if (on) {
      this.enabled.add(point);
      // with --trace every point is wanted already, and stays so
      if (!buffer.wants.has(point)) {
        buffer.enable(point);
        this.own.add(point);
      }
    } else {
      this.enabled.delete(point);
      if (this.own.delete(point)) buffer.disable(point);
    }
  }
  /** Points that nobody else wanted. */
  private readonly own = new Set<Tracepoint>();

  /** The newest records, oldest first. */
  kept(): readonly TraceRecord[] { return this.records.length > CAPACITY ? this.records.slice(-CAPACITY) : this.records; }
  clear(): void {
    this.records = [];
    this.written = 0;
    this.lost = 0;
  }
}

const trace_array = kernelVariable(() => new TraceArray());

const line = (record: TraceRecord): string => traceLine(record, machine().tscKhz / 1000, trace_array().clock);
const fullName = (point: Tracepoint): string => `${point.system}:${point.name}`;

// ---- trace, trace_pipe

function showTrace(): string {
  const kept = trace_array().kept();
  const counts = `# entries-in-buffer/entries-written: ${kept.length}/${trace_array().written}   #P:${machine().processors.length}\n#\n`;
  return traceHeader.replace('# tracer: nop\n#\n', `# tracer: nop\n#\n${counts}`) + kept.map(line).join('');
}

/** Opening it for writing without O_APPEND, as `>` does, empties the buffer. */
const trace_fops: file_operations = {
  ...textFile(showTrace, () => 0),
  open(_inode, f) {
    if ((f.f_flags & O_ACCMODE) !== O_RDONLY && (f.f_flags & O_APPEND) === 0) trace_array().clear();
    return 0;
  },
};

/** Hands records out once, as many whole lines as fit. */
function take(to: iov_iter): number {
  const array = trace_array();
  let done = 0;
  let n = 0;
  if (array.lost > 0) {
    const bytes = utf8(`CPU:${array.records[0]?.cpu ?? 0} [LOST ${array.lost} EVENTS]\n`);
    if (bytes.length <= to.count) {
      const moved = to.copy_to(bytes);
      if (moved < 0) return moved;
      done += moved;
      array.lost = 0;
    }
  }
  for (const record of array.records) {
    const bytes = utf8(line(record));
    if (bytes.length > to.count) break;
    const moved = to.copy_to(bytes);
    if (moved < 0) return done || moved;
    done += moved;
    n++;
  }
  array.records = array.records.slice(n);
  return done;
}

function* waitForRecords(to: iov_iter): MaySleep<number> {
  while (trace_array().records.length === 0) {
    if (signal_pending(current())) return -ERESTARTSYS;
    current().__state = TASK_INTERRUPTIBLE;
    yield* schedule_timeout(ns_to_cycles(PIPE_POLL_NS));
  }
  return take(to);
}

const trace_pipe_fops: file_operations = {
  read(f: file, to) {
    if (trace_array().records.length > 0) return take(to);
    return (f.f_flags & O_NONBLOCK) !== 0 ? -EAGAIN : waitForRecords(to);
  },
  poll: () => (trace_array().records.length > 0 ? POLLIN | POLLRDNORM : 0),
};

// ---- switches

/** Trace points that one word of set_event means: `system:event`, either part `*` or missing, or just an event or a system. */
function matching(word: string): Tracepoint[] {
  const [first = '', second] = word.split(':');
  const fits = (pattern: string, name: string): boolean =>
    pattern === '' || pattern === '*' || new RegExp(`^${pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')}$`).test(name);
  return tracepoints().filter((p) => (second === undefined ? fits(first, p.system) || fits(first, p.name) : fits(first, p.system) && fits(second, p.name)));
}

function setEvents(text: string): number {
  for (const word of text.split(/\s+/)) {
    if (word === '') continue;
    const off = word.startsWith('!');
    const points = matching(off ? word.slice(1) : word);
    if (points.length === 0) return -EINVAL;
    for (const point of points) trace_array().set(point, !off);
  }
  return 0;
}

const set_event_fops: file_operations = {
  ...textFile(() => tracepoints().filter((p) => trace_array().enabled.has(p)).map((p) => `${fullName(p)}\n`).join(''), setEvents),
  open(_inode, f) {
    if ((f.f_flags & O_ACCMODE) !== O_RDONLY && (f.f_flags & O_APPEND) === 0) for (const point of [...trace_array().enabled]) trace_array().set(point, false);
    return 0;
  },
};

/** 0, 1, or X when some of a group are on. */
function enableFile(points: () => readonly Tracepoint[]): file_operations {
  const show = (): string => {
    const on = points().filter((p) => trace_array().enabled.has(p)).length;
    return `${on === 0 ? '0' : on === points().length ? '1' : 'X'}\n`;
  };
  return textFile(show, (text) => {
    const value = text.trim();
    if (value !== '0' && value !== '1') return -EINVAL;
    for (const point of points()) trace_array().set(point, value === '1');
    return 0;
  });
}

/** A condition on the point's fields; 0 takes it away, and so does one that cannot be understood. */
const filterFile = (point: Tracepoint): file_operations => textFile(() => `${trace_array().filters.get(point)?.text ?? 'none'}\n`, (written) => {
  const { filters } = trace_array();
  const text = written.trim();
  const passes = text === '0' ? undefined : parseFilter(point, text);
  if (passes === undefined) filters.delete(point);
  else filters.set(point, { text, passes });
  return text === '0' || passes ? 0 : -EINVAL;
});

function setTracingOn(text: string): number {
  const value = text.trim();
  if (!/^\d+$/.test(value)) return -EINVAL;
  trace_array().on = value !== '0';
  return 0;
}

/** All clocks, the one in use in brackets. */
const showClock = (): string => `${CLOCKS.map((clock) => (clock === trace_array().clock ? `[${clock}]` : clock)).join(' ')}\n`;
/** Another clock empties the buffer: times of two clocks do not compare. */
function setClock(text: string): number {
  const clock = CLOCKS.find((name) => name === text.trim());
  if (clock === undefined) return -EINVAL;
  if (clock !== trace_array().clock) trace_array().clear();
  trace_array().clock = clock;
  return 0;
}

/** Fills the tree. Called when it is first mounted, when all trace points have been declared. */
export function tracefs_init(): void {
  const root = (name: string, mode: number, fops: file_operations): dentry => tracefs_create_file(name, mode, undefined, fops);
  root('available_events', 0o440, textFile(() => tracepoints().map((p) => `${fullName(p)}\n`).join('')));
  root('available_tracers', 0o440, textFile(() => 'nop\n'));
  root('current_tracer', 0o640, textFile(() => 'nop\n', (text) => (text.trim() === 'nop' ? 0 : -EINVAL)));
  root('set_event', 0o640, set_event_fops);
  root('trace', 0o640, trace_fops);
  root('trace_clock', 0o644, textFile(showClock, setClock));
  root('trace_pipe', 0o440, trace_pipe_fops);
  root('tracing_on', 0o640, textFile(() => `${trace_array().on ? 1 : 0}\n`, setTracingOn));
  const events = tracefs_create_dir('events');
  tracefs_create_file('enable', 0o640, events, enableFile(tracepoints));
  for (const [id, point] of tracepoints().entries()) {
    const system = tracefs_create_dir(point.system, events);
    if (system.d_subdirs?.get('enable') === undefined) {
      tracefs_create_file('enable', 0o640, system, enableFile(() => tracepoints().filter((p) => p.system === point.system)));
    }
    const dir = tracefs_create_dir(point.name, system);
    tracefs_create_file('enable', 0o640, dir, enableFile(() => [point]));
    tracefs_create_file('id', 0o440, dir, textFile(() => `${id + 1}\n`));
    tracefs_create_file('filter', 0o640, dir, filterFile(point));
    tracefs_create_file('format', 0o440, dir, textFile(() => formatText(point, id + 1)));
  }
}
