import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EIO, ENOTTY, ENXIO, EPERM, ESRCH } from '../../../abi/errno.ts';
import { O_NOCTTY, O_RDWR } from '../../../abi/fcntl.ts';
import { type Sys, cpu } from '../../../abi/process.ts';
import { SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH } from '../../../abi/signal.ts';
import * as NR from '../../../abi/syscalls.ts';
import { TIOCGPGRP, TIOCGSID, TIOCGWINSZ, TIOCNOTTY, TIOCSCTTY, TIOCSPGRP, TOSTOP, TCGETS, TCSETS } from '../../../abi/termios.ts';
import type { Machine } from '../../../machine/machine.ts';
import type { Kernel } from '../../../kernel/index.ts';
import { ScriptedConsole, buffer, call, fork, get, int32, put, runInit, text, waitFor } from '../fs/program.ts';

class Terminal extends ScriptedConsole { override readonly isTerminal = true as unknown as false; }

const WUNTRACED = 2;
const WCONTINUED = 8;
const stopped = (sig: number): number => (sig << 8) | 0x7f;
const sleep = (ms: number): Sys<number> => call(NR.__NR_nanosleep, new Uint8Array(BigInt64Array.of(0n, BigInt(ms) * 1_000_000n).buffer), 0);
const int = (n: number): Uint8Array => new Uint8Array(Int32Array.of(n).buffer);
function* handle(sig: number, body: () => void): Sys<void> {
  cpu.current!.body = function* handler() { body(); };
  assert.equal(yield* call(NR.__NR_rt_sigaction, sig, new Uint8Array(BigUint64Array.of(4096n, 0n, 0n, 0n).buffer), 0, 8), 0);
}
const ignore = (sig: number): Sys<number> => call(NR.__NR_rt_sigaction, sig, new Uint8Array(BigUint64Array.of(1n, 0n, 0n, 0n).buffer), 0, 8);

/** Runs `body` in a process that leads a session with ttyS0 as its terminal, open as descriptor 3. */
function onTerminal(body: (type: (keys: string) => void, kernel: Kernel) => Sys<void>): string {
  let machine!: Machine;
  let kernel!: Kernel;
  const type = (keys: string) => machine.uart.receive(new TextEncoder().encode(keys));
  return runInit(function* () {
    const leader = yield* fork(function* () {
      assert.ok((yield* call(NR.__NR_setsid)) > 0);
      assert.equal(yield* call(NR.__NR_open, '/dev/ttyS0', O_RDWR, 0), 3);
      yield* body(type, kernel);
    });
    assert.equal(yield* waitFor(leader), 0);
  }, { console: new Terminal(), prepare: (m, k) => { machine = m; kernel = k; } }).output;
}

/** A child in a process group of its own. */
function* job(foreground: boolean, body: () => Sys<number | void>): Sys<number> {
  const pid = yield* fork(function* () {
    yield* call(NR.__NR_setpgid, 0, 0);
    if (foreground) {
      yield* ignore(SIGTTOU);
      assert.equal(yield* call(NR.__NR_ioctl, 3, TIOCSPGRP.nr, int(yield* call(NR.__NR_getpid))), 0);
    }
    return yield* body();
  });
  yield* call(NR.__NR_setpgid, pid, pid);
  return pid;
}

