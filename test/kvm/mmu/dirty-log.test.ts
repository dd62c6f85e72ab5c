import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../../abi/kvm/index.ts';
import { usleep } from '../../../userland/libc.ts';
import { LOGS, collector, harvest, logOptions, logging, runScript, together } from './dirty-log.ts';
import { HUGE, PAGING, type Paging, begin, contents, create, destroy, inSystem, next, read, stat, write } from './guest.ts';

const PAGES = 2 * HUGE / 4096;

/** Numbers below n, the same in each run. */
function generator(seed: number): (n: number) => number {
  let x = seed;
  return (n) => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return Math.floor(x / 0x1_0000_0000 * n);
  };
}

for (const [parameters, mmu] of [['', 'EPT'], ['ept=0', 'shadow paging']] as const) {
  for (const huge of [false, true]) {
    LOGS.forEach((log, i) => {
      const paging: Paging = PAGING[(i * 2 + (huge ? 1 : 0)) % PAGING.length]!;
      test(`dirty logging finds exactly the pages two vCPUs wrote, and a copy made from it alone is the memory: ${log}, ${huge ? '2M' : '4K'} backing, ${mmu}, ${paging}`, () => {
        let rounds = 0;
        inSystem(function* body(sys) {
          const random = generator(1 + i + (huge ? 100 : 0));
          const vm = yield* create(sys, { paging, bytes: 2 * HUGE, huge, cpus: 2, ...logOptions(log) });
          const c = yield* collector(vm, log);
          // A page is dirty from the fault that maps it writable on: all are mapped before the log begins.
          yield* runScript(c, vm.cpus[0]!, Array.from({ length: PAGES }, (_, page) => write(page)));
          if (huge && mmu === 'EPT') assert.ok((yield* stat(vm, 'pages_2m')) >= 2, 'large entries');
          for (let page = 0; page < PAGES; page++) c.copy[page] = contents(vm, page);
          assert.equal(yield* logging(vm, true), 0);
          if (log === 'initially set') yield* harvest(c);
          for (rounds = 0; rounds < 4; rounds++) {
            c.seen.clear();
            const written = new Set<number>();
            const scripts = vm.cpus.map(() => Array.from({ length: 400 + random(600) }, () => {
              const page = random(4) === 0 ? random(PAGES) : random(60) * 17;
              if (random(3) === 0) return read(page, random(4096));
              written.add(page);
              return write(page, random(4096));
            }));
            const full = yield* together(c, scripts, function* collect() {
              for (let n = 0; n < 5; n++) {
                yield* usleep(30);
                yield* harvest(c);
              }
            });
            if (log !== 'ring') assert.equal(full, 0);
            yield* harvest(c);
            assert.deepEqual([...c.seen].sort((a, b) => a - b), [...written].sort((a, b) => a - b));
            for (let page = 0; page < PAGES; page++) assert.ok(Buffer.compare(c.copy[page]!, contents(vm, page)) === 0, `page ${page} of the copy`);
          }
          if (huge && mmu === 'EPT') {
            assert.equal(yield* logging(vm, false), 0);
            yield* runScript(c, vm.cpus[1]!, Array.from({ length: PAGES }, (_, page) => read(page)));
            assert.ok((yield* stat(vm, 'pages_2m')) >= 2, 'large entries come back');
          }
          yield* destroy(vm);
        }, parameters);
        assert.equal(rounds, 4);
      });
    });
  }
}

test('a vCPU whose ring is full leaves until user space has harvested and reset it', () => {
  inSystem(function* body(sys) {
    const vm = yield* create(sys, { paging: 'long', bytes: 2 * HUGE, huge: false, cpus: 1, ...logOptions('ring') });
    const c = yield* collector(vm, 'ring');
    yield* logging(vm, true);
    const cpu = vm.cpus[0]!;
    yield* begin(vm, cpu, Array.from({ length: 300 }, (_, page) => write(page)));
    // 256 entries, 64 of them in reserve.
    assert.equal(yield* next(cpu), `exit ${K.KVM_EXIT_DIRTY_RING_FULL}`);
    assert.equal(yield* next(cpu), `exit ${K.KVM_EXIT_DIRTY_RING_FULL}`);
    yield* harvest(c);
    assert.deepEqual([...c.seen], Array.from({ length: 192 }, (_, page) => page));
    assert.equal(yield* next(cpu), 'done');
    yield* harvest(c);
    assert.equal(c.seen.size, 300);
    yield* destroy(vm);
  });
});
