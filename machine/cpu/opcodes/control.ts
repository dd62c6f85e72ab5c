/** Near control transfers, the stack, and flags as operands. */
import type { Translation } from '../../engine/translation.ts';
import { type L64, i64 } from '../../engine/wasm-emitter.ts';
import { RAX, RBP, RCX, RSP, SS, STATE } from '../state.ts';
import { X86_EFLAGS_DF } from '../state.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';
import { CONDITIONS, CONDITION_READS } from './moves.ts';

const jmp: Emit = (t) => t.jumpRelative();
const jcc = (cc: number): Emit => (t) => t.c.if(t.flags.condition(cc), () => t.jumpRelative());
const jmpIndirect: Emit = (t) => {
  const rip = t.read(0);
  t.checkTarget(rip);
  t.jumpTo(rip);
};
/** Silicon pushes the return address before it looks at the target: so the stack faults first. */
function callTo(t: Translation, rip: L64): void {
  const { c } = t;
  const top = t.stackOffset(-t.size), back = returnAddress(t);
  const at = t.hostWrite(t.segmentAddress(SS, top, t.size, true), t.size, false, SS);
  t.checkTarget(rip);
  c.storeSized(t.size, c.get(at), c.get(back));
  t.commit();
  t.setStackPointer(top);
  t.jumpTo(rip);
}
/** The return address, as wide as the operand size. */
const returnAddress = (t: Translation): L64 => t.c.keep64(t.nextRip());
const call: Emit = (t) => {
  if (!t.shape.near) return callTo(t, t.target());
  t.push(returnAddress(t));
  t.jump();
};
const callIndirect: Emit = (t) => callTo(t, t.read(0));
const ret: Emit = (t) => {
  const { c } = t;
  const rip = t.top();
  const more = t.shape.row.operands.length > 0 ? t.read(0) : undefined;
  const sp = t.stackOffset(t.size);
  t.returnTo(rip, more ? c.keep64(c.add(c.get(sp), c.get(more))) : sp);
};

/** rCX by address size, less one unless it is JrCXZ. */
const counted = (decrement: boolean, zf: 'ignored' | 'set' | 'clear'): Emit => (t) => {
  const { c } = t;
  const size = t.shape.addrSize;
  const count = c.keep64(t.gpr(RCX, size));
  if (decrement) c.set(count, t.truncate(size, c.sub(c.get(count), c.const(1))));
  const more = decrement ? c.ne(c.get(count), c.const(0)) : c.eqz(c.get(count));
  const taken = c.keep32(zf === 'ignored' ? more : c.and32(more, t.flags.condition(zf === 'set' ? 4 : 5)));
  // A target beyond the code segment faults with rCX as it was.
  if (!t.shape.near) c.if(c.get(taken), () => t.checkTarget(t.target()));
  if (decrement) t.setGpr(RCX, size, () => c.get(count));
  c.if(c.get(taken), () => t.jumpRelative());
};

// ---------------------------------------------------------------- stack

