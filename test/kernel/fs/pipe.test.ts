import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EAGAIN, EINTR, EPIPE } from '../../../abi/errno.ts';
import { O_NONBLOCK } from '../../../abi/fcntl.ts';
import { POLLIN, POLLOUT } from '../../../abi/poll.ts';
import { type Sys, cpu } from '../../../abi/process.ts';
import { copyOut } from '../../../abi/struct.ts';
import * as NR from '../../../abi/syscalls.ts';
import { buffer, call, fork, get, int32, put, runInit, text, waitFor } from './program.ts';

const MS = 1_000_000n;
const timespec = (ns: bigint): Uint8Array => new Uint8Array(BigInt64Array.of(ns / 1_000_000_000n, ns % 1_000_000_000n).buffer);
const sleep = (ns: bigint): Sys<number> => call(NR.__NR_nanosleep, timespec(ns), 0);

function* now(): Sys<bigint> {
  const at = buffer(16);
  yield* call(NR.__NR_clock_gettime, 1, at);
  const words = new BigInt64Array(get(at, 16).buffer);
  return words[0]! * 1_000_000_000n + words[1]!;
}

function* pipe(flags = 0): Sys<[number, number]> {
  const at = buffer(8);
  assert.equal(yield* call(NR.__NR_pipe2, at, flags), 0);
  return [int32(at), int32(at, 1)];
}

test('a reader sleeps until bytes come and reads end of file when the last writer is gone', () => {
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    const child = yield* fork(function* () {
      yield* call(NR.__NR_close, reader);
      yield* sleep(5n * MS);
      yield* call(NR.__NR_write, writer, 'hello', 5);
      yield* sleep(5n * MS);
    });
    yield* call(NR.__NR_close, writer);
    const before = yield* now();
    const at = buffer(16);
    assert.equal(yield* call(NR.__NR_read, reader, at, 16), 5);
    assert.equal(text(at, 5), 'hello');
    const first = (yield* now()) - before;
    assert.ok(first >= 5n * MS && first < 6n * MS, `woken after ${first} ns`);
    assert.equal(yield* call(NR.__NR_read, reader, at, 16), 0);
    const second = (yield* now()) - before;
    assert.ok(second >= 10n * MS && second < 11n * MS, `end of file after ${second} ns`);
    assert.equal(yield* waitFor(child), 0);
  });
});

test('a writer sleeps while the pipe is full, and one write of a megabyte arrives whole and in order', () => {
  const size = 1 << 20;
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    const child = yield* fork(function* () {
      yield* call(NR.__NR_close, reader);
      const at = 0x2000_0000;
      assert.equal(yield* call(NR.__NR_mmap, at, size, 3, 0x32, -1, 0), at);
      const bytes = new Uint8Array(size).map((_, i) => (i * 7 + (i >> 12)) & 0xff);
      copyOut(cpu.current!.space, at, bytes);
      assert.equal(yield* call(NR.__NR_write, writer, at, size), size);
    });
    yield* call(NR.__NR_close, writer);
    yield* sleep(2n * MS);
    const at = buffer(50_000);
    let sum = 0;
    for (;;) {
      const n = yield* call(NR.__NR_read, reader, at, 50_000);
      if (n === 0) break;
      assert.ok(n > 0);
      const bytes = get(at, n);
      for (let i = 0; i < n; i++) assert.equal(bytes[i], ((sum + i) * 7 + ((sum + i) >> 12)) & 0xff);
      sum += n;
    }
    assert.equal(sum, size);
    assert.equal(yield* waitFor(child), 0);
  });
});

test('writes of at most PIPE_BUF bytes are never torn apart', () => {
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    const children: number[] = [];
    for (const letter of ['a', 'b']) {
      children.push(yield* fork(function* () {
        for (let i = 0; i < 30; i++) assert.equal(yield* call(NR.__NR_write, writer, letter.repeat(4096), 4096), 4096);
      }));
    }
    yield* call(NR.__NR_close, writer);
    const at = buffer(4096);
    let blocks = 0;
    for (;;) {
      const n = yield* call(NR.__NR_read, reader, at, 4096);
      if (n === 0) break;
      assert.match(text(at, n), /^(a{4096}|b{4096})$/);
      blocks++;
    }
    assert.equal(blocks, 60);
    for (const child of children) assert.equal(yield* waitFor(child), 0);
  }, { cpus: 2 });
});

test('writing without readers kills by SIGPIPE, or fails with EPIPE when that is ignored', () => {
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    yield* call(NR.__NR_close, reader);
    const killed = yield* fork(function* () {
      yield* call(NR.__NR_write, writer, 'x', 1);
      return 1;
    });
    assert.equal(yield* waitFor(killed), 13);
    const survivor = yield* fork(function* () {
      yield* call(NR.__NR_rt_sigaction, 13, new Uint8Array(BigUint64Array.of(1n, 0n, 0n, 0n).buffer), 0, 8);
      return -(yield* call(NR.__NR_write, writer, 'x', 1));
    });
    assert.equal(yield* waitFor(survivor), EPIPE << 8);
  });
});

