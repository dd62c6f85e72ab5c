/**
 * The hot tier's way to give an instruction its parts: they are known, and general registers are locals. Nothing
 * faults here. Where the cold tier would call the slow path or raise an exception, the region is left in front of the
 * instruction, which has changed nothing yet, and the cold tier runs it.
 */
import { type Insn, RIP_BASE } from '../cpu/opcode-row.ts';
import { RSP, SEGMENT_SIZE, SS, STATE } from '../cpu/state.ts';
import type { FlagUse, HotFlags } from './hot-flags.ts';
import { RECENT_BYTES } from './engine-state.ts';
import { ENGINE } from './layout.ts';
import { ACCESS_SLOT_SHIFT, ACCESS_WRITE } from './record.ts';
import type { Runtime } from './runtime.ts';
import type { Shape } from './shape.ts';
import { RECENT_ADDEND, RECENT_PAGE, STACK_SLOT, TLB_MASK } from './tlb.ts';
import { type RegisterField, Translation } from './translation.ts';
import { type Code, type I32, type I64, type L32, type L64, type LV, i32 } from './wasm-emitter.ts';

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
  register(n: number, written: boolean): L64;
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
  exitTo(count: number, rip: L64, isReturn: boolean): void;
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
    const l = this.frame.register(n, false);
    return size === 4 && this.frame.clean.has(n) ? this.c.get(l) : this.truncate(size, this.c.get(l));
  }
  override setGpr(n: number, size: number, v: () => I64): void {
    const { c } = this;
    const { clean, nesting } = this.frame;
    const l = this.frame.register(n, true);
    if (size < 4) {
      c.set(l, c.or(c.and(c.get(l), c.const(size === 1 ? -0x100 : -0x1_0000)), this.truncate(size, v())));
      return;
    }
    c.set(l, this.truncate(size, v()));
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
    return high < 0 ? this.gpr(n, size) : c.and(c.shru(c.get(this.frame.register(high, false)), c.const(8)), c.const(0xff));
  }
  protected writeRegister(field: RegisterField, size: number, v: () => I64): void {
    const { c } = this;
    const n = this.number(field), high = this.highByte(n, size);
    if (high < 0) { this.setGpr(n, size, v); return; }
    const l = this.frame.register(high, true);
    c.set(l, c.or(c.and(c.get(l), c.const(-0xff01)), c.shl(c.and(v(), c.const(0xff)), c.const(8))));
  }
  xmm(field: RegisterField): I32 { return this.c.add32(this.c.get(this.cpu), this.c.const32(STATE['fpu.xmm']! + 16 * this.number(field))); }

  // ---- what is known
  immediate(): I64 { return this.c.const(BigInt.asIntN(64, this.insn.imm)); }
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
  effectiveAddress(): I64 {
    const { c, insn } = this;
    const disp = insn.base === RIP_BASE ? insn.disp + this.at.end : insn.disp;
    let v: I64 | undefined;
    if (insn.base === RIP_BASE) v = c.get(this.frame.ripPage);
    else if (insn.base >= 0) v = c.get(this.frame.register(insn.base, false));
    if (insn.index >= 0) {
      const index = c.get(this.frame.register(insn.index, false));
      const scaled = insn.scale === 0 ? index : c.shl(index, c.const(insn.scale));
      v = v === undefined ? scaled : c.add(v, scaled);
    }
    if (v === undefined) return this.address(c.const(disp));
    if (disp !== 0) return this.address(c.add(v, c.const(disp)));
    return this.shape.addrSize === 4 && insn.index < 0 && this.frame.clean.has(insn.base) ? v : this.address(v);
  }
  protected segmentBase(): I64 { return this.state64(STATE.seg + this.insn.seg * SEGMENT_SIZE); }
  protected segmentOffset(): I32 { return this.c.const32(STATE.seg + this.insn.seg * SEGMENT_SIZE); }

  // ---- memory
  override hostRead(linear: L64, size: number, seg?: number): L32 { return this.find(linear, size, seg, false); }
  override hostWrite(linear: L64, size: number, _old: boolean, seg?: number): L32 { return this.find(linear, size, seg, true); }
  private find(linear: L64, size: number, seg: number | undefined, write: boolean): L32 {
    const { c, frame, insn } = this;
    const { cpu } = frame;
    const pair = seg === SS || insn.base === RSP && insn.index < 0 ? STACK_SLOT : frame.pointer(insn.base, insn.index, insn.disp);
    if (pair === undefined) return this.findInTlb(linear, size, write);
    const slot = pair + (write ? 1 : 0);
    const recent = ENGINE.recent + slot * RECENT_BYTES;
    const at = c.local(i32);
    c.if(c.eq(c.and(c.get(linear), c.const(-4096 | (size - 1))), c.load64(c.get(cpu), recent + RECENT_PAGE)), () => {
      c.set(at, c.add32(c.wrap(c.get(linear)), c.load32(c.get(cpu), recent + RECENT_ADDEND)));
    }, () => {
      c.seldom();
      const access = size | (write ? ACCESS_WRITE : 0) | slot << ACCESS_SLOT_SHIFT;
      c.if(c.eqz32(c.tee(at, c.call32(frame.runtime.look, c.get(cpu), c.get(linear), c.const32(access), frame.spare()))), () => this.leave());
      frame.paid();
    });
    return at;
  }
  private findInTlb(linear: L64, size: number, write: boolean): L32 {
    const { c, frame } = this;
    const { cpu } = frame;
    const entry = c.keep32(c.add32(c.and32(c.wrap(c.shru(c.get(linear), c.const(8))), c.const32(TLB_MASK)), c.load32(c.get(cpu), write ? ENGINE.tlb_write : ENGINE.tlb_read)));
    const last = () => size === 1 ? c.get(linear) : c.add(c.get(linear), c.const(size - 1));
    const at = c.local(i32);
    c.if(c.eq(c.or(c.and(last(), c.const(-4096)), c.load64(c.get(cpu), ENGINE.tlb_tag)), c.load64(c.get(entry))), () => {
      c.set(at, c.add32(c.wrap(c.get(linear)), c.load32(c.get(entry), 8)));
    }, () => {
      c.seldom();
      c.if(c.eqz32(c.tee(at, c.call32(frame.runtime.miss, c.get(cpu), c.get(linear), c.const32(size | (write ? ACCESS_WRITE : 0)), frame.spare()))), () => this.leave());
      frame.paid();
    });
    c.release(entry);
    return at;
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
  jumpTo(rip: L64): void { this.frame.exitTo(this.before + 1, rip, this.shape.row.mnemonic === 'RET'); }
  repeat(): void { throw new TypeError(`${this.shape.row.mnemonic} repeats itself`); }
  next(): I32 { throw new TypeError('a region goes on by itself'); }
}
