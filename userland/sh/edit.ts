/**
 * The line editor: emacs keys, history with search, completion. The terminal is in raw mode only while a line is
 * edited, and gives one byte a read, so that what is typed ahead stays for the program that runs next.
 */
import type { Sys } from '../../abi/process.ts';
import { EINTR } from '../../abi/errno.ts';
import { ECHO, ICANON, ICRNL, IEXTEN, ISIG, IXON, VMIN, VTIME } from '../../abi/termios.ts';
import { columns, inColumns } from '../lib/columns.ts';
import { Errno, read, tcgetattr, tcsetattr, windowSize, writeAll, decode } from '../libc.ts';

export interface Completion { readonly start: number; readonly candidates: readonly string[] }
/** Words that may stand at the end of `line`: from which character on, and what. */
export type Complete = (line: string) => Sys<Completion>;

const KEYS: Readonly<Record<string, string>> = {
  '[A': 'up', '[B': 'down', '[C': 'right', '[D': 'left', '[H': 'home', '[F': 'end', OH: 'home', OF: 'end', OA: 'up', OB: 'down', OC: 'right', OD: 'left',
  '[1~': 'home', '[7~': 'home', '[4~': 'end', '[8~': 'end', '[3~': 'delete', b: 'word-left', f: 'word-right', d: 'kill-word', '\x7f': 'rubout-word',
  '[1;5C': 'word-right', '[1;5D': 'word-left', '[1;3C': 'word-right', '[1;3D': 'word-left',
};
const CONTROLS: Readonly<Record<string, string>> = {
  '\x01': 'home', '\x02': 'left', '\x04': 'eof', '\x05': 'end', '\x06': 'right', '\b': 'rubout', '\x7f': 'rubout', '\t': 'complete', '\x0b': 'kill-end',
  '\x0c': 'clear', '\r': 'enter', '\n': 'enter', '\x0e': 'down', '\x10': 'up', '\x12': 'search', '\x14': 'transpose',
  '\x15': 'kill-start', '\x17': 'rubout-word', '\x19': 'yank', '\x03': 'interrupt', '\x1a': 'suspend',
};

export type Edited = { readonly kind: 'line'; readonly line: string } | { readonly kind: 'eof' } | { readonly kind: 'interrupt' };

