/**
 * A processor without an engine: RAM, a register file and a way to execute single system instructions from their bytes.
 */
import { Mem } from '../../abi/space.ts';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { Fault } from '../../machine/cpu/exceptions.ts';
import { type Outcome, deliverFault } from '../../machine/cpu/interrupts.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { resetCpu } from '../../machine/cpu/reset.ts';
import { CS, type CpuBus, CpuState, DS, EFER_LMA, EFER_LME, ES, FS, GS, SS, TR, X86_CR0_PE, X86_CR0_PG, X86_CR4_PAE, updateMode } from '../../machine/cpu/state.ts';
import { systemTable } from '../../machine/cpu/system-table.ts';

const STATE_AREA = 65536;
export const RAM_SIZE = 4 * 1024 * 1024;

/** Ports that remember what was written and read back 0xff; time that stands still. */
export class TestBus implements CpuBus {
  readonly written: { port: number; size: number; value: number }[] = [];
  time = 1000;
  vector = -1;
  readTsc(): number { return this.time; }
  portIn(): number { return 0xffff_ffff; }
  portOut(_cpu: CpuState, port: number, size: 1 | 2 | 4, value: number): void { this.written.push({ port, size, value }); }
  mmioRead(_cpu: CpuState, _address: number, size: number): bigint { return (1n << BigInt(8 * size)) - 1n; }
  mmioWrite(): void {}
  random(): bigint { return 0x1234_5678_9abc_def0n; }
  acknowledge(): number { return this.vector; }
  readApicMsr(): undefined { return undefined; }
  writeApicMsr(): boolean { return false; }
  cr8(): number { return 0; }
  setCr8(): void {}
  pause(): void {}
  timeAlone(): number { return -1; }
}

export class TestCpu {
  readonly mem = new Mem(new ArrayBuffer(STATE_AREA + RAM_SIZE));
  readonly cpu = new CpuState(this.mem, 0, 0, STATE_AREA, RAM_SIZE);
  readonly bus = new TestBus();
  private readonly decoder = new Decoder(buildMaps(systemTable));

  constructor() {
    this.cpu.bus = this.bus;
    resetCpu(this.cpu);
  }

  // ---- physical memory
  write(address: number, bytes: ArrayLike<number>): void { this.mem.u8.set(Array.from(bytes), STATE_AREA + address); }
  write16(address: number, value: number): void { this.write(address, [value & 0xff, value >> 8 & 0xff]); }
  write32(address: number, value: number): void { this.write16(address, value & 0xffff); this.write16(address + 2, value >>> 16); }
  write64(address: number, value: bigint): void { this.write32(address, Number(value & 0xffff_ffffn)); this.write32(address + 4, Number(value >> 32n & 0xffff_ffffn)); }
  read16(address: number): number { return this.mem.u8[STATE_AREA + address]! | this.mem.u8[STATE_AREA + address + 1]! << 8; }
  read32(address: number): number { return (this.read16(address) | this.read16(address + 2) << 16) >>> 0; }
  read64(address: number): bigint { return BigInt(this.read32(address)) | BigInt(this.read32(address + 4)) << 32n; }

  /**
   * Executes one system instruction given by its bytes. Returns undefined when it completed, else the fault, with
   * nothing delivered and RIP back at the instruction, as the engine leaves it.
   */
  execute(...bytes: number[]): Fault | undefined {
    const { cpu } = this;
    const size = ({ 0: 2, 1: 4, 2: 8 } as const)[(cpu.mode & 3) as 0 | 1 | 2];
    const insn = this.decoder.decode(Uint8Array.from(bytes), 0, bytes.length, size);
    if (!insn || insn.length !== bytes.length || !('exec' in insn.row.meaning)) throw new Error(`no system instruction: ${bytes.map((b) => b.toString(16))}`);
    const start = cpu.rip;
    cpu.rip = start + BigInt(insn.length);
    try {
      insn.row.meaning.exec(cpu, insn);
      return undefined;
    } catch (e) {
      if (!(e instanceof Fault)) throw e;
      cpu.rip = start;
      return e;
    }
  }

  /** The same, and a fault is delivered. */
  run(...bytes: number[]): Outcome {
    return this.execute(...bytes) ? deliverFault(this.cpu) : 'done';
  }
}

export const GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, LDT = 0x3800, STACK0 = 0x8000, STACK3 = 0x9000, IST1 = 0xa000;
/** Selectors of the test GDT. */
export const KERNEL_CS = 0x08, KERNEL_DS = 0x10, USER_CS = 0x1b, USER_DS = 0x23, TSS_SELECTOR = 0x28, KERNEL_CS64 = 0x38, USER_CS64 = 0x43, CONFORMING_CS = 0x48, CALL_GATE = 0x50, ABSENT_DS = 0x60, LDT_SELECTOR = 0x68;

