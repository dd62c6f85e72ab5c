/**
 * Pipes, with names (FIFOs) and without.
 *
 * Linux: fs/pipe.c
 *
 * A pipe holds bytes in a ring that grows up to its capacity as it is filled. Writes of at most PIPE_BUF bytes go in
 * whole or wait; longer ones go in as room comes. The end without readers is an error to write to, the end without
 * writers reads as end of file.
 */
import { EAGAIN, EBADF, EBUSY, EFAULT, EINVAL, ENXIO, EPERM, EPIPE } from '../../abi/errno.ts';
import { F_GETPIPE_SZ, O_ACCMODE, O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY, PIPE_BUF, S_IFIFO } from '../../abi/fcntl.ts';
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from '../../abi/poll.ts';
import { SIGPIPE } from '../../abi/signal.ts';
import { FIONREAD } from '../../abi/termios.ts';
import { current, kernelVariable } from '../current.ts';
import { copy_to_user, put_user32 } from '../mm/uaccess.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { wait_event_interruptible, wait_queue_head } from '../sched/wait.ts';
import { send_sig } from '../signal.ts';
import { alloc_file_pseudo, pseudo_mount } from './anon-inodes.ts';
import { alloc_fd, fd_install, get_unused_fd, nofile } from './file.ts';
import { current_time } from './inode.ts';
import type { iov_iter } from './iov-iter.ts';
import { ENOIOCTLCMD, FMODE_READ, FMODE_WRITE, type file, type file_operations, inode, poll_wait } from './types.ts';

const PAGE_SIZE = 4096;
const PIPE_DEF_SIZE = 65536;
const PIPE_MAX_SIZE = 1048576;
/** Pages all pipes may promise together before new ones get two each: fs.pipe-user-pages-soft. */
const PIPE_USER_PAGES_SOFT = 16384;
const PIPE_MIN_SIZE = 2 * PAGE_SIZE;

const pipe_user = kernelVariable(() => ({ pages: 0 }));

class pipe_inode_info {
  private ring = new Uint8Array(PAGE_SIZE);
  private head = 0;
  /** Bytes waiting to be read. */
  used = 0;
  max = pipe_user().pages >= PIPE_USER_PAGES_SOFT ? PIPE_MIN_SIZE : PIPE_DEF_SIZE;
  readers = 0;
  writers = 0;
  /** Times an end was opened, so that a FIFO's opener notices a partner that came and went. */
  r_counter = 0;
  w_counter = 0;
  readonly rd_wait = new wait_queue_head('pipe_read');
  readonly wr_wait = new wait_queue_head('pipe_write');

  constructor() { pipe_user().pages += this.max / PAGE_SIZE; }
  /** Neither end is open any more. */
  free(): void { pipe_user().pages -= this.max / PAGE_SIZE; }

  /** Moves waiting bytes to the reader. Bytes moved, or -EFAULT. */
  take(to: iov_iter): number {
    let done = 0;
    while (this.used > 0 && to.count > 0) {
      const n = Math.min(this.used, this.ring.length - this.head, to.count);
      const moved = to.copy_to(this.ring.subarray(this.head, this.head + n));
      if (moved < 0) return done || moved;
      this.head = (this.head + moved) % this.ring.length;
      this.used -= moved;
      done += moved;
      if (moved < n) break;
    }
    if (this.used === 0) this.head = 0;
    return done;
  }

  /** Takes as much of the writer's bytes as there is room for. Bytes moved, or -EFAULT. */
  put(from: iov_iter): number {
    let want = Math.min(from.count, this.max - this.used);
    if (this.used + want > this.ring.length) this.grow(this.used + want);
    let done = 0;
    while (want > 0) {
      const tail = (this.head + this.used) % this.ring.length;
      const n = Math.min(want, this.ring.length - tail);
      const moved = from.copy_from(this.ring.subarray(tail, tail + n));
      if (moved < 0) return done || moved;
      this.used += moved;
      done += moved;
      want -= moved;
      if (moved < n) break;
    }
    return done;
  }

  private grow(to: number): void {
    let size = this.ring.length;
    while (size < to) size *= 2;
    const bigger = new Uint8Array(size);
    const first = this.ring.subarray(this.head, this.head + this.used);
    bigger.set(first);
    if (first.length < this.used) bigger.set(this.ring.subarray(0, this.used - first.length), first.length);
    this.ring = bigger;
    this.head = 0;
  }

  get room(): number { return this.max - this.used; }
}

