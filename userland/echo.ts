/**
 * echo: its arguments on one line. Options -n -e -E as GNU's, which take anything else for text.
 */
import type { Sys } from '../abi/process.ts';
import { fputs } from './libc.ts';
import { unescape } from './lib/escapes.ts';

/** What echo prints for its arguments: the shell's built-in says the same. */
export function echoText(args: readonly string[]): string {
  let newline = true;
  let escapes = false;
  let i = 0;
  for (; i < args.length && /^-[neE]+$/.test(args[i] ?? ''); i++) {
    for (const letter of (args[i] ?? '').slice(1)) {
      if (letter === 'n') newline = false;
      else escapes = letter === 'e';
    }
  }
  const text = args.slice(i).join(' ');
  const { out, stop } = escapes ? unescape(text) : { out: text, stop: false };
  return newline && !stop ? `${out}\n` : out;
}

export function* main(argv: string[]): Sys<number> {
  yield* fputs(echoText(argv.slice(1)));
  return 0;
}
