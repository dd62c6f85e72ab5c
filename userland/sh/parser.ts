/**
 * The grammar of sh: lists, pipelines, compound commands, redirections, here-documents, functions.
 * POSIX.1-2017, Shell Command Language, section 2.10.
 */
import type { AndOr, Assignment, Command, List, ListItem, Pipeline, Redirect, Word } from './ast.ts';
import { Incomplete, META, SyntaxError_, WordParser } from './word-parser.ts';

const RESERVED: ReadonlySet<string> = new Set(['!', '{', '}', 'case', 'do', 'done', 'elif', 'else', 'esac', 'fi', 'for', 'function', 'if', 'in', 'then', 'until', 'while']);
const REDIRECT = /([0-9]*)(<<-|<<|<&|<>|<|>>|>&|>\||>|&>)/y;

export class Parser extends WordParser {
  private readonly aliases: ReadonlyMap<string, string>;
  /** Here-documents whose text follows the next newline. */
  private pending: { redirect: Redirect; delimiter: string; quoted: boolean; strip: boolean }[] = [];
  /** Where the text of the alias last replaced ends: inside it the same alias is not replaced again. */
  private aliasEnd = -1;
  private aliasUsed = new Set<string>();

  constructor(source: string, aliases: ReadonlyMap<string, string> = new Map()) {
    super(source);
    this.aliases = aliases;
  }

  /** The next complete line's commands; undefined at the end of the source. */
  next(): List | undefined {
    this.blanks(true);
    if (this.at >= this.source.length) return undefined;
    const list = this.list((t) => t === '\n' || t === '', true);
    if (this.peek() === '\n') {
      this.at++;
      this.heredocs();
    } else if (this.at < this.source.length) {
      throw this.unexpected();
    } else if (this.pending.length > 0) {
      throw new Incomplete('here-document delimited by end-of-file');
    }
    return list;
  }

  whole(): List {
    const items: ListItem[] = [];
    for (let list = this.next(); list !== undefined; list = this.next()) for (const item of list) items.push(item);
    return items;
  }

  protected override parseWhole(source: string): List {
    return new Parser(source, this.aliases).whole();
  }
  protected override substitution(): List {
    return this.list((t) => t === ')', false);
  }

  // -------------------------------------------------------------- spacing

  private blanks(newlines: boolean): void {
    for (;;) {
      const c = this.peek();
      if (c === ' ' || c === '\t') this.at++;
      else if (c === '\\' && this.peek(1) === '\n') this.at += 2;
      else if (c === '#') while (this.at < this.source.length && this.peek() !== '\n') this.at++;
      else if (c === '\n' && newlines) {
        this.at++;
        this.heredocs();
      } else return;
    }
  }

  private heredocs(): void {
    for (const { redirect, delimiter, quoted, strip } of this.pending.splice(0)) {
      let text = '';
      for (;;) {
        if (this.at >= this.source.length) throw new Incomplete(`here-document delimited by end-of-file (wanted \`${delimiter}')`);
        const end = this.source.indexOf('\n', this.at);
        let line = this.source.slice(this.at, end < 0 ? undefined : end);
        this.at = end < 0 ? this.source.length : end + 1;
        if (strip) line = line.replace(/^\t+/, '');
        if (line === delimiter) break;
        text += `${line}\n`;
      }
      if (quoted) redirect.target = [{ kind: 'text', text, quoted: true }];
      else {
        const inner = new Parser(text, this.aliases);
        redirect.target = inner.parts(() => false, true, true);
      }
    }
  }

