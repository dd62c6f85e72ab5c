/** Arithmetic on addresses and bit strings. Addresses are numbers up to 2^53, so no operator here cuts them to 32 bits. */

/** `to` need not be a power of two. */
export const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to;
export const alignDown = (n: number, to: number): number => Math.floor(n / to) * to;

/** Reads the low `bits` of a 32-bit number as two's complement. */
export const signExtend = (value: number, bits: number): number => (value << (32 - bits)) >> (32 - bits);

/** Number of bits set in a 32-bit number. */
export function popcount(value: number): number {
  let v = value - ((value >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Number of the lowest bit set; 32 when none is. */
export const ctz = (value: number): number => (value === 0 ? 32 : 31 - Math.clz32(value & -value));
