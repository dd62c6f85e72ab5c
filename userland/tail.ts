/** tail: the last lines (-n, default 10) or bytes (-c) of files; `-n +N` from line N on; -f goes on as the file grows. */
import type { Sys } from '../abi/process.ts';
import { decode, eputs, fputs, read, readAll, sleep, writeAll } from './libc.ts';
import { eachFile } from './lib/input.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const args = argv.slice(1).map((arg, i, all) => (/^[-+]\d+$/.test(arg) && !/^-[nc]$/.test(all[i - 1] ?? '') ? `-n${arg.replace(/^-/, '')}` : arg));
  const parsed = getopt(args, 'n:c:fqv', { lines: 1, bytes: 1, follow: 0, quiet: 0, verbose: 0 });
  if (parsed.error !== undefined) return yield* usageError('tail', parsed.error);
  const bytes = parsed.value('c', 'bytes');
  const text = bytes ?? parsed.value('n', 'lines') ?? '10';
  if (!/^[-+]?\d+$/.test(text)) {
    yield* eputs(`tail: invalid number of ${bytes === undefined ? 'lines' : 'bytes'}: '${text}'`);
    return 1;
  }
  const fromStart = text.startsWith('+');
  const count = Math.abs(Number(text));
  const headings = parsed.has('v', 'verbose') || (parsed.operands.length > 1 && !parsed.has('q', 'quiet'));
  const follow = parsed.has('f', 'follow');
  let first = true;
  const ok = yield* eachFile('tail', parsed.operands, function* each(fd, name) {
    if (headings) yield* fputs(`${first ? '' : '\n'}==> ${name === '-' ? 'standard input' : name} <==\n`);
    first = false;
    const all = yield* readAll(fd);
    if (bytes !== undefined) yield* writeAll(1, fromStart ? all.subarray(count - 1) : all.subarray(Math.max(0, all.length - count)));
    else {
      const lines = decode(all).split(/(?<=\n)/).filter((line) => line !== '');
      yield* writeAll(1, (fromStart ? lines.slice(Math.max(0, count - 1)) : lines.slice(Math.max(0, lines.length - count))).join(''));
    }
    while (follow) {
      const more = yield* read(fd, 4096);
      if (more.length > 0) yield* writeAll(1, more);
      else yield* sleep(1);
    }
  });
  return ok ? 0 : 1;
}
