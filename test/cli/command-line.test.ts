/** The stable commands as a user types them, each in a process of its own. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { root } from '../support/root.ts';

const folder = mkdtempSync(join(tmpdir(), 'vitrine-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Answer { status: number | null; out: string; err: string }
function vitrine(args: readonly string[], input = '', cwd = folder): Answer {
  const run = spawnSync(process.execPath, [join(root, 'cli', 'launch.mjs'), ...args], { encoding: 'utf8', input, cwd, env: { ...process.env, INIT_CWD: cwd }, timeout: 60_000 });
  return { status: run.status, out: run.stdout, err: run.stderr };
}
const oneLine = (answer: Answer, status: number, pattern: RegExp): void => {
  assert.equal(answer.status, status, answer.err);
  assert.match(answer.err, pattern);
  assert.equal(answer.err.trim().split('\n').length, 1, answer.err);
};

test('boot runs commands from stdin, prints only their output when quiet, and powers off with the last status', () => {
  const answer = vitrine(['boot', '--quiet'], 'echo one\nkvmtest\nfalse\n');
  assert.match(answer.out, /^one\n4\n.*KVM_EXIT_HLT.*\n$/);
  assert.equal(answer.status, 1);
});

test('boot --command gives its exit status', () => {
  assert.equal(vitrine(['boot', '--quiet', '--command', 'exit 7']).status, 7);
  assert.equal(vitrine(['boot', '--quiet', '--command', 'kill -9 $$']).status, 137);
});

test('the boot log comes first, with time stamps', () => {
  assert.match(vitrine(['boot', '--command', 'echo done']).out, /^\[ {4}0\.\d{6}\] Linux version [\s\S]*\ndone\n\[ +\d+\.\d{6}\] reboot: Power down\n$/);
});

test('wrong options are one line and status 2', () => {
  oneLine(vitrine(['boot', '--cpus', '17']), 2, /--cpus 17: give 1 to 16/);
  oneLine(vitrine(['boot', '--memory', '9T']), 2, /--memory 9T/);
  oneLine(vitrine(['boot', '--frobnicate']), 2, /frobnicate/);
  oneLine(vitrine(['boot', '--mount', '/nonexistent:/mnt']), 2, /nonexistent/);
  oneLine(vitrine(['boot', '--replay', 'nothing']), 2, /nothing/);
});

test('--mount shows a host directory, read-only unless :rw', () => {
  writeFileSync(join(folder, 'note'), 'from the host\n');
  const answer = vitrine(['boot', '--quiet', '--mount', `${folder}:/mnt`, '--command', 'cat /mnt/note; echo x > /mnt/new']);
  assert.match(answer.out + answer.err, /from the host/);
  assert.match(answer.out, /Read-only file system/);
  assert.equal(vitrine(['boot', '--quiet', '--mount', `${folder}:/mnt:rw`, '--command', 'echo back > /mnt/new']).status, 0);
  assert.equal(readFileSync(join(folder, 'new'), 'utf8'), 'back\n');
});

test('--stats of two equal runs are equal, and --record with --replay repeats a run', () => {
  const input = 'kvmtest\nread x; echo got $x\nhello\n';
  const a = vitrine(['boot', '--stats', 'a.json', '--record', 'run'], input);
  const b = vitrine(['boot', '--stats', 'b.json', '--trace', 'b.txt'], input);
  const c = vitrine(['boot', '--stats', 'c.json', '--replay', 'run']);
  const stats = (name: string): string => readFileSync(join(folder, name), 'utf8');
  assert.match(a.out, /got hello/);
  assert.equal(a.out, b.out);
  assert.equal(a.out, c.out);
  assert.equal(stats('a.json'), stats('b.json'));
  assert.equal(stats('a.json'), stats('c.json'));
  assert.ok(JSON.parse(stats('a.json')).processors[0].guest + JSON.parse(stats('a.json')).processors[1].guest > 0);
  assert.match(readFileSync(join(folder, 'b.txt'), 'utf8'), /kvmtest-\d+ +\[\d{3}\] \S+ +\d+\.\d{6}: kvm_exit: vcpu 0 reason HLT/);
});

test('--trace FILE.json is Chrome trace JSON', () => {
  vitrine(['boot', '--quiet', '--trace', 't.json', '--command', 'kvmtest']);
  const { traceEvents } = JSON.parse(readFileSync(join(folder, 't.json'), 'utf8'));
  assert.ok(traceEvents.length > 100);
  assert.ok(traceEvents.some((e: { name: string }) => e.name === 'kvm_pio'));
});

test('script runs a program from outside the tree, and --new writes one that works', () => {
  assert.equal(vitrine(['script', '--new', 'first.ts']).status, 0);
  const answer = vitrine(['script', 'first.ts']);
  assert.match(answer.out, /KVM API version 12/);
  assert.equal(answer.status, 0);
  oneLine(vitrine(['script', '--new', 'first.ts']), 1, /exists already/);
  writeFileSync(join(folder, 'args.ts'), `import { puts, open, read } from 'vitrine/libc';
export function* main(argv: string[]) { for (const a of argv.slice(1)) yield* puts(a); return 3; }`);
  const args = vitrine(['script', 'args.ts', 'a', '--b']);
  assert.equal(args.out, 'a\n--b\n');
  assert.equal(args.status, 3);
});

test('a script that cannot run is one clear line', () => {
  writeFileSync(join(folder, 'bad.ts'), 'export function* main() { return 1 +; }');
  oneLine(vitrine(['script', 'bad.ts']), 1, /bad\.ts:1:\d+: /);
  writeFileSync(join(folder, 'none.ts'), 'export const x = 1;');
  oneLine(vitrine(['script', 'none.ts']), 1, /export function\* main/);
  oneLine(vitrine(['script', 'nosuch.ts']), 1, /nosuch\.ts: no such file/);
});

test('an error a script does not catch is said in one line', () => {
  writeFileSync(join(folder, 'boom.ts'), "export function* main() { throw new Error('boom'); }");
  const boom = vitrine(['script', 'boom.ts']);
  assert.equal(boom.out, '/bin/boom: uncaught Error: boom\n');
  assert.equal(boom.status, 1);
  writeFileSync(join(folder, 'wild.ts'), `import { view } from 'vitrine/libc';
import { kvm_regs } from 'vitrine/abi';
export function* main() { try { view(kvm_regs, 0x10).rip = 1n; } catch {} return 0; }`);
  assert.equal(vitrine(['script', 'wild.ts']).status, 139);
});

test('a program that computes for ever is a soft lockup with its stack, and status 1', () => {
  writeFileSync(join(folder, 'spin.ts'), 'export function* main() { let n = 0; function spinning() { for (;;) n++; } spinning(); yield; return n; }');
  const answer = vitrine(['script', 'spin.ts']);
  assert.equal(answer.status, 1, answer.err);
  assert.match(answer.err, /soft lockup/);
  assert.match(answer.err, /spinning/);
});

test('an unknown command is one line', () => {
  oneLine(vitrine(['frob']), 2, /frob/);
});
