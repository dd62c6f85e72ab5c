/**
 * Flags inside a region: the three words of engine-state.ts are locals, and what the last arithmetic instruction did to
 * them is emitted only where somebody looks. Until then its operands and result are kept, so a compare and the jump
 * behind it become one comparison, and flags that the next instruction overwrites cost nothing.
 */
import { type Condition, FlagsEmitter } from './flags-emitter.ts';
import { ENGINE } from './layout.ts';
import { type Code, type I32, type I64, type L32, type L64, type Local, i32, i64 } from './wasm-emitter.ts';

type Kind = 'add' | 'sub' | 'logic';
interface Pending {
  readonly kind: Kind;
  readonly size: number;
  readonly a: L64;
  readonly b: L64;
  readonly r: L64;
  /** r = a - b and nothing more: conditions compare the operands. */
  readonly plain: boolean;
  /** CF when it is not the arithmetic's: INC and DEC. */
  readonly cf?: L64;
}

/** Rows that set all flags they write through add, sub or logic, once and in all cases. */
const ARITHMETIC = new Set(['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP', 'TEST', 'INC', 'DEC', 'NEG', 'XADD', 'CMPXCHG']);
const PLAIN = new Set(['CMP', 'SUB', 'NEG', 'DEC', 'CMPXCHG']);
/** Of the others, those that write all six whatever they read. */
const WRITES_ALL = new Set(['MUL', 'IMUL', 'POPCNT']);
const SHIFTS = new Set(['SHL', 'SHR', 'SAL', 'SAR']);

/** What an instruction does with the flags there were: `count` is a shift's known, masked count. */
export interface FlagUse { readonly arithmetic: boolean; readonly plain: boolean; readonly reads: boolean; readonly writes: boolean; readonly kills: boolean }
export function flagUse(mnemonic: string, reads: string, writes: string, undefinedFlags: string, count: number | undefined): FlagUse {
  const arithmetic = ARITHMETIC.has(mnemonic);
  return {
    arithmetic,
    plain: PLAIN.has(mnemonic),
    reads: reads !== '',
    writes: writes !== '' || undefinedFlags !== '',
    kills: arithmetic ? mnemonic !== 'INC' && mnemonic !== 'DEC' && reads === '' : WRITES_ALL.has(mnemonic) || SHIFTS.has(mnemonic) && count !== undefined && count !== 0,
  };
}

export class HotFlags extends FlagsEmitter {
  private readonly resLocal: L64;
  private readonly carryLocal: L64;
  private readonly adjustLocal: L32;
  private pending: Pending | undefined;
  private use: FlagUse = { arithmetic: false, plain: false, reads: false, writes: false, kills: false };
  /** Whether the locals were ever set. */
  private dirty = false;

  constructor(c: Code, cpu: L32) {
    super(c, cpu);
    this.resLocal = c.local(i64);
    this.carryLocal = c.local(i64);
    this.adjustLocal = c.local(i32);
  }

  // ---- the region's frame
  loadAll(): void {
    const { c, cpu } = this;
    c.set(this.resLocal, c.load64(c.get(cpu), ENGINE.flags_res));
    c.set(this.carryLocal, c.load64(c.get(cpu), ENGINE.flags_carry));
    c.set(this.adjustLocal, c.load32(c.get(cpu), ENGINE.flags_adjust));
  }
  storeAll(): void {
    const { c, cpu } = this;
    if (!this.dirty) return;
    c.store64(c.get(cpu), c.get(this.resLocal), ENGINE.flags_res);
    c.store64(c.get(cpu), c.get(this.carryLocal), ENGINE.flags_carry);
    c.store32(c.get(cpu), c.get(this.adjustLocal), ENGINE.flags_adjust);
  }
  /** Before each instruction. */
  begin(use: FlagUse): void {
    this.use = use;
    // One that writes all drops what is pending when it writes: until then it may leave the region.
    if (!use.writes || use.arithmetic || use.kills) return;
    this.materialize();
    this.pending = undefined;
  }
  /** At the start of a block: what is known is in the locals. */
  forget(): void { this.pending = undefined; }
  isPending(l: Local): boolean {
    const p = this.pending;
    return p !== undefined && (l === p.a || l === p.b || l === p.r || l === p.cf);
  }
  /** Brings the locals up to date on the path being emitted; other paths go on with what is pending. */
  materialize(): void {
    const p = this.pending;
    if (!p) return;
    this.pending = undefined;
    if (p.kind === 'add') super.add(p.size, p.a, p.b, p.r);
    else if (p.kind === 'sub') super.sub(p.size, p.a, p.b, p.r);
    else super.logic(p.size, p.r);
    if (p.cf) super.setCf(() => this.c.get(p.cf!));
    this.pending = p;
  }

