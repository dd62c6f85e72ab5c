/**
 * One processor asks another to do something.
 * Linux: kernel/smp.c, arch/x86/kernel/smp.c
 */
import type { Processor } from '../machine/processor.ts';
import { current, enter, kernel_context, machine, set_current, this_processor } from './current.ts';
import { CALL_FUNCTION_VECTOR, RESCHEDULE_VECTOR } from './irq.ts';
import { runqueues } from './sched/core.ts';

/** Makes the processor look at need_resched, out of guest or user mode if it is there. */
export function smp_send_reschedule(cpu: number): void {
  const p = this_processor();
  p.charge(machine().costs.ipi);
  p.lapic.sendIpi(machine().processors[cpu]!.lapic.id, RESCHEDULE_VECTOR);
}

/**
 * Runs fn on that processor and waits for it. The wait is over in this very step: the other processor stands between
 * two steps, which is where it would take the interrupt.
 */
export function smp_call_function_single(cpu: number, fn: () => void): void {
  const here = this_processor();
  if (cpu === here.id) return fn();
  here.charge(machine().costs.ipi);
  const there = machine().processors[cpu]!;
  here.lapic.sendIpi(there.lapic.id, CALL_FUNCTION_VECTOR);
  runOn(there, fn);
}

function runOn(p: Processor, fn: () => void): void {
  const context = kernel_context();
  const here = this_processor();
  const task = current();
  enter(context, p);
  set_current(runqueues()[p.id]!.curr);
  try {
    fn();
  } finally {
    enter(context, here);
    set_current(task);
  }
}

export function on_each_cpu(fn: () => void): void {
  for (const p of machine().processors) if (p.started) smp_call_function_single(p.id, fn);
}

/** Mask of the processors that run. */
export const cpu_online_mask = (): number => machine().processors.reduce((mask, p) => (p.started ? mask | (1 << p.id) : mask), 0);
