/**
 * ioctl requests of terminals.
 *
 * Linux: drivers/tty/tty_ioctl.c, drivers/tty/tty_io.c (tty_ioctl), include/uapi/asm-generic/ioctls.h
 */
import { EFAULT, EINVAL, EIO, ENOTTY } from '../../../abi/errno.ts';
import type { Word } from '../../../abi/process.ts';
import { SIGWINCH } from '../../../abi/signal.ts';
import { assign } from '../../../abi/struct.ts';
import * as T from '../../../abi/termios.ts';
import { ENOIOCTLCMD, type file } from '../../fs/types.ts';
import { get_user_struct, put_user_struct } from '../../fs/user.ts';
import { copy_from_user, get_user32, put_user32 } from '../../mm/uaccess.ts';
import { kill_pgrp } from '../../signal.ts';
import type { MaySleep } from '../../sched/types.ts';
import { tiocgpgrp, tiocgsid, tiocnotty, tiocsctty, tiocspgrp, tty_check_change } from './tty-jobctrl.ts';
import type { tty_file_private, tty_struct } from './tty.ts';

const newTermios = T.termios.make();
const newTermios2 = T.termios2.make();
const newSize = T.winsize.make();
const oneByte = new Uint8Array(1);

const TCGETS2 = 0x802c542a;
const TCSETS2 = 0x402c542b;
const TCSETSW2 = 0x402c542c;
const TCSETSF2 = 0x402c542d;
const BAUD: Record<number, number> = { [T.B9600]: 9600, [T.B19200]: 19200, [T.B38400]: 38400, [T.B57600]: 57600, [T.B115200]: 115200 };

function set_termios(tty: tty_struct, from: T.termios | T.termios2, flush: boolean): number {
  const old = tty.termios.c_lflag;
  const next = tty.termios;
  next.c_iflag = from.c_iflag;
  next.c_oflag = from.c_oflag;
  next.c_cflag = from.c_cflag;
  next.c_lflag = from.c_lflag;
  next.c_line = from.c_line;
  for (let i = 0; i < T.NCCS; i++) next.c_cc.set(i, from.c_cc.get(i));
  if (flush) tty.ldisc.flush();
  if (((old ^ next.c_lflag) & T.ICANON) !== 0) tty.ldisc.canonicalChanged();
  if (tty.stopped && (next.c_iflag & T.IXON) === 0) tty.ldisc.start();
  tty.ops.set_termios?.();
  return 0;
}

function tcsets(tty: tty_struct, address: number, flush: boolean): number {
  const error = tty_check_change(tty);
  if (error < 0) return error;
  return get_user_struct(newTermios, address) !== 0 ? -EFAULT : set_termios(tty, newTermios, flush);
}

function tcsets2(tty: tty_struct, address: number, flush: boolean): number {
  const error = tty_check_change(tty);
  if (error < 0) return error;
  return get_user_struct(newTermios2, address) !== 0 ? -EFAULT : set_termios(tty, newTermios2, flush);
}

function tcgets2(tty: tty_struct, address: number): number {
  const t = newTermios2;
  t.c_iflag = tty.termios.c_iflag;
  t.c_oflag = tty.termios.c_oflag;
  t.c_cflag = tty.termios.c_cflag;
  t.c_lflag = tty.termios.c_lflag;
  t.c_line = tty.termios.c_line;
  for (let i = 0; i < T.NCCS; i++) t.c_cc.set(i, tty.termios.c_cc.get(i));
  t.c_ispeed = t.c_ospeed = BAUD[t.c_cflag & T.CBAUD] ?? 115200;
  return put_user_struct(address, t);
}

/** A new window size; the foreground is told when it is one. */
export function tty_do_resize(tty: tty_struct, rows: number, cols: number, xpixel = 0, ypixel = 0): void {
  const { winsize: now } = tty;
  if (now.ws_row === rows && now.ws_col === cols && now.ws_xpixel === xpixel && now.ws_ypixel === ypixel) return;
  assign(now, { ws_row: rows, ws_col: cols, ws_xpixel: xpixel, ws_ypixel: ypixel });
  if (tty.pgrp !== 0) kill_pgrp(tty.pgrp, SIGWINCH);
}

