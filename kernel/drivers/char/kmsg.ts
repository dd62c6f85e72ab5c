/**
 * /dev/kmsg: the kernel's log, one record a read, and a way to write into it.
 *
 * Linux: kernel/printk/printk.c (devkmsg_*), Documentation/ABI/testing/dev-kmsg
 */
import { EAGAIN, EINVAL, EPIPE, ESPIPE } from '../../../abi/errno.ts';
import { O_NONBLOCK, SEEK_DATA, SEEK_END, SEEK_SET } from '../../../abi/fcntl.ts';
import { POLLERR, POLLIN, POLLPRI, POLLRDNORM } from '../../../abi/poll.ts';
import { fromUtf8, utf8 } from '../../../lib/text.ts';
import { kernelVariable } from '../../current.ts';
import type { iov_iter } from '../../fs/iov-iter.ts';
import { type file, type file_operations, poll_wait } from '../../fs/types.ts';
import { LOGLEVEL_WARNING, log, log_records, printk } from '../../printk.ts';
import type { MaySleep } from '../../sched/types.ts';
import { wait_event_interruptible, wait_queue_head } from '../../sched/wait.ts';

/** A message may not be longer than this. */
const LOG_LINE_MAX = 1024;

/** Readers that wait for the next record. */
const log_wait = kernelVariable(() => {
  const wq = new wait_queue_head('devkmsg_read');
  log().listeners.push(() => wq.wake_up_all(POLLIN | POLLRDNORM));
  return wq;
});

interface Reader { seq: number }
const readerOf = (f: file): Reader => f.private_data as Reader;

function next(f: file, to: iov_iter): number {
  const reader = readerOf(f);
  const record = log_records(reader.seq)[0]!;
  if (record.seq !== reader.seq) {
    // what stood here was overwritten: say so once, and go on with the oldest there is
    reader.seq = record.seq;
    return -EPIPE;
  }
  const text = record.text.replace(/[^\x20-\x7e]|\\/g, (c) => [...utf8(c)].map((b) => `\\x${b.toString(16).padStart(2, '0')}`).join(''));
  const line = utf8(`${record.level},${record.seq},${Math.floor(record.time / 1000)},-;${text}\n`);
  if (line.length > to.count) return -EINVAL;
  reader.seq++;
  return to.copy_to(line);
}

function* waitForRecord(f: file, to: iov_iter): MaySleep<number> {
  const error = yield* wait_event_interruptible(log_wait(), () => log().seq > readerOf(f).seq);
  return error < 0 ? error : next(f, to);
}

export const kmsg_fops: file_operations = {
  open(_inode, f) {
    f.private_data = { seq: log_records(0)[0]?.seq ?? 0 } satisfies Reader;
    return 0;
  },
  read(f, to) {
    if (log().seq > readerOf(f).seq) return next(f, to);
    return (f.f_flags & O_NONBLOCK) !== 0 ? -EAGAIN : waitForRecord(f, to);
  },
  write(_f, from) {
    if (from.count > LOG_LINE_MAX) return -EINVAL;
    const bytes = new Uint8Array(from.count);
    const n = from.copy_from(bytes);
    if (n < 0) return n;
    const prefix = /^<(\d+)>/.exec(fromUtf8(bytes));
    printk(prefix ? Number(prefix[1]) & 7 : LOGLEVEL_WARNING, fromUtf8(bytes).slice(prefix?.[0].length ?? 0));
    return n;
  },
  poll(f, table) {
    poll_wait(f, log_wait(), table);
    const reader = readerOf(f);
    if (log().seq <= reader.seq) return 0;
    return POLLIN | POLLRDNORM | (log_records(reader.seq)[0]!.seq !== reader.seq ? POLLERR | POLLPRI : 0);
  },
  llseek(f, offset, whence) {
    if (offset !== 0) return -ESPIPE;
    const reader = readerOf(f);
    if (whence === SEEK_SET) reader.seq = log_records(0)[0]?.seq ?? 0;
    else if (whence === SEEK_DATA) reader.seq = log().clear_seq;
    else if (whence === SEEK_END) reader.seq = log().seq;
    else return -EINVAL;
    return 0;
  },
};
