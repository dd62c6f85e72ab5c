/**
 * The end of tasks, and waiting for it.
 *
 * Linux: kernel/exit.c
 *
 * A task that exits lets go of everything but its number and its exit code: a zombie, until its parent has waited for
 * it. Threads other than the leader are gone at once; a leader waits for them before its parent hears.
 */
import { ECHILD, EFAULT, EINVAL, ESRCH } from '../abi/errno.ts';
import { rusage } from '../abi/resource.ts';
import { CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, CLD_TRAPPED, SA_NOCLDWAIT, SIGCHLD, SIGCONT, SIGHUP, SIG_IGN, siginfo as siginfo_struct, sigmask } from '../abi/signal.ts';
import { P_ALL, P_PGID, P_PID, WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WSTOPPED, WUNTRACED, continuedStatus, stoppedStatus } from '../abi/wait.ts';
import { current, this_processor } from './current.ts';
import { ERESTARTSYS } from './errno-internal.ts';
import { exit_files } from './fs/file.ts';
import { exit_fs } from './fs/namespace.ts';
import { put_user_struct } from './fs/user.ts';
import { futex_wake } from './futex.ts';
import { mmput } from './mm/mm.ts';
import { clear_user, put_user32 } from './mm/uaccess.ts';
import { panic } from './panic.ts';
import { detach_pid, find_task_by_vpid, for_each_process, has_stopped_jobs, is_orphaned_pgrp } from './pid.ts';
import { exit_ptrace, ptrace_unlink } from './ptrace.ts';
import { siginfo } from './siginfo.ts';
import { exit_from_stop } from './job-control.ts';
import { kill_pgrp, send_signal, signal_wake_up } from './signal.ts';
import { vtime_account } from './sched/cputime.ts';
import {
  EXIT_DEAD, EXIT_ZOMBIE, type MaySleep, PF_EXITING, PF_SIGNALED, TASK_DEAD, TASK_INTERRUPTIBLE, TASK_RUNNING, type task_struct,
} from './sched/types.ts';
import { waiter } from './sched/wait.ts';
import { fill_rusage } from './sys.ts';
import { exit_itimers } from './time/itimer.ts';
import { sched_process_exit } from './trace/events-sched.ts';

/** exit_group, and death by a signal: every thread of the process goes with that code. */
export function do_group_exit(code: number): void {
  const task = current();
  const { signal } = task;
  if (signal.group_exit) code = signal.group_exit_code;
  else if (signal.threads.length > 1) {
    signal.group_exit = true;
    signal.group_exit_code = code;
    signal.stop_signal = 0;
    for (const thread of signal.threads) {
      if (thread === task || thread.exit_state !== 0) continue;
      thread.pending.signal |= sigmask(9);
      signal_wake_up(thread, true);
    }
  }
  do_exit(code);
}

/** The current task ends. It does not come back: the caller returns to the processor's loop at once. */
export function do_exit(code: number): void {
  const task = current();
  const { signal } = task;
  if ((task.flags & PF_EXITING) !== 0) throw new Error('do_exit of a task that is exiting already');
  if (sched_process_exit.enabled) sched_process_exit.trace({ comm: task.comm, pid: task.pid, prio: task.prio });
  task.flags |= PF_EXITING;
  if ((code & 0x7f) !== 0) task.flags |= PF_SIGNALED;
  vtime_account(task, this_processor());
  task.exit_code = code;
  exit_from_stop(task);
  if (task.tgid === 1 && signal.live === 1) {
    panic(`Attempted to kill init! exitcode=0x${code.toString(16).padStart(8, '0')}`);
    task.__state = TASK_DEAD;
    return;
  }
  signal.live--;
  const groupDead = signal.live === 0;
  if (groupDead) {
    exit_itimers(signal);
    if (task.mm !== undefined) signal.maxrss = Math.max(signal.maxrss, task.mm.hiwater_rss);
  }

  task.frames.length = 0;
  task.kernel_gen = undefined;
  exit_mm(task);
  if (task.files !== undefined) exit_files(task.files);
  task.files = undefined;
  if (task.fs !== undefined) exit_fs(task.fs);
  task.fs = undefined;
  task.user = undefined;
  task.regs = undefined;
  if (groupDead && signal.leader) disassociate(task);
  task.sighand.count--;
  task.preempt_notifiers = [];
  exit_notify(task, groupDead);
  task.__state = TASK_DEAD;
}

