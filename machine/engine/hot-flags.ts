/**
 * Flags inside a region. What the last arithmetic instruction did to them is emitted only where somebody looks: until
 * then its operands and result are kept, so a compare and the jump behind it become one comparison, and flags that nobody
 * looks at cost nothing.
 *
 * What is known while code is emitted is one of three: pending (operands and result of the last instruction, in locals of
 * its own), words (the three words of engine-state.ts are in their locals), or unknown. Where ways meet or the region is left,
 * pending flags become three moves: `lazy` says what kind they are of and `lazyA`, `lazyB`, `lazyR` hold the numbers. Only
 * whoever looks at unknown flags, and the region's one way out, makes words of them, by a call of the runtime.
 */
import { type Condition, FlagsEmitter } from './flags-emitter.ts';
import { ENGINE } from './layout.ts';
import type { Runtime } from './runtime.ts';
import { type Code, type I32, type I64, type L32, type L64, type Local, i32, i64 } from './wasm-emitter.ts';

/** The low bits of `lazy`; above them log2 of the operands' size. 0: the words are right. */
export const LAZY_ADD = 1, LAZY_SUB = 2, LAZY_LOGIC = 3, LAZY_DEFERRED = 4, LAZY_SIZE_SHIFT = 4;

type Kind = 'add' | 'sub' | 'logic' | 'deferred';
const LAZY: Readonly<Record<Kind, number>> = { add: LAZY_ADD, sub: LAZY_SUB, logic: LAZY_LOGIC, deferred: LAZY_DEFERRED };
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
  /** CF and OF, each 0 or 1, of what is neither: shifts, IMUL. They may ask for a, b and r. */
  readonly deferred?: readonly [cf: () => I64, of: () => I64];
}

/** CF and OF, each 0 or 1, set over whatever the other flags are: rotates. They may ask for the local. */
interface Overlay { readonly r: L64; readonly cf: () => I64; readonly of: () => I64 }

/** Rows that set all flags they write through add, sub or logic, once and in all cases. */
const ARITHMETIC = new Set(['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP', 'TEST', 'INC', 'DEC', 'NEG', 'XADD', 'CMPXCHG']);
const PLAIN = new Set(['CMP', 'SUB', 'NEG', 'DEC', 'CMPXCHG']);
/** Of the others, those that write all six whatever they read. */
const WRITES_ALL = new Set(['MUL', 'IMUL', 'POPCNT']);
const SHIFTS = new Set(['SHL', 'SHR', 'SAL', 'SAR']), ROTATES = new Set(['ROL', 'ROR']);

/** What an instruction does with the flags there were. */
export interface FlagUse { readonly arithmetic: boolean; readonly plain: boolean; readonly defers: boolean; readonly overlays: boolean; readonly reads: boolean; readonly writes: boolean; readonly kills: boolean }
/** Of the flags of a row those that live here: DF is a bit in memory. */
const computed = (flags: string): boolean => /[oszapc]/.test(flags);
/** `count` is a shift's known, masked count. */
export function flagUse(mnemonic: string, reads: string, writes: string, undefinedFlags: string, count: number | undefined): FlagUse {
  const arithmetic = ARITHMETIC.has(mnemonic);
  const shift = SHIFTS.has(mnemonic) && count !== undefined && count !== 0;
  return {
    arithmetic,
    overlays: ROTATES.has(mnemonic) && count !== undefined && count !== 0,
    defers: shift || mnemonic === 'IMUL' || mnemonic === 'MUL',
    plain: PLAIN.has(mnemonic),
    reads: computed(reads),
    writes: computed(writes) || computed(undefinedFlags),
    kills: arithmetic ? mnemonic !== 'INC' && mnemonic !== 'DEC' && reads === '' : WRITES_ALL.has(mnemonic) || shift,
  };
}
const NOTHING: FlagUse = { arithmetic: false, plain: false, defers: false, overlays: false, reads: false, writes: false, kills: false };

/** What is known of the flags at a place. */
export interface FlagState { readonly pending: Pending | undefined; readonly overlay: Overlay | undefined; readonly words: boolean }
export const UNKNOWN: FlagState = { pending: undefined, overlay: undefined, words: false };
export const WORDS: FlagState = { ...UNKNOWN, words: true };

