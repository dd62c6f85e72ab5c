/** chmod: changes the permission bits of files, by an octal number or by `[ugoa…][-+=][rwxXst…]`. -R whole trees. */
import type { Sys } from '../abi/process.ts';
import { S_ISDIR } from '../abi/fcntl.ts';
import { Errno, chmod, eputs, readdir, stat } from './libc.ts';
import { getopt, usageError } from './lib/options.ts';

const WHO: Readonly<Record<string, number>> = { u: 0o4700, g: 0o2070, o: 0o1007, a: 0o7777 };
const WHAT: Readonly<Record<string, number>> = { r: 0o444, w: 0o222, x: 0o111, s: 0o6000, t: 0o1000 };

/** The mode that `spec` makes of `mode`; undefined when it is no mode. */
export function changeMode(spec: string, mode: number, directory: boolean): number | undefined {
  if (/^[0-7]{1,4}$/.test(spec)) return Number.parseInt(spec, 8);
  let now = mode & 0o7777;
  for (const clause of spec.split(',')) {
    const found = /^([ugoa]*)([-+=])([rwxXst]*)$/.exec(clause);
    if (!found) return undefined;
    const [, who = '', operator, what = ''] = found;
    const mask = [...(who === '' ? 'a' : who)].reduce((m, w) => m | (WHO[w] ?? 0), 0);
    const bits = [...what].reduce((m, w) => m | (w === 'X' ? (directory || now & 0o111 ? 0o111 : 0) : (WHAT[w] ?? 0)), 0) & mask;
    now = operator === '+' ? now | bits : operator === '-' ? now & ~bits : (now & ~(mask & 0o777)) | bits;
  }
  return now;
}

export function* main(argv: string[]): Sys<number> {
  // A mode may begin with a minus, which is then no option.
  const args = argv.slice(1);
  const at = args.findIndex((arg) => !/^-(R|v|c|f|-\w.*)$/.test(arg));
  const parsed = getopt(args.slice(0, Math.max(at, 0)), 'Rvcf', { recursive: 0 });
  if (parsed.error !== undefined) return yield* usageError('chmod', parsed.error);
  const [spec, ...files] = args.slice(Math.max(at, 0));
  if (spec === undefined || files.length === 0) return yield* usageError('chmod', spec === undefined ? 'missing operand' : `missing operand after '${spec}'`);
  let status = 0;
  function* change(path: string, mode: string): Sys {
    try {
      const { st_mode } = yield* stat(path);
      const wanted = changeMode(mode, st_mode, S_ISDIR(st_mode));
      if (wanted !== undefined) yield* chmod(path, wanted);
      if (!parsed.has('R', 'recursive') || !S_ISDIR(st_mode)) return;
      for (const { d_name } of yield* readdir(path)) if (d_name !== '.' && d_name !== '..') yield* change(`${path}/${d_name}`, mode);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`chmod: cannot access '${path}': ${e.text}`);
      status = 1;
    }
  }
  if (changeMode(spec, 0, false) === undefined) return yield* usageError('chmod', `invalid mode: '${spec}'`);
  for (const path of files) yield* change(path, spec);
  return status;
}
