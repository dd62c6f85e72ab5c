/** SSE and SSE2: moves, shuffles, and moves between XMM and general registers. */
import type { Translation } from '../../engine/translation.ts';
import { type I32, type LV, type V128, v128 } from '../../engine/wasm-emitter.ts';
import { checkAlignment, explicit, linearAddress, probeWrite, writeLinear } from '../memory.ts';
import { type Emit, type Exec, type Row, emit, exec, row } from '../opcode-row.ts';
import { readGpr } from '../operands.ts';
import { RDI } from '../state.ts';

/** Opcodes of the 0xfd group of WebAssembly used here. */
const SWIZZLE = 0x0e, I32_SPLAT = 0x11, I64_SPLAT = 0x12, I32_REPLACE = 0x1c, I16_REPLACE = 0x1a, I16_EXTRACT_U = 0x19;
const I8_BITMASK = 0x64, I32_BITMASK = 0xa4, I64_BITMASK = 0xc4;

const LOW_A_HIGH_B = [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31];
/** Lane selections for shuffleV, by lanes of `width` bytes: 0… are the first vector's. */
export const lanes = (width: number, ...order: number[]): number[] => order.flatMap((l) => Array.from({ length: width }, (_, i) => l * width + i));

const move = (unaligned: boolean): Emit => (t) => t.writeV(0, t.readV(1, unaligned), unaligned);
/** MOVSS and MOVSD: loads clear the rest of the register, register moves keep it. */
const moveScalar = (size: 4 | 8): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1);
  if (t.isMemory(0) || t.isMemory(1)) return t.writeV(0, b);
  const a = t.readV(0);
  t.writeV(0, c.keepV(c.shuffleV(size === 8 ? LOW_A_HIGH_B : lanes(4, 0, 5, 6, 7), c.get(b), c.get(a))));
};
/** MOVQ between XMM registers or from memory: the high half is cleared. */
const moveq: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1);
  if (t.isMemory(0)) return t.writeV(0, b);
  t.writeV(0, c.keepV(c.opV(0x4e, c.get(b), c.constV(-1n & 0xffff_ffff_ffff_ffffn, 0n))));
};
/** MOVLPS, MOVHPS and their register forms: one half of the destination from one half of the source. */
const half = (to: 0 | 1, from: 0 | 1): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  t.writeV(0, c.keepV(c.shuffleV(lanes(8, to === 0 ? 2 + from : 0, to === 0 ? 1 : 2 + from), c.get(a), c.get(b))));
};
const storeHalf = (from: 0 | 1): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1);
  t.writeV(0, c.keepV(c.shuffleV(lanes(8, from, 1), c.get(b), c.get(b))));
};
/** MOVD and MOVQ with general registers. */
const fromGeneral: Emit = (t) => {
  const { c } = t;
  const b = t.read(1);
  t.writeV(0, c.keepV(c.replace64(0, c.constV(0n, 0n), c.get(b))));
};
const toGeneral: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1);
  t.write(0, c.keep64(t.truncate(t.operandSize(0), c.lane64(0, c.get(b)))));
};
const mask = (opcode: number): Emit => (t) => {
  const { c } = t;
  t.write(0, c.keep64(c.extendu(c.opV32(opcode, c.get(t.readV(1))))));
};

/** The interleaving of two low or high halves, by lanes of `width` bytes. */
const unpack = (width: number, high: boolean): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const n = 16 / width, first = high ? n / 2 : 0;
  const order = Array.from({ length: n }, (_, i) => first + (i >> 1) + (i & 1 ? n : 0));
  t.writeV(0, c.keepV(c.shuffleV(lanes(width, ...order), c.get(a), c.get(b))));
};

// ---------------------------------------------------------------- shuffles by an immediate

