/**
 * A vCPU that has nothing to do: it waits until an event comes for it or a signal for its thread.
 *
 * Linux: virt/kvm/kvm_main.c (kvm_vcpu_block), arch/x86/kvm/x86.c (kvm_vcpu_has_events, vcpu_block)
 */
import { KVM_MP_STATE_AP_RESET_HOLD, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE } from '../abi/kvm/index.ts';
import { type MaySleep, current, signal_pending, smp_send_reschedule, this_processor, wait_event_interruptible } from '../kernel/exports.ts';
import { IN_GUEST_MODE, KVM_REQ_EVENT, KVM_REQ_NMI, KVM_REQ_SMI, KVM_REQ_UNBLOCK, type kvm_vcpu, kvm_check_request, kvm_make_request, kvm_test_request, kvm_x86 } from './kvm_host.ts';
import { kvm_exception_pending } from './events.ts';
import { kvm_vcpu_halt } from './halt-poll.ts';
import { kvm_cpu_has_interrupt } from './irq.ts';
import { kvm_apic_accept_events, kvm_apic_has_events } from './lapic.ts';

/** An event that ends HLT waits for this vCPU. */
export function kvm_vcpu_has_events(vcpu: kvm_vcpu): boolean {
  const { arch } = vcpu;
  if (arch.pv.unhalted || kvm_apic_has_events(vcpu) || kvm_exception_pending(vcpu)) return true;
  if (kvm_test_request(KVM_REQ_NMI, vcpu) || (arch.nmi_pending + arch.nmi_queued > 0 && kvm_x86.nmi_allowed(vcpu))) return true;
  if (kvm_test_request(KVM_REQ_SMI, vcpu) || (arch.smi_pending && !arch.smm)) return true;
  return kvm_x86.interrupt_allowed(vcpu) && kvm_cpu_has_interrupt(vcpu);
}
export const kvm_vcpu_running = (vcpu: kvm_vcpu): boolean => vcpu.arch.mp_state === KVM_MP_STATE_RUNNABLE;

/** Nothing to wait for. */
export const kvm_vcpu_woken = (vcpu: kvm_vcpu): boolean => kvm_vcpu_running(vcpu) || kvm_vcpu_has_events(vcpu) || kvm_test_request(KVM_REQ_UNBLOCK, vcpu);

/** Sleeps until there is something to do; false when there was something at once. The check and the sleep are one step: no wake-up is lost between them. */
export function* kvm_vcpu_block(vcpu: kvm_vcpu): MaySleep<boolean> {
  if (kvm_vcpu_woken(vcpu) || signal_pending(current())) return false;
  vcpu.blocking = true;
  vcpu.stat.blocking = 1;
  yield* wait_event_interruptible(vcpu.wq, () => kvm_vcpu_woken(vcpu));
  vcpu.stat.blocking = 0;
  vcpu.blocking = false;
  return true;
}

/** One round of a vCPU that is not running. 1: look again; negative: -errno. */
export function* vcpu_block(vcpu: kvm_vcpu): MaySleep<number> {
  if (!kvm_vcpu_woken(vcpu)) {
    if (vcpu.arch.mp_state === KVM_MP_STATE_HALTED) yield* kvm_vcpu_halt(vcpu);
    else yield* kvm_vcpu_block(vcpu);
    if (signal_pending(current()) && !kvm_vcpu_woken(vcpu)) return 1;
  }
  kvm_check_request(KVM_REQ_UNBLOCK, vcpu);
  const r = kvm_apic_accept_events(vcpu);
  if (r < 0) return r;
  switch (vcpu.arch.mp_state) {
    case KVM_MP_STATE_HALTED: case KVM_MP_STATE_AP_RESET_HOLD:
      if (kvm_vcpu_has_events(vcpu)) {
        vcpu.arch.pv.unhalted = false;
        vcpu.arch.mp_state = KVM_MP_STATE_RUNNABLE;
        kvm_make_request(KVM_REQ_EVENT, vcpu);
      }
      return 1;
    case KVM_MP_STATE_RUNNABLE: case KVM_MP_STATE_INIT_RECEIVED: return 1;
    default: return 1;
  }
}

/** Makes a vCPU look at its requests: wakes it if it sleeps, gets it out of the guest if another processor runs it. */
export function kvm_vcpu_kick(vcpu: kvm_vcpu): void {
  if (vcpu.wq.entries.length > 0) {
    vcpu.ready = true;
    vcpu.stat.halt_wakeup++;
    vcpu.wq.wake_up();
  }
  if (vcpu.mode === IN_GUEST_MODE && vcpu.arch.last_vmentry_cpu !== this_processor().id) smp_send_reschedule(vcpu.arch.last_vmentry_cpu);
}
