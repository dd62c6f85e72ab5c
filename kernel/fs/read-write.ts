/**
 * read, write and their relatives: checks that are the same for every file, then the file's own operation.
 *
 * Linux: fs/read_write.c, fs/splice.c (sendfile)
 *
 * Most calls end at once and stay plain functions; only what the file's operation turns into a generator becomes one.
 * While it sleeps the file is held, because another thread may close the descriptor.
 */
import { EBADF, EFAULT, EFBIG, EINVAL, EISDIR, ENXIO, ESPIPE } from '../../abi/errno.ts';
import { O_APPEND, O_PATH, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET, S_ISDIR, S_ISFIFO, S_ISREG } from '../../abi/fcntl.ts';
import { TASK_SIZE } from '../mm/types.ts';
import { copy_from_user, copy_to_user } from '../mm/uaccess.ts';
import { current } from '../current.ts';
import { cond_resched, fatal_signal_pending } from '../sched/core.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { fd_lookup, fput, get_file, MAX_FILE_SIZE } from './file.ts';
import { iov_iter, kernelIter } from './iov-iter.ts';
import { FMODE_LSEEK, FMODE_PREAD, FMODE_PWRITE, FMODE_READ, FMODE_STREAM, FMODE_WRITE, type file } from './types.ts';

/** One call moves no more than this. */
const MAX_RW_COUNT = 0x7fff_f000;
const UIO_MAXIOV = 1024;

/** Can [address, address + count) be user memory at all? A negative count is a huge one. */
const access_ok = (address: number, count: number): boolean => count >= 0 && address >= 0 && address + count <= TASK_SIZE;

function vfs_read(f: file, to: iov_iter): number | MaySleep<number> {
  const moved = f.f_op.read!(f, to, f.f_pos);
  if (typeof moved !== 'number') return finish(get_file(f), moved);
  if (moved > 0 && (f.f_mode & FMODE_STREAM) === 0) f.f_pos += moved;
  return moved;
}

function vfs_write(f: file, from: iov_iter): number | MaySleep<number> {
  if ((f.f_flags & O_APPEND) !== 0 && (f.f_mode & FMODE_STREAM) === 0) f.f_pos = f.f_inode.i_size;
  const moved = f.f_op.write!(f, from, f.f_pos);
  if (typeof moved !== 'number') return finish(get_file(f), moved);
  if (moved > 0 && (f.f_mode & FMODE_STREAM) === 0) f.f_pos += moved;
  return moved;
}

/** Goes on with a read or write that sleeps. The caller has taken a reference, at once: the descriptor may be closed before the first step. */
function* finish(f: file, moving: MaySleep<number>): MaySleep<number> {
  const moved = yield* moving;
  if (moved > 0 && (f.f_mode & FMODE_STREAM) === 0) f.f_pos += moved;
  fput(f);
  return moved;
}

/** The same with a position of the caller's, which stays the caller's. */
function* finishAt(f: file, moving: MaySleep<number>): MaySleep<number> {
  const moved = yield* moving;
  fput(f);
  return moved;
}

export function sys_read(task: task_struct, fd: number, buf: number, count: number): number | MaySleep<number> {
  const f = fd_lookup(task.files!, fd);
  if (f === null || (f.f_mode & FMODE_READ) === 0) return -EBADF;
  if (f.f_op.read === undefined) return S_ISDIR(f.f_inode.i_mode) ? -EISDIR : -EINVAL;
  if (!access_ok(buf, count)) return -EFAULT;
  return vfs_read(f, new iov_iter(buf, count < MAX_RW_COUNT ? count : MAX_RW_COUNT));
}


export function sys_write(task: task_struct, fd: number, buf: number, count: number): number | MaySleep<number> {
  const f = fd_lookup(task.files!, fd);
  if (f === null || (f.f_mode & FMODE_WRITE) === 0) return -EBADF;
  if (f.f_op.write === undefined) return -EINVAL;
  if (!access_ok(buf, count)) return -EFAULT;
  return vfs_write(f, new iov_iter(buf, count < MAX_RW_COUNT ? count : MAX_RW_COUNT));
}

