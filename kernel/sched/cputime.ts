/**
 * Who is charged for the time that passes: user, system or guest, to the cycle.
 * Linux: kernel/sched/cputime.c (CONFIG_VIRT_CPU_ACCOUNTING_GEN)
 */
import { holdDoubles } from '../../lib/doubles.ts';
import type { Processor } from '../../machine/processor.ts';
import { current, kernelVariable, machine, this_processor } from '../current.ts';
import { PF_IDLE, PF_VCPU, type task_struct } from './types.ts';

/** Cycles of one processor by what they went to; guest time is part of user, guest_nice of nice. The rest was idle. */
export interface kernel_cpustat { user: number; nice: number; system: number; guest: number; guest_nice: number }
export const kcpustat = kernelVariable<kernel_cpustat[]>(() => machine().processors.map(() => {
  const stat = { user: 0, nice: 0, system: 0, guest: 0, guest_nice: 0 };
  holdDoubles(stat, 'user', 'nice', 'system', 'guest', 'guest_nice');
  return stat;
}));

/** Books the time since the last booking under what the task was doing. Called at every change of that but the entry into a guest. */
export function vtime_account(task: task_struct, p: Processor): void {
  let delta = p.clock - task.vtime;
  if (delta === 0) return;
  task.vtime = p.clock;
  if ((task.flags & PF_IDLE) !== 0) return;
  if ((task.flags & PF_VCPU) !== 0) {
    const inGuest = p.clock - task.guest_since;
    task.guest_since = p.clock;
    account_guest_time(task, p, inGuest);
    delta -= inGuest;
  }
  const stat = kcpustat()[p.id]!;
  if (task.syscall_nr < 0 && task.user !== undefined) {
    task.utime += delta;
    if (task.static_prio > 120) stat.nice += delta;
    else stat.user += delta;
  } else {
    task.stime += delta;
    stat.system += delta;
  }
}

/** Guest time is user time too. */
function account_guest_time(task: task_struct, p: Processor, cycles: number): void {
  const stat = kcpustat()[p.id]!;
  task.utime += cycles;
  task.gtime += cycles;
  if (task.static_prio > 120) {
    stat.nice += cycles;
    stat.guest_nice += cycles;
  } else {
    stat.user += cycles;
    stat.guest += cycles;
  }
}

export function vtime_start(task: task_struct, p: Processor): void { task.vtime = p.clock; }

/** From here to guest_exit the processor runs a guest: the loop leaves the task alone, time counts as guest time. */
export function guest_enter(): void {
  const task = current();
  task.guest_since = this_processor().clock;
  task.flags |= PF_VCPU;
}

/** The time before guest_enter stays to be booked, with what follows. */
export function guest_exit(): void {
  const task = current();
  const p = this_processor();
  const cycles = p.clock - task.guest_since;
  task.vtime += cycles;
  task.flags &= ~PF_VCPU;
  account_guest_time(task, p, cycles);
}
