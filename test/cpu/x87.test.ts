/** x87 arithmetic against what a processor answered (test/recorder/x87-vectors.c, on an Intel Xeon), operand by operand. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
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

/** Each with [EAX] as its memory operand, if any; `store` says how many bytes it leaves there. */
const OPERATIONS: Record<string, { bytes: number[]; store?: number }> = {
  fadd: { bytes: [0xd8, 0xc1] }, fmul: { bytes: [0xd8, 0xc9] }, fsub: { bytes: [0xd8, 0xe1] }, fsubr: { bytes: [0xd8, 0xe9] }, fdiv: { bytes: [0xd8, 0xf1] }, fdivr: { bytes: [0xd8, 0xf9] },
  fsqrt: { bytes: [0xd9, 0xfa] }, frndint: { bytes: [0xd9, 0xfc] }, fscale: { bytes: [0xd9, 0xfd] }, fprem: { bytes: [0xd9, 0xf8] }, fprem1: { bytes: [0xd9, 0xf5] }, fxtract: { bytes: [0xd9, 0xf4] },
  fcom: { bytes: [0xd8, 0xd1] }, fucom: { bytes: [0xdd, 0xe1] }, fxam: { bytes: [0xd9, 0xe5] }, ftst: { bytes: [0xd9, 0xe4] },
  fst32: { bytes: [0xd9, 0x10], store: 4 }, fst64: { bytes: [0xdd, 0x10], store: 8 }, fistp16: { bytes: [0xdf, 0x18], store: 2 }, fistp32: { bytes: [0xdb, 0x18], store: 4 },
  fistp64: { bytes: [0xdf, 0x38], store: 8 }, fbstp: { bytes: [0xdf, 0x30], store: 10 }, fabs: { bytes: [0xd9, 0xe1] }, fchs: { bytes: [0xd9, 0xe0] },
};
const AT = 0x5000;

function answer(t: TestCpu, name: string, control: number, a: string, b: string): string {
  const f = x87(t.cpu);
  const { bytes, store } = OPERATIONS[name]!;
  run(t, 0xdb, 0xe3);
  f.control = control;
  for (const text of [b, a]) {
    const head = Number.parseInt(text.slice(0, 4), 16);
    f.push(make(head >> 15, head & 0x7fff, BigInt(`0x${text.slice(4)}`)));
  }
  run(t, ...bytes);
  const status = f.status.toString(16).padStart(4, '0');
  if (store) {
    const stored = Array.from({ length: store }, (_, i) => t.mem.u8[t.cpu.ram + AT + store - 1 - i]!.toString(16).padStart(2, '0')).join('');
    return `${stored} ${status}`;
  }
  const r = f.get(0);
  return `${(r.sign << 15 | r.exponent).toString(16).padStart(4, '0')}${r.mantissa.toString(16).padStart(16, '0')} ${status}`;
}

test('every operation gives the bits and the status word that silicon gave', () => {
  const t = new TestCpu();
  enterProtected(t);
  t.cpu.gpr[0] = BigInt(AT);
  const path = process.env['X87_VECTORS'] ?? new URL('../golden/x87-vectors.txt', import.meta.url).pathname;
  assert.ok(existsSync(path));
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  assert.ok(lines.length >= 1000);
  const wrong: string[] = [];
  const seen = new Set<string>();
  for (const line of lines) {
    const [name, control, a, b, result, status] = line.split(' ') as [string, string, string, string, string, string];
    seen.add(name);
    const got = answer(t, name, Number.parseInt(control, 16), a, b);
    if (got !== `${result} ${status}`) wrong.push(`${line}\n    got ${got}`);
  }
  assert.deepEqual([...seen].sort(), Object.keys(OPERATIONS).sort());
  assert.equal(wrong.length, 0, `${wrong.length} of ${lines.length} differ:\n${wrong.slice(0, 20).join('\n')}`);
});

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
