/**
 * Command names: which file one means, and a word written so that it can be read back.
 */
import type { Sys } from '../../abi/process.ts';
import { S_ISDIR } from '../../abi/fcntl.ts';
import { stat } from '../libc.ts';
import { maybe } from '../lib/main.ts';
import type { Shell } from './state.ts';

/** The file a command name means: itself with a slash, else the first in PATH that may be run. */
export function* findProgram(sh: Shell, name: string): Sys<string | undefined> {
  if (name.includes('/')) return (yield* maybe(stat(name))) ? name : undefined;
  if (name === '') return undefined;
  for (const directory of (sh.get('PATH') ?? '/bin').split(':')) {
    const path = `${directory || '.'}/${name}`;
    const status = yield* maybe(stat(path));
    if (status && !S_ISDIR(status.st_mode) && (status.st_mode & 0o111) !== 0) return path;
  }
  return undefined;
}

/** A word as it can be read back. */
export const quote = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
