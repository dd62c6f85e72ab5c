/** The long form of test/kvm/interrupts.test.ts; INTERRUPTS (default 1,000,000) in the environment chooses another number. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storm } from '../kvm/interrupts-program.ts';

const total = Number(process.env['INTERRUPTS'] ?? 1_000_000);

test(`of ${total} interrupts by irqfd over messages, edges and a level, answered by ioeventfd, none is lost or doubled`, () => {
  const { raised, taken, answers, resampled } = storm(total);
  assert.ok(raised.reduce((a, b) => a + b) >= total);
  assert.deepEqual(taken, raised);
  assert.equal(resampled, raised.at(-1));
  assert.equal(answers + resampled, raised.reduce((a, b) => a + b));
});
