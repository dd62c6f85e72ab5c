/**
 * The task: what ps shows a line for, what the scheduler runs, what a signal reaches.
 *
 * Linux: include/linux/sched.h, include/linux/sched/signal.h
 *
 * A task's code is generators. Its program (kernel/process.ts) yields once for each system call; a call that may
 * sleep becomes the task's kernel generator, which yields to let the processor loop (core.ts) look around: the loop
 * reschedules when the task's state is not TASK_RUNNING or need_resched is set, and otherwise resumes it.
 */
import { holdDoubles } from '../../lib/doubles.ts';
import type { Sys, UserThread } from '../../abi/process.ts';
import type { files_struct, fs_struct } from '../fs/types.ts';
import type { mm_struct } from '../mm/types.ts';
import type { pt_regs } from '../user-mode.ts';
import type { wait_queue_head } from './wait.ts';

/** Kernel code that may sleep. A plain function cannot. */
export type MaySleep<T = void> = Generator<undefined, T, undefined>;

export const TASK_RUNNING = 0x0;
export const TASK_INTERRUPTIBLE = 0x1;
export const TASK_UNINTERRUPTIBLE = 0x2;
export const __TASK_STOPPED = 0x4;
export const __TASK_TRACED = 0x8;
export const TASK_DEAD = 0x80;
export const TASK_NEW = 0x800;
/** Sleeps that only a fatal signal ends. */
export const TASK_WAKEKILL = 0x100;
export const TASK_KILLABLE = TASK_WAKEKILL | TASK_UNINTERRUPTIBLE;
export const TASK_STOPPED = TASK_WAKEKILL | __TASK_STOPPED;
export const TASK_TRACED = TASK_WAKEKILL | __TASK_TRACED;
export const TASK_NORMAL = TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE;

/** Values of exit_state. */
export const EXIT_DEAD = 0x10;
export const EXIT_ZOMBIE = 0x20;

export const PF_IDLE = 0x2;
export const PF_EXITING = 0x4;
export const PF_VCPU = 0x20;
export const PF_FORKNOEXEC = 0x40;
export const PF_SIGNALED = 0x400;
export const PF_KTHREAD = 0x200000;

/** What runs when the task is in user mode: the program and, above it, the signal handlers it was interrupted by. */
export interface UserFrame {
  /** Undefined: the program is machine code, in task.regs. */
  readonly gen: Sys<unknown> | undefined;
  /** Return value of the last system call, which `gen` is to be resumed with. */
  result: number;
  /** Cycles of computing left before the next call. */
  burn: number;
  /** The registers hold a call that is still to be made, once nothing is left to burn. */
  calling: boolean;
  /** -ERESTART* of the last call while nobody has decided what becomes of it, else 0. */
  restart: number;
  /** Set when `gen` ended by a fault or exception: the signal that kills the task once handlers are through. */
  lost: kernel_siginfo | undefined;
  /** A handler's frame: what sigreturn restores. */
  readonly saved: { readonly mask: bigint; readonly regs: SavedRegs } | undefined;
}
export type SavedRegs = Pick<UserThread, 'nr' | 'a0' | 'a1' | 'a2' | 'a3' | 'a4' | 'a5' | 'body'>;

/** sched_entity and what the fair class keeps of a task. Times are in cycles of the TSC, vruntime in weighted cycles. */
export interface sched_entity {
  weight: number;
  vruntime: number;
  deadline: number;
  slice: number;
  vlag: number;
  exec_start: number;
  sum_exec_runtime: number;
  prev_sum_exec_runtime: number;
  nr_migrations: number;
}

/** One way of choosing who runs; Linux's struct sched_class. `rq` is core.ts's. */
export interface sched_class<RQ = unknown> {
  readonly name: 'stop' | 'rt' | 'fair' | 'idle';
  readonly rank: number;
  enqueue_task(rq: RQ, task: task_struct, flags: number): void;
  dequeue_task(rq: RQ, task: task_struct, flags: number): void;
  yield_task(rq: RQ): void;
  wakeup_preempt(rq: RQ, task: task_struct): void;
  pick_next_task(rq: RQ): task_struct | undefined;
  put_prev_task(rq: RQ, task: task_struct): void;
  set_next_task(rq: RQ, task: task_struct): void;
  update_curr(rq: RQ): void;
  task_tick(rq: RQ, task: task_struct): void;
}

