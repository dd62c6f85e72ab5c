/**
 * Shadow pages: the tables the processor walks in place of the guest's, and the ways back from a frame to the entries
 * that map it (the reverse map) and to the tables that shadow it.
 *
 * Linux: arch/x86/kvm/mmu/mmu.c (struct kvm_mmu_page, rmap), Documentation/virt/kvm/x86/mmu.rst
 *
 * A shadow page stands for one table of the guest, read in one way (its role): the same table under other rights, or
 * with CR0.WP clear, is another shadow page. A "direct" page stands for no table: it maps frames one after the other,
 * where the guest has a large page or no paging at all. Shadow pages stay when nothing points to them, so that a guest
 * that comes back to an address space finds it filled.
 */
import type { kvm } from '../kvm_host.ts';
import { PAGE_SIZE, put_page, __get_free_zeroed } from '../../kernel/exports.ts';
import { kvm_flush_remote_tlbs } from './tlb.ts';
import { kvm_mmu_get_page, kvm_mmu_prepare_zap_page as kvm_mmu_prepare_zap_page_trace } from './trace.ts';

export const PT_PRESENT = 1, PT_WRITABLE = 2, PT_USER = 4, PT_ACCESSED = 0x20, PT_DIRTY = 0x40, PT_PAGE_SIZE = 0x80;
export const PT_NX_HIGH = 0x8000_0000;
/** In the upper word: a reserved bit, so that the processor faults and says so. How an address without memory is remembered. */
export const MMIO_HIGH = 0x8_0000;
/** Bits the processor ignores: what is behind may be written by the process; and nothing here write-protects it for good. */
export const SPTE_HOST_WRITABLE = 1 << 9, SPTE_MMU_WRITABLE = 1 << 10;

export const ROLE_WP = 1, ROLE_NX = 2, ROLE_SMEP_ANDNOT_WP = 4, ROLE_SMAP_ANDNOT_WP = 8;
/** How a table is read. Two shadow pages of one frame differ in this. */
export interface kvm_mmu_page_role {
  readonly level: number;
  readonly direct: boolean;
  /** Which part of a 32-bit table, whose 1024 entries take two or four of ours. */
  readonly quadrant: number;
  readonly access: number;
  readonly as_id: number;
  /** The bits of CR0, CR4 and EFER on which an entry's meaning depends: ROLE_. */
  readonly cpu: number;
  readonly has_4_byte_gpte: boolean;
}
const role_word = (r: kvm_mmu_page_role): number =>
  r.level | (r.direct ? 8 : 0) | (r.quadrant << 4) | (r.access << 6) | (r.as_id << 9) | (r.has_4_byte_gpte ? 1 << 10 : 0) | (r.cpu << 11);

export class kvm_mmu_page {
  readonly pfn: number;
  readonly gfn: number;
  readonly role: kvm_mmu_page_role;
  readonly word: number;
  /** Entries that point here: indices into mem.u32. */
  readonly parents = new Set<number>();
  /** What each entry translates to, and with which rights of the guest's: of pages that shadow a table. */
  readonly gfns = new Float64Array(512);
  readonly access = new Uint8Array(512);
  /** vCPUs that have it as a root. */
  root_count = 0;
  /** The guest writes to its table without being seen: it must be compared before it is relied on. */
  unsync = false;
  write_flooding_count = 0;
  valid = true;
  constructor(pfn: number, gfn: number, role: kvm_mmu_page_role, word: number) {
    this.pfn = pfn;
    this.gfn = gfn;
    this.role = role;
    this.word = word;
  }
}

/** The shadow pages of a VM. */
export class kvm_shadow_mmu {
  /** In use, the oldest first. */
  readonly active_mmu_pages = new Set<kvm_mmu_page>();
  readonly page_hash = new Map<number, kvm_mmu_page[]>();
  /** Direct pages by the first frame they map. */
  readonly direct_hash = new Map<number, kvm_mmu_page[]>();
  readonly by_pfn = new Map<number, kvm_mmu_page>();
  /** Entries by frame: of 4 KiB, and of 2 MiB by the first frame. */
  readonly rmap = new Map<number, Set<number>>();
  readonly rmap_large = new Map<number, Set<number>>();
  /** Tables shadowed in each 2 MiB: no large entry may cover one. */
  readonly disallow_lpage = new Map<number, number>();
  readonly unsync_pages = new Set<kvm_mmu_page>();
}

