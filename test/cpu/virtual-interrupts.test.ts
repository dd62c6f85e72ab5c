/** CR4.VME and CR4.PVI: VIF in IF's place, and the redirection of INT n. SDM Vol. 3 ch. 21. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuidLeaf } from '../../machine/cpu/cpuid.ts';
import {
  CS, X86_CR4_PVI, X86_CR4_VME, X86_EFLAGS_IF, X86_EFLAGS_IOPL, X86_EFLAGS_TF, X86_EFLAGS_VIF, X86_EFLAGS_VIP, X86_EFLAGS_VM, updateMode, DS, ES, FS, GS, SS,
} from '../../machine/cpu/state.ts';
import { TSS, TestCpu, enterProtected, enterUser } from './support.ts';

const CLI = [0xfa], STI = [0xfb], PUSHF = [0x9c], POPF = [0x9d], IRET = [0xcf], INT = (n: number): number[] => [0xcd, n];
const WIDE = 0x66, SP = 0x7000, PROGRAM = 0x200;

/** Virtual-8086 mode at 0x200:0x10, stack 0:0x7000, with these flags, and CR4.VME. */
function vm86(flags: number, cr4 = X86_CR4_VME): TestCpu {
  const t = new TestCpu();
  enterProtected(t);
  const { cpu } = t;
  cpu.state.cr4 = cr4;
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0, 0n, 0xffff, 0xf3);
  cpu.setSegment(CS, PROGRAM, BigInt(PROGRAM * 16), 0xffff, 0xf3);
  cpu.rip = 0x10n;
  cpu.gpr[4] = BigInt(SP);
  cpu.engine.writeFlags(cpu, flags | X86_EFLAGS_VM | 2);
  updateMode(cpu);
  return t;
}
const verdict = (t: TestCpu, code: readonly number[]) => { const f = t.execute(...code); return f && [f.vector, f.error]; };
const flags = (t: TestCpu): number => t.cpu.engine.readFlags(t.cpu) & ~(X86_EFLAGS_VM | 2);
const GP = [13, 0];

test('CPUID offers virtual-8086 extensions', () => {
  assert.equal(cpuidLeaf(new TestCpu().cpu, 1, 0).edx & 2, 2);
});

test('below IOPL 3 CLI and STI move VIF, and STI with VIP set is #GP', () => {
  const t = vm86(X86_EFLAGS_IF);
  assert.equal(verdict(t, STI), undefined);
  assert.equal(flags(t), X86_EFLAGS_IF | X86_EFLAGS_VIF);
  assert.equal(verdict(t, CLI), undefined);
  assert.equal(flags(t), X86_EFLAGS_IF);
  assert.deepEqual(verdict(vm86(X86_EFLAGS_VIP), STI), GP);
  assert.deepEqual([verdict(vm86(0, 0n), STI), verdict(vm86(0, 0n), CLI)], [GP, GP], 'without CR4.VME');
  const own = vm86(X86_EFLAGS_IOPL);
  assert.equal(verdict(own, STI), undefined);
  assert.equal(flags(own), X86_EFLAGS_IOPL | X86_EFLAGS_IF, 'at IOPL 3 it is IF');
});

test('CR4.PVI gives CLI and STI of ring 3 in protected mode the same, and PUSHF nothing', () => {
  const t = new TestCpu();
  enterUser(t);
  assert.deepEqual(verdict(t, CLI), GP);
  t.cpu.state.cr4 = X86_CR4_PVI;
  assert.equal(verdict(t, STI), undefined);
  assert.equal(flags(t), X86_EFLAGS_VIF);
  assert.equal(verdict(t, PUSHF), undefined);
  assert.equal(t.read32(Number(t.cpu.gpr[4])), X86_EFLAGS_VIF | 2);
  assert.equal(verdict(t, CLI), undefined);
  assert.equal(flags(t), 0);
});

test('PUSHF shows VIF as IF and IOPL 3; POPF and IRET load IF into VIF; their 32-bit forms are #GP', () => {
  const t = vm86(X86_EFLAGS_VIF | 1);
  assert.equal(verdict(t, PUSHF), undefined);
  assert.equal(t.read16(SP - 2), X86_EFLAGS_IOPL | X86_EFLAGS_IF | 3);
  t.write16(SP - 2, X86_EFLAGS_IOPL | 0x40);
  assert.equal(verdict(t, POPF), undefined);
  assert.deepEqual([flags(t), t.cpu.gpr[4]], [0x40, BigInt(SP)]);
  for (const code of [PUSHF, POPF, IRET]) assert.deepEqual(verdict(vm86(0), [WIDE, ...code]), GP);
  for (const [image, vip] of [[X86_EFLAGS_TF, 0], [X86_EFLAGS_IF, X86_EFLAGS_VIP]] as const) {
    for (const code of [POPF, IRET]) {
      const refused = vm86(vip);
      [image, image, image].forEach((value, i) => refused.write16(SP + 2 * i, value));
      assert.deepEqual(verdict(refused, code), GP);
      assert.equal(refused.cpu.gpr[4], BigInt(SP), 'nothing has changed');
    }
  }
  const back = vm86(0);
  [0x1234, 0x300, X86_EFLAGS_IF].forEach((value, i) => back.write16(SP + 2 * i, value));
  assert.equal(verdict(back, IRET), undefined);
  assert.deepEqual([back.cpu.rip, back.cpu.selector(CS), flags(back)], [0x1234n, 0x300, X86_EFLAGS_VIF]);
});

test("INT n goes to the program's own table where the bitmap has 0, and else to the IDT, below IOPL 3 by #GP", () => {
  const MAP = 0x88;
  const redirecting = (initial: number): TestCpu => {
    const t = vm86(initial);
    t.write16(TSS + 0x66, MAP);
    t.cpu.setSegment(7, 0x28, BigInt(TSS), MAP + 8, 0x8b);
    t.write(TSS + MAP - 32, new Array(32).fill(0xff));
    t.write(TSS + MAP - 32 + 2, [0xfd]);
    t.write32(0x11 * 4, 0x0400_0567);
    return t;
  };
  const t = redirecting(X86_EFLAGS_VIF | X86_EFLAGS_IF);
  assert.equal(verdict(t, INT(0x11)), undefined);
  assert.deepEqual([t.cpu.selector(CS), t.cpu.segBase(CS), t.cpu.rip, flags(t)], [0x400, 0x4000n, 0x567n, X86_EFLAGS_IF]);
  assert.deepEqual([t.read16(SP - 6), t.read16(SP - 4), t.read16(SP - 2)], [0x12, PROGRAM, X86_EFLAGS_IOPL | X86_EFLAGS_IF | 2]);
  const own = redirecting(X86_EFLAGS_IOPL | X86_EFLAGS_IF);
  assert.equal(verdict(own, INT(0x11)), undefined);
  assert.equal(flags(own), X86_EFLAGS_IOPL);
  assert.deepEqual(verdict(redirecting(0), INT(0x12)), GP);
  const short = redirecting(0);
  short.cpu.setSegment(7, 0x28, BigInt(TSS), MAP - 32, 0x8b);
  assert.deepEqual(verdict(short, INT(0x11)), GP);
});
