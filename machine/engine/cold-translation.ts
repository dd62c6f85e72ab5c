/**
 * The cold tier's way to give an instruction its parts: everything that is not in the shape is loaded from the record,
 * so that one function serves all instructions of the shape. It returns the next record to run, or 0 to leave.
 */
import { MODE_64, MODE_SIZE, STATE } from '../cpu/state.ts';
import { ENGINE } from './layout.ts';
import { RECORD_SIZE, REC_AUX, REC_DISP, REC_END, REC_IMM, REC_INDEX, REC_LINK, REC_REG, REC_RM, REC_SCALE, REC_SEG, REC_START, REC_VVVV } from './record.ts';
import type { Runtime } from './runtime.ts';
import type { Shape } from './shape.ts';
import { type RegisterField, Translation } from './translation.ts';
import { type Code, type I32, type I64, type L32, type L64, i32 } from './wasm-emitter.ts';

const FIELD: Readonly<Record<RegisterField, number>> = { reg: REC_REG, rm: REC_RM, vvvv: REC_VVVV };

export class ColdTranslation extends Translation {
  private readonly record: L32;

  constructor(c: Code, shape: Shape, runtime: Runtime) {
    super(c, c.param(0, i32), shape, runtime);
    this.record = c.param(1, i32);
  }

  /** Host address of the register a field of the record names. */
  private registerAt(field: number): I32 {
    const { c } = this;
    return c.add32(c.get(this.cpu), c.load32_16u(c.get(this.record), field));
  }
  protected readRegister(field: RegisterField, size: number): I64 { return this.c.loadSized(size, this.registerAt(FIELD[field])); }
  protected writeRegister(field: RegisterField, size: number, v: () => I64): void {
    const { c } = this;
    const at = this.registerAt(FIELD[field]);
    if (size === 4) c.store64(at, c.and(v(), c.const(0xffff_ffff)));
    else c.storeSized(size, at, v());
  }
  xmm(field: RegisterField): I32 { return this.registerAt(FIELD[field]); }

  stackRegister(): I32 { return this.numberOf(REC_RM); }
  selectorRegister(): I32 { return this.numberOf(REC_REG); }
  /** The low three bits of the number of a register that a field names by its place. */
  private numberOf(field: number): I32 {
    const { c } = this;
    return c.and32(c.shru32(c.sub32(c.load32_16u(c.get(this.record), field), c.const32(STATE.gpr)), c.const32(3)), c.const32(7));
  }
  remaining(): I32 { return this.state32(STATE.budget); }
  charge(cycles: L32): void {
    const { c, cpu } = this;
    c.store32(c.get(cpu), c.sub32(this.state32(STATE.budget), c.get(cycles)), STATE.budget);
    c.store32(c.get(cpu), c.add32(this.state32(ENGINE.charged), c.get(cycles)), ENGINE.charged);
  }
  immediate(): I64 { return this.c.load64(this.c.get(this.record), REC_IMM); }
  immediate2(): I64 { return this.c.extendu(this.c.load32_8u(this.c.get(this.record), REC_AUX)); }
  get rec(): I32 { return this.c.get(this.record); }

  effectiveAddress(): I64 {
    const { c } = this;
    const base = c.add(c.load64(this.registerAt(REC_RM)), c.extends(c.load32(c.get(this.record), REC_DISP)));
    if (!this.shape.indexed) return this.address(base);
    return this.address(c.add(base, c.shl(c.load64(this.registerAt(REC_INDEX)), c.extendu(c.load32_8u(c.get(this.record), REC_SCALE)))));
  }
  protected segmentBase(): I64 { return this.c.load64(this.registerAt(REC_SEG)); }
  protected segmentOffset(): I32 { return this.c.load32_16u(this.c.get(this.record), REC_SEG); }

  nextRip(): I64 {
    const { c } = this;
    return this.ripTruncate(c.add(this.state64(ENGINE.rip_page), c.extendu(c.load32_16u(c.get(this.record), REC_END))));
  }
  /** RIP at and after the record, in whatever mode runs. */
  currentRip(): I64 { return this.modeTruncate(REC_START); }
  followingRip(): I64 { return this.modeTruncate(REC_END); }
  private modeTruncate(field: number): I64 {
    const { c } = this;
    const rip = c.keep64(c.add(this.state64(ENGINE.rip_page), c.extendu(c.load32_16u(c.get(this.record), field))));
    return c.select(c.get(rip), c.and(c.get(rip), c.const(0xffff_ffff)),
      c.eq32(c.and32(this.state32(STATE.mode), c.const32(MODE_SIZE)), c.const32(MODE_64)));
  }
  private ripTruncate(v: I64): I64 { return this.truncate(this.shape.codeSize === 8 ? 8 : 4, v); }

  leave(): void { this.c.return(this.c.const32(0)); }
  execute(): void {
    const { c } = this;
    const rip = c.keep64(this.followingRip());
    c.store64(c.get(this.cpu), c.get(rip), STATE.rip);
    c.store64(c.get(this.cpu), c.get(rip), STATE.next_rip);
    c.if(c.eqz32(c.call32(this.runtime.execute, c.get(this.cpu), this.rec)), () => this.leave());
    c.return(this.next());
  }
  jump(): void {
    const { c } = this;
    const target = c.local(i32);
    c.if(c.tee(target, c.load32(c.get(this.record), REC_LINK)), () => c.return(c.get(target)));
    c.return(c.call32(this.runtime.link, c.get(this.cpu), c.get(this.record)));
  }
  jumpTo(rip: L64): void { this.c.return(this.c.call32(this.runtime.jumpTo, this.c.get(this.cpu), this.c.get(rip))); }
  repeat(): void { this.c.return(this.c.get(this.record)); }

  next(): I32 { return this.c.add32(this.c.get(this.record), this.c.const32(RECORD_SIZE)); }
}
