/**
 * SSE and SSE2 arithmetic on floats and doubles. Rounding is to nearest and all exceptions are masked, whatever MXCSR
 * says, and its status flags are not set.
 *
 * WebAssembly leaves the bits of a NaN result open, x86 does not: the first operand that is a NaN, made quiet, else the
 * default NaN. Where a result is a NaN, which is rare, it is made again by that rule.
 */
import type { Translation } from '../../engine/translation.ts';
import { type F64, type I32, type I64, type LV, type V128, f64 } from '../../engine/wasm-emitter.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';
import { lanes } from './sse-moves.ts';

type Kind = 'ps' | 'pd' | 'ss' | 'sd';
const isDouble = (k: Kind): boolean => k.endsWith('d');
const isScalar = (k: Kind): boolean => k.startsWith('s');

/** WebAssembly opcodes of the 0xfd group: [f32x4, f64x2]. */
const ADD = [0xe4, 0xf0], SUB = [0xe5, 0xf1], MUL = [0xe6, 0xf2], DIV = [0xe7, 0xf3], PMIN = [0xea, 0xf6], PMAX = [0xeb, 0xf7], SQRT = [0xe3, 0xef];
const EQ = [0x41, 0x47], NE = [0x42, 0x48], LT = [0x43, 0x49], LE = [0x45, 0x4b];
const V_AND = 0x4e, V_OR = 0x50, V_XOR = 0x51, V_ANDNOT = 0x4f, BITSELECT = 0x52, ANY_TRUE = 0x53, V_NOT = 0x4d;
const F32_SPLAT = 0x13, F64_SPLAT = 0x14, F32_LANE = 0x1f, F64_LANE = 0x21;
const of = (opcode: readonly number[], k: Kind): number => opcode[isDouble(k) ? 1 : 0]!;

const both = (low: bigint, c: Translation['c']): V128 => c.constV(low, low);
const quietBit = (k: Kind) => isDouble(k) ? 0x0008_0000_0000_0000n : 0x0040_0000_0040_0000n;
const defaultNan = (k: Kind) => isDouble(k) ? 0xfff8_0000_0000_0000n : 0xffc0_0000_ffc0_0000n;

/** r with its NaNs as x86 makes them from a and b. */
function fixNan({ c }: Translation, k: Kind, r: LV, a: LV, b: LV): void {
  const nan = (v: LV) => c.opV(of(NE, k), c.get(v), c.get(v));
  const quiet = (v: LV) => c.opV(V_OR, c.get(v), both(quietBit(k), c));
  c.if(c.opV32(ANY_TRUE, nan(r)), () => {
    c.set(r, c.opV(BITSELECT,
      c.opV(BITSELECT, quiet(a), c.opV(BITSELECT, quiet(b), both(defaultNan(k), c), nan(b)), nan(a)),
      c.get(r), nan(r)));
  });
}
/** A scalar instruction changes the low lane of the destination only. */
function result(t: Translation, k: Kind, a: LV, r: LV): void {
  const { c } = t;
  if (!isScalar(k)) return t.writeV(0, r);
  t.writeV(0, c.keepV(c.shuffleV(isDouble(k) ? lanes(8, 0, 3) : lanes(4, 0, 5, 6, 7), c.get(r), c.get(a))));
}

const arithmetic = (opcode: readonly number[]) => (k: Kind): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const r = c.keepV(c.opV(of(opcode, k), c.get(a), c.get(b)));
  fixNan(t, k, r, a, b);
  result(t, k, a, r);
};
/** MIN and MAX give the second operand when the two are equal or one is a NaN: WebAssembly's pmin with operands swapped. */
const extreme = (opcode: readonly number[]) => (k: Kind): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  result(t, k, a, c.keepV(c.opV(of(opcode, k), c.get(b), c.get(a))));
};
const sqrt = (k: Kind): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const r = c.keepV(c.opV(of(SQRT, k), c.get(b)));
  fixNan(t, k, r, b, b);
  result(t, k, a, r);
};
/** RCPPS and RSQRTPS promise 12 bits; these give all. */
const reciprocal = (root: boolean) => (k: Kind): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const r = c.keepV(c.opV(DIV[0]!, both(0x3f80_0000_3f80_0000n, c), root ? c.opV(SQRT[0]!, c.get(b)) : c.get(b)));
  fixNan(t, k, r, b, b);
  result(t, k, a, r);
};
const logic = (opcode: number, swapped = false): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  t.writeV(0, c.keepV(swapped ? c.opV(opcode, c.get(b), c.get(a)) : c.opV(opcode, c.get(a), c.get(b))));
};

