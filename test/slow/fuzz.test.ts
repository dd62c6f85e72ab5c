/**
 * The long form of test/engine/fuzz.test.ts. SEED (default 2) and INSTRUCTIONS (default 3,000,000 in each mode and tier) in the
 * environment choose another run; a failure's test name says which seed and mode to repeat.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modeNames, noise } from '../engine/noise.ts';

const seed = Number(process.env['SEED'] ?? 2);
const instructions = Number(process.env['INSTRUCTIONS'] ?? 3_000_000);
const PART = 100_000;

for (const mode of modeNames) {
  for (let part = 0; part * PART < instructions; part++) {
    const partSeed = seed * 1_000_003 + part;
    test(`random programs of seed ${partSeed} in ${mode} leave the engine whole, and both tiers in the same state`, () => {
      const cold = noise(mode, partSeed, PART, Infinity);
      assert.deepEqual(noise(mode, partSeed, PART, 1 + part % 40), cold);
    });
  }
}
