/**
 * CR0, CR3, CR4, CR8, EFER and XCR0: what may be written, and what a write sets in motion. SDM Vol. 3 ch. 2.5, 4.1, 9.9.
 *
 * The set…() functions make the architectural checks, raise #GP(0) and are what MOV to CR and WRMSR use. VM entry has
 * checks of its own and writes the fields directly, then calls updateMode().
 */
import { modifiedComponents } from './fpu-state.ts';
import { GP_VECTOR, UD_VECTOR, raise } from './exceptions.ts';
import { VM_EXIT, type VmExit } from './hooks.ts';
import { readOperand, writeOperand } from './operands.ts';
import type { Insn } from './opcode-row.ts';
import { MAXPHYADDR, loadPdptes } from './paging.ts';
import {
  CS, type CpuState, EFER_LMA, EFER_LME, EFER_NX, EFER_SCE, MODE_64, MODE_SIZE, RAX, RCX, RDX, SEG_L, STATE, TR, X86_CR0_AM, X86_CR0_CD, X86_CR0_EM, X86_CR0_ET, X86_CR0_MP,
  X86_CR0_NE, X86_CR0_NW, X86_CR0_PE, X86_CR0_PG, X86_CR0_TS, X86_CR0_WP, X86_CR4_DE, X86_CR4_FSGSBASE, X86_CR4_MCE, X86_CR4_OSFXSR, X86_CR4_OSXMMEXCPT,
  X86_CR4_OSXSAVE, X86_CR4_PAE, X86_CR4_PCE, X86_CR4_PVI, X86_CR4_VME, X86_CR4_PCIDE, X86_CR4_PGE, X86_CR4_PKE, X86_CR4_PSE, X86_CR4_SMAP, X86_CR4_SMEP, X86_CR4_TSD, X86_CR4_UMIP, X86_CR4_VMXE,
  updateMode,
} from './state.ts';

export const CR0_BITS = X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG;
/** What CPUID reports. */
export const CR4_BITS = X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT
  | X86_CR4_UMIP | X86_CR4_VMXE | X86_CR4_FSGSBASE | X86_CR4_PCIDE | X86_CR4_OSXSAVE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE;
export const EFER_BITS = EFER_SCE | EFER_LME | EFER_LMA | EFER_NX;
/** x87 and SSE state. */
const XCR0_BITS = 3n;

const at = { cr0: STATE.cr0 >>> 3, cr2: STATE.cr2 >>> 3, cr3: STATE.cr3 >>> 3, cr4: STATE.cr4 >>> 3, efer: STATE.efer >>> 3, xcr0: STATE.xcr0 >>> 3 } as const;
const gp = (cpu: CpuState): never => raise(cpu, GP_VECTOR);
const paged = (cr0: bigint) => (cr0 & X86_CR0_PG) !== 0n;

function setCr0(cpu: CpuState, value: bigint): void {
  const old = cpu.u64[at.cr0]!;
  const cr4 = cpu.u64[at.cr4]!;
  let efer = cpu.u64[at.efer]!;
  if (value >> 32n !== 0n) gp(cpu);
  value = value & CR0_BITS | X86_CR0_ET;
  if (paged(value) && !(value & X86_CR0_PE)) gp(cpu);
  if (value & X86_CR0_NW && !(value & X86_CR0_CD)) gp(cpu);
  if (paged(value) && !paged(old)) {
    if (efer & EFER_LME) {
      if (!(cr4 & X86_CR4_PAE) || (cpu.segAccess(CS) & SEG_L) !== 0 || (cpu.segAccess(TR) & 0xf) <= 3) gp(cpu);
      efer |= EFER_LMA;
    } else if (cr4 & X86_CR4_PAE && !loadPdptes(cpu, cpu.u64[at.cr3]!)) gp(cpu);
  } else if (!paged(value) && paged(old)) {
    if ((cpu.mode & MODE_SIZE) === MODE_64 || cr4 & X86_CR4_PCIDE) gp(cpu);
    efer &= ~EFER_LMA;
  } else if (paged(value) && cr4 & X86_CR4_PAE && !(efer & EFER_LMA) && (value ^ old) & (X86_CR0_CD | X86_CR0_NW)) {
    if (!loadPdptes(cpu, cpu.u64[at.cr3]!)) gp(cpu);
  }
  cpu.u64[at.efer] = efer;
  cpu.u64[at.cr0] = value;
  if ((value ^ old) & (X86_CR0_PG | X86_CR0_PE | X86_CR0_WP)) cpu.engine.flushTlb(cpu, true);
  updateMode(cpu);
}

