/** rmmod: unloads modules; one that is in use stays, and who uses it is said. */
import type { Sys } from '../abi/process.ts';
import { Errno, delete_module, eputs, readFile } from './libc.ts';
import { moduleName, parseModules } from './lib/modules.ts';

/** Unloads one module as rmmod does; gives whether it could. */
export function* unload(program: string, given: string): Sys<boolean> {
  const name = moduleName(given);
  const loaded = parseModules(yield* readFile('/proc/modules')).find((m) => m.name === name);
  if (!loaded) {
    yield* eputs(`${program}: ERROR: Module ${name} is not currently loaded`);
    return false;
  }
  if (loaded.users.length > 0) {
    yield* eputs(`${program}: ERROR: Module ${name} is in use by: ${loaded.users.join(' ')}`);
    return false;
  }
  if (loaded.refcount > 0) {
    yield* eputs(`${program}: ERROR: Module ${name} is in use`);
    return false;
  }
  try {
    yield* delete_module(name);
    return true;
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`${program}: ERROR: could not remove '${name}': ${e.text}`);
    return false;
  }
}

export function* main(argv: string[]): Sys<number> {
  const names = argv.slice(1).filter((arg) => !arg.startsWith('-'));
  if (names.length === 0) {
    yield* eputs('rmmod: ERROR: missing module name.');
    return 1;
  }
  let ok = true;
  for (const name of names) ok = (yield* unload('rmmod', name)) && ok;
  return ok ? 0 : 1;
}
