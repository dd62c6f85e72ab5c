/**
 * Stopping and continuing processes as a whole.
 *
 * Linux: kernel/signal.c (do_signal_stop, do_notify_parent_cldstop)
 *
 * A stop signal reaches one thread; each thread stops at its own border to user mode, and the last one to do so tells
 * the parent.
 */
import { CLD_STOPPED, SA_NOCLDSTOP, SIGCHLD, SIGCONT } from '../abi/signal.ts';
import { siginfo } from './siginfo.ts';
import { recalc_sigpending, send_signal, signal_wake_up } from './signal.ts';
import { EXIT_ZOMBIE, PF_EXITING, TASK_STOPPED, type task_struct } from './sched/types.ts';

/** A stop signal has been acted on: all threads of the process are to stop. */
export function start_stop(task: task_struct, sig: number): void {
  const { signal } = task;
  signal.stop_signal = sig;
  signal.group_exit_code = sig;
  signal.group_stop_count = signal.threads.filter((t) => (t.flags & PF_EXITING) === 0).length;
  for (const thread of signal.threads) if (thread !== task) signal_wake_up(thread, false);
}

/** One thread stops; the last one of the process tells the parent. */
export function stop_here(task: task_struct): void {
  const { signal } = task;
  task.__state = TASK_STOPPED;
  if (--signal.group_stop_count > 0) return;
  signal.group_stop_count = 0;
  signal.stopped = true;
  signal.stop_report = CLD_STOPPED;
  const sig = signal.stop_signal;
  signal.stop_signal = 0;
  for (const thread of signal.threads) recalc_sigpending(thread);
  notify_stop(task, CLD_STOPPED, sig);
}

/** A thread that exits while the process is stopping is not waited for. */
export function exit_from_stop(task: task_struct): void {
  const { signal } = task;
  if (signal.stop_signal === 0 || --signal.group_stop_count > 0) return;
  const stopped = signal.threads.find((t) => t !== task && t.exit_state === 0);
  if (stopped === undefined) return;
  signal.stopped = true;
  signal.stop_report = CLD_STOPPED;
  const sig = signal.stop_signal;
  signal.stop_signal = 0;
  notify_stop(stopped, CLD_STOPPED, sig);
}

/** Tells the parent that its child stopped or went on. */
export function notify_stop(task: task_struct, why: 5 | 6, sig = SIGCONT): void {
  const leader = task.group_leader;
  const parent = leader.real_parent;
  if (parent.exit_state === EXIT_ZOMBIE) return;
  const action = parent.sighand.action[SIGCHLD];
  if (action !== undefined && (action.sa_flags & BigInt(SA_NOCLDSTOP)) === 0n) {
    send_signal(SIGCHLD, { ...siginfo(SIGCHLD, why), si_pid: leader.tgid, si_status: sig }, parent, 'process');
  }
  parent.signal.wait_chldexit.wake_up_all();
}
