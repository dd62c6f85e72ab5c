/** uniq: neighbouring lines that are the same, once. -c counted, -d only repeated ones, -u only single ones, -i without case. */
import type { Sys } from '../abi/process.ts';
import { fputs, sprintf } from './libc.ts';
import { eachFile, linesOf } from './lib/input.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'cdui', { count: 0, repeated: 0, unique: 0, 'ignore-case': 0 });
  if (parsed.error !== undefined) return yield* usageError('uniq', parsed.error);
  const key = (line: string) => (parsed.has('i', 'ignore-case') ? line.toLowerCase() : line);
  const ok = yield* eachFile('uniq', parsed.operands.slice(0, 1), function* each(fd) {
    const lines = yield* linesOf(fd);
    let out = '';
    for (let i = 0; i < lines.length; ) {
      let n = 1;
      while (i + n < lines.length && key(lines[i + n] ?? '') === key(lines[i] ?? '')) n++;
      const wanted = (!parsed.has('d', 'repeated') || n > 1) && (!parsed.has('u', 'unique') || n === 1);
      if (wanted) out += `${parsed.has('c', 'count') ? sprintf('%7d ', n) : ''}${lines[i]}\n`;
      i += n;
    }
    yield* fputs(out);
  });
  return ok ? 0 : 1;
}
