/**
 * Every request of /dev/kvm, of a VM and of a vCPU on x86: number, direction and argument type, once.
 * Six serials are used twice (0x67, 0x9f, 0xa0, 0xa2, 0xa3, 0xa5), so a table must be keyed by the whole number.
 * Four requests are encoded _IOR by an old mistake, and read their argument all the same.
 * Linux: include/uapi/linux/kvm.h
 */
import * as self from './ioctls.ts';
import { _IO, _IOR, _IOW, _IOWR, reads } from '../ioctl.ts';
import { u64 } from '../struct.ts';
import { kvm_cpuid, kvm_cpuid2, kvm_msr_filter, kvm_msr_list, kvm_msrs, kvm_pmu_event_filter } from './cpuid-msr.ts';
import { kvm_guest_debug } from './debug.ts';
import {
  kvm_interrupt, kvm_mp_state, kvm_signal_mask, kvm_tpr_access_ctl, kvm_vapic_addr, kvm_vcpu_events, kvm_x86_mce,
} from './events.ts';
import {
  kvm_ioeventfd, kvm_irq_level, kvm_irq_routing, kvm_irq_routing_xen_evtchn, kvm_irqchip, kvm_irqfd, kvm_lapic_state, kvm_msi,
  kvm_pit_config, kvm_pit_state, kvm_pit_state2,
} from './irqchip.ts';
import {
  kvm_clear_dirty_log, kvm_coalesced_mmio_zone, kvm_create_guest_memfd, kvm_dirty_log, kvm_enc_region, kvm_memory_attributes,
  kvm_pre_fault_memory, kvm_userspace_memory_region, kvm_userspace_memory_region2,
} from './memory.ts';
import { kvm_nested_state } from './nested.ts';
import {
  kvm_debugregs, kvm_fpu, kvm_one_reg, kvm_reg_list, kvm_regs, kvm_sregs, kvm_sregs2, kvm_translation, kvm_xcrs, kvm_xsave,
} from './regs.ts';
import { kvm_clock_data, kvm_create_device, kvm_device_attr, kvm_enable_cap } from './vm.ts';
import { kvm_hyperv_eventfd, kvm_xen_hvm_attr, kvm_xen_hvm_config, kvm_xen_vcpu_attr } from './xen-hyperv.ts';

export const KVMIO = 0xae;

// /dev/kvm
export const KVM_GET_API_VERSION             = _IO  (KVMIO, 0x00);
export const KVM_CREATE_VM                   = _IO  (KVMIO, 0x01);
export const KVM_GET_MSR_INDEX_LIST          = _IOWR(KVMIO, 0x02, kvm_msr_list);
export const KVM_CHECK_EXTENSION             = _IO  (KVMIO, 0x03);
export const KVM_GET_VCPU_MMAP_SIZE          = _IO  (KVMIO, 0x04);
export const KVM_GET_SUPPORTED_CPUID         = _IOWR(KVMIO, 0x05, kvm_cpuid2);
export const KVM_GET_EMULATED_CPUID          = _IOWR(KVMIO, 0x09, kvm_cpuid2);
export const KVM_GET_MSR_FEATURE_INDEX_LIST  = _IOWR(KVMIO, 0x0a, kvm_msr_list);

