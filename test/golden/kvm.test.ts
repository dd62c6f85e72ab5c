/**
 * KVM against the recorded answers of real Linux. expected.json lists every recorded case and run: held, or not yet
 * with the reason. What is held must hold; what holds must be listed as held.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { run } from '../support/boot.ts';
import { type RecordedRun, caseDifference, runDifference } from './compare.ts';
import { type Answers, probe } from './probe/index.ts';
import type { Case } from './probe/recorder.ts';

const json = <T>(name: string): T => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8')) as T;
const { cases } = json<{ cases: Case[] }>('./cases.json');
const { runs } = json<{ runs: RecordedRun[] }>('./runs.json');
interface Expected { readonly held: readonly string[]; readonly notYet: Readonly<Record<string, string>> }
const expected = json<{ cases: Expected; runs: Expected }>('./expected.json');

const answers: Answers = { cases: [], runs: [] };
const recorded = new Set(runs.map((r) => r.id));
const { status } = run({ init: ['-c', 'probe'], programs: [probe(answers, { cases: true, run: (id) => recorded.has(id) })] });

function check<T extends { readonly id: string }>(kind: string, want: readonly T[], got: readonly { readonly id: string }[], { held, notYet }: Expected, difference: (id: string) => string | undefined): void {
  const listed = [...held, ...Object.keys(notYet)];
  assert.deepEqual([...listed].sort(), want.map((x) => x.id).sort(), `expected.json lists each recorded ${kind} once`);
  const broken = held.flatMap((id) => { const d = difference(id); return d === undefined ? [] : [`${id}: ${d}`]; });
  const found = Object.keys(notYet).filter((id) => difference(id) === undefined);
  console.log(`golden ${kind}s: ${held.length - broken.length} of ${want.length} hold, ${Object.keys(notYet).length} not yet; ${got.length} asked`);
  assert.deepEqual(broken, [], `${kind}s that no longer answer as Linux does`);
  assert.deepEqual(found, [], `${kind}s that hold now and belong on the list of held ones`);
}

test('the probe asks every recorded question', () => {
  assert.equal(status, 0);
  const asked = new Set(answers.cases.map((c) => c.id));
  assert.deepEqual(cases.filter((c) => !asked.has(c.id)).map((c) => c.id), []);
  assert.equal(asked.size, answers.cases.length, 'no question is asked twice');
  assert.ok(cases.length === 385 && runs.length === 60);
});

test('KVM answers as recorded Linux does, but for what is listed with its reason', () => {
  const got = new Map(answers.cases.map((c) => [c.id, c]));
  const want = new Map(cases.map((c) => [c.id, c]));
  check('case', cases, answers.cases, expected.cases, (id) => {
    const mine = got.get(id);
    return mine === undefined ? 'was not asked' : caseDifference(mine, want.get(id)!);
  });
});

test('guests exit as recorded on Linux, register by register, but for what is listed with its reason', () => {
  const got = new Map(answers.runs.map((r) => [r.id, r]));
  const want = new Map(runs.map((r) => [r.id, r]));
  check('run', runs, answers.runs, expected.runs, (id) => {
    const mine = got.get(id);
    return mine === undefined ? 'was not run' : runDifference(mine, want.get(id)!);
  });
});
