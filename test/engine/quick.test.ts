/** System instructions that regions do by themselves in their usual case are what their exec rows make of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { generator } from '../support/random.ts';
import { registers } from './program-machine.ts';

const CODE = 0x1000, STACK = 0x9000, DATA = 0x8000;
const LOOP = [
  0x0f, 0x31,                                     // again: rdtsc
  0x48, 0x01, 0xc3,                               // add rbx, rax
  0x9c, 0x5e,                                     // pushf; pop rsi
  0x48, 0x01, 0xf3,                               // add rbx, rsi
  0xfa,                                           // cli
  0x0f, 0x01, 0xf9,                               // rdtscp
  0x48, 0x01, 0xc3, 0x48, 0x01, 0xcb,             // add rbx, rax; add rbx, rcx
  0xf3, 0x90,                                     // pause
  0x66, 0x9c, 0x66, 0x5f,                         // pushfw; pop di
  0x8c, 0xd8, 0x01, 0xc3,                         // mov eax, ds; add ebx, eax
  0x8c, 0x14, 0x25, 0x00, 0x80, 0x00, 0x00,       // mov [DATA], ss
  0xff, 0xcd,                                     // dec ebp
  0x75, 0xd7,                                     // jnz again
  0xeb, 0xfe,                                     // jmp $
];

test('time is read, waited for and flags are saved the same in a region as by exec rows, wherever runs are cut', () => {
  const run = (threshold: number): string[] => {
    const m = new BareMachine(2 << 20);
    m.engine.code.hot.threshold = threshold;
    m.longMode(CODE);
    m.ram.mem.u8.set(LOOP, m.ram.base + CODE);
    m.cpu.gpr[3] = 0n;
    m.cpu.gpr[4] = BigInt(STACK);
    m.cpu.gpr[5] = 700n;
    m.cpu.state.tsc_adjust = 0xf_ffff_0000n;
    m.cpu.state.tsc_offset = 0xffff_ffff_ffff_f000n;
    m.cpu.state.tsc_aux = 5n;
    const random = generator(3);
    const seen: string[] = [];
    for (let i = 0; i < 150; i++) {
      m.run(1 + random(i % 3 === 0 ? 12 : 900));
      seen.push(`${registers(m)} ${m.clock} ${m.ram.mem.u32[(m.ram.base + DATA) >>> 2]}`);
    }
    m.run(100_000);
    seen.push(registers(m));
    assert.equal(m.engine.code.hot.regions > 0, threshold !== Infinity);
    assert.equal(m.cpu.gpr[5], 0n);
    return seen;
  };
  const cold = run(Infinity);
  assert.deepEqual(run(1), cold);
  assert.deepEqual(run(10), cold);
});
