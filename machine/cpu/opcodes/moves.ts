/** Data movement without arithmetic: MOV, LEA, XCHG, extensions, conditional moves and sets, byte swaps. */
import type { Translation } from '../../engine/translation.ts';
import { RAX, RBX, RDX } from '../state.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';

const mov: Emit = (t) => t.write(0, t.read(1));
const movsx: Emit = (t) => {
  const { c } = t;
  const from = t.operandSize(1);
  t.write(0, c.keep64(t.narrow(t.size) ? c.extendu(c.extend32(from, c.wrap(t.value(1)))) : c.extend(from, t.value(1))));
};
const lea: Emit = (t) => t.write(0, t.c.keep64(t.effectiveAddress(t.size)));
/** MOV between the accumulator and an absolute offset. */
const offsetAddress = (t: Translation, size: number, write: boolean) => t.operandAddressAt(t.c.keep64(t.immediate()), size, write);
const loadOffset: Emit = (t) => {
  const size = t.operandSize(0);
  const v = t.c.keep64(t.load(offsetAddress(t, size, false), size));
  t.setGpr(RAX, size, () => t.c.get(v));
};
const storeOffset: Emit = (t) => {
  const size = t.operandSize(1);
  t.store(offsetAddress(t, size, true), size, t.c.keep64(t.gpr(RAX, size)));
};
const xchg: Emit = (t) => {
  const a = t.modify(0), b = t.read(1);
  t.write(0, b);
  t.write(1, a);
};
const xlat: Emit = (t) => {
  const { c } = t;
  const offset = c.keep64(t.address(c.add(t.gpr(RBX, 8), t.gpr(RAX, 1))));
  const v = c.keep64(t.load(t.operandAddressAt(offset, 1, false), 1));
  t.setGpr(RAX, 1, () => c.get(v));
};
/** CBW, CWDE, CDQE: the lower half of rAX extended. */
const cbw: Emit = (t) => t.setGpr(RAX, t.size, () => t.c.extend(t.size / 2, t.gpr(RAX, t.size / 2)));
/** CWD, CDQ, CQO: rDX filled with the sign of rAX. */
const cwd: Emit = (t) => t.setGpr(RDX, t.size, () => t.c.shrs(t.c.extend(t.size, t.gpr(RAX, t.size)), t.c.const(63)));

const swapped = (t: Translation, size: number, i: number) => {
  const { c } = t;
  const v = t.read(i);
  if (size === 4) {
    // Of each two neighbours one turned by a byte to the left, the other to the right.
    const turned = (n: number, mask: number) => c.calc32('and', c.calc32('rotl', c.wrap(c.get(v)), c.const32(n)), c.const32(mask));
    c.set(v, c.extendu(c.or32(turned(8, 0x00ff_00ff), turned(24, 0xff00_ff00 | 0))));
    return v;
  }
  // Bytes of a 64-bit word reversed by three exchanges of neighbours, then moved down.
  const exchange = (mask: bigint, n: number) =>
    c.set(v, c.or(c.and(c.shru(c.get(v), c.const(n)), c.const(mask)), c.shl(c.and(c.get(v), c.const(mask)), c.const(n))));
  exchange(0x00ff_00ff_00ff_00ffn, 8);
  exchange(0x0000_ffff_0000_ffffn, 16);
  c.set(v, c.shru(c.rotl(c.get(v), c.const(32)), c.const(64 - 8 * size)));
  return v;
};
/** BSWAP of a 16-bit register is undefined; processors clear it. */
const bswap: Emit = (t) => t.write(0, t.size === 2 ? t.c.keep64(t.c.const(0)) : swapped(t, t.size, 0));
const movbe: Emit = (t) => t.write(0, swapped(t, t.size, 1));

const cmov = (cc: number): Emit => (t) => {
  const { c } = t;
  // The source is read whatever the condition says; a 32-bit destination is zero-extended even then.
  const b = t.read(1), a = t.read(0);
  t.write(0, c.keep64(c.select(c.get(b), c.get(a), t.flags.condition(cc))));
};
const setcc = (cc: number): Emit => (t) => {
  t.prepare(0);
  t.write(0, t.c.keep64(t.c.extendu(t.flags.condition(cc))));
};

export const CONDITIONS = ['O', 'NO', 'B', 'AE', 'E', 'NE', 'BE', 'A', 'S', 'NS', 'P', 'NP', 'L', 'GE', 'LE', 'G'] as const;
export const CONDITION_READS = ['o', 'c', 'z', 'cz', 's', 'p', 'so', 'zso'] as const;
const hex = (n: number) => n.toString(16).toUpperCase();

export const moveRows: readonly Row[] = [
  row('88',      'MOV',    'Eb Gb',  '',    emit(mov)),
  row('89',      'MOV',    'Ev Gv',  '',    emit(mov)),
  row('8A',      'MOV',    'Gb Eb',  '',    emit(mov)),
  row('8B',      'MOV',    'Gv Ev',  '',    emit(mov)),
  row('A0',      'MOV',    'AL Ob',  '',    emit(loadOffset)),
  row('A1',      'MOV',    'rAX Ov', '',    emit(loadOffset)),
  row('A2',      'MOV',    'Ob AL',  '',    emit(storeOffset)),
  row('A3',      'MOV',    'Ov rAX', '',    emit(storeOffset)),
  row('B0+r',    'MOV',    'Zb Ib',  '',    emit(mov)),
  row('B8+r',    'MOV',    'Zv Iv',  '',    emit(mov)),
  row('C6 /0',   'MOV',    'Eb Ib',  '',    emit(mov)),
  row('C7 /0',   'MOV',    'Ev Iz',  '',    emit(mov)),
  row('8D',      'LEA',    'Gv M',   '',    emit(lea)),
  row('86',      'XCHG',   'Eb Gb',  'lock', emit(xchg)),
  row('87',      'XCHG',   'Ev Gv',  'lock', emit(xchg)),
  row('90+r',    'XCHG',   'Zv rAX', '',    emit(xchg)),
  row('D7',      'XLAT',   'Xb',     '',    emit(xlat)),
  row('98',      'CBW',    '',       '',    emit(cbw)),
  row('99',      'CWD',    '',       '',    emit(cwd)),
  row('63',      'MOVSXD', 'Gv Ez',  'o64', emit(movsx)),
  row('0F B6',   'MOVZX',  'Gv Eb',  '',    emit(mov)),
  row('0F B7',   'MOVZX',  'Gv Ew',  '',    emit(mov)),
  row('0F BE',   'MOVSX',  'Gv Eb',  '',    emit(movsx)),
  row('0F BF',   'MOVSX',  'Gv Ew',  '',    emit(movsx)),
  row('0F C8+r', 'BSWAP',  'Zv',     '',    emit(bswap)),
  ...['NP', '66'].flatMap((prefix) => [
    row(`${prefix} 0F38 F0`, 'MOVBE', 'Gv Mv', prefix === '66' ? 'o16' : '', emit(movbe)),
    row(`${prefix} 0F38 F1`, 'MOVBE', 'Mv Gv', prefix === '66' ? 'o16' : '', emit(movbe)),
  ]),
  row('NP 0F C3',  'MOVNTI', 'My Gy',  '',    emit(mov)),
  ...CONDITIONS.flatMap((name, cc) => [
    row(`0F 4${hex(cc)}`, `CMOV${name}`, 'Gv Ev', `r:${CONDITION_READS[cc >> 1]}`, emit(cmov(cc))),
    row(`0F 9${hex(cc)}`, `SET${name}`,  'Eb',    `r:${CONDITION_READS[cc >> 1]}`, emit(setcc(cc))),
  ]),
];