export interface preempt_notifier {
  sched_in(cpu: number): void;
  sched_out(next: task_struct): void;
}

/** One pending signal with its siginfo; `si_code` SI_USER etc. Fields that a signal does not use are 0. */
export interface kernel_siginfo {
  si_signo: number;
  si_errno: number;
  si_code: number;
  si_pid: number;
  si_uid: number;
  si_status: number;
  si_addr: number;
  si_value: bigint;
}

export interface sigpending { signal: bigint; readonly list: kernel_siginfo[] }

/** Never changed in place: forks share it. */
export interface k_sigaction {
  /** SIG_DFL, SIG_IGN, or the number user space gave for its handler. */
  readonly sa_handler: bigint;
  readonly sa_flags: bigint;
  readonly sa_restorer: bigint;
  readonly sa_mask: bigint;
  /** The handler's code, which a register cannot carry. */
  readonly body: UserThread['body'];
}

/** Signal actions: shared by threads, copied by fork. action[sig] is signal `sig`; 0 is unused. */
export interface sighand_struct { readonly action: k_sigaction[]; count: number }

/** A terminal as job control sees it; the tty driver's tty_struct has these members and more. */
export interface controlling_tty {
  readonly name: string;
  /** Device number, for /proc/<pid>/stat. */
  readonly dev: number;
  /** Foreground process group, 0 when none. */
  pgrp: number;
  session: number;
  /** The session leader exits: hang up. */
  disassociate(): void;
}

/** What the threads of a process share. */
export class signal_struct {
  readonly threads: task_struct[] = [];
  /** Threads not yet dead. */
  live = 0;
  pgrp = 0;
  session = 0;
  leader = false;
  tty: controlling_tty | undefined;
  readonly shared_pending: sigpending = { signal: 0n, list: [] };
  group_exit = false;
  group_exit_code = 0;
  /** Job control: threads that still have to stop; the stop or continue not yet reported to the parent. */
  group_stop_count = 0;
  stopped = false;
  stop_signal = 0;
  /** For wait: 0 or CLD_STOPPED / CLD_CONTINUED not yet collected. */
  stop_report: 0 | 5 | 6 = 0;
  /** Parents and children wait for state changes here. */
  readonly wait_chldexit: wait_queue_head;
  /** Soft and hard limits by RLIMIT_*. */
  rlim: { cur: number; max: number }[];
  /** Sums of threads that are gone. */
  utime = 0; stime = 0; gtime = 0; nvcsw = 0; nivcsw = 0; sum_sched_runtime = 0; min_flt = 0; maj_flt = 0;
  /** Sums of children that were waited for. */
  cutime = 0; cstime = 0; cgtime = 0; cnvcsw = 0; cnivcsw = 0; cmin_flt = 0; cmaj_flt = 0; maxrss = 0; cmaxrss = 0;
  /** ITIMER_REAL: the timer and its interval, owned by kernel/itimer.ts. */
  real_timer: unknown;
  did_exec = false;
  constructor(waitQueue: wait_queue_head, rlim: { cur: number; max: number }[]) {
    this.wait_chldexit = waitQueue;
    this.rlim = rlim;
  }
}

export class task_struct {
  /** Changes once at most: a thread that calls execve becomes the leader. */
  pid: number;
  tgid: number;
  comm: string;
  flags = 0;
  __state = TASK_NEW;
  exit_state = 0;
  /** As wait4 reports it: status << 8 | signal. */
  exit_code = 0;
  /** What the parent gets when the process dies; -1 in threads other than the leader. */
  exit_signal = 17;
  start_time = 0;

