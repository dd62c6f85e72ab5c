/**
 * The translation look-aside buffer, which emitted code searches inline: the architectural TLB of these processors.
 *
 * Per processor four arrays (read and write, supervisor and user) of 4096 entries, direct-mapped by the low twelve bits of
 * the page number. An entry is 16 bytes: u64 tag, u32 addend (host address - linear address, modulo 2^32), u32
 * physical page number. A tag is the linear page address with, in its low bits, the number of the address space it
 * belongs to (bits 1 to 11, never 0: one for each VPID and PCID) and bit 0 set when emitted code must not use the entry though it is valid: devices,
 * and for writes pages that hold translated code. Flushing an address space is giving it a new number.
 *
 * Each entry has three bytes more (tlb_slots): see the next paragraph; the size of its page as a shift; and for a global
 * translation the number of its VPID's globals. A miss where another address space of the same VPID has left a global
 * translation of that very page takes it over: no walk, no charge.
 *
 * Regions look first among the pages they reached last: slots for reads and for writes, of the stack and of pointers that walk through memory in a loop, holds {u64 linear page, u32 addend, u32 bytes from there on that are in one piece: a page or two}; an aligned access in that page hits. What stands there also stands in the TLB: whatever takes an entry away takes the slot away, whose number (from 1, SLOTS_MANY: of several) is in the entry's byte of tlb_slots.
 *
 * An access hits if (address + size - 1) & ~0xfff, with the number, equals the tag: one compare also sends accesses
 * that cross a page to the slow path. While alignment checks or data breakpoints are armed the pointers lead to an
 * array that is always empty. Only this file knows any of that besides Translation.host.
 */
import { PFERR_USER, PFERR_WRITE } from '../cpu/exceptions.ts';
import { EXITED } from '../cpu/hooks.ts';
import { found, walk } from '../cpu/paging.ts';
import { type CpuState, MODE_ALIGN, MODE_USER, STATE } from '../cpu/state.ts';
import type { Ram } from '../ram.ts';
import { charge } from './stop.ts';
import { LARGE_REGIONS, RECENT_BYTES, RECENT_SLOTS } from './engine-state.ts';
import { ENGINE } from './layout.ts';

export const TLB_ENTRIES = 4096;
/** Index mask for a linear address shifted right by 8: entry number times 16. */
export const TLB_MASK = (TLB_ENTRIES - 1) << 4;
export const ARRAY_BYTES = TLB_ENTRIES * 16;
export const JUMP_ENTRIES = 4096;
export const JUMP_ENTRY_SHIFT = 5;
const MAX_TAG = 0x7ff;
const FETCH_PAGES = 64, FETCH_FIELDS = 4;

const TLB_READ = ENGINE.tlb_read >>> 2, TLB_WRITE = ENGINE.tlb_write >>> 2, TLB_TAG = ENGINE.tlb_tag >>> 2;
const FILL_COST = ENGINE.fill_cost >>> 2;
const RECENT_USED = ENGINE.recent_used >>> 2;
const JUMP_TAG = ENGINE.jump_tag >>> 2, JUMP_CACHE = ENGINE.jump_cache >>> 2;
const MODE = STATE.mode >>> 2, IN_GUEST = STATE.in_guest >>> 2, VPID = STATE.vpid >>> 2, EPTP = STATE.ept_pointer >>> 2;
const CR3 = STATE.cr3 >>> 2, CR4 = STATE.cr4 >>> 2, CR4_PCIDE = 1 << 17, PCIDS = 4096;
const SLOTS = ENGINE.tlb_slots >>> 2, GLOBALS = ENGINE.globals >>> 2;
/** Bit 4, which the shifts of large pages only have, in each byte of a word. */
const LARGE_ANYWHERE = 0x1010_1010;
/** Sizes of pages as the walk tells them; without paging there are none. */
const SHIFTS: Readonly<Record<number, number>> = { 0x1000: 12, 0x20_0000: 21, 0x40_0000: 22, 0x4000_0000: 30 };
const CR0 = STATE.cr0 >>> 2, DR7 = (STATE.dr >>> 2) + 14;

/** An address space that has translations, found by VPID and PCID. */
interface Context { tag: number; readonly space: Space }
/** The host (vpid 0) or a guest: address spaces that share global translations, and what EPT gave them. */
interface Space { globals: number; eptLow: number; eptHigh: number }

