/** A guest that behaves badly costs its own VM only: its neighbour on the same processor keeps share and contents. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { benchGuests, guestFiles } from '../qemu-lite/guests.ts';
import { guestInstructions } from '../support/guest-time.ts';
import { sh } from '../support/boot.ts';

/** Boot sectors: what each does is its name. */
const BAD = new Map(Object.entries({
  'faults three times and is started again, again and again': [0x0f, 0x01, 0x1e, 0x20, 0x7c, 0xcc],           // lidt [0x7c20], which is zeros; int3
  'spins with interrupts off': [0xfa, 0xeb, 0xfe],                                                    // cli; jmp .
  'floods the host with exits': [0xe6, 0x80, 0xeb, 0xfc],                                             // out 0x80, al; jmp
}));
const image = (code: readonly number[]): Uint8Array => Uint8Array.from({ length: 512 }, (_, i) => code[i] ?? 0);
const files = new Map([...BAD].map(([, code], i) => [`/bad/${i}`, image(code)] as const));

const SECOND = 1_000_000_000;
const neighbour = 'qemu-lite -nographic -name neighbour -kernel /boot/busy.elf < /dev/null';

[...BAD.keys()].forEach((what, i) => {
  test(`a guest that ${what} leaves its neighbour its half of the processor`, () => {
    const bad = `while true; do qemu-lite -nographic -kernel /bad/${i} < /dev/null > /dev/null 2>&1; sleep 0.001; done`;
    const counts = guestInstructions(`${neighbour} & ${bad}`, { cpus: 1, files }, 0.05 * SECOND, 0.15 * SECOND);
    // The neighbour's vCPU was the first thread to retire anything.
    const [[, { instructions }] = [0, { instructions: 0 }]] = [...counts].sort(([a], [b]) => a - b);
    assert.ok(instructions > 0.48 * 0.1 * SECOND, `its share is ${instructions / (0.1 * SECOND)}`);
  });
});

test('what a guest computes is the same beside all of them', () => {
  const [sha256] = benchGuests('tiny').filter((g) => g.name === 'sha256.32');
  assert.ok(sha256);
  const bad = [...BAD.keys()].map((_, i) => `qemu-lite -nographic -kernel /bad/${i} < /dev/null > /dev/null 2>&1 &`).join(' ');
  const { output, status } = sh(`${bad} qemu-lite -nographic -kernel ${sha256.path} < /dev/null; exit $?`, { cpus: 1, files: new Map([...files, ...guestFiles('tiny', [sha256])]) });
  assert.match(output, new RegExp(sha256.checksum), output);
  assert.equal(status, 33, output);
});
