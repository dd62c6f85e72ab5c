/**
 * The 80-bit extended format: unpacking, exact arithmetic on big integers, rounding once at the end, conversions.
 * SDM Vol. 1 ch. 4.2, 4.8 and 8.
 *
 * A finite value is sign × mantissa × 2^scale with a mantissa of any width, so addition, multiplication and comparison
 * are exact and only round() knows of precision. Exceptions are returned as bits of the status word.
 */
export const IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32;

/** sign 0 or 1, biased exponent 0 to 0x7fff, explicit 64-bit mantissa. */
export interface Float80 {
  readonly sign: number;
  readonly exponent: number;
  readonly mantissa: bigint;
  /** It was a denormal of a narrower format in memory, of which registers know nothing. */
  readonly wasDenormal?: boolean;
}

const BIAS = 16383, TOP = 1n << 63n, QUIET = 1n << 62n, MAX_EXPONENT = 0x7fff;
export const make = (sign: number, exponent: number, mantissa: bigint): Float80 => ({ sign, exponent, mantissa });
export const INDEFINITE = make(1, MAX_EXPONENT, TOP | QUIET);
export const zero = (sign: number): Float80 => make(sign, 0, 0n);
export const infinity = (sign: number): Float80 => make(sign, MAX_EXPONENT, TOP);
export const ONE = make(0, BIAS, TOP);

export const isNaN80 = (a: Float80): boolean => a.exponent === MAX_EXPONENT && (a.mantissa & ~TOP) !== 0n;
export const isSignaling = (a: Float80): boolean => isNaN80(a) && !(a.mantissa & QUIET);
export const isInfinite = (a: Float80): boolean => a.exponent === MAX_EXPONENT && a.mantissa === TOP;
export const isZero = (a: Float80): boolean => a.exponent === 0 && a.mantissa === 0n;
export const isDenormal = (a: Float80): boolean => a.wasDenormal === true || (a.exponent === 0 && a.mantissa !== 0n);
/** Unnormals, pseudo-infinities and pseudo-NaNs: invalid since the 387. */
export const isUnsupported = (a: Float80): boolean => a.exponent !== 0 && !(a.mantissa & TOP);
export const quieted = (a: Float80): Float80 => make(a.sign, a.exponent, a.mantissa | QUIET);
export const negated = (a: Float80): Float80 => ({ ...a, sign: a.sign ^ 1 });

/** Power of two that the mantissa counts in. */
export const scaleOf = (a: Float80): number => Math.max(a.exponent, 1) - BIAS - 63;
export function bitLength(n: bigint): number {
  if (n === 0n) return 0;
  const hex = n.toString(16);
  return 4 * hex.length - Math.clz32(Number.parseInt(hex[0]!, 16)) + 28;
}

/** Rounding: bits of precision (24, 53, 64), the direction of the control word's RC field, and which exceptions are unmasked. */
export interface Rounding { readonly precision: number; readonly direction: number; readonly overflowTraps?: boolean; readonly underflowTraps?: boolean }
/** What the exponent of a result is changed by when an unmasked overflow or underflow reports it (SDM Vol. 1, 8.5.4). */
const WRAP = 24576;
export interface Rounded { value: Float80; flags: number; up: boolean }

/** mantissa / 2^drop, rounded; the rest decides with the sticky bit of what was cut off before. */
function shiftRight(mantissa: bigint, drop: number, sticky: boolean, direction: number, sign: number): { result: bigint; inexact: boolean; up: boolean } {
  if (drop <= 0) {
    const result = mantissa << BigInt(-drop);
    const up = sticky && (direction === 1 ? sign === 1 : direction === 2 && sign === 0);
    return { result: up ? result + 1n : result, inexact: sticky, up };
  }
  const half = 1n << BigInt(drop - 1);
  const rest = mantissa & (half << 1n) - 1n;
  const result = mantissa >> BigInt(drop);
  const inexact = rest !== 0n || sticky;
  const nearest = rest > half || (rest === half && (sticky || (result & 1n) === 1n));
  const up = inexact && (direction === 0 ? nearest : direction === 1 ? sign === 1 : direction === 2 ? sign === 0 : false);
  return { result: up ? result + 1n : result, inexact, up };
}

/** sign × mantissa × 2^scale (and a little more if sticky) in a format of `precision` bits and the given exponent range. */
export function roundTo(sign: number, mantissa: bigint, scale: number, sticky: boolean, precision: number, direction: number, minExponent: number, maxExponent: number):
  { mantissa: bigint; scale: number; flags: number; up: boolean; overflow: boolean; tiny: boolean } {
  const length = bitLength(mantissa);
  let drop = length - precision;
  // The lowest bit may not be worth less than that of the smallest denormal.
  const lowest = minExponent - (precision - 1);
  // Tiny is judged after rounding, as if the exponent had no bound.
  const tiny = scale + length - 1 < minExponent
    && !(scale + length === minExponent && bitLength(shiftRight(mantissa, drop, sticky, direction, sign).result) > precision);
  if (scale + drop < lowest) drop = lowest - scale;
  const { result, inexact, up } = shiftRight(mantissa, drop, sticky, direction, sign);
  const flags = inexact ? PE | (tiny ? UE : 0) : 0;
  const overflow = result !== 0n && bitLength(result) + scale + drop - 1 > maxExponent;
  return { mantissa: result, scale: scale + drop, flags: overflow ? OE | PE : flags, up, overflow, tiny };
}