function at(f: file, pos: number, iter: iov_iter, write: boolean): number | MaySleep<number> {
  if ((f.f_mode & (write ? FMODE_PWRITE : FMODE_PREAD)) === 0) return -ESPIPE;
  if ((f.f_mode & (write ? FMODE_WRITE : FMODE_READ)) === 0) return -EBADF;
  const op = write ? f.f_op.write : f.f_op.read;
  if (op === undefined) return S_ISDIR(f.f_inode.i_mode) ? -EISDIR : -EINVAL;
  const moved = op.call(f.f_op, f, iter, write && (f.f_flags & O_APPEND) !== 0 ? f.f_inode.i_size : pos);
  return typeof moved === 'number' ? moved : finishAt(get_file(f), moved);
}

function positioned(task: task_struct, fd: number, buf: number, count: number, pos: number, write: boolean): number | MaySleep<number> {
  if (pos < 0) return -EINVAL;
  const f = fd_lookup(task.files!, fd);
  if (f === null) return -EBADF;
  if ((f.f_mode & (write ? FMODE_PWRITE : FMODE_PREAD)) === 0) return -ESPIPE;
  if ((f.f_mode & (write ? FMODE_WRITE : FMODE_READ)) === 0) return -EBADF;
  if (!access_ok(buf, count)) return -EFAULT;
  return at(f, pos, new iov_iter(buf, Math.min(count, MAX_RW_COUNT)), write);
}
export const sys_pread64 = (task: task_struct, fd: number, buf: number, count: number, pos: number) => positioned(task, fd, buf, count, pos, false);
export const sys_pwrite64 = (task: task_struct, fd: number, buf: number, count: number, pos: number) => positioned(task, fd, buf, count, pos, true);

// ---- vectors

/** The iterator over an array of struct iovec, or -EINVAL, -EFAULT. */
export function import_iovec(address: number, segments: number): iov_iter | number {
  if (segments < 0 || segments > UIO_MAXIOV) return -EINVAL;
  const raw = new Uint8Array(segments * 16);
  if (copy_from_user(raw, address) !== 0) return -EFAULT;
  const words = new BigInt64Array(raw.buffer);
  const list: number[] = [];
  let total = 0;
  for (let i = 0; i < segments; i++) {
    const length = Number(words[2 * i + 1]!);
    const base = Number(words[2 * i]!);
    if (length < 0) return -EINVAL;
    if (!access_ok(base, length)) return -EFAULT;
    const taken = Math.min(length, MAX_RW_COUNT - total);
    total += taken;
    if (taken > 0) list.push(base, taken);
  }
  return new iov_iter(list[0] ?? 0, list[1] ?? 0, undefined, list.slice(2));
}

function vector(task: task_struct, fd: number, iov: number, segments: number, write: boolean): number | MaySleep<number> {
  const f = fd_lookup(task.files!, fd);
  if (f === null || (f.f_mode & (write ? FMODE_WRITE : FMODE_READ)) === 0) return -EBADF;
  if ((write ? f.f_op.write : f.f_op.read) === undefined) return S_ISDIR(f.f_inode.i_mode) ? -EISDIR : -EINVAL;
  const iter = import_iovec(iov, segments);
  if (typeof iter === 'number') return iter;
  if (iter.count === 0) return 0;
  return write ? vfs_write(f, iter) : vfs_read(f, iter);
}
export const sys_readv = (task: task_struct, fd: number, iov: number, segments: number) => vector(task, fd, iov, segments, false);
export const sys_writev = (task: task_struct, fd: number, iov: number, segments: number) => vector(task, fd, iov, segments, true);

function positionedVector(task: task_struct, fd: number, iov: number, segments: number, pos: number, write: boolean): number | MaySleep<number> {
  if (pos < 0) return -EINVAL;
  const f = fd_lookup(task.files!, fd);
  if (f === null) return -EBADF;
  if ((f.f_mode & (write ? FMODE_PWRITE : FMODE_PREAD)) === 0) return -ESPIPE;
  const iter = import_iovec(iov, segments);
  if (typeof iter === 'number') return iter;
  return at(f, pos, iter, write);
}
export const sys_preadv = (task: task_struct, fd: number, iov: number, segments: number, pos: number) => positionedVector(task, fd, iov, segments, pos, false);
export const sys_pwritev = (task: task_struct, fd: number, iov: number, segments: number, pos: number) => positionedVector(task, fd, iov, segments, pos, true);

// ---- positions

