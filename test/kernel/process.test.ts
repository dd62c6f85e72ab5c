import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EACCES, ECHILD, EFAULT, ENOENT, ENOSYS, ESRCH } from '../../abi/errno.ts';
import { nr_free_pages } from '../../kernel/mm/page-alloc.ts';
import { NR, boot, burn, call, clone, fork, mmap, peek32, poke, poke32, sleep } from './support/boot.ts';
import { CLONE_CHILD_CLEARTID, CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM } from '../../abi/sched.ts';
import type { Sys } from '../../abi/process.ts';

const encoder = new TextEncoder();
const THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;


test('wait4 returns the exit code of a child, and the child is a zombie until then', () => {
  const seen: number[] = [];
  const { status } = boot(function* () {
    const page = yield* mmap(4096);
    const child = yield* fork(function* () { yield* call(NR.__NR_exit_group, 42); });
    yield* sleep(1e6);
    seen.push(yield* call(NR.__NR_kill, child, 0));
    seen.push((yield* call(NR.__NR_wait4, -1, page, 0, 0)) - child, peek32(page));
    seen.push(yield* call(NR.__NR_kill, child, 0));
    seen.push(yield* call(NR.__NR_wait4, -1, page, 0, 0));
    return 7;
  });
  assert.deepEqual(seen, [0, 0, 42 << 8, -ESRCH, -ECHILD]);
  assert.equal(status, 7);
});

test('a child sees the memory as it was at fork, and neither sees what the other writes', () => {
  const seen: number[] = [];
  boot(function* () {
    const page = yield* mmap(8192);
    poke32(page, 1);
    poke32(page + 4096, 2);
    yield* fork(function* () {
      seen.push(peek32(page));
      poke32(page, 100);
      seen.push(peek32(page));
      yield* call(NR.__NR_exit_group, 0);
    });
    yield* call(NR.__NR_wait4, -1, 0, 0, 0);
    seen.push(peek32(page));
    poke32(page + 4096, 3);
    seen.push(peek32(page + 4096));
    return 0;
  });
  assert.deepEqual(seen, [1, 100, 1, 3]);
});

test('shared anonymous memory is one memory for parent and child', () => {
  let seen = 0;
  boot(function* () {
    const page = yield* call(NR.__NR_mmap, 0, 4096, 3, 0x21, -1, 0);
    yield* fork(function* () { poke32(page, 77); yield* call(NR.__NR_exit_group, 0); });
    yield* call(NR.__NR_wait4, -1, 0, 0, 0);
    seen = peek32(page);
    return 0;
  });
  assert.equal(seen, 77);
});

test('a bad access kills the process with SIGSEGV, whatever the program catches, and nobody else', () => {
  const seen: number[] = [];
  const { status } = boot(function* () {
    const page = yield* mmap(4096);
    yield* fork(function* () {
      try { peek32(0x1000); } catch { seen.push(1); }
      try { peek32(page); } catch { seen.push(2); }
      yield* call(NR.__NR_getpid);
      seen.push(3);
    });
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    seen.push(peek32(page));
    return 5;
  });
  assert.deepEqual(seen, [1, 2, 11]);
  assert.equal(status, 5);
});

test('an exception that a program lets out kills it with SIGABRT', () => {
  let seen = 0;
  boot(function* () {
    const page = yield* mmap(4096);
    yield* fork(function* () { yield* call(NR.__NR_getpid); throw new TypeError('a mistake'); });
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    seen = peek32(page);
    return 0;
  });
  assert.equal(seen, 6);
});

test('threads share memory; exit of a thread clears its tid and wakes who waits for it', () => {
  const seen: number[] = [];
  boot(function* () {
    const page = yield* mmap(4096);
    poke32(page, 1);
    const tid = yield* clone(THREAD | CLONE_CHILD_CLEARTID, function* () {
      seen.push(yield* call(NR.__NR_getpid));
      yield* sleep(1e6);
      poke32(page + 4, 9);
      yield* call(NR.__NR_exit, 0);
    }, page);
    seen.push(tid > 1 ? 1 : 0);
    seen.push(yield* call(NR.__NR_futex, page, 0, 1, 0, 0, 0));
    seen.push(peek32(page), peek32(page + 4));
    return 0;
  }, { cpus: 2 });
  assert.deepEqual(seen.sort(), [0, 0, 1, 1, 9].sort());
});

