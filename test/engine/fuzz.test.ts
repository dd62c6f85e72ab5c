/** Nothing that machine code does may hurt the engine: random bytes, and each row of the table in each mode. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { ACTIVITY_ACTIVE, STATE } from '../../machine/cpu/state.ts';
import { writeFlags } from '../../machine/engine/flags.ts';
import { STOP_FAULT } from '../../machine/engine/stop.ts';

const CODE = 0x3000;
const enter = {
  'real mode': (m: BareMachine) => m.realMode(CODE),
  'protected mode': (m: BareMachine) => m.protectedMode(CODE),
  'long mode': (m: BareMachine) => m.longMode(CODE),
} as const;

for (const [mode, start] of Object.entries(enter)) {
  test(`random bytes in ${mode} end in a fault, a halt or the end of the run`, () => {
    const m = new BareMachine(4 << 20);
    let seed = 77;
    const random = () => (seed = Math.imul(seed, 1664525) + 1013904223 | 0) >>> 0;
    const vectors = new Set<number>();
    let ran = 0;
    for (let n = 0; n < 1500; n++) {
      for (let i = 0; i < 64; i++) m.ram.mem.u8[m.ram.base + CODE + i] = random() >>> 24;
      // Half of them begin with a two-byte opcode, a prefix or both.
      if (n & 1) m.ram.mem.u8[m.ram.base + CODE] = 0x0f;
      if (n & 2) m.ram.mem.u8.set([[0x66, 0x67, 0xf2, 0xf3, 0x48][random() % 5]!, 0x0f], m.ram.base + CODE);
      m.engine.code.written(CODE, 64);
      for (let r = 0; r < 16; r++) m.cpu.gpr[r] = BigInt(0x4000 + random() % 0x8000);
      writeFlags(m.cpu, 2);
      start(m);
      m.cpu.u32[STATE.activity >>> 2] = ACTIVITY_ACTIVE;
      m.cpu.pending = 0;
      const before = m.cpu.state.retired;
      if (m.engine.run(m.cpu, 40) === STOP_FAULT) vectors.add(m.engine.fault!.vector);
      ran += Number(m.cpu.state.retired - before);
    }
    assert.ok(ran > 1500 && vectors.has(6) && vectors.has(13), `${ran} instructions, vectors ${[...vectors]}`);
  });
}