/** Gives the address space up; also at exec. Wakes who waits for the thread id or for vfork. */
export function exit_mm(task: task_struct): void {
  mm_release(task);
  if (task.mm !== undefined) mmput(task.mm);
  task.mm = undefined;
}

export function mm_release(task: task_struct): void {
  if (task.clear_child_tid !== 0 && task.mm !== undefined && task.mm.mm_users > 1) {
    put_user32(task.clear_child_tid, 0);
    futex_wake(task.mm, task.clear_child_tid, 1, 0xffff_ffff);
  }
  task.clear_child_tid = 0;
  const done = task.vfork_done;
  task.vfork_done = undefined;
  done?.wake_up_all();
}

/** A session leader is gone: its terminal is nobody's, the foreground group hears SIGHUP. */
function disassociate(task: task_struct): void {
  const { signal } = task;
  const tty = signal.tty;
  if (tty === undefined) return;
  tty.disassociate();
  for (const other of for_each_process()) if (other.signal.session === signal.session) other.signal.tty = undefined;
}

// ---------------------------------------------------------------- what relatives hear

function exit_notify(task: task_struct, groupDead: boolean): void {
  exit_ptrace(task);
  if (groupDead || task.children.length > 0) forget_children(task);
  if (groupDead) kill_orphaned_pgrp(task.group_leader, undefined);
  task.exit_state = EXIT_ZOMBIE;
  const leader = task.group_leader;
  if (task !== leader) {
    release_task(task);
    if (groupDead) leader_is_done(leader);
  } else if (groupDead) leader_is_done(leader);
}

/** The last thread is gone: the parent gets its signal, or does not care and the zombie goes at once. */
function leader_is_done(leader: task_struct): void {
  const { signal } = leader;
  if (signal.group_exit) leader.exit_code = signal.group_exit_code;
  if (do_notify_parent(leader)) release_task(leader);
}

/** True when nobody will wait: the parent ignores SIGCHLD or has SA_NOCLDWAIT. */
function do_notify_parent(leader: task_struct): boolean {
  const { parent } = leader;
  const sig = leader.exit_signal;
  const action = parent.sighand.action[SIGCHLD];
  const ignored = sig === SIGCHLD && leader.ptrace === undefined && action !== undefined
    && (action.sa_handler === SIG_IGN || (action.sa_flags & BigInt(SA_NOCLDWAIT)) !== 0n);
  if (sig > 0 && !(ignored && action!.sa_handler === SIG_IGN)) {
    const code = leader.exit_code;
    send_signal(sig, {
      ...siginfo(sig, (code & 0x80) !== 0 ? CLD_DUMPED : (code & 0x7f) !== 0 ? CLD_KILLED : CLD_EXITED),
      si_pid: leader.tgid, si_status: (code & 0x7f) !== 0 ? code & 0x7f : code >> 8,
    }, parent, 'process');
  }
  parent.signal.wait_chldexit.wake_up_all();
  return ignored;
}

/** Children go to another thread of the process, or to init. */
function forget_children(task: task_struct): void {
  const heir = task.signal.threads.find((t) => t !== task && (t.flags & PF_EXITING) === 0) ?? find_task_by_vpid(1)!;
  const sameProcess = heir.signal === task.signal;
  for (const child of task.children.splice(0)) {
    child.real_parent = heir;
    if (child.parent === task) child.parent = heir;
    heir.children.push(child);
    if (sameProcess) continue;
    if (child.exit_state === EXIT_ZOMBIE && child.signal.live === 0) {
      if (do_notify_parent(child)) release_task(child);
    }
    kill_orphaned_pgrp(child, task);
  }
}

/** POSIX: a group that becomes orphaned while it has stopped members gets SIGHUP and SIGCONT. */
function kill_orphaned_pgrp(task: task_struct, parent: task_struct | undefined): void {
  const ignored = parent === undefined ? task : undefined;
  const elder = parent ?? task.real_parent;
  const { pgrp, session } = task.signal;
  if (elder.signal.pgrp === pgrp || elder.signal.session !== session) return;
  if (is_orphaned_pgrp(pgrp, ignored) && has_stopped_jobs(pgrp)) {
    kill_pgrp(pgrp, SIGHUP);
    kill_pgrp(pgrp, SIGCONT);
  }
}

