/**
 * File locks: record locks of fcntl, owned by a process or by an open file, and whole-file locks of flock.
 *
 * Linux: fs/locks.c
 *
 * The three kinds do not see each other's owners alike: a process's record locks vanish when it closes any descriptor of
 * the file, locks of an open file when its last descriptor is closed. flock and record locks ignore each other.
 */
import { EAGAIN, EBADF, EDEADLK, EFAULT, EINVAL, EOVERFLOW, EWOULDBLOCK } from '../../abi/errno.ts';
import {
  F_GETLK, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_SETLKW, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, O_PATH, SEEK_CUR, SEEK_END, SEEK_SET, flock,
} from '../../abi/fcntl.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { wait_event_interruptible, wait_queue_head } from '../sched/wait.ts';
import { fd_lookup, fput, get_file } from './file.ts';
import { FMODE_READ, FMODE_WRITE, type file, type files_struct, type inode } from './types.ts';
import { get_user_struct, put_user_struct } from './user.ts';

/** To the end of any file there can be. */
const OFFSET_MAX = Number.MAX_SAFE_INTEGER;

type Owner = files_struct | file;

/** Bytes start to end, both included. */
interface Lock { readonly owner: Owner; readonly pid: number; readonly type: number; start: number; end: number }

/** The locks on one file. */
export class file_lock_context {
  posix: Lock[] = [];
  flock: Lock[] = [];
  /** Requests that wait; looked at again whenever a lock goes. */
  readonly wait = new wait_queue_head('locks_lock_inode_wait');
  /** Who waits for whom among processes, to find circles. */
  readonly waiting = new Map<Owner, Lock>();

  /** A process closes a descriptor: all its record locks on the file go, whatever descriptor they were made through. */
  remove_posix(owner: Owner): void {
    if (!this.posix.some((held) => held.owner === owner)) return;
    this.posix = this.posix.filter((held) => held.owner !== owner);
    this.wait.wake_up_all();
  }

  /** The open file is released: its own locks go. */
  remove_file(f: file): void {
    this.remove_posix(f);
    this.flock = this.flock.filter((held) => held.owner !== f);
    this.wait.wake_up_all();
  }
}

const contextOf = (node: inode): file_lock_context => (node.i_flctx ??= new file_lock_context());

const overlaps = (a: Lock, b: Lock): boolean => a.start <= b.end && b.start <= a.end;
const conflicts = (a: Lock, b: Lock): boolean => a.owner !== b.owner && overlaps(a, b) && (a.type === F_WRLCK || b.type === F_WRLCK);

// ---- record locks

/** What a user's struct flock means for this file, or -errno. */
function flock_to_lock(f: file, fl: flock, owner: Owner, pid: number): Lock | number {
  const base = fl.l_whence === SEEK_SET ? 0 : fl.l_whence === SEEK_CUR ? f.f_pos : fl.l_whence === SEEK_END ? f.f_inode.i_size : -1;
  if (base < 0) return -EINVAL;
  let start = base + Number(fl.l_start);
  const length = Number(fl.l_len);
  let end = OFFSET_MAX;
  if (start > OFFSET_MAX || (length > 0 && start + length - 1 > OFFSET_MAX)) return -EOVERFLOW;
  if (length > 0) end = start + length - 1;
  else if (length < 0) { end = start - 1; start += length; }
  if (start < 0) return -EINVAL;
  if (![F_RDLCK, F_WRLCK, F_UNLCK].includes(fl.l_type)) return -EINVAL;
  return { owner, pid, type: fl.l_type, start, end };
}

/** Puts a lock that conflicts with none, or an unlock, over what its owner had there; neighbours of one kind become one. */
function posix_apply(ctx: file_lock_context, lock: Lock): void {
  const rest: Lock[] = [];
  let { start, end } = lock;
  for (const old of ctx.posix) {
    const touches = old.start <= end + 1 && start <= old.end + 1;
    if (old.owner !== lock.owner || !touches) { rest.push(old); continue; }
    if (old.type === lock.type) {
      start = Math.min(start, old.start);
      end = Math.max(end, old.end);
      continue;
    }
    if (old.start < lock.start) rest.push({ ...old, end: Math.min(old.end, lock.start - 1) });
    if (old.end > lock.end) rest.push({ ...old, start: Math.max(old.start, lock.end + 1) });
  }
  if (lock.type !== F_UNLCK) rest.push({ ...lock, start, end });
  ctx.posix = rest.sort((a, b) => a.start - b.start);
  ctx.wait.wake_up_all();
}

