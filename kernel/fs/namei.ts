/**
 * From path names to places: the walk over directories, symbolic links and mounts.
 *
 * Linux: fs/namei.c, Documentation/filesystems/path-lookup.rst
 *
 * The hard part is the last component. Looking a name up follows it or not; making, removing or renaming a name
 * needs its parent directory instead, and what the last component is called ('..', '', 'a/') decides the error.
 */
import { EACCES, EBADF, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR } from '../../abi/errno.ts';
import { AT_EMPTY_PATH, AT_FDCWD, PATH_MAX, S_ISDIR, S_ISLNK } from '../../abi/fcntl.ts';
import { strncpy_from_user } from '../mm/uaccess.ts';
import type { task_struct } from '../sched/types.ts';
import { d_lookup, follow_mount, follow_up } from './dcache.ts';
import { fd_lookup } from './file.ts';
import type { inode, path } from './types.ts';

const MAXSYMLINKS = 40;

/** Lookup flags. */
export const LOOKUP_FOLLOW    = 1;
export const LOOKUP_DIRECTORY = 2;
export const LOOKUP_EMPTY     = 4;
/** Stop before the last component; it is left in `last`. */
export const LOOKUP_PARENT    = 8;

/** A string of user space up to its NUL, at most `max` bytes with it: -ENAMETOOLONG when there is none, -EFAULT. */
export const strndup_user = (address: number, max: number): string | number => strncpy_from_user(address, max) ?? -ENAMETOOLONG;

/** A path name argument: -ENOENT when empty, unless LOOKUP_EMPTY allows it. */
export function getname(address: number, flags = 0): string | number {
  const name = strndup_user(address, PATH_MAX);
  return name === '' && (flags & LOOKUP_EMPTY) === 0 ? -ENOENT : name;
}

/** MAY_* of inode_permission. */
export const MAY_EXEC  = 1;
export const MAY_WRITE = 2;
export const MAY_READ  = 4;

/** 0 or -EACCES. Every task is root: all but executing a file that nobody may execute is allowed. */
export function inode_permission(inode: inode, mask: number): number {
  if ((mask & MAY_EXEC) !== 0 && !S_ISDIR(inode.i_mode) && (inode.i_mode & 0o111) === 0) return -EACCES;
  return 0;
}

/** A walk in progress. */
export class nameidata {
  path: path;
  readonly root: path;
  /** With LOOKUP_PARENT: the last component, '' for the root itself, and whether slashes followed it. */
  last = '';
  trailingSlash = false;
  links = 0;
  constructor(start: path, root: path) {
    this.path = start;
    this.root = root;
  }

  /** Walks `name` from this.path. 0 or -errno. */
  walk(name: string, flags: number): number {
    if (name.charCodeAt(0) === SLASH) this.path = this.root;
    const names = name.split('/');
    let count = names.length;
    while (count > 0 && names[count - 1] === '') count--;
    this.trailingSlash = count > 0 && count < names.length;
    this.last = '';
    for (let i = 0; i < count; i++) {
      const component = names[i]!;
      if (component === '') continue;
      const isLast = i === count - 1;
      const here = this.path.dentry.d_inode!;
      if (!S_ISDIR(here.i_mode)) return -ENOTDIR;
      if (isLast && (flags & LOOKUP_PARENT) !== 0) { this.last = component; return 0; }
      const follow = !isLast || (flags & LOOKUP_FOLLOW) !== 0 || this.trailingSlash;
      const slash = this.trailingSlash;
      const error = this.step(component, follow);
      if (error < 0) return error;
      this.trailingSlash = slash;
    }
    if ((this.trailingSlash || (flags & LOOKUP_DIRECTORY) !== 0) && (flags & LOOKUP_PARENT) === 0) {
      if (!S_ISDIR(this.path.dentry.d_inode!.i_mode)) return -ENOTDIR;
    }
    return 0;
  }

  /** One component, from a directory. */
  private step(component: string, follow: boolean): number {
    if (component === '.') return 0;
    if (component === '..') { this.stepUp(); return 0; }
    const child = d_lookup(this.path.dentry, component);
    if (typeof child === 'number') return child;
    if (child.d_inode === undefined) return -ENOENT;
    const at = follow_mount({ mnt: this.path.mnt, dentry: child });
    if (follow && S_ISLNK(at.dentry.d_inode!.i_mode)) return this.follow(at.dentry.d_inode!);
    this.path = at;
    return 0;
  }

  private stepUp(): void {
    const { path, root } = this;
    if (path.mnt === root.mnt && path.dentry === root.dentry) return;
    const up = follow_up(path);
    if (up === undefined) return;
    this.path = follow_mount({ mnt: up.mnt, dentry: up.dentry.d_parent });
  }

  /** Goes where a symbolic link in the directory this.path leads. */
  follow(link: inode, flags = LOOKUP_FOLLOW): number {
    if (++this.links > MAXSYMLINKS) return -ELOOP;
    const jump = link.i_op.get_link?.(link);
    if (typeof jump === 'number') return jump;
    if (jump !== undefined) { this.path = jump; this.last = ''; return 0; }
    const target = link.i_op.readlink!(link);
    if (typeof target === 'number') return target;
    return target === '' ? -ENOENT : this.walk(target, flags);
  }
}

const SLASH = 0x2f;

/** Where names relative to descriptor `dfd` start, or -EBADF, -ENOTDIR (which only a relative name must not have). */
export function nameidata_at(task: task_struct, dfd: number, name: string): nameidata | number {
  const fs = task.fs!;
  if (name.charCodeAt(0) === SLASH || dfd === AT_FDCWD) return new nameidata(fs.pwd, fs.root);
  const f = fd_lookup(task.files!, dfd);
  if (f === null) return -EBADF;
  if (name !== '' && !S_ISDIR(f.f_inode.i_mode)) return -ENOTDIR;
  return new nameidata(f.f_path, fs.root);
}

/** The existing place that a kernel string names, or -errno. */
export function filename_lookup(task: task_struct, dfd: number, name: string, flags: number): path | number {
  const nd = nameidata_at(task, dfd, name);
  if (typeof nd === 'number') return nd;
  const error = nd.walk(name, flags);
  return error < 0 ? error : nd.path;
}

/** The existing place that a user string names. AT_EMPTY_PATH in `at` makes an empty name mean the descriptor itself. */
export function user_path_at(task: task_struct, dfd: number, address: number, flags: number, at = 0): path | number {
  const name = getname(address, (at & AT_EMPTY_PATH) !== 0 ? LOOKUP_EMPTY : flags);
  return typeof name === 'number' ? name : filename_lookup(task, dfd, name, flags);
}

/** Parent directory and last component of a name about to be made or removed. */
export interface ParentAndLast { readonly parent: path; readonly last: string; readonly trailingSlash: boolean; readonly nd: nameidata }

export function filename_parentat(task: task_struct, dfd: number, name: string): ParentAndLast | number {
  const nd = nameidata_at(task, dfd, name);
  if (typeof nd === 'number') return nd;
  const error = nd.walk(name, LOOKUP_PARENT);
  return error < 0 ? error : { parent: nd.path, last: nd.last, trailingSlash: nd.trailingSlash, nd };
}

/** Does the last component stand for a directory that is there already: the root, '.', '..'? */
export const isDots = (last: string): boolean => last === '' || last === '.' || last === '..';
