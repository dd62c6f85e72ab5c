/**
 * Shifts and rotates. A count of 0 changes no flag; OF is defined for counts of 1 only, and computed as silicon does
 * for all: from the result's top bits.
 */
import type { Translation } from '../../engine/translation.ts';
import { type I64, type L64, i64 } from '../../engine/wasm-emitter.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';

/** Runs `body` unless the masked count is 0. A memory destination is checked for writing all the same. */
function shifting(t: Translation, countOperand: number, body: (a: L64, n: L64, size: number) => void): void {
  const { c } = t;
  const size = t.operandSize(0);
  const a = t.modify(0);
  const known = t.constant(countOperand);
  if (known !== undefined && (known & (size === 8 ? 63 : 31)) !== 0) {
    body(a, c.keep64(c.const(known & (size === 8 ? 63 : 31))), size);
    return;
  }
  const n = c.keep64(c.and(t.value(countOperand), c.const(size === 8 ? 63 : 31)));
  c.if(c.ne(c.get(n), c.const(0)), () => body(a, n, size), () => {
    // A 32-bit register is zero-extended even by a shift of 0.
    if (size === 4) t.write(0, a);
  });
}
const bit = ({ c }: Translation, v: L64, n: number): I64 => c.and(c.shru(c.get(v), c.const(n)), c.const(1));
const adjustZero = (t: Translation) => t.flags.setAdjust(() => t.c.const32(0));

const shl: Emit = (t) => shifting(t, 1, (a, n, size) => {
  const { c } = t;
  const bits = 8 * size;
  const r = c.keep64(t.calc('shl', size, a, n));
  // The last bit shifted out is bit size - n of the operand; beyond the operand's width it is 0.
  const cf = () => size >= 4 ? c.and(c.shru(c.get(a), c.sub(c.const(bits), c.get(n))), c.const(1)) : bit(t, r, bits);
  t.write(0, r);
  t.flags.defer(size, a, n, r, cf, () => c.xor(bit(t, r, bits - 1), cf()));
});
const shr: Emit = (t) => shifting(t, 1, (a, n, size) => {
  const { c } = t;
  const r = c.keep64(t.calc('shru', size, a, n));
  t.write(0, r);
  t.flags.defer(size, a, n, r, () => c.and(c.shru(c.get(a), c.sub(c.get(n), c.const(1))), c.const(1)),
    () => c.xor(bit(t, r, 8 * size - 1), bit(t, r, 8 * size - 2)));
});
const sar: Emit = (t) => shifting(t, 1, (a, n, size) => {
  const { c } = t;
  const wide = c.keep64(c.extend(size, c.get(a)));
  const r = c.keep64(t.calc('shrs', size, wide, n));
  t.write(0, r);
  t.flags.defer(size, wide, n, r, () => c.and(c.shrs(c.get(wide), c.sub(c.get(n), c.const(1))), c.const(1)), () => c.const(0));
});

/** ROL and ROR turn by the count modulo the width; CF is the bit that came around last, the other flags stay. */
const rotate = (left: boolean): Emit => (t) => shifting(t, 1, (a, n, size) => {
  const { c } = t;
  const bits = 8 * size;
  let r: L64;
  if (size === 8) r = c.keep64(left ? c.rotl(c.get(a), c.get(n)) : c.rotr(c.get(a), c.get(n)));
  else if (size === 4) r = c.keep64(c.extendu(c.calc32(left ? 'rotl' : 'rotr', c.wrap(c.get(a)), c.wrap(c.get(n)))));
  else {
    const k = c.keep64(c.and(c.get(n), c.const(bits - 1)));
    const other = () => c.and(c.sub(c.const(bits), c.get(k)), c.const(bits - 1));
    r = c.keep64(t.truncate(size, left
      ? c.or(c.shl(c.get(a), c.get(k)), c.shru(c.get(a), other()))
      : c.or(c.shru(c.get(a), c.get(k)), c.shl(c.get(a), other()))));
  }
  t.write(0, r);
  if (left) t.flags.deferCfOf(r, () => c.and(c.get(r), c.const(1)), () => c.xor(bit(t, r, bits - 1), c.and(c.get(r), c.const(1))));
  else t.flags.deferCfOf(r, () => bit(t, r, bits - 1), () => c.xor(bit(t, r, bits - 1), bit(t, r, bits - 2)));
});

