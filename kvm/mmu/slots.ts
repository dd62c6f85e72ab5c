/**
 * What memory slots and the process's memory ask of the MMU, whichever it is: taking entries away, write protection for
 * dirty logs.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c (kvm_mmu_slot_remove_write_access and relatives), x86.c (kvm_mmu_slot_apply_flags)
 */
import { PAGE_SIZE, module_param } from '../../kernel/exports.ts';
import { type kvm, type kvm_memory_slot, kvm_x86 } from '../kvm_host.ts';
import { PT_WRITABLE, drop_spte, for_each_rmap, type kvm_mmu_page, kvm_mmu_prepare_zap_page, shadow_mmu_split_huge_page } from './shadow-page.ts';
import { kvm_mmu_zap_all } from './shadow-root.ts';
import { kvm_mmu_large_pfn } from './tdp.ts';
import { kvm_tdp_mmu_free, kvm_tdp_mmu_try_split_huge_pages, kvm_tdp_mmu_wrprot, kvm_tdp_mmu_zap_collapsible, kvm_tdp_mmu_zap_gfns } from './tdp-tables.ts';
import { kvm_flush_remote_tlbs } from './tlb.ts';

const eager_page_split = (): boolean => module_param('kvm', 'eager_page_split') === true;

/** Removes all entries that map a range of an address space. */
export function kvm_mmu_zap_gfns(kvm: kvm, as_id: number, first: number, npages: number): void {
  const present = kvm_x86.tdp_enabled() ? kvm_tdp_mmu_zap_gfns(kvm, as_id, first, first + npages) : shadow_zap_gfns(kvm, as_id, first, first + npages);
  kvm.mmu_invalidate_seq++;
  if (present) kvm_flush_remote_tlbs(kvm);
}

/** A slot goes or moves: what was made from it, tables of the guest in it too. */
export function kvm_mmu_flush_slot(kvm: kvm, slot: kvm_memory_slot): void {
  if (!kvm_x86.tdp_enabled()) kvm_mmu_zap_all(kvm);
  kvm_mmu_zap_gfns(kvm, slot.as_id, slot.base_gfn, slot.npages);
}

/** Dirty logging begins: every page of the slot faults at its next write, a page of 4 KiB at a time. */
export function kvm_mmu_slot_start_logging(kvm: kvm, slot: kvm_memory_slot): void {
  protect(kvm, slot, slot.base_gfn, slot.base_gfn + slot.npages, () => true);
}

/** Dirty logging ends: what could be large entries comes back as such. */
export function kvm_mmu_slot_stop_logging(kvm: kvm, slot: kvm_memory_slot): void {
  const may_be_large = (gfn: number): boolean => kvm_mmu_large_pfn(kvm, slot, gfn) !== 0;
  const end = slot.base_gfn + slot.npages;
  const zap = kvm_x86.tdp_enabled() ? kvm_tdp_mmu_zap_collapsible : shadow_zap_collapsible;
  if (zap(kvm, slot.as_id, slot.base_gfn, end, may_be_large)) kvm_flush_remote_tlbs(kvm);
}

/** These frames of a slot were told as dirty: their next write is to be told again. */
export function kvm_mmu_write_protect_pages(kvm: kvm, slot: kvm_memory_slot, gfns: ReadonlySet<number>): void {
  if (gfns.size === 0) return;
  const all = [...gfns];
  protect(kvm, slot, Math.min(...all), Math.max(...all) + 1, (gfn) => gfns.has(gfn));
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
  let narrowed: boolean;
  if (kvm_x86.tdp_enabled()) {
    // With "initially set" large entries outlive the start of logging.
    if (eager_page_split()) kvm_tdp_mmu_try_split_huge_pages(kvm, slot.as_id, first, end);
    narrowed = kvm_tdp_mmu_wrprot(kvm, slot.as_id, first, end, wanted);
  } else narrowed = shadow_wrprot(kvm, slot.as_id, first, end, wanted);
  if (narrowed) kvm_flush_remote_tlbs(kvm);
}

// ---------------------------------------------------------------- the same of shadow paging, by the reverse map

function shadow_zap_gfns(kvm: kvm, as_id: number, first: number, end: number): boolean {
  let present = false;
  for_each_rmap(kvm, as_id, first, end, (at, sp) => { present = drop_spte(kvm, sp, at) || present; });
  return present;
}

function shadow_wrprot(kvm: kvm, as_id: number, first: number, end: number, wanted: (gfn: number) => boolean): boolean {
  const words = kvm.mem.u32;
  let narrowed = false;
  // Large entries first: what becomes of them is met again among the small ones, or comes back small by a fault.
  for_each_rmap(kvm, as_id, first, end, (at, sp) => {
    if (sp.role.level > 1 && !(eager_page_split() && shadow_mmu_split_huge_page(kvm, sp, at))) narrowed = drop_spte(kvm, sp, at) || narrowed;
  });
  for_each_rmap(kvm, as_id, first, end, (at, _sp, gfn) => {
    if ((words[at]! & PT_WRITABLE) !== 0 && wanted(gfn)) {
      words[at]! &= ~PT_WRITABLE;
      narrowed = true;
    }
  });
  return narrowed;
}

/** Direct pages of small entries, where one large entry would do. */
function shadow_zap_collapsible(kvm: kvm, as_id: number, first: number, end: number, may_be_large: (gfn: number) => boolean): boolean {
  const pages = new Set<kvm_mmu_page>();
  for_each_rmap(kvm, as_id, first, end, (_at, sp, gfn) => { if (sp.role.level === 1 && sp.role.direct && !pages.has(sp) && may_be_large(gfn)) pages.add(sp); });
  for (const sp of pages) kvm_mmu_prepare_zap_page(kvm, sp);
  return false;
}

// ---------------------------------------------------------------- the process

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

/** The VM dies, its vCPUs before it. */
export function kvm_mmu_free(kvm: kvm): void {
  kvm_mmu_zap_all(kvm);
  kvm_tdp_mmu_free(kvm);
}
