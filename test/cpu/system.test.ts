import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuidLeaf } from '../../machine/cpu/cpuid.ts';
import { APIC_BASE_BSP, APIC_BASE_RESET, msrTable, readMsr, writeMsr } from '../../machine/cpu/msrs.ts';
import {
  CS, DS, FS, GS, LDTR, SEG_UNUSABLE, SS, STATE, TR, X86_CR0_PE, X86_CR0_PG, X86_CR4_OSXSAVE, X86_CR4_PAE, X86_EFLAGS_IF, X86_EFLAGS_IOPL, MODE_64, MODE_FLAT, MODE_LONG,
  MODE_PROTECTED, MODE_SIZE, MODE_USER, updateMode,
} from '../../machine/cpu/state.ts';
import {
  ABSENT_DS, CALL_GATE, CONFORMING_CS, GDT, KERNEL_CS, KERNEL_CS64, KERNEL_DS, LDT, LDT_SELECTOR, STACK0, STACK3, TSS, TestCpu, USER_CS, USER_CS64, USER_DS, descriptor, enterLong, enterProtected, enterUser, gate,
} from './support.ts';

const [RAX, RCX, RDX, RSP, R11] = [0, 1, 2, 4, 11];
const protectedCpu = () => { const t = new TestCpu(); enterProtected(t); return t; };
const userCpu = () => { const t = new TestCpu(); enterUser(t); return t; };
const longCpu = (user = false) => { const t = new TestCpu(); enterLong(t, user); return t; };
const verdict = (t: TestCpu, ...bytes: number[]) => { const f = t.execute(...bytes); return f && [f.vector, f.error]; };
const le32 = (n: number) => [n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >>> 24];

test('reset state is that of SDM table 9-1', () => {
  const { cpu } = new TestCpu();
  assert.deepEqual([cpu.rip, cpu.selector(CS), cpu.segBase(CS), cpu.state.cr0, cpu.gpr[RDX]], [0xfff0n, 0xf000, 0xffff_0000n, 0x6000_0010n, 0x506e3n]);
  assert.deepEqual([cpu.state.dr.get(6), cpu.state.dr.get(7), cpu.state.fpu.fcw, cpu.state.fpu.mxcsr, cpu.state.apic_base], [0xffff_0ff0n, 0x400n, 0x37f, 0x1f80, APIC_BASE_RESET | APIC_BASE_BSP]);
});

test('loading segment registers raises what the SDM lists, in its order', () => {
  const t = protectedCpu();
  const load = (reg: number, selector: number) => { t.cpu.gpr[RAX] = BigInt(selector); return verdict(t, 0x8e, 0xc0 | reg << 3); };
  assert.deepEqual(load(SS, 0), [13, 0], 'null SS');
  assert.deepEqual(load(SS, KERNEL_CS), [13, KERNEL_CS], 'code in SS');
  assert.deepEqual(load(SS, USER_DS), [13, USER_DS & ~3], 'wrong privilege');
  assert.deepEqual(load(SS, ABSENT_DS), [12, ABSENT_DS], 'absent stack: #SS');
  assert.deepEqual(load(DS, ABSENT_DS), [11, ABSENT_DS], 'absent data: #NP');
  assert.deepEqual(load(DS, 0x28), [13, 0x28], 'a TSS in DS');
  assert.deepEqual(load(DS, 0xff8), [13, 0xff8], 'beyond the limit');
  assert.deepEqual(load(DS, 0x0c), [13, 0x0c], 'no LDT');
  assert.deepEqual(load(CS, KERNEL_CS), [6, -1], 'MOV CS is #UD');
  assert.equal(load(DS, 0), undefined);
  assert.equal(t.cpu.segAccess(DS) & SEG_UNUSABLE, SEG_UNUSABLE);
  assert.equal(load(DS, USER_DS & ~3), undefined);
  assert.equal(t.read64(GDT + (USER_DS & ~3)) >> 40n & 1n, 1n, 'the descriptor is marked accessed');
  t.write64(GDT + ABSENT_DS, descriptor(0x1234, 0xfff, 0x92, 0));
  assert.equal(load(FS, ABSENT_DS), undefined);
  assert.equal(t.read64(GDT + ABSENT_DS) >> 40n & 0xffn, 0x93n);
  assert.deepEqual([t.cpu.segBase(FS), t.cpu.segLimit(FS), t.cpu.segAccess(FS)], [0x1234n, 0xfff, 0x93]);
});