/** CMPPS and kin: predicates EQ LT LE UNORD, and with bit 2 their negations. */
const compare = (k: Kind): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const imm = c.keep32(c.wrap(t.immediate())), r = c.keepV(both(0n, c));
  const when = (n: number, v: () => V128) => c.if(c.eq32(c.and32(c.get(imm), c.const32(3)), c.const32(n)), () => c.set(r, v()));
  when(0, () => c.opV(of(EQ, k), c.get(a), c.get(b)));
  when(1, () => c.opV(of(LT, k), c.get(a), c.get(b)));
  when(2, () => c.opV(of(LE, k), c.get(a), c.get(b)));
  when(3, () => c.opV(V_OR, c.opV(of(NE, k), c.get(a), c.get(a)), c.opV(of(NE, k), c.get(b), c.get(b))));
  c.if(c.and32(c.get(imm), c.const32(4)), () => c.set(r, c.opV(V_NOT, c.get(r))));
  result(t, k, a, r);
};

/** The low lane as a double, exactly. */
const low = ({ c }: Translation, k: Kind, v: LV): F64 =>
  isDouble(k) ? c.opLaneF64(F64_LANE, 0, c.get(v)) : c.opF64(0xbb, c.opLaneF32(F32_LANE, 0, c.get(v)));

/** COMISD and UCOMISD: ZF PF CF 111 unordered, 100 equal, 001 less, 000 greater. */
const comi = (k: Kind): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const x = c.local(f64), y = c.local(f64);
  c.set(x, low(t, k, a));
  c.set(y, low(t, k, b));
  const f = c.keep32(c.testF(0x63, c.get(x), c.get(y)));
  c.if(c.testF(0x61, c.get(x), c.get(y)), () => c.set(f, c.const32(0x40)));
  c.if(c.or32(c.testF(0x62, c.get(x), c.get(x)), c.testF(0x62, c.get(y), c.get(y))), () => c.set(f, c.const32(0x45)));
  t.flags.setCarry(() => c.const(0));
  t.flags.unpack(f);
};

// ---------------------------------------------------------------- conversions

