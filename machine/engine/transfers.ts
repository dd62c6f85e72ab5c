/**
 * INT n and IRET in protected and long mode that were made once are made again without leaving WebAssembly. SDM Vol. 3 ch. 6.12
 * and 6.14 say what they do; cpu/idt.ts and cpu/iret.ts do it, and this file checks nothing itself.
 *
 * Where such a transfer leads depends on the mode, SS's rights, and what stands in memory: gate, descriptors, the TSS's
 * stack pointer. An entry holds what was read there when the exec row made the transfer, and the registers it left. The
 * emitted code (transfers-emitter.ts) reads the same places again, through the TLB; where all reads the same it pushes or
 * pops the frame and loads those registers. So nothing needs invalidating. A TLB miss, a flag out of the ordinary, a pending
 * event or a difference is left to the exec row, before anything has changed.
 */
import type { Insn } from '../cpu/opcode-row.ts';
import {
  CS, type CpuState, MODE_32, MODE_64, MODE_FLAT, MODE_LONG, MODE_PROTECTED, MODE_SIZE, MODE_STACK32, RSP, SEGMENT_SIZE, SS, STATE, TR, X86_EFLAGS_IF,
} from '../cpu/state.ts';
import type { Ram } from '../ram.ts';
import { ENGINE } from './layout.ts';
import type { Tlb } from './tlb.ts';

export const TRANSFER_SIZE = 128;
/** Interrupts by vector, then returns by selectors. */
export const RETURNS = 256 * TRANSFER_SIZE;
export const RETURN_ENTRIES = 32;
/** Set in an entry's mode: it is one. */
export const TRANSFER_VALID = 0x8000_0000;

/** An entry's fields. What must read the same: */
export const T_MODE = 0, T_SS_ACCESS = 4, T_GATE = 8, T_GATE_TOP = 16, T_SELECTORS = 20, T_CODE = 24, T_STACK = 32, T_TR_ACCESS = 40;
/** Offsets of descriptors in the GDT and of the stack pointer in the TSS; 0: the transfer has no use for it. */
export const T_CODE_AT = 48, T_STACK_AT = 52, T_TSS_AT = 56;
/** What is loaded: CS and SS as in the register file, the mode, RIP, and the bits of RFLAGS to keep. An interrupt loads SS if T_SELECTORS is not 0. */
export const T_CS = 64, T_SS = 88, T_NEW_MODE = 112, T_FLAGS = 116, T_RIP = 120;

const MODE = STATE.mode >>> 2;
const segment = (seg: number): number => STATE.seg + seg * SEGMENT_SIZE;
const SS_ACCESS = (segment(SS) + 12) >>> 2, TR_ACCESS = (segment(TR) + 12) >>> 2;
const ACCESSED = 0x100;
const FOUR_GIB = 0x1_0000_0000;

export const returnIndex = (cs: number, ss: number): number => (cs >>> 3 ^ cs << 2 ^ ss >>> 3) & (RETURN_ENTRIES - 1);

/** What is known of the transfer in progress before the exec row makes it. */
interface Before { at: number; mode: number; isReturn: boolean; inner: boolean }

export class Transfers {
  /** False: every transfer is the exec row's. */
  enabled = true;
  private readonly ram: Ram;
  private readonly tlb: Tlb;
  private readonly before: Before = { at: 0, mode: 0, isReturn: false, inner: false };
  private readonly inputs = new Uint32Array(16);

  constructor(ram: Ram, tlb: Tlb) {
    this.ram = ram;
    this.tlb = tlb;
  }

  attach(cpu: CpuState): void {
    cpu.u32[ENGINE.transfers >>> 2] = this.ram.reserve(RETURNS + RETURN_ENTRIES * TRANSFER_SIZE, TRANSFER_SIZE);
  }

  /** Reads what the transfer depends on. False: it is not of the kind that is remembered, or the TLB lacks something yet. */
  prepare(cpu: CpuState, insn: Insn): boolean {
    if (!this.enabled) return false;
    const { before, inputs } = this;
    const w = cpu.u32;
    const mode = w[MODE]!;
    const size = mode & MODE_SIZE;
    if (!(mode & MODE_PROTECTED) || size === 0 || size === MODE_32 && (mode & (MODE_FLAT | MODE_STACK32)) !== (MODE_FLAT | MODE_STACK32)) return false;
    inputs.fill(0);
    before.mode = mode;
    before.isReturn = insn.row.mnemonic === 'IRET';
    before.inner = false;
    inputs[T_MODE / 4] = mode | TRANSFER_VALID;
    inputs[T_SS_ACCESS / 4] = w[SS_ACCESS]!;
    return before.isReturn ? this.prepareReturn(cpu, insn) : this.prepareInterrupt(cpu, Number(insn.imm & 0xffn));
  }

