/**
 * Arithmetic of single and double precision as MXCSR governs it: four rounding directions, denormals as zeros, flushing to zero,
 * six exceptions. SDM Vol. 1 ch. 4.8, 10.2.3 and 11.5. Emitted code comes here for what WebAssembly's own arithmetic
 * cannot say: operands and results that are not ordinary numbers, other rounding, and whether the first rounding was exact.
 *
 * Values are bit patterns. What a lane raises is gathered in `raised`; finish() says what becomes of it.
 */
import {
  DE, FLOAT32, FLOAT64, type Float80, IE, OE, PE, UE, ZE, bitLength, fromFormat, isInfinite, isZero, negated, overflowsToInfinity, roundTo, scaleOf, toInteger,
} from './x87/float80.ts';
import { type CpuState, STATE } from './state.ts';

export const MXCSR_DAZ = 0x40, MXCSR_MASKS = 0x1f80, MXCSR_OM = 0x400, MXCSR_UM = 0x800, MXCSR_RC_SHIFT = 13, MXCSR_FTZ = 0x8000;

export interface Precision {
  readonly format: typeof FLOAT32;
  readonly size: 4 | 8;
  readonly sign: bigint;
  readonly infinity: bigint;
  readonly quiet: bigint;
  readonly minNormal: bigint;
  /** The default NaN. */
  readonly indefinite: bigint;
}
const precision = (size: 4 | 8, format: typeof FLOAT32): Precision => {
  const sign = 1n << BigInt(8 * size - 1), minNormal = 1n << BigInt(format.fraction);
  const infinity = sign - minNormal;
  return { format, size, sign, infinity, quiet: minNormal >> 1n, minNormal, indefinite: sign | infinity | minNormal >> 1n };
};
export const SINGLE = precision(4, FLOAT32), DOUBLE = precision(8, FLOAT64);

let raised = 0;
let mxcsr = 0;
/** Takes MXCSR; forgets what was raised. */
export function begin(cpu: CpuState): number {
  raised = 0;
  return mxcsr = cpu.u32[STATE['fpu.mxcsr']! >>> 2]!;
}
/**
 * Sets MXCSR's flags. False: an unmasked exception is to be raised. One that is seen in the operands keeps the computation from taking
 * place, so that those of results are not noted.
 */
export function finish(cpu: CpuState): boolean {
  const unmasked = raised & ~(mxcsr >> 7);
  cpu.u32[STATE['fpu.mxcsr']! >>> 2] = mxcsr | (unmasked & (IE | DE | ZE) ? raised & (IE | DE | ZE) : raised);
  return unmasked === 0;
}
export const raise = (flags: number): void => { raised |= flags; };
export const direction = (): number => mxcsr >> MXCSR_RC_SHIFT & 3;

const magnitude = (a: bigint, p: Precision): bigint => a & ~p.sign;
export const isNan = (a: bigint, p: Precision): boolean => magnitude(a, p) > p.infinity;
export const isSignaling = (a: bigint, p: Precision): boolean => isNan(a, p) && (a & p.quiet) === 0n;
const isDenormal = (a: bigint, p: Precision): boolean => { const m = magnitude(a, p); return m !== 0n && m < p.minNormal; };

/** The operand as it counts: a denormal is a zero, or notes itself. */
export function operand(a: bigint, p: Precision): bigint {
  if (!isDenormal(a, p)) return a;
  if (mxcsr & MXCSR_DAZ) return a & p.sign;
  raised |= DE;
  return a;
}
/** The same where denormals are no exception. */
export const flushed = (a: bigint, p: Precision): bigint => (mxcsr & MXCSR_DAZ && isDenormal(a, p) ? a & p.sign : a);

/** The NaN that two operands give; undefined if none of them is one. */
export function nanOf(a: bigint, b: bigint, p: Precision): bigint | undefined {
  const an = isNan(a, p);
  if (!an && !isNan(b, p)) return undefined;
  if (isSignaling(a, p) || isSignaling(b, p)) raised |= IE;
  return (an ? a : b) | p.quiet;
}
function invalid(p: Precision): bigint {
  raised |= IE;
  return p.indefinite;
}

