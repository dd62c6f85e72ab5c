/**
 * grep: lines that match. -E extended, -F fixed strings, basic expressions otherwise; -i -v -n -c -l -L -q -o -w -x -r -h -H -s -e -m -A -B -C.
 */
import type { Sys } from '../abi/process.ts';
import { S_ISDIR } from '../abi/fcntl.ts';
import { Errno, close, decode, eputs, fputs, lstat, open, readAll, readdir, stat } from './libc.ts';
import { maybe } from './lib/main.ts';
import { getopt, type Parsed } from './lib/options.ts';
import { CLASSES } from './lib/character-classes.ts';
import { splitLines } from './lib/input.ts';

/** POSIX's notation as JavaScript's: bracket expressions, and in basic ones the backslash's two meanings exchanged. */
export function translate(pattern: string, extended: boolean): string {
  let out = '';
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern.charAt(i);
    if (c === '[') {
      let j = i + 1;
      let set = '[';
      if (pattern.charAt(j) === '^') {
        set += '^';
        j++;
      }
      for (let first = true; j < pattern.length && (first || pattern.charAt(j) !== ']'); first = false, j++) {
        const named = /^\[:(\w+):\]/.exec(pattern.slice(j));
        if (named) {
          set += CLASSES[named[1] ?? ''] ?? '';
          j += named[0].length - 1;
        } else set += /[\\\][]/.test(pattern.charAt(j)) ? `\\${pattern.charAt(j)}` : pattern.charAt(j);
      }
      out += `${set}]`;
      i = j;
    } else if (c === '\\') {
      const next = pattern.charAt(++i);
      if (!extended && /[(){}|+?]/.test(next)) out += next;
      else if (next === '<') out += '\\b(?=\\w)';
      else if (next === '>') out += '\\b(?<=\\w)';
      else if (/[wWsSbB1-9]/.test(next)) out += `\\${next}`;
      else out += next.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&');
    } else if (!extended && /[(){}|+?]/.test(c)) out += `\\${c}`;
    else if (!extended && c === '*' && (out === '' || out === '^')) out += '\\*';
    else out += c;
  }
  return out;
}

