/**
 * epoll: a set of watched files that remembers which of them are ready.
 *
 * Linux: fs/eventpoll.c
 *
 * Each watch hangs a callback on its file's wait queues; the callback moves the watch to the ready list and wakes the
 * waiter. What is on the list is only a hint: the file is asked again when events are handed out, and a level-triggered
 * watch that is still ready goes back to the end of the list.
 */
import { EBADF, EEXIST, EFAULT, EINVAL, EINTR, ELOOP, ENOENT, EPERM } from '../../abi/errno.ts';
import { O_CLOEXEC, O_RDWR } from '../../abi/fcntl.ts';
import {
  EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, EPOLLWAKEUP, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, POLLERR, POLLHUP, POLLIN, POLLRDNORM, epoll_event,
} from '../../abi/poll.ts';
import { copy_to_user, get_user64 } from '../mm/uaccess.ts';
import { signal_pending } from '../sched/core.ts';
import type { MaySleep, task_struct } from '../sched/types.ts';
import { wait_event_interruptible_timeout, wait_queue_entry, wait_queue_head } from '../sched/wait.ts';
import { set_current_blocked, set_temporary_sigmask } from '../signal.ts';
import { ns_to_cycles } from '../time/timekeeping.ts';
import { get_timespec, timespec_to_cycles } from '../time/timespec.ts';
import { anon_inode_getfile } from './anon-inodes.ts';
import { fd_install, fd_lookup, fput, get_file, get_unused_fd } from './file.ts';
import { vfs_poll } from './select.ts';
import { noop_llseek } from './read-write.ts';
import { type file, type file_operations, type poll_table, poll_wait } from './types.ts';
import { get_user_struct } from './user.ts';

/** Bits of a watch that are no events. */
const EP_PRIVATE_BITS = (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE) >>> 0;
const EP_MAX_NESTS = 4;

/** One watch. */
class epitem implements poll_table {
  readonly ep: eventpoll;
  readonly file: file;
  readonly fd: number;
  events: number;
  data: bigint;
  key = 0;
  private readonly hooks: { wq: wait_queue_head; entry: wait_queue_entry }[] = [];
  constructor(ep: eventpoll, file: file, fd: number, events: number, data: bigint) {
    this.ep = ep;
    this.file = file;
    this.fd = fd;
    this.events = events;
    this.data = data;
  }
  queue(_file: file, wq: wait_queue_head): void {
    const entry = new wait_queue_entry((_entry, _mode, key) => this.callback(key));
    wq.add(entry);
    this.hooks.push({ wq, entry });
  }
  private callback(key: number): boolean {
    if ((this.events & ~EP_PRIVATE_BITS) === 0 || (key !== 0 && (key & this.events) === 0)) return false;
    this.ep.ready(this);
    return true;
  }
  /** The events that hold now. */
  revents(table: poll_table | undefined): number { return vfs_poll(this.file, table) & this.events & ~EP_PRIVATE_BITS; }
  /** Ends the watch; also called when the last descriptor of the file is closed. */
  detach(): void {
    for (const { wq, entry } of this.hooks) wq.remove(entry);
    this.hooks.length = 0;
    this.ep.items.delete(this);
    this.ep.rdllist.delete(this);
    this.file.f_ep?.delete(this);
  }
}

export class eventpoll {
  readonly items = new Set<epitem>();
  /** Watches that may have events, in the order they became ready. */
  readonly rdllist = new Set<epitem>();
  /** epoll_wait waits here; poll of the epoll file there. */
  readonly wq = new wait_queue_head('ep_poll');
  readonly poll_wait = new wait_queue_head();

  ready(item: epitem): void {
    this.rdllist.add(item);
    this.wq.wake_up(POLLIN | POLLRDNORM);
    this.poll_wait.wake_up(POLLIN | POLLRDNORM);
  }

  find(f: file, fd: number): epitem | undefined {
    for (const item of this.items) if (item.file === f && item.fd === fd) return item;
    return undefined;
  }

