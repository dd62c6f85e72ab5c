/**
 * Tracing: a process is stopped at its system calls and signals, and looked into, by another.
 *
 * Linux: kernel/ptrace.c, include/linux/ptrace.h
 *
 * A traced system call runs as one kernel generator, so that the stops before and after it are ordinary sleeps
 * (TASK_TRACED). A stop for a signal is taken at the border to user mode, where do_signal asks.
 */
import { EFAULT, EINVAL, EIO, EPERM, ESRCH, ENOSYS } from '../abi/errno.ts';
import { iovec } from '../abi/fcntl.ts';
import type { Word } from '../abi/process.ts';
import { windowOf } from '../abi/struct.ts';
import * as P from '../abi/ptrace.ts';
import { CLD_TRAPPED, SIGCHLD, SIGKILL, SIGSTOP, SIGTRAP, _NSIG, sigmask } from '../abi/signal.ts';
import { CLONE_VFORK, CSIGNAL } from '../abi/sched.ts';
import { get_user_struct, put_user_struct } from './fs/user.ts';
import { access_process_vm, copy_from_user, copy_to_user, put_user64 } from './mm/uaccess.ts';
import { find_task_by_vpid } from './pid.ts';
import { siginfo, user_siginfo } from './siginfo.ts';
import { wake_up_state } from './sched/core.ts';
import { type MaySleep, PF_EXITING, PF_KTHREAD, TASK_TRACED, __TASK_TRACED, type kernel_siginfo, type task_struct } from './sched/types.ts';
import { recalc_sigpending, send_signal } from './signal.ts';
import { fill_siginfo } from './signal-calls.ts';

export interface Tracing {
  options: number;
  seized: boolean;
  /** Stop at system calls (PTRACE_SYSCALL) until the next resume says otherwise. */
  syscalls: boolean;
  /** What wait reports while it is stopped: a signal, with events above bit 8. 0 while it runs. */
  stop_status: number;
  reported: boolean;
  message: number;
  op: number;
  result: number;
  /** The signal it is stopped for, and the one the tracer wants delivered instead. */
  held: kernel_siginfo | undefined;
  inject: number;
  /** Set by a call that made a child: the event to stop for. */
  event: number;
}

const tracing = (task: task_struct): Tracing | undefined => task.ptrace as Tracing | undefined;

// ---------------------------------------------------------------- the traced side

function enter_stop(task: task_struct, t: Tracing, status: number): void {
  t.stop_status = status;
  t.reported = false;
  task.__state = TASK_TRACED;
  const tracer = task.parent;
  send_signal(SIGCHLD, { ...siginfo(SIGCHLD, CLD_TRAPPED), si_pid: task.pid, si_status: status & 0xff }, tracer, 'process');
  tracer.signal.wait_chldexit.wake_up_all();
}

function* stop(task: task_struct, status: number): MaySleep<void> {
  const t = tracing(task);
  if (t === undefined) return;
  enter_stop(task, t, status);
  yield;
  t.stop_status = 0;
  if (t.inject !== 0 && tracing(task) !== undefined) send_signal(t.inject, user_siginfo(t.inject, task.parent), task, 'thread');
  t.inject = 0;
}

const syscall_status = (t: Tracing): number => SIGTRAP | ((t.options & P.PTRACE_O_TRACESYSGOOD) !== 0 ? 0x80 : 0);

/** The whole of a system call of a traced task. */
export function* traced_call(task: task_struct, call: () => number | MaySleep<number>): MaySleep<number> {
  let t = tracing(task)!;
  if (t.syscalls) {
    t.op = P.PTRACE_SYSCALL_INFO_ENTRY;
    t.result = -ENOSYS;
    yield* stop(task, syscall_status(t));
    if (task.signal.group_exit) return -4;
  }
  const started = call();
  const result = typeof started === 'number' ? started : yield* started;
  // A dead task is not resumed from here.
  if ((task.flags & PF_EXITING) !== 0) yield;
  t = tracing(task) ?? t;
  if (t.event !== 0) {
    const event = t.event;
    t.event = 0;
    t.op = P.PTRACE_SYSCALL_INFO_NONE;
    yield* stop(task, SIGTRAP | (event << 8));
  }
  if (tracing(task)?.syscalls === true && !task.signal.group_exit) {
    t.op = P.PTRACE_SYSCALL_INFO_EXIT;
    t.result = result;
    yield* stop(task, syscall_status(t));
  }
  return result;
}

/** do_signal has taken a signal: the task stops to ask its tracer, and comes back to do_signal when it is resumed. */
export function ptrace_signal(task: task_struct, info: kernel_siginfo): void {
  const t = tracing(task)!;
  t.held = info;
  t.op = P.PTRACE_SYSCALL_INFO_NONE;
  enter_stop(task, t, info.si_signo);
  task.sigpending = true;
}

