/**
 * The objects of the virtual file system: super block, inode, dentry, mount, open file, and the tables of
 * operations through which file systems and drivers plug in.
 *
 * Linux: include/linux/fs.h, include/linux/dcache.h, include/linux/mount.h, include/linux/poll.h
 *
 * Two things differ from Linux on purpose. Data moves through an iov_iter (kernel/fs/iov-iter.ts), which hides
 * whether the other end is user memory or the kernel's own. Positions are passed by value: a read or write at
 * `pos` returns how much it moved, and the caller advances f_pos.
 */
import type { Word } from '../../abi/process.ts';
import type { vm_area_struct } from '../mm/types.ts';
import type { MaySleep } from '../sched/types.ts';
import type { wait_queue_head } from '../sched/wait.ts';
import type { iov_iter } from './iov-iter.ts';
import type { file_lock_context } from './locks.ts';

/** A result of 0 or more, or -errno. */
export type Result = number;

/** What a driver or file system does for an open file. Any member may be missing; the VFS then answers as Linux does. */
export interface file_operations {
  /** Called after `file` is set up; a negative result makes open(2) fail with it. */
  open?(inode: inode, file: file): Result | MaySleep<Result>;
  /** The last reference is gone. */
  release?(inode: inode, file: file): void;
  /** Every close of a descriptor, also while others remain. */
  flush?(file: file): void;
  read?(file: file, to: iov_iter, pos: number): Result | MaySleep<Result>;
  write?(file: file, from: iov_iter, pos: number): Result | MaySleep<Result>;
  /** Only requests the generic layer does not answer itself arrive here. -ENOIOCTLCMD and a missing member become ENOTTY. */
  ioctl?(file: file, cmd: number, arg: Word): Result | MaySleep<Result>;
  mmap?(file: file, vma: vm_area_struct): Result;
  /** Ready events now; registers with poll_wait on every queue that may change the answer. */
  poll?(file: file, table: poll_table | undefined): number;
  /** Missing: lseek answers ESPIPE. */
  llseek?(file: file, offset: number, whence: number): Result;
  /** Emits entries from file.f_pos on, which it moves past each entry that `emit` took. */
  iterate_shared?(file: file, emit: DirEmit): Result;
  fsync?(file: file): Result | MaySleep<Result>;
  /** Extra lines of /proc/<pid>/fdinfo/<fd>. */
  show_fdinfo?(file: file): string;
}

/** Takes one directory entry; false when the caller's buffer is full. `type` is DT_*. */
export type DirEmit = (name: string, ino: number, type: number, next: number) => boolean;

/** Names and attributes. All answers are immediate: no file system here waits for a device to look up a name. */
export interface inode_operations {
  /** The inode of that name; undefined when there is none such but could be; -ENOENT where user space can make no names. */
  lookup?(dir: inode, dentry: dentry): inode | undefined | number;
  create?(dir: inode, dentry: dentry, mode: number): Result;
  mkdir?(dir: inode, dentry: dentry, mode: number): Result;
  mknod?(dir: inode, dentry: dentry, mode: number, rdev: number): Result;
  symlink?(dir: inode, dentry: dentry, target: string): Result;
  link?(old: dentry, dir: inode, dentry: dentry): Result;
  unlink?(dir: inode, dentry: dentry): Result;
  rmdir?(dir: inode, dentry: dentry): Result;
  rename?(oldDir: inode, old: dentry, newDir: inode, target: dentry): Result;
  /** Contents of a symbolic link, or -errno. */
  readlink?(inode: inode): string | number;
  /** A link that leads to an object, not to a name (/proc/<pid>/fd/N, cwd, exe). Asked before readlink. */
  get_link?(inode: inode): path | number;
  /** Sizes, modes, owners and times about to change; the VFS stores what succeeds. */
  setattr?(inode: inode, change: iattr): Result;
  /** Refreshes the inode's fields before stat. */
  getattr?(inode: inode): void;
}

/** The attributes to change; members that are missing stay. */
export interface iattr { mode?: number; uid?: number; gid?: number; size?: number; atime?: Timestamp; mtime?: Timestamp }

export class super_block {
  readonly s_type: file_system_type;
  readonly s_dev: number;
  readonly s_magic: number;
  s_root!: dentry;
  s_nextIno = 1;
  /** Position of the next name entered into a directory; 0 and 1 are . and .. */
  s_nextPos = 2;
  /** Names are asked of the file system each time and dentries are not kept (proc's tasks, hostfs). */
  s_volatile = false;
  /** State of the file system. */
  s_fs_info: unknown;
  /** Pages its files may take together, and take. */
  s_maxPages = Number.POSITIVE_INFINITY;
  s_pages = 0;
  /** Inodes and further names it may have together, and has. */
  s_maxInodes = Number.POSITIVE_INFINITY;
  s_inodes = 0;
  /** Mounts of it; unmounting the last calls kill_sb. */
  s_active = 0;
  statfs: () => { blocks: number; bfree: number; bsize: number } = () => ({ blocks: 0, bfree: 0, bsize: 4096 });
  constructor(type: file_system_type, dev: number, magic: number) {
    this.s_type = type;
    this.s_dev = dev;
    this.s_magic = magic;
  }
}

