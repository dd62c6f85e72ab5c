/**
 * modprobe: loads a module and those it needs, or with -r unloads it and those that nothing needs any more. What a
 * module needs stands in /lib/modules/modules.dep, one line a module: `kvm_intel.ko: kvm.ko`.
 */
import type { Sys } from '../abi/process.ts';
import { EEXIST } from '../abi/errno.ts';
import { Errno, eputs, finit_module, puts, readFile, stat } from './libc.ts';
import { MODULES, moduleError, moduleName, parseModules } from './lib/modules.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError } from './lib/options.ts';
import { unload } from './rmmod.ts';

/** Modules that `name` needs, the deepest first, itself last. */
function* needed(name: string): Sys<string[]> {
  const text = (yield* maybe(readFile(`${MODULES}/modules.dep`))) ?? '';
  const table = new Map(text.split('\n').filter((line) => line.includes(':')).map((line) => {
    const [file = '', list = ''] = line.split(':');
    return [moduleName(file), list.trim().split(/\s+/).filter((d) => d !== '').map(moduleName)] as const;
  }));
  const order: string[] = [];
  const visit = (module: string): void => {
    if (order.includes(module)) return;
    for (const dependency of table.get(module) ?? []) visit(dependency);
    order.push(module);
  };
  visit(name);
  return order;
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'rvnaq', { remove: 0, verbose: 0, quiet: 0, all: 0 }, true);
  if (parsed.error !== undefined) return yield* usageError('modprobe', parsed.error);
  const [given, ...parameters] = parsed.operands;
  if (given === undefined) {
    yield* eputs('modprobe: ERROR: missing parameters. See -h.');
    return 1;
  }
  const name = moduleName(given);
  const order = yield* needed(name);
  if ((yield* maybe(stat(`${MODULES}/${name}.ko`))) === undefined) {
    if (!parsed.has('q', 'quiet')) yield* eputs(`modprobe: FATAL: Module ${given} not found in directory ${MODULES}`);
    return 1;
  }
  if (parsed.has('r', 'remove')) {
    for (const module of order.reverse()) {
      const loaded = parseModules(yield* readFile('/proc/modules')).find((m) => m.name === module);
      if (module !== name && (!loaded || loaded.refcount > 0 || loaded.users.length > 0)) continue;
      if (!(yield* unload('modprobe', module))) return 1;
    }
    return 0;
  }
  for (const module of order) {
    const path = `${MODULES}/${module}.ko`;
    try {
      if (parsed.has('v', 'verbose')) yield* puts(`insmod ${path}${module === name ? parameters.map((p) => ` ${p}`).join('') : ''}`);
      yield* finit_module(path, module === name ? parameters.join(' ') : '');
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (e.errno === EEXIST) continue;
      yield* eputs(`modprobe: ERROR: could not insert '${module}': ${moduleError(e)}`);
      return 1;
    }
  }
  return 0;
}
