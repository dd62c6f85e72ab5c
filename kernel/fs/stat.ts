/**
 * stat and its relatives, readlink, statfs.
 *
 * Linux: fs/stat.c, fs/statfs.c
 */
import { EBADF, EFAULT, EINVAL, ENOENT } from '../../abi/errno.ts';
import {
  AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, S_ISLNK, STATX_BASIC_STATS, major, minor, stat, statfs, statx, type statx_timestamp,
} from '../../abi/fcntl.ts';
import { utf8 } from '../../lib/text.ts';
import { copy_to_user } from '../mm/uaccess.ts';
import type { task_struct } from '../sched/types.ts';
import { machine } from '../current.ts';
import { fd_lookup } from './file.ts';
import { LOOKUP_EMPTY, LOOKUP_FOLLOW, getname, user_path_at } from './namei.ts';
import type { Timestamp, inode, path } from './types.ts';
import { put_user_struct } from './user.ts';

const answer = stat.make();
const answerx = statx.make();
const answerfs = statfs.make();

const NS = 1_000_000_000n;
const wallClock = (time: Timestamp): bigint => (typeof time === 'bigint' ? time : machine().platform.startDate + BigInt(Math.round(time)));
const floorDiv = (a: bigint, b: bigint): bigint => (a >= 0n ? a / b : -((-a + b - 1n) / b));
const seconds = (time: bigint): bigint => floorDiv(time, NS);
const rest = (time: bigint): bigint => time - seconds(time) * NS;

/** 512-byte units that a file of this size takes. */
const blocks = (inode: inode): number => (S_ISLNK(inode.i_mode) ? 0 : Math.ceil(inode.i_size / 4096) * 8);

function cp_new_stat(inode: inode, address: number): number {
  inode.i_op.getattr?.(inode);
  const s = answer;
  s.st_dev = BigInt(inode.i_sb.s_dev);
  s.st_ino = BigInt(inode.i_ino);
  s.st_nlink = BigInt(inode.i_nlink);
  s.st_mode = inode.i_mode;
  s.st_uid = inode.i_uid;
  s.st_gid = inode.i_gid;
  s.st_rdev = BigInt(inode.i_rdev);
  s.st_size = BigInt(inode.i_size);
  s.st_blksize = 4096n;
  s.st_blocks = BigInt(blocks(inode));
  const atime = wallClock(inode.i_atime), mtime = wallClock(inode.i_mtime), ctime = wallClock(inode.i_ctime);
  s.st_atime = seconds(atime); s.st_atime_nsec = rest(atime);
  s.st_mtime = seconds(mtime); s.st_mtime_nsec = rest(mtime);
  s.st_ctime = seconds(ctime); s.st_ctime_nsec = rest(ctime);
  return put_user_struct(address, s);
}

const statOf = (at: path | number, address: number): number => (typeof at === 'number' ? at : cp_new_stat(at.dentry.d_inode!, address));

export const sys_stat = (task: task_struct, name: number, buf: number): number => statOf(user_path_at(task, AT_FDCWD, name, LOOKUP_FOLLOW), buf);
export const sys_lstat = (task: task_struct, name: number, buf: number): number => statOf(user_path_at(task, AT_FDCWD, name, 0), buf);

export function sys_fstat(task: task_struct, fd: number, buf: number): number {
  const f = fd_lookup(task.files!, fd);
  return f === null ? -EBADF : cp_new_stat(f.f_inode, buf);
}

/** The inode a *at call with AT_EMPTY_PATH means. */
function inodeAt(task: task_struct, dfd: number, name: number, flags: number): inode | number {
  if ((flags & AT_EMPTY_PATH) !== 0) {
    const text = getname(name, LOOKUP_EMPTY);
    if (typeof text === 'number') return text;
    if (text === '' && dfd !== AT_FDCWD) {
      const f = fd_lookup(task.files!, dfd);
      return f === null ? -EBADF : f.f_inode;
    }
  }
  const at = user_path_at(task, dfd, name, (flags & AT_SYMLINK_NOFOLLOW) !== 0 ? 0 : LOOKUP_FOLLOW, flags);
  return typeof at === 'number' ? at : at.dentry.d_inode!;
}

