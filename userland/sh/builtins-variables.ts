/**
 * Built-ins on variables, parameters and options: export, local, read, set, shift, unset, getopts.
 */
import type { Sys } from '../../abi/process.ts';
import { read as readBytes, decode, writeAll } from '../libc.ts';
import { evaluate } from './arithmetic.ts';
import type { Builtin } from './builtins-table.ts';
import { quote } from './program.ts';
import { OPTIONS, type Shell, ShellError, complain, print } from './state.ts';

const NAME = /^[A-Za-z_]\w*$/;

/** `name` or `name=value` of export, readonly and local; undefined with a message when it is neither. */
function* declaration(sh: Shell, command: string, arg: string): Sys<{ name: string; value: string | undefined } | undefined> {
  const equals = arg.indexOf('=');
  const name = equals < 0 ? arg : arg.slice(0, equals);
  if (NAME.test(name)) return { name, value: equals < 0 ? undefined : arg.slice(equals + 1) };
  yield* complain(sh, `${command}: \`${arg}': not a valid identifier`);
  return undefined;
}

function marking(command: 'export' | 'readonly', flag: 'exported' | 'readonly'): Builtin {
  return function* mark({ sh }, argv) {
    const off = argv[1] === '-n';
    const args = argv.slice(1).filter((arg) => arg !== '-p' && arg !== '-n' && arg !== '--');
    if (args.length === 0) {
      const marked = [...sh.variables].filter(([, v]) => v[flag]).sort(([a], [b]) => (a < b ? -1 : 1));
      yield* print(marked.map(([name, v]) => `${command} ${name}=${quote(v.value)}\n`).join(''));
      return 0;
    }
    let status = 0;
    for (const arg of args) {
      const found = yield* declaration(sh, command, arg);
      if (!found) {
        status = 1;
        continue;
      }
      if (found.value !== undefined || !sh.variables.has(found.name)) sh.set(found.name, found.value ?? '');
      const variable = sh.variables.get(found.name);
      if (variable) variable[flag] = !off;
    }
    return status;
  };
}
export const exportVariables = marking('export', 'exported');
export const readonly = marking('readonly', 'readonly');

export const local: Builtin = function* local({ sh }, argv) {
  const frame = sh.locals.at(-1);
  if (!frame) {
    yield* complain(sh, 'local: can only be used in a function');
    return 1;
  }
  let status = 0;
  for (const arg of argv.slice(1)) {
    const found = yield* declaration(sh, 'local', arg);
    if (!found) {
      status = 1;
      continue;
    }
    const before = sh.variables.get(found.name);
    if (!frame.has(found.name)) frame.set(found.name, before && { ...before });
    if (before?.readonly) throw new ShellError(`local: ${found.name}: readonly variable`);
    sh.variables.set(found.name, { value: found.value ?? '', exported: before?.exported ?? false, readonly: false });
  }
  return status;
};

export const unset: Builtin = function* unset({ sh }, argv) {
  const functions = argv[1] === '-f';
  for (const name of argv.slice(1).filter((arg) => !/^-[fv]$/.test(arg))) {
    if (functions || (!sh.variables.has(name) && sh.functions.has(name))) sh.functions.delete(name);
    else sh.unset(name);
  }
  return 0;
};

export const shift: Builtin = function* shift({ sh }, argv) {
  const count = Number(argv[1] ?? 1);
  if (!Number.isInteger(count) || count < 0) throw new ShellError(`shift: ${argv[1]}: numeric argument required`);
  if (count > sh.params.length) return 1;
  sh.params = sh.params.slice(count);
  return 0;
};

export const set: Builtin = function* set({ sh }, argv) {
  if (argv.length === 1) {
    const all = [...sh.variables].sort(([a], [b]) => (a < b ? -1 : 1));
    yield* print(all.map(([name, v]) => `${name}=${quote(v.value)}\n`).join(''));
    return 0;
  }
  for (let i = 1; i < argv.length; i++) {
    const arg = argv[i] ?? '';
    if (arg === '--' || arg === '-' || !/^[-+]./.test(arg)) {
      sh.params = argv.slice(arg === '--' || arg === '-' ? i + 1 : i);
      return 0;
    }
    const on = arg.startsWith('-');
    if (arg.slice(1) === 'o') {
      const name = argv[++i];
      if (name === undefined) yield* print(Object.values(OPTIONS).map((o) => `${o.padEnd(15)}\t${sh.options.has(o) ? 'on' : 'off'}\n`).join(''));
      else if (!Object.values(OPTIONS).includes(name)) {
        yield* complain(sh, `set: ${name}: invalid option name`);
        return 2;
      } else if (on) sh.options.add(name);
      else sh.options.delete(name);
      continue;
    }
    for (const letter of arg.slice(1)) {
      const name = OPTIONS[letter];
      if (name === undefined) {
        yield* complain(sh, `set: ${arg.charAt(0)}${letter}: invalid option`);
        return 2;
      }
      if (on) sh.options.add(name);
      else sh.options.delete(name);
    }
  }
  return 0;
};

