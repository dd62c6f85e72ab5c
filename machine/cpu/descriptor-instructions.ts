/**
 * Instructions on descriptor tables and selectors: LGDT and kin, LLDT, LTR, SLDT, STR, MOV/PUSH/POP of segment
 * registers, LxS, LAR, LSL, VERR, VERW, ARPL. SDM Vol. 2; Vol. 3 ch. 2.8, 5.10.
 */
import { GP_VECTOR, UD_VECTOR, raise } from './exceptions.ts';
import { explicit, isCanonical, probeWrite, readLinear, writeLinear } from './memory.ts';
import { VM_EXIT, type VmExit } from './hooks.ts';
import type { Insn } from './opcode-row.ts';
import { moveStack, operandAddress, peekStack, readGpr, readOperand, writeGpr, writeOperand } from './operands.ts';
import {
  type Descriptor, TYPE_CALL16, TYPE_CALL32, TYPE_LDT, TYPE_TASK, TYPE_TSS16, TYPE_TSS16_BUSY, TYPE_TSS32, TYPE_TSS32_BUSY, descriptorDpl, descriptorLimit,
  descriptorType, findDescriptor, isConforming, isSystem, loadLdt, loadSegment, loadTaskRegister,
} from './segments.ts';
import {
  CS, type CpuState, DS, ES, EVENT_SHADOW, FS, GS, LDTR, MODE_PROTECTED, SHADOW_MOV_SS, SS, STATE, TR, TYPE_CODE, TYPE_READABLE, TYPE_WRITABLE, X86_CR4_UMIP, X86_EFLAGS_ZF,
} from './state.ts';

const EXIT_REASON_GDTR_IDTR = 46, EXIT_REASON_LDTR_TR = 47;

function requireCpl0(cpu: CpuState): void {
  if (cpu.cpl !== 0) raise(cpu, GP_VECTOR);
}
function requireUmip(cpu: CpuState): void {
  if (cpu.cpl !== 0 && cpu.u64[STATE.cr4 >>> 3]! & X86_CR4_UMIP) raise(cpu, GP_VECTOR);
}
function requireProtected(cpu: CpuState): void {
  if (!(cpu.mode & MODE_PROTECTED)) raise(cpu, UD_VECTOR);
}
const exits = (cpu: CpuState, insn: Insn, reason: number): boolean => cpu.inGuest && cpu.vmx.memoryInstruction(cpu, insn, reason);

// ---------------------------------------------------------------- LGDT, LIDT, SGDT, SIDT

const loadTable = (base: number, limit: number) => (cpu: CpuState, insn: Insn): VmExit | undefined => {
  requireCpl0(cpu);
  if (exits(cpu, insn, EXIT_REASON_GDTR_IDTR)) return VM_EXIT;
  const size = insn.codeSize === 8 ? 8 : 4;
  const newLimit = readLinear(cpu, operandAddress(cpu, insn, 2), 2, explicit(cpu));
  let newBase = readLinear(cpu, operandAddress(cpu, insn, size, false, 2), size, explicit(cpu));
  if (insn.opSize === 2) newBase &= 0xff_ffffn;
  if (!isCanonical(newBase)) raise(cpu, GP_VECTOR);
  cpu.u64[base >>> 3] = newBase;
  cpu.u32[limit >>> 2] = Number(newLimit);
  return undefined;
};
const storeTable = (base: number, limit: number) => (cpu: CpuState, insn: Insn): VmExit | undefined => {
  requireUmip(cpu);
  if (exits(cpu, insn, EXIT_REASON_GDTR_IDTR)) return VM_EXIT;
  const size = insn.codeSize === 8 ? 8 : 4;
  const first = operandAddress(cpu, insn, 2, true);
  probeWrite(cpu, first, 2, explicit(cpu));
  writeLinear(cpu, operandAddress(cpu, insn, size, true, 2), size, cpu.u64[base >>> 3]! & (1n << BigInt(8 * size)) - 1n, explicit(cpu));
  writeLinear(cpu, first, 2, BigInt(cpu.u32[limit >>> 2]!), explicit(cpu));
  return undefined;
};
export const lgdt = loadTable(STATE.gdtr_base, STATE.gdtr_limit), lidt = loadTable(STATE.idtr_base, STATE.idtr_limit);
export const sgdt = storeTable(STATE.gdtr_base, STATE.gdtr_limit), sidt = storeTable(STATE.idtr_base, STATE.idtr_limit);

// ---------------------------------------------------------------- LLDT, LTR, SLDT, STR

export function lldt(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireProtected(cpu);
  requireCpl0(cpu);
  if (exits(cpu, insn, EXIT_REASON_LDTR_TR)) return VM_EXIT;
  loadLdt(cpu, Number(readOperand(cpu, insn, 2)));
  return undefined;
}
export function ltr(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireProtected(cpu);
  requireCpl0(cpu);
  if (exits(cpu, insn, EXIT_REASON_LDTR_TR)) return VM_EXIT;
  loadTaskRegister(cpu, Number(readOperand(cpu, insn, 2)), TR);
  return undefined;
}
const storeSelector = (seg: number) => (cpu: CpuState, insn: Insn): VmExit | undefined => {
  requireProtected(cpu);
  requireUmip(cpu);
  if (exits(cpu, insn, EXIT_REASON_LDTR_TR)) return VM_EXIT;
  writeOperand(cpu, insn, insn.mod === 3 ? insn.opSize : 2, BigInt(cpu.selector(seg)));
  return undefined;
};
export const sldt = storeSelector(LDTR), str = storeSelector(TR);

// ---------------------------------------------------------------- segment registers

