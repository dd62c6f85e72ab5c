/**
 * System instructions: control, debug and model-specific registers, descriptor tables, fast system calls.
 *
 * Linux: arch/x86/kvm/emulate.c (em_cr_write and neighbours, em_syscall, em_sysenter, em_sysexit)
 *
 * Privilege is checked by a flag of the row before anything is read.
 */
import { emulate_exception, emulate_gp, emulate_ud, is_canonical, linear, linearize, read_at, segmented_write, value_read } from './memory.ts';
import { mask, reg_read, reg_write } from './registers.ts';
import { emulator_recalc_and_set_mode, in_long_mode, load_segment } from './segments.ts';
import {
  DB_VECTOR, IF, OP_MEM, OP_NONE, VCPU_REGS_RAX, VCPU_REGS_RBX, VCPU_REGS_RCX, VCPU_REGS_RDX, VCPU_REGS_RSP, VCPU_SREG_CS, VCPU_SREG_LDTR, VCPU_SREG_SS, VCPU_SREG_TR, VM, X86EMUL_CONTINUE,
  X86EMUL_MODE_PROT16, X86EMUL_MODE_PROT64, X86EMUL_MODE_REAL, X86EMUL_MODE_VM86, X86EMUL_UNHANDLEABLE, type emulated_segment, type x86_emulate_ctxt,
} from './types.ts';

type Execute = (ctxt: x86_emulate_ctxt) => number;

const CR0_TS = 8n, CR4_DE = 8n, CR4_UMIP = 0x800n, CR4_TSD = 4n, DR7_GD = 0x2000n, DR6_BD = 0x2000n, TF = 0x100;
const MSR_TSC = 0x10, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176, MSR_EFER = 0xc000_0080, MSR_STAR = 0xc000_0081, MSR_LSTAR = 0xc000_0082, MSR_CSTAR = 0xc000_0083, MSR_FMASK = 0xc000_0084;

// ---------------------------------------------------------------- control and debug registers

const is_cr = (n: number): boolean => n === 0 || (n >= 2 && n <= 4) || n === 8;
const natural = (ctxt: x86_emulate_ctxt): bigint => mask(ctxt.mode === X86EMUL_MODE_PROT64 ? 8 : 4);

export const em_cr_read: Execute = (ctxt) => {
  if (!is_cr(ctxt.modrm_reg)) return emulate_ud(ctxt);
  ctxt.dst.val = ctxt.ops.get_cr(ctxt.modrm_reg) & natural(ctxt);
  return X86EMUL_CONTINUE;
};
function set_cr(ctxt: x86_emulate_ctxt, cr: number, value: bigint): number {
  if (ctxt.ops.set_cr(cr, value) !== 0) return emulate_gp(ctxt, 0);
  ctxt.dst.type = OP_NONE;
  return cr === 0 ? emulator_recalc_and_set_mode(ctxt) : X86EMUL_CONTINUE;
}
export const em_cr_write: Execute = (ctxt) => (is_cr(ctxt.modrm_reg) ? set_cr(ctxt, ctxt.modrm_reg, ctxt.src.val & natural(ctxt)) : emulate_ud(ctxt));
export const em_clts: Execute = (ctxt) => { ctxt.ops.set_cr(0, ctxt.ops.get_cr(0) & ~CR0_TS); return X86EMUL_CONTINUE; };
/** LMSW reaches the low four bits, and PE only to set it. */
export const em_lmsw: Execute = (ctxt) => set_cr(ctxt, 0, (ctxt.ops.get_cr(0) & ~0xen) | (ctxt.src.val & 0xfn));
export const em_smsw: Execute = (ctxt) => {
  if (denied_by_umip(ctxt)) return emulate_gp(ctxt, 0);
  if (ctxt.dst.type === OP_MEM) ctxt.dst.bytes = 2;
  ctxt.dst.val = ctxt.ops.get_cr(0);
  return X86EMUL_CONTINUE;
};

