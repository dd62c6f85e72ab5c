/**
 * KVM_CHECK_EXTENSION and KVM_ENABLE_CAP: what this KVM can do, and switching on what must be asked for.
 *
 * Linux: arch/x86/kvm/x86.c, virt/kvm/kvm_main.c; Documentation/virt/kvm/api.rst 4.4, 7, 8
 *
 * A row says only what is true here. A capability without a row answers 0, as that of a kernel without it.
 */
import { EINVAL, ENXIO } from '../abi/errno.ts';
import * as K from '../abi/kvm/index.ts';
import { KVM_DIRTY_RING_MAX_BYTES, kvm_vm_ioctl_enable_dirty_log_ring } from './dirty_ring.ts';
import { KVM_MAX_NR_ADDRESS_SPACES, KVM_MAX_VCPUS, KVM_MAX_VCPU_IDS, KVM_USER_MEM_SLOTS, type kvm, type kvm_vcpu, type kvm_x86_ops, kvm_x86 } from './kvm_host.ts';
import { kvm_update_pv_runtime } from './pv-cpuid.ts';
import { KVM_EXIT_HYPERCALL_VALID_MASK } from './hypercall.ts';
import { KVM_MAX_IRQ_ROUTES, kvm_setup_split_irqchip } from './irqchip.ts';

export const KVM_X86_VALID_QUIRKS = 0x7f;
const SYNC_FIELDS = K.KVM_SYNC_X86_VALID_FIELDS;
const GUESTDBG_VALID = 0x1f0003;
/** PAUSE never exits, for lack of pause-loop exiting, and the processor has no residency counters of C-states: those two are kept as wishes. */
const DISABLE_EXITS = K.KVM_X86_DISABLE_EXITS_HLT | K.KVM_X86_DISABLE_EXITS_MWAIT | K.KVM_X86_DISABLE_EXITS_PAUSE | K.KVM_X86_DISABLE_EXITS_CSTATE;

