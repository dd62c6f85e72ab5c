/**
 * Reads words: quoting, `$name`, `${…}`, `$(…)`, `` `…` ``, `$((…))`.
 *
 * The hard part: a command substitution holds a whole program, so the parser of words and the parser of commands
 * call each other on one source text at one position.
 */
import type { List, Part, Word } from './ast.ts';

/** The input is wrong: `message` names what stands where it must not. */
export class SyntaxError_ extends Error {}
/** The input ends too early; more lines may complete it. */
export class Incomplete extends SyntaxError_ {}

export const META = ' \t\n;&|<>()';
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const SPECIAL = '@*#?-$!';
const OPERATORS = /(:?[-=?+])|%%?|##?|\/\/?|:/y;

export abstract class WordParser {
  source: string;
  at = 0;
  constructor(source: string) {
    this.source = source;
  }

  /** A list of commands up to the closing parenthesis, which is left unread. */
  protected abstract substitution(): List;
  protected abstract parseWhole(source: string): List;

  protected peek(offset = 0): string {
    return this.source.charAt(this.at + offset);
  }
  protected looking(text: string): boolean {
    return this.source.startsWith(text, this.at);
  }
  protected match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    return pattern.exec(this.source)?.[0];
  }

  /** One word, up to a metacharacter. Empty when there is none. */
  protected word(): Word {
    return this.parts((c) => META.includes(c), false, false);
  }

  /** Parts up to a character that `ends`; in `double` quotes only `$`, `` ` `` and `\` are special. */
  protected parts(ends: (c: string) => boolean, double: boolean, heredoc: boolean): Word {
    const parts: Part[] = [];
    let text = '';
    const flush = () => {
      if (text !== '') parts.push({ kind: 'text', text, quoted: double });
      text = '';
    };
    while (this.at < this.source.length) {
      const c = this.peek();
      if (ends(c)) break;
      if (c === '\\') {
        const next = this.peek(1);
        this.at += 2;
        if (next === '\n') continue;
        if (next === '') {
          this.at = this.source.length;
          text += '\\';
        } else if (double) {
          text += '$`\\'.includes(next) || (next === '"' && !heredoc) || ends(next) ? next : `\\${next}`;
        } else {
          flush();
          parts.push({ kind: 'text', text: next, quoted: true });
        }
      } else if (c === "'" && !double) {
        flush();
        const end = this.source.indexOf("'", this.at + 1);
        if (end < 0) throw new Incomplete("unexpected EOF while looking for matching `''");
        parts.push({ kind: 'text', text: this.source.slice(this.at + 1, end), quoted: true });
        this.at = end + 1;
      } else if (c === '"' && !heredoc) {
        flush();
        this.at++;
        const inner = this.parts((d) => d === '"', true, false);
        if (this.peek() !== '"') throw new Incomplete('unexpected EOF while looking for matching `"\'');
        this.at++;
        parts.push(...(inner.length > 0 ? inner : [{ kind: 'text' as const, text: '', quoted: true }]));
      } else if (c === '$') {
        const part = this.dollar(double);
        if (part === undefined) text += '$';
        else {
          flush();
          parts.push(part);
        }
      } else if (c === '`') {
        flush();
        parts.push(this.backquotes(double));
      } else {
        text += c;
        this.at++;
      }
    }
    flush();
    return parts;
  }

  /** What follows a `$`; undefined when the dollar stands for itself (and has been read). */
  private dollar(quoted: boolean): Part | undefined {
    this.at++;
    const c = this.peek();
    if (c === '(') {
      if (this.peek(1) === '(') {
        const arithmetic = this.arithmetic(quoted);
        if (arithmetic) return arithmetic;
      }
      this.at++;
      const list = this.substitution();
      if (this.peek() !== ')') throw new Incomplete("unexpected EOF while looking for matching `)'");
      this.at++;
      return { kind: 'command', list, quoted };
    }
    if (c === '{') return this.braces(quoted);
    if (c === "'" && !quoted) {
      const end = this.match(/'(?:[^'\\]|\\[\s\S])*'/y);
      if (end === undefined) throw new Incomplete("unexpected EOF while looking for matching `''");
      this.at += end.length;
      return { kind: 'text', text: ansi(end.slice(1, -1)), quoted: true };
    }
    const name = this.match(NAME) ?? (/[0-9]/.test(c) || (c !== '' && SPECIAL.includes(c)) ? c : undefined);
    if (name === undefined) return undefined;
    this.at += name.length;
    return { kind: 'parameter', name, operator: '', word: undefined, quoted };
  }

  private braces(quoted: boolean): Part {
    const start = this.at++;
    const bad = () => new SyntaxError_(`${this.source.slice(start - 1, this.source.indexOf('}', start) + 1 || undefined)}: bad substitution`);
    let length = false;
    if (this.peek() === '#' && this.peek(1) !== '}' && !(/[-=?+%#:/]/.test(this.peek(1)) && this.peek(2) !== '}')) {
      length = true;
      this.at++;
    }
    const name = this.match(NAME) ?? this.match(/[0-9]+/y) ?? (SPECIAL.includes(this.peek()) && this.peek() !== '' ? this.peek() : undefined);
    if (name === undefined) throw this.at >= this.source.length ? new Incomplete("unexpected EOF while looking for matching `}'") : bad();
    this.at += name.length;
    if (length) {
      if (this.peek() !== '}') throw bad();
      this.at++;
      return { kind: 'parameter', name, operator: 'length', word: undefined, quoted };
    }
    const operator = this.match(OPERATORS) ?? '';
    this.at += operator.length;
    if (operator === '' && this.peek() !== '}') throw this.peek() === '' ? new Incomplete("unexpected EOF while looking for matching `}'") : bad();
    // In "${x#pattern}" quoting starts anew for the pattern, in "${x:-word}" it does not.
    const pattern = /^[%#/]/.test(operator);
    const word = operator === '' ? undefined : this.parts((c) => c === '}', quoted && !pattern, false);
    if (this.peek() !== '}') throw new Incomplete("unexpected EOF while looking for matching `}'");
    this.at++;
    return { kind: 'parameter', name, operator, word, quoted };
  }

  /** `$((…))` from the first parenthesis on, or undefined when it is `$( (…) … )`. */
  private arithmetic(quoted: boolean): Part | undefined {
    let depth = 0;
    for (let i = this.at + 2; i < this.source.length; i++) {
      const c = this.source.charAt(i);
      if (c === '(') depth++;
      else if (c === ')' && depth > 0) depth--;
      else if (c === ')') {
        if (this.source.charAt(i + 1) !== ')') return undefined;
        const whole = this.source;
        this.source = whole.slice(0, i);
        this.at += 2;
        const expression = this.parts(() => false, true, false);
        this.source = whole;
        this.at = i + 2;
        return { kind: 'arithmetic', expression, quoted };
      }
    }
    throw new Incomplete("unexpected EOF while looking for matching `)'");
  }

  private backquotes(quoted: boolean): Part {
    let text = '';
    for (this.at++; this.peek() !== '`'; this.at++) {
      if (this.at >= this.source.length) throw new Incomplete("unexpected EOF while looking for matching ``'");
      if (this.peek() === '\\' && '$`\\'.includes(this.peek(1)) && this.peek(1) !== '') this.at++;
      text += this.peek();
    }
    this.at++;
    return { kind: 'command', list: this.parseWhole(text), quoted };
  }
}

const ANSI: Readonly<Record<string, string>> = { a: '\x07', b: '\b', e: '\x1b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };
/** The escapes of $'…'. */
const ansi = (text: string): string =>
  text.replace(/\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|([\s\S]))/g, (_, hex?: string, octal?: string, c?: string) =>
    hex !== undefined ? String.fromCharCode(Number.parseInt(hex, 16)) : octal !== undefined ? String.fromCharCode(Number.parseInt(octal, 8) & 0xff) : (ANSI[c ?? ''] ?? c ?? ''));
