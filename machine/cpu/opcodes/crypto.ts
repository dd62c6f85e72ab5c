/** AES-NI, PCLMULQDQ and SHA. FIPS 197, FIPS 180-4; SDM Vol. 2. */
import { type L64, i64 } from '../../engine/wasm-emitter.ts';
import { type Emit, type Row, emit, row } from '../opcode-row.ts';
import { SIMD_A, SIMD_B, SIMD_EXTRA, SIMD_RESULT, type SimdArea } from '../simd-call.ts';
import { computed } from './sse41.ts';

const A = SIMD_A / 4, B = SIMD_B / 4, R = SIMD_RESULT / 4;
const rol = (x: number, n: number): number => x << n | x >>> (32 - n);
const ror = (x: number, n: number): number => x >>> n | x << (32 - n);

// ---------------------------------------------------------------- AES

interface AesTables {
  readonly sbox: Uint8Array;
  readonly inverse: Uint8Array;
  /** What a byte adds to its column: substituted, then times the first column of MixColumns or its inverse. */
  readonly mix: Uint32Array;
  readonly unmix: Uint32Array;
}
let made: AesTables | undefined;
function tables(): AesTables {
  if (made) return made;
  const times = (x: number, y: number): number => {
    let r = 0;
    for (let a = x, b = y; b > 0; b >>= 1, a = a << 1 ^ (a & 0x80 ? 0x11b : 0)) if (b & 1) r ^= a;
    return r;
  };
  const sbox = new Uint8Array(256), inverse = new Uint8Array(256), mix = new Uint32Array(256), unmix = new Uint32Array(256);
  // p runs through the powers of 3, q through those of its inverse.
  for (let p = 1, q = 1, first = true; first || p !== 1; first = false) {
    p = times(p, 3);
    q = times(q, 0xf6);
    const rotated = (n: number) => (q << n | q >> (8 - n)) & 0xff;
    sbox[p] = q ^ rotated(1) ^ rotated(2) ^ rotated(3) ^ rotated(4) ^ 0x63;
  }
  sbox[0] = 0x63;
  sbox.forEach((s, i) => { inverse[s] = i; });
  for (let i = 0; i < 256; i++) {
    const s = sbox[i]!, v = inverse[i]!;
    mix[i] = times(s, 2) | s << 8 | s << 16 | times(s, 3) << 24;
    unmix[i] = times(v, 14) | times(v, 9) << 8 | times(v, 13) << 16 | times(v, 11) << 24;
  }
  return made = { sbox, inverse, mix, unmix };
}

/** A round: rows move by `step` columns, bytes are substituted, columns mixed unless it is the last, the key in b is added. */
const round = (inverse: boolean, last: boolean): Emit => computed(({ u8, u32 }) => {
  const t = tables();
  const box = inverse ? t.inverse : t.sbox, mix = inverse ? t.unmix : t.mix;
  const step = inverse ? 13 : 5;
  for (let j = 0; j < 4; j++) {
    const s0 = u8[SIMD_A + 4 * j]!, s1 = u8[SIMD_A + (4 * j + step & 15)]!, s2 = u8[SIMD_A + (4 * j + 2 * step & 15)]!, s3 = u8[SIMD_A + (4 * j + 3 * step & 15)]!;
    u32[R + j] = u32[B + j]! ^ (last ? box[s0]! | box[s1]! << 8 | box[s2]! << 16 | box[s3]! << 24
      : mix[s0]! ^ rol(mix[s1]!, 8) ^ rol(mix[s2]!, 16) ^ rol(mix[s3]!, 24));
  }
});
const aesimc = computed(({ u8, u32 }) => {
  const { sbox, unmix } = tables();
  for (let j = 0; j < 4; j++) {
    const column = (i: number) => rol(unmix[sbox[u8[SIMD_B + 4 * j + i]!]!]!, 8 * i);
    u32[R + j] = column(0) ^ column(1) ^ column(2) ^ column(3);
  }
});
const aeskeygenassist = computed(({ u8, u32 }) => {
  const { sbox } = tables();
  for (const j of [1, 3]) {
    const [s0, s1, s2, s3] = [0, 1, 2, 3].map((i) => sbox[u8[SIMD_B + 4 * j + i]!]!) as [number, number, number, number];
    const word = s0 | s1 << 8 | s2 << 16 | s3 << 24;
    u32[R + j - 1] = word;
    u32[R + j] = ror(word, 8) ^ u8[SIMD_EXTRA]!;
  }
});

// ---------------------------------------------------------------- PCLMULQDQ

/** The product without carries of one half of each operand: bits 0 and 4 of the immediate choose. */
const pclmulqdq: Emit = (t) => {
  const { c } = t;
  const b = t.readV(1), a = t.readV(0);
  const choose = (v: typeof a, bit: number): L64 =>
    c.keep64(c.select(c.lane64(1, c.get(v)), c.lane64(0, c.get(v)), c.and32(c.wrap(t.immediate()), c.const32(bit))));
  const low = choose(a, 1), y = choose(b, 0x10);
  const high = c.keep64(c.const(0)), rLow = c.keep64(c.const(0)), rHigh = c.keep64(c.const(0));
  const mask = c.local(i64);
  c.loop((again) => {
    c.set(mask, c.sub(c.const(0), c.and(c.get(y), c.const(1))));
    c.set(rLow, c.xor(c.get(rLow), c.and(c.get(low), c.get(mask))));
    c.set(rHigh, c.xor(c.get(rHigh), c.and(c.get(high), c.get(mask))));
    c.set(high, c.or(c.shl(c.get(high), c.const(1)), c.shru(c.get(low), c.const(63))));
    c.set(low, c.shl(c.get(low), c.const(1)));
    c.set(y, c.shru(c.get(y), c.const(1)));
    c.brIf(again, c.ne(c.get(y), c.const(0)));
  });
  t.writeV(0, c.keepV(c.replace64(1, c.opV(0x12, c.get(rLow)), c.get(rHigh))));
};

