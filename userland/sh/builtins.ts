/**
 * Built-ins that change the shell's place or reach back to its executor: cd, eval, `.`, command, type, alias, history.
 */
import type { Sys } from '../../abi/process.ts';
import { RUSAGE_CHILDREN, RUSAGE_SELF } from '../../abi/resource.ts';
import { Errno, chdir, getcwd, getrusage, readFile, sprintf, umask as umaskCall } from '../libc.ts';
import type { Builtin } from './builtins-table.ts';
import type { Executor } from './execute.ts';
import { findProgram, quote } from './program.ts';
import { Leave, ShellError, complain, print } from './state.ts';

/** The path with `.` and `..` taken away by name, as `cd` without -P goes. */
function normalize(path: string): string {
  const out: string[] = [];
  for (const step of path.split('/')) {
    if (step === '..') out.pop();
    else if (step !== '' && step !== '.') out.push(step);
  }
  return `/${out.join('/')}`;
}

export const cd: Builtin = function* cd({ sh }, argv) {
  const operands = argv.slice(1).filter((arg) => !/^-[LP]$/.test(arg));
  const [target = sh.get('HOME') ?? '/'] = operands;
  if (operands.length > 1) {
    yield* complain(sh, 'cd: too many arguments');
    return 1;
  }
  const before = sh.get('PWD') ?? (yield* getcwd());
  const wanted = target === '-' ? sh.get('OLDPWD') : target;
  if (wanted === undefined) {
    yield* complain(sh, 'cd: OLDPWD not set');
    return 1;
  }
  const path = normalize(wanted.startsWith('/') ? wanted : `${before}/${wanted}`);
  try {
    yield* chdir(path);
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* complain(sh, `cd: ${wanted}: ${e.text}`);
    return 1;
  }
  sh.set('OLDPWD', before);
  sh.set('PWD', path);
  if (target === '-') yield* print(`${path}\n`);
  return 0;
};

export const pwd: Builtin = function* pwd() {
  yield* print(`${yield* getcwd()}\n`);
  return 0;
};

export const evaluate: Builtin = function* evaluate(executor, argv) {
  const text = argv.slice(1).join(' ');
  if (text.trim() === '') return 0;
  return yield* executor.source(text);
};

export const dot: Builtin = function* dot(executor, argv) {
  const { sh } = executor;
  const [, name, ...args] = argv;
  if (name === undefined) {
    yield* complain(sh, `${argv[0]}: filename argument required`);
    return 2;
  }
  let text: string;
  try {
    text = yield* readFile(name.includes('/') ? name : ((yield* findProgram(sh, name)) ?? name));
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    throw new ShellError(`${argv[0]}: ${name}: ${e.text}`);
  }
  const { params } = sh;
  if (args.length > 0) sh.params = args;
  sh.sourceDepth++;
  sh.status = 0;
  try {
    return yield* executor.source(text);
  } catch (e) {
    if (!(e instanceof Leave) || e.kind !== 'return') throw e;
    return e.count;
  } finally {
    sh.sourceDepth--;
    if (args.length > 0) sh.params = params;
  }
};

const KEYWORDS: readonly string[] = ['if', 'then', 'else', 'elif', 'fi', 'for', 'while', 'until', 'do', 'done', 'case', 'esac', 'in', '{', '}', '!', 'function', 'time'];

/** What a name would run; undefined when nothing. */
function* meaning({ sh, builtins }: Executor, name: string): Sys<{ long: string; short: string } | undefined> {
  const alias = sh.aliases.get(name);
  if (alias !== undefined) return { long: `${name} is aliased to \`${alias}'`, short: `alias ${name}=${quote(alias)}` };
  if (KEYWORDS.includes(name)) return { long: `${name} is a shell keyword`, short: name };
  if (sh.functions.has(name)) return { long: `${name} is a function`, short: name };
  if (builtins(name)) return { long: `${name} is a shell builtin`, short: name };
  const path = yield* findProgram(sh, name);
  return path === undefined ? undefined : { long: `${name} is ${path}`, short: path };
}

export const type: Builtin = function* type(executor, argv) {
  let status = 0;
  for (const name of argv.slice(1)) {
    const found = yield* meaning(executor, name);
    if (found) yield* print(`${found.long}\n`);
    else {
      yield* complain(executor.sh, `type: ${name}: not found`);
      status = 1;
    }
  }
  return status;
};

export const command: Builtin = function* command(executor, argv) {
  const option = /^-[vV]$/.test(argv[1] ?? '') ? argv[1] : undefined;
  const args = argv.slice(1).filter((arg, i) => !(i === 0 && /^-[vVp]$/.test(arg)));
  const [name] = args;
  if (name === undefined) return 0;
  if (option !== undefined) {
    const found = yield* meaning(executor, name);
    if (!found) {
      if (option === '-V') yield* complain(executor.sh, `command: ${name}: not found`);
      return 1;
    }
    yield* print(`${option === '-v' ? found.short : found.long}\n`);
    return 0;
  }
  const inside = executor.builtins(name);
  if (inside) return yield* inside(executor, args);
  return yield* executor.external(args, [], new Map(), args.join(' '));
};

export const alias: Builtin = function* alias({ sh }, argv) {
  let status = 0;
  if (argv.length === 1) for (const [name, value] of [...sh.aliases].sort()) yield* print(`alias ${name}='${value}'\n`);
  for (const arg of argv.slice(1)) {
    const equals = arg.indexOf('=');
    if (equals > 0) sh.aliases.set(arg.slice(0, equals), arg.slice(equals + 1));
    else if (sh.aliases.has(arg)) yield* print(`alias ${arg}='${sh.aliases.get(arg)}'\n`);
    else {
      yield* complain(sh, `alias: ${arg}: not found`);
      status = 1;
    }
  }
  return status;
};

export const unalias: Builtin = function* unalias({ sh }, argv) {
  let status = 0;
  for (const name of argv.slice(1)) {
    if (name === '-a') sh.aliases.clear();
    else if (!sh.aliases.delete(name)) {
      yield* complain(sh, `unalias: ${name}: not found`);
      status = 1;
    }
  }
  return status;
};

export const history: Builtin = function* history({ sh }, argv) {
  if (argv[1] === '-c') {
    sh.history = [];
    return 0;
  }
  const count = argv[1] === undefined ? sh.history.length : Number(argv[1]);
  const from = Math.max(0, sh.history.length - count);
  yield* print(sh.history.slice(from).map((line, i) => `${String(from + i + 1).padStart(5)}  ${line}\n`).join(''));
  return 0;
};

export const umask: Builtin = function* umask({ sh }, argv) {
  const [, mask] = argv;
  if (mask === undefined) {
    const now = yield* umaskCall(0);
    yield* umaskCall(now);
    yield* print(`${sprintf('%04o', now)}\n`);
    return 0;
  }
  if (!/^[0-7]+$/.test(mask)) {
    yield* complain(sh, `umask: ${mask}: octal number out of range`);
    return 1;
  }
  yield* umaskCall(Number.parseInt(mask, 8) & 0o777);
  return 0;
};

export const times: Builtin = function* times() {
  const shown = (ns: bigint) => sprintf('%dm%.3fs', ns / 60_000_000_000n, Number(ns % 60_000_000_000n) / 1e9);
  for (const who of [RUSAGE_SELF, RUSAGE_CHILDREN]) {
    const { user, system } = yield* getrusage(who);
    yield* print(`${shown(user)} ${shown(system)}\n`);
  }
  return 0;
};
