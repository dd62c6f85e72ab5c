/**
 * The fair class: Earliest Eligible Virtual Deadline First.
 *
 * Linux: kernel/sched/fair.c; Stoica, Abdel-Wahab: "Earliest Eligible Virtual Deadline First", 1995.
 *
 * A task's vruntime advances by the time it runs, slower the heavier it is. It is eligible while it is not ahead of
 * the weighted average of all; of the eligible ones that with the earliest deadline runs, for one slice. What a task
 * is behind or ahead when it goes to sleep (vlag) it still is when it comes back.
 */
import { machine } from '../current.ts';
import { resched_curr } from './core.ts';
import type { cfs_rq, rq, rq_class } from './rq.ts';
import { DEQUEUE_SLEEP, ENQUEUE_INITIAL } from './rq.ts';
import type { task_struct } from './types.ts';

export const NICE_0_LOAD = 1024;

/** Weight of nice -20 … 19: each step is about 1.25 times the next, so that one level is 10 % of processor time. */
export const sched_prio_to_weight = [
  88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
  9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
  1024, 820, 655, 526, 423, 335, 272, 215, 172, 137,
  110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
] as const;
export const WEIGHT_IDLEPRIO = 3;

/** Cycles of one slice: 0.7 ms, scaled by 1 + log2 of the processors as sched_update_scaling does. */
export const base_slice = (): number => machine().tscKhz * 0.7 * (1 + Math.floor(Math.log2(Math.min(machine().processors.length, 8))));

const virtual = (cycles: number, weight: number): number => (cycles * NICE_0_LOAD) / weight;

/** Weighted average of the vruntimes: the point where lag is zero. */
export function avg_vruntime(cfs: cfs_rq): number {
  let sum = 0;
  let load = 0;
  for (const { se } of cfs.queue) {
    sum += (se.vruntime - cfs.min_vruntime) * se.weight;
    load += se.weight;
  }
  if (cfs.curr?.on_rq === true) {
    const { se } = cfs.curr;
    sum += (se.vruntime - cfs.min_vruntime) * se.weight;
    load += se.weight;
  }
  return load === 0 ? cfs.min_vruntime : cfs.min_vruntime + sum / load;
}

function update_min_vruntime(cfs: cfs_rq): void {
  let least = cfs.curr?.on_rq ? cfs.curr.se.vruntime : Number.POSITIVE_INFINITY;
  for (const { se } of cfs.queue) if (se.vruntime < least) least = se.vruntime;
  if (least !== Number.POSITIVE_INFINITY && least > cfs.min_vruntime) cfs.min_vruntime = least;
}

function update_curr(rq: rq): void {
  const { cfs } = rq;
  const curr = cfs.curr;
  if (curr === undefined) return;
  const { se } = curr;
  const now = rq.processor.clock;
  const delta = now - se.exec_start;
  if (delta <= 0) return;
  se.exec_start = now;
  se.sum_exec_runtime += delta;
  se.vruntime += virtual(delta, se.weight);
  rq.rq_cpu_time += delta;
  if (se.vruntime >= se.deadline) {
    se.deadline = se.vruntime + virtual(se.slice, se.weight);
    se.vlag = 0;
    if (cfs.nr_running > 1) resched_curr(rq);
  }
  if (cfs.queue.length === 0) cfs.min_vruntime = Math.max(cfs.min_vruntime, se.vruntime);
  else update_min_vruntime(cfs);
}

/** Where a task enters the timeline: as far from the average as it left it. */
function place_entity(cfs: cfs_rq, task: task_struct, initial: boolean): void {
  const { se } = task;
  const average = avg_vruntime(cfs);
  let lag = 0;
  if (cfs.nr_running > 0 && !initial) {
    const load = cfs.load;
    // Entering moves the average itself; scaled so that the lag is right afterwards.
    lag = load > 0 ? (se.vlag * (load + se.weight)) / load : 0;
  }
  se.slice = base_slice();
  se.vruntime = average - lag;
  const length = virtual(se.slice, se.weight);
  se.deadline = se.vruntime + (initial ? length / 2 : length);
}

function enqueue_task(rq: rq, task: task_struct, flags: number): void {
  const { cfs } = rq;
  update_curr(rq);
  place_entity(cfs, task, (flags & ENQUEUE_INITIAL) !== 0);
  cfs.load += task.se.weight;
  cfs.nr_running++;
  if (rq.curr === task) {
    cfs.curr = task;
    task.se.exec_start = rq.processor.clock;
  } else cfs.queue.push(task);
  hrtick_start(rq);
}

