/** SSE4.1 and SSE4.2 without floating point and strings: blends, inserts, extracts, extensions, minima. SDM Vol. 1 ch. 12. */
import type { Translation } from '../../engine/translation.ts';
import type { LV, V128 } from '../../engine/wasm-emitter.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';
import { SIMD_A, SIMD_B, SIMD_EXTRA, SIMD_RESULT, type SimdArea, simdFunction } from '../simd-call.ts';
import { lanes } from './sse-moves.ts';
import { binary, unary } from './ssse3.ts';

const SWIZZLE = 0x0e, V_AND = 0x4e, V_ANDNOT = 0x4f, BITSELECT = 0x52, ANY_TRUE = 0x53;
const I8_SPLAT = 0x0f, I16_SPLAT = 0x10, I32_SPLAT = 0x11, I64_SPLAT = 0x12;
const I8_EQ = 0x23, I16_NE = 0x2e, I32_EQ = 0x37, I32_NE = 0x38, I64_EQ = 0xd6, I64_NE = 0xd7;

/** A constant vector of lanes of `width` bytes. */
const vector = ({ c }: Translation, width: number, values: readonly number[]): V128 => {
  const all = values.reduce((v, n, i) => v | BigInt(n) << BigInt(8 * width * i), 0n);
  return c.constV(all & 0xffff_ffff_ffff_ffffn, all >> 64n);
};
const imm32 = (t: Translation) => t.c.keep32(t.c.wrap(t.immediate()));
const count = (n: number) => Array.from({ length: n }, (_, i) => i);

// ---------------------------------------------------------------- blends

/** b where the lane's bit of the immediate is set. */
const blend = (splat: number, ne: number, width: number): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0), imm = imm32(t);
  const bits = count(16 / width).map((i) => 1 << i);
  const all = splat === I64_SPLAT ? c.opV(splat, c.extendu(c.get(imm))) : c.opV(splat, c.get(imm));
  const chosen = c.keepV(c.opV(ne, c.opV(V_AND, all, vector(t, width, bits)), c.constV(0n, 0n)));
  t.writeV(0, c.keepV(c.opV(BITSELECT, c.get(b), c.get(a), c.get(chosen))));
};
/** b where the sign of XMM0's lane is set. */
const blendVariable = (shift: number, bits: number): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0), mask = t.implicitV(0);
  t.writeV(0, c.keepV(c.opV(BITSELECT, c.get(b), c.get(a), c.opV(shift, c.get(mask), c.const32(bits - 1)))));
};

// ---------------------------------------------------------------- inserts and extracts

/** The lane is brought to the front by a swizzle. */
const extract = (width: number): Emit => (t) => {
  const { c } = t;
  const size = t.operandSize(0) === 8 && width === 4 ? 8 : width;
  const b = t.readV(1), imm = imm32(t);
  const n = c.mul32(c.and32(c.get(imm), c.const32(16 / size - 1)), c.const32(size));
  const index = c.keepV(c.opV(I8_SPLAT, n));
  t.write(0, c.keep64(t.truncate(size, c.lane64(0, c.opV(SWIZZLE, c.get(b), c.opV(0x6e, c.get(index), vector(t, 1, count(16))))))));
};
const insert = (width: number): Emit => (t) => {
  const { c } = t;
  const size = t.operandSize(1) === 8 && width === 4 ? 8 : width;
  const v = t.read(1), a = t.readV(0), imm = imm32(t);
  const lane = () => c.and32(c.get(imm), c.const32(16 / size - 1));
  const mask = c.keepV(size === 1 ? c.opV(I8_EQ, c.opV(I8_SPLAT, lane()), vector(t, 1, count(16)))
    : size === 4 ? c.opV(I32_EQ, c.opV(I32_SPLAT, lane()), vector(t, 4, count(4)))
      : c.opV(I64_EQ, c.opV(I64_SPLAT, c.extendu(lane())), vector(t, 8, count(2))));
  const all = size === 8 ? c.opV(I64_SPLAT, c.get(v)) : c.opV(size === 1 ? I8_SPLAT : I32_SPLAT, c.wrap(c.get(v)));
  t.writeV(0, c.keepV(c.opV(BITSELECT, all, c.get(a), c.get(mask))));
};
/** Immediate: bits 7:6 the lane of a register source, 5:4 the lane it goes to, 3:0 the lanes to clear. */
const insertps: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0), imm = imm32(t);
  const from = t.isMemory(1) ? c.const32(0) : c.and32(c.shru32(c.get(imm), c.const32(6)), c.const32(3));
  const index = c.keepV(c.opV(0x6e, c.opV(I8_SPLAT, c.shl32(from, c.const32(2))), vector(t, 1, count(16).map((i) => i & 3))));
  const place = c.keepV(c.opV(I32_EQ, c.opV(I32_SPLAT, c.and32(c.shru32(c.get(imm), c.const32(4)), c.const32(3))), vector(t, 4, count(4))));
  const cleared = c.keepV(c.opV(I32_NE, c.opV(V_AND, c.opV(I32_SPLAT, c.get(imm)), vector(t, 4, [1, 2, 4, 8])), c.constV(0n, 0n)));
  t.writeV(0, c.keepV(c.opV(V_ANDNOT, c.opV(BITSELECT, c.opV(SWIZZLE, c.get(b), c.get(index)), c.get(a), c.get(place)), c.get(cleared))));
};

