/**
 * Steal time: how long a vCPU's thread wanted to run and could not, told to its guest; and whether it is running at all.
 *
 * Linux: arch/x86/kvm/x86.c (record_steal_time, kvm_steal_time_set_preempted), Documentation/virt/kvm/x86/msr.rst
 *
 * The "preempted" byte works both ways: the host sets it when the thread loses its processor, and another vCPU of the
 * guest may add "flush the TLB" to it instead of sending an IPI to a vCPU that does not run.
 */
import { KVM_FEATURE_PV_TLB_FLUSH, KVM_STEAL_RESERVED_MASK, KVM_VCPU_FLUSH_TLB, KVM_VCPU_PREEMPTED, kvm_steal_time } from '../abi/kvm/index.ts';
import { PAGE_SIZE, current, cycles_to_ns, get_user_page_fast_only, put_page } from '../kernel/exports.ts';
import { gfn_of, kvm_read_guest_u32, kvm_read_guest_u64, kvm_vcpu_read_guest, kvm_vcpu_write_guest, kvm_write_guest_u32, kvm_write_guest_u64 } from './guest-memory.ts';
import { KVM_REQ_STEAL_UPDATE, type kvm_vcpu, kvm_make_request, kvm_x86 } from './kvm_host.ts';
import { kvm_vcpu_gfn_to_memslot } from './memslots.ts';
import { guest_pv_has, kvm_pv_watch_load } from './pv-cpuid.ts';
import { kvm_pv_tlb_flush } from './trace-time.ts';

const ENABLED = 1n;
const { steal: STEAL, version: VERSION, preempted: PREEMPTED } = kvm_steal_time.offset;
const one = new Uint8Array(1);

const page_of = (vcpu: kvm_vcpu): number => Number(vcpu.arch.pv.steal_msr & ~0x3fn);

/** MSR_KVM_STEAL_TIME. 1: refused. */
export function kvm_set_steal_time(vcpu: kvm_vcpu, data: bigint): number {
  if ((data & BigInt(KVM_STEAL_RESERVED_MASK)) !== 0n) return 1;
  vcpu.arch.pv.steal_msr = data;
  kvm_pv_watch_load(vcpu);
  if ((data & ENABLED) !== 0n) kvm_make_request(KVM_REQ_STEAL_UPDATE, vcpu);
  return 0;
}

/** KVM_REQ_STEAL_UPDATE: the vCPU is about to run. */
export function record_steal_time(vcpu: kvm_vcpu): void {
  const { pv } = vcpu.arch;
  if ((pv.steal_msr & ENABLED) === 0n) return;
  const at = page_of(vcpu);
  const flushes = guest_pv_has(vcpu, KVM_FEATURE_PV_TLB_FLUSH);
  if (flushes && kvm_vcpu_read_guest(vcpu, at + PREEMPTED, one) !== 0) return;
  const flush = flushes && (one[0]! & KVM_VCPU_FLUSH_TLB) !== 0;
  one[0] = 0;
  if (kvm_vcpu_write_guest(vcpu, at + PREEMPTED, one) !== 0) return;
  pv.preempted = false;
  if (flushes && kvm_pv_tlb_flush.enabled) kvm_pv_tlb_flush.trace({ vcpu_id: vcpu.vcpu_id, need_flush_tlb: flush ? 1 : 0 });
  if (flush) kvm_x86.flush_tlb_current(vcpu);
  const version = kvm_read_guest_u32(vcpu, at + VERSION);
  const steal = kvm_read_guest_u64(vcpu, at + STEAL);
  if (version === undefined || steal === undefined) return;
  const begun = (version + (version & 1) + 1) >>> 0;
  const { run_delay } = current();
  kvm_write_guest_u32(vcpu, at + VERSION, begun);
  kvm_write_guest_u64(vcpu, at + STEAL, BigInt.asUintN(64, steal + BigInt(cycles_to_ns(run_delay)) - BigInt(cycles_to_ns(pv.last_steal))));
  pv.last_steal = run_delay;
  kvm_write_guest_u32(vcpu, at + VERSION, (begun + 1) >>> 0);
}

/** The thread gives up its processor. Only between two instructions of the guest may others act on its TLB. */
export function kvm_steal_time_set_preempted(vcpu: kvm_vcpu): void {
  const { pv } = vcpu.arch;
  if (!vcpu.arch.at_instruction_boundary) {
    vcpu.stat.preemption_other++;
    return;
  }
  vcpu.stat.preemption_reported++;
  if ((pv.steal_msr & ENABLED) === 0n || pv.preempted || current().mm !== vcpu.kvm.mm) return;
  const at = page_of(vcpu) + PREEMPTED;
  const slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn_of(at));
  if (slot === undefined) return;
  // The scheduler is at work: a page that is not there stays away.
  const pfn = get_user_page_fast_only(vcpu.kvm.mm, slot.userspace_addr + at - slot.base_gfn * PAGE_SIZE);
  if (pfn < 0) return;
  put_page(pfn);
  one[0] = KVM_VCPU_PREEMPTED;
  if (kvm_vcpu_write_guest(vcpu, at, one) === 0) pv.preempted = true;
}
