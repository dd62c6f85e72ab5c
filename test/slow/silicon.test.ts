/** All committed vectors of what instructions do on silicon, in both tiers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inexact } from '../silicon/inexact.ts';
import { MachineUnderTest } from '../silicon/machine.ts';
import { ENCODINGS, GROUPS, STATES, formsOf, readVectors } from '../silicon/vectors.ts';
import { type Verdict, verify } from '../silicon/verify.ts';

for (const group of GROUPS) {
  test(`the ${group} instructions do what silicon did, in both tiers`, () => {
    const vectors = readVectors(group);
    const verdict: Verdict = { compared: 0, wrong: [] };
    const tiers = [new MachineUnderTest(false), new MachineUnderTest(true)];
    for (const form of formsOf(group)) {
      if (inexact(form.row) !== undefined) continue;
      for (let n = 0; n < ENCODINGS; n++) verify(form, vectors.get(form.key)!, n, STATES, tiers, verdict);
    }
    assert.equal(verdict.wrong.length, 0, `${verdict.wrong.length} of ${verdict.compared} differ:\n${verdict.wrong.slice(0, 20).join('\n')}`);
    assert.ok(verdict.compared > 0, `${verdict.compared}`);
  });
}