test('an LDT gives selectors with TI their descriptors', () => {
  const t = protectedCpu();
  t.write64(LDT, descriptor(0x7000, 0xffff, 0xf3, 0));
  t.cpu.gpr[RAX] = BigInt(LDT_SELECTOR);
  assert.equal(t.execute(0x0f, 0x00, 0xd0), undefined);
  assert.deepEqual([t.cpu.selector(LDTR), t.cpu.segBase(LDTR), t.cpu.segLimit(LDTR)], [LDT_SELECTOR, BigInt(LDT), 0x1f]);
  t.cpu.gpr[RAX] = 4n;
  assert.equal(t.execute(0x8e, 0xd8), undefined);
  assert.equal(t.cpu.segBase(DS), 0x7000n);
  assert.deepEqual((t.cpu.gpr[RAX] = BigInt(TSS), verdict(t, 0x0f, 0x00, 0xd0)), [13, TSS & 0xfffc]);
});

test('LTR makes a TSS busy and refuses one that is', () => {
  const t = protectedCpu();
  t.cpu.gpr[RAX] = 0x28n;
  assert.deepEqual(verdict(t, 0x0f, 0x00, 0xd8), [13, 0x28]);
  t.write64(GDT + 0x28, descriptor(TSS, 0x67, 0x89, 0));
  assert.equal(t.execute(0x0f, 0x00, 0xd8), undefined);
  assert.deepEqual([t.read64(GDT + 0x28) >> 40n & 0xffn, t.cpu.segAccess(TR)], [0x8bn, 0x8b]);
});

test('far JMP and CALL reach code of the same level, conforming code of an inner one, and refuse the rest', () => {
  const t = userCpu();
  assert.deepEqual(verdict(t, 0xea, ...le32(0x100), KERNEL_CS, 0), [13, KERNEL_CS]);
  assert.deepEqual(verdict(t, 0xea, ...le32(0x100), 0, 0), [13, 0]);
  assert.deepEqual(verdict(t, 0xea, ...le32(0x100), USER_DS, 0), [13, USER_DS & ~3]);
  assert.equal(t.execute(0xea, ...le32(0x100), CONFORMING_CS, 0), undefined);
  assert.deepEqual([t.cpu.rip, t.cpu.selector(CS), t.cpu.cpl], [0x100n, CONFORMING_CS | 3, 3]);
  assert.equal(t.execute(0x9a, ...le32(0x200), USER_CS, 0), undefined);
  assert.deepEqual([t.cpu.rip, t.read32(STACK3 - 8), t.read32(STACK3 - 4)], [0x200n, 0x107, CONFORMING_CS | 3]);
  assert.equal(t.execute(0xcb), undefined);
  assert.deepEqual([t.cpu.rip, t.cpu.gpr[RSP]], [0x107n, BigInt(STACK3)]);
});

test('a call gate changes to the inner stack, copies parameters, and RETF n drops them on both', () => {
  const t = userCpu();
  t.write64(GDT + CALL_GATE, gate(KERNEL_CS, 0x5000, 0xec) | 2n << 32n);
  t.cpu.gpr[RSP] = BigInt(STACK3 - 8);
  t.write32(STACK3 - 8, 0xaaaa);
  t.write32(STACK3 - 4, 0xbbbb);
  assert.equal(t.execute(0x9a, ...le32(0), CALL_GATE, 0), undefined);
  assert.deepEqual([t.cpu.cpl, t.cpu.rip, t.cpu.gpr[RSP], t.cpu.selector(SS)], [0, 0x5000n, BigInt(STACK0 - 24), KERNEL_DS]);
  assert.deepEqual(Array.from({ length: 6 }, (_, i) => t.read32(STACK0 - 24 + 4 * i)), [0x4007, USER_CS, 0xaaaa, 0xbbbb, STACK3 - 8, USER_DS]);
  assert.equal(t.execute(0xca, 8, 0), undefined);
  assert.deepEqual([t.cpu.cpl, t.cpu.rip, t.cpu.gpr[RSP], t.cpu.selector(SS)], [3, 0x4007n, BigInt(STACK3), USER_DS]);
});

