/**
 * Opening files, closing descriptors, and the calls that only look a name up to change or test one attribute.
 *
 * Linux: fs/open.c, fs/namei.c (path_openat), include/linux/fcntl.h (the flags that exist)
 */
import {
  EACCES, EBADF, EEXIST, EFBIG, EINVAL, EISDIR, ELOOP, ENODEV, ENOENT, ENOTDIR, ENXIO, EROFS,
} from '../../abi/errno.ts';
import {
  AT_EACCESS, AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_ACCMODE, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_EXCL, O_LARGEFILE, O_NOCTTY, O_NOFOLLOW, O_PATH,
  O_RDONLY, O_TRUNC, O_WRONLY, R_OK, S_IFMT, S_IFREG, S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG, S_ISSOCK, W_OK, X_OK,
} from '../../abi/fcntl.ts';
import { MS_RDONLY } from '../../abi/mount.ts';
import { chrdev_open } from '../drivers/chrdev.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { d_add, d_lookup, follow_mount } from './dcache.ts';
import { MAX_FILE_SIZE, close_fd, fd_install, fd_lookup, fput, get_unused_fd, hold, unhold } from './file.ts';
import { current_time, notify_change } from './inode.ts';
import {
  LOOKUP_DIRECTORY, LOOKUP_FOLLOW, LOOKUP_PARENT, MAY_EXEC, MAY_READ, MAY_WRITE, getname, inode_permission, isDots, nameidata_at, user_path_at,
} from './namei.ts';
import { find_directory, set_fs_pwd, set_fs_root } from './namespace.ts';
import { fifo_fops } from './pipe.ts';
import { FMODE_LSEEK, FMODE_PREAD, FMODE_PWRITE, FMODE_READ, FMODE_STREAM, FMODE_WRITE, type file_operations, type inode, type path, file } from './types.ts';

/** Every flag open(2) knows; others are ignored by it. F_GETFL shows what is left after the opening-only ones. */
const VALID_OPEN_FLAGS = 0o37777703;
const OPEN_ONLY_FLAGS = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC;
const NO_OPERATIONS: file_operations = {};

const accessMode = (flags: number): number => [FMODE_READ, FMODE_WRITE, FMODE_READ | FMODE_WRITE, 0][flags & O_ACCMODE]!;

/** The open file for a place, before the driver's open: or -errno. Takes the references that fput drops. */
export function dentry_file(at: path, flags: number): file | number {
  const inode = at.dentry.d_inode!;
  let op = inode.i_fop;
  let mode = accessMode(flags);
  if ((flags & O_PATH) !== 0) { op = NO_OPERATIONS; mode = 0; }
  else if (S_ISCHR(inode.i_mode)) {
    const driver = chrdev_open(inode.i_rdev);
    if (typeof driver === 'number') return driver;
    op = driver;
  } else if (S_ISFIFO(inode.i_mode)) op = fifo_fops;
  else if (S_ISBLK(inode.i_mode) || S_ISSOCK(inode.i_mode) || (inode.i_mode & S_IFMT) === 0) return -ENXIO;
  const f = new file(at, inode, op, flags & ~O_CLOEXEC, mode);
  if (op.llseek !== undefined) f.f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
  else f.f_mode |= FMODE_STREAM;
  hold(f);
  return f;
}

/** Everything about opening a name but the driver's open and the descriptor. */
function path_openat(task: task_struct, dfd: number, name: string, flags: number, mode: number): file | number {
  const nd = nameidata_at(task, dfd, name);
  if (typeof nd === 'number') return nd;
  const follow = (flags & O_NOFOLLOW) === 0 ? LOOKUP_FOLLOW : 0;
  if ((flags & O_CREAT) === 0) {
    const error = nd.walk(name, follow | ((flags & O_DIRECTORY) !== 0 ? LOOKUP_DIRECTORY : 0));
    return error < 0 ? error : may_open(nd.path, flags);
  }
  let error = nd.walk(name, LOOKUP_PARENT);
  for (;;) {
    if (error < 0) return error;
    const { last, path: parent } = nd;
    if (isDots(last)) return (flags & O_EXCL) !== 0 ? -EEXIST : -EISDIR;
    if (nd.trailingSlash) return -EISDIR;
    const child = d_lookup(parent.dentry, last);
    if (typeof child === 'number') return child;
    if (child.d_inode === undefined) {
      const dir = parent.dentry.d_inode!;
      if ((parent.mnt.mnt_flags & MS_RDONLY) !== 0) return -EROFS;
      if (parent.dentry.d_unhashed) return -ENOENT;
      if (dir.i_op.create === undefined) return -EACCES;
      const made = dir.i_op.create(dir, child, S_IFREG | (mode & ~task.fs!.umask & 0o7777));
      if (made < 0) return made;
      if (!child.d_sb.s_volatile) d_add(child, child.d_inode!);
      return dentry_file({ mnt: parent.mnt, dentry: child }, flags);
    }
    if ((flags & O_EXCL) !== 0) return -EEXIST;
    const at = follow_mount({ mnt: parent.mnt, dentry: child });
    const inode = at.dentry.d_inode!;
    if (!S_ISLNK(inode.i_mode)) return may_open(at, flags);
    if (follow === 0) return (flags & O_PATH) !== 0 ? may_open(at, flags) : -ELOOP;
    error = nd.follow(inode, LOOKUP_PARENT);
    if (error === 0 && nd.last === '') return may_open(nd.path, flags);
  }
}

