/** SSE2 integer arithmetic on XMM registers. Nearly every instruction is one of WebAssembly's. */
import type { Translation } from '../../engine/translation.ts';
import type { LV, V128 } from '../../engine/wasm-emitter.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';
import { lanes } from './sse-moves.ts';

const V_AND = 0x4e, SWIZZLE = 0x0e, I8_ADD = 0x6e, I8_SPLAT = 0x0f;

const binary = (make: (t: Translation, a: LV, b: LV) => V128): Emit => (t) => {
  const b = t.readV(1), a = t.readV(0);
  t.writeV(0, t.c.keepV(make(t, a, b)));
};
/** By WebAssembly opcode; `swapped` for PANDN. */
const op = (opcode: number, swapped = false): Emit => binary(({ c }, a, b) => swapped ? c.opV(opcode, c.get(b), c.get(a)) : c.opV(opcode, c.get(a), c.get(b)));

/** High halves of the products of words: both halves of the vector multiplied to 32 bits. */
const multiplyHigh = (low: number, high: number): Emit => binary(({ c }, a, b) =>
  c.shuffleV(lanes(2, 1, 3, 5, 7, 9, 11, 13, 15), c.opV(low, c.get(a), c.get(b)), c.opV(high, c.get(a), c.get(b))));
const pmuludq = binary(({ c }, a, b) => {
  const even = (v: LV) => c.opV(V_AND, c.get(v), c.constV(0xffff_ffffn, 0xffff_ffffn));
  return c.opV(0xd5, even(a), even(b));
});
const psadbw = binary(({ c }, a, b) => {
  const sums = c.keepV(c.opV(0x7f, c.opV(0x7d, c.opV(0x71, c.opV(0x79, c.get(a), c.get(b)), c.opV(0x77, c.get(a), c.get(b))))));
  return c.opV(0xce, c.opV(V_AND, c.get(sums), c.constV(0xffff_ffffn, 0xffff_ffffn)), c.opV(0xcd, c.get(sums), c.const32(32)));
});

/** Shifts of lanes of `bits`; a count too large clears the lanes, or fills them with their signs. */
const shift = (opcode: number, bits: number, arithmetic = false): Emit => (t) => {
  const { c } = t;
  const immediate = t.shape.row.operands[1] === 'Ib';
  const n = c.keep64(immediate ? t.immediate() : c.lane64(0, c.get(t.readV(1))));
  const a = t.readV(0);
  const large = c.keep32(c.gtu(c.get(n), c.const(bits - 1)));
  if (arithmetic) {
    c.if(c.get(large), () => c.set(n, c.const(bits - 1)));
    t.writeV(0, c.keepV(c.opV(opcode, c.get(a), c.wrap(c.get(n)))));
  } else t.writeV(0, c.keepV(c.select(c.constV(0n, 0n), c.opV(opcode, c.get(a), c.wrap(c.get(n))), c.get(large))));
};
/** PSLLDQ and PSRLDQ: bytes move, by a swizzle whose numbers outside 0 to 15 give 0. */
const shiftBytes = (left: boolean): Emit => (t) => {
  const { c } = t;
  const n = c.keep64(t.immediate());
  c.if(c.gtu(c.get(n), c.const(16)), () => c.set(n, c.const(16)));
  const a = t.readV(0);
  const identity = c.constV(0x0706_0504_0302_0100n, 0x0f0e_0d0c_0b0a_0908n);
  const moved = c.opV(left ? 0x71 : I8_ADD, identity, c.opV(I8_SPLAT, c.wrap(c.get(n))));
  const index = c.keepV(moved);
  t.writeV(0, c.keepV(c.opV(SWIZZLE, c.get(a), c.get(index))));
};

