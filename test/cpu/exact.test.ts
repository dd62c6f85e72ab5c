/** The error-free transformations against whole numbers of any length. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Transformable, maybeRounded } from '../../machine/cpu/opcodes/exact.ts';
import { WasmModule, i32 } from '../../machine/engine/wasm-emitter.ts';
import { generator } from '../support/random.ts';

const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
const f64 = new Float64Array(memory.buffer), f32 = new Float32Array(memory.buffer), u32 = new Uint32Array(memory.buffer);

/** (0) -> whether the number at 32 may be other than that at 0 op that at 16. */
function asked(kind: 'sd' | 'ss', op: Transformable): () => number {
  const module = new WasmModule(1);
  module.function('f', [i32], [i32], (c) => {
    const at = c.param(0, i32);
    maybeRounded(c, kind, op, c.keepV(c.loadV(c.get(at))), c.keepV(c.loadV(c.get(at), 16)), c.keepV(c.loadV(c.get(at), 32)));
  });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { e: { memory } });
  return () => (exports['f'] as (at: number) => number)(0);
}
const calculate = (op: Transformable, a: number, b: number): number => op === 'add' ? a + b : op === 'sub' ? a - b : a * b;
/** In units of 2^-1100; of products, of 2^-2200. */
function units(v: number): bigint {
  const bits = new BigUint64Array(new Float64Array([v]).buffer)[0]!;
  const exponent = Number(bits >> 52n & 0x7ffn);
  const m = (bits & 0xf_ffff_ffff_ffffn | (exponent ? 1n << 52n : 0n)) << BigInt(Math.max(exponent, 1) - 1075 + 1100);
  return v < 0 ? -m : m;
}
const isExact = (op: Transformable, a: number, b: number, r: number): boolean => op === 'mul' ? units(a) * units(b) === units(r) << 1100n
  : (op === 'add' ? units(a) + units(b) : units(a) - units(b)) === units(r);

for (const [kind, low, round] of [['sd', 1e-280, (v: number) => v], ['ss', 1e-28, Math.fround]] as const) {
  test(`no rounded ${kind === 'sd' ? 'double' : 'single'} is taken for exact, and none but tiny products the other way around`, () => {
    const random = generator(5);
    const told = { exact: 0, rounded: 0 };
    const number = (): number => {
      const v = (random(1 << 20) - (1 << 19)) * 2 ** (random(40) - 20) + (random(3) === 0 ? (random(1 << 26) - (1 << 25)) * 2 ** (random(120) - 100) : 0);
      return round(random(8) === 0 ? v * 2 ** (kind === 'sd' ? random(1200) - 700 : random(100) - 60) : v);
    };
    for (const op of ['add', 'sub', 'mul'] as const) {
      const ask = asked(kind, op);
      for (let i = 0; i < 1500; i++) {
        const a = number(), b = random(16) === 0 ? a : number(), r = round(calculate(op, a, b));
        if (!Number.isFinite(r) || Math.abs(r) > (kind === 'sd' ? 1e300 : 1e36) || r !== 0 && Math.abs(r) < (kind === 'sd' ? 1e-307 : 1e-37) || r === 0 && op === 'mul' && a !== 0 && b !== 0) continue;
        u32.fill(0, 0, 12);
        if (kind === 'sd') [f64[0], f64[2], f64[4]] = [a, b, r]; else [f32[0], f32[4], f32[8]] = [a, b, r];
        const exact = isExact(op, a, b, r);
        const said = ask() === 0;
        if (said) assert.ok(exact, `${a} ${op} ${b} is rounded`);
        else assert.ok(!exact || op === 'mul' && Math.abs(r) < low, `${a} ${op} ${b} is exact`);
        told[exact ? 'exact' : 'rounded']++;
      }
    }
    assert.ok(told.exact > 500 && told.rounded > 500, JSON.stringify(told));
  });
}
