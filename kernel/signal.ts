/**
 * Signals: sending, and what becomes of them when the task is about to run user code.
 *
 * Linux: kernel/signal.c, arch/x86/kernel/signal.c
 *
 * A signal is pending for one thread or for the process. It interrupts a sleep at once (the sleeping call returns
 * -ERESTART*), but it is acted on only at the border to user mode, in do_signal. A handler of a TypeScript program is
 * a generator that runs above the interrupted one; its end is sigreturn.
 */
import { signalfd_notify } from './fs/signalfd-notify.ts';
import {
  CLD_CONTINUED, SA_NODEFER, SA_RESETHAND, SA_RESTART, SIGCHLD, SIGCONT, SIGKILL, SIGSEGV, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH, SIG_DFL, SIG_IGN,
  sigmask,
} from '../abi/signal.ts';
import { __NR_restart_syscall } from '../abi/syscalls.ts';
import { EINTR } from '../abi/errno.ts';
import { current } from './current.ts';
import { ERESTARTNOHAND, ERESTARTSYS } from './errno-internal.ts';
import { do_group_exit } from './exit.ts';
import { notify_stop, start_stop, stop_here } from './job-control.ts';
import { is_orphaned_pgrp, pid_tasks } from './pid.ts';
import { ptrace_resumed, ptrace_signal } from './ptrace.ts';
import { siginfo } from './siginfo.ts';
import { back_up_syscall, set_result, setup_rt_frame } from './user-mode.ts';
import { fatal_signal_pending, resched_curr, task_rq, wake_up_state } from './sched/core.ts';
import {PF_EXITING, PF_KTHREAD, type SavedRegs, TASK_INTERRUPTIBLE, TASK_STOPPED, TASK_TRACED, TASK_WAKEKILL, __TASK_STOPPED, type kernel_siginfo, type k_sigaction, type sigpending, type task_struct,
} from './sched/types.ts';

export { sigmask };

const mask = (...signals: number[]): bigint => signals.reduce((m, s) => m | sigmask(s), 0n);
const KERNEL_ONLY = mask(SIGKILL, SIGSTOP);
const KERNEL_STOP = mask(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU);
const KERNEL_IGNORE = mask(SIGCONT, SIGCHLD, SIGWINCH, SIGURG);
const in_mask = (sig: number, m: bigint): boolean => (m & sigmask(sig)) !== 0n;
/** Faults of the task itself are delivered before signals of others. */
const SYNCHRONOUS = mask(4, 5, 7, 8, 11, 31);

export const action_of = (task: task_struct, sig: number): k_sigaction => task.sighand.action[sig]!;
export const default_action: k_sigaction = { sa_handler: SIG_DFL, sa_flags: 0n, sa_restorer: 0n, sa_mask: 0n, body: undefined };

// ---------------------------------------------------------------- pending sets

/** Brings TIF_SIGPENDING in line with what is pending, blocked or to be stopped for. */
export function recalc_sigpending(task: task_struct): void {
  const { signal } = task;
  task.sigpending = ((task.pending.signal | signal.shared_pending.signal) & ~task.blocked) !== 0n || signal.stop_signal !== 0 || signal.group_exit;
}

export function set_current_blocked(blocked: bigint): void {
  const task = current();
  task.blocked = blocked & ~KERNEL_ONLY;
  recalc_sigpending(task);
}

/** For calls that wait with another mask (KVM_RUN): sets it and returns the old one, to be set again the same way. */
export function set_user_sigmask(blocked: bigint): bigint {
  const old = current().blocked;
  set_current_blocked(blocked);
  return old;
}
export const restore_saved_sigmask = (old: bigint): void => set_current_blocked(old);

/**
 * For calls that return to user mode with the temporary mask still on (ppoll, sigsuspend): the old mask comes back
 * after the handler has been started, or at once when there is none.
 */
export function set_temporary_sigmask(blocked: bigint): void {
  const task = current();
  task.saved_sigmask = task.blocked;
  task.notify_resume = true;
  set_current_blocked(blocked);
}

function remove_from(pending: sigpending, signals: bigint): void {
  if ((pending.signal & signals) === 0n) return;
  pending.signal &= ~signals;
  for (let i = pending.list.length - 1; i >= 0; i--) if (in_mask(pending.list[i]!.si_signo, signals)) pending.list.splice(i, 1);
}

