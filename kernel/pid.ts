/**
 * Process numbers, and who belongs to which group and session.
 * Linux: kernel/pid.c, kernel/exit.c (orphaned process groups)
 */
import { EAGAIN } from '../abi/errno.ts';
import { kernelVariable } from './current.ts';
import type { task_struct } from './sched/types.ts';

const PID_MAX = 32768;
/** After a wrap, low numbers stay with the system. */
const RESERVED_PIDS = 300;

interface PidState { readonly tasks: Map<number, task_struct>; last: number; total_forks: number }
export const pid_state = kernelVariable<PidState>(() => ({ tasks: new Map(), last: 0, total_forks: 0 }));

/** The next free number, or -EAGAIN. A number stays taken while a task, group or session bears it. */
export function alloc_pid(): number {
  const state = pid_state();
  for (let tried = 0; tried < PID_MAX; tried++) {
    state.last = state.last + 1 >= PID_MAX ? RESERVED_PIDS : state.last + 1;
    if (!taken(state.last)) return state.last;
  }
  return -EAGAIN;
}

function taken(pid: number): boolean {
  if (pid_state().tasks.has(pid)) return true;
  if (pid_state().total_forks < PID_MAX) return false;
  for (const { signal } of pid_state().tasks.values()) if (signal.pgrp === pid || signal.session === pid) return true;
  return false;
}

export function attach_pid(task: task_struct): void { pid_state().tasks.set(task.pid, task); }
export function detach_pid(task: task_struct): void {
  if (pid_state().tasks.get(task.pid) === task) pid_state().tasks.delete(task.pid);
}

/** Any task, thread or process, by its number; 0 is the calling one's business. */
export const find_task_by_vpid = (pid: number): task_struct | undefined => pid_state().tasks.get(pid);

/** All tasks by number, threads and zombies too, without idle tasks. A copy: tasks may come and go while it is walked. */
export const pid_tasks = (): task_struct[] => [...pid_state().tasks.values()].sort((a, b) => a.pid - b.pid);
export const for_each_process = (): task_struct[] => pid_tasks().filter((t) => t.pid === t.tgid);

/**
 * No process of the group has a parent in another group of the same session: nobody is there to continue it when it
 * stops, so terminal stop signals do not stop it.
 */
export function is_orphaned_pgrp(pgrp: number, ignored?: task_struct): boolean {
  for (const task of for_each_process()) {
    if (task === ignored || task.signal.pgrp !== pgrp || task.exit_state !== 0 || task.real_parent.pid <= 1) continue;
    const parent = task.real_parent.signal;
    if (parent.pgrp !== pgrp && parent.session === task.signal.session) return false;
  }
  return true;
}

export const has_stopped_jobs = (pgrp: number): boolean => for_each_process().some((t) => t.signal.pgrp === pgrp && t.signal.stopped);
