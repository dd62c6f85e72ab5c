import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storm } from './interrupts-program.ts';

test('of interrupts by irqfd over messages, edges and a level, answered by ioeventfd, none is lost or doubled', () => {
  const { raised, taken, answers, resampled } = storm(50_000);
  assert.ok(raised.reduce((a, b) => a + b) >= 50_000 && raised.every((n) => n > 4000));
  assert.deepEqual(taken, raised);
  assert.equal(resampled, raised.at(-1));
  assert.equal(answers + resampled, raised.reduce((a, b) => a + b));
});
