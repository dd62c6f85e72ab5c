/**
 * Who is charged for the time that passes: user, system or guest, to the cycle.
 * Linux: kernel/sched/cputime.c (CONFIG_VIRT_CPU_ACCOUNTING_GEN)
 */
import type { Processor } from '../../machine/processor.ts';
import { current, kernelVariable, machine, this_processor } from '../current.ts';
import { PF_IDLE, PF_VCPU, type task_struct } from './types.ts';

/** Cycles of one processor by what they went to; guest time is part of user, guest_nice of nice. The rest was idle. */
export interface kernel_cpustat { user: number; nice: number; system: number; guest: number; guest_nice: number }
export const kcpustat = kernelVariable<kernel_cpustat[]>(() => machine().processors.map(() => ({ user: 0, nice: 0, system: 0, guest: 0, guest_nice: 0 })));

/** Books the time since the last booking under what the task was doing. Called at every change of that. */
export function vtime_account(task: task_struct, p: Processor): void {
  const delta = p.clock - task.vtime;
  if (delta === 0) return;
  task.vtime = p.clock;
  if ((task.flags & PF_IDLE) !== 0) return;
  const stat = kcpustat()[p.id]!;
  const inGuest = (task.flags & PF_VCPU) !== 0;
  if (inGuest || (task.syscall_nr < 0 && task.user !== undefined)) {
    task.utime += delta;
    if (task.static_prio > 120) stat.nice += delta;
    else stat.user += delta;
    if (!inGuest) return;
    task.gtime += delta;
    if (task.static_prio > 120) stat.guest_nice += delta;
    else stat.guest += delta;
  } else {
    task.stime += delta;
    stat.system += delta;
  }
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
