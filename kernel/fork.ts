/**
 * New tasks: processes, threads and kernel threads.
 * Linux: kernel/fork.c, kernel/kthread.c
 */
import type { UserThread } from '../abi/process.ts';
import { EAGAIN, EFAULT, EINVAL } from '../abi/errno.ts';
import {
  CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_FILES, CLONE_FS, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_SETTLS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VFORK, CLONE_VM, CSIGNAL, clone_args,
} from '../abi/sched.ts';
import { SIGCHLD } from '../abi/signal.ts';
import { MAX_CPUS } from '../machine/machine.ts';
import { current, machine } from './current.ts';
import { dup_fd } from './fs/file.ts';
import { copy_fs_struct } from './fs/namespace.ts';
import { get_user_struct } from './fs/user.ts';
import { mmget, dup_mm } from './mm/mm.ts';
import type { mm_struct } from './mm/types.ts';
import { put_user32 } from './mm/uaccess.ts';
import { alloc_pid, attach_pid, pid_state } from './pid.ts';
import { ptrace_fork } from './ptrace.ts';
import { class_for, wake_up_new_task } from './sched/core.ts';
import { reset_on_fork } from './sched/syscalls.ts';
import { type MaySleep, PF_FORKNOEXEC, PF_KTHREAD, type k_sigaction, type sighand_struct, signal_struct, task_struct } from './sched/types.ts';
import { wait_event_killable, wait_queue_head } from './sched/wait.ts';
import { default_action, recalc_sigpending, start_body } from './signal.ts';
import { default_rlimits } from './sys.ts';
import { copy_thread } from './user-mode.ts';
import { sched_process_fork } from './trace/events-sched.ts';

const CPU_MASK_ALL = (1 << MAX_CPUS) - 1;

export const new_sighand = (): sighand_struct => ({ action: new Array<k_sigaction>(65).fill(default_action), count: 1 });

/** What libc has not set up yet, and what a registered program replaces at once. */
const noLibc = { clone() { return this; } };
export const fresh_thread = (mm: mm_struct): UserThread =>
  ({ space: mm.space, nr: 0, a0: 0, a1: 0, a2: 0, a3: 0, a4: 0, a5: 0, body: undefined, burnt: 0, libc: noLibc });

export interface clone_request {
  flags: number;
  exit_signal: number;
  parent_tid: number;
  child_tid: number;
  /** Of machine code: its own stack pointer, 0 for the parent's, and the base of its thread-local storage. */
  stack: number;
  tls: number;
  body: UserThread['body'];
}

/** A child that is ready but for being woken, or -errno. Nothing of it is left behind on failure. */
function copy_process(parent: task_struct, r: clone_request): task_struct | number {
  const { flags } = r;
  const has = (bit: number) => (flags & bit) !== 0;
  if (has(CLONE_THREAD) && !has(CLONE_SIGHAND)) return -EINVAL;
  if (has(CLONE_SIGHAND) && !has(CLONE_VM)) return -EINVAL;
  if (has(CLONE_PARENT) && parent.tgid === 1) return -EINVAL;
  // A TypeScript program cannot return twice: the child's code must be named.
  const gen = parent.regs === undefined ? start_body(r.body) : undefined;
  if (gen === undefined && parent.regs === undefined) return -EINVAL;
  const nproc = parent.signal.rlim[6]?.cur ?? Number.POSITIVE_INFINITY;
  if (pid_state().tasks.size >= nproc) return -EAGAIN;
  const mm = has(CLONE_VM) ? parent.mm! : dup_mm(parent.mm!);
  if (typeof mm === 'number') return mm;
  if (has(CLONE_VM)) mmget(mm);
  const pid = alloc_pid();
  if (pid < 0) return pid;

  const child = new_task(pid, parent);
  child.flags = PF_FORKNOEXEC;
  child.mm = mm;
  child.user = { ...fresh_thread(mm), libc: has(CLONE_VM) ? parent.user!.libc : parent.user!.libc.clone() };
  child.frames.push({ gen, result: 0, burn: 0, calling: false, restart: 0, lost: undefined, saved: undefined });
  if (parent.regs !== undefined) child.regs = copy_thread(parent.regs, r.stack, has(CLONE_SETTLS) ? BigInt.asUintN(64, BigInt(r.tls)) : undefined);
  if (has(CLONE_FILES)) (child.files = parent.files!).count++;
  else child.files = dup_fd(parent.files!);
  if (has(CLONE_FS)) (child.fs = parent.fs!).users++;
  else child.fs = copy_fs_struct(parent.fs!);
  if (has(CLONE_SIGHAND)) (child.sighand = parent.sighand).count++;
  else child.sighand = { action: parent.sighand.action.slice(), count: 1 };
  child.blocked = parent.blocked;
  if (has(CLONE_THREAD)) {
    child.signal = parent.signal;
    child.tgid = parent.tgid;
    child.group_leader = parent.group_leader;
    child.exit_signal = -1;
  } else {
    child.signal = copy_signal(parent.signal);
    child.exit_signal = r.exit_signal;
    mm.owner ??= child;
  }
  if (!has(CLONE_VM)) mm.owner = child;
  child.real_parent = has(CLONE_PARENT) || has(CLONE_THREAD) ? parent.real_parent : parent;
  child.parent = child.real_parent;
  child.clear_child_tid = has(CLONE_CHILD_CLEARTID) ? r.child_tid : 0;
  link(child);
  recalc_sigpending(child);
  return child;
}

