/**
 * strace: runs a program and prints its system calls, from ptrace(2) and the table the kernel's own dispatch uses.
 * Options: -f follow children and threads, -c count, -e trace=LIST (or -e LIST), -o FILE, -p PID attach, -s SIZE, -v in full,
 * -T time in calls, -tt time of day, -q quiet, -n numbers.
 */
import type { Sys } from '../abi/process.ts';
import { EINTR } from '../abi/errno.ts';
import { O_CLOEXEC, O_CREAT, O_TRUNC, O_WRONLY } from '../abi/fcntl.ts';
import * as P from '../abi/ptrace.ts';
import { SIGCHLD, SIGINT, SIGSEGV, SIGSTOP, SIGTRAP, signalName } from '../abi/signal.ts';
import { type Signature, syscallSignature } from '../abi/syscall-signatures.ts';
import { __NR_execve, __NR_fcntl, __NR_open, __NR_openat, syscallName } from '../abi/syscalls.ts';
import { CLOCK_MONOTONIC, CLOCK_REALTIME } from '../abi/time.ts';
import { WCOREDUMP, WEXITSTATUS, WIFEXITED, WIFSIGNALED, WIFSTOPPED, WSTOPSIG, WTERMSIG } from '../abi/wait.ts';
import { Errno, clock_gettime, errnoName, execve, fork, getenv, getpid, kill, open, eputs, signal, sprintf, stat, strerror, wait4, writeAll } from './libc.ts';
import { strftime } from './lib/clock.ts';
import { maybe } from './lib/main.ts';
import { getopt, usageError, type Parsed } from './lib/options.ts';
import { type Call, argumentText, isOutput } from './strace/arguments.ts';
import { parseTrace } from './strace/filter.ts';
import { ERESTARTNAMES } from './strace/restart.ts';
import { Summary } from './strace/summary.ts';
import { eventMessage, ptrace, signalInfo, syscallInfo } from './strace/tracee.ts';
import { hex } from './strace/values.ts';

const __WALL = 0x40000000;
/** Column in which the equals sign stands when the call is short enough. */
const COLUMN = 40;

interface Tracee {
  readonly pid: number;
  /** The call it is in; undefined between calls. */
  call: { nr: number; args: readonly bigint[]; shown: boolean; started: bigint; printed: number } | undefined;
  /** Has not come to its own program yet: what it does is strace's doing. */
  starting: boolean;
  /** The stop it begins with, which is nobody's signal. */
  fresh: boolean;
}

class Tracer {
  readonly tracees = new Map<number, Tracee>();
  readonly summary = new Summary();
  private readonly parsed: Parsed;
  private readonly output: number;
  private readonly wanted: (name: string) => boolean;
  private readonly limit: number;
  /** The tracee whose line is being written, and how long it is by now. */
  private open: { pid: number; length: number } | undefined;

  constructor(parsed: Parsed, output: number, wanted: (name: string) => boolean) {
    this.parsed = parsed;
    this.output = output;
    this.wanted = wanted;
    this.limit = Number(parsed.value('s') ?? 32);
  }

  private get counting(): boolean {
    return this.parsed.has('c');
  }

  private *breakOff(): Sys {
    if (!this.open) return;
    yield* writeAll(this.output, ' <unfinished ...>\n');
    this.open = undefined;
  }

  /** Begins a line for `pid`, breaking off another's that is not finished. */
  private *begin(pid: number): Sys {
    yield* this.breakOff();
    const toFile = this.parsed.value('o') !== undefined;
    let prefix = '';
    if (this.parsed.has('f')) prefix = toFile ? `${pid} `.padEnd(6) : this.tracees.size > 1 ? `[pid ${String(pid).padStart(5)}] ` : '';
    if (this.parsed.has('t')) {
      const now = yield* clock_gettime(CLOCK_REALTIME);
      prefix += `${strftime('%H:%M:%S', Number(now / 1_000_000_000n))}.${String((now % 1_000_000_000n) / 1000n).padStart(6, '0')} `;
    }
    yield* writeAll(this.output, prefix);
  }

