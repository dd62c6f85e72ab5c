/**
 * Shell patterns: `*`, `?`, `[…]`, with backslash before what stands for itself; and their expansion to path names.
 * POSIX.1-2017, Shell Command Language, section 2.13.
 */
import type { Sys } from '../../abi/process.ts';
import { lstat, readdir } from '../libc.ts';
import { CLASSES } from '../lib/character-classes.ts';
import { maybe } from '../lib/main.ts';

/** Puts a backslash before every character that a pattern would take for more than itself. */
export const escapePattern = (text: string): string => text.replace(/[\\*?[\]!^-]/g, '\\$&');

export const hasPattern = (pattern: string): boolean => /(^|[^\\])(\\\\)*[*?[]/.test(pattern);

export const unescapePattern = (pattern: string): string => pattern.replace(/\\([\s\S])/g, '$1');

const literal = (c: string): string => c.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
const inSet = (c: string): string => (c === '-' ? '\\-' : literal(c));

/** The source of a regular expression that matches what the pattern matches. `star` is what `*` stands for. */
function translate(pattern: string, star: string): string {
  let out = '';
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern.charAt(i);
    if (c === '\\' && i + 1 < pattern.length) out += literal(pattern.charAt(++i));
    else if (c === '*') out += star;
    else if (c === '?') out += '[\\s\\S]';
    else if (c === '[') {
      const set = bracket(pattern, i);
      if (set) {
        out += set.source;
        i = set.end;
      } else out += '\\[';
    } else out += literal(c);
  }
  return out;
}

function bracket(pattern: string, start: number): { source: string; end: number } | undefined {
  let i = start + 1;
  const negated = pattern.charAt(i) === '!' || pattern.charAt(i) === '^';
  if (negated) i++;
  let set = '';
  for (let first = true; ; first = false, i++) {
    const c = pattern.charAt(i);
    if (c === '') return undefined;
    if (c === ']' && !first) break;
    const named = /^\[:(\w+):\]/.exec(pattern.slice(i));
    if (named) {
      set += CLASSES[named[1] ?? ''] ?? '';
      i += named[0].length - 1;
    } else if (c === '\\' && i + 1 < pattern.length) set += inSet(pattern.charAt(++i));
    else if (c === '-' && !first && pattern.charAt(i + 1) !== ']') set += '-';
    else set += inSet(c);
  }
  const body = set === '' ? '[^\\s\\S]' : `[${negated ? '^' : ''}${set}]`;
  try {
    new RegExp(body, 'u');
  } catch {
    return undefined;
  }
  return { source: body, end: i };
}

export const patternToRegExp = (pattern: string): RegExp => new RegExp(`^${translate(pattern, '[\\s\\S]*')}$`, 'u');

/** What `${x#pattern}` and its three relatives leave of `value`. */
export function trim(value: string, pattern: string, operator: string): string {
  const shortest = operator.length === 1;
  const lengths = Array.from({ length: value.length + 1 }, (_, n) => n);
  if (!shortest) lengths.reverse();
  const whole = patternToRegExp(pattern);
  for (const n of lengths) {
    if (operator.startsWith('#') && whole.test(value.slice(0, n))) return value.slice(n);
    if (operator.startsWith('%') && whole.test(value.slice(value.length - n))) return value.slice(0, value.length - n);
  }
  return value;
}

/** `${x/pattern/text}`: the first match, or with `all` every one. A `#` or `%` in front ties it to the start or end. */
export function substitute(value: string, pattern: string, text: string, all: boolean): string {
  const tied = pattern.startsWith('#') ? '^' : pattern.startsWith('%') ? '$' : '';
  const source = translate(tied ? pattern.slice(1) : pattern, '[\\s\\S]*');
  if (source === '') return value;
  return value.replace(new RegExp(tied === '^' ? `^(?:${source})` : tied === '$' ? `(?:${source})$` : source, all ? 'gu' : 'u'), () => text);
}

const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Names of files that match, sorted; none when nothing matches. A leading dot must be matched by a dot. */
export function* glob(pattern: string): Sys<string[]> {
  const absolute = pattern.startsWith('/');
  let found = [absolute ? '/' : ''];
  const steps = pattern.split('/').filter((step) => step !== '');
  for (const [i, step] of steps.entries()) {
    const last = i === steps.length - 1;
    const next: string[] = [];
    for (const directory of found) {
      if (!hasPattern(step)) {
        const path = directory + unescapePattern(step);
        if (!last || (yield* maybe(lstat(path))) !== undefined) next.push(last ? path : `${path}/`);
        continue;
      }
      const expression = patternToRegExp(step);
      const entries = (yield* maybe(readdir(directory === '' ? '.' : directory))) ?? [];
      for (const { d_name } of entries) {
        if ((d_name.startsWith('.') && !step.startsWith('.')) || !expression.test(d_name)) continue;
        if (!last && (yield* maybe(readdir(directory + d_name))) === undefined) continue;
        next.push(last ? directory + d_name : `${directory}${d_name}/`);
      }
    }
    found = next;
  }
  if (pattern.endsWith('/')) found = found.map((path) => `${path}/`);
  return found.sort(byBytes);
}
