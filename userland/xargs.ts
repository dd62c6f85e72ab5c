/** xargs: runs a command with arguments read from standard input. -n MAX a run, -I REPLACE, -0, -r not without input, -t. */
import type { Sys } from '../abi/process.ts';
import { WEXITSTATUS, WIFEXITED } from '../abi/wait.ts';
import { decode, encode, eputs, readAll, spawn, wait4 } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';
import { splitLines } from './lib/input.ts';

/** Words as xargs reads them: blanks part them, quotes and backslashes keep them together. */
function words(text: string): string[] {
  const quoted = [...text.matchAll(/(?:[^\s"'\\]|\\[\s\S]|"[^"\n]*"|'[^'\n]*')+/g)].map(([word]) => word);
  return quoted.map((word) => word.replace(/\\([\s\S])|"([^"]*)"|'([^']*)'/g, (_, a?: string, b?: string, c?: string) => a ?? b ?? c ?? ''));
}

/** Bytes of one command line, each word with its NUL. */
const LIMIT = 131_072;
const size = (words: readonly string[]): number => words.reduce((sum, word) => sum + encode(word).length + 1, 0);

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), '0n:I:rtL:d:', { null: 0, 'max-args': 1, 'no-run-if-empty': 0, verbose: 0 }, true);
  if (parsed.error !== undefined) return yield* usageError('xargs', parsed.error);
  const command = parsed.operands.length > 0 ? [...parsed.operands] : ['echo'];
  const text = decode(yield* readAll(0));
  const replace = parsed.value('I');
  const items = parsed.has('0', 'null') ? text.split('\0').filter((s) => s !== '') : replace !== undefined ? splitLines(text).map((l) => l.trim()).filter((l) => l !== '') : words(text);
  const most = Number(parsed.value('n', 'max-args', 'L') ?? Number.POSITIVE_INFINITY);
  const runs: string[][] = [];
  if (replace !== undefined) for (const item of items) runs.push(command.map((word) => word.replaceAll(replace, item)));
  else {
    const least = size(command);
    let run: string[] = [];
    let room = LIMIT - least;
    for (const item of items) {
      const needed = size([item]);
      if (needed > LIMIT - least) {
        yield* eputs('xargs: argument line too long');
        return 1;
      }
      if (needed > room || run.length >= most) {
        runs.push([...command, ...run]);
        run = [];
        room = LIMIT - least;
      }
      run.push(item);
      room -= needed;
    }
    if (run.length > 0) runs.push([...command, ...run]);
    if (items.length === 0 && !parsed.has('r', 'no-run-if-empty')) runs.push(command);
  }
  let status = 0;
  for (const run of runs) {
    if (parsed.has('t', 'verbose')) yield* eputs(run.join(' '));
    const pid = yield* spawn(run[0] ?? 'echo', run);
    const { status: word } = yield* wait4(pid);
    const code = WIFEXITED(word) ? WEXITSTATUS(word) : 125;
    if (code === 127 || code === 126) return code;
    if (code === 255) return 124;
    if (code !== 0) status = code === 125 ? 125 : 123;
  }
  return status;
}