test('a signal ends a sleeping read with EINTR, or after a handler with SA_RESTART lets it go on', () => {
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    for (const [flags, expected] of [[0n, -EINTR], [0x1000_0000n, 1]] as const) {
      let handled = 0;
      cpu.current!.body = function* handler() { handled++; };
      assert.equal(yield* call(NR.__NR_rt_sigaction, 10, new Uint8Array(BigUint64Array.of(4096n, flags, 0n, 0n).buffer), 0, 8), 0);
      const self = yield* call(NR.__NR_getpid);
      const child = yield* fork(function* () {
        yield* sleep(3n * MS);
        yield* call(NR.__NR_kill, self, 10);
        yield* sleep(3n * MS);
        yield* call(NR.__NR_write, writer, 'x', 1);
      });
      assert.equal(yield* call(NR.__NR_read, reader, buffer(4), 4), expected);
      assert.equal(handled, 1);
      // the child's end may interrupt by nothing: SIGCHLD is ignored
      yield* waitFor(child);
      if (expected < 0) assert.equal(yield* call(NR.__NR_read, reader, buffer(4), 4), 1);
    }
  });
});

test('poll wakes at the event, counts what is ready and keeps to its time', () => {
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    const child = yield* fork(function* () {
      yield* sleep(4n * MS);
      yield* call(NR.__NR_write, writer, 'x', 1);
    });
    const fds = put(new Uint8Array(Int32Array.of(reader, POLLIN, writer, 0).buffer));
    let before = yield* now();
    assert.equal(yield* call(NR.__NR_poll, fds, 2, 2), 0);
    const timeout = (yield* now()) - before;
    assert.ok(timeout >= 2n * MS && timeout < 3n * MS, `timed out after ${timeout} ns`);
    before = yield* now();
    assert.equal(yield* call(NR.__NR_poll, fds, 2, -1), 1);
    assert.equal(int32(fds, 1) >> 16, POLLIN);
    const woken = (yield* now()) - before;
    assert.ok(woken >= 1n * MS && woken < 3n * MS, `woken after ${woken} ns`);
    yield* waitFor(child);
    const both = put(new Uint8Array(Int32Array.of(reader, POLLIN, writer, POLLOUT).buffer));
    assert.equal(yield* call(NR.__NR_poll, both, 2, -1), 2);
  });
});

test('ppoll waits under its own signal mask and leaves the old one behind', () => {
  runInit(function* () {
    const block = new Uint8Array(BigUint64Array.of(1n << 9n).buffer);
    const none = new Uint8Array(8);
    yield* call(NR.__NR_rt_sigprocmask, 0, block, 0, 8);
    let handled = 0;
    cpu.current!.body = function* handler() { handled++; };
    yield* call(NR.__NR_rt_sigaction, 10, new Uint8Array(BigUint64Array.of(4096n, 0n, 0n, 0n).buffer), 0, 8);
    yield* call(NR.__NR_kill, yield* call(NR.__NR_getpid), 10);
    assert.equal(handled, 0);
    assert.equal(yield* call(NR.__NR_ppoll, 0, 0, timespec(5n * MS), 0, 8), 0);
    assert.equal(handled, 0);
    assert.equal(yield* call(NR.__NR_ppoll, 0, 0, timespec(5n * MS), none, 8), -EINTR);
    assert.equal(handled, 1);
    const old = buffer(8);
    yield* call(NR.__NR_rt_sigprocmask, 0, 0, old, 8);
    assert.equal(new BigUint64Array(get(old, 8).buffer)[0], 1n << 9n);
    assert.equal(yield* call(NR.__NR_ppoll, 0, 0, timespec(MS), none, 8), 0);
    yield* call(NR.__NR_rt_sigprocmask, 0, 0, old, 8);
    assert.equal(new BigUint64Array(get(old, 8).buffer)[0], 1n << 9n);
  });
});

test('select returns the time that was left', () => {
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    const child = yield* fork(function* () {
      yield* sleep(4n * MS);
      yield* call(NR.__NR_write, writer, 'x', 1);
    });
    const set = put(Uint8Array.of(1 << reader, 0, 0, 0, 0, 0, 0, 0));
    const time = put(new Uint8Array(BigInt64Array.of(0n, 10_000n).buffer));
    assert.equal(yield* call(NR.__NR_select, reader + 1, set, 0, 0, time), 1);
    assert.equal(get(set, 1)[0], 1 << reader);
    const left = new BigInt64Array(get(time, 16).buffer);
    assert.ok(left[0] === 0n && left[1]! > 5000n && left[1]! <= 6000n, `${left[1]} us left`);
    yield* waitFor(child);
  });
});