const push: Emit = (t) => t.push(t.read(0));
const pop: Emit = (t) => {
  const { c } = t;
  const v = t.top();
  if (!t.isMemory(0)) {
    t.drop(t.size);
    t.write(0, v);
    return;
  }
  // An address that uses rSP is computed with its new value; the fault of the write must leave the old one.
  const sp = c.keep64(t.gpr(RSP, 8));
  t.drop(t.size);
  const address = c.keep64(t.effectiveAddress());
  t.setGpr(RSP, 8, () => c.get(sp));
  const at = t.hostWrite(t.operandAddressAt(address, t.size, true), t.size, false);
  c.storeSized(t.size, c.get(at), c.get(v));
  t.commit();
  t.drop(t.size);
};
/** PUSHA stores its eight words only when all of them can be stored. */
const pusha: Emit = (t) => {
  const { c, size } = t;
  for (let i = 1; i <= 8; i += 7) t.hostWrite(t.segmentAddress(SS, t.stackOffset(-i * size), size, true), size, false, SS);
  for (let i = 0; i < 8; i++) t.store(t.segmentAddress(SS, t.stackOffset(-(i + 1) * size), size, true), size, c.keep64(t.gpr(i, size)), SS);
  t.drop(-8 * size);
};
const popa: Emit = (t) => {
  const { c, size } = t;
  const values = [7, 6, 5, 4, 3, 2, 1, 0].map((reg, i) => ({
    reg, v: c.keep64(t.load(t.segmentAddress(SS, t.stackOffset(i * size), size, false), size, SS)),
  }));
  t.drop(8 * size);
  for (const { reg, v } of values) if (reg !== RSP) t.setGpr(reg, size, () => c.get(v));
};
const leave: Emit = (t) => {
  const { c } = t;
  const stack = t.shape.stackSize;
  const bp = c.keep64(t.gpr(RBP, stack));
  const v = c.keep64(t.load(t.segmentAddress(SS, bp, t.size, false), t.size, SS));
  t.setStackPointer(c.keep64(c.add(c.get(bp), c.const(t.size))));
  t.setGpr(RBP, t.size, () => c.get(v));
};
const enter: Emit = (t) => {
  const { c, size } = t;
  const stack = t.shape.stackSize;
  const local = t.read(0);
  const level = c.keep64(c.and(t.immediate2(), c.const(31)));
  const sp = c.keep64(t.gpr(RSP, 8)), frame = c.local(i64), bp = c.keep64(t.gpr(RBP, 8)), i = c.keep64(c.const(1));
  const slot = (v: L64) => {
    c.set(sp, t.truncate(stack, c.sub(c.get(sp), c.const(size))));
    t.store(t.segmentAddress(SS, sp, size, true), size, v, SS);
  };
  slot(c.keep64(t.gpr(RBP, size)));
  c.set(frame, c.get(sp));
  c.if(c.ne(c.get(level), c.const(0)), () => {
    c.loop((again) => {
      c.if(c.ltu(c.get(i), c.get(level)), () => {
        c.set(bp, t.truncate(stack, c.sub(c.get(bp), c.const(size))));
        slot(c.keep64(t.load(t.segmentAddress(SS, bp, size, false), size, SS)));
        c.set(i, c.add(c.get(i), c.const(1)));
        c.br(again);
      });
    });
    slot(frame);
  });
  c.set(sp, t.truncate(stack, c.sub(c.get(sp), c.get(local))));
  // The SDM checks that the new top of the stack can be written.
  t.hostWrite(t.segmentAddress(SS, sp, size, true), size, false, SS);
  t.setGpr(RBP, size, () => c.get(frame));
  t.setStackPointer(sp);
};

// ---------------------------------------------------------------- flags

const lahf: Emit = (t) => {
  const { c } = t;
  c.storeSized(1, c.get(t.cpu), c.extendu(c.or32(c.and32(t.flags.pack(), c.const32(0xd5)), c.const32(2))), STATE.gpr + 1);
};
const sahf: Emit = (t) => {
  const { c } = t;
  t.flags.unpack(c.keep32(c.load32_8u(c.get(t.cpu), STATE.gpr + 1)));
};
const setCarry = (v: 0 | 1): Emit => (t) => t.flags.setCf(() => t.c.const(v));
const complementCarry: Emit = (t) => t.flags.setCf(() => t.c.xor(t.flags.cf(), t.c.const(1)));
const setDirection = (on: boolean): Emit => (t) => {
  const { c } = t;
  const f = t.state32(STATE.rflags);
  const v = c.keep32(on ? c.or32(f, c.const32(X86_EFLAGS_DF)) : c.and32(f, c.const32(~X86_EFLAGS_DF)));
  c.store32(c.get(t.cpu), c.get(v), STATE.rflags);
};
const salc: Emit = (t) => t.setGpr(RAX, 1, () => t.c.sub(t.c.const(0), t.flags.cf()));
const nothing: Emit = () => {};
/** CLFLUSH and CLFLUSHOPT fault as a load of a byte does. */
const flush: Emit = (t) => void t.read(0);

