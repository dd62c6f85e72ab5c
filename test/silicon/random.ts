/** Pseudo-random numbers, and values at which instructions go wrong: a generator without BigInt, for a case takes hundreds. */

/** The bits of a text, to seed the cases of a form by its name. FNV-1a. */
export function hashOf(text: string): number {
  let h = 0x811c_9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x0100_0193);
  return h >>> 0;
}

/** xoshiro128**, seeded by splitmix32. */
export class Random {
  private readonly s = new Uint32Array(4);

  constructor(...seeds: readonly number[]) {
    let state = 0;
    for (const seed of seeds) state = this.mix(state + Math.imul(seed, 0x9e37_79b9) | 0);
    for (let i = 0; i < 4; i++) this.s[i] = this.mix(state = state + 0x9e37_79b9 | 0);
  }
  private mix(z: number): number {
    z = Math.imul(z ^ z >>> 16, 0x21f0_aaad);
    z = Math.imul(z ^ z >>> 15, 0x735a_2d97);
    return (z ^ z >>> 15) >>> 0;
  }
  u32(): number {
    const { s } = this;
    const five = Math.imul(s[1]!, 5);
    const result = Math.imul(five << 7 | five >>> 25, 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = s[3]! << 11 | s[3]! >>> 21;
    return result;
  }
  /** 0 to n - 1. */
  below(n: number): number { return Math.floor(this.u32() / 0x1_0000_0000 * n); }
  /** Once in n. */
  once(n: number): boolean { return this.below(n) === 0; }
  pick<T>(list: readonly T[]): T { return list[this.below(list.length)]!; }
  u64(): bigint { return BigInt(this.u32()) << 32n | BigInt(this.u32()); }
}

const EDGES = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x5555_5555, 0xaaaa_aaaa];
/** 32 bits: edges, short ones, any. */
export function word(r: Random): number {
  switch (r.below(4)) {
    case 0: return r.pick(EDGES);
    case 1: return r.u32() >>> r.below(32);
    case 2: return r.once(2) ? r.below(64) : -r.below(64) >>> 0;
    default: return r.u32();
  }
}
/** 64 bits into two words: the same, and edges of 64 bits. */
export function quad(r: Random, to: Uint32Array, at: number): void {
  switch (r.below(8)) {
    case 0: to[at] = word(r); to[at + 1] = 0; return;
    case 1: to[at] = word(r); to[at + 1] = 0xffff_ffff; return;
    case 2: to[at] = r.pick([0, 0xffff_ffff, 1]); to[at + 1] = r.pick([0x8000_0000, 0x7fff_ffff]); return;
    case 3: to[at] = to[at + 1] = word(r); return;
    default: to[at] = word(r); to[at + 1] = word(r);
  }
}