test('from compatibility mode a far jump to a segment with L enters 64-bit mode', () => {
  const t = longCpu();
  const { cpu } = t;
  cpu.setSegment(CS, KERNEL_CS, 0n, 0xffff_ffff, 0xc09b);
  updateMode(cpu);
  assert.equal(cpu.mode & (MODE_SIZE | MODE_LONG), 1 | MODE_LONG);
  assert.equal(t.execute(0xea, ...le32(0x100), KERNEL_CS64, 0), undefined);
  assert.equal(cpu.mode & (MODE_SIZE | MODE_LONG), MODE_64 | MODE_LONG);
});

test('SYSCALL and SYSRET change level without memory, SWAPGS exchanges the base', () => {
  const t = longCpu(true);
  const { cpu } = t;
  assert.deepEqual(verdict(t, 0x0f, 0x05), [6, -1], 'EFER.SCE is off');
  cpu.state.efer |= 1n;
  cpu.state.star = 0x0033_0038_0000_0000n;
  cpu.state.lstar = 0xffff_8000_0000_1000n;
  cpu.state.fmask = 0x200n;
  cpu.engine.writeFlags(cpu, 0x246);
  assert.equal(t.execute(0x0f, 0x05), undefined);
  assert.deepEqual([cpu.rip, cpu.gpr[RCX], cpu.gpr[R11], cpu.cpl, cpu.selector(CS), cpu.selector(SS)], [0xffff_8000_0000_1000n, 0x4002n, 0x246n, 0, 0x38, 0x40]);
  assert.equal(cpu.engine.readFlags(cpu) & X86_EFLAGS_IF, 0);
  cpu.state.kernel_gs_base = 0x1234n;
  assert.equal(t.execute(0x0f, 0x01, 0xf8), undefined);
  assert.deepEqual([cpu.segBase(GS), cpu.state.kernel_gs_base], [0x1234n, 0n]);
  assert.equal(t.execute(0x48, 0x0f, 0x07), undefined);
  assert.deepEqual([cpu.rip, cpu.cpl, cpu.selector(CS), cpu.selector(SS), cpu.engine.readFlags(cpu)], [0x4002n, 3, 0x43, 0x3b, 0x246]);
  cpu.setSegment(SS, 0, 0n, 0, 0x10000);
  cpu.gpr[RCX] = 0x8000_0000_0000n;
  updateMode(cpu);
  assert.deepEqual(verdict(t, 0x48, 0x0f, 0x07), [13, 0], 'a non-canonical return address is #GP at CPL 0');
});

test('SYSENTER and SYSEXIT use flat segments at fixed distances from SYSENTER_CS', () => {
  const t = userCpu();
  const { cpu } = t;
  assert.deepEqual(verdict(t, 0x0f, 0x34), [13, 0]);
  cpu.state.sysenter_cs = 0x8n;
  cpu.state.sysenter_eip = 0x9000n;
  cpu.state.sysenter_esp = 0xa000n;
  assert.equal(t.execute(0x0f, 0x34), undefined);
  assert.deepEqual([cpu.rip, cpu.gpr[RSP], cpu.selector(CS), cpu.selector(SS), cpu.cpl], [0x9000n, 0xa000n, 8, 16, 0]);
  cpu.gpr[RDX] = 0x4444n;
  cpu.gpr[RCX] = 0x5555n;
  assert.equal(t.execute(0x0f, 0x35), undefined);
  assert.deepEqual([cpu.rip, cpu.gpr[RSP], cpu.selector(CS), cpu.selector(SS), cpu.cpl], [0x4444n, 0x5555n, 0x1b, 0x23, 3]);
});

