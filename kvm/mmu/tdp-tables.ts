/**
 * EPT tables: their entries, walking them, and what a change of memory or of dirty logging does to them.
 *
 * Linux: arch/x86/kvm/mmu/tdp_mmu.c, spte.c; the entry format is SDM Vol. 3, 29.3.3
 *
 * An entry is only a copy of what the process's page tables say. KVM keeps no reference to the frame: the MMU notifier
 * removes the entry, on every processor, before the frame can go. The tables belong to an address space of the VM, not
 * to a vCPU.
 */
import { ENOMEM } from '../../abi/errno.ts';
import { PAGE_SIZE, __get_free_zeroed, put_page } from '../../kernel/exports.ts';
import type { kvm } from '../kvm_host.ts';
import { kvm_mmu_split_huge_page } from './trace.ts';

export const EPT_READ = 1, EPT_WRITE = 2, EPT_EXECUTE = 4;
const MEMORY_WB = 6 << 3, IGNORE_PAT = 1 << 6, ACCESSED = 1 << 8, DIRTY = 1 << 9;
export const EPT_LARGE = 1 << 7;
/** In the upper word, which the processor ignores there: the process may write the frame, and KVM itself has no reason to forbid it. */
const HOST_WRITABLE = 1 << 25, MMU_WRITABLE = 1 << 26;
const MAY_WRITE = HOST_WRITABLE | MMU_WRITABLE;
const TABLE = EPT_READ | EPT_WRITE | EPT_EXECUTE;
/** Write without read is a misconfiguration: how an address without memory is remembered. The generation is in the upper half. */
export const MMIO_SPTE = EPT_WRITE | EPT_EXECUTE;
export const PG_LEVEL_4K = 1, PG_LEVEL_2M = 2;
const PT64_ROOT_4LEVEL = 4;

export const is_leaf = (low: number, level: number): boolean => level === PG_LEVEL_4K || (low & EPT_LARGE) !== 0;
/** May a write fault be mended by setting the bit? */
export const is_mmu_writable = (high: number): boolean => (high & MAY_WRITE) === MAY_WRITE;

const word_of = (kvm: kvm, table: number, i: number): number => (kvm.ram_base + table * PAGE_SIZE + i * 8) >>> 2;
const index_at = (gfn: number, level: number): number => Math.floor(gfn / 512 ** (level - 1)) % 512;

function new_table(kvm: kvm): number {
  const table = __get_free_zeroed();
  if (table > 0) kvm.arch.tdp_mmu_pages++;
  return table;
}
function free_table(kvm: kvm, table: number): void {
  put_page(table);
  kvm.arch.tdp_mmu_pages--;
}

/** Where the last lookup ended: the level of the entry found. */
export let found_level = 0;

/** Index in mem.u32 of the leaf, or of the empty place for one, that serves `gfn`: at found_level. 0 while there is no root. */
export function tdp_lookup(kvm: kvm, as_id: number, gfn: number): number {
  const words = kvm.mem.u32;
  let table = kvm.arch.tdp_roots[as_id]!;
  if (table === 0) return 0;
  for (let level = PT64_ROOT_4LEVEL; ; level--) {
    const at = word_of(kvm, table, index_at(gfn, level));
    const low = words[at]!;
    if (is_leaf(low, level) || (low & TABLE) === 0) {
      found_level = level;
      return at;
    }
    table = low >>> 12;
  }
}

/** The entry of `gfn` at `level`, with tables made and a larger leaf split on the way; -ENOMEM. */
export function tdp_entry(kvm: kvm, as_id: number, gfn: number, level: number): number {
  const words = kvm.mem.u32;
  let table = kvm_tdp_root(kvm, as_id);
  if (table < 0) return table;
  for (let at_level = PT64_ROOT_4LEVEL; ; at_level--) {
    const at = word_of(kvm, table, index_at(gfn, at_level));
    if (at_level === level) return at;
    const low = words[at]!;
    if ((low & TABLE) === 0) {
      const fresh = new_table(kvm);
      if (fresh < 0) return -ENOMEM;
      words[at] = ((fresh * PAGE_SIZE) | TABLE) >>> 0;
      words[at + 1] = 0;
    } else if (is_leaf(low, at_level) && !split(kvm, at, gfn)) return -ENOMEM;
    table = words[at]! >>> 12;
  }
}