/** Interrupts wait for one instruction after SS, so that the stack pointer can follow. */
function shadow(cpu: CpuState): void {
  cpu.u32[STATE.shadow >>> 2] = SHADOW_MOV_SS;
  cpu.pending |= EVENT_SHADOW;
  cpu.engine.stopSoon(cpu);
}

/** REX.R means nothing to the number of a segment register. */
export function movToSreg(cpu: CpuState, insn: Insn): void {
  const seg = insn.reg & 7;
  if (seg === CS || seg > GS) raise(cpu, UD_VECTOR);
  loadSegment(cpu, seg, Number(readOperand(cpu, insn, 2)));
  if (seg === SS) shadow(cpu);
}
export function movFromSreg(cpu: CpuState, insn: Insn): void {
  const seg = insn.reg & 7;
  if (seg > GS) raise(cpu, UD_VECTOR);
  writeOperand(cpu, insn, insn.mod === 3 ? insn.opSize : 2, BigInt(cpu.selector(seg)));
}
export const popSreg = (seg: number) => (cpu: CpuState, insn: Insn): void => {
  // Only the selector is read, whatever the operand's size.
  const selector = Number(peekStack(cpu, 2));
  const rsp = cpu.gpr[4]!;
  moveStack(cpu, BigInt(insn.opSize));
  const moved = cpu.gpr[4]!;
  cpu.gpr[4] = rsp;
  loadSegment(cpu, seg, selector);
  cpu.gpr[4] = moved;
  if (seg === SS) shadow(cpu);
};

/** LES, LDS, LSS, LFS, LGS: a register and a segment register from a far pointer. */
const loadFarPointer = (seg: number) => (cpu: CpuState, insn: Insn): void => {
  const offset = readLinear(cpu, operandAddress(cpu, insn, insn.opSize), insn.opSize, explicit(cpu));
  const selector = readLinear(cpu, operandAddress(cpu, insn, 2, false, insn.opSize), 2, explicit(cpu));
  loadSegment(cpu, seg, Number(selector));
  writeGpr(cpu, insn, insn.reg, insn.opSize, offset);
};
export const les = loadFarPointer(ES), lds = loadFarPointer(DS), lss = loadFarPointer(SS), lfs = loadFarPointer(FS), lgs = loadFarPointer(GS);

// ---------------------------------------------------------------- LAR, LSL, VERR, VERW, ARPL

function setZf(cpu: CpuState, zf: boolean): void {
  const flags = cpu.engine.readFlags(cpu);
  cpu.engine.writeFlags(cpu, zf ? flags | X86_EFLAGS_ZF : flags & ~X86_EFLAGS_ZF);
}

/** May code at this level, with the selector's RPL, know of the descriptor? */
const visible = (cpu: CpuState, d: Descriptor): boolean =>
  (!isSystem(d) && isConforming(d)) || descriptorDpl(d) >= Math.max(cpu.cpl, d.selector & 3);

const bitSet = (...types: number[]) => types.reduce((set, type) => set | 1 << type, 0);
/** System types LAR and LSL accept, in legacy and in long mode. */
const LAR_TYPES = bitSet(TYPE_TSS16, TYPE_LDT, TYPE_TSS16_BUSY, TYPE_CALL16, TYPE_TASK, TYPE_TSS32, TYPE_TSS32_BUSY, TYPE_CALL32);
const LAR_TYPES_LONG = bitSet(TYPE_LDT, TYPE_TSS32, TYPE_TSS32_BUSY, TYPE_CALL32);
const LSL_TYPES = bitSet(TYPE_TSS16, TYPE_LDT, TYPE_TSS16_BUSY, TYPE_TSS32, TYPE_TSS32_BUSY);
const LSL_TYPES_LONG = bitSet(TYPE_LDT, TYPE_TSS32, TYPE_TSS32_BUSY);

function inspect(cpu: CpuState, insn: Insn, legacy: number, long: number, value: (d: Descriptor) => number): void {
  requireProtected(cpu);
  const d = findDescriptor(cpu, Number(readOperand(cpu, insn, 2)));
  const known = d !== undefined && visible(cpu, d) && (!isSystem(d) || ((cpu.longMode ? long : legacy) >>> descriptorType(d) & 1) !== 0);
  if (known) writeGpr(cpu, insn, insn.reg, insn.opSize, BigInt(value(d) >>> 0));
  setZf(cpu, known);
}
export const lar = (cpu: CpuState, insn: Insn): void => inspect(cpu, insn, LAR_TYPES, LAR_TYPES_LONG, (d) => d.high & 0x00f0_ff00);
export const lsl = (cpu: CpuState, insn: Insn): void => inspect(cpu, insn, LSL_TYPES, LSL_TYPES_LONG, descriptorLimit);

const verify = (allows: (type: number) => boolean) => (cpu: CpuState, insn: Insn): void => {
  requireProtected(cpu);
  const d = findDescriptor(cpu, Number(readOperand(cpu, insn, 2)));
  setZf(cpu, d !== undefined && !isSystem(d) && visible(cpu, d) && allows(descriptorType(d)));
};
export const verr = verify((type) => !(type & TYPE_CODE) || (type & TYPE_READABLE) !== 0);
export const verw = verify((type) => !(type & TYPE_CODE) && (type & TYPE_WRITABLE) !== 0);

/** Raises the RPL of the first selector to that of the second. */
export function arpl(cpu: CpuState, insn: Insn): void {
  requireProtected(cpu);
  const selector = readOperand(cpu, insn, 2);
  const rpl = readGpr(cpu, insn, insn.reg, 2) & 3n;
  const adjust = (selector & 3n) < rpl;
  if (adjust) writeOperand(cpu, insn, 2, selector & ~3n | rpl);
  setZf(cpu, adjust);
}