/** The last of a task: its number is free again, its times are added to those of the process. */
export function release_task(task: task_struct): void {
  const { signal } = task;
  ptrace_unlink(task);
  signal.threads.splice(signal.threads.indexOf(task), 1);
  signal.utime += task.utime;
  signal.stime += task.stime;
  signal.gtime += task.gtime;
  signal.nvcsw += task.nvcsw;
  signal.nivcsw += task.nivcsw;
  signal.min_flt += task.min_flt;
  signal.maj_flt += task.maj_flt;
  signal.sum_sched_runtime += task.se.sum_exec_runtime;
  detach_pid(task);
  task.exit_state = EXIT_DEAD;
  if (task === task.group_leader) {
    const { children } = task.real_parent;
    const i = children.indexOf(task);
    if (i >= 0) children.splice(i, 1);
  }
}

// ---------------------------------------------------------------- waiting

interface WaitOptions { readonly type: number; readonly pid: number; readonly options: number }
interface Found { readonly pid: number; readonly status: number; readonly code: number; readonly value: number; readonly child: task_struct }

function eligible(child: task_struct, w: WaitOptions): boolean {
  if (w.type === P_PID) return child.pid === w.pid;
  return w.type === P_PGID ? child.signal.pgrp === w.pid : true;
}

/** A child that has something to report, undefined when none has, -ECHILD when there is no such child. */
function wait_consider(w: WaitOptions): Found | number | undefined {
  const self = current();
  let any = false;
  for (const thread of self.signal.threads) {
    for (const child of [...thread.children, ...thread.ptraced]) {
      const traced = child.parent !== child.real_parent;
      if (traced && child.parent.signal !== self.signal) { if (eligible(child, w)) any = true; continue; }
      if (!eligible(child, w)) continue;
      any = true;
      const found = report(child, w, traced);
      if (found !== undefined) return found;
    }
  }
  return any ? undefined : -ECHILD;
}

function report(child: task_struct, w: WaitOptions, traced: boolean): Found | undefined {
  const { signal } = child;
  const keep = (w.options & WNOWAIT) !== 0;
  if (child.exit_state === EXIT_ZOMBIE && signal.live === 0) {
    if ((w.options & WEXITED) === 0) return undefined;
    const code = child.exit_code;
    const found: Found = {
      child, pid: child.pid, status: code,
      code: (code & 0x80) !== 0 ? CLD_DUMPED : (code & 0x7f) !== 0 ? CLD_KILLED : CLD_EXITED,
      value: (code & 0x7f) !== 0 ? code & 0x7f : code >> 8,
    };
    if (!keep) reap(child, traced);
    return found;
  }
  const stop = child.ptrace as { stop_status: number; reported: boolean } | undefined;
  if (stop !== undefined && child.parent.signal === current().signal && stop.stop_status !== 0 && !stop.reported) {
    if (!keep) stop.reported = true;
    return { child, pid: child.pid, status: stoppedStatus(stop.stop_status), code: CLD_TRAPPED, value: stop.stop_status };
  }
  if ((w.options & WSTOPPED) !== 0 && signal.stop_report === CLD_STOPPED && signal.stopped) {
    if (!keep) signal.stop_report = 0;
    return { child, pid: child.pid, status: stoppedStatus(signal.group_exit_code), code: CLD_STOPPED, value: signal.group_exit_code };
  }
  if ((w.options & WCONTINUED) !== 0 && signal.stop_report === CLD_CONTINUED) {
    if (!keep) signal.stop_report = 0;
    return { child, pid: child.pid, status: continuedStatus, code: CLD_CONTINUED, value: SIGCONT };
  }
  return undefined;
}