export interface file_system_type {
  readonly name: string;
  /** Not backed by a device: /proc/filesystems prints nodev. */
  readonly nodev: boolean;
  /** Makes or finds the super block, or -errno. */
  mount(source: string, data: string): super_block | number;
  kill_sb?(sb: super_block): void;
}

/** A number counts nanoseconds since boot, cheap to take at each write; a bigint since the epoch, exact for any date. */
export type Timestamp = number | bigint;

export class inode {
  readonly i_sb: super_block;
  readonly i_ino: number;
  i_mode: number;
  i_uid = 0;
  i_gid = 0;
  i_nlink = 1;
  i_size = 0;
  i_rdev = 0;
  i_atime: Timestamp = 0;
  i_mtime: Timestamp = 0;
  i_ctime: Timestamp = 0;
  i_op: inode_operations;
  i_fop: file_operations;
  /** State of the file system: a page cache, a proc entry, a host path. */
  i_private: unknown;
  /** Open files and names that keep the data of an unlinked file alive. */
  i_count = 0;
  /** Locks on the file, once there was one. */
  i_flctx: file_lock_context | undefined;
  /** Called once, when neither name nor user is left. */
  evict: ((inode: inode) => void) | undefined;
  constructor(sb: super_block, mode: number, op: inode_operations, fop: file_operations, ino = sb.s_nextIno++) {
    this.i_sb = sb;
    this.i_ino = ino;
    this.i_mode = mode;
    this.i_op = op;
    this.i_fop = fop;
  }
  evict_inode(): void {
    const { evict } = this;
    this.evict = undefined;
    evict?.(this);
  }
}

/** A name in a directory. In memory file systems the dentries are the directory; elsewhere they come and go. */
export class dentry {
  d_name: string;
  d_parent: dentry;
  d_inode: inode | undefined;
  readonly d_sb: super_block;
  /** Where getdents finds it in its directory. */
  d_pos = 0;
  /** Children by name, in order of d_pos. Undefined until there is one. */
  d_subdirs: Map<string, dentry> | undefined;
  /** Mounts on this name. */
  d_mounts: mount[] | undefined;
  /** Set once the name is removed: the open file lives on, "(deleted)". */
  d_unhashed = false;
  constructor(name: string, parent: dentry | undefined, sb: super_block, inode: inode | undefined) {
    this.d_name = name;
    this.d_parent = parent ?? this;
    this.d_sb = sb;
    this.d_inode = inode;
  }
}

export class mount {
  /** Not the root of the file system in a bind mount. */
  mnt_root: dentry;
  readonly mnt_sb: super_block;
  readonly mnt_devname: string;
  mnt_flags: number;
  /** Number in /proc/<pid>/mountinfo and fdinfo. */
  mnt_id = 0;
  /** Where it is mounted; itself and its root for the root mount. */
  mnt_parent: mount;
  mnt_mountpoint: dentry;
  /** Open files, working directories and mounts below: busy when not 0. */
  mnt_count = 0;
  /** Out of the tree; its file system is let go with the last user. */
  mnt_detached = false;
  constructor(sb: super_block, devname: string, flags: number, at: path | undefined) {
    this.mnt_sb = sb;
    this.mnt_root = sb.s_root;
    this.mnt_devname = devname;
    this.mnt_flags = flags;
    this.mnt_parent = at ? at.mnt : this;
    this.mnt_mountpoint = at ? at.dentry : sb.s_root;
  }
}

/** A place in the tree of mounts. Immutable: the two halves are always replaced together. */
export interface path { readonly mnt: mount; readonly dentry: dentry }

/** An open file description: what dup and fork share. */
export class file {
  readonly f_op: file_operations;
  readonly f_inode: inode;
  readonly f_path: path;
  /** O_* as F_GETFL reports them. */
  f_flags: number;
  f_mode: number;
  f_pos = 0;
  f_count = 1;
  /** The driver's. */
  private_data: unknown = undefined;
  /** Watches of epoll on this file, so that closing it removes them. */
  f_ep: Set<{ detach(): void }> | undefined = undefined;
  constructor(path: path, inode: inode, op: file_operations, flags: number, mode: number) {
    this.f_path = path;
    this.f_inode = inode;
    this.f_op = op;
    this.f_flags = flags;
    this.f_mode = mode;
  }
}

/** f_mode bits. */
export const FMODE_READ   = 0x1;
export const FMODE_WRITE  = 0x2;
export const FMODE_LSEEK  = 0x4;
export const FMODE_PREAD  = 0x8;
export const FMODE_PWRITE = 0x10;
/** No position at all: pipes, terminals, eventfd. */
export const FMODE_STREAM = 0x200000;

/** Given to f_op.poll by a caller that will sleep: collects the queues to be woken from. */
export interface poll_table {
  /** Events the caller asks for; a driver may ignore it. */
  readonly key: number;
  queue(file: file, wq: wait_queue_head): void;
}

export function poll_wait(file: file, wq: wait_queue_head, table: poll_table | undefined): void {
  if (table !== undefined) table.queue(file, wq);
}

/** The working directory, root and umask of a process; shared by its threads, copied by fork. */
export interface fs_struct { root: path; pwd: path; umask: number; users: number }

/** What the fd table promises to the rest of the kernel (kernel/fs/file.ts implements it). */
export type { files_struct } from './file.ts';

/** Kernel-internal answer of an ioctl handler that does not know the request; user space sees ENOTTY. */
export const ENOIOCTLCMD = 515;
