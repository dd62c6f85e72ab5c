/** cp: copies files; -r whole directories, -v. */
import type { Sys } from '../abi/process.ts';
import { EEXIST } from '../abi/errno.ts';
import { O_CREAT, O_TRUNC, O_WRONLY, S_ISDIR, S_ISLNK } from '../abi/fcntl.ts';
import { Errno, close, eputs, lstat, mkdir, open, puts, read, readdir, readlink, stat, symlink, writeAll } from './libc.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError, type Parsed } from './lib/options.ts';
import { pairs } from './lib/targets.ts';

/** Copies the bytes of one file; the copy gets the file's mode. */
export function* copyFile(source: string, destination: string, mode: number): Sys {
  const from = yield* open(source);
  const to = yield* open(destination, O_WRONLY | O_CREAT | O_TRUNC, mode & 0o7777);
  for (let bytes = yield* read(from, 65536); bytes.length > 0; bytes = yield* read(from, 65536)) yield* writeAll(to, bytes);
  yield* close(to);
  yield* close(from);
}

/** Copies a file or, when `recursive`, a tree; messages bear the name of `program`. */
export function* copyTree(program: string, source: string, destination: string, recursive: boolean, parsed: Parsed): Sys<boolean> {
  let doing = `cannot stat '${source}'`;
  try {
    const status = recursive ? yield* lstat(source) : yield* stat(source);
    if (S_ISDIR(status.st_mode)) {
      if (!recursive) {
        yield* eputs(`${program}: -r not specified; omitting directory '${source}'`);
        return false;
      }
      doing = `cannot create directory '${destination}'`;
      try {
        yield* mkdir(destination, status.st_mode & 0o777);
      } catch (e) {
        if (!(e instanceof Errno) || e.errno !== EEXIST) throw e;
      }
      let ok = true;
      doing = `cannot access '${source}'`;
      for (const { d_name } of yield* readdir(source)) {
        if (d_name !== '.' && d_name !== '..') ok = (yield* copyTree(program, `${source}/${d_name}`, `${destination}/${d_name}`, true, parsed)) && ok;
      }
      return ok;
    }
    const there = yield* maybe(stat(destination));
    if (there && there.st_dev === status.st_dev && there.st_ino === status.st_ino) {
      yield* eputs(`${program}: '${source}' and '${destination}' are the same file`);
      return false;
    }
    doing = `cannot create regular file '${destination}'`;
    if (S_ISLNK(status.st_mode)) yield* symlink(yield* readlink(source), destination);
    else yield* copyFile(source, destination, status.st_mode);
    if (parsed.has('v', 'verbose')) yield* puts(`'${source}' -> '${destination}'`);
    return true;
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`${program}: ${doing}: ${e.text}`);
    return false;
  }
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'rRafpvd', { recursive: 0, archive: 0, force: 0, verbose: 0 });
  if (parsed.error !== undefined) return yield* usageError('cp', parsed.error);
  const list = yield* pairs('cp', parsed.operands);
  if (typeof list === 'number') return list;
  let ok = true;
  for (const [source, destination] of list) ok = (yield* copyTree('cp', source, destination, parsed.has('r', 'R', 'a', 'recursive', 'archive'), parsed)) && ok;
  return ok ? 0 : 1;
}
