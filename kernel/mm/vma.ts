/**
 * The areas of an address space: finding, joining and splitting them.
 * Linux: mm/vma.c, mm/mmap.c
 */
import { PAGE_SIZE, TASK_SIZE, VM_GROWSDOWN, type mm_struct, vm_area_struct } from './types.ts';

/** Where mmap looks downwards for room. */
export const MMAP_BASE = 0x7fff_f7ff_f000;
export const MMAP_MIN_ADDR = 0x1_0000;
/** Room kept free below a stack. */
const STACK_GUARD_GAP = 256 * PAGE_SIZE;

/** Index of the first area that ends above `address`; mmap.length when there is none. */
export function vma_index(mm: mm_struct, address: number): number {
  const areas = mm.mmap;
  let low = 0;
  let high = areas.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (areas[middle]!.vm_end > address) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The first area that ends above `address`: it holds the address, or lies above it. */
export const find_vma = (mm: mm_struct, address: number): vm_area_struct | undefined => mm.mmap[vma_index(mm, address)];

/** An area overlapping [start, end). */
export function find_vma_intersection(mm: mm_struct, start: number, end: number): vm_area_struct | undefined {
  const vma = find_vma(mm, start);
  return vma !== undefined && vma.vm_start < end ? vma : undefined;
}

export function insert_vma(vma: vm_area_struct): void {
  const mm = vma.vm_mm;
  mm.mmap.splice(vma_index(mm, vma.vm_start), 0, vma);
  mm.total_vm += (vma.vm_end - vma.vm_start) / PAGE_SIZE;
}

/** Highest free range of `length` below MMAP_BASE, or -1. */
export function unmapped_area_topdown(mm: mm_struct, length: number): number {
  let end = MMAP_BASE;
  for (let i = vma_index(mm, MMAP_BASE - 1); i >= 0; i--) {
    const vma = mm.mmap[i];
    if (vma !== undefined) {
      const bottom = vma.vm_start - ((vma.vm_flags & VM_GROWSDOWN) !== 0 ? STACK_GUARD_GAP : 0);
      if (bottom < end) end = Math.min(end, bottom);
    }
    const below = mm.mmap[i - 1]?.vm_end ?? MMAP_MIN_ADDR;
    if (end - length >= below) return end - length;
  }
  return -1;
}

/** Cuts the area in two at `address`, which lies inside it; returns the upper half. */
export function split_vma(vma: vm_area_struct, address: number): vm_area_struct {
  const upper = new vm_area_struct(vma.vm_mm, address, vma.vm_end, vma.vm_flags, vma.vm_pgoff + (address - vma.vm_start) / PAGE_SIZE, vma.vm_file, vma.vm_ops);
  upper.name = vma.name;
  if (upper.vm_file !== undefined) upper.vm_file.f_count++;
  upper.vm_ops?.open?.(upper);
  vma.vm_end = address;
  vma.vm_mm.mmap.splice(vma_index(vma.vm_mm, address - 1) + 1, 0, upper);
  return upper;
}

const joinable = (a: vm_area_struct, b: vm_area_struct): boolean =>
  a.vm_end === b.vm_start && a.vm_flags === b.vm_flags && a.vm_ops === undefined && b.vm_ops === undefined && a.vm_file === b.vm_file && a.name === b.name;

/** Joins anonymous areas that touch and agree, in [start - 1, end]. */
export function merge_vmas(mm: mm_struct, start: number, end: number): void {
  for (let i = Math.max(1, vma_index(mm, Math.max(0, start - 1))); i < mm.mmap.length && mm.mmap[i]!.vm_start <= end; ) {
    const a = mm.mmap[i - 1]!;
    const b = mm.mmap[i]!;
    if (joinable(a, b)) {
      a.vm_end = b.vm_end;
      mm.mmap.splice(i, 1);
    } else i++;
  }
}

/** The areas overlapping [start, end), cut so that none reaches beyond it. */
export function isolate(mm: mm_struct, start: number, end: number): vm_area_struct[] {
  const found: vm_area_struct[] = [];
  for (let i = vma_index(mm, start); i < mm.mmap.length && mm.mmap[i]!.vm_start < end; i++) {
    let vma = mm.mmap[i]!;
    if (vma.vm_start < start) {
      vma = split_vma(vma, start);
      i++;
    }
    if (vma.vm_end > end) split_vma(vma, end);
    found.push(vma);
  }
  return found;
}

export const page_align = (n: number): number => Math.ceil(n / PAGE_SIZE) * PAGE_SIZE;
export const user_range_ok = (start: number, length: number): boolean => start >= 0 && length >= 0 && start + length <= TASK_SIZE;
