/**
 * Names: the tree of dentries, and the way back from a place in it to a path name.
 *
 * Linux: fs/dcache.c, fs/d_path.c
 */
import { ENAMETOOLONG } from '../../abi/errno.ts';
import { NAME_MAX } from '../../abi/fcntl.ts';
import { type inode, type path, type super_block, dentry } from './types.ts';

/** Puts a name at the end of its directory; positions only grow, so a listing in progress neither repeats nor skips a name that stays. */
function hash(d: dentry): void {
  const names = (d.d_parent.d_subdirs ??= new Map());
  names.delete(d.d_name);
  names.set(d.d_name, d);
  d.d_pos = d.d_sb.s_nextPos++;
  d.d_unhashed = false;
}

/** Enters a name into its directory, now bound to `inode`. */
export function d_add(d: dentry, inode: inode): void {
  d.d_inode = inode;
  if (d.d_parent.d_subdirs?.get(d.d_name) !== d) hash(d);
}

/** Takes a name out of its directory; the dentry stays usable for those who hold it. */
export function d_drop(d: dentry): void {
  if (d.d_parent.d_subdirs?.get(d.d_name) === d) d.d_parent.d_subdirs.delete(d.d_name);
  d.d_unhashed = true;
}

/** The new name `target` takes over what `d` was; a name that was there is gone afterwards. */
export function d_move(d: dentry, target: dentry): void {
  d.d_parent.d_subdirs?.delete(d.d_name);
  const parent = target.d_parent;
  const old = parent.d_subdirs?.get(target.d_name);
  if (old !== undefined && old !== d) d_drop(old);
  d.d_name = target.d_name;
  d.d_parent = parent;
  hash(d);
}

export function d_make_root(sb: super_block, inode: inode): dentry {
  return new dentry('/', undefined, sb, inode);
}

/** The name in a directory: a dentry without inode when there is none such, or -errno of the file system. */
export function d_lookup(parent: dentry, name: string): dentry | number {
  const known = parent.d_subdirs?.get(name);
  if (known !== undefined) return known;
  const child = new dentry(name, parent, parent.d_sb, undefined);
  const dir = parent.d_inode!;
  if (dir.i_op.lookup === undefined) return name.length > NAME_MAX ? -ENAMETOOLONG : child;
  if (name.length > NAME_MAX) return -ENAMETOOLONG;
  const found = dir.i_op.lookup(dir, child);
  if (found === undefined || typeof found === 'number') return found ?? child;
  child.d_inode = found;
  if (!parent.d_sb.s_volatile) d_add(child, found);
  return child;
}

/** Is `d` the same as, or below, `ancestor`? Within one file system. */
export function is_subdir(d: dentry, ancestor: dentry): boolean {
  for (;;) {
    if (d === ancestor) return true;
    if (d.d_parent === d) return false;
    d = d.d_parent;
  }
}

/** A step up across the roots of mounts; undefined at the top. */
export function follow_up(at: path): path | undefined {
  let { mnt, dentry } = at;
  while (dentry === mnt.mnt_root) {
    if (mnt.mnt_parent === mnt) return undefined;
    dentry = mnt.mnt_mountpoint;
    mnt = mnt.mnt_parent;
  }
  return { mnt, dentry };
}

/** Down from a mount point to the root of what is mounted there last. */
export function follow_mount(at: path): path {
  let here = at;
  while (here.dentry.d_mounts !== undefined) {
    const { mnt, dentry } = here;
    const over = here.dentry.d_mounts.findLast((m) => m.mnt_parent === mnt && m.mnt_mountpoint === dentry);
    if (over === undefined) break;
    here = { mnt: over, dentry: over.mnt_root };
  }
  return here;
}

export const samePath = (a: path, b: path): boolean => a.mnt === b.mnt && a.dentry === b.dentry;

/** The path name of a place as seen under `root`. Undefined when it cannot be reached from there. */
function pathBelow(at: path, root: path): string | undefined {
  let name = '';
  for (let here = at; !samePath(here, root); ) {
    const up = follow_up(here);
    if (up === undefined) return undefined;
    // follow_up stops at the mount point itself, which is the name to print
    if (samePath(up, root)) break;
    name = `/${up.dentry.d_name}${name}`;
    here = { mnt: up.mnt, dentry: up.dentry.d_parent };
  }
  return name === '' ? '/' : name;
}

/** What /proc/<pid>/fd, cwd, exe, maps and mounts print. */
export function d_path(at: path, root: path): string {
  const { dentry } = at;
  // pipes, sockets and anonymous inodes are in no tree
  if (dentry.d_parent === dentry && dentry.d_name !== '/') return dentry.d_name;
  const name = pathBelow(at, root) ?? pathBelow(at, { mnt: topmost(at), dentry: topmost(at).mnt_root }) ?? '/';
  return dentry.d_unhashed ? `${name} (deleted)` : name;
}

function topmost(at: path) {
  let mnt = at.mnt;
  while (mnt.mnt_parent !== mnt) mnt = mnt.mnt_parent;
  return mnt;
}

/** getcwd(2)'s answer: undefined when the directory was removed, "(unreachable)…" when it lies outside the root. */
export function getcwd_path(at: path, root: path): string | undefined {
  if (at.dentry.d_unhashed) return undefined;
  return pathBelow(at, root) ?? `(unreachable)${pathBelow(at, { mnt: topmost(at), dentry: topmost(at).mnt_root }) ?? '/'}`;
}