function expression(patterns: readonly string[], parsed: Parsed, extended: boolean): RegExp {
  const sources = patterns.flatMap((p) => p.split('\n')).map((p) => (parsed.has('F') ? p.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&') : translate(p, extended)));
  let source = sources.map((s) => (sources.length > 1 ? `(?:${s})` : s)).join('|');
  if (parsed.has('w')) source = `(?<!\\w)(?:${source})(?!\\w)`;
  if (parsed.has('x')) source = `^(?:${source})$`;
  return new RegExp(source, parsed.has('i', 'y', 'ignore-case') ? 'gi' : 'g');
}

interface Search { readonly regexp: RegExp; readonly parsed: Parsed; readonly named: boolean; readonly before: number; readonly after: number; readonly limit: number }

/** Searches one text; gives how many lines were selected and what is printed. */
function search(text: string, name: string, s: Search): { selected: number; out: string } {
  const { regexp, parsed } = s;
  const lines = splitLines(text);
  const quiet = parsed.has('q', 'c', 'l', 'L', 'quiet', 'count');
  let out = '';
  let selected = 0;
  let printed = -1;
  const prefix = (i: number, mark: string) => `${s.named ? `${name}${mark}` : ''}${parsed.has('n') ? `${i + 1}${mark}` : ''}`;
  let until = -1;
  for (const [i, line] of lines.entries()) {
    regexp.lastIndex = 0;
    const hit = selected < s.limit && regexp.test(line) !== parsed.has('v', 'invert-match');
    if (hit) {
      selected++;
      if (quiet) continue;
      if (parsed.has('o')) {
        regexp.lastIndex = 0;
        for (const match of line.matchAll(regexp)) if (match[0] !== '') out += `${prefix(i, ':')}${match[0]}\n`;
        continue;
      }
      const from = Math.max(printed + 1, i - s.before);
      if ((s.before > 0 || s.after > 0) && printed >= 0 && from > printed + 1) out += '--\n';
      for (let k = from; k < i; k++) out += `${prefix(k, '-')}${lines[k]}\n`;
      out += `${prefix(i, ':')}${line}\n`;
      printed = i;
      until = i + s.after;
    } else if (i <= until && !quiet) {
      out += `${prefix(i, '-')}${line}\n`;
      printed = i;
    }
  }
  return { selected, out };
}

/** Files below `path`, depth first in the order of names. */
function* walk(path: string): Sys<string[]> {
  const status = yield* maybe(lstat(path));
  if (!status || !S_ISDIR(status.st_mode)) return [path];
  const names = ((yield* maybe(readdir(path))) ?? []).map((d) => d.d_name).filter((n) => n !== '.' && n !== '..').sort();
  const found: string[] = [];
  for (const name of names) found.push(...(yield* walk(`${path}/${name}`)));
  return found;
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'EFGivncloqwxrRhHsyLe:m:A:B:C:', { 'ignore-case': 0, 'invert-match': 0, quiet: 0, count: 0, color: 2 });
  if (parsed.error !== undefined) {
    yield* eputs(`grep: ${parsed.error}\nUsage: grep [OPTION]... PATTERNS [FILE]...\nTry 'grep --help' for more information.`);
    return 2;
  }
  const operands = [...parsed.operands];
  const patterns = parsed.options.filter(({ name }) => name === 'e').map(({ value }) => value);
  if (patterns.length === 0) {
    const pattern = operands.shift();
    if (pattern === undefined) {
      yield* eputs("Usage: grep [OPTION]... PATTERNS [FILE]...\nTry 'grep --help' for more information.");
      return 2;
    }
    patterns.push(pattern);
  }
  let regexp: RegExp;
  try {
    regexp = expression(patterns, parsed, parsed.has('E'));
  } catch {
    yield* eputs(`grep: Invalid regular expression: ${patterns.join(' ')}`);
    return 2;
  }
  const recursive = parsed.has('r', 'R');
  let files: string[] = [];
  if (recursive) for (const path of operands.length > 0 ? operands : ['.']) files.push(...(yield* walk(path)));
  else files = operands.length > 0 ? operands : ['-'];
  const context = Number(parsed.value('C') ?? 0);
  const settings: Search = {
    regexp, parsed, named: parsed.has('H') || ((recursive || files.length > 1) && !parsed.has('h')),
    before: Number(parsed.value('B') ?? context), after: Number(parsed.value('A') ?? context), limit: Number(parsed.value('m') ?? Number.POSITIVE_INFINITY),
  };
  let any = false;
  let failed = false;
  for (const file of files) {
    try {
      if (file !== '-' && S_ISDIR((yield* stat(file)).st_mode)) {
        yield* eputs(`grep: ${file}: Is a directory`);
        failed = true;
        continue;
      }
      const fd = file === '-' ? 0 : yield* open(file);
      const text = decode(yield* readAll(fd));
      if (fd !== 0) yield* close(fd);
      const name = file === '-' ? '(standard input)' : file;
      const { selected, out } = search(text, name, settings);
      any ||= parsed.has('L') ? selected === 0 : selected > 0;
      if (parsed.has('q', 'quiet')) {
        if (selected > 0) return 0;
      } else if (parsed.has('l') || parsed.has('L')) {
        if (selected > 0 === parsed.has('l')) yield* fputs(`${name}\n`);
      } else if (parsed.has('c', 'count')) yield* fputs(`${settings.named ? `${name}:` : ''}${selected}\n`);
      else yield* fputs(out);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (!parsed.has('s')) yield* eputs(`grep: ${file}: ${e.text}`);
      failed = true;
    }
  }
  return failed ? 2 : any ? 0 : 1;
}
