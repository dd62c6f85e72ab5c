/**
 * Terminals: tcgetattr(3), tcsetpgrp(3), window size.
 */
import type { Sys } from '../../abi/process.ts';
import { type ArrayView, addressOf, array, bytesOf, copyOut, s32 } from '../../abi/struct.ts';
import { TCGETS, TCSETS, TCSETSF, TCSETSW, TIOCGPGRP, TIOCGWINSZ, TIOCSPGRP, termios, winsize } from '../../abi/termios.ts';
import { Errno } from './errno.ts';
import { ioctl } from './files.ts';
import { alloc, free } from './malloc.ts';
import { self } from './state.ts';

const int = array(s32, 1);

/** A terminal's settings as values of their own: the bytes of its struct termios. */
export interface TerminalSettings { readonly bytes: Uint8Array }

export function* tcgetattr(fd: number): Sys<TerminalSettings> {
  const t = yield* alloc(termios);
  try {
    yield* ioctl(fd, TCGETS, t);
    return { bytes: bytesOf(t) };
  } finally {
    yield* free(t);
  }
}

const REQUESTS = [TCSETS, TCSETSW, TCSETSF] as const;

/** `when`: TCSANOW, TCSADRAIN or TCSAFLUSH. `change` edits the settings before they are set. */
export function* tcsetattr(fd: number, when: 0 | 1 | 2, settings: TerminalSettings, change: (t: termios) => void = () => {}): Sys {
  const t = yield* alloc(termios);
  try {
    copyOut(self().space, addressOf(t), settings.bytes);
    change(t);
    yield* ioctl(fd, REQUESTS[when], t);
  } finally {
    yield* free(t);
  }
}

export function* isatty(fd: number): Sys<boolean> {
  try {
    yield* tcgetattr(fd);
    return true;
  } catch (e) {
    if (e instanceof Errno) return false;
    throw e;
  }
}

export function* windowSize(fd: number): Sys<{ rows: number; cols: number }> {
  const w = yield* alloc(winsize);
  try {
    yield* ioctl(fd, TIOCGWINSZ, w);
    return { rows: w.ws_row || 24, cols: w.ws_col || 80 };
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    return { rows: 24, cols: 80 };
  } finally {
    yield* free(w);
  }
}

function* withInt<T>(use: (cell: ArrayView<number>) => Sys<T>): Sys<T> {
  const cell = yield* alloc(int);
  try {
    return yield* use(cell);
  } finally {
    yield* free(cell);
  }
}

/** Gives the terminal to a process group. */
export const tcsetpgrp = (fd: number, pgrp: number): Sys<number> =>
  withInt(function* set(cell) {
    cell.set(0, pgrp);
    return yield* ioctl(fd, TIOCSPGRP, cell);
  });

export const tcgetpgrp = (fd: number): Sys<number> =>
  withInt(function* get(cell) {
    yield* ioctl(fd, TIOCGPGRP, cell);
    return cell.get(0);
  });
