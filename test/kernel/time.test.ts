import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EINTR, EINVAL, EPERM } from '../../abi/errno.ts';
import type { Sys } from '../../abi/process.ts';
import { SIGALRM } from '../../abi/signal.ts';
import { hrtimer } from '../../kernel/time/hrtimer.ts';
import { get_tsc } from '../../kernel/time/timekeeping.ts';
import { NR, boot, burn, call, fork, mmap, peek32, poke32, self, sigaction, sleep } from './support/boot.ts';

function* now(clock = 1): Sys<number> {
  const page = yield* mmap(4096);
  yield* call(NR.__NR_clock_gettime, clock, page);
  const { space } = self();
  const at = space.resolve(page, false) >>> 3;
  const ns = Number(space.mem.u64[at]! * 1_000_000_000n + space.mem.u64[at + 1]!);
  yield* call(NR.__NR_munmap, page, 4096);
  return ns;
}

test('a sleep lasts what was asked, and not 20 microseconds more, on an idle machine', () => {
  const over: number[] = [];
  boot(function* () {
    for (const ns of [1, 1000, 123_457, 5_000_000, 3_600_000_000_000]) {
      const start = yield* now();
      yield* sleep(ns);
      over.push((yield* now()) - start - ns);
    }
    return 0;
  }, { limit: 1e14 });
  assert.equal(over.length, 5);
  for (const late of over) assert.ok(late >= 0 && late < 20_000, `${late} ns late`);
});

test('computing takes the cycles it declares, and the process clock counts them', () => {
  boot(function* () {
    const start = yield* now();
    const used = yield* now(2);
    burn(7_000_000);
    const after = yield* now();
    assert.ok(after - start >= 7e6 && after - start < 7.1e6, `${after - start}`);
    const cpu = (yield* now(2)) - used;
    assert.ok(cpu >= 7e6 && cpu < 7.1e6, `${cpu}`);
    return 0;
  });
});

test('user time is what programs compute, system time what their calls cost', () => {
  const seen: number[] = [];
  boot(function* () {
    const page = yield* mmap(4096);
    burn(50e6);
    for (let i = 0; i < 1000; i++) yield* call(NR.__NR_getpid);
    yield* call(NR.__NR_getrusage, 0, page);
    const { space } = self();
    const at = space.resolve(page, false) >>> 3;
    seen.push(Number(space.mem.u64[at + 1]), Number(space.mem.u64[at + 3]));
    return 0;
  });
  const [user, system] = seen;
  assert.ok(user! >= 50_000 && user! < 50_500, `${user} us of user time`);
  assert.ok(system! >= 100 && system! < 1000, `${system} us of system time`);
});

test('an interval timer fires again and again', () => {
  let ticks = 0;
  boot(function* () {
    yield* sigaction(SIGALRM, function* () { ticks++; yield* call(NR.__NR_getpid); });
    const page = yield* mmap(4096);
    for (const [offset, value] of [[0, 0], [8, 10_000], [16, 0], [24, 5_000]] as const) poke32(page + offset, value);
    yield* call(NR.__NR_setitimer, 0, page, 0);
    const end = (yield* now()) + 90e6;
    while ((yield* now()) < end) assert.equal(yield* sleep(200e6), -EINTR);
    return 0;
  });
  assert.equal(ticks, 10);
});

test('timers of one processor fire in order of time, equal ones in order of start, also when started late', () => {
  const fired: string[] = [];
  boot(function* () {
    const start = get_tsc();
    for (const [name, at] of [['c', 3000], ['a', 1000], ['b1', 2000], ['b2', 2000], ['past', -5], ['gone', 1500]] as const) {
      const timer = new hrtimer(() => { fired.push(name); });
      timer.start(start + at + 100_000);
      if (name === 'gone') assert.equal(timer.cancel(), true);
    }
    yield* sleep(1e6);
    return 0;
  });
  assert.deepEqual(fired, ['past', 'a', 'b1', 'b2', 'c']);
});

test('a process woken on another processor runs there within the time of an interrupt', () => {
  let late = 0;
  boot(function* () {
    const shared = yield* call(NR.__NR_mmap, 0, 4096, 3, 0x21, -1, 0);
    const mask = yield* mmap(4096);
    poke32(mask, 2);
    yield* fork(function* () {
      yield* call(NR.__NR_sched_setaffinity, 0, 8, mask);
      yield* call(NR.__NR_futex, shared, 0, 0, 0, 0, 0);
      poke32(shared + 4, get_tsc());
      yield* call(NR.__NR_exit_group, 0);
    });
    yield* sleep(5e6);
    const start = get_tsc();
    yield* call(NR.__NR_futex, shared, 1, 1, 0, 0, 0);
    yield* sleep(5e6);
    late = peek32(shared + 4) - start;
    return 0;
  }, { cpus: 2 });
  assert.ok(late > 0 && late < 10_000, `${late} cycles`);
});

test('clocks that are not there are EINVAL, and nobody sets the date', () => {
  boot(function* () {
    const page = yield* mmap(4096);
    assert.equal(yield* call(NR.__NR_clock_gettime, 77, page), -EINVAL);
    assert.equal(yield* call(NR.__NR_clock_settime, 0, page), -EPERM);
    assert.equal(yield* call(NR.__NR_clock_getres, 1, page), 0);
    return 0;
  });
});
