/**
 * Which processor a task runs on: where it wakes, and what idle processors take from busy ones.
 * Linux: select_task_rq_fair, load_balance and newidle_balance of kernel/sched/fair.c
 *
 * All processors are equal and share one cache, so a domain tree would have one level; the rules that are left are
 * simple and take the lowest number where there is a choice, so that a run repeats.
 */
import { machine, this_processor } from '../current.ts';
import { sched_migrate_task } from '../trace/events-sched.ts';
import { activate_task, deactivate_task, resched_curr, runqueues } from './core.ts';
import type { rq } from './rq.ts';
import { ENQUEUE_INITIAL } from './rq.ts';
import type { task_struct } from './types.ts';

const allowed = (task: task_struct, rq: rq): boolean => rq.processor.started && (task.cpus_mask & (1 << rq.cpu)) !== 0;
const is_idle = (rq: rq): boolean => rq.curr === rq.idle && rq.nr_running === 0;
const load_of = (rq: rq): number => rq.cfs.load + rq.rt.queue.length * 1024;

/** Where a task that wakes (or is new) goes: its own processor if that is idle, an idle one, else stay, unless new. */
export function select_task_rq(task: task_struct, flags: number): number {
  const queues = runqueues();
  const isNew = (flags & ENQUEUE_INITIAL) !== 0;
  const previous = queues[isNew ? this_processor().id : task.cpu]!;
  const home = allowed(task, previous);
  if (home && is_idle(previous)) return previous.cpu;
  const n = queues.length;
  for (let i = 1; i <= n; i++) {
    const rq = queues[(previous.cpu + i) % n]!;
    if (allowed(task, rq) && is_idle(rq)) return rq.cpu;
  }
  if (home && !isNew) return previous.cpu;
  let best: rq | undefined;
  for (let i = 0; i < n; i++) {
    const rq = queues[(previous.cpu + i) % n]!;
    if (allowed(task, rq) && (best === undefined || load_of(rq) < load_of(best))) best = rq;
  }
  return best?.cpu ?? previous.cpu;
}

const can_take = (to: rq, from: rq, task: task_struct): boolean => task !== from.curr && allowed(task, to);

function move(task: task_struct, from: rq, to: rq): void {
  if (sched_migrate_task.enabled) sched_migrate_task.trace({ comm: task.comm, pid: task.pid, prio: task.prio, orig_cpu: from.cpu, dest_cpu: to.cpu });
  deactivate_task(from, task, 0);
  task.se.nr_migrations++;
  activate_task(to, task, 0);
}

/** A processor about to idle takes one task from the fullest queue that has one waiting. */
export function newidle_balance(rq: rq): void {
  if (!rq.processor.started) return;
  let busiest: rq | undefined;
  let pick: task_struct | undefined;
  for (const other of runqueues()) {
    if (other === rq || other.nr_running < 2 || (busiest !== undefined && load_of(other) <= load_of(busiest))) continue;
    const task = waiting(other).find((t) => can_take(rq, other, t));
    if (task === undefined) continue;
    busiest = other;
    pick = task;
  }
  if (busiest !== undefined && pick !== undefined) move(pick, busiest, rq);
}

const waiting = (rq: rq): task_struct[] => [...rq.rt.queue.filter((t) => t !== rq.curr), ...rq.cfs.queue];

/** On the tick of a busy processor: wakes an idle one that could help, and evens out loads every 16 ms. */
export function load_balance_tick(rq: rq): void {
  if (rq.nr_running > 1) {
    const tasks = waiting(rq);
    const helper = runqueues().find((other) => other !== rq && is_idle(other) && tasks.some((t) => can_take(other, rq, t)));
    if (helper !== undefined) resched_curr(helper);
  }
  const now = rq.processor.clock;
  if (now < rq.next_balance) return;
  rq.next_balance = now + machine().tscKhz * 16;
  let busiest: rq | undefined;
  for (const other of runqueues()) if (other !== rq && other.nr_running > 1 && (busiest === undefined || load_of(other) > load_of(busiest))) busiest = other;
  if (busiest === undefined) return;
  const imbalance = load_of(busiest) - load_of(rq);
  const from = busiest;
  const movable = waiting(from).filter((t) => can_take(rq, from, t));
  // Moving a task changes the difference by twice its weight; more than that would only swap the roles.
  const better = movable.find((t) => t.se.weight * 2 <= imbalance);
  if (better !== undefined) {
    rq.nr_balance_failed = 0;
    move(better, from, rq);
    return;
  }
  // Three tasks on two processors: changing roles now and then makes it fair. Who ran most joins the other queue, so
  // that who ran least has a processor to itself next.
  const ran = (t: task_struct): number => t.se.sum_exec_runtime;
  const swap = movable.find((t) => t.se.weight <= imbalance && ran(t) >= ran(from.curr) && movable.every((other) => ran(t) >= ran(other)));
  if (++rq.nr_balance_failed < 2 || swap === undefined) return;
  rq.nr_balance_failed = 0;
  move(swap, from, rq);
}