export function flush_sigqueue_mask(task: task_struct, signals: bigint): void {
  remove_from(task.signal.shared_pending, signals);
  for (const thread of task.signal.threads) remove_from(thread.pending, signals);
}

// ---------------------------------------------------------------- sending

const is_init = (task: task_struct): boolean => task.signal.threads[0]?.tgid === 1;

function sig_handler_ignored(task: task_struct, sig: number): boolean {
  const { sa_handler } = action_of(task, sig);
  return sa_handler === SIG_IGN || (sa_handler === SIG_DFL && in_mask(sig, KERNEL_IGNORE));
}

function sig_ignored(task: task_struct, sig: number): boolean {
  // A blocked signal is kept: its action may have changed when it is unblocked.
  if (in_mask(sig, task.blocked) || (task.ptrace !== undefined && sig !== SIGKILL)) return false;
  if (is_init(task) && action_of(task, sig).sa_handler === SIG_DFL && !in_mask(sig, KERNEL_STOP & ~sigmask(SIGSTOP))) return true;
  return sig_handler_ignored(task, sig);
}

/** A stop signal drops a pending SIGCONT and the other way round; SIGCONT wakes what is stopped, whoever handles it. */
function prepare_signal(sig: number, task: task_struct): boolean {
  const { signal } = task;
  if (signal.group_exit) return false;
  if (in_mask(sig, KERNEL_STOP)) flush_sigqueue_mask(task, sigmask(SIGCONT));
  else if (sig === SIGCONT) {
    flush_sigqueue_mask(task, KERNEL_STOP);
    const wasStopped = signal.stopped;
    const wasStopping = signal.stop_signal !== 0;
    signal.stop_signal = 0;
    signal.stopped = false;
    for (const thread of signal.threads) wake_up_state(thread, __TASK_STOPPED);
    if (wasStopped || wasStopping) {
      signal.stop_report = CLD_CONTINUED;
      notify_stop(task, CLD_CONTINUED);
    }
  }
  return !sig_ignored(task, sig);
}

export type Target = 'thread' | 'process';

/** Makes the signal pending and wakes whoever is to act on it. Always succeeds: queues here are not limited. */
export function send_signal(sig: number, info: kernel_siginfo, task: task_struct, target: Target): number {
  if ((task.flags & PF_KTHREAD) !== 0 || task.signal.live === 0 || (target === 'thread' && task.exit_state !== 0)) return 0;
  if (!prepare_signal(sig, task)) return 0;
  const pending = target === 'thread' ? task.pending : task.signal.shared_pending;
  if (sig < 32 && in_mask(sig, pending.signal)) return 0;
  pending.list.push(info);
  pending.signal |= sigmask(sig);
  signalfd_notify();
  complete_signal(sig, task, target);
  return 0;
}

const wants_signal = (sig: number, task: task_struct): boolean =>
  !in_mask(sig, task.blocked) && (task.flags & PF_EXITING) === 0 && (sig === SIGKILL || (task.__state & (TASK_STOPPED | TASK_TRACED) & ~TASK_WAKEKILL) === 0);

function complete_signal(sig: number, task: task_struct, target: Target): void {
  const { signal } = task;
  let chosen: task_struct | undefined = wants_signal(sig, task) ? task : undefined;
  if (chosen === undefined && target === 'process') chosen = signal.threads.find((t) => wants_signal(sig, t));
  if (chosen === undefined) return;
  const fatal = sig === SIGKILL || (action_of(task, sig).sa_handler === SIG_DFL && !in_mask(sig, KERNEL_STOP | KERNEL_IGNORE) && !is_init(task) && task.ptrace === undefined);
  if (fatal && !in_mask(sig, chosen.blocked)) {
    // The whole group dies of it; nobody has to come back to user mode for that to be known.
    signal.group_exit = true;
    signal.group_exit_code = sig;
    signal.stop_signal = 0;
    for (const thread of signal.threads) {
      thread.pending.signal |= sigmask(SIGKILL);
      signal_wake_up(thread, true);
    }
    return;
  }
  signal_wake_up(chosen, sig === SIGKILL);
}

