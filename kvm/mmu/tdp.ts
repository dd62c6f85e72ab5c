/**
 * Faults of the second dimension: EPT is filled page by page, 2 MiB at once where that can be, when the guest touches
 * memory.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c (kvm_tdp_page_fault, fast_page_fault, handle_mmio_page_fault)
 */
import { EAGAIN, EFAULT, EINTR, EINVAL, EIO, ENOENT, EOPNOTSUPP } from '../../abi/errno.ts';
import { KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, type kvm_pre_fault_memory } from '../../abi/kvm/index.ts';
import { HPAGE_PMD_NR, type MaySleep, PAGE_SIZE, current, get_user_page, get_user_page_fast_only, huge_run, put_page, signal_pending } from '../../kernel/exports.ts';
import { type kvm, type kvm_memory_slot, type kvm_vcpu, kvm_x86 } from '../kvm_host.ts';
import { kvm_arch_vcpu_memslots_id, kvm_vcpu_gfn_to_memslot, kvm_vcpu_memslots, mark_page_dirty_in_slot } from '../memslots.ts';
import { kvm_flush_remote_tlbs } from './tlb.ts';
import {
  EPT_READ, EPT_WRITE, MMIO_SPTE, PG_LEVEL_2M, PG_LEVEL_4K, found_level, is_mmu_writable, tdp_entry, tdp_lookup, tdp_make_writable, tdp_set_leaf,
} from './tdp-tables.ts';
import { fast_page_fault as fast_page_fault_trace, handle_mmio_page_fault_trace, kvm_mmu_set_spte, mark_mmio_spte } from './trace.ts';

// What a fault comes to.
export const RET_PF_RETRY = 0;
export const RET_PF_EMULATE = 1;
export const RET_PF_ERROR = -1;
export const RET_PF_FIXED = 2;
export const RET_PF_SPURIOUS = 3;

/** Generations kept in an MMIO entry. */
const GENERATION = 0xf_ffff;
const address_of = (at: number): bigint => BigInt(at) << 2n;
const spte = (kvm: kvm, at: number): bigint => (BigInt(kvm.mem.u32[at + 1]!) << 32n) | BigInt(kvm.mem.u32[at]!);

/**
 * Serves an EPT violation at `gpa`. RET_PF_RETRY, FIXED, SPURIOUS: the guest may go on; RET_PF_EMULATE: there is no
 * memory, or none that may be written; -errno otherwise.
 */
export function kvm_tdp_page_fault(vcpu: kvm_vcpu, gpa: number, write: boolean, present: boolean): number | MaySleep<number> {
  vcpu.stat.pf_taken++;
  const gfn = Math.floor(gpa / PAGE_SIZE);
  const slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);
  if (slot === undefined) return mark_mmio(vcpu, gfn);
  if (write && present) {
    const r = fast_page_fault(vcpu, slot, gfn, gpa);
    if (r !== RET_PF_RETRY) return counted(vcpu, r);
  }
  if (write && (slot.flags & KVM_MEM_READONLY) !== 0) return counted(vcpu, RET_PF_EMULATE);
  const { mm } = vcpu.kvm;
  const hva = slot.userspace_addr + (gfn - slot.base_gfn) * PAGE_SIZE;
  const mayWrite = (slot.flags & KVM_MEM_READONLY) === 0;
  // A page the process can write already is mapped so on a read as well: it saves the second fault.
  const ready = mayWrite ? get_user_page_fast_only(mm, hva) : -EFAULT;
  if (ready > 0) return map(vcpu, slot, gfn, true, ready);
  const getting = get_user_page(mm, hva, write);
  const first = getting.next();
  if (first.done !== true) return wait_for_page(vcpu, slot, gfn, write, getting);
  const writable = !write && mayWrite && first.value > 0 ? get_user_page_fast_only(mm, hva) : -EFAULT;
  if (writable > 0) put_page(writable);
  return map(vcpu, slot, gfn, write || writable > 0, first.value);
}

function counted(vcpu: kvm_vcpu, r: number): number {
  if (r === RET_PF_FIXED) vcpu.stat.pf_fixed++;
  else if (r === RET_PF_EMULATE) vcpu.stat.pf_emulate++;
  else if (r === RET_PF_SPURIOUS) vcpu.stat.pf_spurious++;
  return r;
}

