/**
 * Loads, stores, conversions to integers, moves between registers and FLDCW among the functions of x87-emitter.ts.
 */
import { type Code, type I32, type L32, type L64, i32, i64 } from './wasm-emitter.ts';
import { BIAS, BUSY, C1, ES, type Float, HOW_TRUNCATE, PE, SIGN, ST, type X87Code, status } from './x87-code.ts';

export function defineMoves(give: (name: string, body: (x: X87Code, c: Code) => void) => void): void {
  const signOf = (c: Code, f: Float): I32 => c.and32(c.get(f.head), c.const32(SIGN));

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
    x.mark(i);
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
