/**
 * From a VM exit to its handler.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c (__vmx_handle_exit)
 */
import { KVM_EXIT_FAIL_ENTRY, KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON } from '../../abi/kvm/index.ts';
import {
  EXIT_REASON_APIC_ACCESS, EXIT_REASON_EPT_MISCONFIG, EXIT_REASON_EPT_VIOLATION, EXIT_REASON_EXCEPTION_NMI, EXIT_REASON_NOTIFY, EXIT_REASON_PML_FULL, EXIT_REASON_TASK_SWITCH,
} from '../../machine/vmx/exit-reasons.ts';
import * as F from '../../machine/vmx/fields.ts';
import { type MaySleep, machine, this_processor } from '../../kernel/exports.ts';
import type { kvm_vcpu } from '../kvm_host.ts';
import { internal_error } from './internal-error.ts';
import { handle_invalid_guest_state } from './rmode.ts';
import { kvm_emulate_halt_noskip } from './exit-handlers.ts';
import { type ExitHandler, kvm_vmx_exit_handlers } from './exits-table.ts';

const INTR_INFO_VALID = 0x8000_0000;
/** Exits that may come in the midst of a delivery; any other one is a fault of ours. */
const DURING_DELIVERY = new Set<number>([EXIT_REASON_EXCEPTION_NMI, EXIT_REASON_EPT_VIOLATION, EXIT_REASON_PML_FULL, EXIT_REASON_APIC_ACCESS, EXIT_REASON_TASK_SWITCH, EXIT_REASON_NOTIFY]);
let handlers: (ExitHandler | undefined)[] | undefined;
/** The table by number, as an array: a dense one dispatches in a few nanoseconds. */
const table = (): (ExitHandler | undefined)[] => {
  const rows = kvm_vmx_exit_handlers as Record<number, ExitHandler>;
  return Array.from({ length: 1 + Math.max(...Object.keys(rows).map(Number)) }, (_, reason) => rows[reason]);
};

export function vmx_handle_exit(vcpu: kvm_vcpu): number | MaySleep<number> {
  const { vmx, run } = vcpu;
  const { hw } = vmx;
  const reason = vmx.exit_reason;
  if (vmx.emulation_required) return handle_invalid_guest_state(vcpu, kvm_emulate_halt_noskip);
  if (vmx.fail || (reason & 0x8000_0000) !== 0) {
    run.exit_reason = KVM_EXIT_FAIL_ENTRY;
    run.fail_entry.hardware_entry_failure_reason = BigInt(vmx.fail ? hw.read32(F.VM_INSTRUCTION_ERROR) : reason >>> 0);
    run.fail_entry.cpu = vcpu.arch.last_vmentry_cpu;
    return 0;
  }
  if ((vmx.idt_vectoring_info & INTR_INFO_VALID) !== 0 && !DURING_DELIVERY.has(reason)) {
    const extra = reason === EXIT_REASON_EPT_MISCONFIG ? [hw.read64(F.GUEST_PHYSICAL_ADDRESS)] : [];
    return internal_error(vcpu, KVM_INTERNAL_ERROR_DELIVERY_EV, [BigInt(vmx.idt_vectoring_info >>> 0), BigInt(reason), hw.read64(F.EXIT_QUALIFICATION), ...extra, BigInt(vcpu.arch.last_vmentry_cpu)]);
  }
  this_processor().charge(machine().costs.kvmExit);
  const handler = (handlers ??= table())[reason & 0xffff];
  if (handler !== undefined) return handler(vcpu);
  return internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, [BigInt(reason >>> 0), BigInt(vcpu.arch.last_vmentry_cpu)]);
}
