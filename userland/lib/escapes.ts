/**
 * Backslash escapes as echo -e and printf know them.
 */

const SINGLE: Readonly<Record<string, string>> = {
  a: '\x07', b: '\b', e: '\x1b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', '\\': '\\',
};

/**
 * Replaces escapes; \c ends the text there (`stop`). Octal is \0nnn for echo, \nnn too for printf's format.
 * A byte beyond ASCII given by number comes out as that byte (see libc's decode), not as a character.
 */
export function unescape(text: string, format = false): { out: string; stop: boolean } {
  let stop = false;
  const end = text.search(/(?<!\\)(?:\\\\)*\\c/);
  let source = text;
  if (end >= 0) {
    stop = true;
    source = text.slice(0, text.indexOf('\\c', end));
  }
  const byte = (n: number): string => (n < 0x80 ? String.fromCharCode(n) : String.fromCharCode(0xdc00 + (n & 0xff)));
  const octal = format ? '0?[0-7]{1,3}' : '0[0-7]{0,3}';
  const pattern = new RegExp(`\\\\(?:(${octal})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|([abefnrtv\\\\])${format ? '|(["\'])' : ''})`, 'g');
  const out = source.replace(pattern, (_, oct?: string, hex?: string, unicode?: string, letter?: string, quote?: string) => {
    if (oct !== undefined) return byte(Number.parseInt(oct, 8) & 0xff);
    if (hex !== undefined) return byte(Number.parseInt(hex, 16));
    if (unicode !== undefined) return String.fromCodePoint(Number.parseInt(unicode, 16));
    if (typeof quote === 'string' && format && letter === undefined) return quote;
    return SINGLE[letter ?? ''] ?? '';
  });
  return { out, stop };
}