export class HotFlags extends FlagsEmitter {
  private readonly runtime: Runtime;
  private readonly resLocal: L64;
  private readonly carryLocal: L64;
  private readonly adjustLocal: L32;
  private readonly lazy: L32;
  private readonly lazyA: L64;
  private readonly lazyB: L64;
  private readonly lazyR: L64;
  private pending: Pending | undefined;
  private overlay: Overlay | undefined;
  /** `lazy` is known to be 0. */
  private words = true;
  private use = NOTHING;
  /** Nobody looks at what the instruction writes. */
  private dead = false;
  /** Whether the words' locals, and the lazy ones, were ever set. */
  private dirty = false;
  private lazySet = false;

  constructor(c: Code, cpu: L32, runtime: Runtime) {
    super(c, cpu);
    this.runtime = runtime;
    this.resLocal = c.local(i64);
    this.carryLocal = c.local(i64);
    this.adjustLocal = c.local(i32);
    this.lazy = c.local(i32);
    this.lazyA = c.local(i64);
    this.lazyB = c.local(i64);
    this.lazyR = c.local(i64);
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
    if (this.dirty) {
      c.store64(c.get(cpu), c.get(this.resLocal), ENGINE.flags_res);
      c.store64(c.get(cpu), c.get(this.carryLocal), ENGINE.flags_carry);
      c.store32(c.get(cpu), c.get(this.adjustLocal), ENGINE.flags_adjust);
    }
    if (this.lazySet) c.if(c.get(this.lazy), () => this.callMaterialize());
  }
  private callMaterialize(): void {
    const { c } = this;
    c.call(this.runtime.materialize, c.get(this.cpu), c.get(this.lazy), c.get(this.lazyA), c.get(this.lazyB), c.get(this.lazyR));
  }

  get state(): FlagState { return { pending: this.pending, overlay: this.overlay, words: this.words }; }
  set state(s: FlagState) {
    this.pending = s.pending;
    this.overlay = s.overlay;
    this.words = s.words;
  }
  /** Before each instruction, at the top level of its block. `live`: somebody may look at the flags after it. */
  begin(use: FlagUse, live: boolean): void {
    this.use = use;
    this.dead = use.writes && !live;
    if (use.reads) this.know();
    if (!use.writes || this.dead || use.kills || use.overlays) return;   // one that kills drops what is pending when it writes: until then it may leave the region
    if (use.arithmetic) {
      this.know();
      return;
    }
    this.know();
    this.materialize();
    this.pending = this.overlay = undefined;
    this.words = true;
  }
  /** Makes words of unknown flags. */
  private know(): void {
    const { c } = this;
    if (this.pending || this.words) return;
    this.words = this.dirty = true;
    c.if(c.get(this.lazy), () => {
      c.seldom();
      this.callMaterialize();
      this.loadAll();
      c.set(this.lazy, c.const32(0));
    });
  }
  /** Whether a local is needed by flags in this state. */
  static holds({ pending: p, overlay }: FlagState, l: Local): boolean { return l === overlay?.r || p !== undefined && (l === p.a || l === p.b || l === p.r || l === p.cf); }

  /** Leaves the flags, on the way being emitted, where those find them who do not know what is pending. */
  spill(): void {
    const { c } = this;
    const { pending: p, state } = this;
    if (this.overlay && !p && !this.words) this.know();
    if (p?.cf || this.overlay) {
      this.materialize();
      this.state = state;
      return;
    }
    if (!p) return;
    this.lazySet = true;
    c.set(this.lazy, c.const32(LAZY[p.kind] | Math.log2(p.size) << LAZY_SIZE_SHIFT));
    if (p.kind === 'deferred') c.set(this.lazyA, this.carry());
    else if (p.kind !== 'logic') {
      c.set(this.lazyA, c.get(p.a));
      c.set(this.lazyB, c.get(p.b));
    }
    c.set(this.lazyR, c.get(p.r));
  }
  /** Brings the words up to date on the way being emitted; what is known about the others stays. */
  private materialize(): void {
    const { c, pending: p, words } = this;
    if (!p && !this.overlay) return;
    if (p) c.set(this.resLocal, this.res());
    c.set(this.carryLocal, this.carry());
    if (p) c.set(this.adjustLocal, this.adjust());
    this.dirty = true;
    if (!words) c.set(this.lazy, c.const32(0));
  }

