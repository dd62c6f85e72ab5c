/**
 * Shadow paging: page faults of a guest whose page tables the processor does not see.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c, paging_tmpl.h (page_fault, fetch), Documentation/virt/kvm/x86/mmu.rst
 *
 * The processor walks tables that KVM makes from the guest's. A fault is the guest's own (its tables say so: it is
 * injected) or comes of a shadow table that is not filled yet. The tables of the guest are write-protected, so that a
 * change is seen; tables of the last level may instead be let go ("unsync") and compared again when the guest makes the
 * processor forget translations, for only then does it rely on the change.
 */
import { EFAULT, ENOMEM, ENOSPC } from '../../abi/errno.ts';
import { KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY } from '../../abi/kvm/index.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, get_user_page_fast, get_user_page_fast_only, put_page } from '../../kernel/exports.ts';
import type { x86_exception } from '../emulate.ts';
import { kvm_inject_page_fault } from '../events.ts';
import { type kvm_memory_slot, type kvm_vcpu, is_paging, kvm_read_cr0, kvm_read_cr4 } from '../kvm_host.ts';
import { kvm_arch_vcpu_memslots_id, kvm_vcpu_gfn_to_memslot, kvm_vcpu_memslots, mark_page_dirty_in_slot } from '../memslots.ts';
import {
  ACC_ALL, ACC_EXEC_MASK, ACC_USER_MASK, ACC_WRITE_MASK, PFERR_FETCH_MASK, PFERR_PRESENT_MASK, PFERR_RSVD_MASK, PFERR_USER_MASK, PFERR_WRITE_MASK, guest_walker, walk_addr,
} from './paging.ts';
import {
  MMIO_HIGH, PT_ACCESSED, PT_DIRTY, PT_NX_HIGH, PT_PAGE_SIZE, PT_PRESENT, PT_USER, PT_WRITABLE, SPTE_HOST_WRITABLE, SPTE_MMU_WRITABLE, drop_spte, entry_at, is_mmio_spte, key_of,
  kvm_gfn_is_write_tracked, kvm_mmu_find_or_alloc, type kvm_mmu_page, kvm_mmu_prepare_zap_page, link_shadow_page, lpage_allowed, make_mmu_pages_available, mmu_page_zap_pte, rmap_add,
} from './shadow-page.ts';
import { kvm_sync_page } from './shadow-sync.ts';
import { kvm_flush_remote_tlbs } from './tlb.ts';
import { RET_PF_EMULATE, RET_PF_FIXED, RET_PF_RETRY, RET_PF_SPURIOUS, kvm_mmu_large_pfn } from './tdp.ts';
import { handle_mmio_page_fault_trace, kvm_mmu_set_spte, kvm_mmu_unsync_page, mark_mmio_spte } from './trace.ts';
import { shadow_root_level } from './shadow-root.ts';

const CR0_WP = 0x10000n, CR4_SMEP = 0x100000n;
/** Generations kept in an MMIO entry: where the frame would stand. */
const GENERATION = 0xf_ffff;

const walker = new guest_walker();
const guest_fault: x86_exception = { vector: 0, error_code_valid: false, error_code: 0, address: 0n };

/** The fault in hand. */
interface kvm_page_fault {
  readonly gva: bigint;
  readonly write: boolean;
  readonly user: boolean;
  readonly exec: boolean;
  readonly gfn: number;
  readonly slot: kvm_memory_slot | undefined;
  pfn: number;
  map_writable: boolean;
  /** Level of the entry to be set. */
  goal: number;
}

/**
 * Serves a page fault the processor reported. RET_PF_RETRY, FIXED, SPURIOUS: the guest goes on, perhaps into its own
 * fault; RET_PF_EMULATE: the access must be emulated; -errno otherwise.
 */
