/**
 * sh: the shell. `sh`, `sh FILE [ARG…]`, `sh -c COMMAND [NAME [ARG…]]`, `-i` interactive, `-l` login, options of `set`.
 * POSIX.1-2017, Shell Command Language; messages and job control as bash words them.
 */
import type { Sys } from '../abi/process.ts';
import { F_DUPFD_CLOEXEC } from '../abi/fcntl.ts';
import { SIGCONT, SIGHUP, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIG_IGN } from '../abi/signal.ts';
import { EINTR, ENOENT } from '../abi/errno.ts';
import { Errno, fcntl, getcwd, getpgrp, getpid, getppid, isatty, kill, open, readAll, close, setpgid, signal, tcgetpgrp, tcsetpgrp, uname, writeAll, decode } from './libc.ts';
import { maybe } from './lib/main.ts';
import { builtin } from './sh/builtins-table.ts';
import { catchInterrupt } from './sh/builtins-jobs.ts';
import { readLine } from './sh/builtins-variables.ts';
import { complete } from './sh/complete.ts';
import { editLine } from './sh/edit.ts';
import { Executor, runInChild } from './sh/execute.ts';
import { tellChanges } from './sh/jobs.ts';
import { Incomplete, Parser, SyntaxError_ } from './sh/parser.ts';
import { Leave, OPTIONS, Shell, ShellError, complain } from './sh/state.ts';

const HISTORY = 1000;

/** The shell as its arguments and environment make it; `source` is where its commands come from. */
interface Start { readonly sh: Shell; readonly source: { kind: 'text'; text: string } | { kind: 'input' }; readonly login: boolean }

function* start(argv: readonly string[], envp: readonly string[]): Sys<Start | number> {
  const sh = new Shell();
  sh.name = argv[0] ?? 'sh';
  for (const entry of envp) {
    const equals = entry.indexOf('=');
    if (equals > 0) sh.variables.set(entry.slice(0, equals), { value: entry.slice(equals + 1), exported: true, readonly: false });
  }
  sh.pid = yield* getpid();
  const fallback = (name: string, value: string) => {
    if (!sh.variables.has(name)) sh.set(name, value);
  };
  fallback('PATH', '/bin:/sbin:/usr/bin');
  sh.variables.set('IFS', { value: ' \t\n', exported: false, readonly: false });
  sh.set('PPID', String(yield* getppid()));
  sh.set('OPTIND', '1');
  sh.variables.set('PWD', { value: (yield* maybe(getcwd())) ?? '/', exported: true, readonly: false });
  let i = 1;
  let command = false;
  let interactive = false;
  let login = sh.name.startsWith('-');
  for (; i < argv.length && /^[-+]./.test(argv[i] ?? ''); i++) {
    const arg = argv[i] ?? '';
    if (arg === '--') {
      i++;
      break;
    }
    for (const letter of arg.slice(1)) {
      const option = OPTIONS[letter];
      if (letter === 'c') command = true;
      else if (letter === 'i') interactive = true;
      else if (letter === 'l') login = true;
      else if (letter === 's') continue;
      else if (option === undefined) {
        yield* complain(sh, `${arg.charAt(0)}${letter}: invalid option`);
        return 2;
      } else if (arg.startsWith('-')) sh.options.add(option);
      else sh.options.delete(option);
    }
  }
  const rest = argv.slice(i);
  if (command) {
    const [text, name, ...params] = rest;
    if (text === undefined) {
      yield* complain(sh, '-c: option requires an argument');
      return 2;
    }
    if (name !== undefined) sh.name = name;
    sh.params = params;
    return { sh, source: { kind: 'text', text }, login };
  }
  const [file, ...params] = rest;
  if (file === undefined) {
    sh.interactive = interactive || ((yield* isatty(0)) && (yield* isatty(2)) && sh.get('TERM') !== 'dumb');
    return { sh, source: { kind: 'input' }, login };
  }
  try {
    const fd = yield* open(file);
    const text = decode(yield* readAll(fd));
    yield* close(fd);
    sh.name = file;
    sh.params = params;
    return { sh, source: { kind: 'text', text }, login };
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* complain(sh, `${file}: ${e.text}`);
    return e.errno === ENOENT ? 127 : 126;
  }
}

