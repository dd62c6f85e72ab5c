/**
 * What the functions of x87-emitter.ts and its kin are written with: the register stack, kinds of numbers, operands in memory.
 *
 * A number is its sign and biased exponent in 16 bits, as in memory, and the 64 bits of its mantissa.
 */
import { STATE } from '../cpu/state.ts';
import { type Code, type I32, type I64, type L32, type L64, i32, i64 } from './wasm-emitter.ts';

/** FCW in the lower half, FSW in the upper. */
export const WORDS = STATE['fpu.fcw']!, ST = STATE['fpu.st']!;
const TAGS = STATE['fpu.ftw']!;
const SLOT = 16, SLOTS = 8;
export const C0 = 0x100, C1 = 0x200, C2 = 0x400, C3 = 0x4000, PE = 0x20, ES = 0x80, BUSY = 0x8000;
export const status = (bits: number): number => bits << 16;
const TOP_SHIFT = 27, TOP = 7 << TOP_SHIFT;
export const BIAS = 16383, MAX_EXPONENT = 0x7fff;
export const SIGN = 0x8000, INTEGER = -(2n ** 63n);
/** How a function ends: it pops. And FIST: it cuts off. */
export const HOW_POP = 1, HOW_TRUNCATE = 2;

const lowHalf = (c: Code, v: L64) => c.and(c.get(v), c.const(0xffff_ffff));
const highHalf = (c: Code, v: L64) => c.shru(c.get(v), c.const(32));
/** High half of the unsigned product. */
export function highProduct(c: Code, a: L64, b: L64): I64 {
  const middle = c.keep64(c.add(c.mul(highHalf(c, a), lowHalf(c, b)), c.shru(c.mul(lowHalf(c, a), lowHalf(c, b)), c.const(32))));
  const cross = c.keep64(c.add(c.mul(lowHalf(c, a), highHalf(c, b)), lowHalf(c, middle)));
  return c.add(c.add(c.mul(highHalf(c, a), highHalf(c, b)), highHalf(c, middle)), highHalf(c, cross));
}

/** A number in locals. */
export interface Float { readonly head: L32; readonly mantissa: L64 }

export class X87Code {
  readonly c: Code;
  readonly cpu: L32;
  readonly words: L32;
  /** Label to branch to when the exec row must run. */
  slow = 0;

  constructor(c: Code) {
    this.c = c;
    this.cpu = c.param(0, i32);
    this.words = c.local(i32);
  }

  unless(condition: I32): void { this.c.brIf(this.slow, this.c.eqz32(condition)); }
  leaveIf(condition: I32): void { this.c.brIf(this.slow, condition); }
  done(): void { this.c.return(this.c.const32(1)); }

  /** No exception waits; `rounds`: to nearest, and PE is masked. */
  begin(rounds: boolean): void {
    const { c, words } = this;
    c.set(words, c.load32(c.get(this.cpu), WORDS));
    if (rounds) this.leaveIf(c.ne32(c.and32(c.get(words), c.const32(status(ES) | 0xc00 | PE)), c.const32(PE)));
    else this.leaveIf(c.and32(c.get(words), c.const32(status(ES))));
  }
  /** Tag bits, that of ST(0) lowest. */
  tags(): I32 {
    const { c } = this;
    return c.shru32(c.mul32(c.load32_8u(c.get(this.cpu), TAGS), c.const32(0x101)), this.top());
  }
  top(): I32 { const { c } = this; return c.and32(c.shru32(c.get(this.words), c.const32(TOP_SHIFT)), c.const32(7)); }
  /** ST(0), and ST(i) too, must hold something. */
  full(i?: L32): void {
    const { c } = this;
    if (i === undefined) { this.unless(c.and32(this.tags(), c.const32(1))); return; }
    const tags = c.keep32(this.tags());
    this.unless(c.and32(c.and32(c.get(tags), c.shru32(c.get(tags), c.get(i))), c.const32(1)));
  }
  roomToPush(): void { const { c } = this; this.leaveIf(c.and32(this.tags(), c.const32(1 << SLOTS - 1))); }

