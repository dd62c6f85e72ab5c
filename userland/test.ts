/** test, [: conditions, as the shell's built-ins of those names. */
import type { Sys } from '../abi/process.ts';
import { eputs } from './libc.ts';
import { runTest } from './lib/test-expression.ts';

export function* main(argv: string[]): Sys<number> {
  return yield* runTest([argv[0]?.split('/').at(-1) ?? 'test', ...argv.slice(1)], (message) => eputs(message.replace('`', "'")));
}
