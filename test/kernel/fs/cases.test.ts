import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { errnoName } from '../../../abi/errno.ts';
import * as NR from '../../../abi/syscalls.ts';
import type { Sys } from '../../../abi/process.ts';
import { answer, call, fork, get, put, runInit, waitFor } from './program.ts';

/** What real Linux answered: test/recorder/fs-cases.py made the file. */
type Arg = number | string | { r: number } | { b: string; show?: [number, number][] } | { fill: [number, number] } | { o: number; show?: [number, number][] } | { iov: ({ b: string } | { o: number })[] };
interface Step { call: string; args: Arg[]; answer: number; out?: string[] }
interface Case { id: string; steps: Step[] }
const { cases } = JSON.parse(readFileSync(new URL('../../golden/fs-cases.json', import.meta.url), 'utf8')) as { cases: Case[] };


const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');

/** Makes one recorded call; its answer and what it left in its buffers. */
function* make(step: Step, before: number[]): Sys<{ result: number; out: string[] }> {
  const outs: { at: number; size: number; show?: [number, number][] | undefined }[] = [];
  const words = step.args.map((a) => {
    if (typeof a === 'number') return a;
    if (typeof a === 'string') return put(new TextEncoder().encode(`${a}\0`));
    if ('r' in a) return before[a.r]!;
    if ('fill' in a) return put(new Uint8Array(a.fill[1]).fill(a.fill[0]));
    if ('b' in a) {
      const data = bytes(a.b);
      const at = put(data);
      if (a.show !== undefined || step.call === 'poll' || step.call === 'select') outs.push({ at, size: Math.max(1, data.length), show: a.show });
      return at;
    }
    if ('o' in a) {
      const at = put(new Uint8Array(a.o));
      outs.push({ at, size: a.o, show: a.show });
      return at;
    }
    const vector = new BigUint64Array(a.iov.length * 2);
    a.iov.forEach((part, i) => {
      const data = 'b' in part ? bytes(part.b) : new Uint8Array(part.o);
      const at = put(data);
      if ('o' in part) outs.push({ at, size: Math.max(1, part.o) });
      vector[2 * i] = BigInt(at);
      vector[2 * i + 1] = BigInt(data.length);
    });
    return put(new Uint8Array(vector.buffer));
  });
  const result = yield* call((NR as unknown as Record<string, number>)[`__NR_${step.call}`]!, ...words);
  const out = outs.map(({ at, size, show }) => {
    const raw = get(at, size);
    return show === undefined ? hex(raw) : show.map(([offset, n]) => hex(raw.subarray(offset, offset + n))).join('.');
  });
  return { result, out };
}

test('file system calls answer as Linux does, call by call', () => {
  const wrong: string[] = [];
  let compared = 0;
  runInit(function* () {
    for (const [dir, type] of [['/proc', 'proc'], ['/sys', 'sysfs'], ['/tmp', 'tmpfs']] as const) {
      assert.equal(yield* call(NR.__NR_mount, type, dir, type, 0, 0), 0);
    }
    for (const { id, steps } of cases) {
      assert.equal(yield* call(NR.__NR_mkdir, `/tmp/${id}`, 0o755), 0, id);
      const child = yield* fork(function* () {
        yield* call(NR.__NR_chdir, `/tmp/${id}`);
        yield* call(NR.__NR_rt_sigaction, 13, new Uint8Array(BigUint64Array.of(1n, 0n, 0n, 0n).buffer), 0, 8);
        const before: number[] = [];
        for (const [i, step] of steps.entries()) {
          const { result, out } = yield* make(step, before);
          before.push(result);
          compared++;
          const name = `${id}.${i} ${step.call}(${step.args.map((a) => JSON.stringify(a)).join(', ').slice(0, 100)})`;
          if (step.call === 'getpid') continue;
          if (result !== step.answer) wrong.push(`${name}: Linux ${answer(step.answer)}, here ${result < 0 ? errnoName(-result) : result}`);
          else if (out.join() !== (step.out ?? []).join()) wrong.push(`${name}: Linux left ${step.out}, here ${out}`);
        }
      });
      assert.ok(child > 0);
      assert.equal(yield* waitFor(child), 0, id);
    }
  }, { seconds: 600 });
  assert.ok(compared >= 600, `${compared} calls compared`);
  assert.deepEqual(wrong, []);
  console.log(`# ${compared} calls of ${cases.length} cases compared with Linux`);
});