  // ---- the three words
  override res(): I64 { const p = this.pending; return p ? this.c.extend(p.size, this.c.get(p.r)) : this.c.get(this.resLocal); }
  override carry(): I64 {
    const { c } = this;
    const p = this.pending;
    if (!p) return c.get(this.carryLocal);
    if (!p.cf) return this.arithmeticCarry(p);
    const k = c.keep64(this.arithmeticCarry(p));
    const of = c.keep64(c.shru(c.xor(c.get(k), c.shl(c.get(k), c.const(1))), c.const(63)));
    return c.or(c.shl(c.get(p.cf), c.const(63)), c.shl(c.xor(c.get(p.cf), c.get(of)), c.const(62)));
  }
  private arithmeticCarry({ kind, size, a, b, r }: Pending): I64 {
    const { c } = this;
    if (kind === 'logic') return c.const(0);
    if (size < 8) return c.shl(c.xor(c.xor(c.get(a), c.get(b)), c.get(r)), c.const(63 - 8 * size));
    return kind === 'add'
      ? c.or(c.and(c.get(a), c.get(b)), c.and(c.or(c.get(a), c.get(b)), c.xor(c.get(r), c.const(-1))))
      : c.or(c.and(c.xor(c.get(a), c.const(-1)), c.get(b)), c.and(c.or(c.xor(c.get(a), c.const(-1)), c.get(b)), c.get(r)));
  }
  override adjust(): I32 {
    const { c } = this;
    const p = this.pending;
    if (!p) return c.get(this.adjustLocal);
    return p.kind === 'logic' ? c.const32(0) : c.and32(c.wrap(c.xor(c.xor(c.get(p.a), c.get(p.b)), c.get(p.r))), c.const32(0x10));
  }
  private write(): void {
    this.dirty = true;
    this.pending = undefined;
  }
  override setRes(v: () => I64): void { this.write(); this.c.set(this.resLocal, v()); }
  override setCarry(v: () => I64): void { this.write(); this.c.set(this.carryLocal, v()); }
  override setAdjust(v: () => I32): void { this.write(); this.c.set(this.adjustLocal, v()); }

  // ---- arithmetic
  private keep(kind: Kind, size: number, a: L64, b: L64, r: L64): void {
    this.pending = { kind, size, a, b, r, plain: kind === 'sub' && this.use.plain };
  }
  override add(size: number, a: L64, b: L64, r: L64): void {
    if (this.use.arithmetic) this.keep('add', size, a, b, r); else super.add(size, a, b, r);
  }
  override sub(size: number, a: L64, b: L64, r: L64): void {
    if (this.use.arithmetic) this.keep('sub', size, a, b, r); else super.sub(size, a, b, r);
  }
  override logic(size: number, r: L64): void {
    if (this.use.arithmetic) this.keep('logic', size, r, r, r); else super.logic(size, r);
  }
  override setCf(cf: () => I64): void {
    if (this.pending && this.use.arithmetic) this.pending = { ...this.pending, cf: this.c.keep64(cf()) };
    else super.setCf(cf);
  }

  // ---- conditions
  override cf(): I64 {
    const { c } = this;
    const p = this.pending;
    if (p?.cf) return c.get(p.cf);
    if (p?.plain) return c.extendu(c.ltu(c.get(p.a), c.get(p.b)));
    return super.cf();
  }
  override signed(): I32 { return this.pending ? this.c.lts(this.res(), this.c.const(0)) : super.signed(); }
  override parity(): I32 {
    const { c } = this;
    return this.pending ? c.eqz(c.and(c.popcnt(c.and(this.res(), c.const(0xff))), c.const(1))) : super.parity();
  }
  override condition(cc: Condition): I32 {
    const { c } = this;
    const p = this.pending;
    if (!p) return super.condition(cc);
    const holds = this.fused(cc >> 1, p);
    if (!holds) return super.condition(cc);
    return cc & 1 ? c.eqz32(holds()) : holds();
  }
  private fused(kind: number, p: Pending): (() => I32) | undefined {
    const { c } = this;
    const a = () => c.get(p.a), b = () => c.get(p.b);
    const zero = () => c.eqz(this.res()), negative = () => c.lts(this.res(), c.const(0));
    const signedLess = (x: () => I64, y: () => I64) => p.size === 4 ? c.lts32(c.wrap(x()), c.wrap(y())) : c.lts(c.extend(p.size, x()), c.extend(p.size, y()));
    switch (kind) {
      case 1: return p.cf ? () => c.wrap(c.get(p.cf!)) : p.plain ? () => c.ltu(a(), b()) : p.kind === 'logic' ? () => c.const32(0) : undefined;
      case 2: return p.plain ? () => c.eq(a(), b()) : zero;
      case 3: return p.cf ? undefined : p.plain ? () => c.eqz32(c.gtu(a(), b())) : p.kind === 'logic' ? zero : undefined;
      case 6: return p.plain ? () => signedLess(a, b) : p.kind === 'logic' ? negative : undefined;
      case 7: return p.plain ? () => c.eqz32(signedLess(b, a)) : p.kind === 'logic' ? () => c.eqz32(c.gts(this.res(), c.const(0))) : undefined;
      default: return undefined;
    }
  }
}
