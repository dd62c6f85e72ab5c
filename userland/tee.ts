/** tee: standard input to standard output and to files; -a appends. */
import type { Sys } from '../abi/process.ts';
import { O_APPEND, O_CREAT, O_TRUNC, O_WRONLY } from '../abi/fcntl.ts';
import { attempt } from './lib/main.ts';
import { open, read, writeAll } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'ai', { append: 0 });
  if (parsed.error !== undefined) return yield* usageError('tee', parsed.error);
  const outputs = [1];
  let ok = true;
  for (const path of parsed.operands) {
    ok = (yield* attempt(`tee: ${path}`, (function* add(): Sys {
      outputs.push(yield* open(path, O_WRONLY | O_CREAT | (parsed.has('a', 'append') ? O_APPEND : O_TRUNC)));
    })())) && ok;
  }
  for (let bytes = yield* read(0, 65536); bytes.length > 0; bytes = yield* read(0, 65536)) for (const fd of outputs) yield* writeAll(fd, bytes);
  return ok ? 0 : 1;
}
