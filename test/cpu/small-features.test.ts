/** Features of a few instructions each: UMIP, RDPID, RDRAND and RDSEED. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GP_VECTOR } from '../../machine/cpu/exceptions.ts';
import { X86_CR4_UMIP, X86_EFLAGS_ARITHMETIC, X86_EFLAGS_CF } from '../../machine/cpu/state.ts';
import { writeMsr } from '../../machine/cpu/msrs.ts';
import { TestCpu, enterProtected, enterUser } from './support.ts';
import { runTwo } from './two-processors.ts';

const STORES: Readonly<Record<string, readonly number[]>> = {
  SGDT: [0x0f, 0x01, 0x05, 0, 0x70, 0, 0], SIDT: [0x0f, 0x01, 0x0d, 0, 0x70, 0, 0], SLDT: [0x0f, 0x00, 0xc0], STR: [0x0f, 0x00, 0xc8], SMSW: [0x0f, 0x01, 0xe0],
};

test('with CR4.UMIP ring 3 is told nothing of tables, task and CR0, and ring 0 all', () => {
  for (const [name, bytes] of Object.entries(STORES)) {
    const user = new TestCpu(), kernel = new TestCpu();
    enterUser(user);
    enterProtected(kernel);
    assert.equal(user.execute(...bytes), undefined, `${name} without UMIP`);
    for (const { cpu } of [user, kernel]) cpu.state.cr4 |= X86_CR4_UMIP;
    const fault = user.execute(...bytes);
    assert.deepEqual([fault?.vector, fault?.error], [GP_VECTOR, 0], name);
    assert.equal(kernel.execute(...bytes), undefined, `${name} in ring 0`);
  }
});

test('RDPID reads IA32_TSC_AUX, in ring 3 too', () => {
  const t = new TestCpu();
  enterUser(t);
  assert.equal(writeMsr(t.cpu, 0xc000_0103, 0x8765_4321n), true);
  assert.equal(t.execute(0xf3, 0x0f, 0xc7, 0xf9), undefined);
  assert.equal(t.cpu.gpr[1], 0x8765_4321n);
});

test('RDRAND and RDSEED set CF alone of the flags, draw anew each time, and the same on the same machine', () => {
  // rdrand eax; mov [6000h], eax; rdseed eax; mov [6004h], eax; pushf
  const code = [0x66, 0x0f, 0xc7, 0xf0, 0x66, 0xa3, 0x00, 0x60, 0x66, 0x0f, 0xc7, 0xf8, 0x66, 0xa3, 0x04, 0x60, 0x9c];
  const draw = () => {
    const r = runTwo([code, []]);
    const word = (at: number): number => [3, 2, 1, 0].reduce((value, i) => value * 256 + r.byte(at + i), 0);
    return { drawn: [word(0x6000), word(0x6004)], flags: r.byte(0x7ffe) | r.byte(0x7fff) << 8 };
  };
  const first = draw();
  assert.equal(first.flags & X86_EFLAGS_ARITHMETIC, X86_EFLAGS_CF);
  assert.notEqual(first.drawn[0], first.drawn[1]);
  assert.deepEqual(draw(), first);
});
