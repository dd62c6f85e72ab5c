/**
 * The SIMD functions (simd-call.ts) of floating-point instructions: each applies a rule of soft-float.ts to the lanes of the operands.
 *
 * Emitted code has tried WebAssembly's arithmetic first and left its result in the area. It stands if rounding is to nearest with all
 * exceptions masked, and operands and result are ordinary numbers: then only PE is open, and plain floating point finds that out.
 */
import {
  type LaneOperation, MXCSR_MASKS, type Precision, DOUBLE, add, begin, convert, divide, finish, multiply, squareRoot, subtract,
} from './soft-float.ts';
import { SIMD_A, SIMD_B, SIMD_EXTRA, SIMD_RESULT, type SimdArea, type SimdFunction, simdFunction } from './simd-call.ts';
import { type CpuState, STATE } from './state.ts';
import { PE } from './x87/float80.ts';

export const readLane = (area: SimdArea, at: number, i: number, p: Precision): bigint =>
  p === DOUBLE ? area.u64[at / 8 + i]! : BigInt(area.u32[at / 4 + i]!);
export function writeLane(area: SimdArea, at: number, i: number, p: Precision, value: bigint): void {
  if (p === DOUBLE) area.u64[at / 8 + i] = value;
  else area.u32[at / 4 + i] = Number(value);
}

/** The rule for each of `lanes` lanes. */
export const byLane = (even: LaneOperation, p: Precision, lanes: number, odd = even): SimdFunction => (area, cpu) => {
  begin(cpu);
  for (let i = 0; i < lanes; i++) writeLane(area, SIMD_RESULT, i, p, (i & 1 ? odd : even)(readLane(area, SIMD_A, i, p), readLane(area, SIMD_B, i, p), p));
  return finish(cpu);
};

// ---------------------------------------------------------------- was it exact?

/** -1: cannot say. 0: exact. 1: rounded. Of numbers so far from the ends of the range that no step here over- or underflows. */
type Exactness = (a: number, b: number, r: number) => number;
const HUGE = 2 ** 900, TINY = 2 ** -400;
const ordinary = (x: number): boolean => { const m = Math.abs(x); return m < HUGE && m > TINY; };
const SPLIT = 2 ** 27 + 1;
/** What a product lacks, by halves of 26 bits (Dekker). */
function productError(a: number, b: number, r: number): number {
  const ta = SPLIT * a, tb = SPLIT * b;
  const ah = ta - (ta - a), bh = tb - (tb - b);
  const al = a - ah, bl = b - bh;
  return al * bl - (r - ah * bh - al * bh - ah * bl);
}
const sumExact: Exactness = (a, b, r) => {
  if (!(ordinary(a) || a === 0) || !(ordinary(b) || b === 0)) return -1;
  const part = r - a;
  return a - (r - part) + (b - part) === 0 ? 0 : 1;
};
const EXACTNESS: ReadonlyMap<LaneOperation, Exactness> = new Map<LaneOperation, Exactness>([
  [add, sumExact],
  [subtract, (a, b, r) => sumExact(a, -b, r)],
  [multiply, (a, b, r) => (a === 0 && ordinary(b) || b === 0 && (ordinary(a) || a === 0) ? 0 : ordinary(a) && ordinary(b) && ordinary(r) ? productError(a, b, r) === 0 ? 0 : 1 : -1)],
  [divide, (a, b, r) => (a === 0 && ordinary(b) ? 0 : ordinary(a) && ordinary(b) && ordinary(r) ? r * b === a && productError(r, b, a) === 0 ? 0 : 1 : -1)],
  [squareRoot, (_a, b, r) => (b === 0 ? 0 : b > 0 && ordinary(b) ? r * r === b && productError(r, r, b) === 0 ? 0 : 1 : -1)],
]);
const ALL_MASKED_NEAREST = MXCSR_MASKS;
/** MXCSR with all masked, to nearest, without DAZ and FTZ. */
const isPlain = (cpu: CpuState): boolean => (cpu.u32[STATE['fpu.mxcsr']! >>> 2]! & 0xffc0) === ALL_MASKED_NEAREST;
const note = (cpu: CpuState): void => { cpu.u32[STATE['fpu.mxcsr']! >>> 2] = cpu.u32[STATE['fpu.mxcsr']! >>> 2]! | PE; };

/** Arithmetic whose plain result lies in the area; odd lanes may follow another rule. */
export function arithmeticFunction(even: LaneOperation, p: Precision, lanes: number, odd = even): number {
  const exactness = [EXACTNESS.get(even)!, EXACTNESS.get(odd)!] as const;
  const soft = byLane(even, p, lanes, odd);
  const stride = 8 / p.size;
  return simdFunction((area, cpu) => {
    if (!isPlain(cpu)) return soft(area, cpu);
    const v = p === DOUBLE ? area.f64 : area.f32;
    const a = SIMD_A / 8 * stride, b = SIMD_B / 8 * stride, r = SIMD_RESULT / 8 * stride;
    let rounded = 0;
    for (let i = 0; i < lanes; i++) {
      // A single's result is looked at as a double would be: rounded if either step was.
      const x = v[a + i]!, y = v[b + i]!, z = v[r + i]!;
      const e = p === DOUBLE ? exactness[i & 1]!(x, y, z) : singleExactness(i & 1 ? odd : even, x, y, z);
      if (e < 0) return soft(area, cpu);
      rounded |= e;
    }
    if (rounded) note(cpu);
    return true;
  });
}

