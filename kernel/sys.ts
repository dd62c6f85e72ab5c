/**
 * What a process knows and says of itself: numbers, groups, sessions, limits, usage, names; and of the system.
 * Linux: kernel/sys.c, kernel/reboot.c
 */
import { EACCES, EFAULT, EINVAL, EPERM, ESRCH } from '../abi/errno.ts';
import * as PR from '../abi/prctl.ts';
import {
  RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_LOCKS, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RSS, RLIMIT_RTPRIO, RLIMIT_RTTIME,
  RLIMIT_SIGPENDING, RLIMIT_STACK, RLIM_NLIMITS, RUSAGE_CHILDREN, RUSAGE_SELF, RUSAGE_THREAD, rlimit as rlimit_struct, rusage, sysinfo, utsname,
} from '../abi/resource.ts';
import { fromUtf8, utf8 } from '../lib/text.ts';
import { kernelVariable, machine, this_processor } from './current.ts';
import { get_user_struct, put_user_struct } from './fs/user.ts';
import { find_task_by_vpid, for_each_process, pid_tasks } from './pid.ts';
import { nr_free_pages, totalram_pages } from './mm/page-alloc.ts';
import { copy_from_user, copy_to_user, put_user32, strncpy_from_user } from './mm/uaccess.ts';
import { pr_info } from './printk.ts';
import { calc_load } from './sched/loadavg.ts';
import type { signal_struct, task_struct } from './sched/types.ts';
import { cycles_to_ns, ktime_get_ns } from './time/timekeeping.ts';
import { NAME, RELEASE, VERSION } from './version.ts';

// ---------------------------------------------------------------- limits

const INFINITY = Number.POSITIVE_INFINITY;

/** Limits of the first process, by resource. */
export const default_rlimits = (): { cur: number; max: number }[] => {
  const limits = Array.from({ length: RLIM_NLIMITS }, () => ({ cur: INFINITY, max: INFINITY }));
  const set = (resource: number, cur: number, max = cur) => { limits[resource] = { cur, max }; };
  for (const resource of [RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_RSS, RLIMIT_AS, RLIMIT_LOCKS, RLIMIT_RTTIME]) set(resource, INFINITY);
  const threads = Math.min(4096, Math.floor(totalram_pages() / 32));
  set(RLIMIT_STACK, 8 << 20, INFINITY);
  set(RLIMIT_CORE, 0, INFINITY);
  set(RLIMIT_NPROC, threads);
  set(RLIMIT_SIGPENDING, threads);
  set(RLIMIT_NOFILE, 1024, 4096);
  set(RLIMIT_MEMLOCK, 8 << 20);
  set(RLIMIT_MSGQUEUE, 819200);
  set(RLIMIT_NICE, 0);
  set(RLIMIT_RTPRIO, 0);
  return limits;
};

export const rlimit = (task: task_struct, resource: number): number => task.signal.rlim[resource]?.cur ?? INFINITY;
const to_user = (n: number): bigint => (n === INFINITY ? 0xffff_ffff_ffff_ffffn : BigInt(n));
const from_user = (n: bigint): number => (n >= 2n ** 53n ? INFINITY : Number(n));

export function sys_prlimit64(task: task_struct, pid: number, resource: number, fresh: number, old: number): number {
  const target = pid === 0 ? task : find_task_by_vpid(pid);
  if (target === undefined) return -ESRCH;
  const limit = target.signal.rlim[resource];
  if (limit === undefined) return -EINVAL;
  const before = rlimit_struct.make({ rlim_cur: to_user(limit.cur), rlim_max: to_user(limit.max) });
  if (fresh !== 0) {
    const wanted = rlimit_struct.make();
    if (get_user_struct(wanted, fresh) < 0) return -EFAULT;
    const [cur, max] = [from_user(wanted.rlim_cur), from_user(wanted.rlim_max)];
    if (cur > max) return -EINVAL;
    if (resource === RLIMIT_NOFILE && max > 1048576) return -EPERM;
    target.signal.rlim[resource] = { cur, max };
  }
  return old === 0 ? 0 : put_user_struct(old, before);
}
export const sys_getrlimit = (task: task_struct, resource: number, address: number): number =>
  task.signal.rlim[resource] === undefined ? -EINVAL : address === 0 ? -EFAULT : sys_prlimit64(task, 0, resource, 0, address);
export const sys_setrlimit = (task: task_struct, resource: number, address: number): number =>
  task.signal.rlim[resource] === undefined ? -EINVAL : address === 0 ? -EFAULT : sys_prlimit64(task, 0, resource, address, 0);

// ---------------------------------------------------------------- usage

/** Cycles the task has run, up to now if it runs. */
export function task_runtime(task: task_struct): number {
  const { se } = task;
  return se.sum_exec_runtime + (task.on_cpu ? Math.max(0, machine().processors[task.cpu]!.clock - se.exec_start) : 0);
}

