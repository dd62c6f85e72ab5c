/**
 * Runs what the parser made: simple commands, pipelines, compound commands, redirections.
 *
 * A built-in and a compound command run in the shell's own process, their redirections are undone afterwards; a
 * program, a pipeline's member and what stands before `&` run in a child.
 */
import type { Sys } from '../../abi/process.ts';
import { ENOENT, ENOEXEC, ENOTDIR } from '../../abi/errno.ts';
import { S_ISDIR } from '../../abi/fcntl.ts';
import { SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, sigmask } from '../../abi/signal.ts';
import {
  Errno, burn, close, decode, dup2, execve, fork, getpid, open, pipe, readAll, readFile, setpgid, signal, sigprocmask, stat, tcsetpgrp, writeAll,
} from '../libc.ts';
import { maybe } from '../lib/main.ts';
import { parseSignal } from '../lib/signals.ts';
import type { AndOr, Command, List, Pipeline, Redirect } from './ast.ts';
import type { Builtin } from './builtins-table.ts';
import { Expander } from './expand.ts';
import { addJob, foreground, terminalSettings, waitJob, forget } from './jobs.ts';
import { Parser, SyntaxError_ } from './parser.ts';
import { compound } from './compound.ts';
import { findProgram, quote } from './program.ts';
import { redirect, redirected } from './redirect.ts';
import { report, times } from './timing.ts';
import { Leave, type Shell, ShellError, complain } from './state.ts';

/** Reaches the built-ins; a parameter, because they reach back to `run` and `source`. */
export type Builtins = (name: string) => Builtin | undefined;

/** Built-ins whose redirections and assignments stay: POSIX's special built-ins that matter here. */
const SPECIAL: ReadonlySet<string> = new Set([':', '.', 'break', 'continue', 'eval', 'exec', 'exit', 'export', 'readonly', 'return', 'set', 'shift', 'trap', 'unset']);

/** What reading and expanding one command costs a processor, about. */
const COMMAND_CYCLES = 2000;

/** What an interactive shell ignores and its children do not. */
const SHELL_IGNORES = [SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU];
const SHELL_IGNORES_MASK = SHELL_IGNORES.reduce((mask, n) => mask | sigmask(n), 0n);

export class Executor {
  readonly sh: Shell;
  readonly expander: Expander;
  readonly builtins: Builtins;
  constructor(sh: Shell, builtins: Builtins) {
    this.sh = sh;
    this.builtins = builtins;
    this.expander = new Expander(sh, (_, list) => this.substitute(list));
  }

  // -------------------------------------------------------------- lists

  *list(list: List): Sys<number> {
    for (const { andOr, background, text } of list) {
      if (background) yield* this.background(andOr, text);
      else yield* this.andOr(andOr);
      yield* this.traps();
      this.sh.checkInterrupt();
    }
    return this.sh.status;
  }

  private *andOr({ first, rest }: AndOr): Sys {
    yield* this.pipeline(first, rest.length > 0);
    for (const [i, { operator, pipeline }] of rest.entries()) {
      if ((operator === '&&') !== (this.sh.status === 0)) continue;
      yield* this.pipeline(pipeline, i < rest.length - 1);
    }
  }

  /** `guarded`: its failure decides what runs next, so `set -e` leaves it alone. */
  private *pipeline(pipeline: Pipeline, guarded: boolean): Sys {
    const { sh } = this;
    const { commands, negated, timed } = pipeline;
    const start = timed ? yield* times() : undefined;
    const protect = guarded || negated;
    if (protect) sh.conditional++;
    try {
      const [only] = commands;
      if (commands.length === 0) sh.status = 0;
      else if (commands.length === 1 && only) sh.status = yield* this.command(only, pipeline.text);
      else sh.status = yield* this.pipes(commands, pipeline.text);
    } finally {
      if (protect) sh.conditional--;
    }
    if (start) yield* report(start);
    if (negated) sh.status = sh.status === 0 ? 1 : 0;
    else if (sh.status !== 0 && !guarded && sh.options.has('errexit') && sh.conditional === 0) throw new Leave('exit', sh.status);
  }

  private *background(andOr: AndOr, text: string): Sys {
    const { sh } = this;
    const copy = sh.clone();
    const { monitor } = sh;
    const pid = yield* this.spawn(0, false, copy, function* inBackground(child) {
      // Without job control nothing keeps it from the shell's own input and keys: POSIX, 2.9.3.
      if (!monitor) {
        for (const n of [SIGINT, SIGQUIT]) yield* signal(n, SIG_IGN);
        const nothing = yield* open('/dev/null');
        yield* dup2(nothing, 0);
        yield* close(nothing);
      }
      return yield* child.only(andOr);
    });
    sh.lastBackground = pid;
    sh.status = 0;
    const job = addJob(sh, sh.monitor ? pid : 0, [pid], text);
    if (sh.interactive) yield* writeAll(2, `[${job.id}] ${pid}\n`);
  }

