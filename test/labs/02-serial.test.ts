/** Lab 02-serial is graded as it should be: the solution, other right answers, the skeleton, and wrong ones. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { gradeFile, root, testWrongAnswers } from './support.ts';

const LAB = '02-serial';

test('02-serial: the solution gets full marks', () => {
  const { out, status, results } = gradeFile(LAB, join(root, 'labs', 'solutions', '02-serial.ts'));
  assert.match(out, /\nScore: 100\/100\n$/);
  assert.equal(status, 0);
  assert.equal(results.tests.reduce((sum, one) => sum + one.max_score, 0), 100);
});

test('02-serial: the skeleton runs, says which step is missing, and earns nothing', () => {
  const { out, results } = gradeFile(LAB, join(root, 'labs', LAB, 'start.ts'));
  assert.equal(results.score, 0);
  assert.match(out, /step 1 is missing/);
});

const doorbellCode: readonly [string, string] = [`  0x66, 0xb8, TEXT & 0xff, TEXT >> 8, 0, 0, // 1000: mov $TEXT, %eax
  0xba, DOORBELL & 0xff, DOORBELL >> 8,     // 1006: mov $DOORBELL, %dx
  0x66, 0xef,                               // 1009: out %eax, (%dx)
  0xf4,                                     // 100b: hlt
`, ''];
const few = (code: string): readonly [string, string] => [doorbellCode[0], code];
const inputLine = 'storeBytes(data, input.subarray(given, given + size * count));';

testWrongAnswers(LAB, [
  {
    mistake: 'REP OUTSL sends four bytes at a time, the rest one by one',
    changes: [few('0xbe, TEXT & 0xff, TEXT >> 8, 0xba, 0xf8, 0x03, 0x89, 0xcb, 0xc1, 0xe9, 2, 0xf3, 0x66, 0x6f, 0x89, 0xd9, 0x83, 0xe1, 3, 0xf3, 0x6e, 0xf4,')],
    score: 90,
    fails: { 'few: at most four': /at most 4 exits for \d+ characters.*\nseen: {5}\d\d exits/ },
  },
  {
    mistake: 'REP OUTSB taken for fewer exits',
    changes: [few('0xbe, TEXT & 0xff, TEXT >> 8, 0xba, 0xf8, 0x03, 0xf3, 0x6e, 0xf4,')],
    score: 75,
    fails: { 'few: at most a quarter': /OUT can carry four bytes\nseen: {5}3\d\d exits/, 'few: at most four': /seen: {5}3\d\d exits/ },
  },
  {
    mistake: 'REP OUTSL forgets the last two characters',
    changes: [few('0xbe, TEXT & 0xff, TEXT >> 8, 0xba, 0xf8, 0x03, 0xc1, 0xe9, 2, 0xf3, 0x66, 0x6f, 0xf4,')],
    score: 75,
    fails: { 'few: at most a quarter': /OUTs that carry the text, or the address of it/, 'few: at most four': /OUTs that carry the text/ },
  },
  {
    mistake: 'the text printed by the host, the guest only halts',
    changes: [few('0xf4,'), ["  return yield* runLoop(vm, bytes);", "  if (mode === 'few') yield* write(1, vm.memory + TEXT, bytes.length);\n  return yield* runLoop(vm, bytes);"]],
    score: 75,
    fails: { 'few: at most a quarter': /a guest that hands its text over by OUT\nseen: {5}no OUT/, 'few: at most four': /no OUT/ },
  },
  {
    mistake: 'one byte for each IN exit, whatever its count',
    changes: [[inputLine, 'storeBytes(data, input.subarray(given, given + 1));'], ['      given += size * count;', '      given += 1;']],
    score: 70,
    fails: { 'string: answers all': /the guest to send back the text it was given.*\nseen: {5}it sent /, 'string: prints': /the text on standard output/ },
  },
  {
    mistake: 'the data looked for at the start of kvm_run',
    changes: [['const data = addressOf(run) + Number(run.io.data_offset);', 'const data = addressOf(run);']],
    score: 25,
    fails: {
      'loop: prints': /the text on standard output/, 'string: answers all': /1024 bytes asked for; .* the last time with -1 EINVAL/, 'string: prints': /the text on standard output/,
      'few: at most a quarter': /the text on standard output/, 'few: at most four': /the text on standard output/,
    },
  },
  {
    mistake: 'the first exit taken for the last, and the count one short',
    changes: [['for (let exits = 1; ; exits++)', 'for (let exits = 0; ; exits++)'], ['    if (run.exit_reason !== KVM_EXIT_IO) {', "    if (run.exit_reason === KVM_EXIT_IO) {\n      yield* eputs('done');\n      return 0;\n    }\n    if (run.exit_reason !== KVM_EXIT_IO) {"]],
    score: 0,
    fails: {
      'loop: prints': /KVM_RUN returned once, and that with KVM_EXIT_IO \(OUT to port 0x3f8, 1 byte\); the program ended with status 0/, 'loop: one exit': /KVM_RUN returned once/, 'loop: counts': /HLT/, 'loop: ends': /HLT/,
      'string: answers': /1024 bytes asked for/, 'string: prints': /the text/, 'few: at most a quarter': /HLT/, 'few: at most four': /HLT/,
    },
  },
  {
    mistake: 'the HLT does not end the loop',
    changes: [['      yield* printf(\'exits: %d\\n\', exits);\n      return 0;', '      continue;'], ['    if (run.exit_reason !== KVM_EXIT_IO) {', '    if (run.exit_reason < 0) {']],
    score: 0,
    fails: {
      'loop: prints': /KVM_RUN number 45 returned KVM_EXIT_HLT, yet it was called again/, 'loop: one exit': /the program did not end|45 returns of KVM_RUN/, 'loop: counts': /did not end/, 'loop: ends': /did not end/,
      'string: answers': /did not end/, 'string: prints': /did not end/, 'few: at most a quarter': /did not end/, 'few: at most four': /did not end/,
    },
  },
]);
