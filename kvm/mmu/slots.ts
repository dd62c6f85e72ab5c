/**
 * What memory slots and the process's memory ask of the MMU, whichever it is: taking entries away, write protection for
 * dirty logs.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c (kvm_mmu_slot_remove_write_access and relatives), x86.c (kvm_mmu_slot_apply_flags)
 */
import { PAGE_SIZE, module_param } from '../../kernel/exports.ts';
import type { kvm, kvm_memory_slot } from '../kvm_host.ts';
import { kvm_mmu_large_pfn } from './tdp.ts';
import { kvm_tdp_mmu_free, kvm_tdp_mmu_try_split_huge_pages, kvm_tdp_mmu_wrprot, kvm_tdp_mmu_zap_collapsible, kvm_tdp_mmu_zap_gfns } from './tdp-tables.ts';
import { kvm_flush_remote_tlbs } from './tlb.ts';

const eager_page_split = (): boolean => module_param('kvm', 'eager_page_split') === true;

/** Removes all entries of a range of an address space. */
export function kvm_mmu_zap_gfns(kvm: kvm, as_id: number, first: number, npages: number): void {
  const present = kvm_tdp_mmu_zap_gfns(kvm, as_id, first, first + npages);
  kvm.mmu_invalidate_seq++;
  if (present) kvm_flush_remote_tlbs(kvm);
}

/** Dirty logging begins: every page of the slot faults at its next write, a page of 4 KiB at a time. */
export function kvm_mmu_slot_start_logging(kvm: kvm, slot: kvm_memory_slot): void {
  const end = slot.base_gfn + slot.npages;
  if (eager_page_split()) kvm_tdp_mmu_try_split_huge_pages(kvm, slot.as_id, slot.base_gfn, end);
  if (kvm_tdp_mmu_wrprot(kvm, slot.as_id, slot.base_gfn, end)) kvm_flush_remote_tlbs(kvm);
}

/** Dirty logging ends: what could be large entries comes back as such. */
export function kvm_mmu_slot_stop_logging(kvm: kvm, slot: kvm_memory_slot): void {
  if (kvm_tdp_mmu_zap_collapsible(kvm, slot.as_id, slot.base_gfn, slot.base_gfn + slot.npages, (gfn) => kvm_mmu_large_pfn(kvm, slot, gfn) !== 0)) kvm_flush_remote_tlbs(kvm);
}

/** These frames of a slot were told as dirty: their next write is to be told again. */
export function kvm_mmu_write_protect_pages(kvm: kvm, slot: kvm_memory_slot, gfns: ReadonlySet<number>): void {
  if (gfns.size === 0) return;
  const all = [...gfns];
  const first = Math.min(...all);
  const end = Math.max(...all) + 1;
  protect(kvm, slot, first, end, (gfn) => gfns.has(gfn));
}
/** The same for the bits of a slot's bitmap. */
export function kvm_mmu_write_protect_bitmap(kvm: kvm, slot: kvm_memory_slot, bitmap: Uint32Array): void {
  const first = bitmap.findIndex((word) => word !== 0);
  if (first < 0) return;
  const last = bitmap.findLastIndex((word) => word !== 0);
  const base = slot.base_gfn;
  protect(kvm, slot, base + first * 32, Math.min(base + slot.npages, base + (last + 1) * 32), (gfn) => (bitmap[(gfn - base) >>> 5]! & (1 << ((gfn - base) & 31))) !== 0);
}
function protect(kvm: kvm, slot: kvm_memory_slot, first: number, end: number, wanted: (gfn: number) => boolean): void {
  // With "initially set" large entries outlive the start of logging.
  if (eager_page_split()) kvm_tdp_mmu_try_split_huge_pages(kvm, slot.as_id, first, end);
  if (kvm_tdp_mmu_wrprot(kvm, slot.as_id, first, end, wanted)) kvm_flush_remote_tlbs(kvm);
}

/** The process's memory in [start, end) changes: MMU notifier. */
export function kvm_unmap_hva_range(kvm: kvm, start: number, end: number): void {
  kvm.mmu_invalidate_seq++;
  for (const space of kvm.memslots) {
    for (const slot of space.slots) {
      const from = Math.max(start, slot.userspace_addr);
      const to = Math.min(end, slot.userspace_addr + slot.npages * PAGE_SIZE);
      if (from >= to) continue;
      const first = slot.base_gfn + Math.floor((from - slot.userspace_addr) / PAGE_SIZE);
      kvm_mmu_zap_gfns(kvm, slot.as_id, first, Math.ceil((to - from) / PAGE_SIZE));
    }
  }
}

/** The VM dies. */
export const kvm_mmu_free = (kvm: kvm): void => kvm_tdp_mmu_free(kvm);
