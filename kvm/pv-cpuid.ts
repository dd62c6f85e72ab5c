/**
 * Which of KVM's services a guest may use: all of them, until user space asks that its CPUID decide.
 *
 * Linux: arch/x86/kvm/cpuid.h (guest_pv_has), cpuid.c (kvm_update_pv_runtime), KVM_CAP_ENFORCE_PV_FEATURE_CPUID
 */
import { KVM_CPUID_FEATURES, KVM_CPUID_SIGNATURE, KVM_FEATURE_PV_UNHALT } from '../abi/kvm/index.ts';
import { KVM_REQ_GLOBAL_CLOCK_UPDATE, KVM_REQ_STEAL_UPDATE, type kvm_vcpu, kvm_make_request } from './kvm_host.ts';
import { kvm_find_cpuid_entry } from './cpuid.ts';

const ENABLED = 1n;

export const guest_pv_has = (vcpu: kvm_vcpu, feature: number): boolean => !vcpu.arch.pv.enforce || ((vcpu.arch.pv.features >>> feature) & 1) !== 0;

/** KVM's leaves may lie at any multiple of 0x100 from 0x40000000: behind another hypervisor's. */
function kvm_cpuid_base(vcpu: kvm_vcpu): number | undefined {
  for (let base = KVM_CPUID_SIGNATURE; base < KVM_CPUID_SIGNATURE + 0x10000; base += 0x100) {
    const e = kvm_find_cpuid_entry(vcpu, base);
    if (e !== undefined && e.ebx === 0x4b4d_564b && e.ecx === 0x564b_4d56 && e.edx === 0x4d) return base;
  }
  return undefined;
}
/** After the table changed, or was made to decide. A guest whose HLT does not exit needs no kicks. */
export function kvm_update_pv_runtime(vcpu: kvm_vcpu): void {
  const base = kvm_cpuid_base(vcpu);
  const e = base === undefined ? undefined : kvm_find_cpuid_entry(vcpu, base + (KVM_CPUID_FEATURES - KVM_CPUID_SIGNATURE));
  if (e === undefined) {
    vcpu.arch.pv.features = 0;
    return;
  }
  if (vcpu.kvm.arch.hlt_in_guest) e.eax = (e.eax & ~(1 << KVM_FEATURE_PV_UNHALT)) >>> 0;
  vcpu.arch.pv.features = e.eax;
}

/** Loading a vCPU costs extra only where a guest uses a service that has to know. */
export function kvm_pv_watch_load(vcpu: kvm_vcpu): void {
  vcpu.arch.pv.watches_load = vcpu.arch.pv.time_active || (vcpu.arch.pv.steal_msr & ENABLED) !== 0n;
}
/** vcpu_load of a vCPU that was on `before` (-1: nowhere yet). */
export function kvm_pv_vcpu_load(vcpu: kvm_vcpu, before: number, cpu: number): void {
  if (before !== cpu && (before === -1 || !vcpu.kvm.arch.clock.use_master_clock)) kvm_make_request(KVM_REQ_GLOBAL_CLOCK_UPDATE, vcpu);
  if ((vcpu.arch.pv.steal_msr & ENABLED) !== 0n) kvm_make_request(KVM_REQ_STEAL_UPDATE, vcpu);
}
