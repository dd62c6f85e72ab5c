/**
 * What a guest that knows KVM finds: CPUID leaves, MSRs, hypercalls, and the structs it shares with the host.
 * Linux: include/uapi/linux/kvm_para.h, arch/x86/include/uapi/asm/kvm_para.h, asm/pvclock-abi.h
 */
import { type Of, array, s64, s8, struct, u32, u64, u8 } from '../struct.ts';

// CPUID leaves; the signature leaf answers KVMKVMKVM in EBX, ECX, EDX
export const KVM_CPUID_SIGNATURE = 0x40000000;
export const KVM_CPUID_FEATURES  = 0x40000001;

export const KVM_SIGNATURE = 'KVMKVMKVM\0\0\0';

// Bits of EAX of the features leaf
export const KVM_FEATURE_CLOCKSOURCE            = 0;
export const KVM_FEATURE_NOP_IO_DELAY           = 1;
export const KVM_FEATURE_MMU_OP                 = 2;
export const KVM_FEATURE_CLOCKSOURCE2           = 3;
export const KVM_FEATURE_ASYNC_PF               = 4;
export const KVM_FEATURE_STEAL_TIME             = 5;
export const KVM_FEATURE_PV_EOI                 = 6;
export const KVM_FEATURE_PV_UNHALT              = 7;
export const KVM_FEATURE_PV_TLB_FLUSH           = 9;
export const KVM_FEATURE_ASYNC_PF_VMEXIT        = 10;
export const KVM_FEATURE_PV_SEND_IPI            = 11;
export const KVM_FEATURE_POLL_CONTROL           = 12;
export const KVM_FEATURE_PV_SCHED_YIELD         = 13;
export const KVM_FEATURE_ASYNC_PF_INT           = 14;
export const KVM_FEATURE_MSI_EXT_DEST_ID        = 15;
export const KVM_FEATURE_HC_MAP_GPA_RANGE       = 16;
export const KVM_FEATURE_MIGRATION_CONTROL      = 17;
export const KVM_FEATURE_CLOCKSOURCE_STABLE_BIT = 24;

// Bit of EDX
export const KVM_HINTS_REALTIME = 0;

// MSRs
export const MSR_KVM_WALL_CLOCK        = 0x11;
export const MSR_KVM_SYSTEM_TIME       = 0x12;
export const MSR_KVM_WALL_CLOCK_NEW    = 0x4b564d00;
export const MSR_KVM_SYSTEM_TIME_NEW   = 0x4b564d01;
export const MSR_KVM_ASYNC_PF_EN       = 0x4b564d02;
export const MSR_KVM_STEAL_TIME        = 0x4b564d03;
export const MSR_KVM_PV_EOI_EN         = 0x4b564d04;
export const MSR_KVM_POLL_CONTROL      = 0x4b564d05;
export const MSR_KVM_ASYNC_PF_INT      = 0x4b564d06;
export const MSR_KVM_ASYNC_PF_ACK      = 0x4b564d07;
export const MSR_KVM_MIGRATION_CONTROL = 0x4b564d08;

// Hypercalls, by number in EAX
export const KVM_HC_VAPIC_POLL_IRQ = 1;
export const KVM_HC_MMU_OP         = 2;
export const KVM_HC_FEATURES       = 3;
export const KVM_HC_KICK_CPU       = 5;
export const KVM_HC_CLOCK_PAIRING  = 9;
export const KVM_HC_SEND_IPI       = 10;
export const KVM_HC_SCHED_YIELD    = 11;
export const KVM_HC_MAP_GPA_RANGE  = 12;

// What a hypercall returns, negated
export const KVM_EOPNOTSUPP = 95;
export const KVM_ENOSYS     = 1000;
export const KVM_EFAULT     = 14;
export const KVM_EINVAL     = 22;
export const KVM_E2BIG      = 7;
export const KVM_EPERM      = 1;

// Flags of KVM_HC_MAP_GPA_RANGE
export const KVM_MAP_GPA_RANGE_DECRYPTED  = 0;
export const KVM_MAP_GPA_RANGE_PAGE_SZ_4K = 0;
export const KVM_MAP_GPA_RANGE_PAGE_SZ_2M = 1;
export const KVM_MAP_GPA_RANGE_PAGE_SZ_1G = 2;
export const KVM_MAP_GPA_RANGE_ENCRYPTED  = 0x10;

