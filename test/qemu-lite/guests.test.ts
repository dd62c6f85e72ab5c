import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sh } from '../support/boot.ts';
import { benchGuests, guestFiles } from './guests.ts';

/** What the guests' own debug exit makes of the 0x10 they write. */
const STATUS = (0x10 << 1) | 1;

/** Of 16-bit code one: their kernels run bare in test/engine/guests.test.ts. */
const guests = benchGuests('tiny').filter(({ name }) => !name.endsWith('.16') || name === 'bytes.16');
test('there are bench guests in all widths', () => {
  assert.ok(guests.length >= 19, `${guests.length} guests`);
});

for (const { name, path, kernel, checksum, instructions, count } of guests) {
  test(`${name} prints its checksum, takes its instructions and ends with isa-debug-exit's status`, () => {
    const { output, status, system } = sh(`qemu-lite -kernel ${path} -nographic < /dev/null`, { files: guestFiles('tiny', guests) });
    assert.match(output, new RegExp(`^START ${kernel}\nEND ${kernel} ${checksum} tsc [0-9a-f]{16}\n`));
    assert.equal(status, STATUS);
    const retired = system.machine.processors.reduce((sum, p) => sum + p.retired.guest, 0);
    // An OUT that KVM hands to user space is done there and not retired.
    const expected = kernel === 'out' ? instructions - count : instructions;
    assert.ok(retired >= expected && retired < expected + 20_000, `${retired} instructions retired in guest mode, ${expected} expected between START and END`);
  });
}
