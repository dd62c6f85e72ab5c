/**
 * The tree of mounts, mount(2) and umount(2), and the working and root directories of tasks.
 *
 * Linux: fs/namespace.c, fs/fs_struct.c, fs/filesystems.c
 */
import { EBUSY, EFAULT, EINVAL, ENODEV, ENOSPC, ENOTBLK, ENOTDIR } from '../../abi/errno.ts';
import { AT_FDCWD, S_ISDIR, major, minor } from '../../abi/fcntl.ts';
import {
  MNT_DETACH, MS_BIND, MS_MOVE, MS_NOATIME, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_RELATIME, MS_REMOUNT, UMOUNT_NOFOLLOW,
} from '../../abi/mount.ts';
import { kernelVariable } from '../current.ts';
import type { task_struct } from '../sched/types.ts';
import { deactivate_super, mntput } from './file.ts';
import { d_add, d_path, is_subdir, samePath } from './dcache.ts';
import { LOOKUP_DIRECTORY, LOOKUP_FOLLOW, strndup_user, user_path_at } from './namei.ts';
import { type file_system_type, type fs_struct, type path, type super_block, mount } from './types.ts';

/** The mounts in order of mounting, the types that can be mounted, and the next anonymous device number. */
export const namespaceState = kernelVariable(() => ({
  mounts: [] as mount[],
  filesystems: new Map<string, file_system_type>(),
  nextDev: 1,
  nextMountId: 1,
}));

export function register_filesystem(type: file_system_type): number {
  const { filesystems } = namespaceState();
  if (filesystems.has(type.name)) return -EBUSY;
  filesystems.set(type.name, type);
  return 0;
}

export const get_anon_bdev = (): number => namespaceState().nextDev++;

/** Attaches a super block over a directory. */
export function attach(sb: super_block, devname: string, flags: number, at: path | undefined): mount {
  const m = new mount(sb, devname, flags, at);
  m.mnt_id = namespaceState().nextMountId++;
  sb.s_active++;
  namespaceState().mounts.push(m);
  if (at !== undefined) {
    at.mnt.mnt_count++;
    (at.dentry.d_mounts ??= []).push(m);
    // a volatile directory must keep giving out the very dentry that carries the mount
    if (at.dentry.d_parent !== at.dentry && at.dentry.d_inode) d_add(at.dentry, at.dentry.d_inode);
  }
  return m;
}

/** A mount that is in no tree: the home of pipes, sockets and anonymous inodes. */
export const kern_mount = (sb: super_block): mount => new mount(sb, 'none', 0, undefined);

/** fs.mount-max. */
const MOUNT_MAX = 100_000;

/** Mounts a file system of a registered type over `at`, for the kernel itself. */
export function do_new_mount(at: path, typeName: string, source: string, flags: number, data: string): number {
  if (at.mnt.mnt_detached) return -EINVAL;
  if (namespaceState().mounts.length >= MOUNT_MAX) return -ENOSPC;
  const type = namespaceState().filesystems.get(typeName);
  if (type === undefined) return -ENODEV;
  if (!type.nodev) return -ENOTBLK;
  const sb = type.mount(source, data);
  if (typeof sb === 'number') return sb;
  if (!S_ISDIR(sb.s_root.d_inode!.i_mode)) return -ENOTDIR;
  // the same super block twice over one place is refused
  if (at.mnt.mnt_sb === sb && at.dentry === at.mnt.mnt_root) return -EBUSY;
  attach(sb, source, flags, at);
  return 0;
}

/** Old programs put this into the upper half of the flags. */
const MS_MGC_VAL = 0xc0ed0000 | 0;
const MS_MGC_MSK = 0xffff0000 | 0;

const KEPT = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_RELATIME;

export function sys_mount(task: task_struct, source: number, target: number, fstype: number, flags: number, data: number): number {
  if ((flags & MS_MGC_MSK) === MS_MGC_VAL) flags &= ~MS_MGC_MSK;
  const type = fstype === 0 ? undefined : strndup_user(fstype, 4096);
  if (typeof type === 'number') return type;
  const name = source === 0 ? 'none' : strndup_user(source, 4096);
  if (typeof name === 'number') return name;
  const options = data === 0 ? '' : strndup_user(data, 4096);
  if (typeof options === 'number' && options === -EFAULT) return options;
  const at = user_path_at(task, AT_FDCWD, target, LOOKUP_FOLLOW);
  if (typeof at === 'number') return at;
  if ((flags & MS_REMOUNT) !== 0) {
    if (at.dentry !== at.mnt.mnt_root) return -EINVAL;
    at.mnt.mnt_flags = flags & KEPT;
    return 0;
  }
  if ((flags & MS_MOVE) !== 0) return -EINVAL;
  if ((flags & MS_BIND) !== 0) {
    const from = user_path_at(task, AT_FDCWD, source, LOOKUP_FOLLOW);
    if (typeof from === 'number') return from;
    if (S_ISDIR(from.dentry.d_inode!.i_mode) !== S_ISDIR(at.dentry.d_inode!.i_mode)) return -ENOTDIR;
    attach(from.mnt.mnt_sb, from.mnt.mnt_devname, from.mnt.mnt_flags, at).mnt_root = from.dentry;
    return 0;
  }
  if (type === undefined) return -EINVAL;
  if (!S_ISDIR(at.dentry.d_inode!.i_mode)) return -ENOTDIR;
  return do_new_mount(at, type, name, flags & KEPT, typeof options === 'number' ? '' : options);
}

