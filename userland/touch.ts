/** touch: makes files that are not there, and sets the times of those that are. -c makes none. */
import type { Sys } from '../abi/process.ts';
import { O_CREAT, O_WRONLY } from '../abi/fcntl.ts';
import { Errno, close, eputs, open, utime } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'cam', { 'no-create': 0 });
  if (parsed.error !== undefined) return yield* usageError('touch', parsed.error);
  if (parsed.operands.length === 0) return yield* usageError('touch', 'missing file operand');
  let status = 0;
  for (const path of parsed.operands) {
    try {
      yield* utime(path);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (parsed.has('c', 'no-create')) continue;
      try {
        yield* close(yield* open(path, O_WRONLY | O_CREAT));
      } catch (f) {
        if (!(f instanceof Errno)) throw f;
        yield* eputs(`touch: cannot touch '${path}': ${f.text}`);
        status = 1;
      }
    }
  }
  return status;
}
