/**
 * A small VMM for tests: a machine whose ring 0 does nothing, one VMCS as KVM sets it up, EPT that maps guest-physical
 * 0 to 2 MiB onto RAM from 4 MiB on, and a guest of given machine code in real, protected or long mode.
 */
import * as C from '../../machine/vmx/controls.ts';
import * as F from '../../machine/vmx/fields.ts';
import { INTR_INFO_DELIVER_CODE_MASK, INTR_INFO_VALID_MASK } from '../../machine/vmx/entry-checks.ts';
import { Machine } from '../../machine/machine.ts';
import type { Processor } from '../../machine/processor.ts';
import type { Vmx } from '../../machine/vmx/vmx.ts';

export const VMXON = 0x1000;
export const VMCS = 0x2000;
export const EPT = 0x3000;             // PML4, PDPT, PD, PT
export const MSR_BITMAP = 0x8000;
export const IO_BITMAP_A = 0x9000;
export const IO_BITMAP_B = 0xa000;
export const VIRTUAL_APIC = 0xb000;
/** Host-physical address of guest-physical 0. */
export const GUEST_RAM = 0x40_0000;
export const GUEST_PAGES = 512;
export const CODE = 0x7000;
export const EPTP = EPT | 0x1e;        // write-back, four levels

export const MODE = { real: 0, protected: 1, long: 2 } as const;

export interface Guest {
  machine: Machine;
  p: Processor;
  vmx: Vmx;
  /** Guest RAM as a byte array. */
  ram: Uint8Array;
  /** Enters and runs for that many cycles beyond the entry; the basic exit reason, or 'limit', or an instruction error as a negative number. */
  run(cycles?: number): number | 'limit';
  read(field: number): number;
  gpr(n: number): bigint;
}

const selectors = [F.GUEST_ES_SELECTOR, F.GUEST_CS_SELECTOR, F.GUEST_SS_SELECTOR, F.GUEST_DS_SELECTOR, F.GUEST_FS_SELECTOR, F.GUEST_GS_SELECTOR];

export function newMachine(cpus = 1): Machine {
  const machine = new Machine({
    memory: 8 << 20, cpus, seed: 1,
    platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), write: () => {}, read: () => 'eof' }, startDate: 0n },
  });
  machine.install({ step: (p) => p.halt() });
  return machine;
}

export function guest(mode: keyof typeof MODE, code: number[], setUp: (v: Vmx, g: Guest) => void = () => {}): Guest {
  const machine = newMachine();
  const p = machine.processors[0]!;
  const { vmx } = p;
  const { mem, base } = machine.ram;
  const ram = mem.u8.subarray(base + GUEST_RAM, base + GUEST_RAM + GUEST_PAGES * 4096);
  ram.set(code, CODE);
  buildEpt(machine);
  mem.u32[(base + VMXON) >>> 2] = C.VMCS_REVISION_ID;
  mem.u32[(base + VMCS) >>> 2] = C.VMCS_REVISION_ID;
  vmx.vmxon(VMXON);
  vmx.vmclear(VMCS);
  vmx.vmptrld(VMCS);
  let launched = false;
  const g: Guest = {
    machine, p, vmx, ram,
    run(cycles = 100_000) {
      if (!vmx.inGuest) {
        const status = launched ? vmx.vmresume() : vmx.vmlaunch();
        if (status !== 'ok') return -vmx.read32(F.VM_INSTRUCTION_ERROR);
        if (!vmx.inGuest) return vmx.read32(F.VM_EXIT_REASON);
        launched = true;
      }
      p.limit = p.clock + cycles;
      return vmx.run() === 'limit' ? 'limit' : vmx.read32(F.VM_EXIT_REASON);
    },
    read: (field) => vmx.readNumber(field),
    gpr: (n) => p.cpu.gpr[n]!,
  };
  writeControls(vmx);
  writeHost(vmx);
  writeGuest(vmx, mode, ram);
  setUp(vmx, g);
  return g;
}

