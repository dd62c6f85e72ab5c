/**
 * Segment registers, descriptor tables and control registers in the VMCS.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c (vmx_get_segment, vmx_set_cr0 and relatives)
 *
 * CR0 and CR4 exist three times: what the guest believes (the read shadow, for bits the host owns), what the processor
 * runs with, and arch.cr0, arch.cr4, in which guest-owned bits may be stale.
 */
import * as C from '../../machine/vmx/controls.ts';
import * as F from '../../machine/vmx/fields.ts';
import { type kvm_vcpu, type segment, is_long_mode } from '../kvm_host.ts';
import { kvm_mmu_unload } from '../mmu/shadow-root.ts';
import { vmx_capabilities } from './capabilities.ts';
import { enter_pmode, enter_rmode, rmode_get_segment, rmode_set_segment } from './rmode.ts';

export const X86_CR0_PE = 1n, X86_CR0_TS = 8n, X86_CR0_NE = 0x20n, X86_CR0_WP = 0x10000n, X86_CR0_NW = 0x2000_0000n, X86_CR0_CD = 0x4000_0000n, X86_CR0_PG = 0x8000_0000n;
export const X86_CR4_VMXE = 0x2000n, X86_CR4_MCE = 0x40n;
const X86_CR4_PSE = 0x10n, X86_CR4_PAE = 0x20n, X86_CR4_PGE = 0x80n, X86_CR4_SMEP = 0x100000n, X86_CR4_SMAP = 0x200000n, X86_CR4_PKE = 0x400000n;
const EFER_LME = 0x100n, EFER_LMA = 0x400n, EFER_NX = 0x800n;
/** What a guest may change without an exit. */
export const KVM_POSSIBLE_CR0_GUEST_BITS = X86_CR0_TS | X86_CR0_WP;
/** PVI DE PCE OSFXSR OSXMMEXCPT PGE TSD FSGSBASE. */
export const KVM_POSSIBLE_CR4_GUEST_BITS = 0x2n | 0x8n | 0x100n | 0x200n | 0x400n | 0x80n | 0x4n | 0x10000n;

/** kvm's segment numbers are those of the VMCS but for the last two: TR 6, LDTR 7 here, LDTR 6, TR 7 there. */
const VMCS_SEG = [0, 1, 2, 3, 4, 5, 7, 6] as const;
const index = (seg: number): number => VMCS_SEG[seg]! * 2;

const registers: segment = { selector: 0, base: 0n, limit: 0, type: 0, present: 0, dpl: 0, db: 0, s: 0, l: 0, g: 0, avl: 0, unusable: 0 };

/** The object is the same at each call: copy what must last. */
export function read_segment(vcpu: kvm_vcpu, seg: number): segment {
  const { hw } = vcpu.vmx;
  const at = index(seg);
  const ar = hw.read32(F.GUEST_ES_AR_BYTES + at);
  registers.base = hw.read64(F.GUEST_ES_BASE + at);
  registers.limit = hw.read32(F.GUEST_ES_LIMIT + at);
  registers.selector = hw.read32(F.GUEST_ES_SELECTOR + at) & 0xffff;
  registers.unusable = (ar >>> 16) & 1;
  registers.type = ar & 15;
  registers.s = (ar >>> 4) & 1;
  registers.dpl = (ar >>> 5) & 3;
  // An unusable segment is reported as not present: some user space does not keep the first property.
  registers.present = registers.unusable ^ 1;
  registers.avl = (ar >>> 12) & 1;
  registers.l = (ar >>> 13) & 1;
  registers.db = (ar >>> 14) & 1;
  registers.g = (ar >>> 15) & 1;
  return registers;
}

export const vmx_get_segment_base = (vcpu: kvm_vcpu, seg: number): bigint => vcpu.vmx.hw.read64(F.GUEST_ES_BASE + index(seg));

export function write_segment(vcpu: kvm_vcpu, seg: number, v: segment): void {
  const { hw } = vcpu.vmx;
  const at = index(seg);
  // A processor that runs real mode by itself wants the accessed bit.
  const type = seg === 7 ? v.type : v.type | 1;
  const ar = (type & 15) | ((v.s & 1) << 4) | ((v.dpl & 3) << 5) | ((v.present & 1) << 7) | ((v.avl & 1) << 12) | ((v.l & 1) << 13) | ((v.db & 1) << 14) | ((v.g & 1) << 15)
    | (v.unusable || !v.present ? 1 << 16 : 0);
  hw.write64(F.GUEST_ES_BASE + at, v.base);
  hw.write32(F.GUEST_ES_LIMIT + at, v.limit);
  hw.write32(F.GUEST_ES_SELECTOR + at, v.selector);
  hw.write32(F.GUEST_ES_AR_BYTES + at, ar);
}

