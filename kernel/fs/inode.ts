/**
 * What all inodes have in common: times, changes of attributes, the end of an inode nobody uses.
 *
 * Linux: fs/inode.c, fs/attr.c
 */
import { EPERM } from '../../abi/errno.ts';
import { S_IFMT, S_ISDIR } from '../../abi/fcntl.ts';
import { machine } from '../current.ts';
import { cycles_to_ns } from '../time/timekeeping.ts';
import type { iattr, inode } from './types.ts';

/** Nanoseconds since boot: the unit of i_atime, i_mtime and i_ctime. */
export const current_time = (): number => cycles_to_ns(machine().now());

/** Applies a change the caller has checked, if the file system agrees. A file system without setattr takes all but a size. */
export function notify_change(inode: inode, change: iattr): number {
  if (inode.i_op.setattr !== undefined) {
    const error = inode.i_op.setattr(inode, change);
    if (error < 0) return error;
  } else if (change.size !== undefined) return -EPERM;
  if (change.mode !== undefined) inode.i_mode = (inode.i_mode & S_IFMT) | (change.mode & ~S_IFMT);
  if (change.uid !== undefined) inode.i_uid = change.uid;
  if (change.gid !== undefined) inode.i_gid = change.gid;
  if (change.atime !== undefined) inode.i_atime = change.atime;
  if (change.mtime !== undefined) inode.i_mtime = change.mtime;
  inode.i_ctime = current_time();
  return 0;
}

/** One name fewer, or for a directory the last one; the data goes with the last name and the last user. */
export function drop_nlink(inode: inode): void {
  if (S_ISDIR(inode.i_mode)) inode.i_nlink = 0;
  else if (--inode.i_nlink > 0) inode.i_sb.s_inodes--;
  inode.i_ctime = current_time();
  if (inode.i_nlink === 0 && inode.i_count === 0) inode.evict_inode();
}
