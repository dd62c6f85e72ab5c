import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PFERR_USER, PFERR_WRITE, combine } from '../../machine/cpu/exceptions.ts';
import { INTR_TYPE_EXT_INTR } from '../../machine/cpu/hooks.ts';
import { deliver, takeEvents } from '../../machine/cpu/interrupts.ts';
import {
  ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, CS, DS, EVENT_INTERRUPT, EVENT_NMI, SS, X86_EFLAGS_IF, X86_EFLAGS_RF, X86_EFLAGS_TF, updateMode,
} from '../../machine/cpu/state.ts';
import { CONFORMING_CS, IST1, KERNEL_CS, KERNEL_CS64, KERNEL_DS, STACK0, STACK3, TSS, TestCpu, USER_CS, USER_CS64, USER_DS, enterLong, enterProtected, enterUser, setGate } from './support.ts';

const INT = (n: number) => [0xcd, n] as const;
const IRET = 0xcf;
const flagsOf = (t: TestCpu) => t.cpu.engine.readFlags(t.cpu);

test('real mode: INT goes through the IVT, IRET comes back, IF and TF are cleared on the way', () => {
  const t = new TestCpu();
  const { cpu } = t;
  cpu.setSegment(CS, 0x100, 0x1000n, 0xffff, 0x9b);
  cpu.setSegment(SS, 0, 0n, 0xffff, 0x93);
  cpu.gpr[4] = 0x7000n;
  cpu.rip = 0x10n;
  cpu.engine.writeFlags(cpu, X86_EFLAGS_IF | 0x41 | 2);
  t.write32(0x21 * 4, 0x2000_0034);
  assert.equal(t.execute(...INT(0x21)), undefined);
  assert.deepEqual([cpu.selector(CS), cpu.segBase(CS), cpu.rip, cpu.gpr[4]], [0x2000, 0x2_0000n, 0x34n, 0x6ffan]);
  assert.deepEqual([t.read16(0x6ffa), t.read16(0x6ffc), t.read16(0x6ffe)], [0x12, 0x100, 0x243]);
  assert.equal(flagsOf(t) & X86_EFLAGS_IF, 0);
  assert.equal(t.execute(IRET), undefined);
  assert.deepEqual([cpu.selector(CS), cpu.rip, cpu.gpr[4], flagsOf(t)], [0x100, 0x12n, 0x7000n, 0x243]);
});

test('real mode: a vector beyond the IVT limit is #GP, and with no room for that a shutdown', () => {
  const t = new TestCpu();
  t.cpu.state.idtr_limit = 0x1f;
  t.cpu.gpr[4] = 0x7000n;
  assert.equal(t.run(...INT(0x21)), 'shutdown');
  assert.equal(t.cpu.state.activity, ACTIVITY_SHUTDOWN);
});

test('a stack that wraps at 64 KiB keeps the upper half of ESP', () => {
  const t = new TestCpu();
  t.cpu.gpr[4] = 0xabcd_0004n;
  t.write32(0x21 * 4, 0x0000_0100);
  assert.equal(t.execute(...INT(0x21)), undefined);
  assert.equal(t.cpu.gpr[4], 0xabcd_fffen);
});

test('protected mode: an interrupt gate clears IF, a trap gate leaves it', () => {
  for (const [access, after] of [[0x8e, 0], [0x8f, X86_EFLAGS_IF]] as const) {
    const t = new TestCpu();
    enterProtected(t);
    setGate(t, 0x30, KERNEL_CS, 0x1234_5678, access);
    t.cpu.engine.writeFlags(t.cpu, X86_EFLAGS_IF | X86_EFLAGS_TF | 2);
    assert.equal(t.execute(...INT(0x30)), undefined);
    assert.equal(t.cpu.rip, 0x1234_5678n);
    assert.equal(flagsOf(t) & (X86_EFLAGS_IF | X86_EFLAGS_TF), after);
    assert.deepEqual([t.read32(STACK0 - 12), t.read32(STACK0 - 8), t.read32(STACK0 - 4)], [0x4002, KERNEL_CS, 0x302]);
    assert.equal(t.execute(IRET), undefined);
    assert.deepEqual([t.cpu.rip, t.cpu.gpr[4]], [0x4002n, BigInt(STACK0)]);
  }
});

