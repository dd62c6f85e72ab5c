/** KVM_EXIT_INTERNAL_ERROR: KVM met what it cannot handle, and says what. */
import { KVM_EXIT_INTERNAL_ERROR } from '../../abi/kvm/index.ts';
import type { kvm_vcpu } from '../kvm_host.ts';

/** Fills kvm_run. Returns 0, which leads out to user space. */
export function internal_error(vcpu: kvm_vcpu, suberror: number, data: readonly bigint[]): number {
  const { run } = vcpu;
  run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
  run.internal.suberror = suberror;
  run.internal.ndata = data.length;
  data.forEach((value, i) => { run.internal.data.set(i, value); });
  return 0;
}
