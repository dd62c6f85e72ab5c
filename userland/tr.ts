/** tr: characters for others. -d deletes, -s squeezes repeats, -c takes the complement of the first set. */
import type { Sys } from '../abi/process.ts';
import { decode, read, writeAll } from './libc.ts';
import { unescape } from './lib/escapes.ts';
import { getopt, usageError } from './lib/options.ts';

const RANGES: Readonly<Record<string, string>> = { alpha: 'A-Za-z', digit: '0-9', alnum: '0-9A-Za-z', upper: 'A-Z', lower: 'a-z', space: '\t\n\v\f\r ', blank: '\t ', punct: '!-/:-@[-`{-~' };

/** The characters of a set such as `a-z[:digit:]\n`, in order. */
function expand(set: string): string[] {
  const text = unescape(set.replace(/\[:(\w+):\]/g, (whole, name: string) => RANGES[name] ?? whole), true).out;
  return [...text.replace(/(.)-(.)/gs, (whole, a: string, b: string) => {
    const [from, to] = [a.charCodeAt(0), b.charCodeAt(0)];
    return from > to ? whole : Array.from({ length: to - from + 1 }, (_, i) => String.fromCharCode(from + i)).join('');
  })];
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'dscC', { delete: 0, 'squeeze-repeats': 0, complement: 0 }, true);
  if (parsed.error !== undefined) return yield* usageError('tr', parsed.error);
  const [first, second] = parsed.operands;
  if (first === undefined) return yield* usageError('tr', 'missing operand');
  const from = expand(first);
  const to = second === undefined ? [] : expand(second);
  const complement = parsed.has('c', 'C', 'complement');
  const inFirst = (c: string) => from.includes(c) !== complement;
  const removing = parsed.has('d', 'delete');
  const squeezing = parsed.has('s', 'squeeze-repeats');
  if (second === undefined && !removing && !squeezing) return yield* usageError('tr', `missing operand after '${first}'`);
  const squeezed = (c: string) => (second !== undefined ? to.includes(c) : inFirst(c));
  let last = '';
  for (let bytes = yield* read(0, 65536); bytes.length > 0; bytes = yield* read(0, 65536)) {
    let out = '';
    for (const c of decode(bytes)) {
      if (removing && inFirst(c)) continue;
      const mapped = removing || second === undefined || !inFirst(c) ? c : complement ? (to.at(-1) ?? c) : (to[from.indexOf(c)] ?? to.at(-1) ?? c);
      if (squeezing && mapped === last && squeezed(mapped)) continue;
      last = mapped;
      out += mapped;
    }
    yield* writeAll(1, out);
  }
  return 0;
}
