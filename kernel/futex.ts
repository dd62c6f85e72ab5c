/**
 * Futexes: sleeping until a word of user memory is said to have changed.
 * Linux: kernel/futex/
 */
import { EAGAIN, EFAULT, EINVAL, ENOSYS, ETIMEDOUT } from '../abi/errno.ts';
import { FUTEX_CLOCK_REALTIME, FUTEX_CMP_REQUEUE, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE, FUTEX_WAKE_BITSET } from '../abi/sched.ts';
import { kernelVariable, machine, this_processor } from './current.ts';
import { ERESTARTSYS } from './errno-internal.ts';
import { get_user32 } from './mm/uaccess.ts';
import { pte_offset, pte_pfn } from './mm/page-table.ts';
import { find_vma } from './mm/vma.ts';
import { VM_SHARED, type mm_struct } from './mm/types.ts';
import { schedule_timeout, try_to_wake_up } from './sched/core.ts';
import { type MaySleep, TASK_INTERRUPTIBLE, TASK_NORMAL, TASK_RUNNING, type task_struct } from './sched/types.ts';
import { get_timespec, timespec_to_cycles } from './time/timespec.ts';
import { get_tsc, ktime_get_real, ns_to_cycles } from './time/timekeeping.ts';

interface futex_q { readonly task: task_struct; key: string; readonly bitset: number; woken: boolean }
const queues = kernelVariable(() => new Map<string, futex_q[]>());

/** Private memory is named by address space and address, shared memory by its frame. */
function futex_key(mm: mm_struct, address: number): string {
  const vma = find_vma(mm, address);
  if (vma !== undefined && vma.vm_start <= address && (vma.vm_flags & VM_SHARED) !== 0) {
    const at = pte_offset(mm, address);
    return `page ${at === 0 ? 0 : pte_pfn(machine().ram.mem.u32[at]!)}+${address % 4096}`;
  }
  return `${mm.pgd}:${address}`;
}

/** Wakes up to n waiters of the address; returns how many. */
export function futex_wake(mm: mm_struct, address: number, n: number, bitset: number): number {
  const key = futex_key(mm, address);
  const queue = queues().get(key);
  if (queue === undefined) return 0;
  let woken = 0;
  for (const q of [...queue]) {
    if (woken >= n) break;
    if ((q.bitset & bitset) === 0) continue;
    unqueue(q);
    q.woken = true;
    try_to_wake_up(q.task, TASK_NORMAL);
    woken++;
  }
  return woken;
}

function unqueue(q: futex_q): void {
  const queue = queues().get(q.key);
  if (queue === undefined) return;
  const i = queue.indexOf(q);
  if (i >= 0) queue.splice(i, 1);
  if (queue.length === 0) queues().delete(q.key);
}

function enqueue(q: futex_q): void {
  const queue = queues().get(q.key);
  if (queue === undefined) queues().set(q.key, [q]);
  else queue.push(q);
}

function* futex_wait(task: task_struct, key: string, until: number, bitset: number): MaySleep<number> {
  const q: futex_q = { task, key, bitset, woken: false };
  enqueue(q);
  while (!q.woken) {
    task.__state = TASK_INTERRUPTIBLE;
    if (task.sigpending) break;
    task.wchan = 'futex_wait_queue';
    const left = yield* schedule_timeout(until - this_processor().clock);
    if (left <= 0) break;
  }
  task.__state = TASK_RUNNING;
  task.wchan = '';
  unqueue(q);
  if (q.woken) return 0;
  return this_processor().clock >= until ? -ETIMEDOUT : -ERESTARTSYS;
}

export function sys_futex(task: task_struct, address: number, op: number, value: number, timeout: number, address2: number, value3: number): number | MaySleep<number> {
  if (address % 4 !== 0) return -EINVAL;
  const mm = task.mm!;
  const command = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
  const bitset = command === FUTEX_WAIT_BITSET || command === FUTEX_WAKE_BITSET ? value3 | 0 : -1;
  switch (command) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: {
      if (bitset === 0) return -EINVAL;
      const now = get_user32(address);
      if (now === undefined) return -EFAULT;
      let until = Number.POSITIVE_INFINITY;
      if (timeout !== 0) {
        const ts = get_timespec(timeout);
        if (typeof ts === 'number') return ts;
        const cycles = timespec_to_cycles(ts);
        until = command === FUTEX_WAIT ? get_tsc() + cycles
          : (op & FUTEX_CLOCK_REALTIME) !== 0 ? get_tsc() + Math.max(0, ns_to_cycles(Number(ts.tv_sec * 1_000_000_000n + ts.tv_nsec - ktime_get_real())))
          : cycles;
      }
      if (now !== (value | 0)) return -EAGAIN;
      return futex_wait(task, futex_key(mm, address), until, bitset);
    }
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
      if (bitset === 0) return -EINVAL;
      if (get_user32(address) === undefined) return -EFAULT;
      return futex_wake(mm, address, value | 0, bitset);
    case FUTEX_CMP_REQUEUE:
    case FUTEX_REQUEUE: {
      const now = get_user32(address);
      if (now === undefined || get_user32(address2) === undefined) return -EFAULT;
      if (command === FUTEX_CMP_REQUEUE && now !== (value3 | 0)) return -EAGAIN;
      const woken = futex_wake(mm, address, value | 0, -1);
      const moved = (queues().get(futex_key(mm, address)) ?? []).slice(0, timeout);
      for (const q of moved) {
        unqueue(q);
        q.key = futex_key(mm, address2);
        enqueue(q);
      }
      return woken + (command === FUTEX_CMP_REQUEUE ? moved.length : 0);
    }
    default: return -ENOSYS;
  }
}


/** Robust futexes are not walked when a thread dies; the list is taken as on Linux. */
export const sys_set_robust_list = (_task: task_struct, _head: number, length: number): number => (length === 24 ? 0 : -EINVAL);