/** A write to an entry that lost the right only to dirty logging needs neither the process's memory nor the slots' lock. */
function fast_page_fault(vcpu: kvm_vcpu, slot: kvm_memory_slot, gfn: number, gpa: number): number {
  const { kvm } = vcpu;
  const at = tdp_lookup(kvm, slot.as_id, gfn);
  if (at === 0) return RET_PF_RETRY;
  const level = found_level;
  const words = kvm.mem.u32;
  if ((words[at]! & EPT_READ) === 0) return RET_PF_RETRY;
  const old = fast_page_fault_trace.enabled ? spte(kvm, at) : 0n;
  let r = RET_PF_RETRY;
  if ((words[at]! & EPT_WRITE) !== 0) r = RET_PF_SPURIOUS;
  else if (is_mmu_writable(words[at + 1]!) && (level === PG_LEVEL_4K || !tracks_dirty(slot))) {
    tdp_make_writable(kvm, at);
    if (level === PG_LEVEL_4K) mark_page_dirty_in_slot(vcpu, slot, gfn);
    r = RET_PF_FIXED;
  }
  if (r !== RET_PF_RETRY) vcpu.stat.pf_fast++;
  if (fast_page_fault_trace.enabled) {
    fast_page_fault_trace.trace({
      vcpu_id: vcpu.vcpu_id, cr2_or_gpa: BigInt(gpa), error_code: 3n, sptep: address_of(at), old_spte: old, new_spte: spte(kvm, at), spurious: r === RET_PF_SPURIOUS ? 1 : 0, fixed: r === RET_PF_FIXED ? 1 : 0,
    });
  }
  return r;
}

/** The page had to be waited for. Whatever changed meanwhile makes the guest fault again. */
function* wait_for_page(vcpu: kvm_vcpu, slot: kvm_memory_slot, gfn: number, write: boolean, getting: MaySleep<number>): MaySleep<number> {
  const { kvm } = vcpu;
  const seq = kvm.mmu_invalidate_seq;
  yield;
  const pfn = yield* getting;
  if (kvm.mmu_invalidate_seq === seq && kvm_vcpu_gfn_to_memslot(vcpu, gfn) === slot) return map(vcpu, slot, gfn, write, pfn);
  if (pfn > 0) put_page(pfn);
  return RET_PF_RETRY;
}

const tracks_dirty = (slot: kvm_memory_slot): boolean => (slot.flags & KVM_MEM_LOG_DIRTY_PAGES) !== 0;

/**
 * The first frame of the 2 MiB around `gfn` if one entry may serve them all, 0 otherwise: the slot reaches that far, lies
 * alike in both dimensions, is not logged page by page, and the process has one whole run there.
 */
export function kvm_mmu_large_pfn(kvm: kvm, slot: kvm_memory_slot, gfn: number): number {
  const first = gfn - (gfn % HPAGE_PMD_NR);
  if (tracks_dirty(slot) || first < slot.base_gfn || first + HPAGE_PMD_NR > slot.base_gfn + slot.npages) return 0;
  const hva = slot.userspace_addr + (first - slot.base_gfn) * PAGE_SIZE;
  return hva % (HPAGE_PMD_NR * PAGE_SIZE) === 0 ? huge_run(kvm.mm, hva) : 0;
}

function map(vcpu: kvm_vcpu, slot: kvm_memory_slot, gfn: number, write: boolean, pfn: number): number {
  const { kvm } = vcpu;
  if (pfn < 0) return -EFAULT;
  const large = kvm_mmu_large_pfn(kvm, slot, gfn);
  const level = large !== 0 ? PG_LEVEL_2M : PG_LEVEL_4K;
  const at = tdp_entry(kvm, slot.as_id, gfn, level);
  if (at > 0) {
    const allowed = write && (slot.flags & KVM_MEM_READONLY) === 0;
    const lost = tdp_set_leaf(kvm, at, level, large !== 0 ? large : pfn, allowed, allowed);
    if (kvm_mmu_set_spte.enabled) kvm_mmu_set_spte.trace({ gfn: BigInt(gfn), spte: spte(kvm, at), sptep: address_of(at), level, r: 1, x: 1, u: -1 });
    if (lost) kvm_flush_remote_tlbs(kvm);
    if (allowed && level === PG_LEVEL_4K) mark_page_dirty_in_slot(vcpu, slot, gfn);
    vcpu.stat.pf_fixed++;
  }
  put_page(pfn);
  return at > 0 ? RET_PF_FIXED : at;
}

