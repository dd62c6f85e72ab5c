/**
 * sed: edits a stream line by line. Commands s d p q = y a i c n N h H g G x b t l with addresses (numbers, $, /re/, ranges,
 * steps, !) and groups; options -n -e -E -r -f -i -s.
 */
import type { Sys } from '../abi/process.ts';
import { O_CREAT, O_TRUNC, O_WRONLY } from '../abi/fcntl.ts';
import { close, eputs, fputs, open, readFile, writeAll } from './libc.ts';
import { translate } from './grep.ts';
import { eachFile, linesOf } from './lib/input.ts';
import { getopt, usageError } from './lib/options.ts';

type Address = { readonly line: number; readonly step: number } | { readonly last: true } | { readonly regexp: RegExp };

interface Command {
  readonly name: string;
  readonly from: Address | undefined;
  readonly to: Address | undefined;
  readonly negated: boolean;
  readonly text: string;
  readonly regexp: RegExp | undefined;
  readonly replacement: string;
  readonly flags: string;
  readonly body: readonly Command[];
  /** Whether a range is open, and the line on which it ends when that is a number. */
  state: { open: boolean };
}

class ScriptError extends Error {}

class Script {
  private at = 0;
  private readonly text: string;
  private readonly extended: boolean;
  constructor(text: string, extended: boolean) {
    this.text = text;
    this.extended = extended;
  }
  private peek(): string {
    return this.text.charAt(this.at);
  }
  private blanks(pattern: RegExp): void {
    while (this.at < this.text.length && pattern.test(this.peek())) this.at++;
  }
  /** Text up to an unescaped `delimiter`, which is read too. */
  private until(delimiter: string): string {
    let out = '';
    for (; this.peek() !== delimiter; this.at++) {
      if (this.at >= this.text.length) throw new ScriptError('unterminated address regex or command');
      if (this.peek() === '\\') {
        this.at++;
        out += this.peek() === delimiter ? delimiter : `\\${this.peek()}`;
      } else out += this.peek();
    }
    this.at++;
    return out;
  }
  private regexp(source: string, flags: string): RegExp {
    try {
      return new RegExp(translate(source.replace(/\\n/g, '\n'), this.extended), flags);
    } catch {
      throw new ScriptError(`invalid regular expression: ${source}`);
    }
  }
  private address(): Address | undefined {
    const number = /^(\d+)(?:~(\d+))?/.exec(this.text.slice(this.at));
    if (number) {
      this.at += number[0].length;
      return { line: Number(number[1]), step: Number(number[2] ?? 0) };
    }
    if (this.peek() === '$') {
      this.at++;
      return { last: true };
    }
    if (this.peek() === '/') {
      this.at++;
      return { regexp: this.regexp(this.until('/'), this.peek() === 'I' && this.at++ > 0 ? 'i' : '') };
    }
    return undefined;
  }
  commands(nested = false): Command[] {
    const out: Command[] = [];
    for (;;) {
      this.blanks(/[\s;]/);
      if (this.at >= this.text.length) {
        if (nested) throw new ScriptError("unmatched `{'");
        return out;
      }
      if (this.peek() === '}') {
        if (!nested) throw new ScriptError("unexpected `}'");
        this.at++;
        return out;
      }
      if (this.peek() === '#') {
        this.blanks(/[^\n]/);
        continue;
      }
      out.push(this.command());
    }
  }
  private command(): Command {
    const from = this.address();
    let to: Address | undefined;
    this.blanks(/[ \t]/);
    if (from && this.peek() === ',') {
      this.at++;
      this.blanks(/[ \t]/);
      to = this.address();
      if (!to) throw new ScriptError("unexpected `,'");
    }
    this.blanks(/[ \t]/);
    const negated = this.peek() === '!';
    if (negated) this.at++;
    this.blanks(/[ \t]/);
    const name = this.text.charAt(this.at++);
    const made = { name, from, to, negated, text: '', regexp: undefined, replacement: '', flags: '', body: [] as Command[], state: { open: false } };
    switch (name) {
      case '{': return { ...made, body: this.commands(true) };
      case 's': {
        const delimiter = this.text.charAt(this.at++);
        const source = this.until(delimiter);
        const replacement = this.until(delimiter);
        const flags = /^[gpiI0-9]*/.exec(this.text.slice(this.at))?.[0] ?? '';
        this.at += flags.length;
        return { ...made, regexp: this.regexp(source, `g${/i/i.test(flags) ? 'i' : ''}`), replacement, flags };
      }
      case 'y': {
        const delimiter = this.text.charAt(this.at++);
        const a = this.until(delimiter);
        const b = this.until(delimiter);
        if ([...a].length !== [...b].length) throw new ScriptError("strings for `y' command are different lengths");
        return { ...made, text: a, replacement: b };
      }
      case 'a': case 'i': case 'c': {
        this.blanks(/[ \t]/);
        if (this.peek() === '\\') this.at++;
        this.blanks(/[ \t\n]/);
        const text = /^(?:[^\n\\]|\\[\s\S])*/.exec(this.text.slice(this.at))?.[0] ?? '';
        this.at += text.length;
        return { ...made, text: text.replace(/\\([\s\S])/g, '$1') };
      }
      case 'b': case 't': case ':': {
        const label = /^[^\n;}]*/.exec(this.text.slice(this.at))?.[0] ?? '';
        this.at += label.length;
        return { ...made, text: label.trim() };
      }
      case 'd': case 'p': case 'q': case '=': case 'n': case 'N': case 'D': case 'P': case 'h': case 'H': case 'g': case 'G': case 'x': case 'l': {
        const status = /^\s*\d+/.exec(this.text.slice(this.at))?.[0] ?? '';
        if (name === 'q') this.at += status.length;
        return { ...made, text: status.trim() };
      }
      default: throw new ScriptError(name === '' ? 'missing command' : `unknown command: \`${name}'`);
    }
  }
}