function tcxonc(tty: tty_struct, action: number): number {
  const error = tty_check_change(tty);
  if (error < 0) return error;
  switch (action) {
    case T.TCOOFF: tty.stopped = true; return 0;
    case T.TCOON: tty.ldisc.start(); return 0;
    case T.TCIOFF: case T.TCION: {
      const c = tty.termios.c_cc.get(action === T.TCIOFF ? T.VSTOP : T.VSTART);
      if (c !== 0) tty.ops.write(Uint8Array.of(c));
      return 0;
    }
    default: return -EINVAL;
  }
}

function tcflsh(tty: tty_struct, queue: number): number {
  const error = tty_check_change(tty);
  if (error < 0) return error;
  if (queue !== T.TCIFLUSH && queue !== T.TCOFLUSH && queue !== T.TCIOFLUSH) return -EINVAL;
  if (queue !== T.TCOFLUSH) tty.ldisc.flush();
  return 0;
}

function tiocsti(tty: tty_struct, address: number): number {
  if (copy_from_user(oneByte, address) !== 0) return -EFAULT;
  tty.ldisc.receive(oneByte.slice());
  return 0;
}

type Handler = (tty: tty_struct, arg: number) => number;

/** One row a request. */
const requests = new Map<number, Handler>([
  [T.TCGETS.nr,     (tty, arg) => put_user_struct(arg, tty.termios)],
  [T.TCSETS.nr,     (tty, arg) => tcsets(tty, arg, false)],
  [T.TCSETSW.nr,    (tty, arg) => tcsets(tty, arg, false)],
  [T.TCSETSF.nr,    (tty, arg) => tcsets(tty, arg, true)],
  [TCGETS2,         tcgets2],
  [TCSETS2,         (tty, arg) => tcsets2(tty, arg, false)],
  [TCSETSW2,        (tty, arg) => tcsets2(tty, arg, false)],
  [TCSETSF2,        (tty, arg) => tcsets2(tty, arg, true)],
  [T.TCSBRK.nr,     (tty) => tty_check_change(tty)],
  [T.TCSBRKP.nr,    (tty) => tty_check_change(tty)],
  [T.TCXONC.nr,     tcxonc],
  [T.TCFLSH.nr,     tcflsh],
  [T.TIOCEXCL.nr,   (tty) => { tty.exclusive = true; return 0; }],
  [T.TIOCNXCL.nr,   (tty) => { tty.exclusive = false; return 0; }],
  [T.TIOCSCTTY.nr,  (tty, arg) => tiocsctty(tty, arg === 1)],
  [T.TIOCNOTTY.nr,  (tty) => tiocnotty(tty)],
  [T.TIOCGPGRP.nr,  tiocgpgrp],
  [T.TIOCSPGRP.nr,  tiocspgrp],
  [T.TIOCGSID.nr,   tiocgsid],
  [T.TIOCOUTQ.nr,   (_tty, arg) => put_user32(arg, 0)],
  [T.FIONREAD.nr,   (tty, arg) => put_user32(arg, tty.ldisc.readable())],
  [T.TIOCSTI.nr,    tiocsti],
  [T.TIOCGWINSZ.nr, (tty, arg) => put_user_struct(arg, tty.winsize)],
  [T.TIOCSWINSZ.nr, (tty, arg) => {
    if (get_user_struct(newSize, arg) !== 0) return -EFAULT;
    tty_do_resize(tty, newSize.ws_row, newSize.ws_col, newSize.ws_xpixel, newSize.ws_ypixel);
    return 0;
  }],
  [T.TIOCGETD.nr,   (_tty, arg) => put_user32(arg, 0)],
  [T.TIOCSETD.nr,   (_tty, arg) => { const n = get_user32(arg); return n === undefined ? -EFAULT : n === 0 ? 0 : -EINVAL; }],
]);

export function tty_ioctl(f: file, cmd: number, arg: Word): number | MaySleep<number> {
  const priv = f.private_data as tty_file_private;
  if (priv.hung_up) return cmd === T.TIOCSPGRP.nr ? -ENOTTY : -EIO;
  const handler = requests.get(cmd);
  return handler === undefined ? -ENOIOCTLCMD : handler(priv.tty, Number(arg));
}