/** RCL and RCR turn the operand with CF as one more bit. One step at a time: counts above 1 are rare. */
const rotateThroughCarry = (left: boolean): Emit => (t) => {
  const { c } = t;
  const size = t.operandSize(0), bits = 8 * size;
  const a = t.modify(0);
  const n = c.keep64(c.and(t.value(1), c.const(size === 8 ? 63 : 31)));
  if (size < 4) c.set(n, c.remu(c.get(n), c.const(bits + 1)));
  const cf = c.keep64(t.flags.cf());
  const out = c.local(i64), moved = c.keep32(c.ne(c.get(n), c.const(0)));
  c.loop((again) => {
    c.if(c.ne(c.get(n), c.const(0)), () => {
      if (left) {
        c.set(out, bit(t, a, bits - 1));
        c.set(a, t.truncate(size, c.or(c.shl(c.get(a), c.const(1)), c.get(cf))));
      } else {
        c.set(out, c.and(c.get(a), c.const(1)));
        c.set(a, c.or(c.shru(c.get(a), c.const(1)), c.shl(c.get(cf), c.const(bits - 1))));
      }
      c.set(cf, c.get(out));
      c.set(n, c.sub(c.get(n), c.const(1)));
      c.br(again);
    });
  });
  t.write(0, a);
  c.if(c.get(moved), () => t.flags.setCfOf(() => c.get(cf),
    () => left ? c.xor(bit(t, a, bits - 1), c.get(cf)) : c.xor(bit(t, a, bits - 1), bit(t, a, bits - 2))));
};

/** SHLD and SHRD: bits come in from operand 1. 16-bit counts above 16 are undefined; silicon goes on with the destination's bits. */
const double = (left: boolean): Emit => (t) => {
  const { c } = t;
  const b = t.read(1);
  shifting(t, 2, (a, n, size) => {
    const bits = 8 * size;
    let r: L64, cf: L64;
    if (size === 8) {
      const back = () => c.sub(c.const(64), c.get(n));
      r = c.keep64(left ? c.or(c.shl(c.get(a), c.get(n)), c.shru(c.get(b), back())) : c.or(c.shru(c.get(a), c.get(n)), c.shl(c.get(b), back())));
      cf = c.keep64(c.and(left ? c.shru(c.get(a), back()) : c.shru(c.get(a), c.sub(c.get(n), c.const(1))), c.const(1)));
    } else {
      // Both operands side by side; for 16 bits the destination a second time, where counts above 16 reach.
      const wide = c.keep64(size === 4
        ? left ? c.or(c.shl(c.get(a), c.const(32)), c.get(b)) : c.or(c.shl(c.get(b), c.const(32)), c.get(a))
        : left ? c.or(c.or(c.shl(c.get(a), c.const(32)), c.shl(c.get(b), c.const(16))), c.get(a))
          : c.or(c.or(c.shl(c.get(a), c.const(32)), c.shl(c.get(b), c.const(16))), c.get(a)));
      if (left) {
        const top = size === 4 ? 64 : 48;
        r = c.keep64(t.truncate(size, c.shru(c.shl(c.get(wide), c.get(n)), c.const(top - bits))));
        cf = c.keep64(c.and(c.shru(c.get(wide), c.sub(c.const(top), c.get(n))), c.const(1)));
      } else {
        r = c.keep64(t.truncate(size, c.shru(c.get(wide), c.get(n))));
        cf = c.keep64(c.and(c.shru(c.get(wide), c.sub(c.get(n), c.const(1))), c.const(1)));
      }
    }
    t.write(0, r);
    t.flags.setCfOf(() => c.get(cf), () => left ? c.xor(bit(t, r, bits - 1), bit(t, a, bits - 1)) : c.xor(bit(t, r, bits - 1), bit(t, r, bits - 2)));
    adjustZero(t);
    t.flags.result(size, r);
  });
};

const GROUP = [
  ['ROL', 'w:oc', rotate(true)], ['ROR', 'w:oc', rotate(false)],
  ['RCL', 'r:c w:oc', rotateThroughCarry(true)], ['RCR', 'r:c w:oc', rotateThroughCarry(false)],
  ['SHL', 'w:oszpc u:a', shl], ['SHR', 'w:oszpc u:a', shr], ['SAL', 'w:oszpc u:a', shl], ['SAR', 'w:oszpc u:a', sar],
] as const;

export const shiftRows: readonly Row[] = [
  ...GROUP.flatMap(([mnemonic, attributes, meaning], i) => [
    row(`C0 /${i}`, mnemonic, 'Eb Ib', attributes, emit(meaning)),
    row(`C1 /${i}`, mnemonic, 'Ev Ib', attributes, emit(meaning)),
    row(`D0 /${i}`, mnemonic, 'Eb 1',  attributes, emit(meaning)),
    row(`D1 /${i}`, mnemonic, 'Ev 1',  attributes, emit(meaning)),
    row(`D2 /${i}`, mnemonic, 'Eb CL', attributes, emit(meaning)),
    row(`D3 /${i}`, mnemonic, 'Ev CL', attributes, emit(meaning)),
  ]),
  row('0F A4', 'SHLD', 'Ev Gv Ib', 'w:szpc u:ao', emit(double(true))),
  row('0F A5', 'SHLD', 'Ev Gv CL', 'w:szpc u:ao', emit(double(true))),
  row('0F AC', 'SHRD', 'Ev Gv Ib', 'w:szpc u:ao', emit(double(false))),
  row('0F AD', 'SHRD', 'Ev Gv CL', 'w:szpc u:ao', emit(double(false))),
];
