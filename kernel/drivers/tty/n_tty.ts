/**
 * The line discipline: editing of a line before the reader gets it, echo, signal characters, flow control, and the
 * translation of what is written.
 *
 * Linux: drivers/tty/n_tty.c; POSIX XBD 11, General Terminal Interface
 *
 * Input lies in a ring. In canonical mode the reader may have what is before `canonHead`, the end of the last finished
 * line, and each character that ends a line has a mark beside it, because the same byte may also stand there
 * quoted with VLNEXT. An end-of-file character is kept in the ring as a mark with no byte to read.
 */
import { SIGINT, SIGQUIT, SIGTSTP } from '../../../abi/signal.ts';
import * as T from '../../../abi/termios.ts';
import { kill_pgrp } from '../../signal.ts';
import { Echo } from './echo.ts';
import type { tty_struct } from './tty.ts';

export const N_TTY_BUF_SIZE = 4096;
const MASK = N_TTY_BUF_SIZE - 1;
/** In c_cc: no character has this function. */
const _POSIX_VDISABLE = 0;

const NL = 0x0a;
const CR = 0x0d;
const TAB = 0x09;
const BEL = 0x07;

const isControl = (c: number): boolean => c < 0x20 || c === 0x7f;
const isContinuation = (c: number, iutf8: boolean): boolean => iutf8 && (c & 0xc0) === 0x80;
const isWordCharacter = (c: number): boolean => (c >= 0x30 && c <= 0x39) || (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a) || c === 0x5f || c >= 0x80;

export class NTty {
  private readonly tty: tty_struct;
  private readonly echo: Echo;
  private readonly buf = new Uint8Array(N_TTY_BUF_SIZE);
  /** 1 where the byte ends a line; 2 where it stands for end of file. */
  private readonly mark = new Uint8Array(N_TTY_BUF_SIZE);
  // Positions only grow; their low bits index the ring.
  private head = 0;
  private canonHead = 0;
  private tail = 0;
  /** The next character is taken as it is (VLNEXT). */
  private lnext = false;
  /** Column where the line being edited starts: a TAB's width depends on it. */
  private canonColumn = 0;
  /** Arrived while the ring was full. */
  private readonly overflow: number[] = [];

  constructor(tty: tty_struct) {
    this.tty = tty;
    this.echo = new Echo(tty);
  }

  private has(flag: number): boolean { return (this.tty.termios.c_lflag & flag) !== 0; }
  private input(flag: number): boolean { return (this.tty.termios.c_iflag & flag) !== 0; }
  private cc(index: number): number { return this.tty.termios.c_cc.get(index); }
  private is(c: number, index: number): boolean { return c !== _POSIX_VDISABLE && c === this.cc(index); }

  // ---- from the line

  receive(bytes: Uint8Array): void {
    for (const c of bytes) {
      if (this.overflow.length > 0 || !this.room()) this.overflow.push(c);
      else this.receiveChar(c);
    }
    if (this.available()) this.tty.read_wait.wake_up_interruptible(POLLIN_RDNORM);
    this.echo.flush();
  }

  /** After the reader has made room: what waited for it, as far as it fits. */
  private receiveOverflow(): void {
    if (this.overflow.length === 0) return;
    let taken = 0;
    while (taken < this.overflow.length && this.room()) this.receiveChar(this.overflow[taken++]!);
    this.overflow.splice(0, taken);
    this.echo.flush();
  }

  /** Room for a byte. A line that fills the whole ring must still be able to end: then other characters are dropped. */
  private room(): boolean {
    if (this.head - this.tail < N_TTY_BUF_SIZE - 1) return true;
    return this.has(T.ICANON) && this.canonHead === this.tail;
  }

  private receiveChar(c: number): void {
    if (this.input(T.ISTRIP)) c &= 0x7f;
    if (this.input(T.IUCLC) && this.has(T.IEXTEN) && c >= 0x41 && c <= 0x5a) c += 0x20;
    if (this.lnext) {
      this.lnext = false;
      this.takeOrdinary(c, true);
      return;
    }
    if (this.has(T.ISIG)) {
      if (this.is(c, T.VINTR)) return this.signal(SIGINT, c);
      if (this.is(c, T.VQUIT)) return this.signal(SIGQUIT, c);
      if (this.is(c, T.VSUSP)) return this.signal(SIGTSTP, c);
    }
    if (this.input(T.IXON)) {
      if (this.is(c, T.VSTART)) return this.start();
      if (this.is(c, T.VSTOP)) { this.tty.stopped = true; return; }
      if (this.tty.stopped && this.input(T.IXANY)) this.start();
    }
    if (c === CR) {
      if (this.input(T.IGNCR)) return;
      if (this.input(T.ICRNL)) c = NL;
    } else if (c === NL && this.input(T.INLCR)) c = CR;
    if (this.has(T.ICANON) && this.editing(c)) return;
    this.takeOrdinary(c);
  }

