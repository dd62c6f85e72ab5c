/**
 * The long form of test/engine/tiers.test.ts: PROGRAMS (default 60) random programs in each mode from SEED (default 1) on, each for
 * STRETCHES (default 200) of instructions with an event behind each.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modeNames } from '../engine/program-machine.ts';
import { compareTiers } from '../engine/tiers.ts';

const first = Number(process.env['SEED'] ?? 1), programs = Number(process.env['PROGRAMS'] ?? 60), stretches = Number(process.env['STRETCHES'] ?? 200);

for (const mode of modeNames) {
  for (let seed = first; seed < first + programs; seed += 10) {
    const last = Math.min(seed + 10, first + programs) - 1;
    test(`cold code, hot code and any mix of them pass through the same states in ${mode}, programs ${seed} to ${last}`, () => {
      let interrupts = 0;
      for (let s = seed; s <= last; s++) interrupts += compareTiers(mode, s, stretches).interrupts;
      assert.ok(interrupts > 0);
    });
  }
}