/** Loads CR3 with no check of its own: what MOV to CR3 and a task switch share. */
export function loadCr3(cpu: CpuState, value: bigint, keep = false): void {
  if (paged(cpu.u64[at.cr0]!) && cpu.u64[at.cr4]! & X86_CR4_PAE && !cpu.longMode && !loadPdptes(cpu, value)) gp(cpu);
  // User pages that STAC opened to ring 0 stay with the address space that is left.
  if (cpu.smapOpen) {
    cpu.smapOpen = false;
    cpu.engine.flushTlb(cpu, false);
  }
  cpu.u64[at.cr3] = value;
  if (keep) cpu.engine.modeChanged(cpu);
  else cpu.engine.flushTlb(cpu, false);
}

function setCr3(cpu: CpuState, value: bigint): void {
  const pcid = (cpu.u64[at.cr4]! & X86_CR4_PCIDE) !== 0n;
  const keep = pcid && value >> 63n !== 0n;
  if (pcid) value &= ~(1n << 63n);
  if (cpu.longMode ? value >> BigInt(MAXPHYADDR) !== 0n : value >> 32n !== 0n) gp(cpu);
  loadCr3(cpu, value, keep);
}

function setCr4(cpu: CpuState, value: bigint): void {
  const old = cpu.u64[at.cr4]!;
  if (value & ~CR4_BITS) gp(cpu);
  if (cpu.longMode && !(value & X86_CR4_PAE)) gp(cpu);
  if (value & X86_CR4_PCIDE && !(old & X86_CR4_PCIDE) && (!cpu.longMode || cpu.u64[at.cr3]! & 0xfffn)) gp(cpu);
  const changed = value ^ old;
  if (changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP) && value & X86_CR4_PAE && paged(cpu.u64[at.cr0]!) && !cpu.longMode) {
    if (!loadPdptes(cpu, cpu.u64[at.cr3]!)) gp(cpu);
  }
  cpu.u64[at.cr4] = value;
  if (changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PCIDE | X86_CR4_PKE)) cpu.engine.flushTlb(cpu, true);
  updateMode(cpu);
}

export function setEfer(cpu: CpuState, value: bigint): void {
  const old = cpu.u64[at.efer]!;
  if (value & ~EFER_BITS) gp(cpu);
  if (paged(cpu.u64[at.cr0]!) && (value ^ old) & EFER_LME) gp(cpu);
  cpu.u64[at.efer] = value & ~EFER_LMA | old & EFER_LMA;
  if ((value ^ old) & EFER_NX) cpu.engine.flushTlb(cpu, true);
  updateMode(cpu);
}

function setXcr0(cpu: CpuState, value: bigint): void {
  if (!(value & 1n) || value & ~XCR0_BITS) gp(cpu);
  cpu.u64[at.xcr0] = value;
}

// ---------------------------------------------------------------- MOV CR, CLTS, LMSW, SMSW

const requireCpl0 = (cpu: CpuState): void => { if (cpu.cpl !== 0) gp(cpu); };

/** CR8 lies in the local APIC; LOCK MOV CR0 is not offered. */
const exists = (cpu: CpuState, insn: Insn): void => {
  if (insn.reg !== 0 && insn.reg !== 2 && insn.reg !== 3 && insn.reg !== 4 && !(insn.reg === 8 && (cpu.mode & MODE_SIZE) === MODE_64)) raise(cpu, UD_VECTOR);
};

export function movFromCr(cpu: CpuState, insn: Insn): VmExit | undefined {
  exists(cpu, insn);
  requireCpl0(cpu);
  const cr = insn.reg;
  const own = () => (cr === 8 ? BigInt(cpu.bus.cr8(cpu)) : cpu.u64[cr === 0 ? at.cr0 : cr === 2 ? at.cr2 : cr === 3 ? at.cr3 : at.cr4]!);
  const value = cpu.inGuest && cr !== 2 ? cpu.vmx.readCr(cpu, insn, cr) : own();
  if (value === undefined) return VM_EXIT;
  if (insn.codeSize === 8) cpu.gpr[insn.rm] = value;
  else cpu.gpr[insn.rm] = value & 0xffff_ffffn;
  return undefined;
}

