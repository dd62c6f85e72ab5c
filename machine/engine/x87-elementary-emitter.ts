/**
 * Sine, cosine, tangent, arctangent, power and logarithm of the x87 in WebAssembly, correctly rounded like cpu/x87/elementary.ts: 128 bits in
 * two words, an error far below what the last of 64 bits can tell, and 0 (the exec row runs) where the rest of the bits does not
 * decide the rounding after all, or an operand is not an ordinary one. SDM Vol. 1, 8.3.8 and 8.3.10.
 */
import { ENGINE } from './layout.ts';
import { type Code, type Func, type I32, type L32, type L64, type WasmModule, i32, i64 } from './wasm-emitter.ts';
import { BIAS, C1, C2, type Float, INTEGER, SIGN, ST, WORDS, type X87Code, highProduct, status } from './x87-code.ts';
import { Numbers, ONE, type Wide, defineWide } from './x87-wide.ts';

/** (cpu) → 1, or 0: not done. */
export const ELEMENTARY = ['fsin', 'fcos', 'fsincos', 'fptan', 'f2xm1', 'fyl2x', 'fyl2xp1', 'fpatan'] as const;
const SLOT = 16;
/** The lower word of a sum of a table's entry or an integer and a small part may be wrong by this much. */
const WIDE_MARGIN = 1n << 24n;
/** Below 2^-30 the exec rows know what silicon does. */
const SMALLEST = -30, LARGEST = 20;

const LN2 = 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6afn;
/** 2/ln 2, a quarter of it in Q0.128. */
const TWO_BY_LN2 = 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89n;
/** π in Q2.126. */
const PI = 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1n;
/** Silicon's π of 66 bits, in units of 2^-66. */
const PI_66 = 0xc90f_daa2_2168_c234_cn;
/** atan(k / 32) in Q0.128. */
const ARCS: readonly bigint[] = [
  0x0000_0000_0000_0000_0000_0000_0000_0000n, 0x07ff_556e_ea5d_892a_13bc_ebbb_6ed4_6311n, 0x0ffa_addb_967e_f4e3_6cb2_792d_c0e2_e0d5n,
  0x17ee_1826_02f1_0e8c_126a_cfcf_099f_06cfn, 0x1fd5_ba9a_ac2f_6dc6_5912_f313_e7d1_11dfn, 0x27ad_ddd1_8cc4_d8b0_d1d8_6749_40d8_3fa1n,
  0x2f72_f697_9cb6_044d_1ec2_d3e2_0727_1d22n, 0x3721_aea5_24c1_4408_bd88_6970_72d5_4bc1n, 0x3eb6_ebf2_5901_bac5_5b71_e7bd_7de8_85f9n,
  0x462f_d68c_2fc5_e098_6523_a458_dfc4_14c7n, 0x4d89_dcdc_1faf_2f34_e2d5_da4c_693d_7994n, 0x54c2_b665_4735_276d_4cdb_fbbd_fbec_f461n,
  0x5bd8_6507_937b_c239_c551_9091_6e7f_2242n, 0x62c9_34e5_286c_95b6_d0ba_3748_fa85_146fn, 0x6993_bb0f_308f_f2db_213e_4af4_800f_389bn,
  0x7036_d325_3b27_be33_e318_f6cb_3cc6_5c02n, 0x76b1_9c15_86ed_3da2_b7f2_22f6_5e1d_4682n, 0x7d03_742d_5050_5f2e_3369_1e3e_aee4_7661n,
  0x832b_f4a6_d986_7e2a_4b6a_09cb_61a5_15c1n, 0x892a_ecdf_de95_47b5_0944_78fc_472b_4afcn, 0x8f00_5d5e_f7f5_9f9b_5c83_5e16_65c4_3748n,
  0x94ac_72c9_8471_86f6_18c4_f393_f78a_32f9n, 0x9a2f_80e6_71bd_da20_4226_f8e2_204f_f3bdn, 0x9f89_fdc4_f4b7_a1ec_f8b4_9264_4f07_01e0n,
  0xa4bc_7d19_34f7_0924_19a8_7f2a_457d_ac9fn, 0xa9c7_abdc_4830_f5c8_916a_84b5_be79_33f6n, 0xaeac_4c38_b4d8_c080_1472_5e2f_3e52_070an,
  0xb36b_31c9_1f04_3691_5901_4174_4462_f93an, 0xb805_3e2b_c231_9e73_cb2d_a552_10a4_443dn, 0xbc7b_5dea_e98a_f280_d411_3006_e80f_b290n,
  0xc0ce_85b8_ac52_6640_89dd_62c4_6e92_fa25n, 0xc4ff_affa_bf8f_bd54_8cb4_3d10_bc9e_0221n, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1n,
];
const factorial = (n: number): bigint => (n < 2 ? 1n : BigInt(n) * factorial(n - 1));
const series = (terms: number, divisor: (k: number) => bigint): bigint[] => Array.from({ length: terms }, (_, k) => (2n * ONE / divisor(k) + 1n) / 2n);
const SINE = series(16, (k) => factorial(2 * k + 1)), COSINE = series(17, (k) => factorial(2 * k)), POWER = series(31, (k) => factorial(k + 1));
const ARTANH = series(26, (k) => BigInt(2 * k + 1)), ARC = series(11, (k) => BigInt(2 * k + 1));

