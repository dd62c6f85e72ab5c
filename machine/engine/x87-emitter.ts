/**
 * x87 arithmetic in WebAssembly: a function an instruction form, for operands and results that are zeros or normal numbers and for a
 * control word that masks the inexact exception (and rounds to nearest, where that matters). Each returns 0 when it has changed
 * nothing and the exec row (cpu/x87) must run, which knows all the rest. SDM Vol. 1 ch. 8.
 *
 * A number is its sign and biased exponent in 16 bits, as in memory, and the 64 bits of its mantissa; a result before it is rounded
 * has 64 bits more, of which the last says whether anything lies beyond.
 */
import { STATE } from '../cpu/state.ts';
import { type Code, type Func, type I32, type I64, type L32, type L64, type ValueType, type WasmModule, i32, i64 } from './wasm-emitter.ts';

/** FCW in the lower half, FSW in the upper. */
const WORDS = STATE['fpu.fcw']!, TAGS = STATE['fpu.ftw']!, ST = STATE['fpu.st']!;
const SLOT = 16, SLOTS = 8;
const C0 = 0x100, C1 = 0x200, C2 = 0x400, C3 = 0x4000, PE = 0x20, ES = 0x80, BUSY = 0x8000;
const status = (bits: number): number => bits << 16;
const TOP_SHIFT = 27, TOP = 7 << TOP_SHIFT;
const BIAS = 16383, MAX_EXPONENT = 0x7fff;
const SIGN = 0x8000, INTEGER = -(2n ** 63n);

/** How FIST and register forms end. */
export const HOW_POP = 1, HOW_TRUNCATE = 2, HOW_TO_ST = 2;
export const ARITHMETIC = ['add', 'mul', 'sub', 'subr', 'div', 'divr'] as const;
const SOURCES = ['32', '64', 'i16', 'i32'] as const;

const AT: readonly [readonly ValueType[], readonly ValueType[]] = [[i32, i32], [i32]];
const AT_HOW: typeof AT = [[i32, i32, i32], [i32]];
/** (cpu, host address of the operand or number of the register, how) → 1, or 0: not done. */
export const X87_FUNCTIONS: Readonly<Record<string, typeof AT>> = {
  ...Object.fromEntries(['fld32', 'fld64', 'fld80', 'fild16', 'fild32', 'fild64', 'fldSt', 'fxch', 'fstp80', 'fldcw'].map((n) => [n, AT])),
  ...Object.fromEntries(['fst32', 'fst64', 'fist16', 'fist32', 'fist64', 'fstSt', 'fcomSt', 'fcmov'].map((n) => [n, AT_HOW])),
  ...Object.fromEntries(SOURCES.map((s) => [`fcom${s}`, AT_HOW])),
  ...Object.fromEntries(ARITHMETIC.flatMap((op) => [...SOURCES.map((s) => [`${op}${s}`, AT] as const), [`${op}St`, AT_HOW] as const])),
  /** (cpu, i, how) → 0, or 0x100 and the bits of CF and ZF. */
  fcomi: AT_HOW,
  /** (cpu, exponent, mantissa) */
  fldConstant: [[i32, i32, i64], [i32]],
  /** (cpu, bits of the sign to keep, and to turn) */
  fsign: AT_HOW,
  ftst: [[i32], [i32]], fsqrt: [[i32], [i32]], frndint: [[i32], [i32]],
};

/** A number in locals. */
interface Float { readonly head: L32; readonly mantissa: L64 }

