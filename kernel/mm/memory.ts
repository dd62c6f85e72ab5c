/**
 * What happens to page-table entries: faults fill them, unmapping clears them, fork shares them.
 *
 * Linux: mm/memory.c, arch/x86/mm/fault.c
 *
 * Every change that takes a translation or a right away tells, in this order, the MMU notifiers and the views
 * (space.gen), and only then lets the frame go.
 */
import { ENOMEM } from '../../abi/errno.ts';
import { RLIMIT_STACK } from '../../abi/resource.ts';
import { current, machine, this_processor } from '../current.ts';
import { pr_err } from '../printk.ts';
import { do_huge_pmd_anonymous_page, hugepage_enabled } from './huge-memory.ts';
import { find_vma, vma_index } from './vma.ts';
import { __get_free_zeroed, alloc_page, page_count, page_to_host_offset, put_page, get_page, zone } from './page-alloc.ts';
import {
  _PAGE_ACCESSED, _PAGE_ANON, _PAGE_DIRTY, _PAGE_NX_HIGH, _PAGE_PRESENT, _PAGE_RW, _PAGE_USER, for_each_pte, free_pgtables, pte_alloc, pte_offset, pte_pfn,
} from './page-table.ts';
import { space_of } from './space.ts';
import { PAGE_SIZE, VM_EXEC, VM_GROWSDOWN, VM_READ, VM_SHARED, VM_WRITE, type mm_struct, type vm_area_struct } from './types.ts';

export const VM_FAULT_OOM = 1;
export const VM_FAULT_SIGBUS = 2;
/** No area there (SEGV_MAPERR), or one that forbids the access (SEGV_ACCERR). */
export const VM_FAULT_BADMAP = 3;
export const VM_FAULT_BADACCESS = 4;

/** Makes `address` accessible as the areas allow. 0, or VM_FAULT_*. */
export function handle_mm_fault(mm: mm_struct, address: number, write: boolean): number {
  const page = address - (address % PAGE_SIZE);
  let vma = find_vma(mm, page);
  if (vma === undefined) return VM_FAULT_BADMAP;
  if (page < vma.vm_start) {
    if (!expand_stack(vma, page)) return VM_FAULT_BADMAP;
    vma = find_vma(mm, page)!;
  }
  if ((vma.vm_flags & (write ? VM_WRITE : VM_READ | VM_EXEC | VM_WRITE)) === 0) return VM_FAULT_BADACCESS;
  const p = this_processor();
  p.charge(machine().costs.exception);
  const task = current();
  task.min_flt++;

  const at = pte_alloc(mm, page);
  if (at < 0) return out_of_memory();
  const words = machine().ram.mem.u32;
  const entry = words[at]!;
  if ((entry & _PAGE_PRESENT) !== 0) return write && (entry & _PAGE_RW) === 0 ? wp_page(vma, page, at) : 0;
  if (hugepage_enabled(vma) && do_huge_pmd_anonymous_page(vma, page)) {
    // The run is mapped, this page with it.
  } else if (vma.vm_ops === undefined) {
    const pfn = __get_free_zeroed();
    if (pfn < 0) return out_of_memory();
    mm.rss_anon++;
    set_pte(at, pfn, vma, (vma.vm_flags & VM_WRITE) !== 0, _PAGE_ANON);
  } else {
    const pgoff = vma.vm_pgoff + (page - vma.vm_start) / PAGE_SIZE;
    const pfn = vma.vm_ops.fault(vma, pgoff, write);
    if (pfn < 0) return pfn === -ENOMEM ? out_of_memory() : VM_FAULT_SIGBUS;
    const shared = (vma.vm_flags & VM_SHARED) !== 0;
    if (vma.vm_file === undefined) mm.rss_shmem++;
    else mm.rss_file++;
    set_pte(at, pfn, vma, shared && (vma.vm_flags & VM_WRITE) !== 0, 0);
    if (write && !shared) return wp_page(vma, page, at);
  }
  mm.hiwater_rss = Math.max(mm.hiwater_rss, mm.rss_anon + mm.rss_file + mm.rss_shmem);
  return 0;
}

function set_pte(at: number, pfn: number, vma: vm_area_struct, writable: boolean, software: number): void {
  const words = machine().ram.mem.u32;
  words[at] = ((pfn * PAGE_SIZE) | _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | (writable ? _PAGE_RW : 0) | software) >>> 0;
  words[at + 1] = (vma.vm_flags & VM_EXEC) !== 0 ? 0 : _PAGE_NX_HIGH;
}

/** Write to a present page without the right: copy-on-write, or the last user of a page takes it over. */
function wp_page(vma: vm_area_struct, page: number, at: number): number {
  const mm = vma.vm_mm;
  const words = machine().ram.mem.u32;
  const entry = words[at]!;
  const old = pte_pfn(entry);
  if ((vma.vm_flags & VM_SHARED) !== 0 || ((entry & _PAGE_ANON) !== 0 && page_count(old) === 1)) {
    words[at] = entry | _PAGE_RW | _PAGE_DIRTY;
    return 0;
  }
  const pfn = alloc_page();
  if (pfn < 0) return out_of_memory();
  const u8 = machine().ram.mem.u8;
  const from = page_to_host_offset(old);
  u8.copyWithin(page_to_host_offset(pfn), from, from + PAGE_SIZE);
  invalidate(mm, page, page + PAGE_SIZE);
  uncharge(vma, entry);
  mm.rss_anon++;
  set_pte(at, pfn, vma, true, _PAGE_ANON | _PAGE_DIRTY);
  space_of(mm).narrowed();
  put_page(old);
  return 0;
}