const pipeOf = (f: file): pipe_inode_info => f.private_data as pipe_inode_info;

// ---- reading and writing

function pipe_read(f: file, to: iov_iter): number | MaySleep<number> {
  if (to.count === 0) return 0;
  const pipe = pipeOf(f);
  if (pipe.used > 0) return taken(pipe, to);
  if (pipe.writers === 0) return 0;
  if ((f.f_flags & O_NONBLOCK) !== 0) return -EAGAIN;
  return pipe_wait_readable(pipe, to);
}

function taken(pipe: pipe_inode_info, to: iov_iter): number {
  const n = pipe.take(to);
  if (n > 0) pipe.wr_wait.wake_up(POLLOUT | POLLWRNORM);
  return n;
}

function* pipe_wait_readable(pipe: pipe_inode_info, to: iov_iter): MaySleep<number> {
  for (;;) {
    const error = yield* wait_event_interruptible(pipe.rd_wait, () => pipe.used > 0 || pipe.writers === 0);
    if (pipe.used > 0) return taken(pipe, to);
    if (pipe.writers === 0) return 0;
    if (error < 0) return error;
  }
}

function pipe_write(f: file, from: iov_iter): number | MaySleep<number> {
  const pipe = pipeOf(f);
  if (from.count === 0) return 0;
  if (pipe.readers === 0) return broken();
  const whole = from.count <= PIPE_BUF;
  if (pipe.room >= from.count || ((f.f_flags & O_NONBLOCK) !== 0 && !whole && pipe.room > 0)) return given(f, pipe, from);
  if ((f.f_flags & O_NONBLOCK) !== 0) return -EAGAIN;
  return pipe_wait_writable(f, pipe, from, whole ? from.count : 1);
}

function given(f: file, pipe: pipe_inode_info, from: iov_iter): number {
  const n = pipe.put(from);
  if (n > 0) {
    f.f_inode.i_mtime = f.f_inode.i_ctime = current_time();
    pipe.rd_wait.wake_up(POLLIN | POLLRDNORM);
  }
  return n;
}

/** `least`: room that must be there before anything is written. */
function* pipe_wait_writable(f: file, pipe: pipe_inode_info, from: iov_iter, least: number): MaySleep<number> {
  let done = 0;
  for (;;) {
    if (pipe.readers === 0) return done || broken();
    if (pipe.room >= least) {
      const n = given(f, pipe, from);
      if (n < 0) return done || n;
      done += n;
      if (from.count === 0) return done;
    }
    if ((f.f_flags & O_NONBLOCK) !== 0) return done || -EAGAIN;
    const error = yield* wait_event_interruptible(pipe.wr_wait, () => pipe.room >= least || pipe.readers === 0);
    if (error < 0) return done || error;
  }
}

function broken(): number {
  send_sig(SIGPIPE, current());
  return -EPIPE;
}

const pipe_fops: file_operations = {
  read: pipe_read,
  write: pipe_write,
  poll(f, table) {
    const pipe = pipeOf(f);
    let mask = 0;
    if ((f.f_mode & FMODE_READ) !== 0) {
      poll_wait(f, pipe.rd_wait, table);
      if (pipe.used > 0) mask |= POLLIN | POLLRDNORM;
      // a FIFO that no writer has opened since this end was opened is not hung up yet
      if (pipe.writers === 0 && f.f_pos !== pipe.w_counter) mask |= POLLHUP;
    }
    if ((f.f_mode & FMODE_WRITE) !== 0) {
      poll_wait(f, pipe.wr_wait, table);
      if (pipe.room >= PIPE_BUF) mask |= POLLOUT | POLLWRNORM;
      if (pipe.readers === 0) mask |= POLLERR;
    }
    return mask;
  },
  ioctl: (f, cmd, arg) => (cmd === FIONREAD.nr ? put_user32(Number(arg), pipeOf(f).used) : -ENOIOCTLCMD),
  release(node, f) {
    const pipe = pipeOf(f);
    if ((f.f_mode & FMODE_READ) !== 0) pipe.readers--;
    if ((f.f_mode & FMODE_WRITE) !== 0) pipe.writers--;
    if (pipe.readers === 0 || pipe.writers === 0) {
      pipe.rd_wait.wake_up_all(POLLIN | POLLRDNORM | POLLERR | POLLHUP);
      pipe.wr_wait.wake_up_all(POLLOUT | POLLWRNORM | POLLERR | POLLHUP);
    }
    if (pipe.readers === 0 && pipe.writers === 0) {
      node.i_private = undefined;
      pipe.free();
    }
  },
};