test('protected mode: a 16-bit gate pushes words and enters at a 16-bit offset', () => {
  const t = new TestCpu();
  enterProtected(t);
  setGate(t, 0x30, KERNEL_CS, 0x5678, 0x86);
  assert.equal(t.execute(...INT(0x30)), undefined);
  assert.deepEqual([t.cpu.rip, t.cpu.gpr[4], t.read16(STACK0 - 6)], [0x5678n, BigInt(STACK0 - 6), 0x4002]);
});

test('ring 3 to ring 0: the stack comes from the TSS, SS and ESP are pushed, and IRET goes back', () => {
  const t = new TestCpu();
  enterUser(t);
  const { cpu } = t;
  setGate(t, 0x80, KERNEL_CS, 0x6000, 0xee);
  assert.equal(t.execute(...INT(0x80)), undefined);
  assert.deepEqual([cpu.cpl, cpu.selector(CS), cpu.selector(SS), cpu.gpr[4]], [0, KERNEL_CS, KERNEL_DS, BigInt(STACK0 - 20)]);
  assert.deepEqual([0, 4, 8, 12, 16].map((i) => t.read32(STACK0 - 20 + i)), [0x4002, USER_CS, 2, STACK3, USER_DS]);
  cpu.setSegment(DS, KERNEL_DS, 0n, 0xffff_ffff, 0xc093);
  assert.equal(t.execute(IRET), undefined);
  assert.deepEqual([cpu.cpl, cpu.selector(CS), cpu.selector(SS), cpu.gpr[4], cpu.rip], [3, USER_CS, USER_DS, BigInt(STACK3), 0x4002n]);
  assert.equal(cpu.selector(DS), 0, 'a ring 0 data segment does not stay with ring 3');
});

test('INT n through a gate ring 3 may not use is #GP with the vector and the IDT bit', () => {
  const t = new TestCpu();
  enterUser(t);
  setGate(t, 0x30, KERNEL_CS, 0x6000, 0x8e);
  const fault = t.execute(...INT(0x30));
  assert.deepEqual([fault?.vector, fault?.error, t.cpu.rip], [13, 0x30 * 8 + 2, 0x4000n]);
});

test('an absent gate is #NP; for an external interrupt the error code has EXT', () => {
  const t = new TestCpu();
  enterProtected(t);
  setGate(t, 0x30, KERNEL_CS, 0x6000, 0x0e);
  setGate(t, 11, KERNEL_CS, 0x7000, 0x8e);
  assert.equal(t.execute(...INT(0x30))?.error, 0x30 * 8 + 2);
  assert.equal(deliver(t.cpu, 0x30, INTR_TYPE_EXT_INTR, -1, t.cpu.rip, flagsOf(t), 0), 'done');
  assert.equal(t.cpu.rip, 0x7000n);
  assert.equal(t.read32(STACK0 - 16), 0x30 * 8 + 3);
});

test('a fault pushes its error code and RF, and returns to the instruction itself', () => {
  const t = new TestCpu();
  enterProtected(t);
  setGate(t, 13, KERNEL_CS, 0x7000, 0x8e);
  assert.equal(t.run(0x8e, 0xd8 + 0), 'done', 'MOV DS, AX with AX = 0 is allowed');
  t.cpu.gpr[0] = 0x70n;
  assert.equal(t.run(0x8e, 0xd8), 'done');
  assert.equal(t.cpu.rip, 0x7000n);
  assert.deepEqual([t.read32(STACK0 - 16), t.read32(STACK0 - 12), t.read32(STACK0 - 4) & X86_EFLAGS_RF], [0x70, 0x4002, X86_EFLAGS_RF]);
});

