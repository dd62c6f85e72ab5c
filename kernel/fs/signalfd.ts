/**
 * signalfd: pending signals as records to read.
 *
 * Linux: fs/signalfd.c
 */
import { EAGAIN, EBADF, EFAULT, EINVAL } from '../../abi/errno.ts';
import { O_NONBLOCK, O_RDWR } from '../../abi/fcntl.ts';
import { POLLIN } from '../../abi/poll.ts';
import { SFD_CLOEXEC, SFD_NONBLOCK, SIGKILL, SIGSTOP, signalfd_siginfo } from '../../abi/signal.ts';
import { windowOf } from '../../abi/struct.ts';
import { current } from '../current.ts';
import { get_user64 } from '../mm/uaccess.ts';
import type { MaySleep, kernel_siginfo, task_struct } from '../sched/types.ts';
import { wait_event_interruptible } from '../sched/wait.ts';
import { dequeue_signal, sigmask } from '../signal.ts';
import { anon_inode_getfile } from './anon-inodes.ts';
import { fd_install, fd_lookup, get_unused_fd } from './file.ts';
import type { iov_iter } from './iov-iter.ts';
import { noop_llseek } from './read-write.ts';
import { signalfd_notify, signalfd_wqh } from './signalfd-notify.ts';
import { type file, type file_operations, poll_wait } from './types.ts';

interface signalfd_ctx { sigmask: bigint }
const maskOf = (f: file): bigint => (f.private_data as signalfd_ctx).sigmask;
const pending = (task: task_struct, mask: bigint): boolean => ((task.pending.signal | task.signal.shared_pending.signal) & mask) !== 0n;

const SIZE = signalfd_siginfo.size;

function record(info: kernel_siginfo): Uint8Array {
  const s = signalfd_siginfo.make();
  s.ssi_signo = info.si_signo;
  s.ssi_errno = info.si_errno;
  s.ssi_code = info.si_code;
  s.ssi_pid = info.si_pid;
  s.ssi_uid = info.si_uid;
  s.ssi_status = info.si_status;
  s.ssi_int = Number(BigInt.asIntN(32, info.si_value));
  s.ssi_ptr = BigInt.asUintN(64, info.si_value);
  s.ssi_addr = BigInt(info.si_addr);
  return windowOf(s);
}

/** As many signals as there are and fit. */
function deliver(f: file, to: iov_iter): number {
  let done = 0;
  while (to.count >= SIZE) {
    const info = dequeue_signal(current(), ~maskOf(f));
    if (info === undefined) break;
    if (to.copy_to(record(info)) !== SIZE) return done || -EFAULT;
    done += SIZE;
  }
  return done;
}

function* waitForSignal(f: file, to: iov_iter): MaySleep<number> {
  const error = yield* wait_event_interruptible(signalfd_wqh(), () => pending(current(), maskOf(f)));
  return error < 0 ? error : deliver(f, to);
}

const signalfd_fops: file_operations = {
  llseek: noop_llseek,
  read(f, to) {
    if (to.count < SIZE) return -EINVAL;
    if (pending(current(), maskOf(f))) return deliver(f, to);
    return (f.f_flags & O_NONBLOCK) !== 0 ? -EAGAIN : waitForSignal(f, to);
  },
  poll(f, table) {
    poll_wait(f, signalfd_wqh(), table);
    return pending(current(), maskOf(f)) ? POLLIN : 0;
  },
  show_fdinfo: (f) => `sigmask:\t${maskOf(f).toString(16).padStart(16, '0')}\n`,
};

export function sys_signalfd4(task: task_struct, fd: number, address: number, size: number, flags: number): number {
  if (size !== 8) return -EINVAL;
  const wanted = get_user64(address);
  if (wanted === undefined) return -EFAULT;
  if ((flags & ~(SFD_CLOEXEC | SFD_NONBLOCK)) !== 0) return -EINVAL;
  const mask = wanted & ~(sigmask(SIGKILL) | sigmask(SIGSTOP));
  if ((fd | 0) !== -1) {
    const f = fd_lookup(task.files!, fd);
    if (f === null) return -EBADF;
    if (f.f_op !== signalfd_fops) return -EINVAL;
    (f.private_data as signalfd_ctx).sigmask = mask;
    signalfd_notify();
    return fd;
  }
  const made = get_unused_fd(task);
  if (made < 0) return made;
  const ctx: signalfd_ctx = { sigmask: mask };
  fd_install(task.files!, made, anon_inode_getfile('[signalfd]', signalfd_fops, ctx, O_RDWR | (flags & SFD_NONBLOCK)), (flags & SFD_CLOEXEC) !== 0);
  return made;
}
export const sys_signalfd = (task: task_struct, fd: number, address: number, size: number): number => sys_signalfd4(task, fd, address, size, 0);