// ---- pipe(2)

const pipefs = kernelVariable(() => pseudo_mount({ name: 'pipefs', nodev: true, mount: () => -1 }, 0x50495045));

export function sys_pipe2(task: task_struct, address: number, flags: number): number {
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT)) !== 0) return -EINVAL;
  const files = task.files!;
  const reader = get_unused_fd(task);
  if (reader < 0) return reader;
  const writer = alloc_fd(files, reader + 1, nofile(task));
  if (writer < 0) return writer;
  if (copy_to_user(address, new Uint8Array(Int32Array.of(reader, writer).buffer)) !== 0) return -EFAULT;
  const mnt = pipefs();
  const node = new inode(mnt.mnt_sb, S_IFIFO | 0o600, {}, pipe_fops);
  node.i_atime = node.i_mtime = node.i_ctime = current_time();
  const pipe = new pipe_inode_info();
  pipe.readers = pipe.writers = 1;
  node.i_private = pipe;
  const status = flags & (O_NONBLOCK | O_DIRECT);
  const name = `pipe:[${node.i_ino}]`;
  for (const [fd, mode] of [[reader, O_RDONLY], [writer, O_WRONLY]] as const) {
    const f = alloc_file_pseudo(node, mnt, name, mode | status, pipe_fops);
    f.private_data = pipe;
    f.f_pos = -1;
    fd_install(files, fd, f, (flags & O_CLOEXEC) !== 0);
  }
  return 0;
}
export const sys_pipe = (task: task_struct, address: number): number => sys_pipe2(task, address, 0);

/** F_GETPIPE_SZ, F_SETPIPE_SZ. */
export function pipe_fcntl(f: file, cmd: number, arg: number): number {
  if (!(f.private_data instanceof pipe_inode_info)) return -EBADF;
  const pipe = f.private_data;
  if (cmd === F_GETPIPE_SZ) return pipe.max;
  if (arg <= 0 || arg > 2 ** 31) return -EINVAL;
  let size = PAGE_SIZE;
  while (size < arg) size *= 2;
  if (size > PIPE_MAX_SIZE) return -EPERM;
  if (size < pipe.used) return -EBUSY;
  const more = (size - pipe.max) / PAGE_SIZE;
  if (more > 0 && pipe_user().pages + more > PIPE_USER_PAGES_SOFT) return -EPERM;
  pipe_user().pages += more;
  pipe.max = size;
  return size;
}

// ---- named pipes

/** The inode keeps the pipe while it is open, so that a second opening, also of /proc/<pid>/fd/N, finds it. */
function fifo_open(node: inode, f: file): number | MaySleep<number> {
  const pipe = node.i_private instanceof pipe_inode_info ? node.i_private : new pipe_inode_info();
  node.i_private = pipe;
  f.private_data = pipe;
  const reads = (f.f_mode & FMODE_READ) !== 0;
  const writes = (f.f_mode & FMODE_WRITE) !== 0;
  f.f_pos = -1;
  if (writes && !reads && (f.f_flags & O_NONBLOCK) !== 0 && pipe.readers === 0) {
    if (pipe.writers === 0) {
      node.i_private = undefined;
      pipe.free();
    }
    return -ENXIO;
  }
  if (reads) { pipe.readers++; pipe.r_counter++; pipe.wr_wait.wake_up_all(); }
  if (writes) { pipe.writers++; pipe.w_counter++; pipe.rd_wait.wake_up_all(); }
  if ((f.f_flags & O_ACCMODE) === O_RDWR) return 0;
  if (reads && pipe.writers === 0) {
    if ((f.f_flags & O_NONBLOCK) === 0) return fifo_wait(node, f, pipe, true);
    f.f_pos = pipe.w_counter;
  } else if (writes && pipe.readers === 0) return fifo_wait(node, f, pipe, false);
  return 0;
}

/** Waits until the other end is opened, even if it is closed again at once. */
function* fifo_wait(node: inode, f: file, pipe: pipe_inode_info, forWriter: boolean): MaySleep<number> {
  const before = forWriter ? pipe.w_counter : pipe.r_counter;
  const error = yield* wait_event_interruptible(forWriter ? pipe.rd_wait : pipe.wr_wait, () => (forWriter ? pipe.w_counter : pipe.r_counter) !== before);
  if (error < 0) pipe_fops.release!(node, f);
  return error;
}

export const fifo_fops: file_operations = { ...pipe_fops, open: fifo_open };