test('two contributory faults are a double fault, a third one ends the machine', () => {
  const t = new TestCpu();
  enterProtected(t);
  setGate(t, 8, KERNEL_CS, 0x7000, 0x8e);
  t.cpu.gpr[0] = 0x70n;
  assert.equal(t.run(0x8e, 0xd8), 'done');
  assert.deepEqual([t.cpu.rip, t.read32(STACK0 - 16), t.read32(STACK0 - 12)], [0x7000n, 0, 0x4000], '#DF pushes 0 and points at the instruction');
  const u = new TestCpu();
  enterProtected(u);
  u.cpu.gpr[0] = 0x70n;
  assert.equal(u.run(0x8e, 0xd8), 'shutdown');
});

test('faults combine as SDM table 6-5 says', () => {
  const [benign, contributory, page] = [6, 13, 14];
  assert.deepEqual([benign, contributory, page].map((second) => combine(benign, second)), [6, 13, 14]);
  assert.deepEqual([benign, contributory, page].map((second) => combine(contributory, second)), [6, 8, 14]);
  assert.deepEqual([benign, contributory, page].map((second) => combine(page, second)), [6, 8, 8]);
  assert.deepEqual([contributory, page].map((second) => combine(8, second)), [-1, -1]);
  assert.deepEqual([contributory, page].map((second) => combine(-1, second)), [13, 14], 'an interrupt that cannot be delivered is an ordinary fault');
});

test('a page fault sets CR2 when it is delivered', () => {
  const t = new TestCpu();
  enterLong(t);
  setGate(t, 14, KERNEL_CS64, 0x7000, 0x8e);
  t.write64(0x10_2000 + 8 * 5, 0n);
  t.cpu.gpr[0] = 0xa0_1230n;
  assert.equal(t.run(0x0f, 0x01, 0x10), 'done');
  assert.deepEqual([t.cpu.rip, t.cpu.state.cr2], [0x7000n, 0xa0_1230n]);
});

test('64-bit mode: the frame is five aligned quadwords, from ring 0 too, and IRETQ takes them back', () => {
  const t = new TestCpu();
  enterLong(t);
  const { cpu } = t;
  setGate(t, 0x30, KERNEL_CS64, 0x7000, 0x8e);
  cpu.gpr[4] = BigInt(STACK0 - 5);
  assert.equal(t.execute(...INT(0x30)), undefined);
  const rsp = STACK0 - 16 - 40;
  assert.equal(cpu.gpr[4], BigInt(rsp));
  assert.deepEqual([0, 8, 16, 24, 32].map((i) => t.read64(rsp + i)), [0x4002n, BigInt(KERNEL_CS64), 2n, BigInt(STACK0 - 5), BigInt(KERNEL_DS)]);
  assert.equal(t.execute(0x48, IRET), undefined);
  assert.deepEqual([cpu.gpr[4], cpu.rip, cpu.selector(SS)], [BigInt(STACK0 - 5), 0x4002n, KERNEL_DS]);
});

test('64-bit mode: from ring 3 SS becomes null, IST takes another stack, IRETQ returns to ring 3', () => {
  for (const [ist, top] of [[0, STACK0], [1, IST1]] as const) {
    const t = new TestCpu();
    enterLong(t, true);
    const { cpu } = t;
    setGate(t, 0x80, KERNEL_CS64, 0x7000, 0xee, ist);
    assert.equal(t.execute(...INT(0x80)), undefined);
    assert.deepEqual([cpu.cpl, cpu.selector(SS), cpu.gpr[4]], [0, 0, BigInt(top - 40)]);
    assert.equal(t.execute(0x48, IRET), undefined);
    assert.deepEqual([cpu.cpl, cpu.selector(SS), cpu.gpr[4], cpu.selector(CS)], [3, USER_DS, BigInt(STACK3), USER_CS64]);
  }
});

