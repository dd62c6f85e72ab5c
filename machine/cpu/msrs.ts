/**
 * The model-specific registers of a core, one row each: number, name, where it lives or what reading and writing it
 * does, which bits may be written. SDM Vol. 4 ch. 2. RDMSR, WRMSR and the MSR lists of VM entry and exit use this table.
 *
 * Anything outside the table, and a value with a bit outside the mask, is #GP(0).
 */
import { EFER_BITS, setEfer } from './control-registers.ts';
import { GP_VECTOR, raise } from './exceptions.ts';
import { VM_EXIT, type VmExit } from './hooks.ts';
import { isCanonical } from './memory.ts';
import type { Insn } from './opcode-row.ts';
import { MAXPHYADDR } from './paging.ts';
import { type CpuState, FS, GS, RAX, RCX, RDX, SEGMENT_SIZE, STATE } from './state.ts';

interface Msr {
  readonly number: number;
  readonly name: string;
  /** Value at reset. */
  readonly reset: bigint;
  /** undefined: cannot be read. */
  readonly read?: (cpu: CpuState) => bigint | undefined;
  /** undefined: cannot be written. False: this value is refused. */
  readonly write?: (cpu: CpuState, value: bigint) => boolean;
}

const ALL = (1n << 64n) - 1n;
const physical = (low: bigint) => (1n << BigInt(MAXPHYADDR)) - 1n & ~low;

/** A register of cpu_state. */
const at = (number: number, name: string, offset: number, mask: bigint, reset = 0n, legal: (value: bigint) => boolean = () => true): Msr => ({
  number, name, reset,
  read: (cpu) => cpu.u64[offset >>> 3]!,
  write: (cpu, value) => {
    if (value & ~mask || !legal(value)) return false;
    cpu.u64[offset >>> 3] = value;
    return true;
  },
});
/** Storage without an effect. */
const store = (number: number, name: string, mask: bigint, reset = 0n, legal: (value: bigint) => boolean = () => true): Msr => ({
  number, name, reset,
  read: (cpu) => cpu.msrs.get(number) ?? reset,
  write: (cpu, value) => {
    if (value & ~mask || !legal(value)) return false;
    cpu.msrs.set(number, value);
    return true;
  },
});
const constant = (number: number, name: string, value: bigint): Msr => ({ number, name, reset: value, read: () => value });
const segmentBase = (number: number, name: string, seg: number): Msr => at(number, name, STATE.seg + seg * SEGMENT_SIZE, ALL, 0n, isCanonical);

/** Memory types, one a byte: UC WC WT WP WB, and UC- where the PAT allows it. */
const typesIn = (allowed: readonly number[]) => (value: bigint): boolean => {
  for (let i = 0n; i < 8n; i++) if (!allowed.includes(Number(value >> 8n * i & 0xffn))) return false;
  return true;
};
const patTypes = typesIn([0, 1, 4, 5, 6, 7]);
const mtrrTypes = typesIn([0, 1, 4, 5, 6]);
const rangeType = (value: bigint) => [0, 1, 4, 5, 6].includes(Number(value & 0xffn));

const tsc = (cpu: CpuState): bigint => BigInt.asUintN(64, BigInt(cpu.bus.readTsc()) + cpu.u64[STATE.tsc_adjust >>> 3]! + cpu.u64[STATE.tsc_offset >>> 3]!);

/** Eight variable MTRRs, as MTRRcap says. */
const variableMtrrs = Array.from({ length: 8 }, (_, i) => [
  store(0x200 + 2 * i, `MTRR_PHYSBASE${i}`, physical(0xf00n), 0n, rangeType),
  store(0x201 + 2 * i, `MTRR_PHYSMASK${i}`, physical(0x7ffn)),
]).flat();
const fixedMtrrs = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f].map((number) => store(number, `MTRR_FIX_${number.toString(16)}`, ALL, 0n, mtrrTypes));

export const APIC_BASE_RESET = 0xfee0_0800n;
/** This processor came up first. */
export const APIC_BASE_BSP = 0x100n;
const PAT_RESET = 0x0007_0406_0007_0406n;

