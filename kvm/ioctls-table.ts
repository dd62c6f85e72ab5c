/**
 * Every request this KVM answers, by the kind of descriptor.
 *
 * Linux: virt/kvm/kvm_main.c (kvm_dev_ioctl, kvm_vm_ioctl, kvm_vcpu_ioctl), arch/x86/kvm/x86.c (kvm_arch_..._ioctl)
 */
import { EFAULT, ENODEV, ENOTTY } from '../abi/errno.ts';
import { windowOf } from '../abi/struct.ts';
import { copy_from_user, copy_to_user } from '../kernel/exports.ts';
import * as K from '../abi/kvm/index.ts';
import { kvm_vcpu_ioctl_enable_cap, kvm_vm_ioctl_check_extension, kvm_vm_ioctl_enable_cap } from './caps.ts';
import { kvm_vm_ioctl_register_coalesced_mmio, kvm_vm_ioctl_unregister_coalesced_mmio } from './coalesced_mmio.ts';
import { kvm_vm_ioctl_reset_dirty_pages } from './dirty_ring.ts';
import { emulated_cpuid, kvm_dev_ioctl_get_cpuid, kvm_vcpu_ioctl_get_cpuid2, kvm_vcpu_ioctl_set_cpuid, kvm_vcpu_ioctl_set_cpuid2, supported_cpuid } from './cpuid.ts';
import { kvm_ioeventfd } from './eventfd.ts';
import { kvm_vcpu_ioctl_x86_get_vcpu_events, kvm_vcpu_ioctl_x86_set_vcpu_events } from './events.ts';
import { kvm_arch_vcpu_ioctl_set_guest_debug } from './guest-debug.ts';
import { ioctlTable, on, onValue, raw, unsigned } from './ioctl-table.ts';
import type { kvm, kvm_vcpu } from './kvm_host.ts';
import { kvm_vm_ioctl_create_vcpu } from './kvm_main.ts';
import { kvm_vcpu_pre_fault_memory } from './mmu/tdp.ts';
import { kvm_vm_ioctl_clear_dirty_log, kvm_vm_ioctl_get_dirty_log } from './memslots.ts';
import { kvm_vm_ioctl_set_msr_filter } from './msr-filter.ts';
import { KVM_MCE_CAP_SUPPORTED, kvm_vcpu_ioctl_x86_set_mce, kvm_vcpu_ioctl_x86_setup_mce } from './mce.ts';
import { get_msr_list, kvm_get_feature_msr, kvm_vcpu_get_msrs, kvm_vcpu_set_msrs, msr_based_features, msr_io, msrs_to_save } from './msrs.ts';
import {
  kvm_arch_vcpu_ioctl_get_fpu, kvm_arch_vcpu_ioctl_get_mpstate, kvm_arch_vcpu_ioctl_get_regs, kvm_arch_vcpu_ioctl_get_sregs, kvm_arch_vcpu_ioctl_set_fpu, kvm_arch_vcpu_ioctl_set_mpstate,
  kvm_arch_vcpu_ioctl_set_regs, kvm_arch_vcpu_ioctl_set_sregs, kvm_arch_vcpu_ioctl_translate, kvm_vcpu_ioctl_get_sregs2, kvm_vcpu_ioctl_set_sregs2, kvm_vcpu_ioctl_x86_get_debugregs,
  kvm_vcpu_ioctl_x86_get_xcrs, kvm_vcpu_ioctl_x86_get_xsave, kvm_vcpu_ioctl_x86_set_debugregs, kvm_vcpu_ioctl_x86_set_xcrs, kvm_vcpu_ioctl_x86_set_xsave,
} from './regs.ts';
import { kvm_vcpu_ioctl_get_stats_fd, kvm_vm_ioctl_get_stats_fd } from './stats-fd.ts';
import {
  kvm_vcpu_ioctl_interrupt, kvm_vcpu_ioctl_nmi, kvm_vcpu_ioctl_set_sigmask, kvm_vcpu_ioctl_smi,
  kvm_vm_ioctl_set_boot_cpu_id, kvm_vm_ioctl_set_identity_map_addr,
  kvm_vm_ioctl_set_memory_region, kvm_vm_ioctl_set_memory_region2, kvm_vm_ioctl_set_nr_mmu_pages, kvm_vm_ioctl_set_pmu_event_filter, kvm_vm_ioctl_set_tss_addr,
  kvm_x86_dev_get_attr, kvm_x86_dev_has_attr,
} from './x86.ts';
import { kvm_set_guest_paused, kvm_vm_ioctl_get_clock, kvm_vm_ioctl_set_clock } from './pvclock.ts';
import { kvm_vcpu_get_device_attr, kvm_vcpu_get_tsc_khz, kvm_vcpu_has_device_attr, kvm_vcpu_set_device_attr, kvm_vcpu_set_tsc_khz, kvm_vm_get_tsc_khz, kvm_vm_set_tsc_khz } from './tsc.ts';
import { vcpu_tpr_access_reporting } from './vapic.ts';
import { irqchip_vcpu_ioctls, irqchip_vm_ioctls } from './irqchip.ts';