function may_open(at: path, flags: number): file | number {
  const inode = at.dentry.d_inode!;
  if ((flags & O_PATH) !== 0) return dentry_file(at, flags);
  const writes = (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0;
  if (S_ISLNK(inode.i_mode)) return -ELOOP;
  if (S_ISDIR(inode.i_mode)) {
    if ((flags & O_CREAT) !== 0 || (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0) return -EISDIR;
  } else if (writes && S_ISREG(inode.i_mode) && (at.mnt.mnt_flags & MS_RDONLY) !== 0) return -EROFS;
  const f = dentry_file(at, flags);
  if (typeof f === 'number') return f;
  if ((flags & O_TRUNC) !== 0 && S_ISREG(inode.i_mode)) {
    const error = notify_change(inode, { size: 0, mtime: current_time() });
    if (error < 0) { fput(f); return error; }
  }
  return f;
}

/** The driver's part. Flags that only matter while opening are visible to it, and to nobody afterwards. */
function driver_open(f: file): number | MaySleep<number> {
  const opened = f.f_op.open?.(f.f_inode, f) ?? 0;
  f.f_flags &= ~OPEN_ONLY_FLAGS;
  return opened;
}

/** Opens a name for the kernel itself. The file must not need a sleep to open. */
export function filp_open(task: task_struct, name: string, flags: number, mode: number): file | number {
  const f = path_openat(task, AT_FDCWD, name, flags, mode);
  if (typeof f === 'number') return f;
  const opened = driver_open(f);
  if (typeof opened !== 'number' || opened < 0) { unhold(f); return typeof opened === 'number' ? opened : -ENODEV; }
  return f;
}

function do_sys_openat(task: task_struct, dfd: number, address: number, flags: number, mode: number): number | MaySleep<number> {
  flags &= VALID_OPEN_FLAGS;
  if ((flags & O_PATH) !== 0) flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  else if ((flags & O_CREAT) !== 0 && (flags & O_DIRECTORY) !== 0) return -EINVAL;
  const name = getname(address);
  if (typeof name === 'number') return name;
  const files = task.files!;
  const fd = get_unused_fd(task);
  if (fd < 0) return fd;
  const f = path_openat(task, dfd, name, flags | ((flags & O_PATH) === 0 ? O_LARGEFILE : 0), mode);
  if (typeof f === 'number') return f;
  const opened = driver_open(f);
  if (typeof opened !== 'number') return finishOpen(task, f, opened, flags);
  if (opened < 0) { unhold(f); return opened; }
  fd_install(files, fd, f, (flags & O_CLOEXEC) !== 0);
  return fd;
}

function* finishOpen(task: task_struct, f: file, opening: MaySleep<number>, flags: number): MaySleep<number> {
  const opened = yield* opening;
  if (opened < 0) { unhold(f); return opened; }
  const fd = get_unused_fd(task);
  if (fd < 0) { fput(f); return fd; }
  fd_install(task.files!, fd, f, (flags & O_CLOEXEC) !== 0);
  return fd;
}


export const sys_open = (task: task_struct, name: number, flags: number, mode: number) => do_sys_openat(task, AT_FDCWD, name, flags, mode);
export const sys_openat = (task: task_struct, dfd: number, name: number, flags: number, mode: number) => do_sys_openat(task, dfd | 0, name, flags, mode);
export const sys_creat = (task: task_struct, name: number, mode: number) => do_sys_openat(task, AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
export const sys_close = (task: task_struct, fd: number): number => close_fd(task.files!, fd);

export function sys_close_range(task: task_struct, first: number, last: number, flags: number): number {
  const CLOSE_RANGE_CLOEXEC = 4;
  const CLOSE_RANGE_UNSHARE = 2;
  if ((flags & ~(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE)) !== 0 || first >>> 0 > last >>> 0) return -EINVAL;
  const files = task.files!;
  for (let fd = first >>> 0; fd <= last >>> 0 && fd < files.fd.length; fd++) {
    if ((flags & CLOSE_RANGE_CLOEXEC) === 0) close_fd(files, fd);
    else if (fd_lookup(files, fd) !== null) files.close_on_exec[fd] = 1;
  }
  return 0;
}

function do_faccessat(task: task_struct, dfd: number, address: number, mode: number, flags: number): number {
  if ((mode & ~(R_OK | W_OK | X_OK)) !== 0 || (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL;
  const at = user_path_at(task, dfd | 0, address, (flags & AT_SYMLINK_NOFOLLOW) !== 0 ? 0 : LOOKUP_FOLLOW, flags);
  if (typeof at === 'number') return at;
  const inode = at.dentry.d_inode!;
  const wanted = ((mode & R_OK) !== 0 ? MAY_READ : 0) | ((mode & W_OK) !== 0 ? MAY_WRITE : 0) | ((mode & X_OK) !== 0 ? MAY_EXEC : 0);
  const error = inode_permission(inode, wanted);
  if (error < 0) return error;
  const special = S_ISCHR(inode.i_mode) || S_ISFIFO(inode.i_mode);
  return (mode & W_OK) !== 0 && !special && (at.mnt.mnt_flags & MS_RDONLY) !== 0 ? -EROFS : 0;
}
export const sys_access = (task: task_struct, name: number, mode: number): number => do_faccessat(task, AT_FDCWD, name, mode, 0);
export const sys_faccessat = (task: task_struct, dfd: number, name: number, mode: number): number => do_faccessat(task, dfd, name, mode, 0);
export const sys_faccessat2 = do_faccessat;

// ---- directories of the task

export function sys_chdir(task: task_struct, name: number): number {
  const at = find_directory(task, name);
  if (typeof at === 'number') return at;
  set_fs_pwd(task.fs!, at);
  return 0;
}

export function sys_fchdir(task: task_struct, fd: number): number {
  const f = fd_lookup(task.files!, fd);
  if (f === null) return -EBADF;
  if (!S_ISDIR(f.f_inode.i_mode)) return -ENOTDIR;
  set_fs_pwd(task.fs!, f.f_path);
  return 0;
}

export function sys_chroot(task: task_struct, name: number): number {
  const at = find_directory(task, name);
  if (typeof at === 'number') return at;
  set_fs_root(task.fs!, at);
  return 0;
}

export function sys_umask(task: task_struct, mask: number): number {
  const old = task.fs!.umask;
  task.fs!.umask = mask & 0o777;
  return old;
}

// ---- one attribute

function change(at: path | number, attributes: Parameters<typeof notify_change>[1]): number {
  if (typeof at === 'number') return at;
  if ((at.mnt.mnt_flags & MS_RDONLY) !== 0) return -EROFS;
  return notify_change(at.dentry.d_inode!, attributes);
}
const placeOf = (task: task_struct, fd: number): path | number => {
  const f = fd_lookup(task.files!, fd);
  return f === null || (f.f_flags & O_PATH) !== 0 ? -EBADF : f.f_path;
};

export const sys_chmod = (task: task_struct, name: number, mode: number): number => change(user_path_at(task, AT_FDCWD, name, LOOKUP_FOLLOW), { mode: mode & 0o7777 });
export const sys_fchmod = (task: task_struct, fd: number, mode: number): number => change(placeOf(task, fd), { mode: mode & 0o7777 });
export const sys_fchmodat = (task: task_struct, dfd: number, name: number, mode: number): number =>
  change(user_path_at(task, dfd | 0, name, LOOKUP_FOLLOW), { mode: mode & 0o7777 });

const owner = (uid: number, gid: number) => ({ ...((uid | 0) === -1 ? {} : { uid: uid >>> 0 }), ...((gid | 0) === -1 ? {} : { gid: gid >>> 0 }) });
export const sys_chown = (task: task_struct, name: number, uid: number, gid: number): number => change(user_path_at(task, AT_FDCWD, name, LOOKUP_FOLLOW), owner(uid, gid));
export const sys_lchown = (task: task_struct, name: number, uid: number, gid: number): number => change(user_path_at(task, AT_FDCWD, name, 0), owner(uid, gid));
export const sys_fchown = (task: task_struct, fd: number, uid: number, gid: number): number => change(placeOf(task, fd), owner(uid, gid));
export function sys_fchownat(task: task_struct, dfd: number, name: number, uid: number, gid: number, flags: number): number {
  if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL;
  return change(user_path_at(task, dfd | 0, name, (flags & AT_SYMLINK_NOFOLLOW) !== 0 ? 0 : LOOKUP_FOLLOW, flags), owner(uid, gid));
}

function do_truncate(inode: inode, length: number): number {
  if (length > MAX_FILE_SIZE) return -EFBIG;
  return notify_change(inode, { size: length, mtime: current_time() });
}

export function sys_truncate(task: task_struct, name: number, length: number): number {
  if (length < 0) return -EINVAL;
  const at = user_path_at(task, AT_FDCWD, name, LOOKUP_FOLLOW);
  if (typeof at === 'number') return at;
  const inode = at.dentry.d_inode!;
  if (S_ISDIR(inode.i_mode)) return -EISDIR;
  if (!S_ISREG(inode.i_mode)) return -EINVAL;
  if ((at.mnt.mnt_flags & MS_RDONLY) !== 0) return -EROFS;
  return do_truncate(inode, length);
}

export function sys_ftruncate(task: task_struct, fd: number, length: number): number {
  if (length < 0) return -EINVAL;
  const f = fd_lookup(task.files!, fd);
  if (f === null || (f.f_flags & O_PATH) !== 0) return -EBADF;
  if (!S_ISREG(f.f_inode.i_mode) || (f.f_mode & FMODE_WRITE) === 0) return -EINVAL;
  return do_truncate(f.f_inode, length);
}