export function kvm_shadow_page_fault(vcpu: kvm_vcpu, gva: bigint, error_code: number): number {
  const { kvm } = vcpu;
  vcpu.stat.pf_taken++;
  vcpu.arch.mmu.tracked_gfn = -1;
  if ((error_code & PFERR_RSVD_MASK) !== 0 && handle_mmio_page_fault(vcpu, gva)) return counted(vcpu, RET_PF_EMULATE);
  const access = error_code & (PFERR_WRITE_MASK | PFERR_USER_MASK | PFERR_FETCH_MASK);
  const write = (access & PFERR_WRITE_MASK) !== 0;
  if (is_paging(vcpu)) {
    if (!walk_addr(vcpu, walker, gva, access, guest_fault, true)) {
      kvm_inject_page_fault(vcpu, guest_fault);
      return RET_PF_RETRY;
    }
  } else {
    walker.level = 1;
    walker.gpa = Number(gva);
    walker.pte_access = ACC_ALL;
  }
  const gfn = Math.floor(walker.gpa / PAGE_SIZE);
  const slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);
  const fault: kvm_page_fault = { gva, write, user: (access & PFERR_USER_MASK) !== 0, exec: (access & PFERR_FETCH_MASK) !== 0, gfn, slot, pfn: 0, map_writable: false, goal: 1 };
  if (write && (error_code & PFERR_PRESENT_MASK) !== 0 && kvm_gfn_is_write_tracked(kvm, key_of(kvm_arch_vcpu_memslots_id(vcpu), gfn))) {
    vcpu.arch.mmu.tracked_gfn = gfn;
    return counted(vcpu, RET_PF_EMULATE);
  }
  if (slot !== undefined) {
    if (write && (slot.flags & KVM_MEM_READONLY) !== 0) return counted(vcpu, RET_PF_EMULATE);
    const r = faultin_pfn(vcpu, slot, fault);
    if (r < 0) return r;
  }
  wp_emulation(vcpu, fault);
  if (!make_mmu_pages_available(kvm)) {
    if (fault.pfn > 0) put_page(fault.pfn);
    return -ENOSPC;
  }
  const pfn = fault.pfn;
  const r = fetch(vcpu, fault);
  if (pfn > 0) put_page(pfn);
  return counted(vcpu, r);
}

function counted(vcpu: kvm_vcpu, r: number): number {
  if (r === RET_PF_FIXED) vcpu.stat.pf_fixed++;
  else if (r === RET_PF_EMULATE) vcpu.stat.pf_emulate++;
  else if (r === RET_PF_SPURIOUS) vcpu.stat.pf_spurious++;
  return r;
}

/** The frame behind the address, with a reference. */
function faultin_pfn(vcpu: kvm_vcpu, slot: kvm_memory_slot, fault: kvm_page_fault): number {
  const { mm } = vcpu.kvm;
  const hva = slot.userspace_addr + (fault.gfn - slot.base_gfn) * PAGE_SIZE;
  const may_write = (slot.flags & KVM_MEM_READONLY) === 0;
  const ready = may_write ? get_user_page_fast_only(mm, hva) : -EFAULT;
  fault.map_writable = ready > 0 || fault.write;
  fault.pfn = ready > 0 ? ready : get_user_page_fast(mm, hva, fault.write);
  if (fault.pfn < 0) return -EFAULT;
  if (ready <= 0 && may_write && !fault.write) {
    const writable = get_user_page_fast_only(mm, hva);
    if (writable > 0) put_page(writable);
    fault.map_writable = writable > 0;
  }
  return 0;
}

/**
 * A write by the supervisor that only CR0.WP = 0 allows: the processor always runs with WP set, so the page becomes a
 * supervisor's page that may be written, until user code touches it. With SMEP it must not become executable by that.
 */
function wp_emulation(vcpu: kvm_vcpu, fault: kvm_page_fault): void {
  if (!fault.write || (walker.pte_access & ACC_WRITE_MASK) !== 0 || fault.user || fault.slot === undefined || (kvm_read_cr0(vcpu) & CR0_WP) !== 0n) return;
  walker.pte_access |= ACC_WRITE_MASK;
  walker.pte_access &= ~ACC_USER_MASK;
  if ((kvm_read_cr4(vcpu) & CR4_SMEP) !== 0n) walker.pte_access &= ~ACC_EXEC_MASK;
}

/** How large an entry may be: what the guest maps at once, the process has in one run, and no shadowed table lies in. */
function goal_level(vcpu: kvm_vcpu, fault: kvm_page_fault): number {
  const { slot, gfn } = fault;
  if (slot === undefined || (is_paging(vcpu) && walker.level === 1) || !lpage_allowed(vcpu.kvm, key_of(slot.as_id, gfn))) return 1;
  // A 32-bit guest's page of 4 MiB is two of ours.
  const large = kvm_mmu_large_pfn(vcpu.kvm, slot, gfn);
  if (large === 0) return 1;
  fault.pfn = large;
  return 2;
}

const index_at = (gva: bigint, level: number): number => Number((gva >> BigInt(12 + 9 * (level - 1))) & 511n);

