/**
 * The calls that make, remove and move names.
 *
 * Linux: fs/namei.c (do_mkdirat, do_rmdir, do_unlinkat, do_symlinkat, do_linkat, do_renameat2, do_mknodat)
 */
import { EBUSY, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EROFS, EXDEV } from '../../abi/errno.ts';
import {
  AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, PATH_MAX, RENAME_NOREPLACE, S_IFCHR, S_IFIFO, S_IFMT, S_IFREG, S_IFBLK,
  S_IFSOCK, S_ISDIR,
} from '../../abi/fcntl.ts';
import { MS_RDONLY } from '../../abi/mount.ts';
import type { task_struct } from '../sched/types.ts';
import { d_add, d_drop, d_lookup, d_move } from './dcache.ts';
import { LOOKUP_FOLLOW, filename_parentat, getname, isDots, user_path_at } from './namei.ts';
import { isMountpoint, wouldLoop } from './namespace.ts';
import type { dentry, inode, path } from './types.ts';

interface Spot { readonly parent: path; readonly dir: inode; readonly dentry: dentry }

/** Where a new name goes: its directory and a dentry without inode, or -errno. */
function filename_create(task: task_struct, dfd: number, address: number, directory: boolean): Spot | number {
  const name = getname(address);
  if (typeof name === 'number') return name;
  const found = filename_parentat(task, dfd, name);
  if (typeof found === 'number') return found;
  if (isDots(found.last)) return -EEXIST;
  const d = d_lookup(found.parent.dentry, found.last);
  if (typeof d === 'number') return d;
  if (d.d_inode !== undefined) return -EEXIST;
  // "missing/" can only become a directory
  if (found.trailingSlash && !directory) return -ENOENT;
  if ((found.parent.mnt.mnt_flags & MS_RDONLY) !== 0) return -EROFS;
  if (found.parent.dentry.d_unhashed) return -ENOENT;
  return { parent: found.parent, dir: found.parent.dentry.d_inode!, dentry: d };
}

/** Binds a name the file system has just made. */
function made(result: number, spot: Spot): number {
  if (result < 0) return result;
  if (!spot.dentry.d_sb.s_volatile) d_add(spot.dentry, spot.dentry.d_inode!);
  return 0;
}

export function sys_mkdirat(task: task_struct, dfd: number, name: number, mode: number): number {
  const spot = filename_create(task, dfd | 0, name, true);
  if (typeof spot === 'number') return spot;
  if (spot.dir.i_op.mkdir === undefined) return -EPERM;
  return made(spot.dir.i_op.mkdir(spot.dir, spot.dentry, mode & ~task.fs!.umask & 0o1777), spot);
}
export const sys_mkdir = (task: task_struct, name: number, mode: number): number => sys_mkdirat(task, AT_FDCWD, name, mode);

export function sys_mknodat(task: task_struct, dfd: number, name: number, mode: number, dev: number): number {
  const kind = mode & S_IFMT || S_IFREG;
  if (S_ISDIR(kind)) return -EPERM;
  if (![S_IFREG, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK].includes(kind)) return -EINVAL;
  const spot = filename_create(task, dfd | 0, name, false);
  if (typeof spot === 'number') return spot;
  if (spot.dir.i_op.mknod === undefined) return -EPERM;
  return made(spot.dir.i_op.mknod(spot.dir, spot.dentry, kind | (mode & ~task.fs!.umask & 0o7777), dev >>> 0), spot);
}
export const sys_mknod = (task: task_struct, name: number, mode: number, dev: number): number => sys_mknodat(task, AT_FDCWD, name, mode, dev);

export function sys_symlinkat(task: task_struct, target: number, dfd: number, name: number): number {
  const text = getname(target);
  if (typeof text === 'number') return text;
  const spot = filename_create(task, dfd | 0, name, false);
  if (typeof spot === 'number') return spot;
  if (spot.dir.i_op.symlink === undefined) return -EPERM;
  return made(spot.dir.i_op.symlink(spot.dir, spot.dentry, text.slice(0, PATH_MAX)), spot);
}
export const sys_symlink = (task: task_struct, target: number, name: number): number => sys_symlinkat(task, target, AT_FDCWD, name);

export function sys_linkat(task: task_struct, olddfd: number, oldname: number, newdfd: number, newname: number, flags: number): number {
  if ((flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) !== 0) return -EINVAL;
  const old = user_path_at(task, olddfd | 0, oldname, (flags & AT_SYMLINK_FOLLOW) !== 0 ? LOOKUP_FOLLOW : 0, flags);
  if (typeof old === 'number') return old;
  const spot = filename_create(task, newdfd | 0, newname, false);
  if (typeof spot === 'number') return spot;
  if (old.mnt !== spot.parent.mnt) return -EXDEV;
  const target = old.dentry.d_inode!;
  if (S_ISDIR(target.i_mode) || spot.dir.i_op.link === undefined) return -EPERM;
  if (target.i_nlink === 0) return -ENOENT;
  return made(spot.dir.i_op.link(old.dentry, spot.dir, spot.dentry), spot);
}
export const sys_link = (task: task_struct, oldname: number, newname: number): number => sys_linkat(task, AT_FDCWD, oldname, AT_FDCWD, newname, 0);

