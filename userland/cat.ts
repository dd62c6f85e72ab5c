/**
 * cat: files, or standard input, to standard output. Options -n -b -E -s as GNU's.
 */
import type { Sys } from '../abi/process.ts';
import { close, open, read, writeAll, decode } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';
import { attempt } from './lib/main.ts';

const BUFFER = 65536;

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'nbEsuvAeT', { number: 0, 'number-nonblank': 0, 'show-ends': 0, 'squeeze-blank': 0 });
  if (parsed.error !== undefined) return yield* usageError('cat', parsed.error);
  const state = {
    number: parsed.has('n', 'number'), nonblank: parsed.has('b', 'number-nonblank'), ends: parsed.has('E', 'show-ends', 'A', 'e'),
    squeeze: parsed.has('s', 'squeeze-blank'), line: 0, blank: false, rest: '',
  };
  const plain = !(state.number || state.nonblank || state.ends || state.squeeze);
  const decorate = (text: string): string => {
    const lines = (state.rest + text).split('\n');
    state.rest = lines.pop() ?? '';
    let out = '';
    for (const line of lines) {
      if (state.squeeze && line === '' && state.blank) continue;
      state.blank = line === '';
      const counted = state.nonblank ? line !== '' : state.number;
      out += `${counted ? `${String(++state.line).padStart(6)}\t` : ''}${line}${state.ends ? '$' : ''}\n`;
    }
    return out;
  };
  let ok = true;
  function* copy(fd: number): Sys {
    for (;;) {
      const bytes = yield* read(fd, BUFFER);
      if (bytes.length === 0) break;
      yield* writeAll(1, plain ? bytes : decorate(decode(bytes)));
    }
  }
  for (const file of parsed.operands.length > 0 ? parsed.operands : ['-']) {
    ok = (yield* attempt(`cat: ${file}`, (function* one(): Sys {
      const fd = file === '-' ? 0 : yield* open(file);
      yield* copy(fd);
      if (fd !== 0) yield* close(fd);
    })())) && ok;
  }
  if (state.rest !== '') yield* writeAll(1, `${state.number || (state.nonblank) ? `${String(++state.line).padStart(6)}\t` : ''}${state.rest}`);
  return ok ? 0 : 1;
}
