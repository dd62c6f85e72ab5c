/** rmdir: removes empty directories; -p their parents too. */
import type { Sys } from '../abi/process.ts';
import { Errno, eputs, rmdir } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'p', { parents: 0 });
  if (parsed.error !== undefined) return yield* usageError('rmdir', parsed.error);
  if (parsed.operands.length === 0) return yield* usageError('rmdir', 'missing operand');
  let status = 0;
  for (const path of parsed.operands) {
    for (let step = path; step !== '' && step !== '.'; step = parsed.has('p', 'parents') && step.includes('/') ? step.slice(0, step.lastIndexOf('/')) : '') {
      try {
        yield* rmdir(step);
      } catch (e) {
        if (!(e instanceof Errno)) throw e;
        yield* eputs(`rmdir: failed to remove '${step}': ${e.text}`);
        status = 1;
        break;
      }
    }
  }
  return status;
}
