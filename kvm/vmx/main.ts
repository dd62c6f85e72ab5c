/**
 * The module kvm_intel: KVM on VMX.
 *
 * Linux: arch/x86/kvm/vmx/main.c, vmx.c (vmx_init)
 */
import { EOPNOTSUPP } from '../../abi/errno.ts';
import type { Module } from '../../kernel/exports.ts';
import { pr_err, this_processor } from '../../kernel/exports.ts';
import { cpuidLeaf } from '../../machine/cpu/cpuid.ts';
import { kvm_x86_vendor_exit, kvm_x86_vendor_init } from '../kvm_main.ts';
import { kvm_intel_params, vmx_hardware_setup } from './capabilities.ts';
import { vmx_x86_ops } from './vmx.ts';

export const kvm_intel: Module = {
  name: 'kvm_intel',
  description: 'KVM support for VMX (Intel VT-x) extensions',
  params: kvm_intel_params,
  depends: ['kvm'],
  init: () => {
    if ((cpuidLeaf(this_processor().cpu, 1, 0).ecx & 0x20) === 0) {
      pr_err('kvm: no hardware support');
      return -EOPNOTSUPP;
    }
    vmx_hardware_setup();
    return kvm_x86_vendor_init(vmx_x86_ops);
  },
  exit: kvm_x86_vendor_exit,
};
