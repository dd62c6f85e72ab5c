/**
 * Ordinary numbers: what floating-point instructions compute without asking MXCSR. An operand must be no denormal, a result neither denormal
 * nor infinite nor a NaN. All tests work on the bits; a zero is no denormal.
 */
import type { Code, I32, LV, V128 } from '../../engine/wasm-emitter.ts';

/** Packed and scalar singles and doubles. */
export type Kind = 'ps' | 'pd' | 'ss' | 'sd';
export const isDouble = (k: Kind): boolean => k.endsWith('d');
export const isScalar = (k: Kind): boolean => k.startsWith('s');

/**
 * Shifted left by one, a denormal is 1 to 2 × minNormal - 1, so less 1 it is below a bound that a zero, now all ones, is not. A result must lie
 * above the smallest normal number, which may stand for a tiny one, and below infinity.
 */
export const DENORMAL = { 4: 0x00ff_ffffn, 8: 0x001f_ffff_ffff_ffffn } as const;
export const LOWEST = { 4: 0x0100_0002n, 8: 0x0020_0000_0000_0002n } as const;
export const SPAN = { 4: 0xff00_0000n - 0x0100_0002n, 8: 0xffe0_0000_0000_0000n - 0x0020_0000_0000_0002n } as const;
const ANY_TRUE = 0x53;
const sizeOf = (k: Kind): 4 | 8 => (isDouble(k) ? 8 : 4);
const both = (c: Code, k: Kind, n: bigint): V128 => {
  const v = isDouble(k) ? BigInt.asUintN(64, n) : BigInt.asUintN(32, n) * 0x1_0000_0001n;
  return c.constV(v, v);
};
/** WebAssembly compares 64-bit lanes as signed only, so half the range is added to both sides. */
const shifted = (c: Code, k: Kind, v: V128, less: bigint): V128 => {
  const half = isDouble(k) ? 2n ** 63n : 2n ** 31n;
  return c.opV(isDouble(k) ? 0xce : 0xae, c.opV(isDouble(k) ? 0xcb : 0xab, v, c.const32(1)), both(c, k, half - less));
};
const bound = (c: Code, k: Kind, n: bigint): V128 => both(c, k, n - (isDouble(k) ? 2n ** 63n : 2n ** 31n));
/** All ones in lanes that are denormal; that are strange results. */
export const denormalLanes = (c: Code, k: Kind, v: V128): V128 => c.opV(isDouble(k) ? 0xd8 : 0x39, shifted(c, k, v, 1n), bound(c, k, DENORMAL[sizeOf(k)]));
export const strangeLanes = (c: Code, k: Kind, v: LV): V128 => c.opV(isDouble(k) ? 0xd9 : 0x3b, shifted(c, k, c.get(v), LOWEST[sizeOf(k)]), bound(c, k, SPAN[sizeOf(k)] - 1n));

/** Of the lanes of its kind. */
export function holdsDenormal(c: Code, k: Kind, v: V128): I32 {
  const lanes = denormalLanes(c, k, v);
  return isScalar(k) ? isDouble(k) ? c.wrap(c.lane64(0, lanes)) : c.opLane32(0x1b, 0, lanes) : c.opV32(ANY_TRUE, lanes);
}

/** The kind of number that an arithmetic instruction takes from its source. */
export const floatKind = (mnemonic: string): Kind | undefined => {
  const m = /^(?:ADD|SUB|MUL|DIV|SQRT)([PS][SD])$/.exec(mnemonic);
  return m ? m[1]!.toLowerCase() as Kind : undefined;
};
