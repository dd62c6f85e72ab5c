/** Multiplication and division. */
import type { Translation } from '../../engine/translation.ts';
import { type I64, type L64, i64 } from '../../engine/wasm-emitter.ts';
import { RAX, RDX } from '../state.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';

const DE_VECTOR = 0;

/** CF = OF = the product does not fit, by low, a and b; SF and PF of its low half, ZF and AF as silicon leaves them: of the low half, and 0. */
function productFlags(t: Translation, size: number, low: L64, overflow: () => I64, a = low, b = low): void {
  t.flags.defer(size, a, b, low, overflow, overflow);
}

/** MUL and IMUL of the accumulator: the product goes to AX or rDX:rAX. */
const multiply = (signed: boolean): Emit => (t) => {
  const { c } = t;
  const size = t.operandSize(0);
  const b = t.read(0), a = c.keep64(t.gpr(RAX, size));
  const low = c.local(i64), high = c.local(i64);
  if (size === 8) {
    c.set(low, c.mul(c.get(a), c.get(b)));
    c.set(high, c.call64(t.runtime.mulHigh, c.get(a), c.get(b)));
    if (signed) c.set(high, signedHigh(t, high, a, b));
  } else {
    if (signed) for (const v of [a, b]) c.set(v, c.extend(size, c.get(v)));
    c.set(low, c.mul(c.get(a), c.get(b)));
    c.set(high, c.shrs(c.get(low), c.const(8 * size)));
  }
  if (size === 1) t.setGpr(RAX, 2, () => c.get(low));
  else {
    t.setGpr(RAX, size, () => c.get(low));
    t.setGpr(RDX, size, () => c.get(high));
  }
  productFlags(t, size, low, () => c.extendu(signed
    ? c.ne(c.extend(size, c.get(high)), c.shrs(c.extend(size, c.get(low)), c.const(63)))
    : c.ne(t.truncate(size, c.get(high)), c.const(0))), high);
};
/** High half of the signed product from that of the unsigned one. */
const signedHigh = ({ c }: Translation, high: L64, a: L64, b: L64): I64 =>
  c.sub(c.sub(c.get(high), c.and(c.shrs(c.get(a), c.const(63)), c.get(b))), c.and(c.shrs(c.get(b), c.const(63)), c.get(a)));

/** IMUL with two or three operands: the product's low half. */
const imul = (first: number, second: number): Emit => (t) => {
  const { c } = t;
  const { size } = t;
  const a = t.read(first), b = t.read(second);
  const low = c.keep64(t.calc('mul', size, a, b));
  t.write(0, low);
  productFlags(t, size, low, () => {
    if (size < 8) return c.extendu(c.ne(c.extend(size, c.get(low)), c.mul(c.extend(size, c.get(a)), c.extend(size, c.get(b)))));
    const high = c.keep64(c.call64(t.runtime.mulHigh, c.get(a), c.get(b)));
    return c.extendu(c.ne(signedHigh(t, high, a, b), c.shrs(c.get(low), c.const(63))));
  }, a, b);
};

