import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EINTR, EINVAL, ESRCH } from '../../abi/errno.ts';
import type { Sys } from '../../abi/process.ts';
import { CLONE_FILES, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM } from '../../abi/sched.ts';
import { SA_RESETHAND, SA_RESTART, SIGALRM, SIGCHLD, SIGCONT, SIGKILL, SIGSEGV, SIGSTOP, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, sigmask } from '../../abi/signal.ts';
import { WCONTINUED, WNOHANG, WUNTRACED } from '../../abi/wait.ts';
import { NR, boot, burn, call, clone, fork, mmap, peek32, poke32, self, sigaction, sleep } from './support/boot.ts';

const THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;

/** Forks a child that runs `body`, waits for its end and gives the status. */
function* child(body: () => Sys<number | undefined | void>, meanwhile: (pid: number) => Sys<void>): Sys<number> {
  const page = yield* mmap(4096);
  const pid = yield* fork(body);
  yield* sleep(1e6);
  yield* meanwhile(pid);
  yield* call(NR.__NR_wait4, pid, page, 0, 0);
  return peek32(page);
}
const kill = (pid: number, sig: number): Sys<number> => call(NR.__NR_kill, pid, sig);
function* forever(): Sys<void> { for (;;) { burn(500_000); yield* call(NR.__NR_getpid); } }
function* sleeper(): Sys<void> { for (;;) yield* sleep(3600e9); }

function run<T>(body: (seen: T[]) => Sys<void>, cpus = 1): T[] {
  const seen: T[] = [];
  const { status, output } = boot(function* () { yield* body(seen); return 0; }, { cpus });
  assert.equal(status, 0, output);
  return seen;
}

test('the default action of a signal kills, of a busy process as of a sleeping one', () => {
  const seen = run<number>(function* (seen) {
    for (const body of [forever, sleeper]) for (const sig of [SIGTERM, SIGKILL, SIGUSR1]) seen.push(yield* child(body, function* (pid) { yield* kill(pid, sig); }));
  });
  assert.deepEqual(seen, [15, 9, 10, 15, 9, 10]);
});

test('a handler runs between two steps of the program, which then goes on where it was', () => {
  const seen = run<string>(function* (seen) {
    yield* child(function* () {
      yield* sigaction(SIGUSR1, function* () { seen.push('handler'); yield* call(NR.__NR_getpid); seen.push('still'); });
      seen.push('before');
      burn(5e6);
      const pid = yield* call(NR.__NR_getpid);
      seen.push(pid > 1 ? 'after' : 'wrong');
    }, function* (pid) { yield* kill(pid, SIGUSR1); });
  });
  assert.deepEqual(seen, ['before', 'handler', 'still', 'after']);
});

test('a blocking call ends with EINTR after a handler, and is made again under SA_RESTART', () => {
  const seen = run<number>(function* (seen) {
    for (const flags of [0, SA_RESTART]) {
      yield* child(function* () {
        yield* sigaction(SIGUSR1, function* () { yield* call(NR.__NR_getpid); }, flags);
        const pair = yield* mmap(4096);
        yield* call(NR.__NR_pipe, pair);
        const [r, w] = [peek32(pair), peek32(pair + 4)];
        yield* fork(function* () { yield* sleep(5e6); yield* call(NR.__NR_write, w, pair, 3); yield* call(NR.__NR_exit_group, 0); });
        seen.push(yield* call(NR.__NR_read, r, pair, 10));
      }, function* (pid) { yield* kill(pid, SIGUSR1); });
    }
  });
  assert.deepEqual(seen, [-EINTR, 3]);
});

test('nanosleep goes on after a stop and ends with EINTR after a handler', () => {
  const seen = run<number>(function* (seen) {
    const t = yield* mmap(4096);
    const status = yield* child(function* () {
      const result = yield* sleep(20e6);
      yield* call(NR.__NR_exit_group, result === 0 ? 1 : 2);
    }, function* (pid) {
      yield* kill(pid, SIGSTOP);
      seen.push((yield* call(NR.__NR_wait4, pid, t, WUNTRACED, 0)) === pid ? peek32(t) : 0);
      yield* sleep(1e6);
      yield* kill(pid, SIGCONT);
      seen.push((yield* call(NR.__NR_wait4, pid, t, WCONTINUED, 0)) === pid ? peek32(t) : 0);
    });
    seen.push(status);
  });
  assert.deepEqual(seen, [0x137f, 0xffff, 1 << 8]);
});

test('a blocked signal waits until it is unblocked, and one of each kind is kept', () => {
  const seen = run<string>(function* (seen) {
    const page = yield* mmap(4096);
    const mask = (sig: bigint) => { self().space.mem.u64[self().space.resolve(page, true) >>> 3] = sig; };
    let count = 0;
    yield* sigaction(SIGUSR1, function* () { count++; yield* call(NR.__NR_getpid); });
    mask(sigmask(SIGUSR1));
    yield* call(NR.__NR_rt_sigprocmask, 0, page, 0, 8);
    const me = yield* call(NR.__NR_getpid);
    yield* kill(me, SIGUSR1);
    yield* kill(me, SIGUSR1);
    seen.push(`blocked ${count}`);
    yield* call(NR.__NR_rt_sigpending, page + 8, 8);
    seen.push(`pending ${self().space.mem.u64[self().space.resolve(page + 8, false) >>> 3]}`);
    yield* call(NR.__NR_rt_sigprocmask, 1, page, 0, 8);
    seen.push(`unblocked ${count}`);
  });
  assert.deepEqual(seen, ['blocked 0', `pending ${sigmask(SIGUSR1)}`, 'unblocked 1']);
});