export function* main(argv: string[], envp: string[]): Sys<number> {
  const started = yield* start(argv, envp);
  if (typeof started === 'number') return started;
  const { sh, source, login } = started;
  const executor = new Executor(sh, builtin);
  if (sh.interactive) yield* takeTerminal(sh);
  if (login || sh.interactive) yield* profile(executor, '/etc/profile');
  if (source.kind === 'text') return yield* runInChild(executor, () => executor.source(source.text));
  if (sh.interactive) return yield* converse(executor);
  return yield* runInChild(executor, () => fromInput(executor));
}

function* profile(executor: Executor, path: string): Sys {
  const fd = yield* maybe(open(path));
  if (fd === undefined) return;
  const text = decode(yield* readAll(fd));
  yield* close(fd);
  yield* guarded(executor, executor.source(text));
}

/** Commands from a file or pipe on standard input, a line at a time: what is left is the commands' own input. */
function* fromInput(executor: Executor): Sys<number> {
  const { sh } = executor;
  let pending = '';
  for (;;) {
    const line = yield* readLine(0, true);
    if (line !== undefined) pending += `${line.text}\n`;
    else if (pending === '') return sh.status;
    try {
      const parser = new Parser(pending, sh.aliases);
      const lists = [...iterate(parser)];
      pending = '';
      for (const list of lists) yield* executor.list(list);
    } catch (e) {
      if (!(e instanceof Incomplete) || line === undefined) throw e;
    }
    if (line === undefined) return sh.status;
  }
}

function* iterate(parser: Parser): Generator<NonNullable<ReturnType<Parser['next']>>> {
  for (let list = parser.next(); list !== undefined; list = parser.next()) yield list;
}

/** Makes this shell the terminal's foreground group, waiting in the background until it may be. */
function* takeTerminal(sh: Shell): Sys {
  const terminal = yield* maybe(fcntl(0, F_DUPFD_CLOEXEC, 10));
  if (terminal === undefined || !(yield* isatty(terminal))) return;
  sh.terminal = terminal;
  for (;;) {
    const owner = yield* maybe(tcgetpgrp(terminal));
    if (owner === undefined) return;
    if (owner === (yield* getpgrp())) break;
    yield* kill(0, SIGTTIN);
  }
  for (const ignored of [SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU]) yield* signal(ignored, SIG_IGN);
  yield* catchInterrupt(sh);
  yield* maybe(setpgid(0, 0));
  sh.pgrp = yield* getpgrp();
  yield* maybe(tcsetpgrp(terminal, sh.pgrp));
  sh.monitor = true;
  sh.options.add('monitor');
}

/** The prompt with \u \h \w \$ and the rest that bash's PS1 knows and that mean something here. */
function* prompt(sh: Shell, variable: string, fallback: string): Sys<string> {
  const host = (yield* uname()).nodename;
  const home = sh.get('HOME');
  const pwd = sh.get('PWD') ?? '/';
  const short = home !== undefined && home !== '/' && (pwd === home || pwd.startsWith(`${home}/`)) ? `~${pwd.slice(home.length)}` : pwd;
  const values: Readonly<Record<string, string>> = {
    u: 'root', h: host, H: host, w: short, W: pwd === '/' ? '/' : (pwd.split('/').at(-1) ?? ''), $: '#', n: '\n', e: '\x1b', '[': '', ']': '', '\\': '\\', s: 'sh',
  };
  return (sh.get(variable) ?? fallback.replace('%pwd', pwd).replace('%host', host)).replace(/\\(.)/g, (whole, c: string) => values[c] ?? whole);
}

