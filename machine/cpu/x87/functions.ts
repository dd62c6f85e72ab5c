/**
 * FRNDINT, FSCALE, FXTRACT, FPREM, FPREM1, and the transcendental functions, rounded correctly: silicon promises an error
 * below one unit in the last place, so its last bit differs now and then. SDM Vol. 1, 8.3.5 to 8.3.10.
 */
import type { Exec } from '../opcode-row.ts';
import { propagate } from './arithmetic.ts';
import {
  DE, type Float80, IE, INDEFINITE, ONE, PE, type Rounded, UE, ZE, fromInteger, infinity, isDenormal, isInfinite, isZero, make, pack, round, scaleOf, toInteger, zero,
} from './float80.ts';
import { type Value, atan2, cos, exp2m1, log2, log2p1, quarters, sin, tan, times } from './elementary.ts';
import { C0, C1, C2, C3, type X87, x87 } from './stack.ts';

const BIAS = 16383;

/** An instruction on ST(0), and on ST(1) where it has two operands; empty registers are stack faults. */
const on = (operands: 1 | 2, body: (f: X87, a: Float80, b: Float80) => void, refuses?: (a: Float80, b: Float80) => boolean): Exec => (cpu) => {
  const f = x87(cpu);
  f.wait();
  f.setC1(false);
  const empty = f.isEmpty(0) || (operands === 2 && f.isEmpty(1));
  if (empty) {
    if (!f.stackFault(false)) f.set(0, INDEFINITE);
    return;
  }
  const a = f.get(0);
  const b = operands === 2 ? f.get(1) : a;
  const nan = propagate(a, b);
  if (nan) f.store(0, nan);
  else if (refuses?.(a, b)) invalid(f);
  else if (!f.flag(isDenormal(a) || isDenormal(b) ? DE : 0)) body(f, a, b);
};
const invalid = (f: X87) => f.store(0, { value: INDEFINITE, flags: IE, up: false });

export const frndint = on(1, (f, a) => {
  if (isInfinite(a) || isZero(a) || a.exponent >= BIAS + 63) return;
  const { value, inexact, up } = toInteger(a, f.direction);
  const result = value === 0n ? zero(a.sign) : fromInteger(value);
  f.store(0, { value: result, flags: inexact ? PE : 0, up });
});

/** ST(0) × 2^trunc(ST(1)). */
export const fscale = on(2, (f, a, b) => {
  if (isInfinite(b)) {
    if ((b.sign && isInfinite(a)) || (!b.sign && isZero(a))) { invalid(f); return; }
    f.set(0, b.sign ? zero(a.sign) : infinity(a.sign));
    return;
  }
  if (isInfinite(a) || isZero(a)) return;
  const n = b.exponent > BIAS + 16 ? (b.sign ? -100_000 : 100_000) : Number(toInteger(b, 3).value);
  const r = round(a.sign, a.mantissa, scaleOf(a) + n, false, { ...f.rounding, precision: 64 });
  f.store(0, r);
});

/** The exponent replaces ST(0), then the significand is pushed; where one of them is indefinite or a NaN, so is the other. */
export const fxtract: Exec = (cpu) => {
  const f = x87(cpu);
  f.wait();
  f.setC1(false);
  const both = (value: Float80) => { f.set(0, value); f.pushUnchecked(value); };
  if (f.isEmpty(0) || f.full) {
    if (!f.stackFault(!f.isEmpty(0))) both(INDEFINITE);
    return;
  }
  const a = f.get(0);
  const nan = propagate(a, a);
  if (nan) {
    if (f.store(0, nan)) both(nan.value);
  } else if (isZero(a)) {
    if (f.flag(ZE)) return;
    f.set(0, infinity(1));
    f.push(a);
  } else if (isInfinite(a)) {
    f.set(0, infinity(0));
    f.push(a);
  } else if (!f.flag(isDenormal(a) ? DE : 0)) {
    const normal = pack(0, a.mantissa, 0);
    f.set(0, fromInteger(BigInt(scaleOf(a) + normal.exponent - BIAS)));
    f.push(make(a.sign, BIAS, normal.mantissa));
  }
};

/**
 * Partial remainder: truncating as the 8087 did, or rounding the quotient to nearest as IEEE asks. Operands whose
 * exponents differ by 64 and more are brought closer only, by 32 to 63 bits, and C2 says so.
 */