  /** In a child of its own: a single command there needs no further child. */
  private *only(andOr: AndOr): Sys<number> {
    const { first, rest } = andOr;
    const [command] = first.commands;
    if (rest.length === 0 && first.commands.length === 1 && !first.negated && !first.timed && command) return yield* this.last(command);
    yield* this.andOr(andOr);
    return this.sh.status;
  }

  /** Runs a command as the last thing this process does. */
  private *last(command: Command): Sys<number> {
    if (command.kind === 'simple') return yield* this.simple(command, '', true);
    if (command.kind === 'subshell') {
      return yield* this.redirected(command.redirects, () => this.list(command.body));
    }
    return yield* this.command(command, '');
  }

  // -------------------------------------------------------------- children

  /**
   * Forks a child that runs `body` on `copy`, in process group `pgid` (0: a new one) when jobs are controlled.
   * Gives its pid.
   */
  private *spawn(pgid: number, inForeground: boolean, copy: Shell, body: (child: Executor) => Sys<number>): Sys<number> {
    const { sh, builtins } = this;
    const { monitor, terminal, interactive } = sh;
    const trapped = [...sh.traps].filter(([name, action]) => name !== 'EXIT' && action !== '').map(([name]) => name);
    // A signal for the child that comes before it has left the shell's ignoring behind waits, and is not lost.
    const mask = yield* sigprocmask(SIG_BLOCK, SHELL_IGNORES_MASK);
    const pid = yield* fork(function* child() {
      if (monitor) {
        const group = pgid || (yield* getpid());
        yield* maybe(setpgid(0, group));
        if (inForeground) yield* maybe(tcsetpgrp(terminal, group));
      }
      if (interactive || monitor) for (const n of SHELL_IGNORES) yield* signal(n, SIG_DFL);
      if (trapped.length > 0) yield* resetTraps(trapped);
      yield* sigprocmask(SIG_SETMASK, mask);
      return yield* runInChild(new Executor(copy, builtins), body);
    });
    yield* sigprocmask(SIG_SETMASK, mask);
    if (monitor) yield* maybe(setpgid(pid, pgid || pid));
    return pid;
  }

  private *pipes(commands: readonly Command[], text: string): Sys<number> {
    const { sh } = this;
    const settings = yield* terminalSettings(sh);
    const pids: number[] = [];
    let input = -1;
    for (const [i, command] of commands.entries()) {
      const last = i === commands.length - 1;
      const [reader, writer] = last ? [-1, -1] : yield* pipe();
      const stdin = input;
      const copy = sh.clone();
      const pid = yield* this.spawn(pids[0] ?? 0, true, copy, function* member(child) {
        if (stdin >= 0) {
          yield* dup2(stdin, 0);
          yield* close(stdin);
        }
        if (writer >= 0) {
          yield* close(reader);
          yield* dup2(writer, 1);
          yield* close(writer);
        }
        return yield* child.last(command);
      });
      pids.push(pid);
      if (input >= 0) yield* close(input);
      if (writer >= 0) yield* close(writer);
      input = reader;
    }
    const job = addJob(sh, sh.monitor ? (pids[0] ?? 0) : 0, pids, text);
    return yield* foreground(sh, job, settings);
  }

  /** `$(…)`: the output without the newlines at its end. */
  private *substitute(list: List): Sys<string> {
    const { sh } = this;
    const [reader, writer] = yield* pipe();
    const copy = sh.clone();
    const monitor = sh.monitor;
    sh.monitor = false;
    const pid = yield* this.spawn(0, false, copy, function* inner(child) {
      yield* close(reader);
      yield* dup2(writer, 1);
      if (writer !== 1) yield* close(writer);
      return yield* child.list(list);
    });
    sh.monitor = monitor;
    yield* close(writer);
    const bytes = yield* readAll(reader);
    yield* close(reader);
    const job = addJob(sh, 0, [pid], '');
    sh.status = yield* waitJob(sh, job);
    forget(sh, job);
    sh.substituted = true;
    return decode(bytes).replaceAll('\0', '').replace(/\n+$/, '');
  }

  // -------------------------------------------------------------- commands

