/**
 * The four levels of page tables of a process, as the processor walks them, in RAM.
 *
 * SDM Vol. 3 4.5; Linux: arch/x86/include/asm/pgtable_types.h, mm/memory.c
 *
 * An entry is two 32-bit words. RAM ends below 4 GiB, so the frame is in the low one; the high one has only NX.
 */
import { machine } from '../current.ts';
import { __get_free_zeroed, page_to_host_offset, put_page } from './page-alloc.ts';
import type { mm_struct } from './types.ts';

export const _PAGE_PRESENT = 0x1;
export const _PAGE_RW = 0x2;
export const _PAGE_USER = 0x4;
export const _PAGE_ACCESSED = 0x20;
export const _PAGE_DIRTY = 0x40;
/** Software: the frame is anonymous memory of the process (for rss and copy-on-write). */
export const _PAGE_ANON = 0x200;
export const _PAGE_NX_HIGH = 0x8000_0000;
const TABLE = _PAGE_PRESENT | _PAGE_RW | _PAGE_USER | _PAGE_ACCESSED;

const FRAME = 0xffff_f000;
export const pte_pfn = (low: number): number => (low >>> 12);

/** Words of an entry within RAM's u32 array. */
const wordIndex = (table: number, i: number): number => (page_to_host_offset(table) >>> 2) + i * 2;

const SPAN = [2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39] as const;
const indexAt = (address: number, level: 0 | 1 | 2 | 3): number => Math.floor(address / SPAN[level]) & 511;

/** Index in mem.u32 of the page-table entry of `address`, 0 when a table on the way is missing. */
export function pte_offset(mm: mm_struct, address: number): number {
  const { ram } = machine();
  const words = ram.mem.u32;
  const base = ram.base;
  let entry = words[(base + mm.pgd * 4096 + indexAt(address, 3) * 8) >>> 2]!;
  if ((entry & _PAGE_PRESENT) === 0) return 0;
  entry = words[(base + ((entry & FRAME) >>> 0) + indexAt(address, 2) * 8) >>> 2]!;
  if ((entry & _PAGE_PRESENT) === 0) return 0;
  entry = words[(base + ((entry & FRAME) >>> 0) + indexAt(address, 1) * 8) >>> 2]!;
  if ((entry & _PAGE_PRESENT) === 0) return 0;
  return (base + ((entry & FRAME) >>> 0) + indexAt(address, 0) * 8) >>> 2;
}

/** The same, making tables that are missing; -ENOMEM. */
export function pte_alloc(mm: mm_struct, address: number): number {
  const words = machine().ram.mem.u32;
  let table = mm.pgd;
  for (const level of [3, 2, 1] as const) {
    const at = wordIndex(table, indexAt(address, level));
    if ((words[at]! & _PAGE_PRESENT) === 0) {
      const fresh = __get_free_zeroed();
      if (fresh < 0) return fresh;
      mm.pgtables++;
      words[at] = ((fresh * 4096) | TABLE) >>> 0;
      words[at + 1] = 0;
    }
    table = words[at]! >>> 12;
  }
  return wordIndex(table, indexAt(address, 0));
}

/** Calls `visit` with the word index and address of each present entry in [start, end), in order. */
export function for_each_pte(mm: mm_struct, start: number, end: number, visit: (at: number, address: number) => void): void {
  const words = machine().ram.mem.u32;
  for (let address = start; address < end; ) {
    const at = pte_offset(mm, address);
    if (at === 0) {
      address = nextTable(mm, address);
      continue;
    }
    const stop = Math.min(end, Math.floor(address / SPAN[1]) * SPAN[1] + SPAN[1]);
    for (let i = at; address < stop; i += 2, address += SPAN[0]) if ((words[i]! & _PAGE_PRESENT) !== 0) visit(i, address);
  }
}

/** Start of the next address that a missing table does not cover. */
function nextTable(mm: mm_struct, address: number): number {
  const words = machine().ram.mem.u32;
  let table = mm.pgd;
  for (const level of [3, 2, 1] as const) {
    const entry = words[wordIndex(table, indexAt(address, level))]!;
    if ((entry & _PAGE_PRESENT) === 0) return Math.floor(address / SPAN[level]) * SPAN[level] + SPAN[level];
    table = entry >>> 12;
  }
  return address;
}

/**
 * Frees the tables that served [start, end), whose entries are all clear, and reach neither below `floor` nor above
 * `ceiling`, where other areas begin.
 */
export function free_pgtables(mm: mm_struct, start: number, end: number, floor: number, ceiling: number): void {
  freeLevel(mm, mm.pgd, 3, 0, start, end, floor, ceiling);
}

function freeLevel(mm: mm_struct, table: number, level: 1 | 2 | 3, base: number, start: number, end: number, floor: number, ceiling: number): void {
  const words = machine().ram.mem.u32;
  const span = SPAN[level];
  const first = Math.max(0, Math.floor((start - base) / span));
  const last = Math.min(511, Math.floor((end - 1 - base) / span));
  for (let i = first; i <= last; i++) {
    const at = wordIndex(table, i);
    if ((words[at]! & _PAGE_PRESENT) === 0) continue;
    const low = base + i * span;
    const child = words[at]! >>> 12;
    if (level > 1) freeLevel(mm, child, (level - 1) as 1 | 2, low, start, end, floor, ceiling);
    if (low < floor || low + span > ceiling) continue;
    words[at] = 0;
    mm.pgtables--;
    put_page(child);
  }
}
