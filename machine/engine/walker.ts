/**
 * The page walk in WebAssembly: what a TLB miss needs nearly always. It fills the TLB exactly as tlb.ts would, and charges the
 * same. SDM Vol. 3 ch. 4 and 29.3; cpu/paging.ts and vmx/ept.ts are the whole of it.
 *
 * It takes the plain case and changes nothing otherwise: all entries present, accessed, for a write dirty, the access permitted, the
 * page ordinary memory without translated code. All else (faults, exits, flags to set, SMAP, protection keys, devices) is for tlb.ts.
 */
import { MAXPHYADDR } from '../cpu/paging.ts';
import { MODE_64, MODE_SIZE, MODE_USER, STATE } from '../cpu/state.ts';
import { MEMORY_TYPES } from '../vmx/ept.ts';
import { ENGINE } from './layout.ts';
import { ACCESS_SLOT_SHIFT, ACCESS_WRITE } from './record.ts';
import { LARGE_REGIONS, RECENT_BYTES, RECENT_SLOTS } from './engine-state.ts';
import { GLOBALS_OF, RECENT_ADDEND, RECENT_LENGTH, RECENT_NONE, RECENT_PAGE, SHIFT_OF, SLOTS_MANY, TLB_MASK, WRITERS_MANY } from './tlb.ts';
import { type Code, type Func, type I32, type I64, type L32, type L64, type WasmModule, i32, i64 } from './wasm-emitter.ts';

const P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100;
const CR4_PGE = 1 << 7, LEAF_GLOBAL = 0x100;
const CR0_WP = 1 << 16, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5, CR4_SMAP = 1 << 21, CR4_PKE = 1 << 22, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11;
const EPT_READ = 1, EPT_WRITE = 2, EPT_RWX = 7, EPT_A = 1 << 8, EPT_D = 1 << 9, EPTP_AD = 1 << 6;
const ADDRESS = (1n << BigInt(MAXPHYADDR)) - 0x1000n;
/** Bits 51:MAXPHYADDR. */
const RESERVED = (1n << 52n) - (1n << BigInt(MAXPHYADDR));
const NX = 1n << 63n, PAE_RESERVED = 0x7ff0n << 48n;

/** Where things are in the linear memory. */
export interface MemoryLayout { readonly pages: number; readonly ramBase: number; readonly ramSize: number; readonly codePages: number; readonly writers: number }

/** (cpu, linear, access, spare) -> host address, 0 when it is not the plain case or would cost more than `spare` cycles. */
export const FILL = [[i32, i64, i32, i32], [i32]] as const;

/** (cpu, linear, ACCESS_WRITE or 0 and slot, bytes) -> host address, if the TLB has all of it in one piece, at most two pages; else 0. The slot then has it too. */
export const LOOK_SPAN = [[i32, i64, i32, i32], [i32]] as const;

/** (cpu, linear, access, spare) -> host address or 0: a region did not find the page in its slot. What it cost is in `paid`. */
export const LOOK = FILL;

export function fillFunctions(module: WasmModule, layout: MemoryLayout): Func {
  const ept = module.function('ept', [i32, i64, i32], [i64], (c) => eptWalk(c, layout));
  const guest = module.function('guest', [i32, i64, i32], [i64], (c) => guestWalk(c, layout, ept));
  const filled = module.function('fill', FILL[0], FILL[1], (c) => fill(c, layout, guest, ept));
  module.function('miss', LOOK[0], LOOK[1], (c) => {
    const cpu = c.param(0, i32), at = c.local(i32);
    c.set(at, c.call32(filled, c.get(cpu), c.get(c.param(1, i64)), c.get(c.param(2, i32)), c.get(c.param(3, i32))));
    c.store32(c.get(cpu), c.load32(c.get(cpu), ENGINE.fill_cost), ENGINE.paid);
    c.get(at);
  });
  module.function('look', LOOK[0], LOOK[1], (c) => look(c, filled));
  module.function('lookSpan', LOOK_SPAN[0], LOOK_SPAN[1], lookSpan);
  return filled;
}