// ---------------------------------------------------------------- the rest

/** Sign or zero extension, step by step. */
const extend = (...opcodes: readonly number[]): Emit => unary(({ c }, b) => opcodes.reduce<V128>((v, opcode) => c.opV(opcode, v), c.get(b)));
const op = (opcode: number): Emit => binary(({ c }, a, b) => c.opV(opcode, c.get(a), c.get(b)));
const pmuldq = binary(({ c }, a, b) => {
  const even = (v: LV) => c.shuffleV(lanes(4, 0, 2, 0, 2), c.get(v), c.get(v));
  return c.opV(0xdc, even(a), even(b));
});
/** ZF: a AND b is 0. CF: b AND NOT a is 0. */
const ptest: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const f = c.keep32(c.or32(
    c.shl32(c.eqz32(c.opV32(ANY_TRUE, c.opV(V_AND, c.get(a), c.get(b)))), c.const32(6)),
    c.eqz32(c.opV32(ANY_TRUE, c.opV(V_ANDNOT, c.get(b), c.get(a))))));
  t.flags.setCarry(() => c.const(0));
  t.flags.unpack(f);
};
const move: Emit = (t) => t.writeV(0, t.readV(1));

/** An instruction that TypeScript computes from its operands and immediate. */
export const computed = (f: (area: SimdArea) => void): Emit => {
  const n = simdFunction((area) => { f(area); return true; });
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    t.simdParameter(SIMD_A, a);
    t.simdParameter(SIMD_B, b);
    if (t.shape.row.operands[2] === 'Ib') t.simdParameter(SIMD_EXTRA, c.keepV(c.opV(I64_SPLAT, t.immediate())));
    t.callSimd(n);
    t.writeV(0, t.simdResult(SIMD_RESULT));
  };
};
/** The least word of b and its place. */
const phminposuw = ({ u16, u64 }: SimdArea): void => {
  let at = 0;
  for (let i = 1; i < 8; i++) if (u16[SIMD_B / 2 + i]! < u16[SIMD_B / 2 + at]!) at = i;
  u64[SIMD_RESULT / 8] = BigInt(u16[SIMD_B / 2 + at]! | at << 16);
  u64[SIMD_RESULT / 8 + 1] = 0n;
};
/** Four bytes of b against eight windows of a. */
const mpsadbw = ({ u8, u16 }: SimdArea): void => {
  const imm = u8[SIMD_EXTRA]!;
  const a = SIMD_A + (imm & 4), b = SIMD_B + 4 * (imm & 3);
  for (let i = 0; i < 8; i++) {
    let sum = 0;
    for (let j = 0; j < 4; j++) sum += Math.abs(u8[a + i + j]! - u8[b + j]!);
    u16[SIMD_RESULT / 2 + i] = sum;
  }
};