test('64-bit mode: a gate of a conforming or 32-bit segment is refused, a non-canonical stack is #SS', () => {
  const t = new TestCpu();
  enterLong(t);
  setGate(t, 0x30, CONFORMING_CS, 0x7000, 0x8e);
  assert.deepEqual([t.execute(...INT(0x30))?.vector, t.execute(...INT(0x30))?.error], [13, CONFORMING_CS]);
  setGate(t, 0x30, KERNEL_CS64, 0x7000, 0x8e);
  t.cpu.gpr[4] = 0x8000_0000_0000n + 0x100n;
  assert.deepEqual([t.execute(...INT(0x30))?.vector, t.execute(...INT(0x30))?.error], [12, 0]);
});

test('a page fault while the frame is pushed leaves every register as it was', () => {
  const t = new TestCpu();
  enterLong(t, true);
  setGate(t, 0x80, KERNEL_CS64, 0x7000, 0xee);
  t.write64(TSS + 4, 0xa0_1000n);
  t.write64(0x10_2000 + 8 * 5, 0n);
  const before = [...t.cpu.gpr];
  const fault = t.execute(...INT(0x80));
  assert.deepEqual([fault?.vector, fault?.error, fault?.address], [14, PFERR_WRITE, 0xa0_1000 - 8]);
  assert.equal(fault!.error & PFERR_USER, 0, 'the push is ring 0 business');
  assert.deepEqual([[...t.cpu.gpr], t.cpu.rip, t.cpu.cpl, t.cpu.selector(CS)], [before, 0x4000n, 3, USER_CS64]);
});

test('an interrupt waits for IF and for the shadow of STI; NMI waits for IRET', () => {
  const t = new TestCpu();
  enterProtected(t);
  const { cpu } = t;
  t.bus.vector = 0x40;
  setGate(t, 0x40, KERNEL_CS, 0x7000, 0x8e);
  setGate(t, 2, KERNEL_CS, 0x7100, 0x8e);
  cpu.pending |= EVENT_INTERRUPT;
  assert.equal(takeEvents(cpu), 'none');
  assert.equal(t.execute(0xfb), undefined);
  assert.equal(takeEvents(cpu), 'none', 'STI holds interrupts off for one instruction');
  cpu.state.shadow = 0;
  cpu.state.activity = ACTIVITY_HLT;
  assert.equal(takeEvents(cpu), 'done');
  assert.deepEqual([cpu.rip, cpu.state.activity], [0x7000n, ACTIVITY_ACTIVE]);
  cpu.pending = EVENT_NMI;
  assert.equal(takeEvents(cpu), 'done');
  assert.equal(cpu.rip, 0x7100n);
  cpu.pending = EVENT_NMI;
  assert.equal(takeEvents(cpu), 'none', 'no NMI within an NMI');
  assert.equal(t.execute(IRET), undefined);
  assert.equal(takeEvents(cpu), 'done');
});

test('INT3 and INTO return behind themselves and look at the gate DPL; INT1 does not', () => {
  const t = new TestCpu();
  enterUser(t);
  for (const vector of [1, 3, 4]) setGate(t, vector, KERNEL_CS, 0x7000 + vector, 0x8e);
  assert.equal(t.execute(0xcc)?.error, 3 * 8 + 2);
  assert.equal(t.execute(0xce), undefined, 'OF is clear');
  t.cpu.engine.writeFlags(t.cpu, 0x802);
  assert.equal(t.execute(0xce)?.error, 4 * 8 + 2);
  t.cpu.rip = 0x4000n;
  assert.equal(t.execute(0xf1), undefined);
  assert.deepEqual([t.cpu.rip, t.read32(STACK0 - 20)], [0x7001n, 0x4001]);
});

