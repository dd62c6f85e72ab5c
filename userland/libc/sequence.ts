/**
 * What crt1.o and a thread's start routine are around a body: they run it and then go on. Not as generators, for each one
 * between the kernel and the code that makes a system call is resumed at every call.
 */
import type { Sys } from '../../abi/process.ts';

/** For a part whose errors are the whole's. */
export const rethrow = (error: unknown): never => { throw error; };

/** `first`, and after it what `follow` gives for its value or `failed` for what it threw. */
export class Sequence<T, R> implements Sys<R> {
  private current: Sys<T | R>;
  private follow: ((value: T) => Sys<R>) | undefined;
  private readonly failed: (error: unknown) => Sys<R>;

  constructor(first: Sys<T>, follow: (value: T) => Sys<R>, failed: (error: unknown) => Sys<R>) {
    this.current = first;
    this.follow = follow;
    this.failed = failed;
  }

  next(result: number): IteratorResult<undefined, R> {
    const { follow } = this;
    if (follow === undefined) return this.current.next(result) as IteratorResult<undefined, R>;
    let rest: Sys<R>;
    try {
      const step = this.current.next(result);
      if (step.done !== true) return step;
      rest = follow(step.value as T);
    } catch (error) {
      rest = this.failed(error);
    }
    this.follow = undefined;
    this.current = rest;
    return rest.next(0);
  }

  return(): never { throw new TypeError('a program is not returned into'); }
  throw(error: unknown): never { throw error; }
  [Symbol.iterator](): this { return this; }
}