const hex = (n: number) => n.toString(16).toUpperCase();

export const controlRows: readonly Row[] = [
  row('E9',      'JMP',    'Jz',     'f64',      emit(jmp)),
  row('EB',      'JMP',    'Jb',     'f64',      emit(jmp)),
  row('FF /4',   'JMP',    'Ev',     'f64',      emit(jmpIndirect)),
  row('E8',      'CALL',   'Jz',     'f64',      emit(call)),
  row('FF /2',   'CALL',   'Ev',     'f64',      emit(callIndirect)),
  row('C2',      'RET',    'Iw',     'f64',      emit(ret)),
  row('C3',      'RET',    '',       'f64',      emit(ret)),
  ...CONDITIONS.flatMap((name, cc) => [
    row(`7${hex(cc)}`,    `J${name}`, 'Jb', `f64 r:${CONDITION_READS[cc >> 1]}`, emit(jcc(cc))),
    row(`0F 8${hex(cc)}`, `J${name}`, 'Jz', `f64 r:${CONDITION_READS[cc >> 1]}`, emit(jcc(cc))),
  ]),
  row('E0',      'LOOPNE', 'Jb',     'f64 r:z',  emit(counted(true, 'clear'))),
  row('E1',      'LOOPE',  'Jb',     'f64 r:z',  emit(counted(true, 'set'))),
  row('E2',      'LOOP',   'Jb',     'f64',      emit(counted(true, 'ignored'))),
  row('E3',      'JCXZ',   'Jb',     'f64',      emit(counted(false, 'ignored'))),
  row('50+r',    'PUSH',   'Zv',     'd64',      emit(push)),
  row('58+r',    'POP',    'Zv',     'd64',      emit(pop)),
  row('68',      'PUSH',   'Iz',     'd64',      emit(push)),
  row('6A',      'PUSH',   'Ibs',    'd64',      emit(push)),
  row('FF /6',   'PUSH',   'Ev',     'd64',      emit(push)),
  row('8F /0',   'POP',    'Ev',     'd64',      emit(pop)),
  row('60',      'PUSHA',  '',       'i64',      emit(pusha)),
  row('61',      'POPA',   '',       'i64',      emit(popa)),
  row('C8',      'ENTER',  'Iw Ib',  'd64',      emit(enter)),
  row('C9',      'LEAVE',  '',       'd64',      emit(leave)),
  row('9E',      'SAHF',   '',       'w:szapc',  emit(sahf)),
  row('9F',      'LAHF',   '',       'r:szapc',  emit(lahf)),
  row('F5',      'CMC',    '',       'r:c w:c',  emit(complementCarry)),
  row('F8',      'CLC',    '',       'w:c',      emit(setCarry(0))),
  row('F9',      'STC',    '',       'w:c',      emit(setCarry(1))),
  row('FC',      'CLD',    '',       'w:d',      emit(setDirection(false))),
  row('FD',      'STD',    '',       'w:d',      emit(setDirection(true))),
  row('D6',      'SALC',   '',       'i64 r:c',  emit(salc)),
  row('90',      'NOP',    '',       'rexb0',         emit(nothing)),
  // Hints: prefetches, and the whole range kept for instructions that old processors shall ignore.
  ...['0D', '18', '19', '1A', '1B', '1C', '1D', '1E', '1F'].map((byte) => row(`0F ${byte}`, 'NOP', 'Ev Gv', '', emit(nothing))),
  row('NP 0F AE /5 r', 'LFENCE', '', '',         emit(nothing)),
  row('NP 0F AE /6 r', 'MFENCE', '', '',         emit(nothing)),
  row('NP 0F AE /7 r', 'SFENCE', '', '',         emit(nothing)),
  row('NP 0F AE /7 m', 'CLFLUSH', 'Mb', '',      emit(flush)),
  row('66 0F AE /7 m', 'CLFLUSHOPT', 'Mb', '',   emit(flush)),
];
