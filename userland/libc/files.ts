/**
 * Files and descriptors: open(2), read(2), write(2), ioctl(2) and their neighbours.
 */
import type { Sys } from '../../abi/process.ts';
import type { Located, Of } from '../../abi/struct.ts';
import type { Ioctl } from '../../abi/ioctl.ts';
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_TRUNC, O_WRONLY, dirent64, stat as stat_struct } from '../../abi/fcntl.ts';
import { pollfd } from '../../abi/poll.ts';
import * as NR from '../../abi/syscalls.ts';
import { check } from './errno.ts';
import { libc, self } from './state.ts';
import { SCRATCH, arm, call, encode, decode, getScratch, loadBytes, loadString, pathCall, putScratch, storeBytes, twoPathCall, userAddress } from './syscall.ts';
import { free, malloc, view } from './malloc.ts';

export const open = (path: string, flags: number = O_RDONLY, mode = 0o666): Sys<number> => pathCall('open', NR.__NR_open, path, flags, mode);
export const creat = (path: string, mode = 0o666): Sys<number> => open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
export const close = (fd: number): Sys<number> => call('close', NR.__NR_close, fd);
export const lseek = (fd: number, offset: number, whence: number): Sys<number> => call('lseek', NR.__NR_lseek, fd, offset, whence);
export const dup = (fd: number): Sys<number> => call('dup', NR.__NR_dup, fd);
export const dup2 = (oldfd: number, newfd: number): Sys<number> => call('dup2', NR.__NR_dup2, oldfd, newfd);
export const fcntl = (fd: number, command: number, arg = 0): Sys<number> => call('fcntl', NR.__NR_fcntl, fd, command, arg);
export const ftruncate = (fd: number, length: number): Sys<number> => call('ftruncate', NR.__NR_ftruncate, fd, length);
export const fsync = (fd: number): Sys<number> => call('fsync', NR.__NR_fsync, fd);

// ---------------------------------------------------------------- bytes

/** Tried before getScratch, which is a generator: reading and writing are hot. */
const scratchPool = (): number[] => libc().scratch;

/** Up to `count` bytes; none at the end of the file. */
export function read(fd: number, count: number): Sys<Uint8Array>;
/** As in C: up to `count` bytes to an address or view in user memory; gives how many. */
export function read(fd: number, buffer: number | Located, count: number): Sys<number>;
export function* read(fd: number, a: number | Located, b?: number): Sys<number | Uint8Array> {
  if (b !== undefined) {
    arm(NR.__NR_read, fd, typeof a === 'number' ? a : userAddress(a), b);
    return check('read', yield);
  }
  const count = a as number;
  const small = count <= SCRATCH;
  const buffer = small ? (scratchPool().pop() ?? (yield* getScratch())) : yield* malloc(count);
  arm(NR.__NR_read, fd, buffer, count);
  const result = yield;
  const bytes = result > 0 ? loadBytes(buffer, result) : new Uint8Array(0);
  if (small) putScratch(buffer);
  else yield* free(buffer);
  check('read', result);
  return bytes;
}

/** Writes text or bytes; gives how many bytes the kernel took. */
export function write(fd: number, data: string | Uint8Array): Sys<number>;
/** As in C: `count` bytes from an address or view in user memory. */
export function write(fd: number, buffer: number | Located, count: number): Sys<number>;
export function* write(fd: number, data: string | Uint8Array | number | Located, count?: number): Sys<number> {
  if (typeof data === 'number' || (typeof data === 'object' && '@type' in data)) {
    arm(NR.__NR_write, fd, typeof data === 'number' ? data : userAddress(data), count ?? 0);
    return check('write', yield);
  }
  const bytes = typeof data === 'string' ? encode(data) : data;
  const small = bytes.length <= SCRATCH;
  const buffer = small ? (scratchPool().pop() ?? (yield* getScratch())) : yield* malloc(bytes.length);
  storeBytes(buffer, bytes);
  arm(NR.__NR_write, fd, buffer, bytes.length);
  const result = yield;
  if (small) putScratch(buffer);
  else yield* free(buffer);
  return check('write', result);
}

