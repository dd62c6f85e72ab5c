/** The idle task's class: always there, never chosen while anyone else can run. Linux: kernel/sched/idle.c */
import { resched_curr } from './core.ts';
import type { rq_class } from './rq.ts';

export const idle_sched_class: rq_class = {
  name: 'idle',
  rank: 0,
  enqueue_task() {},
  dequeue_task() {},
  yield_task() {},
  wakeup_preempt(rq) { resched_curr(rq); },
  pick_next_task: (rq) => rq.idle,
  put_prev_task(rq) { rq.idle_time += rq.processor.clock - rq.idle_since; },
  set_next_task(rq) {
    rq.idle_since = rq.processor.clock;
    rq.tick.cancel();
    rq.hrtick.cancel();
    rq.sched_goidle++;
  },
  update_curr() {},
  task_tick() {},
};
