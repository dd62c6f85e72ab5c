/** Nothing that machine code does may hurt the engine: random programs in every mode, in both tiers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modeNames, noise } from './noise.ts';

const INSTRUCTIONS = 300_000;

for (const mode of modeNames) {
  test(`${INSTRUCTIONS} instructions of random programs in ${mode} leave the engine whole, and both tiers in the same state`, () => {
    const cold = noise(mode, 1, INSTRUCTIONS, Infinity);
    const hot = noise(mode, 1, INSTRUCTIONS, 20);
    console.log(`${mode}: ${cold.programs} programs, ${cold.tripleFaults} triple faults, ${cold.halts} halts`);
    assert.ok(cold.programs > cold.tripleFaults + cold.halts, 'some ran on to the end');
    assert.deepEqual(hot, cold);
  });
}
