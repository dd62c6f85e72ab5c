/** Code that is written over waits longer for its next region, unless its frame was freed meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';

const CODE = 0x1000, THRESHOLD = 100;

/** Writes a loop to CODE and runs it until it has a region: how often it was entered. */
function entriesUntilRegion(m: BareMachine): number {
  const { hot } = m.engine.code;
  const before = hot.regions;
  // again: inc eax; jmp again
  m.poke(CODE, 'ff c0 eb fc');
  m.cpu.rip = BigInt(CODE);
  m.cpu.gpr[0] = 0n;
  while (hot.regions === before) m.run(2, 2);
  return Number(m.cpu.gpr[0]);
}

function machine(): BareMachine {
  const m = new BareMachine(8 << 20);
  m.longMode(CODE);
  m.engine.code.hot.threshold = THRESHOLD;
  return m;
}

test('each time that code with a region is written over, the next one there waits twice as long', () => {
  const m = machine();
  const entries = Array.from({ length: 4 }, () => entriesUntilRegion(m));
  for (const [i, n] of entries.entries()) assert.ok(Math.abs(n - THRESHOLD * 2 ** i) <= 2, entries.join(' '));
});

test('the next owner of a freed frame waits no longer than the first', () => {
  const m = machine();
  const entries = Array.from({ length: 4 }, () => {
    m.engine.code.forget(CODE);
    return entriesUntilRegion(m);
  });
  assert.ok(entries.every((n) => Math.abs(n - THRESHOLD) <= 2), entries.join(' '));
});
