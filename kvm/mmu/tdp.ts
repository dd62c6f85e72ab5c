/**
 * EPT: the second dimension of translation, filled page by page when the guest touches memory, and taken away when the
 * process's memory changes under it.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c, tdp_mmu.c; the entry format is SDM Vol. 3, 29.3.3
 *
 * An entry is only a copy of what the process's page tables say. KVM keeps no reference to the frame: the MMU notifier
 * removes the entry, on every processor, before the frame can go.
 */
import { EFAULT, ENOMEM } from '../../abi/errno.ts';
import { KVM_MEM_READONLY } from '../../abi/kvm/index.ts';
import { type MaySleep, PAGE_SIZE, __get_free_zeroed, get_user_page, get_user_page_fast_only, put_page, smp_call_function_single } from '../../kernel/exports.ts';
import { type kvm, type kvm_memory_slot, type kvm_vcpu, KVM_REQ_TLB_FLUSH, kvm_make_request, kvm_x86 } from '../kvm_host.ts';
import { kvm_arch_vcpu_memslots_id, kvm_vcpu_gfn_to_memslot, kvm_vcpu_memslots, mark_page_dirty_in_slot } from '../memslots.ts';

const READ = 1, WRITE = 2, EXECUTE = 4, MEMORY_WB = 6 << 3, IGNORE_PAT = 1 << 6;
/** Write without read is a misconfiguration: how an address without memory is remembered. The generation is in the upper half. */
const MMIO = WRITE | EXECUTE;
const TABLE = READ | WRITE | EXECUTE;
const LEVELS = 4;

// What a fault comes to.
export const RET_PF_RETRY = 0;
export const RET_PF_EMULATE = 1;
export const RET_PF_ERROR = -1;

/** Index into mem.u32 of the entry for `gfn` of an address space; 0 when a table on the way is missing and `make` is false, -ENOMEM when none can be had. */
function entry_of(kvm: kvm, as_id: number, gfn: number, make: boolean): number {
  const words = kvm.mem.u32;
  let table = kvm.arch.tdp_roots[as_id]!;
  if (table === 0) {
    if (!make) return 0;
    table = __get_free_zeroed();
    if (table < 0) return -ENOMEM;
    kvm.arch.tdp_roots[as_id] = table;
    kvm.arch.n_used_mmu_pages++;
  }
  for (let level = LEVELS; ; level--) {
    const index = Math.floor(gfn / 512 ** (level - 1)) % 512;
    const at = (kvm.ram_base + table * PAGE_SIZE + index * 8) >>> 2;
    if (level === 1) return at;
    if ((words[at]! & TABLE) !== 0) {
      table = words[at]! >>> 12;
      continue;
    }
    if (!make) return 0;
    table = __get_free_zeroed();
    if (table < 0) return -ENOMEM;
    kvm.arch.n_used_mmu_pages++;
    words[at] = ((table * PAGE_SIZE) | TABLE) >>> 0;
    words[at + 1] = 0;
  }
}

/**
 * Serves an EPT violation at `gpa`. RET_PF_RETRY: the guest may go on; RET_PF_EMULATE: there is no memory, or none that
 * may be written; -errno otherwise.
 */
export function kvm_tdp_page_fault(vcpu: kvm_vcpu, gpa: number, write: boolean): number | MaySleep<number> {
  const gfn = Math.floor(gpa / PAGE_SIZE);
  vcpu.stat.pf_taken++;
  const slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);
  if (slot === undefined) return mark_mmio(vcpu, gfn);
  if (write && (slot.flags & KVM_MEM_READONLY) !== 0) return RET_PF_EMULATE;
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

function map(vcpu: kvm_vcpu, slot: kvm_memory_slot, gfn: number, write: boolean, pfn: number): number {
  const { kvm } = vcpu;
  if (pfn < 0) return -EFAULT;
  const at = entry_of(kvm, slot.as_id, gfn, true);
  if (at > 0) {
    const words = kvm.mem.u32;
    if ((words[at]! & READ) === 0) kvm.stat.pages_4k++;
    words[at] = ((pfn * PAGE_SIZE) | READ | EXECUTE | (write ? WRITE : 0) | MEMORY_WB | IGNORE_PAT) >>> 0;
    words[at + 1] = 0;
    if (write) mark_page_dirty_in_slot(slot, gfn);
    vcpu.stat.pf_fixed++;
  }
  put_page(pfn);
  return at > 0 ? RET_PF_RETRY : at;
}

/** Remembers that nothing is there, so that the next access exits as a misconfiguration and needs no lookup. */
function mark_mmio(vcpu: kvm_vcpu, gfn: number): number {
  vcpu.stat.pf_emulate++;
  const at = entry_of(vcpu.kvm, kvm_arch_vcpu_memslots_id(vcpu), gfn, true);
  if (at > 0) {
    const words = vcpu.kvm.mem.u32;
    words[at] = MMIO;
    words[at + 1] = kvm_vcpu_memslots(vcpu).generation & 0xf_ffff;
    vcpu.stat.pf_mmio_spte_created++;
  }
  return RET_PF_EMULATE;
}

