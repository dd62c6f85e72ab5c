/** Pages of code are walked once, and again when the processor has been told that their translations are void. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { STOP_FAULT } from '../../machine/engine/stop.ts';

const TABLES = 0x10_0000, PAGE_TABLE = TABLES + 0x3000, CODE = 0x4000;

/** 64-bit code at 0x4000, which 4 KiB pages map to itself; entry n of the page table is at PAGE_TABLE + 8 n. */
function machine(code: string): BareMachine {
  const m = new BareMachine(4 << 20);
  m.longMode(CODE, TABLES);
  const { u64 } = m.ram.mem;
  for (let i = 0; i < 512; i++) u64[(m.ram.base + PAGE_TABLE) / 8 + i] = BigInt(i * 4096 + 7);
  u64[(m.ram.base + TABLES + 0x2000) / 8] = BigInt(PAGE_TABLE + 7);
  m.cpu.engine.flushTlb(m.cpu, true);
  m.cpu.gpr[4] = 0x8000n;
  m.poke(CODE, code);
  return m;
}
const entryOf = (page: number): string => [0, 8, 16, 24].map((shift) => ((PAGE_TABLE + 8 * page) >>> shift & 0xff).toString(16).padStart(2, '0')).join('');

test('after INVLPG code is fetched from where its page lies now', () => {
  // call 5000h; mov byte [entry 5 + 1], 60h; invlpg [5000h]; call 5000h; hlt. At 5000h: inc eax; ret. At 6000h: add eax, 16; ret
  const m = machine(`e8fb0f0000 c60425${entryOf(5).replace(/^../, (low) => (Number.parseInt(low, 16) + 1).toString(16).padStart(2, '0'))}60 0f013c2500500000 e8e60f0000 f4`);
  m.poke(0x5000, 'ffc0 c3');
  m.poke(0x6000, '83c010 c3');
  m.cpu.gpr[0] = 0n;
  m.run(100);
  assert.equal(m.cpu.gpr[0], 17n);
});

test('a page that has lost its entry faults after a load of CR3, and not before', () => {
  // call 5000h; and byte [entry 5], 0; call 5000h; mov rax, cr3; mov cr3, rax; call 5000h
  const m = machine(`e8fb0f0000 802425${entryOf(5)}00 e8ee0f0000 0f20d8 0f22d8 e8e30f0000 f4`);
  m.poke(0x5000, 'ffc3 c3');
  m.cpu.gpr[3] = 0n;
  assert.equal(m.engine.run(m.cpu, 100), STOP_FAULT);
  assert.equal(m.cpu.gpr[3], 2n);
  assert.deepEqual([m.engine.fault?.vector, m.engine.fault?.error, m.engine.fault?.address], [14, 0x10, 0x5000]);
});
