/**
 * The border between user and kernel mode: resumes programs, makes their system calls, and settles on the way back
 * what signals have done.
 *
 * Linux: arch/x86/entry/entry_64.S, kernel/entry/common.c
 *
 * Computing that a program declares (`burn`) is spent here in portions that end at the processor's limit, so that a
 * timer interrupts it at its exact cycle like any other code.
 */
import { cpu } from '../abi/process.ts';
import { EFAULT, ENOSYS } from '../abi/errno.ts';
import { SIGABRT, SIGSEGV } from '../abi/signal.ts';
import type { Processor } from '../machine/processor.ts';
import { machine } from './current.ts';
import { do_exit, do_group_exit } from './exit.ts';
import { UserFault } from './mm/space.ts';
import { pr_info } from './printk.ts';
import { traced_call } from './ptrace.ts';
import { vtime_account } from './sched/cputime.ts';
import { type MaySleep, PF_KTHREAD, type UserFrame, type task_struct } from './sched/types.ts';
import { do_signal, force_fatal_sig, force_sig_info, restore_frame } from './signal.ts';
import { siginfo } from './siginfo.ts';
import { syscall_table } from './syscall-table.ts';
import { sys_enter, sys_exit } from './trace/events-sched.ts';
import { syscall_points, trace_syscall_enter, trace_syscall_exit } from './trace/events-syscalls.ts';
import { run_machine_code, set_result } from './user-mode.ts';

/** One step of the running task: kernel code up to its next yield, or user code up to its next system call. */
export function run_task(task: task_struct, p: Processor): void {
  const gen = task.kernel_gen;
  if (gen === undefined) run_user(task, p);
  else run_kernel(task, p, gen);
}

function run_kernel(task: task_struct, p: Processor, gen: MaySleep<number>): void {
  let result: number;
  try {
    const step = gen.next();
    if (step.done !== true) return;
    result = step.value;
  } catch (error) {
    if (!(error instanceof UserFault)) throw error;
    result = -EFAULT;
  }
  task.kernel_gen = undefined;
  if ((task.flags & PF_KTHREAD) !== 0) do_exit(result << 8);
  else syscall_exit(task, p, result);
}

function run_user(task: task_struct, p: Processor): void {
  if ((task.sigpending || task.notify_resume) && !do_signal(task)) return;
  const frame = task.frames[task.frames.length - 1]!;
  if (frame.burn > 0) return spend(frame, p);
  if (frame.calling) {
    frame.calling = false;
    return do_syscall(task, p);
  }
  if (frame.lost !== undefined) return force_fatal_sig(frame.lost);
  const user = task.user!;
  if (frame.gen === undefined) {
    if (run_machine_code(task, p)) do_syscall(task, p);
    return;
  }
  cpu.current = user;
  try {
    const step = frame.gen.next(frame.result);
    if (task.user_fault !== undefined) return lost_to_fault(task, frame);
    if (step.done === true) return frame_done(task, frame, step.value);
  } catch (error) {
    return user_exception(task, frame, error);
  }
  if (user.burnt > 0) {
    frame.burn = Math.floor(user.burnt);
    user.burnt = 0;
    frame.calling = true;
    if (frame.burn > 0) return spend(frame, p);
    frame.calling = false;
  }
  do_syscall(task, p);
}

/** Computes for as long as the step lasts. */
function spend(frame: UserFrame, p: Processor): void {
  const n = Math.max(1, Math.min(frame.burn, p.limit - p.clock));
  p.charge(n);
  frame.burn -= n;
}

function do_syscall(task: task_struct, p: Processor): void {
  const user = task.user!;
  vtime_account(task, p);
  p.charge(machine().costs.syscall);
  const nr = user.nr;
  task.syscall_nr = nr >= 0 ? nr : 0x7fff_ffff;
  if (task.ptrace !== undefined) {
    task.kernel_gen = traced_call(task, () => make_call(task));
    return;
  }
  const result = make_call(task);
  if (typeof result === 'number') return syscall_exit(task, p, result);
  // Up to its first yield at once: what the call has begun is not left half done for others to see.
  task.kernel_gen = result;
  run_kernel(task, p, result);
}

/** The call the registers hold: its result, or the code that will have it. */
function make_call(task: task_struct): number | MaySleep<number> {
  const user = task.user!;
  const entry = syscall_table[user.nr];
  if (sys_enter.enabled) sys_enter.trace({ id: user.nr, args: [user.a0, user.a1, user.a2, user.a3, user.a4, user.a5].map((a) => BigInt.asUintN(64, BigInt(a))) });
  if (syscall_points.enabled > 0) trace_syscall_enter(user);
  if (entry === undefined) return -ENOSYS;
  try {
    return entry.call(task, user);
  } catch (error) {
    if (!(error instanceof UserFault)) throw error;
    return -EFAULT;
  }
}

export function syscall_exit(task: task_struct, p: Processor, result: number): void {
  // exit has taken the registers away: it has no return to trace.
  if (sys_exit.enabled && task.user !== undefined) sys_exit.trace({ id: task.user.nr, ret: result });
  if (syscall_points.enabled > 0 && task.user !== undefined) trace_syscall_exit(task.user, result);
  vtime_account(task, p);
  const frame = task.frames[task.frames.length - 1];
  // execve and exit have put other frames in place, or none.
  if (frame !== undefined) {
    frame.result = result;
    if (task.regs !== undefined) set_result(task.regs, result);
    if (result <= -512 && result >= -516) {
      frame.restart = result;
      task.notify_resume = true;
    }
  }
  task.syscall_nr = -1;
}

/** A body has returned: a handler's means sigreturn, a program's exit. */
function frame_done(task: task_struct, frame: UserFrame, value: unknown): void {
  if (frame.saved !== undefined) return restore_frame(task);
  do_group_exit(((typeof value === 'number' ? value : 0) & 0xff) << 8);
}

function lost_to_fault(task: task_struct, frame: UserFrame): void {
  const info = task.user_fault!;
  task.user_fault = undefined;
  frame.lost = info;
  if (info.si_signo === SIGSEGV) pr_info(`${task.comm}[${task.pid}]: segfault at ${info.si_addr.toString(16)} ip 0 sp 0 error ${info.si_code === 1 ? 4 : 5}`);
  force_sig_info(task, info);
}

/** An exception that the program let out. Nothing can run it on. */
function user_exception(task: task_struct, frame: UserFrame, error: unknown): void {
  if (task.user_fault !== undefined) return lost_to_fault(task, frame);
  const overflow = error instanceof RangeError && /call stack/i.test(error.message);
  pr_info(`${task.comm}[${task.pid}]: uncaught ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`);
  frame.lost = siginfo(overflow ? SIGSEGV : SIGABRT, 0);
  force_sig_info(task, frame.lost);
}
