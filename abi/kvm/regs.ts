/**
 * Registers of a vCPU: general, segment, control, floating point, extended state, debug.
 * Linux: arch/x86/include/uapi/asm/kvm.h, include/uapi/linux/kvm.h
 */
import { type Of, array, flex, struct, u16, u32, u64, u8 } from '../struct.ts';

export const kvm_regs = struct('kvm_regs', {
  rax: u64, rbx: u64, rcx: u64, rdx: u64, rsi: u64, rdi: u64, rsp: u64, rbp: u64,
  r8: u64, r9: u64, r10: u64, r11: u64, r12: u64, r13: u64, r14: u64, r15: u64, rip: u64, rflags: u64,
});
export type kvm_regs = Of<typeof kvm_regs>;

/** A segment register with its hidden part: the descriptor's attributes, one a byte, and the limit in bytes. */
export const kvm_segment = struct('kvm_segment', {
  base: u64, limit: u32, selector: u16,
  type: u8, present: u8, dpl: u8, db: u8, s: u8, l: u8, g: u8, avl: u8, unusable: u8, padding: u8,
});
export type kvm_segment = Of<typeof kvm_segment>;

/** GDTR or IDTR. */
export const kvm_dtable = struct('kvm_dtable', { base: u64, limit: u16, padding: array(u16, 3) });
export type kvm_dtable = Of<typeof kvm_dtable>;

// Number of interrupt vectors, the bits of interrupt_bitmap
export const KVM_NR_INTERRUPTS = 256;

export const kvm_sregs = struct('kvm_sregs', {
  cs: kvm_segment, ds: kvm_segment, es: kvm_segment, fs: kvm_segment, gs: kvm_segment, ss: kvm_segment,
  tr: kvm_segment, ldt: kvm_segment, gdt: kvm_dtable, idt: kvm_dtable,
  cr0: u64, cr2: u64, cr3: u64, cr4: u64, cr8: u64, efer: u64, apic_base: u64,
  interrupt_bitmap: array(u64, KVM_NR_INTERRUPTS / 64),
});
export type kvm_sregs = Of<typeof kvm_sregs>;

export const KVM_SREGS2_FLAGS_PDPTRS_VALID = 1;

/** kvm_sregs with the PAE page directory pointers in place of the pending interrupt. */
export const kvm_sregs2 = struct('kvm_sregs2', {
  cs: kvm_segment, ds: kvm_segment, es: kvm_segment, fs: kvm_segment, gs: kvm_segment, ss: kvm_segment,
  tr: kvm_segment, ldt: kvm_segment, gdt: kvm_dtable, idt: kvm_dtable,
  cr0: u64, cr2: u64, cr3: u64, cr4: u64, cr8: u64, efer: u64, apic_base: u64, flags: u64, pdptrs: array(u64, 4),
});
export type kvm_sregs2 = Of<typeof kvm_sregs2>;

/** The x87 stack and the SSE registers. ftwx is the abridged tag word of FXSAVE: one bit a register, set when in use. */
export const kvm_fpu = struct('kvm_fpu', {
  fpr: array(array(u8, 16), 8), fcw: u16, fsw: u16, ftwx: u8, pad1: u8, last_opcode: u16, last_ip: u64, last_dp: u64,
  xmm: array(array(u8, 16), 16), mxcsr: u32, pad2: u32,
});
export type kvm_fpu = Of<typeof kvm_fpu>;

/** The XSAVE area in its standard format; longer than a page only with KVM_GET_XSAVE2. */
export const kvm_xsave = struct('kvm_xsave', { region: array(u32, 1024), extra: flex(u32) });
export type kvm_xsave = Of<typeof kvm_xsave>;

export const KVM_MAX_XCRS = 16;

export const kvm_xcr = struct('kvm_xcr', { xcr: u32, reserved: u32, value: u64 });
export type kvm_xcr = Of<typeof kvm_xcr>;

export const kvm_xcrs = struct('kvm_xcrs', { nr_xcrs: u32, flags: u32, xcrs: array(kvm_xcr, KVM_MAX_XCRS), padding: array(u64, 16) });
export type kvm_xcrs = Of<typeof kvm_xcrs>;

export const kvm_debugregs = struct('kvm_debugregs', { db: array(u64, 4), dr6: u64, dr7: u64, flags: u64, reserved: array(u64, 9) });
export type kvm_debugregs = Of<typeof kvm_debugregs>;

/** KVM_TRANSLATE: a guest-linear address in, where it leads out. */
export const kvm_translation = struct('kvm_translation', { linear_address: u64, physical_address: u64, valid: u8, writeable: u8, usermode: u8, pad: array(u8, 5) });
export type kvm_translation = Of<typeof kvm_translation>;

// A register's 64-bit name in KVM_GET_ONE_REG: architecture, size, number
export const KVM_REG_ARCH_MASK  = 0xff00000000000000n;
export const KVM_REG_GENERIC    = 0n;
export const KVM_REG_SIZE_U8    = 0n;
export const KVM_REG_SIZE_U16   = 0x10000000000000n;
export const KVM_REG_SIZE_U32   = 0x20000000000000n;
export const KVM_REG_SIZE_U64   = 0x30000000000000n;
export const KVM_REG_SIZE_U128  = 0x40000000000000n;
export const KVM_REG_SIZE_U256  = 0x50000000000000n;
export const KVM_REG_SIZE_U512  = 0x60000000000000n;
export const KVM_REG_SIZE_U1024 = 0x70000000000000n;
export const KVM_REG_SIZE_U2048 = 0x80000000000000n;
export const KVM_REG_SIZE_MASK  = 0xf0000000000000n;
export const KVM_REG_X86        = 0x2000000000000000n;

export const KVM_REG_SIZE_SHIFT = 52;

export const kvm_one_reg = struct('kvm_one_reg', { id: u64, addr: u64 });
export type kvm_one_reg = Of<typeof kvm_one_reg>;

export const kvm_reg_list = struct('kvm_reg_list', { n: u64, reg: flex(u64) });
export type kvm_reg_list = Of<typeof kvm_reg_list>;
