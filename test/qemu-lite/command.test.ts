/** `npm run qemu-lite`: the command of the real host, with files of the real host. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { bootImages } from '../../system/boot-images.ts';

const launcher = fileURLToPath(new URL('../../cli/launch.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'qemu-lite-'));
after(() => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, 'hello.elf'), bootImages().get('/boot/hello.elf')!);

const qemuLite = (args: readonly string[], input = ''): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, [launcher, 'qemu-lite', ...args], { cwd: folder, env: { ...process.env, INIT_CWD: folder }, input, encoding: 'utf8', timeout: 120_000 });

test('a kernel is found by its host path, relative to where the user stands, and its output is all that is printed', () => {
  const { status, stdout, stderr } = qemuLite(['-kernel', 'hello.elf', '-nographic']);
  assert.equal(status, 0, stdout + stderr);
  assert.equal(stdout, 'Hello from a guest: real x86 code, run by KVM.\n');
});

test('-serial file: writes a file of the host', () => {
  const { status, stdout } = qemuLite(['-kernel', join(folder, 'hello.elf'), '-serial', 'file:log']);
  assert.deepEqual([status, stdout], [0, '']);
  assert.match(readFileSync(join(folder, 'log'), 'utf8'), /^Hello/);
});

test('Ctrl-a x from standard input quits', () => {
  writeFileSync(join(folder, 'busy.elf'), bootImages().get('/boot/busy.elf')!);
  const { status, stdout } = qemuLite(['-kernel', 'busy.elf', '-nographic'], '\x01x');
  assert.equal(status, 0);
  assert.match(stdout, /qemu-lite: Terminated\n$/);
});

test('a wrong option or kernel is one line and status 1', () => {
  const option = qemuLite(['-foo']);
  assert.deepEqual([option.status, option.stdout + option.stderr], [1, 'qemu-lite: -foo: invalid option\n']);
  const kernel = qemuLite(['-kernel', 'nowhere']);
  assert.equal(kernel.status, 1);
  assert.match(kernel.stdout + kernel.stderr, /^qemu-lite: could not open kernel file 'nowhere': No such file or directory\n$/);
});