  slot(i: L32): I32 { const { c } = this; return c.add32(c.get(this.cpu), c.shl32(c.get(i), c.const32(4))); }
  /** ST(0), or ST(i). */
  read(i?: L32): Float {
    const { c } = this;
    const at = () => i === undefined ? c.get(this.cpu) : this.slot(i);
    return { mantissa: c.keep64(c.load64(at(), ST)), head: c.keep32(c.load32_16u(at(), ST + 8)) };
  }
  store(at: I32, head: () => I32, mantissa: () => I64): void {
    const { c } = this;
    c.storeV(at, c.replace64(1, c.opV(0x12, mantissa()), c.extendu(head())), ST);
  }
  setWords(v: I32): void { const { c } = this; c.set(this.words, v); c.store32(c.get(this.cpu), c.get(this.words), WORDS); }
  private turn(by: number): I32 {
    const { c } = this;
    return c.and32(c.add32(c.get(this.words), c.const32(by << TOP_SHIFT)), c.const32(TOP));
  }
  /** There is room. C1 becomes 0. */
  push(head: () => I32, mantissa: () => I64): void {
    const { c, cpu } = this;
    for (let k = SLOTS - 2; k >= 0; k--) c.storeV(c.get(cpu), c.loadV(c.get(cpu), ST + SLOT * k), ST + SLOT * (k + 1));
    this.store(c.get(cpu), head, mantissa);
    this.setWords(c.or32(c.and32(c.get(this.words), c.const32(~(TOP | status(C1)))), this.turn(-1)));
    c.store32_8(c.get(cpu), c.or32(c.load32_8u(c.get(cpu), TAGS), c.shl32(c.const32(1), this.top())), TAGS);
  }
  pop(): void {
    const { c, cpu } = this;
    const first = c.keepV(c.loadV(c.get(cpu), ST));
    for (let k = 0; k < SLOTS - 1; k++) c.storeV(c.get(cpu), c.loadV(c.get(cpu), ST + SLOT * (k + 1)), ST + SLOT * k);
    c.storeV(c.get(cpu), c.get(first), ST + SLOT * (SLOTS - 1));
    c.set(this.words, c.load32(c.get(cpu), WORDS));
    c.store32_8(c.get(cpu), c.and32(c.load32_8u(c.get(cpu), TAGS), c.xor32(c.shl32(c.const32(1), this.top()), c.const32(-1))), TAGS);
    this.setWords(c.or32(c.and32(c.get(this.words), c.const32(~TOP)), this.turn(1)));
  }
  /** ST(i) holds something. */
  mark(i: L32): void {
    const { c, cpu } = this;
    c.store32_8(c.get(cpu), c.or32(c.load32_8u(c.get(cpu), TAGS), c.shl32(c.const32(1), c.and32(c.add32(this.top(), c.get(i)), c.const32(7)))), TAGS);
  }
  popIf(how: L32, bit = HOW_POP): void { const { c } = this; c.if(c.and32(c.get(how), c.const32(bit)), () => this.pop()); }

  // ---------------------------------------------------------------- kinds of numbers
  exponent(f: Float): I32 { const { c } = this; return c.and32(c.get(f.head), c.const32(MAX_EXPONENT)); }
  isNormal(f: Float): I32 {
    const { c } = this;
    return c.and32(c.lts(c.get(f.mantissa), c.const(0)), c.ltu32(c.sub32(this.exponent(f), c.const32(1)), c.const32(MAX_EXPONENT - 1)));
  }
  isZero(f: Float): I32 { const { c } = this; return c.eqz(c.or(c.get(f.mantissa), c.extendu(this.exponent(f)))); }

  // ---------------------------------------------------------------- operands in memory
  /** A float or double at a host address. */
  fromFloat(at: L32, size: 4 | 8): Float {
    const { c } = this;
    const fraction = size === 8 ? 52 : 23, max = size === 8 ? 2047 : 255, bias = size === 8 ? 1023 : 127;
    const bits = c.keep64(c.loadSized(size, c.get(at)));
    const exponent = c.keep32(c.and32(c.wrap(c.shru(c.get(bits), c.const(fraction))), c.const32(max)));
    const head = c.keep32(c.shl32(c.wrap(c.shru(c.get(bits), c.const(8 * size - 1))), c.const32(15)));
    const mantissa = c.local(i64);
    c.if(c.ltu32(c.sub32(c.get(exponent), c.const32(1)), c.const32(max - 1)), () => {
      c.set(head, c.or32(c.get(head), c.add32(c.get(exponent), c.const32(BIAS - bias))));
      c.set(mantissa, c.or(c.shl(c.get(bits), c.const(63 - fraction)), c.const(INTEGER)));
    }, () => {
      // Only a zero is left.
      this.leaveIf(c.ne(c.shl(c.get(bits), c.const(65 - 8 * size)), c.const(0)));
      c.set(mantissa, c.const(0));
    });
    return { head, mantissa };
  }
  fromInteger(at: L32, size: 2 | 4 | 8): Float {
    const { c } = this;
    const v = c.keep64(c.extend(size, c.loadSized(size, c.get(at))));
    const head = c.keep32(c.and32(c.wrap(c.shru(c.get(v), c.const(63))), c.const32(1)));
    const mantissa = c.keep64(c.select(c.sub(c.const(0), c.get(v)), c.get(v), c.get(head)));
    c.if(c.eqz(c.get(v)), () => c.set(head, c.const32(0)), () => {
      const zeros = c.keep64(c.clz(c.get(mantissa)));
      c.set(head, c.or32(c.shl32(c.get(head), c.const32(15)), c.sub32(c.const32(BIAS + 63), c.wrap(c.get(zeros)))));
      c.set(mantissa, c.shl(c.get(mantissa), c.get(zeros)));
    });
    return { head, mantissa };
  }
  source(kind: string, at: L32): Float {
    return kind === '32' ? this.fromFloat(at, 4) : kind === '64' ? this.fromFloat(at, 8) : this.fromInteger(at, kind === 'i16' ? 2 : 4);
  }
}
