/** Thousands of VMs in one system, one after another: what the kernel and the simulator held for them comes back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Sys } from '../../abi/process.ts';
import { close, fork, munmap, wait4 } from '../../userland/libc.ts';
import { chipsProgram, HLT, machine, next, out } from '../kvm/chips-program.ts';
import { holdings } from '../kvm/fuzz-program.ts';
import { run } from '../support/boot.ts';

const ROUNDS = 100, EACH = 20;

test('2,000 VMs made, run and destroyed leave no frame and no more of the host than noise', () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const held: string[] = [], heap: number[] = [], resident: number[] = [];
  const program = chipsProgram(function* body(sys): Sys {
    const round = function* round(): Sys<number> {
      for (let i = 0; i < EACH; i++) {
        const irqchip = i % 2 === 0;
        const g = yield* machine(sys, irqchip ? { irqchip, pit: true } : {}, [...out(0x10, 1), HLT], []);
        assert.equal(yield* next(g), 'out 10');
        yield* munmap(g.m.runAt, 12288);
        yield* close(g.m.vcpu);
        yield* close(g.m.vm);
        yield* munmap(g.m.mem, g.m.size);
      }
      return 0;
    };
    for (let i = 0; i < ROUNDS; i++) {
      yield* wait4(yield* fork(round));
      if (i % 10 !== 9) continue;
      gc();
      held.push(yield* holdings());
      heap.push(process.memoryUsage().heapUsed / 2 ** 20);
      resident.push(process.memoryUsage().rss / 2 ** 20);
    }
  });
  assert.equal(run({ init: ['-c', 'chips'], programs: [program], cpus: 2, seconds: 600 }).status, 0);
  const said = `heap ${heap.map((n) => n.toFixed(1)).join(' ')} MiB, resident ${resident.map((n) => n.toFixed(0)).join(' ')} MiB`;
  assert.equal(held.length, ROUNDS / 10);
  assert.deepEqual(held.slice(1), held.slice(1).map(() => held[1]), 'what the kernel holds');
  // From the second look on: code that is compiled late and its feedback weigh, but what 1,600 VMs keep would weigh more.
  assert.ok(heap.at(-1)! - heap[1]! < 4, said);
  assert.ok(resident.at(-1)! - resident[1]! < 40, said);
  process.stdout.write(`# ${said}\n`);
});
