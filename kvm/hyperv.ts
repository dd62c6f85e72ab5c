/**
 * The MSRs of Hyper-V's interface that hold state: a guest may find them once its CPUID names Hyper-V, user space always.
 *
 * Linux: arch/x86/kvm/hyperv.c
 */
import { ktime_get } from '../kernel/exports.ts';
import type { kvm_vcpu } from './kvm_host.ts';

/** State of a vCPU of its own. */
export interface kvm_vcpu_hv { readonly msrs: Map<number, bigint> }

const GUEST_OS_ID = 0x4000_0000, HYPERCALL = 0x4000_0001, VP_INDEX = 0x4000_0002, RESET = 0x4000_0003, VP_RUNTIME = 0x4000_0010;
const TIME_REF_COUNT = 0x4000_0020, REFERENCE_TSC = 0x4000_0021, VP_ASSIST_PAGE = 0x4000_0073, CRASH_P0 = 0x4000_0100, CRASH_CTL = 0x4000_0105;
const KNOWN = new Set([GUEST_OS_ID, HYPERCALL, VP_INDEX, RESET, VP_RUNTIME, TIME_REF_COUNT, REFERENCE_TSC, VP_ASSIST_PAGE, CRASH_CTL, ...[0, 1, 2, 3, 4].map((i) => CRASH_P0 + i)]);

export const is_hv_msr = (msr: number): boolean => KNOWN.has(msr);

export function hv_get_msr(vcpu: kvm_vcpu, msr: number, host: boolean): bigint | undefined {
  if (!host && !vcpu.arch.hv_enabled) return undefined;
  const { arch } = vcpu.kvm;
  switch (msr) {
    case GUEST_OS_ID: return arch.hv_guest_os_id;
    case HYPERCALL: return arch.hv_hypercall;
    case VP_INDEX: return BigInt(vcpu.vcpu_idx);
    case TIME_REF_COUNT: return BigInt(ktime_get()) / 100n;
    default: return arch.hv_misc.get(msr) ?? 0n;
  }
}

export function hv_set_msr(vcpu: kvm_vcpu, msr: number, data: bigint, host: boolean): number {
  if (!host && !vcpu.arch.hv_enabled) return 1;
  const { arch } = vcpu.kvm;
  switch (msr) {
    case GUEST_OS_ID:
      arch.hv_guest_os_id = data;
      // Without a guest there is no hypercall page.
      if (data === 0n) arch.hv_hypercall &= ~1n;
      return 0;
    case HYPERCALL:
      if (arch.hv_guest_os_id !== 0n) arch.hv_hypercall = data;
      return 0;
    case VP_RUNTIME: case TIME_REF_COUNT: case VP_INDEX: return host ? 0 : 1;
    default: arch.hv_misc.set(msr, data); return 0;
  }
}