/** The tracer's answer, once it has let the task go on. */
export function ptrace_resumed(task: task_struct): kernel_siginfo | undefined {
  const t = tracing(task);
  const info = t?.held;
  if (t === undefined || info === undefined) return undefined;
  t.held = undefined;
  t.stop_status = 0;
  const sig = t.inject;
  t.inject = 0;
  return sig === info.si_signo ? info : { ...siginfo(sig, 0), si_pid: task.parent.tgid };
}

/** A new task: traced as its parent is, if the tracer asked for that. Called before it first runs. */
export function ptrace_fork(parent: task_struct, child: task_struct, flags: number): void {
  const t = tracing(parent);
  if (t === undefined) return;
  const event = (flags & CLONE_VFORK) !== 0 ? P.PTRACE_EVENT_VFORK : (flags & CSIGNAL) === SIGCHLD ? P.PTRACE_EVENT_FORK : P.PTRACE_EVENT_CLONE;
  if ((t.options & (1 << event)) === 0) return;
  t.event = event;
  t.message = child.pid;
  attach(child, parent.parent, t.options, t.seized);
  send_signal(t.seized ? SIGTRAP : SIGSTOP, siginfo(t.seized ? SIGTRAP : SIGSTOP, 128), child, 'thread');
}

export function ptrace_exec(task: task_struct): void {
  const t = tracing(task);
  if (t === undefined) return;
  if ((t.options & P.PTRACE_O_TRACEEXEC) !== 0) {
    t.event = P.PTRACE_EVENT_EXEC;
    t.message = task.pid;
  } else if (!t.seized) send_signal(SIGTRAP, siginfo(SIGTRAP, 0), task, 'thread');
}

/** A tracer dies: those it traced run free, or die with it. */
export function exit_ptrace(task: task_struct): void {
  for (const tracee of [...task.ptraced]) {
    const kill = (tracing(tracee)!.options & P.PTRACE_O_EXITKILL) !== 0;
    ptrace_unlink(tracee);
    if (kill) send_signal(SIGKILL, siginfo(SIGKILL, 128), tracee, 'process');
    else wake_up_state(tracee, __TASK_TRACED);
  }
}

export function ptrace_unlink(task: task_struct): void {
  if (task.ptrace === undefined) return;
  const { ptraced } = task.parent;
  ptraced.splice(ptraced.indexOf(task), 1);
  task.ptrace = undefined;
  task.parent = task.real_parent;
  recalc_sigpending(task);
}

// ---------------------------------------------------------------- the tracer's side

function attach(task: task_struct, tracer: task_struct, options: number, seized: boolean): void {
  task.ptrace = { options, seized, syscalls: false, stop_status: 0, reported: false, message: 0, op: 0, result: 0, held: undefined, inject: 0, event: 0 } satisfies Tracing;
  task.parent = tracer;
  tracer.ptraced.push(task);
}

function may_attach(task: task_struct, target: task_struct): boolean {
  return target.tgid !== task.tgid && (target.flags & PF_KTHREAD) === 0 && target.ptrace === undefined && target.tgid !== 1 && target.exit_state === 0;
}

function syscall_info(task: task_struct, t: Tracing): P.ptrace_syscall_info {
  const info = P.ptrace_syscall_info.make({ op: t.op, arch: P.AUDIT_ARCH_X86_64 });
  if (t.op === P.PTRACE_SYSCALL_INFO_ENTRY) {
    const user = task.user!;
    info.entry.nr = BigInt.asUintN(64, BigInt(user.nr));
    [user.a0, user.a1, user.a2, user.a3, user.a4, user.a5].forEach((a: Word, i) => { info.entry.args.set(i, BigInt.asUintN(64, BigInt(a))); });
  } else if (t.op === P.PTRACE_SYSCALL_INFO_EXIT) {
    // What user space will see: internal restart codes are shown as they are, as strace expects.
    info.exit.rval = BigInt(t.result);
    info.exit.is_error = t.result < 0 && t.result >= -4095 ? 1 : 0;
  }
  return info;
}

function resume(task: task_struct, t: Tracing, signal: number, syscalls: boolean): number {
  if (signal < 0 || signal > _NSIG) return -EIO;
  t.inject = signal;
  t.syscalls = syscalls;
  t.stop_status = 0;
  wake_up_state(task, __TASK_TRACED);
  return 0;
}

const word = new Uint8Array(8);