/** CVTSI2SS, CVTSI2SD. */
const fromInteger = (k: Kind): Emit => (t) => {
  const { c } = t;
  const b = t.read(1), a = t.readV(0);
  const wide = () => c.extend(t.operandSize(1), c.get(b));
  const r = c.keepV(isDouble(k) ? c.opV(F64_SPLAT, c.opF64(0xb9, wide())) : c.opV(F32_SPLAT, c.opF32(0xb4, wide())));
  result(t, k, a, r);
};
/** A double to an integer of `size` bytes; what does not fit, and NaN, is the smallest one. */
function toInteger(t: Translation, size: number, v: () => F64): I64 {
  const { c } = t;
  const x = c.local(f64);
  c.set(x, v());
  const smallest = size === 8 ? -(2n ** 63n) : 0x8000_0000n;
  const bound = size === 8 ? 2 ** 63 : 2 ** 31;
  const r = c.keep64(c.const(smallest));
  // x >= -bound (or, in 32 bits, x > -bound - 1 after truncation) and x < bound; false for NaN.
  c.if(c.and32(c.testF(0x63, c.get(x), c.constF64(bound)), size === 8 ? c.testF(0x66, c.get(x), c.constF64(-bound)) : c.testF(0x64, c.get(x), c.constF64(-bound - 1))),
    () => c.set(r, c.saturate64(6, c.get(x))));
  return c.get(r);
}
const nearest = ({ c }: Translation, v: F64): F64 => c.opF64(0x9e, v);
const scalarToInteger = (k: Kind, truncate: boolean): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1);
  t.write(0, c.keep64(toInteger(t, t.operandSize(0), () => truncate ? low(t, k, b) : nearest(t, low(t, k, b)))));
};
/** CVTSD2SS and CVTSS2SD. A NaN keeps its sign and the top of its payload, made quiet. */
const narrow = (t: Translation, v: LV, lane: number): I32 => {
  const { c } = t;
  const x = c.local(f64);
  c.set(x, c.opLaneF64(F64_LANE, lane, c.get(v)));
  const bits = c.keep64(c.lane64(lane, c.get(v)));
  const r = c.keep32(c.op32From(0xbc, c.opF32(0xb6, c.get(x))));
  c.if(c.testF(0x62, c.get(x), c.get(x)), () => c.set(r, c.or32(
    c.or32(c.wrap(c.and(c.shru(c.get(bits), c.const(32)), c.const(0x8000_0000))), c.const32(0x7fc0_0000)),
    c.wrap(c.and(c.shru(c.get(bits), c.const(29)), c.const(0x3f_ffff))))));
  return c.get(r);
};
const widen = (t: Translation, v: LV, lane: number): I64 => {
  const { c } = t;
  const bits = c.keep64(c.extendu(c.opLane32(0x1b, lane, c.get(v))));
  const r = c.keep64(c.op64From(0xbd, c.opF64(0xbb, c.opLaneF32(F32_LANE, lane, c.get(v)))));
  c.if(c.gtu(c.and(c.get(bits), c.const(0x7fff_ffff)), c.const(0x7f80_0000)), () => c.set(r, c.or(
    c.or(c.shl(c.and(c.get(bits), c.const(0x8000_0000)), c.const(32)), c.const(0x7ff8_0000_0000_0000n)),
    c.shl(c.and(c.get(bits), c.const(0x3f_ffff)), c.const(29)))));
  return c.get(r);
};
const cvtsd2ss: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const v = c.keep32(narrow(t, b, 0));
  t.writeV(0, c.keepV(c.opReplace(0x1c, 0, c.get(a), c.get(v))));
};
const cvtss2sd: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const v = c.keep64(widen(t, b, 0));
  t.writeV(0, c.keepV(c.replace64(0, c.get(a), c.get(v))));
};
const cvtpd2ps: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1);
  const first = c.keep32(narrow(t, b, 0)), second = c.keep32(narrow(t, b, 1));
  t.writeV(0, c.keepV(c.opReplace(0x1c, 1, c.opReplace(0x1c, 0, both(0n, c), c.get(first)), c.get(second))));
};
const cvtps2pd: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1);
  const first = c.keep64(widen(t, b, 0)), second = c.keep64(widen(t, b, 1));
  t.writeV(0, c.keepV(c.replace64(1, c.replace64(0, both(0n, c), c.get(first)), c.get(second))));
};
const convert = (opcode: number): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1);
  t.writeV(0, c.keepV(c.opV(opcode, c.get(b))));
};
/** Four floats to integers. Saturation gives the largest where x86 gives the smallest. */
const cvtps2dq = (truncate: boolean): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1);
  const x = c.keepV(truncate ? c.get(b) : c.opV(0x6a, c.get(b)));
  const misfit = c.opV(V_OR, c.opV(NE[0]!, c.get(x), c.get(x)), c.opV(0x46, c.get(x), both(0x4f00_0000_4f00_0000n, c)));
  const wrong = c.keepV(misfit);
  t.writeV(0, c.keepV(c.opV(BITSELECT, both(0x8000_0000_8000_0000n, c), c.opV(0xf8, c.get(x)), c.get(wrong))));
};
const cvtpd2dq = (truncate: boolean): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1);
  const lane = (n: number) => {
    const v = () => c.opLaneF64(F64_LANE, n, c.get(b));
    return c.keep32(c.wrap(toInteger(t, 4, () => truncate ? v() : nearest(t, v()))));
  };
  const first = lane(0), second = lane(1);
  t.writeV(0, c.keepV(c.opReplace(0x1c, 1, c.opReplace(0x1c, 0, both(0n, c), c.get(first)), c.get(second))));
};

const FORMS = [['NP', 'PS', 'Wx', 'ps'], ['66', 'PD', 'Wx', 'pd'], ['F3', 'SS', 'Wss', 'ss'], ['F2', 'SD', 'Wsd', 'sd']] as const;
const forms = (opcode: string, mnemonic: string, make: (k: Kind) => Emit, extra = '') =>
  FORMS.map(([prefix, suffix, source, kind]) => row(`${prefix} 0F ${opcode}`, `${mnemonic}${suffix}`, `Vx ${source}${extra}`, 'sse', emit(make(kind))));

