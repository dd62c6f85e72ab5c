import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as C from '../../machine/vmx/controls.ts';
import * as E from '../../machine/vmx/exit-reasons.ts';
import * as F from '../../machine/vmx/fields.ts';
import { INTR_INFO_DELIVER_CODE_MASK, INTR_INFO_VALID_MASK } from '../../machine/vmx/entry-checks.ts';
import { APIC_SPIV, APIC_SPIV_APIC_ENABLED } from '../../machine/chips/apic-registers.ts';
import type { Vmx } from '../../machine/vmx/vmx.ts';
import { CODE, EPT, EPTP, GUEST_RAM, IO_BITMAP_A, IO_BITMAP_B, MSR_BITMAP, VIRTUAL_APIC, guest, setEpt, type Guest } from './guest.ts';

const HLT = 0xf4;
const NOP = 0x90;
const or = (v: Vmx, field: number, bits: number) => v.write32(field, v.read32(field) | bits);
const clear = (v: Vmx, field: number, bits: number) => v.write32(field, v.read32(field) & ~bits);
const cpuBased = (bits: number) => (v: Vmx) => or(v, F.CPU_BASED_VM_EXEC_CONTROL, bits);
const inject = (g: Guest, vector: number, type: number, error?: number) => {
  g.vmx.write32(F.VM_ENTRY_INTR_INFO_FIELD, (INTR_INFO_VALID_MASK | (type << 8) | vector | (error === undefined ? 0 : INTR_INFO_DELIVER_CODE_MASK)) >>> 0);
  if (error !== undefined) g.vmx.write32(F.VM_ENTRY_EXCEPTION_ERROR_CODE, error);
};
const rip = (g: Guest) => g.read(F.GUEST_RIP) - CODE;
const qualification = (g: Guest) => g.read(F.EXIT_QUALIFICATION);
/** Steps over the instruction that made the guest exit. */
const skip = (g: Guest) => g.vmx.writeNumber(F.GUEST_RIP, g.read(F.GUEST_RIP) + g.read(F.VM_EXIT_INSTRUCTION_LEN));
const host = (g: Guest, page: number) => g.machine.ram.mem.u8.subarray(g.machine.ram.base + page, g.machine.ram.base + page + 4096);
/** A real-mode interrupt vector. */
const setVector = (g: Guest, vector: number, offset: number) => new DataView(g.ram.buffer, g.ram.byteOffset).setUint32(vector * 4, offset, true);

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

test('an EPT violation names the access, what is allowed, and both addresses; after the mend the instruction runs', () => {
  // mov byte [0x9000], 1 ; hlt
  const g = guest('protected', [0xc6, 0x05, 0, 0x90, 0, 0, 1, HLT]);
  setEpt(g, 0x9000, BigInt(GUEST_RAM + 0x9000) | 0x35n);
  assert.equal(g.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(g), 0x2 | (5 << 3) | 0x180);
  assert.deepEqual([g.read(F.GUEST_PHYSICAL_ADDRESS), g.read(F.GUEST_LINEAR_ADDRESS), rip(g)], [0x9000, 0x9000, 0]);
  setEpt(g, 0x9000, BigInt(GUEST_RAM + 0x9000) | 0x37n);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.ram[0x9000], 1);
});

test('EPT violations of a read, of a fetch, and of the walk through the guest\'s own tables', () => {
  const read = guest('protected', [0xa1, 0, 0x90, 0, 0]);
  setEpt(read, 0x9000, 0n);
  assert.equal(read.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(read), 0x181);
  const fetch = guest('protected', [0xe9, 0xfb, 0x0f, 0, 0]);
  setEpt(fetch, 0x8000, BigInt(GUEST_RAM + 0x8000) | 0x33n);
  assert.equal(fetch.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(fetch), 0x4 | (3 << 3) | 0x180);
  assert.equal(fetch.read(F.GUEST_RIP), 0x8000);
  const walk = guest('long', [0xa1, 0, 0x90, 0, 0, 0, 0, 0, 0]);
  setEpt(walk, 0x2000, 0n);
  assert.equal(walk.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(walk), 0x81);
  assert.equal(walk.read(F.GUEST_PHYSICAL_ADDRESS), 0x2000);
});