class X87Code {
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
    void at;
    c.storeV(undefined as never, c.replace64(1, c.opV(0x12, mantissa()), c.extendu(head())), ST);
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

/** Defines all of X87_FUNCTIONS in the runtime's module. */
export function defineX87(module: WasmModule): void {
  const define = (name: string | undefined, params: readonly ValueType[], body: (x: X87Code, c: Code) => void): Func => module.function(name, params, [i32], (c) => {
    const x = new X87Code(c);
    c.block((slow) => {
      x.slow = slow;
      body(x, c);
    });
    c.const32(0);
  });
  const give = (name: string, body: (x: X87Code, c: Code) => void): void => { define(name, X87_FUNCTIONS[name]![0], body); };

  // ---------------------------------------------------------------- rounding
  /** (cpu, slot, sign, exponent, high, low) */
  const finish = define(undefined, [i32, i32, i32, i32, i64, i64], (x, c) => {
    const to = c.param(1, i32), sign = c.param(2, i32), exponent = c.param(3, i32), high = c.param(4, i64), low = c.param(5, i64);
    const words = c.keep32(c.and32(c.load32(c.get(x.cpu), WORDS), c.const32(~status(C1))));
    x.unless(c.ltu32(c.sub32(c.get(exponent), c.const32(1)), c.const32(MAX_EXPONENT - 1)));
    const up = (by: () => I64) => {
      c.set(words, c.or32(c.get(words), c.const32(status(C1))));
      c.set(high, c.add(c.get(high), by()));
      c.if(c.eqz(c.get(high)), () => {
        c.set(high, c.const(INTEGER));
        c.set(exponent, c.add32(c.get(exponent), c.const32(1)));
        x.leaveIf(c.eq32(c.get(exponent), c.const32(MAX_EXPONENT)));
      });
    };
    const inexact = () => c.set(words, c.or32(c.get(words), c.const32(status(PE))));
    c.if(c.and32(c.get(words), c.const32(0x100)), () => {
      c.if(c.ne(c.get(low), c.const(0)), () => {
        inexact();
        c.if(c.and32(c.lts(c.get(low), c.const(0)), c.or32(c.ne(c.shl(c.get(low), c.const(1)), c.const(0)), c.wrap(c.and(c.get(high), c.const(1))))), () => up(() => c.const(1)));
      });
    }, () => {
      const mask = c.keep64(c.select(c.const(0x7ff), c.const(0xff_ffff_ffff), c.and32(c.get(words), c.const32(0x200))));
      const rest = c.keep64(c.and(c.get(high), c.get(mask)));
      c.if(c.ne(c.or(c.get(rest), c.get(low)), c.const(0)), () => {
        inexact();
        const half = c.keep64(c.add(c.shru(c.get(mask), c.const(1)), c.const(1)));
        const unit = () => c.add(c.get(mask), c.const(1));
        c.set(high, c.sub(c.get(high), c.get(rest)));
        const tie = c.or32(c.ne(c.get(low), c.const(0)), c.ne(c.and(c.get(high), unit()), c.const(0)));
        c.if(c.or32(c.and32(tie, c.eq(c.get(rest), c.get(half))), c.gtu(c.get(rest), c.get(half))), () => up(unit));
      });
    });
    x.store(c.get(to), () => c.or32(c.get(sign), c.get(exponent)), () => c.get(high));
    c.store32(c.get(x.cpu), c.get(words), WORDS);
    x.done();
  });
  const finishing = (x: X87Code, to: L32, sign: () => I32, exponent: () => I32, high: () => I64, low: () => I64): void => {
    const { c } = x;
    c.return(c.call32(finish, c.get(x.cpu), c.get(to), sign(), exponent(), high(), low()));
  };
  const zero = (x: X87Code, to: L32, sign: () => I32): void => {
    const { c } = x;
    x.store(c.get(to), sign, () => c.const(0));
    c.store32(c.get(x.cpu), c.and32(c.load32(c.get(x.cpu), WORDS), c.const32(~status(C1))), WORDS);
    x.done();
  };

  // ---------------------------------------------------------------- arithmetic: (cpu, slot, head, mantissa, head, mantissa)
  const OPERANDS: readonly ValueType[] = [i32, i32, i32, i64, i32, i64];
  const operands = (c: Code): { to: L32; a: Float; b: Float } =>
    ({ to: c.param(1, i32), a: { head: c.param(2, i32), mantissa: c.param(3, i64) }, b: { head: c.param(4, i32), mantissa: c.param(5, i64) } });
  const signOf = (c: Code, f: Float): I32 => c.and32(c.get(f.head), c.const32(SIGN));
  const signOfProduct = (c: Code, a: Float, b: Float): I32 => c.and32(c.xor32(c.get(a.head), c.get(b.head)), c.const32(SIGN));

  const add = define(undefined, OPERANDS, (x, c) => {
    const { to, a, b } = operands(c);
    c.if(c.eqz32(c.and32(x.isNormal(a), x.isNormal(b))), () => {
      for (const [one, other] of [[b, a], [a, b]] as const) {
        c.if(x.isZero(one), () => {
          if (one === b) c.if(x.isZero(a), () => zero(x, to, () => c.and32(signOf(c, a), c.get(b.head))));
          x.unless(x.isNormal(other));
          finishing(x, to, () => signOf(c, other), () => x.exponent(other), () => c.get(other.mantissa), () => c.const(0));
        });
      }
      c.br(x.slow);
    });
    const sum = c.local(i64), low = c.local(i64), small = c.local(i64);
    const exponent = c.keep32(x.exponent(a)), apart = c.keep32(c.sub32(c.get(exponent), x.exponent(b)));
    const sign = c.keep32(signOf(c, a)), same = c.keep32(c.eqz32(signOfProduct(c, a, b)));
    c.set(sum, c.get(a.mantissa));
    c.set(small, c.get(b.mantissa));
    c.if(c.or32(c.lts32(c.get(apart), c.const32(0)), c.and32(c.eqz32(c.get(apart)), c.gtu(c.get(small), c.get(sum)))), () => {
      c.set(sum, c.get(b.mantissa));
      c.set(small, c.get(a.mantissa));
      c.set(sign, signOf(c, b));
      c.set(exponent, x.exponent(b));
      c.set(apart, c.sub32(c.const32(0), c.get(apart)));
    });
    const distance = c.keep64(c.extendu(c.get(apart)));
    const out = () => c.shl(c.get(small), c.sub(c.const(0), c.get(distance)));
    c.set(low, c.const(0));
    c.if(c.ltu32(c.get(apart), c.const32(64)), () => {
      c.if(c.get(apart), () => {
        c.set(low, out());
        c.set(small, c.shru(c.get(small), c.get(distance)));
      });
    }, () => {
      c.set(low, c.const(1));
      // Shift counts are taken modulo 64.
      c.if(c.ltu32(c.get(apart), c.const32(128)), () => c.set(low, c.or(c.shru(c.get(small), c.get(distance)),
        c.extendu(c.and32(c.ne32(c.get(apart), c.const32(64)), c.ne(out(), c.const(0)))))));
      c.set(small, c.const(0));
    });
    c.if(c.get(same), () => {
      const before = c.keep64(c.get(sum));
      c.set(sum, c.add(c.get(sum), c.get(small)));
      c.if(c.ltu(c.get(sum), c.get(before)), () => {
        c.set(low, c.or(c.or(c.shru(c.get(low), c.const(1)), c.and(c.get(low), c.const(1))), c.shl(c.get(sum), c.const(63))));
        c.set(sum, c.or(c.shru(c.get(sum), c.const(1)), c.const(INTEGER)));
        c.set(exponent, c.add32(c.get(exponent), c.const32(1)));
      });
    }, () => {
      c.set(sum, c.sub(c.sub(c.get(sum), c.get(small)), c.extendu(c.ne(c.get(low), c.const(0)))));
      c.set(low, c.sub(c.const(0), c.get(low)));
      c.if(c.eqz(c.get(sum)), () => {
        c.if(c.eqz(c.get(low)), () => zero(x, to, () => c.const32(0)));
        c.set(sum, c.get(low));
        c.set(low, c.const(0));
        c.set(exponent, c.sub32(c.get(exponent), c.const32(64)));
      });
      const zeros = c.keep64(c.clz(c.get(sum)));
      c.if(c.ne(c.get(zeros), c.const(0)), () => {
        c.set(sum, c.or(c.shl(c.get(sum), c.get(zeros)), c.shru(c.get(low), c.sub(c.const(0), c.get(zeros)))));
        c.set(low, c.shl(c.get(low), c.get(zeros)));
        c.set(exponent, c.sub32(c.get(exponent), c.wrap(c.get(zeros))));
      });
    });
    finishing(x, to, () => c.get(sign), () => c.get(exponent), () => c.get(sum), () => c.get(low));
  });

  const lowHalf = (c: Code, v: L64) => c.and(c.get(v), c.const(0xffff_ffff));
  const highHalf = (c: Code, v: L64) => c.shru(c.get(v), c.const(32));
  /** High half of the unsigned product. */
  const highProduct = (c: Code, a: L64, b: L64): I64 => {
    const middle = c.keep64(c.add(c.mul(highHalf(c, a), lowHalf(c, b)), c.shru(c.mul(lowHalf(c, a), lowHalf(c, b)), c.const(32))));
    const cross = c.keep64(c.add(c.mul(lowHalf(c, a), highHalf(c, b)), lowHalf(c, middle)));
    return c.add(c.add(c.mul(highHalf(c, a), highHalf(c, b)), highHalf(c, middle)), highHalf(c, cross));
  };
  const multiply = define(undefined, OPERANDS, (x, c) => {
    const { to, a, b } = operands(c);
    c.if(c.eqz32(c.and32(x.isNormal(a), x.isNormal(b))), () => {
      for (const [one, other] of [[a, b], [b, a]] as const) {
        c.if(x.isZero(one), () => {
          x.unless(c.or32(x.isNormal(other), x.isZero(other)));
          zero(x, to, () => signOfProduct(c, a, b));
        });
      }
      c.br(x.slow);
    });
    const high = c.keep64(highProduct(c, a.mantissa, b.mantissa)), low = c.keep64(c.mul(c.get(a.mantissa), c.get(b.mantissa)));
    const exponent = c.keep32(c.sub32(c.add32(x.exponent(a), x.exponent(b)), c.const32(BIAS - 1)));
    c.if(c.eqz32(c.lts(c.get(high), c.const(0))), () => {
      c.set(high, c.or(c.shl(c.get(high), c.const(1)), c.shru(c.get(low), c.const(63))));
      c.set(low, c.shl(c.get(low), c.const(1)));
      c.set(exponent, c.sub32(c.get(exponent), c.const32(1)));
    });
    finishing(x, to, () => signOfProduct(c, a, b), () => c.get(exponent), () => c.get(high), () => c.get(low));
  });

  const divide = define(undefined, OPERANDS, (x, c) => {
    const { to, a, b } = operands(c);
    x.unless(x.isNormal(b));
    c.if(x.isZero(a), () => zero(x, to, () => signOfProduct(c, a, b)));
    x.unless(x.isNormal(a));
    const v = b.mantissa;
    // The quotient of rest:next by v has 64 bits, the first of them set.
    const rest = c.keep64(c.get(a.mantissa)), next = c.keep64(c.const(0));
    const exponent = c.keep32(c.add32(c.sub32(x.exponent(a), x.exponent(b)), c.const32(BIAS - 1)));
    c.if(c.geu(c.get(rest), c.get(v)), () => {
      c.set(next, c.shl(c.get(rest), c.const(63)));
      c.set(rest, c.shru(c.get(rest), c.const(1)));
      c.set(exponent, c.add32(c.get(exponent), c.const32(1)));
    });
    const high = c.keep64(highHalf(c, v)), low = c.keep64(lowHalf(c, v));
    const digit = c.local(i64), left = c.local(i64), quotient = c.keep64(c.const(0)), piece = c.local(i64);
    // Schoolbook division by two digits of 32 bits (Knuth, 4.3.1 D): the guess is at most two too large.
    for (const shift of [32, 0]) {
      c.set(piece, c.and(c.shru(c.get(next), c.const(shift)), c.const(0xffff_ffff)));
      c.set(digit, c.divu(c.get(rest), c.get(high)));
      c.set(left, c.sub(c.get(rest), c.mul(c.get(digit), c.get(high))));
      c.block((right) => c.loop((again) => {
        c.brIf(right, c.eqz32(c.or32(c.gtu(c.get(digit), c.const(0xffff_ffff)), c.gtu(c.mul(c.get(digit), c.get(low)), c.or(c.shl(c.get(left), c.const(32)), c.get(piece))))));
        c.set(digit, c.sub(c.get(digit), c.const(1)));
        c.set(left, c.add(c.get(left), c.get(high)));
        c.brIf(again, c.eqz(c.shru(c.get(left), c.const(32))));
      }));
      c.set(rest, c.sub(c.or(c.shl(c.get(rest), c.const(32)), c.get(piece)), c.mul(c.get(digit), c.get(v))));
      c.set(quotient, c.or(c.shl(c.get(quotient), c.const(32)), c.get(digit)));
    }
    // What is left, against half of the divisor.
    const other = c.keep64(c.sub(c.get(v), c.get(rest)));
    c.set(next, c.select(c.const(0xc000_0000_0000_0000n), c.select(c.const(INTEGER), c.const(1), c.eq(c.get(rest), c.get(other))), c.gtu(c.get(rest), c.get(other))));
    c.set(next, c.select(c.get(next), c.const(0), c.ne(c.get(rest), c.const(0))));
    finishing(x, to, () => signOfProduct(c, a, b), () => c.get(exponent), () => c.get(quotient), () => c.get(next));
  });

  const operate = (x: X87Code, op: typeof ARITHMETIC[number], to: () => I32, a: Float, b: Float): I32 => {
    const { c } = x;
    const [first, second] = op.endsWith('r') ? [b, a] : [a, b];
    const f = op === 'mul' ? multiply : op.startsWith('div') ? divide : add;
    return c.call32(f, c.get(x.cpu), to(), c.get(first.head), c.get(first.mantissa),
      op.startsWith('sub') ? c.xor32(c.get(second.head), c.const32(SIGN)) : c.get(second.head), c.get(second.mantissa));
  };
  for (const op of ARITHMETIC) {
    for (const kind of SOURCES) {
      give(`${op}${kind}`, (x, c) => {
        x.begin(true);
        x.full();
        const b = x.source(kind, c.param(1, i32));
        c.return(operate(x, op, () => c.get(x.cpu), x.read(), b));
      });
    }
    give(`${op}St`, (x, c) => {
      const i = c.param(1, i32), how = c.param(2, i32);
      x.begin(true);
      x.full(i);
      // The operation's first operand is the register that takes the result.
      const top = x.read(), other = x.read(i);
      const toSt = () => c.and32(c.get(how), c.const32(HOW_TO_ST));
      c.if(toSt(), () => {
        x.unless(operate(x, op, () => x.slot(i), other, top));
        x.popIf(how);
        x.done();
      });
      c.return(operate(x, op, () => c.get(x.cpu), top, other));
    });
  }

  give('fsqrt', (x, c) => {
    x.begin(true);
    x.full();
    const a = x.read();
    c.if(x.isZero(a), () => zero(x, x.cpu, () => c.get(a.head)));
    x.unless(x.isNormal(a));
    x.leaveIf(signOf(c, a));
    // The root of high:low is below 2^64 and not below 2^63.
    const odd = c.keep32(c.and32(c.get(a.head), c.const32(1)));
    const high = c.keep64(c.select(c.shru(c.get(a.mantissa), c.const(1)), c.get(a.mantissa), c.get(odd)));
    const low = c.keep64(c.select(c.shl(c.get(a.mantissa), c.const(63)), c.const(0), c.get(odd)));
    const root = c.keep64(c.saturate64(7, c.opF64(0xa2, c.opF64(0x9f, c.opF64(0xba, c.get(high))), c.constF64(2 ** 32))));
    const restHigh = c.local(i64), restLow = c.local(i64);
    const rest = () => {
      c.set(restLow, c.mul(c.get(root), c.get(root)));
      c.set(restHigh, c.sub(c.sub(c.get(high), highProduct(c, root, root)), c.extendu(c.gtu(c.get(restLow), c.get(low)))));
      c.set(restLow, c.sub(c.get(low), c.get(restLow)));
    };
    // One step of Newton's from 52 bits to 64, but for a unit.
    rest();
    c.set(root, c.add(c.get(root), c.divs(c.or(c.shl(c.get(restHigh), c.const(50)), c.shru(c.get(restLow), c.const(14))), c.shru(c.get(root), c.const(13)))));
    rest();
    c.block((enough) => c.loop((again) => {
      c.brIf(enough, c.eqz32(c.lts(c.get(restHigh), c.const(0))));
      c.set(root, c.sub(c.get(root), c.const(1)));
      rest();
      c.br(again);
    }));
    c.block((enough) => c.loop((again) => {
      // The rest may be twice the root, no more.
      c.brIf(enough, c.eqz32(c.or32(
        c.and32(c.gtu(c.get(restLow), c.shl(c.get(root), c.const(1))), c.eq(c.get(restHigh), c.const(1))),
        c.gts(c.get(restHigh), c.const(1)))));
      c.set(root, c.add(c.get(root), c.const(1)));
      rest();
      c.br(again);
    }));
    c.set(low, c.select(c.const(0xc000_0000_0000_0000n), c.select(c.const(0), c.const(1), c.eqz(c.get(restLow))),
      c.or32(c.ne(c.get(restHigh), c.const(0)), c.gtu(c.get(restLow), c.get(root)))));
    finishing(x, x.cpu, () => c.const32(0), () => c.shru32(c.add32(x.exponent(a), c.const32(BIAS)), c.const32(1)), () => c.get(root), () => c.get(low));
  });

  // ---------------------------------------------------------------- comparison
  /** (cpu, 0, a, b) → C0, C3 or 0; -1: not to be told here. */
  const order = module.function(undefined, OPERANDS, [i32], (c) => {
    const { a, b } = operands(c);
    const x = new X87Code(c);
    for (const f of [a, b]) c.if(c.eqz32(c.or32(x.isNormal(f), x.isZero(f))), () => c.return(c.const32(-1)));
    c.if(c.eqz(c.or(c.get(a.mantissa), c.get(b.mantissa))), () => c.return(c.const32(C3)));
    c.if(signOfProduct(c, a, b), () => c.return(c.select(c.const32(C0), c.const32(0), signOf(c, a))));
    const ae = c.keep32(x.exponent(a)), be = c.keep32(x.exponent(b));
    const equal = c.keep32(c.eq32(c.get(ae), c.get(be)));
    c.if(c.and32(c.get(equal), c.eq(c.get(a.mantissa), c.get(b.mantissa))), () => c.return(c.const32(C3)));
    const below = () => c.select(c.ltu(c.get(a.mantissa), c.get(b.mantissa)), c.ltu32(c.get(ae), c.get(be)), c.get(equal));
    c.select(c.const32(C0), c.const32(0), c.ne32(below(), c.ne32(signOf(c, a), c.const32(0))));
  });
  const compare = (x: X87Code, b: Float): L32 => {
    const { c } = x;
    const a = x.read();
    const r = c.keep32(c.call32(order, c.get(x.cpu), c.const32(0), c.get(a.head), c.get(a.mantissa), c.get(b.head), c.get(b.mantissa)));
    x.leaveIf(c.lts32(c.get(r), c.const32(0)));
    return r;
  };
  const tell = (x: X87Code, r: L32): void => {
    const { c } = x;
    x.setWords(c.or32(c.and32(c.get(x.words), c.const32(~status(C0 | C1 | C2 | C3))), c.shl32(c.get(r), c.const32(16))));
  };
  for (const kind of SOURCES) {
    give(`fcom${kind}`, (x, c) => {
      x.begin(false);
      x.full();
      tell(x, compare(x, x.source(kind, c.param(1, i32))));
      x.popIf(c.param(2, i32));
      x.done();
    });
  }
  give('fcomSt', (x, c) => {
    const i = c.param(1, i32), pops = c.param(2, i32);
    x.begin(false);
    x.full(i);
    tell(x, compare(x, x.read(i)));
    c.if(c.get(pops), () => x.pop());
    x.popIf(pops, 2);
    x.done();
  });
  give('ftst', (x, c) => {
    x.begin(false);
    x.full();
    tell(x, compare(x, { head: c.keep32(c.const32(0)), mantissa: c.keep64(c.const(0)) }));
    x.done();
  });
  give('fcomi', (x, c) => {
    const i = c.param(1, i32);
    x.begin(false);
    x.full(i);
    const r = compare(x, x.read(i));
    x.popIf(c.param(2, i32));
    // C0 at bit 8 becomes CF, C3 at bit 14 ZF.
    c.return(c.or32(c.shru32(c.get(r), c.const32(8)), c.const32(0x100)));
  });

  // ---------------------------------------------------------------- loads
  const load = (name: string, take: (x: X87Code, at: L32) => Float): void => give(name, (x, c) => {
    x.begin(false);
    x.roomToPush();
    const f = take(x, c.param(1, i32));
    x.push(() => c.get(f.head), () => c.get(f.mantissa));
    x.done();
  });
  load('fld32', (x, at) => x.fromFloat(at, 4));
  load('fld64', (x, at) => x.fromFloat(at, 8));
  load('fild16', (x, at) => x.fromInteger(at, 2));
  load('fild32', (x, at) => x.fromInteger(at, 4));
  load('fild64', (x, at) => x.fromInteger(at, 8));
  load('fld80', ({ c }, at) => ({ mantissa: c.keep64(c.load64(c.get(at))), head: c.keep32(c.load32_16u(c.get(at), 8)) }));
  load('fldSt', (x, i) => {
    const { c } = x;
    x.unless(c.and32(c.shru32(x.tags(), c.get(i)), c.const32(1)));
    return x.read(i);
  });
  give('fldConstant', (x, c) => {
    x.begin(true);
    x.roomToPush();
    x.push(() => c.get(c.param(1, i32)), () => c.get(c.param(2, i64)));
    x.done();
  });

  // ---------------------------------------------------------------- stores
  const storeFloat = (size: 4 | 8): void => give(`fst${8 * size}`, (x, c) => {
    const at = c.param(1, i32), how = c.param(2, i32);
    const fraction = size === 8 ? 52 : 23, max = size === 8 ? 2047 : 255, bias = size === 8 ? 1023 : 127;
    const cut = 63 - fraction;
    x.begin(true);
    x.full();
    const a = x.read();
    const words = c.keep32(c.and32(c.get(x.words), c.const32(~status(C1))));
    const bits = c.keep64(c.shl(c.extendu(c.shru32(c.get(a.head), c.const32(15))), c.const(8 * size - 1)));
    c.if(c.eqz32(x.isZero(a)), () => {
      x.unless(x.isNormal(a));
      const exponent = c.keep32(c.sub32(x.exponent(a), c.const32(BIAS - bias)));
      x.unless(c.ltu32(c.sub32(c.get(exponent), c.const32(1)), c.const32(max - 1)));
      const kept = c.keep64(c.shru(c.get(a.mantissa), c.const(cut)));
      const rest = c.keep64(c.shl(c.get(a.mantissa), c.const(64 - cut)));
      c.if(c.ne(c.get(rest), c.const(0)), () => {
        c.set(words, c.or32(c.get(words), c.const32(status(PE))));
        c.if(c.and32(c.lts(c.get(rest), c.const(0)), c.or32(c.ne(c.shl(c.get(rest), c.const(1)), c.const(0)), c.wrap(c.and(c.get(kept), c.const(1))))), () => {
          c.set(words, c.or32(c.get(words), c.const32(status(C1))));
          c.set(kept, c.add(c.get(kept), c.const(1)));
        });
      });
      // The integer bit, and a carry out of it, go into the exponent.
      c.set(kept, c.add(c.get(kept), c.shl(c.extendu(c.sub32(c.get(exponent), c.const32(1))), c.const(fraction))));
      x.leaveIf(c.geu(c.get(kept), c.const(BigInt(max) << BigInt(fraction))));
      c.set(bits, c.or(c.get(bits), c.get(kept)));
    });
    c.storeSized(size, c.get(at), c.get(bits));
    x.setWords(c.get(words));
    x.popIf(how);
    x.done();
  });
  storeFloat(4);
  storeFloat(8);
  give('fstp80', (x, c) => {
    const at = c.param(1, i32);
    x.begin(false);
    x.full();
    const a = x.read();
    c.store64(c.get(at), c.get(a.mantissa));
    c.storeSized(2, c.get(at), c.extendu(c.get(a.head)), 8);
    x.setWords(c.and32(c.get(x.words), c.const32(~status(C1))));
    x.pop();
    x.done();
  });

  /** An integer from a number below 2^63, rounded by the control word, or cut off; PE and C1 go into `words`. */
  const integer = (x: X87Code, a: Float, words: L32, truncates: () => I32): L64 => {
    const { c } = x;
    const power = c.keep32(c.sub32(x.exponent(a), c.const32(BIAS)));
    const shift = c.keep64(c.extendu(c.sub32(c.const32(63), c.get(power))));
    const n = c.keep64(c.const(0)), rest = c.keep64(c.const(1));
    c.if(c.eqz32(c.lts32(c.get(power), c.const32(0))), () => {
      // Shift counts are taken modulo 64, and the shift is 1 to 63.
      c.set(n, c.shru(c.get(a.mantissa), c.get(shift)));
      c.set(rest, c.shl(c.get(a.mantissa), c.sub(c.const(0), c.get(shift))));
    }, () => c.if(c.eq32(c.get(power), c.const32(-1)), () => c.set(rest, c.get(a.mantissa))));
    c.if(c.ne(c.get(rest), c.const(0)), () => {
      c.set(words, c.or32(c.get(words), c.const32(status(PE))));
      const direction = c.keep32(c.select(c.const32(3), c.and32(c.shru32(c.get(x.words), c.const32(10)), c.const32(3)), truncates()));
      const nearest = () => c.and32(c.lts(c.get(rest), c.const(0)), c.or32(c.ne(c.shl(c.get(rest), c.const(1)), c.const(0)), c.wrap(c.and(c.get(n), c.const(1)))));
      // Down for negative ones, up for others.
      const away = () => c.eq32(c.get(direction), c.select(c.const32(1), c.const32(2), signOf(c, a)));
      c.if(c.select(away(), nearest(), c.get(direction)), () => {
        c.set(words, c.or32(c.get(words), c.const32(status(C1))));
        c.set(n, c.add(c.get(n), c.const(1)));
      });
    });
    return n;
  };
  const storeInteger = (size: 2 | 4 | 8): void => give(`fist${8 * size}`, (x, c) => {
    const at = c.param(1, i32), how = c.param(2, i32);
    x.begin(false);
    x.unless(c.and32(c.get(x.words), c.const32(PE)));
    x.full();
    const a = x.read();
    const words = c.keep32(c.and32(c.get(x.words), c.const32(~status(C1))));
    const v = c.keep64(c.const(0));
    c.if(c.eqz32(x.isZero(a)), () => {
      x.unless(x.isNormal(a));
      x.leaveIf(c.gts32(x.exponent(a), c.const32(BIAS + 8 * size - 2)));
      const n = integer(x, a, words, () => c.and32(c.get(how), c.const32(HOW_TRUNCATE)));
      x.leaveIf(c.ne(c.shru(c.get(n), c.const(8 * size - 1)), c.const(0)));
      c.set(v, c.select(c.sub(c.const(0), c.get(n)), c.get(n), signOf(c, a)));
    });
    c.storeSized(size, c.get(at), c.get(v));
    x.setWords(c.get(words));
    x.popIf(how);
    x.done();
  });
  storeInteger(2);
  storeInteger(4);
  storeInteger(8);
  give('frndint', (x, c) => {
    x.begin(false);
    x.unless(c.and32(c.get(x.words), c.const32(PE)));
    x.full();
    const a = x.read();
    const words = c.keep32(c.and32(c.get(x.words), c.const32(~status(C1))));
    c.if(c.eqz32(x.isZero(a)), () => {
      x.unless(x.isNormal(a));
      c.if(c.lts32(x.exponent(a), c.const32(BIAS + 63)), () => {
        const n = integer(x, a, words, () => c.const32(0));
        const zeros = c.keep64(c.clz(c.get(n)));
        x.store(c.get(x.cpu), () => c.or32(signOf(c, a), c.select(c.const32(0), c.sub32(c.const32(BIAS + 63), c.wrap(c.get(zeros))), c.eqz(c.get(n)))),
          () => c.shl(c.get(n), c.get(zeros)));
      });
    });
    x.setWords(c.get(words));
    x.done();
  });

  // ---------------------------------------------------------------- moves and control
  const noC1 = (x: X87Code): void => x.setWords(x.c.and32(x.c.get(x.words), x.c.const32(~status(C1))));
  give('fstSt', (x, c) => {
    const i = c.param(1, i32), how = c.param(2, i32);
    x.begin(false);
    x.full();
    c.storeV(x.slot(i), c.loadV(c.get(x.cpu), ST), ST);
    noC1(x);
    c.store32_8(c.get(x.cpu), c.or32(c.load32_8u(c.get(x.cpu), TAGS), c.shl32(c.const32(1), c.and32(c.add32(x.top(), c.get(i)), c.const32(7)))), TAGS);
    x.popIf(how);
    x.done();
  });
  give('fxch', (x, c) => {
    const i = c.param(1, i32);
    x.begin(false);
    x.full(i);
    const first = c.keepV(c.loadV(c.get(x.cpu), ST));
    c.storeV(c.get(x.cpu), c.loadV(x.slot(i), ST), ST);
    c.storeV(x.slot(i), c.get(first), ST);
    noC1(x);
    x.done();
  });
  give('fcmov', (x, c) => {
    const i = c.param(1, i32);
    x.begin(false);
    x.full(i);
    c.if(c.get(c.param(2, i32)), () => c.storeV(c.get(x.cpu), c.loadV(x.slot(i), ST), ST));
    x.done();
  });
  give('fsign', (x, c) => {
    x.begin(false);
    x.full();
    c.storeSized(2, c.get(x.cpu), c.extendu(c.xor32(c.and32(c.load32_16u(c.get(x.cpu), ST + 8), c.get(c.param(1, i32))), c.get(c.param(2, i32)))), ST + 8);
    noC1(x);
    x.done();
  });
  give('fldcw', (x, c) => {
    x.begin(false);
    const control = c.keep32(c.or32(c.and32(c.load32_16u(c.get(c.param(1, i32))), c.const32(0x1f3f)), c.const32(0x40)));
    // An exception that this unmasks.
    x.leaveIf(c.and32(c.and32(c.shru32(c.get(x.words), c.const32(16)), c.xor32(c.get(control), c.const32(-1))), c.const32(0x3f)));
    x.setWords(c.or32(c.and32(c.get(x.words), c.const32(0xffff_0000 & ~status(ES | BUSY))), c.get(control)));
    x.done();
  });
}