const FLOATS = [0, 0x8000_0000, 0x3f80_0000, 0xbfc0_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0123, 0xffa0_0001, 0x007f_ffff, 1, 0x0080_0000, 0x7f7f_ffff, 0x3dcc_cccd, 0x4f00_0000, 0xcf00_0000, 0x5f00_0000, 0xdf00_0000, 0x4090_0000, 0xc020_0000, 0x4eff_ffff, 0x3f00_0000];
/** A float: special ones, whole ones and halves, exponents of every size, and near to each other. */
export function float32(r: Random): number {
  switch (r.below(8)) {
    case 0: case 1: return r.pick(FLOATS);
    case 2: return (r.u32() & 0x807f_ffff | 0x3f00_0000 + (r.below(8) << 23)) >>> 0;
    case 3: return (r.u32() & 0x80ff_0000 | 0x3f80_0000 + (r.below(34) << 23)) >>> 0;
    case 4: return (r.u32() & 0x807f_ffff) >>> 0;
    case 5: return (r.u32() & 0x8000_ffff | 0x3f00_0000 + (r.below(3) << 23)) >>> 0;
    default: return r.u32();
  }
}
const DOUBLES = [
  [0, 0], [0x8000_0000, 0], [0x3ff0_0000, 0], [0xbff8_0000, 0], [0x7ff0_0000, 0], [0xfff0_0000, 0], [0x7ff8_0000, 0x123], [0xfff4_0000, 1], [0x000f_ffff, 0xffff_ffff], [0, 1], [0x0010_0000, 0],
  [0x7fef_ffff, 0xffff_ffff], [0x3fb9_9999, 0x9999_999a], [0x41e0_0000, 0], [0xc1e0_0000, 0], [0xc1e0_0000, 0x0010_0000], [0x41df_ffff, 0xffc0_0000], [0x43e0_0000, 0], [0xc3e0_0000, 0], [0x4012_0000, 0],
  [0x3fe0_0000, 0], [0x380f_ffff, 0xffff_ffff], [0x47ef_ffff, 0xf000_0000], [0x36a0_0000, 0],
] as const;
export function float64(r: Random, to: Uint32Array, at: number): void {
  const set = (high: number, low: number): void => { to[at] = low; to[at + 1] = high; };
  switch (r.below(9)) {
    case 0: case 1: { const [high, low] = r.pick(DOUBLES); return set(high, low); }
    case 2: return set(r.u32() & 0x800f_ffff | 0x3fe0_0000 + (r.below(8) << 20), r.u32());
    case 3: return set(r.u32() & 0x801f_0000 | 0x3ff0_0000 + (r.below(66) << 20), r.once(2) ? 0 : r.u32() << r.below(32));
    case 4: return set(r.u32() & 0x800f_ffff, r.u32());
    case 5: return set(r.u32() & 0x8000_00ff | 0x3fe0_0000 + (r.below(3) << 20), r.pick([0, 1, 0xffff_ffff, 0x8000_0000]));
    // Around what a float can hold.
    case 6: return set(r.u32() & 0x800f_ffff | 0x3690_0000 + (r.below(26) << 20), r.u32() & (r.once(2) ? 0xe000_0000 : 0xffff_ffff));
    default: return set(r.u32(), r.u32());
  }
}
/** An 80-bit float into three words, the last of 16 bits: special ones, integers, the edges of floats and doubles, and encodings that are none. */
export function float80(r: Random, to: Uint32Array, at: number): void {
  let high = r.u32() | 0x8000_0000, low = r.u32();
  const sign = r.u32() & 0x8000;
  let exponent: number;
  switch (r.below(24)) {
    case 0: high = low = exponent = 0; break;
    case 1: exponent = 0x7fff; high = 0x8000_0000; low = 0; break;
    case 2: exponent = 0x7fff; high |= 0x4000_0000; break;
    case 3: exponent = 0x7fff; high &= ~0x4000_0000; low |= 1; break;
    case 4: exponent = 0; high = (high & 0x7fff_ffff) >>> r.below(31); break;
    case 5: exponent = 1 + r.below(0x7ffe); break;
    case 6: { exponent = 0x3fff + r.below(64); const keep = exponent - 0x3fff; if (keep < 32) { low = 0; high &= -1 << 31 - keep; } else low &= -1 << 63 - keep; break; }
    case 7: exponent = 0x3fff - 1022 - r.below(60); break;
    case 8: exponent = 0x3fff - 126 - r.below(30); break;
    case 9: exponent = 0x3fff + r.pick([120, 1016]) + r.below(16); break;
    case 10: exponent = 0x3fff + r.below(3) - 1; high = 0x8000_0000; low = r.pick([0, 1, 0x800, 0x400]); break;
    case 11: exponent = r.pick([0, 1, 0x4000, 0x7fff]); if (exponent) high &= 0x7fff_ffff; break;     // pseudo-denormal, unnormal
    default: exponent = 0x3fff - 8 + r.below(16);
  }
  to[at] = low;
  to[at + 1] = high;
  to[at + 2] = exponent | sign;
}
