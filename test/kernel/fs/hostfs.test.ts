import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { EACCES, ENODEV, ENOENT, ENOTEMPTY, EOPNOTSUPP, EROFS } from '../../../abi/errno.ts';
import { O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../../abi/fcntl.ts';
import type { Sys } from '../../../abi/process.ts';
import * as NR from '../../../abi/syscalls.ts';
import { hostFiles } from '../../../cli/host-files.ts';
import { buffer, call, get, readFile, runInit, text } from './program.ts';

/** Mounts a fresh host directory on /mnt and runs `body`; the directory's path on the host. */
function withHost(t: TestContext, writable: boolean, prepare: (dir: string) => void, body: (dir: string) => Sys<void>): string {
  const dir = mkdtempSync(join(tmpdir(), 'hostfs-'));
  t.after(() => rmSync(dir, { recursive: true }));
  prepare(dir);
  runInit(() => body(dir), { hostFiles: hostFiles([{ host: dir, guest: '/mnt', writable }]), mounts: [{ host: dir, guest: '/mnt', writable }] });
  return dir;
}

test('files of the host can be read, listed and followed through links that stay inside', (t) => {
  withHost(t, false, (dir) => {
    writeFileSync(join(dir, 'a.txt'), 'from the host\n');
    mkdirSync(join(dir, 'sub'));
    writeFileSync(join(dir, 'sub/b'), 'b'.repeat(100_000));
    symlinkSync('sub/b', join(dir, 'link'));
    symlinkSync('/etc/passwd', join(dir, 'outside'));
  }, function* () {
    assert.equal(yield* readFile('/mnt/a.txt'), 'from the host\n');
    assert.equal((yield* readFile('/mnt/link')).length, 100_000);
    assert.equal(yield* call(NR.__NR_open, '/mnt/outside', O_RDONLY, 0), -ENOENT);
    assert.equal(yield* call(NR.__NR_open, '/mnt/sub/../../../etc/passwd', O_RDONLY, 0), -ENOENT);
    const fd = yield* call(NR.__NR_open, '/mnt', O_RDONLY, 0);
    const at = buffer(1024);
    const n = yield* call(NR.__NR_getdents64, fd, at, 1024);
    const names: string[] = [];
    const bytes = get(at, n);
    for (let i = 0; i < n; i += bytes[i + 16]!) names.push(new TextDecoder().decode(bytes.subarray(i + 19, bytes.indexOf(0, i + 19))));
    assert.deepEqual(names, ['.', '..', 'a.txt', 'link', 'outside', 'sub']);
    const stat = buffer(144);
    assert.equal(yield* call(NR.__NR_stat, '/mnt/a.txt', stat), 0);
    assert.equal(new BigInt64Array(get(stat, 144).buffer)[6], 14n);
  });
});

test('a mount that is not writable refuses every change', (t) => {
  withHost(t, false, (dir) => writeFileSync(join(dir, 'f'), 'x'), function* () {
    assert.equal(yield* call(NR.__NR_open, '/mnt/f', O_WRONLY, 0), -EROFS);
    assert.equal(yield* call(NR.__NR_open, '/mnt/new', O_RDWR | O_CREAT, 0o644), -EROFS);
    for (const [nr, ...args] of [[NR.__NR_mkdir, '/mnt/d', 0o755], [NR.__NR_unlink, '/mnt/f'], [NR.__NR_rename, '/mnt/f', '/mnt/g'], [NR.__NR_truncate, '/mnt/f', 0]] as const) {
      assert.equal(yield* call(nr, ...args), -EROFS);
    }
  });
});

test('what is written arrives on the host', (t) => {
  const dir = withHost(t, true, (d) => writeFileSync(join(d, 'old'), '0123456789'), function* () {
    const fd = yield* call(NR.__NR_open, '/mnt/new', O_RDWR | O_CREAT | O_TRUNC, 0o600);
    assert.equal(yield* call(NR.__NR_write, fd, 'hello', 5), 5);
    assert.equal(yield* call(NR.__NR_pwrite64, fd, 'J', 1, 0), 1);
    const appended = yield* call(NR.__NR_open, '/mnt/new', O_WRONLY | O_APPEND, 0);
    assert.equal(yield* call(NR.__NR_write, appended, '!', 1), 1);
    const at = buffer(16);
    assert.equal(yield* call(NR.__NR_pread64, fd, at, 16, 0), 6);
    assert.equal(text(at, 6), 'Jello!');
    assert.equal(yield* call(NR.__NR_mkdir, '/mnt/d', 0o755), 0);
    assert.equal(yield* call(NR.__NR_rename, '/mnt/new', '/mnt/d/moved'), 0);
    assert.equal(yield* call(NR.__NR_rmdir, '/mnt/d'), -ENOTEMPTY);
    assert.equal(yield* call(NR.__NR_truncate, '/mnt/old', 4), 0);
    assert.equal(yield* call(NR.__NR_open, '/mnt/gone', O_RDONLY, 0), -ENOENT);
    assert.equal(yield* call(NR.__NR_utime, '/mnt/old', 0), 0);
    assert.equal(yield* call(NR.__NR_utime, '/mnt/old', new Uint8Array(16)), -EOPNOTSUPP);
    assert.equal(yield* call(NR.__NR_chmod, '/mnt/old', 0o600), -EOPNOTSUPP);
    const mapped = yield* call(NR.__NR_open, '/mnt/old', O_RDWR, 0);
    assert.equal(yield* call(NR.__NR_mmap, 0, 4096, 3, 1, mapped, 0), -ENODEV);
    const own = yield* call(NR.__NR_mmap, 0, 4096, 3, 2, mapped, 0);
    assert.equal(text(own, 4), '0123');
  });
  assert.equal(readFileSync(join(dir, 'd/moved'), 'utf8'), 'Jello!');
  assert.equal(readFileSync(join(dir, 'old'), 'utf8'), '0123');
  assert.deepEqual(readdirSync(dir), ['d', 'old']);
});

test('only directories that were offered can be mounted', (t) => {
  withHost(t, true, () => {}, function* () {
    yield* call(NR.__NR_mkdir, '/m', 0o755);
    assert.equal(yield* call(NR.__NR_mount, '/etc', '/m', 'hostfs', 0, 0), -EACCES);
  });
});
