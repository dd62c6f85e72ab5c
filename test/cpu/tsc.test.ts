/** What processors that take turns read from their time stamp counters. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { costs } from '../../machine/costs.ts';
import { runTwo } from './two-processors.ts';

const LOCK = 0x6000, LAST = 0x6040, LESS = 0x6050, SAME = 0x6051, TIMES = 200;
const low = (n: number): number[] => [n & 0xff, n >> 8];

/** TIMES readings, each under the lock and compared with the one before, whose ever that was. */
const READINGS = [
  0xb9, ...low(TIMES),                    // mov cx, TIMES
  0xb0, 0x01,                             // again: mov al, 1
  0x86, 0x06, ...low(LOCK),               // xchg [LOCK], al
  0x84, 0xc0,                             // test al, al
  0x74, 0x04,                             // jz locked
  0xf3, 0x90,                             // pause
  0xeb, 0xf2,                             // jmp again
  0x0f, 0x31,                             // locked: rdtsc
  0x66, 0x3b, 0x06, ...low(LAST),         // cmp eax, [LAST]
  0x73, 0x04,                             // jae +4
  0xfe, 0x06, ...low(LESS),               // inc byte [LESS]
  0x75, 0x04,                             // jne +4
  0xfe, 0x06, ...low(SAME),               // inc byte [SAME]
  0x66, 0xa3, ...low(LAST),               // mov [LAST], eax
  0xc6, 0x06, ...low(LOCK), 0x00,         // mov byte [LOCK], 0
  0xe2, 0xd6,                             // loop again
];

test('a processor reads no time before one that another has read, though its turn begins in the past', () => {
  const r = runTwo([READINGS, READINGS]);
  assert.deepEqual(r.ended, [true, true]);
  assert.equal(r.byte(LESS), 0);
  assert.notEqual(r.byte(SAME), 0, 'the turns of the two overlap');
});

test('alone, a processor reads its own clock', () => {
  const r = runTwo([[0x0f, 0x31, 0x89, 0xc3, 0x0f, 0x31, 0x29, 0xd8], []]);      // rdtsc; mov bx, ax; rdtsc; sub ax, bx
  assert.equal(Number(r.machine.processors[0]!.cpu.gpr[0]! & 0xffffn), 2 + costs.rdtsc);
});
