/**
 * A console on a page: enough of a terminal for the shell and its line editing (CR, LF, BS, tab, bell, cursor left
 * and right, erase to end of line or of screen, clear; colours are dropped), as one growing text. ECMA-48.
 */
import type { ConsolePort } from '../machine/platform.ts';

const keys: Readonly<Record<string, string>> = {
  Enter: '\r', Backspace: '\x7f', Tab: '\t', Escape: '\x1b', ArrowUp: '\x1b[A', ArrowDown: '\x1b[B', ArrowRight: '\x1b[C', ArrowLeft: '\x1b[D',
  Home: '\x1b[H', End: '\x1b[F', Delete: '\x1b[3~', PageUp: '\x1b[5~', PageDown: '\x1b[6~',
};
const MAX_LINES = 2000;

export class BrowserConsole implements ConsolePort {
  readonly isTerminal = true;
  readonly #show: (text: string) => void;
  readonly #decoder = new TextDecoder();
  #lines: string[] = [''];
  #column = 0;
  #escape = '';

  /** @param show is given the whole text after each write */
  constructor(show: (text: string) => void) { this.#show = show; }

  size() { return { cols: 80, rows: 24 }; }
  read(): undefined { return undefined; }

  write(bytes: Uint8Array): void {
    for (const char of this.#decoder.decode(bytes, { stream: true })) this.#put(char);
    this.#lines = this.#lines.slice(-MAX_LINES);
    this.#show(this.#lines.join('\n'));
  }

  /** What a serial terminal sends for a key, or undefined if nothing. */
  keyBytes(event: { key: string; ctrlKey: boolean; metaKey: boolean }): Uint8Array | undefined {
    if (event.metaKey) return undefined;
    const named = keys[event.key];
    const text = named ?? (event.key.length === 1 ? (event.ctrlKey ? String.fromCharCode(event.key.toUpperCase().charCodeAt(0) & 0x1f) : event.key) : undefined);
    return text === undefined ? undefined : new TextEncoder().encode(text);
  }

  #put(char: string): void {
    if (this.#escape) return this.#sequence(char);
    const line = this.#lines.length - 1;
    const text = this.#lines[line]!;
    switch (char) {
      case '\x1b': this.#escape = char; return;
      case '\r': this.#column = 0; return;
      case '\n': this.#lines.push(''); this.#column = 0; return;
      case '\b': this.#column = Math.max(0, this.#column - 1); return;
      case '\x07': return;
      case '\t': do this.#put(' '); while (this.#column % 8 !== 0); return;
    }
    this.#lines[line] = text.slice(0, this.#column).padEnd(this.#column) + char + text.slice(this.#column + 1);
    this.#column++;
  }

  #sequence(char: string): void {
    this.#escape += char;
    if (this.#escape.length === 2 && char === '[') return;
    if (this.#escape.length > 2 && /[0-9;?]/.test(char)) return;
    const count = Number.parseInt(this.#escape.slice(2), 10) || 0;
    this.#escape = '';
    const line = this.#lines.length - 1;
    switch (char) {
      case 'C': this.#column += Math.max(1, count); return;
      case 'D': this.#column = Math.max(0, this.#column - Math.max(1, count)); return;
      case 'G': this.#column = Math.max(0, count - 1); return;
      case 'K': this.#lines[line] = this.#lines[line]!.slice(0, this.#column); return;
      case 'J': if (count >= 2) { this.#lines = ['']; this.#column = 0; } else this.#lines[line] = this.#lines[line]!.slice(0, this.#column); return;
      case 'H': this.#column = 0;
    }
  }
}
