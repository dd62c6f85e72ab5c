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
import { type Of, array, struct, u32, u64, u8 } from '../../abi/struct.ts';

export const engine_state = struct('engine_state', {
  flags_res: u64,
  flags_carry: u64,
  flags_adjust: u32,
  /** Budget set aside by stopSoon(), so that the inner loop has one thing to test. */
  held: u32,
  /** While code runs, rip = rip_page + offset of the instruction in its page; cpu.rip is written on leaving. */
  rip_page: u64,
  /** Always 0: base and index register of memory operands that have none. */
  zero: u64,
  /** Host offsets of the TLB arrays for data reads and writes at the current privilege level. */
  tlb_read: u32,
  tlb_write: u32,
  /** Low 12 bits of every valid tag of the current address space. */
  tlb_tag: u64,
  /** Linear address and size of the access the slow path is to serve. */
  access_address: u64,
  access_size: u32,
  /** Set when the write being made went to the window and commit_write must carry it out. */
  slow_write: u32,
  /** Host offset of this processor's jump cache. */
  jump_cache: u32,
  /** Record in progress, for faults. */
  record: u32,
  scratch: array(u64, 4),
  window: array(u8, 64),
}, { align: 64 });
export type engine_state = Of<typeof engine_state>;
