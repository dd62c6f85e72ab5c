/**
 * Priorities, policies and affinity as user space sets them.
 * Linux: kernel/sched/syscalls.c, kernel/sys.c (setpriority)
 */
import { E2BIG, EFAULT, EINVAL, ESRCH } from '../../abi/errno.ts';
import { PRIO_PGRP, PRIO_PROCESS, PRIO_USER, SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, SCHED_NORMAL, SCHED_RESET_ON_FORK, SCHED_RR, sched_attr, sched_param } from '../../abi/sched.ts';
import { current, machine } from '../current.ts';
import { get_user_struct, put_user_struct } from '../fs/user.ts';
import { copy_from_user, copy_to_user } from '../mm/uaccess.ts';
import { find_task_by_vpid, for_each_process } from '../pid.ts';
import { cpu_online_mask } from '../smp.ts';
import { put_timespec } from '../time/timespec.ts';
import { cycles_to_ns } from '../time/timekeeping.ts';
import { activate_task, class_for, class_of, deactivate_task, resched_curr, runqueues, task_rq } from './core.ts';
import { WEIGHT_IDLEPRIO, base_slice, sched_prio_to_weight, set_load_weight } from './fair.ts';
import { RR_TIMESLICE } from './rt.ts';
import { select_task_rq } from './balance.ts';
import type { task_struct } from './types.ts';

export const task_nice = (task: task_struct): number => task.static_prio - 120;
const is_rt = (policy: number): boolean => policy === SCHED_FIFO || policy === SCHED_RR;
const weight_of = (task: task_struct): number => (task.policy === SCHED_IDLE ? WEIGHT_IDLEPRIO : sched_prio_to_weight[task.static_prio - 100]!);
const clamp_nice = (nice: number): number => Math.max(-20, Math.min(19, nice | 0));

/** Takes a task out of its class, changes it, and puts it back where it was. */
function with_task_out(task: task_struct, change: () => void): void {
  const rq = task_rq(task);
  const queued = task.on_rq;
  const running = rq.curr === task;
  if (queued) class_of(task).dequeue_task(rq, task, 0);
  if (running) class_of(task).put_prev_task(rq, task);
  change();
  if (queued) class_of(task).enqueue_task(rq, task, 0);
  if (running) class_of(task).set_next_task(rq, task);
  if (queued) resched_curr(rq);
}

export function set_user_nice(task: task_struct, nice: number): void {
  task.static_prio = 120 + clamp_nice(nice);
  if (is_rt(task.policy)) return;
  task.prio = task.static_prio;
  set_load_weight(task, weight_of(task), task.on_rq ? task_rq(task) : undefined);
  if (task.on_rq) resched_curr(task_rq(task));
}

export function sched_setscheduler(task: task_struct, policy: number, rt_priority: number): void {
  with_task_out(task, () => {
    task.policy = policy;
    task.rt_priority = rt_priority;
    task.prio = is_rt(policy) ? 99 - rt_priority : task.static_prio;
    task.sched_class = class_for(task.prio);
    task.se.weight = weight_of(task);
    task.rt_time_slice = 0;
  });
}

/** SCHED_RESET_ON_FORK: the child starts as an ordinary task. */
export function reset_on_fork(child: task_struct): void {
  child.policy = SCHED_NORMAL;
  child.rt_priority = 0;
  if (child.static_prio < 120) child.static_prio = 120;
  child.prio = child.static_prio;
  child.se.weight = weight_of(child);
}

// ---------------------------------------------------------------- nice

function selected(which: number, who: number): task_struct[] | undefined {
  const task = current();
  if (which === PRIO_PROCESS) {
    const one = who === 0 ? task : find_task_by_vpid(who);
    return one === undefined ? [] : [one];
  }
  if (which === PRIO_PGRP) return for_each_process().filter((t) => t.signal.pgrp === (who === 0 ? task.signal.pgrp : who)).flatMap((t) => t.signal.threads);
  if (which === PRIO_USER) return who === 0 ? for_each_process().flatMap((t) => t.signal.threads) : [];
  return undefined;
}

export function sys_setpriority(_task: task_struct, which: number, who: number, nice: number): number {
  const tasks = selected(which, who);
  if (tasks === undefined) return -EINVAL;
  for (const task of tasks) set_user_nice(task, nice);
  return tasks.length > 0 ? 0 : -ESRCH;
}

/** Returns 20 - nice, so that no answer is negative. */
export function sys_getpriority(_task: task_struct, which: number, who: number): number {
  const tasks = selected(which, who);
  if (tasks === undefined) return -EINVAL;
  return tasks.length === 0 ? -ESRCH : Math.max(...tasks.map((t) => 20 - task_nice(t)));
}

// ---------------------------------------------------------------- policy

const target = (task: task_struct, pid: number): task_struct | number => (pid < 0 ? -EINVAL : pid === 0 ? task : (find_task_by_vpid(pid) ?? -ESRCH));

function check_policy(policy: number, priority: number): number {
  if (is_rt(policy)) return priority >= 1 && priority <= 99 ? 0 : -EINVAL;
  return (policy === SCHED_NORMAL || policy === SCHED_BATCH || policy === SCHED_IDLE) && priority === 0 ? 0 : -EINVAL;
}

