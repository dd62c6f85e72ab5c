/**
 * The hot tier's way to give an instruction its parts: they are known, and general registers are locals. Nothing
 * faults here. Where the cold tier would call the slow path or raise an exception, the region is left in front of the
 * instruction, which has changed nothing yet, and the cold tier runs it.
 */
import { type Insn, RIP_BASE } from '../cpu/opcode-row.ts';
import { ES, RDI, RSI, RSP, SEGMENT_SIZE, SS, STATE } from '../cpu/state.ts';
import type { FlagUse, HotFlags } from './hot-flags.ts';
import { RECENT_BYTES } from './engine-state.ts';
import { ENGINE } from './layout.ts';
import { ACCESS_SLOT_SHIFT, ACCESS_WRITE } from './record.ts';
import type { Runtime } from './runtime.ts';
import type { Shape } from './shape.ts';
import { RECENT_ADDEND, RECENT_PAGE, STACK_SLOT, TLB_MASK } from './tlb.ts';
import { type RegisterField, Translation } from './translation.ts';
import type { Code, I32, I64, L32, L64, LV } from './wasm-emitter.ts';

/** What an instruction needs of the region it is part of. */
export interface Frame {
  readonly c: Code;
  readonly cpu: L32;
  readonly runtime: Runtime;
  readonly flags: HotFlags;
  readonly ripPage: L64;
  /** Registers whose upper halves are known to be 0. */
  readonly clean: Set<number>;
  /** First of a pair of slots (tlb.ts) for a memory operand that walks through memory; undefined: it may go anywhere. */
  pointer(base: number, index: number, disp: number): number | undefined;
  /** How deep blocks nest where every instruction of the basic block is run. */
  readonly nesting: number;
  /** A general register: of 64 bits in 64-bit code, else of 32. */
  readonly wide: boolean;
  register(n: number, written: boolean): L64 | L32;
  /** A segment register, which nothing in a region changes: its base, and the last offset that may be accessed, -1 for none. */
  segment(seg: number, write: boolean): { readonly base: L32; readonly last: L64 };
  /** Translation.unusualMxcsr(), which nothing in a region changes. */
  unusualMxcsr(): I32;
  /** XMM registers that a check in this block has shown to hold no denormals, as numbers of which kind. */
  readonly ordinary: Map<number, string>;
  /** Of kind and number of a register that the loop does not write: whether it holds a denormal. */
  readonly invariants: ReadonlyMap<string, L32>;
  /** Cycles that may be charged here without coming short on any way on. */
  spare(): I32;
  /** A TLB miss was charged. */
  paid(): void;
  /** Goes on at an offset of the page, `count` instructions of the block having retired. */
  edge(count: number, offset: number): void;
  /** Leaves the region in front of an instruction that it cannot do. */
  leave(count: number, offset: number): void;
  /** Goes to an address known only now. */
  exitTo(count: number, rip: L64): void;
  /** Goes there if that is behind a call of the region, having popped the address. */
  returns(count: number, rip: L64, pop: () => void): void;
}

/** An instruction at its place. */
export interface HotInsn { readonly insn: Insn; readonly shape: Shape; readonly start: number; readonly end: number; readonly use: FlagUse; readonly leaves: boolean }

export class HotTranslation extends Translation {
  private readonly frame: Frame;
  private readonly insn: Insn;
  private readonly at: HotInsn;
  /** How many instructions of the block come before this one. */
  private readonly before: number;

  constructor(frame: Frame, at: HotInsn, before: number) {
    super(frame.c, frame.cpu, at.shape, frame.runtime, frame.flags);
    this.frame = frame;
    this.insn = at.insn;
    this.at = at;
    this.before = before;
  }

