/** wc: lines, words and bytes. Options -l -w -c -m -L as GNU's. */
import type { Sys } from '../abi/process.ts';
import { Errno, close, decode, eputs, open, puts, readAll } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'lwcmL', { lines: 0, words: 0, bytes: 0, chars: 0, 'max-line-length': 0 });
  if (parsed.error !== undefined) return yield* usageError('wc', parsed.error);
  const all = parsed.options.length === 0;
  const wanted = [all || parsed.has('l', 'lines'), all || parsed.has('w', 'words'), parsed.has('m', 'chars'), all || parsed.has('c', 'bytes'), parsed.has('L', 'max-line-length')];
  const files = parsed.operands.length > 0 ? parsed.operands : [''];
  const rows: { counts: number[]; name: string }[] = [];
  let status = 0;
  for (const name of files) {
    try {
      const fd = name === '' || name === '-' ? 0 : yield* open(name);
      const bytes = yield* readAll(fd);
      if (fd !== 0) yield* close(fd);
      const text = decode(bytes);
      const lines = text.split('\n');
      const words = wanted[1] ? text.split(/\s+/).filter((w) => w !== '').length : 0;
      const characters = wanted[2] ? [...text].length : 0;
      const longest = wanted[4] ? lines.reduce((most, l) => Math.max(most, [...l].length), 0) : 0;
      rows.push({ name, counts: [lines.length - 1, words, characters, bytes.length, longest] });
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`wc: ${name}: ${e.text}`);
      status = 1;
    }
  }
  if (files.length > 1) {
    rows.push({ name: 'total', counts: [0, 1, 2, 3, 4].map((i) => (i === 4 ? rows.reduce((most, r) => Math.max(most, r.counts[4] ?? 0), 0) : rows.reduce((sum, r) => sum + (r.counts[i] ?? 0), 0))) });
  }
  const shown = rows.map(({ counts, name }) => ({ name, counts: counts.filter((_, i) => wanted[i]).map(String) }));
  // A single number stands alone; several are as wide as the widest, 7 when the size of an input is not known before.
  const single = wanted.filter(Boolean).length === 1 && files.length === 1;
  const digits = shown.reduce((most, { counts }) => counts.reduce((n, c) => Math.max(n, c.length), most), 1);
  const width = single ? 0 : parsed.operands.length === 0 || parsed.operands.includes('-') ? 7 : digits;
  for (const { counts, name } of shown) yield* puts(counts.map((c) => c.padStart(width)).join(' ') + (name === '' ? '' : ` ${name}`));
  return status;
}
