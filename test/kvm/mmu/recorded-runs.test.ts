/** The guests real Linux ran, and others of the probe, without EPT and without a processor that runs real mode by itself. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type RecordedRun, runDifference } from '../../golden/compare.ts';
import { guests } from '../../golden/probe/guests-table.ts';
import { type Answers, probe } from '../../golden/probe/index.ts';
import { run } from '../../support/boot.ts';

const { runs } = JSON.parse(readFileSync(new URL('../../golden/runs.json', import.meta.url), 'utf8')) as { runs: RecordedRun[] };
const recorded = new Map(runs.map((r) => [r.id, r]));
/** What nobody recorded is compared with EPT; the processor's own features, and real mode's odd corners, are not. */
const wanted = new Set(guests.filter(([id, mode, , about]) => (recorded.has(id) || (mode !== 'real16' && !about.includes('(host)')))).map(([id]) => id));

function answersOf(parameters: string): Answers['runs'] {
  const answers: Answers = { cases: [], runs: [] };
  const { status } = run({ init: ['-c', `rmmod kvm_intel; modprobe kvm_intel ${parameters}; probe`], programs: [probe(answers, { cases: false, run: (id) => wanted.has(id) })] });
  assert.equal(status, 0);
  assert.equal(answers.runs.length, wanted.size);
  return answers.runs;
}
const ept = new Map(answersOf('ept=1').map((r) => [r.id, r]));

for (const parameters of ['ept=0', 'unrestricted_guest=0']) {
  test(`with ${parameters} guests of every mode exit as recorded on Linux, register by register, and as with EPT where nothing is recorded`, () => {
    const wrong = answersOf(parameters).flatMap((mine) => {
      const linux = recorded.get(mine.id);
      const difference = linux !== undefined ? runDifference(mine, linux) : JSON.stringify(mine) === JSON.stringify(ept.get(mine.id)) ? undefined : `not as with EPT: ${JSON.stringify(mine)} and ${JSON.stringify(ept.get(mine.id))}`;
      return difference === undefined ? [] : [`${mine.id}: ${difference}`];
    });
    assert.deepEqual(wrong, []);
  });
}
