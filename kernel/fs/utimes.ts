/**
 * utime, utimes, futimesat, utimensat: setting a file's times.
 *
 * Linux: fs/utimes.c
 */
import { EBADF, EFAULT, EINVAL, EROFS } from '../../abi/errno.ts';
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW } from '../../abi/fcntl.ts';
import { MS_RDONLY } from '../../abi/mount.ts';
import { copy_from_user } from '../mm/uaccess.ts';
import type { task_struct } from '../sched/types.ts';
import { fd_lookup } from './file.ts';
import { current_time, notify_change } from './inode.ts';
import { LOOKUP_FOLLOW, user_path_at } from './namei.ts';
import type { Timestamp, iattr, path } from './types.ts';

const UTIME_NOW = 0x3fff_ffffn;
const UTIME_OMIT = 0x3fff_fffen;

/** Undefined leaves the time as it is. */
type Time = Timestamp | undefined;

const sinceEpoch = (seconds: bigint, ns: bigint): Timestamp => seconds * 1_000_000_000n + ns;

function setTimes(at: path | number, atime: Time, mtime: Time): number {
  if (typeof at === 'number') return at;
  if ((at.mnt.mnt_flags & MS_RDONLY) !== 0) return -EROFS;
  const change: iattr = {};
  if (atime !== undefined) change.atime = atime;
  if (mtime !== undefined) change.mtime = mtime;
  return notify_change(at.dentry.d_inode!, change);
}

/** Four words at a user address: two times. Undefined when the address is bad. */
function words(address: number, count: number): BigInt64Array | undefined {
  const values = new BigInt64Array(count);
  return copy_from_user(new Uint8Array(values.buffer), address) === 0 ? values : undefined;
}

export function sys_utime(task: task_struct, name: number, times: number): number {
  let atime: Timestamp = current_time();
  let mtime: Timestamp = atime;
  if (times !== 0) {
    const w = words(times, 2);
    if (w === undefined) return -EFAULT;
    atime = sinceEpoch(w[0]!, 0n);
    mtime = sinceEpoch(w[1]!, 0n);
  }
  return setTimes(user_path_at(task, AT_FDCWD, name, LOOKUP_FOLLOW), atime, mtime);
}

export function sys_futimesat(task: task_struct, dfd: number, name: number, times: number): number {
  let atime: Timestamp = current_time();
  let mtime: Timestamp = atime;
  if (times !== 0) {
    const w = words(times, 4);
    if (w === undefined) return -EFAULT;
    for (const us of [w[1]!, w[3]!]) if (us < 0n || us >= 1_000_000n) return -EINVAL;
    atime = sinceEpoch(w[0]!, w[1]! * 1000n);
    mtime = sinceEpoch(w[2]!, w[3]! * 1000n);
  }
  return setTimes(placeAt(task, dfd, name, 0), atime, mtime);
}
export const sys_utimes = (task: task_struct, name: number, times: number): number => sys_futimesat(task, AT_FDCWD, name, times);

/** A null name means the descriptor itself. */
function placeAt(task: task_struct, dfd: number, name: number, flags: number): path | number {
  if (name === 0 && (dfd | 0) !== AT_FDCWD) {
    if (flags !== 0) return -EINVAL;
    return fd_lookup(task.files!, dfd)?.f_path ?? -EBADF;
  }
  return user_path_at(task, dfd | 0, name, (flags & AT_SYMLINK_NOFOLLOW) !== 0 ? 0 : LOOKUP_FOLLOW, flags);
}

export function sys_utimensat(task: task_struct, dfd: number, name: number, times: number, flags: number): number {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL;
  const now = current_time();
  let atime: Time = now;
  let mtime: Time = now;
  if (times !== 0) {
    const w = words(times, 4);
    if (w === undefined) return -EFAULT;
    const special = (ns: bigint): boolean => ns === UTIME_NOW || ns === UTIME_OMIT;
    for (const ns of [w[1]!, w[3]!]) if (!special(ns) && (ns < 0n || ns >= 1_000_000_000n)) return -EINVAL;
    if (w[1] === UTIME_OMIT && w[3] === UTIME_OMIT) return 0;
    const time = (seconds: bigint, ns: bigint): Time => (ns === UTIME_OMIT ? undefined : ns === UTIME_NOW ? now : sinceEpoch(seconds, ns));
    atime = time(w[0]!, w[1]!);
    mtime = time(w[2]!, w[3]!);
  }
  return setTimes(placeAt(task, dfd, name, flags), atime, mtime);
}