/** Does an overflow go to infinity, rather than to the largest finite number? */
export const overflowsToInfinity = (sign: number, direction: number) => direction === 0 || (direction === 1 && sign === 1) || (direction === 2 && sign === 0);

/** The result of an unmasked overflow or underflow: rounded as if the exponent had no bound, then brought into range. */
function wrapped(sign: number, mantissa: bigint, scale: number, sticky: boolean, { precision, direction, overflowTraps, underflowTraps }: Rounding): Rounded | undefined {
  if (!overflowTraps && !underflowTraps) return undefined;
  const drop = bitLength(mantissa) - precision;
  const { result, inexact, up } = shiftRight(mantissa, drop, sticky, direction, sign);
  const exponent = bitLength(result) - 1 + scale + drop;
  const over = overflowTraps === true && exponent > MAX_EXPONENT - 1 - BIAS, under = underflowTraps === true && exponent < 1 - BIAS;
  if (!over && !under) return undefined;
  const biased = exponent + BIAS + (over ? -WRAP : WRAP);
  // Far beyond even that.
  if (biased < 1) return { value: zero(sign), flags: UE | PE, up: false };
  if (biased >= MAX_EXPONENT) return { value: infinity(sign), flags: OE | PE, up: true };
  return { value: make(sign, biased, result << 64n >> BigInt(bitLength(result))), flags: (over ? OE : UE) | (inexact ? PE : 0), up };
}

export function round(sign: number, mantissa: bigint, scale: number, sticky: boolean, rounding: Rounding): Rounded {
  const { precision, direction } = rounding;
  if (mantissa === 0n && !sticky) return { value: zero(sign), flags: 0, up: false };
  const trapped = wrapped(sign, mantissa, scale, sticky, rounding);
  if (trapped) return trapped;
  const r = roundTo(sign, mantissa, scale, sticky, precision, direction, 1 - BIAS, MAX_EXPONENT - 1 - BIAS);
  if (r.overflow) {
    const value = overflowsToInfinity(sign, direction) ? infinity(sign) : make(sign, MAX_EXPONENT - 1, ((1n << BigInt(precision)) - 1n) << BigInt(64 - precision));
    return { value, flags: r.flags, up: overflowsToInfinity(sign, direction) };
  }
  return { value: pack(sign, r.mantissa, r.scale), flags: r.flags, up: r.up };
}

/** An exact value that fits. */
export function pack(sign: number, mantissa: bigint, scale: number): Float80 {
  if (mantissa === 0n) return zero(sign);
  const shift = 64 - bitLength(mantissa);
  const exponent = scale - shift + 63 + BIAS;
  if (exponent >= 1) return make(sign, exponent, shift >= 0 ? mantissa << BigInt(shift) : mantissa >> BigInt(-shift));
  const up = scale + BIAS + 62;
  return make(sign, 0, up >= 0 ? mantissa << BigInt(up) : mantissa >> BigInt(-up));
}

// ---------------------------------------------------------------- arithmetic on finite values

export function addExact(a: Float80, b: Float80, rounding: Rounding): Rounded {
  const scale = Math.min(scaleOf(a), scaleOf(b));
  // Beyond this distance the smaller one is only a sticky bit; keeps big integers small.
  const far = Math.abs(scaleOf(a) - scaleOf(b)) > 200 && !isZero(a) && !isZero(b);
  if (far) {
    const [big, small] = scaleOf(a) > scaleOf(b) ? [a, b] : [b, a];
    const wide = big.mantissa << 130n;
    return big.sign === small.sign ? round(big.sign, wide, scaleOf(big) - 130, true, rounding) : round(big.sign, wide - 1n, scaleOf(big) - 130, true, rounding);
  }
  const signed = (x: Float80) => (x.sign ? -x.mantissa : x.mantissa) << BigInt(isZero(x) ? 0 : scaleOf(x) - scale);
  const sum = signed(a) + signed(b);
  if (sum === 0n) return { value: zero(isZero(a) && isZero(b) && a.sign === b.sign ? a.sign : rounding.direction === 1 ? 1 : 0), flags: 0, up: false };
  return sum < 0n ? round(1, -sum, scale, false, rounding) : round(0, sum, scale, false, rounding);
}

export const multiplyExact = (a: Float80, b: Float80, rounding: Rounding): Rounded =>
  round(a.sign ^ b.sign, a.mantissa * b.mantissa, scaleOf(a) + scaleOf(b), false, rounding);