/** Field k of the immediate, two bits wide. */
const select = ({ c }: Translation, imm: ReturnType<Translation['c']['keep32']>, k: number): I32 => c.and32(c.shru32(c.get(imm), c.const32(2 * k)), c.const32(3));
/** Byte numbers of the four selected lanes of 4 bytes, for a swizzle. */
function pick(t: Translation, imm: ReturnType<Translation['c']['keep32']>): V128 {
  const { c } = t;
  const at = (k: number) => c.add32(c.mul32(select(t, imm, k), c.const32(0x0404_0404)), c.const32(0x0302_0100));
  let v = c.opV(I32_SPLAT, at(0));
  for (const k of [1, 2, 3]) v = c.opReplace(I32_REPLACE, k, v, at(k));
  return v;
}
const immediate = (t: Translation) => t.c.keep32(t.c.wrap(t.immediate()));
const pshufd: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), imm = immediate(t);
  t.writeV(0, c.keepV(c.opV(SWIZZLE, c.get(b), pick(t, imm))));
};
const shufps: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0), imm = immediate(t);
  const index = c.keepV(pick(t, imm));
  t.writeV(0, c.keepV(c.shuffleV(lanes(8, 0, 3), c.opV(SWIZZLE, c.get(a), c.get(index)), c.opV(SWIZZLE, c.get(b), c.get(index)))));
};
const shufpd: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0), imm = immediate(t);
  const choose = (v: LV, bit: number) => c.select(c.lane64(1, c.get(v)), c.lane64(0, c.get(v)), c.and32(c.get(imm), c.const32(bit)));
  t.writeV(0, c.keepV(c.replace64(1, c.opV(I64_SPLAT, choose(a, 1)), choose(b, 2))));
};
/** PSHUFLW and PSHUFHW: four words of one half, the other half as it is. */
const pshufw = (high: boolean): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), imm = immediate(t), base = high ? 4 : 0;
  const identity = Array.from({ length: 16 }, (_, i) => BigInt(i)).reduce((v, i) => v | i << i * 8n, 0n);
  let index = c.constV(identity & 0xffff_ffff_ffff_ffffn, identity >> 64n);
  for (const k of [0, 1, 2, 3]) {
    index = c.opReplace(I16_REPLACE, base + k, index, c.add32(c.mul32(select(t, imm, k), c.const32(0x0202)), c.const32(0x0100 + 0x0202 * base)));
  }
  const order = c.local(v128);
  c.set(order, index);
  t.writeV(0, c.keepV(c.opV(SWIZZLE, c.get(b), c.get(order))));
};
/** PINSRW and PEXTRW: the word is found by rotating the vector through a swizzle. */
const pextrw: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), imm = immediate(t);
  const index = c.opV(I32_SPLAT, c.add32(c.mul32(c.and32(c.get(imm), c.const32(7)), c.const32(0x0202)), c.const32(0x0100)));
  const order = c.keepV(index);
  t.write(0, c.keep64(c.extendu(c.opLane32(I16_EXTRACT_U, 0, c.opV(SWIZZLE, c.get(b), c.get(order))))));
};
const pinsrw: Emit = (t) => {
  const { c } = t;
  const word = t.read(1), a = t.readV(0), n = c.keep32(c.shl32(c.and32(c.wrap(t.immediate()), c.const32(7)), c.const32(4)));
  // A 16-bit hole in the right half, and the word in it.
  for (const lane of [0, 1]) {
    const shift = c.keep64(c.extendu(c.and32(c.get(n), c.const32(63))));
    c.if(c.eq32(c.shru32(c.get(n), c.const32(6)), c.const32(lane)), () => {
      c.set(a, c.replace64(lane, c.get(a), c.or(
        c.and(c.lane64(lane, c.get(a)), c.xor(c.shl(c.const(0xffff), c.get(shift)), c.const(-1))),
        c.shl(c.and(c.get(word), c.const(0xffff)), c.get(shift)))));
    });
  }
  t.writeV(0, a);
};
/**
 * MASKMOVDQU: bytes whose mask has its top bit set go to DS:rDI. Processors make it two stores of eight bytes, the upper half
 * first, which fault whatever the mask is.
 */
