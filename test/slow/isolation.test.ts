/** The long form of test/kvm/isolation.test.ts: other guests with each seed, SEED (default 2) names the first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostileGuests } from '../kvm/hostile-guests.ts';

const first = Number(process.env['SEED'] ?? 2);
for (let seed = first; seed < first + 10; seed++) {
  test(`no hostile guest of seed ${seed} reads or writes anything outside its memory slots`, () => { assert.deepEqual(hostileGuests(3000, seed), []); });
}
