/** basename: the last part of a path, without SUFFIX. */
import type { Sys } from '../abi/process.ts';
import { puts } from './libc.ts';
import { baseName } from './lib/targets.ts';
import { usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const [, path, suffix = ''] = argv;
  if (path === undefined) return yield* usageError('basename', 'missing operand');
  const name = path === '' ? '' : baseName(path);
  yield* puts(suffix !== '' && name.endsWith(suffix) && name !== suffix ? name.slice(0, -suffix.length) : name);
  return 0;
}