test('control registers refuse impossible combinations with #GP and keep their values', () => {
  const t = protectedCpu();
  const { cpu } = t;
  const mov = (cr: number, value: bigint) => { cpu.gpr[RAX] = value; return verdict(t, 0x0f, 0x22, 0xc0 | cr << 3); };
  const cr0 = cpu.state.cr0;
  assert.deepEqual(mov(0, X86_CR0_PG), [13, 0], 'PG without PE');
  assert.deepEqual(mov(0, X86_CR0_PE | 1n << 29n), [13, 0], 'NW without CD');
  assert.deepEqual(mov(4, 1n << 12n), [13, 0], 'a reserved bit of CR4');
  assert.deepEqual(mov(1, 0n), [6, -1], 'there is no CR1');
  assert.equal(cpu.state.cr0, cr0);
  cpu.state.efer |= 0x100n;
  cpu.state.cr3 = 0x10_0000n;
  assert.deepEqual(mov(0, X86_CR0_PE | X86_CR0_PG), [13, 0], 'long mode without PAE');
  assert.equal(mov(4, X86_CR4_PAE), undefined);
  assert.equal(mov(0, X86_CR0_PE | X86_CR0_PG), undefined);
  assert.equal(cpu.state.efer & 0x400n, 0x400n, 'LMA follows PG');
  assert.deepEqual(mov(4, 0n), [13, 0], 'PAE cannot go while long mode is active');
  assert.equal(mov(0, X86_CR0_PE), undefined);
  assert.equal(cpu.state.efer & 0x400n, 0n);
  assert.equal(t.execute(0x0f, 0x20, 0xc3), undefined);
  assert.equal(cpu.gpr[3], 0x11n, 'MOV from CR0 shows ET');
});

test('the mode word says what decoding and segmentation may assume', () => {
  const t = protectedCpu();
  assert.equal(t.cpu.mode & (MODE_FLAT | MODE_PROTECTED | MODE_USER), MODE_FLAT | MODE_PROTECTED);
  t.cpu.gpr[RAX] = 0n;
  assert.equal(t.execute(0x8e, 0xd8), undefined);
  assert.equal(t.cpu.mode & MODE_FLAT, 0, 'a null DS is not flat');
  assert.notEqual(userCpu().cpu.mode & MODE_USER, 0);
});

test('ring 3 may not use privileged instructions', () => {
  const forbidden = [[0xf4], [0xfa], [0xfb], [0x0f, 0x06], [0x0f, 0x08], [0x0f, 0x09], [0x0f, 0x30], [0x0f, 0x32], [0x0f, 0x20, 0xc0], [0x0f, 0x22, 0xc0], [0x0f, 0x21, 0xc0],
    [0x0f, 0x01, 0x10], [0x0f, 0x01, 0x18], [0x0f, 0x01, 0x38], [0x0f, 0x00, 0xd0], [0x0f, 0x00, 0xd8], [0x0f, 0x35], [0xec], [0xee], [0xe4, 0x10]];
  for (const bytes of forbidden) assert.deepEqual(verdict(userCpu(), ...bytes), [13, 0], bytes.map((b) => b.toString(16)).join(' '));
});

test('ports follow IOPL and the TSS bitmap, bit by bit', () => {
  const t = userCpu();
  const { cpu } = t;
  cpu.gpr[RDX] = 0x3f8n;
  cpu.gpr[RAX] = 0x1234_5641n;
  cpu.setSegment(TR, 0x28, BigInt(TSS), 0x68 + 0x80, 0x8b);
  assert.equal(t.execute(0xee), undefined);
  assert.deepEqual(t.bus.written, [{ port: 0x3f8, size: 1, value: 0x41 }]);
  t.write(TSS + 0x68 + 0x7f, [0x08]);
  assert.equal(t.execute(0x66, 0xef), undefined, 'two bytes from 0x3f8');
  assert.deepEqual(verdict(t, 0xef), [13, 0], 'the fourth byte is 0x3fb');
  cpu.state.rflags |= X86_EFLAGS_IOPL;
  assert.equal(t.execute(0xef), undefined);
});

