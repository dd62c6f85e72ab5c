/**
 * poll, ppoll, select, pselect6: waiting for several files at once.
 *
 * Linux: fs/select.c
 *
 * The first look at the files also enters the caller into their wait queues, with its state already set, so that an
 * event between that look and the sleep ends the sleep.
 */
import { EBADF, EFAULT, EINVAL } from '../../abi/errno.ts';
import { POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, POLLRDBAND, POLLRDNORM, POLLWRBAND, POLLWRNORM } from '../../abi/poll.ts';
import { current, machine } from '../current.ts';
import { ERESTARTNOHAND } from '../errno-internal.ts';
import { copy_from_user, copy_to_user, get_user64 } from '../mm/uaccess.ts';
import { schedule_timeout, signal_pending, try_to_wake_up } from '../sched/core.ts';
import { type MaySleep, TASK_INTERRUPTIBLE, TASK_RUNNING, type task_struct } from '../sched/types.ts';
import { wait_queue_entry, type wait_queue_head } from '../sched/wait.ts';
import { set_current_blocked, set_temporary_sigmask } from '../signal.ts';
import { cycles_to_ns, ns_to_cycles } from '../time/timekeeping.ts';
import { get_timespec, put_timespec, put_timeval, timespec_to_cycles } from '../time/timespec.ts';
import { fd_lookup, nofile } from './file.ts';
import type { file, poll_table } from './types.ts';

/** What a file without f_op.poll always is. */
const DEFAULT_POLLMASK = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

export const vfs_poll = (f: file, table: poll_table | undefined): number => (f.f_op.poll === undefined ? DEFAULT_POLLMASK : f.f_op.poll(f, table));

/** The queues a caller is entered in, to be left when it is done. */
export class poll_wqueues implements poll_table {
  key = 0;
  private readonly task: task_struct = current();
  private readonly entered: { wq: wait_queue_head; entry: wait_queue_entry }[] = [];
  queue(_file: file, wq: wait_queue_head): void {
    const { task, key } = this;
    const entry = new wait_queue_entry((_entry, mode, event) => (event !== 0 && (event & key) === 0 ? false : try_to_wake_up(task, mode)), task);
    wq.add(entry);
    this.entered.push({ wq, entry });
  }
  free(): void { for (const { wq, entry } of this.entered) wq.remove(entry); }
}

/**
 * Looks with `scan` until it counts something, the time is up or a signal comes. `scan` is given the table the first
 * time only. The count, or -ERESTARTNOHAND; and the cycles left.
 */
function* wait_for_events(scan: (table: poll_wqueues | undefined) => number, timeout: number): MaySleep<{ count: number; left: number }> {
  const table = new poll_wqueues();
  const task = current();
  let left = timeout;
  let count: number;
  task.wchan = 'poll_schedule_timeout';
  for (let first = true; ; first = false) {
    task.__state = TASK_INTERRUPTIBLE;
    count = scan(first ? table : undefined);
    if (count !== 0 || left === 0) break;
    if (signal_pending(task)) { count = -ERESTARTNOHAND; break; }
    left = yield* schedule_timeout(left);
  }
  task.__state = TASK_RUNNING;
  task.wchan = '';
  table.free();
  return { count, left };
}

// ---- poll

/** One look at every descriptor; fills revents. Counts those with events. */
function scan_pollfds(task: task_struct, words: Int32Array, halves: Int16Array, table: poll_wqueues | undefined): number {
  let count = 0;
  const files = task.files!;
  for (let i = 0; i < words.length; i += 2) {
    const fd = words[i]!;
    let revents = 0;
    if (fd >= 0) {
      const f = fd_lookup(files, fd);
      if (f === null) revents = POLLNVAL;
      else {
        const wanted = (halves[2 * i + 2]! & 0xffff) | POLLERR | POLLHUP;
        if (table !== undefined) table.key = wanted;
        revents = vfs_poll(f, count === 0 ? table : undefined) & wanted;
      }
    }
    halves[2 * i + 3] = revents;
    if (revents !== 0) count++;
  }
  return count;
}

