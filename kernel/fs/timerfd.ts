/**
 * timerfd: a timer that is a file. Reading gives the number of expirations since the last read.
 *
 * Linux: fs/timerfd.c
 */
import { EAGAIN, EBADF, EFAULT, EINVAL } from '../../abi/errno.ts';
import { O_NONBLOCK, O_RDWR } from '../../abi/fcntl.ts';
import { POLLIN } from '../../abi/poll.ts';
import { CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME, itimerspec, type timespec } from '../../abi/time.ts';
import { machine } from '../current.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { wait_event_interruptible, wait_queue_head } from '../sched/wait.ts';
import { hrtimer } from '../time/hrtimer.ts';
import { cycles_to_ns, ktime_get_ns, ns_to_cycles } from '../time/timekeeping.ts';
import { anon_inode_getfile } from './anon-inodes.ts';
import { fd_install, fd_lookup, get_unused_fd } from './file.ts';
import type { iov_iter } from './iov-iter.ts';
import { noop_llseek } from './read-write.ts';
import { type file, type file_operations, poll_wait } from './types.ts';
import { get_user_struct, put_user_struct } from './user.ts';

class timerfd_ctx {
  readonly clockid: number;
  readonly wqh = new wait_queue_head('timerfd_read');
  /** Cycles between expirations, 0 for a single one. */
  interval = 0;
  /** Cycle of the first expiration not yet counted; 0 when the timer is off. */
  private expires = 0;
  private counted = 0;
  private readonly timer = new hrtimer(() => this.fire());
  constructor(clockid: number) {
    this.clockid = clockid;
  }
  set(expires: number, interval: number): void {
    this.timer.cancel();
    this.counted = 0;
    this.interval = interval;
    this.expires = expires;
    if (expires > 0) this.timer.start(expires);
  }
  private fire(): void {
    this.counted++;
    if (this.interval > 0) {
      this.expires += this.interval;
      this.timer.start(this.expires);
    } else this.expires = 0;
    this.wqh.wake_up(POLLIN);
  }
  /** Cycles until the next expiration, 0 when off. */
  get remaining(): number { return this.expires === 0 ? 0 : Math.max(1, this.expires - machine().now()); }
  get ticks(): number { return this.counted; }
  take(): number {
    const n = this.counted;
    this.counted = 0;
    return n;
  }
  cancel(): void { this.timer.cancel(); }
}

const ctxOf = (f: file): timerfd_ctx => f.private_data as timerfd_ctx;

function give(ctx: timerfd_ctx, to: iov_iter): number {
  const bytes = new Uint8Array(BigUint64Array.of(BigInt(ctx.take())).buffer);
  return to.copy_to(bytes) === 8 ? 8 : -EFAULT;
}
function* waitToRead(ctx: timerfd_ctx, to: iov_iter): MaySleep<number> {
  const error = yield* wait_event_interruptible(ctx.wqh, () => ctx.ticks > 0);
  return error < 0 ? error : give(ctx, to);
}

const timerfd_fops: file_operations = {
  llseek: noop_llseek,
  read(f, to) {
    if (to.count < 8) return -EINVAL;
    const ctx = ctxOf(f);
    if (ctx.ticks > 0) return give(ctx, to);
    return (f.f_flags & O_NONBLOCK) !== 0 ? -EAGAIN : waitToRead(ctx, to);
  },
  poll(f, table) {
    poll_wait(f, ctxOf(f).wqh, table);
    return ctxOf(f).ticks > 0 ? POLLIN : 0;
  },
  release: (_inode, f) => ctxOf(f).cancel(),
};

export function sys_timerfd_create(task: task_struct, clockid: number, flags: number): number {
  if ((flags & ~(TFD_CLOEXEC | TFD_NONBLOCK)) !== 0 || ![CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME].includes(clockid)) return -EINVAL;
  const fd = get_unused_fd(task);
  if (fd < 0) return fd;
  fd_install(task.files!, fd, anon_inode_getfile('[timerfd]', timerfd_fops, new timerfd_ctx(clockid), O_RDWR | (flags & TFD_NONBLOCK)), (flags & TFD_CLOEXEC) !== 0);
  return fd;
}

/** The timer of a descriptor, or -errno. */
function timer_of(task: task_struct, fd: number): timerfd_ctx | number {
  const f = fd_lookup(task.files!, fd);
  return f === null ? -EBADF : f.f_op === timerfd_fops ? ctxOf(f) : -EINVAL;
}

const nanoseconds = (ts: timespec): number => Number(ts.tv_sec) * 1e9 + Number(ts.tv_nsec);
const valid = (ts: timespec): boolean => ts.tv_sec >= 0n && ts.tv_nsec >= 0n && ts.tv_nsec < 1_000_000_000n;

function put_setting(address: number, ctx: timerfd_ctx): number {
  const setting = itimerspec.make();
  for (const [to, cycles] of [[setting.it_interval, ctx.interval], [setting.it_value, ctx.remaining]] as const) {
    const ns = Math.round(cycles_to_ns(cycles));
    to.tv_sec = BigInt(Math.floor(ns / 1e9));
    to.tv_nsec = BigInt(ns % 1e9);
  }
  return put_user_struct(address, setting);
}

export function sys_timerfd_settime(task: task_struct, fd: number, flags: number, fresh: number, old: number): number {
  const setting = itimerspec.make();
  if (get_user_struct(setting, fresh) !== 0) return -EFAULT;
  const TFD_TIMER_CANCEL_ON_SET = 2;
  if ((flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)) !== 0 || !valid(setting.it_value) || !valid(setting.it_interval)) return -EINVAL;
  const ctx = timer_of(task, fd);
  if (typeof ctx === 'number') return ctx;
  if (old !== 0 && put_setting(old, ctx) !== 0) return -EFAULT;
  const ns = nanoseconds(setting.it_value);
  let expires = 0;
  if (ns > 0) {
    const boot = ctx.clockid === CLOCK_REALTIME ? Number(machine().platform.startDate) : 0;
    const from = (flags & TFD_TIMER_ABSTIME) !== 0 ? ns - boot : ktime_get_ns() + ns;
    expires = Math.max(1, ns_to_cycles(from));
  }
  ctx.set(expires, ns_to_cycles(nanoseconds(setting.it_interval)));
  return 0;
}

export function sys_timerfd_gettime(task: task_struct, fd: number, address: number): number {
  const ctx = timer_of(task, fd);
  return typeof ctx === 'number' ? ctx : put_setting(address, ctx);
}