/** 4 KiB leaves for guest-physical 0 to 2 MiB. */
function buildEpt(machine: Machine): void {
  const { mem, base } = machine.ram;
  const u64 = (address: number) => (base + address) >>> 3;
  mem.u64[u64(EPT)] = BigInt(EPT + 0x1000) | 7n;
  mem.u64[u64(EPT + 0x1000)] = BigInt(EPT + 0x2000) | 7n;
  mem.u64[u64(EPT + 0x2000)] = BigInt(EPT + 0x3000) | 7n;
  for (let i = 0; i < GUEST_PAGES; i++) mem.u64[u64(EPT + 0x3000 + 8 * i)] = BigInt(GUEST_RAM + i * 4096) | 0x37n;
}

/** The EPT entry of a guest-physical page. */
export function setEpt(g: Guest, gpa: number, entry: bigint): void {
  const { mem, base } = g.machine.ram;
  mem.u64[(base + EPT + 0x3000 + (gpa >>> 12) * 8) >>> 3] = entry;
  g.vmx.invept(2, 0n);
}

export const defaults = {
  pin: C.PIN_BASED_EXT_INTR_MASK | C.PIN_BASED_NMI_EXITING | C.PIN_BASED_VIRTUAL_NMIS,
  cpu: (C.CPU_BASED_HLT_EXITING | C.CPU_BASED_UNCOND_IO_EXITING | C.CPU_BASED_ACTIVATE_SECONDARY_CONTROLS | C.CPU_BASED_USE_MSR_BITMAPS) >>> 0,
  secondary: C.SECONDARY_EXEC_ENABLE_EPT | C.SECONDARY_EXEC_UNRESTRICTED_GUEST | C.SECONDARY_EXEC_ENABLE_VPID,
  exit: C.VM_EXIT_HOST_ADDR_SPACE_SIZE | C.VM_EXIT_ACK_INTR_ON_EXIT | C.VM_EXIT_SAVE_IA32_EFER | C.VM_EXIT_LOAD_IA32_EFER | C.VM_EXIT_SAVE_DEBUG_CONTROLS,
  entry: C.VM_ENTRY_LOAD_IA32_EFER | C.VM_ENTRY_LOAD_DEBUG_CONTROLS,
};

function writeControls(v: Vmx): void {
  v.write32(F.PIN_BASED_VM_EXEC_CONTROL, C.adjust(C.pinBased, defaults.pin));
  v.write32(F.CPU_BASED_VM_EXEC_CONTROL, C.adjust(C.cpuBased, defaults.cpu));
  v.write32(F.SECONDARY_VM_EXEC_CONTROL, C.adjust(C.secondary, defaults.secondary));
  v.write32(F.VM_EXIT_CONTROLS, C.adjust(C.vmExit, defaults.exit));
  v.write32(F.VM_ENTRY_CONTROLS, C.adjust(C.vmEntry, defaults.entry));
  v.write32(F.VIRTUAL_PROCESSOR_ID, 1);
  v.writeNumber(F.EPT_POINTER, EPTP);
  v.writeNumber(F.MSR_BITMAP, MSR_BITMAP);
  v.writeNumber(F.IO_BITMAP_A, IO_BITMAP_A);
  v.writeNumber(F.IO_BITMAP_B, IO_BITMAP_B);
  v.writeNumber(F.VIRTUAL_APIC_PAGE_ADDR, VIRTUAL_APIC);
}

function writeHost(v: Vmx): void {
  v.write64(F.HOST_CR0, 0x8005_0033n);
  v.write64(F.HOST_CR4, 0x2020n);
  v.write64(F.HOST_CR3, 0x10_0000n);
  v.write64(F.HOST_IA32_EFER, 0xd01n);
  v.write32(F.HOST_CS_SELECTOR, 0x10);
  v.write32(F.HOST_SS_SELECTOR, 0x18);
  v.write32(F.HOST_TR_SELECTOR, 0x40);
}