const exponentOf = (a: Float80): number => scaleOf(a) + pack(0, a.mantissa, 0).exponent;
const remainder = (nearest: boolean): Exec => {
  const divide = remaining(nearest);
  return (cpu, insn) => {
    const f = x87(cpu);
    f.wait();
    f.status &= ~C2;
    divide(cpu, insn);
  };
};
const remaining = (nearest: boolean): Exec => on(2, (f, a, b) => {
  f.condition(0);
  if (isZero(a)) return;
  // Exact, but what is tiny may be so unmasked.
  const store = (sign: number, mantissa: bigint, scale: number) => {
    f.store(0, mantissa === 0n ? { value: zero(a.sign), flags: 0, up: false } : round(sign, mantissa, scale, false, { ...f.rounding, precision: 64 }));
  };
  if (isInfinite(b)) return store(a.sign, a.mantissa, scaleOf(a));
  const apart = exponentOf(a) - exponentOf(b);
  if (apart >= 64) {
    const step = apart & 31 | 32;
    const unit = b.mantissa << BigInt(apart - step + scaleOf(b) - Math.min(scaleOf(a), scaleOf(b)));
    const rest = (a.mantissa << BigInt(scaleOf(a) - Math.min(scaleOf(a), scaleOf(b)))) % unit;
    store(a.sign, rest, Math.min(scaleOf(a), scaleOf(b)));
    f.condition(C2);
    return;
  }
  const scale = Math.min(scaleOf(a), scaleOf(b));
  const n = a.mantissa << BigInt(scaleOf(a) - scale), d = b.mantissa << BigInt(scaleOf(b) - scale);
  let quotient = n / d;
  let rest = n - quotient * d;
  let { sign } = a;
  if (nearest && (rest * 2n > d || (rest * 2n === d && quotient & 1n))) {
    quotient += 1n;
    rest = d - rest;
    sign ^= 1;
  }
  const q = Number(quotient & 7n);
  store(sign, rest, scale);
  f.condition((q & 4 ? C0 : 0) | (q & 2 ? C3 : 0) | (q & 1 ? C1 : 0));
}, (a, b) => isInfinite(a) || isZero(b));
export const fprem = remainder(false), fprem1 = remainder(true);

// ---------------------------------------------------------------- transcendental

/** A value that is never exact, rounded to 64 bits whatever the control word says of precision. */
const rounded = (f: X87, v: Value): Rounded => {
  const r = round(v.sign, v.mantissa, v.scale, !v.exact, { ...f.rounding, precision: 64 });
  return v.exact ? { ...r, flags: r.flags | PE | (isDenormal(r.value) ? UE : 0) } : r;
};
/** |ST(0)| must be below 2^63, else C2 says that nothing was done. */
const inRange = (f: X87, a: Float80): boolean => {
  if (a.exponent < BIAS + 63) return true;
  f.status |= C2;
  return false;
};
const trigonometric = (compute: (a: Float80) => Value, ofZero: (a: Float80) => Float80): Exec => {
  const execute = on(1, (f, a) => {
    if (!inRange(f, a)) return;
    if (isZero(a)) f.set(0, ofZero(a));
    else f.store(0, rounded(f, compute(a)));
  }, isInfinite);
  return (cpu, insn) => {
    const f = x87(cpu);
    f.wait();
    f.status &= ~C2;
    execute(cpu, insn);
  };
};
export const fsin = trigonometric(sin, (a) => a), fcos = trigonometric(cos, () => ONE);
/** FSINCOS and FPTAN push: what is refused is pushed as well. */
const pushing = (compute: (a: Float80) => Value, second: (f: X87, a: Float80) => Rounded): Exec => (cpu) => {
  const f = x87(cpu);
  f.wait();
  f.status &= ~(C1 | C2);
  const both = (value: Float80) => { f.set(0, value); f.pushUnchecked(value); };
  if (f.isEmpty(0) || f.full) {
    if (!f.stackFault(!f.isEmpty(0))) both(INDEFINITE);
    return;
  }
  const a = f.get(0);
  const nan = propagate(a, a) ?? (isInfinite(a) ? { value: INDEFINITE, flags: IE, up: false } : undefined);
  if (nan) {
    if (f.store(0, nan)) both(nan.value);
    return;
  }
  if (!inRange(f, a) || f.flag(isDenormal(a) ? DE : 0)) return;
  const other = second(f, a);
  if (isZero(a)) f.set(0, a);
  else f.store(0, rounded(f, compute(a)));
  f.flag(other.flags);
  f.pushUnchecked(other.value);
  if (other.flags) f.setC1(other.up);
};
const exactly = (value: Float80): Rounded => ({ value, flags: 0, up: false });
export const fsincos = pushing(sin, (f, a) => (isZero(a) ? exactly(ONE) : rounded(f, cos(a))));
export const fptan = pushing(tan, () => exactly(ONE));