/** For one function: tests and loads that end it when something is not plain. */
class Walk {
  readonly c: Code;
  readonly cpu: L32;
  private readonly layout: MemoryLayout;
  constructor(c: Code, layout: MemoryLayout) {
    this.c = c;
    this.cpu = c.param(0, i32);
    this.layout = layout;
  }
  cr(n: 0 | 3 | 4): I64 { return this.c.load64(this.c.get(this.cpu), n === 0 ? STATE.cr0 : n === 3 ? STATE.cr3 : STATE.cr4); }
  has(v: I64, bits: number | bigint): I32 { const { c } = this; return c.ne(c.and(v, c.const(bits)), c.const(0)); }
  lacks(v: I64, bits: number | bigint): I32 { return this.c.eqz(this.c.and(v, this.c.const(bits))); }
  giveUpIf(condition: I32): void { this.c.if(condition, () => this.c.return(this.c.const(-1))); }
  /** Only entries that lie in RAM are read. */
  inRam(address: L64): void { const { c } = this; this.giveUpIf(c.gtu(c.get(address), c.const(this.layout.ramSize - 8))); }
  ramAt(address: L64): I32 { const { c } = this; return c.add32(c.wrap(c.get(address)), c.const32(this.layout.ramBase)); }
  /** address of the entry for `linear` in a table of 512. */
  entryAddress(table: L64, linear: L64, shift: L64): I64 {
    const { c } = this;
    return c.add(c.get(table), c.shl(c.and(c.shru(c.get(linear), c.get(shift)), c.const(0x1ff)), c.const(3)));
  }
}

/** (cpu, gpa, want) -> host-physical address or -1. */
function eptWalk(c: Code, layout: MemoryLayout): void {
  const w = new Walk(c, layout);
  const gpa = c.param(1, i64), want = c.param(2, i32);
  const pointer = c.keep64(c.load64(c.get(w.cpu), STATE.ept_pointer));
  const table = c.keep64(c.and(c.get(pointer), c.const(ADDRESS)));
  const shift = c.keep64(c.const(39)), entry = c.local(i64), at = c.local(i64), allowed = c.keep32(c.const32(EPT_RWX)), low = c.local(i32);
  // Of each entry: accessed, where the pointer asks for such flags; of the leaf: dirty.
  const accessed = c.keep64(c.select(c.const(EPT_A), c.const(0), w.has(c.get(pointer), EPTP_AD)));
  w.giveUpIf(w.has(c.get(gpa), ~((1n << 48n) - 1n)));
  c.loop((again) => {
    c.set(at, w.entryAddress(table, gpa, shift));
    w.inRam(at);
    c.set(entry, c.load64(w.ramAt(at)));
    c.set(low, c.wrap(c.get(entry)));
    // Not present, or writable without being readable.
    w.giveUpIf(c.or32(c.eqz32(c.and32(c.get(low), c.const32(EPT_RWX))), c.eq32(c.and32(c.get(low), c.const32(3)), c.const32(EPT_WRITE))));
    w.giveUpIf(c.or32(w.has(c.get(entry), RESERVED), c.ne(c.and(c.get(entry), c.get(accessed)), c.get(accessed))));
    c.set(allowed, c.and32(c.get(allowed), c.get(low)));
    const isLeaf = () => c.or32(c.eq(c.get(shift), c.const(12)), c.and32(c.ne32(c.and32(c.get(low), c.const32(PS)), c.const32(0)), c.ltu(c.get(shift), c.const(39))));
    c.if(c.eqz32(isLeaf()), () => {
      w.giveUpIf(c.ne32(c.and32(c.get(low), c.select(c.const32(0xf8), c.const32(0x78), c.eq(c.get(shift), c.const(39)))), c.const32(0)));
      c.set(table, c.and(c.get(entry), c.const(ADDRESS)));
      c.set(shift, c.sub(c.get(shift), c.const(9)));
      c.br(again);
    });
  });
  const offset = c.keep64(c.sub(c.shl(c.const(1), c.get(shift)), c.const(1)));
  w.giveUpIf(c.ne(c.and(c.and(c.get(entry), c.get(offset)), c.const(0x3fff_f000)), c.const(0)));
  w.giveUpIf(c.eqz32(c.and32(c.shru32(c.const32(MEMORY_TYPES), c.and32(c.shru32(c.get(low), c.const32(3)), c.const32(7))), c.const32(1))));
  w.giveUpIf(c.ne32(c.and32(c.get(allowed), c.get(want)), c.get(want)));
  w.giveUpIf(c.and32(w.has(c.get(accessed), EPT_A), c.and32(c.ne32(c.and32(c.get(want), c.const32(EPT_WRITE)), c.const32(0)), w.lacks(c.get(entry), EPT_D))));
  c.or(c.and(c.and(c.get(entry), c.const(ADDRESS)), c.xor(c.get(offset), c.const(-1))), c.and(c.get(gpa), c.get(offset)));
}

