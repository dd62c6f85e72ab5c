/**
 * A vCPU's VMCS as it is at birth and after a reset.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c (setup_vmcs_config, init_vmcs, vmx_vcpu_reset)
 */
import * as C from '../../machine/vmx/controls.ts';
import * as F from '../../machine/vmx/fields.ts';
import { PAGE_SIZE } from '../../kernel/exports.ts';
import { guest_cpuid_has } from '../cpuid.ts';
import { type kvm_vcpu, kvm_x86, lapic_in_kernel } from '../kvm_host.ts';
import { vmx_capabilities } from './capabilities.ts';
import { vmx_set_guest_owned_bits } from './segments.ts';

const host = {
  cr0: 0x8005_0033n, cr4: 0x0004_2660n, efer: 0xd01n, pat: 0x0007_0406_0007_0406n,
  cs: 0x10, ss: 0x18, tr: 0x40,
};

export const PIN_BASED = C.adjust(C.pinBased, C.PIN_BASED_EXT_INTR_MASK | C.PIN_BASED_NMI_EXITING | C.PIN_BASED_VIRTUAL_NMIS);
/** Ports always exit; HLT, MWAIT and MONITOR unless the VM lets them run; CR8 while no local APIC here backs it. */
export const CPU_BASED = C.adjust(C.cpuBased, C.CPU_BASED_HLT_EXITING | C.CPU_BASED_UNCOND_IO_EXITING | C.CPU_BASED_MOV_DR_EXITING | C.CPU_BASED_USE_TSC_OFFSETTING
  | C.CPU_BASED_MWAIT_EXITING | C.CPU_BASED_MONITOR_EXITING | C.CPU_BASED_RDPMC_EXITING | C.CPU_BASED_USE_MSR_BITMAPS | C.CPU_BASED_CR8_LOAD_EXITING | C.CPU_BASED_CR8_STORE_EXITING
  | C.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS) & ~(C.CPU_BASED_CR3_LOAD_EXITING | C.CPU_BASED_CR3_STORE_EXITING);
export const SECONDARY = C.adjust(C.secondary, C.SECONDARY_EXEC_ENABLE_EPT | C.SECONDARY_EXEC_UNRESTRICTED_GUEST | C.SECONDARY_EXEC_ENABLE_VPID
  | C.SECONDARY_EXEC_WBINVD_EXITING | C.SECONDARY_EXEC_ENABLE_RDTSCP | C.SECONDARY_EXEC_ENABLE_INVPCID);
/** Without what the module's parameters switch off. */
function secondary_exec_control(): number {
  const c = vmx_capabilities();
  return SECONDARY & ~(c.enable_ept ? 0 : C.SECONDARY_EXEC_ENABLE_EPT) & ~(c.enable_unrestricted_guest ? 0 : C.SECONDARY_EXEC_UNRESTRICTED_GUEST) & ~(c.enable_vpid ? 0 : C.SECONDARY_EXEC_ENABLE_VPID);
}
export const VM_EXIT = C.adjust(C.vmExit, C.VM_EXIT_HOST_ADDR_SPACE_SIZE | C.VM_EXIT_ACK_INTR_ON_EXIT | C.VM_EXIT_SAVE_DEBUG_CONTROLS
  | C.VM_EXIT_SAVE_IA32_PAT | C.VM_EXIT_LOAD_IA32_PAT | C.VM_EXIT_LOAD_IA32_EFER);
export const VM_ENTRY = C.adjust(C.vmEntry, C.VM_ENTRY_LOAD_DEBUG_CONTROLS | C.VM_ENTRY_LOAD_IA32_PAT | C.VM_ENTRY_LOAD_IA32_EFER);

/** Instructions that are #UD unless a control lets the guest have them follow its CPUID. Linux: vmx_adjust_sec_exec_feature */
export function vmx_allow_instructions(vcpu: kvm_vcpu): void {
  const { hw } = vcpu.vmx;
  const rdtscp = guest_cpuid_has(vcpu, 0x8000_0001, 'edx', 27) || guest_cpuid_has(vcpu, 7, 'ecx', 22);
  const refused = (rdtscp ? 0 : C.SECONDARY_EXEC_ENABLE_RDTSCP) | (guest_cpuid_has(vcpu, 7, 'ebx', 10) ? 0 : C.SECONDARY_EXEC_ENABLE_INVPCID);
  const always = C.SECONDARY_EXEC_ENABLE_RDTSCP | C.SECONDARY_EXEC_ENABLE_INVPCID;
  hw.write32(F.SECONDARY_VM_EXEC_CONTROL, ((hw.read32(F.SECONDARY_VM_EXEC_CONTROL) | always) & ~refused) >>> 0);
}

