/**
 * What most programs do around their work: messages about a file that failed, going on with the next one.
 */
import type { Sys } from '../../abi/process.ts';
import { Errno, eputs } from '../libc.ts';

/** Runs `body`; a failed system call prints "prefix: text" and gives false. */
export function* attempt(prefix: string, body: Sys<unknown>): Sys<boolean> {
  try {
    yield* body;
    return true;
  } catch (e) {
    if (!(e instanceof Errno)) throw e;
    yield* eputs(`${prefix}: ${e.text}`);
    return false;
  }
}

/** The value `body` gives, or undefined when a system call in it fails. */
export function* maybe<T>(body: Sys<T>): Sys<T | undefined> {
  try {
    return yield* body;
  } catch (e) {
    if (e instanceof Errno) return undefined;
    throw e;
  }
}
