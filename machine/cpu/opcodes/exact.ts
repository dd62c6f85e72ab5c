/**
 * Whether a sum, a difference or a product was rounded, by the error-free transformations of Møller, Knuth and Dekker: what rounding took
 * away is itself a number that the same precision holds, so it can be computed. While MXCSR.PE is not set yet this tells results that
 * leave it alone from the first that sets it.
 */
import type { Code, I32, LV, V128 } from '../../engine/wasm-emitter.ts';
import { type Kind, isDouble, isScalar } from './ordinary.ts';

export type Transformable = 'add' | 'sub' | 'mul';
/** WebAssembly opcodes of f32x4 and f64x2. */
const ABS = [0xe0, 0xec], ADD = [0xe4, 0xf0], SUB = [0xe5, 0xf1], MUL = [0xe6, 0xf2], NE = [0x42, 0x48], LT = [0x43, 0x49];
const V_AND = 0x4e, V_OR = 0x50, ANY_TRUE = 0x53;
/** 2^27 + 1 and 2^12 + 1, which split a significand in halves; and what a product's error cannot fall below: 2^-960, 2^-100. */
const SPLITTER = { 4: 0x4580_0800n, 8: 0x41a0_0000_0200_0000n } as const;
const SMALL = { 4: 0x0d80_0000n, 8: 0x03f0_0000_0000_0000n } as const;

/** Whether r, an ordinary number or 0 in the lanes of its kind, may be other than a op b exactly. Of products, some that are exact are not told. */
export function maybeRounded(c: Code, k: Kind, op: Transformable, a: LV, b: LV, r: LV): I32 {
  const f = (opcodes: readonly number[], x: V128, y: V128): V128 => c.opV(opcodes[isDouble(k) ? 1 : 0]!, x, y);
  const g = (l: LV): V128 => c.get(l);
  const all = (n: { readonly 4: bigint; readonly 8: bigint }): V128 => {
    const bits = isDouble(k) ? n[8] : n[4] * 0x1_0000_0001n;
    return c.constV(bits, bits);
  };
  const zero = (): V128 => c.constV(0n, 0n);
  let doubtful: V128;
  if (op === 'mul') {
    const split = (v: LV): { readonly high: LV; readonly low: LV } => {
      const scaled = c.keepV(f(MUL, g(v), all(SPLITTER)));
      const high = c.keepV(f(SUB, g(scaled), f(SUB, g(scaled), g(v))));
      return { high, low: c.keepV(f(SUB, g(v), g(high))) };
    };
    const x = split(a), y = split(b);
    const error = c.keepV(f(SUB, f(MUL, g(x.high), g(y.high)), g(r)));
    c.set(error, f(ADD, g(error), f(MUL, g(x.high), g(y.low))));
    c.set(error, f(ADD, g(error), f(MUL, g(x.low), g(y.high))));
    c.set(error, f(ADD, g(error), f(MUL, g(x.low), g(y.low))));
    const tiny = () => c.opV(V_AND, f(LT, c.opV(ABS[isDouble(k) ? 1 : 0]!, g(r)), all(SMALL)), f(NE, g(r), zero()));
    doubtful = c.opV(V_OR, f(NE, g(error), zero()), tiny());
  } else {
    // Of r what is not a's, and what that leaves of a and of b.
    const rest = c.keepV(f(SUB, g(r), g(a)));
    const ofA = c.keepV(f(SUB, g(a), f(SUB, g(r), g(rest))));
    const ofB = c.keepV(f(SUB, op === 'add' ? g(b) : f(SUB, zero(), g(b)), g(rest)));
    doubtful = f(NE, f(ADD, g(ofA), g(ofB)), zero());
  }
  if (!isScalar(k)) return c.opV32(ANY_TRUE, doubtful);
  return isDouble(k) ? c.wrap(c.lane64(0, doubtful)) : c.opLane32(0x1b, 0, doubtful);
}
