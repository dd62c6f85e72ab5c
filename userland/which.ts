/** which: the files that commands mean; -a all of them. */
import type { Sys } from '../abi/process.ts';
import { S_ISREG } from '../abi/fcntl.ts';
import { getenv, puts, stat } from './libc.ts';
import { maybe } from './lib/main.ts';

export function* main(argv: string[]): Sys<number> {
  const all = argv[1] === '-a';
  let status = 0;
  for (const name of argv.slice(all ? 2 : 1)) {
    const paths = name.includes('/') ? [name] : (getenv('PATH') ?? '/bin').split(':').map((d) => `${d}/${name}`);
    let found = false;
    for (const path of paths) {
      const s = yield* maybe(stat(path));
      if (!s || !S_ISREG(s.st_mode) || (s.st_mode & 0o111) === 0) continue;
      yield* puts(path);
      found = true;
      if (!all) break;
    }
    if (!found) status = 1;
  }
  return status;
}
