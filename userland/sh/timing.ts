/**
 * The reserved word `time`: how long a pipeline took, and how much of that on a processor.
 */
import type { Sys } from '../../abi/process.ts';
import { RUSAGE_CHILDREN, RUSAGE_SELF } from '../../abi/resource.ts';
import { CLOCK_MONOTONIC } from '../../abi/time.ts';
import { clock_gettime, getrusage, sprintf, writeAll } from '../libc.ts';

export interface Times { real: bigint; user: bigint; system: bigint }
export function* times(): Sys<Times> {
  const self = yield* getrusage(RUSAGE_SELF);
  const children = yield* getrusage(RUSAGE_CHILDREN);
  return { real: yield* clock_gettime(CLOCK_MONOTONIC), user: self.user + children.user, system: self.system + children.system };
}
export function* report(start: Times): Sys {
  const end = yield* times();
  const shown = (ns: bigint) => sprintf('%dm%.3fs', ns / 60_000_000_000n, Number(ns % 60_000_000_000n) / 1e9);
  yield* writeAll(2, `\nreal\t${shown(end.real - start.real)}\nuser\t${shown(end.user - start.user)}\nsys\t${shown(end.system - start.system)}\n`);
}
