/**
 * What Tab may put at the end of a line: commands in the first place of a command, names of files elsewhere.
 */
import type { Sys } from '../../abi/process.ts';
import { S_ISDIR } from '../../abi/fcntl.ts';
import { readdir, stat } from '../libc.ts';
import { maybe } from '../lib/main.ts';
import { builtinNames } from './builtins-table.ts';
import type { Completion } from './edit.ts';
import type { Shell } from './state.ts';

const unique = (names: readonly string[]): string[] => [...new Set(names)].sort();

export function* complete(sh: Shell, line: string): Sys<Completion> {
  const word = /(?:[^\s;&|<>()'"`\\]|\\.)*$/.exec(line)?.[0] ?? '';
  const start = line.length - word.length;
  const before = line.slice(0, start).trimEnd();
  const variable = /^\$(\w*)$/.exec(word);
  if (variable) return { start, candidates: unique([...sh.variables.keys()].filter((n) => n.startsWith(variable[1] ?? '')).map((n) => `$${n}`)) };
  const first = before === '' || /(^|[;&|(]|\b(then|do|else|if|while|until|time))$/.test(before);
  if (first && !word.includes('/')) return { start, candidates: yield* commands(sh, word) };
  return { start, candidates: yield* files(sh, word) };
}

function* commands(sh: Shell, word: string): Sys<string[]> {
  const names = [...builtinNames.filter((n) => /^\w/.test(n)), ...sh.functions.keys(), ...sh.aliases.keys()];
  for (const directory of (sh.get('PATH') ?? '').split(':')) {
    for (const { d_name } of (yield* maybe(readdir(directory || '.'))) ?? []) names.push(d_name);
  }
  return unique(names.filter((name) => name.startsWith(word) && name !== '.' && name !== '..'));
}

function* files(sh: Shell, word: string): Sys<string[]> {
  const directory = word.slice(0, word.lastIndexOf('/') + 1);
  const base = word.slice(directory.length);
  const real = directory.replace(/^~(?=\/)/, sh.get('HOME') ?? '~').replace(/\\(.)/g, '$1');
  const found: string[] = [];
  for (const { d_name } of (yield* maybe(readdir(real === '' ? '.' : real))) ?? []) {
    if (!d_name.startsWith(base.replace(/\\(.)/g, '$1')) || (d_name.startsWith('.') && !base.startsWith('.'))) continue;
    const status = yield* maybe(stat(real + d_name));
    found.push(`${directory}${d_name.replace(/[\s;&|<>()'"`\\$*?[\]]/g, '\\$&')}${status && S_ISDIR(status.st_mode) ? '/' : ''}`);
  }
  return unique(found);
}
