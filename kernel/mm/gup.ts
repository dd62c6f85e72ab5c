/**
 * The frame behind a user address, for those who go on using it: KVM's memory slots.
 * Linux: mm/gup.c
 */
import { EFAULT } from '../../abi/errno.ts';
import { machine } from '../current.ts';
import { get_page, physical_to_pfn } from './page-alloc.ts';
import { _PAGE_PRESENT, _PAGE_RW, pte_offset, pte_pfn } from './page-table.ts';
import { space_of } from './space.ts';
import type { MaySleep } from '../sched/types.ts';
import type { mm_struct } from './types.ts';

/** Faults the page in if need be and takes a reference: the frame, or -EFAULT. */
export function get_user_page_fast(mm: mm_struct, address: number, write: boolean): number {
  const at = space_of(mm).translate(address, write);
  if (at < 0) return -EFAULT;
  const pfn = physical_to_pfn(at - machine().ram.base);
  get_page(pfn);
  return pfn;
}

/** The form for callers that may sleep while the page is brought in. */
export function* get_user_page(mm: mm_struct, address: number, write: boolean): MaySleep<number> {
  return get_user_page_fast(mm, address, write);
}

/** The frame if user space could write to it at once, with a reference; -EFAULT otherwise. Takes no fault. */
export function get_user_page_fast_only(mm: mm_struct, address: number): number {
  const at = pte_offset(mm, address);
  const entry = at === 0 ? 0 : machine().ram.mem.u32[at]!;
  if ((entry & (_PAGE_PRESENT | _PAGE_RW)) !== (_PAGE_PRESENT | _PAGE_RW)) return -EFAULT;
  const pfn = pte_pfn(entry);
  get_page(pfn);
  return pfn;
}
