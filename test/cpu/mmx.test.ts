/** MMX against what a processor answered (test/recorder/mmx-vectors.c, on an Intel Xeon). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
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
const hex64 = (n: bigint) => n.toString(16).padStart(16, '0');

test('every form leaves in MMX, XMM and general registers what silicon left', () => {
  const t = new TestCpu();
  enterLong(t);
  const { cpu } = t;
  const { st, xmm } = cpu.state.fpu;
  const lines = readFileSync(process.env['MMX_VECTORS'] ?? new URL('../golden/mmx-vectors.txt', import.meta.url).pathname, 'utf8').trim().split('\n');
  assert.ok(lines.length >= 500);
  const wrong: string[] = [];
  for (const line of lines) {
    const [form, a, b, ...want] = line.split(' ') as [string, string, string, ...string[]];
    const [x, y] = [BigInt(`0x${a}`), BigInt(`0x${b}`)];
    cpu.state.fpu.fsw = 0;
    cpu.state.fpu.mxcsr = 0x1f80;
    st.set(0, x);
    st.set(2, y);
    [x, y, y, x].forEach((value, i) => { xmm.set(i, value); });
    cpu.gpr[0] = x;
    cpu.gpr[1] = y;
    run(t, Buffer.from(form, 'hex'));
    const got = [st.get(0), xmm.get(1), xmm.get(0), cpu.gpr[0]!].map(hex64).join(' ');
    if (got !== want.join(' ')) wrong.push(`${line}\n    got ${got}`);
  }
  assert.equal(wrong.length, 0, `${wrong.length} of ${lines.length} differ:\n${wrong.slice(0, 12).join('\n')}`);
});

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