interface Arrays {
  readonly at: number;
  nextTag: number;
  nextGlobals: number;
  jumpEpoch: number;
  /** Pages of code that were walked: linear address, both halves of the jump tag, physical address. */
  readonly fetched: Float64Array;
  readonly contexts: Map<number, Context>;
  readonly spaces: Map<number, Space>;
  /** The context used last, and its key; -1 for none. */
  lastKey: number;
  last: Context | undefined;
}
/** Places of the further bytes of an entry, counted from its byte in tlb_slots. */
export const SHIFT_OF = 4 * TLB_ENTRIES, GLOBALS_OF = 8 * TLB_ENTRIES;
const MAX_GLOBALS = 255;

export const RECENT_PAGE = 0, RECENT_ADDEND = 8, RECENT_LENGTH = 12;
/** Stands in place of a page where there is none: no page, nor address with its offset's low four bits kept, is equal to it. */
export const RECENT_NONE = 0x800;
export const SLOTS_MANY = 255, WRITERS_MANY = 0xffff;
/** The first two slots are the stack's; of each two the second is for writes. */
export const STACK_SLOT = 0;
/** The last two: of operands that have none of their own. */
export const SCRATCH_SLOT = RECENT_SLOTS - 2;

export interface TlbCosts { readonly pageWalk: number; readonly nestedPageWalk: number }

export class Tlb {
  /** Misses walked here, not in WebAssembly. */
  walks = 0;
  private readonly u8: Uint8Array;
  private readonly u32: Uint32Array;
  private readonly ram: Ram;
  private readonly costs: TlbCosts;
  /** Indexed by CpuState.id. */
  private readonly arrays: Arrays[] = [];
  private readonly processors: CpuState[] = [];
  private readonly empty: number;
  /** Whether a physical page holds translated code; one byte a page. */
  private readonly codePages: Uint8Array;
  /** Of each physical page, the number from 1 of the entry that it has been written through, or WRITERS_MANY. */
  private readonly writers: Uint16Array;

  constructor(ram: Ram, codePages: Uint8Array, writers: Uint16Array, costs: TlbCosts) {
    this.ram = ram;
    this.u8 = ram.mem.u8;
    this.u32 = ram.mem.u32;
    this.costs = costs;
    this.codePages = codePages;
    this.writers = writers;
    this.empty = ram.reserve(ARRAY_BYTES);
  }

  attach(cpu: CpuState): void {
    const at = this.ram.reserve(4 * ARRAY_BYTES + 12 * TLB_ENTRIES, 4096);
    cpu.u32[ENGINE.tlb_arrays >>> 2] = at;
    cpu.u32[ENGINE.tlb_slots >>> 2] = at + 4 * ARRAY_BYTES;
    this.arrays[cpu.id] = { at, nextTag: 1, nextGlobals: 1, jumpEpoch: 1, fetched: new Float64Array(FETCH_PAGES * FETCH_FIELDS).fill(Number.NaN), contexts: new Map(), spaces: new Map(), lastKey: -1, last: undefined };
    this.processors[cpu.id] = cpu;
    cpu.u32[ENGINE.tlb_system >>> 2] = at;
    cpu.u32[JUMP_CACHE] = this.ram.reserve(JUMP_ENTRIES << JUMP_ENTRY_SHIFT, 4096);
    cpu.u32[RECENT_USED] = 1;
    this.forgetRecent(cpu);
    this.select(cpu);
  }

  /** Points emitted code at the arrays and tags of the processor's present address space, mode and privilege level. */
  select(cpu: CpuState): void {
    const w = cpu.u32;
    const a = this.arrays[cpu.id]!;
    const mode = w[MODE]!;
    const context = this.context(a, w);
    const tag = context.tag << 1;
    w[GLOBALS] = context.space.globals;
    w[JUMP_TAG] = tag | mode << 12;
    w[JUMP_TAG + 1] = a.jumpEpoch;
    const watched = (mode & MODE_ALIGN) !== 0 || (w[DR7]! & 0xff) !== 0;
    const read = mode & MODE_USER ? a.at + 2 * ARRAY_BYTES : a.at;
    const readArray = watched ? this.empty : read;
    if (w[TLB_TAG] !== tag || w[TLB_READ] !== readArray) this.forgetRecent(cpu);
    w[TLB_TAG] = tag;
    w[TLB_READ] = readArray;
    w[TLB_WRITE] = watched ? this.empty : read + ARRAY_BYTES;
    w[FILL_COST] = watched ? -1 : this.cost(w);
  }