/** `timeout` in cycles; 0 does not wait. */
function do_sys_poll(task: task_struct, address: number, nfds: number, timeout: number): number | MaySleep<number> {
  nfds >>>= 0;
  if (nfds > nofile(task)) return -EINVAL;
  const bytes = new Uint8Array(nfds * 8);
  if (copy_from_user(bytes, address) !== 0) return -EFAULT;
  const words = new Int32Array(bytes.buffer);
  const halves = new Int16Array(bytes.buffer);
  const count = scan_pollfds(task, words, halves, undefined);
  if (count > 0 || timeout === 0) return copy_to_user(address, bytes) !== 0 ? -EFAULT : count;
  return poll_and_sleep(task, address, bytes, words, halves, timeout);
}

function* poll_and_sleep(task: task_struct, address: number, bytes: Uint8Array, words: Int32Array, halves: Int16Array, timeout: number): MaySleep<number> {
  const { count } = yield* wait_for_events((table) => scan_pollfds(task, words, halves, table), timeout);
  if (count < 0) return count;
  return copy_to_user(address, bytes) !== 0 ? -EFAULT : count;
}

export const sys_poll = (task: task_struct, fds: number, nfds: number, milliseconds: number): number | MaySleep<number> =>
  do_sys_poll(task, fds, nfds, (milliseconds | 0) < 0 ? Number.POSITIVE_INFINITY : ns_to_cycles((milliseconds | 0) * 1_000_000));

/** Cycles of an optional timespec, or -errno. */
function timeout_of(address: number): number {
  if (address === 0) return Number.POSITIVE_INFINITY;
  const ts = get_timespec(address);
  return typeof ts === 'number' ? ts : timespec_to_cycles(ts);
}

/** Runs `call` under another signal mask; with a signal under way the mask stays on until its handler has started. */
function* with_sigmask(task: task_struct, mask: bigint | undefined, call: () => number | MaySleep<number>): MaySleep<number> {
  if (mask !== undefined) set_temporary_sigmask(mask);
  const called = call();
  const result = typeof called === 'number' ? called : yield* called;
  if (mask !== undefined && result !== -ERESTARTNOHAND) {
    set_current_blocked(task.saved_sigmask!);
    task.saved_sigmask = undefined;
  }
  return result;
}

/** A sigset argument: the mask, undefined when there is none, or -errno. */
function sigmask_argument(address: number, size: number): bigint | undefined | number {
  if (address === 0) return undefined;
  if (size !== 8) return -EINVAL;
  return get_user64(address) ?? -EFAULT;
}

export function* sys_ppoll(task: task_struct, fds: number, nfds: number, timeout: number, sigmask: number, size: number): MaySleep<number> {
  const cycles = timeout_of(timeout);
  if (cycles < 0) return cycles;
  const mask = sigmask_argument(sigmask, size);
  if (typeof mask === 'number') return mask;
  const start = machine().now();
  const result = yield* with_sigmask(task, mask, () => do_sys_poll(task, fds, nfds, cycles));
  if (timeout !== 0 && result !== -EFAULT) put_timespec(timeout, left_ns(cycles, start));
  return result;
}

const left_ns = (cycles: number, start: number): bigint =>
  BigInt(Math.min(2 ** 53, Math.round(cycles_to_ns(Math.max(0, start + cycles - machine().now())))));

// ---- select

const IN = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR;
const OUT = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR;
const EX = POLLPRI;

interface Sets { readonly wanted: readonly (Uint8Array | undefined)[]; readonly ready: readonly Uint8Array[] }
const EVENTS = [IN, OUT, EX] as const;