/** Opcode, mnemonic, WebAssembly opcode. */
const DIRECT: readonly (readonly [string, string, number])[] = [
  ['29', 'PCMPEQQ', I64_EQ], ['2B', 'PACKUSDW', 0x86], ['37', 'PCMPGTQ', 0xd9], ['38', 'PMINSB', 0x76], ['39', 'PMINSD', 0xb6], ['3A', 'PMINUW', 0x97], ['3B', 'PMINUD', 0xb7],
  ['3C', 'PMAXSB', 0x78], ['3D', 'PMAXSD', 0xb8], ['3E', 'PMAXUW', 0x99], ['3F', 'PMAXUD', 0xb9], ['40', 'PMULLD', 0xb5],
];
/** Opcode, mnemonic, source, steps of the signed extension; the unsigned one's are two further in WebAssembly's numbering. */
const EXTENSIONS: readonly (readonly [number, string, string, readonly number[]])[] = [
  [0, 'BW', 'Wq', [0x87]], [1, 'BD', 'Wd', [0x87, 0xa7]], [2, 'BQ', 'Ww', [0x87, 0xa7, 0xc7]], [3, 'WD', 'Wq', [0xa7]], [4, 'WQ', 'Wd', [0xa7, 0xc7]], [5, 'DQ', 'Wq', [0xc7]],
];

export const sse41Rows: readonly Row[] = [
  ...DIRECT.map(([opcode, mnemonic, wasm]) => row(`66 0F38 ${opcode}`, mnemonic, 'Vx Wx', 'sse', emit(op(wasm)))),
  ...EXTENSIONS.map(([n, suffix, source, steps]) => row(`66 0F38 2${n}`, `PMOVSX${suffix}`, `Vx ${source}`, 'sse', emit(extend(...steps)))),
  ...EXTENSIONS.map(([n, suffix, source, steps]) => row(`66 0F38 3${n}`, `PMOVZX${suffix}`, `Vx ${source}`, 'sse', emit(extend(...steps.map((s) => s + 2))))),
  row('66 0F38 10',   'PBLENDVB',   'Vx Wx XMM0', 'sse', emit(blendVariable(0x6c, 8))),
  row('66 0F38 14',   'BLENDVPS',   'Vx Wx XMM0', 'sse', emit(blendVariable(0xac, 32))),
  row('66 0F38 15',   'BLENDVPD',   'Vx Wx XMM0', 'sse', emit(blendVariable(0xcc, 64))),
  row('66 0F38 17',   'PTEST',      'Vx Wx',    'sse w:oszapc', emit(ptest)),
  row('66 0F38 28',   'PMULDQ',     'Vx Wx',    'sse', emit(pmuldq)),
  row('66 0F38 2A m', 'MOVNTDQA',   'Vx Wx',    'sse', emit(move)),
  row('66 0F38 41',   'PHMINPOSUW', 'Vx Wx',    'sse', emit(computed(phminposuw))),
  row('66 0F3A 0C',   'BLENDPS',    'Vx Wx Ib', 'sse', emit(blend(I32_SPLAT, I32_NE, 4))),
  row('66 0F3A 0D',   'BLENDPD',    'Vx Wx Ib', 'sse', emit(blend(I64_SPLAT, I64_NE, 8))),
  row('66 0F3A 0E',   'PBLENDW',    'Vx Wx Ib', 'sse', emit(blend(I16_SPLAT, I16_NE, 2))),
  row('66 0F3A 14 r', 'PEXTRB',     'Rd Vx Ib', 'sse', emit(extract(1))),
  row('66 0F3A 14 m', 'PEXTRB',     'Mb Vx Ib', 'sse', emit(extract(1))),
  row('66 0F3A 15 r', 'PEXTRW',     'Rd Vx Ib', 'sse', emit(extract(2))),
  row('66 0F3A 15 m', 'PEXTRW',     'Mw Vx Ib', 'sse', emit(extract(2))),
  row('66 0F3A 16',   'PEXTRD',     'Ey Vx Ib', 'sse', emit(extract(4))),
  row('66 0F3A 17',   'EXTRACTPS',  'Ed Vx Ib', 'sse', emit(extract(4))),
  row('66 0F3A 20 r', 'PINSRB',     'Vx Rd Ib', 'sse', emit(insert(1))),
  row('66 0F3A 20 m', 'PINSRB',     'Vx Mb Ib', 'sse', emit(insert(1))),
  row('66 0F3A 21 r', 'INSERTPS',   'Vx Ux Ib', 'sse', emit(insertps)),
  row('66 0F3A 21 m', 'INSERTPS',   'Vx Wd Ib', 'sse', emit(insertps)),
  row('66 0F3A 22',   'PINSRD',     'Vx Ey Ib', 'sse', emit(insert(4))),
  row('66 0F3A 42',   'MPSADBW',    'Vx Wx Ib', 'sse', emit(computed(mpsadbw))),
];
