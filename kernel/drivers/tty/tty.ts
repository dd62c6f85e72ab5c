/**
 * The terminal as an object: what driver, line discipline and job control share.
 *
 * Linux: include/linux/tty.h, include/linux/tty_driver.h
 *
 * Bytes from the line go to the discipline's receive; bytes to the line go through the driver's write. In between lies
 * n_tty: echo, editing, signals, and the translation of newlines.
 */
import { type termios as Termios, type winsize as Winsize, termios, winsize } from '../../../abi/termios.ts';
import * as T from '../../../abi/termios.ts';
import type { controlling_tty } from '../../sched/types.ts';
import { wait_queue_head } from '../../sched/wait.ts';
import { NTty } from './n_tty.ts';
import { disassociate_ctty } from './tty-jobctrl.ts';

/** What the hardware below a terminal does. */
export interface tty_operations {
  /** Sends bytes. The line takes all of them. */
  write(bytes: Uint8Array): void;
  /** A reader waits for input, or has enough: whether the other side may send. */
  unthrottle(): void;
  throttle(): void;
  set_termios?(): void;
}

/** tty_std_termios, and the baud rate of a console. */
export const std_termios = (): Termios => termios.make({
  c_iflag: T.ICRNL | T.IXON,
  c_oflag: T.OPOST | T.ONLCR,
  c_cflag: T.B115200 | T.CS8 | T.CREAD | T.HUPCL | T.CLOCAL,
  c_lflag: T.ISIG | T.ICANON | T.ECHO | T.ECHOE | T.ECHOK | T.ECHOCTL | T.ECHOKE | T.IEXTEN,
  c_line: 0,
  c_cc: [3, 0o34, 0o177, 0o25, 4, 0, 1, 0, 0o21, 0o23, 0o32, 0, 0o22, 0o17, 0o27, 0o26, 0, 0, 0],
});

export class tty_struct implements controlling_tty {
  readonly name: string;
  readonly dev: number;
  readonly ops: tty_operations;
  readonly termios: Termios = std_termios();
  readonly winsize: Winsize = winsize.make();
  pgrp = 0;
  session = 0;
  /** Output stopped by ^S or TCOOFF. */
  stopped = false;
  /** The other side has closed its input: readers get what is left, then end of file. */
  inputEnded = false;
  exclusive = false;
  /** Changes when the terminal is hung up: files opened before are dead. */
  generation = 0;
  readonly read_wait = new wait_queue_head('wait_woken');
  readonly write_wait = new wait_queue_head('wait_woken');
  readonly ldisc: NTty;

  constructor(name: string, dev: number, ops: tty_operations) {
    this.name = name;
    this.dev = dev;
    this.ops = ops;
    this.ldisc = new NTty(this);
  }

  /** controlling_tty: the session leader exits. */
  disassociate(): void { disassociate_ctty(this); }

  /** Hangs up: every file opened through the terminal's own name is dead from now on. */
  hangup(): void {
    this.generation++;
    this.ldisc.flush();
    this.stopped = false;
    this.read_wait.wake_up_all();
    this.write_wait.wake_up_all();
  }
}

/** What an open file keeps of its terminal. */
export class tty_file_private {
  readonly tty: tty_struct;
  /** A console's file outlives hang-ups, so that init keeps its own. */
  readonly isConsole: boolean;
  private readonly generation: number;
  constructor(tty: tty_struct, isConsole: boolean) {
    this.tty = tty;
    this.isConsole = isConsole;
    this.generation = tty.generation;
  }
  get hung_up(): boolean { return !this.isConsole && this.generation !== this.tty.generation; }
}
