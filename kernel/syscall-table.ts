/**
 * Handlers by system call. Numbers, names and argument kinds are data in abi/syscall-signatures.ts; here each gets its
 * code, and what comes out is an array by number for the entry code.
 *
 * Linux: arch/x86/entry/syscall_64.c
 *
 * Registers hold numbers or bigints as user space left them. A handler gets plain integers; only ioctl's argument
 * stays a 64-bit word. A call that may sleep returns the generator that has the result.
 */
import { type ArgKind, syscall_signatures } from '../abi/syscall-signatures.ts';
import type { UserThread, Word } from '../abi/process.ts';
import * as exec from './exec.ts';
import * as exit from './exit.ts';
import * as fork from './fork.ts';
import * as eventfd from './fs/eventfd.ts';
import * as eventpoll from './fs/eventpoll.ts';
import * as fcntl from './fs/fcntl.ts';
import * as fsIoctl from './fs/ioctl.ts';
import * as nameiCalls from './fs/namei-calls.ts';
import * as locks from './fs/locks.ts';
import * as memfd from './fs/memfd.ts';
import * as namespace from './fs/namespace.ts';
import * as open from './fs/open.ts';
import * as pipe from './fs/pipe.ts';
import * as readWrite from './fs/read-write.ts';
import * as readdir from './fs/readdir.ts';
import * as select from './fs/select.ts';
import * as signalfd from './fs/signalfd.ts';
import * as stat from './fs/stat.ts';
import * as timerfd from './fs/timerfd.ts';
import * as utimes from './fs/utimes.ts';
import * as futex from './futex.ts';
import * as mmap from './mm/mmap.ts';
import * as module from './module.ts';
import * as printk from './syslog.ts';
import * as ptrace from './ptrace.ts';
import * as sched from './sched/syscalls.ts';
import type { MaySleep, task_struct } from './sched/types.ts';
import * as signal from './signal-calls.ts';
import * as sys from './sys.ts';
import * as itimer from './time/itimer.ts';
import * as clock from './time/posix-clock.ts';
import * as userMode from './user-mode.ts';

type Answer = number | MaySleep<number>;
// biome-ignore lint/suspicious/noExplicitAny: handlers take from none to six integers
type Handler = (task: task_struct, ...args: any[]) => Answer;

export interface SyscallEntry {
  readonly nr: number;
  readonly name: string;
  readonly call: (task: task_struct, user: UserThread) => Answer;
}

const handlers = (): Readonly<Record<string, Handler>> => ({
  // tasks
  clone: fork.sys_clone, clone3: fork.sys_clone3, fork: fork.sys_fork, vfork: fork.sys_vfork, execve: exec.sys_execve,
  exit: exit.sys_exit, exit_group: exit.sys_exit_group, wait4: exit.sys_wait4, waitid: exit.sys_waitid,
  getpid: sys.sys_getpid, gettid: sys.sys_gettid, getppid: sys.sys_getppid, getpgid: sys.sys_getpgid, getpgrp: sys.sys_getpgrp, getsid: sys.sys_getsid,
  setpgid: sys.sys_setpgid, setsid: sys.sys_setsid, set_tid_address: sys.sys_set_tid_address,
  getuid: sys.sys_getuid, geteuid: sys.sys_getuid, getgid: sys.sys_getuid, getegid: sys.sys_getuid, setuid: sys.sys_setuid, setgid: sys.sys_setuid, getgroups: sys.sys_getgroups,
  futex: futex.sys_futex, set_robust_list: futex.sys_set_robust_list, arch_prctl: userMode.sys_arch_prctl, ptrace: ptrace.sys_ptrace, process_vm_readv: ptrace.sys_process_vm_readv, process_vm_writev: ptrace.sys_process_vm_writev,
  // signals
  kill: signal.sys_kill, tkill: signal.sys_tkill, tgkill: signal.sys_tgkill, rt_sigaction: signal.sys_rt_sigaction, rt_sigprocmask: signal.sys_rt_sigprocmask,
  rt_sigpending: signal.sys_rt_sigpending, rt_sigsuspend: signal.sys_rt_sigsuspend, rt_sigtimedwait: signal.sys_rt_sigtimedwait, rt_sigreturn: signal.sys_rt_sigreturn,
  sigaltstack: userMode.sys_sigaltstack, pause: signal.sys_pause,
  // scheduling
  sched_yield: sched.sys_sched_yield, getpriority: sched.sys_getpriority, setpriority: sched.sys_setpriority,
  sched_setparam: sched.sys_sched_setparam, sched_getparam: sched.sys_sched_getparam, sched_setscheduler: sched.sys_sched_setscheduler, sched_getscheduler: sched.sys_sched_getscheduler,
  sched_setattr: sched.sys_sched_setattr, sched_getattr: sched.sys_sched_getattr,
  sched_get_priority_max: sched.sys_sched_get_priority_max, sched_get_priority_min: sched.sys_sched_get_priority_min, sched_rr_get_interval: sched.sys_sched_rr_get_interval,
  sched_setaffinity: sched.sys_sched_setaffinity, sched_getaffinity: sched.sys_sched_getaffinity, getcpu: sys.sys_getcpu,
  // time
  nanosleep: clock.sys_nanosleep, clock_nanosleep: clock.sys_clock_nanosleep, restart_syscall: clock.sys_restart_syscall,
  clock_gettime: clock.sys_clock_gettime, clock_getres: clock.sys_clock_getres, clock_settime: clock.sys_clock_settime,
  gettimeofday: clock.sys_gettimeofday, time: clock.sys_time, times: clock.sys_times,
  alarm: itimer.sys_alarm, getitimer: itimer.sys_getitimer, setitimer: itimer.sys_setitimer,
  // memory
  mmap: mmap.sys_mmap, munmap: mmap.sys_munmap, mprotect: mmap.sys_mprotect, mremap: mmap.sys_mremap, brk: mmap.sys_brk, madvise: mmap.sys_madvise,
  msync: mmap.sys_msync, mincore: mmap.sys_mincore, mlock: mmap.sys_mlock, munlock: mmap.sys_munlock,
  // the system
  uname: sys.sys_uname, sysinfo: sys.sys_sysinfo, sethostname: sys.sys_sethostname, getrandom: sys.sys_getrandom, prctl: sys.sys_prctl, personality: sys.sys_personality,
  getrlimit: sys.sys_getrlimit, setrlimit: sys.sys_setrlimit, prlimit64: sys.sys_prlimit64, getrusage: sys.sys_getrusage,
  syslog: printk.sys_syslog, reboot: sys.sys_reboot, init_module: module.sys_init_module, finit_module: module.sys_finit_module, delete_module: module.sys_delete_module,
  // files: in these every sys_NAME is the call NAME
  ...named(open, readWrite, readdir, stat, fcntl, fsIoctl, nameiCalls, namespace, pipe, eventfd, select, eventpoll, timerfd, signalfd, memfd, utimes, locks),
  umount2: namespace.sys_umount, fdatasync: readWrite.sys_fsync,
});

