/** lsmod: the modules that are loaded, from /proc/modules. */
import type { Sys } from '../abi/process.ts';
import { puts, readFile, sprintf } from './libc.ts';
import { parseModules } from './lib/modules.ts';

export function* main(): Sys<number> {
  yield* puts('Module                  Size  Used by');
  for (const { name, size, refcount, users } of parseModules(yield* readFile('/proc/modules'))) {
    yield* puts(sprintf('%-19s %8d  %d', name, size, refcount) + (users.length > 0 ? ` ${users.join(',')}` : ''));
  }
  return 0;
}