/** Opcode, mnemonic, WebAssembly opcode. */
const DIRECT: readonly (readonly [string, string, number])[] = [
  ['63', 'PACKSSWB', 0x65], ['64', 'PCMPGTB', 0x27], ['65', 'PCMPGTW', 0x31], ['66', 'PCMPGTD', 0x3b],
  ['67', 'PACKUSWB', 0x66], ['6B', 'PACKSSDW', 0x85], ['74', 'PCMPEQB', 0x23], ['75', 'PCMPEQW', 0x2d], ['76', 'PCMPEQD', 0x37],
  ['D4', 'PADDQ', 0xce], ['D5', 'PMULLW', 0x95], ['D8', 'PSUBUSB', 0x73], ['D9', 'PSUBUSW', 0x93], ['DA', 'PMINUB', 0x77],
  ['DB', 'PAND', 0x4e], ['DC', 'PADDUSB', 0x70], ['DD', 'PADDUSW', 0x90], ['DE', 'PMAXUB', 0x79], ['E0', 'PAVGB', 0x7b],
  ['E3', 'PAVGW', 0x9b], ['E8', 'PSUBSB', 0x72], ['E9', 'PSUBSW', 0x92], ['EA', 'PMINSW', 0x96], ['EB', 'POR', 0x50],
  ['EC', 'PADDSB', 0x6f], ['ED', 'PADDSW', 0x8f], ['EE', 'PMAXSW', 0x98], ['EF', 'PXOR', 0x51], ['F5', 'PMADDWD', 0xba],
  ['F8', 'PSUBB', 0x71], ['F9', 'PSUBW', 0x91], ['FA', 'PSUBD', 0xb1], ['FB', 'PSUBQ', 0xd1],
  ['FC', 'PADDB', 0x6e], ['FD', 'PADDW', 0x8e], ['FE', 'PADDD', 0xae],
];

export const sseIntegerRows: readonly Row[] = [
  ...DIRECT.map(([opcode, mnemonic, wasm]) => row(`66 0F ${opcode}`, mnemonic, 'Vx Wx', 'sse', emit(op(wasm)))),
  row('66 0F DF',      'PANDN',   'Vx Wx', 'sse', emit(op(0x4f, true))),
  row('66 0F E4',      'PMULHUW', 'Vx Wx', 'sse', emit(multiplyHigh(0xbe, 0xbf))),
  row('66 0F E5',      'PMULHW',  'Vx Wx', 'sse', emit(multiplyHigh(0xbc, 0xbd))),
  row('66 0F F4',      'PMULUDQ', 'Vx Wx', 'sse', emit(pmuludq)),
  row('66 0F F6',      'PSADBW',  'Vx Wx', 'sse', emit(psadbw)),
  row('66 0F 71 /2 r', 'PSRLW',   'Ux Ib', 'sse', emit(shift(0x8d, 16))),
  row('66 0F 71 /4 r', 'PSRAW',   'Ux Ib', 'sse', emit(shift(0x8c, 16, true))),
  row('66 0F 71 /6 r', 'PSLLW',   'Ux Ib', 'sse', emit(shift(0x8b, 16))),
  row('66 0F 72 /2 r', 'PSRLD',   'Ux Ib', 'sse', emit(shift(0xad, 32))),
  row('66 0F 72 /4 r', 'PSRAD',   'Ux Ib', 'sse', emit(shift(0xac, 32, true))),
  row('66 0F 72 /6 r', 'PSLLD',   'Ux Ib', 'sse', emit(shift(0xab, 32))),
  row('66 0F 73 /2 r', 'PSRLQ',   'Ux Ib', 'sse', emit(shift(0xcd, 64))),
  row('66 0F 73 /3 r', 'PSRLDQ',  'Ux Ib', 'sse', emit(shiftBytes(false))),
  row('66 0F 73 /6 r', 'PSLLQ',   'Ux Ib', 'sse', emit(shift(0xcb, 64))),
  row('66 0F 73 /7 r', 'PSLLDQ',  'Ux Ib', 'sse', emit(shiftBytes(true))),
  row('66 0F D1',      'PSRLW',   'Vx Wx', 'sse', emit(shift(0x8d, 16))),
  row('66 0F D2',      'PSRLD',   'Vx Wx', 'sse', emit(shift(0xad, 32))),
  row('66 0F D3',      'PSRLQ',   'Vx Wx', 'sse', emit(shift(0xcd, 64))),
  row('66 0F E1',      'PSRAW',   'Vx Wx', 'sse', emit(shift(0x8c, 16, true))),
  row('66 0F E2',      'PSRAD',   'Vx Wx', 'sse', emit(shift(0xac, 32, true))),
  row('66 0F F1',      'PSLLW',   'Vx Wx', 'sse', emit(shift(0x8b, 16))),
  row('66 0F F2',      'PSLLD',   'Vx Wx', 'sse', emit(shift(0xab, 32))),
  row('66 0F F3',      'PSLLQ',   'Vx Wx', 'sse', emit(shift(0xcb, 64))),
];