/** What is left of the range goes back to user space even when the rest of it failed. */
function pre_fault_memory(vcpu: kvm_vcpu, at: number): number {
  const range = K.kvm_pre_fault_memory.make();
  const bytes = windowOf(range);
  if (copy_from_user(bytes, at) !== 0) return -EFAULT;
  const r = kvm_vcpu_pre_fault_memory(vcpu, range);
  return copy_to_user(at, bytes) !== 0 ? -EFAULT : r;
}

export const kvm_dev_ioctls = ioctlTable<undefined>(
  on (K.KVM_CHECK_EXTENSION,            (_, cap) => kvm_vm_ioctl_check_extension(unsigned(cap))),
  raw(K.KVM_GET_MSR_INDEX_LIST,         (_, at) => get_msr_list(at, msrs_to_save())),
  raw(K.KVM_GET_MSR_FEATURE_INDEX_LIST, (_, at) => get_msr_list(at, msr_based_features())),
  raw(K.KVM_GET_SUPPORTED_CPUID,        (_, at) => kvm_dev_ioctl_get_cpuid(at, supported_cpuid)),
  raw(K.KVM_GET_EMULATED_CPUID,         (_, at) => kvm_dev_ioctl_get_cpuid(at, emulated_cpuid)),
  raw(K.KVM_GET_MSRS,                   (_, at) => msr_io(at, false, kvm_get_feature_msr)),
  onValue(K.KVM_X86_GET_MCE_CAP_SUPPORTED, (_, box) => { box.value = KVM_MCE_CAP_SUPPORTED; return 0; }),
  on (K.KVM_GET_DEVICE_ATTR,            kvm_x86_dev_get_attr),
  on (K.KVM_HAS_DEVICE_ATTR,            kvm_x86_dev_has_attr),
);

