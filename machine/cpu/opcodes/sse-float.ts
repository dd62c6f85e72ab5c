/**
 * SSE to SSE4.1 arithmetic on floats and doubles. SDM Vol. 1 ch. 10 to 12.
 *
 * WebAssembly computes; what it computed stands if MXCSR is as nearly always (to nearest, all exceptions masked, PE set already)
 * and operands and result are ordinary numbers, which takes a few integer instructions to find out. Else a function of
 * simd-float.ts decides, to which every rule of MXCSR is known. The bits of a NaN, which WebAssembly leaves open, never stand.
 */
import type { Translation } from '../../engine/translation.ts';
import { type F64, type I32, type I64, type L32, type LV, type Local, type V128, f32, f64, } from '../../engine/wasm-emitter.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';
import { SIMD_A, SIMD_B, SIMD_EXTRA, SIMD_RESULT, simdFunction } from '../simd-call.ts';
import { arithmeticFunction, byLane, convertFunction, convertLanes, dotProduct, readLane, reciprocalFunction, writeLane } from '../simd-float.ts';
import {
  DOUBLE, type LaneOperation, type Precision, SINGLE, add, begin, compare, direction, divide, finish, fromInteger, integerOf, maximum, minimum, multiply, roundToIntegral, squareRoot, subtract,
} from '../soft-float.ts';
import { STATE } from '../state.ts';
import { type Transformable, maybeRounded } from './exact.ts';
import { DENORMAL, type Kind, LOWEST, SPAN, denormalLanes as denormalBits, isDouble, isScalar, strangeLanes as strangeBits } from './ordinary.ts';
import { lanes } from './sse-moves.ts';

const precisionOf = (k: Kind): Precision => isDouble(k) ? DOUBLE : SINGLE;
const laneCount = (k: Kind): number => isScalar(k) ? 1 : isDouble(k) ? 2 : 4;

/** WebAssembly opcodes: [f32x4, f64x2, f32, f64]. */
type Opcodes = readonly [number, number, number, number];
const ADD: Opcodes = [0xe4, 0xf0, 0x92, 0xa0], SUB: Opcodes = [0xe5, 0xf1, 0x93, 0xa1], MUL: Opcodes = [0xe6, 0xf2, 0x94, 0xa2], DIV: Opcodes = [0xe7, 0xf3, 0x95, 0xa3];
const SQRT: Opcodes = [0xe3, 0xef, 0x91, 0x9f], PMIN = [0xea, 0xf6], PMAX = [0xeb, 0xf7];
const EQ = [0x41, 0x47], NE = [0x42, 0x48], LT = [0x43, 0x49], LE = [0x45, 0x4b];
const V_AND = 0x4e, V_OR = 0x50, V_XOR = 0x51, V_ANDNOT = 0x4f, _BITSELECT = 0x52, ANY_TRUE = 0x53, V_NOT = 0x4d;
const _F64_SPLAT = 0x14, _F32_SPLAT = 0x13, F32_LANE = 0x1f, F64_LANE = 0x21, F32_REPLACE = 0x20, F64_REPLACE = 0x22, _I32_REPLACE = 0x1c;
const of = (opcode: readonly number[], k: Kind): number => opcode[isDouble(k) ? 1 : 0]!;

const both = (low: bigint, c: Translation['c']): V128 => c.constV(low, low);
const MXCSR = STATE['fpu.mxcsr']!;

// ---------------------------------------------------------------- ordinary numbers

type Scalar = Local<ReturnType<Translation['c']['opF32']>> | Local<F64>;
const bits64 = (t: Translation, x: Scalar): I64 => t.c.shl(t.c.op64From(0xbd, t.c.get(x as Local<F64>)), t.c.const(1));
const bits32 = (t: Translation, x: Scalar): I32 => t.c.shl32(t.c.op32From(0xbc, t.c.get(x as Local<F64>)), t.c.const32(1));
const denormalScalar = (t: Translation, k: Kind, x: Scalar): I32 => {
  const { c } = t;
  return isDouble(k) ? c.ltu(c.sub(bits64(t, x), c.const(1)), c.const(DENORMAL[8])) : c.gtu32(c.const32(Number(DENORMAL[4])), c.sub32(bits32(t, x), c.const32(1)));
};
const strangeScalar = (t: Translation, k: Kind, x: Scalar): I32 => {
  const { c } = t;
  return isDouble(k) ? c.eqz32(c.ltu(c.sub(bits64(t, x), c.const(LOWEST[8])), c.const(SPAN[8]))) : c.geu32(c.sub32(bits32(t, x), c.const32(Number(LOWEST[4]))), c.const32(Number(SPAN[4])));
};
const denormalLanes = (t: Translation, k: Kind, v: LV): V128 => denormalBits(t.c, k, t.c.get(v));
const strangeLanes = (t: Translation, k: Kind, v: LV): V128 => strangeBits(t.c, k, v);

