/**
 * Why KVM_RUN returned: exit_reason of kvm_run, and the names traces print.
 * The numbers are one space for all architectures, so every one has its name here.
 * Linux: include/uapi/linux/kvm.h, include/trace/events/kvm.h
 */

import * as self from './exits.ts';

export const KVM_EXIT_UNKNOWN         = 0;
export const KVM_EXIT_EXCEPTION       = 1;
export const KVM_EXIT_IO              = 2;
export const KVM_EXIT_HYPERCALL       = 3;
export const KVM_EXIT_DEBUG           = 4;
export const KVM_EXIT_HLT             = 5;
export const KVM_EXIT_MMIO            = 6;
export const KVM_EXIT_IRQ_WINDOW_OPEN = 7;
export const KVM_EXIT_SHUTDOWN        = 8;
export const KVM_EXIT_FAIL_ENTRY      = 9;
export const KVM_EXIT_INTR            = 10;
export const KVM_EXIT_SET_TPR         = 11;
export const KVM_EXIT_TPR_ACCESS      = 12;
export const KVM_EXIT_S390_SIEIC      = 13;
export const KVM_EXIT_S390_RESET      = 14;
export const KVM_EXIT_DCR             = 15;
export const KVM_EXIT_NMI             = 16;
export const KVM_EXIT_INTERNAL_ERROR  = 17;
export const KVM_EXIT_OSI             = 18;
export const KVM_EXIT_PAPR_HCALL      = 19;
export const KVM_EXIT_S390_UCONTROL   = 20;
export const KVM_EXIT_WATCHDOG        = 21;
export const KVM_EXIT_S390_TSCH       = 22;
export const KVM_EXIT_EPR             = 23;
export const KVM_EXIT_SYSTEM_EVENT    = 24;
export const KVM_EXIT_S390_STSI       = 25;
export const KVM_EXIT_IOAPIC_EOI      = 26;
export const KVM_EXIT_HYPERV          = 27;
export const KVM_EXIT_ARM_NISV        = 28;
export const KVM_EXIT_X86_RDMSR       = 29;
export const KVM_EXIT_X86_WRMSR       = 30;
export const KVM_EXIT_DIRTY_RING_FULL = 31;
export const KVM_EXIT_AP_RESET_HOLD   = 32;
export const KVM_EXIT_X86_BUS_LOCK    = 33;
export const KVM_EXIT_XEN             = 34;
export const KVM_EXIT_RISCV_SBI       = 35;
export const KVM_EXIT_RISCV_CSR       = 36;
export const KVM_EXIT_NOTIFY          = 37;
export const KVM_EXIT_LOONGARCH_IOCSR = 38;
export const KVM_EXIT_MEMORY_FAULT    = 39;

const byNumber = new Map<number, string>();

/** 'KVM_EXIT_HLT' of 5. A number that no kernel gives is printed as it is. */
export function exitReasonName(reason: number): string {
  if (byNumber.size === 0) {
    for (const [name, value] of Object.entries(self)) if (typeof value === 'number') byNumber.set(value, name);
  }
  return byNumber.get(reason) ?? String(reason);
}
