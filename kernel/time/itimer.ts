/** Interval timers and alarm: SIGALRM after real time. Linux: kernel/time/itimer.c */
import { EFAULT, EINVAL } from '../../abi/errno.ts';
import { SIGALRM } from '../../abi/signal.ts';
import { ITIMER_PROF, ITIMER_REAL, itimerval } from '../../abi/time.ts';
import { this_processor } from '../current.ts';
import { get_user_struct, put_user_struct } from '../fs/user.ts';
import { send_signal } from '../signal.ts';
import { SEND_SIG_PRIV } from '../siginfo.ts';
import type { signal_struct, task_struct } from '../sched/types.ts';
import { hrtimer } from './hrtimer.ts';
import { timeval_to_cycles } from './timespec.ts';
import { cycles_to_ns, get_tsc } from './timekeeping.ts';

interface RealTimer { readonly timer: hrtimer; interval: number }

function real_timer(task: task_struct): RealTimer {
  const { signal } = task;
  if (signal.real_timer !== undefined) return signal.real_timer as RealTimer;
  const real: RealTimer = {
    interval: 0,
    timer: new hrtimer((timer) => {
      const leader = signal.threads[0];
      if (leader !== undefined) send_signal(SIGALRM, SEND_SIG_PRIV(SIGALRM), leader, 'process');
      if (real.interval > 0) timer.start(timer.expires + real.interval);
    }),
  };
  signal.real_timer = real;
  return real;
}

export function exit_itimers(signal: signal_struct): void { (signal.real_timer as RealTimer | undefined)?.timer.cancel(); }

const left = (real: RealTimer): number => (real.timer.active ? Math.max(1, real.timer.expires - this_processor().clock) : 0);
const timeval_of = (cycles: number) => {
  const us = Math.ceil(cycles_to_ns(cycles) / 1000);
  return { tv_sec: BigInt(Math.floor(us / 1e6)), tv_usec: BigInt(us % 1e6) };
};

function set_timer(real: RealTimer, value: number, interval: number): void {
  real.timer.cancel();
  real.interval = interval;
  if (value > 0) real.timer.start(get_tsc() + value);
}

export function sys_alarm(task: task_struct, seconds: number): number {
  const real = real_timer(task);
  const before = Math.ceil(cycles_to_ns(left(real)) / 1e9);
  set_timer(real, timeval_to_cycles({ tv_sec: BigInt(seconds >>> 0), tv_usec: 0n } as never), 0);
  return before;
}

export function sys_getitimer(task: task_struct, which: number, address: number): number {
  if (which < ITIMER_REAL || which > ITIMER_PROF) return -EINVAL;
  const value = itimerval.make();
  if (which === ITIMER_REAL) {
    const real = real_timer(task);
    value.it_value = timeval_of(left(real)) as never;
    value.it_interval = timeval_of(real.timer.active ? real.interval : 0) as never;
  }
  return put_user_struct(address, value);
}

export function sys_setitimer(task: task_struct, which: number, address: number, old: number): number {
  if (which < ITIMER_REAL || which > ITIMER_PROF) return -EINVAL;
  const value = itimerval.make();
  if (address !== 0 && get_user_struct(value, address) < 0) return -EFAULT;
  for (const tv of [value.it_value, value.it_interval]) if (tv.tv_sec < 0n || tv.tv_usec < 0n || tv.tv_usec >= 1_000_000n) return -EINVAL;
  if (old !== 0 && sys_getitimer(task, which, old) < 0) return -EFAULT;
  // Processor-time timers would need the tick to look at them; only the real one ever fires here.
  if (which !== ITIMER_REAL) return -EINVAL;
  set_timer(real_timer(task), timeval_to_cycles(value.it_value), timeval_to_cycles(value.it_interval));
  return 0;
}