/** (cpu, linear, write) -> guest-physical address or -1. Paging is on. */
function guestWalk(c: Code, layout: MemoryLayout, ept: Func): void {
  const w = new Walk(c, layout);
  const { cpu } = w;
  const linear = c.param(1, i64), write = c.param(2, i32);
  const table = c.local(i64), shift = c.local(i64), at = c.local(i64), entry = c.local(i64), reserved = c.local(i64);
  const rights = c.keep64(c.const(-1)), page = c.local(i64);
  c.set(shift, c.const(12));
  const efer = () => c.load64(c.get(cpu), STATE.efer);
  const nested = c.keep32(c.ne(c.load64(c.get(cpu), STATE.ept_pointer), c.const(0)));
  // With accessed flags in the second dimension, walking the first counts as writing.
  const want = c.keep32(c.select(c.const32(EPT_READ | EPT_WRITE), c.const32(EPT_READ), w.has(c.load64(c.get(cpu), STATE.ept_pointer), EPTP_AD)));
  const find = () => {
    c.if(c.get(nested), () => c.set(at, c.call64(ept, c.get(cpu), c.get(at), c.get(want))));
    w.inRam(at);      // -1 too
  };
  const usable = () => w.giveUpIf(c.ne(c.and(c.get(entry), c.const(P | A)), c.const(P | A)));
  const collect = () => c.set(rights, c.and(c.get(rights), c.get(entry)));
  const dirtyIfWritten = () => w.giveUpIf(c.and32(c.get(write), w.lacks(c.get(entry), D)));

  c.block((walked) => {
    c.if(w.lacks(w.cr(4), CR4_PAE), () => {
      c.set(at, c.add(c.and(w.cr(3), c.const(0xffff_f000)), c.shl(c.shru(c.get(linear), c.const(22)), c.const(2))));
      find();
      c.set(entry, c.extendu(c.load32(w.ramAt(at))));
      usable();
      collect();
      c.if(c.and32(w.has(c.get(entry), PS), w.has(w.cr(4), CR4_PSE)), () => {
        w.giveUpIf(w.has(c.get(entry), 1 << 21));
        dirtyIfWritten();
        c.set(shift, c.const(22));
        c.set(page, c.or(c.or(c.shl(c.and(c.shru(c.get(entry), c.const(13)), c.const(0xff)), c.const(32)), c.and(c.get(entry), c.const(0xffc0_0000))), c.and(c.get(linear), c.const(0x3f_ffff))));
        c.br(walked);
      });
      c.set(at, c.add(c.and(c.get(entry), c.const(0xffff_f000)), c.shl(c.and(c.shru(c.get(linear), c.const(12)), c.const(0x3ff)), c.const(2))));
      find();
      c.set(entry, c.extendu(c.load32(w.ramAt(at))));
      usable();
      collect();
      dirtyIfWritten();
      c.set(page, c.or(c.and(c.get(entry), c.const(0xffff_f000)), c.and(c.get(linear), c.const(0xfff))));
      c.br(walked);
    });
    c.set(reserved, c.or(c.const(RESERVED), c.select(c.const(0), c.const(NX), w.has(efer(), EFER_NXE))));
    c.if(w.has(efer(), EFER_LMA), () => {
      c.set(table, c.and(w.cr(3), c.const(ADDRESS)));
      c.set(shift, c.const(39));
    }, () => {
      c.set(entry, c.load64(c.add32(c.get(cpu), c.wrap(c.and(c.shru(c.get(linear), c.const(27)), c.const(0x18)))), STATE.pdpte));
      w.giveUpIf(w.lacks(c.get(entry), P));
      c.set(table, c.and(c.get(entry), c.const(ADDRESS)));
      c.set(shift, c.const(21));
      c.set(reserved, c.or(c.get(reserved), c.const(PAE_RESERVED)));
    });
    c.loop((again) => {
      c.set(at, w.entryAddress(table, linear, shift));
      find();
      c.set(entry, c.load64(w.ramAt(at)));
      usable();
      w.giveUpIf(c.ne(c.and(c.get(entry), c.get(reserved)), c.const(0)));
      collect();
      c.if(c.ne(c.get(shift), c.const(12)), () => {
        c.if(w.lacks(c.get(entry), PS), () => {
          c.set(table, c.and(c.get(entry), c.const(ADDRESS)));
          c.set(shift, c.sub(c.get(shift), c.const(9)));
          c.br(again);
        });
        w.giveUpIf(c.eq(c.get(shift), c.const(39)));
      });
    });
    dirtyIfWritten();
    const offset = c.keep64(c.sub(c.shl(c.const(1), c.get(shift)), c.const(1)));
    w.giveUpIf(c.ne(c.and(c.and(c.get(entry), c.get(offset)), c.const(0x3fff_e000)), c.const(0)));
    c.set(page, c.or(c.and(c.and(c.get(entry), c.const(ADDRESS)), c.xor(c.get(offset), c.const(-1))), c.and(c.get(linear), c.get(offset))));
  });
  // Protection keys are for paging.ts.
  w.giveUpIf(c.and32(w.has(w.cr(4), CR4_PKE), w.has(c.get(rights), U)));
  c.if(c.and32(c.load32(c.get(cpu), STATE.mode), c.const32(MODE_USER)), () => {
    w.giveUpIf(c.or32(w.lacks(c.get(rights), U), c.and32(c.get(write), w.lacks(c.get(rights), W))));
  }, () => {
    w.giveUpIf(c.and32(w.has(c.get(rights), U), w.has(w.cr(4), CR4_SMAP)));
    w.giveUpIf(c.and32(c.and32(c.get(write), w.lacks(c.get(rights), W)), w.has(w.cr(0), CR0_WP)));
  });
  // Shift of the page's size, and LEAF_GLOBAL for a translation that is shared: not of a user page, see tlb.ts.
  const global = () => c.and32(c.and32(w.has(c.get(entry), G), w.has(w.cr(4), CR4_PGE)), w.lacks(c.get(rights), U));
  c.store32(c.get(cpu), c.or32(c.wrap(c.get(shift)), c.select(c.const32(LEAF_GLOBAL), c.const32(0), global())), ENGINE.leaf);
  c.get(page);
}

