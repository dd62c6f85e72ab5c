/**
 * The usual case of system instructions that kernels execute all the time, done without a call: reading the time and waiting
 * for it, saving flags, turning interrupts off and on. Everything else about them, faults and exits too, is their
 * exec rows' (privileged.ts, descriptor-instructions.ts). What may go on without asking VMX is in engine_state.quick.
 */
import { QUICK_PAUSE, QUICK_RDTSC, QUICK_RDTSCP } from './hooks.ts';
import type { Emit } from './opcode-row.ts';
import { GS, MODE_VM86, RAX, RCX, RDX, SEGMENT_SIZE, SEG_DPL_SHIFT, SS, STATE, X86_EFLAGS_ARITHMETIC, X86_EFLAGS_FIXED, X86_EFLAGS_IF, X86_EFLAGS_RF, X86_EFLAGS_VM } from './state.ts';
import { ENGINE } from '../engine/layout.ts';
import type { Translation } from '../engine/translation.ts';
import type { I32 } from '../engine/wasm-emitter.ts';

const CR4_TSD = 4;
/** Offset of the selector in cpu_segment. */
const SELECTOR = 16;

/** 0 at CPL 0. */
const privilege = (t: Translation): I32 => t.c.and32(t.state32(STATE.seg + SS * SEGMENT_SIZE + 12), t.c.const32(3 << SEG_DPL_SHIFT));
const isQuick = (t: Translation, bit: number): I32 => t.c.and32(t.state32(ENGINE.quick), t.c.const32(bit));

const readTime = (bit: number): Emit => (t) => {
  const { c } = t;
  t.unless(isQuick(t, bit));
  t.unless(c.or32(c.eqz32(privilege(t)), c.eqz32(c.and32(t.state32(STATE.cr4), c.const32(CR4_TSD)))));
  const cost = c.keep32(t.state32(bit === QUICK_RDTSC ? ENGINE.rdtsc_cost : ENGINE.rdtscp_cost));
  const value = c.keep64(c.add(c.add(t.state64(ENGINE.began), t.elapsed()), c.add(t.state64(STATE.tsc_adjust), t.state64(STATE.tsc_offset))));
  t.charge(cost);
  t.setGpr(RAX, 4, () => c.get(value));
  t.setGpr(RDX, 4, () => c.shru(c.get(value), c.const(32)));
  if (bit === QUICK_RDTSCP) t.setGpr(RCX, 4, () => t.state64(STATE.tsc_aux));
};
export const quickRdtsc = readTime(QUICK_RDTSC), quickRdtscp = readTime(QUICK_RDTSCP);

export const quickPause: Emit = (t) => {
  t.unless(isQuick(t, QUICK_PAUSE));
  t.charge(t.c.keep32(t.state32(ENGINE.pause_cost)));
};

export const quickCli: Emit = (t) => {
  const { c } = t;
  t.unless(c.eqz32(privilege(t)));
  c.store32(c.get(t.cpu), c.and32(t.state32(STATE.rflags), c.const32(~X86_EFLAGS_IF)), STATE.rflags);
};

/**
 * Where nothing is pending and another instruction follows in this run, nobody can tell that interrupts were held off for it. A guest's exit
 * would tell.
 */
export const quickSti: Emit = (t) => {
  const { c } = t;
  t.unless(c.eqz32(privilege(t)));
  c.if(c.eqz32(c.and32(t.state32(STATE.rflags), c.const32(X86_EFLAGS_IF))), () => {
    t.unless(c.eqz32(c.or32(t.state32(STATE.pending), t.state32(STATE.in_guest))));
    t.unless(c.lts32(c.const32(0), t.remaining()));
    c.store32(c.get(t.cpu), c.or32(t.state32(STATE.rflags), c.const32(X86_EFLAGS_IF)), STATE.rflags);
  });
};

export const quickPushf: Emit = (t) => {
  const { c } = t;
  t.unless(c.eqz32(c.and32(t.state32(STATE.mode), c.const32(MODE_VM86))));
  const kept = c.or32(c.and32(t.state32(STATE.rflags), c.const32(~(X86_EFLAGS_ARITHMETIC | X86_EFLAGS_RF | X86_EFLAGS_VM))), c.const32(X86_EFLAGS_FIXED));
  t.push(c.keep64(c.extendu(c.or32(kept, t.flags.pack()))));
};

export const quickMovFromSreg: Emit = (t) => {
  const { c } = t;
  t.unless(c.les32(t.selectorRegister(), c.const32(GS)));
  const selector = c.keep64(c.extendu(c.load32(c.add32(c.get(t.cpu), c.mul32(t.selectorRegister(), c.const32(SEGMENT_SIZE))), STATE.seg + SELECTOR)));
  if (t.isMemory(0)) t.store(t.operandAddress(2, true), 2, selector);
  else t.write(0, selector);
};