export const sseFloatRows: readonly Row[] = [
  ...forms('51', 'SQRT', sqrt),
  ...forms('58', 'ADD', arithmetic(ADD)),
  ...forms('59', 'MUL', arithmetic(MUL)),
  ...forms('5C', 'SUB', arithmetic(SUB)),
  ...forms('5D', 'MIN', extreme(PMIN)),
  ...forms('5E', 'DIV', arithmetic(DIV)),
  ...forms('5F', 'MAX', extreme(PMAX)),
  ...forms('C2', 'CMP', compare, ' Ib'),
  row('NP 0F 52', 'RSQRTPS',   'Vx Wx',   'sse',            emit(reciprocal(true)('ps'))),
  row('F3 0F 52', 'RSQRTSS',   'Vx Wss',  'sse',            emit(reciprocal(true)('ss'))),
  row('NP 0F 53', 'RCPPS',     'Vx Wx',   'sse',            emit(reciprocal(false)('ps'))),
  row('F3 0F 53', 'RCPSS',     'Vx Wss',  'sse',            emit(reciprocal(false)('ss'))),
  row('NP 0F 54', 'ANDPS',     'Vx Wx',   'sse',            emit(logic(V_AND))),
  row('66 0F 54', 'ANDPD',     'Vx Wx',   'sse',            emit(logic(V_AND))),
  row('NP 0F 55', 'ANDNPS',    'Vx Wx',   'sse',            emit(logic(V_ANDNOT, true))),
  row('66 0F 55', 'ANDNPD',    'Vx Wx',   'sse',            emit(logic(V_ANDNOT, true))),
  row('NP 0F 56', 'ORPS',      'Vx Wx',   'sse',            emit(logic(V_OR))),
  row('66 0F 56', 'ORPD',      'Vx Wx',   'sse',            emit(logic(V_OR))),
  row('NP 0F 57', 'XORPS',     'Vx Wx',   'sse',            emit(logic(V_XOR))),
  row('66 0F 57', 'XORPD',     'Vx Wx',   'sse',            emit(logic(V_XOR))),
  row('NP 0F 2E', 'UCOMISS',   'Vx Wss',  'sse w:oszapc',   emit(comi('ss'))),
  row('66 0F 2E', 'UCOMISD',   'Vx Wsd',  'sse w:oszapc',   emit(comi('sd'))),
  row('NP 0F 2F', 'COMISS',    'Vx Wss',  'sse w:oszapc',   emit(comi('ss'))),
  row('66 0F 2F', 'COMISD',    'Vx Wsd',  'sse w:oszapc',   emit(comi('sd'))),
  row('F3 0F 2A', 'CVTSI2SS',  'Vx Ey',   'sse',            emit(fromInteger('ss'))),
  row('F2 0F 2A', 'CVTSI2SD',  'Vx Ey',   'sse',            emit(fromInteger('sd'))),
  row('F3 0F 2C', 'CVTTSS2SI', 'Gy Wss',  'sse',            emit(scalarToInteger('ss', true))),
  row('F2 0F 2C', 'CVTTSD2SI', 'Gy Wsd',  'sse',            emit(scalarToInteger('sd', true))),
  row('F3 0F 2D', 'CVTSS2SI',  'Gy Wss',  'sse',            emit(scalarToInteger('ss', false))),
  row('F2 0F 2D', 'CVTSD2SI',  'Gy Wsd',  'sse',            emit(scalarToInteger('sd', false))),
  row('NP 0F 5A', 'CVTPS2PD',  'Vx Wsd',  'sse',            emit(cvtps2pd)),
  row('66 0F 5A', 'CVTPD2PS',  'Vx Wx',   'sse',            emit(cvtpd2ps)),
  row('F3 0F 5A', 'CVTSS2SD',  'Vx Wss',  'sse',            emit(cvtss2sd)),
  row('F2 0F 5A', 'CVTSD2SS',  'Vx Wsd',  'sse',            emit(cvtsd2ss)),
  row('NP 0F 5B', 'CVTDQ2PS',  'Vx Wx',   'sse',            emit(convert(0xfa))),
  row('66 0F 5B', 'CVTPS2DQ',  'Vx Wx',   'sse',            emit(cvtps2dq(false))),
  row('F3 0F 5B', 'CVTTPS2DQ', 'Vx Wx',   'sse',            emit(cvtps2dq(true))),
  row('F3 0F E6', 'CVTDQ2PD',  'Vx Wsd',  'sse',            emit(convert(0xfe))),
  row('F2 0F E6', 'CVTPD2DQ',  'Vx Wx',   'sse',            emit(cvtpd2dq(false))),
  row('66 0F E6', 'CVTTPD2DQ', 'Vx Wx',   'sse',            emit(cvtpd2dq(true))),
];