export function divideExact(a: Float80, b: Float80, rounding: Rounding): Rounded {
  const numerator = a.mantissa << 140n;
  const quotient = numerator / b.mantissa;
  return round(a.sign ^ b.sign, quotient, scaleOf(a) - scaleOf(b) - 140, quotient * b.mantissa !== numerator, rounding);
}

export function squareRoot(a: Float80, rounding: Rounding): Rounded {
  let scale = scaleOf(a) - 140;
  let n = a.mantissa << 140n;
  if (scale & 1) { n <<= 1n; scale--; }
  let root = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const next = (root + n / root) >> 1n;
    if (next >= root) break;
    root = next;
  }
  return round(0, root, scale / 2, root * root !== n, rounding);
}

/** -1, 0, 1 for finite or infinite values. */
export function compareValues(a: Float80, b: Float80): number {
  if (isZero(a) && isZero(b)) return 0;
  if (a.sign !== b.sign) return a.sign ? -1 : 1;
  const flip = a.sign ? -1 : 1;
  if (a.exponent !== b.exponent && Math.max(a.exponent, 1) !== Math.max(b.exponent, 1)) return a.exponent > b.exponent ? flip : -flip;
  return a.mantissa === b.mantissa ? 0 : a.mantissa > b.mantissa ? flip : -flip;
}

// ---------------------------------------------------------------- integers and other formats

/** To an integer, rounded in the given direction. */
export function toInteger(a: Float80, direction: number): { value: bigint; inexact: boolean; up: boolean } {
  const { result, inexact, up } = shiftRight(a.mantissa, -scaleOf(a), false, direction, a.sign);
  return { value: a.sign ? -result : result, inexact, up };
}
export const fromInteger = (n: bigint): Float80 => (n < 0n ? pack(1, -n, 0) : pack(0, n, 0));

interface Format { readonly fraction: number; readonly bias: number; readonly maxBiased: number }
export const FLOAT32: Format = { fraction: 23, bias: 127, maxBiased: 255 };
export const FLOAT64: Format = { fraction: 52, bias: 1023, maxBiased: 2047 };

/** From a 32- or 64-bit pattern; exact. Signaling NaNs stay signaling. */
export function fromFormat(bits: bigint, f: Format): Float80 {
  const fraction = bits & (1n << BigInt(f.fraction)) - 1n;
  const exponent = Number(bits >> BigInt(f.fraction)) & f.maxBiased;
  const sign = Number(bits >> BigInt(f.fraction) + BigInt(Math.log2(f.maxBiased + 1))) & 1;
  const wide = fraction << BigInt(63 - f.fraction);
  if (exponent === f.maxBiased) return make(sign, MAX_EXPONENT, TOP | wide);
  if (exponent === 0) return fraction === 0n ? zero(sign) : { ...pack(sign, fraction, 1 - f.bias - f.fraction), wasDenormal: true };
  return make(sign, exponent - f.bias + BIAS, TOP | wide);
}

/** To a 32- or 64-bit pattern. NaNs keep the top of their payload. */
export function toFormat(a: Float80, f: Format, direction: number): { bits: bigint; flags: number; up: boolean } {
  const assemble = (sign: number, exponent: number, fraction: bigint) =>
    BigInt(sign) << BigInt(f.fraction + Math.log2(f.maxBiased + 1)) | BigInt(exponent) << BigInt(f.fraction) | fraction;
  if (isNaN80(a)) return { bits: assemble(a.sign, f.maxBiased, (a.mantissa | QUIET) << 1n >> BigInt(64 - f.fraction) & (1n << BigInt(f.fraction)) - 1n), flags: isSignaling(a) ? IE : 0, up: false };
  if (isInfinite(a)) return { bits: assemble(a.sign, f.maxBiased, 0n), flags: 0, up: false };
  if (isZero(a)) return { bits: assemble(a.sign, 0, 0n), flags: 0, up: false };
  const r = roundTo(a.sign, a.mantissa, scaleOf(a), false, f.fraction + 1, direction, 1 - f.bias, f.maxBiased - 1 - f.bias);
  if (r.overflow) {
    const toInfinity = overflowsToInfinity(a.sign, direction);
    return { bits: toInfinity ? assemble(a.sign, f.maxBiased, 0n) : assemble(a.sign, f.maxBiased - 1, (1n << BigInt(f.fraction)) - 1n), flags: r.flags, up: toInfinity };
  }
  const length = bitLength(r.mantissa);
  const exponent = r.scale + length - 1;
  if (r.mantissa === 0n) return { bits: assemble(a.sign, 0, 0n), flags: r.flags, up: r.up };
  if (exponent < 1 - f.bias) return { bits: assemble(a.sign, 0, r.mantissa << BigInt(r.scale - (1 - f.bias - f.fraction))), flags: r.flags, up: r.up };
  const fraction = length > f.fraction + 1 ? r.mantissa >> BigInt(length - f.fraction - 1) : r.mantissa << BigInt(f.fraction + 1 - length);
  return { bits: assemble(a.sign, exponent + f.bias, fraction & (1n << BigInt(f.fraction)) - 1n), flags: r.flags, up: r.up };
}
