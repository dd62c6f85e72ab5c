/** Regions of the same code share a function, wherever the code lies, and each page still runs its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';

const PAGES = [0x1000, 0x2000, 0x3000, 0x1_4000];

function machine(): BareMachine {
  const m = new BareMachine(8 << 20);
  m.longMode(PAGES[0]!);
  m.engine.code.hot.threshold = 20;
  return m;
}
/** again: add rax, 3; dec ecx; jnz again; jmp $. */
function sum(m: BareMachine, at: number, turns: number): bigint {
  m.cpu.rip = BigInt(at);
  m.cpu.gpr[0] = 0n;
  m.cpu.gpr[1] = BigInt(turns);
  m.run(3 * turns + 10);
  return m.cpu.gpr[0]!;
}
const LOOP = (step: number): string => `48 83 c0 0${step} ff c9 75 f8 eb fe`;

test('the same loop on several pages is compiled once, and a page that is written over runs its new code alone', () => {
  const m = machine();
  const { code } = m.engine;
  for (const at of PAGES) {
    m.poke(at, LOOP(3));
    assert.equal(sum(m, at, 500), 1500n);
  }
  const { regions } = code.hot, { modules } = code.handlers.regions;
  assert.ok(regions >= PAGES.length && modules * PAGES.length <= regions, `${regions} regions of ${modules} modules`);
  m.poke(PAGES[1]!, LOOP(5));
  assert.equal(sum(m, PAGES[1]!, 500), 2500n);
  for (const at of [PAGES[0]!, PAGES[2]!, PAGES[3]!]) assert.equal(sum(m, at, 500), 1500n);
});

test('code that is written over and back finds its function again, and only so many functions are kept for that', () => {
  const m = machine();
  const { code } = m.engine;
  for (let i = 0; i < 6; i++) {
    m.engine.code.forget(PAGES[0]!);
    m.poke(PAGES[0]!, LOOP(1 + i % 2));
    assert.equal(sum(m, PAGES[0]!, 500), BigInt(500 * (1 + i % 2)));
  }
  assert.ok(code.hot.regions >= 6, String(code.hot.regions));
  assert.ok(code.handlers.regions.modules * 3 <= code.hot.regions, `${code.hot.regions} regions of ${code.handlers.regions.modules} modules`);
  const before = code.handlers.table.length;
  for (let i = 0; i < 400; i++) {
    m.engine.code.forget(PAGES[0]!);
    m.poke(PAGES[0]!, `48 05 ${[i & 0xff, i >> 8, 1, 0].map((b) => b.toString(16).padStart(2, '0')).join(' ')} ff c9 75 f6 eb fe`);
    assert.equal(sum(m, PAGES[0]!, 50), BigInt(50 * (0x1_0000 + i)));
  }
  assert.ok(code.handlers.table.length - before <= 512, `${code.handlers.table.length - before} more`);
});
