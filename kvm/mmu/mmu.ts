/**
 * Guest-linear to guest-physical, and what a vCPU keeps of its MMU.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c, x86.c (kvm_mmu_gva_to_gpa_read and relatives)
 */
import type { x86_exception } from '../emulate.ts';
import { type kvm_vcpu, is_long_mode, is_paging, kvm_x86 } from '../kvm_host.ts';
import { PFERR_USER_MASK, guest_walker, walk_addr } from './paging.ts';
import type { kvm_mmu_page } from './shadow-page.ts';

export { PFERR_FETCH_MASK, PFERR_PRESENT_MASK, PFERR_RSVD_MASK, PFERR_USER_MASK, PFERR_WRITE_MASK } from './paging.ts';

/** What a vCPU keeps of its MMU: of shadow paging only. */
export class kvm_mmu {
  /** Frame the processor's CR3 points to; 0 while the roots must be looked up first. */
  root = 0;
  /** The shadow pages that are its roots: one, or those of PAE paging's four that are present. */
  readonly roots: (kvm_mmu_page | undefined)[] = [];
  /** Frame of the four top entries of PAE paging; 0 until needed. */
  pae_root = 0;
  /** The frame whose write is being emulated because it is a page table. */
  tracked_gfn = -1;
}

export const UNMAPPED_GVA = -1;

const walker = new guest_walker();

/**
 * The guest-physical address of `gva`, or UNMAPPED_GVA with the fault in `out`. `access` is PFERR_WRITE, USER and FETCH
 * bits as wanted; 0 with `check` false asks only whether there is a translation.
 */
export function gva_to_gpa(vcpu: kvm_vcpu, gva: bigint, access: number, out: x86_exception | undefined, check = true): number {
  if (!is_paging(vcpu)) return Number(is_long_mode(vcpu) ? gva : gva & 0xffff_ffff_ffff_ffffn);
  return walk_addr(vcpu, walker, gva, access, out, check) ? walker.gpa : UNMAPPED_GVA;
}

/** Access bits of the code that runs: PFERR_USER at CPL 3. */
export const access_of_cpl = (vcpu: kvm_vcpu): number => (kvm_x86.get_cpl(vcpu) === 3 ? PFERR_USER_MASK : 0);
