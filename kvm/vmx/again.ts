/**
 * The shortest way from one OUT that user space handles to the next. It does what the loop of run.ts does, for a guest
 * whose registers never left the processor and of which nothing is asked meanwhile; whatever else the guest exits for is
 * left to that loop.
 *
 * Linux has such ways as well: arch/x86/kvm/vmx/vmx.c (vmx_exit_handlers_fastpath)
 */
import { STATE } from '../../machine/cpu/state.ts';
import { EXIT_REASON_IO_INSTRUCTION } from '../../machine/vmx/exit-reasons.ts';
import * as F from '../../machine/vmx/fields.ts';
import { guest_enter, guest_exit, this_processor } from '../../kernel/exports.ts';
import { IN_GUEST_MODE, OUTSIDE_GUEST_MODE, type kvm_vcpu } from '../kvm_host.ts';
import { PORT_7E, out_to_user } from '../pio.ts';
import { vmx_capabilities } from './capabilities.ts';

const INTR_INFO_VALID = 0x8000_0000;
const X86_EFLAGS_TF = 0x100;
const CR2 = STATE.cr2 >>> 2;
/** Of an I/O qualification: IN, and a string instruction. */
const IO_IN = 8, IO_STRING = 16;

/** What must be true of the vCPU's mode for vmx_run_again; requests alone change it. */
export const vmx_is_plain = (vcpu: kvm_vcpu): boolean => {
  const { enable_ept, enable_unrestricted_guest } = vmx_capabilities();
  return enable_ept && enable_unrestricted_guest && vcpu.vmx.launched && !vcpu.vmx.rmode.vm86_active;
};

/** Whether the guest is in the processor as its last exit left it. */
export function vmx_is_there(vcpu: kvm_vcpu): boolean {
  const { vmx, arch, kvm } = vcpu;
  const { hw } = vmx;
  return hw.tenant === arch.leave_processor && hw.processor === this_processor() && vmx.ept_root === kvm.arch.tdp_roots[0] && (hw.read32(F.GUEST_RFLAGS) & X86_EFLAGS_TF) === 0;
}

/** Enters the guest. true: it has exited for an OUT, which is in kvm_run now. false: the step's time is up, or the exit is another one and all of it is still to be handled. */
export function vmx_run_again(vcpu: kvm_vcpu): boolean {
  const { vmx } = vcpu;
  const { hw } = vmx;
  const p = hw.processor;
  p.interruptFlag = false;
  vcpu.mode = IN_GUEST_MODE;
  guest_enter();
  vmx.fail = hw.vmresume() !== 'ok';
  if (vmx.fail || hw.run() !== 'exit' || hw.read32(F.VM_EXIT_REASON) !== EXIT_REASON_IO_INSTRUCTION) return false;
  const q = hw.read32(F.EXIT_QUALIFICATION);
  if ((q & (IO_IN | IO_STRING)) !== 0 || q >>> 16 === PORT_7E || (hw.read32(F.IDT_VECTORING_INFO_FIELD) & INTR_INFO_VALID) !== 0 || !vcpu.kvm.pio_bus.empty) return false;
  guest_exit();
  vcpu.mode = OUTSIDE_GUEST_MODE;
  p.interruptFlag = true;
  vmx.exit_reason = EXIT_REASON_IO_INSTRUCTION;
  vmx.idt_vectoring_info = vmx.exit_intr_info = 0;
  const { arch, stat } = vcpu;
  const { cpu } = hw;
  arch.cr2_words[0] = cpu.u32[CR2]!;
  arch.cr2_words[1] = cpu.u32[CR2 + 1]!;
  stat.exits++;
  stat.io_exits++;
  p.charge(hw.costs.kvmExit);
  out_to_user(vcpu, (q & 7) + 1, q >>> 16);
  return true;
}