  private context(a: Arrays, w: Uint32Array): Context {
    const guest = w[IN_GUEST] !== 0;
    const vpid = guest ? w[VPID]! : 0;
    const key = vpid * PCIDS + (w[CR4]! & CR4_PCIDE ? w[CR3]! & (PCIDS - 1) : 0);
    let c = key === a.lastKey ? a.last : a.contexts.get(key);
    if (!c) {
      let space = a.spaces.get(vpid);
      if (!space) a.spaces.set(vpid, space = { globals: this.newGlobals(a), eptLow: 0, eptHigh: 0 });
      c = { tag: this.newTag(a), space };
      a.contexts.set(key, c);
    }
    a.lastKey = key;
    a.last = c;
    const eptLow = guest ? w[EPTP]! : 0, eptHigh = guest ? w[EPTP + 1]! : 0;
    const { space } = c;
    if (space.eptLow === eptLow && space.eptHigh === eptHigh) return c;
    this.dropSpace(a, vpid);
    space.eptLow = eptLow;
    space.eptHigh = eptHigh;
    return this.context(a, w);
  }

  /** Forgets all that a VPID has: its address spaces and, if asked, what they share. */
  private dropSpace(a: Arrays, vpid: number, globals = true): void {
    a.lastKey = -1;
    for (const key of a.contexts.keys()) if (Math.floor(key / PCIDS) === vpid) a.contexts.delete(key);
    const space = a.spaces.get(vpid);
    if (space && globals) space.globals = this.newGlobals(a);
  }

  /** Numbers are given out once; when they run out everything is dropped. */
  private newTag(a: Arrays): number {
    if (a.nextTag > MAX_TAG) {
      this.u32.fill(0, a.at >>> 2, (a.at + 4 * ARRAY_BYTES) >>> 2);
      this.processors.forEach((cpu) => this.forgetRecent(cpu));
      a.jumpEpoch++;
      a.nextTag = 1;
      a.contexts.clear();
      a.lastKey = -1;
    }
    return a.nextTag++;
  }

  private newGlobals(a: Arrays): number {
    if (a.nextGlobals > MAX_GLOBALS) {
      this.u8.fill(0, a.at + 4 * ARRAY_BYTES + GLOBALS_OF, a.at + 4 * ARRAY_BYTES + GLOBALS_OF + 4 * TLB_ENTRIES);
      a.nextGlobals = 1;
      for (const space of a.spaces.values()) space.globals = a.nextGlobals++;
    }
    return a.nextGlobals++;
  }

  /** Forgets where jumps lead, on one processor: entries carry the number of their epoch. */
  private clearJumps(cpu: CpuState): void {
    this.arrays[cpu.id]!.jumpEpoch++;
    this.select(cpu);
  }
  clearAllJumps(): void {
    for (const cpu of this.processors) if (cpu) this.clearJumps(cpu);
  }

  /** Drops the translations of the present address space but the global ones, or with those all of its VPID. */
  flush(cpu: CpuState, global = true): void {
    const a = this.arrays[cpu.id]!;
    const w = cpu.u32;
    if (global) this.dropSpace(a, w[IN_GUEST] !== 0 ? w[VPID]! : 0);
    else this.context(a, w).tag = this.newTag(a);
    this.select(cpu);
  }

  /** Drops those of one PCID of the present VPID but the global ones: INVPCID. */
  flushPcid(cpu: CpuState, pcid: number): void {
    const w = cpu.u32;
    const a = this.arrays[cpu.id]!;
    a.contexts.delete((w[IN_GUEST] !== 0 ? w[VPID]! : 0) * PCIDS + pcid);
    a.lastKey = -1;
    this.select(cpu);
  }

