import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBADF, EMFILE } from '../../../abi/errno.ts';
import { O_CLOEXEC, O_CREAT, O_RDONLY, O_RDWR } from '../../../abi/fcntl.ts';
import { type Program, type Sys, cpu } from '../../../abi/process.ts';
import { copyIn, copyOut } from '../../../abi/struct.ts';
import * as NR from '../../../abi/syscalls.ts';
import { buffer, call, fork, get, mapArena, put, readFile, runInit, text, waitFor } from './program.ts';

function* mountProc(): Sys<void> { assert.equal(yield* call(NR.__NR_mount, 'proc', '/proc', 'proc', 0, 0), 0); }

/** Names in a directory. */
function* list(name: string): Sys<string[]> {
  const fd = yield* call(NR.__NR_open, name, O_RDONLY, 0);
  const at = buffer(32768);
  const names: string[] = [];
  for (;;) {
    const n = yield* call(NR.__NR_getdents64, fd, at, 32768);
    assert.ok(n >= 0);
    if (n === 0) break;
    const bytes = get(at, n);
    for (let i = 0; i < n; i += bytes[i + 16]! | (bytes[i + 17]! << 8)) names.push(new TextDecoder().decode(bytes.subarray(i + 19, bytes.indexOf(0, i + 19))));
  }
  yield* call(NR.__NR_close, fd);
  return names.filter((entry) => entry !== '.' && entry !== '..');
}

test('exec closes what is marked close-on-exec and keeps the rest', () => {
  let found = '';
  const lister: Program = {
    name: 'lister',
    *main() {
      yield* mapArena();
      found = (yield* list('/proc/self/fd')).join(' ');
      yield* call(NR.__NR_exit_group, 0);
    },
  };
  runInit(function* () {
    yield* mountProc();
    assert.equal(yield* call(NR.__NR_open, '/bin/init', O_RDONLY | O_CLOEXEC, 0), 3);
    assert.equal(yield* call(NR.__NR_open, '/bin/init', O_RDONLY, 0), 4);
    assert.equal(yield* call(NR.__NR_fcntl, 4, 1030, 10), 10);
    const argv = put(new Uint8Array(BigUint64Array.of(BigInt(put(new TextEncoder().encode('lister\0'))), 0n).buffer));
    const child = yield* fork(function* () { yield* call(NR.__NR_execve, '/bin/lister', argv, 0); });
    assert.equal(yield* waitFor(child), 0);
  }, { programs: [lister] });
  // 3 is the descriptor of the listing itself
  assert.equal(found, '0 1 2 3 4');
});

test('descriptors end at RLIMIT_NOFILE with EMFILE, and closing one makes room', () => {
  runInit(function* () {
    const limit = put(new Uint8Array(BigUint64Array.of(8n, 4096n).buffer));
    assert.equal(yield* call(NR.__NR_prlimit64, 0, 7, limit, 0), 0);
    for (let fd = 3; fd < 8; fd++) assert.equal(yield* call(NR.__NR_dup, 0), fd);
    assert.equal(yield* call(NR.__NR_dup, 0), -EMFILE);
    assert.equal(yield* call(NR.__NR_open, '/', O_RDONLY, 0), -EMFILE);
    assert.equal(yield* call(NR.__NR_pipe2, buffer(8), 0), -EMFILE);
    assert.equal(yield* call(NR.__NR_dup2, 0, 8), -EBADF);
    yield* call(NR.__NR_close, 5);
    assert.equal(yield* call(NR.__NR_pipe2, buffer(8), 0), -EMFILE);
    assert.equal(yield* call(NR.__NR_open, '/', O_RDONLY, 0), 5);
  });
});

test('a killed process gives back every page of the files it had open, mapped and unlinked', () => {
  runInit(function* () {
    yield* mountProc();
    put(new Uint8Array(1_000_000)); // touches the whole arena
    const free = function* (): Sys<number> { return Number(/MemFree: +(\d+)/.exec(yield* readFile('/proc/meminfo'))![1]); };
    const child = (): Sys<number> => fork(function* () {
      const fd = yield* call(NR.__NR_open, '/big', O_RDWR | O_CREAT, 0o644);
      yield* call(NR.__NR_unlink, '/big');
      for (let i = 0; i < 20; i++) yield* call(NR.__NR_write, fd, new Uint8Array(65536).fill(i), 65536);
      const at = yield* call(NR.__NR_mmap, 0, 1 << 20, 3, 1, fd, 0);
      copyOut(cpu.current!.space, at + 5000, Uint8Array.of(1, 2, 3));
      for (let i = 0; i < 10; i++) {
        const ends = buffer(8);
        yield* call(NR.__NR_pipe2, ends, 0);
        yield* call(NR.__NR_eventfd2, 1, 0);
        yield* call(NR.__NR_epoll_create1, 0);
      }
      yield* call(NR.__NR_kill, yield* call(NR.__NR_getpid), 9);
    });
    assert.equal(yield* waitFor(yield* child()), 9);
    const before = yield* free();
    for (let i = 0; i < 5; i++) assert.equal(yield* waitFor(yield* child()), 9);
    assert.equal(yield* free(), before);
  });
});

