/**
 * Asks the silicon this program runs on.
 *
 *   npm run -s silicon -- --count 1000000 --seed 7     fresh random instructions, compared in both tiers,
 *                                                      a tenth of them, or --bytes N, random bytes
 *   npm run -s silicon -- --edges                      the same, with operands mostly where more than one thing is wrong
 *   npm run -s silicon -- --programs 10000 --seed 7    random programs of up to 40 instructions
 *   npm run -s silicon -- --form REGEX                 only forms whose name matches
 *   npm run -s silicon -- --form REGEX --case 17       shows one case of the vectors, silicon's answer and the machine's
 *   npm run -s silicon -- --record                     records vectors of forms that have none; with --form of those again, with
 *                                                      --form . of all
 */
import { commandLine, complain, watchOutput } from '../../cli/command-line.ts';
import { UsageError } from '../../cli/usage.ts';
import { type Summary, freshInstructions } from './fresh.ts';
import { describe, differences, normalize } from './compare.ts';
import { type Form, forms } from './forms.ts';
import { ANSWER, Answer, CASE, type Case, FS_BASE, FXSAVE, GS_BASE } from './layout.ts';
import { MachineUnderTest } from './machine.ts';
import { randomPrograms } from './programs.ts';
import { randomBytes } from './random-bytes.ts';
import { buildRecorder, record } from './recorder.ts';
import { CASES, GROUPS, STATES, type Vectors, caseOf, encodingOf, formsOf, readVectors, silicon, writeVectors } from './vectors.ts';

interface Options {
  readonly count: number;
  readonly seed: number;
  readonly form: { readonly name: string; readonly pattern: RegExp } | undefined;
  readonly case: number | undefined;
  readonly bytes: number | undefined;
  readonly record: boolean;
  readonly edges: boolean;
  readonly programs: number | undefined;
}

const whole = (name: string, least: number, most: number) => (given: string | readonly string[]): number => {
  const text = String(given), n = Number(text);
  if (!/^\d+$/.test(text) || n < least || n > most) throw new UsageError(`--${name} ${text}: give a whole number from ${least} to ${most}`);
  return n;
};
function formOption(given: string | readonly string[]): { name: string; pattern: RegExp } {
  const name = String(given);
  try { return { name, pattern: new RegExp(name) }; } catch { throw new UsageError(`--form ${name}: not a regular expression`); }
}

/** undefined: help was asked for and is printed. */
function parse(argv: readonly string[]): Options | undefined {
  const options = commandLine(argv, 'silicon', '$0   compares both tiers with the silicon this runs on, instruction by instruction')
    .option('count', { type: 'string', requiresArg: true, default: '20000', coerce: whole('count', 1, 1e9), describe: 'how many fresh random instructions' })
    .option('seed', { type: 'string', requiresArg: true, default: '1', coerce: whole('seed', 0, 0xffff_ffff), describe: 'which ones' })
    .option('form', { type: 'string', requiresArg: true, coerce: formOption, describe: 'only forms whose name matches' })
    .option('bytes', { type: 'string', requiresArg: true, coerce: whole('bytes', 0, 1e9), describe: 'how many of them are random bytes; a tenth, unless --form is given' })
    .option('edges', { type: 'boolean', default: false, describe: 'operands mostly at the ends of pages and segments, with alignment checks' })
    .option('programs', { type: 'string', requiresArg: true, coerce: whole('programs', 1, 1e9), describe: 'so many random programs instead, of up to 40 instructions each' })
    .option('case', { type: 'string', requiresArg: true, coerce: whole('case', 0, CASES - 1), describe: 'shows one case of the vectors, silicon\'s answer and the machine\'s' })
    .option('record', { type: 'boolean', default: false, describe: 'records vectors of forms that have none; with --form of those again' })
    .strict()
    .parseSync();
  if (options['help']) return undefined;
  if (options._.length > 0) throw new UsageError(`${options._[0]}: not an option`);
  const { count, seed, form, bytes, record: again, edges, programs } = options;
  if (options.case !== undefined && form === undefined) throw new UsageError('--case: give --form, too');
  if (bytes !== undefined && form !== undefined) throw new UsageError('give --form or --bytes: random bytes have no form');
  if (bytes !== undefined && bytes > count) throw new UsageError(`--bytes ${bytes}: give no more than --count ${count}`);
  return { count, seed, form, bytes, case: options.case, record: again, edges, programs };
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
  console.log(`${what}: ${s.compared} compared in each tier, ${[...s.wrong.values()].reduce((n, l) => n + l.length, 0)} differ; ${s.regions} regions; ${s.left} without an end`);
  return s.wrong.size === 0;
}

function run({ count, seed, form, bytes, case: index, record: again, edges, programs }: Options): boolean {
  buildRecorder();
  if (again) {
    recordVectors(form?.pattern);
    return true;
  }
  if (index !== undefined) {
    const named = forms.find((f) => f.key === form?.name) ?? forms.find((f) => form?.pattern.test(f.key));
    if (!named) throw new Error(`no form matches ${form?.pattern}`);
    return show(named, index);
  }
  if (programs !== undefined) {
    const s = randomPrograms(programs, seed);
    console.log(`${s.instructions} instructions in ${programs} programs`);
    return report('programs', s);
  }
  const strings = form ? 0 : bytes ?? Math.floor(count / 10);
  let ok = true;
  if (count > strings) ok = report('rows of the opcode table', freshInstructions(count - strings, seed, form?.pattern ?? /(?:)/, edges));
  if (strings > 0) ok = report('random bytes', randomBytes(strings, seed)) && ok;
  return ok;
}

watchOutput('silicon');
try {
  const options = parse(process.argv.slice(2));
  process.exitCode = options === undefined || run(options) ? 0 : 1;
} catch (e) {
  complain('silicon', e);
  process.exitCode = 2;
}
