/** ln: makes links, symbolic ones with -s; -f replaces what is there, -v. */
import type { Sys } from '../abi/process.ts';
import { Errno, eputs, link, lstat, puts, symlink, unlink } from './libc.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError } from './lib/options.ts';
import { baseName, pairs } from './lib/targets.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'sfvn', { symbolic: 0, force: 0, verbose: 0 });
  if (parsed.error !== undefined) return yield* usageError('ln', parsed.error);
  const [only] = parsed.operands;
  const list = parsed.operands.length === 1 && only !== undefined ? [[only, baseName(only)] as [string, string]] : yield* pairs('ln', parsed.operands);
  if (typeof list === 'number') return list;
  const symbolic = parsed.has('s', 'symbolic');
  let status = 0;
  for (const [target, name] of list) {
    try {
      if (parsed.has('f', 'force')) yield* maybe(unlink(name));
      yield* symbolic ? symlink(target, name) : link(target, name);
      if (parsed.has('v', 'verbose')) yield* puts(`'${name}' ${symbolic ? '->' : '=>'} '${target}'`);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (!symbolic && (yield* maybe(lstat(target))) === undefined) yield* eputs(`ln: failed to access '${target}': ${e.text}`);
      else yield* eputs(`ln: failed to create ${symbolic ? 'symbolic' : 'hard'} link '${name}'${symbolic ? '' : ` => '${target}'`}: ${e.text}`);
      status = 1;
    }
  }
  return status;
}