test('eventfd and epoll wake who waits for them', () => {
  runInit(function* () {
    const event = yield* call(NR.__NR_eventfd2, 0, 0);
    const ep = yield* call(NR.__NR_epoll_create1, 0);
    const wanted = Uint8Array.of(1, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0);
    assert.equal(yield* call(NR.__NR_epoll_ctl, ep, 1, event, wanted), 0);
    const child = yield* fork(function* () {
      yield* sleep(3n * MS);
      yield* call(NR.__NR_write, event, new Uint8Array(BigUint64Array.of(5n).buffer), 8);
    });
    const out = buffer(12);
    assert.equal(yield* call(NR.__NR_epoll_wait, ep, out, 1, -1), 1);
    assert.equal(get(out, 12)[4], 42);
    const at = buffer(8);
    assert.equal(yield* call(NR.__NR_read, event, at, 8), 8);
    assert.equal(new BigUint64Array(get(at, 8).buffer)[0], 5n);
    yield* waitFor(child);
    assert.equal(yield* call(NR.__NR_epoll_wait, ep, out, 1, 3), 0);
  });
});

test('a timerfd counts its expirations', () => {
  runInit(function* () {
    const timer = yield* call(NR.__NR_timerfd_create, 1, O_NONBLOCK);
    const at = buffer(8);
    assert.equal(yield* call(NR.__NR_timerfd_settime, timer, 0, new Uint8Array(BigInt64Array.of(0n, 2_000_000n, 0n, 1_000_000n).buffer), 0), 0);
    assert.equal(yield* call(NR.__NR_read, timer, at, 8), -EAGAIN);
    yield* sleep(6n * MS);
    assert.equal(yield* call(NR.__NR_read, timer, at, 8), 8);
    assert.equal(new BigUint64Array(get(at, 8).buffer)[0], 3n);
  });
});

test('opening a FIFO waits for the other end, even for one that comes and goes at once', () => {
  runInit(function* () {
    yield* call(NR.__NR_mknod, '/p', 0o010644, 0);
    const writer = yield* fork(function* () {
      yield* sleep(4n * MS);
      const fd = yield* call(NR.__NR_open, '/p', 1, 0);
      yield* call(NR.__NR_write, fd, 'abc', 3);
    });
    const before = yield* now();
    const fd = yield* call(NR.__NR_open, '/p', 0, 0);
    assert.ok(fd > 0);
    const waited = (yield* now()) - before;
    assert.ok(waited >= 4n * MS && waited < 5n * MS, `opened after ${waited} ns`);
    yield* waitFor(writer);
    const at = buffer(8);
    assert.equal(yield* call(NR.__NR_read, fd, at, 8), 3);
    assert.equal(yield* call(NR.__NR_read, fd, at, 8), 0);
    yield* call(NR.__NR_close, fd);
    const killed = yield* fork(function* () { yield* call(NR.__NR_open, '/p', 0, 0); });
    yield* sleep(MS);
    yield* call(NR.__NR_kill, killed, 9);
    assert.equal(yield* waitFor(killed), 9);
    assert.equal(yield* call(NR.__NR_open, '/p', 1 | O_NONBLOCK, 0), -6);
  });
});

test('a descriptor closed by another thread stays open for the read that sleeps on it', () => {
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    const CLONE_THREAD = 0x10f00; // VM, FS, FILES, SIGHAND, THREAD
    cpu.current!.body = function* thread() {
      yield* sleep(3n * MS);
      yield* call(NR.__NR_close, reader);
      yield* call(NR.__NR_write, writer, 'late', 4);
      yield* call(NR.__NR_exit, 0);
    };
    assert.ok((yield* call(NR.__NR_clone, CLONE_THREAD, 0, 0, 0, 0)) > 0);
    const at = buffer(8);
    assert.equal(yield* call(NR.__NR_read, reader, at, 8), 4);
    assert.equal(text(at, 4), 'late');
    assert.equal(yield* call(NR.__NR_read, reader, at, 8), -9);
    assert.equal(yield* call(NR.__NR_fcntl, writer, 1032, 0), 65536);
  });
});

test('a process killed in a sleeping call gives back what the call held', () => {
  runInit(function* () {
    const [reader, writer] = yield* pipe();
    const event = yield* call(NR.__NR_eventfd2, 0, 0);
    const ep = yield* call(NR.__NR_epoll_create1, 0);
    const sleepers: (() => Sys<number>)[] = [
      () => call(NR.__NR_read, reader, buffer(8), 8), () => call(NR.__NR_read, event, buffer(8), 8), () => call(NR.__NR_epoll_wait, ep, buffer(12), 1, -1),
      () => call(NR.__NR_poll, put(new Uint8Array(Int32Array.of(reader, POLLIN).buffer)), 1, -1),
    ];
    for (const sleeper of sleepers) {
      const child = yield* fork(function* () { yield* sleeper(); });
      yield* sleep(MS);
      yield* call(NR.__NR_kill, child, 9);
      assert.equal(yield* waitFor(child), 9);
    }
    yield* call(NR.__NR_close, reader);
    yield* call(NR.__NR_rt_sigaction, 13, new Uint8Array(BigUint64Array.of(1n, 0n, 0n, 0n).buffer), 0, 8);
    // the last reader is gone: nobody kept the end open
    assert.equal(yield* call(NR.__NR_write, writer, 'x', 1), -EPIPE);
  });
});
