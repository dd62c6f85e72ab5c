/** insmod: loads a module from a file, with parameters as name=value. */
import type { Sys } from '../abi/process.ts';
import { Errno, eputs, finit_module, stat } from './libc.ts';
import { moduleError } from './lib/modules.ts';
import { maybe } from './lib/main.ts';

export function* main(argv: string[]): Sys<number> {
  const [, path, ...parameters] = argv;
  if (path === undefined) {
    yield* eputs('insmod: ERROR: missing filename.');
    return 1;
  }
  if ((yield* maybe(stat(path))) === undefined) {
    yield* eputs(`insmod: ERROR: could not load module ${path}: No such file or directory`);
    return 1;
  }
  try {
    yield* finit_module(path, parameters.join(' '));
    return 0;
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`insmod: ERROR: could not insert module ${path}: ${moduleError(e)}`);
    return 1;
  }
}
