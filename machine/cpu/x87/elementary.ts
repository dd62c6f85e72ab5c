/**
 * Sine, cosine, tangent, arctangent, logarithm and power on big integers: more bits than any rounding to 64 can need. A value is
 * sign × mantissa × 2^scale, and never exact. SDM Vol. 1, 8.3.8 and 8.3.10.
 *
 * Silicon reduces angles by a π of 66 bits, and so does this: sin x is that of x less a multiple of that π, also where x is so large that
 * the true sine has another sign.
 */
import { type Float80, bitLength, scaleOf } from './float80.ts';

export interface Value { readonly sign: number; readonly mantissa: bigint; readonly scale: number; /** Not to be rounded, though PE says that it was. */ readonly exact?: boolean }
/** Bits kept beyond the leading one. */
const GUARD = 160;
/** A number below 2^TINY is so near its sine that only the direction of the difference counts. */
const TINY = -70;

const value = (fixed: bigint, fraction: number): Value => (fixed < 0n ? { sign: 1, mantissa: -fixed, scale: -fraction } : { sign: 0, mantissa: fixed, scale: -fraction });
/** Below 2^-68 silicon takes an angle for its sine and tangent, and 1 for its cosine, whatever the rounding. */
const NOTHING = -68;
const unchanged = (a: Float80): Value => ({ sign: a.sign, mantissa: a.mantissa, scale: scaleOf(a), exact: true });
const ONE_VALUE: Value = { sign: 0, mantissa: 1n, scale: 0, exact: true };
/** A little less than a number. */
const below = (a: Float80): Value => ({ sign: a.sign, mantissa: (a.mantissa << 130n) - 1n, scale: scaleOf(a) - 130 });
/** Exponent of the leading bit. */
const leading = (a: Float80): number => scaleOf(a) + bitLength(a.mantissa) - 1;
const fixedOf = (mantissa: bigint, shift: number): bigint => (shift >= 0 ? mantissa << BigInt(shift) : mantissa >> BigInt(-shift));

// ---------------------------------------------------------------- series, on fixed-point numbers of `p` fraction bits

function squareRoot(n: bigint): bigint {
  if (n === 0n) return 0n;
  let r = 1n << BigInt(bitLength(n) + 1 >> 1);
  for (;;) {
    const next = r + n / r >> 1n;
    if (next >= r) return r;
    r = next;
  }
}
function sine(r: bigint, p: bigint): bigint {
  const square = r * r >> p;
  let sum = r, term = r;
  for (let k = 2n; term !== 0n && term !== -1n; k += 2n) {
    term = -(term * square >> p) / (k * (k + 1n));
    sum += term;
  }
  return sum;
}
function cosine(r: bigint, p: bigint): bigint {
  const square = r * r >> p;
  let term = 1n << p;
  let sum = term;
  for (let k = 1n; term !== 0n && term !== -1n; k += 2n) {
    term = -(term * square >> p) / (k * (k + 1n));
    sum += term;
  }
  return sum;
}
/** atan and atanh of a small number. */
function arc(t: bigint, p: bigint, hyperbolic: boolean): bigint {
  const square = t * t >> p;
  let sum = t, power = t;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = power * square >> p;
    sum += hyperbolic || k % 4n === 1n ? power / k : -power / k;
  }
  return sum;
}
const CONSTANT_BITS = 512n;
/** atan(k / 32), as they are asked for. */
const arcs: bigint[] = [0n];
function arcOf(k: number, p: number): bigint {
  let known = arcs[k];
  if (known === undefined) {
    let small = (BigInt(k) << CONSTANT_BITS) / 32n;
    for (let i = 0; i < 3; i++) small = (small << CONSTANT_BITS) / ((1n << CONSTANT_BITS) + squareRoot((1n << 2n * CONSTANT_BITS) + small * small));
    known = arcs[k] = arc(small, CONSTANT_BITS, false) << 3n;
  }
  return fixedOf(known, p - Number(CONSTANT_BITS));
}
/** Of 0 to 1: the arctangent of the nearest 32nd, and that of the small angle between. */
function arctangent(t: bigint, p: number): bigint {
  const k = t + (1n << BigInt(p - 6)) >> BigInt(p - 5);
  if (k === 0n) return arc(t, BigInt(p), false);
  const between = ((t << 5n) - (k << BigInt(p)) << BigInt(p)) / ((32n << BigInt(p)) + k * t);
  return arcOf(Number(k), p) + (between < 0n ? -arc(-between, BigInt(p), false) : arc(between, BigInt(p), false));
}

