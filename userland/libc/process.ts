/**
 * Processes: fork(2), execve(2), wait4(2), identity and scheduling.
 *
 * fork takes the child's body: generators cannot be copied. The child sees a copy of memory, but a JavaScript variable
 * it closes over is the parent's own; values it needs are copied before the fork, and views are made anew.
 */
import type { ProgramMain, Sys } from '../../abi/process.ts';
import { array, u64 } from '../../abi/struct.ts';
import { PR_GET_NAME, PR_SET_NAME } from '../../abi/prctl.ts';
import { PRIO_PROCESS } from '../../abi/sched.ts';
import * as NR from '../../abi/syscalls.ts';
import { Errno, check } from './errno.ts';
import { eputs, fflush } from './stdio.ts';
import { Sequence, rethrow } from './sequence.ts';
import { Libc, libc, self } from './state.ts';
import { SCRATCH, arm, cString, call, getScratch, loadBytes, loadString, putScratch, storeBytes, storeString } from './syscall.ts';
import { free, malloc, view } from './malloc.ts';

export type Body = () => Sys<number | undefined | void>;

/** Ends the process: sends out standard output, then exit_group(2). */
export function* exit(status = 0): Sys<never> {
  yield* fflush();
  return yield* _exit(status);
}

/** exit_group(2) at once, without sending out what standard output holds. */
export function* _exit(status: number): Sys<never> {
  for (;;) {
    arm(NR.__NR_exit_group, status & 0xff);
    yield;
  }
}

/**
 * Runs a program or a child's body to its end and exits with what it returns. An error nobody caught is said in one
 * line and ends it with 1. After a bad memory access even that fails again, and the kernel's signal ends it.
 */
const runToExit = (body: Sys<number | undefined | void>, name: string): Sys<never> => new Sequence(body, (status) => exit(status ?? 0), (e) => failed(name, e));

function* failed(name: string, e: unknown): Sys<never> {
  const said = e instanceof Errno || e instanceof TypeError || e instanceof RangeError ? e.message : `uncaught ${e instanceof Error ? `${e.name}: ${e.message}` : String(e)}`;
  yield* fflush();
  yield* eputs(`${name}: ${said}`);
  return yield* exit(1);
}

/**
 * The entry point around a program's main, as crt1.o puts one around a C program's: fresh libc state, the
 * environment, and exit with the status that main returns.
 */
export const _start = (main: ProgramMain): ProgramMain => (argv, envp) =>
  runToExit(new Sequence(initialize(envp), () => main(argv, envp), rethrow), argv[0] ?? 'program');

