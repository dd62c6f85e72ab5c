/**
 * Devices without hardware: null, zero, full, random, urandom, kmsg.
 *
 * Linux: drivers/char/mem.c, drivers/char/random.c
 */
import { EINVAL, ENOSPC } from '../../../abi/errno.ts';
import { machine } from '../../current.ts';
import type { iov_iter } from '../../fs/iov-iter.ts';
import { null_lseek } from '../../fs/read-write.ts';
import type { file, file_operations } from '../../fs/types.ts';
import { POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from '../../../abi/poll.ts';
import { kmsg_fops } from './kmsg.ts';
import { __get_free_zeroed } from '../../mm/page-alloc.ts';
import { cond_resched, signal_pending } from '../../sched/core.ts';
import { current } from '../../current.ts';
import type { MaySleep } from '../../sched/types.ts';
import { device_create, register_chrdev_region } from '../chrdev.ts';

const swallow = (_f: file, from: iov_iter): number => {
  const n = from.count;
  from.advance(n);
  return n;
};

const null_fops: file_operations = { read: () => 0, write: swallow, llseek: null_lseek };

/** Bytes given out between two looks at whether someone else should run. */
const CHUNK = 65536;

const zero_fops: file_operations = {
  read: (_f, to) => (to.count <= CHUNK ? to.zero(to.count) : zeroMuch(to)),
  write: swallow,
  llseek: null_lseek,
  mmap(_f, vma) {
    vma.vm_ops = { fault: () => __get_free_zeroed() };
    return 0;
  },
};

function* zeroMuch(to: iov_iter): MaySleep<number> {
  let done = 0;
  while (to.count > 0) {
    const n = to.zero(Math.min(CHUNK, to.count));
    if (n < 0) return done || n;
    done += n;
    if (n === 0 || signal_pending(current())) break;
    yield* cond_resched();
  }
  return done;
}

const full_fops: file_operations = { read: zero_fops.read!, write: () => -ENOSPC, llseek: null_lseek };

function randomBytes(_f: file, to: iov_iter): number {
  const bytes = new Uint8Array(Math.min(to.count, 1 << 20));
  machine().random.fill(bytes);
  return to.copy_to(bytes);
}
const random_fops: file_operations = {
  read: randomBytes,
  write: swallow,
  llseek: null_lseek,
  ioctl: () => -EINVAL,
  poll: () => POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM,
};

export const MEM_MAJOR = 1;

/** Minor, name, mode, operations. */
const devlist: readonly (readonly [number, string, number, file_operations])[] = [
  [3, 'null',    0o666, null_fops],
  [5, 'zero',    0o666, zero_fops],
  [7, 'full',    0o666, full_fops],
  [8, 'random',  0o666, random_fops],
  [9, 'urandom', 0o666, random_fops],
  [11, 'kmsg',   0o644, kmsg_fops],
];

export function chr_dev_init(): void {
  for (const [minor, name, mode, fops] of devlist) {
    register_chrdev_region(MEM_MAJOR, minor, 1, 'mem', fops);
    device_create(name, MEM_MAJOR, minor, mode);
  }
}