/** Writes all of it, however many calls that takes. */
export function* writeAll(fd: number, data: string | Uint8Array): Sys {
  let rest = typeof data === 'string' ? encode(data) : data;
  while (rest.length > 0) rest = rest.subarray(yield* write(fd, rest));
}

/** Everything from here to the end of the file. */
export function* readAll(fd: number): Sys<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const part = yield* read(fd, SCRATCH);
    if (part.length === 0) break;
    parts.push(part);
    length += part.length;
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The whole text of a file. */
export function* readFile(path: string): Sys<string> {
  const fd = yield* open(path);
  const bytes = yield* readAll(fd);
  yield* close(fd);
  return decode(bytes);
}

// ---------------------------------------------------------------- ioctl

/**
 * What an ioctl takes: the struct its request names, lying in user memory, or a plain number where the request
 * carries none. A wrong struct does not compile; a wrong address is asked through `syscall`.
 */
export type IoctlArg<T> = T extends Located ? T | 0 : number | bigint | Located;

/** `ioctl(fd, KVM_SET_REGS, regs)`. For a loop of a million calls use `arm` and a bare `yield`. */
export function* ioctl<T>(fd: number, request: Ioctl<T>, arg: IoctlArg<T>): Sys<number> {
  const t = self();
  t.nr = NR.__NR_ioctl;
  t.a0 = fd;
  t.a1 = request.nr;
  t.a2 = typeof arg === 'object' ? userAddress(arg) : arg;
  return check('ioctl', yield);
}

// ---------------------------------------------------------------- names

export type Stat = Of<typeof stat_struct>;

/** What a struct stat says, as plain values that outlive its buffer. */
export interface FileStatus {
  readonly st_dev: number; readonly st_ino: number; readonly st_mode: number; readonly st_nlink: number;
  readonly st_uid: number; readonly st_gid: number; readonly st_rdev: number; readonly st_size: number;
  readonly st_blocks: number; readonly st_blksize: number; readonly st_mtime: number;
}

function* statCall(name: string, nr: number, what: number | string): Sys<FileStatus> {
  const buffer = yield* getScratch();
  const path = yield* getScratch();
  if (typeof what === 'string') {
    storeBytes(path, encode(`${what}\0`).subarray(0, SCRATCH));
    arm(nr, path, buffer);
  } else {
    arm(nr, what, buffer);
  }
  const result = yield;
  putScratch(path);
  if (result < 0) {
    putScratch(buffer);
    check(name, result);
  }
  const s = view(stat_struct, buffer);
  const status = {
    st_dev: Number(s.st_dev), st_ino: Number(s.st_ino), st_mode: s.st_mode, st_nlink: Number(s.st_nlink),
    st_uid: s.st_uid, st_gid: s.st_gid, st_rdev: Number(s.st_rdev), st_size: Number(s.st_size),
    st_blocks: Number(s.st_blocks), st_blksize: Number(s.st_blksize), st_mtime: Number(s.st_mtime),
  };
  putScratch(buffer);
  return status;
}
export const stat = (path: string): Sys<FileStatus> => statCall('stat', NR.__NR_stat, path);
export const lstat = (path: string): Sys<FileStatus> => statCall('lstat', NR.__NR_lstat, path);
export const fstat = (fd: number): Sys<FileStatus> => statCall('fstat', NR.__NR_fstat, fd);