/** Would `owner` wait for itself, by way of those it would wait for? */
function deadlocks(ctx: file_lock_context, owner: Owner, wanted: Lock): boolean {
  const seen = new Set<Owner>();
  for (let next: Lock | undefined = wanted; next !== undefined; ) {
    const holder = ctx.posix.find((held) => conflicts(held, next!))?.owner;
    if (holder === undefined || seen.has(holder)) return false;
    if (holder === owner) return true;
    seen.add(holder);
    next = ctx.waiting.get(holder);
  }
  return false;
}

/** fcntl's F_GETLK, F_SETLK, F_SETLKW and their OFD forms. */
export function fcntl_lock(task: task_struct, f: file, cmd: number, address: number): number | MaySleep<number> {
  const fl = flock.make();
  if (get_user_struct(fl, address) !== 0) return -EFAULT;
  const ofd = cmd === F_OFD_GETLK || cmd === F_OFD_SETLK || cmd === F_OFD_SETLKW;
  if (ofd && fl.l_pid !== 0) return -EINVAL;
  const lock = flock_to_lock(f, fl, ofd ? f : task.files!, ofd ? -1 : task.tgid);
  if (typeof lock === 'number') return lock;
  if (cmd === F_GETLK || cmd === F_OFD_GETLK) return getlk(f, fl, lock, address);
  if ((lock.type === F_RDLCK && (f.f_mode & FMODE_READ) === 0) || (lock.type === F_WRLCK && (f.f_mode & FMODE_WRITE) === 0)) return -EBADF;
  const ctx = contextOf(f.f_inode);
  if (lock.type === F_UNLCK || !ctx.posix.some((held) => conflicts(held, lock))) {
    posix_apply(ctx, lock);
    return 0;
  }
  if (cmd !== F_SETLKW && cmd !== F_OFD_SETLKW) return -EAGAIN;
  if (!ofd && deadlocks(ctx, lock.owner, lock)) return -EDEADLK;
  return posix_wait(get_file(f), ctx, lock, ofd);
}

function* posix_wait(f: file, ctx: file_lock_context, lock: Lock, ofd: boolean): MaySleep<number> {
  if (!ofd) ctx.waiting.set(lock.owner, lock);
  const error = yield* wait_event_interruptible(ctx.wait, () => !ctx.posix.some((held) => conflicts(held, lock)));
  ctx.waiting.delete(lock.owner);
  if (error === 0) posix_apply(ctx, lock);
  fput(f);
  return error;
}

function getlk(f: file, fl: flock, lock: Lock, address: number): number {
  // asked about an unlock, an open file is told of its own lock there
  if (lock.type === F_UNLCK && lock.owner !== f) return -EINVAL;
  const held = f.f_inode.i_flctx?.posix.find((other) => (lock.type === F_UNLCK ? other.owner === f && overlaps(other, lock) : conflicts(other, lock)));
  if (held === undefined) fl.l_type = F_UNLCK;
  else {
    fl.l_type = held.type;
    fl.l_whence = SEEK_SET;
    fl.l_start = BigInt(held.start);
    fl.l_len = held.end === OFFSET_MAX ? 0n : BigInt(held.end - held.start + 1);
    fl.l_pid = held.pid;
  }
  return put_user_struct(address, fl);
}

// ---- flock

export function sys_flock(task: task_struct, fd: number, operation: number): number | MaySleep<number> {
  const f = fd_lookup(task.files!, fd);
  const kind = operation & ~LOCK_NB;
  if (kind !== LOCK_SH && kind !== LOCK_EX && kind !== LOCK_UN) return -EINVAL;
  if (f === null || (f.f_flags & O_PATH) !== 0) return -EBADF;
  if (kind !== LOCK_UN && (f.f_mode & (FMODE_READ | FMODE_WRITE)) === 0) return -EBADF;
  const ctx = contextOf(f.f_inode);
  const lock: Lock = { owner: f, pid: task.tgid, type: kind === LOCK_EX ? F_WRLCK : kind === LOCK_SH ? F_RDLCK : F_UNLCK, start: 0, end: OFFSET_MAX };
  const had = ctx.flock.find((held) => held.owner === f);
  if (had?.type === lock.type) return 0;
  // changing the kind is an unlock and a new request: somebody else may get in between
  if (had !== undefined) {
    ctx.flock.splice(ctx.flock.indexOf(had), 1);
    ctx.wait.wake_up_all();
  }
  if (kind === LOCK_UN) return 0;
  if (!ctx.flock.some((held) => conflicts(held, lock))) {
    ctx.flock.push(lock);
    return 0;
  }
  return (operation & LOCK_NB) !== 0 ? -EWOULDBLOCK : flock_wait(get_file(f), ctx, lock);
}

function* flock_wait(f: file, ctx: file_lock_context, lock: Lock): MaySleep<number> {
  const error = yield* wait_event_interruptible(ctx.wait, () => !ctx.flock.some((held) => conflicts(held, lock)));
  if (error === 0) ctx.flock.push(lock);
  fput(f);
  return error;
}