class Editor {
  out = '';
  status = 0;
  private line = 0;
  private pattern = '';
  private hold = '';
  private substituted = false;
  private after = '';
  private readonly lines: readonly string[];
  private readonly quiet: boolean;
  constructor(lines: readonly string[], quiet: boolean) {
    this.lines = lines;
    this.quiet = quiet;
  }

  run(commands: readonly Command[]): void {
    while (this.line < this.lines.length) {
      this.pattern = this.lines[this.line++] ?? '';
      this.after = '';
      this.substituted = false;
      const end = this.cycle(commands);
      if (!this.quiet && end !== 'delete') this.out += `${this.pattern}\n`;
      this.out += this.after;
      if (end === 'quit') return;
    }
  }

  private hits(address: Address): boolean {
    if ('last' in address) return this.line === this.lines.length;
    if ('regexp' in address) return address.regexp.test(this.pattern);
    return address.step > 0 ? this.line >= address.line && (this.line - address.line) % address.step === 0 : this.line === address.line;
  }

  private selected({ from, to, state, negated }: Command): boolean {
    let hit: boolean;
    if (!from) hit = true;
    else if (!to) hit = this.hits(from);
    else if (state.open) {
      hit = true;
      if ('line' in to ? this.line >= to.line : this.hits(to)) state.open = false;
      if ('line' in to && this.line > to.line) hit = this.hits(from);
    } else {
      hit = this.hits(from);
      if (hit && !('line' in to && to.line <= this.line)) state.open = true;
    }
    return hit !== negated;
  }

