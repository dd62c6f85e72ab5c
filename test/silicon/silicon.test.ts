/**
 * What instructions do, against what silicon did: a sample of the committed vectors (all of them: test/slow/silicon.test.ts)
 * in both tiers, and that there are enough of them for every form of the opcode table.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';
import { excluded } from './excluded.ts';
import { forms } from './forms.ts';
import { inexact } from './inexact.ts';
import { MachineUnderTest } from './machine.ts';
import { undefinedFlags, undefinedMask } from './undefined.ts';
import { CASES, ENCODINGS, GROUPS, NO_DIGEST, encodingOf, formsOf, readVectors } from './vectors.ts';
import { type Verdict, verify } from './verify.ts';

for (const group of GROUPS) {
  test(`a sample of the ${group} instructions does what silicon did, in both tiers`, () => {
    const vectors = readVectors(group);
    const verdict: Verdict = { compared: 0, wrong: [] };
    const cold = new MachineUnderTest(false), hot = new MachineUnderTest(true);
    formsOf(group).forEach((form, i) => {
      const digests = vectors.get(form.key);
      if (!digests || inexact(form.row) !== undefined) return;
      verify(form, digests, i % ENCODINGS, 3, [cold, hot], verdict);
      verify(form, digests, (i + 11) % ENCODINGS, 2, [cold, hot], verdict);
    });
    assert.equal(verdict.wrong.length, 0, `${verdict.wrong.length} of ${verdict.compared} differ:\n${verdict.wrong.slice(0, 8).join('\n')}`);
    assert.ok(verdict.compared > 0, `${verdict.compared}`);
    if (group === 'integer') assert.ok(hot.regions > 1000, `${hot.regions} regions were made`);
  });
}

test('each form of each row of the opcode table has 200 vectors, unless the row is excluded with a reason', () => {
  const all = new Map(GROUPS.flatMap((g) => [...readVectors(g)]));
  const rows = new Set(forms.map((f) => f.row));
  for (const row of opcodeTable) assert.ok(rows.has(row) !== (excluded(row) !== undefined), `${row.opcode} ${row.mnemonic}`);
  const few = forms.filter((f) => { const d = all.get(f.key); return !d || d.length < 200 || d.filter((v) => v !== NO_DIGEST).length < 0.9 * CASES; });
  assert.deepEqual(few.map((f) => f.key), [], 'record them with: npm run -s silicon -- --record');
  const known = new Set(forms.map((f) => f.key));
  assert.deepEqual([...all.keys()].filter((k) => !known.has(k)), [], 'vectors of forms that are no more');
});

test('every flag that a row calls undefined is in the table of what the SDM leaves undefined', () => {
  let seen = 0;
  for (const form of forms) {
    if (form.row.undefined === '') continue;
    const { insn } = encodingOf(form, 0);
    // Shifts by two, where more is undefined than by one.
    const mask = undefinedMask({ ...insn, imm: 2n }, 2n);
    const last = form.row.operands.at(-1);
    for (const f of form.row.undefined) {
      if (f === 'o' && last === '1') continue;
      assert.ok(mask & { c: 1, p: 4, a: 0x10, z: 0x40, s: 0x80, o: 0x800 }[f]!, `${form.key}: ${f}`);
    }
    seen++;
  }
  assert.ok(seen > 100 && undefinedFlags.every((u) => u.where.length > 10));
});