function* guarded(executor: Executor, body: Sys<unknown>): Sys {
  const { sh } = executor;
  try {
    yield* body;
  } catch (e) {
    if (e instanceof Leave && e.kind === 'exit') throw e;
    if (e instanceof Leave) return;
    if (e instanceof Errno && e.errno === EINTR && sh.interrupted) {
      yield* writeAll(2, '\n');
      sh.status = 130;
    } else if (e instanceof RangeError) {
      // Calls nested deeper than the host's stack.
      yield* complain(sh, 'too deeply nested');
      sh.status = 2;
    } else if (e instanceof ShellError || e instanceof SyntaxError_) {
      if (e.message === '') yield* writeAll(2, '\n');
      else yield* complain(sh, e.message);
      sh.status = e instanceof ShellError ? e.status : 2;
    } else if (e instanceof Errno) {
      yield* complain(sh, e.message);
      sh.status = 1;
    } else throw e;
    sh.conditional = 0;
    sh.loops = 0;
  }
}

/** The interactive loop: prompt, edit, run, until the end of input or `exit`. */
function* converse(executor: Executor): Sys<number> {
  const { sh } = executor;
  let warned = false;
  try {
    for (;;) {
      yield* tellChanges(sh);
      sh.interrupted = false;
      const lists = yield* readCommand(executor);
      if (lists === 'eof') {
        if (!warned && sh.jobs.some((job) => job.state === 'stopped')) {
          yield* writeAll(2, 'There are stopped jobs.\n');
          warned = true;
          continue;
        }
        throw new Leave('exit', sh.status);
      }
      warned = false;
      if (lists === undefined) continue;
      yield* guarded(executor, (function* all() {
        for (const list of lists) yield* executor.list(list);
      })());
    }
  } catch (e) {
    if (!(e instanceof Leave)) throw e;
    sh.status = e.count;
  }
  yield* guarded(executor, executor.exitTrap());
  for (const job of sh.jobs) if (job.state === 'stopped' && job.pgid > 0) {
    yield* maybe(kill(-job.pgid, SIGHUP));
    yield* maybe(kill(-job.pgid, SIGCONT));
  }
  return sh.status;
}

/** One complete command, over as many lines as it takes; undefined when it was broken off or wrong. */
function* readCommand(executor: Executor): Sys<ReturnType<Parser['whole']>[] | 'eof' | undefined> {
  const { sh } = executor;
  let text = '';
  for (;;) {
    const shown = text === '' ? yield* prompt(sh, 'PS1', '%host:%pwd# ') : yield* prompt(sh, 'PS2', '> ');
    const edited = yield* editLine(sh.terminal < 0 ? 0 : sh.terminal, shown, sh.history, (line) => complete(sh, line));
    if (edited.kind === 'interrupt') {
      sh.status = 130;
      return undefined;
    }
    if (edited.kind === 'eof') {
      if (text === '') return 'eof';
      yield* complain(sh, 'syntax error: unexpected end of file');
      sh.status = 2;
      return undefined;
    }
    text += `${edited.line}\n`;
    try {
      const lists = [...iterate(new Parser(text, sh.aliases))];
      remember(sh, text.trimEnd());
      return lists;
    } catch (e) {
      if (e instanceof Incomplete) continue;
      if (!(e instanceof SyntaxError_) && !(e instanceof RangeError)) throw e;
      remember(sh, text.trimEnd());
      yield* complain(sh, e instanceof SyntaxError_ ? e.message : 'too deeply nested');
      sh.status = 2;
      return undefined;
    }
  }
}

/** Keeps a command in the history, on one line where the grammar allows it. */
function remember(sh: Shell, text: string): void {
  const line = text.includes('<<') ? text : text.replace(/(\b(?:then|do|else|in)|[{(;&|]|^)[ \t]*\n\s*/g, '$1 ').replace(/\s*\n\s*/g, '; ');
  if (line.trim() === '' || line === sh.history.at(-1)) return;
  sh.history.push(line);
  if (sh.history.length > HISTORY) sh.history.shift();
}
