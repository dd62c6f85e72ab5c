import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as NR from '../../../abi/syscalls.ts';
import { call, readFile, runInit } from './program.ts';

test('the first process writes to the console and reads files of proc', () => {
  const { output } = runInit(function* () {
    assert.equal(yield* call(NR.__NR_write, 1, 'hello\n', 6), 6);
    assert.equal(yield* call(NR.__NR_mkdir, '/proc', 0o755), -17);
    assert.equal(yield* call(NR.__NR_mount, 'proc', '/proc', 'proc', 0, 0), 0);
    assert.match(yield* readFile('/proc/version'), /^Linux version 6/);
    console.log(yield* readFile('/proc/self/stat'));
    console.log(yield* readFile('/proc/self/status'));
    console.log(yield* readFile('/proc/self/maps'));
    console.log(yield* readFile('/proc/meminfo'));
    console.log(yield* readFile('/proc/stat'));
    console.log(yield* readFile('/proc/interrupts'));
    console.log(yield* readFile('/proc/cpuinfo'));
    console.log(yield* readFile('/proc/mounts'));
    console.log(yield* readFile('/proc/self/mountinfo'));
    console.log(yield* readFile('/proc/self/limits'));
    console.log(yield* readFile('/proc/self/smaps'));
  });
  assert.match(output, /hello\r?\n$/);
});
