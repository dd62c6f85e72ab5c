/**
 * KVM's trace points, recorded through tracefs. Takes the one trace buffer there is, with the processor's cycles as its
 * clock; what was set before is set again at the end.
 */
import type { Sys } from '../../abi/process.ts';
import { EAGAIN } from '../../abi/errno.ts';
import { O_APPEND, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } from '../../abi/fcntl.ts';
import { Errno, close, decode, open, read, readFile, readdir, stat, writeAll } from '../libc.ts';
import { maybe } from '../lib/main.ts';
import { parseTraceLine } from './kvm-events.ts';

const TRACEFS = '/sys/kernel/tracing';
const EVENTS = ['kvm:kvm_entry', 'kvm:kvm_exit', 'kvm:kvm_mmio', 'kvm:kvm_pio'];
const PART = 65_536;

function* set(file: string, text: string, how = O_TRUNC): Sys {
  const fd = yield* open(`${TRACEFS}/${file}`, O_WRONLY | how);
  yield* writeAll(fd, text);
  yield* close(fd);
}

/** Why nothing can be recorded; undefined when it can. */
export function* cannotTrace(): Sys<string | undefined> {
  const file = `${TRACEFS}/events/kvm/kvm_entry`;
  return (yield* maybe(stat(file))) ? undefined : `Error:\tFile ${file} not found.\nHint:\tIs the debugfs/tracefs filesystem mounted?`;
}

/** Cycles a microsecond. */
export function* tscFrequency(): Sys<number> {
  return Number(/^cpu MHz\s*:\s*(\S+)/m.exec(yield* readFile('/proc/cpuinfo'))?.[1] ?? Number.NaN);
}

export class Tracer {
  private readonly pid: string | undefined;
  private readonly threads = new Set<number>();
  private clock = 'local';
  private on = '1';
  private enabled: readonly string[] = [];
  private fd = -1;
  /** The beginning of a line whose end has not come yet. */
  private rest = '';
  constructor(pid: string | undefined) {
    this.pid = pid;
  }

  *start(): Sys {
    this.clock = /\[(\S+)\]/.exec(yield* readFile(`${TRACEFS}/trace_clock`))?.[1] ?? 'local';
    this.enabled = (yield* readFile(`${TRACEFS}/set_event`)).split('\n');
    this.on = (yield* readFile(`${TRACEFS}/tracing_on`)).trim();
    yield* set('tracing_on', '1');
    yield* set('trace_clock', 'x86-tsc');
    yield* set('trace', '');
    this.fd = yield* open(`${TRACEFS}/trace_pipe`, O_RDONLY | O_NONBLOCK);
    yield* set('set_event', EVENTS.join('\n'), O_APPEND);
  }

  *stop(): Sys {
    for (const event of EVENTS) if (!this.enabled.includes(event)) yield* set('set_event', `!${event}`, O_APPEND);
  }

  *finish(): Sys {
    yield* close(this.fd);
    yield* set('trace_clock', this.clock);
    yield* set('tracing_on', this.on);
  }

  /** What was recorded since the last call, of the threads wanted. */
  *lines(): Sys<string[]> {
    if (this.pid !== undefined) for (const { d_name } of (yield* maybe(readdir(`/proc/${this.pid}/task`))) ?? []) this.threads.add(Number(d_name));
    const parts: Uint8Array[] = [];
    for (;;) {
      try {
        const part = yield* read(this.fd, PART);
        if (part.length === 0) break;
        parts.push(part);
      } catch (e) {
        if (e instanceof Errno && e.errno === EAGAIN) break;
        throw e;
      }
    }
    const lines = (this.rest + parts.map(decode).join('')).split('\n');
    this.rest = lines.pop() ?? '';
    return lines.filter((line) => this.wanted(line));
  }

  private wanted(line: string): boolean {
    const event = parseTraceLine(line);
    if (event === undefined) return line.startsWith('CPU:');
    return EVENTS.includes(`kvm:${event.name}`) && (this.pid === undefined || this.threads.has(event.tid));
  }
}