/** An existing name to be removed, or -errno. */
function filename_existing(task: task_struct, dfd: number, address: number, dots: (last: string) => number): (Spot & { trailingSlash: boolean }) | number {
  const name = getname(address);
  if (typeof name === 'number') return name;
  const found = filename_parentat(task, dfd, name);
  if (typeof found === 'number') return found;
  if (isDots(found.last)) return dots(found.last);
  if ((found.parent.mnt.mnt_flags & MS_RDONLY) !== 0) return -EROFS;
  const d = d_lookup(found.parent.dentry, found.last);
  if (typeof d === 'number') return d;
  if (d.d_inode === undefined) return -ENOENT;
  return { parent: found.parent, dir: found.parent.dentry.d_inode!, dentry: d, trailingSlash: found.trailingSlash };
}

function removed(result: number, d: dentry): number {
  if (result === 0) d_drop(d);
  return result;
}

export function sys_rmdir(task: task_struct, name: number): number {
  return do_rmdir(task, AT_FDCWD, name);
}
function do_rmdir(task: task_struct, dfd: number, name: number): number {
  const spot = filename_existing(task, dfd, name, (last) => (last === '.' ? -EINVAL : last === '..' ? -ENOTEMPTY : -EBUSY));
  if (typeof spot === 'number') return spot;
  const { dir, dentry } = spot;
  if (!S_ISDIR(dentry.d_inode!.i_mode)) return -ENOTDIR;
  if (isMountpoint({ mnt: spot.parent.mnt, dentry })) return -EBUSY;
  if (dir.i_op.rmdir === undefined) return -EPERM;
  return removed(dir.i_op.rmdir(dir, dentry), dentry);
}

export function sys_unlinkat(task: task_struct, dfd: number, name: number, flags: number): number {
  if ((flags & ~AT_REMOVEDIR) !== 0) return -EINVAL;
  if ((flags & AT_REMOVEDIR) !== 0) return do_rmdir(task, dfd | 0, name);
  const spot = filename_existing(task, dfd | 0, name, () => -EISDIR);
  if (typeof spot === 'number') return spot;
  const { dir, dentry } = spot;
  if (S_ISDIR(dentry.d_inode!.i_mode)) return -EISDIR;
  if (spot.trailingSlash) return -ENOTDIR;
  if (dentry.d_mounts !== undefined) return -EBUSY;
  if (dir.i_op.unlink === undefined) return -EPERM;
  return removed(dir.i_op.unlink(dir, dentry), dentry);
}
export const sys_unlink = (task: task_struct, name: number): number => sys_unlinkat(task, AT_FDCWD, name, 0);

export function sys_renameat2(task: task_struct, olddfd: number, oldname: number, newdfd: number, newname: number, flags: number): number {
  if ((flags & ~RENAME_NOREPLACE) !== 0) return -EINVAL;
  const from = getname(oldname);
  if (typeof from === 'number') return from;
  const to = getname(newname);
  if (typeof to === 'number') return to;
  const source = filename_parentat(task, olddfd | 0, from);
  if (typeof source === 'number') return source;
  const target = filename_parentat(task, newdfd | 0, to);
  if (typeof target === 'number') return target;
  if (source.parent.mnt !== target.parent.mnt) return -EXDEV;
  if (isDots(source.last)) return -EBUSY;
  if (isDots(target.last)) return (flags & RENAME_NOREPLACE) !== 0 ? -EEXIST : -EBUSY;
  if ((source.parent.mnt.mnt_flags & MS_RDONLY) !== 0) return -EROFS;
  const old = d_lookup(source.parent.dentry, source.last);
  if (typeof old === 'number') return old;
  if (old.d_inode === undefined) return -ENOENT;
  const replaced = d_lookup(target.parent.dentry, target.last);
  if (typeof replaced === 'number') return replaced;
  if ((flags & RENAME_NOREPLACE) !== 0 && replaced.d_inode !== undefined) return -EEXIST;
  const directory = S_ISDIR(old.d_inode.i_mode);
  if (!directory && (source.trailingSlash || target.trailingSlash)) return -ENOTDIR;
  const { mnt } = source.parent;
  if (directory && wouldLoop({ mnt, dentry: old }, target.parent)) return -EINVAL;
  if (replaced.d_inode !== undefined && S_ISDIR(replaced.d_inode.i_mode) && wouldLoop({ mnt, dentry: replaced }, source.parent)) return -ENOTEMPTY;
  return vfs_rename(mnt, source.parent, old, target.parent, replaced, directory);
}

function vfs_rename(mnt: path['mnt'], source: path, old: dentry, target: path, replaced: dentry, directory: boolean): number {
  if (old.d_inode === replaced.d_inode) return 0;
  if (replaced.d_inode !== undefined) {
    if (directory && !S_ISDIR(replaced.d_inode.i_mode)) return -ENOTDIR;
    if (!directory && S_ISDIR(replaced.d_inode.i_mode)) return -EISDIR;
  }
  if (isMountpoint({ mnt, dentry: old }) || (replaced.d_inode !== undefined && isMountpoint({ mnt, dentry: replaced }))) return -EBUSY;
  const oldDir = source.dentry.d_inode!;
  const newDir = target.dentry.d_inode!;
  if (oldDir.i_op.rename === undefined) return -EPERM;
  const result = oldDir.i_op.rename(oldDir, old, newDir, replaced);
  if (result === 0) {
    if (replaced.d_inode !== undefined) d_drop(replaced);
    d_move(old, replaced);
    if (old.d_sb.s_volatile) d_drop(old);
  }
  return result;
}
export const sys_renameat = (task: task_struct, olddfd: number, oldname: number, newdfd: number, newname: number): number => sys_renameat2(task, olddfd, oldname, newdfd, newname, 0);
export const sys_rename = (task: task_struct, oldname: number, newname: number): number => sys_renameat2(task, AT_FDCWD, oldname, AT_FDCWD, newname, 0);