const low = ({ c }: Translation, k: Kind, v: LV): Scalar => {
  const x = c.local(isDouble(k) ? f64 : f32) as Local<F64>;
  c.set(x, isDouble(k) ? c.opLaneF64(F64_LANE, 0, c.get(v)) : c.opLaneF32(F32_LANE, 0, c.get(v)) as unknown as F64);
  return x;
};
/** The low lane of a changes, the others stay. */
const replaceLow = ({ c }: Translation, k: Kind, a: LV, x: Scalar): V128 => c.opReplace(isDouble(k) ? F64_REPLACE : F32_REPLACE, 0, c.get(a), c.get(x as Local<F64>));

// ---------------------------------------------------------------- arithmetic

/** What is known before the instruction: MXCSR, and operands tested elsewhere. Not 0: it needs a function. */
function before(t: Translation, known: readonly (boolean | L32)[], mxcsr = true): I32 {
  const { c } = t;
  let v = mxcsr ? t.unusualMxcsr() : c.const32(0);
  for (const k of known) if (typeof k !== 'boolean') v = c.or32(v, c.get(k));
  return v;
}

/** Whether MXCSR keeps a plain result from standing: not if PE alone is missing in it and nothing was rounded. */
function unsettled(t: Translation, k: Kind, op: Transformable | undefined, a: LV, b: LV, r: LV): L32 {
  const { c } = t;
  const is = c.keep32(t.unusualMxcsr());
  if (op) {
    c.if(c.get(is), () => c.if(c.eq32(c.and32(t.state32(MXCSR), c.const32(0x7fa0)), c.const32(0x1f80)), () => c.set(is, maybeRounded(c, k, op, a, b, r))));
  }
  return is;
}