export function sys_umount(task: task_struct, target: number, flags: number): number {
  if ((flags & ~0xf) !== 0) return -EINVAL;
  const at = user_path_at(task, AT_FDCWD, target, (flags & UMOUNT_NOFOLLOW) !== 0 ? 0 : LOOKUP_FOLLOW);
  if (typeof at === 'number') return at;
  if (at.dentry !== at.mnt.mnt_root) return -EINVAL;
  return do_umount(at.mnt, flags);
}

function do_umount(m: mount, flags: number): number {
  if (m.mnt_parent === m) return -EINVAL;
  const state = namespaceState();
  if (m.mnt_count > 0 && (flags & MNT_DETACH) === 0) return -EBUSY;
  const below = (flags & MNT_DETACH) === 0 ? [] : state.mounts.filter((x) => x !== m && x.mnt_parent === m);
  for (const child of below) do_umount(child, flags);
  state.mounts.splice(state.mounts.indexOf(m), 1);
  const over = m.mnt_mountpoint.d_mounts!;
  over.splice(over.indexOf(m), 1);
  if (over.length === 0) m.mnt_mountpoint.d_mounts = undefined;
  mntput(m.mnt_parent);
  // whoever is still inside sees a tree of its own from now on
  m.mnt_parent = m;
  m.mnt_mountpoint = m.mnt_root;
  m.mnt_detached = true;
  if (m.mnt_count === 0) deactivate_super(m.mnt_sb);
  return 0;
}

/** Is a directory used by a mount, as its root or mount point? It can be neither removed nor renamed then. */
export const isMountpoint = (at: path): boolean => at.dentry.d_mounts !== undefined || at.dentry === at.mnt.mnt_root;

/** A directory may not move below itself. */
export const wouldLoop = (moved: path, into: path): boolean => moved.dentry.d_sb === into.dentry.d_sb && is_subdir(into.dentry, moved.dentry);

// ---- fs_struct

export function new_fs_struct(root: path): fs_struct {
  root.mnt.mnt_count += 2;
  return { root, pwd: root, umask: 0o022, users: 1 };
}

export function copy_fs_struct(fs: fs_struct): fs_struct {
  fs.root.mnt.mnt_count++;
  fs.pwd.mnt.mnt_count++;
  return { root: fs.root, pwd: fs.pwd, umask: fs.umask, users: 1 };
}

/** One task fewer uses it. */
export function exit_fs(fs: fs_struct): void {
  if (--fs.users > 0) return;
  mntput(fs.root.mnt);
  mntput(fs.pwd.mnt);
}

export function set_fs_pwd(fs: fs_struct, to: path): void {
  if (samePath(fs.pwd, to)) return;
  to.mnt.mnt_count++;
  mntput(fs.pwd.mnt);
  fs.pwd = to;
}

export function set_fs_root(fs: fs_struct, to: path): void {
  to.mnt.mnt_count++;
  mntput(fs.root.mnt);
  fs.root = to;
}

export const find_directory = (task: task_struct, address: number): path | number => user_path_at(task, AT_FDCWD, address, LOOKUP_FOLLOW | LOOKUP_DIRECTORY);

/** Options as /proc/mounts prints them. */
export function mountOptions(m: mount): string {
  const on = (flag: number, text: string) => ((m.mnt_flags & flag) !== 0 ? text : '');
  return `${(m.mnt_flags & MS_RDONLY) !== 0 ? 'ro' : 'rw'}${on(MS_NOSUID, ',nosuid')}${on(MS_NODEV, ',nodev')}${on(MS_NOEXEC, ',noexec')}${on(MS_NOATIME, ',noatime') || ',relatime'}`;
}

const escape = (name: string): string => name.replace(/[ \t\n\\]/g, (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, '0')}`);

/** /proc/<pid>/mounts. */
export function show_mounts(root: path): string {
  let text = '';
  for (const m of namespaceState().mounts) {
    text += `${escape(m.mnt_devname)} ${escape(d_path({ mnt: m, dentry: m.mnt_root }, root))} ${m.mnt_sb.s_type.name} ${mountOptions(m)} 0 0\n`;
  }
  return text;
}

/** /proc/<pid>/mountinfo. */
export function show_mountinfo(root: path): string {
  let text = '';
  const { mounts } = namespaceState();
  for (const m of mounts) {
    const { s_dev, s_type } = m.mnt_sb;
    const dev = `${major(s_dev)}:${minor(s_dev)}`;
    const at = escape(d_path({ mnt: m, dentry: m.mnt_root }, root));
    const options = mountOptions(m);
    text += `${m.mnt_id} ${m.mnt_parent === m ? 0 : m.mnt_parent.mnt_id} ${dev} / ${at} ${options} - ${s_type.name} ${escape(m.mnt_devname)} ${options.slice(0, 2)}\n`;
  }
  return text;
}
