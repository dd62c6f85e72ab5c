/**
 * One random program in the cold tier, the hot one and a mix of them, with interrupts, NMIs and SMIs between the same
 * instructions: after each stretch everything software can see must be equal, and the clock.
 */
import assert from 'node:assert/strict';
import { ACTIVITY_HLT, STATE } from '../../machine/cpu/state.ts';
import type { BareMachine } from '../../bench/bare-machine.ts';
import { generator } from '../support/random.ts';
import { firstDifference, programMachine, registers } from './program-machine.ts';

/** What there was to compare: regions of the hot machine, interrupts taken, NMIs and SMIs raised, writes to code. */
export interface Comparison { regions: number; interrupts: number; nmis: number; smis: number; invalidated: number }

/** Whether it has come to a triple fault. */
function advance(m: BareMachine, cycles: number, slice: number): boolean {
  try {
    m.run(cycles, slice);
    return false;
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('triple fault')) throw error;
    return true;
  }
}

export function compareTiers(mode: string, seed: number, stretches: number): Comparison {
  const machines = [Infinity, 1, 10].map((threshold) => programMachine(mode, seed, threshold));
  const [cold, hot, mixed] = machines as [BareMachine, BareMachine, BareMachine];
  const random = generator(seed + 99), other = generator(seed ^ 0x1234_5678);
  const sum: Comparison = { regions: 0, interrupts: 0, nmis: 0, smis: 0, invalidated: 0 };
  const { acknowledge } = cold.cpu.bus;
  cold.cpu.bus.acknowledge = (cpu) => {
    sum.interrupts++;
    return acknowledge(cpu);
  };
  for (let i = 0; i < stretches; i++) {
    const cycles = random(4) === 0 ? 1 + random(8) : 1 + random(random(3) === 0 ? 3000 : 300);
    if (other(4) === 0) mixed.engine.code.hot.threshold = [1, 3, 20, Infinity][other(4)]!;
    const slices = [10_000, 10_000, 1 + other(other(2) ? 50 : 1000)];
    const ended = machines.map((m, k) => advance(m, cycles, slices[k]!));
    const expected = registers(cold);
    for (const m of [hot, mixed]) {
      assert.equal(registers(m), expected, `${mode}, program ${seed}, stretch ${i}`);
      const at = firstDifference(cold, m);
      assert.ok(at < 0, `${mode}, program ${seed}, stretch ${i}: memory differs at ${at.toString(16)}`);
    }
    assert.equal(new Set(ended).size, 1);
    if (ended[0]) break;
    const halted = cold.cpu.u32[STATE.activity >>> 2] === ACTIVITY_HLT;
    const event = random(8);
    if (event < 3 || halted) {
      const vector = 0x20 + random(16);
      for (const m of machines) m.interrupt(vector);
    }
    if (event === 3 || halted) {
      sum.nmis++;
      for (const m of machines) m.nmi();
    }
    if (event === 4) {
      sum.smis++;
      for (const m of machines) m.smi();
    }
  }
  sum.regions = hot.engine.code.hot.regions;
  sum.invalidated = hot.engine.code.invalidated;
  return sum;
}
