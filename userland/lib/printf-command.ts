/**
 * printf(1): the format is used again while arguments are left. POSIX.1-2017, printf.
 */
import { sprintf } from '../libc.ts';
import { unescape } from './escapes.ts';

/** What printf prints, and what it complains of. */
export function formatPrintf(format: string, args: readonly string[]): { text: string; errors: string[] } {
  const errors: string[] = [];
  const number = (text: string): bigint => {
    const value = text.trim();
    if (value === '') return 0n;
    if (/^["']/.test(value)) return BigInt(value.codePointAt(1) ?? 0);
    const found = /^([-+]?)(0[xX][0-9a-fA-F]+|0[0-7]+|\d+)/.exec(value);
    if (!found || found[0] !== value) errors.push(`${text}: invalid number`);
    if (!found) return 0n;
    const digits = found[2] ?? '0';
    const size = /^0[0-7]+$/.test(digits) ? BigInt(`0o${digits.slice(1)}`) : BigInt(digits);
    return found[1] === '-' ? -size : size;
  };
  let text = '';
  let next = 0;
  let stop = false;
  const pieces = format.split(/(%%|%[-+ 0#]*(?:\*|\d+)?(?:\.(?:\*|\d+)?)?[diouxXcsbqfFeEgG])/);
  do {
    const before = next;
    for (const [i, piece] of pieces.entries()) {
      if (stop) break;
      if (i % 2 === 0) {
        const plain = unescape(piece, true);
        text += plain.out;
        stop = plain.stop;
        continue;
      }
      if (piece === '%%') {
        text += '%';
        continue;
      }
      const stars = [...piece].filter((c) => c === '*').map(() => Number(number(args[next++] ?? '0')));
      const kind = piece.slice(-1);
      const arg = args[next++] ?? '';
      if (kind === 'b') {
        const escaped = unescape(arg);
        text += sprintf(`${piece.slice(0, -1)}s`, ...stars, escaped.out);
        stop = escaped.stop;
      } else if (kind === 'q') text += /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`;
      else if (kind === 's') text += sprintf(piece, ...stars, arg);
      else if (kind === 'c') text += sprintf(`${piece.slice(0, -1)}s`, ...stars, arg.charAt(0));
      else if (/[fFeEgG]/.test(kind)) text += sprintf(piece, ...stars, Number(arg || 0));
      else text += sprintf(piece, ...stars, number(arg));
    }
    if (next === before) break;
  } while (next < args.length && !stop);
  return { text, errors };
}