// A VM
export const KVM_CREATE_VCPU                 = _IO  (KVMIO, 0x41);
export const KVM_GET_DIRTY_LOG               = _IOW (KVMIO, 0x42, kvm_dirty_log);
export const KVM_SET_NR_MMU_PAGES            = _IO  (KVMIO, 0x44);
export const KVM_GET_NR_MMU_PAGES            = _IO  (KVMIO, 0x45);
export const KVM_SET_USER_MEMORY_REGION      = _IOW (KVMIO, 0x46, kvm_userspace_memory_region);
export const KVM_SET_TSS_ADDR                = _IO  (KVMIO, 0x47);
export const KVM_SET_IDENTITY_MAP_ADDR       = _IOW (KVMIO, 0x48, u64);
export const KVM_SET_USER_MEMORY_REGION2     = _IOW (KVMIO, 0x49, kvm_userspace_memory_region2);
export const KVM_CREATE_IRQCHIP              = _IO  (KVMIO, 0x60);
export const KVM_IRQ_LINE                    = _IOW (KVMIO, 0x61, kvm_irq_level);
export const KVM_GET_IRQCHIP                 = _IOWR(KVMIO, 0x62, kvm_irqchip);
export const KVM_SET_IRQCHIP                 = reads(_IOR (KVMIO, 0x63, kvm_irqchip));
export const KVM_CREATE_PIT                  = _IO  (KVMIO, 0x64);
export const KVM_GET_PIT                     = _IOWR(KVMIO, 0x65, kvm_pit_state);
export const KVM_SET_PIT                     = reads(_IOR (KVMIO, 0x66, kvm_pit_state));
export const KVM_IRQ_LINE_STATUS             = _IOWR(KVMIO, 0x67, kvm_irq_level);
export const KVM_REGISTER_COALESCED_MMIO     = _IOW (KVMIO, 0x67, kvm_coalesced_mmio_zone);
export const KVM_UNREGISTER_COALESCED_MMIO   = _IOW (KVMIO, 0x68, kvm_coalesced_mmio_zone);
export const KVM_SET_GSI_ROUTING             = _IOW (KVMIO, 0x6a, kvm_irq_routing);
export const KVM_REINJECT_CONTROL            = _IO  (KVMIO, 0x71);
export const KVM_IRQFD                       = _IOW (KVMIO, 0x76, kvm_irqfd);
export const KVM_CREATE_PIT2                 = _IOW (KVMIO, 0x77, kvm_pit_config);
export const KVM_SET_BOOT_CPU_ID             = _IO  (KVMIO, 0x78);
export const KVM_IOEVENTFD                   = _IOW (KVMIO, 0x79, kvm_ioeventfd);
export const KVM_XEN_HVM_CONFIG              = _IOW (KVMIO, 0x7a, kvm_xen_hvm_config);
export const KVM_SET_CLOCK                   = _IOW (KVMIO, 0x7b, kvm_clock_data);
export const KVM_GET_CLOCK                   = _IOR (KVMIO, 0x7c, kvm_clock_data);
export const KVM_GET_PIT2                    = _IOR (KVMIO, 0x9f, kvm_pit_state2);
export const KVM_SET_PIT2                    = _IOW (KVMIO, 0xa0, kvm_pit_state2);
export const KVM_SIGNAL_MSI                  = _IOW (KVMIO, 0xa5, kvm_msi);
export const KVM_SET_PMU_EVENT_FILTER        = _IOW (KVMIO, 0xb2, kvm_pmu_event_filter);
export const KVM_MEMORY_ENCRYPT_OP           = _IOWR(KVMIO, 0xba, u64);
export const KVM_MEMORY_ENCRYPT_REG_REGION   = reads(_IOR (KVMIO, 0xbb, kvm_enc_region));
export const KVM_MEMORY_ENCRYPT_UNREG_REGION = reads(_IOR (KVMIO, 0xbc, kvm_enc_region));
export const KVM_HYPERV_EVENTFD              = _IOW (KVMIO, 0xbd, kvm_hyperv_eventfd);
export const KVM_CLEAR_DIRTY_LOG             = _IOWR(KVMIO, 0xc0, kvm_clear_dirty_log);
export const KVM_X86_SET_MSR_FILTER          = _IOW (KVMIO, 0xc6, kvm_msr_filter);
export const KVM_RESET_DIRTY_RINGS           = _IO  (KVMIO, 0xc7);
export const KVM_XEN_HVM_GET_ATTR            = _IOWR(KVMIO, 0xc8, kvm_xen_hvm_attr);
export const KVM_XEN_HVM_SET_ATTR            = _IOW (KVMIO, 0xc9, kvm_xen_hvm_attr);
export const KVM_XEN_HVM_EVTCHN_SEND         = _IOW (KVMIO, 0xd0, kvm_irq_routing_xen_evtchn);
export const KVM_SET_MEMORY_ATTRIBUTES       = _IOW (KVMIO, 0xd2, kvm_memory_attributes);
export const KVM_CREATE_GUEST_MEMFD          = _IOWR(KVMIO, 0xd4, kvm_create_guest_memfd);
export const KVM_CREATE_DEVICE               = _IOWR(KVMIO, 0xe0, kvm_create_device);