function named(...files: readonly object[]): Record<string, Handler> {
  const found: Record<string, Handler> = {};
  for (const file of files) for (const [key, value] of Object.entries(file)) if (key.startsWith('sys_') && key !== 'sys_umount') found[key.slice(4)] = value as Handler;
  return found;
}

/** What user space left in a register, as the integer a handler works with. */
function integer(word: Word): number {
  if (typeof word === 'number') return Number.isSafeInteger(word) ? word : wild(word);
  return typeof word === 'bigint' ? Number(BigInt.asIntN(64, word)) : 0;
}
const wild = (word: number): number => (word > 0 ? Number.MAX_SAFE_INTEGER : word < 0 ? Number.MIN_SAFE_INTEGER : 0) || 0;

/** Where C has an int, only the low 32 bits of a register arrive. */
const int = (word: Word): number => (typeof word === 'number' ? word | 0 : typeof word === 'bigint' ? Number(BigInt.asIntN(32, word)) : 0);
const uint = (word: Word): number => int(word) >>> 0;

type Convert = (word: Word) => number;
const CONVERT: Readonly<Partial<Record<ArgKind['kind'], Convert>>> = { int, enum: int, fd: int, dirfd: int, pid: int, signal: int, uint };

/** One adapter a number of arguments, so that no call touches a register it does not have. */
const adapters: readonly ((h: Handler, c: readonly Convert[]) => SyscallEntry['call'])[] = [
  (h) => (t) => h(t),
  (h, [c0]) => (t, u) => h(t, c0!(u.a0)),
  (h, [c0, c1]) => (t, u) => h(t, c0!(u.a0), c1!(u.a1)),
  (h, [c0, c1, c2]) => (t, u) => h(t, c0!(u.a0), c1!(u.a1), c2!(u.a2)),
  (h, [c0, c1, c2, c3]) => (t, u) => h(t, c0!(u.a0), c1!(u.a1), c2!(u.a2), c3!(u.a3)),
  (h, [c0, c1, c2, c3, c4]) => (t, u) => h(t, c0!(u.a0), c1!(u.a1), c2!(u.a2), c3!(u.a3), c4!(u.a4)),
  (h, [c0, c1, c2, c3, c4, c5]) => (t, u) => h(t, c0!(u.a0), c1!(u.a1), c2!(u.a2), c3!(u.a3), c4!(u.a4), c5!(u.a5)),
];

const word = (w: Word): Word => (typeof w === 'bigint' ? BigInt.asUintN(64, w) : integer(w));
const ioctl = (h: Handler): SyscallEntry['call'] => (t, u) => h(t, int(u.a0), uint(u.a1), word(u.a2));

/** By number. Filled by init_syscall_table. */
export const syscall_table: (SyscallEntry | undefined)[] = [];

/** Before the first task. Not when this file is loaded: the kernel's files import each other in circles. */
export function init_syscall_table(): void {
  if (syscall_table.length > 0) return;
  const bound = handlers();
  const left = new Set(Object.keys(bound));
  syscall_table.length = 512;
  syscall_table.fill(undefined);
  for (const { nr, name, args } of syscall_signatures) {
    const handler = bound[name];
    left.delete(name);
    if (handler === undefined) continue;
    syscall_table[nr] = { nr, name, call: name === 'ioctl' ? ioctl(handler) : adapters[args.length]!(handler, args.map(({ kind }) => CONVERT[kind] ?? integer)) };
  }
  if (left.size > 0) throw new Error(`system calls without a row in abi/syscall-signatures.ts: ${[...left].join(', ')}`);
}
