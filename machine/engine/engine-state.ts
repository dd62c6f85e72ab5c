/**
 * What the engine keeps beside a processor's architectural registers: flags in the form arithmetic leaves them, the
 * page of the code that runs, TLB pointers, the window for accesses that no single host address can serve.
 *
 * Flags are never "lazy with an operation code": three words hold all six of them at any time, so that storing them is
 * a few instructions and testing one needs no dispatch:
 *   flags_res     the last result, sign-extended: ZF = (res = 0), SF = sign of res, PF = parity of its low byte
 *   flags_carry   bit 63: CF, bit 62: CF ^ OF   (the carries into bit size and bit size-1 of an addition, shifted up)
 *   flags_adjust  bit 4: AF; bits 7 and 2, normally 0, invert SF and PF (POPF can make what no result has)
 */
import { type Of, array, s32, struct, u32, u64, u8 } from '../../abi/struct.ts';

export const RECENT_SLOTS = 32, RECENT_BYTES = 16, LARGE_REGIONS = 512;

export const engine_state = struct('engine_state', {
  flags_res: u64,
  flags_carry: u64,
  flags_adjust: u32,
  /** Cycles the run in progress was given, those set aside by stopSoon(), and those charged beyond retired instructions. */
  granted: s32,
  held: s32,
  charged: s32,
  /** While code runs, rip = rip_page + offset of the instruction in its page; cpu.rip is written on leaving. */
  rip_page: u64,
  /** Constants that stand for registers in memory operands: an absent one, and one that keeps displacements in 32 bits. */
  zero: u64,
  sixty_four_k: u64,
  /** Host offsets of the TLB arrays for data reads and writes at the current privilege level. */
  tlb_read: u32,
  tlb_write: u32,
  /** Low 12 bits of every valid tag of the current address space. */
  tlb_tag: u64,
  /** The same for the jump cache, with the mode in it. */
  jump_tag: u64,
  /** Host offset of this processor's jump cache. */
  jump_cache: u32,
  /** Set when the inner loop left between two instructions and cpu.rip is right already. */
  boundary: u32,
  /** What a TLB miss costs now, -1 while emitted code must not walk (tlb.ts). */
  fill_cost: s32,
  /** Number of the present VPID's global translations; what the last walk in WebAssembly found (walker.ts). */
  globals: u32,
  leaf: u32,
  /** The cycle the run in progress began at, and the QUICK_ bits of what regions may do by themselves in it (cpu/hooks.ts). */
  began: u64,
  quick: u32,
  rdtsc_cost: u32,
  rdtscp_cost: u32,
  pause_cost: u32,
  /** What the last look-up by a region cost. */
  paid: s32,
  /** Host offset of this processor's TLB arrays, and of a byte for each entry in them: see recent. */
  tlb_arrays: u32,
  tlb_slots: u32,
  /** Bytes of the write that lies in the window, 0 when there is none. */
  window_size: u32,
  /** Linear address of the access the slow path is to serve; the target of a jump to look up. */
  access_address: u64,
  /** Host offset of the TLB array for what the processor reads for itself, and, one array on, writes; breakpoints do not see those. */
  tlb_system: u32,
  /** Transfers that were made before (transfers.ts), and whether INT n goes through the IDT in this run. */
  transfers: u32,
  delivers: u32,
  /** Stands in for memory that no single host address can serve: across pages, devices, pages with translated code. */
  window: array(u8, 64),
  /** Operands and results of SIMD instructions that TypeScript computes (cpu/simd-call.ts). */
  simd: array(u64, 12),
  /** The pages that regions reached last; see tlb.ts. */
  recent: array(u64, RECENT_SLOTS * RECENT_BYTES / 8),
  /** By bits 29:21 of linear addresses: walks have found large pages there. */
  large: array(u8, LARGE_REGIONS),
  /** How often regions were left, by EXIT_ numbers (counters.ts), and TLB misses walked in WebAssembly. */
  region_exits: array(u64, 4),
  fills: u64,
  /** Some of them are there. */
  recent_used: u32,
}, { align: 64 });
export type engine_state = Of<typeof engine_state>;
