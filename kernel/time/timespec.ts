/** struct timespec between user memory and cycles. Linux: kernel/time/time.c */
import { EFAULT, EINVAL } from '../../abi/errno.ts';
import { timespec, type timeval } from '../../abi/time.ts';
import { get_user_struct } from '../fs/user.ts';
import { put_user64 } from '../mm/uaccess.ts';
import { ns_to_cycles } from './timekeeping.ts';

/** Reads and checks one: -EFAULT, -EINVAL. */
export function get_timespec(address: number): timespec | number {
  const ts = timespec.make();
  if (get_user_struct(ts, address) < 0) return -EFAULT;
  return ts.tv_sec < 0n || ts.tv_nsec < 0n || ts.tv_nsec >= 1_000_000_000n ? -EINVAL : ts;
}

/** Beyond what a number can hold exactly nobody waits: 100 days and more are taken as that. */
const LONGEST = 2 ** 53;
export const timespec_to_cycles = (ts: timespec): number =>
  ns_to_cycles(Math.min(LONGEST, Number(ts.tv_sec) * 1e9 + Number(ts.tv_nsec)));
export const timeval_to_cycles = (tv: timeval): number => ns_to_cycles(Math.min(LONGEST, Number(tv.tv_sec) * 1e9 + Number(tv.tv_usec) * 1e3));

/** Stores nanoseconds as a timespec: 0 or -EFAULT. */
export function put_timespec(address: number, ns: bigint): number {
  return put_user64(address, ns / 1_000_000_000n) || put_user64(address + 8, ns % 1_000_000_000n);
}
export function put_timeval(address: number, ns: bigint): number {
  return put_user64(address, ns / 1_000_000_000n) || put_user64(address + 8, (ns % 1_000_000_000n) / 1000n);
}
