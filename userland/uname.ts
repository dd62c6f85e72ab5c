/** uname: what the kernel calls itself. Options -a -s -n -r -v -m -p -i -o as GNU's. */
import type { Sys } from '../abi/process.ts';
import { eputs, puts, uname } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'asnrvmpio', { all: 0, 'kernel-name': 0, nodename: 0, 'kernel-release': 0, 'kernel-version': 0, machine: 0, 'operating-system': 0 });
  if (parsed.error !== undefined) return yield* usageError('uname', parsed.error);
  if (parsed.operands.length > 0) {
    yield* eputs(`uname: extra operand '${parsed.operands[0]}'\nTry 'uname --help' for more information.`);
    return 1;
  }
  const u = yield* uname();
  const all = parsed.has('a', 'all');
  const fields: readonly [boolean, string][] = [
    [parsed.has('s', 'kernel-name') || parsed.options.length === 0, u.sysname], [parsed.has('n', 'nodename'), u.nodename], [parsed.has('r', 'kernel-release'), u.release],
    [parsed.has('v', 'kernel-version'), u.version], [parsed.has('m', 'machine') || (!all && parsed.has('p', 'i')), u.machine], [parsed.has('o', 'operating-system'), 'GNU/Linux'],
  ];
  yield* puts(fields.filter(([wanted]) => wanted || all).map(([, text]) => text).join(' '));
  return 0;
}