function dequeue_task(rq: rq, task: task_struct, flags: number): void {
  const { cfs } = rq;
  update_curr(rq);
  const limit = virtual(Math.max(2 * task.se.slice, machine().tscKhz * 4), task.se.weight);
  task.se.vlag = Math.max(-limit, Math.min(limit, avg_vruntime(cfs) - task.se.vruntime));
  cfs.load -= task.se.weight;
  cfs.nr_running--;
  if (cfs.curr === task) {
    if ((flags & DEQUEUE_SLEEP) === 0 || rq.curr !== task) cfs.curr = undefined;
  } else cfs.queue.splice(cfs.queue.indexOf(task), 1);
}

const eligible = (task: task_struct, average: number): boolean => task.se.vruntime <= average;

/** A task that was picked keeps running to the end of its slice; set_next_task marks it so. */
const has_slice_left = (task: task_struct): boolean => task.se.vlag === task.se.deadline;

function pick_eevdf(cfs: cfs_rq): task_struct | undefined {
  const curr = cfs.curr?.on_rq ? cfs.curr : undefined;
  if (cfs.queue.length === 0) return curr;
  const average = avg_vruntime(cfs);
  if (curr !== undefined && eligible(curr, average) && has_slice_left(curr)) return curr;
  let best = curr !== undefined && eligible(curr, average) ? curr : undefined;
  let leftmost: task_struct | undefined = best;
  for (const task of cfs.queue) {
    if (leftmost === undefined || task.se.vruntime < leftmost.se.vruntime) leftmost = task;
    if (eligible(task, average) && (best === undefined || task.se.deadline < best.se.deadline)) best = task;
  }
  // Rounding may leave nobody at or below the average.
  return best ?? leftmost;
}

function put_prev_task(rq: rq, task: task_struct): void {
  update_curr(rq);
  if (task.on_rq && rq.cfs.curr === task) rq.cfs.queue.push(task);
  rq.cfs.curr = undefined;
}

function set_next_task(rq: rq, task: task_struct): void {
  const { cfs } = rq;
  const at = cfs.queue.indexOf(task);
  if (at >= 0) cfs.queue.splice(at, 1);
  cfs.curr = task;
  const { se } = task;
  se.exec_start = rq.processor.clock;
  se.prev_sum_exec_runtime = se.sum_exec_runtime;
  se.vlag = se.deadline;
  hrtick_start(rq);
}

/** Arms the interrupt that ends the running task's slice to the cycle. */
function hrtick_start(rq: rq): void {
  const curr = rq.cfs.curr;
  if (curr === undefined || rq.cfs.nr_running < 2) {
    rq.hrtick.cancel();
    return;
  }
  const { se } = curr;
  const left = Math.ceil(((se.deadline - se.vruntime) * se.weight) / NICE_0_LOAD);
  const at = se.exec_start + Math.max(left, 1);
  if (rq.hrtick.active && rq.hrtick.expires === at) return;
  rq.hrtick.start_on(rq.cpu, at);
}

function wakeup_preempt(rq: rq, task: task_struct): void {
  const curr = rq.cfs.curr;
  if (curr === undefined || curr.need_resched) return;
  update_curr(rq);
  if (pick_eevdf(rq.cfs) === task) resched_curr(rq);
}

export const fair_sched_class: rq_class = {
  name: 'fair',
  rank: 1,
  enqueue_task,
  dequeue_task,
  yield_task(rq) {
    const curr = rq.cfs.curr;
    if (curr === undefined || rq.cfs.nr_running < 2) return;
    update_curr(rq);
    // Gives up the slice: out of the running until the others have caught up with its deadline.
    curr.se.vlag = 0;
    curr.se.deadline += virtual(curr.se.slice, curr.se.weight);
  },
  wakeup_preempt,
  pick_next_task: (rq) => pick_eevdf(rq.cfs),
  put_prev_task,
  set_next_task,
  update_curr,
  task_tick(rq) { update_curr(rq); },
};

/** Takes a new nice value or policy to the weight; the task's lag keeps its size in time. */
export function set_load_weight(task: task_struct, weight: number, rq: rq | undefined): void {
  const { se } = task;
  if (rq === undefined) {
    se.vlag = (se.vlag * se.weight) / weight;
    se.weight = weight;
    return;
  }
  const { cfs } = rq;
  update_curr(rq);
  const average = avg_vruntime(cfs);
  const scale = se.weight / weight;
  const wasPicked = has_slice_left(task);
  se.deadline = average + (se.deadline - average) * scale;
  se.vruntime = average - (average - se.vruntime) * scale;
  if (wasPicked) se.vlag = se.deadline;
  cfs.load += weight - se.weight;
  se.weight = weight;
  hrtick_start(rq);
}
