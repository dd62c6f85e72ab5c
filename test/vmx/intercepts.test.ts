/** Instructions that exit: always, by a control, by a bitmap, or by mask and shadow of a control register. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as C from '../../machine/vmx/controls.ts';
import * as E from '../../machine/vmx/exit-reasons.ts';
import * as F from '../../machine/vmx/fields.ts';
import type { Vmx } from '../../machine/vmx/vmx.ts';
import { HLT, IO_BITMAP_A, IO_BITMAP_B, MSR_BITMAP, NOP, clear, cpuBased, guest, host, qualification, rip, skip } from './guest.ts';

test('HLT exits with RIP on it, in every mode, and the host is back in 64-bit mode', () => {
  for (const mode of ['real', 'protected', 'long'] as const) {
    const g = guest(mode, [NOP, HLT]);
    assert.equal(g.run(), E.EXIT_REASON_HLT);
    assert.deepEqual([rip(g), g.read(F.VM_EXIT_INSTRUCTION_LEN)], [1, 1]);
    assert.equal(g.p.retired.guest, 1, 'an instruction that exits has not retired');
    assert.ok(!g.vmx.inGuest);
    const cpu = g.p.hostRegisters();
    assert.equal(cpu.state.cr3, 0x10_0000n);
    assert.equal(cpu.selector(1), 0x10);
    assert.ok(cpu.longMode);
  }
});

const ports: [string, number[], number][] = [
  ['OUT imm8, AL', [0xe6, 0x10], 0x0010_0040],
  ['OUT imm8, AX', [0xe7, 0x10], 0x0010_0041],
  ['OUT DX, EAX', [0x66, 0xef], 0x1234_0003],
  ['IN AL, DX', [0xec], 0x1234_0008],
  ['OUTSB', [0x6e], 0x1234_0010],
  ['REP INSW', [0xf3, 0x6d], 0x1234_0039],
];
for (const [name, code, expected] of ports) {
  test(`the qualification of ${name}`, () => {
    const g = guest('real', [0xba, 0x34, 0x12, 0xb9, 3, 0, ...code]);
    assert.equal(g.run(), E.EXIT_REASON_IO_INSTRUCTION);
    assert.equal(qualification(g).toString(16), expected.toString(16));
    assert.deepEqual([rip(g), g.read(F.VM_EXIT_INSTRUCTION_LEN)], [6, code.length]);
  });
}

test('OUTS reports the linear address and segment of its element, INS that of ES:DI', () => {
  const outs = guest('real', [0xbe, 0x10, 0, 0x2e, 0x6e], (v) => {
    v.write32(F.GUEST_CS_SELECTOR, 0);
  });
  assert.equal(outs.run(), E.EXIT_REASON_IO_INSTRUCTION);
  assert.equal(outs.read(F.GUEST_LINEAR_ADDRESS), 0x10);
  assert.equal(outs.read(F.VMX_INSTRUCTION_INFO), 1 << 15);
  const ins = guest('real', [0xbf, 0x20, 0, 0x6c], (v) => v.write64(F.GUEST_ES_BASE, 0x500n));
  assert.equal(ins.run(), E.EXIT_REASON_IO_INSTRUCTION);
  assert.equal(ins.read(F.GUEST_LINEAR_ADDRESS), 0x520);
});

test('I/O bitmaps decide port by port, and an access that wraps always exits', () => {
  const g = guest('real', [0xe6, 0x10, 0xe6, 0x11, 0xe5, 0x0f, 0xba, 0, 0x80, 0xee, 0xba, 0xff, 0xff, 0xef, HLT], (v, self) => {
    clear(v, F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_UNCOND_IO_EXITING);
    cpuBased(C.CPU_BASED_USE_IO_BITMAPS)(v);
    host(self, IO_BITMAP_A)[0x11 >> 3] = 1 << 1;
    host(self, IO_BITMAP_A)[0x10 >> 3]! |= 1;
    host(self, IO_BITMAP_A)[2] = 0b11;
    host(self, IO_BITMAP_B)[0] = 1;
  });
  const seen: number[] = [];
  for (let reason = g.run(); reason === E.EXIT_REASON_IO_INSTRUCTION; reason = g.run()) {
    seen.push(rip(g));
    skip(g);
  }
  assert.deepEqual(seen, [0, 2, 4, 9, 13]);
  assert.equal(rip(g), 14);
});

test('without I/O intercepts ports are the machine\'s own', () => {
  const g = guest('real', [0xba, 0xfd, 0x03, 0xec, HLT], (v) => clear(v, F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_UNCOND_IO_EXITING));
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.gpr(0) & 0xffn, 0x60n, 'line status of the UART');
});

test('the MSR bitmap decides by number and direction, and MSRs out of its range always exit', () => {
  const rdmsr = [0x0f, 0x32];
  const wrmsr = [0x0f, 0x30];
  const ecx = (n: number) => [0xb9, n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, n >>> 24];
  const code = [...ecx(0x174), ...rdmsr, ...wrmsr, ...ecx(0xc000_0081), ...rdmsr, ...wrmsr, ...ecx(0x4000_0000), ...rdmsr, HLT];
  const g = guest('protected', code, (_v, self) => {
    const bitmap = host(self, MSR_BITMAP);
    bitmap[0x174 >> 3] = 1 << (0x174 & 7);
    bitmap[3072 + (0x81 >> 3)] = 1 << 1;
  });
  const seen: string[] = [];
  for (let reason = g.run(); reason !== E.EXIT_REASON_HLT; reason = g.run()) {
    seen.push(`${rip(g)} ${reason}`);
    skip(g);
  }
  assert.deepEqual(seen, [`5 ${E.EXIT_REASON_MSR_READ}`, `16 ${E.EXIT_REASON_MSR_WRITE}`, `23 ${E.EXIT_REASON_MSR_READ}`]);
});

const conditional: [string, number[], number, number][] = [
  ['INVLPG', [0x0f, 0x01, 0x38], C.CPU_BASED_INVLPG_EXITING, E.EXIT_REASON_INVLPG],
  ['RDTSC', [0x0f, 0x31], C.CPU_BASED_RDTSC_EXITING, E.EXIT_REASON_RDTSC],
  ['RDPMC', [0x0f, 0x33], C.CPU_BASED_RDPMC_EXITING, E.EXIT_REASON_RDPMC],
  ['MWAIT', [0x0f, 0x01, 0xc9], C.CPU_BASED_MWAIT_EXITING, E.EXIT_REASON_MWAIT_INSTRUCTION],
  ['MONITOR', [0x0f, 0x01, 0xc8], C.CPU_BASED_MONITOR_EXITING, E.EXIT_REASON_MONITOR_INSTRUCTION],
  ['PAUSE', [0xf3, 0x90], C.CPU_BASED_PAUSE_EXITING, E.EXIT_REASON_PAUSE_INSTRUCTION],
  ['MOV DR', [0x0f, 0x23, 0xc8], C.CPU_BASED_MOV_DR_EXITING, E.EXIT_REASON_DR_ACCESS],
  ['MOV from CR3', [0x0f, 0x20, 0xd8], C.CPU_BASED_CR3_STORE_EXITING, E.EXIT_REASON_CR_ACCESS],
  ['MOV to CR3', [0x0f, 0x22, 0xd8], C.CPU_BASED_CR3_LOAD_EXITING, E.EXIT_REASON_CR_ACCESS],
];
for (const [name, code, bit, reason] of conditional) {
  test(`${name} exits exactly if its control is set`, () => {
    const with1 = guest('long', [...code, HLT], cpuBased(bit));
    assert.equal(with1.run(), reason);
    assert.deepEqual([rip(with1), with1.read(F.VM_EXIT_INSTRUCTION_LEN)], [0, code.length]);
    const without = guest('long', [...code, HLT], (v) => {
      // What would fault for other reasons must not end in a triple fault.
      v.write32(F.EXCEPTION_BITMAP, 0xffff_ffff);
      clear(v, F.CPU_BASED_VM_EXEC_CONTROL, bit);
    });
    assert.notEqual(without.run(), reason);
  });
}

test('CPUID, INVD, XSETBV and VMX instructions always exit', () => {
  for (const [code, reason] of [
    [[0x0f, 0xa2], E.EXIT_REASON_CPUID], [[0x0f, 0x08], E.EXIT_REASON_INVD], [[0x0f, 0x01, 0xc1], E.EXIT_REASON_VMCALL],
    [[0x0f, 0x01, 0xc2], E.EXIT_REASON_VMLAUNCH], [[0x0f, 0x01, 0xc4], E.EXIT_REASON_VMOFF],
  ] as [number[], number][]) {
    const g = guest('long', [...code, HLT]);
    assert.equal(g.run(), reason);
    assert.deepEqual([rip(g), g.read(F.VM_EXIT_INSTRUCTION_LEN)], [0, code.length]);
  }
});

test('RDTSCP and INVPCID without their controls are #UD', () => {
  for (const code of [[0x0f, 0x01, 0xf9], [0x66, 0x0f, 0x38, 0x82, 0x00]]) {
    const g = guest('long', code, (v) => v.write32(F.EXCEPTION_BITMAP, 1 << 6));
    assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
    assert.equal(g.read(F.VM_EXIT_INTR_INFO), 0x8000_0306);
  }
});

test('RDTSC counts the processor\'s cycles and the TSC offset', () => {
  const g = guest('long', [0x0f, 0x31, HLT], (v) => {
    cpuBased(C.CPU_BASED_USE_TSC_OFFSETTING)(v);
    v.write64(F.TSC_OFFSET, 1n << 40n);
  });
  const before = g.p.clock;
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  const tsc = ((g.gpr(2) & 0xffff_ffffn) << 32n) | (g.gpr(0) & 0xffff_ffffn);
  assert.ok(tsc > (1n << 40n) + BigInt(before) && tsc < (1n << 40n) + BigInt(g.p.clock), String(tsc));
});

test('CR0 accesses: masked bits read from the shadow, and exit only when they would differ from it', () => {
  // mov eax,cr0; mov cr0,eax; xor eax,20h (NE, masked); mov cr0,eax
  const g = guest('protected', [0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0, 0x83, 0xf0, 0x20, 0x0f, 0x22, 0xc0, HLT], (v) => {
    v.write64(F.CR0_GUEST_HOST_MASK, 0x20n);
    v.write64(F.CR0_READ_SHADOW, 0x11n);
  });
  assert.equal(g.run(), E.EXIT_REASON_CR_ACCESS);
  assert.equal(rip(g), 9);
  assert.equal(qualification(g), 0);
  assert.equal(g.gpr(0), 0x31n);
  assert.equal(g.read(F.GUEST_CR0), 0x31);
});

test('a guest changes its own bits of CR4 while VMXE, which it does not see, stays set', () => {
  // mov eax,cr4; or eax,10h (PSE); mov cr4,eax; mov ecx,cr4
  const g = guest('protected', [0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x10, 0x0f, 0x22, 0xe0, 0x0f, 0x20, 0xe1, HLT], (v) => {
    v.write64(F.CR4_GUEST_HOST_MASK, 0x2000n);
    v.write32(F.EXCEPTION_BITMAP, 0xffff_ffff);
  });
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.gpr(1), 0x10n);
  assert.equal(g.read(F.GUEST_CR4), 0x2010);
});

test('a guest that owns them all cannot clear what VMX operation needs set', () => {
  for (const code of [[0x31, 0xc0, 0x0f, 0x22, 0xe0], [0xb8, 0x11, 0, 0, 0, 0x0f, 0x22, 0xc0]]) {
    const g = guest('protected', code, (v) => v.write32(F.EXCEPTION_BITMAP, 1 << 13));
    assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  }
});

test('CLTS and LMSW exit by mask and shadow, and leave host-owned bits alone', () => {
  const owned = (v: Vmx) => {
    v.write64(F.CR0_GUEST_HOST_MASK, 8n);
    v.write64(F.CR0_READ_SHADOW, 8n);
  };
  const clts = guest('protected', [0x0f, 0x06, HLT], owned);
  assert.equal(clts.run(), E.EXIT_REASON_CR_ACCESS);
  assert.equal(qualification(clts), 0x20);
  const quiet = guest('protected', [0x0f, 0x06, HLT], (v) => {
    v.write64(F.CR0_GUEST_HOST_MASK, 8n);
    v.write64(F.GUEST_CR0, 0x39n);
  });
  assert.equal(quiet.run(), E.EXIT_REASON_HLT);
  assert.equal(quiet.read(F.GUEST_CR0), 0x39);
  const lmsw = guest('protected', [0xb8, 3, 0, 0, 0, 0x0f, 0x01, 0xf0, HLT], owned);
  assert.equal(lmsw.run(), E.EXIT_REASON_CR_ACCESS);
  assert.equal(qualification(lmsw), 0x0003_0030);
});

test('CR3 loads of a target value do not exit, others name their register', () => {
  const g = guest('long', [0xb8, 0, 0x10, 0, 0, 0x0f, 0x22, 0xd8, 0xb9, 0, 0x20, 0, 0, 0x0f, 0x22, 0xd9], (v) => {
    cpuBased(C.CPU_BASED_CR3_LOAD_EXITING)(v);
    v.write32(F.CR3_TARGET_COUNT, 1);
    v.write64(F.CR3_TARGET_VALUE0, 0x1000n);
  });
  assert.equal(g.run(), E.EXIT_REASON_CR_ACCESS);
  assert.deepEqual([rip(g), qualification(g)], [13, 0x103]);
});
