/**
 * `grade N [--file FILE] [--json FILE]`: runs the tests of a lab on a student's program and prints them in xv6's look.
 * Exit status 1 when the score is short. Each run of the program is a child process with limits (labs/grading/run.ts).
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import chalk from 'chalk';
import { type ChildRequest, runChild } from '../labs/grading/child.ts';
import { type Lab, type LabTest, Wrong } from '../labs/grading/lab.ts';
import { findLab, labs } from '../labs/grading/labs-table.ts';
import { runProgram } from '../labs/grading/run.ts';
import type { Seen } from '../labs/grading/seen.ts';
import { checkWritable, commandLine } from './command-line.ts';
import { root } from './root.ts';
import { UsageError } from './usage.ts';

export interface TestResult { readonly test: LabTest; readonly wrong: Wrong | undefined; readonly seconds: number }

/** The bundle's own entry point (cli/launch.mjs): the child needs no second look at whether it is fresh. */
const entry = fileURLToPath(new URL('main.mjs', import.meta.url));

export function labOf(word: string): Lab {
  const lab = findLab(word);
  if (lab === undefined) throw new UsageError(`lab ${word}: there is no such lab; there are ${labs.map((l) => l.name).join(', ')}`);
  return lab;
}

/** Where `lab` puts the working copy and `grade` looks for it. */
export const workFolder = (lab: Lab): string => join(root, 'lab-work', lab.name);

function judge(test: LabTest, seen: Seen): Wrong | undefined {
  try {
    test.judge(seen);
    return undefined;
  } catch (error) {
    if (error instanceof Wrong) return error;
    throw error;
  }
}

/** Judges every test, calling `done` after each; tests with the same arguments share a run. The runs go side by side. */
export async function gradeLab(lab: Lab, file: string, done: (result: TestResult) => void): Promise<TestResult[]> {
  const runs = new Map<string, Promise<Seen>>();
  for (const { args } of lab.tests) {
    const key = JSON.stringify(args);
    if (!runs.has(key)) runs.set(key, runProgram(entry, { file, name: lab.name, args }));
  }
  const results: TestResult[] = [];
  for (const test of lab.tests) {
    const started = performance.now();
    const seen = await runs.get(JSON.stringify(test.args))!;
    const result = { test, wrong: judge(test, seen), seconds: (performance.now() - started) / 1000 };
    results.push(result);
    done(result);
  }
  return results;
}

const scoreOf = (results: readonly TestResult[]): number => results.reduce((sum, r) => sum + (r.wrong ? 0 : r.test.points), 0);
const reasonOf = (wrong: Wrong): string => `expected: ${wrong.expected}\nseen:     ${wrong.seen}`;

function print({ test, wrong, seconds }: TestResult): void {
  const word = wrong ? chalk.red('FAIL') : chalk.green('OK');
  process.stdout.write(`== Test ${test.name} ==\n${test.name}: ${word} (${seconds.toFixed(1)}s)\n`);
  if (wrong) process.stdout.write(`${reasonOf(wrong).replace(/^/gm, '    ')}\n`);
}

/** Gradescope's results.json. */
const gradescope = (results: readonly TestResult[]): object => ({
  score: scoreOf(results),
  tests: results.map(({ test, wrong }) => ({
    name: test.name, score: wrong ? 0 : test.points, max_score: test.points, output: wrong ? reasonOf(wrong) : 'OK', visibility: 'visible',
  })),
});

export async function grade(argv: readonly string[]): Promise<number> {
  if (argv[0] === '--child') {
    await runChild(JSON.parse(argv[1] ?? '{}') as ChildRequest);
    return 0;
  }
  const options = commandLine(argv, 'grade', '$0 N [--file FILE] [--json FILE]   grades lab N')
    .option('file', { type: 'string', requiresArg: true, describe: 'the program to grade (default: the working copy in lab-work/)' })
    .option('json', { type: 'string', requiresArg: true, describe: "writes Gradescope's results.json to FILE" })
    .parserConfiguration({ 'parse-numbers': false, 'parse-positional-numbers': false })
    .strictOptions()
    .parseSync();
  if (options['help']) return 0;
  if (options._.length !== 1) throw new UsageError(`grade takes the number of one lab, such as 01; there are ${labs.map((l) => l.name).join(', ')}`);
  const lab = labOf(String(options._[0]));
  const cwd = process.env['INIT_CWD'] ?? process.cwd();
  const file = options.file === undefined ? join(workFolder(lab), 'start.ts') : resolve(cwd, options.file);
  if (!existsSync(file)) {
    throw new Error(options.file === undefined ? `${relative(cwd, file)}: no such file; \`make lab N=${lab.name.slice(0, 2)}\` makes it, or name another with FILE=` : `${options.file}: no such file`);
  }
  const json = options.json === undefined ? undefined : resolve(cwd, options.json);
  checkWritable('json', json);
  const results = await gradeLab(lab, file, print);
  const full = lab.tests.reduce((sum, test) => sum + test.points, 0);
  const score = scoreOf(results);
  process.stdout.write(`Score: ${score}/${full}\n`);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(gradescope(results), null, 2)}\n`);
  return score === full ? 0 : 1;
}