test('an EPT entry that can never be right is a misconfiguration', () => {
  for (const entry of [2n, 6n, BigInt(GUEST_RAM) | 0x17n, BigInt(GUEST_RAM) | 7n | (1n << 51n)]) {
    const g = guest('protected', [0xa1, 0, 0x90, 0, 0]);
    setEpt(g, 0x9000, entry);
    assert.equal(g.run(), E.EXIT_REASON_EPT_MISCONFIG, entry.toString(16));
    assert.equal(g.read(F.GUEST_PHYSICAL_ADDRESS), 0x9000);
  }
});

test('2 MiB leaves map, and A/D flags are set when the EPT pointer asks for them', () => {
  const g = guest('protected', [0xc6, 0x05, 0, 0x90, 0, 0, 1, HLT], (v) => v.writeNumber(F.EPT_POINTER, EPTP | 0x40));
  const pd = new DataView(host(g, EPT + 0x2000).buffer, host(g, EPT + 0x2000).byteOffset);
  pd.setBigUint64(0, BigInt(GUEST_RAM) | 0xb7n, true);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.ram[0x9000], 1);
  assert.equal(pd.getBigUint64(0, true), BigInt(GUEST_RAM) | 0x3b7n);
});

test('an injected interrupt goes through the interrupt table before the first instruction', () => {
  const g = guest('real', [HLT], (v) => v.write32(F.GUEST_RFLAGS, 0x202));
  setVector(g, 0x21, 0x7100);
  g.ram.set([HLT], 0x7100);
  inject(g, 0x21, 0);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.read(F.GUEST_RIP), 0x7100);
  assert.equal(g.read(F.GUEST_RFLAGS) & 0x200, 0);
  assert.equal(g.read(F.GUEST_RSP), 0x6000 - 6);
  assert.equal(g.read(F.VM_ENTRY_INTR_INFO_FIELD) >>> 31, 0, 'the valid bit is cleared by the exit');
});

test('an injected exception pushes its error code', () => {
  const g = guest('protected', [HLT]);
  const gate = new DataView(g.ram.buffer, g.ram.byteOffset);
  gate.setUint32(0x3000 + 8 * 14, (8 << 16) | 0x7100, true);
  gate.setUint32(0x3000 + 8 * 14 + 4, 0x8e00, true);
  gate.setBigUint64(0x2008, 0x00cf_9b00_0000_ffffn, true);
  g.ram.set([HLT], 0x7100);
  g.vmx.write64(F.GUEST_IDTR_BASE, 0x3000n);
  g.vmx.write64(F.GUEST_GDTR_BASE, 0x2000n);
  g.vmx.write32(F.GUEST_GDTR_LIMIT, 0xffff);
  inject(g, 14, 3, 7);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.read(F.GUEST_RIP), 0x7100);
  assert.equal(gate.getUint32(g.read(F.GUEST_RSP), true), 7);
  assert.equal(gate.getUint32(g.read(F.GUEST_RSP) + 4, true), CODE);
});

test('an exit in the midst of an injection reports what was being injected', () => {
  const g = guest('real', [HLT], (v) => v.write32(F.GUEST_RFLAGS, 0x202));
  setEpt(g, 0x5000, 0n);                      // the stack below 0x6000
  inject(g, 0x21, 0);
  assert.equal(g.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(g.read(F.IDT_VECTORING_INFO_FIELD), 0x8000_0021);
  assert.deepEqual([rip(g), g.read(F.GUEST_RSP)], [0, 0x6000], 'nothing has happened yet');
  setEpt(g, 0x5000, BigInt(GUEST_RAM + 0x5000) | 0x37n);
  g.vmx.write32(F.VM_ENTRY_INTR_INFO_FIELD, g.read(F.IDT_VECTORING_INFO_FIELD));
  setVector(g, 0x21, 0x7100);
  g.ram.set([HLT], 0x7100);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.read(F.IDT_VECTORING_INFO_FIELD), 0);
});

