/** readlink: what a symbolic link points at; -f the path with all links and dots resolved. */
import type { Sys } from '../abi/process.ts';
import { S_ISLNK } from '../abi/fcntl.ts';
import { getcwd, lstat, puts, readlink } from './libc.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError } from './lib/options.ts';

/** The path without links; a part that is not there stays as it is. At most 40 links, as the kernel has it. */
function* canonical(path: string): Sys<string | undefined> {
  let left = (path.startsWith('/') ? path : `${yield* getcwd()}/${path}`).split('/');
  let done = '';
  for (let links = 0; left.length > 0; ) {
    const [step = '', ...rest] = left;
    left = rest;
    if (step === '' || step === '.') continue;
    if (step === '..') {
      done = done.slice(0, Math.max(0, done.lastIndexOf('/')));
      continue;
    }
    const status = yield* maybe(lstat(`${done}/${step}`));
    if (status === undefined && left.length > 0) return undefined;
    if (status !== undefined && S_ISLNK(status.st_mode)) {
      if (++links > 40) return undefined;
      const target = yield* readlink(`${done}/${step}`);
      if (target.startsWith('/')) done = '';
      left = [...target.split('/'), ...left];
    } else done += `/${step}`;
  }
  return done === '' ? '/' : done;
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'fn', { canonicalize: 0 });
  if (parsed.error !== undefined) return yield* usageError('readlink', parsed.error);
  if (parsed.operands.length === 0) return yield* usageError('readlink', 'missing operand');
  let status = 0;
  for (const path of parsed.operands) {
    const target = parsed.has('f', 'canonicalize') ? yield* canonical(path) : yield* maybe(readlink(path));
    if (target === undefined) status = 1;
    else yield* puts(target);
  }
  return status;
}
