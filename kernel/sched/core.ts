/**
 * The scheduler's core: the loop each processor runs, the switch between tasks, sleeping and waking.
 *
 * Linux: kernel/sched/core.c, arch/x86/entry/common.c (what happens between user mode and the next task)
 *
 * A processor's loop does what the interrupt flag, need_resched and the running task's state say, in that order. Two
 * things are never interrupted from here: guest mode (PF_VCPU), which silicon leaves by a VM exit, and one stretch of
 * kernel code between two yields.
 */
import { holdDoubles } from '../../lib/doubles.ts';
import type { Processor } from '../../machine/processor.ts';
import { type KernelContext, current, enter, kernelVariable, machine, set_current, this_processor } from '../current.ts';
import { run_task } from '../entry.ts';
import { do_IRQ } from '../irq.ts';
import { die } from '../panic.ts';
import { smp_send_reschedule } from '../smp.ts';
import { hrtimer } from '../time/hrtimer.ts';
import { get_tsc, tick_period } from '../time/timekeeping.ts';
import { sched_switch, sched_wakeup, switch_state } from '../trace/events-sched.ts';
import { load_balance_tick, newidle_balance, select_task_rq } from './balance.ts';
import { vtime_account, vtime_start } from './cputime.ts';
import { fair_sched_class } from './fair.ts';
import { idle_sched_class } from './idle.ts';
import { rt_sched_class } from './rt.ts';
import type { rq, rq_class } from './rq.ts';
import { DEQUEUE_SLEEP, ENQUEUE_INITIAL, ENQUEUE_WAKEUP } from './rq.ts';
import {
  type MaySleep, PF_IDLE, PF_KTHREAD, PF_VCPU, TASK_DEAD, TASK_INTERRUPTIBLE, TASK_NORMAL, TASK_RUNNING, TASK_UNINTERRUPTIBLE, TASK_WAKEKILL, type preempt_notifier, task_struct,
} from './types.ts';
import { signal_struct } from './types.ts';
import { wait_queue_head } from './wait.ts';

export const runqueues = kernelVariable<rq[]>(() => machine().processors.map(makeRunqueue));

export const class_of = (task: task_struct): rq_class => task.sched_class as rq_class;
export const task_rq = (task: task_struct): rq => runqueues()[task.cpu]!;

function makeRunqueue(p: Processor): rq {
  const idle = new task_struct(0, `swapper/${p.id}`, 1 << p.id);
  idle.flags = PF_IDLE | PF_KTHREAD;
  idle.__state = TASK_RUNNING;
  idle.cpu = p.id;
  idle.on_cpu = true;
  idle.prio = 120;
  idle.sched_class = idle_sched_class as typeof idle.sched_class;
  idle.parent = idle.real_parent = idle;
  idle.signal = new signal_struct(new wait_queue_head(), []);
  idle.sighand = { action: [], count: 1 };
  const rq: rq = {
    cpu: p.id, processor: p, curr: idle, idle, nr_running: 0, nr_switches: 0, nr_uninterruptible: 0,
    cfs: { queue: [], curr: undefined, load: 0, nr_running: 0, min_vruntime: 0 },
    rt: { queue: [] },
    tick: new hrtimer(() => scheduler_tick(rq)),
    hrtick: new hrtimer(() => class_of(rq.curr).task_tick(rq, rq.curr)),
    next_balance: 0, nr_balance_failed: 0, idle_time: 0, idle_since: 0,
    sched_count: 0, sched_goidle: 0, ttwu_count: 0, ttwu_local: 0, run_delay: 0, rq_cpu_time: 0,
  };
  holdDoubles(rq, 'idle_time', 'idle_since', 'run_delay', 'rq_cpu_time');
  holdDoubles(rq.cfs, 'min_vruntime');
  return rq;
}

// ---------------------------------------------------------------- the loop

/** Ring0.step: processor p from its clock to its limit, or until it halts. */
export function run_processor(kernel: KernelContext, p: Processor): void {
  enter(kernel, p);
  const rq = runqueues()[p.id]!;
  set_current(rq.curr);
  while (p.clock < p.limit && !p.halted) {
    try {
      loop(rq, p);
    } catch (reason) {
      die(reason);
    }
  }
}

function loop(rq: rq, p: Processor): void {
  while (p.clock < p.limit && !p.halted) {
    const task = rq.curr;
    if ((task.flags & PF_VCPU) === 0) {
      if (p.interruptFlag && p.pendingVector() >= 0) {
        do_IRQ(p.acknowledge());
        continue;
      }
      if (task.need_resched || task.__state !== TASK_RUNNING) {
        __schedule(rq);
        continue;
      }
    }
    if (task === rq.idle) p.halt();
    else run_task(task, p);
  }
}

// ---------------------------------------------------------------- switching

