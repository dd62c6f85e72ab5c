import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fingerprint, sh } from '../support/boot.ts';
import { benchGuests, guestFiles } from './guests.ts';

const guests = benchGuests('tiny').filter((g) => ['crc', 'fib', 'int', 'sieve'].includes(g.kernel) && !g.name.endsWith('.16'));

test('a system makes the same run, to the cycle and the byte of RAM, whichever tier of the engine runs its guests', () => {
  const run = (threshold: number) => {
    const { output, system } = sh(guests.map(({ path }) => `qemu-lite -kernel ${path} -nographic < /dev/null`).join('; '), {
      files: guestFiles('tiny', guests),
      prepare({ machine }) {
        machine.startEngine();
        machine.engine.code.hot.threshold = threshold;
      },
    });
    return { output, fingerprint: fingerprint(system), regions: system.machine.engine.code.hot.regions };
  };
  const cold = run(Infinity);
  assert.equal(cold.regions, 0);
  for (const threshold of [1, 100, 2000]) {
    const hot = run(threshold);
    assert.ok(hot.regions > 0, `no region at a threshold of ${threshold}`);
    assert.equal(hot.output, cold.output);
    assert.equal(hot.fingerprint, cold.fingerprint);
  }
});