/** Sets TIF_SIGPENDING and gets the task to look: out of its sleep, out of user or guest mode on its processor. */
export function signal_wake_up(task: task_struct, fatal: boolean): void {
  task.sigpending = true;
  if (wake_up_state(task, fatal ? TASK_INTERRUPTIBLE | TASK_WAKEKILL | TASK_STOPPED | TASK_TRACED : TASK_INTERRUPTIBLE)) return;
  if (task.on_cpu && task !== current()) resched_curr(task_rq(task));
}

export const group_send_sig_info = (sig: number, info: kernel_siginfo, task: task_struct): number => (sig === 0 ? 0 : send_signal(sig, info, task, 'process'));
export const send_sig = (sig: number, task: task_struct): number => send_signal(sig, siginfo(sig, 128), task, 'thread');

/** Every process of a group. -ESRCH is the caller's to find: returns how many there were. */
export function kill_pgrp(pgrp: number, sig: number, info: kernel_siginfo = siginfo(sig, 128)): number {
  let n = 0;
  for (const leader of pid_tasks()) {
    if (leader.tgid !== leader.pid || leader.signal.pgrp !== pgrp || leader.pid === 0) continue;
    n++;
    group_send_sig_info(sig, { ...info }, leader);
  }
  return n;
}

/** A fault of the task itself: cannot be blocked or ignored. */
export function force_sig_info(task: task_struct, info: kernel_siginfo): void {
  const sig = info.si_signo;
  const action = action_of(task, sig);
  if (in_mask(sig, task.blocked) || action.sa_handler === SIG_IGN) {
    task.sighand.action[sig] = default_action;
    task.blocked &= ~sigmask(sig);
  }
  if (in_mask(sig, task.pending.signal)) return recalc_sigpending(task);
  task.pending.list.unshift(info);
  task.pending.signal |= sigmask(sig);
  task.sigpending = true;
  if (action_of(task, sig).sa_handler === SIG_DFL) complete_signal(sig, task, 'thread');
}

/** The same, and no handler is asked. */
export function force_fatal_sig(info: kernel_siginfo): void {
  const task = current();
  task.sighand.action[info.si_signo] = default_action;
  do_group_exit(info.si_signo);
}

// ---------------------------------------------------------------- delivering

function next_signal(pending: bigint): number {
  const urgent = pending & SYNCHRONOUS;
  let m = urgent !== 0n ? urgent : pending;
  let sig = 1;
  while ((m & 0xffn) === 0n) { m >>= 8n; sig += 8; }
  while ((m & 1n) === 0n) { m >>= 1n; sig++; }
  return sig;
}

function collect(pending: sigpending, sig: number): kernel_siginfo {
  const i = pending.list.findIndex((info) => info.si_signo === sig);
  const info = i >= 0 ? pending.list.splice(i, 1)[0]! : siginfo(sig, 0);
  if (!pending.list.some((other) => other.si_signo === sig)) pending.signal &= ~sigmask(sig);
  return info;
}

/** Takes the next signal outside `blocked` from the task's or the process's set. */
export function dequeue_signal(task: task_struct, blocked: bigint): kernel_siginfo | undefined {
  for (const pending of [task.pending, task.signal.shared_pending]) {
    const ready = pending.signal & ~blocked;
    if (ready === 0n) continue;
    const info = collect(pending, next_signal(ready));
    recalc_sigpending(task);
    return info;
  }
  recalc_sigpending(task);
  return undefined;
}

/**
 * Before user code runs: acts on all signals that are due. False when the task does not go on to user mode now: it is
 * dead, or stopped and will come here again.
 */