export const access = (path: string, mode: number): Sys<number> => pathCall('access', NR.__NR_access, path, mode);
export const mkdir = (path: string, mode = 0o777): Sys<number> => pathCall('mkdir', NR.__NR_mkdir, path, mode);
export const rmdir = (path: string): Sys<number> => pathCall('rmdir', NR.__NR_rmdir, path);
export const unlink = (path: string): Sys<number> => pathCall('unlink', NR.__NR_unlink, path);
export const chdir = (path: string): Sys<number> => pathCall('chdir', NR.__NR_chdir, path);
export const chmod = (path: string, mode: number): Sys<number> => pathCall('chmod', NR.__NR_chmod, path, mode);
export const truncate = (path: string, length: number): Sys<number> => pathCall('truncate', NR.__NR_truncate, path, length);
export const rename = (from: string, to: string): Sys<number> => twoPathCall('rename', NR.__NR_rename, from, to);
export const link = (from: string, to: string): Sys<number> => twoPathCall('link', NR.__NR_link, from, to);
export const symlink = (target: string, path: string): Sys<number> => twoPathCall('symlink', NR.__NR_symlink, target, path);
export const umask = (mask: number): Sys<number> => call('umask', NR.__NR_umask, mask);

/** Sets both times of a file to now. */
export const utime = (path: string): Sys<number> => pathCall('utime', NR.__NR_utime, path, 0);

export function* readlink(path: string): Sys<string> {
  const buffer = yield* getScratch();
  try {
    const n = yield* pathCall('readlink', NR.__NR_readlink, path, buffer, SCRATCH);
    return decode(loadBytes(buffer, n));
  } finally {
    putScratch(buffer);
  }
}

export function* getcwd(): Sys<string> {
  const buffer = yield* getScratch();
  arm(NR.__NR_getcwd, buffer, SCRATCH);
  const result = yield;
  const path = result > 0 ? loadString(buffer) : '';
  putScratch(buffer);
  check('getcwd', result);
  return path;
}

export interface DirectoryEntry { readonly d_name: string; readonly d_ino: number; readonly d_type: number }

/** The entries of a directory in the order the kernel gives, `.` and `..` among them. */
export function* readdir(path: string): Sys<DirectoryEntry[]> {
  const fd = yield* open(path, O_RDONLY | O_DIRECTORY);
  const buffer = yield* getScratch();
  const entries: DirectoryEntry[] = [];
  let result: number;
  for (;;) {
    arm(NR.__NR_getdents64, fd, buffer, SCRATCH);
    result = yield;
    if (result <= 0) break;
    for (let at = 0; at < result; ) {
      const d = view(dirent64, buffer + at);
      entries.push({ d_name: loadString(buffer + at + dirent64.offset.d_name), d_ino: Number(d.d_ino), d_type: d.d_type });
      at += d.d_reclen;
    }
  }
  putScratch(buffer);
  yield* close(fd);
  check('getdents64', result);
  return entries;
}

// ---------------------------------------------------------------- pipes, events, waiting

/** Both ends of a new pipe: what is written to the second is read from the first. */
export function* pipe(flags = 0): Sys<[reader: number, writer: number]> {
  const buffer = yield* getScratch();
  arm(NR.__NR_pipe2, buffer, flags);
  const result = yield;
  const bytes = result < 0 ? new Uint8Array(8) : loadBytes(buffer, 8);
  putScratch(buffer);
  check('pipe', result);
  const ends = new DataView(bytes.buffer);
  return [ends.getInt32(0, true), ends.getInt32(4, true)];
}

export const eventfd = (initial: number, flags = 0): Sys<number> => call('eventfd', NR.__NR_eventfd2, initial, flags);

export interface PollRequest { readonly fd: number; readonly events: number; revents: number }

/** Waits for one of `fds`; fills in their `revents` and gives how many have any. `timeout` in milliseconds, -1 for ever. */
export function* poll(fds: readonly PollRequest[], timeout: number): Sys<number> {
  const buffer = yield* getScratch();
  fds.forEach(({ fd, events }, i) => pollfd.store(self().space, buffer + i * pollfd.size, { fd, events, revents: 0 } as Of<typeof pollfd>));
  arm(NR.__NR_poll, buffer, fds.length, timeout);
  const result = yield;
  if (result >= 0) fds.forEach((request, i) => { request.revents = view(pollfd, buffer + i * pollfd.size).revents; });
  putScratch(buffer);
  return check('poll', result);
}
