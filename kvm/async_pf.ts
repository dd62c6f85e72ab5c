/**
 * Asynchronous page faults: what a guest is told when a page it touched is being brought in, so that it runs something else.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_pv_enable_async_pf, kvm_check_async_pf_completion), virt/kvm/async_pf.c
 *
 * No page of a process makes its user wait here (swap is compressed RAM), so "not present" is never told. What remains is
 * the word that wakes whoever waits in the guest, given once a guest switches the service on: a fresh kernel on an old VM
 * could hold tasks that wait for pages of the time before.
 */
import {
  KVM_ASYNC_PF_DELIVERY_AS_INT, KVM_ASYNC_PF_DELIVERY_AS_PF_VMEXIT, KVM_ASYNC_PF_ENABLED, KVM_FEATURE_ASYNC_PF_INT, KVM_FEATURE_ASYNC_PF_VMEXIT, kvm_vcpu_pv_apf_data,
} from '../abi/kvm/index.ts';
import { kvm_vcpu_kick } from './block.ts';
import { gfn_of, kvm_read_guest_u32, kvm_write_guest_u32 } from './guest-memory.ts';
import { KVM_REQ_APF_READY, type kvm_vcpu, kvm_make_request, lapic_in_kernel } from './kvm_host.ts';
import { kvm_vcpu_gfn_to_memslot } from './memslots.ts';
import { guest_pv_has } from './pv-cpuid.ts';
import { kvm_async_pf_ready } from './trace-time.ts';

const TOKEN = kvm_vcpu_pv_apf_data.offset.token;
const WAKE_ALL = 0xffff_ffff;
const BOTH = BigInt(KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_DELIVERY_AS_INT);

const enabled = (vcpu: kvm_vcpu): boolean => (vcpu.arch.pv.apf_en_msr & BOTH) === BOTH;
const page_of = (vcpu: kvm_vcpu): number => Number(vcpu.arch.pv.apf_en_msr & ~0x3fn);

/** MSR_KVM_ASYNC_PF_EN. 1: refused. */
export function kvm_pv_enable_async_pf(vcpu: kvm_vcpu, data: bigint): number {
  const { pv } = vcpu.arch;
  if ((data & 0x30n) !== 0n) return 1;
  if ((data & BigInt(KVM_ASYNC_PF_DELIVERY_AS_PF_VMEXIT)) !== 0n && !guest_pv_has(vcpu, KVM_FEATURE_ASYNC_PF_VMEXIT)) return 1;
  if ((data & BigInt(KVM_ASYNC_PF_DELIVERY_AS_INT)) !== 0n && !guest_pv_has(vcpu, KVM_FEATURE_ASYNC_PF_INT)) return 1;
  if (!lapic_in_kernel(vcpu)) return data === 0n ? 0 : 1;
  pv.apf_en_msr = data;
  if (!enabled(vcpu)) {
    pv.apf_wakeup_all = false;
    return 0;
  }
  if (data >= 1n << 52n || kvm_vcpu_gfn_to_memslot(vcpu, gfn_of(page_of(vcpu))) === undefined) return 1;
  pv.apf_wakeup_all = true;
  kvm_make_request(KVM_REQ_APF_READY, vcpu);
  if (!pv.pageready_pending) kvm_vcpu_kick(vcpu);
  return 0;
}

/** MSR_KVM_ASYNC_PF_INT: the vector. 1: refused. */
export function kvm_pv_enable_async_pf_int(vcpu: kvm_vcpu, data: bigint): number {
  if (data >> 8n !== 0n || !lapic_in_kernel(vcpu)) return 1;
  vcpu.arch.pv.apf_int_msr = data;
  return 0;
}

/** MSR_KVM_ASYNC_PF_ACK: the guest has read the token and takes another. */
export function kvm_ack_async_pf(vcpu: kvm_vcpu, data: bigint): void {
  if ((data & 1n) === 0n) return;
  vcpu.arch.pv.pageready_pending = false;
  kvm_check_async_pf_completion(vcpu);
}

/** KVM_REQ_APF_READY: hands over the token when the guest's place for it is free. */
export function kvm_check_async_pf_completion(vcpu: kvm_vcpu): void {
  const { pv, apic } = vcpu.arch;
  if (!pv.apf_wakeup_all || apic === undefined) return;
  if (enabled(vcpu)) {
    if (!apic.hw_enabled || !apic.chip.enabled || kvm_read_guest_u32(vcpu, page_of(vcpu) + TOKEN) !== 0) return;
    if (kvm_async_pf_ready.enabled) kvm_async_pf_ready.trace({ token: BigInt(WAKE_ALL), gva: 0n });
    if (kvm_write_guest_u32(vcpu, page_of(vcpu) + TOKEN, WAKE_ALL) === 0) {
      pv.pageready_pending = true;
      apic.accept({ vector: Number(pv.apf_int_msr), deliveryMode: 0, logical: false, destination: vcpu.vcpu_id, level: false, assert: true });
    }
  }
  pv.apf_wakeup_all = false;
}
