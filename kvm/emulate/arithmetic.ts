/**
 * Integer arithmetic with flags on operands of 1 to 8 bytes, values as unsigned bigint. SDM Vol. 2, the flags sections.
 */
import { mask } from './registers.ts';
import { AF, CF, OF, PF, SF, ZF } from './types.ts';

export const ARITHMETIC = CF | PF | AF | ZF | SF | OF;

/** PF of a byte: set when the number of ones is even. */
const PARITY = Uint8Array.from({ length: 256 }, (_, byte) => {
  let ones = 0;
  for (let b = byte; b !== 0; b >>= 1) ones += b & 1;
  return ones % 2 === 0 ? PF : 0;
});

const signBit = (bytes: number): bigint => 1n << BigInt(bytes * 8 - 1);
const szp = (result: bigint, bytes: number): number =>
  PARITY[Number(result & 0xffn)]! | (result === 0n ? ZF : 0) | (result & signBit(bytes) ? SF : 0);

/** Where an operation leaves its flags; `value` is what it returns. */
export interface Alu { flags: number }

export function add(alu: Alu, a: bigint, b: bigint, bytes: number, carry = 0n): bigint {
  const sum = a + b + carry;
  const result = sum & mask(bytes);
  alu.flags = (alu.flags & ~ARITHMETIC) | szp(result, bytes) | (sum > mask(bytes) ? CF : 0)
    | ((a ^ b ^ result) & 0x10n ? AF : 0) | ((a ^ result) & (b ^ result) & signBit(bytes) ? OF : 0);
  return result;
}

export function sub(alu: Alu, a: bigint, b: bigint, bytes: number, borrow = 0n): bigint {
  const result = (a - b - borrow) & mask(bytes);
  alu.flags = (alu.flags & ~ARITHMETIC) | szp(result, bytes) | (a < b + borrow ? CF : 0)
    | ((a ^ b ^ result) & 0x10n ? AF : 0) | ((a ^ b) & (a ^ result) & signBit(bytes) ? OF : 0);
  return result;
}

export function logic(alu: Alu, result: bigint, bytes: number): bigint {
  alu.flags = (alu.flags & ~ARITHMETIC) | szp(result, bytes);
  return result;
}

/** INC and DEC: as ADD and SUB of 1, CF kept. */
export function inc(alu: Alu, a: bigint, bytes: number): bigint {
  const carry = alu.flags & CF;
  const result = add(alu, a, 1n, bytes);
  alu.flags = (alu.flags & ~CF) | carry;
  return result;
}
export function dec(alu: Alu, a: bigint, bytes: number): bigint {
  const carry = alu.flags & CF;
  const result = sub(alu, a, 1n, bytes);
  alu.flags = (alu.flags & ~CF) | carry;
  return result;
}

/** The eight shifts and rotates by their ModRM.reg: ROL ROR RCL RCR SHL SHR SAL SAR. A count of 0 changes nothing. */
export function shift(alu: Alu, operation: number, a: bigint, rawCount: number, bytes: number): bigint {
  const bits = bytes * 8;
  let count = rawCount & (bytes === 8 ? 0x3f : 0x1f);
  if (count === 0) return a;
  const m = mask(bytes);
  const top = signBit(bytes);
  const carry = (on: boolean, overflow: boolean) => { alu.flags = (alu.flags & ~(CF | OF)) | (on ? CF : 0) | (overflow ? OF : 0); };
  switch (operation) {
    case 0: {
      const n = BigInt(count % bits);
      const result = ((a << n) | (a >> (BigInt(bits) - n))) & m;
      carry((result & 1n) !== 0n, ((result & top) !== 0n) !== ((result & 1n) !== 0n));
      return result;
    }
    case 1: {
      const n = BigInt(count % bits);
      const result = ((a >> n) | (a << (BigInt(bits) - n))) & m;
      carry((result & top) !== 0n, ((result & top) !== 0n) !== ((result & (top >> 1n)) !== 0n));
      return result;
    }
    case 2: case 3: {
      // Through CF: a rotation of bits + 1 bits.
      count %= bits + 1;
      const wide = BigInt(bits + 1);
      const value = a | (alu.flags & CF ? 1n << BigInt(bits) : 0n);
      const n = BigInt(count);
      const turned = (operation === 2 ? (value << n) | (value >> (wide - n)) : (value >> n) | (value << (wide - n))) & ((1n << wide) - 1n);
      const result = turned & m;
      const out = turned >> BigInt(bits) !== 0n;
      carry(out, operation === 2 ? ((result & top) !== 0n) !== out : ((result & top) !== 0n) !== ((result & (top >> 1n)) !== 0n));
      return result;
    }
    case 5: {
      const result = count >= bits ? 0n : a >> BigInt(count);
      const out = count <= bits && ((a >> BigInt(count - 1)) & 1n) !== 0n;
      logic(alu, result, bytes);
      carry(out, (a & top) !== 0n);
      return result;
    }
    case 7: {
      const signed = BigInt.asIntN(bits, a);
      const result = (signed >> BigInt(count)) & m;
      const out = ((signed >> BigInt(count - 1)) & 1n) !== 0n;
      logic(alu, result, bytes);
      carry(out, false);
      return result;
    }
    default: {
      const shifted = a << BigInt(count);
      const result = shifted & m;
      const out = (shifted & (m + 1n)) !== 0n;
      logic(alu, result, bytes);
      carry(out, ((result & top) !== 0n) !== out);
      return result;
    }
  }
}

/** SHLD and SHRD: `fill` supplies the bits that enter. */
export function doubleShift(alu: Alu, left: boolean, a: bigint, fill: bigint, rawCount: number, bytes: number): bigint {
  const bits = bytes * 8;
  const count = rawCount & (bytes === 8 ? 0x3f : 0x1f);
  if (count === 0 || count > bits) return a;
  const m = mask(bytes);
  const n = BigInt(count);
  const rest = BigInt(bits) - n;
  const result = (left ? (a << n) | (fill >> rest) : (a >> n) | (fill << rest)) & m;
  const out = ((left ? a >> rest : a >> (n - 1n)) & 1n) !== 0n;
  const top = signBit(bytes);
  logic(alu, result, bytes);
  alu.flags |= (out ? CF : 0) | ((a ^ result) & top ? OF : 0);
  return result;
}

/** A condition by the low four bits of its opcode. */
export function condition(cc: number, flags: number): boolean {
  let holds: boolean;
  switch ((cc >> 1) & 7) {
    case 0: holds = (flags & OF) !== 0; break;
    case 1: holds = (flags & CF) !== 0; break;
    case 2: holds = (flags & ZF) !== 0; break;
    case 3: holds = (flags & (CF | ZF)) !== 0; break;
    case 4: holds = (flags & SF) !== 0; break;
    case 5: holds = (flags & PF) !== 0; break;
    case 6: holds = ((flags & SF) !== 0) !== ((flags & OF) !== 0); break;
    default: holds = (flags & ZF) !== 0 || ((flags & SF) !== 0) !== ((flags & OF) !== 0);
  }
  return (cc & 1) !== 0 ? !holds : holds;
}
