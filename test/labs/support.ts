/** Grades a program with the command a student uses, and reads the results.json it writes. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'vitrine-labs-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Results { score: number; tests: { name: string; score: number; max_score: number; output: string; visibility: string }[] }
export interface Graded { readonly status: number | null; readonly out: string; readonly err: string; readonly results: Results }

export function gradeFile(lab: string, file: string): Graded {
  const json = join(folder, 'results.json');
  rmSync(json, { force: true });
  const run = spawnSync(process.execPath, [join(root, 'cli', 'launch.mjs'), 'grade', lab, '--file', file, '--json', json], { encoding: 'utf8', cwd: folder, timeout: 60_000 });
  assert.equal(run.stderr, '');
  assert.equal(run.signal, null, 'a grader comes to an end, whatever the program does');
  return { status: run.status, out: run.stdout, err: run.stderr, results: JSON.parse(readFileSync(json, 'utf8')) as Results };
}

export function gradeText(lab: string, text: string): Graded {
  const file = join(folder, 'answer.ts');
  writeFileSync(file, text);
  return gradeFile(lab, file);
}

/** The solution with some of it replaced: [what stands there, what a student wrote]. */
export function variant(lab: string, changes: readonly (readonly [string, string])[]): string {
  let text = readFileSync(join(root, 'labs', 'solutions', `${lab}.ts`), 'utf8');
  for (const [from, to] of changes) {
    assert.equal(text.split(from).length, 2, `the solution has ${JSON.stringify(from)} once`);
    text = text.replace(from, () => to);
  }
  return text;
}

export interface WrongAnswer {
  /** What the student did, as the rest of a test's name. */
  readonly mistake: string;
  readonly changes: readonly (readonly [string, string])[];
  readonly score: number;
  /** Tests that fail, by the beginning of their names, and what their reason says. */
  readonly fails: Readonly<Record<string, RegExp>>;
}

export function testWrongAnswers(lab: string, answers: readonly WrongAnswer[]): void {
  for (const { mistake, changes, score, fails } of answers) {
    test(`${lab}: ${mistake}: ${score} points`, () => {
      const { results, status } = gradeText(lab, variant(lab, changes));
      const failed = results.tests.filter((one) => one.score < one.max_score);
      for (const one of failed) {
        const reason = Object.entries(fails).find(([name]) => one.name.startsWith(name))?.[1];
        assert.ok(reason !== undefined, `${one.name} fails, and should not: ${one.output}`);
        assert.match(one.output, reason, one.name);
      }
      for (const name of Object.keys(fails)) assert.ok(failed.some((one) => one.name.startsWith(name)), `${name} passes, and should not`);
      assert.equal(results.score, score);
      assert.equal(status, score === 100 ? 0 : 1);
    });
  }
}