const maskmovdqu: Exec = (cpu, insn) => {
  const { xmm } = cpu.state.fpu;
  const byte = (register: number, i: number) => Number(xmm.get(2 * register + (i >> 3)) >> BigInt(8 * (i & 7)) & 0xffn);
  const address = readGpr(cpu, insn, RDI, insn.addrSize);
  const stores = Array.from({ length: 16 }, (_, i) => i).filter((i) => byte(insn.rm, i) & 0x80);
  const linear = (i: number) => linearAddress(cpu, insn.seg, BigInt.asUintN(8 * insn.addrSize, address + BigInt(i)), 1, true);
  for (const half of [8, 0]) {
    const to = linearAddress(cpu, insn.seg, BigInt.asUintN(8 * insn.addrSize, address + BigInt(half)), 8, true);
    checkAlignment(cpu, to, 8, explicit(cpu));
    probeWrite(cpu, to, 8, explicit(cpu));
  }
  for (const i of stores) writeLinear(cpu, linear(i), 1, BigInt(byte(insn.reg, i)), explicit(cpu));
};

export const sseMoveRows: readonly Row[] = [
  row('NP 0F 10',   'MOVUPS',   'Vx Wx',    'sse', emit(move(true))),
  row('66 0F 10',   'MOVUPD',   'Vx Wx',    'sse', emit(move(true))),
  row('F3 0F 10',   'MOVSS',    'Vx Wss',   'sse', emit(moveScalar(4))),
  row('F2 0F 10',   'MOVSD',    'Vx Wsd',   'sse', emit(moveScalar(8))),
  row('NP 0F 11',   'MOVUPS',   'Wx Vx',    'sse', emit(move(true))),
  row('66 0F 11',   'MOVUPD',   'Wx Vx',    'sse', emit(move(true))),
  row('F3 0F 11',   'MOVSS',    'Wss Vx',   'sse', emit(moveScalar(4))),
  row('F2 0F 11',   'MOVSD',    'Wsd Vx',   'sse', emit(moveScalar(8))),
  row('NP 0F 12 m', 'MOVLPS',   'Vx Wsd',   'sse', emit(half(0, 0))),
  row('NP 0F 12 r', 'MOVHLPS',  'Vx Ux',    'sse', emit(half(0, 1))),
  row('66 0F 12 m', 'MOVLPD',   'Vx Wsd',   'sse', emit(half(0, 0))),
  row('NP 0F 13 m', 'MOVLPS',   'Wsd Vx',   'sse', emit(storeHalf(0))),
  row('66 0F 13 m', 'MOVLPD',   'Wsd Vx',   'sse', emit(storeHalf(0))),
  row('NP 0F 14',   'UNPCKLPS', 'Vx Wx',    'sse', emit(unpack(4, false))),
  row('66 0F 14',   'UNPCKLPD', 'Vx Wx',    'sse', emit(unpack(8, false))),
  row('NP 0F 15',   'UNPCKHPS', 'Vx Wx',    'sse', emit(unpack(4, true))),
  row('66 0F 15',   'UNPCKHPD', 'Vx Wx',    'sse', emit(unpack(8, true))),
  row('NP 0F 16 m', 'MOVHPS',   'Vx Wsd',   'sse', emit(half(1, 0))),
  row('NP 0F 16 r', 'MOVLHPS',  'Vx Ux',    'sse', emit(half(1, 0))),
  row('66 0F 16 m', 'MOVHPD',   'Vx Wsd',   'sse', emit(half(1, 0))),
  row('NP 0F 17 m', 'MOVHPS',   'Wsd Vx',   'sse', emit(storeHalf(1))),
  row('66 0F 17 m', 'MOVHPD',   'Wsd Vx',   'sse', emit(storeHalf(1))),
  row('NP 0F 28',   'MOVAPS',   'Vx Wx',    'sse', emit(move(false))),
  row('66 0F 28',   'MOVAPD',   'Vx Wx',    'sse', emit(move(false))),
  row('NP 0F 29',   'MOVAPS',   'Wx Vx',    'sse', emit(move(false))),
  row('66 0F 29',   'MOVAPD',   'Wx Vx',    'sse', emit(move(false))),
  row('NP 0F 2B m', 'MOVNTPS',  'Wx Vx',    'sse', emit(move(false))),
  row('66 0F 2B m', 'MOVNTPD',  'Wx Vx',    'sse', emit(move(false))),
  row('NP 0F 50 r', 'MOVMSKPS', 'Gd Ux',    'sse', emit(mask(I32_BITMASK))),
  row('66 0F 50 r', 'MOVMSKPD', 'Gd Ux',    'sse', emit(mask(I64_BITMASK))),
  row('66 0F 60',   'PUNPCKLBW', 'Vx Wx',   'sse', emit(unpack(1, false))),
  row('66 0F 61',   'PUNPCKLWD', 'Vx Wx',   'sse', emit(unpack(2, false))),
  row('66 0F 62',   'PUNPCKLDQ', 'Vx Wx',   'sse', emit(unpack(4, false))),
  row('66 0F 68',   'PUNPCKHBW', 'Vx Wx',   'sse', emit(unpack(1, true))),
  row('66 0F 69',   'PUNPCKHWD', 'Vx Wx',   'sse', emit(unpack(2, true))),
  row('66 0F 6A',   'PUNPCKHDQ', 'Vx Wx',   'sse', emit(unpack(4, true))),
  row('66 0F 6C',   'PUNPCKLQDQ', 'Vx Wx',  'sse', emit(unpack(8, false))),
  row('66 0F 6D',   'PUNPCKHQDQ', 'Vx Wx',  'sse', emit(unpack(8, true))),
  row('66 0F 6E',   'MOVD',     'Vx Ey',    'sse', emit(fromGeneral)),
  row('66 0F 6F',   'MOVDQA',   'Vx Wx',    'sse', emit(move(false))),
  row('F3 0F 6F',   'MOVDQU',   'Vx Wx',    'sse', emit(move(true))),
  row('66 0F 70',   'PSHUFD',   'Vx Wx Ib', 'sse', emit(pshufd)),
  row('F2 0F 70',   'PSHUFLW',  'Vx Wx Ib', 'sse', emit(pshufw(false))),
  row('F3 0F 70',   'PSHUFHW',  'Vx Wx Ib', 'sse', emit(pshufw(true))),
  row('66 0F 7E',   'MOVD',     'Ey Vx',    'sse', emit(toGeneral)),
  row('F3 0F 7E',   'MOVQ',     'Vx Wsd',   'sse', emit(moveq)),
  row('66 0F 7F',   'MOVDQA',   'Wx Vx',    'sse', emit(move(false))),
  row('F3 0F 7F',   'MOVDQU',   'Wx Vx',    'sse', emit(move(true))),
  row('66 0F C4',   'PINSRW',   'Vx Ew Ib', 'sse', emit(pinsrw)),
  row('66 0F C5 r', 'PEXTRW',   'Gd Ux Ib', 'sse', emit(pextrw)),
  row('NP 0F C6',   'SHUFPS',   'Vx Wx Ib', 'sse', emit(shufps)),
  row('66 0F C6',   'SHUFPD',   'Vx Wx Ib', 'sse', emit(shufpd)),
  row('66 0F D6',   'MOVQ',     'Wsd Vx',   'sse', emit(moveq)),
  row('66 0F D7 r', 'PMOVMSKB', 'Gd Ux',    'sse', emit(mask(I8_BITMASK))),
  row('66 0F F7 r', 'MASKMOVDQU', 'Vx Ux', 'sse straight', exec(maskmovdqu)),
  row('66 0F E7 m', 'MOVNTDQ',  'Wx Vx',    'sse', emit(move(false))),
];
