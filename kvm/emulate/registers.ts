/**
 * Registers as the instruction in progress sees them: read on first use, written to the vCPU only when it is done.
 *
 * Linux: arch/x86/kvm/emulate.c
 */
import { VCPU_REGS_RSP, VCPU_SREG_SS, type x86_emulate_ctxt, type operand, X86EMUL_MODE_PROT64 } from './types.ts';

const MASK = [0n, 0xffn, 0xffffn, 0n, 0xffff_ffffn, 0n, 0n, 0n, 0xffff_ffff_ffff_ffffn] as const;
export const mask = (bytes: number): bigint => MASK[bytes] ?? 0n;

export function reg_read(ctxt: x86_emulate_ctxt, reg: number): bigint {
  if (!(ctxt.regs_valid & (1 << reg))) {
    ctxt.regs_valid |= 1 << reg;
    ctxt.regs[reg] = ctxt.ops.read_gpr(reg);
  }
  return ctxt.regs[reg]!;
}

export function reg_write(ctxt: x86_emulate_ctxt, reg: number, value: bigint): void {
  ctxt.regs_valid |= 1 << reg;
  ctxt.regs_dirty |= 1 << reg;
  ctxt.regs[reg] = value;
}

/** A write of 1, 2, 4 or 8 bytes as the architecture has it: a 32-bit one clears the upper half, shorter ones keep the rest. */
export function assign_register(ctxt: x86_emulate_ctxt, reg: number, value: bigint, bytes: number): void {
  const m = mask(bytes);
  reg_write(ctxt, reg, bytes >= 4 ? value & m : (reg_read(ctxt, reg) & ~m) | (value & m));
}

export function writeback_registers(ctxt: x86_emulate_ctxt): void {
  for (let reg = 0, dirty = ctxt.regs_dirty; dirty !== 0; reg++, dirty >>>= 1) if (dirty & 1) ctxt.ops.write_gpr(reg, ctxt.regs[reg]!);
  ctxt.regs_dirty = 0;
}

export function invalidate_registers(ctxt: x86_emulate_ctxt): void {
  ctxt.regs_dirty = 0;
  ctxt.regs_valid = 0;
}

export const ad_mask = (ctxt: x86_emulate_ctxt): bigint => mask(ctxt.ad_bytes);
/** An address truncated to the instruction's address size. */
export const address_mask = (ctxt: x86_emulate_ctxt, value: bigint): bigint => value & ad_mask(ctxt);

/** Adds to a register used as an address: only its low ad_bytes move. */
export function register_address_increment(ctxt: x86_emulate_ctxt, reg: number, by: number): void {
  const m = ad_mask(ctxt);
  const old = reg_read(ctxt, reg);
  const value = (old + BigInt(by)) & m;
  reg_write(ctxt, reg, ctxt.ad_bytes === 4 ? value : (old & ~m) | value);
}

export const stack_bytes = (ctxt: x86_emulate_ctxt): number =>
  ctxt.mode === X86EMUL_MODE_PROT64 ? 8 : ctxt.ops.get_segment(VCPU_SREG_SS).db ? 4 : 2;

export function rsp_increment(ctxt: x86_emulate_ctxt, by: number): void {
  const bytes = stack_bytes(ctxt);
  const m = mask(bytes);
  const old = reg_read(ctxt, VCPU_REGS_RSP);
  reg_write(ctxt, VCPU_REGS_RSP, (old & ~m) | ((old + BigInt(by)) & m));
}

/** The value of a register operand, AH..BH included. */
export function fetch_register_operand(ctxt: x86_emulate_ctxt, op: operand): void {
  const value = reg_read(ctxt, op.reg);
  op.val = op.highByte ? (value >> 8n) & 0xffn : value & mask(op.bytes);
  op.orig_val = op.val;
}

export function write_register_operand(ctxt: x86_emulate_ctxt, op: operand): void {
  if (op.highByte) reg_write(ctxt, op.reg, (reg_read(ctxt, op.reg) & ~0xff00n) | ((op.val & 0xffn) << 8n));
  else assign_register(ctxt, op.reg, op.val, op.bytes);
}
