/**
 * Option parsing as getopt_long(3) does it, and the messages GNU's programs print when it fails.
 */
import type { Sys } from '../../abi/process.ts';
import { eputs } from '../libc.ts';

export interface Parsed {
  /** Options in order: the letter or long name, with its value where it takes one. */
  readonly options: readonly { readonly name: string; readonly value: string }[];
  readonly operands: readonly string[];
  /** What is wrong, worded as getopt words it; undefined when nothing is. */
  readonly error: string | undefined;
  has(...names: string[]): boolean;
  /** The last value given for one of the names. */
  value(...names: string[]): string | undefined;
}

/**
 * Parses `args` (argv without its first element). `short` is getopt's string ("n:v"); `long` maps long names to
 * 0 (no value), 1 (value) or 2 (optional, after = only). With `posix` the first operand ends the options.
 */
export function getopt(args: readonly string[], short: string, long: Readonly<Record<string, 0 | 1 | 2>> = {}, posix = false): Parsed {
  const options: { name: string; value: string }[] = [];
  const operands: string[] = [];
  let error: string | undefined;
  for (let i = 0; i < args.length && error === undefined; i++) {
    const arg = args[i] ?? '';
    if (arg === '--') {
      operands.push(...args.slice(i + 1));
      break;
    }
    if (arg.startsWith('--')) {
      const [given = '', ...rest] = arg.slice(2).split('=');
      const matches = Object.keys(long).filter((name) => name.startsWith(given));
      const name = given in long ? given : matches.length === 1 ? matches[0] : undefined;
      const value = rest.length > 0 ? rest.join('=') : undefined;
      if (name === undefined) error = matches.length > 1 ? `option '${arg}' is ambiguous` : `unrecognized option '${arg}'`;
      else if (long[name] === 0 && value !== undefined) error = `option '--${name}' doesn't allow an argument`;
      else if (long[name] === 1 && value === undefined && i + 1 >= args.length) error = `option '--${name}' requires an argument`;
      else options.push({ name, value: value ?? (long[name] === 1 ? (args[++i] ?? '') : '') });
    } else if (arg.length > 1 && arg.startsWith('-')) {
      for (let j = 1; j < arg.length; j++) {
        const letter = arg.charAt(j);
        const at = letter === ':' ? -1 : short.indexOf(letter);
        if (at < 0) {
          error = `invalid option -- '${letter}'`;
          break;
        }
        if (short.charAt(at + 1) !== ':') {
          options.push({ name: letter, value: '' });
          continue;
        }
        if (j + 1 < arg.length) options.push({ name: letter, value: arg.slice(j + 1) });
        else if (i + 1 < args.length) options.push({ name: letter, value: args[++i] ?? '' });
        else error = `option requires an argument -- '${letter}'`;
        break;
      }
    } else {
      operands.push(arg);
      if (posix) {
        operands.push(...args.slice(i + 1));
        break;
      }
    }
  }
  return {
    options, operands, error,
    has: (...names) => options.some(({ name }) => names.includes(name)),
    value: (...names) => options.findLast(({ name }) => names.includes(name))?.value,
  };
}

/** Says what getopt found wrong, as GNU's programs do, and gives the exit status. */
export function* usageError(program: string, error: string, status = 1): Sys<number> {
  yield* eputs(`${program}: ${error}\nTry '${program} --help' for more information.`);
  return status;
}