/** sign × mantissa × 2^scale, and a little more if sticky, as a bit pattern. */
export function pack(sign: number, mantissa: bigint, scale: number, sticky: boolean, p: Precision): bigint {
  const signBit = sign ? p.sign : 0n;
  if (mantissa === 0n && !sticky) return signBit;
  const { fraction, bias, maxBiased } = p.format;
  const r = roundTo(sign, mantissa, scale, sticky, fraction + 1, direction(), 1 - bias, maxBiased - 1 - bias);
  // What an unmasked handler would be given has the exponent it needs: inexact is what the significand alone cannot hold.
  const unbounded = (): number => (sticky || BigInt.asUintN(Math.max(bitLength(mantissa) - fraction - 1, 0), mantissa) !== 0n ? PE : 0);
  if (r.overflow) {
    raised |= mxcsr & MXCSR_OM ? r.flags : OE | unbounded();
    return signBit | (overflowsToInfinity(sign, direction()) ? p.infinity : p.infinity - 1n);
  }
  if (r.tiny && !(mxcsr & MXCSR_UM)) {
    raised |= UE | unbounded();
    return signBit;
  }
  if (r.tiny && mxcsr & MXCSR_FTZ) {
    raised |= UE | PE;
    return signBit;
  }
  raised |= r.flags;
  // The lowest bit of the mantissa is worth 2^r.scale; of a denormal it is that of the smallest number.
  let m = r.mantissa, s = r.scale;
  while (m !== 0n && m < p.minNormal && s > 1 - bias - fraction) { m <<= 1n; s--; }
  while (m >= p.minNormal << 1n) { m >>= 1n; s++; }
  return signBit | (m < p.minNormal ? m : BigInt(s + bias + fraction - 1) * p.minNormal + m);
}

const exact = (a: bigint, p: Precision): Float80 => fromFormat(a, p.format);

/** An operation of two numbers that are no NaNs. */
type Two = (a: Float80, b: Float80, p: Precision) => bigint;
const signed = (sign: number, magnitudeBits: bigint, p: Precision): bigint => (sign ? p.sign | magnitudeBits : magnitudeBits);

const sum: Two = (a, b, p) => {
  if (isInfinite(a)) return isInfinite(b) && a.sign !== b.sign ? invalid(p) : signed(a.sign, p.infinity, p);
  if (isInfinite(b)) return signed(b.sign, p.infinity, p);
  if (isZero(a) && isZero(b)) return signed(a.sign === b.sign ? a.sign : direction() === 1 ? 1 : 0, 0n, p);
  const scale = isZero(a) ? scaleOf(b) : isZero(b) ? scaleOf(a) : Math.min(scaleOf(a), scaleOf(b));
  const term = (x: Float80) => {
    const m = isZero(x) ? 0n : x.mantissa << BigInt(scaleOf(x) - scale);
    return x.sign ? -m : m;
  };
  const total = term(a) + term(b);
  if (total === 0n) return direction() === 1 ? p.sign : 0n;
  return total < 0n ? pack(1, -total, scale, false, p) : pack(0, total, scale, false, p);
};
const product: Two = (a, b, p) => {
  const sign = a.sign ^ b.sign;
  if (isInfinite(a) || isInfinite(b)) return isZero(a) || isZero(b) ? invalid(p) : signed(sign, p.infinity, p);
  return pack(sign, a.mantissa * b.mantissa, scaleOf(a) + scaleOf(b), false, p);
};
const quotient: Two = (a, b, p) => {
  const sign = a.sign ^ b.sign;
  if (isInfinite(a)) return isInfinite(b) ? invalid(p) : signed(sign, p.infinity, p);
  if (isInfinite(b)) return signed(sign, 0n, p);
  if (isZero(b)) {
    if (isZero(a)) return invalid(p);
    raised |= ZE;
    return signed(sign, p.infinity, p);
  }
  if (isZero(a)) return signed(sign, 0n, p);
  const numerator = a.mantissa << 130n;
  const q = numerator / b.mantissa;
  return pack(sign, q, scaleOf(a) - scaleOf(b) - 130, q * b.mantissa !== numerator, p);
};

export type LaneOperation = (a: bigint, b: bigint, p: Precision) => bigint;
/** The order of events: NaNs, then what is invalid or divides by zero, then denormals. */
const arithmetic = (f: Two): LaneOperation => (a, b, p) => {
  const nan = nanOf(a, b, p);
  if (nan !== undefined) return nan;
  const before = raised;
  raised = 0;
  const x = operand(a, p), y = operand(b, p);
  const r = f(exact(x, p), exact(y, p), p);
  if (raised & (IE | ZE)) raised &= ~DE;
  raised |= before;
  return r;
};
export const add = arithmetic(sum);
export const subtract = arithmetic((a, b, p) => sum(a, negated(b), p));
export const multiply = arithmetic(product);
export const divide = arithmetic(quotient);