/** Goes down the shadow tables to the faulting address, making what is missing, and sets the last entry. */
function fetch(vcpu: kvm_vcpu, fault: kvm_page_fault): number {
  const { kvm } = vcpu;
  const { mmu } = vcpu.arch;
  const words = kvm.mem.u32;
  const paging = is_paging(vcpu);
  fault.goal = goal_level(vcpu, fault);
  const top = shadow_root_level(vcpu);
  let level = top === 4 ? 4 : 2;
  let sp = top === 4 ? mmu.roots[0] : mmu.roots[Number((fault.gva >> 30n) & 3n)];
  if (sp === undefined || !sp.valid) return RET_PF_RETRY;
  const direct_access = walker.pte_access;
  for (; level > fault.goal; level--) {
    const at = entry_at(kvm, sp, index_at(fault.gva, level));
    let child: kvm_mmu_page | undefined;
    const shadowed = paging && level > walker.level;
    const gfn = shadowed ? walker.table_gfn[level - 2]! : fault.gfn - (fault.gfn % 512 ** (level - 1));
    const role = {
      level: level - 1, direct: !shadowed, access: shadowed ? walker.pt_access[level - 2]! : direct_access, as_id: sp.role.as_id, cpu: sp.role.cpu, has_4_byte_gpte: shadowed && sp.role.has_4_byte_gpte,
      // A 32-bit table of the last level has 1024 entries: bit 21 of the address says in which half of it.
      quadrant: shadowed && sp.role.has_4_byte_gpte ? Number((fault.gva >> 21n) & 1n) : 0,
    };
    const low = words[at]!;
    const present = (low & PT_PRESENT) !== 0 && (low & PT_PAGE_SIZE) === 0 && !is_mmio_spte(low, words[at + 1]!);
    if (present) {
      child = kvm.arch.shadow.by_pfn.get(low >>> 12)!;
      if (child.gfn !== gfn || child.role.direct !== role.direct || child.role.access !== role.access) child = undefined;
    }
    if (child === undefined) {
      if (mmu_page_zap_pte(kvm, sp, at)) kvm_flush_remote_tlbs(kvm);
      child = kvm_mmu_find_or_alloc(kvm, gfn, role, (page) => kvm_sync_page(vcpu, page));
      if (child === undefined) return -ENOMEM;
      // Making room or tables may have taken what led here.
      if (!sp.valid || !child.valid) return RET_PF_RETRY;
      link_shadow_page(kvm, at, child);
    }
    sp = child;
  }
  return mmu_set_spte(vcpu, sp, index_at(fault.gva, fault.goal), fault);
}

/** Sets an entry for memory, or the mark for none. */
function mmu_set_spte(vcpu: kvm_vcpu, sp: kvm_mmu_page, i: number, fault: kvm_page_fault): number {
  const { kvm } = vcpu;
  const words = kvm.mem.u32;
  const at = entry_at(kvm, sp, i);
  const { slot } = fault;
  const access = walker.pte_access;
  if (slot === undefined) {
    const generation = kvm_vcpu_memslots(vcpu).generation & GENERATION;
    if (mmu_page_zap_pte(kvm, sp, at)) kvm_flush_remote_tlbs(kvm);
    words[at] = ((generation << 12) | PT_PRESENT) >>> 0;
    words[at + 1] = MMIO_HIGH;
    sp.gfns[i] = fault.gfn;
    sp.access[i] = access;
    vcpu.stat.pf_mmio_spte_created++;
    if (mark_mmio_spte.enabled) mark_mmio_spte.trace({ sptep: BigInt(at) << 2n, gfn: BigInt(fault.gfn), access, gen: generation });
    return RET_PF_EMULATE;
  }
  const base = fault.goal === 2 ? fault.gfn - (fault.gfn % HPAGE_PMD_NR) : fault.gfn;
  let low = PT_PRESENT | PT_ACCESSED | (fault.goal === 2 ? PT_PAGE_SIZE : 0) | ((access & ACC_USER_MASK) !== 0 ? PT_USER : 0) | (fault.map_writable ? SPTE_HOST_WRITABLE : 0);
  let result = RET_PF_FIXED;
  if ((access & ACC_WRITE_MASK) !== 0 && fault.map_writable) {
    low |= PT_WRITABLE | SPTE_MMU_WRITABLE | PT_DIRTY;
    if (!mmu_try_to_unsync_pages(vcpu, key_of(slot.as_id, fault.gfn), fault.write)) {
      low &= ~(PT_WRITABLE | SPTE_MMU_WRITABLE | PT_DIRTY);
      if (fault.write) {
        vcpu.arch.mmu.tracked_gfn = fault.gfn;
        result = RET_PF_EMULATE;
      }
    }
  }
  if (!sp.valid) return RET_PF_RETRY;
  const word = ((fault.pfn * PAGE_SIZE) | low) >>> 0;
  const high = (access & ACC_EXEC_MASK) !== 0 ? 0 : PT_NX_HIGH;
  const old = words[at]!;
  if (old === word && words[at + 1] === high) return result === RET_PF_FIXED ? RET_PF_SPURIOUS : result;
  const had = (old & PT_PRESENT) !== 0 && !is_mmio_spte(old, words[at + 1]!);
  if (had) {
    if (mmu_page_zap_pte(kvm, sp, at)) kvm_flush_remote_tlbs(kvm);
  } else if (old !== 0) drop_spte(kvm, sp, at);
  words[at] = word;
  words[at + 1] = high;
  sp.gfns[i] = base;
  sp.access[i] = access;
  rmap_add(kvm, key_of(slot.as_id, base), fault.goal, at);
  if (kvm_mmu_set_spte.enabled) kvm_mmu_set_spte.trace({ gfn: BigInt(base), spte: (BigInt(high) << 32n) | BigInt(word), sptep: BigInt(at) << 2n, level: fault.goal, r: 1, x: high === 0 ? 1 : 0, u: (low & PT_USER) !== 0 ? 1 : 0 });
  if ((low & PT_WRITABLE) !== 0 && (slot.flags & KVM_MEM_LOG_DIRTY_PAGES) !== 0) mark_page_dirty_in_slot(vcpu, slot, fault.gfn);
  return result;
}

