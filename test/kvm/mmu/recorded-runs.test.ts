/** Guests that real Linux ran, and all others of the probe that have protection, with EPT and with shadow paging. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type RecordedRun, runDifference } from '../../golden/compare.ts';
import { guests } from '../../golden/probe/guests-table.ts';
import { type Answers, probe } from '../../golden/probe/index.ts';
import { run } from '../../support/boot.ts';

const { runs } = JSON.parse(readFileSync(new URL('../../golden/runs.json', import.meta.url), 'utf8')) as { runs: RecordedRun[] };
const wanted = new Set(guests.filter(([, mode, , about]) => mode !== 'real16' && !about.includes('(host)')).map(([id]) => id));

function answersOf(parameters: string): Answers['runs'] {
  const answers: Answers = { cases: [], runs: [] };
  const { status } = run({ init: ['-c', `rmmod kvm_intel; modprobe kvm_intel ${parameters}; probe`], programs: [probe(answers, { cases: false, run: (id) => wanted.has(id) })] });
  assert.equal(status, 0);
  return answers.runs;
}

test('with shadow paging guests exit as recorded on Linux, register by register, and as with EPT where nothing is recorded', () => {
  const shadow = answersOf('ept=0');
  const ept = new Map(answersOf('ept=1').map((r) => [r.id, r]));
  const recorded = new Map(runs.map((r) => [r.id, r]));
  assert.equal(shadow.length, wanted.size);
  assert.ok(shadow.filter((r) => recorded.has(r.id)).length >= 10);
  const wrong = shadow.flatMap((mine) => {
    const linux = recorded.get(mine.id);
    const difference = linux !== undefined ? runDifference(mine, linux) : JSON.stringify(mine) === JSON.stringify(ept.get(mine.id)) ? undefined : `not as with EPT: ${JSON.stringify(mine)} and ${JSON.stringify(ept.get(mine.id))}`;
    return difference === undefined ? [] : [`${mine.id}: ${difference}`];
  });
  assert.deepEqual(wrong, []);
});
