/**
 * What filters share: the files named on the command line, or standard input, one after the other.
 */
import type { Sys } from '../../abi/process.ts';
import { Errno, close, decode, eputs, open, readAll } from '../libc.ts';

/** Runs `each` on every file (`-` and none: standard input). A file that cannot be read is complained of; gives whether all could. */
export function* eachFile(
  program: string, files: readonly string[], each: (fd: number, name: string) => Sys<unknown>,
  cannotOpen = (name: string) => `cannot open '${name}' for reading`,
): Sys<boolean> {
  let ok = true;
  for (const name of files.length > 0 ? files : ['-']) {
    try {
      const fd = name === '-' ? 0 : yield* open(name);
      yield* each(fd, name);
      if (fd !== 0) yield* close(fd);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(e.call === 'open' ? `${program}: ${cannotOpen(name)}: ${e.text}` : `${program}: ${name}: ${e.text}`);
      ok = false;
    }
  }
  return ok;
}

/** The lines of a text; a last one without a newline counts. */
export function splitLines(text: string): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

export function* linesOf(fd: number): Sys<string[]> {
  return splitLines(decode(yield* readAll(fd)));
}
