/**
 * State of a hypervisor inside the guest, for migration: VMX or SVM.
 * Linux: arch/x86/include/uapi/asm/kvm.h
 */
import { type Of, array, flex, struct, u16, u32, u64, u8, union } from '../struct.ts';

export const KVM_STATE_NESTED_FORMAT_VMX             = 0;
export const KVM_STATE_NESTED_FORMAT_SVM             = 1;
export const KVM_STATE_NESTED_GUEST_MODE             = 1;
export const KVM_STATE_NESTED_SMM_GUEST_MODE         = 1;
export const KVM_STATE_VMX_PREEMPTION_TIMER_DEADLINE = 1;
export const KVM_STATE_NESTED_RUN_PENDING            = 2;
export const KVM_STATE_NESTED_SMM_VMXON              = 2;
export const KVM_STATE_NESTED_EVMCS                  = 4;
export const KVM_STATE_NESTED_MTF_PENDING            = 0x8;
export const KVM_STATE_NESTED_GIF_SET                = 0x100;
export const KVM_STATE_NESTED_SVM_VMCB_SIZE          = 0x1000;
export const KVM_STATE_NESTED_VMX_VMCS_SIZE          = 0x1000;

export const kvm_vmx_nested_state_data = struct('kvm_vmx_nested_state_data', { vmcs12: array(u8, KVM_STATE_NESTED_VMX_VMCS_SIZE), shadow_vmcs12: array(u8, KVM_STATE_NESTED_VMX_VMCS_SIZE) });
export type kvm_vmx_nested_state_data = Of<typeof kvm_vmx_nested_state_data>;

export const kvm_vmx_nested_state_hdr = struct('kvm_vmx_nested_state_hdr', {
  vmxon_pa: u64, vmcs12_pa: u64, smm: struct('kvm_vmx_nested_state_hdr.smm', { flags: u16 }), pad: u16, flags: u32,
  preemption_timer_deadline: u64,
});
export type kvm_vmx_nested_state_hdr = Of<typeof kvm_vmx_nested_state_hdr>;

export const kvm_svm_nested_state_data = struct('kvm_svm_nested_state_data', { vmcb12: array(u8, KVM_STATE_NESTED_SVM_VMCB_SIZE) });
export type kvm_svm_nested_state_data = Of<typeof kvm_svm_nested_state_data>;

export const kvm_svm_nested_state_hdr = struct('kvm_svm_nested_state_hdr', { vmcb_pa: u64 });
export type kvm_svm_nested_state_hdr = Of<typeof kvm_svm_nested_state_hdr>;

export const kvm_nested_state = struct('kvm_nested_state', {
  flags: u16, format: u16, size: u32,
  hdr: union('kvm_nested_state.hdr', { vmx: kvm_vmx_nested_state_hdr, svm: kvm_svm_nested_state_hdr, pad: array(u8, 120) }),
  data: union('kvm_nested_state.data', { vmx: flex(kvm_vmx_nested_state_data), svm: flex(kvm_svm_nested_state_data) }),
});
export type kvm_nested_state = Of<typeof kvm_nested_state>;