export function sys_ptrace(self: task_struct, request: number, pid: number, address: number, data: number): number {
  if (request === P.PTRACE_TRACEME) {
    if (self.ptrace !== undefined) return -EPERM;
    attach(self, self.real_parent, 0, false);
    return 0;
  }
  const task = find_task_by_vpid(pid);
  if (task === undefined) return -ESRCH;
  if (request === P.PTRACE_ATTACH || request === P.PTRACE_SEIZE) {
    if (request === P.PTRACE_SEIZE && address !== 0) return -EIO;
    if (!may_attach(self, task)) return -EPERM;
    attach(task, self, request === P.PTRACE_SEIZE ? data : 0, request === P.PTRACE_SEIZE);
    if (request === P.PTRACE_ATTACH) send_signal(SIGSTOP, siginfo(SIGSTOP, 128), task, 'thread');
    return 0;
  }
  const t = tracing(task);
  if (t === undefined || task.parent.signal !== self.signal) return -ESRCH;
  if (request === P.PTRACE_KILL) {
    send_signal(SIGKILL, siginfo(SIGKILL, 128), task, 'process');
    return 0;
  }
  if (request === P.PTRACE_INTERRUPT) {
    if (!t.seized) return -EIO;
    send_signal(SIGTRAP, siginfo(SIGTRAP, 128), task, 'thread');
    return 0;
  }
  if (t.stop_status === 0) return -ESRCH;
  switch (request) {
    case P.PTRACE_CONT: return resume(task, t, data, false);
    case P.PTRACE_SYSCALL: return resume(task, t, data, true);
    case P.PTRACE_DETACH:
      if (data < 0 || data > _NSIG) return -EIO;
      if (t.held !== undefined && data !== 0) {
        task.pending.list.push({ ...t.held, si_signo: data });
        task.pending.signal |= sigmask(data);
      }
      ptrace_unlink(task);
      wake_up_state(task, __TASK_TRACED);
      return 0;
    case P.PTRACE_SETOPTIONS:
      if ((data & ~0x3000ff) !== 0) return -EINVAL;
      t.options = data;
      return 0;
    case P.PTRACE_GETEVENTMSG: return put_user64(data, BigInt(t.message));
    case P.PTRACE_GETSIGINFO: return t.held === undefined ? -EINVAL : put_user_struct(data, fill_siginfo(t.held));
    case P.PTRACE_PEEKDATA:
    case P.PTRACE_PEEKTEXT: return access_process_vm(task, address, word, false) < 0 ? -EIO : copy_to_user(data, word);
    case P.PTRACE_POKEDATA:
    case P.PTRACE_POKETEXT:
      new DataView(word.buffer).setBigInt64(0, BigInt(data), true);
      return access_process_vm(task, address, word, true) < 0 ? -EIO : 0;
    case P.PTRACE_GET_SYSCALL_INFO: {
      const info = syscall_info(task, t);
      const real = t.op === P.PTRACE_SYSCALL_INFO_ENTRY ? 80 : t.op === P.PTRACE_SYSCALL_INFO_EXIT ? 33 : 24;
      return copy_to_user(data, windowOf(info).subarray(0, Math.min(real, Math.max(0, address)))) < 0 ? -EFAULT : real;
    }
    default: return -EIO;
  }
}

// ---------------------------------------------------------------- another process's memory

function segments(address: number, count: number): [number, number][] | number {
  if (count < 0 || count > 1024) return -EINVAL;
  const list: [number, number][] = [];
  for (let i = 0; i < count; i++) {
    const iov = iovec.make();
    if (get_user_struct(iov, address + i * iovec.size) < 0) return -EFAULT;
    list.push([Number(iov.iov_base), Number(iov.iov_len)]);
  }
  return list;
}

function process_vm_rw(pid: number, local: number, nlocal: number, remote: number, nremote: number, flags: number, write: boolean): number {
  if (flags !== 0) return -EINVAL;
  const mine = segments(local, nlocal);
  if (typeof mine === 'number') return mine;
  const theirs = segments(remote, nremote);
  if (typeof theirs === 'number') return theirs;
  if (theirs.every(([, length]) => length === 0)) return 0;
  const task = find_task_by_vpid(pid);
  if (task === undefined) return -ESRCH;
  if (task.mm === undefined) return -EPERM;
  let total = 0;
  let at = 0;
  let used = 0;
  for (const [base, length] of theirs) {
    for (let done = 0; done < length && at < mine.length; ) {
      const [to, room] = mine[at]!;
      const n = Math.min(length - done, room - used, 4096 - ((base + done) % 4096));
      if (n > 0) {
        const bytes = new Uint8Array(n);
        const error = write
          ? copy_from_user(bytes, to + used) || access_process_vm(task, base + done, bytes, true)
          : access_process_vm(task, base + done, bytes, false) || copy_to_user(to + used, bytes);
        if (error < 0) return total || -EFAULT;
        done += n;
        used += n;
        total += n;
      }
      if (used >= room) {
        at++;
        used = 0;
      }
    }
  }
  return total;
}

export const sys_process_vm_readv = (_task: task_struct, pid: number, local: number, nlocal: number, remote: number, nremote: number, flags: number): number =>
  process_vm_rw(pid, local, nlocal, remote, nremote, flags, false);
export const sys_process_vm_writev = (_task: task_struct, pid: number, local: number, nlocal: number, remote: number, nremote: number, flags: number): number =>
  process_vm_rw(pid, local, nlocal, remote, nremote, flags, true);
