/**
 * Fixed numbers of 128 bits in two words: what x87-elementary-emitter.ts is written with. Q0.128 is below 1, Q1.127 below 2; what may be small has its
 * leading bit at the top and an exponent beside.
 */
import { type Func, type I32, type I64, type L32, type L64, type WasmModule, i32, i64 } from './wasm-emitter.ts';
import { BIAS, type X87Code, highProduct } from './x87-code.ts';

/** The lower word of a result may be wrong by this much. */
const MARGIN = 1n << 12n;
export const ONE = 1n << 127n;

export interface Wide { readonly high: L64; readonly low: L64 }
const none = undefined as never;

/** What Numbers calls. */
export interface WideFunctions { readonly product: Func; readonly shiftedRight: Func; readonly normalized: Func; readonly finish: Func }
/** Defines them; `finish` rounds and stores. */
export function defineWide(module: WasmModule, finish: Func): WideFunctions {
  /** High half of the product, but for a few units. */
  const product = module.function(undefined, [i64, i64, i64, i64], [i64, i64], (c) => {
    const ah = c.param(0, i64), al = c.param(1, i64), bh = c.param(2, i64), bl = c.param(3, i64);
    const low = c.keep64(c.mul(c.get(ah), c.get(bh)));
    const high = c.keep64(highProduct(c, ah, bh));
    for (const [one, other] of [[ah, bl], [al, bh]] as const) {
      const part = c.keep64(highProduct(c, one, other));
      c.set(low, c.add(c.get(low), c.get(part)));
      c.set(high, c.add(c.get(high), c.extendu(c.ltu(c.get(low), c.get(part)))));
    }
    c.get(high);
    c.get(low);
  });
  const shiftedRight = module.function(undefined, [i64, i64, i32], [i64, i64], (c) => {
    const high = c.param(0, i64), low = c.param(1, i64), n = c.keep64(c.extendu(c.get(c.param(2, i32))));
    c.if(c.geu(c.get(n), c.const(128)), () => {
      c.set(high, c.const(0));
      c.set(low, c.const(0));
    });
    c.if(c.geu(c.get(n), c.const(64)), () => {
      c.set(low, c.get(high));
      c.set(high, c.const(0));
    });
    c.set(n, c.and(c.get(n), c.const(63)));
    c.if(c.ne(c.get(n), c.const(0)), () => {
      c.set(low, c.or(c.shru(c.get(low), c.get(n)), c.shl(c.get(high), c.sub(c.const(0), c.get(n)))));
      c.set(high, c.shru(c.get(high), c.get(n)));
    });
    c.get(high);
    c.get(low);
  });
  /** Leading bit at the top, and how far it was from there; not of 0. */
  const normalized = module.function(undefined, [i64, i64], [i64, i64, i32], (c) => {
    const high = c.param(0, i64), low = c.param(1, i64), zeros = c.local(i64), moved = c.local(i64);
    c.if(c.eqz(c.get(high)), () => {
      c.set(high, c.get(low));
      c.set(low, c.const(0));
      c.set(moved, c.const(64));
    });
    c.set(zeros, c.clz(c.get(high)));
    c.if(c.ne(c.get(zeros), c.const(0)), () => {
      c.set(high, c.or(c.shl(c.get(high), c.get(zeros)), c.shru(c.get(low), c.sub(c.const(0), c.get(zeros)))));
      c.set(low, c.shl(c.get(low), c.get(zeros)));
    });
    c.get(high);
    c.get(low);
    c.wrap(c.add(c.get(zeros), c.get(moved)));
  });
  return { product, shiftedRight, normalized, finish };
}

