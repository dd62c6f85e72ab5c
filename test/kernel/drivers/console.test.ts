import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as NR from '../../../abi/syscalls.ts';
import { POLLIN } from '../../../abi/poll.ts';
import { ScriptedConsole, buffer, call, fork, int32, put, runInit, text, waitFor } from '../fs/program.ts';

const sleep = (ms: number) => call(NR.__NR_nanosleep, new Uint8Array(BigInt64Array.of(0n, BigInt(ms) * 1_000_000n).buffer), 0);

test('a scripted console is asked for input only while somebody waits for it', () => {
  const lines = ['a first line, longer than the FIFO\n', 'a second line, longer than the FIFO\n'];
  const console = new ScriptedConsole(lines);
  runInit(function* () {
    const at = buffer(64);
    yield* sleep(5);
    assert.equal(console.asked, 0);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), lines[0]!.length);
    assert.equal(text(at, lines[0]!.length), lines[0]);
    const { asked } = console;
    yield* sleep(5);
    assert.equal(console.asked, asked);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), lines[1]!.length);
    assert.equal(text(at, lines[1]!.length), lines[1]);
  }, { console });
});

test('a reader with half a line keeps asking until the line is whole', () => {
  const console = new ScriptedConsole(['he', 'llo', ' world\nrest']);
  runInit(function* () {
    const at = buffer(64);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), 12);
    assert.equal(text(at, 12), 'hello world\n');
  }, { console });
});

test('the end of the script reads as end of file, again and again, and output still goes through', () => {
  const console = new ScriptedConsole(['last\n']);
  const { output } = runInit(function* () {
    const at = buffer(64);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), 5);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), 0);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), 0);
    const fds = put(new Uint8Array(Int32Array.of(0, POLLIN).buffer));
    assert.equal(yield* call(NR.__NR_poll, fds, 1, -1), 1);
    assert.equal(yield* call(NR.__NR_write, 1, 'still here\n', 11), 11);
  }, { console });
  assert.match(output, /still here/);
});

test('input without a final newline is delivered before the end of file', () => {
  const console = new ScriptedConsole(['no newline']);
  runInit(function* () {
    const at = buffer(64);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), 10);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), 0);
  }, { console });
});

test('poll that waits for console input makes the console send', () => {
  const console = new ScriptedConsole(['x\n']);
  runInit(function* () {
    const fds = put(new Uint8Array(Int32Array.of(0, POLLIN).buffer));
    assert.equal(yield* call(NR.__NR_poll, fds, 1, 0), 0);
    assert.equal(console.asked, 0);
    assert.equal(yield* call(NR.__NR_poll, fds, 1, -1), 1);
    assert.equal(int32(fds, 1) >> 16, POLLIN);
  }, { console });
});

test('input waits for the program that reads it, not for one that runs before', () => {
  const console = new ScriptedConsole(['first\nsecond\nthird\n']);
  runInit(function* () {
    const at = buffer(64);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), 6);
    const child = yield* fork(function* () {
      assert.equal(yield* call(NR.__NR_read, 0, at, 64), 7);
      assert.equal(text(at, 7), 'second\n');
    });
    assert.equal(yield* waitFor(child), 0);
    assert.equal(yield* call(NR.__NR_read, 0, at, 64), 6);
    assert.equal(text(at, 6), 'third\n');
  }, { console });
});

test('a large script passes through the line discipline without loss', () => {
  const lines = Array.from({ length: 2000 }, (_, i) => `line ${i} ${'x'.repeat(i % 60)}\n`);
  const console = new ScriptedConsole([lines.join('')]);
  runInit(function* () {
    const at = buffer(256);
    for (const line of lines) {
      const n = yield* call(NR.__NR_read, 0, at, 256);
      assert.equal(text(at, n), line);
    }
    assert.equal(yield* call(NR.__NR_read, 0, at, 256), 0);
  }, { console });
});

test('kmsg shows the log one record a read and takes new ones', () => {
  runInit(function* () {
    const fd = yield* call(NR.__NR_open, '/dev/kmsg', 0o4002, 0);
    const at = buffer(2048);
    const n = yield* call(NR.__NR_read, fd, at, 2048);
    assert.match(text(at, n), /^\d,0,0,-;Linux version [^\n]*\n$/);
    assert.equal(yield* call(NR.__NR_read, fd, at, 10), -22);
    assert.equal(yield* call(NR.__NR_write, fd, '<3>from user space', 18), 18);
    let last = '';
    for (;;) {
      const m = yield* call(NR.__NR_read, fd, at, 2048);
      if (m === -11) break;
      assert.ok(m > 0);
      last = text(at, m);
    }
    assert.match(last, /^3,\d+,\d+,-;from user space\n$/);
  });
});