let piBits: bigint | undefined, ln2Bits: bigint | undefined;
function pi(p: number): bigint {
  piBits ??= 16n * arc((1n << CONSTANT_BITS) / 5n, CONSTANT_BITS, false) - 4n * arc((1n << CONSTANT_BITS) / 239n, CONSTANT_BITS, false);
  return fixedOf(piBits, p - Number(CONSTANT_BITS));
}
function ln2(p: number): bigint {
  ln2Bits ??= 2n * arc((1n << CONSTANT_BITS) / 3n, CONSTANT_BITS, true);
  return fixedOf(ln2Bits, p - Number(CONSTANT_BITS));
}

// ---------------------------------------------------------------- angles

/** 66 bits of π, as an integer in units of 2^-66. */
const PI_66 = 0xc90f_daa2_2168_c234_cn;

/** The angle less the nearest multiple of π/2: its quadrant, and the rest with its fraction bits. */
function reduce(a: Float80): { quadrant: number; rest: bigint; p: number } {
  const scale = Math.min(scaleOf(a), -67);
  const x = a.mantissa << BigInt(scaleOf(a) - scale), half = PI_66 << BigInt(-67 - scale);
  const n = (2n * x + half) / (2n * half);
  const rest = x - n * half;
  const p = Math.max(GUARD - (bitLength(rest < 0n ? -rest : rest) + scale), -scale);
  return { quadrant: Number(n & 3n), rest: rest << BigInt(p + scale), p };
}
const turned = (v: bigint, negative: boolean): bigint => (negative ? -v : v);
export function sin(a: Float80): Value {
  if (leading(a) < NOTHING) return unchanged(a);
  const { quadrant, rest, p } = reduce(a);
  return value(turned(quadrant & 1 ? cosine(rest, BigInt(p)) : sine(rest, BigInt(p)), (quadrant >= 2) !== (a.sign === 1)), p);
}
export function cos(a: Float80): Value {
  if (leading(a) < NOTHING) return ONE_VALUE;
  const { quadrant, rest, p } = reduce(a);
  return value(turned(quadrant & 1 ? sine(rest, BigInt(p)) : cosine(rest, BigInt(p)), quadrant === 1 || quadrant === 2), p);
}
export function tan(a: Float80): Value {
  if (leading(a) < NOTHING) return unchanged(a);
  // Silicon's tangent of a small angle lies on the other side of it.
  if (leading(a) < -33) return below(a);
  const { quadrant, rest, p } = reduce(a);
  const s = sine(rest, BigInt(p)), c = cosine(rest, BigInt(p));
  const t = quadrant & 1 ? -(c << BigInt(p)) / s : (s << BigInt(p)) / c;
  return value(turned(t, a.sign === 1), p);
}

/** The angle of the point (x, y), both finite and not 0. */
export function atan2(y: Float80, x: Float80): Value {
  const apart = leading(y) - leading(x);
  if (apart < TINY && !x.sign) {
    const q = (y.mantissa << 200n) / x.mantissa;
    return { sign: y.sign, mantissa: q - (apart < TINY ? 1n : 0n), scale: scaleOf(y) - scaleOf(x) - 200 };
  }
  const p = 2 * GUARD;
  const swap = apart > 0 || apart === 0 && (y.mantissa << BigInt(bitLength(x.mantissa))) > (x.mantissa << BigInt(bitLength(y.mantissa)));
  const [small, large] = swap ? [x, y] : [y, x];
  const t = fixedOf((small.mantissa << 200n) / large.mantissa, p - 200 + scaleOf(small) - scaleOf(large));
  let angle = arctangent(t, p);
  // What is too small to see still makes the angle differ from its multiple of π/2.
  if (angle === 0n) angle = 1n;
  if (swap) angle = (pi(p) >> 1n) - angle;
  if (x.sign) angle = pi(p) - angle;
  return { sign: y.sign, mantissa: angle, scale: -p };
}
/** n/4 of π. */
export const quarters = (sign: number, n: number): Value => ({ sign, mantissa: pi(GUARD) * BigInt(n), scale: -GUARD - 2 });

