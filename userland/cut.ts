/** cut: parts of lines. -d DELIMITER -f FIELDS, -c or -b CHARACTERS, -s only lines with a delimiter. */
import type { Sys } from '../abi/process.ts';
import { fputs } from './libc.ts';
import { eachFile, linesOf } from './lib/input.ts';
import { getopt, usageError } from './lib/options.ts';

/** A test for positions from 1 on, of a list such as `1,3-5,7-`. */
function ranges(list: string): ((n: number) => boolean) | undefined {
  const all = list.split(',').map((range) => /^(\d*)(-?)(\d*)$/.exec(range));
  if (all.some((r) => !r || (r[1] === '' && r[3] === ''))) return undefined;
  return (n) => all.some((r) => r !== null && n >= Number(r[1] || 1) && n <= (r[2] === '' ? Number(r[1]) : Number(r[3] || Number.POSITIVE_INFINITY)));
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'd:f:c:b:s', { delimiter: 1, fields: 1, characters: 1 });
  if (parsed.error !== undefined) return yield* usageError('cut', parsed.error);
  const fields = parsed.value('f', 'fields');
  const list = fields ?? parsed.value('c', 'b', 'characters');
  if (list === undefined) return yield* usageError('cut', 'you must specify a list of bytes, characters, or fields');
  const wanted = ranges(list);
  if (!wanted) return yield* usageError('cut', `invalid field value '${list}'`);
  if (/(^|,)0/.test(list)) return yield* usageError('cut', fields === undefined ? 'byte/character positions are numbered from 1' : 'fields are numbered from 1');
  const delimiter = parsed.value('d', 'delimiter') ?? '\t';
  const ok = yield* eachFile('cut', parsed.operands, function* each(fd) {
    let out = '';
    for (const line of yield* linesOf(fd)) {
      if (fields === undefined) out += `${[...line].filter((_, i) => wanted(i + 1)).join('')}\n`;
      else if (line.includes(delimiter)) out += `${line.split(delimiter).filter((_, i) => wanted(i + 1)).join(delimiter)}\n`;
      else if (!parsed.has('s')) out += `${line}\n`;
    }
    yield* fputs(out);
  });
  return ok ? 0 : 1;
}