const SINGLE_MIN = 2 ** -126;
const isSingle = (x: number): boolean => { const m = Math.abs(x); return m >= SINGLE_MIN && m < Infinity || m === 0; };
/** Doubles hold the product of two singles, and enough of the others to tell. */
function singleExactness(operation: LaneOperation, a: number, b: number, r: number): number {
  // The smallest normal number may stand for a tiny one.
  if (!isSingle(b) || !isSingle(r) || Math.abs(r) === SINGLE_MIN) return -1;
  if (operation === squareRoot) return b < 0 ? -1 : r * r === b ? 0 : 1;
  if (!isSingle(a)) return -1;
  if (operation === multiply) return a * b === r ? 0 : r === 0 ? -1 : 1;
  if (operation === divide) return b === 0 || r === 0 && a !== 0 ? -1 : r * b === a ? 0 : 1;
  const y = operation === subtract ? -b : b;
  const d = a + y;
  return d === r && sumExact(a, y, d) === 0 ? 0 : 1;
}

/**
 * DPPS and DPPD: the products of the lanes that the immediate's high bits name, added up in the lanes its low bits name.
 * Each step rounds and raises for itself. Silicon adds up in every lane, of two NaNs it takes that of the first term: lane `i` of DPPS
 * adds product `i` to its neighbour, and the other pair's sum to that.
 */
export const dotProduct = (p: Precision, lanes: number): SimdFunction => (area, cpu) => {
  begin(cpu);
  const imm = area.u8[SIMD_EXTRA]!;
  let terms: bigint[] = [];
  for (let i = 0; i < lanes; i++) terms.push(imm >> 4 + i & 1 ? multiply(readLane(area, SIMD_A, i, p), readLane(area, SIMD_B, i, p), p) : 0n);
  if (!finish(cpu)) return false;
  if (lanes === 4) {
    begin(cpu);
    terms = terms.map((term, i) => add(terms[i ^ 1]!, term, p));
    if (!finish(cpu)) return false;
  }
  begin(cpu);
  terms = terms.map((term, i) => add(term, terms[i ^ lanes >> 1]!, p));
  if (!finish(cpu)) return false;
  for (let i = 0; i < lanes; i++) writeLane(area, SIMD_RESULT, i, p, imm >> i & 1 ? terms[i]! : 0n);
  return true;
};

// ---------------------------------------------------------------- RCPPS, RSQRTPS

/**
 * Silicon's tables of 12 bits, as an Intel Xeon answers: the reciprocal (of the root) in the middle of the interval that the top bits of the
 * significand name, 11 of them, or 10 and the exponent's lowest. No exception, no rounding direction; denormals are zeros.
 */
const toFloat = new Float32Array(1), asBits = new Uint32Array(toFloat.buffer);
export function reciprocalBits(x: number, root: boolean): number {
  const sign = x & 0x8000_0000, magnitude = x & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return (x | 0x40_0000) >>> 0;
  if (magnitude < 0x80_0000) return (sign | 0x7f80_0000) >>> 0;
  if (root && sign) return 0xffc0_0000;
  if (magnitude === 0x7f80_0000) return sign >>> 0;
  const exponent = (magnitude >>> 23) - 127, fraction = magnitude & 0x7f_ffff;
  let middle: number, scale: number;
  if (root) {
    middle = (1 + ((fraction >>> 13) + 0.5) / 1024) * (exponent & 1 ? 2 : 1);
    scale = -(exponent >> 1);
  } else {
    middle = 1 + ((fraction >>> 12) + 0.5) / 2048;
    scale = -exponent;
  }
  const r = Math.round((root ? 1 / Math.sqrt(middle) : 1 / middle) * 8192) / 8192;
  if (scale < -125) return sign >>> 0;
  toFloat[0] = r * 2 ** scale;
  return (sign | asBits[0]!) >>> 0;
}
export const reciprocalFunction = (root: boolean, lanes: number): number => simdFunction((area) => {
  for (let i = 0; i < lanes; i++) area.u32[SIMD_RESULT / 4 + i] = reciprocalBits(area.u32[SIMD_B / 4 + i]!, root);
  return true;
});

/** CVTSD2SS, CVTSS2SD and their packed forms. */
export const convertLanes = (from: Precision, to: Precision, lanes: number): SimdFunction => (area, cpu) => {
  begin(cpu);
  for (let i = 0; i < lanes; i++) writeLane(area, SIMD_RESULT, i, to, convert(readLane(area, SIMD_B, i, from), from, to));
  return finish(cpu);
};
export const convertFunction = (from: Precision, to: Precision, lanes: number): number => simdFunction(convertLanes(from, to, lanes));
