/**
 * Ports: who may use which (IOPL, the I/O permission bitmap of the TSS), IN, OUT, and the checks INS and OUTS share
 * with them. SDM Vol. 1 ch. 19.5.
 */
import { notePort } from './debug.ts';
import { GP_VECTOR, raise } from './exceptions.ts';
import { VM_EXIT, type VmExit } from './hooks.ts';
import { readTable } from './memory.ts';
import type { Insn } from './opcode-row.ts';
import { gpr32, writeGpr } from './operands.ts';
import { type CpuState, MODE_PROTECTED, MODE_VM86, RAX, RDX, SEG_UNUSABLE, STATE, TR, X86_EFLAGS_IOPL } from './state.ts';
import { TYPE_TSS32, TYPE_TSS32_BUSY } from './segments.ts';

export type PortSize = 1 | 2 | 4;

/** Offset of the I/O map's offset in a 32- or 64-bit TSS. */
const IO_MAP_BASE = 0x66;

function permitted(cpu: CpuState, port: number, size: PortSize): boolean {
  if (!(cpu.mode & (MODE_PROTECTED | MODE_VM86))) return true;
  if (!(cpu.mode & MODE_VM86) && cpu.cpl <= (cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_IOPL) >>> 12) return true;
  const access = cpu.segAccess(TR);
  const type = access & 0xf;
  if (access & SEG_UNUSABLE || (type !== TYPE_TSS32 && type !== TYPE_TSS32_BUSY) || IO_MAP_BASE + 1 > cpu.segLimit(TR)) return false;
  const at = readTable(cpu, cpu.segBase(TR), IO_MAP_BASE, 2) + (port >>> 3);
  if (at + 1 > cpu.segLimit(TR)) return false;
  return (readTable(cpu, cpu.segBase(TR), at, 2) >>> (port & 7) & (1 << size) - 1) === 0;
}

/** #GP(0) unless the port may be used. */
export function requirePort(cpu: CpuState, port: number, size: PortSize): void {
  if (!permitted(cpu, port, size)) raise(cpu, GP_VECTOR);
}
/**
 * Everything that may keep an instruction from a port: #GP(0), or the guest's exit: then the answer is true and the
 * instruction returns VM_EXIT. INS and OUTS call it before they touch memory, for each element.
 */
export function checkPort(cpu: CpuState, insn: Insn, port: number, size: PortSize, out: boolean): boolean {
  requirePort(cpu, port, size);
  notePort(cpu, port, size);
  return cpu.inGuest && cpu.vmx.io(cpu, insn, port, size, out);
}

/** Reads a port that checkPort() has allowed. */
export const portIn = (cpu: CpuState, port: number, size: PortSize): number => cpu.bus.portIn(cpu, port, size);
export const portOut = (cpu: CpuState, port: number, size: PortSize, value: number): void => cpu.bus.portOut(cpu, port, size, value);

const mask = (value: number, size: PortSize): number => (size === 4 ? value >>> 0 : value & (1 << 8 * size) - 1);
const immediate = (insn: Insn) => Number(insn.imm & 0xffn);
const dx = (cpu: CpuState) => gpr32(cpu, RDX) & 0xffff;
const wide = (insn: Insn): PortSize => (insn.opSize === 2 ? 2 : 4);

function input(cpu: CpuState, insn: Insn, port: number, size: PortSize): VmExit | undefined {
  if (checkPort(cpu, insn, port, size, false)) return VM_EXIT;
  writeGpr(cpu, insn, RAX, size, BigInt(mask(portIn(cpu, port, size), size)));
  return undefined;
}
function output(cpu: CpuState, insn: Insn, port: number, size: PortSize): VmExit | undefined {
  if (checkPort(cpu, insn, port, size, true)) return VM_EXIT;
  portOut(cpu, port, size, mask(gpr32(cpu, RAX), size));
  return undefined;
}

export const inByteImm = (cpu: CpuState, insn: Insn) => input(cpu, insn, immediate(insn), 1);
export const inWideImm = (cpu: CpuState, insn: Insn) => input(cpu, insn, immediate(insn), wide(insn));
export const inByteDx = (cpu: CpuState, insn: Insn) => input(cpu, insn, dx(cpu), 1);
export const inWideDx = (cpu: CpuState, insn: Insn) => input(cpu, insn, dx(cpu), wide(insn));
export const outByteImm = (cpu: CpuState, insn: Insn) => output(cpu, insn, immediate(insn), 1);
export const outWideImm = (cpu: CpuState, insn: Insn) => output(cpu, insn, immediate(insn), wide(insn));
export const outByteDx = (cpu: CpuState, insn: Insn) => output(cpu, insn, dx(cpu), 1);
export const outWideDx = (cpu: CpuState, insn: Insn) => output(cpu, insn, dx(cpu), wide(insn));