  /** Runs the script on the pattern space; how the cycle ends. */
  private cycle(commands: readonly Command[]): 'end' | 'delete' | 'quit' {
    for (let i = 0, steps = 0; i < commands.length; i++) {
      const command = commands[i];
      if (!command || command.name === ':' || !this.selected(command)) continue;
      if (steps++ > 1_000_000) throw new ScriptError('a loop in the script does not end');
      switch (command.name) {
        case '{': {
          const end = this.cycle(command.body);
          if (end !== 'end') return end;
          break;
        }
        case 's': this.substitute(command); break;
        case 'y': this.pattern = [...this.pattern].map((c) => { const at = [...command.text].indexOf(c); return at < 0 ? c : ([...command.replacement][at] ?? c); }).join(''); break;
        case 'd': return 'delete';
        case 'p': this.out += `${this.pattern}\n`; break;
        case 'P': this.out += `${this.pattern.split('\n')[0]}\n`; break;
        case 'l': this.out += `${JSON.stringify(this.pattern).slice(1, -1).replaceAll('\\"', '"')}$\n`; break;
        case '=': this.out += `${this.line}\n`; break;
        case 'q': this.status = Number(command.text || 0); return 'quit';
        case 'a': this.after += `${command.text}\n`; break;
        case 'i': this.out += `${command.text}\n`; break;
        case 'c':
          if (!command.to || !command.state.open) this.out += `${command.text}\n`;
          return 'delete';
        case 'n':
          if (!this.quiet) this.out += `${this.pattern}\n`;
          if (this.line >= this.lines.length) return 'delete';
          this.pattern = this.lines[this.line++] ?? '';
          break;
        case 'N':
          if (this.line >= this.lines.length) return 'end';
          this.pattern += `\n${this.lines[this.line++] ?? ''}`;
          break;
        case 'D': {
          const newline = this.pattern.indexOf('\n');
          if (newline < 0) return 'delete';
          this.pattern = this.pattern.slice(newline + 1);
          i = -1;
          break;
        }
        case 'h': this.hold = this.pattern; break;
        case 'H': this.hold += `\n${this.pattern}`; break;
        case 'g': this.pattern = this.hold; break;
        case 'G': this.pattern += `\n${this.hold}`; break;
        case 'x': [this.pattern, this.hold] = [this.hold, this.pattern]; break;
        case 't': case 'b': {
          if (command.name === 't' && !this.substituted) break;
          this.substituted = false;
          if (command.text === '') return 'end';
          const label = commands.findIndex((c) => c.name === ':' && c.text === command.text);
          if (label < 0) throw new ScriptError(`can't find label for jump to \`${command.text}'`);
          i = label;
          break;
        }
      }
    }
    return 'end';
  }

  private substitute({ regexp, replacement, flags }: Command): void {
    if (!regexp) return;
    const nth = Number(/\d+/.exec(flags)?.[0] ?? 1);
    const all = flags.includes('g');
    let seen = 0;
    let done = false;
    this.pattern = this.pattern.replace(regexp, (match: string, ...groups: unknown[]) => {
      seen++;
      if (seen < nth || (seen > nth && !all)) return match;
      done = true;
      return replacement.replace(/\\([\s\S])|&/g, (token, c?: string) =>
        token === '&' ? match : /\d/.test(c ?? '') ? (c === '0' ? match : String(groups[Number(c) - 1] ?? '')) : c === 'n' ? '\n' : c === 't' ? '\t' : (c ?? ''));
    });
    if (!done) return;
    this.substituted = true;
    if (flags.includes('p')) this.out += `${this.pattern}\n`;
  }
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'ne:f:Erisz', { quiet: 0, silent: 0, expression: 1, file: 1, 'regexp-extended': 0, 'in-place': 2 });
  if (parsed.error !== undefined) return yield* usageError('sed', parsed.error);
  const operands = [...parsed.operands];
  const parts: string[] = [];
  for (const { name, value } of parsed.options) {
    if (name === 'e' || name === 'expression') parts.push(value);
    else if (name === 'f' || name === 'file') parts.push(yield* readFile(value));
  }
  if (parts.length === 0) {
    const script = operands.shift();
    if (script === undefined) return yield* usageError('sed', 'no script specified');
    parts.push(script);
  }
  const quiet = parsed.has('n', 'quiet', 'silent');
  const inPlace = parsed.has('i', 'in-place');
  const extended = parsed.has('E', 'r', 'regexp-extended');
  try {
    const script = parts.join('\n');
    let status = 0;
    let lines: string[] = [];
    const ok = yield* eachFile('sed', operands, function* each(fd, name) {
      const own = yield* linesOf(fd);
      if (!inPlace) {
        lines = lines.concat(own);
        return;
      }
      const editor = new Editor(own, quiet);
      editor.run(new Script(script, extended).commands());
      const out = yield* open(name, O_WRONLY | O_CREAT | O_TRUNC);
      yield* writeAll(out, editor.out);
      yield* close(out);
    });
    if (!inPlace) {
      const editor = new Editor(lines, quiet);
      editor.run(new Script(script, extended).commands());
      yield* fputs(editor.out);
      status = editor.status;
    }
    return ok ? status : 2;
  } catch (e) {
    if (!(e instanceof ScriptError)) throw e;
    yield* eputs(`sed: -e expression #1: ${e.message}`);
    return 1;
  }
}