  *command(command: Command, text: string): Sys<number> {
    const { sh } = this;
    if (sh.options.has('noexec') && !sh.interactive) return 0;
    switch (command.kind) {
      case 'simple': return yield* this.simple(command, text, false);
      case 'function':
        sh.functions.set(command.name, command.body);
        return 0;
      case 'subshell': {
        const settings = yield* terminalSettings(sh);
        const copy = sh.clone();
        const pid = yield* this.spawn(0, true, copy, (child) => child.redirected(command.redirects, () => child.list(command.body)));
        return yield* foreground(sh, addJob(sh, sh.monitor ? pid : 0, [pid], text), settings);
      }
      default: return yield* this.redirected(command.redirects, () => compound(this, command));
    }
  }

  private *simple(command: Command & { kind: 'simple' }, text: string, last: boolean): Sys<number> {
    const { sh, expander } = this;
    sh.substituted = false;
    burn(COMMAND_CYCLES);
    const argv = yield* expander.fields(command.words);
    const assigned = new Map<string, string>();
    for (const { name, value, append } of command.assignments) {
      const expanded = (append ? (assigned.get(name) ?? sh.get(name) ?? '') : '') + (yield* expander.text(value));
      if (argv.length === 0) sh.set(name, expanded);
      else assigned.set(name, expanded);
    }
    const substitutionStatus = sh.substituted ? sh.status : 0;
    if (sh.options.has('xtrace') && (argv.length > 0 || command.assignments.length > 0)) {
      const words = argv.length > 0 ? [...[...assigned].map(([n, v]) => `${n}=${quote(v)}`), ...argv.map(quote)] : command.assignments.map(({ name }) => `${name}=${quote(sh.get(name) ?? '')}`);
      yield* writeAll(2, `${sh.get('PS4') ?? '+ '}${words.join(' ')}\n`);
    }
    const [name] = argv;
    if (name === undefined) {
      return yield* this.redirected(command.redirects, function* nothing(): Sys<number> {
        return substitutionStatus;
      });
    }
    const body = name === 'exec' || name === 'command' ? undefined : sh.functions.get(name);
    if (body) return yield* this.withVariables(assigned, () => this.redirected(command.redirects, () => this.call(body, argv)));
    const builtin = this.builtins(name);
    if (builtin) {
      if (name === 'exec') return yield* this.exec(argv.slice(1), command.redirects, assigned);
      const run = () => this.redirected(command.redirects, () => runBuiltin(this, builtin, argv));
      if (!SPECIAL.has(name)) return yield* this.withVariables(assigned, run);
      for (const [variable, value] of assigned) sh.set(variable, value);
      return yield* run();
    }
    if (last) {
      if (!(yield* this.redirect(command.redirects, undefined))) return 1;
      return yield* this.program(argv, assigned);
    }
    return yield* this.external(argv, command.redirects, assigned, text);
  }

  /** Runs a program in the foreground and waits for it. */
  *external(argv: readonly string[], redirects: readonly Redirect[], assigned: ReadonlyMap<string, string>, text: string): Sys<number> {
    const { sh } = this;
    const settings = yield* terminalSettings(sh);
    const pid = yield* this.spawn(0, true, sh.clone(), function* run(child): Sys<number> {
      if (!(yield* child.redirect(redirects, undefined))) return 1;
      return yield* child.program(argv, assigned);
    });
    return yield* foreground(sh, addJob(sh, sh.monitor ? pid : 0, [pid], text), settings);
  }

  /** Assignments before a function or an ordinary built-in hold while it runs, exported. */
  private *withVariables(assigned: ReadonlyMap<string, string>, run: () => Sys<number>): Sys<number> {
    const { sh } = this;
    const before = [...assigned.keys()].map((name) => [name, sh.variables.get(name)] as const);
    for (const [name, value] of assigned) {
      if (sh.variables.get(name)?.readonly) throw new ShellError(`${name}: readonly variable`);
      sh.variables.set(name, { value, exported: true, readonly: false });
    }
    try {
      return yield* run();
    } finally {
      for (const [name, variable] of before) {
        if (variable) sh.variables.set(name, variable);
        else sh.variables.delete(name);
      }
    }
  }

  private *call(body: Command, argv: readonly string[]): Sys<number> {
    const { sh } = this;
    if (sh.functionDepth > 500) throw new ShellError(`${argv[0]}: maximum function nesting level exceeded (500)`);
    const { params, loops } = sh;
    sh.params = argv.slice(1);
    sh.loops = 0;
    sh.functionDepth++;
    sh.locals.push(new Map());
    try {
      sh.status = yield* this.command(body, '');
      return sh.status;
    } catch (e) {
      if (!(e instanceof Leave) || e.kind !== 'return') throw e;
      return e.count;
    } finally {
      for (const [name, variable] of sh.locals.pop() ?? []) {
        if (variable) sh.variables.set(name, variable);
        else sh.variables.delete(name);
      }
      sh.functionDepth--;
      sh.params = params;
      sh.loops = loops;
    }
  }

