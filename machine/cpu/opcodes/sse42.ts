/** SSE4.2's comparisons of short strings: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM. SDM Vol. 2, 4.1. */
import type { Translation } from '../../engine/translation.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';
import { SIMD_A, SIMD_B, SIMD_EXTRA, SIMD_LENGTHS, SIMD_RESULT, type SimdArea, simdFunction } from '../simd-call.ts';
import { RAX, RCX, RDX } from '../state.ts';

const I64_SPLAT = 0x12;
const CF = 1, ZF = 0x40, SF = 0x80, OF = 0x800;

/** Bits 3:2 of the immediate. */
const EQUAL_ANY = 0, RANGES = 1, EQUAL_EACH = 2;

/** Elements before the first that is 0. */
function implicitLength(elements: ArrayLike<number>, from: number, n: number): number {
  for (let i = 0; i < n; i++) if (elements[from + i] === 0) return i;
  return n;
}
/** A register as a length: its magnitude, n at most. */
const explicitLength = ({ u32, s32 }: SimdArea, at: number, n: number): number => Math.min(Math.abs(s32[at / 4 + 1]! * 0x1_0000_0000 + u32[at / 4]!), n);

/** One bit for each element j of b; m and n: valid elements of a and b, of `size` there are. */
function aggregate(how: number, size: number, m: number, n: number, a: (i: number) => number, b: (j: number) => number): number {
  let bits = 0;
  for (let j = 0; j < size; j++) {
    let hit = false;
    if (how === EQUAL_ANY) for (let i = 0; i < m && j < n; i++) hit ||= a(i) === b(j);
    else if (how === RANGES) for (let i = 0; i + 1 < m && j < n; i += 2) hit ||= a(i) <= b(j) && b(j) <= a(i + 1);
    else if (how === EQUAL_EACH) hit = j < m && j < n ? a(j) === b(j) : j >= m && j >= n;
    else {
      hit = true;
      for (let i = 0; i < m && j + i < size; i++) hit &&= j + i < n && a(i) === b(j + i);
    }
    if (hit) bits |= 1 << j;
  }
  return bits;
}

/** Leaves the mask as a vector, and behind it RFLAGS and the index. */
const compare = (explicit: boolean) => (area: SimdArea): boolean => {
  const imm = area.u8[SIMD_EXTRA]!;
  const words = (imm & 1) !== 0;
  const elements = imm & 2 ? (words ? area.s16 : area.s8) : words ? area.u16 : area.u8;
  const size = words ? 8 : 16, atA = SIMD_A / (words ? 2 : 1), atB = SIMD_B / (words ? 2 : 1);
  const m = explicit ? explicitLength(area, SIMD_LENGTHS, size) : implicitLength(elements, atA, size);
  const n = explicit ? explicitLength(area, SIMD_LENGTHS + 8, size) : implicitLength(elements, atB, size);
  let bits = aggregate(imm >> 2 & 3, size, m, n, (i) => elements[atA + i]!, (j) => elements[atB + j]!);
  const all = (1 << size) - 1;
  if (imm & 0x10) bits ^= imm & 0x20 ? (1 << n) - 1 : all;
  area.u32[SIMD_EXTRA / 4] = (bits !== 0 ? CF : 0) | (n < size ? ZF : 0) | (m < size ? SF : 0) | (bits & 1 ? OF : 0);
  area.u32[SIMD_EXTRA / 4 + 1] = bits === 0 ? size : imm & 0x40 ? 31 - Math.clz32(bits) : 31 - Math.clz32(bits & -bits);
  area.u64.fill(0n, SIMD_RESULT / 8, SIMD_RESULT / 8 + 2);
  if (!(imm & 0x40)) area.u32[SIMD_RESULT / 4] = bits;
  else for (let i = 0; i < size; i++) {
    const lane = bits >> i & 1 ? -1 : 0;
    if (words) area.s16[SIMD_RESULT / 2 + i] = lane; else area.s8[SIMD_RESULT + i] = lane;
  }
  return true;
};

/** `index`: ECX gets a number; else XMM0 gets a mask. */
const strings = (explicit: boolean, index: boolean): Emit => {
  const n = simdFunction(compare(explicit));
  return (t: Translation) => {
    const { c } = t;
    const b = t.readV(1, true), a = t.readV(0);
    t.simdParameter(SIMD_A, a);
    t.simdParameter(SIMD_B, b);
    t.simdParameter(SIMD_EXTRA, c.keepV(c.opV(I64_SPLAT, t.immediate())));
    if (explicit) {
      const length = (r: number) => c.extend(t.size === 8 ? 8 : 4, t.gpr(r, 8));
      t.simdParameter(SIMD_LENGTHS, c.keepV(c.replace64(1, c.opV(I64_SPLAT, length(RAX)), length(RDX))));
    }
    t.callSimd(n);
    const r = t.simdResult(SIMD_EXTRA);
    if (index) t.setGpr(RCX, 4, () => c.shru(c.lane64(0, c.get(r)), c.const(32)));
    else t.writeImplicitV(0, t.simdResult(SIMD_RESULT));
    const f = c.keep32(c.wrap(c.lane64(0, c.get(r))));
    t.flags.setCarry(() => c.shl(c.and(c.shru(c.lane64(0, c.get(r)), c.const(11)), c.const(1)), c.const(62)));
    t.flags.unpack(f);
  };
};

export const sse42Rows: readonly Row[] = [
  row('66 0F3A 60', 'PCMPESTRM', 'Vx Wx Ib', 'sse w:oszapc', emit(strings(true, false))),
  row('66 0F3A 61', 'PCMPESTRI', 'Vx Wx Ib', 'sse w:oszapc', emit(strings(true, true))),
  row('66 0F3A 62', 'PCMPISTRM', 'Vx Wx Ib', 'sse w:oszapc', emit(strings(false, false))),
  row('66 0F3A 63', 'PCMPISTRI', 'Vx Wx Ib', 'sse w:oszapc', emit(strings(false, true))),
];