  // ---- registers
  override gpr(n: number, size: number): I64 {
    const v = this.gpr64(n);
    return size === 4 && this.frame.clean.has(n) ? v : this.truncate(size, v);
  }
  private gpr64(n: number): I64 {
    const { c, frame } = this;
    const l = frame.register(n, false);
    return frame.wide ? c.get(l as L64) : c.extendu(c.get(l as L32));
  }
  private gpr32(n: number): I32 {
    const { c, frame } = this;
    const l = frame.register(n, false);
    return frame.wide ? c.wrap(c.get(l as L64)) : c.get(l as L32);
  }
  private setGpr64(n: number, v: () => I64): void {
    const { c, frame } = this;
    const l = frame.register(n, true);
    if (frame.wide) c.set(l as L64, v());
    else c.set(l as L32, c.wrap(v()));
  }
  override narrow(size: number): boolean { return size <= 4; }
  override setGpr(n: number, size: number, v: () => I64): void {
    const { c } = this;
    const { clean, nesting } = this.frame;
    if (size < 4) {
      this.setGpr64(n, () => c.or(c.and(this.gpr64(n), c.const(size === 1 ? -0x100 : -0x1_0000)), this.truncate(size, v())));
      return;
    }
    this.setGpr64(n, () => this.truncate(this.frame.wide ? size : 8, v()));
    if (size === 8) clean.delete(n);
    else if (c.nesting === nesting) clean.add(n);
  }
  private number(field: RegisterField): number {
    const { insn } = this;
    return field === 'reg' ? insn.reg : field === 'rm' ? insn.rm : insn.vvvv;
  }
  /** AH, CH, DH, BH: the register they are the second byte of, or -1. */
  private highByte(n: number, size: number): number { return size === 1 && this.insn.rex === 0 && n >= 4 && n < 8 ? n - 4 : -1; }
  protected readRegister(field: RegisterField, size: number): I64 {
    const { c } = this;
    const n = this.number(field), high = this.highByte(n, size);
    return high < 0 ? this.gpr(n, size) : c.and(c.shru(this.gpr64(high), c.const(8)), c.const(0xff));
  }
  protected writeRegister(field: RegisterField, size: number, v: () => I64): void {
    const { c } = this;
    const n = this.number(field), high = this.highByte(n, size);
    if (high < 0) { this.setGpr(n, size, v); return; }
    this.setGpr64(high, () => c.or(c.and(this.gpr64(high), c.const(-0xff01)), c.shl(c.and(v(), c.const(0xff)), c.const(8))));
  }
  xmm(field: RegisterField): I32 { return this.c.add32(this.c.get(this.cpu), this.c.const32(STATE['fpu.xmm']! + 16 * this.number(field))); }

  // ---- what is known
  immediate(): I64 { return this.c.const(BigInt.asIntN(64, this.insn.imm)); }
  protected override immediateOf(size: number): I64 { return this.c.const(BigInt.asUintN(8 * size, this.insn.imm)); }
  immediate2(): I64 { return this.c.const(this.insn.imm2); }
  override constant(i: number): number | undefined {
    const text = this.shape.row.operands[i]!;
    return text === '1' ? 1 : text[0] === 'I' ? Number(this.insn.imm) : undefined;
  }
  get rec(): I32 { throw new TypeError(`${this.shape.row.mnemonic} asks for its record`); }
  nextRip(): I64 { return this.rip(this.at.end); }
  private rip(offset: number): I64 {
    const { c } = this;
    return this.truncate(this.shape.codeSize === 8 ? 8 : 4, c.add(c.get(this.frame.ripPage), c.const(offset)));
  }
  effectiveAddress(size = 8): I64 {
    const { c, insn, shape } = this;
    const disp = insn.base === RIP_BASE ? insn.disp + this.at.end : insn.disp;
    if (Math.min(size, shape.addrSize) <= 4) return this.truncate(shape.addrSize === 2 ? 2 : 8, c.extendu(this.lowAddress(disp)));
    let v: I64 | undefined;
    if (insn.base === RIP_BASE) v = c.get(this.frame.ripPage);
    else if (insn.base >= 0) v = this.gpr64(insn.base);
    if (insn.index >= 0) {
      const index = this.gpr64(insn.index);
      const scaled = insn.scale === 0 ? index : c.shl(index, c.const(insn.scale));
      v = v === undefined ? scaled : c.add(v, scaled);
    }
    if (v === undefined) return c.const(disp);
    return disp === 0 ? v : c.add(v, c.const(disp));
  }
  /** Its lower four bytes. */
  private lowAddress(disp: number): I32 {
    const { c, insn } = this;
    let v: I32 | undefined;
    if (insn.base === RIP_BASE) v = c.wrap(c.get(this.frame.ripPage));
    else if (insn.base >= 0) v = this.gpr32(insn.base);
    if (insn.index >= 0) {
      const index = this.gpr32(insn.index);
      const scaled = insn.scale === 0 ? index : c.shl32(index, c.const32(insn.scale));
      v = v === undefined ? scaled : c.add32(v, scaled);
    }
    if (v === undefined) return c.const32(disp);
    return disp === 0 ? v : c.add32(v, c.const32(disp));
  }
  protected segmentBase(): I64 { return this.state64(STATE.seg + this.insn.seg * SEGMENT_SIZE); }
  protected segmentOffset(): I32 { return this.c.const32(STATE.seg + this.insn.seg * SEGMENT_SIZE); }

