/**
 * Standard output and text input: puts(3), printf(3), getline(3).
 *
 * Standard output is line buffered everywhere, as C has it on a terminal: what a killed program printed is there,
 * in the order of its system calls.
 */
import type { Sys } from '../../abi/process.ts';
import { read, writeAll } from './files.ts';
import { SCRATCH, decode } from './syscall.ts';
import { libc } from './state.ts';
import { sprintf, type FormatArgument } from './printf.ts';

/** Writes to standard output; the part up to the last newline leaves at once. */
export function* fputs(text: string): Sys {
  const state = libc();
  const all = state.stdout + text;
  const end = all.lastIndexOf('\n') + 1;
  state.stdout = all.slice(end);
  if (end > 0) yield* writeAll(1, all.slice(0, end));
}

/** A line on standard output. */
export const puts = (text: string): Sys => fputs(`${text}\n`);

export const printf = (format: string, ...args: FormatArgument[]): Sys => fputs(sprintf(format, ...args));

/** Formatted text to any descriptor, at once. */
export const dprintf = (fd: number, format: string, ...args: FormatArgument[]): Sys => writeAll(fd, sprintf(format, ...args));

/** A line on standard error, unbuffered. */
export const eputs = (text: string): Sys => writeAll(2, `${text}\n`);

/** Sends out what standard output still holds. */
export function* fflush(): Sys {
  const state = libc();
  const text = state.stdout;
  state.stdout = '';
  if (text !== '') yield* writeAll(1, text);
}

/** "prefix: text of the error" on standard error. */
export function* perror(prefix: string, error: { readonly text: string }): Sys {
  yield* eputs(`${prefix}: ${error.text}`);
}

/**
 * The next line of a descriptor without its newline, undefined at the end. Reads ahead: what follows the line waits
 * for the next call, and a child that shares the descriptor does not see it.
 */
export function* getline(fd: number): Sys<string | undefined> {
  const { ahead } = libc();
  let bytes = ahead.get(fd) ?? new Uint8Array(0);
  for (;;) {
    const newline = bytes.indexOf(10);
    if (newline >= 0) {
      ahead.set(fd, bytes.slice(newline + 1));
      return decode(bytes.subarray(0, newline));
    }
    const more = yield* read(fd, SCRATCH);
    if (more.length === 0) {
      ahead.delete(fd);
      return bytes.length > 0 ? decode(bytes) : undefined;
    }
    const joined = new Uint8Array(bytes.length + more.length);
    joined.set(bytes);
    joined.set(more, bytes.length);
    bytes = joined;
  }
}

/** Every line of a descriptor to its end, without the newlines. */
export function* readLines(fd: number): Sys<string[]> {
  const lines: string[] = [];
  for (;;) {
    const line = yield* getline(fd);
    if (line === undefined) return lines;
    lines.push(line);
  }
}
