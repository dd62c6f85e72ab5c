/** rm: removes files; -r whole directories, -f without complaint of what is not there, -d empty directories, -v. */
import type { Sys } from '../abi/process.ts';
import { ENOENT } from '../abi/errno.ts';
import { S_ISDIR } from '../abi/fcntl.ts';
import { Errno, eputs, lstat, puts, readdir, rmdir, unlink } from './libc.ts';
import { getopt, usageError, type Parsed } from './lib/options.ts';

function* remove(path: string, parsed: Parsed): Sys<boolean> {
  try {
    const { st_mode } = yield* lstat(path);
    if (!S_ISDIR(st_mode)) {
      yield* unlink(path);
      if (parsed.has('v', 'verbose')) yield* puts(`removed '${path}'`);
      return true;
    }
    if (!parsed.has('r', 'R', 'recursive', 'd', 'dir')) {
      yield* eputs(`rm: cannot remove '${path}': Is a directory`);
      return false;
    }
    let ok = true;
    if (parsed.has('r', 'R', 'recursive')) {
      for (const { d_name } of yield* readdir(path)) if (d_name !== '.' && d_name !== '..') ok = (yield* remove(`${path}/${d_name}`, parsed)) && ok;
    }
    if (!ok) return false;
    yield* rmdir(path);
    if (parsed.has('v', 'verbose')) yield* puts(`removed directory '${path}'`);
    return true;
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    if (e.errno === ENOENT && parsed.has('f', 'force')) return true;
    yield* eputs(`rm: cannot remove '${path}': ${e.text}`);
    return false;
  }
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'rRfdvi', { recursive: 0, force: 0, dir: 0, verbose: 0 });
  if (parsed.error !== undefined) return yield* usageError('rm', parsed.error);
  if (parsed.operands.length === 0) return parsed.has('f', 'force') ? 0 : yield* usageError('rm', 'missing operand');
  let ok = true;
  for (const path of parsed.operands) {
    if (/^(\.{1,2}|.*\/\.{1,2})\/*$/.test(path)) {
      yield* eputs(`rm: refusing to remove '.' or '..' directory: skipping '${path}'`);
      ok = false;
    } else ok = (yield* remove(path, parsed)) && ok;
  }
  return ok ? 0 : 1;
}
