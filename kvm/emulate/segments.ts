/**
 * Segment registers and descriptors as an emulated instruction loads them.
 *
 * Linux: arch/x86/kvm/emulate.c (__load_segment_descriptor and relatives); SDM Vol. 3, 5.6 to 5.8
 *
 * Descriptor tables are read and written with the processor's own rights, whatever the privilege level. What is not done
 * here (call gates, returns to an outer level) is X86EMUL_UNHANDLEABLE, as in Linux.
 */
import { emulate_exception, is_canonical } from './memory.ts';
import {
  GP_VECTOR, NP_VECTOR, SS_VECTOR, TS_VECTOR, VCPU_SREG_CS, VCPU_SREG_GS, VCPU_SREG_LDTR, VCPU_SREG_SS, VCPU_SREG_TR, X86EMUL_CONTINUE, X86EMUL_MODE_PROT16, X86EMUL_MODE_PROT32,
  X86EMUL_MODE_PROT64, X86EMUL_MODE_REAL, X86EMUL_MODE_VM86, X86EMUL_UNHANDLEABLE, VM, type emulated_segment, type x86_emulate_ctxt,
} from './types.ts';

/** For what a selector is loaded: the checks differ. */
export const X86_TRANSFER_NONE = 0, X86_TRANSFER_CALL_JMP = 1, X86_TRANSFER_RET = 2, X86_TRANSFER_TASK_SWITCH = 3;

const EFER_LMA = 0x400n, MSR_EFER = 0xc000_0080, CR0_PE = 1n;
const IN_LDT = 4, CODE = 8, CONFORMING = 4, ACCESSED = 1, BUSY = 2;

export const in_long_mode = (ctxt: x86_emulate_ctxt): boolean => ((ctxt.ops.get_msr(MSR_EFER) ?? 0n) & EFER_LMA) !== 0n;

/** Mode from what the registers say now. */
export function emulator_recalc_and_set_mode(ctxt: x86_emulate_ctxt): number {
  if ((ctxt.ops.get_cr(0) & CR0_PE) === 0n) ctxt.mode = X86EMUL_MODE_REAL;
  else if (ctxt.eflags & VM) ctxt.mode = X86EMUL_MODE_VM86;
  else {
    const { l, db } = ctxt.ops.get_segment(VCPU_SREG_CS);
    ctxt.mode = l && in_long_mode(ctxt) ? X86EMUL_MODE_PROT64 : db ? X86EMUL_MODE_PROT32 : X86EMUL_MODE_PROT16;
  }
  return X86EMUL_CONTINUE;
}

/** The table's descriptor as two words; found by get_descriptor. */
let low = 0;
let high = 0;
let descriptor_at = 0n;
const words = new Uint8Array(8);
const view = new DataView(words.buffer);

function table_of(ctxt: x86_emulate_ctxt, selector: number): { base: bigint; limit: number } {
  if ((selector & IN_LDT) === 0) return ctxt.ops.get_dt('gdt');
  const { base, limit, unusable } = ctxt.ops.get_segment(VCPU_SREG_LDTR);
  return unusable ? { base: 0n, limit: 0 } : { base, limit };
}
const within = (ctxt: x86_emulate_ctxt, address: bigint): bigint => (in_long_mode(ctxt) ? BigInt.asUintN(64, address) : address & 0xffff_ffffn);

export function read_word64(ctxt: x86_emulate_ctxt, at: bigint): number {
  const rc = ctxt.ops.read_std(ctxt, at, words);
  low = view.getUint32(0, true);
  high = view.getUint32(4, true);
  return rc;
}
/** Reads the descriptor of a selector. #GP with the selector when it lies outside its table. */
export function read_segment_descriptor(ctxt: x86_emulate_ctxt, selector: number): number {
  const { base, limit } = table_of(ctxt, selector);
  const offset = selector & 0xfff8;
  if (limit < offset + 7) return emulate_exception(ctxt, GP_VECTOR, selector & 0xfffc);
  descriptor_at = within(ctxt, base + BigInt(offset));
  return read_word64(ctxt, descriptor_at);
}
/** The descriptor read last, unpacked. */
export function unpacked(selector: number): emulated_segment {
  const g = (high >>> 23) & 1;
  const limit = (low & 0xffff) | (high & 0xf_0000);
  return {
    selector, base: BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0), limit: g ? ((limit << 12) | 0xfff) >>> 0 : limit,
    type: (high >>> 8) & 15, s: (high >>> 12) & 1, dpl: (high >>> 13) & 3, present: (high >>> 15) & 1, avl: (high >>> 20) & 1, l: (high >>> 21) & 1, db: (high >>> 22) & 1, g, unusable: 0,
  };
}
/** Changes bits of the descriptor's type where it is in memory. */
export function set_descriptor_type(ctxt: x86_emulate_ctxt, at: bigint, type: number): number {
  const rc = read_word64(ctxt, at);
  if (rc !== X86EMUL_CONTINUE) return rc;
  view.setUint32(4, (high & ~0xf00) | (type << 8), true);
  return ctxt.ops.write_std(ctxt, at, words);
}
export const descriptor_address = (): bigint => descriptor_at;