/** No page is a recent one any more. */
export function emitForget(c: Code, cpu: L32): void {
  c.if(c.load32(c.get(cpu), ENGINE.recent_used), () => {
    c.store32(c.get(cpu), c.const32(0), ENGINE.recent_used);
    for (let i = 0; i < RECENT_SLOTS; i++) c.store64(c.get(cpu), c.const(RECENT_NONE), ENGINE.recent + i * RECENT_BYTES + RECENT_PAGE);
  });
}

/** Address of an entry's byte in tlb_slots. */
const slotOf = (c: Code, cpu: L32, entry: L32): I32 =>
  c.add32(c.load32(c.get(cpu), ENGINE.tlb_slots), c.shru32(c.sub32(c.get(entry), c.load32(c.get(cpu), ENGINE.tlb_arrays)), c.const32(4)));
const entryOf = (c: Code, cpu: L32, linear: L64, write: L32): I32 => c.add32(c.and32(c.wrap(c.shru(c.get(linear), c.const(8))), c.const32(TLB_MASK)),
  c.select(c.load32(c.get(cpu), ENGINE.tlb_write), c.load32(c.get(cpu), ENGINE.tlb_read), c.get(write)));

function look(c: Code, filled: Func): void {
  const cpu = c.param(0, i32), linear = c.param(1, i64), access = c.param(2, i32), spare = c.param(3, i32);
  const write = c.keep32(c.and32(c.get(access), c.const32(ACCESS_WRITE)));
  const entry = c.keep32(entryOf(c, cpu, linear, write));
  const at = c.local(i32);
  const last = c.sub(c.add(c.get(linear), c.extendu(c.and32(c.get(access), c.const32(0xff)))), c.const(1));
  c.if(c.eq(c.or(c.and(last, c.const(-4096)), c.load64(c.get(cpu), ENGINE.tlb_tag)), c.load64(c.get(entry))), () => {
    c.set(at, c.add32(c.wrap(c.get(linear)), c.load32(c.get(entry), 8)));
    c.store32(c.get(cpu), c.const32(0), ENGINE.paid);
  }, () => {
    c.if(c.eqz32(c.tee(at, c.call32(filled, c.get(cpu), c.get(linear), c.get(access), c.get(spare)))), () => c.return(c.const32(0)));
    c.store32(c.get(cpu), c.load32(c.get(cpu), ENGINE.fill_cost), ENGINE.paid);
  });
  remember(c, cpu, entry, access, linear, c.keep32(c.sub32(c.get(at), c.wrap(c.get(linear)))), 4096);
  c.get(at);
}

