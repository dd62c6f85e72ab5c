import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EAGAIN, EDEADLK } from '../../../abi/errno.ts';
import { F_GETLK, F_RDLCK, F_SETLK, F_SETLKW, F_UNLCK, F_WRLCK, LOCK_EX, flock } from '../../../abi/fcntl.ts';
import { windowOf } from '../../../abi/struct.ts';
import * as NR from '../../../abi/syscalls.ts';
import { call, fork, get, put, runInit, waitFor } from './program.ts';

const sleep = (ms: number) => call(NR.__NR_nanosleep, new Uint8Array(BigInt64Array.of(0n, BigInt(ms) * 1_000_000n).buffer), 0);
const range = (l_type: number, start: number, length: number): Uint8Array =>
  windowOf(flock.make({ l_type, l_whence: 0, l_start: BigInt(start), l_len: BigInt(length), l_pid: 0 })).slice();

test('record locks keep other processes out, tell who holds them, and go when any descriptor is closed', () => {
  runInit(function* () {
    const fd = yield* call(NR.__NR_open, '/f', 0o102, 0o644);
    assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLK, range(F_WRLCK, 0, 100)), 0);
    const self = yield* call(NR.__NR_getpid);
    const child = yield* fork(function* () {
      assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLK, range(F_RDLCK, 50, 1)), -EAGAIN);
      assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLK, range(F_WRLCK, 100, 0)), 0);
      const at = put(range(F_WRLCK, 10, 5));
      assert.equal(yield* call(NR.__NR_fcntl, fd, F_GETLK, at), 0);
      const view = new DataView(get(at, 32).buffer);
      assert.deepEqual([view.getInt16(0, true), Number(view.getBigInt64(8, true)), Number(view.getBigInt64(16, true)), view.getInt32(24, true)], [F_WRLCK, 0, 100, self]);
    });
    assert.equal(yield* waitFor(child), 0);
    const other = yield* call(NR.__NR_open, '/f', 0, 0);
    yield* call(NR.__NR_close, other);
    const second = yield* fork(function* () { assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLK, range(F_WRLCK, 0, 0)), 0); });
    assert.equal(yield* waitFor(second), 0);
  });
});

test('F_SETLKW sleeps until the range is free, and refuses to wait in a circle', () => {
  runInit(function* () {
    const fd = yield* call(NR.__NR_open, '/f', 0o102, 0o644);
    assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLK, range(F_WRLCK, 0, 1)), 0);
    const child = yield* fork(function* () {
      assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLK, range(F_WRLCK, 1, 1)), 0);
      assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLKW, range(F_WRLCK, 0, 1)), 0);
    });
    yield* sleep(5);
    assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLKW, range(F_WRLCK, 1, 1)), -EDEADLK);
    assert.equal(yield* call(NR.__NR_fcntl, fd, F_SETLK, range(F_UNLCK, 0, 0)), 0);
    assert.equal(yield* waitFor(child), 0);
  });
});

test('flock waits for the other open file, and a killed holder lets go', () => {
  runInit(function* () {
    const fd = yield* call(NR.__NR_open, '/f', 0o102, 0o644);
    const holder = yield* fork(function* () {
      const own = yield* call(NR.__NR_open, '/f', 0, 0);
      assert.equal(yield* call(NR.__NR_flock, own, LOCK_EX), 0);
      yield* sleep(500);
    });
    yield* sleep(5);
    const killer = yield* fork(function* () {
      yield* sleep(5);
      yield* call(NR.__NR_kill, holder, 9);
    });
    assert.equal(yield* call(NR.__NR_flock, fd, LOCK_EX), 0);
    yield* waitFor(holder);
    yield* waitFor(killer);
  });
});