export function sys_sched_setscheduler(task: task_struct, pid: number, policy: number, param: number): number {
  if (policy < 0 || param === 0) return -EINVAL;
  const p = sched_param.make();
  if (get_user_struct(p, param) < 0) return -EFAULT;
  const t = target(task, pid);
  if (typeof t === 'number') return t;
  const reset = (policy & SCHED_RESET_ON_FORK) !== 0;
  policy &= ~SCHED_RESET_ON_FORK;
  const error = check_policy(policy, p.sched_priority);
  if (error < 0) return error;
  t.sched_reset_on_fork = reset;
  sched_setscheduler(t, policy, p.sched_priority);
  return 0;
}

export function sys_sched_setparam(task: task_struct, pid: number, param: number): number {
  if (param === 0) return -EINVAL;
  const p = sched_param.make();
  if (get_user_struct(p, param) < 0) return -EFAULT;
  const t = target(task, pid);
  if (typeof t === 'number') return t;
  const error = check_policy(t.policy, p.sched_priority);
  if (error < 0) return error;
  sched_setscheduler(t, t.policy, p.sched_priority);
  return 0;
}

export function sys_sched_getscheduler(task: task_struct, pid: number): number {
  const t = target(task, pid);
  return typeof t === 'number' ? t : t.policy | (t.sched_reset_on_fork ? SCHED_RESET_ON_FORK : 0);
}

export function sys_sched_getparam(task: task_struct, pid: number, param: number): number {
  if (param === 0) return -EINVAL;
  const t = target(task, pid);
  return typeof t === 'number' ? t : put_user_struct(param, sched_param.make({ sched_priority: t.rt_priority }));
}

export function sys_sched_setattr(task: task_struct, pid: number, address: number, flags: number): number {
  if (address === 0 || pid < 0 || flags !== 0) return -EINVAL;
  const attr = sched_attr.make();
  if (copy_from_user(new Uint8Array(48), address) < 0 || get_user_struct(attr, address) < 0) return -EFAULT;
  if (attr.size !== 0 && attr.size < 48) return -E2BIG;
  const t = target(task, pid);
  if (typeof t === 'number') return t;
  const error = check_policy(attr.sched_policy, attr.sched_priority);
  if (error < 0) return error;
  sched_setscheduler(t, attr.sched_policy, attr.sched_priority);
  if (!is_rt(attr.sched_policy)) set_user_nice(t, attr.sched_nice);
  return 0;
}

export function sys_sched_getattr(task: task_struct, pid: number, address: number, size: number, flags: number): number {
  if (address === 0 || pid < 0 || size < 48 || size > 4096 || flags !== 0) return -EINVAL;
  const t = target(task, pid);
  if (typeof t === 'number') return t;
  const attr = sched_attr.make({ size: Math.min(size, sched_attr.size), sched_policy: t.policy, sched_nice: is_rt(t.policy) ? 0 : task_nice(t), sched_priority: t.rt_priority, sched_runtime: is_rt(t.policy) ? 0n : BigInt(cycles_to_ns(base_slice())) });
  return put_user_struct(address, attr);
}

const limits = (policy: number, rt: number): number => (is_rt(policy) ? rt : policy === SCHED_NORMAL || policy === SCHED_BATCH || policy === SCHED_IDLE ? 0 : -EINVAL);
export const sys_sched_get_priority_max = (_task: task_struct, policy: number): number => limits(policy, 99);
export const sys_sched_get_priority_min = (_task: task_struct, policy: number): number => limits(policy, 1);

export function sys_sched_rr_get_interval(task: task_struct, pid: number, address: number): number {
  const t = target(task, pid);
  if (typeof t === 'number') return t;
  return put_timespec(address, BigInt(t.policy === SCHED_RR ? cycles_to_ns(RR_TIMESLICE()) : t.policy === SCHED_FIFO ? 0 : cycles_to_ns(base_slice())));
}

export function sys_sched_yield(task: task_struct): number {
  const rq = task_rq(task);
  class_of(task).yield_task(rq);
  task.need_resched = true;
  return 0;
}

// ---------------------------------------------------------------- affinity

/** Moves the task off a processor it may no longer use. */
export function set_cpus_allowed(task: task_struct, mask: number): void {
  task.cpus_mask = mask;
  const rq = task_rq(task);
  if ((mask & (1 << task.cpu)) !== 0 || !task.on_rq) return;
  if (rq.curr === task) return resched_curr(rq);
  deactivate_task(rq, task, 0);
  task.se.nr_migrations++;
  activate_task(runqueues()[select_task_rq(task, 0)]!, task, 0);
}

export function sys_sched_setaffinity(task: task_struct, pid: number, length: number, address: number): number {
  const bytes = new Uint8Array(8);
  if (copy_from_user(bytes.subarray(0, Math.min(length, 8)), address) < 0) return -EFAULT;
  const t = target(task, pid);
  if (typeof t === 'number') return t;
  const mask = (bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16)) & cpu_online_mask();
  if (mask === 0) return -EINVAL;
  set_cpus_allowed(t, mask);
  return 0;
}

export function sys_sched_getaffinity(task: task_struct, pid: number, length: number, address: number): number {
  if (length % 8 !== 0 || length * 8 < machine().processors.length) return -EINVAL;
  const t = target(task, pid);
  if (typeof t === 'number') return t;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, t.cpus_mask & cpu_online_mask(), true);
  return copy_to_user(address, bytes) < 0 ? -EFAULT : 8;
}

