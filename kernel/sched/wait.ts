/**
 * Wait queues: where a task waits for an event, and how whoever causes the event wakes it.
 *
 * Linux: include/linux/wait.h, kernel/sched/wait.c
 *
 * The order is what makes it safe: enter the queue and set the state first, test the condition, then sleep. A
 * wake-up between test and sleep turns the state back to TASK_RUNNING, so that the sleep ends at once.
 */
import { ERESTARTSYS } from '../errno-internal.ts';
import { current } from '../current.ts';
import { schedule_timeout, signal_pending_state, try_to_wake_up } from './core.ts';
import type { MaySleep, task_struct } from './types.ts';
import { TASK_INTERRUPTIBLE, TASK_KILLABLE, TASK_NORMAL, TASK_RUNNING, TASK_UNINTERRUPTIBLE } from './types.ts';

/** Called at wake_up. Returns true when it counts as one exclusive waiter woken. */
export type wait_queue_func = (entry: wait_queue_entry, mode: number, key: number) => boolean;

export class wait_queue_entry {
  readonly func: wait_queue_func;
  readonly task: task_struct | undefined;
  readonly exclusive: boolean;
  constructor(func: wait_queue_func, task?: task_struct, exclusive = false) {
    this.func = func;
    this.task = task;
    this.exclusive = exclusive;
  }
}

export const default_wake_function: wait_queue_func = (entry, mode) => try_to_wake_up(entry.task!, mode);

export class wait_queue_head {
  readonly entries: wait_queue_entry[] = [];
  /** What wchan shows of a task that waits here: the Linux function that would sleep. */
  readonly wchan: string;
  constructor(wchan = '') { this.wchan = wchan; }

  add(entry: wait_queue_entry): void {
    if (entry.exclusive) this.entries.push(entry);
    else this.entries.unshift(entry);
  }

  remove(entry: wait_queue_entry): void {
    const i = this.entries.indexOf(entry);
    if (i >= 0) this.entries.splice(i, 1);
  }

  /** Wakes all waiters that are not exclusive and one that is. `key` tells hooks what happened (POLL*). */
  wake_up(key = 0): void { if (this.entries.length > 0) this.wake(TASK_NORMAL, 1, key); }
  wake_up_all(key = 0): void { if (this.entries.length > 0) this.wake(TASK_NORMAL, 0, key); }
  wake_up_interruptible(key = 0): void { if (this.entries.length > 0) this.wake(TASK_INTERRUPTIBLE, 1, key); }

  private wake(mode: number, nr_exclusive: number, key: number): void {
    for (const entry of [...this.entries]) {
      if (entry.func(entry, mode, key) && entry.exclusive && --nr_exclusive === 0) break;
    }
  }
}

/** An entry that wakes the task that runs now. */
export const waiter = (): wait_queue_entry => new wait_queue_entry(default_wake_function, current());

function* wait_event_state(wq: wait_queue_head, cond: () => boolean, state: number, timeout: number): MaySleep<number> {
  if (cond()) return timeout;
  const entry = waiter();
  const task = entry.task!;
  wq.add(entry);
  task.wchan = wq.wchan;
  let left = timeout;
  for (;;) {
    task.__state = state;
    if (cond()) break;
    if (signal_pending_state(state, task)) { left = -ERESTARTSYS; break; }
    if (left === 0) break;
    if (left === Number.POSITIVE_INFINITY) yield;
    else left = yield* schedule_timeout(left);
  }
  task.__state = TASK_RUNNING;
  task.wchan = '';
  wq.remove(entry);
  if (left === 0 && cond()) return 1;
  return left;
}

/** Sleeps until cond() holds; looked at after each wake_up of `wq`. 0, or -ERESTARTSYS when a signal came first. */
export function* wait_event_interruptible(wq: wait_queue_head, cond: () => boolean): MaySleep<number> {
  const left = yield* wait_event_state(wq, cond, TASK_INTERRUPTIBLE, Number.POSITIVE_INFINITY);
  return left < 0 ? left : 0;
}

/** Waits at most `timeout` cycles. Cycles left (at least 1) when cond() holds, 0 when time is up, -ERESTARTSYS. */
export const wait_event_interruptible_timeout = (wq: wait_queue_head, cond: () => boolean, timeout: number): MaySleep<number> =>
  wait_event_state(wq, cond, TASK_INTERRUPTIBLE, timeout);

/** Only a fatal signal ends it early. */
export function* wait_event_killable(wq: wait_queue_head, cond: () => boolean): MaySleep<number> {
  const left = yield* wait_event_state(wq, cond, TASK_KILLABLE, Number.POSITIVE_INFINITY);
  return left < 0 ? left : 0;
}

export function* wait_event(wq: wait_queue_head, cond: () => boolean): MaySleep<void> {
  yield* wait_event_state(wq, cond, TASK_UNINTERRUPTIBLE, Number.POSITIVE_INFINITY);
}
