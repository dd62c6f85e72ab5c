/**
 * Expansion of words to fields: tilde, parameters, commands, arithmetic, then field splitting, path names and the
 * removal of quotes. POSIX.1-2017, Shell Command Language, section 2.6.
 */
import type { Sys } from '../../abi/process.ts';
import type { List, Part, Word } from './ast.ts';
import { evaluate } from './arithmetic.ts';
import { escapePattern, glob, hasPattern, substitute, trim } from './pattern.ts';
import { type Shell, ShellError } from './state.ts';

/** Runs a command substitution and gives its output; the executor's part of expansion. */
export type Substitute = (sh: Shell, list: List) => Sys<string>;

/** One field as it grows: its text, and the pattern it would be, with quoted characters escaped. */
interface Field { text: string; pattern: string }

class Fields {
  readonly done: Field[] = [];
  private current: Field | undefined;
  private readonly ifs: string;
  constructor(ifs: string) {
    this.ifs = ifs;
  }

  append(text: string, quoted: boolean): void {
    this.current ??= { text: '', pattern: '' };
    this.current.text += text;
    this.current.pattern += quoted ? escapePattern(text) : text;
  }
  end(): void {
    if (this.current) this.done.push(this.current);
    this.current = undefined;
  }

  /** Adds the result of an unquoted expansion, cut at IFS. */
  split(text: string): void {
    const blank = (c: string) => c !== '' && this.ifs.includes(c) && ' \t\n'.includes(c);
    const hard = (c: string) => c !== '' && this.ifs.includes(c) && !' \t\n'.includes(c);
    for (let i = 0; i < text.length; ) {
      const c = text.charAt(i);
      if (!blank(c) && !hard(c)) {
        this.append(c, false);
        i++;
        continue;
      }
      while (blank(text.charAt(i))) i++;
      if (hard(text.charAt(i))) {
        this.current ??= { text: '', pattern: '' };
        i++;
        while (blank(text.charAt(i))) i++;
      }
      this.end();
    }
  }
}

export class Expander {
  private readonly sh: Shell;
  private readonly substituteCommand: Substitute;
  constructor(sh: Shell, substituteCommand: Substitute) {
    this.sh = sh;
    this.substituteCommand = substituteCommand;
  }

  private ifs(): string {
    return this.sh.get('IFS') ?? ' \t\n';
  }

  /** All expansions: what becomes a command's arguments. */
  *fields(words: readonly Word[]): Sys<string[]> {
    const out: string[] = [];
    for (const word of words) {
      const fields = new Fields(this.ifs());
      yield* this.into(fields, withTilde(this.sh, word), true);
      fields.end();
      for (const { text, pattern } of fields.done) {
        const names = hasPattern(pattern) && !this.sh.options.has('noglob') ? yield* glob(pattern) : [];
        if (names.length > 0) for (const name of names) out.push(name);
        else out.push(text);
      }
    }
    return out;
  }

  /** One string, neither split nor matched with files: assignments, redirections, here-documents. */
  *text(word: Word): Sys<string> {
    return (yield* this.single(withTilde(this.sh, word))).text;
  }

  /** A pattern in which quoted characters stand for themselves: `case`, `${x#…}`. */
  *pattern(word: Word): Sys<string> {
    return (yield* this.single(withTilde(this.sh, word))).pattern;
  }

  *arithmetic(expression: Word): Sys<string> {
    const text = (yield* this.single(expression)).text;
    return evaluate(text, this.sh).toString();
  }

  private *single(word: Word): Sys<Field> {
    const fields = new Fields('');
    yield* this.into(fields, word, false);
    fields.end();
    return { text: fields.done.map((f) => f.text).join(' '), pattern: fields.done.map((f) => f.pattern).join(' ') };
  }

  private *into(fields: Fields, word: Word, split: boolean): Sys {
    for (const part of word) {
      switch (part.kind) {
        case 'text': fields.append(part.text, part.quoted); break;
        case 'command': this.add(fields, yield* this.substituteCommand(this.sh, part.list), part.quoted, split); break;
        case 'arithmetic': this.add(fields, yield* this.arithmetic(part.expression), part.quoted, split); break;
        case 'parameter': yield* this.parameter(fields, part, split); break;
      }
    }
  }

  private add(fields: Fields, value: string, quoted: boolean, split: boolean): void {
    if (quoted || !split) {
      if (quoted || value !== '') fields.append(value, quoted);
    } else fields.split(value);
  }