const LDTR = 7;
export const vmx_get_segment = (vcpu: kvm_vcpu, seg: number): segment => (vcpu.vmx.rmode.vm86_active && seg !== LDTR ? rmode_get_segment(vcpu, seg) : read_segment(vcpu, seg));
export const vmx_set_segment = (vcpu: kvm_vcpu, seg: number, v: segment): void => (vcpu.vmx.rmode.vm86_active && seg !== LDTR ? rmode_set_segment(vcpu, seg, v) : write_segment(vcpu, seg, v));

export const vmx_get_cpl = (vcpu: kvm_vcpu): number => (vcpu.vmx.rmode.vm86_active ? 0 : (vcpu.vmx.hw.read32(F.GUEST_SS_AR_BYTES) >>> 5) & 3);

export function vmx_get_cs_db_l_bits(vcpu: kvm_vcpu): { db: number; l: number } {
  const ar = vcpu.vmx.hw.read32(F.GUEST_CS_AR_BYTES);
  return { db: (ar >>> 14) & 1, l: (ar >>> 13) & 1 };
}

export function vmx_get_dt(vcpu: kvm_vcpu, which: 'gdt' | 'idt'): { base: bigint; limit: number } {
  const { hw, rmode } = vcpu.vmx;
  if (which === 'idt' && rmode.vm86_active) return rmode.idt;
  return which === 'gdt' ? { base: hw.read64(F.GUEST_GDTR_BASE), limit: hw.read32(F.GUEST_GDTR_LIMIT) } : { base: hw.read64(F.GUEST_IDTR_BASE), limit: hw.read32(F.GUEST_IDTR_LIMIT) };
}
export function vmx_set_dt(vcpu: kvm_vcpu, which: 'gdt' | 'idt', base: bigint, limit: number): void {
  const { hw, rmode } = vcpu.vmx;
  if (which === 'idt' && rmode.vm86_active) {
    rmode.idt = { base, limit };
    return;
  }
  hw.write64(which === 'gdt' ? F.GUEST_GDTR_BASE : F.GUEST_IDTR_BASE, base);
  hw.write32(which === 'gdt' ? F.GUEST_GDTR_LIMIT : F.GUEST_IDTR_LIMIT, limit);
}

// ---------------------------------------------------------------- control registers

export const vmx_read_cr0_owned = (vcpu: kvm_vcpu): bigint => vcpu.vmx.hw.read64(F.GUEST_CR0);
export const vmx_read_cr4_owned = (vcpu: kvm_vcpu): bigint => vcpu.vmx.hw.read64(F.GUEST_CR4);
/** Is the processor's CR3 the guest's? Not while its tables are shadowed, nor while it has none and cannot do without. */
const has_own_cr3 = (vcpu: kvm_vcpu): boolean => {
  const c = vmx_capabilities();
  return c.enable_ept && (c.enable_unrestricted_guest || (vcpu.arch.cr0 & X86_CR0_PG) !== 0n);
};
export const vmx_get_cr3 = (vcpu: kvm_vcpu): bigint => (has_own_cr3(vcpu) ? vcpu.vmx.hw.read64(F.GUEST_CR3) : vcpu.arch.cr3);
export function vmx_set_cr3(vcpu: kvm_vcpu, value: bigint): void {
  vcpu.arch.cr3 = value;
  if (has_own_cr3(vcpu)) vcpu.vmx.hw.write64(F.GUEST_CR3, value);
  else if (!vmx_capabilities().enable_ept) kvm_mmu_unload(vcpu);
  else vcpu.vmx.hw.write64(F.GUEST_CR3, BigInt(vcpu.kvm.arch.identity_map_addr));
}

/** CR0.CD and NW never reach the processor: the guest's memory is the host's. */
export function vmx_set_cr0(vcpu: kvm_vcpu, cr0: bigint): void {
  const { hw } = vcpu.vmx;
  const wasPaging = (vcpu.arch.cr0 & X86_CR0_PG) !== 0n;
  const paging = (cr0 & X86_CR0_PG) !== 0n;
  const { enable_ept, enable_unrestricted_guest } = vmx_capabilities();
  // Whoever cannot run without protection and paging gets them, and KVM stands in for what the guest believes.
  const always = X86_CR0_NE | (enable_unrestricted_guest ? 0n : X86_CR0_PE | X86_CR0_PG) | (enable_ept ? 0n : X86_CR0_WP);
  if (!enable_unrestricted_guest) {
    const { rmode } = vcpu.vmx;
    if (rmode.vm86_active && (cr0 & X86_CR0_PE) !== 0n) enter_pmode(vcpu);
    else if (!rmode.vm86_active && (cr0 & X86_CR0_PE) === 0n) enter_rmode(vcpu);
  }
  hw.write64(F.CR0_READ_SHADOW, cr0);
  hw.write64(F.GUEST_CR0, (cr0 & ~(X86_CR0_NW | X86_CR0_CD)) | always);
  if (!enable_unrestricted_guest && wasPaging !== paging) {
    const cr3 = vmx_get_cr3(vcpu);
    vcpu.arch.cr0 = cr0;
    vmx_set_cr3(vcpu, cr3);
    set_hardware_cr4(vcpu);
  }
  vcpu.arch.cr0 = cr0;
  if (!enable_ept) kvm_mmu_unload(vcpu);
  if ((vcpu.arch.efer & EFER_LME) !== 0n && wasPaging !== paging) {
    if (paging) enter_lmode(vcpu);
    else vmx_set_efer(vcpu, vcpu.arch.efer & ~EFER_LMA);
  }
}