function __schedule(rq: rq): void {
  const prev = rq.curr;
  prev.need_resched = false;
  const preempted = prev.__state === TASK_RUNNING;
  if (!preempted) {
    if (signal_pending_state(prev.__state, prev)) prev.__state = TASK_RUNNING;
    else deactivate_task(rq, prev, DEQUEUE_SLEEP);
  } else if (prev.on_rq && (prev.cpus_mask & (1 << rq.cpu)) === 0) {
    // Its affinity forbids this processor: it leaves as soon as it is not running.
    deactivate_task(rq, prev, 0);
  }
  class_of(prev).put_prev_task(rq, prev);
  const next = pick_next_task(rq);
  class_of(next).set_next_task(rq, next);
  rq.sched_count++;
  if (next === prev) return;
  if (preempted) prev.nivcsw++;
  else prev.nvcsw++;
  context_switch(rq, prev, next, preempted);
  if (preempted && !prev.on_rq && prev !== rq.idle) {
    const cpu = select_task_rq(prev, 0);
    prev.se.nr_migrations++;
    activate_task(runqueues()[cpu]!, prev, 0);
  }
}

function pick_next_task(rq: rq): task_struct {
  if (rq.nr_running === 0) newidle_balance(rq);
  if (rq.rt.queue.length > 0) return rq.rt.queue[0]!;
  if (rq.cfs.nr_running > 0) {
    const task = fair_sched_class.pick_next_task(rq);
    if (task !== undefined) return task;
  }
  return rq.idle;
}

function context_switch(rq: rq, prev: task_struct, next: task_struct, preempted: boolean): void {
  const p = rq.processor;
  if (sched_switch.enabled) {
    sched_switch.trace({
      prev_comm: prev.comm, prev_pid: prev.pid, prev_prio: prev.prio, prev_state: switch_state(task_state_char(prev), preempted),
      next_comm: next.comm, next_pid: next.pid, next_prio: next.prio,
    });
  }
  rq.nr_switches++;
  for (const notifier of prev.preempt_notifiers) notifier.sched_out(next);
  vtime_account(prev, p);
  prev.on_cpu = false;
  p.charge(machine().costs.contextSwitch);
  if (prev.on_rq) prev.last_queued = p.clock;
  next.on_cpu = true;
  next.cpu = rq.cpu;
  if (next !== rq.idle) {
    const waited = Math.max(0, p.clock - next.last_queued);
    next.run_delay += waited;
    rq.run_delay += waited;
    next.pcount++;
    if (!rq.tick.active) start_tick(rq);
  }
  rq.curr = next;
  set_current(next);
  vtime_start(next, p);
  for (const notifier of next.preempt_notifiers) notifier.sched_in(rq.cpu);
}

function start_tick(rq: rq): void {
  const period = tick_period();
  rq.tick.start((Math.floor(rq.processor.clock / period) + 1) * period);
}

function scheduler_tick(rq: rq): void {
  const { curr } = rq;
  if (curr === rq.idle) return;
  vtime_account(curr, rq.processor);
  class_of(curr).task_tick(rq, curr);
  load_balance_tick(rq);
  start_tick(rq);
}

// ---------------------------------------------------------------- queues

export function activate_task(rq: rq, task: task_struct, flags: number): void {
  task.cpu = rq.cpu;
  class_of(task).enqueue_task(rq, task, flags);
  task.on_rq = true;
  task.last_queued = rq.processor.clock;
  rq.nr_running++;
  wakeup_preempt(rq, task);
}

export function deactivate_task(rq: rq, task: task_struct, flags: number): void {
  class_of(task).dequeue_task(rq, task, flags);
  task.on_rq = false;
  rq.nr_running--;
}

function wakeup_preempt(rq: rq, task: task_struct): void {
  const mine = class_of(task);
  const its = class_of(rq.curr);
  if (mine.rank > its.rank) resched_curr(rq);
  else if (mine === its) mine.wakeup_preempt(rq, task);
}

/** The running task of that queue is to make room at the next chance. */
export function resched_curr(rq: rq): void {
  const { curr } = rq;
  if (curr.need_resched) return;
  curr.need_resched = true;
  if (rq.processor !== this_processor()) smp_send_reschedule(rq.cpu);
}

export const class_for = (prio: number): task_struct['sched_class'] => (prio < 100 ? rt_sched_class : fair_sched_class) as task_struct['sched_class'];

// ---------------------------------------------------------------- sleeping and waking

/** A sleep that this signal state ends: true when the task must not go to sleep. */
export function signal_pending_state(state: number, task: task_struct): boolean {
  if ((state & (TASK_INTERRUPTIBLE | TASK_WAKEKILL)) === 0 || !task.sigpending) return false;
  return (state & TASK_INTERRUPTIBLE) !== 0 || fatal_signal_pending(task);
}