test('POPF leaves IF and IOPL alone where they are not the program\'s to change', () => {
  const t = userCpu();
  const { cpu } = t;
  t.write32(STACK3 - 4, 0x0024_7fd7);
  cpu.gpr[RSP] = BigInt(STACK3 - 4);
  assert.equal(t.execute(0x9d), undefined);
  assert.equal(cpu.engine.readFlags(cpu), 0x0024_4dd7);
});

test('every MSR reads its reset value, takes a value within its mask, and refuses one outside', () => {
  const { cpu } = new TestCpu();
  assert.ok(msrTable.length > 40);
  assert.equal(new Set(msrTable.map((m) => m.number)).size, msrTable.length);
  for (const msr of msrTable) if (msr.read && ![0x10, 0x1b].includes(msr.number)) assert.equal(readMsr(cpu, msr.number), msr.reset, msr.name);
  assert.equal(writeMsr(cpu, 0x277, 0x0606_0606_0606_0606n), true);
  assert.equal(writeMsr(cpu, 0x277, 0x0206_0606_0606_0606n), false, 'memory type 2');
  assert.equal(writeMsr(cpu, 0xc000_0082, 0x8000_0000_0000n), false, 'LSTAR is canonical');
  assert.equal(writeMsr(cpu, 0xc000_0080, 1n << 14n), false, 'FFXSR is not there');
  assert.equal(readMsr(cpu, 0x1234), undefined);
  assert.equal(writeMsr(cpu, 0x10, 5000n), true);
  assert.equal(readMsr(cpu, 0x10), 5000n);
  assert.equal(readMsr(cpu, 0x3b), 4000n, 'TSC_ADJUST moves with the TSC');
});

test('CPUID names the vendor and claims nothing that is not there', () => {
  const t = protectedCpu();
  const { ebx, ecx, edx } = cpuidLeaf(t.cpu, 0, 0);
  assert.equal(Buffer.from(Uint32Array.of(ebx, edx, ecx).buffer).toString(), 'GenuineIntel');
  assert.equal(cpuidLeaf(t.cpu, 1, 0).ecx >>> 27 & 1, 0, 'OSXSAVE follows CR4');
  t.cpu.state.cr4 |= X86_CR4_OSXSAVE;
  assert.equal(cpuidLeaf(t.cpu, 1, 0).ecx >>> 27 & 1, 1);
  assert.equal(cpuidLeaf(t.cpu, 1, 0).ecx >>> 28 & 1, 0, 'no AVX');
  assert.deepEqual(cpuidLeaf(t.cpu, 0x4000_0000, 0), cpuidLeaf(t.cpu, 0x16, 0), 'no hypervisor here');
  assert.equal(t.execute(0x0f, 0xa2), undefined);
  assert.equal(t.cpu.gpr[RAX], BigInt(cpuidLeaf(t.cpu, 0, 0).eax));
});

test('FXSAVE and FXRSTOR are inverse, and refuse bad MXCSR and alignment', () => {
  const t = longCpu();
  const { cpu } = t;
  for (let i = 0; i < 32; i++) cpu.state.fpu.xmm.set(i, BigInt(i) * 0x1111n);
  cpu.state.fpu.st.set(0, 0x8000_0000_0000_0000n);
  cpu.state.fpu.fsw = 0x3800;
  cpu.gpr[RAX] = 0x5000n;
  assert.equal(t.execute(0x48, 0x0f, 0xae, 0x00), undefined);
  const saved = cpu.fpu.slice(0, 416);
  assert.equal(t.read64(0x5000 + 160 + 31 * 8), 31n * 0x1111n);
  assert.equal(t.read32(0x5000 + 28), 0xffff, 'MXCSR_MASK');
  cpu.fpu.fill(0);
  assert.equal(t.execute(0x48, 0x0f, 0xae, 0x08), undefined);
  cpu.state.fpu.mxcsr_mask = 0xffff;
  assert.deepEqual(cpu.fpu.slice(0, 416), saved);
  t.write32(0x5000 + 24, 0x1_0000);
  assert.deepEqual(verdict(t, 0x0f, 0xae, 0x08), [13, 0]);
  cpu.gpr[RAX] = 0x5008n;
  assert.deepEqual(verdict(t, 0x0f, 0xae, 0x00), [13, 0]);
});

