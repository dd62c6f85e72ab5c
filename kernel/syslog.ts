/** syslog(2), which dmesg uses. Linux: kernel/printk/printk.c (do_syslog) */
import { EFAULT, EINVAL } from '../abi/errno.ts';
import { utf8 } from '../lib/text.ts';
import { kernelVariable } from './current.ts';
import { copy_to_user } from './mm/uaccess.ts';
import { type PrintkRecord, log, log_records, timestamp } from './printk.ts';
import type { MaySleep, task_struct } from './sched/types.ts';
import { wait_event_interruptible, wait_queue_head } from './sched/wait.ts';

const SYSLOG_ACTION_CLOSE = 0, SYSLOG_ACTION_OPEN = 1, SYSLOG_ACTION_READ = 2, SYSLOG_ACTION_READ_ALL = 3, SYSLOG_ACTION_READ_CLEAR = 4, SYSLOG_ACTION_CLEAR = 5;
const SYSLOG_ACTION_CONSOLE_OFF = 6, SYSLOG_ACTION_CONSOLE_ON = 7, SYSLOG_ACTION_CONSOLE_LEVEL = 8, SYSLOG_ACTION_SIZE_UNREAD = 9, SYSLOG_ACTION_SIZE_BUFFER = 10;
const LOG_BUF_LEN = 1 << 18;

const reader = kernelVariable(() => {
  const wq = new wait_queue_head('do_syslog');
  log().listeners.push(() => wq.wake_up_interruptible());
  return { wq, seq: 0, saved_level: -1 };
});

/** `<6>[    0.000000] text`, facility kernel. */
const line = (r: PrintkRecord): Uint8Array => utf8(`<${r.level}>${timestamp(r.time)} ${r.text}\n`);

/** The newest whole lines from `seq` on that fit. */
function all(seq: number, size: number): Uint8Array {
  const lines = log_records(seq).map(line);
  let total = lines.reduce((n, l) => n + l.length, 0);
  while (total > size && lines.length > 0) total -= lines.shift()!.length;
  const out = new Uint8Array(total);
  let at = 0;
  for (const l of lines) {
    out.set(l, at);
    at += l.length;
  }
  return out;
}

function* read_next(address: number, size: number): MaySleep<number> {
  const r = reader();
  const error = yield* wait_event_interruptible(r.wq, () => log().seq > r.seq);
  if (error < 0) return error;
  let done = 0;
  for (const record of log_records(r.seq)) {
    const bytes = line(record);
    if (done + bytes.length > size) break;
    if (copy_to_user(address + done, bytes) < 0) return done || -EFAULT;
    done += bytes.length;
    r.seq = record.seq + 1;
  }
  return done;
}

export function sys_syslog(_task: task_struct, type: number, address: number, length: number): number | MaySleep<number> {
  const l = log();
  switch (type) {
    case SYSLOG_ACTION_CLOSE:
    case SYSLOG_ACTION_OPEN: return 0;
    case SYSLOG_ACTION_READ:
      if (address === 0 || length < 0) return -EINVAL;
      return length === 0 ? 0 : read_next(address, length);
    case SYSLOG_ACTION_READ_ALL:
    case SYSLOG_ACTION_READ_CLEAR: {
      if (address === 0 || length < 0) return -EINVAL;
      const bytes = all(l.clear_seq, length);
      if (copy_to_user(address, bytes) < 0) return -EFAULT;
      if (type === SYSLOG_ACTION_READ_CLEAR) l.clear_seq = l.seq;
      return bytes.length;
    }
    case SYSLOG_ACTION_CLEAR:
      l.clear_seq = l.seq;
      return 0;
    case SYSLOG_ACTION_CONSOLE_OFF:
      if (reader().saved_level < 0) reader().saved_level = l.console_loglevel;
      l.console_loglevel = 1;
      return 0;
    case SYSLOG_ACTION_CONSOLE_ON:
      if (reader().saved_level >= 0) l.console_loglevel = reader().saved_level;
      reader().saved_level = -1;
      return 0;
    case SYSLOG_ACTION_CONSOLE_LEVEL:
      if (length < 1 || length > 8) return -EINVAL;
      l.console_loglevel = length;
      reader().saved_level = -1;
      return 0;
    case SYSLOG_ACTION_SIZE_UNREAD: return log_records(reader().seq).reduce((n, r) => n + line(r).length, 0);
    case SYSLOG_ACTION_SIZE_BUFFER: return LOG_BUF_LEN;
    default: return -EINVAL;
  }
}
