/**
 * The long form of test/kvm/isolation.test.ts: other guests with each seed, SEED (default 2) names the first, SEEDS (default 10) how many; each
 * with code that soon becomes hot, and the last of three without unrestricted guests, so that real mode is virtual-8086 mode and emulation.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostileGuests } from '../kvm/hostile-guests.ts';

const first = Number(process.env['SEED'] ?? 2), seeds = Number(process.env['SEEDS'] ?? 10);
for (let seed = first; seed < first + seeds; seed++) {
  const parameters = ['ept=1', 'ept=0', 'ept=1 unrestricted_guest=0'][(seed - first) % 3]!;
  test(`no hostile guest of seed ${seed} reads or writes anything outside its memory slots, ${parameters}`, () => {
    assert.deepEqual(hostileGuests(parameters === 'ept=1' ? 3000 : 1000, seed, parameters, 1 + seed % 40), []);
  });
}