  /** Drops those of one guest (INVVPID), or of all guests (INVEPT). */
  flushGuest(cpu: CpuState, vpid: number, global = true): void {
    this.dropSpace(this.arrays[cpu.id]!, vpid, global);
    this.select(cpu);
  }
  flushGuests(cpu: CpuState): void {
    const a = this.arrays[cpu.id]!;
    a.lastKey = -1;
    for (const key of a.contexts.keys()) if (key >= PCIDS) a.contexts.delete(key);
    for (const vpid of a.spaces.keys()) if (vpid !== 0) a.spaces.delete(vpid);
    this.select(cpu);
  }
  /** Drops those made with the tables that an EPT pointer, given in halves, leads to: INVEPT of one context. */
  flushTables(cpu: CpuState, low: number, high: number): void {
    const a = this.arrays[cpu.id]!;
    for (const [vpid, space] of a.spaces) if (vpid !== 0 && space.eptHigh === high && ((space.eptLow ^ low) & ~0xfff) === 0) this.dropSpace(a, vpid);
    this.select(cpu);
  }

  /** INVLPG, and INVPCID and INVVPID of one address: whatever address space the page is in, and all of a large page. */
  flushPage(cpu: CpuState, linear: number): void {
    const a = this.arrays[cpu.id]!;
    const region = (linear >>> 0) >>> 21 & LARGE_REGIONS - 1, large = cpu.base + ENGINE.large;
    if (this.u8[large + region]! | this.u8[large + (region ^ 1)]!) this.flushLarge(a, linear);
    for (let i = 0; i < 4; i++) this.u32[(a.at + i * ARRAY_BYTES + this.index(linear)) >>> 2] = 0;
    this.forgetRecent(cpu);
    this.clearJumps(cpu);
  }
  /** Drops the entries of every large page that a linear address lies in. Few entries are of large pages: four are looked at in one. */
  private flushLarge({ at }: Arrays, linear: number): void {
    const { u8, u32 } = this;
    const shifts = at + 4 * ARRAY_BYTES + SHIFT_OF;
    const low = linear >>> 0, high = Math.floor(linear / 0x1_0000_0000) >>> 0;
    for (let i = 0; i < 4 * TLB_ENTRIES; i++) {
      if ((i & 3) === 0 && (u32[(shifts + i) >>> 2]! & LARGE_ANYWHERE) === 0) { i += 3; continue; }
      const shift = u8[shifts + i]!, entry = (at >>> 2) + 4 * i;
      if (shift !== 0 && (u32[entry]! ^ low) >>> shift === 0 && u32[entry + 1] === high) u32[entry] = u8[shifts + i] = 0;
    }
  }
  private forgetRecent(cpu: CpuState): void {
    const w = cpu.u32;
    if (w[RECENT_USED] === 0) return;
    w[RECENT_USED] = 0;
    for (let i = 0; i < RECENT_SLOTS; i++) w[(ENGINE.recent + i * RECENT_BYTES + RECENT_PAGE) >>> 2] = RECENT_NONE;
  }

  private index(linear: number): number {
    return ((linear >>> 0) >>> 8) & TLB_MASK;
  }

