/**
 * x87 arithmetic and comparison with their special cases: NaNs, infinities, zeros, denormals, empty registers.
 * SDM Vol. 1 ch. 8.5 and Vol. 2's tables of results.
 */
import {
  DE, type Float80, IE, INDEFINITE, type Rounded, type Rounding, ZE, addExact, compareValues, divideExact, infinity, isDenormal, isInfinite, isNaN80, isSignaling,
  isUnsupported, isZero, multiplyExact, negated, quieted, squareRoot, zero,
} from './float80.ts';
import { C0, C2, C3, type X87 } from './stack.ts';

const plain = (value: Float80, flags = 0): Rounded => ({ value, flags, up: false });
const invalid = plain(INDEFINITE, IE);

/** The NaN two operands give: the one with the larger significand, quiet. undefined when neither is one. */
export function propagate(a: Float80, b: Float80): Rounded | undefined {
  if (isUnsupported(a) || isUnsupported(b)) return invalid;
  const an = isNaN80(a), bn = isNaN80(b);
  if (!an && !bn) return undefined;
  const flags = isSignaling(a) || isSignaling(b) ? IE : 0;
  if (!an) return plain(quieted(b), flags);
  if (!bn) return plain(quieted(a), flags);
  const larger = a.mantissa === b.mantissa ? (a.sign <= b.sign ? a : b) : a.mantissa > b.mantissa ? a : b;
  return plain(quieted(larger), flags);
}

/** DE goes with any denormal operand of an operation that is carried out. */
const withDenormals = (a: Float80, b: Float80, r: Rounded): Rounded => (isDenormal(a) || isDenormal(b) ? { ...r, flags: r.flags | DE } : r);

export function add(a: Float80, b: Float80, rounding: Rounding): Rounded {
  const nan = propagate(a, b);
  if (nan) return nan;
  if (isInfinite(a) && isInfinite(b)) return a.sign === b.sign ? plain(a) : invalid;
  if (isInfinite(a)) return withDenormals(a, b, plain(a));
  if (isInfinite(b)) return withDenormals(a, b, plain(b));
  return withDenormals(a, b, addExact(a, b, rounding));
}

export const subtract = (a: Float80, b: Float80, rounding: Rounding): Rounded => propagate(a, b) ?? add(a, negated(b), rounding);

export function multiply(a: Float80, b: Float80, rounding: Rounding): Rounded {
  const nan = propagate(a, b);
  if (nan) return nan;
  const sign = a.sign ^ b.sign;
  if (isInfinite(a) || isInfinite(b)) return isZero(a) || isZero(b) ? invalid : withDenormals(a, b, plain(infinity(sign)));
  return withDenormals(a, b, multiplyExact(a, b, rounding));
}

export function divide(a: Float80, b: Float80, rounding: Rounding): Rounded {
  const nan = propagate(a, b);
  if (nan) return nan;
  const sign = a.sign ^ b.sign;
  if (isInfinite(a)) return isInfinite(b) ? invalid : withDenormals(a, b, plain(infinity(sign)));
  if (isInfinite(b)) return withDenormals(a, b, plain(zero(sign)));
  if (isZero(b)) return isZero(a) ? invalid : plain(infinity(sign), ZE);
  if (isZero(a)) return withDenormals(a, b, plain(zero(sign)));
  return withDenormals(a, b, divideExact(a, b, rounding));
}

export function root(a: Float80, rounding: Rounding): Rounded {
  const nan = propagate(a, a);
  if (nan) return nan;
  if (isZero(a)) return plain(a);
  if (a.sign) return invalid;
  return isInfinite(a) ? plain(a) : withDenormals(a, a, squareRoot(a, rounding));
}

/** C3, C2, C0 for a comparison, and its exceptions. An ordered one is invalid for any NaN, an unordered for signaling ones. */
export function compare(a: Float80, b: Float80, ordered: boolean): { bits: number; flags: number } {
  if (isUnsupported(a) || isUnsupported(b)) return { bits: C0 | C2 | C3, flags: IE };
  if (isNaN80(a) || isNaN80(b)) return { bits: C0 | C2 | C3, flags: ordered || isSignaling(a) || isSignaling(b) ? IE : 0 };
  const order = compareValues(a, b);
  return { bits: order < 0 ? C0 : order === 0 ? C3 : 0, flags: isDenormal(a) || isDenormal(b) ? DE : 0 };
}

export type Operation = (a: Float80, b: Float80, rounding: Rounding) => Rounded;
export const reversed = (f: Operation): Operation => (a, b, rounding) => f(b, a, rounding);
/** By the reg field of D8 and its like; 2 and 3 are comparisons. */
export const operations: readonly (Operation | undefined)[] = [add, multiply, undefined, undefined, subtract, reversed(subtract), divide, reversed(divide)];

/** ST(i) op= value, or what an empty register makes of it. `empty`: one of the operands is. */
export function apply(f: X87, i: number, empty: boolean, a: Float80, b: Float80, operation: Operation): boolean {
  f.setC1(false);
  if (empty) {
    if (f.stackFault(false)) return false;
    f.set(i, INDEFINITE);
    return true;
  }
  return f.store(i, operation(a, b, f.rounding));
}
