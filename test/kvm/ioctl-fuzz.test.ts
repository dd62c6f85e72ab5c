import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { boot } from '../support/boot.ts';
import { BAD_POINTER, CLOSE, CREATE, type Call, type Fuzz, GOOD, NOISE, NUMBER, RUN, fuzzProgram } from './fuzz-program.ts';

/** Calls of each kernel, and seeds of the first batch: 500,000 calls in all. */
const CALLS = 100_000;
const SEEDS = [1, 101, 201, 301, 401];
const BATCH = 5_000;

const call: fc.Arbitrary<Call> = fc.record({
  kind: fc.constantFrom('system', 'vm', 'vcpu'),
  which: fc.nat(1000),
  request: fc.nat(0xffff),
  argument: fc.oneof(
    { weight: 40, arbitrary: fc.constant(GOOD) }, { weight: 30, arbitrary: fc.constant(NOISE) }, { weight: 8, arbitrary: fc.constant(BAD_POINTER) },
    { weight: 12, arbitrary: fc.constant(NUMBER) }, { weight: 1, arbitrary: fc.constant(RUN) }, { weight: 3, arbitrary: fc.constant(CREATE) }, { weight: 2, arbitrary: fc.constant(CLOSE) },
  ),
  noise: fc.uint8Array({ minLength: 16, maxLength: 16 }),
});

for (const first of SEEDS) test(`random ioctls on all kinds of descriptors, while the vCPUs run, never hurt the kernel: ${CALLS} calls from seed ${first}, and nothing is left behind`, () => {
  const fuzz: Fuzz = { batch: undefined, end: false, calls: 0, succeeded: 0, runs: 0, exits: 0, before: '', after: '' };
  const { system, port } = boot({ init: ['-c', 'fuzz'], programs: [fuzzProgram(fuzz)], cpus: 4 });
  const { machine } = system;
  const second = system.cyclesPerMs * 1000;
  /** Runs until the batch is done. A machine that stops, or a batch without an end, fails. */
  const settle = (done: () => boolean): void => {
    for (let i = 0; i < 20_000 && !done(); i++) {
      const state = machine.run(machine.now() + second / 1000);
      if (state === 'off') break;
    }
    assert.ok(done(), `the kernel did not finish; it printed:\n${port.output}`);
  };
  for (let seed = first; fuzz.calls < CALLS; seed++) {
    fuzz.batch = fc.sample(call, { numRuns: BATCH, seed });
    settle(() => fuzz.batch === undefined);
  }
  fuzz.end = true;
  settle(() => fuzz.after !== '');
  console.log(`ioctl fuzz: ${fuzz.calls} calls, ${fuzz.succeeded} succeeded; ${fuzz.runs} runs, ${fuzz.exits} exits`);
  assert.ok(fuzz.exits > CALLS / 100, `${fuzz.exits} exits in ${fuzz.runs} runs`);
  assert.ok(fuzz.calls >= CALLS);
  assert.ok(fuzz.succeeded >= fuzz.calls / 3, `${fuzz.succeeded} of ${fuzz.calls} succeeded`);
  assert.equal(fuzz.after, fuzz.before);
});
