/**
 * What kvm_intel uses of the processor: the module's parameters as far as the processor goes along.
 *
 * Linux: arch/x86/kvm/vmx/capabilities.h, vmx.c (vmx_hardware_setup)
 *
 * Parameters for what this processor has not are forced to their "off" when the module is loaded, and show as such in
 * /sys/module/kvm_intel/parameters.
 */
import { type ModuleParam, kernelVariable, module_param, set_param } from '../../kernel/exports.ts';

const bool = (value: boolean): ModuleParam => ({ type: 'bool', value, perm: 0o444 });
const uint = (value: number): ModuleParam => ({ type: 'uint', value, perm: 0o444 });

export const kvm_intel_params: Readonly<Record<string, ModuleParam>> = {
  ept:                         bool(true),
  eptad:                       bool(true),
  unrestricted_guest:          bool(true),
  vpid:                        bool(true),
  emulate_invalid_guest_state: bool(true),
  // No virtual APIC, no page-modification log, no pause-loop exiting; nesting is not offered.
  enable_apicv:                bool(false),
  flexpriority:                bool(false),
  nested:                      bool(false),
  pml:                         bool(false),
  preemption_timer:            bool(false),
  ple_gap:                     uint(0),
  ple_window:                  uint(0),
};
const FORCED_OFF = ['enable_apicv', 'flexpriority', 'nested', 'pml', 'preemption_timer'] as const;
const FORCED_ZERO = ['ple_gap', 'ple_window'] as const;

/** Constant while the module is loaded. */
export const vmx_capabilities = kernelVariable(() => ({ enable_ept: true, enable_ept_ad_bits: true, enable_unrestricted_guest: true, enable_vpid: true, emulate_invalid_guest_state: true }));

export function vmx_hardware_setup(): void {
  const on = (name: string): boolean => module_param('kvm_intel', name) === true;
  const force = (name: string, text: string): void => { set_param('kvm_intel', name, text); };
  for (const name of FORCED_OFF) force(name, 'N');
  for (const name of FORCED_ZERO) force(name, '0');
  const c = vmx_capabilities();
  c.enable_ept = on('ept');
  if (!c.enable_ept) {
    // A guest without paging or protection needs the second dimension to run by itself.
    force('eptad', 'N');
    force('unrestricted_guest', 'N');
  }
  c.enable_ept_ad_bits = on('eptad');
  c.enable_unrestricted_guest = on('unrestricted_guest');
  c.enable_vpid = on('vpid');
  c.emulate_invalid_guest_state = on('emulate_invalid_guest_state');
}
