/**
 * Operands of an instruction that is executed rather than emitted: registers by size, and r/m operands in memory.
 */
import { SS_VECTOR, raise } from './exceptions.ts';
import { type Size, checkSegment, explicit, linearAddress, readLinear, readLinear32, writeLinear } from './memory.ts';
import { type Insn, RIP_BASE } from './opcode-row.ts';
import { type CpuState, MODE_64, MODE_SIZE, RSP, SEGMENT_SIZE, SEG_DB, SS, STATE } from './state.ts';

const MASK = { 1: 0xffn, 2: 0xffffn, 4: 0xffff_ffffn, 8: 0xffff_ffff_ffff_ffffn } as const;

/** Without REX, byte registers 4 to 7 are AH, CH, DH and BH. */
export function readGpr(cpu: CpuState, insn: Insn, reg: number, size: Size): bigint {
  if (size === 1 && reg >= 4 && reg < 8 && insn.rex === 0) return cpu.gpr[reg - 4]! >> 8n & 0xffn;
  return cpu.gpr[reg]! & MASK[size];
}

/** A 32-bit result clears the upper half, narrower ones leave the rest. */
export function writeGpr(cpu: CpuState, insn: Insn, reg: number, size: Size, value: bigint): void {
  if (size === 8) cpu.gpr[reg] = value;
  else if (size === 4) cpu.gpr[reg] = value & 0xffff_ffffn;
  else if (size === 2) cpu.gpr[reg] = cpu.gpr[reg]! & ~0xffffn | value & 0xffffn;
  else if (reg >= 4 && reg < 8 && insn.rex === 0) cpu.gpr[reg - 4] = cpu.gpr[reg - 4]! & ~0xff00n | (value & 0xffn) << 8n;
  else cpu.gpr[reg] = cpu.gpr[reg]! & ~0xffn | value & 0xffn;
}

/** The low 32 bits of a register. */
export const gpr32 = (cpu: CpuState, reg: number): number => cpu.gpr32[2 * reg]!;
/** A 32-bit result: the upper half becomes 0. */
export function setGpr32(cpu: CpuState, reg: number, value: number): void {
  cpu.gpr32[2 * reg] = value;
  cpu.gpr32[2 * reg + 1] = 0;
}

/** Offset of the memory operand in its segment, of the instruction's address size. */
export function effectiveAddress(cpu: CpuState, insn: Insn): bigint {
  let offset = BigInt(insn.disp);
  if (insn.base === RIP_BASE) offset += cpu.rip;
  else if (insn.base >= 0) offset += cpu.gpr[insn.base]!;
  if (insn.index >= 0) offset += cpu.gpr[insn.index]! << BigInt(insn.scale);
  return offset & MASK[insn.addrSize];
}

/** Linear address of `size` bytes of the memory operand, `skip` bytes into it. */
export const operandAddress = (cpu: CpuState, insn: Insn, size: number, write = false, skip = 0): number =>
  linearAddress(cpu, insn.seg, effectiveAddress(cpu, insn) + BigInt(skip) & MASK[insn.addrSize], size, write);

export const readOperand = (cpu: CpuState, insn: Insn, size: Size): bigint =>
  insn.mod === 3 ? readGpr(cpu, insn, insn.rm, size) : readLinear(cpu, operandAddress(cpu, insn, size), size, explicit(cpu));

export function writeOperand(cpu: CpuState, insn: Insn, size: Size, value: bigint): void {
  if (insn.mod === 3) writeGpr(cpu, insn, insn.rm, size, value);
  else writeLinear(cpu, operandAddress(cpu, insn, size, true), size, value & MASK[size], explicit(cpu));
}

// ---------------------------------------------------------------- the stack

const stackMask = (cpu: CpuState): bigint => ((cpu.mode & 3) === 2 ? MASK[8] : cpu.segAccess(SS) & SEG_DB ? MASK[4] : MASK[2]);

/** Moves the stack pointer by `n`, within the bits that the stack's width uses. */
export function moveStack(cpu: CpuState, n: bigint): void {
  const mask = stackMask(cpu);
  const rsp = cpu.gpr[RSP]! + n & mask;
  cpu.gpr[RSP] = mask === MASK[2] ? cpu.gpr[RSP]! & ~mask | rsp : rsp;
}

/** Linear address of `size` bytes, `skip` above the top of the stack. Without bigints: returns and IRET come here often. */
function stackAddress(cpu: CpuState, skip: number, size: number): number {
  const low = cpu.gpr32[2 * RSP]!;
  if ((cpu.mode & MODE_SIZE) === MODE_64) {
    const linear = (cpu.gpr32[2 * RSP + 1]! | 0) * 0x1_0000_0000 + low + skip;
    if (linear < -(2 ** 47) || linear + size > 2 ** 47) raise(cpu, SS_VECTOR);
    return linear;
  }
  const offset = cpu.segAccess(SS) & SEG_DB ? (low + skip) >>> 0 : (low + skip) & 0xffff;
  checkSegment(cpu, SS, offset, size, false, SS_VECTOR);
  return (cpu.u32[(STATE.seg + SS * SEGMENT_SIZE) >>> 2]! + offset) >>> 0;
}

/** The value `skip` bytes above the top of the stack; the stack pointer stays. */
export const peekStack = (cpu: CpuState, size: Size, skip = 0): bigint => readLinear(cpu, stackAddress(cpu, skip, size), size, explicit(cpu));
/** Its low 16 or 32 bits: selectors and flags. */
export const peekStack32 = (cpu: CpuState, size: Size, skip = 0): number => {
  const linear = stackAddress(cpu, skip, size);
  return readLinear32(cpu, linear, size === 2 ? 2 : 4, explicit(cpu));
};

/** Moves the stack pointer by `size` and writes `width` bytes. */
export function push(cpu: CpuState, size: Size, value: bigint, width = size): void {
  writeLinear(cpu, linearAddress(cpu, SS, cpu.gpr[RSP]! - BigInt(size) & stackMask(cpu), width, true), width, value & MASK[width], explicit(cpu));
  moveStack(cpu, BigInt(-size));
}