/** #UD for DR4 and DR5 with debugging extensions; #DB when DR7 asks to hear of the access. */
function check_dr(ctxt: x86_emulate_ctxt): number {
  const dr = ctxt.modrm_reg;
  if (dr > 7 || ((dr === 4 || dr === 5) && (ctxt.ops.get_cr(4) & CR4_DE) !== 0n)) return emulate_ud(ctxt);
  if ((ctxt.ops.get_dr(7) & DR7_GD) === 0n) return X86EMUL_CONTINUE;
  ctxt.ops.set_dr(6, (ctxt.ops.get_dr(6) & ~0xfn) | DR6_BD);
  return emulate_exception(ctxt, DB_VECTOR);
}
export const em_dr_read: Execute = (ctxt) => {
  const rc = check_dr(ctxt);
  ctxt.dst.val = ctxt.ops.get_dr(ctxt.modrm_reg) & natural(ctxt);
  return rc;
};
export const em_dr_write: Execute = (ctxt) => {
  const rc = check_dr(ctxt);
  if (rc !== X86EMUL_CONTINUE) return rc;
  ctxt.dst.type = OP_NONE;
  return ctxt.ops.set_dr(ctxt.modrm_reg, ctxt.src.val & natural(ctxt)) === 0 ? X86EMUL_CONTINUE : emulate_gp(ctxt, 0);
};

// ---------------------------------------------------------------- descriptor tables

const denied_by_umip = (ctxt: x86_emulate_ctxt): boolean => (ctxt.ops.get_cr(4) & CR4_UMIP) !== 0n && ctxt.ops.cpl() > 0;
const is_memory = (ctxt: x86_emulate_ctxt): boolean => ctxt.memop.type === OP_MEM;

const load_table = (which: 'gdt' | 'idt'): Execute => (ctxt) => {
  if (!is_memory(ctxt)) return emulate_ud(ctxt);
  const { seg, ea } = ctxt.src;
  let rc = read_at(ctxt, seg, ea, 2);
  const limit = Number(value_read);
  if (rc !== X86EMUL_CONTINUE) return rc;
  rc = read_at(ctxt, seg, ea + 2n, ctxt.mode === X86EMUL_MODE_PROT64 ? 8 : 4);
  if (rc !== X86EMUL_CONTINUE) return rc;
  const base = ctxt.mode !== X86EMUL_MODE_PROT64 && ctxt.op_bytes === 2 ? value_read & 0xff_ffffn : value_read;
  if (!is_canonical(base)) return emulate_gp(ctxt, 0);
  ctxt.ops.set_dt(which, base, limit);
  return X86EMUL_CONTINUE;
};
export const em_lgdt = load_table('gdt');
export const em_lidt = load_table('idt');
const store_table = (which: 'gdt' | 'idt'): Execute => (ctxt) => {
  if (!is_memory(ctxt)) return emulate_ud(ctxt);
  if (denied_by_umip(ctxt)) return emulate_gp(ctxt, 0);
  const { base, limit } = ctxt.ops.get_dt(which);
  const bytes = ctxt.mode === X86EMUL_MODE_PROT64 ? 8 : 4;
  const { dst } = ctxt;
  const value = (base << 16n) | BigInt(limit);
  // Ten bytes are more than an operand holds: the limit goes first.
  dst.bytes = 2;
  dst.val = value & 0xffffn;
  const rc = segmented_write(ctxt, dst);
  if (rc !== X86EMUL_CONTINUE) return rc;
  dst.ea += 2n;
  dst.bytes = bytes;
  dst.val = base & mask(bytes);
  return X86EMUL_CONTINUE;
};
export const em_sgdt = store_table('gdt');
export const em_sidt = store_table('idt');

const store_selector = (seg: number): Execute => (ctxt) => {
  if (denied_by_umip(ctxt)) return emulate_gp(ctxt, 0);
  if (ctxt.dst.type === OP_MEM) ctxt.dst.bytes = 2;
  ctxt.dst.val = BigInt(ctxt.ops.get_segment(seg).selector);
  return X86EMUL_CONTINUE;
};
export const em_sldt = store_selector(VCPU_SREG_LDTR);
export const em_str = store_selector(VCPU_SREG_TR);
const load_selector = (seg: number): Execute => (ctxt) => {
  ctxt.dst.type = OP_NONE;
  return load_segment(ctxt, Number(ctxt.src.val & 0xffffn), seg);
};
export const em_lldt = load_selector(VCPU_SREG_LDTR);
export const em_ltr = load_selector(VCPU_SREG_TR);

