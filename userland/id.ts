/** id: who runs this. Options -u -g -n as GNU's. */
import type { Sys } from '../abi/process.ts';
import { getuid, puts } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'ugnGr');
  if (parsed.error !== undefined) return yield* usageError('id', parsed.error);
  const uid = yield* getuid();
  const name = uid === 0 ? 'root' : String(uid);
  if (parsed.has('u', 'g', 'G')) yield* puts(parsed.has('n') ? name : String(uid));
  else yield* puts(`uid=${uid}(${name}) gid=${uid}(${name}) groups=${uid}(${name})`);
  return 0;
}
