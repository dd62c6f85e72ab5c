/**
 * Who is charged for the time that passes: user, system or guest, to the cycle.
 * Linux: kernel/sched/cputime.c (CONFIG_VIRT_CPU_ACCOUNTING_GEN)
 */
import type { Processor } from '../../machine/processor.ts';
import { current, this_processor } from '../current.ts';
import { PF_VCPU, type task_struct } from './types.ts';

/** Books the time since the last booking under what the task was doing. Called at every change of that. */
export function vtime_account(task: task_struct, p: Processor): void {
  const delta = p.clock - task.vtime;
  task.vtime = p.clock;
  if ((task.flags & PF_VCPU) !== 0) {
    task.gtime += delta;
    task.utime += delta;
  } else if (task.syscall_nr < 0 && task.user !== undefined) task.utime += delta;
  else task.stime += delta;
}

export function vtime_start(task: task_struct, p: Processor): void { task.vtime = p.clock; }

/** From here to guest_exit the processor runs a guest: the loop leaves the task alone, time counts as guest time. */
export function guest_enter(): void {
  const task = current();
  vtime_account(task, this_processor());
  task.flags |= PF_VCPU;
}

export function guest_exit(): void {
  const task = current();
  vtime_account(task, this_processor());
  task.flags &= ~PF_VCPU;
}
