/**
 * SIMD instructions that TypeScript computes: emitted code lays the operands into a small area of the engine's state, calls the function
 * by its number and takes the result from there. It may do so in every tier, for such a function changes nothing but that area and
 * the sticky flags of MXCSR.
 */
import type { CpuState } from './state.ts';

/** The area, seen as lanes of every width: a at byte 0, b at 16, the result at 32, other parameters and results from 48. */
export class SimdArea {
  readonly u8: Uint8Array;
  readonly s8: Int8Array;
  readonly u16: Uint16Array;
  readonly s16: Int16Array;
  readonly u32: Uint32Array;
  readonly s32: Int32Array;
  readonly u64: BigUint64Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;
  constructor(buffer: ArrayBufferLike, at: number) {
    this.u8 = new Uint8Array(buffer, at, SIMD_AREA);
    this.s8 = new Int8Array(buffer, at, SIMD_AREA);
    this.u16 = new Uint16Array(buffer, at, SIMD_AREA / 2);
    this.s16 = new Int16Array(buffer, at, SIMD_AREA / 2);
    this.u32 = new Uint32Array(buffer, at, SIMD_AREA / 4);
    this.s32 = new Int32Array(buffer, at, SIMD_AREA / 4);
    this.u64 = new BigUint64Array(buffer, at, SIMD_AREA / 8);
    this.f32 = new Float32Array(buffer, at, SIMD_AREA / 4);
    this.f64 = new Float64Array(buffer, at, SIMD_AREA / 8);
  }
}
export const SIMD_AREA = 96;
export const SIMD_A = 0, SIMD_B = 16, SIMD_RESULT = 32, SIMD_EXTRA = 48, SIMD_LENGTHS = 64;

/** False: an exception is to be raised, and nothing but MXCSR's flags has changed. */
export type SimdFunction = (area: SimdArea, cpu: CpuState) => boolean;

const functions: SimdFunction[] = [];
/** Takes a function into the table: its number. */
export const simdFunction = (f: SimdFunction): number => functions.push(f) - 1;
export const callSimd = (n: number, cpu: CpuState): boolean => functions[n]!(cpu.simd, cpu);