export const msrTable: readonly Msr[] = [
  { number: 0x10, name: 'TSC', reset: 0n, read: tsc, write: (cpu, value) => {
    cpu.u64[STATE.tsc_adjust >>> 3] = BigInt.asUintN(64, cpu.u64[STATE.tsc_adjust >>> 3]! + value - tsc(cpu));
    return true;
  } },
  constant(0x17, 'PLATFORM_ID', 0n),
  at(0x1b, 'APIC_BASE', STATE.apic_base, physical(0x2ffn), APIC_BASE_RESET),
  // Locked, VMX outside SMX on: what a BIOS leaves.
  constant(0x3a, 'FEATURE_CONTROL', 5n),
  at(0x3b, 'TSC_ADJUST', STATE.tsc_adjust, ALL),
  at(0x48, 'SPEC_CTRL', STATE.spec_ctrl, 7n),
  { number: 0x49, name: 'PRED_CMD', reset: 0n, write: (_cpu, value) => (value & ~1n) === 0n },
  // The microcode's revision, one in which the parts of this model have their errata mended. Software writes 0 and lets
  // CPUID put the revision back, so a write is as good as none.
  { number: 0x8b, name: 'BIOS_SIGN_ID', reset: 0xf0n << 32n, read: () => 0xf0n << 32n, write: () => true },
  constant(0xfe, 'MTRRcap', 0x508n),
  // RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, TAA_NO: nothing here speculates.
  constant(0x10a, 'ARCH_CAPABILITIES', 0x13bn),
  at(0x174, 'SYSENTER_CS', STATE.sysenter_cs, 0xffff_ffffn),
  at(0x175, 'SYSENTER_ESP', STATE.sysenter_esp, ALL, 0n, isCanonical),
  at(0x176, 'SYSENTER_EIP', STATE.sysenter_eip, ALL, 0n, isCanonical),
  constant(0x179, 'MCG_CAP', 0n),
  store(0x17a, 'MCG_STATUS', 7n),
  at(0x1a0, 'MISC_ENABLE', STATE.misc_enable, 0x4_0005n | 0x40_0000n, 1n | 0x4_0000n),
  at(0x1d9, 'DEBUGCTL', STATE.debugctl, 3n),
  ...variableMtrrs, ...fixedMtrrs,
  at(0x277, 'PAT', STATE.pat, ALL, PAT_RESET, patTypes),
  store(0x2ff, 'MTRR_DEF_TYPE', 0xcffn, 0n, rangeType),
  at(0xda0, 'XSS', STATE.xss, 0n),
  { number: 0xc000_0080, name: 'EFER', reset: 0n, read: (cpu) => cpu.u64[STATE.efer >>> 3]!, write: (cpu, value) => {
    if (value & ~EFER_BITS) return false;
    setEfer(cpu, value);
    return true;
  } },
  at(0xc000_0081, 'STAR', STATE.star, ALL),
  at(0xc000_0082, 'LSTAR', STATE.lstar, ALL, 0n, isCanonical),
  at(0xc000_0083, 'CSTAR', STATE.cstar, ALL, 0n, isCanonical),
  at(0xc000_0084, 'FMASK', STATE.fmask, 0xffff_ffffn),
  segmentBase(0xc000_0100, 'FS_BASE', FS),
  segmentBase(0xc000_0101, 'GS_BASE', GS),
  at(0xc000_0102, 'KERNEL_GS_BASE', STATE.kernel_gs_base, ALL, 0n, isCanonical),
  at(0xc000_0103, 'TSC_AUX', STATE.tsc_aux, 0xffff_ffffn),
];
const byNumber = new Map(msrTable.map((msr) => [msr.number, msr]));

/** The local APIC answers for its own: TSC deadline and, in x2APIC mode, 0x800 to 0x8ff. */
const isApic = (number: number) => number === 0x6e0 || (number >= 0x800 && number <= 0x8ff);

/** undefined: there is no such register, or it cannot be read. */
export function readMsr(cpu: CpuState, number: number): bigint | undefined {
  const msr = byNumber.get(number);
  if (msr) return msr.read?.(cpu);
  if (isApic(number)) return cpu.bus.readApicMsr(cpu, number);
  if (number >= 0x480 && number <= 0x491) return cpu.vmx?.capability(number);
  return undefined;
}

/** False: there is no such register, or it does not take this value. EFER may raise #GP itself. */
export function writeMsr(cpu: CpuState, number: number, value: bigint): boolean {
  const msr = byNumber.get(number);
  if (msr) return msr.write?.(cpu, value) ?? false;
  if (isApic(number)) return cpu.bus.writeApicMsr(cpu, number, value);
  return false;
}

/** Values at reset of those that live in cpu_state. */
export function resetMsrs(cpu: CpuState): void {
  cpu.msrs.clear();
  cpu.u64[STATE.tsc_adjust >>> 3] = 0n;
  for (const { number, reset, write } of msrTable) if (number !== 0x10 && number !== 0x3b && number !== 0xc000_0080) write?.(cpu, reset);
}

// ---------------------------------------------------------------- RDMSR, WRMSR

const wide = (cpu: CpuState): bigint => (cpu.gpr[RDX]! & 0xffff_ffffn) << 32n | cpu.gpr[RAX]! & 0xffff_ffffn;

export function rdmsr(cpu: CpuState, insn: Insn): VmExit | undefined {
  if (cpu.cpl !== 0) raise(cpu, GP_VECTOR);
  const number = cpu.gpr32[2 * RCX]!;
  if (cpu.inGuest && cpu.vmx.readMsr(cpu, insn, number)) return VM_EXIT;
  const value = readMsr(cpu, number) ?? raise(cpu, GP_VECTOR);
  cpu.gpr[RAX] = value & 0xffff_ffffn;
  cpu.gpr[RDX] = value >> 32n;
  return undefined;
}

export function wrmsr(cpu: CpuState, insn: Insn): VmExit | undefined {
  if (cpu.cpl !== 0) raise(cpu, GP_VECTOR);
  const number = cpu.gpr32[2 * RCX]!;
  if (cpu.inGuest && cpu.vmx.writeMsr(cpu, insn, number)) return VM_EXIT;
  if (!writeMsr(cpu, number, wide(cpu))) raise(cpu, GP_VECTOR);
  return undefined;
}
