/**
 * Control transfers that load CS, and loads of the other segment registers.
 *
 * Linux: arch/x86/kvm/emulate.c (em_jmp_far, em_call_far, em_ret_far, emulate_iret_real, __emulate_int_real, em_mov_sreg_rm)
 *
 * Interrupts and IRET exist in real mode only: elsewhere they need the processor's whole machinery, and are not emulated.
 */
import { KVM_X86_SHADOW_INT_MOV_SS } from '../../abi/kvm/index.ts';
import { assign_eip, emulate_gp, emulate_ud, pop, popped, push, read_at, value_read } from './memory.ts';
import { rsp_increment } from './registers.ts';
import { X86_TRANSFER_CALL_JMP, X86_TRANSFER_RET, emulator_recalc_and_set_mode, load_segment } from './segments.ts';
import {
  AC, IF, OP_IMM, OP_MEM, OP_NONE, TF, VCPU_SREG_CS, VCPU_SREG_GS, VCPU_SREG_SS, VM, X86EMUL_CONTINUE, X86EMUL_MODE_REAL, X86EMUL_UNHANDLEABLE, type x86_emulate_ctxt,
} from './types.ts';

type Execute = (ctxt: x86_emulate_ctxt) => number;

/** The selector of a far pointer: behind the offset in memory, or in the instruction, where decoding left it in `high`. */
function far_selector(ctxt: x86_emulate_ctxt): number {
  const { src } = ctxt;
  if (src.type === OP_IMM) return X86EMUL_CONTINUE;
  if (src.type !== OP_MEM) return emulate_ud(ctxt);
  const rc = read_at(ctxt, src.seg, src.ea + BigInt(ctxt.op_bytes), 2);
  src.high = value_read;
  return rc;
}

/** A new CS:EIP. Where EIP turns out wrong after CS was loaded nothing can be put right any more. */
function assign_eip_far(ctxt: x86_emulate_ctxt, target: bigint): number {
  const rc = emulator_recalc_and_set_mode(ctxt);
  return rc === X86EMUL_CONTINUE ? assign_eip(ctxt, target) : rc;
}

