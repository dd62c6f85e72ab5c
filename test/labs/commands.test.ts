/** `lab` and `grade` as commands: the working copy, the shell, wrong uses. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { labs } from '../../labs/grading/labs-table.ts';
import { root } from './support.ts';

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'vitrine-labs-')));
after(() => rmSync(folder, { recursive: true, force: true }));

const vitrine = (args: readonly string[], input = '') =>
  spawnSync(process.execPath, [join(root, 'cli', 'launch.mjs'), ...args], { encoding: 'utf8', input, cwd: folder, env: { ...process.env, INIT_CWD: folder }, timeout: 60_000 });

test('lab makes a working copy with types, opens a shell in which it is a program, and never overwrites it', () => {
  const first = vitrine(['lab', '1', '--folder', 'mine'], '01-hlt\ncat /lab/start.ts | head -1\n');
  assert.equal(first.stdout, '01-hlt: step 1 is missing: ask for the API version on descriptor 3\n/**\n');
  assert.match(first.stderr, /wrote your copy, mine\/start\.ts\n.*labs\/01-hlt\/README\.md\n.*01-hlt .*\n.*make grade N=01\n/);
  const copy = join(folder, 'mine', 'start.ts');
  assert.equal(readFileSync(copy, 'utf8'), readFileSync(join(root, 'labs', '01-hlt', 'start.ts'), 'utf8'));
  const types = spawnSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '--noEmit', '-p', join(folder, 'mine')], { encoding: 'utf8' });
  assert.equal(types.stdout, '');

  writeFileSync(copy, "import { puts } from 'vitrine/libc';\nexport function* main() { yield* puts('mine'); }\n");
  const second = vitrine(['lab', '01-hlt', '--folder', 'mine'], '01-hlt\n');
  assert.equal(second.stdout, 'mine\n');
  assert.match(second.stderr, /your copy is mine\/start\.ts/);

  writeFileSync(copy, 'export function* main() { let ; }\n');
  const third = vitrine(['lab', '01', '--folder', 'mine'], '01-hlt\necho $?\n');
  assert.match(third.stdout, /mine\/start\.ts:1:27: .*\n1\n/);
});

test('a lab that is not there, and a file that is not there, are one line and a status', () => {
  for (const [args, status, line] of [
    [['lab', '99'], 2, /lab 99: there is no such lab; there are 01-hlt, 02-serial/],
    [['lab'], 2, /lab takes the number of one lab/],
    [['grade'], 2, /grade takes the number of one lab/],
    [['grade', '1', '--frobnicate'], 2, /frobnicate/],
    [['grade', '1', '--file', 'nothing.ts'], 1, /nothing\.ts: no such file/],
  ] as const) {
    const { stderr, stdout, status: seen } = vitrine(args);
    assert.equal(seen, status, stderr);
    assert.match(stderr, line);
    assert.equal(stderr.trim().split('\n').length, 1);
    assert.equal(stdout, '');
  }
});

test('a program that computes for ever ends when its grader has gone', () => {
  const file = join(folder, 'spin.ts');
  writeFileSync(file, 'export function* main() { for (;;); }\n');
  // Its parent is this process, and not the one it is told of.
  const request = { file, name: 'spin', args: [], seconds: 60, cpuSeconds: 60, parent: process.ppid };
  const entry = join(root, 'node_modules', '.cache', 'vitrine', 'main.mjs');
  const child = spawnSync(process.execPath, [entry, 'grade', '--child', JSON.stringify(request)], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'], encoding: 'utf8', timeout: 30_000 });
  assert.equal(child.signal, 'SIGKILL');
  assert.doesNotMatch(child.output[3]!, /"end"/);
});

test('every lab has its three files and a solution, and its points sum to 100', () => {
  assert.ok(labs.length >= 2);
  for (const lab of labs) {
    for (const file of [`labs/${lab.name}/README.md`, `labs/${lab.name}/start.ts`, `labs/${lab.name}/check.ts`, `labs/solutions/${lab.name}.ts`]) assert.ok(readFileSync(join(root, file), 'utf8').length > 0);
    assert.equal(lab.tests.reduce((sum, one) => sum + one.points, 0), 100, lab.name);
    assert.equal(new Set(lab.tests.map((one) => one.name)).size, lab.tests.length);
  }
});