  /** Drops watches from the ready list that have no events after all; is any left? */
  available(): boolean {
    for (const item of this.rdllist) {
      if (item.revents(undefined) !== 0) return true;
      this.rdllist.delete(item);
    }
    return false;
  }
}

const eventpoll_fops: file_operations = {
  llseek: noop_llseek,
  poll(f, table) {
    const ep = f.private_data as eventpoll;
    poll_wait(f, ep.poll_wait, table);
    return ep.available() ? POLLIN | POLLRDNORM : 0;
  },
  release(_inode, f) { for (const item of [...(f.private_data as eventpoll).items]) item.detach(); },
  show_fdinfo(f) {
    let text = '';
    for (const { file, fd, events, data } of (f.private_data as eventpoll).items) {
      text += `tfd: ${String(fd).padStart(8)} events: ${(events >>> 0).toString(16).padStart(8)} data: ${data.toString(16).padStart(16)}  `
        + `pos:${file.f_pos} ino:${file.f_inode.i_ino.toString(16)} sdev:${file.f_inode.i_sb.s_dev.toString(16)}\n`;
    }
    return text;
  },
};

const isEventpoll = (f: file): boolean => f.f_op === eventpoll_fops;

export function sys_epoll_create1(task: task_struct, flags: number): number {
  if ((flags & ~EPOLL_CLOEXEC) !== 0) return -EINVAL;
  const fd = get_unused_fd(task);
  if (fd < 0) return fd;
  fd_install(task.files!, fd, anon_inode_getfile('[eventpoll]', eventpoll_fops, new eventpoll(), O_RDWR), (flags & O_CLOEXEC) !== 0);
  return fd;
}
export const sys_epoll_create = (task: task_struct, size: number): number => (size <= 0 ? -EINVAL : sys_epoll_create1(task, 0));

/** Would watching `target` from `ep` close a circle, or nest too deep? */
function nests(ep: eventpoll, target: file, depth: number): boolean {
  if (!isEventpoll(target)) return false;
  if (target.private_data === ep || depth > EP_MAX_NESTS) return true;
  for (const item of (target.private_data as eventpoll).items) if (nests(ep, item.file, depth + 1)) return true;
  return false;
}

const argument = epoll_event.make();

export function sys_epoll_ctl(task: task_struct, epfd: number, op: number, fd: number, address: number): number {
  if (op !== EPOLL_CTL_DEL && get_user_struct(argument, address) !== 0) return -EFAULT;
  const epFile = fd_lookup(task.files!, epfd);
  const target = fd_lookup(task.files!, fd);
  if (epFile === null || target === null) return -EBADF;
  if (target.f_op.poll === undefined) return -EPERM;
  if (epFile === target || !isEventpoll(epFile)) return -EINVAL;
  const ep = epFile.private_data as eventpoll;
  const wanted = argument.events;
  if (op !== EPOLL_CTL_DEL && (wanted & EPOLLEXCLUSIVE) !== 0 && (op === EPOLL_CTL_MOD || isEventpoll(target))) return -EINVAL;
  if (op === EPOLL_CTL_ADD && nests(ep, target, 0)) return -ELOOP;
  const item = ep.find(target, fd);
  switch (op) {
    case EPOLL_CTL_ADD:
      return item !== undefined ? -EEXIST : insert(ep, target, fd, (wanted | POLLERR | POLLHUP) >>> 0, argument.data);
    case EPOLL_CTL_DEL:
      item?.detach();
      return item === undefined ? -ENOENT : 0;
    case EPOLL_CTL_MOD:
      if (item === undefined) return -ENOENT;
      item.events = (wanted | POLLERR | POLLHUP) >>> 0;
      item.data = argument.data;
      if (item.revents(undefined) !== 0) ep.ready(item);
      return 0;
    default:
      return -EINVAL;
  }
}

