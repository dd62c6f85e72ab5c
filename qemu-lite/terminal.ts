/**
 * The terminal while a guest owns it: each key at once and unechoed, given back as it was. QEMU: chardev/char-stdio.c
 * A job in the background must leave the terminal alone; it takes it when it is brought to the foreground.
 */
import type { Sys } from '../abi/process.ts';
import { BRKINT, CS8, CSIZE, ECHO, ECHONL, ICANON, ICRNL, IEXTEN, IGNBRK, IGNCR, INLCR, ISIG, ISTRIP, IXON, OPOST, PARENB, PARMRK, TCSANOW, VMIN, VTIME } from '../abi/termios.ts';
import { Errno, type TerminalSettings, getpgrp, tcgetattr, tcgetpgrp, tcsetattr } from '../userland/libc.ts';

const STDIN = 0;

export class Terminal {
  /** As it was found; undefined while it is not ours. */
  private saved: TerminalSettings | undefined;
  /** Whether keys such as Ctrl-C are signals, or bytes for the guest. */
  private readonly signals: boolean;

  constructor(signals: boolean) {
    this.signals = signals;
  }

  /** Takes the terminal if it is one and this job is in its foreground. Gives whether standard input may be read. */
  *take(): Sys<boolean> {
    let settings: TerminalSettings;
    try {
      settings = yield* tcgetattr(STDIN);
      if ((yield* tcgetpgrp(STDIN)) !== (yield* getpgrp())) return false;
    } catch (e) {
      if (e instanceof Errno) return true;
      throw e;
    }
    this.saved ??= settings;
    yield* tcsetattr(STDIN, TCSANOW, settings, (t) => {
      t.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
      t.c_oflag |= OPOST;
      t.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN | (this.signals ? 0 : ISIG));
      t.c_cflag = (t.c_cflag & ~(CSIZE | PARENB)) | CS8;
      t.c_cc.set(VMIN, 1);
      t.c_cc.set(VTIME, 0);
    });
    return true;
  }

  /** Gives it back as it was found. */
  *restore(): Sys {
    const settings = this.saved;
    if (settings === undefined) return;
    this.saved = undefined;
    try {
      yield* tcsetattr(STDIN, TCSANOW, settings);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
    }
  }
}
