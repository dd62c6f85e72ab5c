/** MMX registers in the x87 stack; what single instructions compute is in test/silicon. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { mmxTable } from '../../machine/cpu/x87/mmx-table.ts';
import { x87 } from '../../machine/cpu/x87/stack.ts';
import { make } from '../../machine/cpu/x87/float80.ts';
import { TestCpu, enterLong } from './support.ts';

const decoder = new Decoder(buildMaps(mmxTable));
function run(t: TestCpu, bytes: Uint8Array): void {
  const insn = decoder.decode(bytes, 0, bytes.length, 8);
  assert.ok(insn && insn.length === bytes.length && 'exec' in insn.row.meaning, Buffer.from(bytes).toString('hex'));
  insn.row.meaning.exec(t.cpu, insn);
}
test('an MMX instruction makes the x87 stack a register file, whatever its top, and EMMS empties it', () => {
  const t = new TestCpu();
  enterLong(t);
  const f = x87(t.cpu);
  f.control = 0x37f;
  for (let i = 0; i < 3; i++) f.push(make(0, 0x3fff, (1n << 63n) + BigInt(i)));
  // The pushes went to the physical registers 7, 6 and 5.
  run(t, Uint8Array.of(0x0f, 0x6f, 0xc7));
  assert.deepEqual([f.top, f.tags, f.get(0).mantissa, f.get(5).mantissa], [0, 0xff, 1n << 63n, (1n << 63n) + 2n]);
  assert.deepEqual([f.get(0).exponent, f.get(0).sign], [0x7fff, 1]);
  run(t, Uint8Array.of(0x0f, 0x77));
  assert.equal(f.tags, 0);
});