  /** The operator or reserved word at hand, without reading it. A newline is '\n', the end ''. */
  private token(): string {
    this.blanks(false);
    const c = this.peek();
    if (c === '' || c === '\n' || c === '(' || c === ')') return c;
    for (const operator of ['&&', '||', ';;', ';&', '&>', ';', '&', '|']) if (this.looking(operator)) return operator;
    const literal = /[^\s;&|<>()'"\\$`]+/y;
    const word = this.match(literal) ?? '';
    const after = this.source.charAt(this.at + word.length);
    return word !== '' && (after === '' || META.includes(after)) ? word : '\0word';
  }

  private unexpected(): SyntaxError_ {
    const token = this.token();
    if (token === '') return new Incomplete('unexpected end of file');
    const shown = token === '\n' ? 'newline' : token === '\0word' ? this.source.slice(this.at).split(/\s/)[0] : token;
    return new SyntaxError_(`syntax error near unexpected token \`${shown}'`);
  }

  private expect(token: string): void {
    this.blanks(true);
    if (this.token() !== token) throw this.unexpected();
    this.at += token.length;
  }

  // -------------------------------------------------------------- lists

  /** Commands up to a token that `ends`. With `line`, a newline ends them too. */
  private list(ends: (token: string) => boolean, line: boolean): List {
    const items: ListItem[] = [];
    for (;;) {
      this.blanks(!line);
      const token = this.token();
      if (ends(token)) return items;
      if (token === '' && !line) throw this.unexpected();
      if (token === '' || (RESERVED.has(token) && CLOSING.has(token))) throw this.unexpected();
      const start = this.at;
      const andOr = this.andOr();
      const text = this.source.slice(start, this.at).trim();
      const separator = this.token();
      const background = separator === '&';
      items.push({ andOr, background, text });
      if (separator === ';' || separator === '&') this.at++;
      else if (separator === '\n' && !line) continue;
      else if (!ends(separator)) {
        if (separator === '' && !line) throw this.unexpected();
        if (!(line && (separator === '\n' || separator === ''))) throw this.unexpected();
        return items;
      }
    }
  }

  private andOr(): AndOr {
    const first = this.pipeline();
    const rest: { operator: '&&' | '||'; pipeline: Pipeline }[] = [];
    for (;;) {
      const operator = this.token();
      if (operator !== '&&' && operator !== '||') return { first, rest };
      this.at += 2;
      this.blanks(true);
      rest.push({ operator, pipeline: this.pipeline() });
    }
  }

  private pipeline(): Pipeline {
    const start = this.at;
    let negated = false;
    let timed = false;
    for (;;) {
      const token = this.token();
      if (token === '!') negated = !negated;
      else if (token === 'time' && !timed) timed = true;
      else break;
      this.at += token.length;
    }
    if (timed && [';', '\n', ''].includes(this.token())) return { commands: [], negated, timed, text: 'time' };
    const commands = [this.command()];
    while (this.token() === '|') {
      this.at++;
      this.blanks(true);
      commands.push(this.command());
    }
    return { commands, negated, timed, text: this.source.slice(start, this.at).trim() };
  }

  // -------------------------------------------------------------- commands

  private command(): Command {
    this.expandAlias();
    const token = this.token();
    switch (token) {
      case '(': {
        this.at++;
        const body = this.list((t) => t === ')', false);
        this.expect(')');
        return { kind: 'subshell', body: this.nonEmpty(body), redirects: this.redirects() };
      }
      case '{': {
        this.at++;
        const body = this.until('}');
        this.expect('}');
        return { kind: 'group', body, redirects: this.redirects() };
      }
      case 'if': return this.ifClause();
      case 'while': case 'until': {
        this.at += token.length;
        const condition = this.until('do');
        const body = this.doGroup();
        return { kind: 'while', until: token === 'until', condition, body, redirects: this.redirects() };
      }
      case 'for': return this.forClause();
      case 'case': return this.caseClause();
      case 'function': {
        this.at += token.length;
        this.blanks(false);
        const name = this.match(/[^\s;&|<>()'"\\$`]+/y);
        if (name === undefined) throw this.unexpected();
        this.at += name.length;
        if (this.token() === '(') {
          this.at++;
          this.expect(')');
        }
        return this.functionBody(name);
      }
      default: return this.simple();
    }
  }

  private until(...closers: string[]): List {
    return this.nonEmpty(this.list((t) => closers.includes(t), false));
  }
  private nonEmpty(list: List): List {
    if (list.length === 0) throw this.unexpected();
    return list;
  }
  private doGroup(): List {
    this.expect('do');
    const body = this.until('done');
    this.expect('done');
    return body;
  }

  private ifClause(): Command {
    this.at += 2;
    const arms: { condition: List; body: List }[] = [];
    let otherwise: List | undefined;
    for (;;) {
      const condition = this.until('then');
      this.expect('then');
      arms.push({ condition, body: this.until('elif', 'else', 'fi') });
      const token = this.token();
      this.at += token.length;
      if (token === 'elif') continue;
      if (token === 'else') {
        otherwise = this.until('fi');
        this.expect('fi');
      }
      return { kind: 'if', arms, otherwise, redirects: this.redirects() };
    }
  }

  private forClause(): Command {
    this.at += 3;
    this.blanks(false);
    const name = this.match(/[A-Za-z_][A-Za-z0-9_]*/y);
    if (name === undefined) throw this.unexpected();
    this.at += name.length;
    this.blanks(true);
    let words: Word[] | undefined;
    if (this.token() === 'in') {
      this.at += 2;
      words = [];
      for (this.blanks(false); !['', '\n', ';'].includes(this.peek()); this.blanks(false)) {
        const word = this.word();
        if (word.length === 0) throw this.unexpected();
        words.push(word);
      }
    }
    if (this.token() === ';') this.at++;
    this.blanks(true);
    return { kind: 'for', name, words, body: this.doGroup(), redirects: this.redirects() };
  }

  private caseClause(): Command {
    this.at += 4;
    this.blanks(false);
    const word = this.word();
    if (word.length === 0) throw this.unexpected();
    this.expect('in');
    const arms: { patterns: Word[]; body: List; fallThrough: boolean }[] = [];
    for (;;) {
      this.blanks(true);
      if (this.token() === 'esac') break;
      if (this.token() === '(') this.at++;
      const patterns: Word[] = [];
      for (;;) {
        this.blanks(false);
        const pattern = this.word();
        if (pattern.length === 0) throw this.unexpected();
        patterns.push(pattern);
        if (this.token() !== '|') break;
        this.at++;
      }
      this.expect(')');
      const body = this.list((t) => t === ';;' || t === ';&' || t === 'esac', false);
      const end = this.token();
      if (end !== 'esac') this.at += 2;
      arms.push({ patterns, body, fallThrough: end === ';&' });
    }
    this.expect('esac');
    return { kind: 'case', word, arms, redirects: this.redirects() };
  }

  private functionBody(name: string): Command {
    this.blanks(true);
    const body = this.command();
    return { kind: 'function', name, body, redirects: [] };
  }

  private simple(): Command {
    const assignments: Assignment[] = [];
    const words: Word[] = [];
    const redirects: Redirect[] = [];
    for (;;) {
      const redirect = this.redirect();
      if (redirect) {
        redirects.push(redirect);
        continue;
      }
      if (words.length === 0) {
        const assignment = this.match(/[A-Za-z_][A-Za-z0-9_]*\+?=/y);
        if (assignment !== undefined) {
          this.at += assignment.length;
          assignments.push({ name: assignment.replace(/\+?=$/, ''), value: this.word(), append: assignment.endsWith('+=') });
          continue;
        }
      }
      const start = this.at;
      const word = this.word();
      if (word.length === 0) break;
      words.push(word);
      if (words.length === 1 && assignments.length === 0 && redirects.length === 0 && this.token() === '(') {
        this.at++;
        this.blanks(false);
        if (this.peek() !== ')') throw this.unexpected();
        this.at++;
        return this.functionBody(this.source.slice(start, this.at).replace(/\s*\(.*/s, ''));
      }
    }
    if (assignments.length === 0 && words.length === 0 && redirects.length === 0) throw this.unexpected();
    return { kind: 'simple', assignments, words, redirects };
  }

  private expandAlias(): void {
    this.blanks(false);
    if (this.at >= this.aliasEnd) this.aliasUsed.clear();
    const word = this.match(/[^\s;&|<>()'"\\$`]+/y);
    const value = word === undefined || this.aliasUsed.has(word) ? undefined : this.aliases.get(word);
    if (word === undefined || value === undefined || !['', ...META].includes(this.source.charAt(this.at + word.length))) return;
    this.aliasUsed.add(word);
    this.source = this.source.slice(0, this.at) + value + this.source.slice(this.at + word.length);
    this.aliasEnd = this.at + value.length;
    this.expandAlias();
  }

  // -------------------------------------------------------------- redirections

  private redirects(): Redirect[] {
    const all: Redirect[] = [];
    for (let r = this.redirect(); r; r = this.redirect()) all.push(r);
    return all;
  }

  private redirect(): Redirect | undefined {
    this.blanks(false);
    REDIRECT.lastIndex = this.at;
    const found = REDIRECT.exec(this.source);
    if (!found) return undefined;
    const [text, number = '', operator = ''] = found;
    this.at += text.length;
    this.blanks(false);
    const word = this.word();
    if (word.length === 0) throw this.unexpected();
    const fd = number !== '' ? Number(number) : operator.startsWith('<') ? 0 : 1;
    if (operator !== '<<' && operator !== '<<-') return { fd, operator: operator as Redirect['operator'], target: word };
    const redirect: Redirect = { fd, operator: '<<', target: [] };
    const delimiter = word.map((p) => (p.kind === 'text' ? p.text : '')).join('');
    this.pending.push({ redirect, delimiter, quoted: word.some((p) => p.kind === 'text' && p.quoted), strip: operator === '<<-' });
    return redirect;
  }
}

const CLOSING: ReadonlySet<string> = new Set(['}', 'do', 'done', 'elif', 'else', 'esac', 'fi', 'then']);

export { Incomplete, SyntaxError_ };