/** lseek of everything that is a row of bytes. `end` is its size. */
export function generic_file_llseek_size(f: file, offset: number, whence: number, end: number): number {
  let pos: number;
  switch (whence) {
    case SEEK_SET: pos = offset; break;
    case SEEK_CUR: pos = f.f_pos + offset; break;
    case SEEK_END: pos = end + offset; break;
    case SEEK_DATA: if (offset < 0 || offset >= end) return -ENXIO; pos = offset; break;
    case SEEK_HOLE: if (offset < 0 || offset >= end) return -ENXIO; pos = end; break;
    default: return -EINVAL;
  }
  if (pos < 0 || pos > MAX_FILE_SIZE) return -EINVAL;
  f.f_pos = pos;
  return pos;
}
export function generic_file_llseek(f: file, offset: number, whence: number): number { return generic_file_llseek_size(f, offset, whence, f.f_inode.i_size); }

/** lseek of a file whose position means nothing: it stays. */
export function noop_llseek(f: file): number { return f.f_pos; }

/** lseek of a device without positions that lets it pass: /dev/null, /dev/zero. */
export function null_lseek(f: file): number {
  f.f_pos = 0;
  return 0;
}

export function sys_lseek(task: task_struct, fd: number, offset: number, whence: number): number {
  const f = fd_lookup(task.files!, fd);
  if (f === null) return -EBADF;
  if (whence >>> 0 > SEEK_HOLE) return -EINVAL;
  if ((f.f_mode & FMODE_LSEEK) === 0) return (f.f_flags & O_PATH) !== 0 ? -EBADF : -ESPIPE;
  return f.f_op.llseek!(f, offset, whence);
}

// ---- sendfile

const CHUNK = 65536;

export function sys_sendfile(task: task_struct, out: number, input: number, offset: number, count: number): number | MaySleep<number> {
  const from = fd_lookup(task.files!, input);
  if (from === null || (from.f_mode & FMODE_READ) === 0) return -EBADF;
  if (offset !== 0 && (from.f_mode & FMODE_PREAD) === 0) return -ESPIPE;
  const to = fd_lookup(task.files!, out);
  if (to === null || (to.f_mode & FMODE_WRITE) === 0) return -EBADF;
  if (!S_ISREG(from.f_inode.i_mode) || from.f_op.read === undefined || to.f_op.write === undefined || (to.f_flags & O_APPEND) !== 0) return -EINVAL;
  let pos = from.f_pos;
  if (offset !== 0) {
    const raw = new BigInt64Array(1);
    if (copy_from_user(new Uint8Array(raw.buffer), offset) !== 0) return -EFAULT;
    pos = Number(raw[0]!);
  }
  if (pos < 0 || count < 0) return -EINVAL;
  return do_sendfile(get_file(from), get_file(to), offset, pos, Math.min(count, MAX_RW_COUNT));
}

function* do_sendfile(from: file, to: file, offset: number, pos: number, count: number): MaySleep<number> {
  const buffer = new Uint8Array(Math.min(count, CHUNK));
  let done = 0;
  let error = 0;
  while (done < count) {
    const got = from.f_op.read!(from, kernelIter(buffer.subarray(0, Math.min(CHUNK, count - done))), pos);
    const n = typeof got === 'number' ? got : yield* got;
    if (n <= 0) { error = n; break; }
    const sent = yield* writeAll(to, buffer.subarray(0, n));
    if (sent > 0) { done += sent; pos += sent; }
    if (sent < n) { error = sent; break; }
    if (fatal_signal_pending(current())) break;
    yield* cond_resched();
  }
  if (offset === 0) from.f_pos = pos;
  else if (copy_to_user(offset, new Uint8Array(BigInt64Array.of(BigInt(pos)).buffer)) !== 0) error = -EFAULT;
  fput(from);
  fput(to);
  return done || error;
}

/** Writes at the file's own position until all is taken or it takes no more. Bytes written, or -errno when none were. */
function* writeAll(to: file, bytes: Uint8Array): MaySleep<number> {
  let done = 0;
  while (done < bytes.length) {
    const put = vfs_write(to, kernelIter(bytes.subarray(done)));
    const n = typeof put === 'number' ? put : yield* put;
    if (n <= 0) return done || n;
    done += n;
  }
  return done;
}

