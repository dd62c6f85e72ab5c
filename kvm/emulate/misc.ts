/**
 * Old instructions that neither touch segments nor the system: decimal adjustment, XLAT, ENTER, FNINIT.
 *
 * Linux: arch/x86/kvm/emulate.c (em_das, em_aam, em_aad, em_salc, em_enter)
 */
import { logic, type Alu } from './arithmetic.ts';
import { emulate_de, push, read_at, value_read } from './memory.ts';
import { address_mask, assign_register, reg_read, rsp_increment } from './registers.ts';
import { AF, CF, VCPU_REGS_RAX, VCPU_REGS_RBP, VCPU_REGS_RBX, VCPU_REGS_RSP, VCPU_SREG_DS, X86EMUL_CONTINUE, X86EMUL_UNHANDLEABLE, type x86_emulate_ctxt } from './types.ts';

type Execute = (ctxt: x86_emulate_ctxt) => number;
const alu: Alu = { flags: 0 };
const ax = (ctxt: x86_emulate_ctxt): number => Number(reg_read(ctxt, VCPU_REGS_RAX) & 0xffffn);

function setAx(ctxt: x86_emulate_ctxt, value: number): number {
  alu.flags = ctxt.eflags;
  logic(alu, BigInt(value & 0xff), 1);
  ctxt.eflags = alu.flags;
  assign_register(ctxt, VCPU_REGS_RAX, BigInt(value & 0xffff), 2);
  return X86EMUL_CONTINUE;
}
export const em_aam: Execute = (ctxt) => {
  const base = Number(ctxt.src.val & 0xffn);
  if (base === 0) return emulate_de(ctxt);
  const al = ax(ctxt) & 0xff;
  return setAx(ctxt, (Math.floor(al / base) << 8) | (al % base));
};
export const em_aad: Execute = (ctxt) => setAx(ctxt, ((ax(ctxt) & 0xff) + (ax(ctxt) >> 8) * Number(ctxt.src.val & 0xffn)) & 0xff);
export const em_das: Execute = (ctxt) => {
  const before = ax(ctxt);
  let al = before & 0xff;
  const old = al;
  const carried = (ctxt.eflags & CF) !== 0;
  let carry = false;
  const adjust = (al & 15) > 9 || (ctxt.eflags & AF) !== 0;
  if (adjust) {
    carry = carried || al < 6;
    al = (al - 6) & 0xff;
  }
  if (old > 0x99 || carried) {
    al = (al - 0x60) & 0xff;
    carry = true;
  }
  setAx(ctxt, (before & 0xff00) | al);
  ctxt.eflags = (ctxt.eflags & ~(AF | CF)) | (adjust ? AF : 0) | (carry ? CF : 0);
  return X86EMUL_CONTINUE;
};
export const em_salc: Execute = (ctxt) => { assign_register(ctxt, VCPU_REGS_RAX, ctxt.eflags & CF ? 0xffn : 0n, 1); return X86EMUL_CONTINUE; };
export const em_xlat: Execute = (ctxt) => {
  const at = address_mask(ctxt, reg_read(ctxt, VCPU_REGS_RBX) + (reg_read(ctxt, VCPU_REGS_RAX) & 0xffn));
  const rc = read_at(ctxt, ctxt.seg_override >= 0 ? ctxt.seg_override : VCPU_SREG_DS, at, 1);
  if (rc === X86EMUL_CONTINUE) assign_register(ctxt, VCPU_REGS_RAX, value_read, 1);
  return rc;
};
/** ENTER without nested frames. */
export const em_enter: Execute = (ctxt) => {
  if ((ctxt.src2.val & 0x1fn) !== 0n) return X86EMUL_UNHANDLEABLE;
  const rc = push(ctxt, reg_read(ctxt, VCPU_REGS_RBP));
  if (rc !== X86EMUL_CONTINUE) return rc;
  assign_register(ctxt, VCPU_REGS_RBP, reg_read(ctxt, VCPU_REGS_RSP), ctxt.op_bytes);
  rsp_increment(ctxt, -Number(ctxt.src.val));
  return X86EMUL_CONTINUE;
};
export const em_fninit: Execute = (ctxt) => { ctxt.ops.fninit(); return X86EMUL_CONTINUE; };