export const em_jmp_far: Execute = (ctxt) => {
  let rc = far_selector(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = load_segment(ctxt, Number(ctxt.src.high & 0xffffn), VCPU_SREG_CS, ctxt.ops.cpl(), X86_TRANSFER_CALL_JMP);
  if (rc !== X86EMUL_CONTINUE) return rc;
  return assign_eip_far(ctxt, ctxt.src.val) === X86EMUL_CONTINUE ? X86EMUL_CONTINUE : X86EMUL_UNHANDLEABLE;
};

export const em_call_far: Execute = (ctxt) => {
  let rc = far_selector(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const old = { ...ctxt.ops.get_segment(VCPU_SREG_CS) };
  const { mode, _eip } = ctxt;
  rc = load_segment(ctxt, Number(ctxt.src.high & 0xffffn), VCPU_SREG_CS, ctxt.ops.cpl(), X86_TRANSFER_CALL_JMP);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = assign_eip_far(ctxt, ctxt.src.val);
  if (rc === X86EMUL_CONTINUE) rc = push(ctxt, BigInt(old.selector));
  if (rc === X86EMUL_CONTINUE) rc = push(ctxt, _eip);
  if (rc === X86EMUL_CONTINUE) return rc;
  ctxt.ops.set_segment(VCPU_SREG_CS, old);
  ctxt.mode = mode;
  return rc;
};

export const em_ret_far: Execute = (ctxt) => {
  const release = ctxt.src.type === OP_IMM ? Number(ctxt.src.val) : 0;
  let rc = pop(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const eip = popped;
  rc = pop(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = load_segment(ctxt, Number(popped & 0xffffn), VCPU_SREG_CS, ctxt.ops.cpl(), X86_TRANSFER_RET);
  if (rc !== X86EMUL_CONTINUE) return rc;
  if (assign_eip_far(ctxt, eip) !== X86EMUL_CONTINUE) return X86EMUL_UNHANDLEABLE;
  if (release !== 0) rsp_increment(ctxt, release);
  return X86EMUL_CONTINUE;
};

/** Flags IRET takes from the stack, and those it leaves in a 32-bit one. */
const IRET_FLAGS = 0x24_7fd7, KEPT_FLAGS = VM | 0x18_0000;

export const em_iret: Execute = (ctxt) => {
  if (ctxt.mode !== X86EMUL_MODE_REAL) return X86EMUL_UNHANDLEABLE;
  const values: bigint[] = [];
  for (let i = 0; i < 3; i++) {
    const rc = pop(ctxt);
    if (rc !== X86EMUL_CONTINUE) return rc;
    values.push(popped);
  }
  const [eip, cs, flags] = values as [bigint, bigint, bigint];
  if ((eip & ~0xffffn) !== 0n) return emulate_gp(ctxt, 0);
  const rc = load_segment(ctxt, Number(cs & 0xffffn), VCPU_SREG_CS);
  if (rc !== X86EMUL_CONTINUE) return rc;
  ctxt._eip = eip;
  const wanted = Number(flags & 0xffff_ffffn);
  ctxt.eflags = ctxt.op_bytes === 4 ? (wanted & IRET_FLAGS) | (ctxt.eflags & KEPT_FLAGS) : (ctxt.eflags & ~0xffff) | (wanted & 0xffff);
  ctxt.eflags = (ctxt.eflags & ~0x802a) | 2;
  ctxt.ops.set_nmi_mask(false);
  return X86EMUL_CONTINUE;
};

/** An interrupt through real mode's vector table. KVM injects with it as well, where the processor cannot run real mode. */
export function emulate_int_real(ctxt: x86_emulate_ctxt, vector: number): number {
  let rc = push(ctxt, BigInt(ctxt.eflags >>> 0), 2);
  if (rc !== X86EMUL_CONTINUE) return rc;
  ctxt.eflags &= ~(IF | TF | AC);
  rc = push(ctxt, BigInt(ctxt.ops.get_segment(VCPU_SREG_CS).selector), 2);
  if (rc === X86EMUL_CONTINUE) rc = push(ctxt, ctxt._eip, 2);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const entry = new Uint8Array(4);
  rc = ctxt.ops.read_std(ctxt, ctxt.ops.get_dt('idt').base + BigInt(4 * vector), entry);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = load_segment(ctxt, entry[2]! | (entry[3]! << 8), VCPU_SREG_CS);
  if (rc !== X86EMUL_CONTINUE) return rc;
  ctxt._eip = BigInt(entry[0]! | (entry[1]! << 8));
  return X86EMUL_CONTINUE;
}
const emulate_int = (ctxt: x86_emulate_ctxt, vector: number): number => (ctxt.mode === X86EMUL_MODE_REAL ? emulate_int_real(ctxt, vector) : X86EMUL_UNHANDLEABLE);
export const em_int: Execute = (ctxt) => emulate_int(ctxt, Number(ctxt.src.val & 0xffn));
export const em_int3: Execute = (ctxt) => emulate_int(ctxt, 3);
export const em_into: Execute = (ctxt) => (ctxt.eflags & 0x800 ? emulate_int(ctxt, 4) : X86EMUL_CONTINUE);

// ---------------------------------------------------------------- segment registers

export const em_mov_to_sreg: Execute = (ctxt) => {
  const { modrm_reg: seg } = ctxt;
  if (seg === VCPU_SREG_CS || seg > VCPU_SREG_GS) return emulate_ud(ctxt);
  if (seg === VCPU_SREG_SS) ctxt.interruptibility = KVM_X86_SHADOW_INT_MOV_SS;
  ctxt.dst.type = OP_NONE;
  return load_segment(ctxt, Number(ctxt.src.val & 0xffffn), seg);
};
export const em_pop_sreg = (seg: number): Execute => (ctxt) => {
  const rc = pop(ctxt, 2);
  if (rc !== X86EMUL_CONTINUE) return rc;
  if (seg === VCPU_SREG_SS) ctxt.interruptibility = KVM_X86_SHADOW_INT_MOV_SS;
  if (ctxt.op_bytes > 2) rsp_increment(ctxt, ctxt.op_bytes - 2);
  return load_segment(ctxt, Number(popped), seg);
};
/** LES, LDS, LSS, LFS, LGS: offset to the register, selector to the segment. */
export const em_lseg = (seg: number): Execute => (ctxt) => {
  let rc = far_selector(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = load_segment(ctxt, Number(ctxt.src.high & 0xffffn), seg);
  if (rc === X86EMUL_CONTINUE) ctxt.dst.val = ctxt.src.val;
  return rc;
};
