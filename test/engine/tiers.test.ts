/**
 * The tiers agree: random programs with loops, calls, memory, faults, interrupts between any two instructions and stores into their
 * own code pass through the same states at the same instruction counts, whichever tier runs them and wherever runs are cut.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { modeNames, registers } from './program-machine.ts';
import { compareTiers } from './tiers.ts';

const CODE = 0x1000, SEED = 5, STRETCHES = 50;

for (const mode of modeNames) {
  test(`cold code, hot code and any mix of them pass through the same states under interrupts at any instruction in ${mode}`, () => {
    for (const [what, n] of Object.entries(compareTiers(mode, SEED, STRETCHES))) assert.ok(n > 0, what);
  });
}

test('a hot loop that rewrites an instruction of its own runs the new one at once', () => {
  const N = 4000;
  for (const mask of [0, 0x3f]) {                     // at every turn, and once in 64 when the region has long been there
    const code = Uint8Array.of(
      0xb8, 1, 0, 0, 0,                               // top: mov eax, 1
      0x01, 0xc3,                                     // add ebx, eax
      0xf7, 0xc1, mask, 0, 0, 0,                      // test ecx, mask
      0x75, 0x07,                                     // jnz on
      0xff, 0x04, 0x25, (CODE + 1) & 0xff, (CODE + 1) >> 8 & 0xff, CODE >> 16, 0, // inc dword [top + 1]
      0xff, 0xc9,                                     // on: dec ecx
      0x75, 0xe6,                                     // jnz top
      0xeb, 0xfe,                                     // jmp $
    );
    let sum = 0;
    for (let ecx = N, eax = 1; ecx > 0; ecx--) {
      sum += eax;
      if ((ecx & mask) === 0) eax++;
    }
    const runs = [Infinity, 1, 20].map((threshold) => {
      const m = new BareMachine(2 << 20);
      m.engine.code.hot.threshold = threshold;
      m.longMode(CODE);
      m.ram.mem.u8.set(code, m.ram.base + CODE);
      m.cpu.gpr[1] = BigInt(N);
      m.cpu.gpr[3] = 0n;
      m.run(10 * N + 5000);
      if (threshold === 1) assert.ok(m.engine.code.hot.regions > 0);
      assert.equal(m.cpu.gpr[3], BigInt(sum), `threshold ${threshold}, mask ${mask}`);
      return registers(m);
    });
    assert.equal(runs[1], runs[0]);
    assert.equal(runs[2], runs[0]);
  }
});
