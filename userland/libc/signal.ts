/**
 * Signals: handlers, masks, waiting.
 *
 * A handler is a generator that runs between two steps of the thread it interrupts. Its code travels in the thread's
 * `body` register beside rt_sigaction, as a child's does beside fork; sa_handler holds a token in its place.
 */
import type { SignalHandler, Sys } from '../../abi/process.ts';
import { u64 } from '../../abi/struct.ts';
import * as NR from '../../abi/syscalls.ts';
import { SA_RESTART, type SIG_DFL, type SIG_IGN, sigaction as sigaction_struct } from '../../abi/signal.ts';
import { check } from './errno.ts';
import { self } from './state.ts';
import { arm, call, getScratch, putScratch } from './syscall.ts';
import { view } from './malloc.ts';

/** Stands in sa_handler for "a function of the program". */
const HANDLER_TOKEN = 0x1000;

export type Disposition = SignalHandler | typeof SIG_DFL | typeof SIG_IGN;

/** Sets what `signal` does; gives the former sa_handler (SIG_DFL, SIG_IGN, or a token for a function). */
export function* sigaction(signal: number, handler: Disposition, flags = 0, mask = 0n): Sys<bigint> {
  const buffer = yield* getScratch();
  const act = view(sigaction_struct, buffer);
  act.sa_handler = typeof handler === 'function' ? BigInt(HANDLER_TOKEN + signal) : BigInt(handler);
  act.sa_flags = BigInt(flags);
  act.sa_restorer = 0n;
  act.sa_mask = mask;
  const old = buffer + sigaction_struct.size;
  const t = self();
  arm(NR.__NR_rt_sigaction, signal, buffer, old, 8);
  t.body = typeof handler === 'function' ? () => handler(signal) : undefined;
  const result = yield;
  t.body = undefined;
  const former = result < 0 ? 0n : view(sigaction_struct, old).sa_handler;
  putScratch(buffer);
  check('rt_sigaction', result);
  return former;
}

/** signal(2) with BSD's meaning, as glibc gives it: the handler stays, interrupted calls start again. */
export const signal = (number: number, handler: Disposition): Sys<bigint> => sigaction(number, handler, SA_RESTART);

/** Bits of a signal set: signal n is bit n - 1. */
export const sigset = (...signals: number[]): bigint => signals.reduce((set, n) => set | (1n << BigInt(n - 1)), 0n);

/** Changes the thread's mask; gives the former one. */
export function* sigprocmask(how: number, set: bigint): Sys<bigint> {
  const buffer = yield* getScratch();
  u64.store(self().space, buffer, set);
  arm(NR.__NR_rt_sigprocmask, how, buffer, buffer + 8, 8);
  const result = yield;
  const former = u64.load(self().space, buffer + 8);
  putScratch(buffer);
  check('rt_sigprocmask', result);
  return former;
}

/** Waits for a signal with `mask` in force meanwhile. */
export function* sigsuspend(mask: bigint): Sys {
  const buffer = yield* getScratch();
  u64.store(self().space, buffer, mask);
  arm(NR.__NR_rt_sigsuspend, buffer, 8);
  yield;
  putScratch(buffer);
}

/** Sleeps until a signal has been handled. */
export function* pause(): Sys {
  arm(NR.__NR_pause);
  yield;
}

/** Seconds until SIGALRM; gives what an earlier alarm had left. */
export const alarm = (seconds: number): Sys<number> => call('alarm', NR.__NR_alarm, seconds);