test('exit_group ends every thread of the process', () => {
  const seen: number[] = [];
  boot(function* () {
    const page = yield* mmap(4096);
    yield* fork(function* () {
      yield* clone(THREAD, function* () { for (;;) yield* sleep(1e9); });
      yield* clone(THREAD, function* () { for (;;) { burn(1e6); yield* call(NR.__NR_getpid); } });
      yield* sleep(5e6);
      yield* call(NR.__NR_exit_group, 3);
    });
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    seen.push(peek32(page));
    return 0;
  }, { cpus: 2 });
  assert.deepEqual(seen, [3 << 8]);
});

test('orphans become children of init', () => {
  const seen: number[] = [];
  boot(function* () {
    yield* fork(function* () {
      yield* fork(function* () {
        yield* sleep(5e6);
        seen.push(yield* call(NR.__NR_getppid));
        yield* call(NR.__NR_exit_group, 9);
      });
      yield* call(NR.__NR_exit_group, 0);
    });
    const page = yield* mmap(4096);
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    seen.push(peek32(page));
    return 0;
  });
  assert.deepEqual(seen, [1, 9 << 8]);
});

function* strings(list: readonly string[]): Sys<number> {
  const page = yield* mmap(4096);
  let at = page + 512;
  for (let i = 0; i < list.length; i++) {
    const bytes = encoder.encode(`${list[i]}\0`);
    poke(at, bytes);
    poke32(page + i * 8, at % 2 ** 32);
    poke32(page + i * 8 + 4, Math.floor(at / 2 ** 32));
    at += bytes.length;
  }
  return page;
}

test('execve runs a program with its arguments and answers ENOENT, EACCES and EFAULT as Linux does', () => {
  const seen: unknown[] = [];
  boot(function* () {
    const names = yield* strings(['/bin/show', '/nothing', '/tmp']);
    const argv = yield* strings(['show', 'a b']);
    const at = (i: number) => names + 512 + ['', '/bin/show\0', '/nothing\0', '/tmp\0'].slice(0, i + 1).join('').length;
    seen.push(yield* call(NR.__NR_execve, at(1), argv, 0));
    seen.push(yield* call(NR.__NR_execve, at(2), argv, 0));
    seen.push(yield* call(NR.__NR_execve, 16, argv, 0));
    yield* fork(function* () { yield* call(NR.__NR_execve, at(0), argv, 0); });
    const page = yield* mmap(4096);
    yield* call(NR.__NR_wait4, -1, page, 0, 0);
    seen.push(peek32(page));
    return 0;
  }, { programs: { *show(argv) { seen.push([...argv]); yield* call(NR.__NR_getpid); return 4; } } });
  assert.deepEqual(seen, [-ENOENT, -EACCES, -EFAULT, ['show', 'a b'], 4 << 8]);
});

test('a call without a number in the table is ENOSYS, and strange register values hurt nobody', () => {
  const seen: number[] = [];
  const { status } = boot(function* () {
    for (const nr of [9999, -1, 1.5, Number.NaN, 333]) seen.push(yield* call(nr));
    for (const arg of [Number.NaN, Infinity, -Infinity, 1e300, 2n ** 64n - 1n, -(2n ** 70n), undefined as never, 'x' as never]) {
      yield* call(NR.__NR_write, arg, arg, arg);
      yield* call(NR.__NR_mmap, arg, arg, arg, arg, arg, arg);
      yield* call(NR.__NR_munmap, arg, arg);
      yield* call(NR.__NR_futex, arg, arg, arg, arg, arg, arg);
    }
    return 3;
  });
  assert.deepEqual(seen, seen.map(() => -ENOSYS));
  assert.equal(status, 3);
});

test('the death of init is a panic with a status that is not 0', () => {
  const { status, output } = boot(function* () { yield* call(NR.__NR_exit_group, 1); return 0; });
  assert.notEqual(status, 0);
  assert.match(output, /Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100/);
});

test('frames and tasks after many processes are what they were before', () => {
  const marks: number[] = [];
  boot(function* () {
    for (let i = 0; i < 20; i++) {
      yield* fork(function* () {
        const page = yield* mmap(1 << 20);
        for (let at = 0; at < 1 << 20; at += 4096) poke32(page + at, 1);
        yield* fork(function* () { poke32(page, 2); yield* call(NR.__NR_exit_group, 0); });
        if (i % 2 === 0) yield* call(NR.__NR_wait4, -1, 0, 0, 0);
        yield* call(NR.__NR_exit_group, 0);
      });
      while ((yield* call(NR.__NR_wait4, -1, 0, 0, 0)) > 0);
      if (i === 0 || i === 19) marks.push(nr_free_pages());
    }
    return 0;
  });
  assert.equal(marks.length, 2);
  assert.equal(marks[0], marks[1]);
});