  // ---- scheduling
  policy = 0;
  static_prio = 120;
  /** 0 to 99 real time (99 - rt_priority), 100 to 139 fair: Linux's internal scale. */
  prio = 120;
  rt_priority = 0;
  sched_reset_on_fork = false;
  sched_class!: sched_class;
  readonly se: sched_entity = {
    weight: 1024, vruntime: 0, deadline: 0, slice: 0, vlag: 0, exec_start: 0, sum_exec_runtime: 0, prev_sum_exec_runtime: 0, nr_migrations: 0,
  };
  /** SCHED_RR: cycles left of the time slice. */
  rt_time_slice = 0;
  /** Where it runs, or last ran. */
  cpu = 0;
  on_rq = false;
  on_cpu = false;
  /** Bit n: may run on processor n. */
  cpus_mask: number;
  need_resched = false;
  /** Voluntary and involuntary context switches. */
  nvcsw = 0;
  nivcsw = 0;
  /** Cycles in user mode, in the kernel, and (part of utime) in guest mode. */
  utime = 0;
  stime = 0;
  gtime = 0;
  /** Clock of its processor up to which time is accounted. */
  vtime = 0;
  /** In guest mode: since when, as far as it is not accounted yet. */
  guest_since = 0;
  /** Cycles spent runnable but waiting, and since when it waits; slices run. /proc/<pid>/schedstat. */
  run_delay = 0;
  last_queued = 0;
  pcount = 0;
  preempt_notifiers: preempt_notifier[] = [];
  /** Name of the kernel function it sleeps in, for wchan. */
  wchan = '';

  // ---- family
  parent!: task_struct;
  /** The parent by birth; differs from `parent` while traced. */
  real_parent!: task_struct;
  readonly children: task_struct[] = [];
  group_leader: task_struct = this;
  /** Tasks this one traces. */
  readonly ptraced: task_struct[] = [];
  ptrace: unknown;

  // ---- what it holds; undefined once it has exited
  mm: mm_struct | undefined;
  files: files_struct | undefined;
  fs: fs_struct | undefined;
  signal!: signal_struct;
  sighand!: sighand_struct;
  min_flt = 0;
  maj_flt = 0;

  // ---- signals
  blocked = 0n;
  /** Mask to restore after the current call (ppoll, KVM_RUN), when set. */
  saved_sigmask: bigint | undefined;
  readonly pending: sigpending = { signal: 0n, list: [] };
  /** TIF_SIGPENDING: a signal that is not blocked wants delivery, or the task has to stop or die. */
  sigpending = false;
  /** TIF_NOTIFY_RESUME: an interrupted call or a temporary mask is to be settled before user code goes on. */
  notify_resume = false;

  // ---- code
  /** Registers and memory of the program; undefined for kernel threads. */
  user: UserThread | undefined;
  readonly frames: UserFrame[] = [];
  /** Registers of a program that is machine code; its one frame has no generator. */
  regs: pt_regs | undefined;
  /** The system call in progress that may sleep, or a kernel thread's body. */
  kernel_gen: MaySleep<number> | undefined;
  /** Number of the system call in progress, -1 in user mode. */
  syscall_nr = -1;
  /** Set by an access that faulted in user code: the program cannot run on. */
  user_fault: kernel_siginfo | undefined;
  /** How restart_syscall goes on with a sleep that a stop interrupted. */
  restart_block: (() => MaySleep<number>) | undefined;
  clear_child_tid = 0;
  vfork_done: wait_queue_head | undefined;

  constructor(pid: number, comm: string, cpus_mask: number) {
    this.pid = pid;
    this.tgid = pid;
    this.comm = comm;
    this.cpus_mask = cpus_mask;
    holdDoubles<'utime' | 'stime' | 'gtime' | 'vtime' | 'guest_since' | 'run_delay' | 'last_queued' | 'start_time'>(this, 'utime', 'stime', 'gtime', 'vtime', 'guest_since', 'run_delay', 'last_queued', 'start_time');
    holdDoubles(this.se, 'vruntime', 'deadline', 'exec_start', 'sum_exec_runtime', 'prev_sum_exec_runtime', 'vlag', 'slice');
  }
}