const real_mode_segment = (ctxt: x86_emulate_ctxt, selector: number, seg: number): emulated_segment => ({ ...ctxt.ops.get_segment(seg), selector, base: BigInt(selector) << 4n });
const vm86_segment = (selector: number): emulated_segment =>
  ({ selector, base: BigInt(selector) << 4n, limit: 0xffff, type: 3, s: 1, dpl: 3, present: 1, db: 0, l: 0, g: 0, avl: 0, unusable: 0 });

/** Whether the descriptor may go into that register. UNHANDLEABLE for what is not emulated; `false`: the exception. */
function admissible(ctxt: x86_emulate_ctxt, d: emulated_segment, seg: number, cpl: number, transfer: number): boolean | typeof X86EMUL_UNHANDLEABLE {
  const rpl = d.selector & 3;
  if (seg <= VCPU_SREG_GS && !d.s) return transfer === X86_TRANSFER_CALL_JMP ? X86EMUL_UNHANDLEABLE : false;
  switch (seg) {
    case VCPU_SREG_SS: return rpl === cpl && (d.type & 0xa) === 2 && d.dpl === cpl;
    case VCPU_SREG_CS: {
      if (!(d.type & CODE)) return false;
      if (transfer === X86_TRANSFER_RET) {
        if (rpl < cpl) return false;
        if (rpl > cpl) return X86EMUL_UNHANDLEABLE;
      }
      const conforming = (d.type & CONFORMING) !== 0;
      const fits = transfer === X86_TRANSFER_RET || transfer === X86_TRANSFER_TASK_SWITCH ? (conforming ? d.dpl <= rpl : d.dpl === rpl) : conforming ? d.dpl <= cpl : rpl <= cpl && d.dpl === cpl;
      if (!fits || (d.db && d.l && in_long_mode(ctxt))) return false;
      d.selector = (d.selector & 0xfffc) | cpl;
      return true;
    }
    case VCPU_SREG_TR: return !d.s && (d.type === 1 || d.type === 9);
    case VCPU_SREG_LDTR: return !d.s && d.type === 2;
    // Data, or code that may be read; conforming code from any level.
    default: return (d.type & 0xa) !== CODE && ((d.type & 0xc) === 0xc || (rpl <= d.dpl && cpl <= d.dpl));
  }
}

/** Loads a segment register. The exception, if one results, is in ctxt.exception. */
export function load_segment(ctxt: x86_emulate_ctxt, selector: number, seg: number, cpl = ctxt.ops.cpl(), transfer = X86_TRANSFER_NONE): number {
  if (ctxt.mode === X86EMUL_MODE_REAL) return set(ctxt, seg, real_mode_segment(ctxt, selector, seg));
  if (seg <= VCPU_SREG_GS && ctxt.mode === X86EMUL_MODE_VM86) return set(ctxt, seg, vm86_segment(selector));
  const vector = transfer === X86_TRANSFER_TASK_SWITCH ? TS_VECTOR : GP_VECTOR;
  const error = selector & 0xfffc;
  if (seg === VCPU_SREG_TR && selector & IN_LDT) return emulate_exception(ctxt, vector, error);
  if ((selector & 0xfffc) === 0) {
    if (seg === VCPU_SREG_CS || seg === VCPU_SREG_TR) return emulate_exception(ctxt, vector, error);
    if (seg === VCPU_SREG_SS) {
      // 64-bit code may run on no stack segment; what is left of it carries the privilege level.
      if (ctxt.mode !== X86EMUL_MODE_PROT64 || (selector & 3) !== cpl) return emulate_exception(ctxt, vector, error);
    }
    return set(ctxt, seg, { ...vm86_segment(selector), base: 0n, limit: 0, type: 0, s: 0, dpl: seg === VCPU_SREG_SS ? cpl : 0, present: 0, unusable: 1 });
  }
  let rc = read_segment_descriptor(ctxt, selector);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const at = descriptor_at;
  const d = unpacked(selector);
  const fits = admissible(ctxt, d, seg, cpl, transfer);
  if (fits === X86EMUL_UNHANDLEABLE) return X86EMUL_UNHANDLEABLE;
  if (fits !== true) return emulate_exception(ctxt, vector, error);
  if (!d.present) return emulate_exception(ctxt, seg === VCPU_SREG_SS ? SS_VECTOR : NP_VECTOR, error);
  if (d.s) {
    if (!(d.type & ACCESSED)) {
      d.type |= ACCESSED;
      rc = set_descriptor_type(ctxt, at, d.type);
    }
  } else if (in_long_mode(ctxt)) {
    // System descriptors are twice as long there: the upper half of the base follows.
    const table = table_of(ctxt, selector);
    if (table.limit < (selector & 0xfff8) + 15) return emulate_exception(ctxt, GP_VECTOR, error);
    rc = read_word64(ctxt, at + 8n);
    if (rc !== X86EMUL_CONTINUE) return rc;
    d.base |= BigInt(low) << 32n;
    if (!is_canonical(d.base)) return emulate_exception(ctxt, GP_VECTOR, error);
  }
  if (seg === VCPU_SREG_TR && rc === X86EMUL_CONTINUE) {
    d.type |= BUSY;
    rc = set_descriptor_type(ctxt, at, d.type);
  }
  return rc === X86EMUL_CONTINUE ? set(ctxt, seg, d) : rc;
}

function set(ctxt: x86_emulate_ctxt, seg: number, d: emulated_segment): number {
  ctxt.ops.set_segment(seg, d);
  return X86EMUL_CONTINUE;
}
