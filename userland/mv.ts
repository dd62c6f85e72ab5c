/** mv: renames files; onto another file system it copies and removes. -v says what is done, -n overwrites nothing. */
import type { Sys } from '../abi/process.ts';
import { EXDEV } from '../abi/errno.ts';
import { Errno, eputs, lstat, puts, rename, unlink } from './libc.ts';
import { copyTree } from './cp.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError } from './lib/options.ts';
import { pairs } from './lib/targets.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'fivn', { force: 0, verbose: 0, 'no-clobber': 0 });
  if (parsed.error !== undefined) return yield* usageError('mv', parsed.error);
  const list = yield* pairs('mv', parsed.operands);
  if (typeof list === 'number') return list;
  let ok = true;
  for (const [source, destination] of list) {
    if (parsed.has('n', 'no-clobber') && (yield* maybe(lstat(destination)))) continue;
    try {
      yield* lstat(source);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`mv: cannot stat '${source}': ${e.text}`);
      ok = false;
      continue;
    }
    try {
      yield* rename(source, destination);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (e.errno === EXDEV && (yield* copyTree('mv', source, destination, false, parsed))) yield* unlink(source);
      else {
        if (e.errno !== EXDEV) yield* eputs(`mv: cannot move '${source}' to '${destination}': ${e.text}`);
        ok = false;
        continue;
      }
    }
    if (parsed.has('v', 'verbose')) yield* puts(`renamed '${source}' -> '${destination}'`);
  }
  return ok ? 0 : 1;
}
