/** mkdir: makes directories; -p with their parents, -m MODE, -v. */
import type { Sys } from '../abi/process.ts';
import { EEXIST } from '../abi/errno.ts';
import { S_ISDIR } from '../abi/fcntl.ts';
import { Errno, eputs, mkdir, puts, stat } from './libc.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'pvm:', { parents: 0, verbose: 0, mode: 1 });
  if (parsed.error !== undefined) return yield* usageError('mkdir', parsed.error);
  if (parsed.operands.length === 0) return yield* usageError('mkdir', 'missing operand');
  const mode = Number.parseInt(parsed.value('m', 'mode') ?? '777', 8);
  const parents = parsed.has('p', 'parents');
  let status = 0;
  for (const path of parsed.operands) {
    const steps = parents ? path.split('/').map((_, i, all) => all.slice(0, i + 1).join('/')).filter((step) => step !== '') : [path];
    for (const step of steps) {
      try {
        yield* mkdir(step, mode);
        if (parsed.has('v', 'verbose')) yield* puts(`mkdir: created directory '${step}'`);
      } catch (e) {
        if (!(e instanceof Errno)) throw e;
        const there = parents && e.errno === EEXIST ? yield* maybe(stat(step)) : undefined;
        if (there && S_ISDIR(there.st_mode)) continue;
        yield* eputs(`mkdir: cannot create directory '${path}': ${e.text}`);
        status = 1;
        break;
      }
    }
  }
  return status;
}