  private takeOrdinary(c: number, quoted = false): void {
    if (this.has(T.ICANON) && this.head - this.tail >= N_TTY_BUF_SIZE - 1) {
      if (this.input(T.IMAXBEL)) this.echo.raw(BEL);
      return;
    }
    if (this.has(T.ECHO)) {
      if (c === NL && !quoted) this.echo.raw(NL);
      else {
        if (this.canonHead === this.head) this.canonColumn = this.echo.column;
        this.echo.char(c);
      }
    }
    if (c === 0xff && this.input(T.PARMRK)) this.put(c, 0);
    this.put(c, 0);
  }

  /** The characters that mean something in canonical mode. True when `c` was one. */
  private editing(c: number): boolean {
    const extended = this.has(T.IEXTEN);
    if (this.is(c, T.VERASE) || this.is(c, T.VKILL) || (extended && this.is(c, T.VWERASE))) { this.erase(c); return true; }
    if (extended && this.is(c, T.VLNEXT)) {
      this.lnext = true;
      if (this.has(T.ECHO) && this.has(T.ECHOCTL)) { this.echo.raw(0x5e); this.echo.raw(0x08); }
      return true;
    }
    if (extended && this.has(T.ECHO) && this.is(c, T.VREPRINT)) {
      this.echo.finishErasing();
      this.echo.char(c);
      this.echo.raw(NL);
      for (let i = this.canonHead; i < this.head; i++) this.echo.char(this.buf[i & MASK]!);
      return true;
    }
    if (c === NL) {
      if (this.has(T.ECHO) || this.has(T.ECHONL)) this.echo.raw(NL);
      this.endLine(c, LINE);
      return true;
    }
    if (this.is(c, T.VEOF)) { this.endLine(0, END_OF_FILE); return true; }
    if (this.is(c, T.VEOL) || (extended && this.is(c, T.VEOL2))) {
      if (this.has(T.ECHO)) {
        if (this.canonHead === this.head) this.canonColumn = this.echo.column;
        this.echo.char(c);
      }
      if (c === 0xff && this.input(T.PARMRK)) this.put(c, 0);
      this.endLine(c, LINE);
      return true;
    }
    return false;
  }

  private put(c: number, mark: number): void {
    this.buf[this.head & MASK] = c;
    this.mark[this.head & MASK] = mark;
    this.head++;
  }

  private endLine(c: number, mark: number): void {
    this.put(c, mark);
    this.canonHead = this.head;
  }

  private signal(sig: number, c: number): void {
    if (!this.has(T.NOFLSH)) {
      this.flush();
      this.echo.drop();
    }
    if (this.tty.stopped) this.start();
    if (this.has(T.ECHO)) this.echo.char(c);
    this.echo.flush();
    if (this.tty.pgrp !== 0) kill_pgrp(this.tty.pgrp, sig);
  }

  /** Output flows again. */
  start(): void {
    this.tty.stopped = false;
    this.tty.write_wait.wake_up_all(POLLOUT_WRNORM);
    this.echo.flush();
  }

  /** VERASE, VWERASE, VKILL: takes a character, a word or the line back, and off the screen. */
  private erase(c: number): void {
    if (this.head === this.canonHead) return;
    const word = this.is(c, T.VWERASE) && !this.is(c, T.VERASE);
    const line = this.is(c, T.VKILL) && !this.is(c, T.VERASE);
    if (line) {
      if (!this.has(T.ECHO)) { this.head = this.canonHead; return; }
      if (!this.has(T.ECHOK) || !this.has(T.ECHOKE) || !this.has(T.ECHOE)) {
        this.head = this.canonHead;
        this.echo.finishErasing();
        this.echo.char(c);
        // the newline after ^U is for those who cannot see the line vanish
        if (this.has(T.ECHOK)) this.echo.raw(NL);
        return;
      }
    }
    let seenWord = false;
    while (this.head !== this.canonHead) {
      const { start, first } = this.previous();
      if (word) {
        if (isWordCharacter(first)) seenWord = true;
        else if (seenWord) break;
      }
      const bytes = this.head - start;
      this.head = start;
      if (this.has(T.ECHO)) this.unecho(c, first, bytes, !word && !line);
      if (!word && !line) break;
    }
    if (this.head === this.canonHead && this.has(T.ECHO)) this.echo.finishErasing();
  }