  private *exec(argv: readonly string[], redirects: readonly Redirect[], assigned: ReadonlyMap<string, string>): Sys<number> {
    if (!(yield* this.redirect(redirects, undefined))) {
      if (this.sh.interactive) return 1;
      throw new Leave('exit', 1);
    }
    if (argv.length === 0) return 0;
    const status = yield* this.program(argv, assigned);
    if (!this.sh.interactive) throw new Leave('exit', status);
    return status;
  }

  /** Becomes a program. Comes back only when there is none, with the status that says so. */
  *program(argv: readonly string[], assigned: ReadonlyMap<string, string> = new Map()): Sys<number> {
    const { sh } = this;
    const name = argv[0] ?? '';
    const environment = sh.environment(assigned);
    const path = yield* findProgram(sh, name);
    if (path === undefined) {
      yield* complain(sh, name.includes('/') ? `${name}: No such file or directory` : `${name}: command not found`);
      return 127;
    }
    try {
      yield* execve(path, argv, environment);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (e.errno === ENOEXEC) return yield* this.script(path, argv);
      const status = yield* maybe(stat(path));
      const text = status && S_ISDIR(status.st_mode) ? 'Is a directory' : e.text;
      yield* complain(sh, `${name}: ${text}`);
      return e.errno === ENOENT || e.errno === ENOTDIR ? 127 : 126;
    }
    return 126;
  }

  /** A file that the kernel cannot run is a script of this shell. */
  private *script(path: string, argv: readonly string[]): Sys<number> {
    const { sh } = this;
    const text = yield* readFile(path);
    if (text.includes('\0')) {
      yield* complain(sh, `${path}: cannot execute binary file: Exec format error`);
      return 126;
    }
    sh.params = argv.slice(1);
    sh.name = argv[0] ?? path;
    return yield* this.source(text);
  }

  /** Parses and runs a whole text, line by line as a script's is. */
  *source(text: string): Sys<number> {
    const parser = new Parser(text, this.sh.aliases);
    for (let list = parser.next(); list !== undefined; list = parser.next()) yield* this.list(list);
    return this.sh.status;
  }

  // -------------------------------------------------------------- redirections

  redirected(redirects: readonly Redirect[], body: () => Sys<number>): Sys<number> {
    return redirected(this, redirects, body);
  }
  redirect(redirects: readonly Redirect[], saved: Map<number, number> | undefined): Sys<boolean> {
    return redirect(this, redirects, saved);
  }

  // -------------------------------------------------------------- traps

  /** Runs the actions of signals that were caught since. */
  *traps(): Sys {
    const { sh } = this;
    while (sh.caught.length > 0) {
      const action = sh.traps.get(sh.caught.shift() ?? '');
      const { status } = sh;
      if (action) yield* this.source(action);
      sh.status = status;
    }
  }

  *exitTrap(): Sys {
    const { sh } = this;
    const action = sh.traps.get('EXIT');
    sh.traps.delete('EXIT');
    if (!action) return;
    const { status } = sh;
    yield* this.source(action);
    sh.status = status;
  }
}

/** Runs a built-in. Output that nobody takes is its failure, not the shell's. */
function* runBuiltin(executor: Executor, builtin: Builtin, argv: readonly string[]): Sys<number> {
  try {
    return yield* builtin(executor, argv);
  } catch (e) {
    if (!(e instanceof Errno) || e.call !== 'write') throw e;
    yield* maybe(complain(executor.sh, `${argv[0]}: write error: ${e.text}`));
    return 1;
  }
}

/** What a child of the shell does around its body: messages of errors, the status of `exit`, its own EXIT trap. */
export function* runInChild(executor: Executor, body: (executor: Executor) => Sys<number>): Sys<number> {
  const { sh } = executor;
  try {
    sh.status = yield* body(executor);
  } catch (e) {
    if (e instanceof Leave) sh.status = e.kind === 'exit' || e.kind === 'return' ? e.count : 0;
    else if (e instanceof ShellError || e instanceof SyntaxError_) {
      yield* complain(sh, e.message);
      sh.status = e instanceof ShellError ? e.status : 2;
    } else if (e instanceof Errno) {
      yield* complain(sh, e.message);
      sh.status = 1;
    } else throw e;
  }
  try {
    yield* executor.exitTrap();
  } catch (e) {
    if (!(e instanceof Leave)) throw e;
    sh.status = e.count;
  }
  return sh.status;
}

function* resetTraps(names: readonly string[]): Sys {
  for (const name of names) {
    const number = parseSignal(name);
    if (number) yield* signal(number, SIG_DFL);
  }
}
