/** Operands of cp, mv and ln: sources and one target, which may be a directory to put them into. */
import type { Sys } from '../../abi/process.ts';
import { S_ISDIR } from '../../abi/fcntl.ts';
import { eputs, stat } from '../libc.ts';
import { maybe } from './main.ts';

export const baseName = (path: string): string => path.replace(/\/+$/, '').split('/').at(-1) || '/';

/** Pairs of source and destination, or the exit status after a message. */
export function* pairs(program: string, operands: readonly string[]): Sys<[source: string, destination: string][] | number> {
  const target = operands.at(-1);
  const sources = operands.slice(0, -1);
  if (target === undefined || sources.length === 0) {
    yield* eputs(`${program}: missing ${target === undefined ? 'file operand' : `destination file operand after '${target}'`}\nTry '${program} --help' for more information.`);
    return 1;
  }
  const status = yield* maybe(stat(target));
  if (status && S_ISDIR(status.st_mode)) return sources.map((source) => [source, `${target.replace(/\/+$/, '')}/${baseName(source)}`]);
  if (sources.length > 1) {
    yield* eputs(`${program}: target '${target}'${status ? '' : ': No such file or directory'}${status ? ' is not a directory' : ''}`);
    return 1;
  }
  return [[sources[0] ?? '', target]];
}