  *note(pid: number, text: string): Sys {
    if (this.counting) return;
    yield* this.begin(pid);
    yield* writeAll(this.output, `${text}\n`);
  }

  *attached(pid: number): Sys {
    if (this.counting || this.output !== 2) return;
    yield* this.breakOff();
    yield* writeAll(this.output, `strace: Process ${pid} attached\n`);
  }

  /** Arguments of a call that are printed at all: the mode only with O_CREAT, fcntl's third where it means something. */
  private count(signature: Signature, args: readonly bigint[]): number {
    const flags = signature.nr === __NR_open ? args[1] : signature.nr === __NR_openat ? args[2] : undefined;
    if (flags !== undefined && (Number(flags) & O_CREAT) === 0) return signature.args.length - 1;
    if (signature.nr === __NR_fcntl && [1, 3].includes(Number(args[1]))) return 2;
    return signature.args.length;
  }

  private *argumentsFrom(call: Call, from: number, stopAtOutput: boolean): Sys<{ text: string; next: number }> {
    const signature = syscallSignature(call.nr);
    if (!signature) return { text: call.args.map(hex).join(', '), next: 6 };
    const count = this.count(signature, call.args);
    let text = '';
    for (let i = from; i < count; i++) {
      const kind = signature.args[i];
      if (!kind || (stopAtOutput && isOutput(kind, call))) return { text, next: i };
      text += `${i > 0 ? ', ' : ''}${yield* argumentText(kind, i, call)}`;
    }
    return { text, next: count };
  }

  *entry(tracee: Tracee, nr: number, args: readonly bigint[]): Sys {
    const name = syscallName(nr);
    if (tracee.starting) {
      if (nr !== __NR_execve) return;
      tracee.starting = false;
    }
    const shown = this.wanted(name);
    tracee.call = { nr, args, shown, started: yield* clock_gettime(CLOCK_MONOTONIC), printed: 0 };
    if (!shown || this.counting) return;
    yield* this.begin(tracee.pid);
    const { text, next } = yield* this.argumentsFrom({ pid: tracee.pid, nr, args, result: undefined, limit: this.limit, verbose: this.parsed.has('v') }, 0, true);
    const line = `${name}(${text}`;
    yield* writeAll(this.output, line);
    tracee.call.printed = next;
    this.open = { pid: tracee.pid, length: line.length };
  }

  *exit(tracee: Tracee, value: bigint, error: boolean): Sys {
    const { call } = tracee;
    tracee.call = undefined;
    if (!call?.shown) return;
    const name = syscallName(call.nr);
    const ended = yield* clock_gettime(CLOCK_MONOTONIC);
    this.summary.add(name, ended - call.started, error);
    if (this.counting) return;
    let length = this.open?.pid === tracee.pid ? this.open.length : 0;
    let line = '';
    const from = call.printed;
    if (this.open?.pid !== tracee.pid) {
      yield* this.begin(tracee.pid);
      line = `<... ${name} resumed>`;
      length = 0;
    }
    this.open = undefined;
    const { text } = yield* this.argumentsFrom({ pid: tracee.pid, nr: call.nr, args: call.args, result: value, limit: this.limit, verbose: this.parsed.has('v') }, from, false);
    line += `${text})`;
    length += line.length;
    const padding = length < COLUMN ? ' '.repeat(COLUMN - length) : ' ';
    const spent = this.parsed.has('T') ? sprintf(' <%.6f>', Number(ended - call.started) / 1e9) : '';
    yield* writeAll(this.output, `${line}${padding}= ${this.result(call.nr, value, error)}${spent}\n`);
  }

  private result(nr: number, value: bigint, error: boolean): string {
    if (!error) return syscallSignature(nr)?.returns === 'ptr' ? hex(value) : value.toString();
    const errno = Number(-value);
    const restart = ERESTARTNAMES[errno];
    return restart !== undefined ? `? ${restart}` : `-1 ${errnoName(errno)} (${strerror(errno)})`;
  }