test('virtual-8086 mode: IRET enters it, INT n needs IOPL 3, an exception leaves it with nine values on the stack', () => {
  const t = new TestCpu();
  enterProtected(t);
  const { cpu } = t;
  const frame = [0x100, 0x2000, 0x2_0202, 0x800, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000];
  frame.forEach((value, i) => { t.write32(STACK0 - 36 + 4 * i, value); });
  cpu.gpr[4] = BigInt(STACK0 - 36);
  assert.equal(t.execute(IRET), undefined);
  assert.deepEqual([cpu.cpl, cpu.selector(CS), cpu.segBase(CS), cpu.segBase(DS), cpu.rip, cpu.gpr[4]], [3, 0x2000, 0x2_0000n, 0x5_0000n, 0x100n, 0x800n]);
  assert.equal(t.execute(...INT(0x10))?.vector, 13);
  setGate(t, 13, KERNEL_CS, 0x7000, 0x8e);
  assert.equal(t.run(...INT(0x10)), 'done');
  assert.deepEqual([cpu.cpl, cpu.selector(DS), cpu.gpr[4]], [0, 0, BigInt(STACK0 - 40)]);
  assert.deepEqual(Array.from({ length: 10 }, (_, i) => t.read32(STACK0 - 40 + 4 * i)), [0, 0x100, 0x2000, 0x3_0202, 0x800, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000]);
});

test('a task gate switches tasks and IRET with NT comes back', () => {
  const t = new TestCpu();
  enterProtected(t);
  const { cpu } = t;
  const other = 0x3400, selector = 0x70;
  t.write64(0x1000 + selector, 0x0000_8900_3400_0067n);
  t.write32(other + 0x20, 0x6000);
  t.write32(other + 0x24, 2);
  t.write32(other + 0x38, 0x7800);
  [KERNEL_DS, KERNEL_CS, KERNEL_DS, KERNEL_DS, 0, 0].forEach((value, i) => { t.write32(other + 0x48 + 4 * i, value); });
  setGate(t, 0x30, selector, 0, 0x85);
  cpu.gpr[3] = 0x1111n;
  assert.equal(t.execute(...INT(0x30)), undefined);
  assert.deepEqual([cpu.rip, cpu.gpr[4], cpu.gpr[3], flagsOf(t)], [0x6000n, 0x7800n, 0n, 0x4002]);
  assert.equal(t.read16(other), 0x28, 'the back link names the old task');
  assert.notEqual(cpu.state.cr0 & 8n, 0n, 'CR0.TS');
  cpu.gpr[3] = 0x2222n;
  assert.equal(t.execute(IRET), undefined);
  assert.deepEqual([cpu.rip, cpu.gpr[4], cpu.gpr[3]], [0x4002n, BigInt(STACK0), 0x1111n]);
  updateMode(cpu);
});

test('SYSCALL and SYSRET are single-stepped by the TF they leave, before the next instruction', () => {
  const t = new TestCpu();
  enterLong(t);
  setGate(t, 1, KERNEL_CS64, 0x5000, 0x8e);
  const { cpu } = t;
  Object.assign(cpu.state, { efer: cpu.state.efer | 1n, star: BigInt(KERNEL_CS64) << 32n | 0x38n << 48n, lstar: 0x6000n, fmask: BigInt(X86_EFLAGS_TF) });
  cpu.engine.writeFlags(cpu, X86_EFLAGS_TF | 2);
  assert.equal(t.execute(0x0f, 0x05), undefined);
  assert.deepEqual([takeEvents(cpu), cpu.rip], ['none', 0x6000n]);
  cpu.gpr[1] = 0x7000n;
  cpu.gpr[11] = BigInt(X86_EFLAGS_TF | 2);
  assert.equal(t.execute(0x48, 0x0f, 0x07), undefined);
  assert.deepEqual([takeEvents(cpu), cpu.rip, cpu.cpl, cpu.state.dr.get(6) & 0x4000n], ['done', 0x5000n, 0, 0x4000n]);
  assert.deepEqual([t.read64(STACK0 - 40), takeEvents(cpu)], [0x7000n, 'none']);
});