const capabilities: Readonly<Record<number, number>> = {
  [K.KVM_CAP_HLT]:                          1,
  [K.KVM_CAP_MMU_SHADOW_CACHE_CONTROL]:     1,
  [K.KVM_CAP_USER_MEMORY]:                  1,
  [K.KVM_CAP_SET_TSS_ADDR]:                 1,
  [K.KVM_CAP_EXT_CPUID]:                    1,
  [K.KVM_CAP_NR_VCPUS]:                     16,
  [K.KVM_CAP_NR_MEMSLOTS]:                  KVM_USER_MEM_SLOTS,
  [K.KVM_CAP_NOP_IO_DELAY]:                 1,
  [K.KVM_CAP_MP_STATE]:                     1,
  [K.KVM_CAP_COALESCED_MMIO]:               K.KVM_COALESCED_MMIO_PAGE_OFFSET,
  [K.KVM_CAP_SYNC_MMU]:                     1,
  [K.KVM_CAP_DESTROY_MEMORY_REGION_WORKS]:  1,
  [K.KVM_CAP_USER_NMI]:                     1,
  [K.KVM_CAP_SET_GUEST_DEBUG]:              1,
  [K.KVM_CAP_JOIN_MEMORY_REGIONS_WORKS]:    1,
  [K.KVM_CAP_MCE]:                          32,
  [K.KVM_CAP_SET_BOOT_CPU_ID]:              1,
  [K.KVM_CAP_IOEVENTFD]:                    1,
  [K.KVM_CAP_SET_IDENTITY_MAP_ADDR]:        1,
  [K.KVM_CAP_INTERNAL_ERROR_DATA]:          1,
  [K.KVM_CAP_VCPU_EVENTS]:                  1,
  [K.KVM_CAP_INTR_SHADOW]:                  1,
  [K.KVM_CAP_DEBUGREGS]:                    1,
  [K.KVM_CAP_X86_ROBUST_SINGLESTEP]:        1,
  [K.KVM_CAP_ENABLE_CAP]:                   1,
  [K.KVM_CAP_XSAVE]:                        1,
  [K.KVM_CAP_XCRS]:                         1,
  [K.KVM_CAP_GET_TSC_KHZ]:                  1,
  [K.KVM_CAP_MAX_VCPUS]:                    KVM_MAX_VCPUS,
  [K.KVM_CAP_SYNC_REGS]:                    SYNC_FIELDS,
  [K.KVM_CAP_READONLY_MEM]:                 1,
  [K.KVM_CAP_EXT_EMUL_CPUID]:               1,
  [K.KVM_CAP_ENABLE_CAP_VM]:                1,
  [K.KVM_CAP_IOEVENTFD_NO_LENGTH]:          1,
  [K.KVM_CAP_CHECK_EXTENSION_VM]:           1,
  [K.KVM_CAP_DISABLE_QUIRKS]:               1,
  [K.KVM_CAP_IOEVENTFD_ANY_LENGTH]:         1,
  [K.KVM_CAP_VCPU_ATTRIBUTES]:              1,
  [K.KVM_CAP_MAX_VCPU_ID]:                  KVM_MAX_VCPU_IDS,
  [K.KVM_CAP_IMMEDIATE_EXIT]:               1,
  [K.KVM_CAP_GET_MSR_FEATURES]:             1,
  [K.KVM_CAP_MSR_PLATFORM_INFO]:            1,
  [K.KVM_CAP_COALESCED_PIO]:                1,
  [K.KVM_CAP_EXCEPTION_PAYLOAD]:            1,
  [K.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2]:    K.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | K.KVM_DIRTY_LOG_INITIALLY_SET,
  [K.KVM_CAP_X86_USER_SPACE_MSR]:           1,
  [K.KVM_CAP_X86_MSR_FILTER]:               1,
  [K.KVM_CAP_ENFORCE_PV_FEATURE_CPUID]:     1,
  [K.KVM_CAP_SET_GUEST_DEBUG2]:             GUESTDBG_VALID,
  [K.KVM_CAP_SREGS2]:                       1,
  [K.KVM_CAP_EXIT_ON_EMULATION_FAILURE]:    1,
  [K.KVM_CAP_VM_GPA_BITS]:                  0,
  [K.KVM_CAP_XSAVE2]:                       4096,
  [K.KVM_CAP_SYS_ATTRIBUTES]:               1,
  [K.KVM_CAP_DISABLE_QUIRKS2]:              KVM_X86_VALID_QUIRKS,
  [K.KVM_CAP_X86_TRIPLE_FAULT_EVENT]:       1,
  [K.KVM_CAP_X86_DISABLE_EXITS]:            DISABLE_EXITS,
  [K.KVM_CAP_VM_TYPES]:                     1,
  [K.KVM_CAP_USER_MEMORY2]:                 1,
  [K.KVM_CAP_PRE_FAULT_MEMORY]:             1,
  [K.KVM_CAP_DIRTY_LOG_RING]:               KVM_DIRTY_RING_MAX_BYTES,
  [K.KVM_CAP_DIRTY_LOG_RING_ACQ_REL]:       KVM_DIRTY_RING_MAX_BYTES,
  [K.KVM_CAP_ADJUST_CLOCK]:                 K.KVM_CLOCK_TSC_STABLE | K.KVM_CLOCK_REALTIME | K.KVM_CLOCK_HOST_TSC,
  [K.KVM_CAP_CLOCKSOURCE]:                  1,
  [K.KVM_CAP_KVMCLOCK_CTRL]:                1,
  [K.KVM_CAP_HALT_POLL]:                    1,
  [K.KVM_CAP_REINJECT_CONTROL]:             1,
  [K.KVM_CAP_VAPIC]:                        1,
  [K.KVM_CAP_IOAPIC_POLARITY_IGNORED]:      1,
  [K.KVM_CAP_X86_APIC_BUS_CYCLES_NS]:       1,
  [K.KVM_CAP_LAST_CPU]:                     1,
  [K.KVM_CAP_ASYNC_PF]:                     1,
  [K.KVM_CAP_ASYNC_PF_INT]:                 1,
  [K.KVM_CAP_STEAL_TIME]:                   1,
  [K.KVM_CAP_EXIT_HYPERCALL]:               KVM_EXIT_HYPERCALL_VALID_MASK,
  [K.KVM_CAP_BINARY_STATS_FD]:              1,
  [K.KVM_CAP_IRQCHIP]:                      1,
  [K.KVM_CAP_PIT]:                          1,
  [K.KVM_CAP_PIT2]:                         1,
  [K.KVM_CAP_PIT_STATE2]:                   1,
  [K.KVM_CAP_IRQ_ROUTING]:                  KVM_MAX_IRQ_ROUTES,
  [K.KVM_CAP_IRQ_INJECT_STATUS]:            1,
  [K.KVM_CAP_IRQFD]:                        1,
  [K.KVM_CAP_IRQFD_RESAMPLE]:               1,
  [K.KVM_CAP_SIGNAL_MSI]:                   1,
  [K.KVM_CAP_X86_SMM]:                      1,
  [K.KVM_CAP_MULTI_ADDRESS_SPACE]:          KVM_MAX_NR_ADDRESS_SPACES,
  [K.KVM_CAP_SPLIT_IRQCHIP]:                1,
  [K.KVM_CAP_TSC_DEADLINE_TIMER]:           1,
  [K.KVM_CAP_X2APIC_API]:                   K.KVM_X2APIC_API_USE_32BIT_IDS | K.KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
};