test('the exception bitmap makes exceptions exit; page faults also by mask and match', () => {
  const ud = guest('protected', [NOP, 0x0f, 0x0b], (v) => v.write32(F.EXCEPTION_BITMAP, 1 << 6));
  assert.equal(ud.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([ud.read(F.VM_EXIT_INTR_INFO), rip(ud)], [0x8000_0306, 1]);
  const pf = (bitmap: number, mask: number, match: number) => {
    const g = guest('long', [0xa1, 0, 0, 0, 0x40, 0, 0, 0, 0], (v) => {
      v.write32(F.EXCEPTION_BITMAP, bitmap);
      v.write32(F.PAGE_FAULT_ERROR_CODE_MASK, mask);
      v.write32(F.PAGE_FAULT_ERROR_CODE_MATCH, match);
    });
    const reason = g.run();
    return [reason, qualification(g), g.read(F.VM_EXIT_INTR_INFO), g.read(F.VM_EXIT_INTR_ERROR_CODE)];
  };
  const exits = [E.EXIT_REASON_EXCEPTION_NMI, 0x4000_0000, 0x8000_0b0e, 0];
  assert.deepEqual(pf(1 << 14, 0, 0), exits);
  assert.deepEqual(pf(0, 1, 1), exits);
  assert.equal(pf(1 << 14, 1, 1)[0], E.EXIT_REASON_TRIPLE_FAULT);
  assert.equal(pf(0, 0, 0)[0], E.EXIT_REASON_TRIPLE_FAULT);
});

test('INT3 exits as a software exception with its length', () => {
  const g = guest('real', [0xcc], (v) => v.write32(F.EXCEPTION_BITMAP, 1 << 3));
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([g.read(F.VM_EXIT_INTR_INFO), g.read(F.VM_EXIT_INSTRUCTION_LEN), rip(g)], [0x8000_0603, 1, 0]);
});

test('a triple fault exits', () => {
  const g = guest('protected', [0x0f, 0x0b], (v) => v.write32(F.GUEST_IDTR_LIMIT, 0));
  assert.equal(g.run(), E.EXIT_REASON_TRIPLE_FAULT);
});

test('an interrupt that becomes pending makes the guest exit at the next instruction, with the vector acknowledged', () => {
  const g = guest('real', [0xeb, 0xfe]);
  g.p.lapic.write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff);
  assert.equal(g.run(5000), 'limit');
  assert.ok(g.vmx.inGuest);
  assert.equal(g.p.retired.guest, 5000, 'the run ended at the exact cycle');
  g.p.lapic.accept(0x52, false);
  assert.equal(g.run(5000), E.EXIT_REASON_EXTERNAL_INTERRUPT);
  assert.equal(g.read(F.VM_EXIT_INTR_INFO), 0x8000_0052);
  assert.equal(g.p.retired.guest, 5000);
  assert.ok(g.p.lapic.isInService(0x52));
});

test('without acknowledgement the vector stays pending', () => {
  const g = guest('real', [0xeb, 0xfe], (v) => clear(v, F.VM_EXIT_CONTROLS, C.VM_EXIT_ACK_INTR_ON_EXIT));
  g.p.lapic.write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff);
  g.p.lapic.accept(0x52, false);
  assert.equal(g.run(), E.EXIT_REASON_EXTERNAL_INTERRUPT);
  assert.deepEqual([g.read(F.VM_EXIT_INTR_INFO), g.p.pendingVector()], [0, 0x52]);
});