const PML4 = 0x1000;
function writeGuest(v: Vmx, mode: keyof typeof MODE, ram: Uint8Array): void {
  const real = mode === 'real';
  const long = mode === 'long';
  v.write64(F.VMCS_LINK_POINTER, 0xffff_ffff_ffff_ffffn);
  v.write64(F.GUEST_CR0, real ? 0x30n : long ? 0x8000_0031n : 0x31n);
  v.write64(F.GUEST_CR4, long ? 0x2020n : 0x2000n);
  if (long) {
    const u64 = new DataView(ram.buffer, ram.byteOffset);
    u64.setBigUint64(PML4, BigInt(PML4 + 0x1000) | 7n, true);
    u64.setBigUint64(PML4 + 0x1000, BigInt(PML4 + 0x2000) | 7n, true);
    u64.setBigUint64(PML4 + 0x2000, 0x87n, true);
    v.write64(F.GUEST_CR3, BigInt(PML4));
    v.write64(F.GUEST_IA32_EFER, 0x500n);
    v.write32(F.VM_ENTRY_CONTROLS, v.read32(F.VM_ENTRY_CONTROLS) | C.VM_ENTRY_IA32E_MODE);
  }
  selectors.forEach((selector, seg) => {
    v.write32(selector, real ? 0 : 8);
    v.write32(F.GUEST_ES_LIMIT + 2 * seg, real ? 0xffff : 0xffff_ffff);
    v.write32(F.GUEST_ES_AR_BYTES + 2 * seg, real ? 0x93 : 0xc093);
  });
  v.write32(F.GUEST_CS_AR_BYTES, real ? 0x9b : long ? 0xa09b : 0xc09b);
  v.write32(F.GUEST_TR_AR_BYTES, 0x8b);
  v.write32(F.GUEST_TR_LIMIT, 0xffff);
  v.write32(F.GUEST_LDTR_AR_BYTES, 0x1_0000);
  v.write32(F.GUEST_IDTR_LIMIT, 0x3ff);
  v.write64(F.GUEST_RIP, BigInt(CODE));
  v.write64(F.GUEST_RSP, 0x6000n);
  v.write64(F.GUEST_RFLAGS, 2n);
  v.write64(F.GUEST_DR7, 0x400n);
}

export const HLT = 0xf4;
export const NOP = 0x90;
export const or = (v: Vmx, field: number, bits: number) => v.write32(field, v.read32(field) | bits);
export const clear = (v: Vmx, field: number, bits: number) => v.write32(field, v.read32(field) & ~bits);
export const cpuBased = (bits: number) => (v: Vmx) => or(v, F.CPU_BASED_VM_EXEC_CONTROL, bits);
export const inject = (g: Guest, vector: number, type: number, error?: number) => {
  g.vmx.write32(F.VM_ENTRY_INTR_INFO_FIELD, (INTR_INFO_VALID_MASK | (type << 8) | vector | (error === undefined ? 0 : INTR_INFO_DELIVER_CODE_MASK)) >>> 0);
  if (error !== undefined) g.vmx.write32(F.VM_ENTRY_EXCEPTION_ERROR_CODE, error);
};
export const rip = (g: Guest) => g.read(F.GUEST_RIP) - CODE;
export const qualification = (g: Guest) => g.read(F.EXIT_QUALIFICATION);
/** Steps over the instruction that made the guest exit. */
export const skip = (g: Guest) => g.vmx.writeNumber(F.GUEST_RIP, g.read(F.GUEST_RIP) + g.read(F.VM_EXIT_INSTRUCTION_LEN));
export const host = (g: Guest, page: number) => g.machine.ram.mem.u8.subarray(g.machine.ram.base + page, g.machine.ram.base + page + 4096);
/** A real-mode interrupt vector. */
export const setVector = (g: Guest, vector: number, offset: number) => new DataView(g.ram.buffer, g.ram.byteOffset).setUint32(vector * 4, offset, true);