/** A frame of an address space as a key. */
export const key_of = (as_id: number, gfn: number): number => gfn + as_id * 2 ** 42;
const large_key = (key: number): number => key - (key % 512);
export const entry_at = (kvm: kvm, sp: kvm_mmu_page, i: number): number => (kvm.ram_base + sp.pfn * PAGE_SIZE + i * 8) >>> 2;
/** The page an entry lies in. */
export const sptep_to_sp = (kvm: kvm, at: number): kvm_mmu_page | undefined => kvm.arch.shadow.by_pfn.get((at * 4 - kvm.ram_base) >>> 12);
export const is_mmio_spte = (low: number, high: number): boolean => (low & PT_PRESENT) !== 0 && (high & MMIO_HIGH) !== 0;
const is_large = (low: number): boolean => (low & PT_PAGE_SIZE) !== 0;

// ---------------------------------------------------------------- the reverse map

export function rmap_add(kvm: kvm, key: number, level: number, at: number): void {
  const map = level === 1 ? kvm.arch.shadow.rmap : kvm.arch.shadow.rmap_large;
  const entries = map.get(key);
  if (entries === undefined) map.set(key, new Set([at]));
  else entries.add(at);
  kvm.stat.max_mmu_rmap_size = Math.max(kvm.stat.max_mmu_rmap_size, entries?.size ?? 1);
  if (level === 1) kvm.stat.pages_4k++;
  else kvm.stat.pages_2m++;
}

/** Empties an entry that maps memory or remembers that there is none. True: processors may know it. */
export function drop_spte(kvm: kvm, sp: kvm_mmu_page, at: number): boolean {
  const words = kvm.mem.u32;
  const low = words[at]!;
  const present = low !== 0 && !is_mmio_spte(low, words[at + 1]!);
  words[at] = words[at + 1] = 0;
  if (!present) return false;
  const i = ((at * 4 - kvm.ram_base) % PAGE_SIZE) / 8;
  const key = key_of(sp.role.as_id, gfn_of_entry(sp, i));
  const map = sp.role.level === 1 ? kvm.arch.shadow.rmap : kvm.arch.shadow.rmap_large;
  const entries = map.get(key);
  entries?.delete(at);
  if (entries?.size === 0) map.delete(key);
  if (sp.role.level === 1) kvm.stat.pages_4k--;
  else kvm.stat.pages_2m--;
  return true;
}
export const gfn_of_entry = (sp: kvm_mmu_page, i: number): number => (sp.role.direct ? sp.gfn + i * 512 ** (sp.role.level - 1) : sp.gfns[i]!);

/** Takes the right to write from all that map a frame; a large entry goes as a whole. */
export function rmap_write_protect(kvm: kvm, key: number): boolean {
  const words = kvm.mem.u32;
  let narrowed = false;
  for (const at of kvm.arch.shadow.rmap.get(key) ?? []) {
    if ((words[at]! & PT_WRITABLE) === 0) continue;
    words[at]! &= ~(PT_WRITABLE | SPTE_MMU_WRITABLE);
    narrowed = true;
  }
  for (const at of [...(kvm.arch.shadow.rmap_large.get(large_key(key)) ?? [])]) narrowed = drop_spte(kvm, sptep_to_sp(kvm, at)!, at) || narrowed;
  return narrowed;
}

/** Entries that map a frame of [first, end), those of 2 MiB that overlap too, with their pages. */
export function for_each_rmap(kvm: kvm, as_id: number, first: number, end: number, fn: (at: number, sp: kvm_mmu_page, gfn: number) => void): void {
  const low = key_of(as_id, first);
  const high = key_of(as_id, end);
  const { rmap, rmap_large } = kvm.arch.shadow;
  const visit = (map: Map<number, Set<number>>, from: number): void => {
    const each = (key: number, entries: Set<number>): void => { for (const at of [...entries]) fn(at, sptep_to_sp(kvm, at)!, key - key_of(as_id, 0)); };
    if (high - from <= map.size) {
      for (let key = from; key < high; key++) {
        const entries = map.get(key);
        if (entries !== undefined) each(key, entries);
      }
    } else for (const [key, entries] of [...map]) if (key >= from && key < high) each(key, entries);
  };
  visit(rmap_large, large_key(low));
  visit(rmap, low);
}

// ---------------------------------------------------------------- pages

/** Is the frame a table above the last level? Writes to it are emulated. */
export const kvm_gfn_is_write_tracked = (kvm: kvm, key: number): boolean =>
  kvm.arch.shadow.page_hash.get(key)?.some((sp) => sp.role.level > 1) ?? false;