test('LAR, LSL, VERR and VERW answer with ZF', () => {
  const t = userCpu();
  const zf = () => (t.cpu.engine.readFlags(t.cpu) >> 6 & 1) === 1;
  const ask = (op: number[], selector: number) => { t.cpu.gpr[RCX] = BigInt(selector); assert.equal(t.execute(...op), undefined); return zf(); };
  assert.equal(ask([0x0f, 0x02, 0xc1], USER_CS), true);
  assert.equal(t.cpu.gpr[RAX], 0x00cf_fb00n & 0x00f0_ff00n);
  assert.equal(ask([0x0f, 0x03, 0xc1], USER_CS), true);
  assert.equal(t.cpu.gpr[RAX], 0xffff_ffffn);
  assert.equal(ask([0x0f, 0x02, 0xc1], KERNEL_DS), false, 'ring 0 data is not visible to ring 3');
  assert.equal(ask([0x0f, 0x00, 0xe1], USER_DS), true);
  assert.equal(ask([0x0f, 0x00, 0xe9], USER_CS), false, 'code is not writable');
  assert.equal(ask([0x0f, 0x00, 0xe9], USER_DS), true);
});

test('SGDT and LGDT carry 24-bit bases with 16-bit operand size', () => {
  const t = protectedCpu();
  t.write16(0x5000, 0x1ff);
  t.write32(0x5002, 0xab12_3456);
  t.cpu.gpr[RAX] = 0x5000n;
  assert.equal(t.execute(0x66, 0x0f, 0x01, 0x10), undefined);
  assert.deepEqual([t.cpu.state.gdtr_base, t.cpu.u32[STATE.gdtr_limit >>> 2]], [0x12_3456n, 0x1ff]);
});

test('CLAC and STAC need ring 0, whatever CR4.SMAP says', () => {
  const t = longCpu();
  assert.equal(verdict(t, 0x0f, 0x01, 0xcb), undefined);
  assert.ok(t.cpu.state.rflags & 0x4_0000);
  assert.equal(verdict(t, 0x0f, 0x01, 0xca), undefined);
  assert.equal(t.cpu.state.rflags & 0x4_0000, 0);
  assert.deepEqual(verdict(longCpu(true), 0x0f, 0x01, 0xca), [6, -1]);
});

test('INVPCID takes four types, 12 bits of PCID, and none but 0 for one address space while CR4.PCIDE is clear', () => {
  const t = longCpu();
  const invpcid = (type: bigint, low: bigint, address = 0n) => {
    t.write64(0x6000, low);
    t.write64(0x6008, address);
    t.cpu.gpr[RAX] = type;
    t.cpu.gpr[RCX] = 0x6000n;
    return verdict(t, 0x66, 0x0f, 0x38, 0x82, 0x01);
  };
  for (const type of [0n, 1n, 2n, 3n]) assert.equal(invpcid(type, 0n), undefined, `${type}`);
  assert.deepEqual([invpcid(4n, 0n), invpcid(0n, 1n), invpcid(1n, 1n), invpcid(2n, 1n), invpcid(3n, 0x1000n)], [[13, 0], [13, 0], [13, 0], undefined, [13, 0]]);
  t.cpu.state.cr4 |= 1n << 17n;
  assert.deepEqual([invpcid(0n, 1n), invpcid(0n, 1n, 1n << 47n), invpcid(1n, 0xfffn)], [undefined, [13, 0], undefined]);
});

test('a return to an outer level takes inner segments away and leaves the base that FS and GS have', () => {
  const t = longCpu();
  t.cpu.setSegment(GS, KERNEL_DS, 0x1234_5678_9000n, 0xffff_ffff, 0xc093);
  updateMode(t.cpu);
  [0x5000n, BigInt(USER_CS64), 2n, BigInt(STACK3), BigInt(USER_DS)].forEach((value, i) => t.write64(STACK0 - 40 + 8 * i, value));
  t.cpu.gpr[RSP] = BigInt(STACK0 - 40);
  assert.equal(verdict(t, 0x48, 0xcf), undefined);
  assert.deepEqual([t.cpu.cpl, t.cpu.selector(GS), t.cpu.segAccess(GS) & SEG_UNUSABLE, t.cpu.segBase(GS)], [3, 0, SEG_UNUSABLE, 0x1234_5678_9000n]);
});