/** Takes one page off the counter it was counted under. */
function uncharge(vma: vm_area_struct, entry: number): void {
  const mm = vma.vm_mm;
  if ((entry & _PAGE_ANON) !== 0) mm.rss_anon--;
  else if (vma.vm_file === undefined) mm.rss_shmem--;
  else mm.rss_file--;
}

function invalidate(mm: mm_struct, start: number, end: number): void {
  for (const notifier of [...mm.notifiers]) notifier.invalidate_range(start, end);
}

/** Grows a stack area down to `page`, within its limit and not onto its neighbour. */
function expand_stack(vma: vm_area_struct, page: number): boolean {
  if ((vma.vm_flags & VM_GROWSDOWN) === 0) return false;
  const mm = vma.vm_mm;
  const limit = mm.owner?.signal.rlim[RLIMIT_STACK]?.cur ?? 8 << 20;
  if (vma.vm_end - page > limit) return false;
  const below = mm.mmap[mm.mmap.indexOf(vma) - 1];
  if (below !== undefined && page - below.vm_end < 256 * PAGE_SIZE) return false;
  const pages = (vma.vm_start - page) / PAGE_SIZE;
  mm.total_vm += pages;
  vma.vm_pgoff -= pages;
  vma.vm_start = page;
  return true;
}

/** No frame is left: the task that asked dies, as with vm.oom_kill_allocating_task. */
function out_of_memory(): number {
  const task = current();
  const mm = task.mm;
  if (mm !== undefined) {
    const kb = (pages: number) => `${pages * 4}kB`;
    pr_err(`Out of memory: Killed process ${task.tgid} (${task.comm}) total-vm:${kb(mm.total_vm)}, anon-rss:${kb(mm.rss_anon)}, file-rss:${kb(mm.rss_file)}, shmem-rss:${kb(mm.rss_shmem)}, UID:0 pgtables:${kb(mm.pgtables)} oom_score_adj:0`);
  }
  return VM_FAULT_OOM;
}

/** Takes every page of [start, end), which lies inside `vma`, out of the page tables. The area stays. */
export function zap_vma_range(vma: vm_area_struct, start: number, end: number): void {
  const mm = vma.vm_mm;
  const words = machine().ram.mem.u32;
  invalidate(mm, start, end);
  space_of(mm).narrowed();
  const { refcount } = zone();
  const z = zone();
  for_each_pte(mm, start, end, (at) => {
    const entry = words[at]!;
    words[at] = 0;
    words[at + 1] = 0;
    uncharge(vma, entry);
    const pfn = pte_pfn(entry);
    if (--refcount[pfn]! === 0) z.release(pfn, 0);
  });
}

/** Frees the page tables no area needs any more after [start, end) was unmapped. */
export function unmap_pgtables(mm: mm_struct, start: number, end: number): void {
  const i = vma_index(mm, start);
  free_pgtables(mm, start, end, mm.mmap[i - 1]?.vm_end ?? 0, mm.mmap[i]?.vm_start ?? ADDRESS_END);
}

/** The end of everything a process's tables can map. */
export const ADDRESS_END = 2 ** 47;

/** mprotect: brings present entries in line with the area's new flags. */
export function change_protection(vma: vm_area_struct, start: number, end: number): void {
  const mm = vma.vm_mm;
  const words = machine().ram.mem.u32;
  const readable = (vma.vm_flags & (VM_READ | VM_WRITE | VM_EXEC)) !== 0;
  invalidate(mm, start, end);
  for_each_pte(mm, start, end, (at) => {
    // The right to write comes back through a fault, which knows about copy-on-write.
    words[at] = (words[at]! & ~_PAGE_RW & ~_PAGE_USER) | (readable ? _PAGE_USER : 0);
    words[at + 1] = (vma.vm_flags & VM_EXEC) !== 0 ? 0 : _PAGE_NX_HIGH;
  });
  space_of(mm).narrowed();
}

/** fork: gives `child`'s area the same frames. Private pages become copy-on-write in both. 0 or -ENOMEM. */
export function copy_page_range(child: vm_area_struct, parent: vm_area_struct): number {
  const words = machine().ram.mem.u32;
  const shared = (parent.vm_flags & VM_SHARED) !== 0;
  // Pages of an object can be had again from it; anonymous ones cannot.
  if (shared) return 0;
  const mm = parent.vm_mm;
  let error = 0;
  invalidate(mm, parent.vm_start, parent.vm_end);
  for_each_pte(mm, parent.vm_start, parent.vm_end, (at, address) => {
    if (error < 0) return;
    const copy = pte_alloc(child.vm_mm, address);
    if (copy < 0) { error = copy; return; }
    const entry = words[at]! & ~_PAGE_RW;
    words[at] = entry;
    words[copy] = entry;
    words[copy + 1] = words[at + 1]!;
    get_page(pte_pfn(entry));
    if ((entry & _PAGE_ANON) !== 0) child.vm_mm.rss_anon++;
    else child.vm_mm.rss_file++;
  });
  space_of(mm).write_protected();
  return error;
}

/** Whether the processor would allow the access as the entry stands: no fault is taken. */
export function present(mm: mm_struct, address: number): boolean {
  const at = pte_offset(mm, address);
  return at !== 0 && (machine().ram.mem.u32[at]! & _PAGE_PRESENT) !== 0;
}