export function do_signal(task: task_struct): boolean {
  const { signal } = task;
  for (;;) {
    if (signal.group_exit || fatal_signal_pending(task)) {
      do_group_exit(signal.group_exit ? signal.group_exit_code : SIGKILL);
      return false;
    }
    if (signal.stop_signal !== 0) {
      stop_here(task);
      return false;
    }
    let info = ptrace_resumed(task);
    if (info === undefined) {
      info = dequeue_signal(task, task.blocked);
      if (info === undefined) break;
      if (task.ptrace !== undefined && info.si_signo !== SIGKILL) {
        ptrace_signal(task, info);
        return false;
      }
    } else if (info.si_signo === 0) continue;
    const sig = info.si_signo;
    const action = action_of(task, sig);
    if (action.sa_handler === SIG_IGN) continue;
    if (action.sa_handler !== SIG_DFL) {
      setup_frame(task, info, action);
      continue;
    }
    if (in_mask(sig, KERNEL_IGNORE)) continue;
    if (is_init(task) && sig !== SIGKILL && task.frames.at(-1)?.lost === undefined) continue;
    if (in_mask(sig, KERNEL_STOP)) {
      if (sig !== SIGSTOP && is_orphaned_pgrp(signal.pgrp)) continue;
      start_stop(task, sig);
      stop_here(task);
      return false;
    }
    do_group_exit(sig);
    return false;
  }
  task.notify_resume = false;
  if (task.frames.at(-1)!.restart !== 0) restart_call(task);
  if (task.saved_sigmask !== undefined) {
    const old = task.saved_sigmask;
    task.saved_sigmask = undefined;
    set_current_blocked(old);
    if (task.sigpending) return do_signal(task);
  }
  return true;
}

/** No handler ran: the interrupted call is made again with the registers as they still are. */
function restart_call(task: task_struct): void {
  const frame = task.frames.at(-1)!;
  if (frame.restart === -516) task.user!.nr = __NR_restart_syscall;
  frame.restart = 0;
  frame.calling = true;
}

/** Puts the handler on top of what it interrupts. */
function setup_frame(task: task_struct, info: kernel_siginfo, action: k_sigaction): void {
  const sig = info.si_signo;
  const below = task.frames.at(-1)!;
  let again = false;
  if (below.restart !== 0) {
    again = -below.restart === ERESTARTSYS ? (action.sa_flags & BigInt(SA_RESTART)) !== 0n : -below.restart !== ERESTARTNOHAND && below.restart !== -516;
    below.restart = 0;
    if (!again) {
      below.result = -EINTR;
      if (task.regs !== undefined) set_result(task.regs, -EINTR);
    }
  }
  if (task.regs !== undefined) return machine_frame(task, info, action, again);
  if (again) below.calling = true;
  const { nr, a0, a1, a2, a3, a4, a5, body } = task.user!;
  const regs: SavedRegs = { nr, a0, a1, a2, a3, a4, a5, body };
  const gen = start_body(action.body);
  if (gen === undefined) {
    do_group_exit(SIGSEGV);
    return;
  }
  task.frames.push({ gen, result: 0, burn: 0, calling: false, restart: 0, lost: undefined, saved: { mask: task.saved_sigmask ?? task.blocked, regs } });
  block_for_handler(task, sig, action);
}

/** The same on the stack of a program that is machine code. */
function machine_frame(task: task_struct, info: kernel_siginfo, action: k_sigaction, again: boolean): void {
  if (again) back_up_syscall(task.regs!, task.user!.nr);
  if (setup_rt_frame(task, info, action, task.saved_sigmask ?? task.blocked)) block_for_handler(task, info.si_signo, action);
  else do_group_exit(SIGSEGV);
}

function block_for_handler(task: task_struct, sig: number, action: k_sigaction): void {
  task.saved_sigmask = undefined;
  const flags = action.sa_flags;
  let blocked = task.blocked | action.sa_mask;
  if ((flags & BigInt(SA_NODEFER)) === 0n) blocked |= sigmask(sig);
  if ((flags & BigInt(SA_RESETHAND)) !== 0n) task.sighand.action[sig] = default_action;
  set_current_blocked(blocked);
}

/** Calls code that user space gave: a generator, or undefined when it is none. */
export function start_body(body: (() => unknown) | undefined): import('../abi/process.ts').Sys<unknown> | undefined {
  try {
    const gen = body?.() as { next?: unknown } | undefined;
    return typeof gen?.next === 'function' ? (gen as import('../abi/process.ts').Sys<unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** sigreturn: a handler has ended. */
export function restore_frame(task: task_struct): void {
  const { saved } = task.frames.pop()!;
  Object.assign(task.user!, saved!.regs);
  set_current_blocked(saved!.mask);
}
