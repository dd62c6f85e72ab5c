/**
 * The hot tier's way to give an instruction its parts: they are known, and general registers are locals. Nothing
 * faults here. Where the cold tier would call the slow path or raise an exception, the region is left in front of the
 * instruction, which has changed nothing yet, and the cold tier runs it.
 */
import { type Insn, RIP_BASE } from '../cpu/opcode-row.ts';
import { SEGMENT_SIZE, STATE } from '../cpu/state.ts';
import type { FlagUse, HotFlags } from './hot-flags.ts';
import type { Runtime } from './runtime.ts';
import type { Shape } from './shape.ts';
import { TLB_MASK } from './tlb.ts';
import { type RegisterField, Translation } from './translation.ts';
import type { Code, I32, I64, L32, L64, LV } from './wasm-emitter.ts';

/** What an instruction needs of the region it is part of. */
export interface Frame {
  readonly c: Code;
  readonly cpu: L32;
  readonly runtime: Runtime;
  readonly flags: HotFlags;
  readonly ripPage: L64;
  readonly tlbRead: L32;
  readonly tlbWrite: L32;
  readonly tlbTag: L64;
  register(n: number, written: boolean): L64;
  /** Translation.unusualMxcsr(), which nothing in a region changes. */
  unusualMxcsr(): I32;
  /** XMM registers that a check in this block has shown to hold no denormals, as numbers of which kind. */
  readonly ordinary: Map<number, string>;
  /** Of kind and number of a register that the loop does not write: whether it holds a denormal. */
  readonly invariants: ReadonlyMap<string, L32>;
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
  override gpr(n: number, size: number): I64 { return this.truncate(size, this.c.get(this.frame.register(n, false))); }
  override setGpr(n: number, size: number, v: () => I64): void {
    const { c } = this;
    const l = this.frame.register(n, true);
    if (size >= 4) c.set(l, this.truncate(size, v()));
    else c.set(l, c.or(c.and(c.get(l), c.const(size === 1 ? -0x100 : -0x1_0000)), this.truncate(size, v())));
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
    return this.address(disp === 0 ? v : c.add(v, c.const(disp)));
  }
  protected segmentBase(): I64 { return this.state64(STATE.seg + this.insn.seg * SEGMENT_SIZE); }
  protected segmentOffset(): I32 { return this.c.const32(STATE.seg + this.insn.seg * SEGMENT_SIZE); }

  // ---- memory
  override hostRead(linear: L64, size: number): L32 { return this.find(this.frame.tlbRead, linear, size); }
  override hostWrite(linear: L64, size: number): L32 { return this.find(this.frame.tlbWrite, linear, size); }
  private find(array: L32, linear: L64, size: number): L32 {
    const { c } = this;
    const entry = c.keep32(c.add32(c.and32(c.wrap(c.shru(c.get(linear), c.const(8))), c.const32(TLB_MASK)), c.get(array)));
    const last = () => size === 1 ? c.get(linear) : c.add(c.get(linear), c.const(size - 1));
    c.if(c.ne(c.or(c.and(last(), c.const(-4096)), c.get(this.frame.tlbTag)), c.load64(c.get(entry))), () => this.leave());
    const at = c.keep32(c.add32(c.wrap(c.get(linear)), c.load32(c.get(entry), 8)));
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