test('the interrupt window opens when STI\'s shadow has passed', () => {
  const g = guest('real', [NOP, 0xfb, NOP, NOP, HLT], cpuBased(C.CPU_BASED_INTR_WINDOW_EXITING));
  assert.equal(g.run(), E.EXIT_REASON_INTERRUPT_WINDOW);
  assert.equal(rip(g), 3);
  clear(g.vmx, F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_INTR_WINDOW_EXITING);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
});

test('an exit in STI\'s shadow saves it, and the next entry goes on in it', () => {
  const g = guest('real', [0xfb, 0xe6, 0x10, NOP, HLT]);
  assert.equal(g.run(), E.EXIT_REASON_IO_INSTRUCTION);
  assert.equal(g.read(F.GUEST_INTERRUPTIBILITY_INFO), 1);
  cpuBased(C.CPU_BASED_INTR_WINDOW_EXITING)(g.vmx);
  skip(g);
  assert.equal(g.run(), E.EXIT_REASON_INTERRUPT_WINDOW);
  assert.equal(rip(g), 4, 'one instruction ran in the shadow');
});

test('an NMI for the host exits; the NMI window opens after IRET', () => {
  const g = guest('real', [HLT, HLT]);
  g.p.nmi();
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.equal(g.read(F.VM_EXIT_INTR_INFO), 0x8000_0202);
  setVector(g, 2, 0x7100);
  g.ram.set([NOP, 0xcf], 0x7100);
  cpuBased(C.CPU_BASED_NMI_WINDOW_EXITING)(g.vmx);
  inject(g, 2, 2);
  assert.equal(g.run(), E.EXIT_REASON_NMI_WINDOW);
  assert.equal(rip(g), 0, 'back from the handler');
  assert.equal(g.read(F.GUEST_INTERRUPTIBILITY_INFO), 0);
});

test('the preemption timer exits after its count, exactly', () => {
  const g = guest('real', [0xeb, 0xfe], (v) => {
    or(v, F.PIN_BASED_VM_EXEC_CONTROL, C.PIN_BASED_VMX_PREEMPTION_TIMER);
    or(v, F.VM_EXIT_CONTROLS, C.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER);
    v.write32(F.VMX_PREEMPTION_TIMER_VALUE, 100);
  });
  assert.equal(g.run(1000), 'limit');
  assert.equal(g.run(100_000), E.EXIT_REASON_PREEMPTION_TIMER);
  assert.equal(g.p.retired.guest, 100 << C.PREEMPTION_TIMER_RATE);
  assert.equal(g.read(F.VMX_PREEMPTION_TIMER_VALUE), 0);
});

test('the monitor trap flag exits after every instruction', () => {
  const g = guest('real', [NOP, 0xb8, 1, 0, NOP, HLT], cpuBased(C.CPU_BASED_MONITOR_TRAP_FLAG));
  const seen: number[] = [];
  while (g.run() === E.EXIT_REASON_MONITOR_TRAP_FLAG) seen.push(rip(g));
  assert.deepEqual(seen, [1, 4, 5]);
});

test('a debug exception left pending comes before the first instruction', () => {
  const g = guest('real', [NOP, HLT], (v) => {
    v.write64(F.GUEST_PENDING_DBG_EXCEPTIONS, 0x4000n);
    v.write32(F.EXCEPTION_BITMAP, 1 << 1);
  });
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([g.read(F.VM_EXIT_INTR_INFO), qualification(g), rip(g)], [0x8000_0301, 0x4000, 0]);
  assert.equal(g.read(F.GUEST_PENDING_DBG_EXCEPTIONS), 0);
});

