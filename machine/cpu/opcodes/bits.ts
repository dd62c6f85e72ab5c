/** Bit tests and scans, population counts, CRC32, BMI1, BMI2 and ADX. */
import type { Translation } from '../../engine/translation.ts';
import { type I64, type L64, i64 } from '../../engine/wasm-emitter.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';

// ---------------------------------------------------------------- BT, BTS, BTR, BTC

type Change = (t: Translation, a: L64, mask: L64) => I64;
const change: Readonly<Record<string, Change>> = {
  BTS: ({ c }, a, m) => c.or(c.get(a), c.get(m)),
  BTR: ({ c }, a, m) => c.and(c.get(a), c.xor(c.get(m), c.const(-1))),
  BTC: ({ c }, a, m) => c.xor(c.get(a), c.get(m)),
};

/** With a register as bit number a memory operand is a string of bits: the number's upper part moves the address. */
const bitTest = (how: Change | undefined): Emit => (t) => {
  const { c, size } = t;
  const bits = 8 * size;
  const n = t.read(1);
  let a: L64;
  let at: ReturnType<Translation['hostRead']> | undefined;
  if (t.isMemory(0)) {
    const immediate = t.shape.row.operands[1] !== 'Gv';
    const step = () => c.shl(c.shrs(c.extend(size, c.get(n)), c.const(Math.log2(bits))), c.const(Math.log2(size)));
    const offset = c.keep64(immediate ? t.effectiveAddress() : t.address(c.add(t.effectiveAddress(), step())));
    const linear = t.operandAddressAt(offset, size, how !== undefined);
    at = how ? t.hostWrite(linear, size, true) : t.hostRead(linear, size);
    a = c.keep64(c.loadSized(size, c.get(at)));
  } else a = t.read(0);
  c.set(n, c.and(c.get(n), c.const(bits - 1)));
  if (how) {
    const mask = c.keep64(c.shl(c.const(1), c.get(n)));
    const r = c.keep64(how(t, a, mask));
    if (at) {
      c.storeSized(size, c.get(at), c.get(r));
      t.commit();
    } else t.write(0, r);
  }
  t.flags.setCf(() => c.and(c.shru(c.get(a), c.get(n)), c.const(1)));
};

// ---------------------------------------------------------------- scans and counts

/** BSF and BSR: a source of 0 sets ZF and leaves the destination; what else they do to flags is undefined: nothing here. */
const scan = (forward: boolean): Emit => (t) => {
  const { c } = t;
  const b = t.read(1);
  const zero = c.keep32(c.eqz(c.get(b)));
  c.if(c.eqz32(c.get(zero)), () => t.write(0, c.keep64(forward ? c.ctz(c.get(b)) : c.sub(c.const(63), c.clz(c.get(b))))));
  t.flags.setZf(() => c.get(zero));
};
const count = (trailing: boolean): Emit => (t) => {
  const { c, size } = t;
  const bits = 8 * size;
  const b = t.read(1);
  const r = c.keep64(trailing
    ? size === 8 ? c.ctz(c.get(b)) : c.ctz(c.or(c.get(b), c.const(1n << BigInt(bits))))
    : c.sub(c.clz(c.get(b)), c.const(64 - bits)));
  t.write(0, r);
  const cf = c.keep64(c.extendu(c.eqz(c.get(b))));
  t.flags.setCfOf(() => c.get(cf), () => c.const(0));
  t.flags.setAdjust(() => c.const32(0));
  t.flags.result(size, r);
};
const popcnt: Emit = (t) => {
  const { c } = t;
  const r = c.keep64(c.popcnt(t.value(1)));
  t.write(0, r);
  // ZF by the result, all others 0: a result of 1 has SF and PF clear.
  t.flags.setCarry(() => c.const(0));
  t.flags.setRes(() => c.extendu(c.ne(c.get(r), c.const(0))));
  t.flags.setAdjust(() => c.shl32(c.eqz(c.get(r)), c.const32(2)));
};

/** CRC-32C, polynomial 0x11edc6f41 reflected, a byte at a time. */
const crc32: Emit = (t) => {
  const { c } = t;
  const size = t.operandSize(1);
  const b = t.read(1);
  const crc = c.keep64(c.and(t.value(0), c.const(0xffff_ffff)));
  const i = c.keep32(c.const32(8 * size));
  c.set(crc, c.xor(c.get(crc), c.get(b)));
  c.loop((again) => {
    c.set(crc, c.xor(c.shru(c.get(crc), c.const(1)), c.and(c.sub(c.const(0), c.and(c.get(crc), c.const(1))), c.const(0x82f6_3b78))));
    c.set(i, c.sub32(c.get(i), c.const32(1)));
    c.brIf(again, c.ne32(c.get(i), c.const32(0)));
  });
  t.write(0, crc);
};

