/**
 * The short way of KVM_RUN, from one OUT that user space handles to the next: which vCPUs may go it, what is looked at
 * each time, and what it does. run.ts has the way that every other run goes, and this one ends in it whenever the guest
 * does not come back with an OUT; vmx/again.ts has the processor's part. test/kvm/again.test.ts holds the two ways to each other.
 */
import { current } from '../kernel/exports.ts';
import { kvm_vcpu_running } from './block.ts';
import { type kvm_vcpu, kvm_x86 } from './kvm_host.ts';
import { complete_fast_pio_out } from './pio.ts';
import { CR8, DIRTY_REGS, IMMEDIATE_EXIT, REQUEST_INTERRUPT_WINDOW, VALID_REGS, answer } from './run-words.ts';
import { kvm_entry, kvm_exit, kvm_fpu, kvm_pio, kvm_userspace_exit } from './trace.ts';

/** A vCPU that was last stopped by an OUT, and has no more to it than the simplest user of KVM needs. */
export function is_plain(vcpu: kvm_vcpu): boolean {
  const { arch, kvm } = vcpu;
  const { pv, exception } = arch;
  return arch.complete_userspace_io === complete_fast_pio_out && vcpu.guest_debug === 0 && !arch.switch_db_regs && !arch.smm && arch.apic === undefined && kvm.arch.irqchip === undefined
    && !pv.watches_load && !pv.eoi_pending && !pv.tsc_always_catchup && !vcpu.sigset_active && vcpu.dirty_ring === undefined && kvm_vcpu_running(vcpu)
    && !exception.injected && !exception.pending && !arch.interrupt.injected && !arch.nmi_injected && arch.nmi_queued === 0 && kvm_x86.is_plain(vcpu);
}

/** From here on the loop goes the whole way again. The vCPU is loaded. */
export function forget_again(vcpu: kvm_vcpu): void {
  vcpu.arch.again = false;
  vcpu.arch.pio.linear_rip = kvm_x86.linear_rip(vcpu);
}

/** Whether there is nothing to do before the entry but to step over the OUT. */
export function may_run_again(vcpu: kvm_vcpu): boolean {
  const { run_words: words, arch } = vcpu;
  const task = current();
  return vcpu.requests === 0 && ((words[0]! & (REQUEST_INTERRUPT_WINDOW | IMMEDIATE_EXIT)) | words[VALID_REGS]! | words[VALID_REGS + 1]! | words[DIRTY_REGS]! | words[DIRTY_REGS + 1]! | words[CR8 + 1]!) === 0
    && words[CR8] === arch.cr8 && !task.need_resched && !task.sigpending
    && (kvm_entry.enabled | kvm_exit.enabled | kvm_pio.enabled | kvm_fpu.enabled | kvm_userspace_exit.enabled) === 0 && kvm_x86.is_there(vcpu);
}

/** Steps over the OUT and enters. false: the run goes on as in_guest says. */
export function run_again(vcpu: kvm_vcpu): boolean {
  const { arch } = vcpu;
  arch.again = false;
  vcpu.loaded = true;
  kvm_x86.load_guest_msrs(vcpu, false);
  arch.complete_userspace_io = undefined;
  arch.at_instruction_boundary = false;
  kvm_x86.skip_emulated_instruction(vcpu);
  if (!kvm_x86.run_again(vcpu)) return false;
  arch.again = true;
  kvm_x86.save_guest_msrs(vcpu);
  answer(vcpu, 0, kvm_x86.interrupt_allowed(vcpu) ? 1 : 0);
  vcpu.loaded = false;
  return true;
}