test('protection keys refuse data accesses to user pages, with the PK bit in the error code', () => {
  const PKE = 1n << 22n, WP = 1n << 16n;
  const t = longCpu();
  const access = (bytes: number[]) => { const f = t.execute(...bytes); return f && [f.vector, f.error, f.address]; };
  const keys = (pkru: number) => { t.cpu.gpr[RAX] = BigInt(pkru); t.cpu.gpr[RCX] = t.cpu.gpr[RDX] = 0n; return verdict(t, 0x0f, 0x01, 0xef); };
  const READ = [0x0f, 0x01, 0x14, 0x25, ...le32(0x20_0000)], WRITE = [0x0f, 0x01, 0x04, 0x25, ...le32(0x20_0000)];
  t.write64(0x20_0000, 0xffff_0000_0000_0000n >> 48n);
  assert.deepEqual(verdict(t, 0x0f, 0x01, 0xee), [6, -1], 'RDPKRU without CR4.PKE');
  t.cpu.gpr[RAX] = t.cpu.state.cr4 | PKE;
  assert.equal(verdict(t, 0x0f, 0x22, 0xe0), undefined);
  assert.equal(cpuidLeaf(t.cpu, 7, 0).ecx & 0x18, 0x18);
  t.write64(0x10_2000 + 8, 1n << 21n | 0x87n | 5n << 59n);
  for (const [name, pkru, wp, read, write] of [
    ['no refusal', 3 << 8, WP, undefined, undefined], ['write', 2 << 10, WP, undefined, [14, 0x23, 0x20_0000]],
    ['write without WP', 2 << 10, 0n, undefined, undefined], ['access', 1 << 10, 0n, [14, 0x21, 0x20_0000], [14, 0x23, 0x20_0000]],
  ] as const) {
    assert.equal(keys(pkru), undefined, name);
    t.cpu.state.cr0 = t.cpu.state.cr0 & ~WP | wp;
    assert.deepEqual([access(READ), access(WRITE)], [read, write], name);
  }
  assert.equal(verdict(t, 0x0f, 0x01, 0xee), undefined);
  assert.deepEqual([t.cpu.gpr[RAX], t.cpu.gpr[RDX]], [1024n, 0n]);
  t.cpu.gpr[RCX] = 1n;
  assert.deepEqual([verdict(t, 0x0f, 0x01, 0xee), verdict(t, 0x0f, 0x01, 0xef)], [[13, 0], [13, 0]]);
  t.write64(0x10_2000 + 8, 1n << 21n | 0x83n | 5n << 59n);
  assert.equal(access(READ), undefined, 'a supervisor page has no key');
});

test('SYSENTER leads out of virtual-8086 mode, and is #GP in real-address mode only', () => {
  const t = new TestCpu();
  t.cpu.state.sysenter_cs = BigInt(KERNEL_CS);
  t.cpu.state.sysenter_eip = 0x5000n;
  assert.deepEqual(verdict(t, 0x0f, 0x34), [13, 0]);
  enterProtected(t);
  for (const seg of [SS, DS, FS, GS]) t.cpu.setSegment(seg, 0, 0n, 0xffff, 0xf3);
  t.cpu.setSegment(CS, 0x300, 0x3000n, 0xffff, 0xf3);
  t.cpu.engine.writeFlags(t.cpu, 0x2_0202);
  updateMode(t.cpu);
  assert.equal(verdict(t, 0x0f, 0x34), undefined);
  assert.deepEqual([t.cpu.cpl, t.cpu.selector(CS), t.cpu.rip, t.cpu.state.rflags & 0x2_0200], [0, KERNEL_CS, 0x5000n, 0]);
});
