/**
 * x87 arithmetic in WebAssembly: a function an instruction form, for operands and results that are zeros or normal numbers and for a
 * control word that masks the inexact exception (and rounds to nearest, where that matters). Each returns 0 when it has changed
 * nothing and the exec row (cpu/x87) must run, which knows all the rest. SDM Vol. 1 ch. 8.
 *
 * A number is its sign and biased exponent in 16 bits, as in memory, and the 64 bits of its mantissa; a result before it is rounded
 * has 64 bits more, of which the last says whether anything lies beyond.
 */
import { type Code, type Func, type I32, type I64, type L32, type ValueType, WasmModule, i32, i64 } from './wasm-emitter.ts';
import { BIAS, C0, C1, C2, C3, type Float, INTEGER, MAX_EXPONENT, PE, SIGN, WORDS, X87Code, highProduct, status } from './x87-code.ts';
import { ELEMENTARY, defineElementary } from './x87-elementary-emitter.ts';
import { defineMoves } from './x87-moves-emitter.ts';

/** Of a register form: the result goes into ST(i). */
export const HOW_TO_ST = 2;
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
  ...Object.fromEntries(['ftst', 'fsqrt', 'frndint', ...ELEMENTARY].map((n) => [n, [[i32], [i32]]])),
};

const modules = new Map<number, WebAssembly.Module>();
/** The module of X87_FUNCTIONS for a memory of that many pages: emitted once, for that takes longer than all the rest of an engine's start. */
export function x87Module(memoryPages: number): WebAssembly.Module {
  let made = modules.get(memoryPages);
  if (!made) {
    const module = new WasmModule(memoryPages);
    defineX87(module);
    modules.set(memoryPages, made = new WebAssembly.Module(module.finish()));
  }
  return made;
}

function defineX87(module: WasmModule): void {
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
  /** (cpu, slot, sign, exponent, high, low); `narrow`: the control word may ask for less precision. */
  const finishFor = (narrow: boolean): Func => define(undefined, [i32, i32, i32, i32, i64, i64], (x, c) => {
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
    c.if(narrow ? c.and32(c.get(words), c.const32(0x100)) : c.const32(1), () => {
      c.if(c.ne(c.get(low), c.const(0)), () => {
        inexact();
        c.if(c.and32(c.lts(c.get(low), c.const(0)), c.or32(c.ne(c.shl(c.get(low), c.const(1)), c.const(0)), c.wrap(c.and(c.get(high), c.const(1))))), () => up(() => c.const(1)));
      });
    }, !narrow ? undefined : () => {
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
  const finish = finishFor(true);
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
    const high = c.keep64(c.shru(c.get(v), c.const(32))), low = c.keep64(c.and(c.get(v), c.const(0xffff_ffff)));
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

  defineMoves(give);
  defineElementary(module, give, finishFor(false));
}