export function movToCr(cpu: CpuState, insn: Insn): VmExit | undefined {
  exists(cpu, insn);
  requireCpl0(cpu);
  const cr = insn.reg;
  const asked = insn.codeSize === 8 ? cpu.gpr[insn.rm]! : cpu.gpr[insn.rm]! & 0xffff_ffffn;
  const value = cpu.inGuest && cr !== 2 ? cpu.vmx.writeCr(cpu, insn, cr, asked) : asked;
  if (value === undefined) return VM_EXIT;
  writeCr(cpu, cr, value);
  return undefined;
}

function writeCr(cpu: CpuState, cr: number, value: bigint): void {
  switch (cr) {
    case 0: return setCr0(cpu, value);
    case 2: cpu.u64[at.cr2] = value; return;
    case 3: return setCr3(cpu, value);
    case 4: return setCr4(cpu, value);
    default:
      if (value >> 4n) gp(cpu);
      cpu.bus.setCr8(cpu, Number(value));
  }
}

export function clts(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireCpl0(cpu);
  const bits = cpu.inGuest ? cpu.vmx.clts(cpu, insn) : X86_CR0_TS;
  if (bits === undefined) return VM_EXIT;
  cpu.u64[at.cr0] = cpu.u64[at.cr0]! & ~bits;
  updateMode(cpu);
  return undefined;
}

/** Loads PE, MP, EM and TS; PE can be set but not cleared. */
export function lmsw(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireCpl0(cpu);
  const asked = Number(readOperand(cpu, insn, 2)) & 0xf;
  const value = cpu.inGuest ? cpu.vmx.lmsw(cpu, insn, asked) : asked;
  if (value === undefined) return VM_EXIT;
  const old = cpu.u64[at.cr0]!;
  setCr0(cpu, old & ~0xfn | BigInt(value) | old & X86_CR0_PE);
  return undefined;
}

export function smsw(cpu: CpuState, insn: Insn): void {
  if (cpu.cpl !== 0 && cpu.u64[at.cr4]! & X86_CR4_UMIP) gp(cpu);
  const value = cpu.inGuest ? cpu.vmx.smsw(cpu) : cpu.u64[at.cr0]!;
  writeOperand(cpu, insn, insn.mod === 3 ? insn.opSize : 2, value);
}

export function xgetbv(cpu: CpuState): void {
  if (!(cpu.u64[at.cr4]! & X86_CR4_OSXSAVE)) raise(cpu, UD_VECTOR);
  const which = cpu.gpr32[2]!;
  if (which > 1) gp(cpu);
  // 1: of the enabled components those that are not as after reset.
  cpu.gpr[0] = cpu.u64[at.xcr0]! & (which === 1 ? BigInt(modifiedComponents(cpu)) : 0xffff_ffffn);
  cpu.gpr[2] = cpu.u64[at.xcr0]! >> 32n;
}

const EXIT_REASON_XSETBV = 55;
export function xsetbv(cpu: CpuState, insn: Insn): VmExit | undefined {
  if (!(cpu.u64[at.cr4]! & X86_CR4_OSXSAVE)) raise(cpu, UD_VECTOR);
  requireCpl0(cpu);
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_XSETBV, 0n)) return VM_EXIT;
  if (cpu.gpr32[2]! !== 0) gp(cpu);
  setXcr0(cpu, (cpu.gpr[2]! & 0xffff_ffffn) << 32n | cpu.gpr[0]! & 0xffff_ffffn);
  return undefined;
}

// ---------------------------------------------------------------- RDPKRU, WRPKRU

const requireKeys = (cpu: CpuState): void => {
  if (!(cpu.u64[at.cr4]! & X86_CR4_PKE)) raise(cpu, UD_VECTOR);
  if (cpu.gpr32[2 * RCX]! !== 0) gp(cpu);
};

export function rdpkru(cpu: CpuState): void {
  requireKeys(cpu);
  cpu.gpr[RAX] = BigInt(cpu.u32[STATE.pkru >>> 2]!);
  cpu.gpr[RDX] = 0n;
}

/** Translations in the TLB have the rights of the old value in them. */
export function wrpkru(cpu: CpuState): void {
  requireKeys(cpu);
  if (cpu.gpr32[2 * RDX]! !== 0) gp(cpu);
  const value = cpu.gpr32[2 * RAX]!;
  if (value === cpu.u32[STATE.pkru >>> 2]) return;
  cpu.u32[STATE.pkru >>> 2] = value;
  cpu.engine.flushTlb(cpu, true);
}