  /**
   * Host-physical address of a linear one for a data access at the current privilege level (or the one named), from the
   * TLB or by a walk that is charged and remembered. Throws as walk() does. This is the slow path: emitted code has looked already.
   */
  translate(cpu: CpuState, linear: number, write: boolean, user = (cpu.u32[MODE]! & MODE_USER) !== 0): number {
    const w = cpu.u32;
    const { u8, u32 } = this;
    const array = this.arrays[cpu.id]!.at + (user ? 2 * ARRAY_BYTES : 0) + (write ? ARRAY_BYTES : 0);
    const at = (array + this.index(linear)) >>> 2;
    const low = linear >>> 0;
    const tagLow = ((low & ~0xfff) | w[TLB_TAG]!) >>> 0, tagHigh = Math.floor(linear / 0x1_0000_0000) >>> 0;
    let page: number;
    if (u32[at] === tagLow && u32[at + 1] === tagHigh) return u32[at + 3]! * 4096 + (low & 0xfff);
    const further = w[SLOTS]! + (at - (w[ENGINE.tlb_arrays >>> 2]! >>> 2) >>> 2);
    const global = u8[further + GLOBALS_OF]!;
    if ((u32[at]! & ~1) >>> 0 === tagLow && u32[at + 1] === tagHigh) page = u32[at + 3]!;
    else if (global !== 0 && global === w[GLOBALS] && ((u32[at]! ^ low) >>> 12) === 0 && u32[at + 1] === tagHigh && u32[at] !== 0) page = u32[at + 3]!;
    else {
      const physical = walk(cpu, linear, (write ? PFERR_WRITE : 0) | (user ? PFERR_USER : 0));
      if (physical < 0) return EXITED;
      charge(cpu, this.cost(w));
      this.walks++;
      page = Math.floor(physical / 4096);
      const shift = SHIFTS[found.pageSize] ?? 12;
      u8[further + SHIFT_OF] = shift;
      const large = cpu.base + ENGINE.large;
      if (shift === 30) u8.fill(1, large, large + LARGE_REGIONS);
      else if (shift > 12) u8[large + (low >>> 21 & LARGE_REGIONS - 1)] = 1;
      // What ring 0 may touch of ring 3's pages changes with RFLAGS.AC and PKRU, so those are never shared.
      u8[further + GLOBALS_OF] = found.global && !found.user ? w[GLOBALS]! : 0;
    }
    if (write && page < this.writers.length) {
      const number = (this.index(linear) >>> 4) + 1, known = this.writers[page]!;
      this.writers[page] = known === 0 || known === number ? number : WRITERS_MANY;
    }
    const slow = page * 4096 >= this.ram.size || (write && this.codePages[page] !== 0);
    this.forgetRecent(cpu);
    u32[at] = slow ? tagLow | 1 : tagLow;
    u32[at + 1] = tagHigh;
    u32[at + 2] = this.ram.base + page * 4096 - (low & ~0xfff);
    u32[at + 3] = page;
    return page * 4096 + (low & 0xfff);
  }

  /**
   * Physical address of code at a linear one, walked once a page for as long as the jump cache holds good. Nothing is charged for
   * it. Throws as walk() does.
   */
  fetch(cpu: CpuState, linear: number, access: number): number {
    const w = cpu.u32;
    const { fetched } = this.arrays[cpu.id]!;
    const offset = (linear >>> 0) & 0xfff;
    const page = linear - offset;
    const slot = ((linear >>> 12) & (FETCH_PAGES - 1)) * FETCH_FIELDS;
    if (fetched[slot] === page && fetched[slot + 1] === w[JUMP_TAG] && fetched[slot + 2] === w[JUMP_TAG + 1]) return fetched[slot + 3]! + offset;
    const physical = walk(cpu, linear, access);
    fetched[slot] = page;
    fetched[slot + 1] = w[JUMP_TAG]!;
    fetched[slot + 2] = w[JUMP_TAG + 1]!;
    fetched[slot + 3] = physical - offset;
    return physical;
  }

  /** Host address of bytes ring 0 may read, all in one page, or -1 where the TLB does not have them as plain memory. */
  peekSystem(cpu: CpuState, linear: number, size: number): number {
    const { u32 } = this;
    const low = linear >>> 0;
    const at = (cpu.u32[ENGINE.tlb_system >>> 2]! + this.index(linear)) >>> 2;
    if ((low & 0xfff) + size > 4096 || u32[at] !== ((low & ~0xfff) | cpu.u32[TLB_TAG]!) >>> 0 || u32[at + 1] !== Math.floor(linear / 0x1_0000_0000) >>> 0) return -1;
    return (low + u32[at + 2]!) >>> 0;
  }

  /** Of a walk, by its dimensions. */
  private cost(w: Uint32Array): number {
    const nested = w[EPTP] !== 0 || w[EPTP + 1] !== 0;
    return (w[CR0]! | 0) < 0 ? nested ? this.costs.nestedPageWalk : this.costs.pageWalk : nested ? this.costs.pageWalk : 0;
  }

  /** From now on writes to this page go through the slow path: it holds translated code. */
  codeAppeared(page: number): void {
    for (const cpu of this.processors) if (cpu) this.forgetRecent(cpu);
    const writer = this.writers[page]!;
    if (writer === 0) return;
    const [first, entries] = writer === WRITERS_MANY ? [0, TLB_ENTRIES] : [writer - 1, 1];
    for (const a of this.arrays) {
      if (!a) continue;
      for (let array = 1; array < 4; array += 2) {
        const from = (a.at + array * ARRAY_BYTES + first * 16) >>> 2;
        for (let at = from; at < from + 4 * entries; at += 4) if (this.u32[at + 3] === page) this.u32[at] = this.u32[at]! | 1;
      }
    }
  }
}