// ---------------------------------------------------------------- powers and logarithms

/** 2^a - 1 for |a| at most 1. */
export function exp2m1(a: Float80): Value {
  const lead = Math.max(leading(a), -16500);
  if (lead < TINY) return times({ sign: a.sign, mantissa: ln2(GUARD), scale: -GUARD }, { ...a, sign: 0 });
  const p = GUARD - lead + 64;
  const x = fixedOf(a.mantissa, p + scaleOf(a)) * ln2(p) >> BigInt(p);
  const t = a.sign ? -x : x;
  let sum = t, term = t;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = (term * t >> BigInt(p)) / k;
    sum += term;
  }
  return value(sum, p);
}
/** v × the number y. */
export const times = (v: Value, y: Float80): Value => ({ sign: v.sign ^ y.sign, mantissa: v.mantissa * y.mantissa, scale: v.scale + scaleOf(y), exact: v.exact ?? false });

/** log2 of a positive finite number; undefined of a power of two, whose logarithm is `exponent`. */
export const log2 = (a: Float80): { readonly exponent: number; readonly value: Value | undefined } => logarithm2(a.mantissa, scaleOf(a));
function logarithm2(mantissa: bigint, scale: number): { readonly exponent: number; readonly value: Value | undefined } {
  const length = bitLength(mantissa);
  let exponent = scale + length - 1;
  if (mantissa === 1n << BigInt(length - 1)) return { exponent, value: undefined };
  // A significand near 1 or 2 loses as many bits as it has zeros or ones at its start.
  const p = GUARD + Math.min(length, 2 * GUARD);
  let f = fixedOf(mantissa, p - length + 1);
  const one = 1n << BigInt(p);
  if (f > one + (one >> 2n) + (one >> 3n)) { f >>= 1n; exponent++; }
  return { exponent, value: value((BigInt(exponent) << BigInt(p)) + logarithm(f - one, f + one, p), p) };
}
/** log2 of (denominator + numerator) / (denominator - numerator), that is 2 artanh(numerator / denominator). */
function logarithm(numerator: bigint, denominator: bigint, p: number): bigint {
  const z = (numerator << BigInt(p)) / denominator;
  const sum = z < 0n ? -arc(-z, BigInt(p), true) : arc(z, BigInt(p), true);
  return (2n * sum << BigInt(p)) / ln2(p);
}
/** log2(1 + a) for an a above -1. */
export function log2p1(a: Float80): Value {
  const lead = leading(a);
  if (lead < TINY) {
    const inverse = (1n << BigInt(2 * GUARD)) / ln2(GUARD);
    return times({ sign: a.sign, mantissa: inverse, scale: -GUARD }, { ...a, sign: 0 });
  }
  if (lead >= -2) {
    // 1 + a as one number.
    const scale = Math.min(scaleOf(a), 0);
    const sum = (1n << BigInt(-scale)) + turned(a.mantissa << BigInt(scaleOf(a) - scale), a.sign === 1);
    const { exponent, value: v } = logarithm2(sum, scale);
    return v ?? { sign: exponent < 0 ? 1 : 0, mantissa: BigInt(Math.abs(exponent)), scale: 0, exact: true };
  }
  const p = GUARD - lead + 64;
  const x = turned(fixedOf(a.mantissa, p + scaleOf(a)), a.sign === 1);
  return value(logarithm(x, x + (2n << BigInt(p)), p), p);
}
