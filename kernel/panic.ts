/**
 * What happens when the kernel itself is wrong: an oops costs the task that ran into it, a panic the machine.
 * Linux: kernel/panic.c, arch/x86/kernel/dumpstack.c
 */
import { SIGKILL } from '../abi/signal.ts';
import { current, kernelVariable, machine, this_processor } from './current.ts';
import { do_exit } from './exit.ts';
import { in_interrupt } from './irq.ts';
import { LOGLEVEL_DEBUG, log, pr_emerg } from './printk.ts';
import { PF_IDLE, PF_VCPU } from './sched/types.ts';

const state = kernelVariable(() => ({ oopses: 0, panicked: false }));

/** Exit status of the simulator after a panic. */
export const PANIC_STATUS = 70;

/** Stops the machine with that reason. The status of the simulator is not 0. */
export function panic(reason: string): void {
  if (state().panicked) return;
  state().panicked = true;
  log().console_loglevel = LOGLEVEL_DEBUG;
  pr_emerg(`Kernel panic - not syncing: ${reason}`);
  pr_emerg(`---[ end Kernel panic - not syncing: ${reason} ]---`);
  machine().powerOff(PANIC_STATUS);
}

/** Function names and places of a stack, without the host's folders. */
function call_trace(error: unknown): string[] {
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  return stack.split('\n').filter((line) => /^\s+at /.test(line)).slice(0, 12)
    .map((line) => line.trim().replace(/^at /, '').replace(/\(?(?:file:\/\/)?[^ (]*\/([^/ (]+?)\)?$/, '($1)'));
}

/** An exception nobody in the kernel caught. */
export function die(reason: unknown): void {
  const task = current();
  const text = reason instanceof Error ? `${reason.name}: ${reason.message}` : String(reason);
  pr_emerg(`Oops: ${text}`);
  pr_emerg(`CPU: ${this_processor().id} PID: ${task.pid} Comm: ${task.comm}`);
  pr_emerg('Call Trace:');
  for (const line of call_trace(reason)) pr_emerg(` ${line}`);
  if (state().panicked) return;
  if (in_interrupt()) return panic('Fatal exception in interrupt');
  if ((task.flags & PF_IDLE) !== 0) return panic('Attempted to kill the idle task!');
  if (++state().oopses > 100) return panic('Oopsed too often');
  task.kernel_gen = undefined;
  task.flags &= ~PF_VCPU;
  try {
    do_exit(SIGKILL);
  } catch (again) {
    panic(`Exit of a task that oopsed failed: ${again instanceof Error ? again.message : String(again)}`);
  }
}