export function process_times(signal: signal_struct): { utime: number; stime: number; gtime: number } {
  const total = { utime: signal.utime, stime: signal.stime, gtime: signal.gtime };
  for (const t of signal.threads) {
    total.utime += t.utime;
    total.stime += t.stime;
    total.gtime += t.gtime;
  }
  return total;
}

/** 'both' adds the process's own and its children's, as wait4 reports a dead child. */
export function fill_rusage(r: rusage, task: task_struct, who: 'self' | 'children' | 'thread' | 'both'): void {
  const { signal } = task;
  const own = who === 'self' || who === 'both';
  const children = who === 'children' || who === 'both';
  const threads = who === 'thread' ? [task] : own ? signal.threads : [];
  const sum = (mine: (t: task_struct) => number, gone: number, theirs: number): number =>
    threads.reduce((n, t) => n + mine(t), 0) + (own ? gone : 0) + (children ? theirs : 0);
  const times = { utime: sum((t) => t.utime, signal.utime, signal.cutime), stime: sum((t) => t.stime, signal.stime, signal.cstime) };
  for (const [field, cycles] of [['ru_utime', times.utime], ['ru_stime', times.stime]] as const) {
    const us = Math.floor(cycles_to_ns(cycles) / 1000);
    r[field].tv_sec = BigInt(Math.floor(us / 1e6));
    r[field].tv_usec = BigInt(us % 1e6);
  }
  const rss = Math.max(own ? Math.max(signal.maxrss, task.mm?.hiwater_rss ?? 0) : 0, children ? signal.cmaxrss : 0);
  r.ru_maxrss = BigInt(rss * 4);
  r.ru_minflt = BigInt(sum((t) => t.min_flt, signal.min_flt, signal.cmin_flt));
  r.ru_majflt = BigInt(sum((t) => t.maj_flt, signal.maj_flt, signal.cmaj_flt));
  r.ru_nvcsw = BigInt(sum((t) => t.nvcsw, signal.nvcsw, signal.cnvcsw));
  r.ru_nivcsw = BigInt(sum((t) => t.nivcsw, signal.nivcsw, signal.cnivcsw));
}

export function sys_getrusage(task: task_struct, who: number, address: number): number {
  const which = who === RUSAGE_SELF ? 'self' : who === RUSAGE_CHILDREN ? 'children' : who === RUSAGE_THREAD ? 'thread' : undefined;
  if (which === undefined) return -EINVAL;
  const r = rusage.make();
  fill_rusage(r, task, which);
  return put_user_struct(address, r);
}

// ---------------------------------------------------------------- identity

export const sys_getpid = (task: task_struct): number => task.tgid;
export const sys_gettid = (task: task_struct): number => task.pid;
export const sys_getppid = (task: task_struct): number => task.group_leader.real_parent.tgid;
/** There is one user, root. */
export const sys_getuid = (): number => 0;
export const sys_setuid = (_task: task_struct, id: number): number => (id === 0 ? 0 : id < 0 ? -EINVAL : -EPERM);
export const sys_getgroups = (_task: task_struct, size: number): number => (size < 0 ? -EINVAL : 0);

export function sys_set_tid_address(task: task_struct, address: number): number {
  task.clear_child_tid = address;
  return task.pid;
}

function by_pid(task: task_struct, pid: number): task_struct | undefined { return pid === 0 ? task : find_task_by_vpid(pid); }

export function sys_getpgid(task: task_struct, pid: number): number { return by_pid(task, pid)?.signal.pgrp ?? -ESRCH; }
export const sys_getpgrp = (task: task_struct): number => task.signal.pgrp;
export function sys_getsid(task: task_struct, pid: number): number { return by_pid(task, pid)?.signal.session ?? -ESRCH; }

export function sys_setpgid(task: task_struct, upid: number, upgid: number): number {
  const self = task.group_leader;
  const pid = upid === 0 ? self.pid : upid;
  const pgid = upgid === 0 ? pid : upgid;
  if (pgid < 0) return -EINVAL;
  const target = find_task_by_vpid(pid);
  if (target === undefined) return -ESRCH;
  if (target !== target.group_leader) return -EINVAL;
  if (target.real_parent.group_leader === self) {
    if (target.signal.session !== self.signal.session) return -EPERM;
    if (target.signal.did_exec) return -EACCES;
  } else if (target !== self) return -ESRCH;
  if (target.signal.leader) return -EPERM;
  if (pgid !== pid && !for_each_process().some((t) => t.signal.pgrp === pgid && t.signal.session === self.signal.session)) return -EPERM;
  target.signal.pgrp = pgid;
  return 0;
}

export function sys_setsid(task: task_struct): number {
  const { signal } = task;
  const pid = task.tgid;
  if (signal.leader || pid_tasks().some((t) => t.signal.pgrp === pid)) return -EPERM;
  signal.leader = true;
  signal.session = signal.pgrp = pid;
  signal.tty = undefined;
  return pid;
}