/** Calls the function of an instruction whose plain result is r; r becomes what is right. */
function decide(t: Translation, n: number, a: LV, b: LV, r: LV): void {
  t.rarely(() => {
    t.simdParameter(SIMD_A, a);
    t.simdParameter(SIMD_B, b);
    t.simdParameter(SIMD_RESULT, r);
    t.callSimd(n);
    t.c.set(r, t.c.get(t.simdResult(SIMD_RESULT)));
  });
}
/** `zeros`: a result of 0 is right if an operand is (multiplication), if the first is (division), or always (addition). */
const arithmetic = (opcodes: Opcodes, operation: LaneOperation, zeros: 'any' | 'either' | 'first' | 'none') => (k: Kind): Emit => {
  const n = arithmeticFunction(operation, precisionOf(k), laneCount(k));
  const unary = operation === squareRoot;
  const op = operation === add ? 'add' : operation === subtract ? 'sub' : operation === multiply ? 'mul' : undefined;
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    if (!isScalar(k)) {
      const r = c.keepV(unary ? c.opV(of(opcodes, k), c.get(b)) : c.opV(of(opcodes, k), c.get(a), c.get(b)));
      const known = [unary || t.isOrdinary(0, k), t.isOrdinary(1, k)] as const;
      const untested = (unary ? [1] as const : [0, 1] as const).filter((i) => known[i] === false);
      const denormal = c.keepV(untested.length === 0 ? both(0n, c) : untested.length === 1 ? denormalLanes(t, k, untested[0] === 1 ? b : a)
        : c.opV(V_OR, denormalLanes(t, k, a), denormalLanes(t, k, b)));
      const strange = c.keepV(strangeLanes(t, k, r));
      c.if(c.or32(c.opV32(ANY_TRUE, untested.length === 0 ? c.get(strange) : c.opV(V_OR, c.get(denormal), c.get(strange))), before(t, known)), () => {
        if (zeros === 'none') { decide(t, n, a, b, r); return; }
        // Lanes that are strange for being 0 alone.
        const isZero = (v: LV) => c.opV(of(EQ, k), c.get(v), both(0n, c));
        const zero = c.keepV(isZero(r));
        if (zeros !== 'any') c.set(zero, c.opV(V_AND, c.get(zero), zeros === 'first' ? isZero(a) : c.opV(V_OR, isZero(a), isZero(b))));
        const doubtful = unsettled(t, k, op, a, b, r);
        c.if(c.or32(c.opV32(ANY_TRUE, c.opV(V_OR, c.get(denormal), c.opV(V_ANDNOT, c.get(strange), c.get(zero)))), c.or32(before(t, known, false), c.get(doubtful))),
          () => decide(t, n, a, b, r));
      });
      t.writeV(0, r);
      t.noteOrdinary(0, k);
      t.noteOrdinary(1, k);
      return;
    }
    const x = low(t, k, a), y = low(t, k, b), z = c.local(isDouble(k) ? f64 : f32) as Local<F64>;
    const opcode = opcodes[isDouble(k) ? 3 : 2];
    c.set(z, unary ? c.opF64(opcode, c.get(y as Local<F64>)) : c.opF64(opcode, c.get(x as Local<F64>), c.get(y as Local<F64>)));
    const wide = isDouble(k) ? 'pd' : 'ps';
    const known = [0, 1].map((i) => unary && i === 0 || t.isOrdinary(i, k) || t.isOrdinary(i, wide) === true) as [boolean | L32, boolean | L32];
    const denormal = c.keep32(before(t, known, false));
    for (const i of unary ? [1] : [0, 1]) if (known[i] === false) c.set(denormal, c.or32(c.get(denormal), denormalScalar(t, k, i === 0 ? x : y)));
    const r = c.keepV(replaceLow(t, k, a, z));
    c.if(c.or32(c.or32(c.get(denormal), strangeScalar(t, k, z)), t.unusualMxcsr()), () => {
      const call = () => decideLow(t, n, a, b, r, k);
      if (zeros === 'none') { call(); return; }
      const isZero = (v: Scalar) => c.testF(isDouble(k) ? 0x61 : 0x5b, c.get(v as Local<F64>), isDouble(k) ? c.constF64(0) : c.constF32(0));
      const zero = () => zeros === 'any' ? c.eqz32(c.and32(t.state32(MXCSR), c.const32(0x6000))) : zeros === 'first' ? isZero(x) : c.or32(isZero(x), isZero(y));
      const doubtful = unsettled(t, k, op, a, b, r);
      c.if(c.or32(c.get(denormal), c.eqz32(c.or32(c.and32(isZero(z), zero()), c.eqz32(c.or32(strangeScalar(t, k, z), c.get(doubtful)))))), call);
    });
    t.writeV(0, r);
    t.noteOrdinary(0, k);
    t.noteOrdinary(1, k);
  };
};
/** As decide, for the low lane only. */
function decideLow(t: Translation, n: number, a: LV, b: LV, r: LV, k: Kind): void {
  const { c } = t;
  decide(t, n, a, b, r);
  t.rarely(() => c.set(r, c.shuffleV(isDouble(k) ? lanes(8, 0, 3) : lanes(4, 0, 5, 6, 7), c.get(r), c.get(a))));
}

/** Instructions that round nothing: only NaNs and denormals are for the function. `plain` leaves the result, `strange` says whether it stands. */
function unrounded(t: Translation, k: Kind, n: number, a: LV, b: LV, r: LV, parameters = () => {}): void {
  const { c } = t;
  const nan = (v: LV) => c.opV(of(NE, k), c.get(v), c.get(v));
  if (isScalar(k)) {
    const x = low(t, k, a), y = low(t, k, b);
    const unordered = (v: Scalar) => c.testF(isDouble(k) ? 0x62 : 0x5c, c.get(v as Local<F64>), c.get(v as Local<F64>));
    c.if(c.or32(c.or32(denormalScalar(t, k, x), denormalScalar(t, k, y)), c.or32(unordered(x), unordered(y))), () => { parameters(); decideLow(t, n, a, b, r, k); });
    return;
  }
  c.if(c.opV32(ANY_TRUE, c.opV(V_OR, c.opV(V_OR, denormalLanes(t, k, a), denormalLanes(t, k, b)), c.opV(V_OR, nan(a), nan(b)))), () => { parameters(); decide(t, n, a, b, r); });
}
/** A scalar instruction changes the low lane of the destination only. */
const merged = ({ c }: Translation, k: Kind, a: LV, r: V128): V128 => isScalar(k) ? c.shuffleV(isDouble(k) ? lanes(8, 0, 3) : lanes(4, 0, 5, 6, 7), r, c.get(a)) : r;

/** MIN and MAX give the second operand when the two are equal: WebAssembly's pmin with operands swapped. */
const extreme = (opcode: readonly number[], operation: LaneOperation) => (k: Kind): Emit => {
  const n = simdFunction(byLane(operation, precisionOf(k), laneCount(k)));
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    const r = c.keepV(merged(t, k, a, c.opV(of(opcode, k), c.get(b), c.get(a))));
    unrounded(t, k, n, a, b, r);
    t.writeV(0, r);
  };
};