test('a shared mapping and read see the same bytes, and a private one keeps its own', () => {
  runInit(function* () {
    const fd = yield* call(NR.__NR_open, '/tmp/f', O_RDWR | O_CREAT, 0o644);
    yield* call(NR.__NR_write, fd, 'hello world', 11);
    const shared = yield* call(NR.__NR_mmap, 0, 4096, 3, 1, fd, 0);
    const own = yield* call(NR.__NR_mmap, 0, 4096, 3, 2, fd, 0);
    const { space } = cpu.current!;
    copyOut(space, shared, Uint8Array.of(0x48));
    const at = buffer(16);
    yield* call(NR.__NR_pread64, fd, at, 5, 0);
    assert.equal(text(at, 5), 'Hello');
    copyOut(space, own + 6, Uint8Array.of(0x57));
    yield* call(NR.__NR_pread64, fd, at, 5, 6);
    assert.equal(text(at, 5), 'world');
    yield* call(NR.__NR_pwrite64, fd, 'J', 1, 0);
    const seen = new Uint8Array(1);
    copyIn(space, shared, seen);
    assert.equal(seen[0], 0x4a);
    // beyond the end of the file a mapped page is a bus error
    const child = yield* fork(function* () {
      yield* call(NR.__NR_ftruncate, fd, 0);
      copyIn(cpu.current!.space, shared, new Uint8Array(1));
    });
    assert.equal((yield* waitFor(child)) & 0x7f, 7);
  });
});

test('a mounted file system hides what is below, and unmounting shows it again', () => {
  runInit(function* () {
    yield* mountProc();
    yield* call(NR.__NR_mkdir, '/tmp/m', 0o755);
    yield* call(NR.__NR_open, '/tmp/m/below', O_CREAT, 0o644);
    assert.equal(yield* call(NR.__NR_mount, 'none', '/tmp/m', 'tmpfs', 0, 0), 0);
    yield* call(NR.__NR_mkdir, '/tmp/m/d', 0o755);
    assert.deepEqual(yield* list('/tmp/m'), ['d']);
    assert.match(yield* readFile('/proc/mounts'), /^none \/tmp\/m tmpfs rw,relatime 0 0$/m);
    yield* call(NR.__NR_chdir, '/tmp/m/d');
    const at = buffer(64);
    yield* call(NR.__NR_getcwd, at, 64);
    assert.match(text(at, 9), /^\/tmp\/m\/d/);
    yield* call(NR.__NR_chdir, '../..');
    yield* call(NR.__NR_getcwd, at, 64);
    assert.equal(text(at, 5), '/tmp\0');
    assert.equal(yield* call(NR.__NR_umount2, '/tmp/m', 0), 0);
    assert.deepEqual(yield* list('/tmp/m'), ['below']);
  });
});

test('a listing in progress neither repeats nor skips names that stay', () => {
  runInit(function* () {
    yield* call(NR.__NR_mkdir, '/d', 0o755);
    for (let i = 0; i < 40; i++) yield* call(NR.__NR_mkdir, `/d/n${i}`, 0o755);
    const fd = yield* call(NR.__NR_open, '/d', O_RDONLY, 0);
    const at = buffer(160);
    const seen: string[] = [];
    for (let round = 0; ; round++) {
      const n = yield* call(NR.__NR_getdents64, fd, at, 160);
      if (n === 0) break;
      const bytes = get(at, n);
      for (let i = 0; i < n; i += bytes[i + 16]!) seen.push(new TextDecoder().decode(bytes.subarray(i + 19, bytes.indexOf(0, i + 19))));
      if (round === 2) { yield* call(NR.__NR_rmdir, '/d/n0'); yield* call(NR.__NR_rmdir, '/d/n30'); yield* call(NR.__NR_rename, '/d/n31', '/d/moved'); }
    }
    const rest = seen.filter((name) => /^n\d+$/.test(name) && name !== 'n0' && name !== 'n30' && name !== 'n31');
    assert.equal(new Set(seen).size, seen.length);
    assert.equal(rest.length, 37);
    assert.ok(seen.includes('moved'));
  });
});

test('a tmpfs lets a program have so many files and no more, and a deep tree of them goes at once', () => {
  const ENOSPC = 28;
  runInit(function* () {
    assert.equal(yield* call(NR.__NR_mount, 'none', '/tmp', 'tmpfs', 0, 0), 0);
    yield* call(NR.__NR_chdir, '/tmp');
    let made = 0;
    for (;;) {
      const result = yield* call(NR.__NR_mkdir, 'd', 0o755);
      if (result < 0) { assert.equal(result, -ENOSPC); break; }
      made++;
      assert.equal(yield* call(NR.__NR_chdir, 'd'), 0);
    }
    assert.equal(made, 8191, 'half of the frames of 64 MiB');
    assert.equal(yield* call(NR.__NR_open, 'f', O_CREAT | O_RDWR, 0o644), -ENOSPC);
    assert.equal(yield* call(NR.__NR_chdir, '..'), 0);
    assert.equal(yield* call(NR.__NR_rmdir, 'd'), 0);
    assert.equal(yield* call(NR.__NR_open, 'f', O_CREAT | O_RDWR, 0o644), 3);
    assert.equal(yield* call(NR.__NR_link, 'f', 'g'), -ENOSPC);
    assert.equal(yield* call(NR.__NR_unlink, 'f'), 0);
    assert.equal(yield* call(NR.__NR_close, 3), 0);
    assert.equal(yield* call(NR.__NR_symlink, 'x', 'g'), 0);
    yield* call(NR.__NR_chdir, '/');
    assert.equal(yield* call(NR.__NR_umount2, '/tmp', 0), 0);
  });
});