/** ST(1) = f(ST(1), ST(0)), pop. undefined: an invalid operation. */
const two = (compute: (f: X87, y: Float80, x: Float80) => Rounded | undefined): Exec => (cpu) => {
  const f = x87(cpu);
  f.wait();
  f.setC1(false);
  if (f.isEmpty(0) || f.isEmpty(1)) {
    if (f.stackFault(false)) return;
    f.set(1, INDEFINITE);
    f.pop();
    return;
  }
  const x = f.get(0), y = f.get(1);
  let r = propagate(x, y);
  if (!r) {
    r = compute(f, y, x) ?? { value: INDEFINITE, flags: IE, up: false };
    if (!(r.flags & (IE | ZE)) && (isDenormal(x) || isDenormal(y)) && f.flag(DE)) return;
  }
  if (f.store(1, r)) f.pop();
};
const seemingly = (r: Rounded, up: boolean): Rounded => ({ ...r, flags: r.flags | PE, up: r.flags & PE ? r.up : up });
export const fpatan = two((f, y, x) => {
  if (isInfinite(y)) return rounded(f, quarters(y.sign, isInfinite(x) ? (x.sign ? 3 : 1) : 2));
  if (isInfinite(x) || isZero(y)) return x.sign ? rounded(f, quarters(y.sign, 4)) : exactly(zero(y.sign));
  return rounded(f, isZero(x) ? quarters(y.sign, 2) : atan2(y, x));
});
/** y × a logarithm of the given sign that is infinite. */
const timesInfinity = (y: Float80, sign: number): Rounded | undefined => (isZero(y) ? undefined : exactly(infinity(y.sign ^ sign)));
export const fyl2x = two((f, y, x) => {
  if (isZero(x)) return isZero(y) ? undefined : isInfinite(y) ? exactly(infinity(y.sign ^ 1)) : { value: infinity(y.sign ^ 1), flags: ZE, up: false };
  if (x.sign) return undefined;
  if (isInfinite(x)) return timesInfinity(y, 0);
  const { exponent, value } = log2(x);
  const sign = value ? value.sign : exponent < 0 ? 1 : 0;
  if (value === undefined && exponent === 0) return isInfinite(y) ? undefined : exactly(zero(y.sign));
  if (isInfinite(y)) return exactly(infinity(y.sign ^ sign));
  if (isZero(y)) return exactly(zero(y.sign ^ sign));
  // Silicon takes the logarithm of a power of two for rounded as well.
  if (value === undefined) return seemingly(round(y.sign ^ sign, y.mantissa * BigInt(Math.abs(exponent)), scaleOf(y), false, { ...f.rounding, precision: 64 }), sign === 1);
  return rounded(f, times(value, y));
});
export const fyl2xp1 = two((f, y, x) => {
  if (isZero(x)) return isInfinite(y) ? undefined : exactly(zero(y.sign ^ x.sign));
  if (isInfinite(x)) return x.sign ? undefined : timesInfinity(y, 0);
  if (isInfinite(y)) return exactly(infinity(y.sign ^ x.sign));
  if (isZero(y)) return exactly(zero(y.sign ^ x.sign));
  if (x.sign && x.exponent >= BIAS) return seemingly(exactly(x), false);
  const v = times(log2p1(x), y);
  return v.exact ? seemingly(round(v.sign, v.mantissa, v.scale, false, { ...f.rounding, precision: 64 }), x.sign === 1) : rounded(f, v);
});
export const f2xm1 = on(1, (f, a) => {
  if (isZero(a)) return;
  if (isInfinite(a)) { f.set(0, a.sign ? make(1, BIAS, ONE.mantissa) : a); return; }
  if (a.exponent >= BIAS) {
    // Beyond 1 the result is undefined: it stays as it is.
    const one = a.exponent === BIAS && a.mantissa === ONE.mantissa;
    f.store(0, { value: one && a.sign ? make(1, BIAS - 1, ONE.mantissa) : a, flags: PE, up: false });
    return;
  }
  f.store(0, rounded(f, exp2m1(a)));
});
