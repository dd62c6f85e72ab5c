/**
 * Page frames: the buddy allocator and the reference count of each frame.
 *
 * Linux: mm/page_alloc.c, include/linux/mm.h
 *
 * A free block of 2^order frames is on the list of its order; freeing joins it with its buddy while that is free
 * too. Frames that were never given out are known to be zero, so the host commits memory only for what is used.
 */
import { ENOMEM } from '../../abi/errno.ts';
import type { Ram } from '../../machine/ram.ts';
import { kernelVariable, machine } from '../current.ts';
import { PAGE_SIZE } from './types.ts';

export const MAX_PAGE_ORDER = 10;
const NONE = -1;

export class Zone {
  readonly ram: Ram;
  readonly pages: number;
  /** References by frame; 0 while free. */
  readonly refcount: Int32Array;
  /** Order of the free block that starts here, NONE when none does. */
  private readonly freeOrder: Int8Array;
  private readonly next: Int32Array;
  private readonly prev: Int32Array;
  private readonly head = new Int32Array(MAX_PAGE_ORDER + 1).fill(NONE);
  /** 1 once a frame has been given out: its contents are no longer known to be zero. */
  private readonly used: Uint8Array;
  readonly nr_free_blocks = new Int32Array(MAX_PAGE_ORDER + 1);
  free = 0;
  /** Frames the kernel itself keeps from the start. */
  reserved = 1;

  constructor(ram: Ram) {
    this.ram = ram;
    this.pages = Math.floor(ram.size / PAGE_SIZE);
    this.refcount = new Int32Array(this.pages);
    this.freeOrder = new Int8Array(this.pages).fill(NONE);
    this.next = new Int32Array(this.pages);
    this.prev = new Int32Array(this.pages);
    this.used = new Uint8Array(this.pages);
    // Frame 0 stays out: a frame number is never 0. Low frames are given out first.
    const blocks: [number, number][] = [];
    for (let pfn = 1; pfn < this.pages; ) {
      let order = 0;
      while (order < MAX_PAGE_ORDER && (pfn & ((2 << order) - 1)) === 0 && pfn + (2 << order) <= this.pages) order++;
      blocks.push([pfn, order]);
      pfn += 1 << order;
    }
    for (const [pfn, order] of blocks.reverse()) this.insert(pfn, order);
    this.refcount[0] = 1;
  }

  alloc(order: number): number {
    let from = order;
    while (from <= MAX_PAGE_ORDER && this.head[from] === NONE) from++;
    if (from > MAX_PAGE_ORDER) return -ENOMEM;
    const pfn = this.head[from]!;
    this.unlink(pfn, from);
    while (from > order) {
      from--;
      this.insert(pfn + (1 << from), from);
    }
    for (let i = 0; i < 1 << order; i++) this.refcount[pfn + i] = 1;
    return pfn;
  }

  /** Gives a block back whose frames have no reference left. */
  release(pfn: number, order: number): void {
    for (let i = 0; i < 1 << order; i++) {
      this.used[pfn + i] = 1;
      // The next owner's bytes are written without asking.
      this.ram.codeGone((pfn + i) * PAGE_SIZE);
    }
    while (order < MAX_PAGE_ORDER) {
      const buddy = pfn ^ (1 << order);
      if (buddy >= this.pages || this.freeOrder[buddy] !== order) break;
      this.unlink(buddy, order);
      pfn = Math.min(pfn, buddy);
      order++;
    }
    this.insert(pfn, order);
  }

  zero(pfn: number): void {
    if (this.used[pfn] === 0) return;
    const at = this.ram.base + pfn * PAGE_SIZE;
    this.ram.mem.u8.fill(0, at, at + PAGE_SIZE);
  }

  private insert(pfn: number, order: number): void {
    const first = this.head[order]!;
    this.freeOrder[pfn] = order;
    this.next[pfn] = first;
    this.prev[pfn] = NONE;
    if (first !== NONE) this.prev[first] = pfn;
    this.head[order] = pfn;
    this.nr_free_blocks[order]!++;
    this.free += 1 << order;
  }

  private unlink(pfn: number, order: number): void {
    const next = this.next[pfn]!;
    const prev = this.prev[pfn]!;
    if (next !== NONE) this.prev[next] = prev;
    if (prev === NONE) this.head[order] = next;
    else this.next[prev] = next;
    this.freeOrder[pfn] = NONE;
    this.nr_free_blocks[order]!--;
    this.free -= 1 << order;
  }
}

export const zone = kernelVariable(() => new Zone(machine().ram));

/** A frame with one reference, contents undefined, or -ENOMEM. */
export const alloc_page = (): number => zone().alloc(0);

/** A frame of zeros, or -ENOMEM. */
export function __get_free_zeroed(): number {
  const z = zone();
  const pfn = z.alloc(0);
  if (pfn > 0) z.zero(pfn);
  return pfn;
}

/** Frees a frame that has one reference. */
export function free_page(pfn: number): void {
  if (zone().refcount[pfn] !== 1) throw new Error(`free_page: frame ${pfn} has ${zone().refcount[pfn]} references`);
  put_page(pfn);
}

export const page_count = (pfn: number): number => zone().refcount[pfn]!;
export function get_page(pfn: number): void { zone().refcount[pfn]!++; }

/** Drops one reference; the last one frees the frame. */
export function put_page(pfn: number): void {
  const z = zone();
  const left = --z.refcount[pfn]!;
  if (left === 0) z.release(pfn, 0);
  else if (left < 0) throw new Error(`put_page: frame ${pfn} is free already`);
}

/** Offset of the frame's first byte in machine().ram.mem. */
export const page_to_host_offset = (pfn: number): number => machine().ram.base + pfn * PAGE_SIZE;
export const physical_to_pfn = (address: number): number => Math.floor(address / PAGE_SIZE);

/** The bytes of a frame. */
export const page_bytes = (pfn: number): Uint8Array => {
  const at = page_to_host_offset(pfn);
  return machine().ram.mem.u8.subarray(at, at + PAGE_SIZE);
};

export const totalram_pages = (): number => zone().pages - zone().reserved;
export const nr_free_pages = (): number => zone().free;
