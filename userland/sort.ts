/** sort: lines in order, by bytes. -n by number, -h by size with unit, -r reversed, -u once each, -f without case, -k FIELD, -t SEPARATOR, -o FILE. */
import type { Sys } from '../abi/process.ts';
import { O_CREAT, O_TRUNC, O_WRONLY } from '../abi/fcntl.ts';
import { close, open, writeAll } from './libc.ts';
import { eachFile, linesOf } from './lib/input.ts';
import { getopt, usageError } from './lib/options.ts';

interface Key { readonly from: number; readonly to: number; readonly flags: string }

const numeric = (text: string): number => Number(/^\s*-?\d*\.?\d*/.exec(text)?.[0] ?? 0) || 0;
const withUnit = (text: string): number => {
  const found = /^\s*(-?\d*\.?\d+)([KMGTPE]?)/.exec(text);
  return found ? Number(found[1]) * 1024 ** ' KMGTPE'.indexOf(found[2] || ' ') : 0;
};

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'nhrufsbk:t:o:V', { numeric: 0, reverse: 0, unique: 0 });
  if (parsed.error !== undefined) return yield* usageError('sort', parsed.error, 2);
  let lines: string[] = [];
  const ok = yield* eachFile('sort', parsed.operands, function* each(fd) {
    lines = lines.concat(yield* linesOf(fd));
  });
  const letters = parsed.options.map(({ name }) => name).filter((name) => name.length === 1 && 'nhrfbV'.includes(name)).join('');
  const global = letters + (parsed.has('numeric') ? 'n' : '') + (parsed.has('reverse') ? 'r' : '');
  const keys: Key[] = parsed.options.filter(({ name }) => name === 'k').map(({ value }) => {
    const found = /^(\d+)(?:\.\d+)?([a-zA-Z]*)(?:,(\d+)(?:\.\d+)?([a-zA-Z]*))?$/.exec(value);
    const flags = (found?.[2] ?? '') + (found?.[4] ?? '');
    return { from: Number(found?.[1] ?? 1), to: Number(found?.[3] ?? Number.POSITIVE_INFINITY), flags: flags === '' ? global : flags };
  });
  const separator = parsed.value('t');
  const part = (line: string, key: Key): string => {
    const fields = separator === undefined ? (line.match(/\s*\S+/g) ?? []) : line.split(separator);
    return fields.slice(key.from - 1, key.to).join(separator ?? '');
  };
  const compareBy = (a: string, b: string, flags: string): number => {
    let order: number;
    if (flags.includes('n')) order = numeric(a) - numeric(b);
    else if (flags.includes('h')) order = withUnit(a) - withUnit(b);
    else {
      const [x, y] = [a, b].map((s) => (flags.includes('b') ? s.trimStart() : s)).map((s) => (flags.includes('f') ? s.toUpperCase() : s)) as [string, string];
      order = x < y ? -1 : x > y ? 1 : 0;
    }
    return flags.includes('r') ? -order : order;
  };
  const byKeys = (a: string, b: string): number => {
    if (keys.length === 0) return compareBy(a, b, global);
    for (const key of keys) {
      const order = compareBy(part(a, key), part(b, key), key.flags);
      if (order !== 0) return order;
    }
    return 0;
  };
  const whole = (a: string, b: string): number => compareBy(a, b, global.includes('r') ? 'r' : '');
  let sorted = lines.sort((a, b) => byKeys(a, b) || (parsed.has('s', 'u') ? 0 : whole(a, b)));
  if (parsed.has('u', 'unique')) sorted = sorted.filter((line, i) => i === 0 || byKeys(sorted[i - 1] ?? '', line) !== 0);
  const output = parsed.value('o');
  const fd = output === undefined ? 1 : yield* open(output, O_WRONLY | O_CREAT | O_TRUNC);
  yield* writeAll(fd, sorted.map((line) => `${line}\n`).join(''));
  if (fd !== 1) yield* close(fd);
  return ok ? 0 : 2;
}