export const signal_pending = (task: task_struct): boolean => task.sigpending;
export const fatal_signal_pending = (task: task_struct): boolean => task.sigpending && (task.pending.signal & SIGKILL_BIT) !== 0n;
const SIGKILL_BIT = 1n << 8n;

/** Ends the sleep of a task whose state is in `mode`. False when it was not asleep in such a way. */
export function try_to_wake_up(task: task_struct, mode: number): boolean {
  if ((task.__state & mode) === 0) return false;
  task.__state = TASK_RUNNING;
  if (sched_wakeup.enabled) sched_wakeup.trace({ comm: task.comm, pid: task.pid, prio: task.prio, target_cpu: task.cpu });
  // Still on its processor, on the way to sleep: it just stays.
  if (task.on_rq) return true;
  const cpu = select_task_rq(task, ENQUEUE_WAKEUP);
  if (cpu !== task.cpu) task.se.nr_migrations++;
  const rq = runqueues()[cpu]!;
  rq.ttwu_count++;
  if (cpu === this_processor().id) rq.ttwu_local++;
  activate_task(rq, task, ENQUEUE_WAKEUP);
  return true;
}

export const wake_up_process = (task: task_struct): boolean => try_to_wake_up(task, TASK_NORMAL);
export const wake_up_state = (task: task_struct, state: number): boolean => try_to_wake_up(task, state);

/** A task that fork made: runs for the first time. */
export function wake_up_new_task(task: task_struct): void {
  task.__state = TASK_RUNNING;
  const cpu = select_task_rq(task, ENQUEUE_INITIAL);
  activate_task(runqueues()[cpu]!, task, ENQUEUE_INITIAL);
}

/** Nobody else wants this processor. */
export const single_task_running = (): boolean => runqueues()[this_processor().id]!.nr_running === 1;

/**
 * Gives up the slice for a task that is ready and does not run. False when that is not so, or the classes differ. The
 * caller goes on to its next chance to be rescheduled.
 */
export function yield_to(task: task_struct): boolean {
  const rq = runqueues()[this_processor().id]!;
  const theirs = task_rq(task);
  if (rq.nr_running === 1 && theirs.nr_running === 1) return false;
  if (task.sched_class !== rq.curr.sched_class || task.on_cpu || !task.on_rq) return false;
  class_of(rq.curr).yield_task(rq);
  if (theirs !== rq) resched_curr(theirs);
  resched_curr(rq);
  return true;
}

export const need_resched = (): boolean => current().need_resched;
export function set_current_state(state: number): void { current().__state = state; }

/** Sleeps as the task's state says, or gives way when it is TASK_RUNNING. */
export function* schedule(): MaySleep<void> {
  if (current().__state === TASK_RUNNING) current().need_resched = true;
  yield;
}

/** A point at which long kernel work lets others run. */
export function* cond_resched(): MaySleep<void> {
  if (current().need_resched) yield;
}

/** Sleeps as the state says, at most `timeout` cycles (Infinity: no limit). Returns what is left of it. */
export function* schedule_timeout(timeout: number): MaySleep<number> {
  if (timeout === Number.POSITIVE_INFINITY) {
    yield;
    return timeout;
  }
  const task = current();
  const until = get_tsc() + Math.max(timeout, 0);
  const timer = new hrtimer(() => { try_to_wake_up(task, TASK_NORMAL | TASK_WAKEKILL); });
  timer.start(until);
  yield;
  timer.cancel();
  return Math.max(0, until - this_processor().clock);
}

// ---------------------------------------------------------------- notifiers

/** KVM's vcpu_load and vcpu_put ride on these. For the current task, or one that does not run. */
export function preempt_notifier_register(task: task_struct, notifier: preempt_notifier): void {
  task.preempt_notifiers = [notifier, ...task.preempt_notifiers];
}
export function preempt_notifier_unregister(task: task_struct, notifier: preempt_notifier): void {
  task.preempt_notifiers = task.preempt_notifiers.filter((n) => n !== notifier);
}

// ---------------------------------------------------------------- as others see it

/** One letter as in ps and /proc/<pid>/stat. */
export function task_state_char(task: task_struct): string {
  if (task.exit_state !== 0) return (task.exit_state & 0x20) !== 0 ? 'Z' : 'X';
  const state = task.__state;
  if (state === TASK_RUNNING) return 'R';
  if ((state & TASK_INTERRUPTIBLE) !== 0) return 'S';
  if ((state & 0x4) !== 0) return 'T';
  if ((state & 0x8) !== 0) return 't';
  if ((state & TASK_UNINTERRUPTIBLE) !== 0) return (task.flags & PF_KTHREAD) !== 0 && (state & 0x400) !== 0 ? 'I' : 'D';
  return (state & TASK_DEAD) !== 0 ? 'X' : 'R';
}