/** RCPPS and RSQRTPS, 12 bits of the result. */
const reciprocal = (root: boolean) => (k: Kind): Emit => {
  const n = reciprocalFunction(root, laneCount(k));
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    t.simdParameter(SIMD_B, b);
    t.callSimd(n);
    t.writeV(0, c.keepV(merged(t, k, a, c.get(t.simdResult(SIMD_RESULT)))));
  };
};

/** HADDPS and kin, ADDSUBPS and kin: arithmetic on vectors made of the operands. Of odd lanes whose sum is a difference, the sign of b is changed. */
const rearranged = (k: 'ps' | 'pd', opcodes: Opcodes, even: LaneOperation, horizontal: boolean): Emit => {
  const n = arithmeticFunction(even, precisionOf(k), laneCount(k), add === even || horizontal ? even : add);
  const order = isDouble(k) ? [lanes(8, 0, 2), lanes(8, 1, 3)] as const : [lanes(4, 0, 2, 4, 6), lanes(4, 1, 3, 5, 7)] as const;
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    const x = horizontal ? c.keepV(c.shuffleV(order[0], c.get(a), c.get(b))) : a;
    const y = horizontal ? c.keepV(c.shuffleV(order[1], c.get(a), c.get(b))) : b;
    const evenSigns = () => isDouble(k) ? c.constV(1n << 63n, 0n) : both(0x8000_0000n, c);
    const r = c.keepV(horizontal ? c.opV(of(opcodes, k), c.get(x), c.get(y)) : c.opV(of(ADD, k), c.get(x), c.opV(V_XOR, c.get(y), evenSigns())));
    const strange = c.opV(V_OR, c.opV(V_OR, denormalLanes(t, k, x), denormalLanes(t, k, y)), strangeLanes(t, k, r));
    c.if(c.or32(c.opV32(ANY_TRUE, strange), t.unusualMxcsr()), () => decide(t, n, x, y, r));
    t.writeV(0, r);
  };
};
const dot = (k: 'ps' | 'pd'): Emit => {
  const n = simdFunction(dotProduct(precisionOf(k), laneCount(k)));
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    t.simdParameter(SIMD_A, a);
    t.simdParameter(SIMD_B, b);
    t.simdParameter(SIMD_EXTRA, c.keepV(c.opV(0x12, t.immediate())));
    t.callSimd(n);
    t.writeV(0, t.simdResult(SIMD_RESULT));
  };
};

/** ROUNDPS and kin. Immediate: bits 1:0 the direction, bit 2 MXCSR's instead, bit 3 without PE. */
const ROUNDINGS = [[0x6a, 0x94], [0x68, 0x75], [0x67, 0x74], [0x69, 0x7a]] as const;
const roundIntegral = (k: Kind): Emit => {
  const p = precisionOf(k);
  const n = simdFunction((area, cpu) => {
    begin(cpu);
    const imm = area.u8[SIMD_EXTRA]!;
    for (let i = 0; i < laneCount(k); i++) writeLane(area, SIMD_RESULT, i, p, roundToIntegral(readLane(area, SIMD_B, i, p), p, imm & 4 ? direction() : imm & 3, (imm & 8) !== 0));
    return finish(cpu);
  });
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    const imm = c.keep32(c.wrap(t.immediate())), r = c.keepV(c.opV(of(ROUNDINGS[0], k), c.get(b)));
    for (const m of [1, 2, 3]) c.if(c.eq32(c.and32(c.get(imm), c.const32(7)), c.const32(m)), () => c.set(r, c.opV(of(ROUNDINGS[m]!, k), c.get(b))));
    const lane0 = (v: V128) => isScalar(k) ? c.opV(V_AND, v, c.constV(isDouble(k) ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn, 0n)) : v;
    // What a NaN or a denormal is shows in these; what is not a whole number already needs MXCSR, unless PE is not wanted.
    const strange = c.keep32(c.opV32(ANY_TRUE, lane0(c.opV(V_OR, denormalLanes(t, k, b), c.opV(of(NE, k), c.get(b), c.get(b))))));
    const rounded = c.keep32(c.opV32(ANY_TRUE, lane0(c.opV(of(NE, k), c.get(r), c.get(b)))));
    const quiet = () => c.eq32(c.and32(c.get(imm), c.const32(12)), c.const32(8));
    c.if(c.or32(c.get(strange), c.and32(c.get(rounded), c.and32(t.unusualMxcsr(), c.eqz32(quiet())))), () => t.rarely(() => {
      t.simdParameter(SIMD_B, b);
      t.simdParameter(SIMD_EXTRA, c.keepV(c.opV(0x11, c.get(imm))));
      t.callSimd(n);
      c.set(r, c.get(t.simdResult(SIMD_RESULT)));
    }));
    t.writeV(0, c.keepV(merged(t, k, a, c.get(r))));
  };
};