test('single-stepping by TF traps behind each instruction', () => {
  const g = guest('real', [NOP, 0xb8, 1, 0, HLT], (v) => {
    v.write64(F.GUEST_RFLAGS, 0x102n);
    v.write32(F.EXCEPTION_BITMAP, 1 << 1);
  });
  const seen: number[] = [];
  while (g.run() === E.EXIT_REASON_EXCEPTION_NMI) seen.push(rip(g), qualification(g));
  assert.deepEqual(seen, [1, 0x4000, 4, 0x4000]);
});

test('a guest that halts without HLT exiting sleeps to the limit and wakes by an injected interrupt', () => {
  const g = guest('real', [HLT, 0xe6, 0x10], (v) => {
    clear(v, F.CPU_BASED_VM_EXEC_CONTROL, C.CPU_BASED_HLT_EXITING);
    v.write32(F.GUEST_RFLAGS, 0x202);
  });
  g.p.lapic.write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff);
  assert.equal(g.run(50_000), 'limit');
  g.p.lapic.accept(0x30, false);
  assert.equal(g.run(), E.EXIT_REASON_EXTERNAL_INTERRUPT);
  assert.equal(g.read(F.GUEST_ACTIVITY_STATE), 1);
  assert.equal(rip(g), 1);
  setVector(g, 0x21, 0x7100);
  g.ram.set([0xcf], 0x7100);
  inject(g, 0x21, 0);
  assert.equal(g.run(), E.EXIT_REASON_IO_INSTRUCTION);
});

test('with a TPR shadow CR8 is the virtual APIC page, and falling below the threshold exits behind the instruction', () => {
  // mov cr8,rax (5); mov rcx,cr8; mov cr8,rdx (0); nop
  const g = guest('long', [0xb8, 5, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc1, 0x31, 0xd2, 0x44, 0x0f, 0x22, 0xc2, NOP, HLT], (v, self) => {
    cpuBased(C.CPU_BASED_TPR_SHADOW)(v);
    v.write32(F.TPR_THRESHOLD, 3);
    host(self, VIRTUAL_APIC)[0x80] = 0x40;
  });
  assert.equal(g.run(), E.EXIT_REASON_TPR_BELOW_THRESHOLD);
  assert.equal(rip(g), 19);
  assert.equal(g.gpr(1), 5n);
  assert.equal(g.p.lapic.taskPriority, 0, 'the processor\'s own is untouched');
});

test('an address space with a VPID keeps its translations over exits, one without does not', () => {
  const counts = [true, false].map((vpid) => {
    // loop: mov al,[0x9000]; out 0x10,al; jmp loop
    const g = guest('protected', [0xa0, 0, 0x90, 0, 0, 0xe6, 0x10, 0xeb, 0xf7], (v) => {
      if (!vpid) clear(v, F.SECONDARY_VM_EXEC_CONTROL, C.SECONDARY_EXEC_ENABLE_VPID);
    });
    g.run();
    skip(g);
    g.run();
    const before = g.p.clock;
    skip(g);
    g.run();
    return g.p.clock - before;
  });
  assert.ok(counts[0]! < counts[1]!, String(counts));
});

test('unrestricted: a guest goes from real mode to protected mode by itself', () => {
  // lgdt [0x7080]; mov eax,cr0; or al,1; mov cr0,eax; jmp 8:0x7040 / 0x7040: mov eax,0x12345678; hlt
  const g = guest('real', [0x0f, 0x01, 0x16, 0x80, 0x70, 0x0f, 0x20, 0xc0, 0x0c, 1, 0x0f, 0x22, 0xc0, 0xea, 0x40, 0x70, 8, 0], (v) => {
    v.write32(F.EXCEPTION_BITMAP, 0xffff_ffff);
  });
  g.ram.set([0xb8, 0x78, 0x56, 0x34, 0x12, HLT], 0x7040);
  const view = new DataView(g.ram.buffer, g.ram.byteOffset);
  view.setUint16(0x7080, 0xffff, true);
  view.setUint32(0x7082, 0x2000, true);
  view.setBigUint64(0x2008, 0x00cf_9b00_0000_ffffn, true);
  assert.equal(g.run(), E.EXIT_REASON_HLT);
  assert.equal(g.gpr(0), 0x1234_5678n);
  assert.equal(g.read(F.GUEST_CS_AR_BYTES), 0xc09b);
});

