/**
 * Asks the silicon this program runs on.
 *
 *   npm run -s silicon -- --count 1000000 --seed 7     fresh random instructions, compared in both tiers,
 *                                                      a tenth of them, or --bytes N, random bytes
 *   npm run -s silicon -- --form REGEX                 only forms whose name matches
 *   npm run -s silicon -- --form REGEX --case 17       shows one case of the vectors, silicon's answer and the machine's
 *   npm run -s silicon -- --record                     records vectors of forms that have none; with --form of those again, with
 *                                                      --form . of all
 */
import { type Summary, freshInstructions } from './fresh.ts';
import { describe, differences, normalize } from './compare.ts';
import { type Form, forms } from './forms.ts';
import { ANSWER, Answer, CASE, type Case, FS_BASE, FXSAVE, GS_BASE } from './layout.ts';
import { MachineUnderTest } from './machine.ts';
import { randomBytes } from './random-bytes.ts';
import { buildRecorder, record } from './recorder.ts';
import { CASES, GROUPS, STATES, type Vectors, caseOf, encodingOf, formsOf, readVectors, silicon, writeVectors } from './vectors.ts';

const options = new Map<string, string>();
const words = process.argv.slice(2);
for (let i = 0; i < words.length; i++) {
  const [name, value] = words[i]!.split('=');
  options.set(name!, value ?? (words[i + 1]?.startsWith('--') === false ? words[++i]! : ''));
}

/** Forms that `again` names are recorded though they have vectors. */
function recordVectors(again: RegExp | undefined): void {
  for (const group of GROUPS) {
    const known = readVectors(group), vectors: Vectors = new Map();
    let recorded = 0;
    for (const form of formsOf(group)) {
      const old = known.get(form.key);
      if (old && !again?.test(form.key)) { vectors.set(form.key, old); continue; }
      recorded++;
      const encodings = Array.from({ length: CASES / STATES }, (_, n) => encodingOf(form, n));
      const cases = encodings.flatMap((e, n) => Array.from({ length: STATES }, (_, s) => caseOf(form, e, n, s)));
      vectors.set(form.key, Uint32Array.from(record(cases).map((a, i) => silicon(a, cases[i]!, encodings[Math.floor(i / STATES)]!.insn))));
    }
    if (recorded > 0 || vectors.size !== known.size) writeVectors(group, vectors);
    console.log(`${group}: ${vectors.size} forms, ${recorded} of them recorded now`);
  }
}

/** An answer in which all is as the case has it. */
function unchanged(test: Case): Answer {
  const a = new Answer(ANSWER.change);
  a.u8.set(test.u8.subarray(CASE.gpr, CASE.gpr + 128), ANSWER.gpr);
  a.u8.set(test.u8.subarray(CASE.cs, CASE.cs + 8), ANSWER.cs);
  a.u8.set(test.u8.subarray(CASE.fxsave, CASE.fxsave + FXSAVE.end), ANSWER.fxsave);
  a.u64[ANSWER.fsBase / 8] = BigInt(FS_BASE);
  a.u64[ANSWER.gsBase / 8] = BigInt(GS_BASE);
  return a;
}

function show(form: Form, index: number): boolean {
  const n = Math.floor(index / STATES);
  const e = encodingOf(form, n);
  const test: Case = caseOf(form, e, n, index % STATES);
  const [want] = record([test]);
  normalize(want!, test, e.insn, true);
  console.log(`${form.key}, case ${index}\n    ${describe(test)}`);
  console.log(`  silicon:\n    ${differences(want!, unchanged(test)).map((d) => d.replace(/, here [^;]*/g, '')).join('\n    ')}`);
  let same = true;
  for (const hot of [false, true]) {
    const got = new MachineUnderTest(hot).run(test);
    normalize(got, test, e.insn, false);
    const list = differences(want!, got);
    console.log(`  ${hot ? 'hot' : 'cold'} tier: ${list.length ? list.join('\n    ') : 'the same'}`);
    same &&= list.length === 0;
  }
  return same;
}

function report(what: string, s: Summary): boolean {
  for (const [key, list] of s.wrong) console.log(`${key}: ${list.length}\n    ${list[0]}`);
  console.log(`${what}: ${s.compared} instructions compared in each tier, ${[...s.wrong.values()].reduce((n, l) => n + l.length, 0)} differ; ${s.regions} regions; ${s.left} without an end`);
  return s.wrong.size === 0;
}

try {
  buildRecorder();
  const filter = new RegExp(options.get('--form') ?? '');
  const count = Number(options.get('--count') ?? 20_000), seed = Number(options.get('--seed') ?? 1);
  let ok = true;
  if (options.has('--record')) recordVectors(options.has('--form') ? filter : undefined);
  else if (options.has('--case')) {
    const form = forms.find((f) => f.key === options.get('--form')) ?? forms.find((f) => filter.test(f.key));
    if (!form) throw new Error(`no form matches ${filter}`);
    ok = show(form, Number(options.get('--case')));
  } else {
    const bytes = options.has('--form') ? 0 : Number(options.get('--bytes') ?? Math.floor(count / 10));
    if (count > bytes) ok = report('rows of the opcode table', freshInstructions(count - bytes, seed, filter));
    if (bytes > 0) ok = report('random bytes', randomBytes(bytes, seed)) && ok;
  }
  process.exitCode = ok ? 0 : 1;
} catch (e) {
  process.stderr.write(`silicon: ${(e as Error).message}\n`);
  process.exitCode = 2;
}