test('a session leader without a terminal gets the first one it opens, unless O_NOCTTY; /dev/console never becomes one', () => {
  runInit(function* () {
    const child = yield* fork(function* () {
      assert.equal(yield* call(NR.__NR_open, '/dev/tty', O_RDWR, 0), -ENXIO);
      const pid = yield* call(NR.__NR_setsid);
      assert.equal(yield* call(NR.__NR_open, '/dev/console', O_RDWR, 0), 3);
      assert.equal(yield* call(NR.__NR_open, '/dev/ttyS0', O_RDWR | O_NOCTTY, 0), 4);
      assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCGPGRP.nr, buffer(4)), -ENOTTY);
      assert.equal(yield* call(NR.__NR_open, '/dev/tty', O_RDWR, 0), -ENXIO);
      assert.equal(yield* call(NR.__NR_ioctl, 3, TIOCSCTTY.nr, 0), 0);
      const at = buffer(4);
      assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCGPGRP.nr, at), 0);
      assert.equal(int32(at), pid);
      assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCGSID.nr, at), 0);
      assert.equal(int32(at), pid);
      assert.equal(yield* call(NR.__NR_open, '/dev/tty', O_RDWR, 0), 5);
      const thief = yield* fork(function* () {
        yield* call(NR.__NR_setsid);
        assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCSCTTY.nr, 0), -EPERM);
        assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCGPGRP.nr, buffer(4)), -ENOTTY);
      });
      assert.equal(yield* waitFor(thief), 0);
      assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCSPGRP.nr, int(-5)), -22);
      assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCSPGRP.nr, int(9999)), -ESRCH);
      assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCSPGRP.nr, int(1)), -ESRCH);
      yield* handle(SIGHUP, () => {});
      assert.equal(yield* call(NR.__NR_ioctl, 4, TIOCNOTTY.nr, 0), 0);
      assert.equal(yield* call(NR.__NR_open, '/dev/tty', O_RDWR, 0), -ENXIO);
    });
    assert.equal(yield* waitFor(child), 0);
  });
});

test('typed signal characters reach the foreground group and nobody else', () => {
  onTerminal(function* (type) {
    let background = 0;
    yield* handle(SIGINT, () => { background++; });
    for (const [key, sig] of [['\x03', SIGINT], ['\x1c', SIGQUIT]] as const) {
      const pid = yield* job(true, function* () {
        yield* call(NR.__NR_rt_sigaction, SIGINT, new Uint8Array(32), 0, 8);
        yield* sleep(50);
      });
      yield* sleep(5);
      type(key);
      assert.equal((yield* waitFor(pid)) & 0x7f, sig);
    }
    assert.equal(background, 0);
  });
});

test('the suspend character stops the foreground group, SIGCONT goes on with it', () => {
  onTerminal(function* (type) {
    const pid = yield* job(true, function* () { yield* sleep(20); return 7; });
    yield* sleep(5);
    type('\x1a');
    assert.equal(yield* waitFor(pid, WUNTRACED), stopped(SIGTSTP));
    yield* sleep(40);
    yield* call(NR.__NR_kill, -pid, SIGCONT);
    assert.equal(yield* waitFor(pid, WCONTINUED), 0xffff);
    assert.equal(yield* waitFor(pid), 7 << 8);
  });
});

test('a background job that reads the terminal stops with SIGTTIN and reads once it is in the foreground', () => {
  onTerminal(function* (type) {
    const pid = yield* job(false, function* () {
      const at = buffer(16);
      const n = yield* call(NR.__NR_read, 3, at, 16);
      return text(at, n) === 'words\n' ? 5 : 6;
    });
    assert.equal(yield* waitFor(pid, WUNTRACED), stopped(SIGTTIN));
    assert.equal(yield* call(NR.__NR_ioctl, 3, TIOCSPGRP.nr, int(pid)), 0);
    yield* call(NR.__NR_kill, -pid, SIGCONT);
    type('words\n');
    assert.equal(yield* waitFor(pid), 5 << 8);
  });
});

