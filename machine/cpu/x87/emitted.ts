/**
 * What x87 rows emit: a call of the function that does the ordinary case (engine/x87-emitter.ts), then FIP. Where that refuses, and
 * for operands that are not plain memory the TLB knows, the row's exec function runs instead, so nothing here faults.
 */
import { HOW_POP, HOW_TRUNCATE } from '../../engine/x87-code.ts';
import { HOW_TO_ST } from '../../engine/x87-emitter.ts';
import type { Translation } from '../../engine/translation.ts';
import type { I32, I64, L32 } from '../../engine/wasm-emitter.ts';
import type { Emit } from '../opcode-row.ts';
import { STATE, X86_CR0_MP, X86_CR0_TS } from '../state.ts';
import { ES } from './stack.ts';

const CONTROL = STATE['fpu.fcw']!, STATUS = STATE['fpu.fsw']!, FIP = STATE['fpu.fip']!;

function call(t: Translation, name: string, ...args: (() => I32 | I64)[]): L32 {
  const { c } = t;
  const r = c.keep32(c.call32(t.runtime.x87(name), c.get(t.cpu), ...args.map((a) => a())));
  c.if(c.eqz32(c.get(r)), () => t.execute());
  return r;
}
function pointed(t: Translation): void {
  const { c } = t;
  c.store64(c.get(t.cpu), t.currentRip(), FIP);
}
/** A host address cannot be given for segments that must be checked. */
const checked = (t: Translation): boolean => t.shape.memory && t.shape.segment === 'checked';
const whole = (n: number) => (t: Translation) => () => t.c.const32(n);

/** An operand in memory, then a number. */
export const memory = (name: string, size: number, write = false, how?: number): Emit => (t) => {
  if (checked(t)) { t.execute(); return; }
  const at = t.plain(size, write);
  call(t, name, () => t.c.get(at), ...(how === undefined ? [] : [whole(how)(t)]));
  pointed(t);
};
/** ST(i), then a number. */
export const register = (name: string, how?: number): Emit => (t) => {
  call(t, name, () => t.stackRegister(), ...(how === undefined ? [] : [whole(how)(t)]));
  pointed(t);
};
export const implicit = (name: string, ...numbers: readonly number[]): Emit => (t) => {
  call(t, name, ...numbers.map((n) => whole(n)(t)));
  pointed(t);
};
export const constant = (exponent: number, mantissa: bigint): Emit => (t) => {
  call(t, 'fldConstant', whole(exponent)(t), () => t.c.const(mantissa));
  pointed(t);
};
export const store = (name: string, size: number, pop: boolean, truncates = false): Emit => memory(name, size, true, (pop ? HOW_POP : 0) | (truncates ? HOW_TRUNCATE : 0));
/** ST(i) op= ST(0). */
export const toRegister = (op: string, pop: boolean): Emit => register(`${op}St`, HOW_TO_ST | (pop ? HOW_POP : 0));

/** FCOMI and its like. */
export const flags = (pop: boolean): Emit => (t) => {
  const { c } = t;
  const f = call(t, 'fcomi', () => t.stackRegister(), whole(pop ? HOW_POP : 0)(t));
  pointed(t);
  t.flags.setCarry(() => c.const(0));
  t.flags.unpack(f);
};
/** `cc`: as Jcc numbers conditions. */
export const move = (cc: number): Emit => (t) => {
  const wanted = t.c.keep32(t.flags.condition(cc));
  call(t, 'fcmov', () => t.stackRegister(), () => t.c.get(wanted));
  pointed(t);
};

// ---------------------------------------------------------------- control: the pointers stay

export const loadControl: Emit = (t) => {
  if (checked(t)) { t.execute(); return; }
  const at = t.plain(2, false);
  call(t, 'fldcw', () => t.c.get(at));
};
const storeWord = (word: number): Emit => (t) => {
  if (checked(t)) { t.execute(); return; }
  const { c } = t;
  const at = t.plain(2, true);
  c.storeSized(2, c.get(at), c.loadSized(2, c.get(t.cpu), word));
};
export const storeControl = storeWord(CONTROL), storeStatus = storeWord(STATUS);
export const statusToAx: Emit = (t) => { t.setGpr(0, 2, () => t.c.loadSized(2, t.c.get(t.cpu), STATUS)); };
export const wait: Emit = (t) => {
  const { c } = t;
  const refused = Number(X86_CR0_MP | X86_CR0_TS);
  c.if(c.or32(c.eq32(c.and32(t.state32(STATE.cr0), c.const32(refused)), c.const32(refused)), c.and32(c.load32_16u(c.get(t.cpu), STATUS), c.const32(ES))), () => t.execute());
};
