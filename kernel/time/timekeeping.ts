/**
 * What time it is. Every clock follows from the TSC of the processor that asks.
 * Linux: kernel/time/timekeeping.c
 */
import { machine, this_processor } from '../current.ts';

export const HZ = 250;
export const USER_HZ = 100;
export const NSEC_PER_SEC = 1_000_000_000;

/** No processor reads less than another has read. Timers run out by this_processor().clock, which never is ahead of it. */
export const get_tsc = (): number => this_processor().readTsc();

export const cycles_to_ns = (cycles: number): number => {
  const khz = machine().tscKhz;
  return khz === 1_000_000 ? cycles : Math.floor((cycles / khz) * 1e6);
};
/** Rounded up, so that a timer never fires early. */
export const ns_to_cycles = (ns: number): number => {
  const khz = machine().tscKhz;
  return khz === 1_000_000 ? ns : Math.ceil((ns / 1e6) * khz);
};

/** Nanoseconds since boot. */
export const ktime_get_ns = (): number => cycles_to_ns(get_tsc());
export const ktime_get = (): bigint => BigInt(ktime_get_ns());
/** Nanoseconds since 1970. */
export const ktime_get_real = (): bigint => machine().platform.startDate + ktime_get();

export const tick_period = (): number => machine().tscKhz * 1000 / HZ;
/** Cycles as ticks of user space's clock_t. */
export const cycles_to_clock_t = (cycles: number): number => Math.floor(cycles_to_ns(cycles) / (NSEC_PER_SEC / USER_HZ));
export const jiffies = (): number => Math.floor(this_processor().clock / tick_period());