// A vCPU
export const KVM_RUN                         = _IO  (KVMIO, 0x80);
export const KVM_GET_REGS                    = _IOR (KVMIO, 0x81, kvm_regs);
export const KVM_SET_REGS                    = _IOW (KVMIO, 0x82, kvm_regs);
export const KVM_GET_SREGS                   = _IOR (KVMIO, 0x83, kvm_sregs);
export const KVM_SET_SREGS                   = _IOW (KVMIO, 0x84, kvm_sregs);
export const KVM_TRANSLATE                   = _IOWR(KVMIO, 0x85, kvm_translation);
export const KVM_INTERRUPT                   = _IOW (KVMIO, 0x86, kvm_interrupt);
export const KVM_GET_MSRS                    = _IOWR(KVMIO, 0x88, kvm_msrs);
export const KVM_SET_MSRS                    = _IOW (KVMIO, 0x89, kvm_msrs);
export const KVM_SET_CPUID                   = _IOW (KVMIO, 0x8a, kvm_cpuid);
export const KVM_SET_SIGNAL_MASK             = _IOW (KVMIO, 0x8b, kvm_signal_mask);
export const KVM_GET_FPU                     = _IOR (KVMIO, 0x8c, kvm_fpu);
export const KVM_SET_FPU                     = _IOW (KVMIO, 0x8d, kvm_fpu);
export const KVM_GET_LAPIC                   = _IOR (KVMIO, 0x8e, kvm_lapic_state);
export const KVM_SET_LAPIC                   = _IOW (KVMIO, 0x8f, kvm_lapic_state);
export const KVM_SET_CPUID2                  = _IOW (KVMIO, 0x90, kvm_cpuid2);
export const KVM_GET_CPUID2                  = _IOWR(KVMIO, 0x91, kvm_cpuid2);
export const KVM_TPR_ACCESS_REPORTING        = _IOWR(KVMIO, 0x92, kvm_tpr_access_ctl);
export const KVM_SET_VAPIC_ADDR              = _IOW (KVMIO, 0x93, kvm_vapic_addr);
export const KVM_GET_MP_STATE                = _IOR (KVMIO, 0x98, kvm_mp_state);
export const KVM_SET_MP_STATE                = _IOW (KVMIO, 0x99, kvm_mp_state);
export const KVM_NMI                         = _IO  (KVMIO, 0x9a);
export const KVM_SET_GUEST_DEBUG             = _IOW (KVMIO, 0x9b, kvm_guest_debug);
export const KVM_X86_SETUP_MCE               = _IOW (KVMIO, 0x9c, u64);
export const KVM_X86_SET_MCE                 = _IOW (KVMIO, 0x9e, kvm_x86_mce);
export const KVM_GET_VCPU_EVENTS             = _IOR (KVMIO, 0x9f, kvm_vcpu_events);
export const KVM_SET_VCPU_EVENTS             = _IOW (KVMIO, 0xa0, kvm_vcpu_events);
export const KVM_GET_DEBUGREGS               = _IOR (KVMIO, 0xa1, kvm_debugregs);
export const KVM_SET_DEBUGREGS               = _IOW (KVMIO, 0xa2, kvm_debugregs);
export const KVM_GET_XSAVE                   = _IOR (KVMIO, 0xa4, kvm_xsave);
export const KVM_SET_XSAVE                   = _IOW (KVMIO, 0xa5, kvm_xsave);
export const KVM_GET_XCRS                    = _IOR (KVMIO, 0xa6, kvm_xcrs);
export const KVM_SET_XCRS                    = _IOW (KVMIO, 0xa7, kvm_xcrs);
export const KVM_GET_ONE_REG                 = _IOW (KVMIO, 0xab, kvm_one_reg);
export const KVM_SET_ONE_REG                 = _IOW (KVMIO, 0xac, kvm_one_reg);
export const KVM_KVMCLOCK_CTRL               = _IO  (KVMIO, 0xad);
export const KVM_GET_REG_LIST                = _IOWR(KVMIO, 0xb0, kvm_reg_list);
export const KVM_SMI                         = _IO  (KVMIO, 0xb7);
export const KVM_GET_NESTED_STATE            = _IOWR(KVMIO, 0xbe, kvm_nested_state);
export const KVM_SET_NESTED_STATE            = _IOW (KVMIO, 0xbf, kvm_nested_state);
export const KVM_XEN_VCPU_GET_ATTR           = _IOWR(KVMIO, 0xca, kvm_xen_vcpu_attr);
export const KVM_XEN_VCPU_SET_ATTR           = _IOW (KVMIO, 0xcb, kvm_xen_vcpu_attr);
export const KVM_GET_SREGS2                  = _IOR (KVMIO, 0xcc, kvm_sregs2);
export const KVM_SET_SREGS2                  = _IOW (KVMIO, 0xcd, kvm_sregs2);
export const KVM_GET_XSAVE2                  = _IOR (KVMIO, 0xcf, kvm_xsave);
export const KVM_PRE_FAULT_MEMORY            = _IOWR(KVMIO, 0xd5, kvm_pre_fault_memory);

// More than one kind of descriptor
export const KVM_X86_GET_MCE_CAP_SUPPORTED   = _IOR (KVMIO, 0x9d, u64);
export const KVM_SET_TSC_KHZ                 = _IO  (KVMIO, 0xa2);
export const KVM_ENABLE_CAP                  = _IOW (KVMIO, 0xa3, kvm_enable_cap);
export const KVM_GET_TSC_KHZ                 = _IO  (KVMIO, 0xa3);
export const KVM_GET_SUPPORTED_HV_CPUID      = _IOWR(KVMIO, 0xc1, kvm_cpuid2);
export const KVM_GET_STATS_FD                = _IO  (KVMIO, 0xce);
export const KVM_SET_DEVICE_ATTR             = _IOW (KVMIO, 0xe1, kvm_device_attr);
export const KVM_GET_DEVICE_ATTR             = _IOW (KVMIO, 0xe2, kvm_device_attr);
export const KVM_HAS_DEVICE_ATTR             = _IOW (KVMIO, 0xe3, kvm_device_attr);

const requests = (): [string, number][] => Object.entries(self).flatMap(([name, r]) => (typeof r === 'object' ? [[name, r.nr]] : []));
let byNumber: Map<number, string> | undefined;

/** 'KVM_RUN' of 0xae80, undefined for a number that is no request of KVM's. */
export const kvmIoctlName = (request: number): string | undefined =>
  (byNumber ??= new Map(requests().map(([name, nr]) => [nr, name]))).get(request >>> 0);