export const descriptor = (base: number, limit: number, access: number, flags: number): bigint =>
  BigInt(limit & 0xffff) | BigInt(base & 0xff_ffff) << 16n | BigInt(access) << 40n | BigInt(limit >>> 16 & 0xf) << 48n | BigInt(flags) << 52n | BigInt(base >>> 24) << 56n;

/** A gate, 32 bits wide: the low eight bytes of a 64-bit one. */
export const gate = (selector: number, offset: number, access: number, ist = 0): bigint =>
  BigInt(offset & 0xffff) | BigInt(selector) << 16n | BigInt(ist) << 32n | BigInt(access) << 40n | BigInt(offset >>> 16) << 48n;

/** Flat protected mode at CPL 0, with the test GDT, an empty IDT, a TSS and two stacks. */
export function enterProtected(t: TestCpu): void {
  const { cpu } = t;
  const entries: Record<number, bigint> = {
    [KERNEL_CS]: descriptor(0, 0xfffff, 0x9b, 0xc), [KERNEL_DS]: descriptor(0, 0xfffff, 0x93, 0xc),
    [USER_CS & ~3]: descriptor(0, 0xfffff, 0xfb, 0xc), [USER_DS & ~3]: descriptor(0, 0xfffff, 0xf3, 0xc),
    [TSS_SELECTOR]: descriptor(TSS, 0x67, 0x89, 0), [KERNEL_CS64]: descriptor(0, 0xfffff, 0x9b, 0xa), [USER_CS64 & ~3]: descriptor(0, 0xfffff, 0xfb, 0xa),
    [CONFORMING_CS]: descriptor(0, 0xfffff, 0x9f, 0xc), [CALL_GATE]: gate(KERNEL_CS, 0x5000, 0xec), [ABSENT_DS]: descriptor(0, 0xfffff, 0x13, 0xc),
    [LDT_SELECTOR]: descriptor(LDT, 0x1f, 0x82, 0),
  };
  for (const [selector, value] of Object.entries(entries)) t.write64(GDT + Number(selector), value);
  cpu.state.gdtr_base = BigInt(GDT);
  cpu.state.gdtr_limit = 0x7f;
  cpu.state.idtr_base = BigInt(IDT);
  cpu.state.idtr_limit = 0xfff;
  cpu.state.cr0 |= X86_CR0_PE;
  cpu.setSegment(CS, KERNEL_CS, 0n, 0xffff_ffff, 0xc09b);
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, KERNEL_DS, 0n, 0xffff_ffff, 0xc093);
  t.write64(GDT + TSS_SELECTOR, descriptor(TSS, 0x67, 0x8b, 0));
  t.write16(TSS + 0x66, 0x68);
  cpu.setSegment(TR, TSS_SELECTOR, BigInt(TSS), 0x67, 0x8b);
  t.write32(TSS + 4, STACK0);
  t.write32(TSS + 8, KERNEL_DS);
  cpu.gpr[4] = BigInt(STACK0);
  cpu.rip = 0x4000n;
  updateMode(cpu);
}

/** The same at CPL 3. */
export function enterUser(t: TestCpu): void {
  enterProtected(t);
  const { cpu } = t;
  cpu.setSegment(CS, USER_CS, 0n, 0xffff_ffff, 0xc0fb);
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, USER_DS, 0n, 0xffff_ffff, 0xc0f3);
  cpu.gpr[4] = BigInt(STACK3);
  updateMode(cpu);
}

/** 64-bit mode at CPL 0, everything below 1 GiB mapped by itself and open to ring 3. */
export function enterLong(t: TestCpu, user = false): void {
  enterProtected(t);
  const { cpu } = t;
  t.write64(0x10_0000, 0x10_1007n);
  t.write64(0x10_1000, 0x10_2007n);
  for (let i = 0; i < 512; i++) t.write64(0x10_2000 + 8 * i, BigInt(i) << 21n | 0x87n);
  cpu.state.cr3 = 0x10_0000n;
  cpu.state.cr4 |= X86_CR4_PAE;
  cpu.state.efer |= EFER_LME | EFER_LMA;
  cpu.state.cr0 |= X86_CR0_PG;
  const dpl = user ? 0x60 : 0;
  cpu.setSegment(CS, user ? USER_CS64 : KERNEL_CS64, 0n, 0xffff_ffff, 0xa09b | dpl);
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, user ? USER_DS : KERNEL_DS, 0n, 0xffff_ffff, 0xc093 | dpl);
  t.write64(TSS + 4, BigInt(STACK0));
  t.write64(TSS + 36, BigInt(IST1));
  cpu.gpr[4] = BigInt(user ? STACK3 : STACK0);
  updateMode(cpu);
}

export function setGate(t: TestCpu, vector: number, selector: number, offset: number, access: number, ist = 0): void {
  const long = t.cpu.longMode;
  t.write64(IDT + vector * (long ? 16 : 8), gate(selector, offset, access, ist));
  if (long) t.write64(IDT + vector * 16 + 8, 0n);
}