// Steal time
export const KVM_STEAL_ALIGNMENT_BITS = 5;
export const KVM_STEAL_RESERVED_MASK  = 62;

export const KVM_STEAL_VALID_BITS = 0xffffffffffffffc0n;

export const kvm_steal_time = struct('kvm_steal_time', { steal: u64, version: u32, flags: u32, preempted: u8, u8_pad: array(u8, 3), pad: array(u32, 11) });
export type kvm_steal_time = Of<typeof kvm_steal_time>;

// preempted of kvm_steal_time
export const KVM_VCPU_PREEMPTED = 1;
export const KVM_VCPU_FLUSH_TLB = 2;

// Asynchronous page faults
export const KVM_ASYNC_PF_ENABLED               = 1;
export const KVM_PV_REASON_PAGE_NOT_PRESENT     = 1;
export const KVM_ASYNC_PF_SEND_ALWAYS           = 2;
export const KVM_PV_REASON_PAGE_READY           = 2;
export const KVM_ASYNC_PF_DELIVERY_AS_PF_VMEXIT = 4;
export const KVM_ASYNC_PF_DELIVERY_AS_INT       = 8;

export const kvm_vcpu_pv_apf_data = struct('kvm_vcpu_pv_apf_data', { flags: u32, token: u32, pad: array(u8, 56) });
export type kvm_vcpu_pv_apf_data = Of<typeof kvm_vcpu_pv_apf_data>;

// Paravirtual EOI
export const KVM_PV_EOI_BIT      = 0;
export const KVM_PV_EOI_DISABLED = 0;
export const KVM_PV_EOI_ENABLED  = 1;
export const KVM_PV_EOI_MASK     = 1;

// Values of MSRs: kvmclock, migration control; kind of clock pairing
export const KVM_CLOCK_PAIRING_WALLCLOCK = 0;
export const KVM_MIGRATION_READY         = 1;
export const KVM_MSR_ENABLED             = 1;

export const kvm_clock_pairing = struct('kvm_clock_pairing', { sec: s64, nsec: s64, tsc: u64, flags: u32, pad: array(u32, 9) });
export type kvm_clock_pairing = Of<typeof kvm_clock_pairing>;

/** kvmclock: the guest computes nanoseconds from the TSC with these. An odd version means that it is being written. */
export const pvclock_vcpu_time_info = struct('pvclock_vcpu_time_info', {
  version: u32, pad0: u32, tsc_timestamp: u64, system_time: u64, tsc_to_system_mul: u32, tsc_shift: s8, flags: u8, pad: array(u8, 2),
});
export type pvclock_vcpu_time_info = Of<typeof pvclock_vcpu_time_info>;

export const pvclock_wall_clock = struct('pvclock_wall_clock', { version: u32, sec: u32, nsec: u32 });
export type pvclock_wall_clock = Of<typeof pvclock_wall_clock>;

// The paravirtual MMU, gone from Linux but for its declarations
export const KVM_MMU_OP_WRITE_PTE  = 1;
export const KVM_MMU_OP_FLUSH_TLB  = 2;
export const KVM_MMU_OP_RELEASE_PT = 3;
export const KVM_MAX_MMU_OP_BATCH  = 32;

export const kvm_mmu_op_header = struct('kvm_mmu_op_header', { op: u32, pad: u32 });
export type kvm_mmu_op_header = Of<typeof kvm_mmu_op_header>;

export const kvm_mmu_op_write_pte = struct('kvm_mmu_op_write_pte', { header: kvm_mmu_op_header, pte_phys: u64, pte_val: u64 });
export type kvm_mmu_op_write_pte = Of<typeof kvm_mmu_op_write_pte>;

export const kvm_mmu_op_flush_tlb = struct('kvm_mmu_op_flush_tlb', { header: kvm_mmu_op_header });
export type kvm_mmu_op_flush_tlb = Of<typeof kvm_mmu_op_flush_tlb>;

export const kvm_mmu_op_release_pt = struct('kvm_mmu_op_release_pt', { header: kvm_mmu_op_header, pt_phys: u64 });
export type kvm_mmu_op_release_pt = Of<typeof kvm_mmu_op_release_pt>;