/** Adds the dead child's times to the parent's and lets the zombie go. */
function reap(child: task_struct, traced: boolean): void {
  const mine = current().signal;
  const { signal } = child;
  if (!traced) {
    mine.cutime += signal.utime + child.utime + signal.cutime;
    mine.cstime += signal.stime + child.stime + signal.cstime;
    mine.cgtime += signal.gtime + child.gtime + signal.cgtime;
    mine.cnvcsw += signal.nvcsw + child.nvcsw + signal.cnvcsw;
    mine.cnivcsw += signal.nivcsw + child.nivcsw + signal.cnivcsw;
    mine.cmin_flt += signal.min_flt + child.min_flt + signal.cmin_flt;
    mine.cmaj_flt += signal.maj_flt + child.maj_flt + signal.cmaj_flt;
    mine.cmaxrss = Math.max(mine.cmaxrss, signal.maxrss, signal.cmaxrss);
  } else {
    // The tracer has seen the end; now the parent by birth may.
    ptrace_unlink(child);
    if (!do_notify_parent(child)) return;
  }
  release_task(child);
}

function* do_wait(w: WaitOptions): MaySleep<Found | number> {
  const task = current();
  const wq = task.signal.wait_chldexit;
  const entry = waiter();
  wq.add(entry);
  try {
    for (;;) {
      task.__state = TASK_INTERRUPTIBLE;
      const found = wait_consider(w);
      if (found !== undefined) return found;
      if (task.sigpending) return -ERESTARTSYS;
      task.wchan = 'do_wait';
      yield;
      task.wchan = '';
    }
  } finally {
    task.__state = TASK_RUNNING;
    wq.remove(entry);
  }
}

function* wait_and(w: WaitOptions, finish: (found: Found) => number): MaySleep<number> {
  const found = yield* do_wait(w);
  return typeof found === 'number' ? found : finish(found);
}

export function sys_wait4(task: task_struct, upid: number, stat: number, options: number, ru: number): number | MaySleep<number> {
  if ((options & ~(WNOHANG | WUNTRACED | WCONTINUED | 0xe000_0000)) !== 0) return -EINVAL;
  const pid = upid | 0;
  if (pid === -0x8000_0000) return -ESRCH;
  const w: WaitOptions = {
    type: pid === -1 ? P_ALL : pid > 0 ? P_PID : P_PGID,
    pid: pid > 0 ? pid : pid === 0 ? task.signal.pgrp : -pid,
    options: options | WEXITED,
  };
  const finish = (found: Found): number => {
    if (stat !== 0 && put_user32(stat, found.status) < 0) return -EFAULT;
    if (ru !== 0) {
      const r = rusage.make();
      fill_rusage(r, found.child, 'both');
      if (put_user_struct(ru, r) < 0) return -EFAULT;
    }
    return found.pid;
  };
  const now = wait_consider(w);
  if (typeof now === 'number') return now;
  if (now !== undefined) return finish(now);
  if ((options & WNOHANG) !== 0) return 0;
  return wait_and(w, finish);
}

export function sys_waitid(task: task_struct, type: number, pid: number, info: number, options: number, ru: number): number | MaySleep<number> {
  if ((options & ~(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | 0xe000_0000)) !== 0 || (options & (WEXITED | WSTOPPED | WCONTINUED)) === 0) return -EINVAL;
  if (type !== P_ALL && type !== P_PID && type !== P_PGID) return -EINVAL;
  if ((type === P_PID && pid <= 0) || (type === P_PGID && pid < 0)) return -EINVAL;
  const w: WaitOptions = { type, pid: type === P_PGID && pid === 0 ? task.signal.pgrp : pid, options };
  const finish = (found: Found): number => {
    if (info !== 0) {
      const si = siginfo_struct.make({ si_signo: SIGCHLD, si_code: found.code });
      si.si_pid = found.pid;
      si.si_status = found.value;
      if (put_user_struct(info, si) < 0) return -EFAULT;
    }
    if (ru !== 0) {
      const r = rusage.make();
      fill_rusage(r, found.child, 'both');
      if (put_user_struct(ru, r) < 0) return -EFAULT;
    }
    return 0;
  };
  const now = wait_consider(w);
  if (typeof now === 'number') return now;
  if (now !== undefined) return finish(now);
  if ((options & WNOHANG) !== 0) return info === 0 ? 0 : clear_user(info, 128);
  return wait_and(w, finish);
}

export function sys_exit(_task: task_struct, status: number): number {
  do_exit((status & 0xff) << 8);
  return 0;
}
export function sys_exit_group(_task: task_struct, status: number): number {
  do_group_exit((status & 0xff) << 8);
  return 0;
}