// ---------------------------------------------------------------- BMI1, BMI2, ADX

const logicalFlags = (t: Translation, r: L64, cf: () => I64) => {
  const { c } = t;
  const f = c.keep64(cf());
  t.flags.setCfOf(() => c.get(f), () => c.const(0));
  t.flags.setAdjust(() => c.const32(0));
  t.flags.result(t.size, r);
};
const andn: Emit = (t) => {
  const { c } = t;
  const a = t.read(1), b = t.read(2);
  const r = c.keep64(t.truncate(t.size, c.and(c.xor(c.get(a), c.const(-1)), c.get(b))));
  t.write(0, r);
  logicalFlags(t, r, () => c.const(0));
};
/** BLSR, BLSMSK, BLSI: the source combined with its predecessor. */
const lowest = (how: 'BLSR' | 'BLSMSK' | 'BLSI'): Emit => (t) => {
  const { c } = t;
  const a = t.read(1);
  const minus = () => c.sub(c.get(a), c.const(1));
  const r = c.keep64(t.truncate(t.size,
    how === 'BLSR' ? c.and(c.get(a), minus()) : how === 'BLSMSK' ? c.xor(c.get(a), minus()) : c.and(c.get(a), c.sub(c.const(0), c.get(a)))));
  const zero = c.keep64(c.extendu(c.eqz(c.get(a))));
  t.write(0, r);
  logicalFlags(t, r, () => how === 'BLSI' ? c.xor(c.get(zero), c.const(1)) : c.get(zero));
};
/** A mask of the low n bits, n at least 64 giving all. */
const lowMask = (t: Translation, n: L64): I64 => {
  const { c } = t;
  return c.select(c.const(-1), c.sub(c.shl(c.const(1), c.get(n)), c.const(1)), c.gtu(c.get(n), c.const(63)));
};
const bextr: Emit = (t) => {
  const { c } = t;
  const a = t.read(1), control = t.read(2);
  const start = c.keep64(c.and(c.get(control), c.const(0xff))), length = c.keep64(c.and(c.shru(c.get(control), c.const(8)), c.const(0xff)));
  const moved = c.keep64(c.select(c.const(0), c.shru(c.get(a), c.get(start)), c.gtu(c.get(start), c.const(63))));
  const r = c.keep64(c.and(c.get(moved), lowMask(t, length)));
  t.write(0, r);
  logicalFlags(t, r, () => c.const(0));
};
const bzhi: Emit = (t) => {
  const { c } = t;
  const a = t.read(1), n = c.keep64(c.and(t.value(2), c.const(0xff)));
  const r = c.keep64(c.and(c.get(a), lowMask(t, n)));
  t.write(0, r);
  logicalFlags(t, r, () => c.extendu(c.gtu(c.get(n), c.const(8 * t.size - 1))));
};
/** RORX, SARX, SHLX, SHRX: no flags. */
const shiftBy = (how: 'ROR' | 'SAR' | 'SHL' | 'SHR'): Emit => (t) => {
  const { c, size } = t;
  const a = t.read(1), n = c.keep64(c.and(t.value(2), c.const(8 * size - 1)));
  const v = () => c.get(a), k = () => c.get(n);
  t.write(0, c.keep64(
    how === 'SHL' ? c.shl(v(), k()) : how === 'SHR' ? c.shru(v(), k()) : how === 'SAR' ? c.shrs(c.extend(size, v()), k())
      : size === 8 ? c.rotr(v(), k()) : c.or(c.shru(v(), k()), c.shl(v(), c.sub(c.const(32), k())))));
};
/** PDEP and PEXT, bit by bit of the mask. */
const scatter = (deposit: boolean): Emit => (t) => {
  const { c } = t;
  const a = t.read(1), mask = t.read(2);
  const r = c.keep64(c.const(0)), next = c.keep64(c.const(1)), lowBit = c.local(i64);
  c.loop((again) => {
    c.if(c.ne(c.get(mask), c.const(0)), () => {
      c.set(lowBit, c.and(c.get(mask), c.sub(c.const(0), c.get(mask))));
      const from = deposit ? next : lowBit, to = deposit ? lowBit : next;
      c.if(c.ne(c.and(c.get(a), c.get(from)), c.const(0)), () => c.set(r, c.or(c.get(r), c.get(to))));
      c.set(next, c.shl(c.get(next), c.const(1)));
      c.set(mask, c.xor(c.get(mask), c.get(lowBit)));
      c.br(again);
    });
  });
  t.write(0, r);
};
/** ADCX and ADOX: add with one flag as carry, in and out, and nothing else. */
const addWith = (flag: 'c' | 'o'): Emit => (t) => {
  const { c, size, flags } = t;
  const a = t.read(0), b = t.read(1);
  const cf = c.keep64(flags.cf()), of = c.keep64(c.extendu(flags.overflow()));
  const carry = flag === 'c' ? cf : of;
  const r = c.keep64(c.add(c.add(c.get(a), c.get(b)), c.get(carry)));
  t.write(0, r);
  // The carry out of the top bit: (a & b) | ((a | b) & ~r).
  const out = size === 8
    ? c.or(c.and(c.get(a), c.get(b)), c.and(c.or(c.get(a), c.get(b)), c.xor(c.get(r), c.const(-1))))
    : c.shl(c.get(r), c.const(31));
  c.set(carry, c.shru(out, c.const(63)));
  flags.setCfOf(() => c.get(cf), () => c.get(of));
};

