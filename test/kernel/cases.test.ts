import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { boot, call, fork, self } from './support/boot.ts';

/** One call put to Linux 6.18 (test/recorder/process-calls.py), with what it answered. `poke` stores 64-bit words in its page first. */
interface Case { readonly name: string; readonly nr: number; readonly args: readonly string[]; readonly poke?: readonly (readonly [number, number])[]; readonly answer: number }

const cases = JSON.parse(readFileSync(new URL('../golden/process-cases.json', import.meta.url), 'utf8')) as Case[];
const PAGE = 0x100_0000_0000;

test('calls about processes, signals, scheduling and time answer as Linux does', (t) => {
  const seen: [string, number][] = [];
  const { status, output } = boot(function* () {
    yield* fork(function* () {
      yield* call(109, 0, 0);
      yield* call(9, PAGE, 16384, 3, 0x32, -1, 0);
      const me = yield* call(39);
      const value = (word: string): number => (word.startsWith('P') ? PAGE + Number(word.slice(1)) : word === 'S' ? me : Number(word));
      for (const { name, nr, args, poke } of cases) {
        const { space } = self();
        for (const [offset, word] of poke ?? []) space.mem.s64[space.resolve(PAGE + offset, true) >>> 3] = BigInt(word);
        const [a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0] = args.map(value);
        seen.push([name, yield* call(nr, a0, a1, a2, a3, a4, a5)]);
      }
    });
    yield* call(61, -1, 0, 0, 0);
    return 0;
  });
  assert.equal(status, 0, output);
  assert.deepEqual(seen, cases.map(({ name, answer }) => [name, answer]));
  t.diagnostic(`${seen.length} answers compared`);
});
