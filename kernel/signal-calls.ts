/** The system calls about signals. Linux: kernel/signal.c */
import { EAGAIN, EFAULT, EINTR, EINVAL, ESRCH } from '../abi/errno.ts';
import { SIGCONT, SIGKILL, SIGSEGV, SIGSTOP, SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, SIG_UNBLOCK, SI_TKILL, _NSIG, sigaction, siginfo as siginfo_struct, sigmask } from '../abi/signal.ts';
import { this_processor } from './current.ts';
import { ERESTARTNOHAND } from './errno-internal.ts';
import { get_user_struct, put_user_struct } from './fs/user.ts';
import { get_user64, put_user64 } from './mm/uaccess.ts';
import { find_task_by_vpid, for_each_process } from './pid.ts';
import { action_of, dequeue_signal, flush_sigqueue_mask, kill_pgrp, recalc_sigpending, send_signal, set_current_blocked, set_temporary_sigmask } from './signal.ts';
import { SEND_SIG_PRIV, user_siginfo } from './siginfo.ts';
import { restore_rt_frame } from './user-mode.ts';
import { schedule_timeout } from './sched/core.ts';
import { type MaySleep, PF_KTHREAD, TASK_INTERRUPTIBLE, TASK_RUNNING, type kernel_siginfo, type task_struct } from './sched/types.ts';
import { get_tsc } from './time/timekeeping.ts';
import { get_timespec, timespec_to_cycles } from './time/timespec.ts';

const valid = (sig: number): boolean => sig >= 0 && sig <= _NSIG;
const IGNORED_BY_DEFAULT = sigmask(SIGCONT) | sigmask(17) | sigmask(28) | sigmask(23);

export function sys_kill(task: task_struct, pid: number, sig: number): number {
  pid |= 0;
  sig |= 0;
  const info = () => user_siginfo(sig, task);
  if (pid > 0) {
    const target = find_task_by_vpid(pid);
    if (target === undefined) return -ESRCH;
    if (!valid(sig)) return -EINVAL;
    return sig === 0 ? 0 : send_signal(sig, info(), target, 'process');
  }
  if (pid === -0x8000_0000) return -ESRCH;
  if (!valid(sig)) return -EINVAL;
  if (pid === -1) {
    const others = for_each_process().filter((t) => t.pid > 1 && t.tgid !== task.tgid && (t.flags & PF_KTHREAD) === 0);
    if (sig !== 0) for (const other of others) send_signal(sig, info(), other, 'process');
    return others.length > 0 ? 0 : -ESRCH;
  }
  const pgrp = pid === 0 ? task.signal.pgrp : -pid;
  if (sig === 0) return for_each_process().some((t) => t.signal.pgrp === pgrp) ? 0 : -ESRCH;
  return kill_pgrp(pgrp, sig, info()) > 0 ? 0 : -ESRCH;
}

function do_tkill(task: task_struct, tgid: number, pid: number, sig: number): number {
  const target = find_task_by_vpid(pid);
  if (target === undefined || (tgid > 0 && target.tgid !== tgid)) return -ESRCH;
  if (!valid(sig)) return -EINVAL;
  return sig === 0 ? 0 : send_signal(sig, user_siginfo(sig, task, SI_TKILL), target, 'thread');
}
export const sys_tkill = (task: task_struct, pid: number, sig: number): number => (pid <= 0 ? -EINVAL : do_tkill(task, 0, pid, sig));
export const sys_tgkill = (task: task_struct, tgid: number, pid: number, sig: number): number => (pid <= 0 || tgid <= 0 ? -EINVAL : do_tkill(task, tgid, pid, sig));

export function sys_rt_sigaction(task: task_struct, sig: number, fresh: number, old: number, size: number): number {
  if (size !== 8) return -EINVAL;
  const act = sigaction.make();
  if (fresh !== 0 && get_user_struct(act, fresh) < 0) return -EFAULT;
  if (sig < 1 || sig > _NSIG || (fresh !== 0 && (sig === SIGKILL || sig === SIGSTOP))) return -EINVAL;
  const { sa_handler, sa_flags, sa_restorer, sa_mask } = action_of(task, sig);
  const before = sigaction.make({ sa_handler, sa_flags, sa_restorer, sa_mask });
  if (fresh !== 0) {
    const isCode = act.sa_handler !== SIG_DFL && act.sa_handler !== SIG_IGN;
    if (isCode && task.regs === undefined && task.user!.body === undefined) return -EFAULT;
    task.sighand.action[sig] = {
      sa_handler: act.sa_handler, sa_flags: act.sa_flags, sa_restorer: act.sa_restorer,
      sa_mask: act.sa_mask & ~(sigmask(SIGKILL) | sigmask(SIGSTOP)),
      body: isCode ? task.user!.body : undefined,
    };
    // POSIX: a pending signal that is now ignored is dropped.
    if (act.sa_handler === SIG_IGN || (act.sa_handler === SIG_DFL && (sigmask(sig) & IGNORED_BY_DEFAULT) !== 0n)) {
      flush_sigqueue_mask(task, sigmask(sig));
      for (const thread of task.signal.threads) recalc_sigpending(thread);
    }
  }
  return old === 0 ? 0 : put_user_struct(old, before);
}

