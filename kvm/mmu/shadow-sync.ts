/**
 * Keeping shadow tables in step with the guest's: comparing those that were let go, and following emulated writes.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c (kvm_sync_page, kvm_mmu_invlpg, kvm_mmu_track_write)
 */
import { PAGE_SIZE } from '../../kernel/exports.ts';
import { type kvm_vcpu, kvm_x86 } from '../kvm_host.ts';
import { kvm_arch_vcpu_memslots_id } from '../memslots.ts';
import { ACC_WRITE_MASK, gpte_access, read_gpte } from './paging.ts';
import { ROLE_NX, entry_at, key_of, type kvm_mmu_page, kvm_mmu_prepare_zap_page, mmu_page_zap_pte, rmap_write_protect } from './shadow-page.ts';
import { shadow_walk } from './shadow.ts';
import { kvm_flush_remote_tlbs } from './tlb.ts';
import { kvm_mmu_sync_page } from './trace.ts';

const PRESENT = 1n, ACCESSED = 0x20n, DIRTY = 0x40n, NX = 1n << 63n;
const ADDRESS = 0x000f_ffff_ffff_f000n;

/** Does the guest's entry still say what the shadow entry was made from? */
function gpte_is_unchanged(vcpu: kvm_vcpu, sp: kvm_mmu_page, i: number): boolean {
  const wide = !sp.role.has_4_byte_gpte;
  const index = wide ? i : sp.role.quadrant * 512 + i;
  const gpte = read_gpte(vcpu, sp.gfn * PAGE_SIZE + index * (wide ? 8 : 4), wide);
  if (gpte === undefined || (gpte & (PRESENT | ACCESSED)) !== (PRESENT | ACCESSED)) return false;
  if (wide && (gpte & NX) !== 0n && (sp.role.cpu & ROLE_NX) === 0) return false;
  let access = sp.role.access & gpte_access(gpte, wide);
  if ((gpte & DIRTY) === 0n) access &= ~ACC_WRITE_MASK;
  return Number((gpte & (wide ? ADDRESS : 0xffff_f000n)) >> 12n) === sp.gfns[i] && access === sp.access[i];
}

/** Drops the entries of a table of the last level that are no longer right, and watches the table again. */
export function kvm_sync_page(vcpu: kvm_vcpu, sp: kvm_mmu_page): void {
  const { kvm } = vcpu;
  const words = kvm.mem.u32;
  sp.unsync = false;
  kvm.arch.shadow.unsync_pages.delete(sp);
  let flush = rmap_write_protect(kvm, key_of(sp.role.as_id, sp.gfn));
  if (kvm_mmu_sync_page.enabled) kvm_mmu_sync_page.trace({ mmu_valid_gen: 0, gfn: BigInt(sp.gfn), role: sp.word, root_count: sp.root_count, unsync: 0 });
  for (let i = 0; i < 512; i++) {
    const at = entry_at(kvm, sp, i);
    if (words[at] !== 0 && !gpte_is_unchanged(vcpu, sp, i)) flush = mmu_page_zap_pte(kvm, sp, at) || flush;
  }
  if (flush) kvm_flush_remote_tlbs(kvm);
}

/** What the guest may rely on after a load of CR3 or a flush of all translations. */
export function kvm_mmu_sync_roots(vcpu: kvm_vcpu): void {
  for (const sp of [...vcpu.kvm.arch.shadow.unsync_pages]) if (sp.unsync && sp.role.as_id === kvm_arch_vcpu_memslots_id(vcpu)) kvm_sync_page(vcpu, sp);
}

/** INVLPG: the entry for one address is made anew at the next access, if its table is out of step. */
export function kvm_mmu_invlpg(vcpu: kvm_vcpu, gva: bigint): void {
  vcpu.stat.invlpg++;
  const found = shadow_walk(vcpu, gva);
  if (found?.sp.unsync && mmu_page_zap_pte(vcpu.kvm, found.sp, found.at)) kvm_flush_remote_tlbs(vcpu.kvm);
  kvm_x86.flush_tlb_current(vcpu);
}

/** KVM wrote to guest memory for the guest: entries made from those bytes go. */
export function kvm_page_track_write(vcpu: kvm_vcpu, gpa: number, bytes: number): void {
  const { kvm } = vcpu;
  if (kvm.arch.shadow.page_hash.size === 0) return;
  const pages = kvm.arch.shadow.page_hash.get(key_of(kvm_arch_vcpu_memslots_id(vcpu), Math.floor(gpa / PAGE_SIZE)));
  if (pages === undefined) return;
  kvm.stat.mmu_pte_write++;
  let flush = false;
  for (const sp of [...pages]) {
    const size = sp.role.has_4_byte_gpte ? 4 : 8;
    const offset = gpa % PAGE_SIZE;
    const first = Math.floor(offset / size);
    const last = Math.floor((offset + bytes - 1) / size);
    // Not an entry at a time, or again and again without use: no table any more, most likely.
    const misaligned = last - first > 1 || (bytes < 4 && offset % size !== 0);
    if (misaligned || (sp.role.level > 1 && ++sp.write_flooding_count >= 3)) {
      kvm_mmu_prepare_zap_page(kvm, sp);
      kvm.stat.mmu_flooded++;
      continue;
    }
    for (let i = first; i <= last; i++) flush = zap_written(vcpu, sp, i) || flush;
  }
  if (flush) kvm_flush_remote_tlbs(kvm);
}

/** Entry `index` of the guest's table was written: one of ours, two for a directory entry of 32 bits, none in another quadrant. */
function zap_written(vcpu: kvm_vcpu, sp: kvm_mmu_page, index: number): boolean {
  const { kvm } = vcpu;
  const words = kvm.mem.u32;
  const { role } = sp;
  let first = index;
  let count = 1;
  if (role.has_4_byte_gpte) {
    const per_entry = role.level === 2 ? 2 : 1;
    first = index * per_entry - role.quadrant * 512;
    count = per_entry;
    if (first < 0 || first >= 512) return false;
  }
  let flush = false;
  for (let i = first; i < first + count; i++) {
    const at = entry_at(kvm, sp, i);
    if (words[at] === 0) continue;
    if (role.level > 1) kvm.stat.mmu_pde_zapped++;
    flush = mmu_page_zap_pte(kvm, sp, at) || flush;
  }
  return flush;
}
