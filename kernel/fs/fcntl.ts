/**
 * dup and fcntl: descriptors made from descriptors, and the flags of both.
 *
 * Linux: fs/fcntl.c, fs/file.c (ksys_dup3)
 */
import { EBADF, EINVAL } from '../../abi/errno.ts';
import {
  FD_CLOEXEC, F_ADD_SEALS, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_GETLK, F_GETOWN, F_GETPIPE_SZ, F_GETSIG, F_GET_SEALS, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_SETFD, F_SETFL, F_SETLK, F_SETLKW, F_SETOWN, F_SETPIPE_SZ, F_SETSIG, O_APPEND,
  O_ASYNC, O_CLOEXEC, O_DIRECT, O_NOATIME, O_NONBLOCK, O_PATH,
} from '../../abi/fcntl.ts';
import { fcntl_lock } from './locks.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { alloc_fd, fd_install, fd_lookup, filp_close, get_file, nofile } from './file.ts';
import { memfd_fcntl } from './memfd.ts';
import { pipe_fcntl } from './pipe.ts';

const SETFL_MASK = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC;
const ALLOWED_ON_O_PATH = new Set([F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL]);

function f_dupfd(task: task_struct, fd: number, from: number, cloexec: boolean): number {
  const f = fd_lookup(task.files!, fd)!;
  if (from < 0 || from >= nofile(task)) return -EINVAL;
  const copy = alloc_fd(task.files!, from, nofile(task));
  if (copy >= 0) fd_install(task.files!, copy, get_file(f), cloexec);
  return copy;
}

export function sys_dup(task: task_struct, fd: number): number {
  return fd_lookup(task.files!, fd) === null ? -EBADF : f_dupfd(task, fd, 0, false);
}

function do_dup3(task: task_struct, oldfd: number, newfd: number, cloexec: boolean): number {
  const files = task.files!;
  newfd |= 0;
  if (newfd < 0 || newfd >= nofile(task)) return -EBADF;
  const f = fd_lookup(files, oldfd);
  if (f === null) return -EBADF;
  const replaced = fd_lookup(files, newfd);
  fd_install(files, newfd, get_file(f), cloexec);
  if (replaced !== null) filp_close(replaced, files);
  return newfd;
}

export function sys_dup2(task: task_struct, oldfd: number, newfd: number): number {
  if ((oldfd | 0) === (newfd | 0)) return fd_lookup(task.files!, oldfd) === null ? -EBADF : newfd;
  return do_dup3(task, oldfd, newfd, false);
}

export function sys_dup3(task: task_struct, oldfd: number, newfd: number, flags: number): number {
  if ((flags & ~O_CLOEXEC) !== 0 || (oldfd | 0) === (newfd | 0)) return -EINVAL;
  return do_dup3(task, oldfd, newfd, flags !== 0);
}

export function sys_fcntl(task: task_struct, fd: number, cmd: number, arg: number): number | MaySleep<number> {
  const files = task.files!;
  const f = fd_lookup(files, fd);
  if (f === null) return -EBADF;
  if ((f.f_flags & O_PATH) !== 0 && !ALLOWED_ON_O_PATH.has(cmd)) return -EBADF;
  switch (cmd) {
    case F_DUPFD: return f_dupfd(task, fd, arg | 0, false);
    case F_DUPFD_CLOEXEC: return f_dupfd(task, fd, arg | 0, true);
    case F_GETFD: return files.close_on_exec[fd]! !== 0 ? FD_CLOEXEC : 0;
    case F_SETFD: files.close_on_exec[fd] = arg & FD_CLOEXEC; return 0;
    case F_GETFL: return f.f_flags;
    case F_SETFL: f.f_flags = (f.f_flags & ~SETFL_MASK) | (arg & SETFL_MASK); return 0;
    case F_GETOWN: case F_SETOWN: case F_GETSIG: case F_SETSIG: return cmd === F_GETOWN || cmd === F_GETSIG ? 0 : -EINVAL;
    case F_GETLK: case F_SETLK: case F_SETLKW: case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW: return fcntl_lock(task, f, cmd, arg);
    case F_ADD_SEALS: case F_GET_SEALS: return memfd_fcntl(f, cmd, arg);
    case F_SETPIPE_SZ: case F_GETPIPE_SZ: return pipe_fcntl(f, cmd, arg);
    default: return -EINVAL;
  }
}
