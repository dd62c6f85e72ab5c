/**
 * Who runs now: the kernel, the processor, the task; and the kernel's global variables.
 *
 * Linux: arch/x86/include/asm/current.h, percpu.h
 *
 * Several kernels may live in one host process (tests, replicas), so nothing of a kernel is kept in module
 * variables but what is set at each entry. `kernelVariable` stands where C has a file-scope variable.
 */
import type { Machine } from '../machine/machine.ts';
import type { Processor } from '../machine/processor.ts';
import type { task_struct } from './sched/types.ts';

/** What a kernel is, to the code below it: its machine and its global variables. */
export interface KernelContext {
  readonly machine: Machine;
  readonly variables: unknown[];
  readonly options: KernelSettings;
}
export interface KernelSettings { readonly cmdline: string }

let kernel: KernelContext;
let processor: Processor;
let task: task_struct;

export const current = (): task_struct => task;
export const this_processor = (): Processor => processor;
export const smp_processor_id = (): number => processor.id;
export const machine = (): Machine => kernel.machine;
export const kernel_context = (): KernelContext => kernel;

/** Entry into a kernel on a processor: by its Ring0.step, and by boot. */
export function enter(k: KernelContext, p: Processor): void {
  kernel = k;
  processor = p;
}
/** core.ts's, at entry and at each context switch. */
export function set_current(t: task_struct): void { task = t; }

let variables = 0;
/** A file-scope variable of the kernel: one value for each kernel, made when it is first asked for. */
export function kernelVariable<T>(make: () => T): () => T {
  const i = variables++;
  return () => (kernel.variables[i] ?? (kernel.variables[i] = make())) as T;
}
