/** dirname: a path without its last part. */
import type { Sys } from '../abi/process.ts';
import { puts } from './libc.ts';
import { usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  if (argv.length < 2) return yield* usageError('dirname', 'missing operand');
  for (const path of argv.slice(1)) {
    const trimmed = path.replace(/\/+$/, '');
    const slash = trimmed.lastIndexOf('/');
    yield* puts(trimmed === '' ? (path === '' ? '.' : '/') : slash < 0 ? '.' : trimmed.slice(0, slash).replace(/\/+$/, '') || '/');
  }
  return 0;
}