/** An EPT misconfiguration at `gpa`: RET_PF_EMULATE when it is a remembered MMIO address, RET_PF_RETRY when that is outdated. */
export function handle_mmio_page_fault(vcpu: kvm_vcpu, gpa: number): number {
  const at = entry_of(vcpu.kvm, kvm_arch_vcpu_memslots_id(vcpu), Math.floor(gpa / PAGE_SIZE), false);
  if (at <= 0) return RET_PF_RETRY;
  const words = vcpu.kvm.mem.u32;
  if (words[at] !== MMIO) return (words[at]! & READ) !== 0 || words[at] === 0 ? RET_PF_RETRY : RET_PF_ERROR;
  if (words[at + 1] === (kvm_vcpu_memslots(vcpu).generation & 0xf_ffff)) return RET_PF_EMULATE;
  words[at] = words[at + 1] = 0;
  return RET_PF_RETRY;
}

// ---------------------------------------------------------------- taking entries away

/** Calls `fn` with the index of each present entry of the range; absent tables are passed over as a whole. */
function for_each_entry(kvm: kvm, as_id: number, first: number, npages: number, fn: (at: number, gfn: number) => void): void {
  const root = kvm.arch.tdp_roots[as_id]!;
  if (root !== 0) walk(kvm, root, LEVELS, 0, first, first + npages, fn);
}
function walk(kvm: kvm, table: number, level: number, base: number, first: number, end: number, fn: (at: number, gfn: number) => void): void {
  const words = kvm.mem.u32;
  const span = 512 ** (level - 1);
  const from = Math.max(0, Math.floor((first - base) / span));
  const to = Math.min(511, Math.floor((end - 1 - base) / span));
  for (let i = from; i <= to; i++) {
    const at = (kvm.ram_base + table * PAGE_SIZE + i * 8) >>> 2;
    const entry = words[at]!;
    if (entry === 0) continue;
    if (level === 1) fn(at, base + i);
    else walk(kvm, entry >>> 12, level - 1, base + i * span, first, end, fn);
  }
}

/** Removes all entries of a range of an address space. */
export function kvm_mmu_zap_gfns(kvm: kvm, as_id: number, first: number, npages: number): void {
  const words = kvm.mem.u32;
  let present = false;
  for_each_entry(kvm, as_id, first, npages, (at) => {
    if ((words[at]! & READ) !== 0) {
      present = true;
      kvm.stat.pages_4k--;
    }
    words[at] = words[at + 1] = 0;
  });
  kvm.mmu_invalidate_seq++;
  if (present) kvm_flush_remote_tlbs(kvm);
}

/** Makes a slot's pages, all or those in the bitmap, fault at the next write. */
export function kvm_mmu_slot_remove_write_access(kvm: kvm, slot: kvm_memory_slot, bitmap?: Uint32Array): void {
  const words = kvm.mem.u32;
  let narrowed = false;
  for_each_entry(kvm, slot.as_id, slot.base_gfn, slot.npages, (at, gfn) => {
    const bit = gfn - slot.base_gfn;
    if (bitmap !== undefined && (bitmap[bit >>> 5]! & (1 << (bit & 31))) === 0) return;
    if ((words[at]! & (READ | WRITE)) !== (READ | WRITE)) return;
    words[at]! &= ~WRITE;
    narrowed = true;
  });
  if (narrowed) kvm_flush_remote_tlbs(kvm);
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

/** No processor may go on with an old translation: those in the guest flush now, the others before they enter. */
export function kvm_flush_remote_tlbs(kvm: kvm): void {
  kvm.stat.remote_tlb_flush++;
  for (const vcpu of kvm.vcpus) {
    kvm_make_request(KVM_REQ_TLB_FLUSH, vcpu);
    if (vcpu.loaded && vcpu.cpu >= 0) smp_call_function_single(vcpu.cpu, () => kvm_x86.flush_tlb_eptp(kvm));
  }
}

/** The VM dies: its tables go back. Nobody runs in it any more. */
export function kvm_mmu_free_roots(kvm: kvm): void {
  const free = (table: number, level: number): void => {
    for (let i = 0; level > 1 && i < 512; i++) {
      const entry = kvm.mem.u32[(kvm.ram_base + table * PAGE_SIZE + i * 8) >>> 2]!;
      if (entry !== 0) free(entry >>> 12, level - 1);
    }
    put_page(table);
  };
  for (const root of kvm.arch.tdp_roots) if (root !== 0) free(root, LEVELS);
  kvm.arch.tdp_roots.fill(0);
  kvm.arch.n_used_mmu_pages = 0;
}

/** The EPT pointer's frame, made on first use; -ENOMEM. System management mode has one of its own. */
export function kvm_mmu_load(vcpu: kvm_vcpu): number {
  const as_id = kvm_arch_vcpu_memslots_id(vcpu);
  const { tdp_roots } = vcpu.kvm.arch;
  if (tdp_roots[as_id] !== 0) return tdp_roots[as_id]!;
  const at = entry_of(vcpu.kvm, as_id, 0, true);
  return at < 0 ? at : tdp_roots[as_id]!;
}