function insert(ep: eventpoll, target: file, fd: number, events: number, data: bigint): number {
  const item = new epitem(ep, target, fd, events, data);
  ep.items.add(item);
  (target.f_ep ??= new Set()).add(item);
  if (item.revents(item) !== 0) ep.ready(item);
  return 0;
}

const EVENT_SIZE = epoll_event.size;
const out = new Uint8Array(EVENT_SIZE);
const words = new DataView(out.buffer);

function ep_send_events(ep: eventpoll, address: number, max: number): number {
  let n = 0;
  for (const item of [...ep.rdllist]) {
    if (n >= max) break;
    ep.rdllist.delete(item);
    const revents = item.revents(undefined);
    if (revents === 0) continue;
    words.setUint32(0, revents, true);
    words.setBigUint64(4, item.data, true);
    if (copy_to_user(address + n * EVENT_SIZE, out) !== 0) {
      ep.rdllist.add(item);
      return n || -EFAULT;
    }
    n++;
    if ((item.events & EPOLLONESHOT) !== 0) item.events = (item.events & EP_PRIVATE_BITS) >>> 0;
    else if ((item.events & EPOLLET) === 0) ep.rdllist.add(item);
  }
  return n;
}

function do_epoll_wait(task: task_struct, epfd: number, address: number, max: number, timeout: number): number | MaySleep<number> {
  if (max <= 0 || max > 0x7fff_ffff / EVENT_SIZE) return -EINVAL;
  const f = fd_lookup(task.files!, epfd);
  if (f === null) return -EBADF;
  if (!isEventpoll(f)) return -EINVAL;
  const ep = f.private_data as eventpoll;
  const n = ep_send_events(ep, address, max);
  return n !== 0 || timeout === 0 ? n : ep_poll(task, get_file(f), address, max, timeout);
}

function* ep_poll(task: task_struct, f: file, address: number, max: number, timeout: number): MaySleep<number> {
  const ep = f.private_data as eventpoll;
  let n = 0;
  for (let left = timeout; ; ) {
    left = yield* wait_event_interruptible_timeout(ep.wq, () => ep.available(), left);
    n = ep_send_events(ep, address, max);
    if (n !== 0 || left === 0) break;
    if (left < 0 || signal_pending(task)) { n = -EINTR; break; }
  }
  fput(f);
  return n;
}

const milliseconds = (n: number): number => ((n | 0) < 0 ? Number.POSITIVE_INFINITY : ns_to_cycles((n | 0) * 1_000_000));

export const sys_epoll_wait = (task: task_struct, epfd: number, events: number, max: number, timeout: number): number | MaySleep<number> =>
  do_epoll_wait(task, epfd, events, max | 0, milliseconds(timeout));

function* masked(task: task_struct, sigmask: number, size: number, call: () => number | MaySleep<number>): MaySleep<number> {
  if (sigmask !== 0) {
    if (size !== 8) return -EINVAL;
    const mask = get_user64(sigmask);
    if (mask === undefined) return -EFAULT;
    set_temporary_sigmask(mask);
  }
  const called = call();
  const result = typeof called === 'number' ? called : yield* called;
  if (sigmask !== 0 && result !== -EINTR) {
    set_current_blocked(task.saved_sigmask!);
    task.saved_sigmask = undefined;
  }
  return result;
}

export const sys_epoll_pwait = (task: task_struct, epfd: number, events: number, max: number, timeout: number, sigmask: number): MaySleep<number> =>
  masked(task, sigmask, 8, () => do_epoll_wait(task, epfd, events, max | 0, milliseconds(timeout)));

export function* sys_epoll_pwait2(task: task_struct, epfd: number, events: number, max: number, timeout: number, sigmask: number): MaySleep<number> {
  let cycles = Number.POSITIVE_INFINITY;
  if (timeout !== 0) {
    const ts = get_timespec(timeout);
    if (typeof ts === 'number') return ts;
    cycles = timespec_to_cycles(ts);
  }
  return yield* masked(task, sigmask, 8, () => do_epoll_wait(task, epfd, events, max | 0, cycles));
}