/** DIV and IDIV. A quotient that does not fit raises #DE, as does a divisor of 0; no flag is defined, none is changed. */
const divide = (signed: boolean): Emit => (t) => {
  const { c } = t;
  const size = t.operandSize(0), bits = 8 * size;
  const divisor = t.read(0);
  const quotient = c.local(i64), remainder = c.local(i64);
  if (size === 8) {
    const a = c.keep64(t.gpr(RAX, 8)), d = c.keep64(t.gpr(RDX, 8));
    // The dividend fits 64 bits nearly always; the smallest number by -1 is left to the slow path.
    const simple = signed
      ? c.and32(c.eq(c.get(d), c.shrs(c.get(a), c.const(63))), c.gtu(c.add(c.get(divisor), c.const(1)), c.const(1)))
      : c.and32(c.eqz(c.get(d)), c.ne(c.get(divisor), c.const(0)));
    c.if(simple, () => {
      c.set(quotient, signed ? c.divs(c.get(a), c.get(divisor)) : c.divu(c.get(a), c.get(divisor)));
      c.set(remainder, signed ? c.rems(c.get(a), c.get(divisor)) : c.remu(c.get(a), c.get(divisor)));
      t.setGpr(RAX, 8, () => c.get(quotient));
      t.setGpr(RDX, 8, () => c.get(remainder));
    }, () => t.divideWide(divisor, signed));
    return;
  }
  const dividend = c.keep64(size === 1 ? t.gpr(RAX, 2) : c.or(c.shl(t.gpr(RDX, size), c.const(bits)), t.gpr(RAX, size)));
  c.if(c.eqz(c.get(divisor)), () => t.raise(DE_VECTOR));
  if (signed) {
    c.set(divisor, c.extend(size, c.get(divisor)));
    c.set(dividend, c.extend(2 * size, c.get(dividend)));
    // Only -2^63 / -1 would trap, and it overflows.
    if (size === 4) c.if(c.and32(c.eq(c.get(divisor), c.const(-1)), c.eq(c.get(dividend), c.const(-(2n ** 63n)))), () => t.raise(DE_VECTOR));
    c.set(quotient, c.divs(c.get(dividend), c.get(divisor)));
    c.set(remainder, c.rems(c.get(dividend), c.get(divisor)));
    c.if(c.ne(c.extend(size, c.get(quotient)), c.get(quotient)), () => t.raise(DE_VECTOR));
  } else {
    c.set(quotient, c.divu(c.get(dividend), c.get(divisor)));
    c.set(remainder, c.remu(c.get(dividend), c.get(divisor)));
    c.if(c.ne(c.shru(c.get(quotient), c.const(bits)), c.const(0)), () => t.raise(DE_VECTOR));
  }
  if (size === 1) t.setGpr(RAX, 2, () => c.or(c.shl(c.and(c.get(remainder), c.const(0xff)), c.const(8)), c.and(c.get(quotient), c.const(0xff))));
  else {
    t.setGpr(RAX, size, () => c.get(quotient));
    t.setGpr(RDX, size, () => c.get(remainder));
  }
};

/** MULX: rDX times the source, no flags; the high half is written last. */
const mulx: Emit = (t) => {
  const { c, size } = t;
  const b = t.read(2), a = c.keep64(t.gpr(RDX, size));
  const low = c.keep64(c.mul(c.get(a), c.get(b)));
  const high = c.keep64(size === 8 ? c.call64(t.runtime.mulHigh, c.get(a), c.get(b)) : c.shru(c.get(low), c.const(32)));
  t.write(1, low);
  t.write(0, high);
};

export const multiplyRows: readonly Row[] = [
  row('F6 /4', 'MUL',  'Eb',          'w:oc u:szap', emit(multiply(false))),
  row('F7 /4', 'MUL',  'Ev',          'w:oc u:szap', emit(multiply(false))),
  row('F6 /5', 'IMUL', 'Eb',          'w:oc u:szap', emit(multiply(true))),
  row('F7 /5', 'IMUL', 'Ev',          'w:oc u:szap', emit(multiply(true))),
  row('F6 /6', 'DIV',  'Eb',          'u:oszapc',    emit(divide(false))),
  row('F7 /6', 'DIV',  'Ev',          'u:oszapc',    emit(divide(false))),
  row('F6 /7', 'IDIV', 'Eb',          'u:oszapc',    emit(divide(true))),
  row('F7 /7', 'IDIV', 'Ev',          'u:oszapc',    emit(divide(true))),
  row('0F AF', 'IMUL', 'Gv Ev',       'w:oc u:szap', emit(imul(0, 1))),
  row('69',    'IMUL', 'Gv Ev Iz',    'w:oc u:szap', emit(imul(1, 2))),
  row('6B',    'IMUL', 'Gv Ev Ibs',   'w:oc u:szap', emit(imul(1, 2))),
  row('VEX.LZ.F2.0F38 F6', 'MULX', 'Gy By Ey', '',   emit(mulx)),
];
