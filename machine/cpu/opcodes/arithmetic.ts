/** Two-operand arithmetic and logic, increments, compare-and-exchange. SDM Vol. 2: ADD … XADD. */
import type { Translation } from '../../engine/translation.ts';
import type { I64, L64, Operation } from '../../engine/wasm-emitter.ts';
import { RAX, RBX, RCX, RDX } from '../state.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';

type Combine = (t: Translation, a: L64, b: L64) => I64;
type SetFlags = (t: Translation, size: number, a: L64, b: L64, r: L64) => void;

const addFlags: SetFlags = (t, size, a, b, r) => t.flags.add(size, a, b, r);
const subFlags: SetFlags = (t, size, a, b, r) => t.flags.sub(size, a, b, r);
const logicFlags: SetFlags = (t, size, _a, _b, r) => t.flags.logic(size, r);

/** destination = combine(destination, source). */
const binary = (combine: Combine, flags: SetFlags): Emit => (t) => {
  // A memory source is read before a register destination and a memory destination is checked for writing: either may fault.
  const b = t.isMemory(1) || !t.isMemory(0) ? t.read(1) : undefined;
  const a = t.modify(0);
  const source = b ?? t.read(1);
  const r = t.c.keep64(combine(t, a, source));
  t.write(0, r);
  flags(t, t.operandSize(0), a, source, r);
};
/** The same for flags alone. */
const compare = (combine: Combine, flags: SetFlags): Emit => (t) => {
  const a = t.read(0), b = t.read(1);
  const r = t.c.keep64(combine(t, a, b));
  flags(t, t.operandSize(0), a, b, r);
};

const plain = (op: Operation): Combine => (t, a, b) => t.calc(op, t.operandSize(0), a, b);
const plus = plain('add'), minus = plain('sub'), and = plain('and'), or = plain('or'), xor = plain('xor');
const withCarry = (op: Operation): Combine => (t, a, b) => {
  const size = t.operandSize(0);
  return t.calc(op, size, t.c.keep64(t.calc(op, size, a, b)), t.c.keep64(t.flags.cf()));
};

const add = binary(plus, addFlags), sub = binary(minus, subFlags);
const adc = binary(withCarry('add'), addFlags), sbb = binary(withCarry('sub'), subFlags);
const cmp = compare(minus, subFlags), test = compare(and, logicFlags);

/** INC and DEC leave CF alone. */
const step = (delta: 1 | -1): Emit => (t) => {
  const { c } = t;
  const a = t.modify(0);
  const one = c.keep64(c.const(1));
  const r = c.keep64(t.calc(delta === 1 ? 'add' : 'sub', t.operandSize(0), a, one));
  const cf = c.keep64(t.flags.cf());
  t.write(0, r);
  (delta === 1 ? addFlags : subFlags)(t, t.operandSize(0), a, one, r);
  t.flags.setCf(() => c.get(cf));
};
const neg: Emit = (t) => {
  const { c } = t;
  const b = t.modify(0);
  const zero = c.keep64(c.const(0));
  const r = c.keep64(t.calc('sub', t.operandSize(0), zero, b));
  t.write(0, r);
  t.flags.sub(t.operandSize(0), zero, b, r);
};
const not: Emit = (t) => {
  const { c } = t;
  const a = t.modify(0);
  t.write(0, c.keep64(t.calc('xor', t.operandSize(0), a, c.keep64(c.const(-1)))));
};
const xadd: Emit = (t) => {
  const { c } = t;
  const a = t.modify(0), b = t.read(1);
  const r = c.keep64(t.calc('add', t.operandSize(0), a, b));
  if (t.isMemory(0)) {
    t.write(0, r);
    t.write(1, a);
  } else {
    t.write(1, a);      // XADD of a register with itself leaves the sum
    t.write(0, r);
  }
  t.flags.add(t.operandSize(0), a, b, r);
};
const cmpxchg: Emit = (t) => {
  const { c } = t;
  const size = t.operandSize(0);
  const old = t.modify(0);
  const accumulator = c.keep64(t.gpr(RAX, size)), source = t.read(1);
  const equal = c.keep32(c.eq(c.get(accumulator), c.get(old)));
  // The destination is written in any case, with its old value if they differ; but a 32-bit register is not cleared above.
  const value = c.keep64(c.select(c.get(source), c.get(old), c.get(equal)));
  if (t.isMemory(0)) t.write(0, value);
  else c.if(c.get(equal), () => t.write(0, value));
  c.if(c.eqz32(c.get(equal)), () => t.setGpr(RAX, size, () => c.get(old)));
  t.flags.sub(size, accumulator, old, c.keep64(t.calc('sub', size, accumulator, old)));
};
/** CMPXCHG8B and, with REX.W, CMPXCHG16B: two halves, one access. */
const cmpxchg8b: Emit = (t) => {
  const { c } = t;
  const half = t.size === 8 ? 8 : 4;
  const address = t.operandAddress(2 * half, true);
  if (half === 8) c.if(c.ne(c.and(c.get(address), c.const(15)), c.const(0)), () => t.raise(13));
  const at = t.hostWrite(address, 2 * half, true);
  const low = c.keep64(c.loadSized(half, c.get(at))), high = c.keep64(c.loadSized(half, c.get(at), half));
  const equal = c.keep32(c.and32(c.eq(c.get(low), t.gpr(RAX, half)), c.eq(c.get(high), t.gpr(RDX, half))));
  c.storeSized(half, c.get(at), c.select(t.gpr(RBX, half), c.get(low), c.get(equal)));
  c.storeSized(half, c.get(at), c.select(t.gpr(RCX, half), c.get(high), c.get(equal)), half);
  t.commit();
  c.if(c.eqz32(c.get(equal)), () => {
    t.setGpr(RAX, half, () => c.get(low));
    t.setGpr(RDX, half, () => c.get(high));
  });
  t.flags.setZf(() => c.get(equal));
};