/** Puts the page of an entry into the slot that the access names. */
function remember(c: Code, cpu: L32, entry: L32, access: L32, linear: L64, addend: L32, length: number): void {
  const number = c.keep32(c.shru32(c.get(access), c.const32(ACCESS_SLOT_SHIFT)));
  const slot = c.keep32(c.add32(c.get(cpu), c.mul32(c.get(number), c.const32(RECENT_BYTES))));
  const known = c.keep32(c.load32_8u(slotOf(c, cpu, entry)));
  c.store32_8(slotOf(c, cpu, entry), c.select(c.add32(c.get(number), c.const32(1)), c.const32(SLOTS_MANY),
    c.or32(c.eqz32(c.get(known)), c.eq32(c.get(known), c.add32(c.get(number), c.const32(1))))));
  c.store64(c.get(slot), c.and(c.get(linear), c.const(-4096)), ENGINE.recent + RECENT_PAGE);
  c.store32(c.get(slot), c.get(addend), ENGINE.recent + RECENT_ADDEND);
  c.store32(c.get(slot), c.const32(length), ENGINE.recent + RECENT_LENGTH);
  c.store32(c.get(cpu), c.const32(1), ENGINE.recent_used);
}

function lookSpan(c: Code): void {
  const cpu = c.param(0, i32), first = c.param(1, i64), access = c.param(2, i32), bytes = c.param(3, i32);
  const write = c.keep32(c.and32(c.get(access), c.const32(ACCESS_WRITE)));
  const last = c.keep64(c.sub(c.add(c.get(first), c.extendu(c.get(bytes))), c.const(1)));
  const a = c.keep32(entryOf(c, cpu, first, write)), b = c.keep32(entryOf(c, cpu, last, write));
  const has = (linear: L64, entry: L32) => c.eq(c.or(c.and(c.get(linear), c.const(-4096)), c.load64(c.get(cpu), ENGINE.tlb_tag)), c.load64(c.get(entry)));
  const addend = c.keep32(c.load32(c.get(a), 8));
  const together = c.and32(c.and32(has(first, a), has(last, b)), c.eq32(c.get(addend), c.load32(c.get(b), 8)));
  c.if(c.eqz32(together), () => c.return(c.const32(0)));
  c.if(c.ne32(c.get(a), c.get(b)), () => {
    remember(c, cpu, a, access, first, addend, 8192);
    c.store32_8(slotOf(c, cpu, b), c.const32(SLOTS_MANY));
  });
  c.add32(c.wrap(c.get(first)), c.get(addend));
}