/** May a frame be mapped writable? A table of the last level may, and is then out of step, if somebody really writes. */
function mmu_try_to_unsync_pages(vcpu: kvm_vcpu, key: number, write: boolean): boolean {
  const { kvm } = vcpu;
  const pages = kvm.arch.shadow.page_hash.get(key);
  if (pages === undefined) return true;
  if (kvm_gfn_is_write_tracked(kvm, key)) return false;
  for (const sp of pages) {
    if (sp.unsync) continue;
    if (!write) return false;
    kvm.stat.mmu_unsync++;
    sp.unsync = true;
    kvm.arch.shadow.unsync_pages.add(sp);
    if (kvm_mmu_unsync_page.enabled) kvm_mmu_unsync_page.trace({ mmu_valid_gen: 0, gfn: BigInt(sp.gfn), role: sp.word, root_count: sp.root_count, unsync: 1 });
  }
  return true;
}

/** A fault on a reserved bit: is it a remembered address without memory that is still one? */
function handle_mmio_page_fault(vcpu: kvm_vcpu, gva: bigint): boolean {
  const found = shadow_walk(vcpu, gva);
  if (found === undefined) return false;
  const { sp, at } = found;
  const words = vcpu.kvm.mem.u32;
  if (!is_mmio_spte(words[at]!, words[at + 1]!)) return false;
  if (words[at]! >>> 12 !== (kvm_vcpu_memslots(vcpu).generation & GENERATION)) {
    drop_spte(vcpu.kvm, sp, at);
    return false;
  }
  if (handle_mmio_page_fault_trace.enabled) handle_mmio_page_fault_trace.trace({ addr: gva, gfn: BigInt(sp.gfns[index_at(gva, sp.role.level)]!), access: sp.access[index_at(gva, sp.role.level)]! });
  return true;
}

/** The last entry the processor comes to for an address; undefined while the roots are not there. */
export function shadow_walk(vcpu: kvm_vcpu, gva: bigint): { sp: kvm_mmu_page; at: number } | undefined {
  const { kvm } = vcpu;
  const { roots } = vcpu.arch.mmu;
  const top = shadow_root_level(vcpu);
  let sp = top === 4 ? roots[0] : roots[Number((gva >> 30n) & 3n)];
  const words = kvm.mem.u32;
  while (sp !== undefined) {
    const at = entry_at(kvm, sp, index_at(gva, sp.role.level));
    const low = words[at]!;
    if (sp.role.level === 1 || (low & PT_PRESENT) === 0 || (low & PT_PAGE_SIZE) !== 0 || is_mmio_spte(low, words[at + 1]!)) return { sp, at };
    sp = kvm.arch.shadow.by_pfn.get(low >>> 12);
  }
  return undefined;
}

/** The write that was to be emulated cannot be: the frame is no table any more, and the guest may write by itself. */
export function kvm_mmu_unprotect_gfn(vcpu: kvm_vcpu, gfn: number): boolean {
  const pages = vcpu.kvm.arch.shadow.page_hash.get(key_of(kvm_arch_vcpu_memslots_id(vcpu), gfn));
  if (pages === undefined || pages.length === 0) return false;
  for (const sp of [...pages]) kvm_mmu_prepare_zap_page(vcpu.kvm, sp);
  return true;
}

