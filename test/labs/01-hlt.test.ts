/** Lab 01-hlt is graded as it should be: the solution, the skeleton, and answers that are plausible and wrong. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { gradeFile, gradeText, root, testWrongAnswers } from './support.ts';

const LAB = '01-hlt';

test('01-hlt: the solution gets full marks, in the look that students know', () => {
  const { out, status, results } = gradeFile(LAB, join(root, 'labs', 'solutions', '01-hlt.ts'));
  assert.match(out, /^== Test asks for the API version ==\nasks for the API version: OK \(\d+\.\ds\)\n== Test /);
  assert.match(out, /\nScore: 100\/100\n$/);
  assert.equal(status, 0);
  assert.equal(results.score, 100);
  assert.deepEqual(Object.keys(results.tests[0]!), ['name', 'score', 'max_score', 'output', 'visibility']);
  assert.equal(results.tests.reduce((sum, one) => sum + one.max_score, 0), 100);
});

test('01-hlt: the skeleton runs, says which step is missing, and earns nothing', () => {
  const { out, status, results } = gradeFile(LAB, join(root, 'labs', LAB, 'start.ts'));
  assert.equal(status, 1);
  assert.equal(results.score, 0);
  assert.match(out, /asks for the API version: FAIL \(\d+\.\ds\)\n {4}expected: .*\n {4}seen: {5}.*step 1 is missing/);
});

testWrongAnswers(LAB, [
  {
    mistake: 'the code segment keeps its base at reset',
    changes: [['  sregs.cs.base = 0n;\n', '']],
    score: 30,
    fails: {
      'runs the guest': /expected: a KVM_RUN that ends with KVM_EXIT_HLT\nseen: {5}KVM_RUN returned once, and that with KVM_EXIT_/,
      'the vCPU is a thread': /KVM_EXIT_HLT/, 'tells which thread': /KVM_EXIT_HLT/, 'tells how often': /KVM_EXIT_HLT/, 'ends with': /status 1/,
    },
  },
  {
    mistake: 'KVM_RUN in the main thread',
    changes: [["yield* pthread_create(function* vcpuThread", 'yield* (function* vcpuThread'], ["}, 'CPU 0/KVM');", '})();'], ['return (yield* pthread_join(thread)) ?? 1;', 'return thread;']],
    score: 85,
    fails: { 'the vCPU is a thread': /called by a thread made with pthread_create\nseen: {5}it was called by the main thread \(tid \d+ of process \d+\)/ },
  },
  {
    mistake: 'the HLT is never stored',
    changes: [['  storeBytes(memory, guestCode);\n', '']],
    score: 15,
    fails: {
      'gives the VM memory': /a HLT \(0xf4\) in guest memory before the guest runs\nseen: {5}none/,
      'runs the guest': /KVM_EXIT_MMIO \(read from 0x0, where the VM has no memory\)/,
      'the vCPU is a thread': /KVM_EXIT_HLT/, 'tells which thread': /KVM_EXIT_HLT/, 'tells how often': /KVM_EXIT_HLT/, 'ends with': /status 1/,
    },
  },
  {
    mistake: 'the returns of KVM_RUN taken for the exits, and no name for the thread',
    changes: [["  }, 'CPU 0/KVM');", '  });'], ["'guest mode: %s exits\\n', exits", "'guest mode: %s exits\\n', exits && '1'"]],
    score: 75,
    fails: { 'the vCPU is a thread': /named "CPU 0\/KVM".*\nseen: {5}its name is "01-hlt"/, 'tells how often': /\d exits, as KVM's own counter has it\nseen: {5}"guest mode: 1 exits": that is how often KVM_RUN returned/ },
  },
  {
    mistake: 'a memory slot that is no whole page',
    changes: [['memory_size: BigInt(PAGE)', 'memory_size: BigInt(guestCode.length)']],
    score: 5,
    fails: {
      'makes a VM': /a descriptor from KVM_CREATE_VCPU/, 'gives the VM memory': /KVM_SET_USER_MEMORY_REGION failed with EINVAL/, 'runs the guest': /failed with EINVAL; KVM_RUN never returned/,
      'the vCPU is a thread': /EINVAL/, 'tells which thread': /EINVAL/, 'tells how often': /EINVAL/, 'ends with': /status 1/,
    },
  },
  {
    mistake: 'the words printed without a guest',
    changes: [['yield* ioctl(vcpu, KVM_RUN, 0);', ''], ['run.exit_reason !== KVM_EXIT_HLT', 'run.exit_reason === KVM_EXIT_HLT']],
    score: 15,
    fails: {
      'gives the VM memory': /KVM_RUN never returned/, 'runs the guest': /KVM_RUN never returned; the program ended with status 0/,
      'the vCPU is a thread': /never returned/, 'tells which thread': /never returned/, 'tells how often': /never returned/, 'ends with': /never returned/,
    },
  },
  {
    mistake: 'a guest that jumps to itself',
    changes: [['  0xf4, // hlt', '  0xeb, 0xfe,']],
    score: 15,
    fails: {
      'gives the VM memory': /none in that slot/, 'runs the guest': /the program did not end: KVM_RUN has not returned: the guest runs on/,
      'the vCPU is a thread': /did not end/, 'tells which thread': /did not end/, 'tells how often': /did not end/, 'ends with': /did not end/,
    },
  },
  {
    mistake: 'an endless loop without a system call, after the guest',
    changes: [['  return (yield* pthread_join(thread)) ?? 1;', '  yield* pthread_join(thread);\n  for (;;) {}']],
    score: 90,
    fails: { 'ends with': /the program did not end: it runs in a loop without any system call/ },
  },
  {
    mistake: 'an endless loop of system calls',
    changes: [['  if (version !== 12) return 1;', '  while (version === 12) yield* getpid();']],
    score: 5,
    fails: {
      'makes a VM': /did not end: it makes system calls without end/, 'gives the VM memory': /did not end/, 'runs the guest': /did not end/, 'the vCPU is a thread': /did not end/,
      'tells which thread': /did not end/, 'tells how often': /did not end/, 'ends with': /did not end/,
    },
  },
]);

test('01-hlt: a program that waits for ever, or is no program, is told so', () => {
  const waits = gradeText(LAB, "import { pipe, read } from 'vitrine/libc';\nexport function* main() { const [from] = yield* pipe(); yield* read(from, 1); }\n");
  assert.match(waits.results.tests[0]!.output, /it waits for something that never comes/);
  const broken = gradeText(LAB, 'export function* main() { const x = ; }\n');
  assert.match(broken.results.tests[0]!.output, /the program cannot be loaded: .*answer\.ts:1:37: Unexpected ";"/);
  const throws = gradeText(LAB, "export function* main() { throw new Error('lost my way'); }\n");
  assert.match(throws.results.tests[0]!.output, /uncaught Error: lost my way/);
});