/** One line, byte by byte: what follows it belongs to whoever reads next. Undefined at the end of input. */
export function* readLine(fd: number, raw: boolean): Sys<{ text: string; escaped: Set<number>; ended: boolean } | undefined> {
  const bytes: number[] = [];
  const escaped = new Set<number>();
  let any = false;
  for (;;) {
    const [byte] = yield* readBytes(fd, 1);
    if (byte === undefined) return any ? { text: decode(Uint8Array.from(bytes)), escaped, ended: true } : undefined;
    any = true;
    if (byte === 10) return { text: decode(Uint8Array.from(bytes)), escaped, ended: false };
    if (byte === 0x5c && !raw) {
      const [next] = yield* readBytes(fd, 1);
      if (next === undefined) continue;
      if (next === 10) continue;
      escaped.add(bytes.length);
      bytes.push(next);
    } else bytes.push(byte);
  }
}

export const read: Builtin = function* read({ sh }, argv) {
  let raw = false;
  let i = 1;
  for (; i < argv.length && (argv[i] ?? '').startsWith('-'); i++) {
    const arg = argv[i] ?? '';
    if (arg === '--') {
      i++;
      break;
    }
    if (arg.includes('r')) raw = true;
    if (arg.endsWith('p')) {
      const prompt = argv[++i] ?? '';
      if (sh.terminal >= 0) yield* writeAll(2, prompt);
    }
  }
  const names = argv.slice(i);
  const line = yield* readLine(0, raw);
  const values = split(line?.text ?? '', sh.get('IFS') ?? ' \t\n', Math.max(names.length, 1), line?.escaped ?? new Set());
  for (const [n, name] of (names.length > 0 ? names : ['REPLY']).entries()) {
    if (!NAME.test(name)) {
      yield* complain(sh, `read: \`${name}': not a valid identifier`);
      return 1;
    }
    sh.set(name, names.length === 0 ? (line?.text ?? '') : (values[n] ?? ''));
  }
  return line === undefined || line.ended ? 1 : 0;
};

/** Up to `count` fields; the last takes the rest of the line, without blanks at its end. */
function split(text: string, ifs: string, count: number, escaped: ReadonlySet<number>): string[] {
  const cut = (i: number) => i < text.length && ifs.includes(text.charAt(i)) && !escaped.has(i);
  const blank = (i: number) => cut(i) && ' \t\n'.includes(text.charAt(i));
  const fields: string[] = [];
  let i = 0;
  while (blank(i)) i++;
  while (i < text.length && fields.length < count - 1) {
    const start = i;
    while (i < text.length && !cut(i)) i++;
    fields.push(text.slice(start, i));
    while (blank(i)) i++;
    if (cut(i)) i++;
    while (blank(i)) i++;
  }
  let end = text.length;
  while (end > i && blank(end - 1)) end--;
  // A single separator after the last field belongs to it.
  const rest = text.slice(i, end);
  const only = rest.length > 0 && cut(end - 1) && ![...rest.slice(0, -1)].some((_, k) => cut(i + k));
  fields.push(only ? rest.slice(0, -1) : rest);
  return fields;
}

export const letExpressions: Builtin = function* letExpressions({ sh }, argv) {
  let value = 0n;
  for (const expression of argv.slice(1)) value = evaluate(expression, sh);
  return value === 0n ? 1 : 0;
};

export const getopts: Builtin = function* getopts({ sh }, argv) {
  const [, spec = '', name = 'opt', ...given] = argv;
  const args = given.length > 0 ? given : sh.params;
  const quiet = spec.startsWith(':');
  let index = Number(sh.get('OPTIND') ?? 1);
  let offset = Number(sh.get('_OPTOFFSET') ?? 1);
  const arg = args[index - 1];
  const finish = (status: number): number => {
    sh.set('OPTIND', String(index));
    sh.set('_OPTOFFSET', String(offset));
    return status;
  };
  if (arg === undefined || !arg.startsWith('-') || arg === '-') {
    sh.set(name, '?');
    return finish(1);
  }
  if (arg === '--') {
    index++;
    sh.set(name, '?');
    return finish(1);
  }
  const letter = arg.charAt(offset++);
  const next = () => {
    index++;
    offset = 1;
  };
  const at = letter === ':' ? -1 : spec.indexOf(letter);
  sh.unset('OPTARG');
  if (at < 0) {
    if (quiet) sh.set('OPTARG', letter);
    else yield* complain(sh, `illegal option -- ${letter}`);
    sh.set(name, '?');
  } else if (spec.charAt(at + 1) === ':') {
    const value = offset < arg.length ? arg.slice(offset) : args[index++];
    if (value === undefined) {
      if (quiet) sh.set('OPTARG', letter);
      else yield* complain(sh, `option requires an argument -- ${letter}`);
      sh.set(name, quiet ? ':' : '?');
    } else {
      sh.set('OPTARG', value);
      sh.set(name, letter);
    }
    next();
    return finish(0);
  } else sh.set(name, letter);
  if (offset >= arg.length) next();
  return finish(0);
};
