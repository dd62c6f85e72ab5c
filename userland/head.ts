/** head: the first lines (-n, default 10) or bytes (-c) of files. A negative number: all but the last so many. */
import type { Sys } from '../abi/process.ts';
import { decode, eputs, fputs, read, writeAll, readAll } from './libc.ts';
import { eachFile } from './lib/input.ts';
import { getopt, usageError } from './lib/options.ts';

/** Reads no more than it must: `head -1` leaves an endless writer to its SIGPIPE. */
function* firstLines(fd: number, count: number): Sys<string> {
  let text = '';
  for (let lines = 0; lines < count; ) {
    const bytes = yield* read(fd, 4096);
    if (bytes.length === 0) break;
    let end = -1;
    while (lines < count) {
      const next = bytes.indexOf(10, end + 1);
      if (next < 0) break;
      end = next;
      lines++;
    }
    text += decode(lines >= count ? bytes.subarray(0, end + 1) : bytes);
  }
  return text;
}

/** Likewise: an endless device is not read to its end. */
function* firstBytes(fd: number, count: number): Sys<Uint8Array> {
  const text = new Uint8Array(count);
  let have = 0;
  while (have < count) {
    const bytes = yield* read(fd, Math.min(4096, count - have));
    if (bytes.length === 0) break;
    text.set(bytes, have);
    have += bytes.length;
  }
  return text.subarray(0, have);
}

export function* main(argv: string[]): Sys<number> {
  const args = argv.slice(1).map((arg, i, all) => (/^-\d+$/.test(arg) && !/^-[nc]$/.test(all[i - 1] ?? '') ? `-n${arg.slice(1)}` : arg));
  const parsed = getopt(args, 'n:c:qv', { lines: 1, bytes: 1, quiet: 0, verbose: 0 });
  if (parsed.error !== undefined) return yield* usageError('head', parsed.error);
  const bytes = parsed.value('c', 'bytes');
  const text = bytes ?? parsed.value('n', 'lines') ?? '10';
  if (!/^-?\d+$/.test(text)) {
    yield* eputs(`head: invalid number of ${bytes === undefined ? 'lines' : 'bytes'}: '${text}'`);
    return 1;
  }
  const count = Number(text);
  const headings = parsed.has('v', 'verbose') || (parsed.operands.length > 1 && !parsed.has('q', 'quiet'));
  let first = true;
  const ok = yield* eachFile('head', parsed.operands, function* each(fd, name) {
    if (headings) yield* fputs(`${first ? '' : '\n'}==> ${name === '-' ? 'standard input' : name} <==\n`);
    first = false;
    if (bytes !== undefined && count >= 0) yield* writeAll(1, yield* firstBytes(fd, count));
    else if (bytes !== undefined) yield* writeAll(1, (yield* readAll(fd)).subarray(0, count));
    else if (count >= 0) yield* writeAll(1, yield* firstLines(fd, count));
    else {
      const lines = decode(yield* readAll(fd)).split(/(?<=\n)/);
      yield* writeAll(1, lines.slice(0, count).join(''));
    }
  });
  return ok ? 0 : 1;
}