export const kvm_vm_ioctls = ioctlTable<kvm>(
  on (K.KVM_CREATE_VCPU,                kvm_vm_ioctl_create_vcpu),
  on (K.KVM_CHECK_EXTENSION,            (_, cap) => kvm_vm_ioctl_check_extension(unsigned(cap))),
  on (K.KVM_ENABLE_CAP,                 kvm_vm_ioctl_enable_cap),
  on (K.KVM_SET_USER_MEMORY_REGION,     kvm_vm_ioctl_set_memory_region),
  on (K.KVM_SET_USER_MEMORY_REGION2,    kvm_vm_ioctl_set_memory_region2),
  on (K.KVM_GET_DIRTY_LOG,              kvm_vm_ioctl_get_dirty_log),
  on (K.KVM_CLEAR_DIRTY_LOG,            kvm_vm_ioctl_clear_dirty_log),
  on (K.KVM_SET_TSS_ADDR,               kvm_vm_ioctl_set_tss_addr),
  onValue(K.KVM_SET_IDENTITY_MAP_ADDR,  kvm_vm_ioctl_set_identity_map_addr),
  on (K.KVM_SET_NR_MMU_PAGES,           kvm_vm_ioctl_set_nr_mmu_pages),
  on (K.KVM_SET_BOOT_CPU_ID,            kvm_vm_ioctl_set_boot_cpu_id),
  on (K.KVM_REGISTER_COALESCED_MMIO,    kvm_vm_ioctl_register_coalesced_mmio),
  on (K.KVM_UNREGISTER_COALESCED_MMIO,  kvm_vm_ioctl_unregister_coalesced_mmio),
  on (K.KVM_IOEVENTFD,                  kvm_ioeventfd),
  on (K.KVM_GET_CLOCK,                  kvm_vm_ioctl_get_clock),
  on (K.KVM_SET_CLOCK,                  kvm_vm_ioctl_set_clock),
  on (K.KVM_GET_TSC_KHZ,                kvm_vm_get_tsc_khz),
  on (K.KVM_SET_TSC_KHZ,                kvm_vm_set_tsc_khz),
  on (K.KVM_X86_SET_MSR_FILTER,         kvm_vm_ioctl_set_msr_filter),
  raw(K.KVM_SET_PMU_EVENT_FILTER,       kvm_vm_ioctl_set_pmu_event_filter),
  on (K.KVM_GET_STATS_FD,               kvm_vm_ioctl_get_stats_fd),
  on (K.KVM_CREATE_DEVICE,              () => -ENODEV),
  raw(K.KVM_HAS_DEVICE_ATTR,            () => -ENOTTY),
  on (K.KVM_RESET_DIRTY_RINGS,          kvm_vm_ioctl_reset_dirty_pages),
  ...irqchip_vm_ioctls,
);

