/**
 * Terminals as files: open, read, write, poll; /dev/tty and /dev/console, which stand for another terminal.
 *
 * Linux: drivers/tty/tty_io.c, drivers/tty/n_tty.c (n_tty_read, n_tty_write, n_tty_poll)
 */
import { EAGAIN, EBUSY, EFAULT, EIO, ENODEV, ENXIO } from '../../../abi/errno.ts';
import { O_NOCTTY, O_NONBLOCK, minor } from '../../../abi/fcntl.ts';
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM } from '../../../abi/poll.ts';
import { SIGTTIN } from '../../../abi/signal.ts';
import { ICANON, VMIN, VTIME } from '../../../abi/termios.ts';
import { current, kernelVariable, machine } from '../../current.ts';
import { ERESTARTSYS } from '../../errno-internal.ts';
import type { iov_iter } from '../../fs/iov-iter.ts';
import { type file, type file_operations, poll_wait } from '../../fs/types.ts';
import { ns_to_cycles } from '../../time/timekeeping.ts';
import { schedule_timeout, signal_pending } from '../../sched/core.ts';
import { type MaySleep, TASK_INTERRUPTIBLE, TASK_RUNNING } from '../../sched/types.ts';
import { wait_event_interruptible, waiter } from '../../sched/wait.ts';
import { device_create, register_chrdev_region } from '../chrdev.ts';
import { __tty_check_change, tty_check_write, tty_open_proc_set_tty } from './tty-jobctrl.ts';
import { tty_do_resize, tty_ioctl } from './tty_ioctl.ts';
import { tty_file_private, type tty_struct } from './tty.ts';

export const TTY_MAJOR = 4;
export const TTYAUX_MAJOR = 5;

/** Terminals by device number, and the one that is the console. */
const ttys = kernelVariable(() => ({ byDev: new Map<number, tty_struct>(), console: undefined as tty_struct | undefined }));

export const console_tty = (): tty_struct | undefined => ttys().console;

// ---- reading

function n_tty_read(f: file, to: iov_iter): number | MaySleep<number> {
  const priv = f.private_data as tty_file_private;
  const { tty } = priv;
  if (to.count === 0) return 0;
  if (priv.hung_up) return 0;
  const denied = __tty_check_change(tty, SIGTTIN);
  if (denied < 0) return denied;
  return read_loop(f, priv, to);
}

/** A canonical read gives at most one line; a raw one obeys VMIN and VTIME. */
function* read_loop(f: file, priv: tty_file_private, to: iov_iter): MaySleep<number> {
  const { tty } = priv;
  const canonical = (tty.termios.c_lflag & ICANON) !== 0;
  const least = canonical ? 1 : tty.termios.c_cc.get(VMIN);
  const tenths = canonical ? 0 : tty.termios.c_cc.get(VTIME);
  const gap = tenths > 0 ? ns_to_cycles(tenths * 100_000_000) : Number.POSITIVE_INFINITY;
  // With VMIN the clock starts at the first byte, without it at once.
  let timeout = least > 0 ? Number.POSITIVE_INFINITY : tenths > 0 ? gap : 0;
  const buffer = new Uint8Array(Math.min(to.count, 4096));
  let got = 0;
  let error = 0;
  for (;;) {
    if (!tty.ldisc.available()) {
      if (tty.inputEnded && tty.ldisc.endPartialLine()) continue;
      if (priv.hung_up || tty.inputEnded) break;
      if (timeout === 0) break;
      if ((f.f_flags & O_NONBLOCK) !== 0) { error = -EAGAIN; break; }
      if (signal_pending(current())) { error = -ERESTARTSYS; break; }
      timeout = yield* wait_for_input(priv, timeout);
      // back from a stop in the background, it may no longer read
      const denied = __tty_check_change(tty, SIGTTIN);
      if (denied < 0) { error = denied; break; }
      continue;
    }
    const room = buffer.subarray(0, Math.min(buffer.length, to.count));
    if ((tty.termios.c_lflag & ICANON) !== 0) {
      const { n, done } = tty.ldisc.takeLine(room);
      if (n > 0 && to.copy_to(room.subarray(0, n)) !== n) return got || -EFAULT;
      got += n;
      if (done || to.count === 0) break;
      continue;
    }
    const n = tty.ldisc.takeRaw(room);
    if (to.copy_to(room.subarray(0, n)) !== n) return got || -EFAULT;
    got += n;
    if (got >= Math.max(least, 1) || to.count === 0) break;
    timeout = gap;
  }
  return got || error;
}

/** Sleeps until input comes, the terminal changes, a signal arrives or `timeout` cycles are over; cycles left. */
function* wait_for_input(priv: tty_file_private, timeout: number): MaySleep<number> {
  const { tty } = priv;
  const entry = waiter();
  tty.read_wait.add(entry);
  current().wchan = tty.read_wait.wchan;
  current().__state = TASK_INTERRUPTIBLE;
  tty.ops.unthrottle();
  if (!tty.ldisc.available() && !tty.inputEnded && !priv.hung_up && !signal_pending(current())) timeout = yield* schedule_timeout(timeout);
  current().__state = TASK_RUNNING;
  current().wchan = '';
  tty.read_wait.remove(entry);
  return timeout;
}