/** Edits one line on `fd`. `history` is read only. */
export function* editLine(fd: number, prompt: string, history: readonly string[], complete: Complete): Sys<Edited> {
  const settings = yield* tcgetattr(fd);
  yield* tcsetattr(fd, 1, settings, (t) => {
    t.c_lflag &= ~(ICANON | ECHO | ISIG | IEXTEN);
    t.c_iflag &= ~(ICRNL | IXON);
    t.c_cc.set(VMIN, 1);
    t.c_cc.set(VTIME, 0);
  });
  const editor = new Editor(fd, prompt, history, complete);
  try {
    return yield* editor.run();
  } finally {
    yield* tcsetattr(fd, 1, settings);
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
const withoutColour = (text: string): string => text.replace(/\x1b\[[0-9;]*m/g, '');

/** A line recalled may hold newlines: they are shown as what types them. */
const visible = (text: string): string => text.replaceAll('\n', '^J');

class Editor {
  private readonly fd: number;
  private readonly prompt: string;
  private readonly history: readonly string[];
  private readonly complete: Complete;
  private line: string[] = [];
  private cursor = 0;
  private width = 80;
  /** Row, counted from the prompt's, in which the terminal's cursor stands. */
  private row = 0;
  private killed: string[] = [];
  private index: number;
  /** The line that was being typed when the history was entered. */
  private draft = '';
  private tabs = 0;

  constructor(fd: number, prompt: string, history: readonly string[], complete: Complete) {
    this.fd = fd;
    this.prompt = prompt;
    this.history = history;
    this.complete = complete;
    this.index = history.length;
  }

  *run(): Sys<Edited> {
    this.width = (yield* windowSize(this.fd)).cols;
    yield* this.draw();
    for (;;) {
      const key = yield* this.key();
      if (key === undefined) return { kind: 'eof' };
      this.tabs = key.name === 'complete' ? this.tabs + 1 : 0;
      switch (key.name) {
        case 'enter':
          yield* this.finish();
          return { kind: 'line', line: this.line.join('') };
        case 'interrupt':
          yield* this.finish('^C');
          return { kind: 'interrupt' };
        case 'eof':
          if (this.line.length === 0) {
            yield* this.finish();
            return { kind: 'eof' };
          }
          this.line.splice(this.cursor, 1);
          break;
        case 'complete': yield* this.completion(); break;
        case 'search': yield* this.search(); break;
        case 'clear':
          yield* writeAll(this.fd, '\x1b[H\x1b[2J');
          this.row = 0;
          break;
        case 'insert':
          if (yield* this.append(key.text)) continue;
          this.edit(key.name, key.text);
          break;
        default: this.edit(key.name, key.text);
      }
      yield* this.draw();
    }
  }

  private *byte(): Sys<number | undefined> {
    for (;;) {
      try {
        return (yield* read(this.fd, 1))[0];
      } catch (e) {
        if (!(e instanceof Errno) || e.errno !== EINTR) throw e;
        this.width = (yield* windowSize(this.fd)).cols;
        yield* this.draw();
      }
    }
  }

  private *key(): Sys<{ name: string; text: string } | undefined> {
    const first = yield* this.byte();
    if (first === undefined) return undefined;
    const c = String.fromCharCode(first);
    if (c === '\x1b') {
      let sequence = String.fromCharCode((yield* this.byte()) ?? 0);
      if (sequence === '[' || sequence === 'O') {
        do sequence += String.fromCharCode((yield* this.byte()) ?? 0x7e);
        while (/^\[[0-9;]*$/.test(sequence) && sequence.length < 16);
      }
      return { name: KEYS[sequence] ?? 'none', text: '' };
    }
    if (first < 0x20 || first === 0x7f) return { name: CONTROLS[c] ?? 'none', text: '' };
    const bytes = [first];
    for (let more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0; more > 0; more--) bytes.push((yield* this.byte()) ?? 0);
    return { name: 'insert', text: decode(Uint8Array.from(bytes)) };
  }

  private edit(name: string, text: string): void {
    const { line } = this;
    switch (name) {
      case 'insert': this.insert(text); break;
      case 'left': this.cursor = Math.max(0, this.cursor - 1); break;
      case 'right': this.cursor = Math.min(line.length, this.cursor + 1); break;
      case 'home': this.cursor = 0; break;
      case 'end': this.cursor = line.length; break;
      case 'word-left': this.cursor = this.wordStart(); break;
      case 'word-right': this.cursor = this.wordEnd(); break;
      case 'rubout': if (this.cursor > 0) line.splice(--this.cursor, 1); break;
      case 'delete': line.splice(this.cursor, 1); break;
      case 'kill-end': this.killed = line.splice(this.cursor); break;
      case 'kill-start': this.kill(0, this.cursor); break;
      case 'kill-word': this.kill(this.cursor, this.wordEnd()); break;
      case 'rubout-word': this.kill(this.wordStart(), this.cursor); break;
      case 'yank': this.insert(this.killed.join('')); break;
      case 'transpose': {
        const at = Math.min(this.cursor, line.length - 1);
        if (at < 1) break;
        const [a = '', b = ''] = line.slice(at - 1, at + 1);
        line.splice(at - 1, 2, b, a);
        this.cursor = at + 1;
        break;
      }
      case 'up': this.recall(this.index - 1); break;
      case 'down': this.recall(this.index + 1); break;
    }
  }

  /** The usual case: a character at the end of the line, and of no row, is only printed. */
  private *append(text: string): Sys<boolean> {
    const place = columns(withoutColour(this.prompt)) + columns(this.line.join('')) + columns(text);
    if (this.cursor < this.line.length || place % this.width === 0 || columns(text) !== 1) return false;
    this.insert(text);
    yield* writeAll(this.fd, text);
    return true;
  }

  private insert(text: string): void {
    for (const character of text) this.line.splice(this.cursor++, 0, character);
  }
  private kill(from: number, to: number): void {
    this.killed = this.line.splice(from, to - from);
    this.cursor = from;
  }
  private wordStart(): number {
    let i = this.cursor;
    while (i > 0 && this.line[i - 1] === ' ') i--;
    while (i > 0 && this.line[i - 1] !== ' ') i--;
    return i;
  }
  private wordEnd(): number {
    let i = this.cursor;
    while (i < this.line.length && this.line[i] === ' ') i++;
    while (i < this.line.length && this.line[i] !== ' ') i++;
    return i;
  }
  private recall(index: number): void {
    if (index < 0 || index > this.history.length) return;
    if (this.index === this.history.length) this.draft = this.line.join('');
    this.index = index;
    this.line = [...(this.history[index] ?? this.draft)];
    this.cursor = this.line.length;
  }

  // -------------------------------------------------------------- completion and search

  private *completion(): Sys {
    const before = this.line.slice(0, this.cursor).join('');
    const { start, candidates } = yield* this.complete(before);
    const typed = before.slice(start);
    const [first] = candidates;
    if (first === undefined) return;
    let common = first;
    for (const candidate of candidates) while (!candidate.startsWith(common)) common = common.slice(0, -1);
    if (common.length > typed.length) {
      this.insert(common.slice(typed.length) + (candidates.length === 1 && !common.endsWith('/') ? ' ' : ''));
    } else if (candidates.length === 1) {
      if (!first.endsWith('/')) this.insert(' ');
    } else if (this.tabs > 1) {
      yield* this.finish();
      yield* writeAll(this.fd, inColumns(candidates.map((c) => c.replace(/^.*\/(?=.)/, '')), this.width).replaceAll('\n', '\r\n'));
    }
  }

  /** Ctrl-R: the newest line that holds what is typed. Any other key takes the line found and acts on it. */
  private *search(): Sys {
    let wanted = '';
    let from = this.history.length - 1;
    const find = (): number => {
      for (let i = from; i >= 0; i--) if (this.history[i]?.includes(wanted)) return i;
      return -1;
    };
    for (;;) {
      const at = wanted === '' ? -1 : find();
      const found = this.history[at];
      yield* this.draw(`(reverse-i-search)\`${wanted}': `, found ?? '');
      const key = yield* this.key();
      if (key?.name === 'insert') wanted += key.text;
      else if (key?.name === 'rubout') wanted = wanted.slice(0, -1);
      else if (key?.name === 'search' && at > 0) from = at - 1;
      else {
        if (found !== undefined && key?.name !== 'interrupt') {
          this.line = [...found];
          this.cursor = this.line.length;
          this.index = at;
        }
        if (key && key.name !== 'enter' && key.name !== 'interrupt' && key.name !== 'search') this.edit(key.name, key.text);
        return;
      }
    }
  }

  // -------------------------------------------------------------- screen

  private *draw(prompt = this.prompt, text = this.line.join('')): Sys {
    const before = columns(withoutColour(prompt));
    const ahead = visible(text === this.line.join('') ? this.line.slice(0, this.cursor).join('') : text);
    const end = before + columns(visible(text));
    const place = before + columns(ahead);
    const up = this.row > 0 ? `\x1b[${this.row}A` : '';
    // A line that fills its row leaves the cursor in the last column: a space and a return push it on.
    const wrap = end > 0 && end % this.width === 0 ? ' \r' : '';
    const endRow = Math.floor(end / this.width);
    const row = Math.floor(place / this.width);
    const back = endRow > row ? `\x1b[${endRow - row}A` : '';
    const column = place % this.width;
    yield* writeAll(this.fd, `${up}\r\x1b[J${prompt}${visible(text)}${wrap}${back}\r${column > 0 ? `\x1b[${column}C` : ''}`);
    this.row = row;
  }

  /** Leaves the edited line: the cursor goes below it. */
  private *finish(mark = ''): Sys {
    this.cursor = this.line.length;
    yield* this.draw();
    yield* writeAll(this.fd, `${mark}\r\n`);
    this.row = 0;
  }
}