/** Emits calculations in a function. */
export class Numbers {
  readonly x: X87Code;
  private readonly functions: WideFunctions;
  constructor(x: X87Code, functions: WideFunctions) {
    this.x = x;
    this.functions = functions;
  }
  wide(high: () => I64, low: () => I64): Wide { const { c } = this.x; return { high: c.keep64(high()), low: c.keep64(low()) }; }
  constant(v: bigint): Wide { const { c } = this.x; return this.wide(() => c.const(v >> 64n), () => c.const(v & 0xffff_ffff_ffff_ffffn)); }
  /** What a function of two words gives. */
  take(f: Func, ...args: (I64 | I32)[]): Wide {
    const { c } = this.x;
    c.call(f, ...args);
    const low = c.keep64(none), high = c.keep64(none);
    return { high, low };
  }
  times(a: Wide, b: Wide): Wide { const { c } = this.x; return this.take(this.functions.product, c.get(a.high), c.get(a.low), c.get(b.high), c.get(b.low)); }
  right(a: Wide, by: () => I32): Wide { const { c } = this.x; return this.take(this.functions.shiftedRight, c.get(a.high), c.get(a.low), by()); }
  normalize(a: Wide): { readonly number: Wide; readonly zeros: L32 } {
    const { c } = this.x;
    c.call(this.functions.normalized, c.get(a.high), c.get(a.low));
    const zeros = c.keep32(none), low = c.keep64(none), high = c.keep64(none);
    return { number: { high, low }, zeros };
  }
  sum(a: Wide, b: Wide): Wide {
    const { c } = this.x;
    const low = c.keep64(c.add(c.get(a.low), c.get(b.low)));
    return { low, high: c.keep64(c.add(c.add(c.get(a.high), c.get(b.high)), c.extendu(c.ltu(c.get(low), c.get(a.low))))) };
  }
  difference(a: Wide, b: Wide): Wide {
    const { c } = this.x;
    return { low: c.keep64(c.sub(c.get(a.low), c.get(b.low))), high: c.keep64(c.sub(c.sub(c.get(a.high), c.get(b.high)), c.extendu(c.ltu(c.get(a.low), c.get(b.low))))) };
  }
  /** a, or b if the condition holds. */
  either(condition: () => I32, a: Wide, b: Wide): Wide {
    const { c } = this.x;
    return this.wide(() => c.select(c.get(b.high), c.get(a.high), condition()), () => c.select(c.get(b.low), c.get(a.low), condition()));
  }
  /** first + second u + third u² …, every other one negative if `turn` is -1, or as the local says. */
  polynomial(coefficients: readonly bigint[], u: Wide, turn: 1 | -1 | L32): Wide {
    const { c } = this.x;
    const s = this.constant(coefficients.at(-1)!);
    for (let k = coefficients.length - 2; k >= 0; k--) {
      c.call(this.functions.product, c.get(u.high), c.get(u.low), c.get(s.high), c.get(s.low));
      c.set(s.low, none);
      c.set(s.high, none);
      const high = coefficients[k]! >> 64n, low = BigInt.asUintN(64, coefficients[k]!);
      const add = () => {
        c.set(s.low, c.add(c.get(s.low), c.const(low)));
        c.set(s.high, c.add(c.add(c.get(s.high), c.const(high)), c.extendu(c.ltu(c.get(s.low), c.const(low)))));
      };
      const subtract = () => {
        c.set(s.high, c.sub(c.sub(c.const(high), c.get(s.high)), c.extendu(c.gtu(c.get(s.low), c.const(low)))));
        c.set(s.low, c.sub(c.const(low), c.get(s.low)));
      };
      if (turn === 1) add(); else if (turn === -1) subtract(); else c.if(c.get(turn), subtract, add);
    }
    return s;
  }
  /** 1/d for a Q0.128 that begins with a 1 and is more than 1/2, as Q1.127: Newton's steps from below. */
  reciprocal(d: Wide): Wide {
    const { c } = this.x;
    const r = this.wide(() => c.saturate64(7, c.opF64(0xa3, c.constF64(2 ** 127 * (1 - 2 ** -49)), c.opF64(0xba, c.get(d.high)))), () => c.const(0));
    for (let i = 0; i < 2; i++) {
      const short = this.difference(this.constant(ONE), this.times(d, r));
      const step = this.times(r, this.wide(() => c.or(c.shl(c.get(short.high), c.const(1)), c.shru(c.get(short.low), c.const(63))), () => c.shl(c.get(short.low), c.const(1))));
      const next = this.sum(r, step);
      c.set(r.low, c.get(next.low));
      c.set(r.high, c.get(next.high));
    }
    return r;
  }
  /**
   * Rounds a Q0.128 × 2^exponent into a slot. Precision control does not count.
   */
  round(to: () => I32, sign: () => I32, exponent: () => I32, number: Wide, margin = MARGIN): void {
    const { x } = this;
    const { c } = x;
    const { number: n, zeros } = this.normalize(number);
    x.leaveIf(c.ltu(c.and(c.add(c.get(n.low), c.const(margin)), c.const(0x7fff_ffff_ffff_ffffn)), c.const(2n * margin)));
    x.unless(c.call32(this.functions.finish, c.get(x.cpu), to(), sign(), c.add32(c.sub32(exponent(), c.get(zeros)), c.const32(BIAS - 1)), c.get(n.high), c.get(n.low)));
  }
}