test('SIGKILL and SIGSTOP can be neither caught nor blocked', () => {
  const seen = run<number>(function* (seen) {
    for (const sig of [SIGKILL, SIGSTOP]) seen.push(yield* sigaction(sig, function* () { yield; }));
    seen.push(yield* child(function* () {
      const page = yield* mmap(4096);
      poke32(page, -1); poke32(page + 4, -1);
      yield* call(NR.__NR_rt_sigprocmask, 2, page, 0, 8);
      yield* sleeper();
    }, function* (pid) { yield* kill(pid, SIGTERM); yield* sleep(1e6); yield* kill(pid, SIGKILL); }));
  });
  assert.deepEqual(seen, [-EINVAL, -EINVAL, 9]);
});

test('SA_RESETHAND gives one call of the handler, the next signal its default', () => {
  const seen = run<number>(function* (seen) {
    seen.push(yield* child(function* () {
      yield* sigaction(SIGUSR2, function* () { seen.push(1); yield* call(NR.__NR_getpid); }, SA_RESETHAND);
      yield* sleeper();
    }, function* (pid) { yield* kill(pid, SIGUSR2); yield* sleep(1e6); yield* kill(pid, SIGUSR2); }));
  });
  assert.deepEqual(seen, [1, SIGUSR2]);
});

test('a handler of SIGSEGV runs once; when it returns, the faulting access kills', () => {
  const seen = run<number>(function* (seen) {
    seen.push(yield* child(function* () {
      yield* sigaction(SIGSEGV, function* () { seen.push(1); yield* call(NR.__NR_getpid); });
      yield* sleep(2e6);
      peek32(64);
      seen.push(2);
    }, function* () { yield* sleep(1e6); }));
  });
  assert.deepEqual(seen, [1, SIGSEGV]);
});

test('SIGCHLD comes at the end of a child, and ignoring it leaves no zombie', () => {
  const seen = run<number>(function* (seen) {
    let count = 0;
    yield* sigaction(SIGCHLD, function* () { count++; yield* call(NR.__NR_getpid); });
    yield* fork(function* () { yield* call(NR.__NR_exit_group, 0); });
    yield* sleep(5e6);
    seen.push(count);
    seen.push((yield* call(NR.__NR_wait4, -1, 0, WNOHANG, 0)) > 0 ? 1 : 0);
    const page = yield* mmap(4096);
    poke32(page, 1);
    yield* call(NR.__NR_rt_sigaction, SIGCHLD, page, 0, 8);
    const pid = yield* fork(function* () { yield* call(NR.__NR_exit_group, 0); });
    yield* sleep(5e6);
    seen.push(yield* kill(pid, 0));
  });
  assert.deepEqual(seen, [1, 1, -ESRCH]);
});

test('alarm interrupts a sleep after its time', () => {
  const seen = run<number>(function* (seen) {
    yield* sigaction(SIGALRM, function* () { seen.push(14); yield* call(NR.__NR_getpid); });
    yield* call(NR.__NR_alarm, 2);
    seen.push(yield* sleep(10e9));
    seen.push(yield* call(NR.__NR_alarm, 0));
  });
  assert.deepEqual(seen, [14, -EINTR, 0]);
});

test('kill of a negative number reaches the whole group, and nobody outside it', () => {
  const seen = run<number>(function* (seen) {
    const page = yield* mmap(4096);
    const leader = yield* fork(function* () {
      yield* call(NR.__NR_setpgid, 0, 0);
      yield* fork(sleeper);
      yield* sleeper();
    });
    const outside = yield* fork(sleeper);
    yield* sleep(5e6);
    seen.push(yield* kill(-leader, SIGTERM));
    yield* call(NR.__NR_wait4, leader, page, 0, 0);
    seen.push(peek32(page));
    yield* sleep(1e6);
    seen.push((yield* call(NR.__NR_wait4, -1, page, 0, 0)) === outside ? 0 : peek32(page));
    seen.push(yield* kill(outside, 0), yield* kill(-leader, 0));
    yield* kill(outside, SIGKILL);
  });
  assert.deepEqual(seen, [0, SIGTERM, SIGTERM, 0, -ESRCH]);
});

test('a stop signal from the terminal does not stop an orphaned group', () => {
  const seen = run<number>(function* (seen) {
    const page = yield* mmap(4096);
    yield* call(NR.__NR_setsid);
    const pid = yield* fork(function* () { yield* call(NR.__NR_setsid); yield* sleep(20e6); yield* call(NR.__NR_exit_group, 3); });
    yield* sleep(1e6);
    yield* kill(pid, SIGTSTP);
    yield* call(NR.__NR_wait4, pid, page, WUNTRACED, 0);
    seen.push(peek32(page));
  });
  assert.deepEqual(seen, [3 << 8]);
});

test('a signal to one thread is handled by that thread; a fatal one ends all', () => {
  const seen = run<number>(function* (seen) {
    seen.push(yield* child(function* () {
      const page = yield* mmap(4096);
      yield* sigaction(SIGUSR1, function* () { poke32(page, yield* call(NR.__NR_gettid)); });
      const tid = yield* clone(THREAD, sleeper);
      yield* clone(THREAD, forever);
      yield* call(NR.__NR_tgkill, yield* call(NR.__NR_getpid), tid, SIGUSR1);
      yield* sleep(1e6);
      seen.push(peek32(page) - tid);
      yield* call(NR.__NR_tgkill, yield* call(NR.__NR_getpid), tid, SIGTERM);
      yield* sleeper();
    }, function* () { yield* sleep(1e6); }));
  }, 2);
  assert.deepEqual(seen, [0, SIGTERM]);
});