  /** A call that never returns, of a tracee that ended in it. */
  *ended(tracee: Tracee, word: number): Sys {
    if (tracee.call?.shown && !this.counting) {
      if (this.open?.pid !== tracee.pid) yield* this.begin(tracee.pid);
      const length = this.open?.pid === tracee.pid ? this.open.length : 0;
      const line = length > 0 ? ')' : `<... ${syscallName(tracee.call.nr)} resumed>)`;
      this.open = undefined;
      yield* writeAll(this.output, `${line}${length + line.length < COLUMN ? ' '.repeat(COLUMN - length - line.length) : ' '}= ?\n`);
    }
    if (tracee.call?.shown) this.summary.add(syscallName(tracee.call.nr), 0n, false);
    if (!this.parsed.has('q')) {
      yield* this.note(tracee.pid, WIFSIGNALED(word) ? `+++ killed by ${signalName(WTERMSIG(word))}${WCOREDUMP(word) ? ' (core dumped)' : ''} +++` : `+++ exited with ${WEXITSTATUS(word)} +++`);
    }
    this.tracees.delete(tracee.pid);
  }

  *signalled(tracee: Tracee, number: number): Sys {
    const info = yield* maybe(signalInfo(tracee.pid));
    const parts = [`si_signo=${signalName(number)}`];
    if (info) {
      const codes = number === SIGCHLD ? ['', 'CLD_EXITED', 'CLD_KILLED', 'CLD_DUMPED', 'CLD_TRAPPED', 'CLD_STOPPED', 'CLD_CONTINUED'] : number === SIGSEGV ? ['', 'SEGV_MAPERR', 'SEGV_ACCERR'] : [];
      const code = info.si_code === 0 ? 'SI_USER' : info.si_code === 128 ? 'SI_KERNEL' : info.si_code === -6 ? 'SI_TKILL' : (codes[info.si_code] ?? String(info.si_code));
      parts.push(`si_code=${code}`);
      if (number === SIGSEGV) parts.push(`si_addr=${hex(info.si_addr)}`);
      else if (info.si_code !== 128) parts.push(`si_pid=${info.si_pid}`, `si_uid=${info.si_uid}`);
      if (number === SIGCHLD) parts.push(`si_status=${info.si_code === 1 ? info.si_status : signalName(info.si_status)}`);
    }
    yield* this.note(tracee.pid, `--- ${signalName(number)} {${parts.join(', ')}} ---`);
  }
}

/** The program's file: by path, or along PATH. */
function* find(name: string): Sys<string | undefined> {
  const paths = name.includes('/') ? [name] : (getenv('PATH') ?? '/bin').split(':').map((d) => `${d}/${name}`);
  for (const path of paths) if ((yield* maybe(stat(path))) !== undefined) return path;
  return undefined;
}

export function* main(argv: string[]): Sys<number> {
  const parsed = getopt(argv.slice(1), 'fcCqvTtrne:o:p:s:a:E:', { 'follow-forks': 0 }, true);
  if (parsed.error !== undefined) return yield* usageError('strace', parsed.error);
  const [name, ...rest] = parsed.operands;
  const attach = parsed.value('p');
  if (name === undefined && attach === undefined) {
    yield* eputs("strace: must have PROG [ARGS] or -p PID\nTry 'strace -h' for more information.");
    return 1;
  }
  const lists = parsed.options.filter((o) => o.name === 'e').map(({ value }) => value.replace(/^(trace|t)=/, ''));
  const tests = lists.filter((l) => !/^(signal|status|abbrev|verbose|raw|read|write)=/.test(l)).map(parseTrace);
  const bad = tests.find((t) => typeof t === 'string');
  if (typeof bad === 'string') {
    yield* eputs(`strace: invalid system call '${bad}'`);
    return 1;
  }
  const wanted = (call: string): boolean => tests.every((t) => typeof t === 'string' || t(call));
  const file = parsed.value('o');
  const output = file === undefined ? 2 : yield* open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
  const tracer = new Tracer(parsed, output, wanted);
  const options = P.PTRACE_O_TRACESYSGOOD | P.PTRACE_O_TRACEEXEC | (parsed.has('f', 'follow-forks') ? P.PTRACE_O_TRACEFORK | P.PTRACE_O_TRACEVFORK | P.PTRACE_O_TRACECLONE : 0);
  const first = attach !== undefined ? yield* attachTo(Number(attach), tracer) : yield* start(name ?? '', [name ?? '', ...rest], tracer);
  if (first === undefined) return 1;
  const status = yield* follow(tracer, first, options | (attach === undefined ? P.PTRACE_O_EXITKILL : 0));
  if (parsed.has('c', 'C')) yield* writeAll(output, tracer.summary.table());
  // A program that a signal killed is followed: its parent sees strace die of the same.
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

function* start(name: string, argv: readonly string[], tracer: Tracer): Sys<number | undefined> {
  const path = yield* find(name);
  if (path === undefined) {
    yield* eputs(name.includes('/') ? `strace: Can't stat '${name}': No such file or directory` : `strace: Can't find executable '${name}'`);
    return undefined;
  }
  const pid = yield* fork(function* traced(): Sys<number> {
    yield* ptrace(P.PTRACE_TRACEME, 0);
    yield* kill(yield* getpid(), SIGSTOP);
    try {
      yield* execve(path, argv);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`strace: exec: ${e.text}`);
    }
    return 1;
  });
  tracer.tracees.set(pid, { pid, call: undefined, starting: true, fresh: true });
  return pid;
}