  /** $@ and $*: each parameter a field of its own, but for "$*" and where nothing is split. */
  private list(fields: Fields, name: string, values: readonly string[], quoted: boolean, split: boolean): void {
    if (quoted && name === '*') {
      fields.append(values.join(this.ifs().charAt(0)), true);
    } else if (!split) {
      if (values.length > 0) fields.append(values.join(' '), quoted);
    } else {
      for (const [i, value] of values.entries()) {
        if (i > 0) fields.end();
        if (quoted) fields.append(value, true);
        else fields.split(value);
      }
    }
  }

  private *parameter(fields: Fields, part: Part & { kind: 'parameter' }, split: boolean): Sys {
    const { sh } = this;
    const { name, operator, quoted } = part;
    const word = part.word ?? [];
    const many = name === '@' || name === '*';
    const value = sh.parameter(name);
    const colon = operator.startsWith(':') && operator.length > 1;
    const missing = value === undefined || (colon && value === '');
    const kind = colon ? operator.charAt(1) : operator;
    if (/^[-=?+]$/.test(kind)) {
      if (kind === '+' ? missing : !missing) {
        if (kind !== '+') this.value(fields, name, value ?? '', quoted, split);
        return;
      }
      if (kind === '=') {
        const text = yield* this.text(word);
        sh.set(name, text);
        this.add(fields, text, quoted, split);
      } else if (kind === '?') {
        throw new ShellError(`${name}: ${word.length > 0 ? yield* this.text(word) : 'parameter null or not set'}`);
      } else {
        yield* this.into(fields, quoted ? word : withTilde(sh, word), split);
        if (quoted) fields.append('', true);
      }
      return;
    }
    if (value === undefined && sh.options.has('nounset') && !many) throw new ShellError(`${name}: unbound variable`);
    if (operator === '') {
      this.value(fields, name, value ?? '', quoted, split);
      return;
    }
    if (operator === 'length') {
      this.add(fields, String(many ? sh.params.length : [...(value ?? '')].length), quoted, split);
      return;
    }
    const edit = yield* this.editor(operator, word);
    if (many) this.list(fields, name, sh.params.map(edit), quoted, split);
    else this.add(fields, edit(value ?? ''), quoted, split);
  }

  private value(fields: Fields, name: string, value: string, quoted: boolean, split: boolean): void {
    if (name === '@' || name === '*') this.list(fields, name, this.sh.params, quoted, split);
    else this.add(fields, value, quoted, split);
  }

  /** What `#`, `%`, `/` and `:` do with a value. */
  private *editor(operator: string, word: Word): Sys<(value: string) => string> {
    if (operator.startsWith('/')) {
      const [from, to] = cut(word, '/');
      const pattern = yield* this.pattern(from);
      const text = yield* this.text(to);
      return (value) => substitute(value, pattern, text, operator === '//');
    }
    if (operator === ':') {
      const [start, length] = cut(word, ':');
      const from = Number(yield* this.arithmetic(start));
      const count = length.length > 0 ? Number(yield* this.arithmetic(length)) : undefined;
      return (value) => {
        const first = from < 0 ? Math.max(value.length + from, 0) : from;
        return count === undefined ? value.slice(first) : value.slice(first, count < 0 ? value.length + count : first + count);
      };
    }
    const pattern = yield* this.pattern(word);
    return (value) => trim(value, pattern, operator);
  }
}

/** The parts of a word before and after the first unquoted `separator`. */
function cut(word: Word, separator: string): [Word, Word] {
  for (const [i, part] of word.entries()) {
    if (part.kind !== 'text' || part.quoted) continue;
    const at = part.text.indexOf(separator);
    if (at < 0) continue;
    const piece = (text: string): Part[] => (text === '' ? [] : [{ ...part, text }]);
    return [[...word.slice(0, i), ...piece(part.text.slice(0, at))], [...piece(part.text.slice(at + 1)), ...word.slice(i + 1)]];
  }
  return [word, []];
}

/** `~` and `~/…` at the start of a word become the home directory. */
function withTilde(sh: Shell, word: Word): Word {
  const [first, ...rest] = word;
  if (first?.kind !== 'text' || first.quoted || !/^~(\/|$)/.test(first.text)) return word;
  if (first.text === '~' && rest.length > 0 && !(rest[0]?.kind === 'text' && rest[0].text.startsWith('/'))) return word;
  const home = sh.get('HOME');
  if (home === undefined) return word;
  return [{ kind: 'text', text: home, quoted: true }, { kind: 'text', text: first.text.slice(1), quoted: false }, ...rest];
}