// ---- writing

const CHUNK = 2048;
const chunk = new Uint8Array(CHUNK);

function n_tty_write(f: file, from: iov_iter): number | MaySleep<number> {
  const priv = f.private_data as tty_file_private;
  const { tty } = priv;
  if (priv.hung_up) return -EIO;
  const denied = tty_check_write(tty);
  if (denied < 0) return denied;
  if (tty.stopped && from.count > 0) return (f.f_flags & O_NONBLOCK) !== 0 ? -EAGAIN : write_when_started(priv, from);
  return send(tty, from);
}

function send(tty: tty_struct, from: iov_iter): number {
  let done = 0;
  while (from.count > 0) {
    const piece = from.count < CHUNK ? chunk.subarray(0, from.count) : chunk;
    const n = from.copy_from(piece);
    if (n < 0) return done || n;
    tty.ldisc.write(piece.subarray(0, n));
    done += n;
    if (n < piece.length) break;
  }
  return done;
}

function* write_when_started(priv: tty_file_private, from: iov_iter): MaySleep<number> {
  const error = yield* wait_event_interruptible(priv.tty.write_wait, () => !priv.tty.stopped || priv.hung_up);
  if (error < 0) return error;
  return priv.hung_up ? -EIO : send(priv.tty, from);
}

// ---- files

function open_on(tty: tty_struct, f: file, isConsole: boolean): number {
  if (tty.exclusive) return -EBUSY;
  f.private_data = new tty_file_private(tty, isConsole);
  if ((f.f_flags & O_NOCTTY) === 0 && !isConsole) tty_open_proc_set_tty(tty);
  return 0;
}

const tty_fops: file_operations = {
  open(inode, f) {
    const tty = ttys().byDev.get(inode.i_rdev);
    return tty === undefined ? -ENXIO : open_on(tty, f, false);
  },
  read: n_tty_read,
  write: n_tty_write,
  ioctl: tty_ioctl,
  poll(f, table) {
    const priv = f.private_data as tty_file_private;
    const { tty } = priv;
    poll_wait(f, tty.read_wait, table);
    poll_wait(f, tty.write_wait, table);
    if (priv.hung_up) return POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;
    const canonical = (tty.termios.c_lflag & ICANON) !== 0;
    const least = canonical || tty.termios.c_cc.get(VTIME) > 0 ? 1 : Math.max(1, tty.termios.c_cc.get(VMIN));
    let mask = tty.stopped ? 0 : POLLOUT | POLLWRNORM;
    if (tty.ldisc.available(least) || tty.inputEnded) mask |= POLLIN | POLLRDNORM;
    else if (table !== undefined) {
      tty.ops.unthrottle();
      if (tty.ldisc.available(least) || tty.inputEnded) mask |= POLLIN | POLLRDNORM;
    }
    return mask;
  },
};

/** /dev/tty: the terminal of whoever opens it. */
const dev_tty_fops: file_operations = {
  ...tty_fops,
  open(_inode, f) {
    const tty = current().signal.tty;
    return tty === undefined ? -ENXIO : open_on(tty as tty_struct, f, false);
  },
};

/** /dev/console: the terminal the kernel itself prints on. It never becomes a controlling terminal by being opened. */
const console_fops: file_operations = {
  ...tty_fops,
  open(_inode, f) {
    const tty = console_tty();
    return tty === undefined ? -ENODEV : open_on(tty, f, true);
  },
};

/** Makes /dev/NAME for a terminal. The first one registered is the console. */
export function tty_register_device(tty: tty_struct): void {
  const state = ttys();
  state.byDev.set(tty.dev, tty);
  register_chrdev_region(TTY_MAJOR, minor(tty.dev), 1, 'ttyS', tty_fops);
  device_create(tty.name, TTY_MAJOR, minor(tty.dev), 0o620);
  if (state.console !== undefined) return;
  state.console = tty;
  const { rows, cols } = machine().platform.console.size();
  tty_do_resize(tty, rows, cols);
}

export function tty_init(): void {
  register_chrdev_region(TTYAUX_MAJOR, 0, 1, '/dev/tty', dev_tty_fops);
  device_create('tty', TTYAUX_MAJOR, 0, 0o666);
  register_chrdev_region(TTYAUX_MAJOR, 1, 1, '/dev/console', console_fops);
  device_create('console', TTYAUX_MAJOR, 1, 0o600);
}

/** The host's window has a new size. Called between steps of the machine, through an event, so that replay repeats it. */
export function console_resize(cols: number, rows: number): void {
  const tty = console_tty();
  if (tty !== undefined) tty_do_resize(tty, rows, cols);
}

