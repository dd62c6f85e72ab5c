/**
 * The columns ps and top can show: heading, width and alignment as procps has them, and how a value is had.
 */
import type { Sys } from '../../abi/process.ts';
import { SCHED_BATCH, SCHED_DEADLINE, SCHED_FIFO, SCHED_IDLE, SCHED_OTHER, SCHED_RR } from '../../abi/sched.ts';
import { readFile } from '../libc.ts';
import { strftime } from './clock.ts';
import { maybe } from './main.ts';
import { type TaskStat, USER_HZ, commandLine, ttyName } from './procfs.ts';

/** What all rows share. */
export interface Moment { readonly uptime: number; readonly now: number; readonly memory: number; readonly ticks: number }

export interface Column {
  readonly heading: string;
  readonly width: number;
  readonly left: boolean;
  value(task: TaskStat, moment: Moment): string | Sys<string>;
}

const CLASSES: Readonly<Record<number, string>> = { [SCHED_OTHER]: 'TS', [SCHED_FIFO]: 'FF', [SCHED_RR]: 'RR', [SCHED_BATCH]: 'B', [SCHED_IDLE]: 'IDL', [SCHED_DEADLINE]: 'DLN' };

const two = (n: number): string => String(n).padStart(2, '0');
const seconds = (task: TaskStat): number => Math.floor((task.utime + task.stime) / USER_HZ);
const age = (task: TaskStat, m: Moment): number => Math.max(0, m.uptime - task.starttime / USER_HZ);

/** `[dd-]hh:mm:ss`. */
function longTime(total: number): string {
  const days = Math.floor(total / 86400);
  return `${days > 0 ? `${days}-` : ''}${two(Math.floor(total / 3600) % 24)}:${two(Math.floor(total / 60) % 60)}:${two(total % 60)}`;
}
/** `[[dd-]hh:]mm:ss`. */
function elapsed(total: number): string {
  const hours = Math.floor(total / 3600) % 24;
  const days = Math.floor(total / 86400);
  return `${days > 0 ? `${days}-` : ''}${days > 0 || hours > 0 ? `${two(hours)}:` : ''}${two(Math.floor(total / 60) % 60)}:${two(total % 60)}`;
}
/** Share of a processor since the start. */
const cpuShare = (task: TaskStat, m: Moment): number => (age(task, m) > 0 ? ((task.utime + task.stime) / USER_HZ / age(task, m)) * 100 : 0);

/** State with what ps -o stat adds: < high, N low priority, s session leader, l threads, + foreground. */
const stat = (task: TaskStat): string =>
  task.state + (task.nice < 0 ? '<' : task.nice > 0 ? 'N' : '') + (task.session === task.pid ? 's' : '') + (task.num_threads > 1 ? 'l' : '') + (task.tpgid > 0 && task.tpgid === task.pgrp ? '+' : '');

function* statusField(task: TaskStat, name: string): Sys<string> {
  const text = (yield* maybe(readFile(`/proc/${task.pid}/status`))) ?? '';
  return new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? '0';
}

function* waitChannel(task: TaskStat): Sys<string> {
  const text = ((yield* maybe(readFile(`/proc/${task.pid}/task/${task.tid}/wchan`))) ?? '').trim();
  return text === '' || text === '0' ? '-' : text;
}

function* userName(task: TaskStat): Sys<string> {
  const uid = yield* statusField(task, 'Uid');
  return uid === '0' ? 'root' : uid;
}

const startOf = (task: TaskStat, m: Moment): number => m.now - m.uptime + task.starttime / USER_HZ;

const right = (heading: string, width: number, value: Column['value']): Column => ({ heading, width, left: false, value });
const left = (heading: string, width: number, value: Column['value']): Column => ({ heading, width, left: true, value });

const pid = right('PID', 5, (t) => String(t.pid));
const tid = (heading: string) => right(heading, 5, (t) => String(t.tid));
const time = right('TIME', 8, (t) => longTime(seconds(t)));
const tty = (heading: string) => left(heading, 8, (t) => ttyName(t.tty_nr));
const user = (heading: string) => left(heading, 8, userName);
const comm = (heading: string) => left(heading, 15, (t) => t.comm + (t.state === 'Z' ? ' <defunct>' : ''));
const args = (heading: string) => left(heading, 27, commandLine);
const cpu = right('%CPU', 4, (t, m) => { const share = cpuShare(t, m); return share >= 100 ? String(Math.floor(share)) : share.toFixed(1); });
const mem = right('%MEM', 4, (t, m) => ((t.rss * 4) / Math.max(1, m.memory) * 100).toFixed(1));
const state = left('S', 1, (t) => t.state);
const nlwp = (heading: string, width: number) => right(heading, width, (t) => String(t.num_threads));