// ---------------------------------------------------------------- names and numbers of the system

const names = kernelVariable(() => ({ nodename: 'vitrine', domainname: '(none)' }));

export function sys_uname(_task: task_struct, address: number): number {
  const u = new Uint8Array(utsname.size);
  const fields = [NAME, names().nodename, RELEASE, VERSION, 'x86_64', names().domainname];
  fields.forEach((text, i) => u.set(utf8(text).subarray(0, 64), i * 65));
  return copy_to_user(address, u);
}

export const nodename = (): string => names().nodename;
export function sys_sethostname(_task: task_struct, address: number, length: number): number {
  if (length < 0 || length > 64) return -EINVAL;
  const name = new Uint8Array(length);
  if (copy_from_user(name, address) < 0) return -EFAULT;
  names().nodename = fromUtf8(name);
  return 0;
}

export function sys_sysinfo(_task: task_struct, address: number): number {
  const info = sysinfo.make({
    uptime: BigInt(Math.ceil(ktime_get_ns() / 1e9)), totalram: BigInt(totalram_pages() * 4096), freeram: BigInt(nr_free_pages() * 4096), procs: pid_tasks().length, mem_unit: 1,
  });
  calc_load().forEach((load, i) => { info.loads.set(i, BigInt(Math.round(load * 65536))); });
  return put_user_struct(address, info);
}

export function sys_getcpu(_task: task_struct, cpu: number, node: number): number {
  if (cpu !== 0 && put_user32(cpu, this_processor().id) < 0) return -EFAULT;
  return node === 0 ? 0 : put_user32(node, 0);
}

const GRND_FLAGS = 7;
export function sys_getrandom(_task: task_struct, address: number, length: number, flags: number): number {
  if ((flags & ~GRND_FLAGS) !== 0 || (flags & 6) === 6) return -EINVAL;
  const n = Math.min(length < 0 ? 2 ** 25 : length, 2 ** 25);
  for (let done = 0; done < n; ) {
    const piece = new Uint8Array(Math.min(4096, n - done));
    machine().random.fill(piece);
    if (copy_to_user(address + done, piece) < 0) return done || -EFAULT;
    done += piece.length;
  }
  return n;
}

export function sys_prctl(task: task_struct, option: number, arg2: number): number {
  switch (option) {
    case PR.PR_SET_NAME: {
      const name = strncpy_from_user(arg2, 16);
      if (typeof name === 'number') return name;
      const bytes = new Uint8Array(15);
      if (name === undefined && copy_from_user(bytes, arg2) < 0) return -EFAULT;
      task.comm = name === undefined ? fromUtf8(bytes) : name.slice(0, 15);
      return 0;
    }
    case PR.PR_GET_NAME: {
      const bytes = new Uint8Array(16);
      bytes.set(utf8(task.comm).subarray(0, 15));
      return copy_to_user(arg2, bytes);
    }
    case PR.PR_GET_DUMPABLE: return 1;
    case PR.PR_SET_DUMPABLE: return arg2 === 0 || arg2 === 1 ? 0 : -EINVAL;
    case PR.PR_GET_TIMERSLACK: return 50_000;
    case PR.PR_GET_NO_NEW_PRIVS: return 0;
    default: return -EINVAL;
  }
}

// ---------------------------------------------------------------- the end

/** The value of cmd; for LINUX_REBOOT_CMD_POWER_OFF `arg` is the simulator's exit status. */
export function sys_reboot(_task: task_struct, magic1: number, magic2: number, cmd: number, arg: number): number {
  if (magic1 >>> 0 !== PR.LINUX_REBOOT_MAGIC1 || ![0x28121969, 0x05121996, 0x16041998, 0x20112000].includes(magic2 >>> 0)) return -EINVAL;
  switch (cmd >>> 0) {
    case PR.LINUX_REBOOT_CMD_CAD_ON:
    case PR.LINUX_REBOOT_CMD_CAD_OFF: return 0;
    case PR.LINUX_REBOOT_CMD_HALT:
    case PR.LINUX_REBOOT_CMD_POWER_OFF:
    case PR.LINUX_REBOOT_CMD_RESTART:
      kernel_power_off(arg & 0xff, cmd >>> 0);
      return 0;
    default: return -EINVAL;
  }
}

export function kernel_power_off(status: number, cmd: number = PR.LINUX_REBOOT_CMD_POWER_OFF): void {
  pr_info(cmd === PR.LINUX_REBOOT_CMD_RESTART ? 'reboot: Restarting system' : cmd === PR.LINUX_REBOOT_CMD_HALT ? 'reboot: System halted' : 'reboot: Power down');
  machine().powerOff(status);
}

/** Only PER_LINUX. */
export const sys_personality = (): number => 0;
