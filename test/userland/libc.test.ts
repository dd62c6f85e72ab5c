/** The C library: what a program sees of memory, errors, threads, signals, and printf's formats. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Program, ProgramMain, Sys } from '../../abi/process.ts';
import { EBADF, EFAULT } from '../../abi/errno.ts';
import { KVM_SET_REGS, kvm_regs, kvm_sregs } from '../../abi/kvm/index.ts';
import { POLLIN } from '../../abi/poll.ts';
import { SIGALRM, SIGUSR1, SIG_BLOCK, SIG_UNBLOCK } from '../../abi/signal.ts';
import { addressOf, array, u32, u64 } from '../../abi/struct.ts';
import { TIOCGWINSZ, winsize } from '../../abi/termios.ts';
import { __NR_getpid, __NR_write } from '../../abi/syscalls.ts';
import { WEXITSTATUS, WTERMSIG } from '../../abi/wait.ts';
import * as c from '../../userland/libc.ts';
import { run } from './boot.ts';

const program = (main: ProgramMain): Program => ({ name: 'prog', main: c._start(main) });
const output = (main: ProgramMain): string => run('prog', { programs: [program(main)] }).output;

test('a failed call throws Errno, which names the call, the text and the number', () => {
  assert.equal(output(function* main() {
    try {
      yield* c.close(99);
    } catch (e) {
      if (!(e instanceof c.Errno)) throw e;
      yield* c.puts(`${e.message} ${e.errno === EBADF} ${e.text}`);
    }
  }), 'close: Bad file descriptor (EBADF) true Bad file descriptor\n');
});

test('an error nobody catches ends the program with a line and status 1, not a stack trace', () => {
  const { output: printed, status } = run('prog', { programs: [program(function* main() {
    yield* c.open('/nothere');
  })] });
  assert.equal(printed, 'prog: open: No such file or directory (ENOENT)\n');
  assert.equal(status, 1);
});

test('ioctl takes the struct its request names, in user memory, and no other', () => {
  assert.equal(output(function* main() {
    const size = yield* c.alloc(winsize);
    yield* c.ioctl(0, TIOCGWINSZ, size);
    yield* c.printf('%d %d\n', size.ws_row, size.ws_col);
    const sregs = yield* c.alloc(kvm_sregs);
    try {
      // @ts-expect-error KVM_SET_REGS takes a kvm_regs
      yield* c.ioctl(0, KVM_SET_REGS, sregs);
    } catch (e) {
      if (!(e instanceof c.Errno)) throw e;
    }
    try {
      yield* c.ioctl(0, TIOCGWINSZ, winsize.make());
    } catch (e) {
      if (!(e instanceof TypeError)) throw e;
      yield* c.puts(e.message);
    }
    void kvm_regs;
  }), '24 80\na winsize handed to the kernel must lie in user memory: make it with alloc()\n');
});

test('malloc gives zeroed memory that no other block overlaps, and free gives it back', () => {
  assert.equal(output(function* main() {
    const seen: [number, number][] = [];
    for (const n of [1, 16, 17, 100, 4096, 4097, 70_000, 300_000]) {
      const at = yield* c.malloc(n);
      for (const [from, to] of seen) if (at < to && at + n > from) return 1;
      seen.push([at, at + n]);
      if (at % 16 !== 0 || c.loadBytes(at, n).some((b) => b !== 0)) return 2;
      c.storeBytes(at, new Uint8Array(n).fill(255));
    }
    for (const [at] of seen) yield* c.free(at);
    const again = yield* c.malloc(100);
    if (c.loadBytes(again, 100).some((b) => b !== 0)) return 3;
    try {
      yield* c.free(12345);
    } catch {
      yield* c.puts('invalid pointer');
    }
    return 0;
  }), 'invalid pointer\n');
});

test('a child has a copy of memory, and mapped shared memory in common', () => {
  assert.equal(output(function* main() {
    const own = yield* c.malloc(4);
    const shared = yield* c.mmap(0, 4096, 3, 0x21, -1, 0);
    const pid = yield* c.fork(function* child() {
      c.storeBytes(own, Uint8Array.of(7));
      c.storeBytes(shared, Uint8Array.of(9));
      return 5;
    });
    const { status } = yield* c.wait4(pid);
    yield* c.printf('%d %d %d\n', c.loadBytes(own, 1)[0] ?? -1, c.loadBytes(shared, 1)[0] ?? -1, WEXITSTATUS(status));
  }), '0 9 5\n');
});

test('threads share memory and descriptors, and are joined', () => {
  assert.equal(output(function* main() {
    const cell = yield* c.alloc(array(u32, 1));
    const threads: c.pthread_t[] = [];
    for (const n of [1, 2, 3]) {
      threads.push(yield* c.pthread_create(function* body() {
        yield* c.usleep(10 * n);
        cell.set(0, cell.get(0) + n);
        return n * n;
      }, `worker ${n}`));
    }
    let sum = 0;
    for (const thread of threads) sum += Number(yield* c.pthread_join(thread));
    yield* c.printf('%d %d\n', cell.get(0), sum);
  }), '6 14\n');
});

test('a handler runs between two steps, and a blocked signal waits', () => {
  assert.equal(output(function* main() {
    let log = '';
    yield* c.sigaction(SIGUSR1, function* handler(n) {
      log += `[${n}]`;
      yield* c.getpid();
    });
    const me = yield* c.getpid();
    yield* c.kill(me, SIGUSR1);
    log += 'a';
    yield* c.sigprocmask(SIG_BLOCK, c.sigset(SIGUSR1));
    yield* c.kill(me, SIGUSR1);
    log += 'b';
    yield* c.sigprocmask(SIG_UNBLOCK, c.sigset(SIGUSR1));
    yield* c.puts(log);
  }), '[10]ab[10]\n');
});

test('a signal cuts a sleep short and says what was left', () => {
  assert.equal(output(function* main() {
    yield* c.sigaction(SIGALRM, function* handler() {});
    yield* c.alarm(1);
    const left = yield* c.sleep(3);
    yield* c.printf('%.2f\n', left);
  }), '2.00\n');
});

test('a stray access kills the program with SIGSEGV; a stray pointer in a call is EFAULT', () => {
  assert.equal(output(function* main() {
    yield* c.printf('%d\n', yield* c.syscall(__NR_write, 1, 0xdead000, 4));
    const pid = yield* c.fork(function* child() {
      try {
        c.view(u64, 0x10);
      } catch {
        yield* c.puts('never: a fault cannot be caught for good');
      }
      return 0;
    });
    const { status } = yield* c.wait4(pid);
    yield* c.printf('%d\n', WTERMSIG(status));
  }), `${-EFAULT}\n11\n`);
});

test('poll waits for a pipe, and getline reads its lines', () => {
  assert.equal(output(function* main() {
    const [reader, writer] = yield* c.pipe();
    yield* c.fork(function* child() {
      yield* c.usleep(100);
      yield* c.write(writer, 'one\ntwo');
      return 0;
    });
    yield* c.close(writer);
    const request = { fd: reader, events: POLLIN, revents: 0 };
    yield* c.printf('%d ', yield* c.poll([request], -1));
    for (let line = yield* c.getline(reader); line !== undefined; line = yield* c.getline(reader)) yield* c.printf('%s.', line);
    yield* c.puts('');
  }), '1 one.two.\n');
});

test('the form without a generator makes the same call', () => {
  assert.equal(output(function* main(): Sys<number> {
    c.arm(__NR_getpid);
    const pid = yield;
    yield* c.puts(String(pid === (yield* c.getpid())));
    return 0;
  }), 'true\n');
});

test('addresses of structs follow the page tables: a view sees what another view of the address stored', () => {
  assert.equal(output(function* main() {
    const regs = yield* c.alloc(kvm_regs);
    regs.rip = 0x1234n;
    const other = c.view(kvm_regs, addressOf(regs));
    other.rip++;
    yield* c.printf('%#llx\n', regs.rip);
  }), '0x1235\n');
});

// What glibc 2.36 prints.
const FORMATS: readonly (readonly [string, readonly c.FormatArgument[], string])[] = [
  ['%d|%5d|%-5d|%05d|%+d|% d', [42, 42, 42, 42, 42, 42], '42|   42|42   |00042|+42| 42'],
  ['%d %i %u', [-1, -7, -1], '-1 -7 4294967295'],
  ['%x %X %#x %#o %o', [255, 255, 255, 8, 8], 'ff FF 0xff 010 10'],
  ['%lld %llx', [-5n, -1n], '-5 ffffffffffffffff'],
  ['%s|%5s|%-5s|%.2s', ['abc', 'abc', 'abc', 'abc'], 'abc|  abc|abc  |ab'],
  ['%c%c %%', ['x', 65], 'xA %'],
  ['%.3d|%8.3d|%08.3d', [5, 5, 5], '005|     005|     005'],
  ['%f %.2f %8.3f|%-8.1f|%08.2f', [1.5, 2.5, 3.24159, 2.5, -1.5], '1.500000 2.50    3.242|2.5     |-0001.50'],
  ['%e %.2e %g %g %g', [12345.678, 0.00012, 0.0001, 1e10, 100000], '1.234568e+04 1.20e-04 0.0001 1e+10 100000'],
  ['%*d|%-*d|%.*f', [5, 42, 5, 42, 2, 1.005], '   42|42   |1.00'],
  ['%p', [0x7fff0000], '0x7fff0000'],
];
test('printf formats as glibc does', () => {
  for (const [format, args, expected] of FORMATS) assert.equal(c.sprintf(format, ...args), expected, format);
  assert.throws(() => c.sprintf('%d'), TypeError);
});