// ---------------------------------------------------------------- MSRs, counters, CPUID

const edx_eax = (ctxt: x86_emulate_ctxt): bigint => ((reg_read(ctxt, VCPU_REGS_RDX) & 0xffff_ffffn) << 32n) | (reg_read(ctxt, VCPU_REGS_RAX) & 0xffff_ffffn);
function to_edx_eax(ctxt: x86_emulate_ctxt, value: bigint): number {
  reg_write(ctxt, VCPU_REGS_RAX, value & 0xffff_ffffn);
  reg_write(ctxt, VCPU_REGS_RDX, (value >> 32n) & 0xffff_ffffn);
  return X86EMUL_CONTINUE;
}
const ecx = (ctxt: x86_emulate_ctxt): number => Number(reg_read(ctxt, VCPU_REGS_RCX) & 0xffff_ffffn);
export const em_wrmsr: Execute = (ctxt) => {
  const rc = ctxt.ops.wrmsr(ctxt, ecx(ctxt), edx_eax(ctxt));
  return rc === X86EMUL_UNHANDLEABLE ? emulate_gp(ctxt, 0) : rc;
};
export const em_rdmsr: Execute = (ctxt) => {
  const rc = ctxt.ops.rdmsr(ctxt, ecx(ctxt));
  return rc === X86EMUL_UNHANDLEABLE ? emulate_gp(ctxt, 0) : rc === X86EMUL_CONTINUE ? to_edx_eax(ctxt, ctxt.msr) : rc;
};
export const em_rdtsc: Execute = (ctxt) => {
  if ((ctxt.ops.get_cr(4) & CR4_TSD) !== 0n && ctxt.ops.cpl() > 0) return emulate_gp(ctxt, 0);
  return to_edx_eax(ctxt, ctxt.ops.get_msr(MSR_TSC) ?? 0n);
};
export const em_rdpmc: Execute = (ctxt) => emulate_gp(ctxt, 0);
export const em_cpuid: Execute = (ctxt) => {
  const r = ctxt.ops.get_cpuid(Number(reg_read(ctxt, VCPU_REGS_RAX) & 0xffff_ffffn), ecx(ctxt));
  if (r === undefined) return emulate_gp(ctxt, 0);
  [[VCPU_REGS_RAX, r.eax], [VCPU_REGS_RBX, r.ebx], [VCPU_REGS_RCX, r.ecx], [VCPU_REGS_RDX, r.edx]].forEach(([reg, value]) => { reg_write(ctxt, reg!, BigInt(value!)); });
  return X86EMUL_CONTINUE;
};
export const em_hlt: Execute = (ctxt) => { ctxt.ops.halt(); return X86EMUL_CONTINUE; };
export const em_invlpg: Execute = (ctxt) => {
  if (!is_memory(ctxt)) return emulate_ud(ctxt);
  if (linearize(ctxt, ctxt.src.seg, ctxt.src.ea, 1, false, false) === X86EMUL_CONTINUE) ctxt.ops.invlpg(linear);
  ctxt.dst.type = OP_NONE;
  return X86EMUL_CONTINUE;
};

// ---------------------------------------------------------------- fast system calls

const code = (selector: number, long: boolean, dpl: number): emulated_segment =>
  ({ selector, base: 0n, limit: 0xffff_ffff, type: 0xb, s: 1, dpl, present: 1, db: long ? 0 : 1, l: long ? 1 : 0, g: 1, avl: 0, unusable: 0 });
const stack = (selector: number, dpl: number): emulated_segment =>
  ({ selector, base: 0n, limit: 0xffff_ffff, type: 3, s: 1, dpl, present: 1, db: 1, l: 0, g: 1, avl: 0, unusable: 0 });
const msr = (ctxt: x86_emulate_ctxt, index: number): bigint => ctxt.ops.get_msr(index) ?? 0n;

