/**
 * Debugging a guest: break points, single step.
 * Linux: include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h
 */
import { type Of, array, struct, u32, u64 } from '../struct.ts';

// control of kvm_guest_debug
export const KVM_GUESTDBG_ENABLE     = 1;
export const KVM_GUESTDBG_SINGLESTEP = 2;
export const KVM_GUESTDBG_USE_SW_BP  = 0x10000;
export const KVM_GUESTDBG_USE_HW_BP  = 0x20000;
export const KVM_GUESTDBG_INJECT_DB  = 0x40000;
export const KVM_GUESTDBG_INJECT_BP  = 0x80000;
export const KVM_GUESTDBG_BLOCKIRQ   = 0x100000;

export const kvm_guest_debug_arch = struct('kvm_guest_debug_arch', { debugreg: array(u64, 8) });
export type kvm_guest_debug_arch = Of<typeof kvm_guest_debug_arch>;

export const kvm_guest_debug = struct('kvm_guest_debug', { control: u32, pad: u32, arch: kvm_guest_debug_arch });
export type kvm_guest_debug = Of<typeof kvm_guest_debug>;
