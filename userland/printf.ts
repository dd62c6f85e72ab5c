/** printf: formatted text, as the shell's built-in of that name. */
import type { Sys } from '../abi/process.ts';
import { eputs, fputs } from './libc.ts';
import { formatPrintf } from './lib/printf-command.ts';
import { usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const [, format, ...args] = argv;
  if (format === undefined) return yield* usageError('printf', 'missing operand');
  const { text, errors } = formatPrintf(format, args);
  for (const error of errors) yield* eputs(`printf: '${error.replace(/: invalid number$/, '')}': expected a numeric value`);
  yield* fputs(text);
  return errors.length > 0 ? 1 : 0;
}
