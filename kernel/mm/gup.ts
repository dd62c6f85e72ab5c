/**
 * The frame behind a user address, for those who go on using it: KVM's memory slots.
 * Linux: mm/gup.c
 */
import { EFAULT } from '../../abi/errno.ts';
import { machine } from '../current.ts';
import { get_page, physical_to_pfn } from './page-alloc.ts';
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
