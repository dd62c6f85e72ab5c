/** Clocks and sleeping on them. Linux: kernel/time/posix-timers.c, kernel/time/hrtimer.c, kernel/time/time.c */
import { EFAULT, EINTR, EINVAL, EOPNOTSUPP, EPERM } from '../../abi/errno.ts';
import {
  CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW, CLOCK_PROCESS_CPUTIME_ID, CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_TAI, CLOCK_THREAD_CPUTIME_ID, TIMER_ABSTIME, tms,
} from '../../abi/time.ts';
import { current, this_processor } from '../current.ts';
import { put_user_struct } from '../fs/user.ts';
import { put_user64 } from '../mm/uaccess.ts';
import { schedule_timeout } from '../sched/core.ts';
import { type MaySleep, TASK_INTERRUPTIBLE, TASK_RUNNING, type task_struct } from '../sched/types.ts';
import { process_times, task_runtime } from '../sys.ts';
import { get_timespec, put_timespec, put_timeval, timespec_to_cycles } from './timespec.ts';
import { cycles_to_clock_t, cycles_to_ns, get_tsc, HZ, ktime_get, ktime_get_real, ns_to_cycles } from './timekeeping.ts';

const JIFFY_NS = BigInt(1_000_000_000 / HZ);

/** Nanoseconds of that clock, undefined when there is none. */
function clock_ns(task: task_struct, clock: number): bigint | undefined {
  switch (clock) {
    case CLOCK_REALTIME: case CLOCK_TAI: return ktime_get_real();
    case CLOCK_REALTIME_COARSE: return ktime_get_real() - (ktime_get() % JIFFY_NS);
    case CLOCK_MONOTONIC: case CLOCK_MONOTONIC_RAW: case CLOCK_BOOTTIME: return ktime_get();
    case CLOCK_MONOTONIC_COARSE: return ktime_get() - (ktime_get() % JIFFY_NS);
    case CLOCK_PROCESS_CPUTIME_ID: return BigInt(cycles_to_ns(task.signal.sum_sched_runtime + task.signal.threads.reduce((sum, t) => sum + task_runtime(t), 0)));
    case CLOCK_THREAD_CPUTIME_ID: return BigInt(cycles_to_ns(task_runtime(task)));
    default: return undefined;
  }
}

export function sys_clock_gettime(task: task_struct, clock: number, address: number): number {
  const ns = clock_ns(task, clock);
  return ns === undefined ? -EINVAL : put_timespec(address, ns);
}
export function sys_clock_getres(task: task_struct, clock: number, address: number): number {
  if (clock_ns(task, clock) === undefined) return -EINVAL;
  const coarse = clock === CLOCK_REALTIME_COARSE || clock === CLOCK_MONOTONIC_COARSE;
  return address === 0 ? 0 : put_timespec(address, coarse ? JIFFY_NS : 1n);
}
/** The start date is an input of the run; nothing may change it. */
export const sys_clock_settime = (task: task_struct, clock: number): number => (clock_ns(task, clock) === undefined || clock !== CLOCK_REALTIME ? -EINVAL : -EPERM);

export function sys_gettimeofday(_task: task_struct, tv: number, tz: number): number {
  if (tv !== 0 && put_timeval(tv, ktime_get_real()) < 0) return -EFAULT;
  return tz === 0 ? 0 : put_user64(tz, 0n);
}
export function sys_time(_task: task_struct, address: number): number {
  const seconds = ktime_get_real() / 1_000_000_000n;
  return address !== 0 && put_user64(address, seconds) < 0 ? -EFAULT : Number(seconds);
}

const NOT_FOR_SLEEPING: ReadonlySet<number> = new Set([CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE]);

/** Sleeps until that cycle. 0; when a signal comes, what is left is stored at `rem` and the call can be restarted. */
function* sleep_until(until: number, rem: number): MaySleep<number> {
  const task = current();
  for (;;) {
    task.__state = TASK_INTERRUPTIBLE;
    if (task.sigpending) {
      task.__state = TASK_RUNNING;
      const left = until - this_processor().clock;
      if (left <= 0) return 0;
      if (rem !== 0 && put_timespec(rem, BigInt(cycles_to_ns(left))) < 0) return -EFAULT;
      task.restart_block = () => sleep_until(until, rem);
      return -516;
    }
    task.wchan = 'hrtimer_nanosleep';
    const left = yield* schedule_timeout(until - this_processor().clock);
    task.wchan = '';
    if (left <= 0 && this_processor().clock >= until) return 0;
  }
}

export function sys_nanosleep(_task: task_struct, request: number, rem: number): number | MaySleep<number> {
  const ts = get_timespec(request);
  if (typeof ts === 'number') return ts;
  return sleep_until(get_tsc() + timespec_to_cycles(ts), rem);
}

export function sys_clock_nanosleep(task: task_struct, clock: number, flags: number, request: number, rem: number): number | MaySleep<number> {
  if (clock_ns(task, clock) === undefined) return -EINVAL;
  if (NOT_FOR_SLEEPING.has(clock)) return -EOPNOTSUPP;
  const ts = get_timespec(request);
  if (typeof ts === 'number') return ts;
  if ((flags & TIMER_ABSTIME) === 0) return sleep_until(get_tsc() + timespec_to_cycles(ts), rem);
  const ahead = ts.tv_sec * 1_000_000_000n + ts.tv_nsec - clock_ns(task, clock)!;
  return ahead <= 0n ? 0 : sleep_until(get_tsc() + ns_to_cycles(Number(ahead)), 0);
}

export function sys_restart_syscall(task: task_struct): number | MaySleep<number> {
  const again = task.restart_block;
  task.restart_block = undefined;
  return again === undefined ? -EINTR : again();
}

export function sys_times(task: task_struct, address: number): number {
  if (address !== 0) {
    const { utime, stime } = process_times(task.signal);
    const clock = (cycles: number) => BigInt(cycles_to_clock_t(cycles));
    const buffer = tms.make({ tms_utime: clock(utime), tms_stime: clock(stime), tms_cutime: clock(task.signal.cutime), tms_cstime: clock(task.signal.cstime) });
    if (put_user_struct(address, buffer) < 0) return -EFAULT;
  }
  return cycles_to_clock_t(this_processor().clock);
}
