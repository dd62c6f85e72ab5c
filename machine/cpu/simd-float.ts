/**
 * The SIMD functions (simd-call.ts) of floating-point instructions: each applies a rule of soft-float.ts to the lanes of the operands.
 *
 * Emitted code has tried WebAssembly's arithmetic first and left its result in the area. It stands if rounding is to nearest with all
 * exceptions masked, and operands and result are ordinary numbers: then only PE is open, and plain floating point finds that out.
 */
import {
  type LaneOperation, MXCSR_MASKS, type Precision, DOUBLE, add, begin, convert, divide, finish, multiply, squareRoot, subtract,
} from './soft-float.ts';
import { SIMD_A, SIMD_B, SIMD_RESULT, type SimdArea, type SimdFunction, simdFunction } from './simd-call.ts';
import { type CpuState, STATE } from './state.ts';
import { PE } from './x87/float80.ts';

export const readLane = (area: SimdArea, at: number, i: number, p: Precision): bigint =>
  p === DOUBLE ? area.u64[at / 8 + i]! : BigInt(area.u32[at / 4 + i]!);
export function writeLane(area: SimdArea, at: number, i: number, p: Precision, value: bigint): void {
  if (p === DOUBLE) area.u64[at / 8 + i] = value;
  else area.u32[at / 4 + i] = Number(value);
}

/** The rule for each of `lanes` lanes. */
export const byLane = (operation: LaneOperation, p: Precision, lanes: number): SimdFunction => (area, cpu) => {
  begin(cpu);
  for (let i = 0; i < lanes; i++) writeLane(area, SIMD_RESULT, i, p, operation(readLane(area, SIMD_A, i, p), readLane(area, SIMD_B, i, p), p));
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

/** Arithmetic whose plain result lies in the area. */
export function arithmeticFunction(operation: LaneOperation, p: Precision, lanes: number): number {
  const exactness = EXACTNESS.get(operation)!;
  const soft = byLane(operation, p, lanes);
  const stride = 8 / p.size;
  return simdFunction((area, cpu) => {
    if (!isPlain(cpu)) return soft(area, cpu);
    const v = p === DOUBLE ? area.f64 : area.f32;
    const a = SIMD_A / 8 * stride, b = SIMD_B / 8 * stride, r = SIMD_RESULT / 8 * stride;
    let rounded = 0;
    for (let i = 0; i < lanes; i++) {
      // A single's result is looked at as a double would be: rounded if either step was.
      const x = v[a + i]!, y = v[b + i]!, z = v[r + i]!;
      const e = p === DOUBLE ? exactness(x, y, z) : singleExactness(operation, x, y, z);
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

/** CVTSD2SS, CVTSS2SD and their packed forms. */
export const convertLanes = (from: Precision, to: Precision, lanes: number): SimdFunction => (area, cpu) => {
  begin(cpu);
  for (let i = 0; i < lanes; i++) writeLane(area, SIMD_RESULT, i, to, convert(readLane(area, SIMD_B, i, from), from, to));
  return finish(cpu);
};
export const convertFunction = (from: Precision, to: Precision, lanes: number): number => simdFunction(convertLanes(from, to, lanes));
