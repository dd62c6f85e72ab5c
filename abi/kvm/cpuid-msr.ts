/**
 * CPUID tables and model-specific registers.
 * Linux: arch/x86/include/uapi/asm/kvm.h
 */
import { type Of, array, flex, struct, u32, u64 } from '../struct.ts';

export const kvm_cpuid_entry = struct('kvm_cpuid_entry', { function: u32, eax: u32, ebx: u32, ecx: u32, edx: u32, padding: u32 });
export type kvm_cpuid_entry = Of<typeof kvm_cpuid_entry>;

export const kvm_cpuid = struct('kvm_cpuid', { nent: u32, padding: u32, entries: flex(kvm_cpuid_entry) });
export type kvm_cpuid = Of<typeof kvm_cpuid>;

// Flags of kvm_cpuid_entry2; the first means that ECX counts. Spelled as Linux spells it
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;
export const KVM_CPUID_FLAG_STATEFUL_FUNC    = 2;
export const KVM_CPUID_FLAG_STATE_READ_NEXT  = 4;

export const kvm_cpuid_entry2 = struct('kvm_cpuid_entry2', { function: u32, index: u32, flags: u32, eax: u32, ebx: u32, ecx: u32, edx: u32, padding: array(u32, 3) });
export type kvm_cpuid_entry2 = Of<typeof kvm_cpuid_entry2>;

export const kvm_cpuid2 = struct('kvm_cpuid2', { nent: u32, padding: u32, entries: flex(kvm_cpuid_entry2) });
export type kvm_cpuid2 = Of<typeof kvm_cpuid2>;

export const kvm_msr_entry = struct('kvm_msr_entry', { index: u32, reserved: u32, data: u64 });
export type kvm_msr_entry = Of<typeof kvm_msr_entry>;

export const kvm_msrs = struct('kvm_msrs', { nmsrs: u32, pad: u32, entries: flex(kvm_msr_entry) });
export type kvm_msrs = Of<typeof kvm_msrs>;

export const kvm_msr_list = struct('kvm_msr_list', { nmsrs: u32, indices: flex(u32) });
export type kvm_msr_list = Of<typeof kvm_msr_list>;

// MSR filters: which accesses of the guest leave to user space or fault
export const KVM_MSR_FILTER_DEFAULT_ALLOW    = 0;
export const KVM_MSR_FILTER_DEFAULT_DENY     = 1;
export const KVM_MSR_FILTER_READ             = 1;
export const KVM_MSR_FILTER_VALID_MASK       = 1;
export const KVM_MSR_FILTER_WRITE            = 2;
export const KVM_MSR_FILTER_RANGE_VALID_MASK = 3;
export const KVM_MSR_FILTER_MAX_RANGES       = 0x10;
export const KVM_MSR_FILTER_MAX_BITMAP_SIZE  = 0x600;

export const kvm_msr_filter_range = struct('kvm_msr_filter_range', { flags: u32, nmsrs: u32, base: u32, bitmap: u64 });
export type kvm_msr_filter_range = Of<typeof kvm_msr_filter_range>;

export const kvm_msr_filter = struct('kvm_msr_filter', { flags: u32, ranges: array(kvm_msr_filter_range, KVM_MSR_FILTER_MAX_RANGES) });
export type kvm_msr_filter = Of<typeof kvm_msr_filter>;

// Performance counters the guest may use
export const KVM_PMU_EVENT_ALLOW              = 0;
export const KVM_PMU_CAP_DISABLE              = 1;
export const KVM_PMU_EVENT_DENY               = 1;
export const KVM_PMU_EVENT_FLAGS_VALID_MASK   = 1;
export const KVM_PMU_EVENT_FLAG_MASKED_EVENTS = 1;

export const KVM_PMU_MASKED_ENTRY_UMASK_MASK_SHIFT = 56;

export const KVM_PMU_MASKED_ENTRY_EXCLUDE = 0x80000000000000n;

export const kvm_pmu_event_filter = struct('kvm_pmu_event_filter', { action: u32, nevents: u32, fixed_counter_bitmap: u32, flags: u32, pad: array(u32, 4), events: flex(u64) });
export type kvm_pmu_event_filter = Of<typeof kvm_pmu_event_filter>;