function* attachTo(pid: number, tracer: Tracer): Sys<number | undefined> {
  try {
    yield* ptrace(P.PTRACE_ATTACH, pid);
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`strace: attach: ptrace(PTRACE_ATTACH, ${pid}): ${e.text}`);
    return undefined;
  }
  yield* eputs(`strace: Process ${pid} attached`);
  tracer.tracees.set(pid, { pid, call: undefined, starting: false, fresh: true });
  return pid;
}

/** Lets all tracees run from stop to stop until none is left; gives how the first one ended. */
function* follow(tracer: Tracer, first: number, options: number): Sys<number> {
  let result = 0;
  let interrupted = false;
  yield* signal(SIGINT, function* onInterrupt() {
    interrupted = true;
  });
  while (tracer.tracees.size > 0 && !interrupted) {
    let waited: { pid: number; status: number };
    try {
      waited = yield* wait4(-1, __WALL);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (e.errno === EINTR) continue;
      break;
    }
    const { pid, status } = waited;
    const tracee: Tracee = tracer.tracees.get(pid) ?? { pid, call: undefined, starting: false, fresh: true };
    tracer.tracees.set(pid, tracee);
    if (!WIFSTOPPED(status)) {
      if (pid === first) result = status;
      yield* tracer.ended(tracee, status);
      continue;
    }
    yield* maybe(ptrace(P.PTRACE_SYSCALL, pid, 0, yield* stopped(tracer, tracee, status, options)));
  }
  for (const pid of tracer.tracees.keys()) yield* maybe(ptrace(P.PTRACE_DETACH, pid));
  return result;
}

/** Deals with one stop; gives the signal to go on with. */
function* stopped(tracer: Tracer, tracee: Tracee, status: number, options: number): Sys<number> {
  const number = WSTOPSIG(status);
  const event = status >> 16;
  if (tracee.fresh && (number === SIGSTOP || number === SIGTRAP)) {
    tracee.fresh = false;
    yield* maybe(ptrace(P.PTRACE_SETOPTIONS, tracee.pid, 0, options));
    return 0;
  }
  if (number === (SIGTRAP | 0x80)) {
    const info = yield* syscallInfo(tracee.pid);
    if (info.op === 'entry') yield* tracer.entry(tracee, info.nr, info.args);
    else if (info.op === 'exit') yield* tracer.exit(tracee, info.value, info.error);
    return 0;
  }
  if (event !== 0) {
    if (event === P.PTRACE_EVENT_EXEC) return 0;
    const child = yield* eventMessage(tracee.pid);
    if (!tracer.tracees.has(child)) tracer.tracees.set(child, { pid: child, call: undefined, starting: false, fresh: true });
    yield* tracer.attached(child);
    return 0;
  }
  yield* tracer.signalled(tracee, number);
  return number;
}
