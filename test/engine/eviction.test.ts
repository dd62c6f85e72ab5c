/** Translated code that does not fit is dropped all at once, and translated again when it runs again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { RSP } from '../../machine/cpu/state.ts';

const CODE = 0x1000, POOL = 0x20_0000, FUNCTIONS = 600, STRIDE = 64;
const AREA = 192 << 10;

function machine(codeBytes: number | undefined, threshold: number): BareMachine {
  const m = new BareMachine(8 << 20, { pageWalk: 0, nestedPageWalk: 0 }, codeBytes);
  m.engine.code.hot.threshold = threshold;
  m.longMode(CODE);
  // mov ebx,POOL; again: call rbx; add ebx,STRIDE; cmp ebx,end; jb again; jmp start
  m.poke(CODE, `bb 00 00 20 00 ff d3 83 c3 ${STRIDE.toString(16)} 81 fb ${Buffer.from(Uint32Array.of(POOL + FUNCTIONS * STRIDE).buffer).toString('hex')} 72 f3 eb ec`);
  for (let i = 0; i < FUNCTIONS; i++) {
    // add eax,i; then a loop of a few turns: rol eax,3; xor eax,i*7; dec ecx; jnz
    m.poke(POOL + i * STRIDE, `05 ${Buffer.from(Uint32Array.of(i).buffer).toString('hex')} b9 ${(1 + i % 9).toString(16).padStart(2, '0')} 00 00 00 c1 c0 03 35 ${Buffer.from(Uint32Array.of(i * 7).buffer).toString('hex')} ff c9 75 f4 c3`);
  }
  m.cpu.gpr[0] = 1n;
  m.cpu.gpr[RSP] = 0x9000n;
  return m;
}

test('programs with more code than there is room for run as those for which there is enough', () => {
  const wanted = machine(undefined, Infinity);
  const others = [machine(AREA, Infinity), machine(AREA, 7)];
  for (let i = 0; i < 8; i++) {
    wanted.run(7_011, 7_011);
    for (const m of others) {
      m.run(7_011, 7_011);
      assert.deepEqual([m.clock, m.cpu.rip, ...m.cpu.gpr], [wanted.clock, wanted.cpu.rip, ...wanted.cpu.gpr]);
    }
  }
  assert.equal(wanted.engine.code.epoch, 0);
  for (const m of others) assert.ok(m.engine.code.epoch >= 3, `${m.engine.code.epoch} resets`);
  assert.ok(others[1]!.engine.code.hot.regions > 100 && others[1]!.engine.code.hot.dropped > 50);
});
