/** What shows how the engine works: the text of a region's WebAssembly, and the counters. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { guestsFolder } from '../../bench/engine.ts';
import { guestTable, imageOf } from '../../bench/guest-table.ts';
import { wasmText } from '../../cli/wasm-text.ts';
import { engineCounters } from '../../machine/engine/counters.ts';

test('the WebAssembly of every region of the benchmark guests can be read, and each instruction has its place in it', () => {
  let regions = 0;
  for (const row of guestTable(guestsFolder).filter((r) => r.set === 'tiny' && /fib|sha256|matmul|crc/.test(r.kernel))) {
    const m = new BareMachine();
    m.loadElf(imageOf(guestsFolder, row));
    m.engine.code.hot.threshold = 500;
    m.engine.code.hot.onRegion = (_page, plan, module) => {
      const lines = wasmText(module);
      const at = new Set(lines.map((l) => l.at));
      assert.equal(lines.filter((l) => /\b(block|loop|if)\b/.test(l.text)).length, lines.filter((l) => /\bend$/.test(l.text)).length);
      assert.equal(plan.marks.length, plan.order.reduce((n, b) => n + b.insns.length, 0));
      for (const mark of plan.marks) assert.ok(at.has(mark.at), `${row.kernel}: offset ${mark.at} begins an instruction`);
      regions++;
    };
    m.run(20_000_000);
  }
  assert.ok(regions >= 8, `${regions} regions`);
});

test('the counters of the engine say what happened', () => {
  const m = new BareMachine(40 << 20, { pageWalk: 30, nestedPageWalk: 0 });
  m.longMode(0x1000);
  m.engine.code.hot.threshold = 1;
  const read = () => Object.fromEntries(engineCounters(m.engine, [m.cpu])) as Record<string, number>;
  // mov rcx,[rbx]; add ebx,0x1000; and ebx,0x1ffffff; jmp back: each of 8192 pages anew, the TLB has room for 4096.
  m.poke(0x1000, '48 8b 0b 81 c3 00 10 00 00 81 e3 ff ff ff 01 eb ef');
  m.cpu.gpr[3] = 0n;
  m.run(4000 * 34);
  const loop = read();
  assert.equal(loop['tlb_misses'], 4000);
  assert.equal(loop['regions_made'], 1);
  assert.ok(loop['region_bytes']! > 100 && loop['handlers']! >= 4);
  assert.equal(loop['region_exits_jump']! + loop['region_exits_computed']!, 0);
  assert.equal(loop['pages_invalidated'], 0);
  m.poke(0x1000, '90');
  assert.equal(read()['pages_invalidated'], 1);
  assert.equal(read()['regions_dropped'], 1);
});