/** The page for a table in a role, made if need be; undefined when no frame is to be had. */
export function kvm_mmu_find_or_alloc(kvm: kvm, gfn: number, role: kvm_mmu_page_role, sync: (sp: kvm_mmu_page) => void): kvm_mmu_page | undefined {
  const s = kvm.arch.shadow;
  const key = key_of(role.as_id, gfn);
  const word = role_word(role);
  let sp: kvm_mmu_page | undefined;
  let created = false;
  for (const other of role.direct ? direct_pages(kvm, key) : [...(s.page_hash.get(key) ?? [])]) {
    if (other.word === word) sp = other;
    // What is a table of a higher level must not change unseen.
    else if (role.level > 1 && other.unsync) kvm_mmu_prepare_zap_page(kvm, other);
  }
  if (sp?.unsync) sync(sp);
  if (sp === undefined) {
    const pfn = __get_free_zeroed();
    if (pfn < 0) return undefined;
    created = true;
    sp = new kvm_mmu_page(pfn, gfn, role, word);
    kvm.arch.n_used_mmu_pages++;
    kvm.stat.mmu_cache_miss++;
    s.active_mmu_pages.add(sp);
    s.by_pfn.set(pfn, sp);
    if (role.direct) direct_pages(kvm, key).push(sp);
    else account_shadowed(kvm, key, sp);
  }
  sp.write_flooding_count = 0;
  if (kvm_mmu_get_page.enabled) kvm_mmu_get_page.trace({ mmu_valid_gen: 0, gfn: BigInt(gfn), role: word, root_count: sp.root_count, unsync: sp.unsync ? 1 : 0, created: created ? 1 : 0 });
  return sp;
}

function direct_pages(kvm: kvm, key: number): kvm_mmu_page[] {
  const { direct_hash } = kvm.arch.shadow;
  let list = direct_hash.get(key);
  if (list === undefined) direct_hash.set(key, list = []);
  return list;
}

function account_shadowed(kvm: kvm, key: number, sp: kvm_mmu_page): void {
  const s = kvm.arch.shadow;
  const list = s.page_hash.get(key);
  if (list === undefined) s.page_hash.set(key, [sp]);
  else list.push(sp);
  kvm.stat.max_mmu_page_hash_collisions = Math.max(kvm.stat.max_mmu_page_hash_collisions, (list?.length ?? 1) - 1);
  const large = large_key(key);
  s.disallow_lpage.set(large, (s.disallow_lpage.get(large) ?? 0) + 1);
  if (rmap_write_protect(kvm, key)) kvm_flush_remote_tlbs(kvm);
}

function unaccount_shadowed(kvm: kvm, sp: kvm_mmu_page): void {
  const s = kvm.arch.shadow;
  const key = key_of(sp.role.as_id, sp.gfn);
  const list = sp.role.direct ? direct_pages(kvm, key) : s.page_hash.get(key)!;
  list.splice(list.indexOf(sp), 1);
  if (sp.role.direct) {
    if (list.length === 0) kvm.arch.shadow.direct_hash.delete(key);
    return;
  }
  if (list.length === 0) s.page_hash.delete(key);
  const large = large_key(key);
  const left = s.disallow_lpage.get(large)! - 1;
  if (left === 0) s.disallow_lpage.delete(large);
  else s.disallow_lpage.set(large, left);
}

/** May one entry of 2 MiB cover this frame, as far as shadowed tables go? */
export const lpage_allowed = (kvm: kvm, key: number): boolean => !kvm.arch.shadow.disallow_lpage.has(large_key(key));

/** Points an entry at a page. The four top entries of PAE paging have no rights. */
export function link_shadow_page(kvm: kvm, at: number, sp: kvm_mmu_page): void {
  kvm.mem.u32[at] = ((sp.pfn * PAGE_SIZE) | PT_PRESENT | PT_WRITABLE | PT_USER | PT_ACCESSED) >>> 0;
  kvm.mem.u32[at + 1] = 0;
  sp.parents.add(at);
}