  private prepareInterrupt(cpu: CpuState, vector: number): boolean {
    const { before, inputs } = this;
    const { u32 } = this.ram.mem;
    const long = cpu.longMode;
    const gate = this.peek(cpu, cpu.u64[STATE.idtr_base >>> 3]!, vector * (long ? 16 : 8), long ? 12 : 8);
    if (gate < 0) return false;
    const low = u32[gate >>> 2]!, high = u32[(gate >>> 2) + 1]!;
    const type = high >>> 8 & 0x1f;
    if (type !== 14 && type !== 15) return false;
    inputs[T_GATE / 4] = low;
    inputs[T_GATE / 4 + 1] = high;
    if (long) inputs[T_GATE_TOP / 4] = u32[(gate >>> 2) + 2]!;
    if (!this.descriptor(cpu, low >>> 16, T_CODE, T_CODE_AT)) return false;
    const dpl = inputs[T_CODE / 4 + 1]! >>> 13 & 3;
    // Handlers at another level than 0 are rare.
    if (dpl !== 0) return false;
    before.at = cpu.u32[ENGINE.transfers >>> 2]! + vector * TRANSFER_SIZE;
    before.inner = cpu.cpl !== 0;
    const ist = long ? high & 7 : 0;
    if (!before.inner && ist === 0) return true;
    const tss = ist !== 0 ? 28 + 8 * ist : 4;
    inputs[T_TR_ACCESS / 4] = cpu.u32[TR_ACCESS]!;
    inputs[T_TSS_AT / 4] = tss;
    if (long) return true;
    const pointer = this.peek(cpu, cpu.segBase(TR), tss, 8);
    return pointer >= 0 && (cpu.u32[TR_ACCESS]! & 0xd) === 9 && this.descriptor(cpu, this.ram.mem.u16[(pointer + 4) >>> 1]!, T_STACK, T_STACK_AT);
  }

  private prepareReturn(cpu: CpuState, insn: Insn): boolean {
    const { before, inputs } = this;
    const wide = (before.mode & MODE_SIZE) === MODE_64;
    if (insn.opSize !== (wide ? 8 : 4) || cpu.cpl !== 0) return false;
    const slot = insn.opSize;
    const sp = wide ? Number(BigInt.asIntN(64, cpu.gpr[RSP]!)) : cpu.gpr32[2 * RSP]!;
    const frame = this.tlb.peekSystem(cpu, sp, 3 * slot);
    if (frame < 0 || frame % 4 !== 0) return false;
    const { u16 } = this.ram.mem;
    const cs = u16[(frame + slot) >>> 1]!;
    before.inner = wide || (cs & 3) !== 0;
    let ss = 0;
    if (before.inner) {
      if (this.tlb.peekSystem(cpu, sp, 5 * slot) < 0) return false;
      ss = u16[(frame + 4 * slot) >>> 1]!;
      if ((ss & 0xfffc) !== 0 && !this.descriptor(cpu, ss, T_STACK, T_STACK_AT)) return false;
    }
    inputs[T_SELECTORS / 4] = cs | ss << 16;
    before.at = cpu.u32[ENGINE.transfers >>> 2]! + RETURNS + returnIndex(cs, ss) * TRANSFER_SIZE;
    return this.descriptor(cpu, cs, T_CODE, T_CODE_AT);
  }

  /** Reads a descriptor of the GDT that is marked accessed. */
  private descriptor(cpu: CpuState, selector: number, to: number, at: number): boolean {
    const offset = selector & 0xfff8;
    if (offset === 0 || selector & 4) return false;
    const host = this.peek(cpu, cpu.u64[STATE.gdtr_base >>> 3]!, offset, 8);
    if (host < 0) return false;
    const { u32 } = this.ram.mem;
    this.inputs[to / 4] = u32[host >>> 2]!;
    this.inputs[to / 4 + 1] = u32[(host >>> 2) + 1]!;
    this.inputs[at / 4] = offset;
    return (this.inputs[to / 4 + 1]! & ACCESSED) !== 0;
  }

  /** Host address of bytes of a table that the processor reads for itself, if the TLB has it; aligned, as tables are. */
  private peek(cpu: CpuState, base: bigint, offset: number, size: number): number {
    const linear = cpu.longMode ? Number(BigInt.asIntN(64, base)) + offset : (Number(BigInt.asUintN(32, base)) + offset) % FOUR_GIB;
    const host = this.tlb.peekSystem(cpu, linear, size);
    return host % 4 === 0 ? host : -1;
  }

  /** The exec row has made the transfer that was prepared: it is remembered with what it loaded. */
  made(cpu: CpuState): void {
    const { before, inputs } = this;
    const w = cpu.u32;
    const { u32 } = this.ram.mem;
    const mode = w[MODE]!;
    const size = mode & MODE_SIZE;
    // The new mode must follow from the old one and the segments that were loaded, not from DS and ES.
    const flat32 = MODE_32 | MODE_STACK32 | MODE_FLAT;
    const known = size === MODE_64 || !(mode & MODE_LONG) && (mode & (flat32 | MODE_SIZE)) === flat32;
    const { cpl } = cpu;
    if (!known || cpl === 1 || cpl === 2 || (!before.isReturn && cpl !== 0)) return;
    const at = before.at >>> 2;
    u32.set(inputs, at);
    if (!before.isReturn) u32[at + T_SELECTORS / 4] = before.inner ? 1 : 0;
    for (const [seg, to] of [[CS, T_CS], [SS, T_SS]] as const) u32.set(w.subarray(segment(seg) >>> 2, (segment(seg) + SEGMENT_SIZE) >>> 2), at + to / 4);
    u32[at + T_NEW_MODE / 4] = mode;
    u32[at + T_FLAGS / 4] = ~((inputs[T_GATE / 4 + 1]! >>> 8 & 1) === 0 ? X86_EFLAGS_IF : 0);
    u32[at + T_RIP / 4] = w[STATE.rip >>> 2]!;
    u32[at + T_RIP / 4 + 1] = w[(STATE.rip >>> 2) + 1]!;
  }
}
