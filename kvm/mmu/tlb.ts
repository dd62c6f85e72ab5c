/**
 * Making processors forget translations of a guest.
 *
 * Linux: virt/kvm/kvm_main.c (kvm_flush_remote_tlbs)
 */
import { smp_call_function_single } from '../../kernel/exports.ts';
import { type kvm, KVM_REQ_TLB_FLUSH, kvm_make_request, kvm_x86 } from '../kvm_host.ts';

/** No processor may go on with an old translation: those in the guest flush now, the others before they enter. */
export function kvm_flush_remote_tlbs(kvm: kvm): void {
  kvm.stat.remote_tlb_flush_requests++;
  kvm.stat.remote_tlb_flush++;
  for (const vcpu of kvm.vcpus) {
    kvm_make_request(KVM_REQ_TLB_FLUSH, vcpu);
    if (vcpu.loaded && vcpu.cpu >= 0) smp_call_function_single(vcpu.cpu, () => kvm_x86.flush_tlb_all(kvm));
  }
}