  // ---- the three words
  override res(): I64 { const p = this.pending; return p ? this.c.extend(p.size, this.c.get(p.r)) : this.c.get(this.resLocal); }
  override carry(): I64 {
    const { c } = this;
    const p = this.pending;
    const both = this.overlay ? [this.overlay.cf, this.overlay.of] as const : p?.deferred;
    if (both) {
      const [cf, of] = both;
      const f = c.keep64(cf());
      return cf === of ? c.shl(c.get(f), c.const(63)) : c.or(c.shl(c.get(f), c.const(63)), c.shl(c.xor(c.get(f), of()), c.const(62)));
    }
    if (!p) return c.get(this.carryLocal);
    if (!p.cf) return this.arithmeticCarry(p);
    const k = c.keep64(this.arithmeticCarry(p));
    const of = c.keep64(c.shru(c.xor(c.get(k), c.shl(c.get(k), c.const(1))), c.const(63)));
    return c.or(c.shl(c.get(p.cf), c.const(63)), c.shl(c.xor(c.get(p.cf), c.get(of)), c.const(62)));
  }
  private arithmeticCarry({ kind, size, a, b, r }: Pending): I64 {
    const { c } = this;
    if (kind === 'logic') return c.const(0);
    // Carries out of each bit, of the operands' width alone: what a result has above it is not known.
    const carries = kind === 'add'
      ? c.or(c.and(c.get(a), c.get(b)), c.and(c.or(c.get(a), c.get(b)), c.xor(c.get(r), c.const(-1))))
      : c.or(c.and(c.xor(c.get(a), c.const(-1)), c.get(b)), c.and(c.or(c.xor(c.get(a), c.const(-1)), c.get(b)), c.get(r)));
    return size < 8 ? c.shl(carries, c.const(64 - 8 * size)) : carries;
  }
  override adjust(): I32 {
    const { c } = this;
    const p = this.pending;
    if (!p) return c.get(this.adjustLocal);
    return p.kind === 'logic' || p.kind === 'deferred' ? c.const32(0) : c.and32(c.wrap(c.xor(c.xor(c.get(p.a), c.get(p.b)), c.get(p.r))), c.const32(0x10));
  }
  /** A word is about to be set, by one of those that set them all. */
  private write(): void {
    const { c } = this;
    this.dirty = true;
    this.pending = this.overlay = undefined;
    if (!this.words) c.set(this.lazy, c.const32(0));
    this.words = true;
  }
  override setRes(v: () => I64): void { if (!this.dead) { this.write(); this.c.set(this.resLocal, v()); } }
  override setCarry(v: () => I64): void { if (!this.dead) { this.write(); this.c.set(this.carryLocal, v()); } }
  override setAdjust(v: () => I32): void { if (!this.dead) { this.write(); this.c.set(this.adjustLocal, v()); } }
  override setCfOf(cf: () => I64, of: () => I64): void { if (!this.dead) super.setCfOf(cf, of); }
  override setZf(zf: () => I32): void { if (!this.dead) super.setZf(zf); }
  override unpack(f: L32): void { if (!this.dead) super.unpack(f); }

  override get wanted(): boolean { return !this.dead; }

  // ---- arithmetic
  private keep(kind: Kind, size: number, a: L64, b: L64, r: L64): void {
    if (this.dead) return;
    this.pending = { kind, size, a, b, r, plain: kind === 'sub' && this.use.plain };
    this.overlay = undefined;
  }
  override add(size: number, a: L64, b: L64, r: L64): void {
    if (this.use.arithmetic) this.keep('add', size, a, b, r); else if (!this.dead) super.add(size, a, b, r);
  }
  override sub(size: number, a: L64, b: L64, r: L64): void {
    if (this.use.arithmetic) this.keep('sub', size, a, b, r); else if (!this.dead) super.sub(size, a, b, r);
  }
  override logic(size: number, r: L64): void {
    if (this.use.arithmetic) this.keep('logic', size, r, r, r); else if (!this.dead) super.logic(size, r);
  }
  override defer(size: number, a: L64, b: L64, r: L64, cf: () => I64, of: () => I64): void {
    if (this.dead) return;
    if (!this.use.defers) {
      super.defer(size, a, b, r, cf, of);
      return;
    }
    this.pending = { kind: 'deferred', size, a, b, r, plain: false, deferred: [cf, of] };
    this.overlay = undefined;
  }
  override deferCfOf(r: L64, cf: () => I64, of: () => I64): void {
    if (this.use.overlays && !this.dead) this.overlay = { r, cf, of };
    else if (!this.dead) super.deferCfOf(r, cf, of);
  }
  override setCf(cf: () => I64): void {
    if (this.dead) return;
    if (this.pending && this.use.arithmetic) this.pending = { ...this.pending, cf: this.c.keep64(cf()) };
    else super.setCf(cf);
  }

