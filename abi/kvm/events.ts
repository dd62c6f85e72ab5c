/**
 * Events of a vCPU: pending exceptions, interrupts, NMIs and SMIs; run state, signal mask, machine checks.
 * Linux: arch/x86/include/uapi/asm/kvm.h, include/uapi/linux/kvm.h
 */
import { type Of, array, flex, struct, u32, u64, u8 } from '../struct.ts';

// Flags of kvm_vcpu_events: which optional members count
export const KVM_VCPUEVENT_VALID_NMI_PENDING  = 1;
export const KVM_VCPUEVENT_VALID_SIPI_VECTOR  = 2;
export const KVM_VCPUEVENT_VALID_SHADOW       = 4;
export const KVM_VCPUEVENT_VALID_SMM          = 0x8;
export const KVM_VCPUEVENT_VALID_PAYLOAD      = 0x10;
export const KVM_VCPUEVENT_VALID_TRIPLE_FAULT = 0x20;

// interrupt.shadow
export const KVM_X86_SHADOW_INT_MOV_SS = 1;
export const KVM_X86_SHADOW_INT_STI    = 2;

export const kvm_vcpu_events = struct('kvm_vcpu_events', {
  exception: struct('kvm_vcpu_events.exception', { injected: u8, nr: u8, has_error_code: u8, pending: u8, error_code: u32 }),
  interrupt: struct('kvm_vcpu_events.interrupt', { injected: u8, nr: u8, soft: u8, shadow: u8 }),
  nmi: struct('kvm_vcpu_events.nmi', { injected: u8, pending: u8, masked: u8, pad: u8 }),
  sipi_vector: u32, flags: u32,
  smi: struct('kvm_vcpu_events.smi', { smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8 }),
  triple_fault: struct('kvm_vcpu_events.triple_fault', { pending: u8 }),
  reserved: array(u8, 26), exception_has_payload: u8, exception_payload: u64,
});
export type kvm_vcpu_events = Of<typeof kvm_vcpu_events>;

// mp_state: what a vCPU waits for
export const KVM_MP_STATE_RUNNABLE      = 0;
export const KVM_MP_STATE_UNINITIALIZED = 1;
export const KVM_MP_STATE_INIT_RECEIVED = 2;
export const KVM_MP_STATE_HALTED        = 3;
export const KVM_MP_STATE_SIPI_RECEIVED = 4;
export const KVM_MP_STATE_STOPPED       = 5;
export const KVM_MP_STATE_CHECK_STOP    = 6;
export const KVM_MP_STATE_OPERATING     = 7;
export const KVM_MP_STATE_LOAD          = 8;
export const KVM_MP_STATE_AP_RESET_HOLD = 9;
export const KVM_MP_STATE_SUSPENDED     = 10;

export const kvm_mp_state = struct('kvm_mp_state', { mp_state: u32 });
export type kvm_mp_state = Of<typeof kvm_mp_state>;

/** KVM_INTERRUPT: the vector, with the PIC in user space. */
export const kvm_interrupt = struct('kvm_interrupt', { irq: u32 });
export type kvm_interrupt = Of<typeof kvm_interrupt>;

/** KVM_SET_SIGNAL_MASK: len must be 8. */
export const kvm_signal_mask = struct('kvm_signal_mask', { len: u32, sigset: flex(u8) });
export type kvm_signal_mask = Of<typeof kvm_signal_mask>;

export const kvm_tpr_access_ctl = struct('kvm_tpr_access_ctl', { enabled: u32, flags: u32, reserved: array(u32, 8) });
export type kvm_tpr_access_ctl = Of<typeof kvm_tpr_access_ctl>;

export const kvm_vapic_addr = struct('kvm_vapic_addr', { vapic_addr: u64 });
export type kvm_vapic_addr = Of<typeof kvm_vapic_addr>;

export const kvm_x86_mce = struct('kvm_x86_mce', { status: u64, addr: u64, misc: u64, mcg_status: u64, bank: u8, pad1: array(u8, 7), pad2: array(u64, 3) });
export type kvm_x86_mce = Of<typeof kvm_x86_mce>;

// Exception vectors. Linux: arch/x86/include/uapi/asm/kvm.h
export const DE_VECTOR = 0;
export const DB_VECTOR = 1;
export const BP_VECTOR = 3;
export const OF_VECTOR = 4;
export const BR_VECTOR = 5;
export const UD_VECTOR = 6;
export const NM_VECTOR = 7;
export const DF_VECTOR = 8;
export const TS_VECTOR = 10;
export const NP_VECTOR = 11;
export const SS_VECTOR = 12;
export const GP_VECTOR = 13;
export const PF_VECTOR = 14;
export const MF_VECTOR = 16;
export const AC_VECTOR = 17;
export const MC_VECTOR = 18;
export const XM_VECTOR = 19;
export const VE_VECTOR = 20;
