/** The count of a shift is masked by the width of what is shifted, in both tiers: a byte's to five bits, REX.W or not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { readFlags, writeFlags } from '../../machine/engine/flags.ts';

const CODE = 0x20_0000, COUNTS = 64;

/** RAX and flags after a comparison of equals and each of these shifts: REX.W? C0/C1 /4, /5, /7, /0 with every count. */
function run(hot: boolean): { results: string[]; regions: number } {
  const m = new BareMachine(16 << 20), results: string[] = [];
  m.engine.code.hot.threshold = hot ? 1 : Infinity;
  m.longMode(CODE);
  const cases: { name: string; from: number }[] = [];
  let at = CODE;
  for (const rex of ['', '48']) for (const opcode of ['c0', 'c1']) for (const modrm of ['e0', 'e8', 'f8', 'c0']) for (let n = 0; n < COUNTS; n++) {
    cases.push({ name: `${rex} ${opcode} ${modrm} ${n}`, from: at });
    at = m.poke(at, `90 90 39 d8 ${rex} ${opcode} ${modrm} ${n.toString(16).padStart(2, '0')} f4`);
  }
  // The second time there is a region.
  for (const { name, from } of [...cases, ...cases]) {
    m.cpu.rip = BigInt(from);
    m.cpu.gpr[0] = 0x8765_4321_dead_bea1n;
    m.cpu.gpr[3] = 0xdead_bea1n;
    writeFlags(m.cpu, 0x203);
    m.engine.run(m.cpu, 1000);
    results.push(`${name}: ${m.cpu.gpr[0]!.toString(16)} ${readFlags(m.cpu).toString(16)}`);
  }
  return { results, regions: m.engine.code.hot.regions };
}

test('a shift masks its count by the width of its operand, and by 0 leaves the flags alone, in both tiers', () => {
  const cold = run(false), hot = run(true);
  assert.ok(hot.regions > 500, `${hot.regions} regions were made`);
  assert.deepEqual(hot.results, cold.results);
  for (const unchanged of ['48 c0 e8 32', '48 c0 c0 32', ' c0 e8 0', '48 c1 e8 0']) assert.ok(cold.results.includes(`${unchanged}: 87654321deadbea1 246`), unchanged);
});