export function sys_newfstatat(task: task_struct, dfd: number, name: number, buf: number, flags: number): number {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH)) !== 0) return -EINVAL;
  const inode = inodeAt(task, dfd | 0, name, flags);
  return typeof inode === 'number' ? inode : cp_new_stat(inode, buf);
}

function stamp(to: statx_timestamp, at: Timestamp): void {
  const time = wallClock(at);
  to.tv_sec = seconds(time);
  to.tv_nsec = Number(rest(time));
}

export function sys_statx(task: task_struct, dfd: number, name: number, flags: number, mask: number, buf: number): number {
  const AT_STATX_SYNC_TYPE = 0x6000;
  const STATX__RESERVED = 0x80000000;
  if ((mask & STATX__RESERVED) !== 0 || (flags & AT_STATX_SYNC_TYPE) === AT_STATX_SYNC_TYPE) return -EINVAL;
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) !== 0) return -EINVAL;
  const inode = inodeAt(task, dfd | 0, name, flags);
  if (typeof inode === 'number') return inode;
  inode.i_op.getattr?.(inode);
  const s = answerx;
  s.stx_mask = STATX_BASIC_STATS;
  s.stx_blksize = 4096;
  s.stx_nlink = inode.i_nlink;
  s.stx_uid = inode.i_uid;
  s.stx_gid = inode.i_gid;
  s.stx_mode = inode.i_mode;
  s.stx_ino = BigInt(inode.i_ino);
  s.stx_size = BigInt(inode.i_size);
  s.stx_blocks = BigInt(blocks(inode));
  stamp(s.stx_atime, inode.i_atime);
  stamp(s.stx_mtime, inode.i_mtime);
  stamp(s.stx_ctime, inode.i_ctime);
  s.stx_rdev_major = major(inode.i_rdev);
  s.stx_rdev_minor = minor(inode.i_rdev);
  s.stx_dev_major = major(inode.i_sb.s_dev);
  s.stx_dev_minor = minor(inode.i_sb.s_dev);
  return put_user_struct(buf, s);
}

export function sys_readlinkat(task: task_struct, dfd: number, name: number, buf: number, size: number): number {
  if (size <= 0) return -EINVAL;
  const at = user_path_at(task, dfd | 0, name, 0, AT_EMPTY_PATH);
  if (typeof at === 'number') return at;
  const inode = at.dentry.d_inode!;
  if (!S_ISLNK(inode.i_mode)) return getname(name, LOOKUP_EMPTY) === '' ? -ENOENT : -EINVAL;
  const target = inode.i_op.readlink?.(inode) ?? -EINVAL;
  if (typeof target === 'number') return target;
  const bytes = utf8(target).subarray(0, size);
  return copy_to_user(buf, bytes) !== 0 ? -EFAULT : bytes.length;
}
export const sys_readlink = (task: task_struct, name: number, buf: number, size: number): number => sys_readlinkat(task, AT_FDCWD, name, buf, size);

function do_statfs(at: path, address: number): number {
  const sb = at.dentry.d_sb;
  const { blocks, bfree, bsize } = sb.statfs();
  const s = answerfs;
  s.f_type = BigInt(sb.s_magic);
  s.f_bsize = s.f_frsize = BigInt(bsize);
  s.f_blocks = BigInt(blocks);
  s.f_bfree = s.f_bavail = BigInt(bfree);
  s.f_files = s.f_ffree = 0n;
  s.f_namelen = 255n;
  s.f_flags = BigInt(at.mnt.mnt_flags | ST_VALID);
  return put_user_struct(address, s);
}
const ST_VALID = 0x20;

export function sys_statfs(task: task_struct, name: number, buf: number): number {
  const at = user_path_at(task, AT_FDCWD, name, LOOKUP_FOLLOW);
  return typeof at === 'number' ? at : do_statfs(at, buf);
}
export function sys_fstatfs(task: task_struct, fd: number, buf: number): number {
  const f = fd_lookup(task.files!, fd);
  return f === null ? -EBADF : do_statfs(f.f_path, buf);
}