// ---------------------------------------------------------------- SHA. Word 3 of a vector comes first in the standard's order for SHA-1.

const sha1rnds4 = computed(({ u8, u32 }) => {
  let [d, c, b, a] = [u32[A]!, u32[A + 1]!, u32[A + 2]!, u32[A + 3]!], e = 0;
  const kind = u8[SIMD_EXTRA]! & 3;
  const k = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6][kind]!;
  for (let i = 0; i < 4; i++) {
    const f = kind === 0 ? b & c | ~b & d : kind === 2 ? b & c | b & d | c & d : b ^ c ^ d;
    const next = f + rol(a, 5) + u32[B + 3 - i]! + e + k | 0;
    [a, b, c, d, e] = [next, a, rol(b, 30), c, d];
  }
  u32[R] = d; u32[R + 1] = c; u32[R + 2] = b; u32[R + 3] = a;
});
const sha1nexte = computed(({ u32 }) => {
  u32.copyWithin(R, B, B + 4);
  u32[R + 3] = u32[B + 3]! + rol(u32[A + 3]!, 30);
});
const sha1msg1 = computed(({ u32 }) => {
  u32[R + 3] = u32[A + 1]! ^ u32[A + 3]!;
  u32[R + 2] = u32[A]! ^ u32[A + 2]!;
  u32[R + 1] = u32[B + 3]! ^ u32[A + 1]!;
  u32[R] = u32[B + 2]! ^ u32[A]!;
});
const sha1msg2 = computed(({ u32 }) => {
  u32[R + 3] = rol(u32[A + 3]! ^ u32[B + 2]!, 1);
  u32[R + 2] = rol(u32[A + 2]! ^ u32[B + 1]!, 1);
  u32[R + 1] = rol(u32[A + 1]! ^ u32[B]!, 1);
  u32[R] = rol(u32[A]! ^ u32[R + 3]!, 1);
});
const sigma0 = (x: number): number => ror(x, 7) ^ ror(x, 18) ^ x >>> 3;
const sigma1 = (x: number): number => ror(x, 17) ^ ror(x, 19) ^ x >>> 10;
const sha256msg1 = computed(({ u32 }) => {
  for (let i = 0; i < 4; i++) u32[R + i] = u32[A + i]! + sigma0(i < 3 ? u32[A + i + 1]! : u32[B]!);
});
const sha256msg2 = computed(({ u32 }) => {
  for (let i = 0; i < 4; i++) u32[R + i] = u32[A + i]! + sigma1(i < 2 ? u32[B + 2 + i]! : u32[R + i - 2]!);
});
/** Two rounds; XMM0 holds the two words with their constants added. */
const rounds256 = ({ u32 }: SimdArea): void => {
  let [h, g, d, c] = [u32[A]!, u32[A + 1]!, u32[A + 2]!, u32[A + 3]!], [f, e, b, a] = [u32[B]!, u32[B + 1]!, u32[B + 2]!, u32[B + 3]!];
  for (let i = 0; i < 2; i++) {
    const t1 = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + (e & f ^ ~e & g) + u32[SIMD_EXTRA / 4 + i]! | 0;
    const t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
    [a, b, c, d, e, f, g, h] = [t1 + t2 | 0, a, b, c, d + t1 | 0, e, f, g];
  }
  u32[R] = f; u32[R + 1] = e; u32[R + 2] = b; u32[R + 3] = a;
};
const sha256rnds2Body = computed(rounds256);
const sha256rnds2: Emit = (t) => {
  t.simdParameter(SIMD_EXTRA, t.implicitV(0));
  sha256rnds2Body(t);
};

export const cryptoRows: readonly Row[] = [
  row('66 0F38 DB', 'AESIMC',          'Vx Wx',    'sse', emit(aesimc)),
  row('66 0F38 DC', 'AESENC',          'Vx Wx',    'sse', emit(round(false, false))),
  row('66 0F38 DD', 'AESENCLAST',      'Vx Wx',    'sse', emit(round(false, true))),
  row('66 0F38 DE', 'AESDEC',          'Vx Wx',    'sse', emit(round(true, false))),
  row('66 0F38 DF', 'AESDECLAST',      'Vx Wx',    'sse', emit(round(true, true))),
  row('66 0F3A DF', 'AESKEYGENASSIST', 'Vx Wx Ib', 'sse', emit(aeskeygenassist)),
  row('66 0F3A 44', 'PCLMULQDQ',       'Vx Wx Ib', 'sse', emit(pclmulqdq)),
  row('NP 0F38 C8', 'SHA1NEXTE',       'Vx Wx',    'sse', emit(sha1nexte)),
  row('NP 0F38 C9', 'SHA1MSG1',        'Vx Wx',    'sse', emit(sha1msg1)),
  row('NP 0F38 CA', 'SHA1MSG2',        'Vx Wx',    'sse', emit(sha1msg2)),
  row('NP 0F38 CB', 'SHA256RNDS2',     'Vx Wx XMM0', 'sse', emit(sha256rnds2)),
  row('NP 0F38 CC', 'SHA256MSG1',      'Vx Wx',    'sse', emit(sha256msg1)),
  row('NP 0F38 CD', 'SHA256MSG2',      'Vx Wx',    'sse', emit(sha256msg2)),
  row('NP 0F3A CC', 'SHA1RNDS4',       'Vx Wx Ib', 'sse', emit(sha1rnds4)),
];
