/**
 * Interfaces of other hypervisors that KVM can put on: Xen and Hyper-V.
 * Linux: include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h
 */
import { type Of, array, s32, struct, u16, u32, u64, u8, union } from '../struct.ts';

// type of kvm_hyperv_exit, of kvm_xen_exit
export const KVM_EXIT_HYPERV_SYNIC  = 1;
export const KVM_EXIT_XEN_HCALL     = 1;
export const KVM_EXIT_HYPERV_HCALL  = 2;
export const KVM_EXIT_HYPERV_SYNDBG = 3;

export const kvm_hyperv_exit = struct('kvm_hyperv_exit', {
  type: u32, pad1: u32,
  u: union('kvm_hyperv_exit.u', {
    synic: struct('kvm_hyperv_exit.u.synic', { msr: u32, pad2: u32, control: u64, evt_page: u64, msg_page: u64 }),
    hcall: struct('kvm_hyperv_exit.u.hcall', { input: u64, result: u64, params: array(u64, 2) }),
    syndbg: struct('kvm_hyperv_exit.u.syndbg', {
      msr: u32, pad2: u32, control: u64, status: u64, send_page: u64, recv_page: u64, pending_page: u64,
    }),
  }),
});
export type kvm_hyperv_exit = Of<typeof kvm_hyperv_exit>;

export const kvm_xen_exit = struct('kvm_xen_exit', {
  type: u32,
  u: union('kvm_xen_exit.u', {
    hcall: struct('kvm_xen_exit.u.hcall', { longmode: u32, cpl: u32, input: u64, result: u64, params: array(u64, 6) }),
  }),
});
export type kvm_xen_exit = Of<typeof kvm_xen_exit>;

export const KVM_HYPERV_EVENTFD_DEASSIGN = 1;
export const KVM_HYPERV_CONN_ID_MASK     = 0xffffff;

export const kvm_hyperv_eventfd = struct('kvm_hyperv_eventfd', { conn_id: u32, fd: s32, flags: u32, padding: array(u32, 3) });
export type kvm_hyperv_eventfd = Of<typeof kvm_hyperv_eventfd>;

// flags of kvm_xen_hvm_config
export const KVM_XEN_HVM_CONFIG_HYPERCALL_MSR        = 1;
export const KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL      = 2;
export const KVM_XEN_HVM_CONFIG_SHARED_INFO          = 4;
export const KVM_XEN_HVM_CONFIG_RUNSTATE             = 0x8;
export const KVM_XEN_HVM_CONFIG_EVTCHN_2LEVEL        = 0x10;
export const KVM_XEN_HVM_CONFIG_EVTCHN_SEND          = 0x20;
export const KVM_XEN_HVM_CONFIG_RUNSTATE_UPDATE_FLAG = 0x40;
export const KVM_XEN_HVM_CONFIG_PVCLOCK_TSC_UNSTABLE = 0x80;
export const KVM_XEN_HVM_CONFIG_SHARED_INFO_HVA      = 0x100;

export const kvm_xen_hvm_config = struct('kvm_xen_hvm_config', { flags: u32, msr: u32, blob_addr_32: u64, blob_addr_64: u64, blob_size_32: u8, blob_size_64: u8, pad2: array(u8, 30) });
export type kvm_xen_hvm_config = Of<typeof kvm_xen_hvm_config>;

// type of kvm_xen_hvm_attr
export const KVM_XEN_ATTR_TYPE_LONG_MODE            = 0;
export const KVM_XEN_ATTR_TYPE_SHARED_INFO          = 1;
export const KVM_XEN_ATTR_TYPE_UPCALL_VECTOR        = 2;
export const KVM_XEN_ATTR_TYPE_EVTCHN               = 3;
export const KVM_XEN_ATTR_TYPE_XEN_VERSION          = 4;
export const KVM_XEN_ATTR_TYPE_RUNSTATE_UPDATE_FLAG = 5;
export const KVM_XEN_ATTR_TYPE_SHARED_INFO_HVA      = 6;

// u.evtchn.flags
export const KVM_XEN_EVTCHN_DEASSIGN = 1;
export const KVM_XEN_EVTCHN_UPDATE   = 2;
export const KVM_XEN_EVTCHN_RESET    = 4;

export const KVM_XEN_INVALID_GFN = 0xffffffffffffffffn;
export const KVM_XEN_INVALID_GPA = 0xffffffffffffffffn;

const evtchn = struct('kvm_xen_hvm_attr.u.evtchn', {
  send_port: u32, type: u32, flags: u32,
  deliver: union('kvm_xen_hvm_attr.u.evtchn.deliver', {
    port: struct('kvm_xen_hvm_attr.u.evtchn.deliver.port', { port: u32, vcpu: u32, priority: u32 }),
    eventfd: struct('kvm_xen_hvm_attr.u.evtchn.deliver.eventfd', { port: u32, fd: s32 }),
    padding: array(u32, 4),
  }),
});

export const kvm_xen_hvm_attr = struct('kvm_xen_hvm_attr', {
  type: u16, pad: array(u16, 3),
  u: union('kvm_xen_hvm_attr.u', {
    long_mode: u8, vector: u8, runstate_update_flag: u8,
    shared_info: union('kvm_xen_hvm_attr.u.shared_info', { gfn: u64, hva: u64 }),
    evtchn, xen_version: u32, pad: array(u64, 8),
  }),
});
export type kvm_xen_hvm_attr = Of<typeof kvm_xen_hvm_attr>;

// type of kvm_xen_vcpu_attr
export const KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO        = 0;
export const KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO   = 1;
export const KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR    = 2;
export const KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_CURRENT = 3;
export const KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_DATA    = 4;
export const KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADJUST  = 5;
export const KVM_XEN_VCPU_ATTR_TYPE_VCPU_ID          = 6;
export const KVM_XEN_VCPU_ATTR_TYPE_TIMER            = 7;
export const KVM_XEN_VCPU_ATTR_TYPE_UPCALL_VECTOR    = 8;
export const KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO_HVA    = 9;

export const kvm_xen_vcpu_attr = struct('kvm_xen_vcpu_attr', {
  type: u16, pad: array(u16, 3),
  u: union('kvm_xen_vcpu_attr.u', {
    gpa: u64, hva: u64, pad: array(u64, 8),
    runstate: struct('kvm_xen_vcpu_attr.u.runstate', {
      state: u64, state_entry_time: u64, time_running: u64, time_runnable: u64, time_blocked: u64, time_offline: u64,
    }),
    vcpu_id: u32, timer: struct('kvm_xen_vcpu_attr.u.timer', { port: u32, priority: u32, expires_ns: u64 }), vector: u8,
  }),
});
export type kvm_xen_vcpu_attr = Of<typeof kvm_xen_vcpu_attr>;