export function sys_rt_sigprocmask(task: task_struct, how: number, set: number, old: number, size: number): number {
  if (size !== 8) return -EINVAL;
  const before = task.blocked;
  if (set !== 0) {
    const mask = get_user64(set);
    if (mask === undefined) return -EFAULT;
    if (how === SIG_BLOCK) set_current_blocked(before | mask);
    else if (how === SIG_UNBLOCK) set_current_blocked(before & ~mask);
    else if (how === SIG_SETMASK) set_current_blocked(mask);
    else return -EINVAL;
  }
  return old === 0 ? 0 : put_user64(old, before);
}

export function sys_rt_sigpending(task: task_struct, set: number, size: number): number {
  if (size > 8) return -EINVAL;
  return put_user64(set, (task.pending.signal | task.signal.shared_pending.signal) & task.blocked);
}

export function sys_rt_sigsuspend(task: task_struct, set: number, size: number): number | MaySleep<number> {
  if (size !== 8) return -EINVAL;
  const mask = get_user64(set);
  if (mask === undefined) return -EFAULT;
  set_temporary_sigmask(mask);
  return pause_until_signal(task);
}

export const sys_pause = (task: task_struct): MaySleep<number> => pause_until_signal(task);

function* pause_until_signal(task: task_struct): MaySleep<number> {
  while (!task.sigpending) {
    task.__state = TASK_INTERRUPTIBLE;
    yield;
  }
  return -ERESTARTNOHAND;
}

export const fill_siginfo = (info: kernel_siginfo): siginfo_struct => {
  const si = siginfo_struct.make({ si_signo: info.si_signo, si_errno: info.si_errno, si_code: info.si_code });
  if (info.si_addr !== 0) si.si_addr = BigInt(info.si_addr);
  else {
    si.si_pid = info.si_pid;
    si.si_uid = info.si_uid;
    if (info.si_signo === 17) si.si_status = info.si_status;
    else si.si_value = info.si_value;
  }
  return si;
};

export function sys_rt_sigtimedwait(task: task_struct, set: number, info: number, timeout: number, size: number): number | MaySleep<number> {
  if (size !== 8) return -EINVAL;
  const wanted = get_user64(set);
  if (wanted === undefined) return -EFAULT;
  let cycles = Number.POSITIVE_INFINITY;
  if (timeout !== 0) {
    const ts = get_timespec(timeout);
    if (typeof ts === 'number') return ts;
    cycles = timespec_to_cycles(ts);
  }
  return sigtimedwait(task, wanted & ~(sigmask(SIGKILL) | sigmask(SIGSTOP)), info, get_tsc() + cycles);
}

function* sigtimedwait(task: task_struct, wanted: bigint, info: number, until: number): MaySleep<number> {
  const done = (found: kernel_siginfo): number => (info !== 0 && put_user_struct(info, fill_siginfo(found)) < 0 ? -EFAULT : found.si_signo);
  for (;;) {
    const found = dequeue_signal(task, ~wanted);
    if (found !== undefined) return done(found);
    if (task.sigpending) return -EINTR;
    if (this_processor().clock >= until) return -EAGAIN;
    // Waited-for signals are blocked; for the time of the wait they may wake.
    const blocked = task.blocked;
    task.blocked = blocked & ~wanted;
    recalc_sigpending(task);
    if (!task.sigpending) {
      task.__state = TASK_INTERRUPTIBLE;
      yield* schedule_timeout(until - this_processor().clock);
      task.__state = TASK_RUNNING;
    }
    task.blocked = blocked;
    recalc_sigpending(task);
  }
}

/** The end of a handler that is machine code. One of a TypeScript program ends by returning, and has no frame for this call. */
export function sys_rt_sigreturn(task: task_struct): number {
  const mask = task.regs === undefined ? -EFAULT : restore_rt_frame(task.regs);
  if (typeof mask === 'number') return send_signal(SIGSEGV, SEND_SIG_PRIV(SIGSEGV), task, 'thread');
  set_current_blocked(mask);
  return 0;
}