function enter_lmode(vcpu: kvm_vcpu): void {
  const { hw } = vcpu.vmx;
  const ar = hw.read32(F.GUEST_TR_AR_BYTES);
  // Long mode knows one kind of TSS only; entry would refuse a 16-bit one.
  if ((ar & 0xf) !== 0xb) hw.write32(F.GUEST_TR_AR_BYTES, (ar & ~0xf) | 0xb);
  vmx_set_efer(vcpu, vcpu.arch.efer | EFER_LMA);
}

export function vmx_set_cr4(vcpu: kvm_vcpu, cr4: bigint): void {
  const { hw } = vcpu.vmx;
  vcpu.arch.cr4 = cr4;
  hw.write64(F.CR4_READ_SHADOW, cr4);
  set_hardware_cr4(vcpu);
  if (!vmx_capabilities().enable_ept) kvm_mmu_unload(vcpu);
}

/** CR4 as the processor gets it: PAE where tables are KVM's, and none of the checks that mean paging while the guest has none. */
function set_hardware_cr4(vcpu: kvm_vcpu): void {
  const { hw } = vcpu.vmx;
  const { enable_ept, enable_unrestricted_guest } = vmx_capabilities();
  let cr4 = vcpu.arch.cr4 | X86_CR4_VMXE | X86_CR4_MCE;
  if (!enable_unrestricted_guest) {
    const paging = (vcpu.arch.cr0 & X86_CR0_PG) !== 0n;
    if (!enable_ept) cr4 |= X86_CR4_PAE;
    // The map that stands in for no paging is one page of 4 MiB entries.
    else if (!paging) cr4 = (cr4 & ~X86_CR4_PAE) | X86_CR4_PSE;
    if (!paging) cr4 &= ~(X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE);
  }
  hw.write64(F.GUEST_CR4, cr4);
}

export function vmx_set_efer(vcpu: kvm_vcpu, efer: bigint): void {
  const { hw } = vcpu.vmx;
  const { enable_ept, enable_unrestricted_guest } = vmx_capabilities();
  vcpu.arch.efer = efer;
  // Shadow tables use NX whatever the guest's do. LME without LMA means paging is off, which the processor cannot be told.
  hw.write64(F.GUEST_IA32_EFER, (enable_unrestricted_guest || (efer & EFER_LMA) !== 0n ? efer : efer & ~EFER_LME) | (enable_ept ? 0n : EFER_NX));
  if (!enable_ept) kvm_mmu_unload(vcpu);
  const controls = hw.read32(F.VM_ENTRY_CONTROLS);
  hw.write32(F.VM_ENTRY_CONTROLS, is_long_mode(vcpu) ? controls | C.VM_ENTRY_IA32E_MODE : controls & ~C.VM_ENTRY_IA32E_MODE);
}

/** Which CR0 and CR4 bits exit is what the host owns. CR4 bits the guest's CPUID lacks are always the host's. */
export function vmx_set_guest_owned_bits(vcpu: kvm_vcpu): void {
  const { hw } = vcpu.vmx;
  const shadow = !vmx_capabilities().enable_ept;
  vcpu.arch.cr0_guest_owned_bits = KVM_POSSIBLE_CR0_GUEST_BITS & ~(shadow ? X86_CR0_WP : 0n);
  vcpu.arch.cr4_guest_owned_bits = KVM_POSSIBLE_CR4_GUEST_BITS & ~vcpu.arch.cr4_guest_rsvd_bits & ~(shadow ? X86_CR4_PGE : 0n);
  hw.write64(F.CR0_GUEST_HOST_MASK, BigInt.asUintN(64, ~vcpu.arch.cr0_guest_owned_bits));
  hw.write64(F.CR4_GUEST_HOST_MASK, BigInt.asUintN(64, ~vcpu.arch.cr4_guest_owned_bits));
}