/** The root of an address space, made on first use; -ENOMEM. */
export function kvm_tdp_root(kvm: kvm, as_id: number): number {
  const { tdp_roots } = kvm.arch;
  if (tdp_roots[as_id] === 0) {
    const table = new_table(kvm);
    if (table < 0) return -ENOMEM;
    tdp_roots[as_id] = table;
  }
  return tdp_roots[as_id]!;
}

/** A leaf of 2 MiB becomes a table of 512 that says the same. False: no frame for it. */
function split(kvm: kvm, at: number, gfn: number): boolean {
  const words = kvm.mem.u32;
  const table = new_table(kvm);
  if (kvm_mmu_split_huge_page.enabled) kvm_mmu_split_huge_page.trace({ gfn: BigInt(gfn), spte: (BigInt(words[at + 1]!) << 32n) | BigInt(words[at]!), level: PG_LEVEL_2M, errno: table < 0 ? -ENOMEM : 0 });
  if (table < 0) return false;
  const low = words[at]! & ~EPT_LARGE;
  const high = words[at + 1]!;
  const child = word_of(kvm, table, 0);
  for (let i = 0; i < 512; i++) {
    words[child + 2 * i] = low + i * PAGE_SIZE;
    words[child + 2 * i + 1] = high;
  }
  words[at] = ((table * PAGE_SIZE) | TABLE) >>> 0;
  words[at + 1] = 0;
  kvm.stat.pages_2m--;
  kvm.stat.pages_4k += 512;
  return true;
}

/** Writes a leaf. What was there before goes: a table below a large leaf, another leaf. True: a translation is lost or changed. */
export function tdp_set_leaf(kvm: kvm, at: number, level: number, pfn: number, write: boolean, host_writable: boolean): boolean {
  const words = kvm.mem.u32;
  const old = words[at]!;
  let lost = false;
  if ((old & EPT_READ) !== 0) {
    if (!is_leaf(old, level)) {
      lost = zap_table(kvm, old >>> 12, level - 1);
      free_table(kvm, old >>> 12);
      count(kvm, level, 1);
    } else lost = old >>> 12 !== pfn || ((old & EPT_WRITE) !== 0 && !write);
  } else count(kvm, level, 1);
  const bits = EPT_READ | EPT_EXECUTE | MEMORY_WB | IGNORE_PAT | ACCESSED | (write ? EPT_WRITE | DIRTY : 0) | (level === PG_LEVEL_2M ? EPT_LARGE : 0);
  words[at] = ((pfn * PAGE_SIZE) | bits) >>> 0;
  words[at + 1] = host_writable ? MAY_WRITE : 0;
  return lost;
}

/** The right to write comes back to a leaf that lost it only to dirty logging. */
export function tdp_make_writable(kvm: kvm, at: number): void { kvm.mem.u32[at]! |= EPT_WRITE | DIRTY; }

function count(kvm: kvm, level: number, n: number): void {
  if (level === PG_LEVEL_4K) kvm.stat.pages_4k += n;
  else kvm.stat.pages_2m += n;
}

// ---------------------------------------------------------------- ranges

type Visit = (at: number, gfn: number, level: number) => void;

/** Calls `fn` with each entry of the range that is not empty and no table, large ones that only overlap it too. */
function for_each_leaf(kvm: kvm, as_id: number, first: number, end: number, fn: Visit): void {
  const root = kvm.arch.tdp_roots[as_id]!;
  if (root !== 0) walk(kvm, root, PT64_ROOT_4LEVEL, 0, first, end, fn);
}
function walk(kvm: kvm, table: number, level: number, base: number, first: number, end: number, fn: Visit): void {
  const words = kvm.mem.u32;
  const span = 512 ** (level - 1);
  const from = Math.max(0, Math.floor((first - base) / span));
  const to = Math.min(511, Math.floor((end - 1 - base) / span));
  for (let i = from; i <= to; i++) {
    const at = word_of(kvm, table, i);
    const low = words[at]!;
    if (low === 0) continue;
    if (is_leaf(low, level)) fn(at, base + i * span, level);
    else walk(kvm, low >>> 12, level - 1, base + i * span, first, end, fn);
  }
}