/** Host state, controls and the guest fields a reset does not touch. */
export function init_vmcs(vcpu: kvm_vcpu): void {
  const { hw, msr_bitmap_pfn, vpid } = vcpu.vmx;
  hw.write64(F.MSR_BITMAP, BigInt(msr_bitmap_pfn * PAGE_SIZE));
  hw.write64(F.VMCS_LINK_POINTER, 0xffff_ffff_ffff_ffffn);
  hw.write32(F.PIN_BASED_VM_EXEC_CONTROL, PIN_BASED);
  hw.write32(F.CPU_BASED_VM_EXEC_CONTROL, exec_control(vcpu));
  hw.write32(F.SECONDARY_VM_EXEC_CONTROL, secondary_exec_control());
  hw.write32(F.VM_EXIT_CONTROLS, VM_EXIT);
  hw.write32(F.VM_ENTRY_CONTROLS, VM_ENTRY);
  hw.write32(F.VIRTUAL_PROCESSOR_ID, vpid);
  hw.write32(F.PAGE_FAULT_ERROR_CODE_MASK, 0);
  hw.write32(F.PAGE_FAULT_ERROR_CODE_MATCH, 0);
  hw.write32(F.CR3_TARGET_COUNT, 0);
  for (const field of [F.VM_EXIT_MSR_STORE_COUNT, F.VM_EXIT_MSR_LOAD_COUNT, F.VM_ENTRY_MSR_LOAD_COUNT]) hw.write32(field, 0);
  hw.write64(F.GUEST_IA32_PAT, vcpu.arch.pat);
  hw.write64(F.TSC_OFFSET, vcpu.arch.tsc_offset);

  hw.write64(F.HOST_CR0, host.cr0);
  hw.write64(F.HOST_CR3, 0n);
  hw.write64(F.HOST_CR4, host.cr4);
  hw.write64(F.HOST_IA32_EFER, host.efer);
  hw.write64(F.HOST_IA32_PAT, host.pat);
  hw.write32(F.HOST_CS_SELECTOR, host.cs);
  hw.write32(F.HOST_SS_SELECTOR, host.ss);
  hw.write32(F.HOST_TR_SELECTOR, host.tr);
  for (const field of [F.HOST_DS_SELECTOR, F.HOST_ES_SELECTOR, F.HOST_FS_SELECTOR, F.HOST_GS_SELECTOR]) hw.write32(field, 0);
  for (const field of [F.HOST_FS_BASE, F.HOST_GS_BASE, F.HOST_TR_BASE, F.HOST_GDTR_BASE, F.HOST_IDTR_BASE, F.HOST_IA32_SYSENTER_ESP, F.HOST_IA32_SYSENTER_EIP, F.HOST_RSP, F.HOST_RIP]) hw.write64(field, 0n);
  hw.write32(F.HOST_IA32_SYSENTER_CS, 0);
  vmx_set_guest_owned_bits(vcpu);
}

/** The primary controls this vCPU wants while it waits for no window. */
export function exec_control(vcpu: kvm_vcpu): number {
  const { arch } = vcpu.kvm;
  let control = CPU_BASED;
  const { enable_ept, enable_unrestricted_guest } = vmx_capabilities();
  if (!enable_ept) control |= C.CPU_BASED_INVLPG_EXITING;
  if (!enable_ept || !enable_unrestricted_guest) control |= C.CPU_BASED_CR3_LOAD_EXITING | C.CPU_BASED_CR3_STORE_EXITING;
  if (arch.hlt_in_guest) control &= ~C.CPU_BASED_HLT_EXITING;
  if (arch.mwait_in_guest) control &= ~(C.CPU_BASED_MWAIT_EXITING | C.CPU_BASED_MONITOR_EXITING);
  return lapic_in_kernel(vcpu) ? control : control | C.CPU_BASED_CR8_LOAD_EXITING | C.CPU_BASED_CR8_STORE_EXITING;
}

/** RESET, or INIT: SDM Vol. 3, table 10-1. */
export function vmx_vcpu_reset(vcpu: kvm_vcpu, init_event: boolean): void {
  const { hw } = vcpu.vmx;
  vcpu.vmx.rmode.vm86_active = false;
  if (!init_event) init_vmcs(vcpu);
  const segments = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'] as const;
  segments.forEach((name, i) => {
    hw.write32(F.GUEST_ES_SELECTOR + 2 * i, name === 'CS' ? 0xf000 : 0);
    hw.write64(F.GUEST_ES_BASE + 2 * i, name === 'CS' ? 0xffff_0000n : 0n);
    hw.write32(F.GUEST_ES_LIMIT + 2 * i, 0xffff);
    hw.write32(F.GUEST_ES_AR_BYTES + 2 * i, name === 'CS' ? 0x9b : 0x93);
  });
  for (const [selector, base, limit, ar, value] of [
    [F.GUEST_LDTR_SELECTOR, F.GUEST_LDTR_BASE, F.GUEST_LDTR_LIMIT, F.GUEST_LDTR_AR_BYTES, 0x82],
    [F.GUEST_TR_SELECTOR, F.GUEST_TR_BASE, F.GUEST_TR_LIMIT, F.GUEST_TR_AR_BYTES, 0x8b],
  ] as const) {
    hw.write32(selector, 0);
    hw.write64(base, 0n);
    hw.write32(limit, 0xffff);
    hw.write32(ar, value);
  }
  for (const which of ['gdt', 'idt'] as const) kvm_x86.set_dt(vcpu, which, 0n, 0xffff);
  hw.write32(F.GUEST_SYSENTER_CS, 0);
  hw.write64(F.GUEST_SYSENTER_ESP, 0n);
  hw.write64(F.GUEST_SYSENTER_EIP, 0n);
  hw.write64(F.GUEST_IA32_DEBUGCTL, 0n);
  hw.write32(F.GUEST_ACTIVITY_STATE, 0);
  hw.write32(F.GUEST_INTERRUPTIBILITY_INFO, 0);
  hw.write64(F.GUEST_PENDING_DBG_EXCEPTIONS, 0n);
  hw.write64(F.GUEST_RSP, 0n);
  hw.write64(F.GUEST_CR3, 0n);
  hw.write64(F.GUEST_DR7, 0x400n);
  hw.write32(F.VM_ENTRY_INTR_INFO_FIELD, 0);
  kvm_x86.update_exception_bitmap(vcpu);
}