function scan_sets(task: task_struct, n: number, { wanted, ready }: Sets, table: poll_wqueues | undefined): number {
  let count = 0;
  for (const set of ready) set.fill(0);
  for (let fd = 0; fd < n; fd++) {
    const byte = fd >> 3;
    const bit = 1 << (fd & 7);
    let events = 0;
    for (let i = 0; i < 3; i++) if (((wanted[i]?.[byte] ?? 0) & bit) !== 0) events |= EVENTS[i]!;
    if (events === 0) continue;
    const f = fd_lookup(task.files!, fd);
    if (f === null) return -EBADF;
    if (table !== undefined) table.key = events | POLLERR | POLLHUP;
    const mask = vfs_poll(f, count === 0 ? table : undefined);
    for (let i = 0; i < 3; i++) {
      if (((wanted[i]?.[byte] ?? 0) & bit) === 0 || (mask & EVENTS[i]!) === 0) continue;
      ready[i]![byte]! |= bit;
      count++;
    }
  }
  return count;
}

function core_sys_select(task: task_struct, n: number, addresses: readonly number[], timeout: number): number | MaySleep<number> {
  if (n < 0) return -EINVAL;
  // bits of descriptors beyond the table are not looked at
  n = Math.min(n, Math.max(64, Math.ceil(task.files!.fd.length / 64) * 64));
  const size = Math.ceil(n / 64) * 8;
  const wanted: (Uint8Array | undefined)[] = [];
  for (const address of addresses) {
    if (address === 0) { wanted.push(undefined); continue; }
    const set = new Uint8Array(size);
    if (copy_from_user(set, address) !== 0) return -EFAULT;
    wanted.push(set);
  }
  const sets: Sets = { wanted, ready: addresses.map(() => new Uint8Array(size)) };
  const store = (count: number): number => {
    if (count < 0) return count;
    for (let i = 0; i < 3; i++) if (addresses[i] !== 0 && copy_to_user(addresses[i]!, sets.ready[i]!) !== 0) return -EFAULT;
    return count;
  };
  const count = scan_sets(task, n, sets, undefined);
  if (count !== 0 || timeout === 0) return store(count);
  return select_and_sleep(task, n, sets, timeout, store);
}

function* select_and_sleep(task: task_struct, n: number, sets: Sets, timeout: number, store: (count: number) => number): MaySleep<number> {
  const { count } = yield* wait_for_events((table) => scan_sets(task, n, sets, table), timeout);
  return store(count);
}

export function* sys_select(task: task_struct, n: number, inp: number, outp: number, exp: number, tvp: number): MaySleep<number> {
  let timeout = Number.POSITIVE_INFINITY;
  if (tvp !== 0) {
    const seconds = get_user64(tvp);
    const micro = get_user64(tvp + 8);
    if (seconds === undefined || micro === undefined) return -EFAULT;
    const us = BigInt.asIntN(64, seconds) * 1_000_000n + BigInt.asIntN(64, micro);
    if (BigInt.asIntN(64, seconds) < 0n || BigInt.asIntN(64, micro) < 0n) return -EINVAL;
    timeout = ns_to_cycles(Math.min(2 ** 53, Number(us) * 1000));
  }
  const start = machine().now();
  const called = core_sys_select(task, n | 0, [inp, outp, exp], timeout);
  const result = typeof called === 'number' ? called : yield* called;
  if (tvp !== 0) put_timeval(tvp, left_ns(timeout, start));
  return result;
}

export function* sys_pselect6(task: task_struct, n: number, inp: number, outp: number, exp: number, tsp: number, sig: number): MaySleep<number> {
  const cycles = timeout_of(tsp);
  if (cycles < 0) return cycles;
  let mask: bigint | undefined;
  if (sig !== 0) {
    const pointer = get_user64(sig);
    const size = get_user64(sig + 8);
    if (pointer === undefined || size === undefined) return -EFAULT;
    const found = sigmask_argument(Number(pointer), Number(size));
    if (typeof found === 'number') return found;
    mask = found;
  }
  const start = machine().now();
  const result = yield* with_sigmask(task, mask, () => core_sys_select(task, n | 0, [inp, outp, exp], cycles));
  if (tsp !== 0) put_timespec(tsp, left_ns(cycles, start));
  return result;
}