/** Scheduling state as it is inherited. */
function new_task(pid: number, parent: task_struct): task_struct {
  const child = new task_struct(pid, parent.comm, parent.cpus_mask);
  child.policy = parent.policy;
  child.static_prio = parent.static_prio;
  child.rt_priority = parent.rt_priority;
  child.prio = parent.prio;
  child.se.weight = parent.se.weight;
  if (parent.sched_reset_on_fork) reset_on_fork(child);
  child.sched_class = class_for(child.prio);
  child.cpu = parent.cpu;
  child.start_time = machine().now();
  return child;
}

function copy_signal(from: signal_struct): signal_struct {
  const signal = new signal_struct(new wait_queue_head(), from.rlim.map((l) => ({ ...l })));
  signal.pgrp = from.pgrp;
  signal.session = from.session;
  signal.tty = from.tty;
  return signal;
}

function link(child: task_struct): void {
  child.signal.threads.push(child);
  child.signal.live++;
  if (child === child.group_leader) child.real_parent.children.push(child);
  attach_pid(child);
  pid_state().total_forks++;
}

/** clone: the new task's number, or -errno. With CLONE_VFORK the caller sleeps until the child has let go of the memory. */
export function kernel_clone(parent: task_struct, r: clone_request): number | MaySleep<number> {
  const child = copy_process(parent, r);
  if (typeof child === 'number') return child;
  if (sched_process_fork.enabled) sched_process_fork.trace({ parent_comm: parent.comm, parent_pid: parent.pid, child_comm: child.comm, child_pid: child.pid });
  const { pid } = child;
  ptrace_fork(parent, child, r.flags | r.exit_signal);
  if ((r.flags & CLONE_PARENT_SETTID) !== 0) put_user32(r.parent_tid, pid);
  if ((r.flags & CLONE_CHILD_SETTID) !== 0 && (r.flags & CLONE_VM) !== 0) put_user32(r.child_tid, pid);
  if ((r.flags & CLONE_VFORK) === 0) {
    wake_up_new_task(child);
    return pid;
  }
  const done = (child.vfork_done = new wait_queue_head());
  wake_up_new_task(child);
  return wait_for_vfork_done(child, done, pid);
}

function* wait_for_vfork_done(child: task_struct, done: wait_queue_head, pid: number): MaySleep<number> {
  yield* wait_event_killable(done, () => child.vfork_done === undefined);
  return pid;
}

const PLAIN_FORK = { flags: 0, exit_signal: SIGCHLD, parent_tid: 0, child_tid: 0, stack: 0, tls: 0 } as const;

export const sys_fork = (task: task_struct): number | MaySleep<number> =>
  kernel_clone(task, { ...PLAIN_FORK, body: task.user!.body });
export const sys_vfork = (task: task_struct): number | MaySleep<number> =>
  kernel_clone(task, { ...PLAIN_FORK, flags: CLONE_VFORK | CLONE_VM, body: task.user!.body });
export const sys_clone = (task: task_struct, flags: number, stack: number, parent_tid: number, child_tid: number, tls: number): number | MaySleep<number> =>
  kernel_clone(task, { flags: flags & ~CSIGNAL, exit_signal: flags & CSIGNAL, parent_tid, child_tid, stack, tls, body: task.user!.body });

export function sys_clone3(task: task_struct, address: number, size: number): number | MaySleep<number> {
  if (size < 64) return -EINVAL;
  const args = clone_args.make();
  if (get_user_struct(args, address) < 0) return -EFAULT;
  return kernel_clone(task, {
    flags: Number(args.flags & 0xffff_ffffn) | 0, exit_signal: Number(args.exit_signal & 0xffn), parent_tid: Number(args.parent_tid), child_tid: Number(args.child_tid),
    stack: Number(args.stack + args.stack_size), tls: Number(args.tls), body: task.user!.body,
  });
}

// ---------------------------------------------------------------- tasks without a parent's copy

/** A kernel thread, asleep until woken. `body` is its whole life; returning is exiting. */
export function kthread_create(body: () => MaySleep<number>, name: string, parent: task_struct = current()): task_struct {
  const task = bare_task(alloc_pid(), name, parent);
  task.flags = PF_KTHREAD;
  task.kernel_gen = body();
  task.sighand = new_sighand();
  return task;
}

/** A task that is nobody's copy: init, and kernel threads. */
export function bare_task(pid: number, name: string, parent: task_struct): task_struct {
  const task = new task_struct(pid, name, CPU_MASK_ALL);
  task.sched_class = class_for(task.prio);
  task.real_parent = task.parent = parent;
  task.signal = new signal_struct(new wait_queue_head(), default_rlimits());
  task.sighand = new_sighand();
  task.exit_signal = SIGCHLD;
  task.start_time = machine().now();
  task.cpu = 0;
  task.signal.threads.push(task);
  task.signal.live = 1;
  parent.children.push(task);
  attach_pid(task);
  return task;
}