/** An entry of 2 MiB becomes a direct page of 512 that say the same. False: no frame for it. */
export function shadow_mmu_split_huge_page(kvm: kvm, sp: kvm_mmu_page, at: number): boolean {
  const words = kvm.mem.u32;
  const i = ((at * 4 - kvm.ram_base) % PAGE_SIZE) / 8;
  const gfn = gfn_of_entry(sp, i);
  const access = sp.access[i]!;
  const child = kvm_mmu_find_or_alloc(kvm, gfn, { level: sp.role.level - 1, direct: true, quadrant: 0, access, as_id: sp.role.as_id, cpu: sp.role.cpu, has_4_byte_gpte: false }, () => {});
  if (child === undefined) return false;
  const low = words[at]! & ~PT_PAGE_SIZE;
  const high = words[at + 1]!;
  drop_spte(kvm, sp, at);
  for (let n = 0; n < 512; n++) {
    const to = entry_at(kvm, child, n);
    mmu_page_zap_pte(kvm, child, to);
    words[to] = (low + n * PAGE_SIZE) >>> 0;
    words[to + 1] = high;
    child.gfns[n] = gfn + n;
    child.access[n] = access;
    rmap_add(kvm, key_of(sp.role.as_id, gfn + n), 1, to);
  }
  link_shadow_page(kvm, at, child);
  return true;
}

/** Empties one entry, whatever it is. True: processors must forget. */
export function mmu_page_zap_pte(kvm: kvm, sp: kvm_mmu_page, at: number): boolean {
  const words = kvm.mem.u32;
  const low = words[at]!;
  if (low === 0) return false;
  if (sp.role.level === 1 || is_large(low) || is_mmio_spte(low, words[at + 1]!)) return drop_spte(kvm, sp, at);
  const child = kvm.arch.shadow.by_pfn.get(low >>> 12)!;
  words[at] = words[at + 1] = 0;
  child.parents.delete(at);
  // Nobody would find it again.
  if (child.role.direct && child.parents.size === 0 && child.root_count === 0) kvm_mmu_prepare_zap_page(kvm, child);
  return true;
}

/** Takes a page out of use. Its frame goes at once, or when the last vCPU has given it up as a root. */
export function kvm_mmu_prepare_zap_page(kvm: kvm, sp: kvm_mmu_page): void {
  if (!sp.valid) return;
  sp.valid = false;
  kvm.stat.mmu_shadow_zapped++;
  if (kvm_mmu_prepare_zap_page_trace.enabled) kvm_mmu_prepare_zap_page_trace.trace({ mmu_valid_gen: 0, gfn: BigInt(sp.gfn), role: sp.word, root_count: sp.root_count, unsync: sp.unsync ? 1 : 0 });
  for (let i = 0; i < 512; i++) mmu_page_zap_pte(kvm, sp, entry_at(kvm, sp, i));
  for (const at of sp.parents) kvm.mem.u32[at] = kvm.mem.u32[at + 1] = 0;
  sp.parents.clear();
  unaccount_shadowed(kvm, sp);
  sp.unsync = false;
  const s = kvm.arch.shadow;
  s.unsync_pages.delete(sp);
  s.active_mmu_pages.delete(sp);
  kvm_flush_remote_tlbs(kvm);
  if (sp.root_count === 0) free_page(kvm, sp);
}
function free_page(kvm: kvm, sp: kvm_mmu_page): void {
  kvm.arch.shadow.by_pfn.delete(sp.pfn);
  kvm.arch.n_used_mmu_pages--;
  put_page(sp.pfn);
}
export function get_root(sp: kvm_mmu_page): void { sp.root_count++; }
export function put_root(kvm: kvm, sp: kvm_mmu_page): void {
  if (--sp.root_count === 0 && !sp.valid) free_page(kvm, sp);
}

/** Makes room for a few pages more by giving up the oldest. False: all that are left are roots. */
export function make_mmu_pages_available(kvm: kvm): boolean {
  const { arch } = kvm;
  const KVM_MIN_FREE_MMU_PAGES = 5, KVM_REFILL_PAGES = 25;
  const available = (): number => arch.n_max_mmu_pages - arch.n_used_mmu_pages;
  if (available() >= KVM_MIN_FREE_MMU_PAGES) return true;
  kvm_mmu_zap_oldest(kvm, KVM_REFILL_PAGES - available());
  return available() > 0;
}
export function kvm_mmu_zap_oldest(kvm: kvm, n: number): void {
  let left = n;
  for (const sp of [...kvm.arch.shadow.active_mmu_pages]) {
    if (left <= 0) return;
    if (sp.root_count > 0 || !sp.valid) continue;
    kvm_mmu_prepare_zap_page(kvm, sp);
    kvm.stat.mmu_recycled++;
    left--;
  }
}