export function defineElementary(module: WasmModule, give: (name: string, body: (x: X87Code, c: Code) => void) => void, finish: Func): void {
  const functions = defineWide(module, finish);
  /** ARCS[k]. */
  const arcOf = module.function(undefined, [i32], [i64, i64], (c) => {
    const k = c.param(0, i32), high = c.local(i64), low = c.local(i64);
    const among = (from: number, to: number): void => {
      if (from === to) {
        c.set(high, c.const(ARCS[from]! >> 64n));
        c.set(low, c.const(BigInt.asUintN(64, ARCS[from]!)));
        return;
      }
      const middle = from + to >> 1;
      c.if(c.gts32(c.get(k), c.const32(middle)), () => among(middle + 1, to), () => among(from, middle));
    };
    among(0, ARCS.length - 1);
    c.get(high);
    c.get(low);
  });
  const sign = (x: X87Code, f: Float): I32 => { const { c } = x; return c.and32(c.get(f.head), c.const32(SIGN)); };
  const power = (x: X87Code, f: Float): L32 => { const { c } = x; return c.keep32(c.sub32(x.exponent(f), c.const32(BIAS))); };

  // ---------------------------------------------------------------- angles
  /** The angle in ST(0) less multiples of π/2: a Q0.128 × 2^exponent of a sign, and the quadrant. */
  interface Angle { readonly number: Wide; readonly exponent: L32; readonly turned: L32; readonly quadrant: L32; readonly negative: L32 }
  const reduced = (n: Numbers): Angle => {
    const { x } = n;
    const { c } = x;
    const a = x.read();
    x.unless(x.isNormal(a));
    const e = power(x, a);
    x.unless(c.ltu32(c.sub32(c.get(e), c.const32(SMALLEST)), c.const32(LARGEST - SMALLEST)));
    const number = n.wide(() => c.get(a.mantissa), () => c.const(0));
    const exponent = c.keep32(c.add32(c.get(e), c.const32(1)));
    const quadrant = c.keep32(c.const32(0)), turned = c.keep32(c.const32(0));
    c.if(c.eqz32(c.lts32(c.get(e), c.const32(-1))), () => {
      // In units of 2^-67 both the angle and π/2 are whole.
      const turns = c.keep64(c.saturate64(7, c.opF64(0x9e, c.opF64(0xa2, c.opF64(0xa2, c.opF64(0xba, c.get(a.mantissa)), c.constF64(2 ** -63 / (Math.PI / 2))),
        c.op64From(0xbf, c.shl(c.extendu(c.add32(c.get(e), c.const32(1023))), c.const(52))) as never))));
      c.set(quadrant, c.and32(c.wrap(c.get(turns)), c.const32(3)));
      const shift = c.keep64(c.extendu(c.add32(c.get(e), c.const32(4))));
      const whole = n.wide(() => c.shru(c.get(a.mantissa), c.sub(c.const(0), c.get(shift))), () => c.shl(c.get(a.mantissa), c.get(shift)));
      const low = c.keep64(c.const(PI_66 & 0xffff_ffff_ffff_ffffn));
      const multiple = n.wide(() => c.add(highProduct(c, turns, low), c.mul(c.get(turns), c.const(PI_66 >> 64n))), () => c.mul(c.get(turns), c.get(low)));
      const rest = n.difference(whole, multiple);
      c.set(turned, c.lts(c.get(rest.high), c.const(0)));
      const size = n.either(() => c.get(turned), rest, n.difference(n.constant(0n), rest));
      x.leaveIf(c.eqz(c.or(c.get(size.high), c.get(size.low))));
      // Above π/4 another multiple would have been nearer.
      const limit = PI_66 >> 1n;
      x.leaveIf(c.or32(c.gtu(c.get(size.high), c.const(limit >> 64n)),
        c.and32(c.eq(c.get(size.high), c.const(limit >> 64n)), c.geu(c.get(size.low), c.const(limit & 0xffff_ffff_ffff_ffffn)))));
      const r = n.normalize(size);
      c.set(number.high, c.get(r.number.high));
      c.set(number.low, c.get(r.number.low));
      c.set(exponent, c.sub32(c.const32(61), c.get(r.zeros)));
    });
    return { number, exponent, turned, quadrant, negative: c.keep32(c.ne32(sign(x, a), c.const32(0))) };
  };
  const squared = (n: Numbers, a: Angle): Wide => {
    const { c } = n.x;
    return n.right(n.times(a.number, a.number), () => c.shl32(c.sub32(c.const32(0), c.get(a.exponent)), c.const32(1)));
  };
  const sineOf = (n: Numbers, a: Angle, u: Wide): Wide => n.times(a.number, n.polynomial(SINE, u, -1));
  const cosineOf = (n: Numbers, u: Wide): Wide => n.polynomial(COSINE, u, -1);
  /** Sine, or cosine, of the angle into a slot. Both are Q1.127. */
  const circular = (n: Numbers, a: Angle, u: Wide, cosine: boolean, to: () => I32): void => {
    const { x } = n;
    const { c } = x;
    const odd = () => c.and32(c.get(a.quadrant), c.const32(1));
    const isSine = () => (cosine ? odd() : c.eqz32(odd()));
    const result = n.constant(0n), exponent = c.keep32(c.const32(1));
    c.if(isSine(), () => {
      const s = sineOf(n, a, u);
      c.set(result.high, c.get(s.high));
      c.set(result.low, c.get(s.low));
      c.set(exponent, c.add32(c.get(a.exponent), c.const32(1)));
    }, () => {
      const s = cosineOf(n, u);
      c.set(result.high, c.get(s.high));
      c.set(result.low, c.get(s.low));
    });
    const half = () => c.and32(c.shru32(c.get(a.quadrant), c.const32(1)), c.const32(1));
    const below = () => (cosine ? c.xor32(half(), odd()) : c.xor32(half(), c.get(a.negative)));
    n.round(to, () => c.shl32(c.xor32(below(), c.and32(c.get(a.turned), isSine())), c.const32(15)), () => c.get(exponent), result);
  };
  const begin = (x: X87Code): Numbers => {
    x.begin(true);
    x.full();
    return new Numbers(x, functions);
  };
  const noC2 = (x: X87Code): void => { const { c } = x; c.store32(c.get(x.cpu), c.and32(c.load32(c.get(x.cpu), WORDS), c.const32(~status(C2))), WORDS); };
  for (const [name, cosine] of [['fsin', false], ['fcos', true]] as const) {
    give(name, (x) => {
      const n = begin(x);
      const a = reduced(n);
      circular(n, a, squared(n, a), cosine, () => x.c.get(x.cpu));
      noC2(x);
      x.done();
    });
  }
  /** Where the second result waits until the first is known. */
  const SCRATCH = ENGINE.simd - ST;
  /** Sine into ST(0), cosine pushed: C1 tells of the cosine. If one of them fails FSW is as before. */
  give('fsincos', (x, c) => {
    const n = begin(x);
    x.roomToPush();
    const a = reduced(n);
    const u = squared(n, a);
    const { slow } = x;
    c.block((failed) => {
      x.slow = failed;
      circular(n, a, u, true, () => c.add32(c.get(x.cpu), c.const32(SCRATCH)));
      const c1 = c.keep32(c.and32(c.load32(c.get(x.cpu), WORDS), c.const32(status(C1))));
      circular(n, a, u, false, () => c.get(x.cpu));
      c.set(x.words, c.and32(c.load32(c.get(x.cpu), WORDS), c.const32(~status(C2))));
      x.push(() => c.load32_16u(c.get(x.cpu), ENGINE.simd + 8), () => c.load64(c.get(x.cpu), ENGINE.simd));
      x.setWords(c.or32(c.get(x.words), c.get(c1)));
      x.done();
    });
    x.slow = slow;
    c.store32(c.get(x.cpu), c.get(x.words), WORDS);
    c.br(slow);
  });

  give('fptan', (x, c) => {
    const n = begin(x);
    x.roomToPush();
    const a = reduced(n);
    const u = squared(n, a);
    const sine = n.normalize(sineOf(n, a, u)), cosine = n.normalize(cosineOf(n, u));
    // Their quotient, or in odd quadrants the other way about, negative.
    const odd = c.keep32(c.and32(c.get(a.quadrant), c.const32(1)));
    const over = n.either(() => c.get(odd), sine.number, cosine.number), under = n.either(() => c.get(odd), cosine.number, sine.number);
    const exponent = c.keep32(c.sub32(c.add32(c.get(a.exponent), c.get(cosine.zeros)), c.get(sine.zeros)));
    n.round(() => c.get(x.cpu), () => c.shl32(c.xor32(c.get(odd), c.xor32(c.get(a.turned), c.get(a.negative))), c.const32(15)),
      () => c.add32(c.select(c.sub32(c.const32(0), c.get(exponent)), c.get(exponent), c.get(odd)), c.const32(1)), n.times(over, n.reciprocal(under)));
    c.set(x.words, c.and32(c.load32(c.get(x.cpu), WORDS), c.const32(~status(C2))));
    const c1 = c.keep32(c.and32(c.get(x.words), c.const32(status(C1))));
    x.push(() => c.const32(BIAS), () => c.const(INTEGER));
    x.setWords(c.or32(c.get(x.words), c.get(c1)));
    x.done();
  });

  // ---------------------------------------------------------------- powers and logarithms
  give('f2xm1', (x) => {
    const { c } = x;
    const n = begin(x);
    const a = x.read();
    x.unless(x.isNormal(a));
    const e = power(x, a);
    x.unless(c.lts32(c.get(e), c.const32(0)));
    const t = n.times(n.wide(() => c.get(a.mantissa), () => c.const(0)), n.constant(LN2));
    const negative = c.keep32(sign(x, a));
    const s = n.polynomial(POWER, n.right(t, () => c.sub32(c.const32(-1), c.get(e))), negative);
    n.round(() => c.get(x.cpu), () => c.get(negative), () => c.add32(c.get(e), c.const32(2)), n.times(t, s));
    x.done();
  });
  /** ST(0) and ST(1), normal both; the result goes into ST(1), and ST(0) is popped. */
  const two = (x: X87Code): { readonly n: Numbers; readonly a: Float; readonly b: Float } => {
    const one = x.c.keep32(x.c.const32(1));
    x.begin(true);
    x.full(one);
    const a = x.read(), b = x.read(one);
    for (const f of [a, b]) x.unless(x.isNormal(f));
    return { n: new Numbers(x, functions), a, b };
  };
  const second = (x: X87Code) => (): I32 => x.c.add32(x.c.get(x.cpu), x.c.const32(SLOT));
  const popped = (x: X87Code): void => { x.pop(); x.done(); };

  /** A logarithm, as a Q0.128 × 2^exponent of a sign, times y: into ST(1), and ST(0) is popped. */
  const timesInto = (x: X87Code, n: Numbers, value: Wide, exponent: () => I32, negative: () => I32, y: Float): void => {
    const { c } = x;
    const logarithm = n.normalize(value);
    n.round(second(x), () => c.xor32(sign(x, y), c.shl32(negative(), c.const32(15))),
      () => c.add32(c.sub32(exponent(), c.get(logarithm.zeros)), c.sub32(x.exponent(y), c.const32(BIAS - 1))),
      n.times(logarithm.number, n.wide(() => c.get(y.mantissa), () => c.const(0))), WIDE_MARGIN);
    popped(x);
  };
  give('fyl2x', (x, c) => {
    const { n, a, b: y } = two(x);
    x.leaveIf(sign(x, a));
    x.leaveIf(c.eq(c.get(a.mantissa), c.const(INTEGER)));
    // f, above 0.6875 and not above 1.375: the mantissa, or half of it.
    const halved = c.keep32(c.gtu(c.get(a.mantissa), c.const(11n << 60n)));
    const whole = c.keep32(c.add32(c.sub32(x.exponent(a), c.const32(BIAS)), c.get(halved)));
    // |f - 1| and f + 1 less 2, in units of 2^-63, halved of 2^-64; then z = |f - 1| / (f + 1).
    const above = c.keep64(c.xor(c.get(a.mantissa), c.const(INTEGER)));
    const apart = n.wide(() => c.select(c.sub(c.const(0), c.get(a.mantissa)), c.get(above), c.get(halved)), () => c.const(0));
    const beyond = c.keep64(c.select(c.get(a.mantissa), c.get(above), c.get(halved)));
    const inverse = n.reciprocal(n.wide(() => c.or(c.shru(c.get(beyond), c.const(1)), c.const(INTEGER)), () => c.shl(c.get(beyond), c.const(63))));
    const { number: size, zeros } = n.normalize(apart);
    const z = n.times(size, inverse);
    const squares = n.right(n.times(z, z), () => c.shl32(c.get(zeros), c.const32(1)));
    // Q1.127 × 4 / 2^zeros.
    const part = n.times(n.times(z, n.polynomial(ARTANH, squares, 1)), n.constant(TWO_BY_LN2));
    const total = n.wide(() => c.get(part.high), () => c.get(part.low));
    const exponent = c.keep32(c.sub32(c.const32(3), c.get(zeros)));
    const negative = c.keep32(c.get(halved));
    c.if(c.get(whole), () => {
      // Q15.113.
      const fraction = n.right(part, () => c.add32(c.get(zeros), c.const32(12)));
      const below = c.keep32(c.lts32(c.get(whole), c.const32(0)));
      const integer = n.wide(() => c.shl(c.extendu(c.select(c.sub32(c.const32(0), c.get(whole)), c.get(whole), c.get(below))), c.const(49)), () => c.const(0));
      const r = n.either(() => c.eq32(c.get(below), c.get(halved)), n.difference(integer, fraction), n.sum(integer, fraction));
      c.set(total.high, c.get(r.high));
      c.set(total.low, c.get(r.low));
      c.set(exponent, c.const32(15));
      c.set(negative, c.get(below));
    });
    timesInto(x, n, total, () => c.get(exponent), () => c.get(negative), y);
  });
  give('fyl2xp1', (x, c) => {
    const { n, a, b: y } = two(x);
    // |x| below 0.293, where z = |x| / (2 + x) is below 0.172.
    const e = power(x, a);
    x.unless(c.ltu32(c.sub32(c.get(e), c.const32(-60)), c.const32(59)));
    x.leaveIf(c.and32(c.eq32(c.get(e), c.const32(-2)), c.geu(c.get(a.mantissa), c.const(0x9600n << 48n))));
    const number = n.wide(() => c.get(a.mantissa), () => c.const(0));
    const negative = c.keep32(c.ne32(sign(x, a), c.const32(0)));
    // In Q2.126.
    const moved = n.right(number, () => c.sub32(c.const32(1), c.get(e)));
    const bottom = n.normalize(n.either(() => c.get(negative), n.sum(n.constant(ONE), moved), n.difference(n.constant(ONE), moved)));
    const z = n.times(number, n.reciprocal(bottom.number));
    const exponent = c.keep32(c.add32(c.get(e), c.get(bottom.zeros)));
    const squares = n.right(n.times(z, z), () => c.shl32(c.sub32(c.const32(0), c.get(exponent)), c.const32(1)));
    const part = n.times(n.times(z, n.polynomial(ARTANH, squares, 1)), n.constant(TWO_BY_LN2));
    timesInto(x, n, part, () => c.add32(c.get(exponent), c.const32(3)), () => c.get(negative), y);
  });

  give('fpatan', (x, c) => {
    const { n, a: across, b: up } = two(x);
    // The smaller over the larger of the two: an angle of up to π/4.
    const swapped = c.keep32(c.or32(c.ltu32(x.exponent(across), x.exponent(up)), c.and32(c.eq32(x.exponent(across), x.exponent(up)), c.ltu(c.get(across.mantissa), c.get(up.mantissa)))));
    const large = c.keep64(c.select(c.get(up.mantissa), c.get(across.mantissa), c.get(swapped)));
    const small = c.keep64(c.select(c.get(across.mantissa), c.get(up.mantissa), c.get(swapped)));
    const far = c.keep32(c.sub32(x.exponent(across), x.exponent(up)));
    c.set(far, c.select(c.sub32(c.const32(0), c.get(far)), c.get(far), c.get(swapped)));
    x.unless(c.ltu32(c.get(far), c.const32(64)));
    const mirrored = c.keep32(c.ne32(sign(x, across), c.const32(0)));
    // k: 32 times their ratio as a whole number, where that is not 0 anyway; `near`: how far the larger one is moved to be in the smaller one's units.
    const near = c.keep64(c.const(0)), k = c.keep64(c.const(0));
    c.if(c.ltu32(c.get(far), c.const32(8)), () => {
      c.set(near, c.extendu(c.get(far)));
      c.set(k, c.divu(c.add(c.shru(c.shru(c.get(small), c.get(near)), c.const(1)), c.shru(c.get(large), c.const(7))), c.shru(c.get(large), c.const(6))));
      c.set(far, c.const32(0));
    });
    const times = (w: Wide, by: L64): Wide => {
      const low = c.keep64(c.mul(c.get(w.low), c.get(by)));
      return { low, high: c.keep64(c.add(c.mul(c.get(w.high), c.get(by)), highProduct(c, w.low, by))) };
    };
    const thirtyTwo = c.keep64(c.const(32));
    const s = n.wide(() => c.const(0), () => c.get(small));
    const l = n.wide(() => c.select(c.const(0), c.shru(c.get(large), c.sub(c.const(0), c.get(near))), c.eqz(c.get(near))), () => c.shl(c.get(large), c.get(near)));
    // tan of the angle less that of k/32 is (32 s - k l) / (32 l + k s), exact both.
    const over = n.difference(times(s, thirtyTwo), times(l, k));
    const negative = c.keep32(c.lts(c.get(over.high), c.const(0)));
    const top = n.normalize(n.either(() => c.get(negative), over, n.difference(n.constant(0n), over)));
    x.leaveIf(c.eqz(c.get(top.number.high)));
    const bottom = n.normalize(n.sum(times(l, thirtyTwo), times(s, k)));
    const z = n.times(top.number, n.reciprocal(bottom.number));
    const exponent = c.keep32(c.sub32(c.add32(c.sub32(c.get(bottom.zeros), c.get(top.zeros)), c.const32(1)), c.get(far)));
    const squares = n.right(n.times(z, z), () => c.shl32(c.sub32(c.const32(0), c.get(exponent)), c.const32(1)));
    const rest = n.times(z, n.polynomial(ARC, squares, -1));
    // Q1.127 × 2^exponent is Q0.128 × 2^(exponent + 1).
    c.set(exponent, c.add32(c.get(exponent), c.const32(1)));
    c.if(c.ne(c.get(k), c.const(0)), () => {
      const part = n.right(rest, () => c.sub32(c.const32(0), c.get(exponent)));
      const known = n.take(arcOf, c.wrap(c.get(k)));
      const r = n.either(() => c.get(negative), n.sum(known, part), n.difference(known, part));
      c.set(rest.high, c.get(r.high));
      c.set(rest.low, c.get(r.low));
      c.set(exponent, c.const32(0));
    });
    c.if(c.or32(c.get(swapped), c.get(mirrored)), () => {
      const part = n.right(rest, () => c.sub32(c.const32(2), c.get(exponent)));
      const from = n.either(() => c.get(swapped), n.constant(PI), n.constant(PI >> 1n));
      const r = n.either(() => c.and32(c.get(swapped), c.get(mirrored)), n.difference(from, part), n.sum(from, part));
      c.set(rest.high, c.get(r.high));
      c.set(rest.low, c.get(r.low));
      c.set(exponent, c.const32(2));
    });
    n.round(second(x), () => sign(x, up), () => c.get(exponent), rest, WIDE_MARGIN);
    popped(x);
  });
}