  // ---- conditions
  override cf(): I64 {
    const { c } = this;
    // INC and DEC ask in order to keep it.
    if (this.dead && !this.use.reads) return c.const(0);
    if (this.overlay) return this.overlay.cf();
    const p = this.pending;
    if (p?.cf) return c.get(p.cf);
    if (p?.deferred) return p.deferred[0]();
    if (p?.plain) return c.extendu(this.below(p));
    return super.cf();
  }
  override signed(): I32 { return this.pending ? this.negative(this.pending) : super.signed(); }
  /** The result as a signed number of 32 bits. */
  private result32(p: Pending): I32 { return this.c.extend32(p.size, this.c.wrap(this.c.get(p.r))); }
  private zero(p: Pending): I32 { const { c } = this; return p.size === 8 ? c.eqz(c.get(p.r)) : c.eqz32(this.result32(p)); }
  private negative(p: Pending): I32 { const { c } = this; return p.size === 8 ? c.lts(c.get(p.r), c.const(0)) : c.lts32(this.result32(p), c.const32(0)); }
  private positive(p: Pending): I32 { const { c } = this; return p.size === 8 ? c.gts(c.get(p.r), c.const(0)) : c.gts32(this.result32(p), c.const32(0)); }
  private below({ size, a, b }: Pending): I32 { const { c } = this; return size === 8 ? c.ltu(c.get(a), c.get(b)) : c.ltu32(c.wrap(c.get(a)), c.wrap(c.get(b))); }
  private above({ size, a, b }: Pending): I32 { const { c } = this; return size === 8 ? c.gtu(c.get(a), c.get(b)) : c.gtu32(c.wrap(c.get(a)), c.wrap(c.get(b))); }
  private equal({ size, a, b }: Pending): I32 { const { c } = this; return size === 8 ? c.eq(c.get(a), c.get(b)) : c.eq32(c.wrap(c.get(a)), c.wrap(c.get(b))); }
  private less({ size }: Pending, a: L64, b: L64): I32 {
    const { c } = this;
    const part = (l: L64) => c.extend32(size, c.wrap(c.get(l)));
    return size === 8 ? c.lts(c.get(a), c.get(b)) : c.lts32(part(a), part(b));
  }
  override parity(): I32 {
    const { c } = this;
    return this.pending ? c.eqz(c.and(c.popcnt(c.and(this.res(), c.const(0xff))), c.const(1))) : super.parity();
  }
  override condition(cc: Condition): I32 {
    const { c } = this;
    const p = this.pending;
    if (!p || this.overlay) return super.condition(cc);
    const holds = this.fused(cc >> 1, p);
    if (!holds) return super.condition(cc);
    return cc & 1 ? c.eqz32(holds()) : holds();
  }
  private fused(kind: number, p: Pending): (() => I32) | undefined {
    const { c } = this;
    const zero = () => this.zero(p), negative = () => this.negative(p);
    switch (kind) {
      case 1: return p.cf ? () => c.wrap(c.get(p.cf!)) : p.plain ? () => this.below(p) : p.kind === 'logic' ? () => c.const32(0) : undefined;
      case 2: return p.plain ? () => this.equal(p) : zero;
      case 3: return p.cf ? undefined : p.plain ? () => c.eqz32(this.above(p)) : p.kind === 'logic' ? zero : undefined;
      case 4: return negative;
      case 6: return p.plain ? () => this.less(p, p.a, p.b) : p.kind === 'logic' ? negative : undefined;
      case 7: return p.plain ? () => c.eqz32(this.less(p, p.b, p.a)) : p.kind === 'logic' ? () => c.eqz32(this.positive(p)) : undefined;
      default: return undefined;
    }
  }
}