export const kvm_vcpu_ioctls = ioctlTable<kvm_vcpu>(
  on (K.KVM_GET_REGS,                   kvm_arch_vcpu_ioctl_get_regs),
  on (K.KVM_SET_REGS,                   kvm_arch_vcpu_ioctl_set_regs),
  on (K.KVM_GET_SREGS,                  kvm_arch_vcpu_ioctl_get_sregs),
  on (K.KVM_SET_SREGS,                  kvm_arch_vcpu_ioctl_set_sregs),
  on (K.KVM_GET_SREGS2,                 kvm_vcpu_ioctl_get_sregs2),
  on (K.KVM_SET_SREGS2,                 kvm_vcpu_ioctl_set_sregs2),
  on (K.KVM_GET_FPU,                    kvm_arch_vcpu_ioctl_get_fpu),
  on (K.KVM_SET_FPU,                    kvm_arch_vcpu_ioctl_set_fpu),
  on (K.KVM_GET_XSAVE,                  kvm_vcpu_ioctl_x86_get_xsave),
  on (K.KVM_SET_XSAVE,                  kvm_vcpu_ioctl_x86_set_xsave),
  on (K.KVM_GET_XSAVE2,                 kvm_vcpu_ioctl_x86_get_xsave),
  on (K.KVM_GET_XCRS,                   kvm_vcpu_ioctl_x86_get_xcrs),
  on (K.KVM_SET_XCRS,                   kvm_vcpu_ioctl_x86_set_xcrs),
  on (K.KVM_GET_DEBUGREGS,              kvm_vcpu_ioctl_x86_get_debugregs),
  on (K.KVM_SET_DEBUGREGS,              kvm_vcpu_ioctl_x86_set_debugregs),
  on (K.KVM_GET_MP_STATE,               kvm_arch_vcpu_ioctl_get_mpstate),
  on (K.KVM_SET_MP_STATE,               kvm_arch_vcpu_ioctl_set_mpstate),
  on (K.KVM_GET_VCPU_EVENTS,            kvm_vcpu_ioctl_x86_get_vcpu_events),
  on (K.KVM_SET_VCPU_EVENTS,            kvm_vcpu_ioctl_x86_set_vcpu_events),
  raw(K.KVM_PRE_FAULT_MEMORY,           pre_fault_memory),
  on (K.KVM_TRANSLATE,                  kvm_arch_vcpu_ioctl_translate),
  on (K.KVM_INTERRUPT,                  kvm_vcpu_ioctl_interrupt),
  on (K.KVM_NMI,                        kvm_vcpu_ioctl_nmi),
  on (K.KVM_SMI,                        kvm_vcpu_ioctl_smi),
  on (K.KVM_SET_GUEST_DEBUG,            kvm_arch_vcpu_ioctl_set_guest_debug),
  raw(K.KVM_SET_SIGNAL_MASK,            kvm_vcpu_ioctl_set_sigmask),
  raw(K.KVM_SET_CPUID,                  kvm_vcpu_ioctl_set_cpuid),
  raw(K.KVM_SET_CPUID2,                 kvm_vcpu_ioctl_set_cpuid2),
  raw(K.KVM_GET_CPUID2,                 kvm_vcpu_ioctl_get_cpuid2),
  raw(K.KVM_GET_MSRS,                   kvm_vcpu_get_msrs),
  raw(K.KVM_SET_MSRS,                   kvm_vcpu_set_msrs),
  on (K.KVM_TPR_ACCESS_REPORTING,       vcpu_tpr_access_reporting),
  onValue(K.KVM_X86_SETUP_MCE,          (vcpu, box) => kvm_vcpu_ioctl_x86_setup_mce(vcpu, box.value)),
  on (K.KVM_X86_SET_MCE,                kvm_vcpu_ioctl_x86_set_mce),
  on (K.KVM_GET_TSC_KHZ,                kvm_vcpu_get_tsc_khz),
  on (K.KVM_SET_TSC_KHZ,                kvm_vcpu_set_tsc_khz),
  on (K.KVM_KVMCLOCK_CTRL,              kvm_set_guest_paused),
  on (K.KVM_ENABLE_CAP,                 kvm_vcpu_ioctl_enable_cap),
  on (K.KVM_GET_DEVICE_ATTR,            kvm_vcpu_get_device_attr),
  on (K.KVM_SET_DEVICE_ATTR,            kvm_vcpu_set_device_attr),
  on (K.KVM_HAS_DEVICE_ATTR,            kvm_vcpu_has_device_attr),
  on (K.KVM_GET_STATS_FD,               kvm_vcpu_ioctl_get_stats_fd),
  ...irqchip_vcpu_ioctls,
);

type notes = Readonly<Record<'dev' | 'vm' | 'vcpu', Readonly<Record<string, string>>>>;

/** Requests that do less than Linux's: what is missing. docs/abi.md shows it. */
export const partial_ioctls: notes = {
  dev: {
    KVM_X86_GET_MCE_CAP_SUPPORTED: 'no local machine checks',
  },
  vm: {
    KVM_ENABLE_CAP:              'the capabilities marked VM below; EINVAL for any other',
    KVM_SET_USER_MEMORY_REGION2: 'without KVM_MEM_GUEST_MEMFD (EINVAL)',
    KVM_SET_PMU_EVENT_FILTER:    'vetted and stored; guests have no counters',
    KVM_SET_GSI_ROUTING:         'KVM_IRQ_ROUTING_HV_SINT leads nowhere; KVM_IRQ_ROUTING_XEN_EVTCHN is EINVAL',
  },
  vcpu: {
    KVM_ENABLE_CAP:              'the capabilities marked vCPU below; EINVAL for any other',
    KVM_GET_MSRS:                'counters of the PMU read as 0',
    KVM_X86_SETUP_MCE:           'no local machine checks',
  },
};

/** Rows that only refuse: the errno, as that of a Linux without what they are for. */
export const refused_ioctls: notes = {
  dev: {},
  vm: { KVM_CREATE_DEVICE: 'ENODEV', KVM_HAS_DEVICE_ATTR: 'ENOTTY' },
  vcpu: {},
};
