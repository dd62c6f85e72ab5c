/**
 * FRNDINT, FSCALE, FXTRACT, FPREM, FPREM1 exactly; the transcendental functions in double precision: their last eleven
 * bits are not silicon's. SDM Vol. 1, 8.3.5 to 8.3.8.
 */
import type { Exec } from '../opcode-row.ts';
import { propagate } from './arithmetic.ts';
import {
  DE, type Float80, IE, INDEFINITE, PE, ZE, fromInteger, fromNumber, infinity, isDenormal, isInfinite, isZero, make, pack, round, scaleOf, toInteger, toNumber, zero,
} from './float80.ts';
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

const inexact = (f: X87, i: number, value: number): void => { f.store(i, { value: fromNumber(value), flags: PE, up: false }); };
/** |ST(0)| must be below 2^63, else C2 says that nothing was done. */
const inRange = (f: X87, a: Float80): boolean => {
  f.status &= ~C2;
  if (a.exponent < BIAS + 63) return true;
  f.status |= C2;
  return false;
};
const trigonometric = (compute: (x: number) => number): Exec => on(1, (f, a) => {
  if (isInfinite(a)) { invalid(f); return; }
  if (!inRange(f, a)) return;
  if (isZero(a)) f.set(0, compute(0) === 0 ? a : fromNumber(compute(0)));
  else inexact(f, 0, compute(toNumber(a)));
});
export const fsin = trigonometric(Math.sin), fcos = trigonometric(Math.cos);
export const fsincos = on(1, (f, a) => {
  if (isInfinite(a)) { invalid(f); return; }
  if (!inRange(f, a)) return;
  const x = toNumber(a);
  if (isZero(a)) f.set(0, a);
  else inexact(f, 0, Math.sin(x));
  f.push(fromNumber(Math.cos(x)));
});
export const fptan = on(1, (f, a) => {
  if (isInfinite(a)) { invalid(f); return; }
  if (!inRange(f, a)) return;
  if (!isZero(a)) inexact(f, 0, Math.tan(toNumber(a)));
  f.push(fromNumber(1));
});
/** ST(1) = f(ST(0), ST(1)), pop. */
const two = (compute: (x: number, y: number) => number | undefined): Exec => (cpu, insn) => on(2, (f, a, b) => {
  const result = compute(toNumber(a), toNumber(b));
  if (result === undefined || Number.isNaN(result)) {
    if (!f.flag(IE)) f.set(1, INDEFINITE);
  } else inexact(f, 1, result);
  f.pop();
})(cpu, insn);
export const fpatan = two((x, y) => Math.atan2(y, x));
export const fyl2x = two((x, y) => (x < 0 ? undefined : y * Math.log2(x)));
export const fyl2xp1 = two((x, y) => y * Math.log1p(x) * Math.LOG2E);
export const f2xm1 = on(1, (f, a) => { if (!isZero(a)) inexact(f, 0, Math.expm1(toNumber(a) * Math.LN2)); });