/** Rows that promise more than there is: what is missing. docs/abi.md shows it. */
export const partial_caps: Readonly<Record<number, string>> = {
  [K.KVM_CAP_NR_VCPUS]:                 '16, however many processors there are',
  [K.KVM_CAP_MCE]:                      'no local machine checks',
  [K.KVM_CAP_DISABLE_QUIRKS]:           'CD_NW_CLEARED is stored only: memory types change nothing here',
  [K.KVM_CAP_DISABLE_QUIRKS2]:          'CD_NW_CLEARED is stored only: memory types change nothing here',
  [K.KVM_CAP_USER_MEMORY2]:             'without KVM_MEM_GUEST_MEMFD',
  [K.KVM_CAP_IRQ_ROUTING]:              'chips and MSI; a Hyper-V SINT leads nowhere',
};

/** Claimed only where the processor has the second dimension of translation. */
const needs_tdp = [K.KVM_CAP_PRE_FAULT_MEMORY];

export function kvm_vm_ioctl_check_extension(cap: bigint): number {
  if (cap >= 0x1_0000n) return 0;
  const n = Number(cap);
  // Without a vendor module nobody asks but whoever prints the table.
  return needs_tdp.includes(n) && (kvm_x86 as kvm_x86_ops | undefined)?.tdp_enabled() === false ? 0 : capabilities[n] ?? 0;
}

type Enable = (kvm: kvm, args: readonly bigint[]) => number;
/** A flag word of which only `valid` bits exist. */
const bits = (valid: bigint, apply: (kvm: kvm, value: bigint) => void): Enable => (kvm, [value = 0n]) => {
  if ((value & ~valid) !== 0n) return -EINVAL;
  apply(kvm, value);
  return 0;
};