  /** The last character of the line: where it starts and its first byte. With IUTF8 it may be several bytes long. */
  private previous(): { start: number; first: number } {
    const iutf8 = this.input(T.IUTF8);
    let start = this.head;
    let first: number;
    do {
      start--;
      first = this.buf[start & MASK]!;
    } while (isContinuation(first, iutf8) && start !== this.canonHead);
    return { start, first };
  }

  private unecho(eraser: number, c: number, bytes: number, single: boolean): void {
    if (this.has(T.ECHOPRT)) { this.echo.erasePrinted(c, bytes, (i) => this.buf[(this.head + i) & MASK]!); return; }
    if (single && !this.has(T.ECHOE)) { this.echo.char(eraser); return; }
    if (c === TAB) { this.echo.eraseTab(this.columnsSinceTab(), this.afterTab(), this.canonColumn); return; }
    if (isControl(c) && this.has(T.ECHOCTL)) this.echo.rubOut();
    if (!isControl(c) || this.has(T.ECHOCTL)) this.echo.rubOut();
  }

  /** Columns taken by the characters between the last TAB before the head, or the start of the line, and the head. */
  private columnsSinceTab(): number {
    let columns = 0;
    for (let i = this.head - 1; i >= this.canonHead; i--) {
      const c = this.buf[i & MASK]!;
      if (c === TAB) break;
      if (isControl(c)) { if (this.has(T.ECHOCTL)) columns += 2; }
      else if (!isContinuation(c, this.input(T.IUTF8))) columns++;
    }
    return columns;
  }
  private afterTab(): boolean {
    for (let i = this.head - 1; i >= this.canonHead; i--) if (this.buf[i & MASK] === TAB) return true;
    return false;
  }

  // ---- to the reader

  /** Is there something to read? Raw mode: at least `least` bytes. */
  available(least = 1): boolean {
    return this.has(T.ICANON) ? this.canonHead !== this.tail : this.head - this.tail >= least;
  }

  /** Bytes a read could get now: FIONREAD. */
  readable(): number {
    if (!this.has(T.ICANON)) return this.head - this.tail;
    let n = 0;
    for (let i = this.tail; i < this.canonHead; i++) if (this.mark[i & MASK] !== END_OF_FILE) n++;
    return n;
  }

  /**
   * One line, or what fits of it, into `to` (from its start). `done` tells that the line ended, so that the read is over. An
   * end-of-file mark right behind what just fits is taken too, or the next read would see an end of file nobody typed.
   */
  takeLine(to: Uint8Array): { n: number; done: boolean } {
    let n = 0;
    let done = false;
    while (n < to.length && this.tail < this.canonHead) {
      const mark = this.mark[this.tail & MASK]!;
      if (mark !== END_OF_FILE) to[n++] = this.buf[this.tail & MASK]!;
      this.tail++;
      if (mark !== 0) { done = true; break; }
    }
    if (!done && n > 0 && this.tail < this.canonHead && this.mark[this.tail & MASK] === END_OF_FILE) {
      this.tail++;
      done = true;
    }
    this.receiveOverflow();
    return { n, done };
  }

  takeRaw(to: Uint8Array): number {
    const n = Math.min(to.length, this.head - this.tail);
    for (let i = 0; i < n; i++) to[i] = this.buf[this.tail++ & MASK]!;
    if (this.canonHead < this.tail) this.canonHead = this.tail;
    this.receiveOverflow();
    return n;
  }

  /** No more input will come: what was typed of a line is the last one. False when there is none. */
  endPartialLine(): boolean {
    if (this.canonHead === this.head || !this.has(T.ICANON)) return false;
    this.endLine(0, END_OF_FILE);
    return true;
  }

  /** Drops all input. */
  flush(): void {
    this.tail = this.canonHead = this.head;
    this.lnext = false;
    this.overflow.length = 0;
  }

  /** ICANON was switched: what lies in the ring is one line now, or plain bytes. */
  canonicalChanged(): void {
    for (let i = this.tail; i < this.head; i++) {
      if (this.mark[i & MASK] === LINE) this.mark[i & MASK] = 0;
    }
    this.lnext = false;
    if (this.has(T.ICANON)) {
      this.canonHead = this.head;
      if (this.head !== this.tail) this.mark[(this.head - 1) & MASK] = LINE;
    } else this.canonHead = this.tail;
    if (this.available()) this.tty.read_wait.wake_up_interruptible(POLLIN_RDNORM);
  }

  // ---- from the writer

  /** Sends what a program wrote. */
  write(bytes: Uint8Array): void { this.echo.output(bytes); }
}

const LINE = 1;
const END_OF_FILE = 2;
const POLLIN_RDNORM = 0x41;
const POLLOUT_WRNORM = 0x104;
