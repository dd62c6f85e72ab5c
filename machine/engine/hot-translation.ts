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
import { type Place, type Reach, type Reaches, type Values, operandPlace, reachKey } from './spans.ts';
import { RECENT_ADDEND, RECENT_LENGTH, RECENT_PAGE, SCRATCH_SLOT, STACK_SLOT, TLB_MASK } from './tlb.ts';
import { type RegisterField, Translation } from './translation.ts';
import { type Code, type I32, type I64, type L32, type L64, type LV, i32 } from './wasm-emitter.ts';

/** Operands of a block found by one look (spans.ts): places `low` to `high` behind a register's unknown. */
export interface Span {
  /** Host address of `low`; 0 while each must be looked for by itself. */
  readonly host: L32;
  readonly low: number;
  readonly high: number;
  readonly slot: number;
  /** The last instruction with an operand in it. */
  readonly last: number;
}

/** An address, as a register's unknown plus a constant. */
interface Placed { readonly linear: L64; readonly unknown: number; readonly where: number }

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
  /** What is known of general registers' values; of this block's memory operands; spans begun. */
  readonly values: Values;
  readonly reaches: Reaches;
  readonly spans: Map<string, Span>;
  /** How deep blocks nest where every instruction of the basic block is run. */
  readonly nesting: number;
  /** A general register: of 64 bits in 64-bit code, else of 32. */
  readonly wide: boolean;
  register(n: number, written: boolean): L64 | L32;
  /** In 16-bit code: nothing in the region touches more than the register's lower half, and the local holds nothing else. */
  isShort(n: number): boolean;
  /** More than that is touched. */
  lengthen(n: number): void;
  /** An XMM register. */
  vector(n: number, written: boolean): LV;
  /** Base of a segment register. */
  segmentBase(seg: number): L32;
  /** The last offset in it that may be accessed, -1 for none: nothing in a region changes that. */
  segmentEnd(seg: number, write: boolean): L64;
  /** Translation.unusualMxcsr(), which nothing in a region changes. */
  unusualMxcsr(): I32;
  /** XMM registers that a check in this block has shown to hold no denormals, as numbers of which kind. */
  readonly ordinary: Map<number, string>;
  /** Of kind and number of a register that the loop does not write: whether it holds a denormal. */
  readonly invariants: ReadonlyMap<string, L32>;
  /** Cycles that may be charged here without coming short on any way on. */
  spare(): I32;
  /** Cycles the run has left behind `count` instructions of the block. */
  remaining(count: number): I32;
  charge(cycles: L32): void;
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
    this.touch(n, size);
    const v = this.gpr64(n);
    return size === 4 && this.frame.clean.has(n) || size === 2 && this.isShort(n) ? v : this.truncate(size, v);
  }
  private isShort(n: number): boolean { return this.shape.codeSize === 2 && this.frame.isShort(n); }
  /** Of eight bytes asked for in 16-bit code as many matter as addresses have. */
  private touch(n: number, size: number): void {
    const { codeSize, addrSize, stackSize } = this.shape;
    if (codeSize === 2 && (size === 8 ? addrSize === 4 || stackSize === 4 : size === 4)) this.frame.lengthen(n);
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
    const value = v();
    const l = frame.register(n, true);
    if (frame.wide) c.set(l as L64, value);
    else c.set(l as L32, c.wrap(value));
  }
  override narrow(size: number): boolean { return size <= 4; }
  override setGpr(n: number, size: number, v: () => I64): void {
    const { c } = this;
    const { clean, nesting } = this.frame;
    this.touch(n, size);
    if (this.isShort(n) && size !== 1) {
      this.setGpr64(n, () => this.truncate(2, v()));
      return;
    }
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
  xmm(): I32 { throw new TypeError(`${this.shape.row.mnemonic} asks for the address of a register`); }

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
  currentRip(): I64 { return this.rip(this.at.start); }
  stackRegister(): I32 { return this.c.const32(this.insn.rm & 7); }
  selectorRegister(): I32 { return this.c.const32(this.insn.reg & 7); }
  private rip(offset: number): I64 {
    const { c } = this;
    return this.truncate(this.shape.codeSize === 8 ? 8 : 4, c.add(c.get(this.frame.ripPage), c.const(offset)));
  }
  effectiveAddress(size = 8): I64 {
    const { c, insn, shape } = this;
    const disp = insn.base === RIP_BASE ? insn.disp + this.at.end : insn.disp;
    if (shape.addrSize === 2 && insn.base >= 0 && insn.index < 0 && disp === 0) return this.gpr(insn.base, 2);
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
    if (this.shape.addrSize !== 2) for (const n of [insn.base, insn.index]) if (n >= 0) this.touch(n, 4);
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
    const n = seg ?? this.insn.seg;
    c.if(c.gts(size === 1 ? c.get(offset) : c.add(c.get(offset), c.const(size - 1)), c.get(this.frame.segmentEnd(n, write))), () => this.leave());
    return c.keep64(c.extendu(c.add32(c.wrap(c.get(offset)), c.get(this.frame.segmentBase(n)))));
  }
  get selectorNumber(): number { return this.insn.reg & 7; }
  setSegmentBase(seg: number, base: I64): void {
    const { c } = this;
    const l = this.frame.segmentBase(seg);
    c.set(l, c.wrap(base));
    c.store64(c.get(this.cpu), c.extendu(c.get(l)), STATE.seg + seg * SEGMENT_SIZE);
  }
  /** The ModRM operand's address and the stack's, as far as they are known. */
  private operand: Placed | undefined;
  private onStack: Placed | undefined;
  override operandAddress(size: number, write: boolean): L64 {
    const linear = super.operandAddress(size, write);
    const place = operandPlace(this.at);
    this.operand = place && this.placed(linear, place);
    return linear;
  }
  override stackOffset(delta: number): L64 {
    const linear = super.stackOffset(delta);
    this.onStack = this.placed(linear, { register: RSP, offset: delta });
    return linear;
  }
  private placed(linear: L64, { register, offset }: Place): Placed {
    const { unknown, plus } = this.frame.values.of(register);
    return { linear, unknown, where: plus + offset };
  }
  override hostRead(linear: L64, size: number, seg?: number): L32 { return this.find(linear, size, seg, false); }
  override hostWrite(linear: L64, size: number, _old: boolean, seg?: number): L32 { return this.find(linear, size, seg, true); }
  private find(linear: L64, size: number, seg: number | undefined, write: boolean): L32 {
    const { c, frame, insn } = this;
    const { cpu } = frame;
    const pair = seg === SS || insn.base === RSP && insn.index < 0 ? STACK_SLOT
      : insn.row.attributes.has('rep') ? frame.pointer(seg === ES ? RDI : RSI, -1, 0) : frame.pointer(insn.base, insn.index, insn.disp);
    const placed = [this.operand, this.onStack].find((p) => p?.linear === linear);
    const found = placed && this.findInSpan(placed, size, write, pair);
    if (found) return found;
    if (pair === undefined) return this.findInTlb(linear, size, write);
    const slot = pair + (write ? 1 : 0);
    const recent = ENGINE.recent + slot * RECENT_BYTES;
    c.if(c.ne(c.and(c.get(linear), c.const(-4096 | (size - 1))), c.load64(c.get(cpu), recent + RECENT_PAGE)), () => {
      c.seldom();
      this.look(linear, size, write, slot);
    });
    // Now the slot has it; for V8 a sum of 32 bits is an address as it is, a number from one of two ways is not.
    return c.keep32(c.add32(c.wrap(c.get(linear)), c.load32(c.get(cpu), recent + RECENT_ADDEND)));
  }
  private findInTlb(linear: L64, size: number, write: boolean): L32 {
    const { c, frame } = this;
    const { cpu } = frame;
    const entry = this.entry(linear, write);
    const last = () => size === 1 ? c.get(linear) : c.add(c.get(linear), c.const(size - 1));
    c.if(c.ne(c.or(c.and(last(), c.const(-4096)), c.load64(c.get(cpu), ENGINE.tlb_tag)), c.load64(c.get(entry))), () => {
      c.seldom();
      c.if(c.eqz32(c.call32(frame.runtime.miss, c.get(cpu), c.get(linear), c.const32(size | (write ? ACCESS_WRITE : 0)), frame.spare())), () => this.leave());
      this.paid();
    });
    return c.keep32(c.add32(c.wrap(c.get(linear)), c.load32(c.get(entry), 8)));
  }
  /** Brings the page of an access into a slot, or leaves. */
  private look(linear: L64, size: number, write: boolean, slot: number): void {
    const { c, frame } = this;
    const access = size | (write ? ACCESS_WRITE : 0) | slot << ACCESS_SLOT_SHIFT;
    c.if(c.eqz32(c.call32(frame.runtime.look, c.get(frame.cpu), c.get(linear), c.const32(access), frame.spare())), () => this.leave());
    this.paid();
  }
  /** A walk may have taken the place of a span's page in the TLB. */
  private paid(): void {
    const { c, frame } = this;
    frame.paid();
    for (const { host } of frame.spans.values()) c.set(host, c.select(c.const32(0), c.get(host), c.load32(c.get(frame.cpu), ENGINE.paid)));
  }
  private inSlot(linear: L64, slot: number): I32 {
    const { c } = this;
    return c.add32(c.wrap(c.get(linear)), c.load32(c.get(this.frame.cpu), ENGINE.recent + slot * RECENT_BYTES + RECENT_ADDEND));
  }

  /** Of an operand at a known distance from others: its host address, by theirs. */
  private findInSpan({ linear, unknown, where }: Placed, size: number, write: boolean, pair: number | undefined): L32 | undefined {
    const { c, frame } = this;
    const key = `${unknown}${write ? 'w' : 'r'}`;
    const known = frame.spans.get(key);
    if (known && where >= known.low && where + size <= known.high) {
      const at = c.local(i32);
      c.if(c.get(known.host), () => c.set(at, c.add32(c.get(known.host), c.const32(where - known.low))), () => {
        c.seldom();
        this.look(linear, size, write, known.slot);
        c.set(at, this.inSlot(linear, known.slot));
      });
      return at;
    }
    const reach = c.nesting === frame.nesting ? frame.reaches.get(reachKey(this.before, linear === this.onStack?.linear, write)) : undefined;
    if (!reach || size > reach.above) return undefined;
    const slot = (pair ?? SCRATCH_SLOT) + (write ? 1 : 0);
    const at = this.beginSpan(linear, size, write, reach, slot, pair === undefined);
    frame.spans.set(key, { host: at.host, low: where - reach.below, high: where + reach.above, slot, last: reach.last });
    return at.at;
  }
  private beginSpan(linear: L64, size: number, write: boolean, { below, above }: Reach, slot: number, inTlb: boolean): { readonly at: L32; readonly host: L32 } {
    const { c, frame } = this;
    const { cpu } = frame;
    const at = c.local(i32), host = c.local(i32);
    const start = below === 0 ? linear : c.keep64(c.sub(c.get(linear), c.const(below)));
    const entry = inTlb ? this.entry(start, write) : undefined;
    c.block((done) => {
      c.block((seldom) => {
        const page = () => c.and(c.get(start), c.const(-4096));
        c.brIfSeldom(seldom, entry ? c.ne(c.or(page(), c.load64(c.get(cpu), ENGINE.tlb_tag)), c.load64(c.get(entry)))
          : c.ne(page(), c.load64(c.get(cpu), ENGINE.recent + slot * RECENT_BYTES + RECENT_PAGE)));
        const offset = c.and32(c.wrap(c.get(start)), c.const32(4095));
        c.brIfSeldom(seldom, entry ? c.gtu32(offset, c.const32(4096 - below - above))
          : c.gtu32(c.add32(offset, c.const32(below + above)), c.load32(c.get(cpu), ENGINE.recent + slot * RECENT_BYTES + RECENT_LENGTH)));
        c.set(host, entry ? c.add32(c.wrap(c.get(start)), c.load32(c.get(entry), 8)) : this.inSlot(start, slot));
        c.set(at, c.add32(c.get(host), c.const32(below)));
        c.br(done);
      });
      this.look(linear, size, write, slot);
      c.set(at, this.inSlot(linear, slot));
      c.set(host, c.call32(frame.runtime.lookSpan, c.get(cpu), c.get(start), c.const32(slot << ACCESS_SLOT_SHIFT | (write ? ACCESS_WRITE : 0)), c.const32(below + above)));
    });
    return { at, host };
  }
  private entry(linear: L64, write: boolean): L32 {
    const { c } = this;
    return c.keep32(c.add32(c.and32(c.wrap(c.shru(c.get(linear), c.const(8))), c.const32(TLB_MASK)), c.load32(c.get(this.frame.cpu), write ? ENGINE.tlb_write : ENGINE.tlb_read)));
  }
  override commit(): void {}
  override divideWide(): void { this.leave(); }

  // ---- control
  leave(): void { this.frame.leave(this.before, this.at.start); }
  remaining(): I32 { return this.frame.remaining(this.before + 1); }
  charge(cycles: L32): void {
    const { c, frame } = this;
    this.unless(c.les32(c.get(cycles), frame.spare()));
    frame.charge(cycles);
  }
  override raise(): void { this.leave(); }
  execute(): void { this.leave(); }
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
    if (this.isMemory(i)) super.writeV(i, v, unaligned);
    else this.writeImplicitV(this.number(this.field(i)), v);
  }
  override readV(i: number, unaligned = false): LV {
    return this.isMemory(i) ? super.readV(i, unaligned) : this.implicitV(this.number(this.field(i)));
  }
  override implicitV(n: number): LV { return this.c.keepV(this.c.get(this.frame.vector(n, false))); }
  override writeImplicitV(n: number, v: LV): void {
    const { c, frame } = this;
    c.set(frame.vector(n, true), c.get(v));
    frame.ordinary.delete(n);
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
