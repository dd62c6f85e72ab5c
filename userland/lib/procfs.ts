/**
 * What /proc says, read once and given as values: stat, status, meminfo. Linux: Documentation/filesystems/proc.rst.
 */
import type { Sys } from '../../abi/process.ts';
import { readFile, readdir } from '../libc.ts';
import { maybe } from './main.ts';

/** Clock ticks a second in which /proc counts time. */
export const USER_HZ = 100;

export interface TaskStat {
  readonly pid: number;
  readonly tid: number;
  readonly comm: string;
  readonly state: string;
  readonly ppid: number; readonly pgrp: number; readonly session: number; readonly tty_nr: number; readonly tpgid: number; readonly flags: number;
  readonly minflt: number; readonly majflt: number;
  /** In ticks. */
  readonly utime: number; readonly stime: number; readonly starttime: number;
  readonly priority: number; readonly nice: number; readonly num_threads: number;
  /** Bytes and pages. */
  readonly vsize: number; readonly rss: number;
  readonly processor: number; readonly rt_priority: number; readonly policy: number;
}

/** A task's stat line. The name may hold blanks and parentheses: it ends at the last one. */
export function parseStat(pid: number, text: string): TaskStat {
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  const fields = text.slice(close + 2).trim().split(' ');
  const n = (field: number): number => Number(fields[field - 3] ?? 0);
  return {
    pid, tid: Number(text.slice(0, open)), comm: text.slice(open + 1, close), state: fields[0] ?? '?',
    ppid: n(4), pgrp: n(5), session: n(6), tty_nr: n(7), tpgid: n(8), flags: n(9), minflt: n(10), majflt: n(12),
    utime: n(14), stime: n(15), priority: n(18), nice: n(19), num_threads: n(20), starttime: n(22), vsize: n(23), rss: n(24),
    processor: n(39), rt_priority: n(40), policy: n(41),
  };
}

export function* pids(): Sys<number[]> {
  const entries = yield* readdir('/proc');
  return entries.map((e) => e.d_name).filter((name) => /^\d+$/.test(name)).map(Number).sort((a, b) => a - b);
}

/** Processes, or all their threads; one that ends meanwhile is left out. */
export function* tasks(threads: boolean, only?: readonly number[]): Sys<TaskStat[]> {
  const all: TaskStat[] = [];
  for (const pid of only ?? (yield* pids())) {
    if (!threads) {
      const text = yield* maybe(readFile(`/proc/${pid}/stat`));
      if (text) all.push(parseStat(pid, text));
      continue;
    }
    const entries = (yield* maybe(readdir(`/proc/${pid}/task`))) ?? [];
    for (const tid of entries.map((e) => Number(e.d_name)).filter((n) => n > 0).sort((a, b) => a - b)) {
      const text = yield* maybe(readFile(`/proc/${pid}/task/${tid}/stat`));
      if (text) all.push(parseStat(pid, text));
    }
  }
  return all;
}

/** /proc/meminfo: KiB by name. */
export function* readMeminfo(): Sys<Map<string, number>> {
  const text = yield* readFile('/proc/meminfo');
  return new Map(text.split('\n').flatMap((line) => {
    const found = /^([^:]+):\s+(\d+)/.exec(line);
    return found ? [[found[1] ?? '', Number(found[2])] as const] : [];
  }));
}

/** Seconds since boot. */
export function* readUptime(): Sys<number> {
  return Number.parseFloat(yield* readFile('/proc/uptime'));
}

/** The command line, or the name in brackets where there is none: a kernel thread or a zombie. */
export function* commandLine(task: TaskStat): Sys<string> {
  const text = ((yield* maybe(readFile(`/proc/${task.pid}/cmdline`))) ?? '').replace(/\0+$/, '').replaceAll('\0', ' ');
  if (text !== '') return text;
  return task.state === 'Z' ? `[${task.comm}] <defunct>` : `[${task.comm}]`;
}

/** The terminal's name under /dev as ps shows it. */
export function ttyName(tty_nr: number): string {
  const major = (tty_nr >> 8) & 0xfff;
  const minor = (tty_nr & 0xff) | ((tty_nr >> 12) & 0xfff00);
  if (tty_nr === 0) return '?';
  if (major === 4) return minor >= 64 ? `ttyS${minor - 64}` : `tty${minor}`;
  if (major === 5) return minor === 1 ? 'console' : 'tty';
  if (major >= 136 && major < 144) return `pts/${minor}`;
  return `${major},${minor}`;
}
