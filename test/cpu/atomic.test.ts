/** Two processors of a bare machine on the same memory: what one does at once the other sees whole. SDM Vol. 3 ch. 9.1, 9.1.2.2. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CS, type CpuState, DS, SS } from '../../machine/cpu/state.ts';
import { runTwo } from './two-processors.ts';

const low = (n: number): number[] => [n & 0xff, n >> 8];
const TIMES = 1000, PAUSE = [0xf3, 0x90];

test('no LOCKed addition is lost, within a page or across two', () => {
  for (const at of [0x6000, 0x6ffe]) {
    const add = [0xb9, ...low(TIMES), 0xf0, 0x66, 0xff, 0x06, ...low(at), ...PAUSE, 0xe2, 0xf6];       // mov cx, TIMES; 1: lock inc dword [at]; pause; loop 1b
    const r = runTwo([add, add]);
    assert.deepEqual(r.ended, [true, true]);
    assert.equal(r.byte(at) | r.byte(at + 1) << 8, 2 * TIMES);
  }
});

test('who takes a lock by CMPXCHG is alone until it gives it back', () => {
  const LOCK = 0x6000, FIRST = 0x6002, SECOND = 0x6004, APART = 0x6006;
  const body = [
    0xb9, ...low(TIMES),                                          // mov cx, TIMES
    0x31, 0xc0, 0xbb, 0x01, 0x00,                                 // 1: xor ax, ax; mov bx, 1
    0xf0, 0x0f, 0xb1, 0x1e, ...low(LOCK), 0x74, 0x04,             // lock cmpxchg [LOCK], bx; je 2f
    ...PAUSE, 0xeb, 0xef,                                         // pause; jmp 1b
    0xff, 0x06, ...low(FIRST), ...PAUSE, 0xff, 0x06, ...low(SECOND),    // 2: inc word [FIRST]; pause; inc word [SECOND]
    0xa1, ...low(FIRST), 0x3b, 0x06, ...low(SECOND), 0x74, 0x04,  // mov ax, [FIRST]; cmp ax, [SECOND]; je 3f
    0xff, 0x06, ...low(APART),                                    // inc word [APART]
    0xc7, 0x06, ...low(LOCK), 0x00, 0x00, 0xe2, 0xd0,             // 3: mov word [LOCK], 0; loop 1b
  ];
  const r = runTwo([body, body], undefined, 10_000_000);
  assert.deepEqual(r.ended, [true, true]);
  assert.equal(r.byte(FIRST) | r.byte(FIRST + 1) << 8, 2 * TIMES);
  assert.equal(r.byte(APART), 0);
});

test('a walk that sets accessed and dirty flags and a LOCKed change of the same entry lose nothing of each other', () => {
  const DIRECTORY = 0x1_0000, TABLE = 0x1_1000, PAGE = 0x2_0000, ENTRY = TABLE + 4 * (PAGE >> 12), LOST = 0x6000;
  const address = (n: number): number[] => [0, 8, 16, 24].map((shift) => n >>> shift & 0xff);
  // mov ecx, TIMES; 1: lock xor dword [ENTRY], 200h; pause; loop 1b
  const toggle = [0xb9, ...address(TIMES + 1), 0xf0, 0x81, 0x35, ...address(ENTRY), ...address(0x200), ...PAUSE, 0xe2, 0xf1];
  const touch = [
    0xb9, ...address(TIMES),                                      // mov ecx, TIMES
    0xf0, 0x83, 0x25, ...address(ENTRY), 0x9f,                    // 1: lock and dword [ENTRY], ~60h
    0x0f, 0x01, 0x3d, ...address(PAGE),                           // invlpg [PAGE]
    0xa3, ...address(PAGE), ...PAUSE,                             // mov [PAGE], eax; pause
    0x8b, 0x05, ...address(ENTRY), 0xf7, 0xd0, 0xa8, 0x60, 0x74, 0x06,  // mov eax, [ENTRY]; not eax; test al, 60h; jz 2f
    0xff, 0x05, ...address(LOST),                                 // inc dword [LOST]
    0xe2, 0xd7,                                                   // 2: loop 1b
  ];
  const setUp = (cpu: CpuState): void => {
    const { u32 } = cpu.mem;
    u32[(cpu.ram + DIRECTORY) >>> 2] = TABLE | 3;
    for (let page = 0; page < 256; page++) u32[(cpu.ram + TABLE + 4 * page) >>> 2] = page << 12 | 3;
    for (const seg of [CS, DS, SS]) cpu.setSegment(seg, 8, 0n, 0xffff_ffff, seg === CS ? 0xc09b : 0xc093);
    cpu.state.cr3 = BigInt(DIRECTORY);
    cpu.state.cr0 = 0x8001_0031n;
  };
  const r = runTwo([toggle, touch], setUp);
  assert.deepEqual(r.ended, [true, true]);
  assert.equal(r.byte(LOST), 0);
  assert.deepEqual([r.byte(ENTRY) & 0x60, r.byte(ENTRY + 1) & 2], [0x60, 2], 'an odd number of changes');
});
