/**
 * What a terminal shows: program output and echo on their way to the line, with the column they leave the cursor in.
 *
 * Linux: drivers/tty/n_tty.c (do_output_char, process_echoes, echo_*)
 */
import * as T from '../../../abi/termios.ts';
import type { tty_struct } from './tty.ts';

const NL = 0x0a;
const CR = 0x0d;
const TAB = 0x09;
const BS = 0x08;
const SPACE = 0x20;
const DEL = 0x7f;

const isControl = (c: number): boolean => c < SPACE || c === DEL;

export class Echo {
  column = 0;
  private readonly tty: tty_struct;
  /** Echo waiting to be sent: together in one piece, and not while output is stopped. */
  private pending: number[] = [];
  /** Inside a \…/ of ECHOPRT. */
  private erasing = false;

  constructor(tty: tty_struct) {
    this.tty = tty;
  }

  /** A character as it is. */
  raw(c: number): void { this.process(c, this.pending); }

  /** A character as ECHO shows it: control characters as ^X. */
  char(c: number): void {
    this.finishErasing();
    if ((this.tty.termios.c_lflag & T.ECHOCTL) !== 0 && isControl(c) && c !== TAB) {
      this.raw(0x5e);
      this.raw(c ^ 0x40);
    } else this.raw(c);
  }

  rubOut(): void {
    this.pending.push(BS, SPACE, BS);
    if (this.column > 0) this.column--;
  }

  /** Goes back over a TAB that followed `columns` columns, counted from the TAB before it or from where the line starts. */
  eraseTab(columns: number, afterTab: boolean, lineStart: number): void {
    let n = 8 - ((afterTab ? columns : columns + lineStart) & 7);
    while (n-- > 0) {
      this.pending.push(BS);
      if (this.column > 0) this.column--;
    }
  }

  /** ECHOPRT: erased characters are printed between \ and /. */
  erasePrinted(first: number, bytes: number, byteAt: (i: number) => number): void {
    if (!this.erasing) {
      this.raw(0x5c);
      this.erasing = true;
    }
    const erasing = this.erasing;
    this.erasing = false;
    this.char(first);
    for (let i = 1; i < bytes; i++) this.raw(byteAt(i));
    this.erasing = erasing;
  }

  finishErasing(): void {
    if (!this.erasing) return;
    this.erasing = false;
    this.raw(0x2f);
  }

  drop(): void { this.pending = []; }

  flush(): void {
    if (this.pending.length === 0 || this.tty.stopped) return;
    const bytes = Uint8Array.from(this.pending);
    this.pending = [];
    this.tty.ops.write(bytes);
  }

  /** Program output. What is neither a control character nor to be changed goes out as it is, in runs. */
  output(bytes: Uint8Array): void {
    const { c_oflag, c_iflag } = this.tty.termios;
    if ((c_oflag & T.OPOST) === 0) { this.tty.ops.write(bytes); return; }
    const highest = (c_oflag & T.OLCUC) !== 0 ? 0x60 : (c_iflag & T.IUTF8) !== 0 ? 0x7e : 0xff;
    let start = 0;
    for (let i = 0; i < bytes.length; i++) {
      const c = bytes[i]!;
      if (c >= SPACE && c <= highest && c !== DEL) { this.column++; continue; }
      if (i > start) this.tty.ops.write(bytes.subarray(start, i));
      start = i + 1;
      const out: number[] = [];
      this.process(c, out);
      this.tty.ops.write(Uint8Array.from(out));
    }
    if (start === 0) this.tty.ops.write(bytes);
    else if (start < bytes.length) this.tty.ops.write(bytes.subarray(start));
  }

  /** Output processing of one character into `out`, keeping track of the column. */
  private process(c: number, out: number[]): void {
    const { c_oflag } = this.tty.termios;
    if ((c_oflag & T.OPOST) === 0) { out.push(c); return; }
    switch (c) {
      case NL:
        if ((c_oflag & T.ONLRET) !== 0) this.column = 0;
        if ((c_oflag & T.ONLCR) !== 0) { out.push(CR); this.column = 0; }
        break;
      case CR:
        if ((c_oflag & T.ONOCR) !== 0 && this.column === 0) return;
        if ((c_oflag & T.OCRNL) !== 0) { c = NL; if ((c_oflag & T.ONLRET) !== 0) this.column = 0; }
        else this.column = 0;
        break;
      case TAB: {
        const spaces = 8 - (this.column & 7);
        this.column += spaces;
        if ((c_oflag & T.TABDLY) === T.XTABS) { for (let i = 0; i < spaces; i++) out.push(SPACE); return; }
        break;
      }
      case BS:
        if (this.column > 0) this.column--;
        break;
      default:
        if (!isControl(c)) {
          if ((c_oflag & T.OLCUC) !== 0 && c >= 0x61 && c <= 0x7a) c -= 0x20;
          if (!((this.tty.termios.c_iflag & T.IUTF8) !== 0 && (c & 0xc0) === 0x80)) this.column++;
        }
    }
    out.push(c);
  }
}
