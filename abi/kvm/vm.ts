/**
 * The VM as a whole: version and type, enabling capabilities, clock, devices, quirks.
 * Linux: include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h
 */
import { type Of, array, struct, u32, u64, u8 } from '../struct.ts';

// The one version there has been since 2007
export const KVM_API_VERSION = 12;

// Type of KVM_CREATE_VM
export const KVM_X86_DEFAULT_VM      = 0;
export const KVM_X86_SW_PROTECTED_VM = 1;
export const KVM_X86_SEV_VM          = 2;
export const KVM_X86_SEV_ES_VM       = 3;
export const KVM_X86_SNP_VM          = 4;

export const kvm_enable_cap = struct('kvm_enable_cap', { cap: u32, flags: u32, args: array(u64, 4), pad: array(u8, 64) });
export type kvm_enable_cap = Of<typeof kvm_enable_cap>;

// Argument of KVM_CAP_DISABLE_QUIRKS2
export const KVM_X86_QUIRK_LINT0_REENABLED            = 1;
export const KVM_X86_QUIRK_CD_NW_CLEARED              = 2;
export const KVM_X86_QUIRK_LAPIC_MMIO_HOLE            = 4;
export const KVM_X86_QUIRK_OUT_7E_INC_RIP             = 0x8;
export const KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT       = 0x10;
export const KVM_X86_QUIRK_FIX_HYPERCALL_INSN         = 0x20;
export const KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS      = 0x40;
export const KVM_X86_QUIRK_SLOT_ZAP_ALL               = 0x80;
export const KVM_X86_QUIRK_STUFF_FEATURE_MSRS         = 0x100;
export const KVM_X86_QUIRK_IGNORE_GUEST_PAT           = 0x200;
export const KVM_X86_QUIRK_VMCS12_ALLOW_FREEZE_IN_SMM = 0x400;

// Argument of KVM_CAP_X86_DISABLE_EXITS
export const KVM_X86_DISABLE_EXITS_MWAIT  = 1;
export const KVM_X86_DISABLE_EXITS_HLT    = 2;
export const KVM_X86_DISABLE_EXITS_PAUSE  = 4;
export const KVM_X86_DISABLE_EXITS_CSTATE = 8;
export const KVM_X86_DISABLE_VALID_EXITS  = 15;

// Argument of KVM_CAP_X2APIC_API, _X86_NOTIFY_VMEXIT, _X86_BUS_LOCK_EXIT
export const KVM_BUS_LOCK_DETECTION_OFF             = 1;
export const KVM_X2APIC_API_USE_32BIT_IDS           = 1;
export const KVM_X86_NOTIFY_VMEXIT_ENABLED          = 1;
export const KVM_BUS_LOCK_DETECTION_EXIT            = 2;
export const KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK = 2;
export const KVM_X86_NOTIFY_VMEXIT_USER             = 2;

// Flags of kvm_clock_data
export const KVM_CLOCK_TSC_STABLE = 2;
export const KVM_CLOCK_REALTIME   = 4;
export const KVM_CLOCK_HOST_TSC   = 8;

export const kvm_clock_data = struct('kvm_clock_data', { clock: u64, flags: u32, pad0: u32, realtime: u64, host_tsc: u64, pad: array(u32, 4) });
export type kvm_clock_data = Of<typeof kvm_clock_data>;

// Devices: kinds, and attributes of system, vcpu and VFIO
export const KVM_CREATE_DEVICE_TEST = 1;
export const KVM_DEV_VFIO_FILE      = 1;
export const KVM_DEV_VFIO_FILE_ADD  = 1;
export const KVM_DEV_VFIO_GROUP     = 1;
export const KVM_DEV_VFIO_GROUP_ADD = 1;
export const KVM_DEV_VFIO_FILE_DEL  = 2;
export const KVM_DEV_VFIO_GROUP_DEL = 2;
export const KVM_DEV_TYPE_VFIO      = 4;

export const KVM_VCPU_TSC_CTRL         = 0;
export const KVM_VCPU_TSC_OFFSET       = 0;
export const KVM_X86_GRP_SYSTEM        = 0;
export const KVM_X86_SEV_VMSA_FEATURES = 0;
export const KVM_X86_XCOMP_GUEST_SUPP  = 0;
export const KVM_X86_GRP_SEV           = 1;

export const kvm_create_device = struct('kvm_create_device', { type: u32, fd: u32, flags: u32 });
export type kvm_create_device = Of<typeof kvm_create_device>;

export const kvm_device_attr = struct('kvm_device_attr', { flags: u32, group: u32, attr: u64, addr: u64 });
export type kvm_device_attr = Of<typeof kvm_device_attr>;