/** The processor runs SYSCALL itself where Intel has it, in 64-bit code. Guests that think they are on AMD may use it elsewhere. */
export const em_syscall: Execute = (ctxt) => {
  if (ctxt.mode === X86EMUL_MODE_REAL || ctxt.mode === X86EMUL_MODE_VM86) return emulate_ud(ctxt);
  if (ctxt.mode !== X86EMUL_MODE_PROT64 && !ctxt.ops.guest_is_amd()) return emulate_ud(ctxt);
  if ((msr(ctxt, MSR_EFER) & 1n) === 0n) return emulate_ud(ctxt);
  const star = msr(ctxt, MSR_STAR);
  const cs = Number((star >> 32n) & 0xfffcn);
  const ss = Number(((star >> 32n) + 8n) & 0xffffn);
  const long = in_long_mode(ctxt);
  const { mode } = ctxt;
  ctxt.ops.set_segment(VCPU_SREG_CS, code(cs, long, 0));
  ctxt.ops.set_segment(VCPU_SREG_SS, stack(ss, 0));
  reg_write(ctxt, VCPU_REGS_RCX, ctxt._eip);
  if (long) {
    reg_write(ctxt, 11, BigInt(ctxt.eflags >>> 0));
    ctxt._eip = msr(ctxt, mode === X86EMUL_MODE_PROT64 ? MSR_LSTAR : MSR_CSTAR);
    ctxt.eflags = (ctxt.eflags & ~Number(msr(ctxt, MSR_FMASK) & 0xffff_ffffn)) | 2;
  } else {
    ctxt._eip = star & 0xffff_ffffn;
    ctxt.eflags &= ~(VM | IF);
  }
  // TF as it is now counts: a mask that clears it takes the single step away.
  ctxt.tf = (ctxt.eflags & TF) !== 0;
  return emulator_recalc_and_set_mode(ctxt);
};

export const em_sysenter: Execute = (ctxt) => {
  if (ctxt.mode === X86EMUL_MODE_REAL) return emulate_gp(ctxt, 0);
  const long = in_long_mode(ctxt);
  if (ctxt.mode !== X86EMUL_MODE_PROT64 && long && ctxt.ops.guest_is_amd()) return emulate_ud(ctxt);
  if (ctxt.mode === X86EMUL_MODE_PROT64) return X86EMUL_UNHANDLEABLE;
  const selector = Number(msr(ctxt, MSR_SYSENTER_CS) & 0xfffcn);
  if (selector === 0) return emulate_gp(ctxt, 0);
  ctxt.eflags &= ~(VM | IF);
  ctxt.ops.set_segment(VCPU_SREG_CS, code(selector, long, 0));
  ctxt.ops.set_segment(VCPU_SREG_SS, stack(selector + 8, 0));
  ctxt._eip = msr(ctxt, MSR_SYSENTER_EIP) & mask(long ? 8 : 4);
  reg_write(ctxt, VCPU_REGS_RSP, msr(ctxt, MSR_SYSENTER_ESP) & mask(long ? 8 : 4));
  return emulator_recalc_and_set_mode(ctxt);
};

export const em_sysexit: Execute = (ctxt) => {
  if (ctxt.mode === X86EMUL_MODE_REAL || ctxt.mode === X86EMUL_MODE_VM86) return emulate_gp(ctxt, 0);
  const long = (ctxt.rex_prefix & 8) !== 0;
  const base = Number(msr(ctxt, MSR_SYSENTER_CS) & 0xffffn);
  if ((base & 0xfffc) === 0) return emulate_gp(ctxt, 0);
  const rip = reg_read(ctxt, VCPU_REGS_RDX) & mask(long ? 8 : 4);
  const rsp = reg_read(ctxt, VCPU_REGS_RCX) & mask(long ? 8 : 4);
  if (long && (!is_canonical(rip) || !is_canonical(rsp))) return emulate_gp(ctxt, 0);
  const cs = ((base + (long ? 32 : 16)) & 0xfffc) | 3;
  ctxt.ops.set_segment(VCPU_SREG_CS, code(cs, long, 3));
  ctxt.ops.set_segment(VCPU_SREG_SS, stack((((cs & 0xfffc) + 8) & 0xfffc) | 3, 3));
  ctxt._eip = rip;
  ctxt.mode = long ? X86EMUL_MODE_PROT64 : X86EMUL_MODE_PROT16;
  reg_write(ctxt, VCPU_REGS_RSP, rsp);
  return emulator_recalc_and_set_mode(ctxt);
};