const logic = (opcode: number, swapped = false): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  t.writeV(0, c.keepV(swapped ? c.opV(opcode, c.get(b), c.get(a)) : c.opV(opcode, c.get(a), c.get(b))));
};

// ---------------------------------------------------------------- comparison

/** Predicates EQ LT LE UNORD, and with bit 2 their negations; LT and LE take a quiet NaN for invalid. */
const HOLDS = [(o: number) => o === 0, (o: number) => o === -1, (o: number) => o === -1 || o === 0, (o: number) => o === 2] as const;
const cmp = (k: Kind): Emit => {
  const p = precisionOf(k);
  const n = simdFunction((area, cpu) => {
    begin(cpu);
    const predicate = area.u8[SIMD_EXTRA]! & 7;
    for (let i = 0; i < laneCount(k); i++) {
      const order = compare(readLane(area, SIMD_A, i, p), readLane(area, SIMD_B, i, p), p, (predicate & 3) === 0 || (predicate & 3) === 3);
      writeLane(area, SIMD_RESULT, i, p, HOLDS[predicate & 3]!(order) !== (predicate >= 4) ? (p.sign << 1n) - 1n : 0n);
    }
    return finish(cpu);
  });
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    const imm = c.keep32(c.wrap(t.immediate())), r = c.keepV(both(0n, c));
    const when = (m: number, v: () => V128) => c.if(c.eq32(c.and32(c.get(imm), c.const32(3)), c.const32(m)), () => c.set(r, v()));
    when(0, () => c.opV(of(EQ, k), c.get(a), c.get(b)));
    when(1, () => c.opV(of(LT, k), c.get(a), c.get(b)));
    when(2, () => c.opV(of(LE, k), c.get(a), c.get(b)));
    c.if(c.and32(c.get(imm), c.const32(4)), () => c.set(r, c.opV(V_NOT, c.get(r))));
    c.set(r, merged(t, k, a, c.get(r)));
    unrounded(t, k, n, a, b, r, () => t.simdParameter(SIMD_EXTRA, c.keepV(c.opV(0x11, c.get(imm)))));
    t.writeV(0, r);
  };
};

/** COMISD and UCOMISD: ZF PF CF 111 unordered, 100 equal, 001 less, 000 greater. */
const comi = (quiet: boolean) => (k: Kind): Emit => {
  const p = precisionOf(k);
  const n = simdFunction((area, cpu) => {
    begin(cpu);
    area.u32[SIMD_RESULT / 4] = [1, 0x40, 0, 0x45][compare(readLane(area, SIMD_A, 0, p), readLane(area, SIMD_B, 0, p), p, quiet) + 1]!;
    return finish(cpu);
  });
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    const x = low(t, k, a), y = low(t, k, b);
    const test = (opcode: number, v: Scalar, w: Scalar) => c.testF(opcode - (isDouble(k) ? 0 : 6), c.get(v as Local<F64>), c.get(w as Local<F64>));
    const f = c.keep32(test(0x63, x, y));
    c.if(test(0x61, x, y), () => c.set(f, c.const32(0x40)));
    c.if(c.or32(c.or32(denormalScalar(t, k, x), denormalScalar(t, k, y)), c.or32(test(0x62, x, x), test(0x62, y, y))), () => {
      const r = c.keepV(both(0n, c));
      decide(t, n, a, b, r);
      c.set(f, c.wrap(c.lane64(0, c.get(r))));
    });
    t.flags.setCarry(() => c.const(0));
    t.flags.unpack(f);
  };
};

// ---------------------------------------------------------------- conversions

