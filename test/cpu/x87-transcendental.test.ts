/** The transcendental functions of the x87 against silicon's, which promises an error below one unit in the last place. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Float80, make } from '../../machine/cpu/x87/float80.ts';
import { x87 } from '../../machine/cpu/x87/stack.ts';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { x87Table } from '../../machine/cpu/x87/x87-table.ts';
import { TestCpu, enterProtected } from './support.ts';

const decoder = new Decoder(buildMaps(x87Table));
function run(t: TestCpu, ...bytes: number[]): void {
  const insn = decoder.decode(Uint8Array.from(bytes), 0, bytes.length, 4)!;
  if ('exec' in insn.row.meaning) insn.row.meaning.exec(t.cpu, insn);
}

const CODE: Readonly<Record<string, readonly number[]>> = {
  fsin: [0xd9, 0xfe], fcos: [0xd9, 0xff], fptan: [0xd9, 0xf2, 0xdd, 0xd8], fpatan: [0xd9, 0xf3], f2xm1: [0xd9, 0xf0], fyl2x: [0xd9, 0xf1], fyl2xp1: [0xd9, 0xf9],
};
/** Of 100 results, how many differ in the last bit at most (docs/processor.md has the counts of 100,000). */
const DIFFERENT: Readonly<Record<string, number>> = { fsin: 4, fcos: 4, fptan: 8, fpatan: 5, f2xm1: 12, fyl2x: 10, fyl2xp1: 16 };

const parse = (text: string): Float80 => {
  const head = Number.parseInt(text.slice(0, 4), 16);
  return make(head >> 15, head & 0x7fff, BigInt(`0x${text.slice(4)}`));
};
/** Place among the numbers of its sign. */
const place = (a: Float80): bigint => (BigInt(a.exponent) << 63n) + (a.mantissa & (1n << 63n) - 1n);

const lines = readFileSync(new URL('../golden/x87-transcendental.txt', import.meta.url), 'utf8').trim().split('\n').map((line) => line.split(' '));
for (const [name, bytes] of Object.entries(CODE)) {
  test(`${name} is within one unit in the last place of silicon, and mostly the same`, () => {
    const t = new TestCpu();
    enterProtected(t);
    const f = x87(t.cpu);
    const mine = lines.filter((line) => line[0] === name);
    assert.ok(mine.length >= 200);
    let different = 0;
    for (const [, control, a, b, want, status] of mine as [string, string, string, string, string, string][]) {
      run(t, 0xdb, 0xe3);
      f.control = Number.parseInt(control, 16);
      if (b !== '00000000000000000000') f.push(parse(b));
      f.push(parse(a));
      for (let i = 0; i < bytes.length; i += 2) run(t, bytes[i]!, bytes[i + 1]!);
      const r = f.get(0), w = parse(want);
      const apart = place(r) - place(w);
      assert.ok(r.sign === w.sign && apart >= -1n && apart <= 1n, `${name} ${control} ${a} ${b}: ${r.exponent.toString(16)} ${r.mantissa.toString(16)}, not ${want}`);
      assert.equal(f.status & 0x3f, Number.parseInt(status, 16), `${name} ${control} ${a} ${b}: exceptions`);
      if (apart !== 0n) different++;
    }
    assert.ok(different <= DIFFERENT[name]! * mine.length / 100, `${different} of ${mine.length}`);
  });
}

test('an angle is reduced by a π of 66 bits, as silicon does', () => {
  const t = new TestCpu();
  enterProtected(t);
  const f = x87(t.cpu);
  run(t, 0xdb, 0xe3);
  run(t, 0xd9, 0xeb);
  run(t, 0xd9, 0xfe);
  // π as FLDPI loads it is greater than that π by a quarter of its last bit, 2^-64: the sine is exactly so much.
  assert.deepEqual(f.get(0), make(1, 16383 - 64, 0x8000_0000_0000_0000n));
});