test('a guest that left in the shadow of MOV SS is entered again, and its single-step trap is told as pending', () => {
  const TF = 0x100;
  const g = guest('protected', [0x8e, 0xd0, 0x0f, 0xa2, NOP, HLT], (v) => v.write32(F.GUEST_RFLAGS, 2 | TF));
  const { mem, base } = g.machine.ram;
  mem.u64[(base + GUEST_RAM + 0x5008) / 8] = 0x00cf93000000ffffn;
  g.vmx.write64(F.GUEST_GDTR_BASE, 0x5000n);
  g.vmx.write32(F.GUEST_GDTR_LIMIT, 0xf);
  g.p.cpu.gpr[0] = 8n;
  g.vmx.write32(F.EXCEPTION_BITMAP, 1 << 1);
  assert.equal(g.run(), E.EXIT_REASON_CPUID);
  assert.deepEqual([g.read(F.GUEST_INTERRUPTIBILITY_INFO), g.read(F.GUEST_PENDING_DBG_EXCEPTIONS)], [2, 0x4000]);
  skip(g);
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI, 'the next instruction runs in the shadow');
  assert.deepEqual([qualification(g), rip(g)], [0x4000, 5]);
});

test('a guest may be entered at the first address that is not canonical, where its last instruction ended: #GP', () => {
  const g = guest('long', [HLT], (v) => {
    v.write64(F.GUEST_RIP, 1n << 47n);
    v.write32(F.EXCEPTION_BITMAP, 1 << 13);
  });
  assert.equal(g.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([g.read(F.VM_EXIT_INTR_INFO), g.vmx.read64(F.GUEST_RIP)], [0x8000_0b0d, 1n << 47n]);
});

test('an IRET that cannot be finished has let NMIs in, and its exit says so', () => {
  const faulting = guest('real', [0xcf], (v) => {
    v.write32(F.GUEST_INTERRUPTIBILITY_INFO, 8);
    v.write64(F.GUEST_RSP, 0xfffdn);
    v.write32(F.EXCEPTION_BITMAP, 1 << 12);
  });
  assert.equal(faulting.run(), E.EXIT_REASON_EXCEPTION_NMI);
  assert.deepEqual([faulting.read(F.VM_EXIT_INTR_INFO), faulting.read(F.GUEST_INTERRUPTIBILITY_INFO)], [0x8000_130c, 0]);
  const absent = guest('real', [0xcf], (v, g) => {
    v.write32(F.GUEST_INTERRUPTIBILITY_INFO, 8);
    setEpt(g, 0x6000, 0n);
  });
  assert.equal(absent.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.equal(qualification(absent) & 0x1000, 0x1000);
  const other = guest('real', [0x58], (v, g) => {
    v.write32(F.GUEST_INTERRUPTIBILITY_INFO, 8);
    setEpt(g, 0x6000, 0n);
  });
  assert.equal(other.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.deepEqual([qualification(other) & 0x1000, other.read(F.GUEST_INTERRUPTIBILITY_INFO)], [0, 8]);
});

test('an exit in the midst of a fault\'s delivery saves RFLAGS with RF, as the frame would have had it', () => {
  const g = guest('real', [0x0f, 0x0b], (v, own) => {
    setVector(own, 6, 0x7100);
    v.write64(F.GUEST_RSP, 0x9010n);
    setEpt(own, 0x9000, 0n);
  });
  assert.equal(g.run(), E.EXIT_REASON_EPT_VIOLATION);
  assert.deepEqual([g.read(F.IDT_VECTORING_INFO_FIELD), g.read(F.GUEST_RFLAGS)], [0x8000_0306, 0x1_0002]);
});