function fill(c: Code, layout: MemoryLayout, guest: Func, ept: Func): void {
  const cpu = c.param(0, i32), linear = c.param(1, i64), access = c.param(2, i32), spare = c.param(3, i32);
  const giveUpIf = (condition: I32) => c.if(condition, () => c.return(c.const32(0)));
  const cost = c.keep32(c.load32(c.get(cpu), ENGINE.fill_cost));
  giveUpIf(c.or32(c.lts32(c.get(cost), c.const32(0)), c.lts32(c.get(spare), c.get(cost))));
  const mode64 = () => c.eq32(c.and32(c.load32(c.get(cpu), STATE.mode), c.const32(MODE_SIZE)), c.const32(MODE_64));
  giveUpIf(c.ne(c.get(linear), c.select(c.shrs(c.shl(c.get(linear), c.const(16)), c.const(16)), c.and(c.get(linear), c.const(0xffff_ffff)), mode64())));
  giveUpIf(c.gtu(c.add(c.and(c.get(linear), c.const(4095)), c.extendu(c.and32(c.get(access), c.const32(0xff)))), c.const(4096)));
  const write = c.keep32(c.ne32(c.and32(c.get(access), c.const32(ACCESS_WRITE)), c.const32(0)));
  const entry = c.keep32(entryOf(c, cpu, linear, write));
  const tag = c.keep64(c.or(c.and(c.get(linear), c.const(-4096)), c.load64(c.get(cpu), ENGINE.tlb_tag)));
  // Known already: a device, or a page that holds code.
  giveUpIf(c.eq(c.or(c.load64(c.get(entry)), c.const(1)), c.or(c.get(tag), c.const(1))));
  // A global translation of another address space: perhaps of this page.
  const slots = c.keep32(slotOf(c, cpu, entry));
  const globals = c.keep32(c.load32(c.get(cpu), ENGINE.globals));
  giveUpIf(c.and32(c.eq32(c.load32_8u(c.get(slots), GLOBALS_OF), c.get(globals)), c.eqz(c.shru(c.xor(c.load64(c.get(entry)), c.get(tag)), c.const(12)))));
  const physical = c.keep64(c.get(linear));
  c.if(c.lts32(c.wrap(c.load64(c.get(cpu), STATE.cr0)), c.const32(0)), () => c.set(physical, c.call64(guest, c.get(cpu), c.get(linear), c.get(write))),
    () => c.store32(c.get(cpu), c.const32(12), ENGINE.leaf));
  giveUpIf(c.eq(c.get(physical), c.const(-1)));
  c.if(c.ne(c.load64(c.get(cpu), STATE.ept_pointer), c.const(0)),
    () => c.set(physical, c.call64(ept, c.get(cpu), c.get(physical), c.select(c.const32(EPT_WRITE), c.const32(EPT_READ), c.get(write)))));
  giveUpIf(c.geu(c.get(physical), c.const(layout.ramSize)));
  const page = c.keep32(c.wrap(c.shru(c.get(physical), c.const(12))));
  giveUpIf(c.and32(c.get(write), c.load32_8u(c.get(page), layout.codePages)));
  c.if(c.get(write), () => {
    const at = c.keep32(c.shl32(c.get(page), c.const32(1)));
    const number = c.keep32(c.add32(c.and32(c.wrap(c.shru(c.get(linear), c.const(12))), c.const32(TLB_MASK >>> 4)), c.const32(1)));
    const known = c.keep32(c.load32_16u(c.get(at), layout.writers));
    c.storeSized(2, c.get(at), c.extendu(c.select(c.get(number), c.const32(WRITERS_MANY),
      c.or32(c.eqz32(c.get(known)), c.eq32(c.get(known), c.get(number))))), layout.writers);
  });
  c.store64(c.get(cpu), c.add(c.load64(c.get(cpu), ENGINE.fills), c.const(1)), ENGINE.fills);
  // What stood there is no longer to be found among the recent pages.
  const slot = c.keep32(c.load32_8u(c.get(slots)));
  c.if(c.get(slot), () => {
    c.if(c.eq32(c.get(slot), c.const32(SLOTS_MANY)), () => emitForget(c, cpu), () => {
      const i = c.keep32(c.add32(c.get(cpu), c.mul32(c.sub32(c.get(slot), c.const32(1)), c.const32(RECENT_BYTES))));
      c.if(c.eq(c.load64(c.get(i), ENGINE.recent + RECENT_PAGE), c.and(c.load64(c.get(entry)), c.const(-4096))),
        () => c.store64(c.get(i), c.const(RECENT_NONE), ENGINE.recent + RECENT_PAGE));
    });
    c.store32_8(c.get(slots), c.const32(0));
  });
  const leaf = c.keep32(c.load32(c.get(cpu), ENGINE.leaf));
  const shift = c.keep32(c.and32(c.get(leaf), c.const32(0xff)));
  c.if(c.ne32(c.get(shift), c.const32(12)), () => {
    c.store32_8(c.add32(c.get(cpu), c.and32(c.wrap(c.shru(c.get(linear), c.const(21))), c.const32(LARGE_REGIONS - 1))), c.const32(1), ENGINE.large);
    c.if(c.eq32(c.get(shift), c.const32(30)), () => c.memoryFill(c.add32(c.get(cpu), c.const32(ENGINE.large)), c.const32(1), c.const32(LARGE_REGIONS)));
  });
  c.store32_8(c.get(slots), c.get(leaf), SHIFT_OF);
  c.store32_8(c.get(slots), c.select(c.get(globals), c.const32(0), c.gtu32(c.get(leaf), c.const32(LEAF_GLOBAL - 1))), GLOBALS_OF);
  c.store64(c.get(entry), c.get(tag));
  const host = c.keep32(c.add32(c.wrap(c.get(physical)), c.const32(layout.ramBase)));
  c.store32(c.get(entry), c.sub32(c.get(host), c.wrap(c.get(linear))), 8);
  c.store32(c.get(entry), c.get(page), 12);
  c.store32(c.get(cpu), c.add32(c.load32(c.get(cpu), ENGINE.charged), c.get(cost)), ENGINE.charged);
  c.store32(c.get(cpu), c.sub32(c.load32(c.get(cpu), STATE.budget), c.get(cost)), STATE.budget);
  // The store goes to its place at once; the window keeps an older access.
  c.if(c.get(write), () => c.store32(c.get(cpu), c.const32(0), ENGINE.window_size));
  c.get(host);
}