test('a background job may write, but not with TOSTOP, and may not change the terminal', () => {
  const output = onTerminal(function* () {
    const writer = yield* job(false, function* () { yield* call(NR.__NR_write, 3, 'free\n', 5); });
    assert.equal(yield* waitFor(writer), 0);
    const termios = buffer(64);
    yield* call(NR.__NR_ioctl, 3, TCGETS.nr, termios);
    const bytes = get(termios, 36);
    new DataView(bytes.buffer).setUint32(12, new DataView(bytes.buffer).getUint32(12, true) | TOSTOP, true);
    const changed = put(bytes);
    const setter = yield* job(false, function* () { return -(yield* call(NR.__NR_ioctl, 3, TCSETS.nr, changed)); });
    assert.equal(yield* waitFor(setter, WUNTRACED), stopped(SIGTTOU));
    yield* call(NR.__NR_kill, setter, 9);
    yield* waitFor(setter);
    const bold = yield* job(false, function* () {
      yield* ignore(SIGTTOU);
      return -(yield* call(NR.__NR_ioctl, 3, TCSETS.nr, changed));
    });
    assert.equal(yield* waitFor(bold), 0);
    const held = yield* job(false, function* () { yield* call(NR.__NR_write, 3, 'held\n', 5); });
    assert.equal(yield* waitFor(held, WUNTRACED), stopped(SIGTTOU));
    yield* call(NR.__NR_kill, held, 9);
    yield* waitFor(held);
  });
  assert.match(output, /free/);
  assert.doesNotMatch(output, /held/);
});

test('an orphaned group is not stopped: its reads fail with EIO', () => {
  onTerminal(function* () {
    const result = buffer(8);
    yield* call(NR.__NR_pipe2, result, 0);
    const [reader, writer] = [int32(result), int32(result, 1)];
    const parent = yield* fork(function* () {
      yield* call(NR.__NR_setpgid, 0, 0);
      yield* fork(function* () {
        yield* sleep(10);
        yield* call(NR.__NR_write, writer, int(yield* call(NR.__NR_read, 3, buffer(4), 4)), 4);
      });
    });
    assert.equal(yield* waitFor(parent), 0);
    const at = buffer(4);
    assert.equal(yield* call(NR.__NR_read, reader, at, 4), 4);
    assert.equal(int32(at), -EIO);
  });
});

test('a new window size is stored and tells the foreground group by SIGWINCH', () => {
  onTerminal(function* (_type, kernel) {
    const at = buffer(8);
    yield* call(NR.__NR_ioctl, 3, TIOCGWINSZ.nr, at);
    assert.deepEqual([...new Uint16Array(get(at, 8).buffer)], [24, 80, 0, 0]);
    let told = 0;
    yield* handle(SIGWINCH, () => { told++; });
    kernel.machine.at(kernel.machine.now() + 1000, () => kernel.resizeConsole(100, 40));
    yield* sleep(1);
    yield* call(NR.__NR_getpid);
    assert.equal(told, 1);
    yield* call(NR.__NR_ioctl, 3, TIOCGWINSZ.nr, at);
    assert.deepEqual([...new Uint16Array(get(at, 8).buffer)], [40, 100, 0, 0]);
  });
});

test('when the session leader exits, the foreground group gets SIGHUP and files of the terminal are dead', () => {
  runInit(function* () {
    const result = buffer(8);
    yield* call(NR.__NR_pipe2, result, 0);
    const [reader, writer] = [int32(result), int32(result, 1)];
    const leader = yield* fork(function* () {
      yield* call(NR.__NR_setsid);
      assert.equal(yield* call(NR.__NR_open, '/dev/ttyS0', O_RDWR, 0), 5);
      yield* fork(function* () {
        let hangups = 0;
        yield* handle(SIGHUP, () => { hangups++; });
        yield* sleep(30);
        const answers = [hangups, yield* call(NR.__NR_read, 5, buffer(4), 4), yield* call(NR.__NR_write, 5, 'x', 1), yield* call(NR.__NR_open, '/dev/tty', O_RDWR, 0)];
        yield* call(NR.__NR_write, writer, new Uint8Array(Int32Array.from(answers).buffer), 16);
      });
      yield* sleep(5);
    });
    assert.equal(yield* waitFor(leader), 0);
    const at = buffer(16);
    assert.equal(yield* call(NR.__NR_read, reader, at, 16), 16);
    assert.deepEqual([int32(at), int32(at, 1), int32(at, 2), int32(at, 3)], [1, 0, -EIO, -ENXIO]);
    assert.equal(yield* call(NR.__NR_write, 1, 'alive\n', 6), 6);
  });
});
