/** hexdump: bytes in hexadecimal. -C with characters beside them, -n LENGTH, -s OFFSET, -v without folding; alone, 16-bit words. */
import type { Sys } from '../abi/process.ts';
import { eputs, fputs, readAll } from './libc.ts';
import { eachFile } from './lib/input.ts';
import { getopt, usageError } from './lib/options.ts';

const hex = (n: number, width: number): string => n.toString(16).padStart(width, '0');

function canonical(row: Uint8Array, at: number): string {
  const cells = Array.from({ length: 16 }, (_, i) => (i < row.length ? hex(row[i] ?? 0, 2) : '  '));
  const text = Array.from(row, (b) => (b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : '.')).join('');
  return `${hex(at, 8)}  ${cells.slice(0, 8).join(' ')}  ${cells.slice(8).join(' ')}  |${text}|\n`;
}

function words(row: Uint8Array, at: number): string {
  let out = hex(at, 7);
  for (let i = 0; i < 16; i += 2) out += i < row.length ? ` ${hex((row[i] ?? 0) | ((row[i + 1] ?? 0) << 8), 4)}` : '     ';
  return `${out}\n`;
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'Cvn:s:', { canonical: 0, 'no-squeezing': 0, length: 1, skip: 1 });
  if (parsed.error !== undefined) return yield* usageError('hexdump', parsed.error);
  const parts: Uint8Array[] = [];
  const ok = yield* eachFile('hexdump', parsed.operands, function* each(fd) {
    parts.push(yield* readAll(fd));
  }, (name) => name);
  if (!ok && parts.length === 0) {
    yield* eputs('hexdump: all input file arguments failed');
    return 1;
  }
  const all = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  const skip = Number(parsed.value('s', 'skip') ?? 0);
  const end = Math.min(all.length, skip + Number(parsed.value('n', 'length') ?? all.length));
  const format = parsed.has('C', 'canonical') ? canonical : words;
  let before = '';
  let folded = false;
  for (let i = skip; i < end; i += 16) {
    const row = all.subarray(i, Math.min(i + 16, end));
    const same = row.length === 16 && row.join() === before && !parsed.has('v', 'no-squeezing');
    if (!same) yield* fputs(format(row, i));
    else if (!folded) yield* fputs('*\n');
    folded = same;
    before = row.join();
  }
  if (end > skip) yield* fputs(`${hex(end, parsed.has('C', 'canonical') ? 8 : 7)}\n`);
  return ok ? 0 : 1;
}
