import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomStops, same } from '../kvm/state-run.ts';

test('a guest moved to a new VM goes on as if it had stayed: two thousand moves a few instructions apart', () => {
  same(randomStops(2000, 50, 3));
});

test('a guest moved to a new VM goes on as if it had stayed: a hundred million instructions', () => {
  assert.ok(same(randomStops(300, 700_000, 4)).at(-1)!.retired >= 100_000_000);
});
