/**
 * Character devices: where the bytes of a serial port or debug console go, and where they come from.
 * QEMU: chardev/char.c, char-fd.c, char-mux.c
 *
 * Devices are plain code and cannot make system calls: they put bytes here, and the thread that let the guest run
 * sends them out before it lets it run on (`flush`).
 */
import type { Sys } from '../abi/process.ts';
import { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } from '../abi/fcntl.ts';
import { Errno, open, writeAll } from '../userland/libc.ts';
import { OptionError } from './option-error.ts';
import type { Backend } from './options.ts';

const STDIN = 0;
const STDOUT = 1;
/** More than this is not read ahead of the guest: the rest stays in the terminal or the pipe. */
export const INPUT_ROOM = 64;

/** What the bytes of a character device mean to those around it. */
export interface ChardevEvents {
  /** There is output to send: `flush` must be called soon. */
  output(): void;
  /** The guest has taken bytes; there is room for more. */
  room(): void;
}

export class Chardev {
  /** Descriptor that output goes to; -1 drops it. */
  readonly fd: number;
  /** Descriptor to read from; -1 when there is no input. */
  readonly inputFd: number;
  readonly mux: boolean;
  /** Called when input has arrived. */
  onInput: () => void = () => {};
  private readonly events: ChardevEvents;
  private output: number[] = [];
  private sending = false;
  private readonly input: number[] = [];

  constructor(fd: number, inputFd: number, mux: boolean, events: ChardevEvents) {
    this.fd = fd;
    this.inputFd = inputFd;
    this.mux = mux;
    this.events = events;
  }

  put(byte: number): void {
    if (this.fd < 0) return;
    this.output.push(byte);
    this.events.output();
  }

  putText(text: string): void {
    for (const c of text) this.put(c.charCodeAt(0));
  }

  /** Up to `max` bytes of input, undefined if there are none now. */
  take(max: number): Uint8Array | undefined {
    if (this.input.length === 0) return undefined;
    const full = this.input.length >= INPUT_ROOM;
    const bytes = Uint8Array.from(this.input.splice(0, max));
    if (full) this.events.room();
    return bytes;
  }

  get inputFull(): boolean {
    return this.input.length >= INPUT_ROOM;
  }

  receive(bytes: readonly number[]): void {
    this.input.push(...bytes);
    this.onInput();
  }

  /** Sends out what was put. Two threads never send at once: bytes leave in the order they came. */
  *flush(): Sys {
    if (this.sending) return;
    this.sending = true;
    while (this.output.length > 0) {
      const bytes = Uint8Array.from(this.output);
      this.output = [];
      try {
        yield* writeAll(this.fd, bytes);
      } catch (e) {
        // A reader that is gone loses what it does not read; the guest goes on.
        if (!(e instanceof Errno)) throw e;
      }
    }
    this.sending = false;
  }
}

/** Opens what an option named; undefined for `none`. */
export function* openChardev(backend: Backend, events: ChardevEvents): Sys<Chardev | undefined> {
  switch (backend.kind) {
    case 'none': return undefined;
    case 'null': return new Chardev(-1, -1, false, events);
    case 'stdout': return new Chardev(STDOUT, -1, false, events);
    case 'stdio': return new Chardev(STDOUT, STDIN, backend.mux, events);
    case 'file':
      try {
        return new Chardev(yield* open(backend.path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND), -1, false, events);
      } catch (e) {
        if (e instanceof Errno) throw new OptionError(`could not open '${backend.path}': ${e.text}`);
        throw e;
      }
  }
}
