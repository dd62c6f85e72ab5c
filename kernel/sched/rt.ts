/**
 * The real-time class: SCHED_FIFO runs until it sleeps, yields or a higher priority comes; SCHED_RR shares with its
 * equals in slices of 100 ms.
 * Linux: kernel/sched/rt.c
 */
import { SCHED_RR } from '../../abi/sched.ts';
import { machine } from '../current.ts';
import { resched_curr } from './core.ts';
import type { rq, rq_class } from './rq.ts';
import type { task_struct } from './types.ts';

export const RR_TIMESLICE = (): number => machine().tscKhz * 100;

function insert(queue: task_struct[], task: task_struct, atHead: boolean): void {
  let i = 0;
  while (i < queue.length && (atHead ? queue[i]!.prio < task.prio : queue[i]!.prio <= task.prio)) i++;
  queue.splice(i, 0, task);
}

function remove(queue: task_struct[], task: task_struct): void {
  const i = queue.indexOf(task);
  if (i >= 0) queue.splice(i, 1);
}

function update_curr(rq: rq): void {
  const { se } = rq.curr;
  const delta = rq.processor.clock - se.exec_start;
  if (delta <= 0) return;
  se.exec_start += delta;
  se.sum_exec_runtime += delta;
  rq.rq_cpu_time += delta;
}

export const rt_sched_class: rq_class = {
  name: 'rt',
  rank: 2,
  enqueue_task(rq, task) { insert(rq.rt.queue, task, false); },
  dequeue_task(rq, task) {
    if (rq.curr === task) update_curr(rq);
    remove(rq.rt.queue, task);
  },
  yield_task(rq) {
    remove(rq.rt.queue, rq.curr);
    insert(rq.rt.queue, rq.curr, false);
  },
  wakeup_preempt(rq, task) { if (task.prio < rq.curr.prio) resched_curr(rq); },
  pick_next_task: (rq) => rq.rt.queue[0],
  put_prev_task(rq) { update_curr(rq); },
  set_next_task(rq, task) {
    task.se.exec_start = rq.processor.clock;
    task.se.prev_sum_exec_runtime = task.se.sum_exec_runtime;
    if (task.policy === SCHED_RR) rq.hrtick.start_on(rq.cpu, rq.processor.clock + (task.rt_time_slice || RR_TIMESLICE()));
    else rq.hrtick.cancel();
  },
  update_curr,
  task_tick(rq, task) {
    update_curr(rq);
    if (task.policy !== SCHED_RR) return;
    task.rt_time_slice = RR_TIMESLICE() - (task.se.sum_exec_runtime - task.se.prev_sum_exec_runtime);
    if (task.rt_time_slice > 0) return;
    task.rt_time_slice = RR_TIMESLICE();
    task.se.prev_sum_exec_runtime = task.se.sum_exec_runtime;
    const { queue } = rq.rt;
    if (queue.some((other) => other !== task && other.prio === task.prio)) {
      remove(queue, task);
      insert(queue, task, false);
      resched_curr(rq);
    }
  },
};
