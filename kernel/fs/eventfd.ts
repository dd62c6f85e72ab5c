/**
 * eventfd: a counter that is a file.
 *
 * Linux: fs/eventfd.c
 *
 * Kernel code signals one without sleeping (eventfd_signal), or hangs a callback on its queue to be told at once when
 * user space writes to it.
 */
import { EAGAIN, EBADF, EFAULT, EINVAL } from '../../abi/errno.ts';
import { EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE } from '../../abi/eventfd.ts';
import { O_NONBLOCK, O_RDWR } from '../../abi/fcntl.ts';
import { POLLERR, POLLHUP, POLLIN, POLLOUT } from '../../abi/poll.ts';
import { current, kernelVariable } from '../current.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { type wait_queue_entry, wait_event_interruptible, wait_queue_head } from '../sched/wait.ts';
import { anon_inode_getfile } from './anon-inodes.ts';
import { fd_install, fd_lookup, get_unused_fd } from './file.ts';
import type { iov_iter } from './iov-iter.ts';
import { noop_llseek } from './read-write.ts';
import { type file, type file_operations, poll_wait } from './types.ts';

const ULLONG_MAX = 0xffff_ffff_ffff_ffffn;

export class eventfd_ctx {
  count: bigint;
  readonly semaphore: boolean;
  readonly id: number;
  readonly wqh = new wait_queue_head('eventfd_read');
  constructor(count: bigint, semaphore: boolean, id: number) {
    this.count = count;
    this.semaphore = semaphore;
    this.id = id;
  }
}

const word = new Uint8Array(8);
const word64 = new BigUint64Array(word.buffer);

/** What a read gets; the counter is lowered by it. */
export function eventfd_ctx_do_read(ctx: eventfd_ctx): bigint {
  const got = ctx.semaphore && ctx.count > 0n ? 1n : ctx.count;
  ctx.count -= got;
  return got;
}

/** Adds n as far as the counter can take it and wakes whoever waits. Never sleeps. */
export function eventfd_signal(ctx: eventfd_ctx, n = 1n): void {
  ctx.count = ctx.count + n < ULLONG_MAX ? ctx.count + n : ULLONG_MAX;
  ctx.wqh.wake_up(POLLIN);
}

/** Takes an entry off the queue and reads the counter. */
export function eventfd_ctx_remove_wait_queue(ctx: eventfd_ctx, entry: wait_queue_entry): bigint {
  const got = eventfd_ctx_do_read(ctx);
  ctx.wqh.remove(entry);
  if (got > 0n) ctx.wqh.wake_up(POLLOUT);
  return got;
}

function eventfd_read(f: file, to: iov_iter): number | MaySleep<number> {
  if (to.count < 8) return -EINVAL;
  const ctx = f.private_data as eventfd_ctx;
  if (ctx.count > 0n) return give(ctx, to);
  if ((f.f_flags & O_NONBLOCK) !== 0) return -EAGAIN;
  return waitToRead(ctx, to);
}

function give(ctx: eventfd_ctx, to: iov_iter): number {
  word64[0] = eventfd_ctx_do_read(ctx);
  ctx.wqh.wake_up(POLLOUT);
  return to.copy_to(word) === 8 ? 8 : -EFAULT;
}

function* waitToRead(ctx: eventfd_ctx, to: iov_iter): MaySleep<number> {
  const error = yield* wait_event_interruptible(ctx.wqh, () => ctx.count > 0n);
  return error < 0 ? error : give(ctx, to);
}

function eventfd_write(f: file, from: iov_iter): number | MaySleep<number> {
  if (from.count < 8) return -EINVAL;
  if (from.copy_from(word) !== 8) return -EFAULT;
  const n = word64[0]!;
  if (n === ULLONG_MAX) return -EINVAL;
  const ctx = f.private_data as eventfd_ctx;
  if (ULLONG_MAX - ctx.count > n) return add(ctx, n);
  if ((f.f_flags & O_NONBLOCK) !== 0) return -EAGAIN;
  return waitToWrite(ctx, n);
}

function add(ctx: eventfd_ctx, n: bigint): number {
  ctx.count += n;
  ctx.wqh.wake_up(POLLIN);
  return 8;
}

function* waitToWrite(ctx: eventfd_ctx, n: bigint): MaySleep<number> {
  const error = yield* wait_event_interruptible(ctx.wqh, () => ULLONG_MAX - ctx.count > n);
  return error < 0 ? error : add(ctx, n);
}

export const eventfd_fops: file_operations = {
  llseek: noop_llseek,
  read: eventfd_read,
  write: eventfd_write,
  poll(f, table) {
    const ctx = f.private_data as eventfd_ctx;
    poll_wait(f, ctx.wqh, table);
    return (ctx.count > 0n ? POLLIN : 0) | (ctx.count === ULLONG_MAX ? POLLERR : 0) | (ULLONG_MAX - 1n > ctx.count ? POLLOUT : 0);
  },
  release: (_inode, f) => (f.private_data as eventfd_ctx).wqh.wake_up_all(POLLHUP),
  show_fdinfo(f) {
    const ctx = f.private_data as eventfd_ctx;
    return `eventfd-count: ${ctx.count.toString(16).padStart(16)}\neventfd-id: ${ctx.id}\neventfd-semaphore: ${ctx.semaphore ? 1 : 0}\n`;
  },
};
const ids = kernelVariable(() => ({ next: 1 }));

/** The eventfd an open file is, or -EINVAL. The context lives as long as someone keeps it. */
export const eventfd_ctx_fileget = (f: file): eventfd_ctx | number => (f.private_data instanceof eventfd_ctx ? f.private_data : -EINVAL);

/** The eventfd of a descriptor of the current task, or -EBADF, -EINVAL. */
export function eventfd_ctx_fdget(fd: number): eventfd_ctx | number {
  const f = fd_lookup(current().files!, fd);
  return f === null ? -EBADF : eventfd_ctx_fileget(f);
}

export function sys_eventfd2(task: task_struct, count: number, flags: number): number {
  if ((flags & ~(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK)) !== 0) return -EINVAL;
  const fd = get_unused_fd(task);
  if (fd < 0) return fd;
  const ctx = new eventfd_ctx(BigInt(count >>> 0), (flags & EFD_SEMAPHORE) !== 0, ids().next++);
  fd_install(task.files!, fd, anon_inode_getfile('[eventfd]', eventfd_fops, ctx, O_RDWR | (flags & EFD_NONBLOCK)), (flags & EFD_CLOEXEC) !== 0);
  return fd;
}
export const sys_eventfd = (task: task_struct, count: number): number => sys_eventfd2(task, count, 0);