  // ---- memory
  protected override checked(offset: L64, seg: number | undefined, size: number, write: boolean): L64 {
    const { c } = this;
    const { base, last } = this.frame.segment(seg ?? this.insn.seg, write);
    c.if(c.gts(size === 1 ? c.get(offset) : c.add(c.get(offset), c.const(size - 1)), c.get(last)), () => this.leave());
    return c.keep64(c.extendu(c.add32(c.wrap(c.get(offset)), c.get(base))));
  }
  override hostRead(linear: L64, size: number, seg?: number): L32 { return this.find(linear, size, seg, false); }
  override hostWrite(linear: L64, size: number, _old: boolean, seg?: number): L32 { return this.find(linear, size, seg, true); }
  private find(linear: L64, size: number, seg: number | undefined, write: boolean): L32 {
    const { c, frame, insn } = this;
    const { cpu } = frame;
    const pair = seg === SS || insn.base === RSP && insn.index < 0 ? STACK_SLOT
      : insn.row.attributes.has('rep') ? frame.pointer(seg === ES ? RDI : RSI, -1, 0) : frame.pointer(insn.base, insn.index, insn.disp);
    if (pair === undefined) return this.findInTlb(linear, size, write);
    const slot = pair + (write ? 1 : 0);
    const recent = ENGINE.recent + slot * RECENT_BYTES;
    c.if(c.ne(c.and(c.get(linear), c.const(-4096 | (size - 1))), c.load64(c.get(cpu), recent + RECENT_PAGE)), () => {
      c.seldom();
      const access = size | (write ? ACCESS_WRITE : 0) | slot << ACCESS_SLOT_SHIFT;
      c.if(c.eqz32(c.call32(frame.runtime.look, c.get(cpu), c.get(linear), c.const32(access), frame.spare())), () => this.leave());
      frame.paid();
    });
    // Now the slot has it; for V8 a sum of 32 bits is an address as it is, a number from one of two ways is not.
    return c.keep32(c.add32(c.wrap(c.get(linear)), c.load32(c.get(cpu), recent + RECENT_ADDEND)));
  }
  private findInTlb(linear: L64, size: number, write: boolean): L32 {
    const { c, frame } = this;
    const { cpu } = frame;
    const entry = c.keep32(c.add32(c.and32(c.wrap(c.shru(c.get(linear), c.const(8))), c.const32(TLB_MASK)), c.load32(c.get(cpu), write ? ENGINE.tlb_write : ENGINE.tlb_read)));
    const last = () => size === 1 ? c.get(linear) : c.add(c.get(linear), c.const(size - 1));
    c.if(c.ne(c.or(c.and(last(), c.const(-4096)), c.load64(c.get(cpu), ENGINE.tlb_tag)), c.load64(c.get(entry))), () => {
      c.seldom();
      c.if(c.eqz32(c.call32(frame.runtime.miss, c.get(cpu), c.get(linear), c.const32(size | (write ? ACCESS_WRITE : 0)), frame.spare())), () => this.leave());
      frame.paid();
    });
    return c.keep32(c.add32(c.wrap(c.get(linear)), c.load32(c.get(entry), 8)));
  }
  override commit(): void {}
  override divideWide(): void { this.leave(); }

  // ---- control
  leave(): void { this.frame.leave(this.before, this.at.start); }
  override raise(): void { this.leave(); }
  override rarely(): void { this.leave(); }

  // ---- floating point
  override unusualMxcsr(): I32 { return this.frame.unusualMxcsr(); }
  override isOrdinary(i: number, kind: string): boolean | L32 {
    if (this.isMemory(i)) return false;
    const n = this.number(this.field(i));
    return this.frame.ordinary.get(n) === kind || (this.frame.invariants.get(`${kind}${n}`) ?? false);
  }
  override noteOrdinary(i: number, kind: string): void { if (!this.isMemory(i)) this.frame.ordinary.set(this.number(this.field(i)), kind); }
  override writeV(i: number, v: LV, unaligned = false): void {
    super.writeV(i, v, unaligned);
    if (!this.isMemory(i)) this.frame.ordinary.delete(this.number(this.field(i)));
  }
  override writeImplicitV(n: number, v: LV): void {
    super.writeImplicitV(n, v);
    this.frame.ordinary.delete(n);
  }
  jump(): void { this.frame.edge(this.before + 1, this.at.end + Number(this.insn.imm)); }
  jumpTo(rip: L64): void { this.frame.exitTo(this.before + 1, rip); }
  override returnTo(rip: L64, sp: L64): void {
    const wide = this.shape.codeSize === 8;
    if (!wide) this.checkTarget(rip);
    // What lies behind a call is canonical.
    this.frame.returns(this.before + 1, rip, () => this.setStackPointer(sp));
    if (wide) this.checkTarget(rip);
    this.setStackPointer(sp);
    this.jumpTo(rip);
  }
  repeat(): void { throw new TypeError(`${this.shape.row.mnemonic} repeats itself`); }
  next(): I32 { throw new TypeError('a region goes on by itself'); }
}