/** Empties a table and those below it. True: something the processor may know was there. */
function zap_table(kvm: kvm, table: number, level: number): boolean {
  const words = kvm.mem.u32;
  let present = false;
  for (let i = 0; i < 512; i++) {
    const at = word_of(kvm, table, i);
    const low = words[at]!;
    if (low === 0) continue;
    if (!is_leaf(low, level)) {
      present = zap_table(kvm, low >>> 12, level - 1) || present;
      free_table(kvm, low >>> 12);
    } else if ((low & EPT_READ) !== 0) {
      present = true;
      count(kvm, level, -1);
    }
    words[at] = words[at + 1] = 0;
  }
  return present;
}

/** Removes every entry that serves one of the frames. True: processors must forget. */
export function kvm_tdp_mmu_zap_gfns(kvm: kvm, as_id: number, first: number, end: number): boolean {
  const words = kvm.mem.u32;
  let present = false;
  for_each_leaf(kvm, as_id, first, end, (at, _gfn, level) => {
    if ((words[at]! & EPT_READ) !== 0) {
      present = true;
      count(kvm, level, -1);
    }
    words[at] = words[at + 1] = 0;
  });
  return present;
}

/** Splits the large leaves that reach into the range. Without a frame for a table the leaf stays. */
export function kvm_tdp_mmu_try_split_huge_pages(kvm: kvm, as_id: number, first: number, end: number): void {
  for_each_leaf(kvm, as_id, first, end, (at, gfn, level) => { if (level > PG_LEVEL_4K) split(kvm, at, gfn); });
}

/** Takes the right to write from the range, or from those frames of it that `wanted` names. True: processors must forget. */
export function kvm_tdp_mmu_wrprot(kvm: kvm, as_id: number, first: number, end: number, wanted?: (gfn: number) => boolean): boolean {
  const words = kvm.mem.u32;
  let narrowed = false;
  for_each_leaf(kvm, as_id, first, end, (at, gfn, level) => {
    if ((words[at]! & (EPT_READ | EPT_WRITE)) !== (EPT_READ | EPT_WRITE)) return;
    if (level === PG_LEVEL_4K && wanted !== undefined && !wanted(gfn)) return;
    words[at]! &= ~(EPT_WRITE | DIRTY);
    narrowed = true;
  });
  return narrowed;
}

/** Gives up the small entries of a range in favour of large ones, which come back by faults, where `may_be_large` says so. */
export function kvm_tdp_mmu_zap_collapsible(kvm: kvm, as_id: number, first: number, end: number, may_be_large: (gfn: number) => boolean): boolean {
  const root = kvm.arch.tdp_roots[as_id]!;
  return root !== 0 && collapse(kvm, root, PT64_ROOT_4LEVEL, 0, first, end, may_be_large);
}
function collapse(kvm: kvm, table: number, level: number, base: number, first: number, end: number, may_be_large: (gfn: number) => boolean): boolean {
  const words = kvm.mem.u32;
  const span = 512 ** (level - 1);
  let present = false;
  for (let i = Math.max(0, Math.floor((first - base) / span)); i <= Math.min(511, Math.floor((end - 1 - base) / span)); i++) {
    const at = word_of(kvm, table, i);
    const low = words[at]!;
    if ((low & TABLE) === 0 || is_leaf(low, level)) continue;
    if (level > PG_LEVEL_2M) present = collapse(kvm, low >>> 12, level - 1, base + i * span, first, end, may_be_large) || present;
    else if (may_be_large(base + i * span)) {
      present = zap_table(kvm, low >>> 12, PG_LEVEL_4K) || present;
      free_table(kvm, low >>> 12);
      words[at] = words[at + 1] = 0;
    }
  }
  return present;
}

/** The VM dies: its tables go back. Nobody runs in it any more. */
export function kvm_tdp_mmu_free(kvm: kvm): void {
  kvm.arch.tdp_roots.forEach((root, as_id) => {
    if (root === 0) return;
    zap_table(kvm, root, PT64_ROOT_4LEVEL);
    free_table(kvm, root);
    kvm.arch.tdp_roots[as_id] = 0;
  });
}
