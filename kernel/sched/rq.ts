/** The run queue of one processor. Linux: struct rq of kernel/sched/sched.h */
import type { Processor } from '../../machine/processor.ts';
import type { hrtimer } from '../time/hrtimer.ts';
import type { sched_class, task_struct } from './types.ts';

export interface cfs_rq {
  /** Runnable fair tasks but for the one that runs, in order of arrival. */
  readonly queue: task_struct[];
  /** The fair task that runs, if one does. */
  curr: task_struct | undefined;
  /** Weight of all of them. */
  load: number;
  nr_running: number;
  /** Reference point of the average; never goes back. */
  min_vruntime: number;
}

export interface rt_rq {
  /** Runnable real-time tasks with the one that runs, highest priority first, FIFO among equals. */
  readonly queue: task_struct[];
}

export interface rq {
  readonly cpu: number;
  readonly processor: Processor;
  curr: task_struct;
  readonly idle: task_struct;
  /** Runnable tasks with the one that runs; idle does not count. */
  nr_running: number;
  nr_switches: number;
  nr_uninterruptible: number;
  readonly cfs: cfs_rq;
  readonly rt: rt_rq;
  /** HZ tick; runs while the processor is not idle. */
  readonly tick: hrtimer;
  /** End of the running task's slice. */
  readonly hrtick: hrtimer;
  next_balance: number;
  /** Times in a row that load balancing found nothing better than the uneven load there is. */
  nr_balance_failed: number;
  /** Cycles spent idle, and since when. */
  idle_time: number;
  idle_since: number;
  /** Sums for /proc/schedstat. */
  sched_count: number;
  sched_goidle: number;
  ttwu_count: number;
  ttwu_local: number;
  run_delay: number;
  rq_cpu_time: number;
}

/** A scheduling class over our run queue. */
export type rq_class = sched_class<rq>;
export const ENQUEUE_WAKEUP = 0x1;
export const ENQUEUE_INITIAL = 0x80;
export const DEQUEUE_SLEEP = 0x1;