/** By the name -o takes. */
export const COLUMNS: Readonly<Record<string, Column>> = {
  pid, tgid: right('TGID', 5, (t) => String(t.pid)), ppid: right('PPID', 5, (t) => String(t.ppid)),
  tid: tid('TID'), lwp: tid('LWP'), spid: tid('SPID'),
  pgid: right('PGID', 5, (t) => String(t.pgrp)), pgrp: right('PGRP', 5, (t) => String(t.pgrp)),
  sid: right('SID', 5, (t) => String(t.session)), sess: right('SESS', 5, (t) => String(t.session)), tpgid: right('TPGID', 5, (t) => String(t.tpgid)),
  psr: right('PSR', 3, (t) => String(t.processor)),
  ni: right('NI', 3, (t) => (t.policy === SCHED_FIFO || t.policy === SCHED_RR ? '-' : String(t.nice))), nice: right('NI', 3, (t) => String(t.nice)),
  pri: right('PRI', 3, (t) => String(39 - t.priority)), priority: right('PRI', 3, (t) => String(t.priority)), opri: right('PRI', 3, (t) => String(60 + t.priority)),
  rtprio: right('RTPRIO', 6, (t) => (t.rt_priority > 0 ? String(t.rt_priority) : '-')),
  cls: right('CLS', 3, (t) => CLASSES[t.policy] ?? '?'), class: left('CLS', 3, (t) => CLASSES[t.policy] ?? '?'), policy: left('POL', 3, (t) => CLASSES[t.policy] ?? '?'),
  sched: right('SCH', 3, (t) => String(t.policy)),
  comm: comm('COMMAND'), ucomm: comm('COMMAND'), ucmd: comm('CMD'), args: args('COMMAND'), command: args('COMMAND'), cmd: args('CMD'),
  s: state, state, stat: left('STAT', 4, stat),
  time, cputime: time, times: right('TIME', 8, (t) => String(seconds(t))), cputimes: right('TIME', 8, (t) => String(seconds(t))),
  bsdtime: right('TIME', 6, (t) => `${Math.floor(seconds(t) / 60)}:${two(seconds(t) % 60)}`),
  etime: right('ELAPSED', 11, (t, m) => elapsed(Math.floor(age(t, m)))), etimes: right('ELAPSED', 7, (t, m) => String(Math.floor(age(t, m)))),
  start: right('STARTED', 8, (t, m) => strftime('%H:%M:%S', startOf(t, m))), start_time: left('START', 5, (t, m) => strftime('%H:%M', startOf(t, m))),
  stime: left('STIME', 5, (t, m) => strftime('%H:%M', startOf(t, m))), bsdstart: right('START', 6, (t, m) => strftime('%H:%M', startOf(t, m))),
  lstart: right('STARTED', 24, (t, m) => strftime('%a %b %e %H:%M:%S %Y', startOf(t, m))),
  rss: right('RSS', 5, (t) => String(t.rss * 4)), rssize: right('RSS', 5, (t) => String(t.rss * 4)),
  vsz: right('VSZ', 6, (t) => String(t.vsize / 1024)), vsize: right('VSZ', 6, (t) => String(t.vsize / 1024)), sz: right('SZ', 5, (t) => String(t.vsize / 4096)),
  '%cpu': cpu, pcpu: cpu, c: right('C', 2, (t, m) => String(Math.min(99, Math.floor(cpuShare(t, m))))), '%mem': mem, pmem: mem,
  tty: tty('TT'), tt: tty('TT'), tname: tty('TTY'),
  user: user('USER'), euser: user('EUSER'), ruser: user('RUSER'), uname: user('USER'),
  uid: right('UID', 5, (t) => statusField(t, 'Uid')), euid: right('EUID', 5, (t) => statusField(t, 'Uid')),
  nlwp: nlwp('NLWP', 4), thcount: nlwp('THCNT', 5),
  wchan: left('WCHAN', 6, waitChannel), minflt: right('MINFLT', 6, (t) => String(t.minflt)), majflt: right('MAJFLT', 6, (t) => String(t.majflt)),
  f: right('F', 1, () => '0'), flags: right('F', 1, () => '0'), addr: left('ADDR', 1, () => '-'),
};
