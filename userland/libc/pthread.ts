/**
 * Threads: clone(2) with a shared address space, joined through the futex that the kernel clears at the thread's end.
 */
import type { Sys } from '../../abi/process.ts';
import { u32 } from '../../abi/struct.ts';
import {
  CLONE_CHILD_CLEARTID, CLONE_FILES, CLONE_FS, CLONE_PARENT_SETTID, CLONE_SIGHAND, CLONE_SYSVSEM, CLONE_THREAD, CLONE_VM, FUTEX_WAIT, FUTEX_WAKE,
} from '../../abi/sched.ts';
import * as NR from '../../abi/syscalls.ts';
import { EAGAIN, EINTR } from '../../abi/errno.ts';
import { Errno, check } from './errno.ts';
import { eputs } from './stdio.ts';
import { free, malloc } from './malloc.ts';
import { type Body, setName } from './process.ts';
import { Sequence, rethrow } from './sequence.ts';
import { self } from './state.ts';
import { arm } from './syscall.ts';

const THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

export interface pthread_t {
  readonly tid: number;
  /** Address of the word that holds the tid until the thread has ended. */
  readonly word: number;
  /** What the body returned. */
  result: number | undefined | void;
}

/** Sleeps while the word at `address` holds `expected`. A signal or a word that changed first is no error. */
export function* futex_wait(address: number, expected: number): Sys {
  arm(NR.__NR_futex, address, FUTEX_WAIT, expected, 0);
  const result = yield;
  if (result < 0 && result !== -EAGAIN && result !== -EINTR) throw new Errno('futex', -result);
}

/** Wakes up to `count` threads that sleep on the word; gives how many. */
export function* futex_wake(address: number, count: number): Sys<number> {
  arm(NR.__NR_futex, address, FUTEX_WAKE, count);
  return check('futex', yield);
}

type Thread = { result: number | undefined | void };

const threadMain = (body: Body, name: string | undefined, thread: Thread): Sys<never> => new Sequence(
  name === undefined ? body() : new Sequence(setName(name), body, rethrow),
  (result) => ended(thread, result), (e) => failed(thread, name, e));

function* failed(thread: Thread, name: string | undefined, e: unknown): Sys<never> {
  if (!(e instanceof Errno) && !(e instanceof TypeError) && !(e instanceof RangeError)) throw e;
  yield* eputs(`${name ?? 'thread'}: ${e.message}`);
  return yield* ended(thread, 1);
}

function* ended(thread: Thread, result: Thread['result']): Sys<never> {
  thread.result = result;
  for (;;) {
    arm(NR.__NR_exit, 0);
    yield;
  }
}

/** Starts a thread that runs `body`; `name` is what ps -L shows. */
export function* pthread_create(body: Body, name?: string): Sys<pthread_t> {
  const word = yield* malloc(4);
  const thread = { tid: 0, word, result: undefined };
  const t = self();
  arm(NR.__NR_clone, THREAD, 0, word, word, 0);
  t.body = () => threadMain(body, name, thread);
  const tid = yield;
  t.body = undefined;
  thread.tid = check('clone', tid);
  return thread;
}

/** Waits until the thread has ended; gives what its body returned. */
export function* pthread_join(thread: pthread_t): Sys<number | undefined | void> {
  for (;;) {
    const left = u32.load(self().space, thread.word);
    if (left === 0) break;
    yield* futex_wait(thread.word, left);
  }
  yield* free(thread.word);
  return thread.result;
}