/** The eight operations whose opcodes are eight apart, in their six forms and in the immediate groups. */
const GROUP = [
  ['ADD', 'lock w:oszapc', add], ['OR', 'lock w:oszpc u:a', binary(or, logicFlags)],
  ['ADC', 'lock r:c w:oszapc', adc], ['SBB', 'lock r:c w:oszapc', sbb],
  ['AND', 'lock w:oszpc u:a', binary(and, logicFlags)], ['SUB', 'lock w:oszapc', sub],
  ['XOR', 'lock w:oszpc u:a', binary(xor, logicFlags)], ['CMP', 'w:oszapc', cmp],
] as const;

const hex = (n: number) => n.toString(16).toUpperCase().padStart(2, '0');

export const arithmeticRows: readonly Row[] = [
  ...GROUP.flatMap(([mnemonic, attributes, meaning], i) => [
    row(hex(i * 8 + 0), mnemonic, 'Eb Gb',   attributes, emit(meaning)),
    row(hex(i * 8 + 1), mnemonic, 'Ev Gv',   attributes, emit(meaning)),
    row(hex(i * 8 + 2), mnemonic, 'Gb Eb',   attributes.replace('lock ', ''), emit(meaning)),
    row(hex(i * 8 + 3), mnemonic, 'Gv Ev',   attributes.replace('lock ', ''), emit(meaning)),
    row(hex(i * 8 + 4), mnemonic, 'AL Ib',   attributes.replace('lock ', ''), emit(meaning)),
    row(hex(i * 8 + 5), mnemonic, 'rAX Iz',  attributes.replace('lock ', ''), emit(meaning)),
    row(`80 /${i}`,     mnemonic, 'Eb Ib',   attributes, emit(meaning)),
    row(`81 /${i}`,     mnemonic, 'Ev Iz',   attributes, emit(meaning)),
    row(`82 /${i}`,     mnemonic, 'Eb Ib',   `i64 ${attributes}`, emit(meaning)),
    row(`83 /${i}`,     mnemonic, 'Ev Ibs',  attributes, emit(meaning)),
  ]),
  row('84',        'TEST',      'Eb Gb',  'w:oszpc u:a',      emit(test)),
  row('85',        'TEST',      'Ev Gv',  'w:oszpc u:a',      emit(test)),
  row('A8',        'TEST',      'AL Ib',  'w:oszpc u:a',      emit(test)),
  row('A9',        'TEST',      'rAX Iz', 'w:oszpc u:a',      emit(test)),
  row('F6 /0',     'TEST',      'Eb Ib',  'w:oszpc u:a',      emit(test)),
  row('F6 /1',     'TEST',      'Eb Ib',  'w:oszpc u:a',      emit(test)),
  row('F7 /0',     'TEST',      'Ev Iz',  'w:oszpc u:a',      emit(test)),
  row('F7 /1',     'TEST',      'Ev Iz',  'w:oszpc u:a',      emit(test)),
  row('40+r',      'INC',       'Zv',     'i64 w:oszap',      emit(step(1))),
  row('48+r',      'DEC',       'Zv',     'i64 w:oszap',      emit(step(-1))),
  row('FE /0',     'INC',       'Eb',     'lock w:oszap',     emit(step(1))),
  row('FF /0',     'INC',       'Ev',     'lock w:oszap',     emit(step(1))),
  row('FE /1',     'DEC',       'Eb',     'lock w:oszap',     emit(step(-1))),
  row('FF /1',     'DEC',       'Ev',     'lock w:oszap',     emit(step(-1))),
  row('F6 /2',     'NOT',       'Eb',     'lock',             emit(not)),
  row('F7 /2',     'NOT',       'Ev',     'lock',             emit(not)),
  row('F6 /3',     'NEG',       'Eb',     'lock w:oszapc',    emit(neg)),
  row('F7 /3',     'NEG',       'Ev',     'lock w:oszapc',    emit(neg)),
  row('0F B0',     'CMPXCHG',   'Eb Gb',  'lock w:oszapc',    emit(cmpxchg)),
  row('0F B1',     'CMPXCHG',   'Ev Gv',  'lock w:oszapc',    emit(cmpxchg)),
  row('0F C0',     'XADD',      'Eb Gb',  'lock w:oszapc',    emit(xadd)),
  row('0F C1',     'XADD',      'Ev Gv',  'lock w:oszapc',    emit(xadd)),
  row('0F C7 /1 m', 'CMPXCHG8B', 'Mq',    'lock w:z',         emit(cmpxchg8b)),
];
