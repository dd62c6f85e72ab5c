import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sys } from '../../../abi/process.ts';
import { SCHED_FIFO } from '../../../abi/sched.ts';
import { find_task_by_vpid } from '../../../kernel/pid.ts';
import { task_runtime } from '../../../kernel/sys.ts';
import { NR, boot, burn, call, fork, mmap, poke32, self, sleep } from '../support/boot.ts';

/** Runs for ever, in stretches that do not fit any period of the scheduler. */
function* busy(): Sys<void> {
  for (;;) {
    burn(1_234_567);
    yield* call(NR.__NR_getpid);
  }
}

const runtime = (pid: number): number => task_runtime(find_task_by_vpid(pid)!);
const withinPercent = (actual: number, expected: number, percent: number): void =>
  assert.ok(Math.abs(actual / expected - 1) <= percent / 100, `${actual} is not within ${percent} % of ${expected}`);

/** Cycles that busy processes of those nice values got in one virtual second. */
function shares(nices: readonly number[], cpus: number): number[] {
  const got: number[] = [];
  boot(function* () {
    const pids: number[] = [];
    for (const nice of nices) {
      pids.push(yield* fork(function* () {
        yield* call(NR.__NR_setpriority, 0, 0, nice);
        yield* busy();
      }));
    }
    yield* sleep(50e6);
    const before = pids.map(runtime);
    yield* sleep(1e9);
    got.push(...pids.map((pid, i) => runtime(pid) - before[i]!));
    return 0;
  }, { cpus });
  return got;
}

test('nice 0 and nice 10 share a processor as 1024 to 110, within 2 % over one second', () => {
  const [a, b] = shares([0, 10], 1);
  withinPercent(a! / b!, 1024 / 110, 2);
  withinPercent(a! + b!, 1e9, 1);
});

test('equal weights share equally, three on one processor', () => {
  for (const got of shares([0, 0, 0], 1)) withinPercent(got, 1e9 / 3, 1);
});

test('two busy processes on two processors each have one', () => {
  for (const got of shares([0, 5], 2)) withinPercent(got, 1e9, 1);
});

test('four busy processes on two processors get half of one each', () => {
  for (const got of shares([0, 0, 0, 0], 2)) withinPercent(got, 5e8, 5);
});

test('three busy processes on two processors take turns, each with two thirds of one', () => {
  for (const got of shares([0, 0, 0], 2)) withinPercent(got, 2e9 / 3, 10);
});

test('SCHED_FIFO runs before every fair task, and a sleeping one preempts at once when it wakes', () => {
  let latency = Number.POSITIVE_INFINITY;
  let ran = 0;
  boot(function* () {
    const param = yield* mmap(4096);
    poke32(param, 50);
    const hog = yield* fork(busy);
    yield* call(NR.__NR_sched_setscheduler, 0, SCHED_FIFO, param);
    const before = runtime(hog);
    for (let i = 0; i < 20; i++) {
      const start = yield* now();
      yield* sleep(3e6 + i * 1000);
      latency = Math.min(latency, (yield* now()) - start - 3e6 - i * 1000);
      ran++;
    }
    assert.ok(runtime(hog) > before);
    return 0;
  });
  assert.equal(ran, 20);
  assert.ok(latency >= 0 && latency < 50_000, `${latency} cycles late`);
});

function* now(): Sys<number> {
  const page = yield* mmap(4096);
  yield* call(NR.__NR_clock_gettime, 1, page);
  const { space } = self();
  const at = space.resolve(page, false) >>> 3;
  const ns = Number(space.mem.u64[at]! * 1_000_000_000n + space.mem.u64[at + 1]!);
  yield* call(NR.__NR_munmap, page, 4096);
  return ns;
}

test('affinity moves a running task, and it stays where it may run', () => {
  const seen: number[] = [];
  boot(function* () {
    const mask = yield* mmap(4096);
    const child = yield* fork(busy);
    for (const cpu of [0, 2, 1, 3]) {
      poke32(mask, 1 << cpu);
      assert.equal(yield* call(NR.__NR_sched_setaffinity, child, 8, mask), 0);
      yield* sleep(10e6);
      seen.push(find_task_by_vpid(child)!.cpu);
    }
    poke32(mask, 0);
    seen.push(yield* call(NR.__NR_sched_setaffinity, child, 8, mask));
    return 0;
  }, { cpus: 4 });
  assert.deepEqual(seen, [0, 2, 1, 3, -22]);
});

test('the same start gives the same run: clocks, switches and run times of every processor', () => {
  const run = (): unknown => {
    const { machine } = boot(function* () {
      for (let i = 0; i < 5; i++) {
        yield* fork(function* () {
          for (let n = 0; n < 200; n++) {
            burn(100_000 + i * 777);
            yield* sleep(50_000 * (i + 1));
          }
        });
      }
      while ((yield* call(NR.__NR_wait4, -1, 0, 0, 0)) > 0);
      return 0;
    }, { cpus: 3 });
    return machine.processors.map((p) => p.clock);
  };
  assert.deepEqual(run(), run());
});