export const bitRows: readonly Row[] = [
  row('0F A3',    'BT',     'Ev Gv', 'w:c u:osap',          emit(bitTest(undefined))),
  row('0F AB',    'BTS',    'Ev Gv', 'lock w:c u:osap',     emit(bitTest(change['BTS']))),
  row('0F B3',    'BTR',    'Ev Gv', 'lock w:c u:osap',     emit(bitTest(change['BTR']))),
  row('0F BB',    'BTC',    'Ev Gv', 'lock w:c u:osap',     emit(bitTest(change['BTC']))),
  row('0F BA /4', 'BT',     'Ev Ib', 'w:c u:osap',          emit(bitTest(undefined))),
  row('0F BA /5', 'BTS',    'Ev Ib', 'lock w:c u:osap',     emit(bitTest(change['BTS']))),
  row('0F BA /6', 'BTR',    'Ev Ib', 'lock w:c u:osap',     emit(bitTest(change['BTR']))),
  row('0F BA /7', 'BTC',    'Ev Ib', 'lock w:c u:osap',     emit(bitTest(change['BTC']))),
  row('0F BC',    'BSF',    'Gv Ev', 'w:z u:osapc',         emit(scan(true))),
  row('0F BD',    'BSR',    'Gv Ev', 'w:z u:osapc',         emit(scan(false))),
  row('F3 0F BC', 'TZCNT',  'Gv Ev', 'w:zc u:osap',         emit(count(true))),
  row('F3 0F BD', 'LZCNT',  'Gv Ev', 'w:zc u:osap',         emit(count(false))),
  row('F3 0F B8', 'POPCNT', 'Gv Ev', 'w:oszapc',            emit(popcnt)),
  row('F2 0F38 F0', 'CRC32', 'Gy Eb', '',                   emit(crc32)),
  row('F2 0F38 F1', 'CRC32', 'Gy Ev', '',                   emit(crc32)),
  row('66 0F38 F6', 'ADCX', 'Gy Ey', 'r:c w:c',             emit(addWith('c'))),
  row('F3 0F38 F6', 'ADOX', 'Gy Ey', 'r:o w:o',             emit(addWith('o'))),
  row('VEX.LZ.NP.0F38 F2',    'ANDN',   'Gy By Ey', 'w:oszc u:ap', emit(andn)),
  row('VEX.LZ.NP.0F38 F3 /1', 'BLSR',   'By Ey',    'w:oszc u:ap', emit(lowest('BLSR'))),
  row('VEX.LZ.NP.0F38 F3 /2', 'BLSMSK', 'By Ey',    'w:oszc u:ap', emit(lowest('BLSMSK'))),
  row('VEX.LZ.NP.0F38 F3 /3', 'BLSI',   'By Ey',    'w:oszc u:ap', emit(lowest('BLSI'))),
  row('VEX.LZ.NP.0F38 F7',    'BEXTR',  'Gy Ey By', 'w:ozc u:sap', emit(bextr)),
  row('VEX.LZ.NP.0F38 F5',    'BZHI',   'Gy Ey By', 'w:oszc u:ap', emit(bzhi)),
  row('VEX.LZ.F3.0F38 F5',    'PEXT',   'Gy By Ey', '',            emit(scatter(false))),
  row('VEX.LZ.F2.0F38 F5',    'PDEP',   'Gy By Ey', '',            emit(scatter(true))),
  row('VEX.LZ.66.0F38 F7',    'SHLX',   'Gy Ey By', '',            emit(shiftBy('SHL'))),
  row('VEX.LZ.F3.0F38 F7',    'SARX',   'Gy Ey By', '',            emit(shiftBy('SAR'))),
  row('VEX.LZ.F2.0F38 F7',    'SHRX',   'Gy Ey By', '',            emit(shiftBy('SHR'))),
  row('VEX.LZ.F2.0F3A F0',    'RORX',   'Gy Ey Ib', '',            emit(shiftBy('ROR'))),
];
