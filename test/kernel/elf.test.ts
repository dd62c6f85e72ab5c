import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ENOEXEC } from '../../abi/errno.ts';
import type { Sys } from '../../abi/process.ts';
import { SIGKILL } from '../../abi/signal.ts';
import { NR, boot, call, fork, mmap, peek32, poke, sleep } from './support/boot.ts';

const program = new Uint8Array(readFileSync(new URL('elf/program.elf', import.meta.url)));

/** What test/kernel/elf/program.c prints on Linux. */
const ON_LINUX = `argc 2
argv1 120
float 5995
caught 10
from me 1
child sees 5
fault at 1191936
status 2304
parent sees 1
thread left 77
timer after spinning 1
bad write -14
no such call -38
sleep 0
`;

const name = (i: number): string => `/root/p${String(i).padStart(4, '0')}`;

/** Runs files one after the other with the arguments NAME x; one that has not ended after `patience` ns is killed. */
function run(files: readonly Uint8Array[], cpus = 1, patience = 100e6): { statuses: number[]; output: string; clocks: number[]; retired: number } {
  const statuses: number[] = [];
  const { output, machine } = boot(function* () {
    const page = yield* mmap(4096);
    for (let i = 0; i < files.length; i++) {
      const child = yield* fork(function* (): Sys<number> {
        poke(page, new TextEncoder().encode(`${name(i)}\0x\0`));
        poke(page + 64, new Uint8Array(new BigUint64Array([BigInt(page), BigInt(page + name(i).length + 1), 0n]).buffer));
        return -(yield* call(NR.__NR_execve, page, page + 64, 0));
      });
      yield* sleep(patience);
      yield* call(NR.__NR_kill, child, SIGKILL);
      yield* call(NR.__NR_wait4, child, page, 0, 0);
      statuses.push(peek32(page));
    }
    return 0;
  }, { cpus, limit: 1e12, files: new Map(files.map((file, i) => [name(i), file])) });
  const lines = output.replaceAll('\r', '').split('\n').filter((line) => !line.startsWith('['));
  return { statuses, output: lines.join('\n'), clocks: machine.processors.map((p) => p.clock), retired: machine.processors.reduce((n, p) => n + p.retired.user, 0) };
}

test('an unmodified static Linux program runs at ring 3: calls, signals, fork, threads, timers; twice the same, to the cycle', () => {
  const first = run([program, program, program], 2);
  assert.equal(first.output, ON_LINUX.repeat(3));
  assert.deepEqual(first.statuses, [42 << 8, 42 << 8, 42 << 8]);
  assert.ok(first.retired > 1000);
  assert.deepEqual(run([program, program, program], 2), first);
});

test('files that are not programs for this machine are ENOEXEC, and damaged ones hurt nobody else', () => {
  const changed = (offset: number, value: number): Uint8Array => {
    const copy = program.slice();
    copy[offset] = value;
    return copy;
  };
  // 32-bit class, another machine, no program headers, headers of another size, cut off
  const foreign = [changed(4, 1), changed(18, 3), changed(56, 0), changed(54, 55), program.slice(0, 40)];
  const damaged: Uint8Array[] = [];
  for (let offset = 24; offset < 250; offset += 3) damaged.push(changed(offset, 0xee));
  const { statuses } = run([...foreign, ...damaged], 1, 1e6);
  assert.deepEqual(statuses.slice(0, foreign.length), foreign.map(() => ENOEXEC << 8));
  assert.equal(statuses.length, foreign.length + damaged.length);
});