/** CVTSI2SS, CVTSI2SD: exact as far as the significand reaches. */
const scalarFromInteger = (k: Kind): Emit => {
  const p = precisionOf(k);
  const n = simdFunction((area, cpu) => {
    begin(cpu);
    writeLane(area, SIMD_RESULT, 0, p, fromInteger(BigInt.asIntN(64, area.u64[SIMD_B / 8]!), p));
    return finish(cpu);
  });
  return (t) => {
    const { c } = t;
    const size = t.operandSize(1);
    const v = t.read(1), a = t.readV(0);
    c.set(v, c.extend(size, c.get(v)));
    const x = c.local(isDouble(k) ? f64 : f32) as Local<F64>;
    c.set(x, c.opF64(isDouble(k) ? 0xb9 : 0xb4, c.get(v)));
    const r = c.keepV(replaceLow(t, k, a, x));
    if (size === 8 || !isDouble(k)) {
      const bits = BigInt(p.format.fraction + 1);
      const wide = c.gtu(c.add(c.get(v), c.const(1n << bits)), c.const(1n << bits + 1n));
      c.if(c.and32(wide, t.unusualMxcsr()), () => decideLow(t, n, a, c.keepV(c.opV(0x12, c.get(v))), r, k));
    }
    t.writeV(0, r);
  };
};
/** To a general register of 4 or 8 bytes. Only what is in range stands, and only if it is exact or MXCSR as usual; truncation needs no rounding of it. */
const scalarToInteger = (k: Kind, truncate: boolean): Emit => {
  const p = precisionOf(k);
  const [narrow, wide] = [32, 64].map((bits) => simdFunction((area, cpu) => {
    begin(cpu);
    area.u64[SIMD_RESULT / 8] = BigInt.asUintN(64, integerOf(readLane(area, SIMD_B, 0, p), p, bits, truncate ? 3 : direction()));
    return finish(cpu);
  })) as [number, number];
  return (t) => {
    const { c } = t;
    const size = t.operandSize(0);
    const b = t.readV(1);
    const x = c.local(f64), whole = c.local(f64);
    c.set(x, isDouble(k) ? c.opLaneF64(F64_LANE, 0, c.get(b)) : c.opF64(0xbb, c.opLaneF32(F32_LANE, 0, c.get(b))));
    c.set(whole, c.opF64(truncate ? 0x9d : 0x9e, c.get(x)));
    const bound = size === 8 ? 2 ** 63 : 2 ** 31;
    const inRange = c.and32(c.testF(0x63, c.get(whole), c.constF64(bound)), c.testF(0x66, c.get(whole), c.constF64(-bound)));
    const stands = c.and32(inRange, c.or32(c.testF(0x61, c.get(whole), c.get(x)), c.and32(c.eqz32(t.unusualMxcsr()), c.testF(0x66, c.opF64(0x99, c.get(x)), c.constF64(2 ** -126)))));
    const r = c.keep64(c.const(0));
    c.if(stands, () => c.set(r, c.saturate64(6, c.get(whole))), () => t.rarely(() => {
      t.simdParameter(SIMD_B, b);
      t.callSimd(size === 8 ? wide : narrow);
      c.set(r, c.lane64(0, c.get(t.simdResult(SIMD_RESULT))));
    }));
    t.write(0, r);
  };
};
/** CVTSD2SS and CVTSS2SD. Widening is exact. */
const scalarConvert = (from: Kind, to: Kind): Emit => {
  const n = convertFunction(precisionOf(from), precisionOf(to), 1);
  return (t) => {
    const { c } = t;
    const b = t.readV(1), a = t.readV(0);
    const x = low(t, from, b) as Local<F64>, z = c.local(isDouble(to) ? f64 : f32) as Local<F64>;
    c.set(z, c.opF64(isDouble(to) ? 0xbb : 0xb6, c.get(x)));
    const r = c.keepV(replaceLow(t, to, a, z));
    const strange = isDouble(to) ? c.or32(denormalScalar(t, from, x), c.testF(0x5c, c.get(x), c.get(x))) : c.or32(strangeScalar(t, to, z), t.unusualMxcsr());
    c.if(strange, () => {
      const call = () => decideLow(t, n, a, b, r, to);
      if (isDouble(to)) { call(); return; }
      // A zero is one of either precision.
      c.if(c.testF(0x62, c.get(x), c.constF64(0)), call);
    });
    t.writeV(0, r);
  };
};
/** Two or four lanes by the opcode `plain`; `strange` says of which results it cannot be sure. */
const packedConvert = (n: number, plain: (t: Translation, b: LV) => V128, strange: (t: Translation, b: LV, r: LV) => I32): Emit => (t) => {
  const { c } = t;
  const b = t.readV(1);
  const r = c.keepV(plain(t, b));
  c.if(strange(t, b, r), () => t.rarely(() => {
    t.simdParameter(SIMD_B, b);
    t.callSimd(n);
    c.set(r, c.get(t.simdResult(SIMD_RESULT)));
  }));
  t.writeV(0, r);
};
const LOW_HALF = (c: Translation['c']) => c.constV(0xffff_ffff_ffff_ffffn, 0n);
const narrowing = simdFunction((area, cpu) => {
  const done = convertLanes(DOUBLE, SINGLE, 2)(area, cpu);
  area.u64[SIMD_RESULT / 8 + 1] = 0n;
  return done;
});
const widening = simdFunction((area, cpu) => convertLanes(SINGLE, DOUBLE, 2)(area, cpu));
const cvtpd2ps = packedConvert(narrowing, ({ c }, b) => c.opV(0x5e, c.get(b)), (t, _b, r) =>
  t.c.or32(t.c.opV32(ANY_TRUE, t.c.opV(V_AND, strangeLanes(t, 'ps', r), LOW_HALF(t.c))), t.unusualMxcsr()));