/** Of b; a is not looked at. */
export const squareRoot: LaneOperation = (_a, b, p) => {
  if (isNan(b, p)) return nanOf(b, b, p)!;
  const x = flushed(b, p);
  if (magnitude(x, p) === 0n) return x;
  if (x & p.sign) return invalid(p);
  if (x === p.infinity) return x;
  operand(x, p);
  const v = exact(x, p);
  let scale = scaleOf(v) - 130;
  let n = v.mantissa << 130n;
  if (scale & 1) { n <<= 1n; scale--; }
  let root = BigInt(Math.floor(Math.sqrt(Number(n >> 100n)))) + 1n << 50n;
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) break;
    root = next;
  }
  return pack(0, root, scale / 2, root * root !== n, p);
};

const order = (a: bigint, b: bigint, p: Precision): number => {
  const value = (x: bigint) => (x & p.sign ? -magnitude(x, p) : magnitude(x, p));
  const x = value(a), y = value(b);
  return x < y ? -1 : x > y ? 1 : 0;
};
/** MIN and MAX give b if one is a NaN, and if both are zeros. */
const extreme = (want: number): LaneOperation => (a, b, p) => {
  if (isNan(a, p) || isNan(b, p)) {
    raised |= IE;
    return flushed(b, p);
  }
  const x = operand(a, p), y = operand(b, p);
  return order(x, y, p) === want ? x : y;
};
export const minimum = extreme(-1), maximum = extreme(1);

/** -1, 0, 1, and 2 for unordered. `quiet`: only signaling NaNs are invalid. */
export function compare(a: bigint, b: bigint, p: Precision, quiet: boolean): number {
  if (isNan(a, p) || isNan(b, p)) {
    if (!quiet || isSignaling(a, p) || isSignaling(b, p)) raised |= IE;
    return 2;
  }
  return order(operand(a, p), operand(b, p), p);
}

// ---------------------------------------------------------------- conversions

/** To another precision. */
export function convert(a: bigint, from: Precision, to: Precision): bigint {
  if (isNan(a, from)) {
    if (isSignaling(a, from)) raised |= IE;
    const sign = a & from.sign ? to.sign : 0n, shift = BigInt(to.format.fraction - from.format.fraction);
    const payload = a & (from.minNormal - 1n);
    return sign | to.infinity | to.quiet | (shift >= 0n ? payload << shift : payload >> -shift);
  }
  const v = exact(operand(a, from), from);
  if (isInfinite(v)) return signed(v.sign, to.infinity, to);
  return isZero(v) ? signed(v.sign, 0n, to) : pack(v.sign, v.mantissa, scaleOf(v), false, to);
}
export const fromInteger = (n: bigint, to: Precision): bigint => (n < 0n ? pack(1, -n, 0, false, to) : pack(0, n, 0, false, to));

/** To a signed integer of `bits`; the smallest one for what does not fit. */
export function integerOf(a: bigint, p: Precision, bits: number, rounding: number): bigint {
  const least = -(1n << BigInt(bits - 1));
  const v = exact(flushed(a, p), p);
  if (!isNan(a, p) && !isInfinite(v) && v.exponent < 16383 + 70) {
    const { value, inexact } = toInteger(v, rounding);
    if (value >= least && value < -least) {
      if (inexact) raised |= PE;
      return value;
    }
  }
  raised |= IE;
  return least;
}
/** ROUNDPS and kin: to an integral value. */
export function roundToIntegral(a: bigint, p: Precision, rounding: number, quiet: boolean): bigint {
  if (isNan(a, p)) return nanOf(a, a, p)!;
  const x = flushed(a, p), v = exact(x, p);
  if (isInfinite(v) || isZero(v) || v.exponent >= 16383 + p.format.fraction) return x;
  const { value, inexact } = toInteger(v, rounding);
  if (inexact && !quiet) raised |= PE;
  if (value === 0n) return x & p.sign;
  const before = raised;
  const r = fromInteger(value, p);
  raised = before;
  return r;
}