const enable: Readonly<Record<number, Enable>> = {
  [K.KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2]: (kvm, [value = 0n]) => {
    // "Initially set" means nothing without the rest.
    const allowed = (value & BigInt(K.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)) !== 0n ? 3n : BigInt(K.KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
    if ((value & ~allowed) !== 0n) return -EINVAL;
    kvm.manual_dirty_log_protect = value;
    return 0;
  },
  [K.KVM_CAP_DIRTY_LOG_RING]:         (kvm, [bytes = 0n]) => kvm_vm_ioctl_enable_dirty_log_ring(kvm, bytes),
  [K.KVM_CAP_DIRTY_LOG_RING_ACQ_REL]: (kvm, [bytes = 0n]) => kvm_vm_ioctl_enable_dirty_log_ring(kvm, bytes),
  [K.KVM_CAP_HALT_POLL]: (kvm, [value = 0n]) => {
    kvm.max_halt_poll_ns = Number(value & 0xffff_ffffn);
    kvm.override_halt_poll_ns = true;
    return 0;
  },
  [K.KVM_CAP_DISABLE_QUIRKS2]: bits(BigInt(KVM_X86_VALID_QUIRKS), (kvm, v) => { kvm.arch.disabled_quirks = v; }),
  [K.KVM_CAP_DISABLE_QUIRKS]: (kvm, [value = 0n]) => { kvm.arch.disabled_quirks = value; return 0; },
  [K.KVM_CAP_X86_APIC_BUS_CYCLES_NS]: (kvm, [ns = 0n]) => {
    // The longest count, divided by 128, must fit 64 bits.
    if (ns === 0n || ns * 0xffff_ffffn * 128n >= 1n << 64n) return -EINVAL;
    if (kvm.arch.irqchip === undefined) return -ENXIO;
    if (kvm.created_vcpus > 0) return -EINVAL;
    kvm.arch.apic_bus_cycle_ns = Number(ns);
    return 0;
  },
  [K.KVM_CAP_SPLIT_IRQCHIP]: (kvm, [pins = 0n]) => kvm_setup_split_irqchip(kvm, pins),
  [K.KVM_CAP_X2APIC_API]: bits(3n, (kvm, v) => {
    kvm.arch.x2apic_format ||= (v & 1n) !== 0n;
    kvm.arch.x2apic_broadcast_quirk_disabled ||= (v & 2n) !== 0n;
  }),
  [K.KVM_CAP_X86_DISABLE_EXITS]: (kvm, [value = 0n]) => {
    if ((value & ~BigInt(DISABLE_EXITS)) !== 0n || kvm.created_vcpus > 0) return -EINVAL;
    kvm.arch.hlt_in_guest ||= (value & BigInt(K.KVM_X86_DISABLE_EXITS_HLT)) !== 0n;
    kvm.arch.mwait_in_guest ||= (value & BigInt(K.KVM_X86_DISABLE_EXITS_MWAIT)) !== 0n;
    kvm.arch.pause_in_guest ||= (value & BigInt(K.KVM_X86_DISABLE_EXITS_PAUSE)) !== 0n;
    kvm.arch.cstate_in_guest ||= (value & BigInt(K.KVM_X86_DISABLE_EXITS_CSTATE)) !== 0n;
    return 0;
  },
  [K.KVM_CAP_EXIT_HYPERCALL]: bits(BigInt(KVM_EXIT_HYPERCALL_VALID_MASK), (kvm, v) => { kvm.arch.hypercall_exit_enabled = v; }),
  [K.KVM_CAP_MSR_PLATFORM_INFO]: (kvm, [value = 0n]) => { kvm.arch.guest_can_read_msr_platform_info = value !== 0n; return 0; },
  [K.KVM_CAP_EXCEPTION_PAYLOAD]: (kvm, [value = 0n]) => { kvm.arch.exception_payload_enabled = value !== 0n; return 0; },
  [K.KVM_CAP_X86_TRIPLE_FAULT_EVENT]: (kvm, [value = 0n]) => { kvm.arch.triple_fault_event = value !== 0n; return 0; },
  [K.KVM_CAP_X86_USER_SPACE_MSR]: bits(BigInt(K.KVM_MSR_EXIT_REASON_VALID_MASK), (kvm, v) => { kvm.arch.user_space_msr_mask = Number(v); }),
  [K.KVM_CAP_EXIT_ON_EMULATION_FAILURE]: bits(1n, (kvm, v) => { kvm.arch.exit_on_emulation_error = v !== 0n; }),
  [K.KVM_CAP_MAX_VCPU_ID]: (kvm, [value = 0n]) => {
    if (value === 0n || value > BigInt(KVM_MAX_VCPU_IDS)) return -EINVAL;
    const { arch } = kvm;
    if (arch.max_vcpu_ids === Number(value)) return 0;
    if (arch.max_vcpu_ids !== 0 || kvm.created_vcpus > 0) return -EINVAL;
    arch.max_vcpu_ids = Number(value);
    return 0;
  },
};

/** What KVM_ENABLE_CAP of a VM and of a vCPU takes. */
export const kvm_vm_enable_caps: readonly number[] = Object.keys(enable).map(Number);
export const kvm_vcpu_enable_caps: readonly number[] = [K.KVM_CAP_ENFORCE_PV_FEATURE_CPUID];

const args_of = (cap: K.kvm_enable_cap): bigint[] => [0, 1, 2, 3].map((i) => cap.args.get(i));

export function kvm_vm_ioctl_enable_cap(kvm: kvm, cap: K.kvm_enable_cap): number {
  return cap.flags !== 0 ? -EINVAL : enable[cap.cap]?.(kvm, args_of(cap)) ?? -EINVAL;
}
export function kvm_vcpu_ioctl_enable_cap(vcpu: kvm_vcpu, cap: K.kvm_enable_cap): number {
  if (cap.flags !== 0 || !kvm_vcpu_enable_caps.includes(cap.cap)) return -EINVAL;
  vcpu.arch.pv.enforce = cap.args.get(0) !== 0n;
  if (vcpu.arch.pv.enforce) kvm_update_pv_runtime(vcpu);
  return 0;
}
