/**
 * A trace as people read it: Linux's text (kernel/trace/trace_output.c), or Chrome's trace event JSON, where slices
 * nest and each processor and each thread has a track.
 */
import type { TraceRecord } from './ring-buffer.ts';

export const traceHeader = '# tracer: nop\n#\n#                                _-----=> irqs-off\n#                               / _----=> need-resched\n'
  + '#                              | / _---=> hardirq/softirq\n#                              || / _--=> preempt-depth\n#                              ||| / _-=> migrate-disable\n'
  + '#                              |||| /     delay\n#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n#              | |         |   |||||     |         |\n';

/** The clock a line's time is told by: `local` in seconds, `x86-tsc` in cycles. */
export type TraceClock = 'local' | 'x86-tsc';

function timeText(time: number, cyclesPerUs: number, clock: TraceClock): string {
  if (clock === 'x86-tsc') return String(time).padStart(12);
  const us = Math.floor(time / cyclesPerUs);
  return `${String(Math.floor(us / 1e6)).padStart(5)}.${String(us % 1e6).padStart(6, '0')}`;
}

/** `comm-pid [cpu] flags secs.usecs: event: text`. */
export function traceLine(record: TraceRecord, cyclesPerUs: number, clock: TraceClock = 'local'): string {
  const time = timeText(record.time, cyclesPerUs, clock);
  const task = `${(record.pid === 0 ? '<idle>' : record.comm).slice(0, 16).padStart(16)}-${String(record.pid).padEnd(7)}`;
  return `${task} [${String(record.cpu).padStart(3, '0')}] ${record.flags} ${time}: ${record.point.group?.wholeLine === true ? '' : `${record.point.name}: `}${record.point.text(record.values)}\n`;
}

/** What a slice begins and ends with; a begin closes a slice of the same track left open. */
const slices: Readonly<Record<string, { readonly phase: 'B' | 'E'; readonly name: string }>> = {
  kvm_entry: { phase: 'B', name: 'guest' },
  kvm_exit: { phase: 'E', name: 'guest' },
  irq_handler_entry: { phase: 'B', name: 'irq' },
  irq_handler_exit: { phase: 'E', name: 'irq' },
  sys_enter: { phase: 'B', name: 'syscall' },
  sys_exit: { phase: 'E', name: 'syscall' },
};

type Value = TraceRecord['values'][string];
const jsonValue = (value: Value): number | string =>
  (typeof value === 'bigint' ? `0x${value.toString(16)}` : typeof value === 'object' ? Array.from<number | bigint, string>(value, (v) => v.toString(16)).join(' ') : value);

/** Events of one record, without the array's brackets: lines to join with commas. Track: pid 0 = processors, 1 = threads. */
export function chromeEvents(record: TraceRecord, cyclesPerUs: number): string[] {
  const ts = record.time / cyclesPerUs;
  const args = Object.fromEntries(Object.entries(record.values).map(([key, value]) => [key, jsonValue(value)]));
  const cat = record.point.system;
  if (record.point.name === 'sched_switch') {
    const { prev_pid, next_pid, next_comm } = args;
    const end = prev_pid === 0 ? [] : [{ ph: 'E', ts, pid: 0, tid: record.cpu, cat, name: record.comm }];
    const begin = next_pid === 0 ? [] : [{ ph: 'B', ts, pid: 0, tid: record.cpu, cat, name: `${next_comm}-${next_pid}`, args }];
    return [...end, ...begin].map((event) => JSON.stringify(event));
  }
  const slice = slices[record.point.name];
  const track = { ts, pid: 1, tid: record.pid, cat, args };
  return [JSON.stringify(slice ? { ph: slice.phase, name: slice.name, ...track } : { ph: 'i', s: 't', name: record.point.name, ...track })];
}

/** Names of the tracks, to put first. */
export function chromeTrackNames(cpus: number): string[] {
  const name = (kind: string, pid: number, tid: number, text: string) => JSON.stringify({ ph: 'M', name: kind, pid, tid, args: { name: text } });
  return [name('process_name', 0, 0, 'processors'), name('process_name', 1, 0, 'threads'),
    ...Array.from({ length: cpus }, (_, cpu) => name('thread_name', 0, cpu, `CPU ${cpu}`))];
}