/** Copies inside one call from file to file; both positions move, or those that were given. */
export function sys_copy_file_range(task: task_struct, input: number, offIn: number, out: number, offOut: number, count: number, flags: number): number | MaySleep<number> {
  const from = fd_lookup(task.files!, input);
  const to = fd_lookup(task.files!, out);
  if (from === null || to === null) return -EBADF;
  if (flags !== 0) return -EINVAL;
  if (S_ISDIR(from.f_inode.i_mode) || S_ISDIR(to.f_inode.i_mode)) return -EISDIR;
  if (!S_ISREG(from.f_inode.i_mode) || !S_ISREG(to.f_inode.i_mode)) return -EINVAL;
  if ((from.f_mode & FMODE_READ) === 0 || (to.f_mode & FMODE_WRITE) === 0 || (to.f_flags & O_APPEND) !== 0) return -EBADF;
  const given: (number | undefined)[] = [];
  for (const address of [offIn, offOut]) {
    const raw = new BigInt64Array(1);
    if (address !== 0 && copy_from_user(new Uint8Array(raw.buffer), address) !== 0) return -EFAULT;
    given.push(address === 0 ? undefined : Number(raw[0]!));
  }
  const [readAt = from.f_pos, writeAt = to.f_pos] = given;
  if (readAt < 0 || writeAt < 0 || count < 0) return -EINVAL;
  return copy_range(get_file(from), get_file(to), offIn, readAt, offOut, writeAt, Math.min(count, MAX_RW_COUNT));
}

function* copy_range(from: file, to: file, offIn: number, readAt: number, offOut: number, writeAt: number, count: number): MaySleep<number> {
  const buffer = new Uint8Array(Math.min(count, CHUNK));
  let done = 0;
  let error = 0;
  while (done < count) {
    const got = from.f_op.read!(from, kernelIter(buffer.subarray(0, Math.min(CHUNK, count - done))), readAt + done);
    const n = typeof got === 'number' ? got : yield* got;
    if (n <= 0) { error = n; break; }
    const put = to.f_op.write!(to, kernelIter(buffer.subarray(0, n)), writeAt + done);
    const sent = typeof put === 'number' ? put : yield* put;
    if (sent <= 0) { error = sent; break; }
    done += sent;
    if (fatal_signal_pending(current())) break;
    yield* cond_resched();
  }
  for (const [address, f, start] of [[offIn, from, readAt], [offOut, to, writeAt]] as const) {
    if (address === 0) f.f_pos = start + done;
    else copy_to_user(address, new Uint8Array(BigInt64Array.of(BigInt(start + done)).buffer));
  }
  fput(from);
  fput(to);
  return done || error;
}

/** Advice about the page cache; there is nothing to read ahead from. */
export function sys_fadvise64(task: task_struct, fd: number, _offset: number, length: number, advice: number): number {
  const f = fd_lookup(task.files!, fd);
  if (f === null) return -EBADF;
  if (S_ISFIFO(f.f_inode.i_mode)) return -ESPIPE;
  return length < 0 || advice < 0 || advice > 5 ? -EINVAL : 0;
}

export const sys_syncfs = (task: task_struct, fd: number): number => (fd_lookup(task.files!, fd) === null ? -EBADF : 0);

// ---- for the kernel itself

/** Bytes of an open file from `pos` on, for readers inside the kernel; its read must not sleep. Count, or -errno. */
export function kernel_read(f: file, buffer: Uint8Array, pos: number): number {
  if (f.f_op.read === undefined) return -EINVAL;
  let done = 0;
  while (done < buffer.length) {
    const n = f.f_op.read(f, kernelIter(buffer.subarray(done)), pos + done);
    if (typeof n !== 'number') return -EINVAL;
    if (n <= 0) return done || n;
    done += n;
  }
  return done;
}

/** A regular file's whole contents, or -errno: how exec and module loading read. */
export function kernel_read_file(f: file, limit = 2 ** 31): Uint8Array | number {
  if (!S_ISREG(f.f_inode.i_mode)) return -EINVAL;
  if (f.f_inode.i_size > limit) return -EFBIG;
  const buffer = new Uint8Array(f.f_inode.i_size);
  const n = kernel_read(f, buffer, 0);
  return n < 0 ? n : buffer.subarray(0, n);
}

/** There is nothing behind the page cache: data is as safe as it will get. */
export function sys_fsync(task: task_struct, fd: number): number | MaySleep<number> {
  const f = fd_lookup(task.files!, fd);
  if (f === null || (f.f_flags & O_PATH) !== 0) return -EBADF;
  return f.f_op.fsync === undefined ? -EINVAL : f.f_op.fsync(f);
}
export const sys_sync = (): number => 0;
