/** env: prints the environment, or runs a program with it changed. Options -i -u as GNU's. */
import type { Sys } from '../abi/process.ts';
import { ENOENT } from '../abi/errno.ts';
import { Errno, eputs, execvp, puts } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[], envp: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'iu:', { 'ignore-environment': 0, unset: 1 }, true);
  if (parsed.error !== undefined) return yield* usageError('env', parsed.error, 125);
  const environment = new Map(parsed.has('i', 'ignore-environment') ? [] : envp.map((e) => [e.replace(/=.*/s, ''), e]));
  for (const { name, value } of parsed.options) if (name === 'u' || name === 'unset') environment.delete(value);
  const operands = [...parsed.operands];
  while (/^[^=]+=/.test(operands[0] ?? '')) {
    const entry = operands.shift() ?? '';
    environment.set(entry.replace(/=.*/s, ''), entry);
  }
  const [program] = operands;
  if (program === undefined) {
    for (const entry of environment.values()) yield* puts(entry);
    return 0;
  }
  try {
    return yield* execvp(program, operands, [...environment.values()]);
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`env: '${program}': ${e.text}`);
    return e.errno === ENOENT ? 127 : 126;
  }
}
