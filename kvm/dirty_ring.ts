/**
 * The dirty ring: each vCPU tells user space of the pages it dirtied, in a ring they share.
 *
 * Linux: virt/kvm/dirty_ring.c, Documentation/virt/kvm/api.rst 8.29
 *
 * An entry goes from empty to dirty (KVM filled it), to harvested (user space set RESET), and back by
 * KVM_RESET_DIRTY_RINGS, which write-protects the page again. Some entries are kept in reserve, so that a vCPU told to
 * leave can still finish what it is doing.
 */
import { E2BIG, EINVAL, ENOMEM } from '../abi/errno.ts';
import { KVM_DIRTY_GFN_F_DIRTY, KVM_DIRTY_GFN_F_RESET, KVM_DIRTY_LOG_PAGE_OFFSET, KVM_EXIT_DIRTY_RING_FULL, kvm_dirty_gfn } from '../abi/kvm/index.ts';
import { PAGE_SIZE, __get_free_zeroed, put_page } from '../kernel/exports.ts';
import { KVM_REQ_DIRTY_RING_SOFT_FULL, type kvm, type kvm_memory_slot, type kvm_vcpu, kvm_check_request, kvm_make_request } from './kvm_host.ts';
import { kvm_mmu_write_protect_pages } from './mmu/slots.ts';
import { kvm_flush_remote_tlbs } from './mmu/tlb.ts';
import { kvm_dirty_ring_exit, kvm_dirty_ring_push as kvm_dirty_ring_push_trace, kvm_dirty_ring_reset as kvm_dirty_ring_reset_trace } from './trace.ts';

const KVM_DIRTY_RING_RSVD_ENTRIES = 64;
const KVM_DIRTY_RING_MAX_ENTRIES = 65536;
const ENTRY = kvm_dirty_gfn.size;
/** What KVM_CAP_DIRTY_LOG_RING answers: the largest ring in bytes. */
export const KVM_DIRTY_RING_MAX_BYTES = KVM_DIRTY_RING_MAX_ENTRIES * ENTRY;

export class kvm_dirty_ring {
  readonly size: number;
  readonly soft_limit: number;
  /** Where the next entry goes, and the oldest not yet reset: they only grow. */
  dirty_index = 0;
  reset_index = 0;
  readonly pfns: readonly number[];
  constructor(pfns: readonly number[]) {
    this.pfns = pfns;
    this.size = pfns.length * PAGE_SIZE / ENTRY;
    this.soft_limit = this.size - KVM_DIRTY_RING_RSVD_ENTRIES;
  }
}

/** Enabling: bytes of each vCPU's ring, a power of two, before there is a vCPU. */
export function kvm_vm_ioctl_enable_dirty_log_ring(kvm: kvm, bytes: bigint): number {
  const size = Number(BigInt.asUintN(32, bytes));
  if (size === 0 || (size & (size - 1)) !== 0 || size < KVM_DIRTY_RING_RSVD_ENTRIES * ENTRY || size < PAGE_SIZE) return -EINVAL;
  if (size > KVM_DIRTY_RING_MAX_BYTES) return -E2BIG;
  if (kvm.dirty_ring_size !== 0 || kvm.created_vcpus > 0) return -EINVAL;
  kvm.dirty_ring_size = size;
  return 0;
}

/** The ring of a new vCPU, undefined where the VM has none, or -ENOMEM. */
export function kvm_dirty_ring_alloc(kvm: kvm): kvm_dirty_ring | undefined | number {
  if (kvm.dirty_ring_size === 0) return undefined;
  const pfns: number[] = [];
  for (let i = 0; i < kvm.dirty_ring_size / PAGE_SIZE; i++) {
    const pfn = __get_free_zeroed();
    if (pfn < 0) {
      for (const page of pfns) put_page(page);
      return -ENOMEM;
    }
    pfns.push(pfn);
  }
  return new kvm_dirty_ring(pfns);
}
export function kvm_dirty_ring_free(ring: kvm_dirty_ring | undefined): void { for (const pfn of ring?.pfns ?? []) put_page(pfn); }

export const kvm_page_in_dirty_ring = (kvm: kvm, pgoff: number): boolean =>
  kvm.dirty_ring_size !== 0 && pgoff >= KVM_DIRTY_LOG_PAGE_OFFSET && pgoff < KVM_DIRTY_LOG_PAGE_OFFSET + kvm.dirty_ring_size / PAGE_SIZE;

