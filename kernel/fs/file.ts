/**
 * Descriptor tables and the life of open files.
 *
 * Linux: fs/file.c, fs/file_table.c
 *
 * The lowest free descriptor is always the one given out. A file is released when its last descriptor, mapping or
 * other holder lets go, not when the descriptor is closed.
 */
import { EBADF, EMFILE, ENFILE } from '../../abi/errno.ts';
import { RLIMIT_NOFILE } from '../../abi/resource.ts';
import { kernelVariable, machine } from '../current.ts';
import type { task_struct } from '../sched/types.ts';
import type { file, mount, super_block } from './types.ts';

/** The largest file: below what a number holds exactly. */
export const MAX_FILE_SIZE = 2 ** 52;

/** Soft limit on descriptors. */
export const nofile = (task: task_struct): number => task.signal.rlim[RLIMIT_NOFILE]?.cur ?? 1024;


/** Descriptors of a process: shared by its threads, copied by fork. */
export class files_struct {
  /** Open files by descriptor; holes are null so that the elements stay one kind. */
  readonly fd: (file | null)[];
  /** Parallel to fd: 1 when exec closes the descriptor. */
  readonly close_on_exec: number[];
  /** No descriptor below is free. */
  next_fd = 0;
  /** Tasks that share the table. */
  count = 1;
  constructor(fd: (file | null)[] = [], cloexec: number[] = []) {
    this.fd = fd;
    this.close_on_exec = cloexec;
  }
}

/** The open file of descriptor `fd`, or null. No reference is taken: use it within one step, or get_file it before sleeping. */
export function fd_lookup(files: files_struct, fd: number): file | null {
  const table = files.fd;
  return fd < table.length && fd >= 0 ? table[fd | 0]! : null;
}

/** References of a new file on its mount and inode; fput drops them. */
export function hold(f: file): void {
  files_stat().nr_files++;
  f.f_path.mnt.mnt_count++;
  f.f_inode.i_count++;
}

export function get_file(f: file): file {
  f.f_count++;
  return f;
}

/** Drops one reference; the last one releases the file. */
export function fput(f: file): void {
  if (--f.f_count > 0) return;
  if (f.f_ep !== undefined) for (const watch of [...f.f_ep]) watch.detach();
  f.f_inode.i_flctx?.remove_file(f);
  f.f_op.release?.(f.f_inode, f);
  unhold(f);
}

/** Drops what hold took. */
export function unhold(f: file): void {
  files_stat().nr_files--;
  const inode = f.f_inode;
  if (--inode.i_count === 0 && inode.i_nlink === 0) inode.evict_inode();
  mntput(f.f_path.mnt);
}

/** One user of a mount fewer; the last one of a mount that is out of the tree lets its file system go. */
export function mntput(m: mount): void {
  if (--m.mnt_count === 0 && m.mnt_detached) deactivate_super(m.mnt_sb);
}

export function deactivate_super(sb: super_block): void {
  if (--sb.s_active === 0) sb.s_type.kill_sb?.(sb);
}

/** The lowest free descriptor from `start` on, reserved for fd_install, or -EMFILE when it would reach `limit`. */
export function alloc_fd(files: files_struct, start: number, limit: number): number {
  const table = files.fd;
  let fd = start < files.next_fd ? files.next_fd : start;
  while (fd < table.length && table[fd] !== null) fd++;
  if (fd >= limit) return -EMFILE;
  return fd;
}

/** Open files in the whole system, and how many there may be: one for every 10 KiB of RAM, as Linux counts. */
export const files_stat = kernelVariable(() => ({ nr_files: 0, max_files: Math.max(8192, Math.floor(machine().ram.size / 10240)) }));

/** The lowest free descriptor of a task, for a file about to be made: -EMFILE, or -ENFILE when the system has all it may have. */
export function get_unused_fd(task: task_struct): number {
  const { nr_files, max_files } = files_stat();
  return nr_files >= max_files ? -ENFILE : alloc_fd(task.files!, 0, nofile(task));
}

/** Gives `fd` (from alloc_fd, or free) the file, whose reference passes to the table. */
export function fd_install(files: files_struct, fd: number, f: file, cloexec: boolean): void {
  while (files.fd.length < fd) { files.fd.push(null); files.close_on_exec.push(0); }
  files.fd[fd] = f;
  files.close_on_exec[fd] = cloexec ? 1 : 0;
  if (fd === files.next_fd) {
    let next = fd + 1;
    while (next < files.fd.length && files.fd[next] !== null) next++;
    files.next_fd = next;
  }
}

/** Takes the file out of the table without dropping its reference; null when there is none. */
export function fd_remove(files: files_struct, fd: number): file | null {
  const f = fd_lookup(files, fd);
  if (f === null) return null;
  files.fd[fd] = null;
  files.close_on_exec[fd] = 0;
  if (fd < files.next_fd) files.next_fd = fd;
  return f;
}

/** close(2) of one descriptor in `files`. */
export function close_fd(files: files_struct, fd: number): number {
  const f = fd_remove(files, fd);
  if (f === null) return -EBADF;
  filp_close(f, files);
  return 0;
}

/** One descriptor of `files` fewer. */
export function filp_close(f: file, files: files_struct): void {
  f.f_inode.i_flctx?.remove_posix(files);
  f.f_op.flush?.(f);
  fput(f);
}

/** The child's table at fork without CLONE_FILES. */
export function dup_fd(files: files_struct): files_struct {
  const copy = new files_struct(files.fd.slice(), files.close_on_exec.slice());
  copy.next_fd = files.next_fd;
  for (const f of copy.fd) if (f !== null) f.f_count++;
  return copy;
}

/** One task fewer uses the table; the last closes everything in it. */
export function exit_files(files: files_struct): void {
  if (--files.count > 0) return;
  for (let fd = 0; fd < files.fd.length; fd++) {
    const f = files.fd[fd]!;
    files.fd[fd] = null;
    if (f !== null) filp_close(f, files);
  }
  files.fd.length = files.close_on_exec.length = files.next_fd = 0;
}

/** exec: closes what is marked close-on-exec. */
export function do_close_on_exec(files: files_struct): void {
  for (let fd = 0; fd < files.fd.length; fd++) if (files.close_on_exec[fd] === 1) close_fd(files, fd);
}