const cvtps2pd = packedConvert(widening, ({ c }, b) => c.opV(0x5f, c.get(b)), (t, b, r) => t.c.or32(
  t.c.opV32(ANY_TRUE, t.c.opV(V_AND, denormalLanes(t, 'ps', b), LOW_HALF(t.c))), t.c.opV32(ANY_TRUE, t.c.opV(NE[1]!, t.c.get(r), t.c.get(r)))));
const cvtdq2pd: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1);
  t.writeV(0, c.keepV(c.opV(0xfe, c.get(b))));
};
const cvtdq2ps = packedConvert(simdFunction((area, cpu) => {
  begin(cpu);
  for (let i = 0; i < 4; i++) writeLane(area, SIMD_RESULT, i, SINGLE, fromInteger(BigInt(area.s32[SIMD_B / 4 + i]!), SINGLE));
  return finish(cpu);
}), ({ c }, b) => c.opV(0xfa, c.get(b)), (t) => t.unusualMxcsr());
/** Doubles or floats to two or four integers of 32 bits. */
const packedToInteger = (k: 'ps' | 'pd', truncate: boolean): Emit => {
  const p = precisionOf(k);
  const n = simdFunction((area, cpu) => {
    begin(cpu);
    const out: number[] = [];
    for (let i = 0; i < laneCount(k); i++) out.push(Number(integerOf(readLane(area, SIMD_B, i, p), p, 32, truncate ? 3 : direction())));
    for (let i = 0; i < 4; i++) area.s32[SIMD_RESULT / 4 + i] = out[i] ?? 0;
    return finish(cpu);
  });
  const whole = (t: Translation, b: LV) => t.c.opV(isDouble(k) ? (truncate ? 0x7a : 0x94) : truncate ? 0x69 : 0x6a, t.c.get(b));
  return packedConvert(n, (t, b) => t.c.opV(isDouble(k) ? 0xfc : 0xf8, whole(t, b)), (t, b) => {
    const { c } = t;
    // |whole| below 2^31, which no NaN is.
    const magnitude = c.opV(isDouble(k) ? 0xec : 0xe0, whole(t, b));
    const fits = c.opV(of(LT, k), magnitude, both(isDouble(k) ? 0x41e0_0000_0000_0000n : 0x4f00_0000_4f00_0000n, c));
    return c.or32(c.or32(c.opV32(ANY_TRUE, c.opV(V_NOT, fits)), c.opV32(ANY_TRUE, denormalLanes(t, k, b))), t.unusualMxcsr());
  });
};

const FORMS = [['NP', 'PS', 'Wx', 'ps'], ['66', 'PD', 'Wx', 'pd'], ['F3', 'SS', 'Wss', 'ss'], ['F2', 'SD', 'Wsd', 'sd']] as const;
const forms = (opcode: string, mnemonic: string, make: (k: Kind) => Emit, extra = '') =>
  FORMS.map(([prefix, suffix, source, kind]) => row(`${prefix} 0F ${opcode}`, `${mnemonic}${suffix}`, `Vx ${source}${extra}`, 'sse', emit(make(kind))));

