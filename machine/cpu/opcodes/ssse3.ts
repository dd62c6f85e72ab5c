/** SSE3's moves and SSSE3 on XMM registers: horizontal arithmetic, signs, byte shuffles. SDM Vol. 1 ch. 12. */
import type { Translation } from '../../engine/translation.ts';
import type { LV, V128 } from '../../engine/wasm-emitter.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';
import { lanes } from './sse-moves.ts';

const SWIZZLE = 0x0e, I8_SPLAT = 0x0f, I8_ADD = 0x6e, V_AND = 0x4e, V_ANDNOT = 0x4f, V_OR = 0x50, V_XOR = 0x51;
const I16_ADD_SAT = 0x8f;

export const binary = (make: (t: Translation, a: LV, b: LV) => V128): Emit => (t) => {
  const b = t.readV(1), a = t.readV(0);
  t.writeV(0, t.c.keepV(make(t, a, b)));
};
export const unary = (make: (t: Translation, b: LV) => V128): Emit => (t) => {
  const b = t.readV(1);
  t.writeV(0, t.c.keepV(make(t, b)));
};

const EVEN = { 2: lanes(2, 0, 2, 4, 6, 8, 10, 12, 14), 4: lanes(4, 0, 2, 4, 6) } as const;
const ODD = { 2: lanes(2, 1, 3, 5, 7, 9, 11, 13, 15), 4: lanes(4, 1, 3, 5, 7) } as const;
/** Neighbours within a, then within b, combined by a WebAssembly opcode. */
const horizontal = (opcode: number, width: 2 | 4): Emit => binary(({ c }, a, b) =>
  c.opV(opcode, c.shuffleV(EVEN[width], c.get(a), c.get(b)), c.shuffleV(ODD[width], c.get(a), c.get(b))));

/** Unsigned bytes of a times signed bytes of b: a product fits 16 bits, the sum of two saturates. */
const pmaddubsw = binary(({ c }, a, b) => {
  const low = c.keepV(c.opV(0x95, c.opV(0x89, c.get(a)), c.opV(0x87, c.get(b))));
  const high = c.keepV(c.opV(0x95, c.opV(0x8a, c.get(a)), c.opV(0x88, c.get(b))));
  return c.opV(I16_ADD_SAT, c.shuffleV(EVEN[2], c.get(low), c.get(high)), c.shuffleV(ODD[2], c.get(low), c.get(high)));
});
/** WebAssembly's saturates the one product that does not fit; PMULHRSW wraps it. */
const pmulhrsw = binary(({ c }, a, b) => {
  const least = () => c.constV(0x8000_8000_8000_8000n, 0x8000_8000_8000_8000n);
  const both = c.opV(V_AND, c.opV(0x2d, c.get(a), least()), c.opV(0x2d, c.get(b), least()));
  return c.opV(V_XOR, both, c.opV(0x82, c.get(a), c.get(b)));
});
/** a, -a or 0 by the sign of b. */
const psign = (shift: number, sub: number, eq: number, bits: number): Emit => binary(({ c }, a, b) => {
  const sign = c.keepV(c.opV(shift, c.get(b), c.const32(bits - 1)));
  return c.opV(V_ANDNOT, c.opV(sub, c.opV(V_XOR, c.get(a), c.get(sign)), c.get(sign)), c.opV(eq, c.get(b), c.constV(0n, 0n)));
});
/** An index with its top bit set gives 0, of others the low four bits count. */
const pshufb = binary(({ c }, a, b) => c.opV(SWIZZLE, c.get(a), c.opV(V_AND, c.get(b), c.constV(0x8f8f_8f8f_8f8f_8f8fn, 0x8f8f_8f8f_8f8f_8f8fn))));
/** Sixteen bytes of dest:source from byte n on: two swizzles whose numbers outside 0 to 15 give 0. */
const palignr: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const n = c.keep64(t.immediate());
  c.if(c.gtu(c.get(n), c.const(32)), () => c.set(n, c.const(32)));
  const identity = c.constV(0x0706_0504_0302_0100n, 0x0f0e_0d0c_0b0a_0908n);
  const index = c.keepV(c.opV(I8_ADD, identity, c.opV(I8_SPLAT, c.wrap(c.get(n)))));
  const sixteen = () => c.constV(0x1010_1010_1010_1010n, 0x1010_1010_1010_1010n);
  t.writeV(0, c.keepV(c.opV(V_OR, c.opV(SWIZZLE, c.get(b), c.get(index)), c.opV(SWIZZLE, c.get(a), c.opV(0x71, c.get(index), sixteen())))));
};

const duplicate = (order: readonly number[]): Emit => unary(({ c }, b) => c.shuffleV(order, c.get(b), c.get(b)));
const load: Emit = (t) => t.writeV(0, t.readV(1, true));

export const ssse3Rows: readonly Row[] = [
  row('F2 0F 12',      'MOVDDUP',   'Vx Wsd',   'sse', emit(duplicate(lanes(8, 0, 0)))),
  row('F3 0F 12',      'MOVSLDUP',  'Vx Wx',    'sse', emit(duplicate(lanes(4, 0, 0, 2, 2)))),
  row('F3 0F 16',      'MOVSHDUP',  'Vx Wx',    'sse', emit(duplicate(lanes(4, 1, 1, 3, 3)))),
  row('F2 0F F0 m',    'LDDQU',     'Vx Wx',    'sse', emit(load)),

  row('66 0F38 00',    'PSHUFB',    'Vx Wx',    'sse', emit(pshufb)),
  row('66 0F38 01',    'PHADDW',    'Vx Wx',    'sse', emit(horizontal(0x8e, 2))),
  row('66 0F38 02',    'PHADDD',    'Vx Wx',    'sse', emit(horizontal(0xae, 4))),
  row('66 0F38 03',    'PHADDSW',   'Vx Wx',    'sse', emit(horizontal(I16_ADD_SAT, 2))),
  row('66 0F38 04',    'PMADDUBSW', 'Vx Wx',    'sse', emit(pmaddubsw)),
  row('66 0F38 05',    'PHSUBW',    'Vx Wx',    'sse', emit(horizontal(0x91, 2))),
  row('66 0F38 06',    'PHSUBD',    'Vx Wx',    'sse', emit(horizontal(0xb1, 4))),
  row('66 0F38 07',    'PHSUBSW',   'Vx Wx',    'sse', emit(horizontal(0x92, 2))),
  row('66 0F38 08',    'PSIGNB',    'Vx Wx',    'sse', emit(psign(0x6c, 0x71, 0x23, 8))),
  row('66 0F38 09',    'PSIGNW',    'Vx Wx',    'sse', emit(psign(0x8c, 0x91, 0x2d, 16))),
  row('66 0F38 0A',    'PSIGND',    'Vx Wx',    'sse', emit(psign(0xac, 0xb1, 0x37, 32))),
  row('66 0F38 0B',    'PMULHRSW',  'Vx Wx',    'sse', emit(pmulhrsw)),
  row('66 0F38 1C',    'PABSB',     'Vx Wx',    'sse', emit(unary(({ c }, b) => c.opV(0x60, c.get(b))))),
  row('66 0F38 1D',    'PABSW',     'Vx Wx',    'sse', emit(unary(({ c }, b) => c.opV(0x80, c.get(b))))),
  row('66 0F38 1E',    'PABSD',     'Vx Wx',    'sse', emit(unary(({ c }, b) => c.opV(0xa0, c.get(b))))),
  row('66 0F3A 0F',    'PALIGNR',   'Vx Wx Ib', 'sse', emit(palignr)),
];
