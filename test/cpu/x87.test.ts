/** The x87 stack, pending exceptions and the saved state; what single instructions compute is in test/silicon. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MF_VECTOR } from '../../machine/cpu/exceptions.ts';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { x87Table } from '../../machine/cpu/x87/x87-table.ts';
import { x87 } from '../../machine/cpu/x87/stack.ts';
import { make } from '../../machine/cpu/x87/float80.ts';
import { TestCpu, enterProtected } from './support.ts';

const decoder = new Decoder(buildMaps(x87Table));
function run(t: TestCpu, ...bytes: number[]): void {
  const insn = decoder.decode(Uint8Array.from(bytes), 0, bytes.length, 4);
  assert.ok(insn && insn.length === bytes.length && 'exec' in insn.row.meaning, bytes.map((b) => b.toString(16)).join(' '));
  insn.row.meaning.exec(t.cpu, insn);
}

const AT = 0x5000;

test('an unmasked exception waits for the next waiting instruction, and FNCLEX forgets it', () => {
  const t = new TestCpu();
  enterProtected(t);
  t.cpu.state.cr0 |= 0x20n;
  const f = x87(t.cpu);
  run(t, 0xdb, 0xe3);
  f.control = 0x37b;
  run(t, 0xd9, 0xe8);
  run(t, 0xd9, 0xee);
  run(t, 0xde, 0xf9);
  assert.equal(f.status & 0x80, 0x80);
  assert.throws(() => run(t, 0xd9, 0xe8), (e: { vector?: number }) => e.vector === MF_VECTOR);
  run(t, 0xdb, 0xe2);
  run(t, 0xd9, 0xe8);
});

test('the ninth push overflows the stack and leaves the indefinite value', () => {
  const t = new TestCpu();
  enterProtected(t);
  const f = x87(t.cpu);
  run(t, 0xdb, 0xe3);
  for (let i = 0; i < 9; i++) run(t, 0xd9, 0xe8);
  assert.equal(f.status & 0x241, 0x241);
  assert.deepEqual(f.get(0), make(1, 0x7fff, 0xc000_0000_0000_0000n));
});

test('FNSAVE and FRSTOR carry registers and tags', () => {
  const t = new TestCpu();
  enterProtected(t);
  t.cpu.gpr[0] = BigInt(AT);
  const f = x87(t.cpu);
  run(t, 0xdb, 0xe3);
  run(t, 0xd9, 0xeb);
  run(t, 0xd9, 0xe8);
  const before = [f.get(0), f.get(1), f.tags, f.top];
  run(t, 0xdd, 0x30);
  assert.deepEqual([f.tags, f.top], [0, 0]);
  assert.equal(t.read32(AT + 8), 0xffff_0fff, 'the full tag word: 6 and 7 valid');
  run(t, 0xdd, 0x20);
  assert.deepEqual([f.get(0), f.get(1), f.tags, f.top], before);
});