export const sseFloatRows: readonly Row[] = [
  ...forms('51', 'SQRT', arithmetic(SQRT, squareRoot, 'none')),
  ...forms('58', 'ADD', arithmetic(ADD, add, 'any')),
  ...forms('59', 'MUL', arithmetic(MUL, multiply, 'either')),
  ...forms('5C', 'SUB', arithmetic(SUB, subtract, 'any')),
  ...forms('5D', 'MIN', extreme(PMIN, minimum)),
  ...forms('5E', 'DIV', arithmetic(DIV, divide, 'first')),
  ...forms('5F', 'MAX', extreme(PMAX, maximum)),
  ...forms('C2', 'CMP', cmp, ' Ib'),
  row('66 0F 7C', 'HADDPD',    'Vx Wx',   'sse',            emit(rearranged('pd', ADD, add, true))),
  row('F2 0F 7C', 'HADDPS',    'Vx Wx',   'sse',            emit(rearranged('ps', ADD, add, true))),
  row('66 0F 7D', 'HSUBPD',    'Vx Wx',   'sse',            emit(rearranged('pd', SUB, subtract, true))),
  row('F2 0F 7D', 'HSUBPS',    'Vx Wx',   'sse',            emit(rearranged('ps', SUB, subtract, true))),
  row('66 0F D0', 'ADDSUBPD',  'Vx Wx',   'sse',            emit(rearranged('pd', ADD, subtract, false))),
  row('F2 0F D0', 'ADDSUBPS',  'Vx Wx',   'sse',            emit(rearranged('ps', ADD, subtract, false))),
  row('66 0F3A 08', 'ROUNDPS', 'Vx Wx Ib', 'sse',           emit(roundIntegral('ps'))),
  row('66 0F3A 09', 'ROUNDPD', 'Vx Wx Ib', 'sse',           emit(roundIntegral('pd'))),
  row('66 0F3A 0A', 'ROUNDSS', 'Vx Wss Ib', 'sse',          emit(roundIntegral('ss'))),
  row('66 0F3A 0B', 'ROUNDSD', 'Vx Wsd Ib', 'sse',          emit(roundIntegral('sd'))),
  row('66 0F3A 40', 'DPPS',    'Vx Wx Ib', 'sse',           emit(dot('ps'))),
  row('66 0F3A 41', 'DPPD',    'Vx Wx Ib', 'sse',           emit(dot('pd'))),
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
  row('NP 0F 2E', 'UCOMISS',   'Vx Wss',  'sse w:oszapc',   emit(comi(true)('ss'))),
  row('66 0F 2E', 'UCOMISD',   'Vx Wsd',  'sse w:oszapc',   emit(comi(true)('sd'))),
  row('NP 0F 2F', 'COMISS',    'Vx Wss',  'sse w:oszapc',   emit(comi(false)('ss'))),
  row('66 0F 2F', 'COMISD',    'Vx Wsd',  'sse w:oszapc',   emit(comi(false)('sd'))),
  row('F3 0F 2A', 'CVTSI2SS',  'Vx Ey',   'sse',            emit(scalarFromInteger('ss'))),
  row('F2 0F 2A', 'CVTSI2SD',  'Vx Ey',   'sse',            emit(scalarFromInteger('sd'))),
  row('F3 0F 2C', 'CVTTSS2SI', 'Gy Wss',  'sse',            emit(scalarToInteger('ss', true))),
  row('F2 0F 2C', 'CVTTSD2SI', 'Gy Wsd',  'sse',            emit(scalarToInteger('sd', true))),
  row('F3 0F 2D', 'CVTSS2SI',  'Gy Wss',  'sse',            emit(scalarToInteger('ss', false))),
  row('F2 0F 2D', 'CVTSD2SI',  'Gy Wsd',  'sse',            emit(scalarToInteger('sd', false))),
  row('NP 0F 5A', 'CVTPS2PD',  'Vx Wsd',  'sse',            emit(cvtps2pd)),
  row('66 0F 5A', 'CVTPD2PS',  'Vx Wx',   'sse',            emit(cvtpd2ps)),
  row('F3 0F 5A', 'CVTSS2SD',  'Vx Wss',  'sse',            emit(scalarConvert('ss', 'sd'))),
  row('F2 0F 5A', 'CVTSD2SS',  'Vx Wsd',  'sse',            emit(scalarConvert('sd', 'ss'))),
  row('NP 0F 5B', 'CVTDQ2PS',  'Vx Wx',   'sse',            emit(cvtdq2ps)),
  row('66 0F 5B', 'CVTPS2DQ',  'Vx Wx',   'sse',            emit(packedToInteger('ps', false))),
  row('F3 0F 5B', 'CVTTPS2DQ', 'Vx Wx',   'sse',            emit(packedToInteger('ps', true))),
  row('F3 0F E6', 'CVTDQ2PD',  'Vx Wsd',  'sse',            emit(cvtdq2pd)),
  row('F2 0F E6', 'CVTPD2DQ',  'Vx Wx',   'sse',            emit(packedToInteger('pd', false))),
  row('66 0F E6', 'CVTTPD2DQ', 'Vx Wx',   'sse',            emit(packedToInteger('pd', true))),
];
