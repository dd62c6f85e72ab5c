/** seq: numbers from FIRST by INCREMENT to LAST. -s SEPARATOR, -w of equal width. */
import type { Sys } from '../abi/process.ts';
import { eputs, writeAll } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  // The first operand ends the options; it may be a negative number.
  const given = argv.slice(1);
  const at = given.findIndex((arg, i) => (/^-[\d.]/.test(arg) || !arg.startsWith('-')) && !/^-[sf]$/.test(given[i - 1] ?? ''));
  const args = at < 0 ? given : [...given.slice(0, at), '--', ...given.slice(at)];
  const parsed = getopt(args, 's:wf:', { separator: 1, 'equal-width': 0 }, true);
  if (parsed.error !== undefined) return yield* usageError('seq', parsed.error);
  const { operands } = parsed;
  if (operands.length === 0) return yield* usageError('seq', 'missing operand');
  if (operands.length > 3) return yield* usageError('seq', `extra operand '${operands[3]}'`);
  for (const operand of operands) {
    if (!/^[-+]?(\d+\.?\d*|\.\d+)$/.test(operand)) {
      yield* eputs(`seq: invalid floating point argument: '${operand}'\nTry 'seq --help' for more information.`);
      return 1;
    }
  }
  const [first = '1', step = '1', last = '1'] = operands.length === 1 ? ['1', '1', operands[0]] : operands.length === 2 ? [operands[0], '1', operands[1]] : operands;
  if (Number(step) === 0) {
    yield* eputs(`seq: invalid Zero increment value: '${step}'\nTry 'seq --help' for more information.`);
    return 1;
  }
  const digits = Math.max(...[first, step].map((n) => (n.split('.')[1] ?? '').length));
  const shown = (n: number) => n.toFixed(digits);
  const width = parsed.has('w', 'equal-width') ? Math.max(shown(Number(first)).length, shown(Number(last)).length) : 0;
  const pad = (text: string) => (text.startsWith('-') ? `-${text.slice(1).padStart(width - 1, '0')}` : text.padStart(width, '0'));
  const separator = parsed.value('s', 'separator') ?? '\n';
  const count = Math.floor((Number(last) - Number(first)) / Number(step) + 1e-9) + 1;
  let out = '';
  for (let i = 0; i < count; i++) {
    out += (i > 0 ? separator : '') + pad(shown(Number(first) + i * Number(step)));
    if (out.length < 32768) continue;
    yield* writeAll(1, out);
    out = '';
  }
  if (count > 0) yield* writeAll(1, `${out}\n`);
  return 0;
}