function* initialize(envp: readonly string[]): Sys {
  const state = new Libc();
  self().libc = state;
  for (const entry of envp) {
    const equals = entry.indexOf('=');
    if (equals > 0) state.environ.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
}

/** Makes a child that runs `body` in a copy of this address space; gives its pid. */
export function* fork(body: Body): Sys<number> {
  yield* fflush();
  const t = self();
  arm(NR.__NR_fork);
  t.body = () => runToExit(body(), 'child');
  const pid = yield;
  t.body = undefined;
  return check('fork', pid);
}

/** Arrays of pointers to strings in user memory, as execve takes them. */
function* storeVectors(vectors: readonly (readonly string[])[]): Sys<number[]> {
  const strings = vectors.map((vector) => vector.map(cString));
  const bytes = strings.flat().reduce((sum, s) => sum + s.length, 0);
  const pointers = vectors.reduce((sum, v) => sum + v.length + 1, 0);
  const block = yield* malloc(pointers * 8 + bytes);
  const slots = view(array(u64, pointers), block);
  let slot = 0;
  let at = block + pointers * 8;
  return strings.map((vector) => {
    const start = block + slot * 8;
    for (const s of vector) {
      slots.set(slot++, BigInt(at));
      storeBytes(at, s);
      at += s.length;
    }
    slots.set(slot++, 0n);
    return start;
  });
}

const environment = (): string[] => [...libc().environ].map(([name, value]) => `${name}=${value}`);

/** Replaces this process image by the program at `path`. Returns only by throwing. */
export function* execve(path: string, argv: readonly string[], envp: readonly string[] = environment()): Sys<never> {
  yield* fflush();
  const [args = 0, env = 0] = yield* storeVectors([argv, envp]);
  const buffer = yield* getScratch();
  storeString(buffer, path);
  arm(NR.__NR_execve, buffer, args, env);
  const result = yield;
  putScratch(buffer);
  yield* free(args);
  throw new Errno('execve', -result);
}

/** execve along PATH, as execvp(3) does it: a name with a slash is a path. */
export function* execvp(file: string, argv: readonly string[], envp: readonly string[] = environment()): Sys<never> {
  if (file.includes('/')) return yield* execve(file, argv, envp);
  let seen = new Errno('execve', 2);
  for (const directory of (libc().environ.get('PATH') ?? '/bin').split(':')) {
    try {
      yield* execve(`${directory || '.'}/${file}`, argv, envp);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      if (e.errno !== 2 && e.errno !== 20) seen = e;
    }
  }
  throw seen;
}

/** Starts a program as a child: its pid. A program that cannot be found makes the child exit with 127. */
export function* spawn(path: string, argv: readonly string[]): Sys<number> {
  return yield* fork(function* child() {
    try {
      yield* execvp(path, argv);
    } catch (e) {
      if (!(e instanceof Errno)) throw e;
      yield* eputs(`${path}: ${e.text}`);
    }
    return 127;
  });
}

export interface Waited { readonly pid: number; readonly status: number }

/** wait4(2): the child that changed state and its status word; pid 0 with WNOHANG when none has. */
export function* wait4(pid: number, options = 0): Sys<Waited> {
  const buffer = yield* getScratch();
  arm(NR.__NR_wait4, pid, buffer, options, 0);
  const result = yield;
  const status = result > 0 ? (new DataView(loadBytes(buffer, 4).buffer)).getInt32(0, true) : 0;
  putScratch(buffer);
  return { pid: check('wait4', result), status };
}
export const waitpid = wait4;

export const getpid = (): Sys<number> => call('getpid', NR.__NR_getpid);
export const getppid = (): Sys<number> => call('getppid', NR.__NR_getppid);
export const gettid = (): Sys<number> => call('gettid', NR.__NR_gettid);
export const getuid = (): Sys<number> => call('getuid', NR.__NR_getuid);
export const kill = (pid: number, signal: number): Sys<number> => call('kill', NR.__NR_kill, pid, signal);
export const tgkill = (pid: number, tid: number, signal: number): Sys<number> => call('tgkill', NR.__NR_tgkill, pid, tid, signal);
export const setpgid = (pid: number, pgid: number): Sys<number> => call('setpgid', NR.__NR_setpgid, pid, pgid);
export const getpgid = (pid: number): Sys<number> => call('getpgid', NR.__NR_getpgid, pid);
export const getpgrp = (): Sys<number> => call('getpgrp', NR.__NR_getpgrp);
export const setsid = (): Sys<number> => call('setsid', NR.__NR_setsid);
export const getsid = (pid: number): Sys<number> => call('getsid', NR.__NR_getsid, pid);

// ---------------------------------------------------------------- scheduling

export const sched_yield = (): Sys<number> => call('sched_yield', NR.__NR_sched_yield);
export const setpriority = (which: number, who: number, nice: number): Sys<number> => call('setpriority', NR.__NR_setpriority, which, who, nice);

/** The nice value, -20 to 19. The kernel answers 20 - nice, so that no good answer is negative. */
export function* getpriority(which: number, who: number): Sys<number> {
  return 20 - (yield* call('getpriority', NR.__NR_getpriority, which, who));
}

/** Adds to this process's nice value; gives the new one. */
export function* nice(increment: number): Sys<number> {
  const value = Math.max(-20, Math.min(19, (yield* getpriority(PRIO_PROCESS, 0)) + increment));
  yield* setpriority(PRIO_PROCESS, 0, value);
  return value;
}

/** Lets `pid` (0: the caller) run only on the processors whose bits are set in `mask`. */
export function* sched_setaffinity(pid: number, mask: bigint): Sys<number> {
  const buffer = yield* getScratch();
  u64.store(self().space, buffer, mask);
  arm(NR.__NR_sched_setaffinity, pid, 8, buffer);
  const result = yield;
  putScratch(buffer);
  return check('sched_setaffinity', result);
}

export function* sched_getaffinity(pid: number): Sys<bigint> {
  const buffer = yield* getScratch();
  u64.store(self().space, buffer, 0n);
  arm(NR.__NR_sched_getaffinity, pid, 128, buffer);
  const result = yield;
  const mask = u64.load(self().space, buffer);
  putScratch(buffer);
  check('sched_getaffinity', result);
  return mask;
}

/** The processor this thread runs on. */
export function* sched_getcpu(): Sys<number> {
  const buffer = yield* getScratch();
  arm(NR.__NR_getcpu, buffer, 0, 0);
  const result = yield;
  const cpu = new DataView(loadBytes(buffer, 4).buffer).getUint32(0, true);
  putScratch(buffer);
  check('getcpu', result);
  return cpu;
}

/** Names the calling thread, as ps -L shows it (15 bytes at most). */
export function* setName(name: string): Sys {
  const buffer = yield* getScratch();
  storeBytes(buffer, cString(name).subarray(0, SCRATCH));
  arm(NR.__NR_prctl, PR_SET_NAME, buffer);
  const result = yield;
  putScratch(buffer);
  check('prctl', result);
}

export function* getName(): Sys<string> {
  const buffer = yield* getScratch();
  arm(NR.__NR_prctl, PR_GET_NAME, buffer);
  const result = yield;
  const name = loadString(buffer, 16);
  putScratch(buffer);
  check('prctl', result);
  return name;
}

export const prctl = (option: number, a = 0, b = 0, c = 0, d = 0): Sys<number> => call('prctl', NR.__NR_prctl, option, a, b, c, d);

// ---------------------------------------------------------------- environment

export const getenv = (name: string): string | undefined => libc().environ.get(name);
export const setenv = (name: string, value: string): void => { libc().environ.set(name, value); };
export const unsetenv = (name: string): void => { libc().environ.delete(name); };

/** Computes for `cycles`: charged at the next system call. */
export const burn = (cycles: number): void => { self().burnt += cycles; };

