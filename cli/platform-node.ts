/**
 * The real host as the machine sees it (machine/platform.ts), on Node: console on stdin and stdout.
 * Without a terminal stdin is read synchronously, and only when the machine asks, so that nothing about
 * the run depends on when bytes happened to arrive.
 */
import { readSync, writeSync } from 'node:fs';
import type { ConsolePort, Platform } from '../machine/platform.ts';
import { hostFiles } from './host-files.ts';

/** Ends the process quietly when the reader of stdout has gone, as a Unix tool does. */
export function writeOut(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EPIPE') process.exit(141);
      if (code !== 'EAGAIN') throw error;
      pause(1);
    }
  }
}

/** Sleeps without returning to the event loop. */
const pause = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** Console of a run without a terminal: 80 by 24, input only on demand. */
export class PipeConsole implements ConsolePort {
  readonly isTerminal = false;
  /** Sees every answer to a demand; the recorder's tap. */
  onRead: ((answer: Uint8Array | 'eof') => void) | undefined;
  readonly #input: boolean;

  /** @param input whether stdin belongs to this run at all */
  constructor(input: boolean) { this.#input = input; }
  size() { return { cols: 80, rows: 24 }; }
  write(bytes: Uint8Array): void { writeOut(bytes); }
  read(max: number): Uint8Array | 'eof' {
    const answer = this.#input ? readStdin(max) : 'eof';
    this.onRead?.(answer);
    return answer;
  }
}

function readStdin(max: number): Uint8Array | 'eof' {
  const buffer = new Uint8Array(max);
  for (;;) {
    try {
      const n = readSync(0, buffer, 0, max, null);
      return n === 0 ? 'eof' : buffer.slice(0, n);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EAGAIN') { pause(2); continue; }
      if (code === 'EOF' || code === 'EIO' || code === 'EBADF' || code === 'EISDIR') return 'eof';
      throw error;
    }
  }
}

/** Console of a run at a terminal: input comes as events (cli/run-loop.ts), never by asking. */
export class TerminalConsole implements ConsolePort {
  readonly isTerminal = true;
  readonly #size: { cols: number; rows: number };
  constructor(size: { cols: number; rows: number }) { this.#size = size; }
  size() { return this.#size; }
  write(bytes: Uint8Array): void { writeOut(bytes); }
  read(): undefined { return undefined; }
}

/** 2025-01-01 00:00:00 UTC: the date of every run that is not at a terminal. */
export const FIXED_DATE = 1_735_689_600_000_000_000n;

export function nodePlatform(port: ConsolePort, startDate: bigint, mounts: readonly HostMount[]): Platform {
  return mounts.length === 0 ? { console: port, startDate } : { console: port, startDate, hostFiles: hostFiles(mounts) };
}

/** One `--mount HOSTDIR:/mnt[:rw]`. */
export interface HostMount { readonly host: string; readonly guest: string; readonly writable: boolean }