/** Remembers that nothing is there, so that the next access exits as a misconfiguration and needs no lookup. */
function mark_mmio(vcpu: kvm_vcpu, gfn: number): number {
  const { kvm } = vcpu;
  const at = tdp_entry(kvm, kvm_arch_vcpu_memslots_id(vcpu), gfn, PG_LEVEL_4K);
  if (at > 0) {
    const words = kvm.mem.u32;
    const generation = kvm_vcpu_memslots(vcpu).generation & GENERATION;
    words[at] = MMIO_SPTE;
    words[at + 1] = generation;
    vcpu.stat.pf_mmio_spte_created++;
    if (mark_mmio_spte.enabled) mark_mmio_spte.trace({ sptep: address_of(at), gfn: BigInt(gfn), access: 7, gen: generation });
  }
  return counted(vcpu, RET_PF_EMULATE);
}

/** An EPT misconfiguration at `gpa`: RET_PF_EMULATE when it is a remembered MMIO address, RET_PF_RETRY when that is outdated. */
export function handle_mmio_page_fault(vcpu: kvm_vcpu, gpa: number): number {
  const at = tdp_lookup(vcpu.kvm, kvm_arch_vcpu_memslots_id(vcpu), Math.floor(gpa / PAGE_SIZE));
  if (at <= 0) return RET_PF_RETRY;
  const words = vcpu.kvm.mem.u32;
  if (words[at] !== MMIO_SPTE) return (words[at]! & EPT_READ) !== 0 || words[at] === 0 ? RET_PF_RETRY : RET_PF_ERROR;
  if (words[at + 1] === (kvm_vcpu_memslots(vcpu).generation & GENERATION)) {
    if (handle_mmio_page_fault_trace.enabled) handle_mmio_page_fault_trace.trace({ addr: BigInt(gpa), gfn: BigInt(Math.floor(gpa / PAGE_SIZE)), access: 7 });
    return RET_PF_EMULATE;
  }
  words[at] = words[at + 1] = 0;
  return RET_PF_RETRY;
}

// ---------------------------------------------------------------- KVM_PRE_FAULT_MEMORY

/** Maps one page ahead of the guest: how many bytes of the range are served by it, or -errno. */
function pre_fault(vcpu: kvm_vcpu, gpa: number, size: number): number {
  const r = kvm_tdp_page_fault(vcpu, gpa, false, false);
  // A page that must be waited for is left to the guest's own fault.
  if (typeof r !== 'number') return -EAGAIN;
  if (r === RET_PF_EMULATE) return -ENOENT;
  if (r < 0) return r === RET_PF_ERROR ? -EIO : r;
  if (tdp_lookup(vcpu.kvm, kvm_arch_vcpu_memslots_id(vcpu), Math.floor(gpa / PAGE_SIZE)) <= 0) return 0;
  const bytes = PAGE_SIZE * 512 ** (found_level - 1);
  return Math.min(size, bytes - (gpa % bytes));
}

/** KVM_PRE_FAULT_MEMORY: what is left to do stays in the range. 0 as soon as one page was mapped. */
export function kvm_vcpu_pre_fault_memory(vcpu: kvm_vcpu, range: kvm_pre_fault_memory): number {
  const mask = BigInt(PAGE_SIZE - 1);
  if (range.flags !== 0n) return -EINVAL;
  if ((range.gpa & mask) !== 0n || (range.size & mask) !== 0n || BigInt.asUintN(64, range.gpa + range.size) <= range.gpa) return -EINVAL;
  if (!kvm_x86.tdp_enabled()) return -EOPNOTSUPP;
  const whole = range.size;
  let r = 0;
  while (range.size > 0n) {
    r = signal_pending(current()) ? -EINTR : pre_fault(vcpu, Number(range.gpa), Number(range.size));
    if (r < 0) break;
    range.gpa += BigInt(r);
    range.size -= BigInt(r);
  }
  return range.size === whole ? r : 0;
}