const used = (ring: kvm_dirty_ring): number => ring.dirty_index - ring.reset_index;
const soft_full = (ring: kvm_dirty_ring): boolean => used(ring) >= ring.soft_limit;

/** Index in mem.u32 of an entry. */
function entry_at(kvm: kvm, ring: kvm_dirty_ring, index: number): number {
  const byte = (index % ring.size) * ENTRY;
  return (kvm.ram_base + ring.pfns[Math.floor(byte / PAGE_SIZE)]! * PAGE_SIZE + (byte % PAGE_SIZE)) >>> 2;
}
const slot_number = (slot: kvm_memory_slot): number => slot.as_id * 0x1_0000 + slot.id;

export function kvm_dirty_ring_push(vcpu: kvm_vcpu, slot: kvm_memory_slot, offset: number): void {
  const { kvm } = vcpu;
  const ring = vcpu.dirty_ring!;
  const words = kvm.mem.u32;
  const at = entry_at(kvm, ring, ring.dirty_index);
  words[at + 1] = slot_number(slot);
  words[at + 2] = offset;
  words[at + 3] = 0;
  words[at] = KVM_DIRTY_GFN_F_DIRTY;
  ring.dirty_index++;
  if (kvm_dirty_ring_push_trace.enabled) kvm_dirty_ring_push_trace.trace({ index: vcpu.vcpu_idx, dirty_index: ring.dirty_index, reset_index: ring.reset_index, slot: slot_number(slot), offset: BigInt(offset) });
  if (soft_full(ring)) kvm_make_request(KVM_REQ_DIRTY_RING_SOFT_FULL, vcpu);
}

/** True: user space must harvest before the guest may go on. */
export function kvm_dirty_ring_check_request(vcpu: kvm_vcpu): boolean {
  if (!kvm_check_request(KVM_REQ_DIRTY_RING_SOFT_FULL, vcpu) || !soft_full(vcpu.dirty_ring!)) return false;
  kvm_make_request(KVM_REQ_DIRTY_RING_SOFT_FULL, vcpu);
  vcpu.run.exit_reason = KVM_EXIT_DIRTY_RING_FULL;
  if (kvm_dirty_ring_exit.enabled) kvm_dirty_ring_exit.trace({ vcpu_id: vcpu.vcpu_id });
  return true;
}

/** KVM_RESET_DIRTY_RINGS: how many entries of all vCPUs were harvested and are free again. */
export function kvm_vm_ioctl_reset_dirty_pages(kvm: kvm): number {
  if (kvm.dirty_ring_size === 0) return -EINVAL;
  let cleared = 0;
  for (const vcpu of kvm.vcpus) cleared += reset(kvm, vcpu);
  if (cleared !== 0) kvm_flush_remote_tlbs(kvm);
  return cleared;
}

function reset(kvm: kvm, vcpu: kvm_vcpu): number {
  const ring = vcpu.dirty_ring!;
  const words = kvm.mem.u32;
  const pages = new Map<kvm_memory_slot, Set<number>>();
  let count = 0;
  for (; used(ring) > 0; count++) {
    const at = entry_at(kvm, ring, ring.reset_index);
    if ((words[at]! & KVM_DIRTY_GFN_F_RESET) === 0) break;
    const number = words[at + 1]!;
    const offset = words[at + 3]! * 2 ** 32 + words[at + 2]!;
    words[at] = 0;
    ring.reset_index++;
    // User space may have written anything here: a slot that is not there, or a page it does not have, means nothing.
    const slot = kvm.memslots[number >>> 16]?.byId.get(number & 0xffff);
    if (slot === undefined || offset >= slot.npages) continue;
    let wanted = pages.get(slot);
    if (wanted === undefined) pages.set(slot, wanted = new Set());
    wanted.add(slot.base_gfn + offset);
  }
  for (const [slot, gfns] of pages) kvm_mmu_write_protect_pages(kvm, slot, gfns);
  if (kvm_dirty_ring_reset_trace.enabled) kvm_dirty_ring_reset_trace.trace({ index: vcpu.vcpu_idx, dirty_index: ring.dirty_index, reset_index: ring.reset_index });
  return count;
}
