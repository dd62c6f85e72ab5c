/**
 * The virtual interrupt flag: what CLI, STI, PUSHF, POPF, IRET and INT n do in virtual-8086 mode with CR4.VME, and CLI
 * and STI at CPL 3 with CR4.PVI, where IOPL does not let them at IF itself. SDM Vol. 3 ch. 21.2.2, 21.3 and 21.4.
 *
 * VIF stands for IF; VIP says that an interrupt waits for it, and whatever would set VIF then faults, so that the
 * supervisor hears of it.
 */
import { GP_VECTOR, raise } from './exceptions.ts';
import { loadRealCode } from './far-transfers.ts';
import { loadFlags } from './iret.ts';
import { readImplicit, readTable } from './memory.ts';
import { StackFrame } from './stack-frame.ts';
import {
  CS, type CpuState, MODE_PROTECTED, MODE_VM86, SEG_UNUSABLE, STATE, TR, X86_CR4_PVI, X86_CR4_VME, X86_EFLAGS_IF, X86_EFLAGS_IOPL, X86_EFLAGS_TF, X86_EFLAGS_VIF, X86_EFLAGS_VIP,
} from './state.ts';

const has = (cpu: CpuState, bit: bigint): boolean => (cpu.u64[STATE.cr4 >>> 3]! & bit) !== 0n;
const flag = (cpu: CpuState, bits: number): boolean => (cpu.u32[STATE.rflags >>> 2]! & bits) !== 0;
const iopl3 = (cpu: CpuState): boolean => (cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_IOPL) === X86_EFLAGS_IOPL;

/** Virtual-8086 mode with the extensions. */
export const extended86 = (cpu: CpuState): boolean => (cpu.mode & MODE_VM86) !== 0 && has(cpu, X86_CR4_VME);
/** CPL is above IOPL here: do CLI and STI mean VIF? */
export const flagIsVirtual = (cpu: CpuState): boolean => extended86(cpu) || ((cpu.mode & MODE_PROTECTED) !== 0 && cpu.cpl === 3 && has(cpu, X86_CR4_PVI));

/** CLI and STI. */
export function setVif(cpu: CpuState, set: boolean): void {
  if (set && flag(cpu, X86_EFLAGS_VIP)) raise(cpu, GP_VECTOR);
  const at = STATE.rflags >>> 2;
  cpu.u32[at] = set ? cpu.u32[at]! | X86_EFLAGS_VIF : cpu.u32[at]! & ~X86_EFLAGS_VIF;
}

/** In virtual-8086 mode below IOPL 3 PUSHF, POPF and IRET are for the extensions, in their 16-bit forms. True: they are. */
export function needsVirtualFlags(cpu: CpuState, size: number): boolean {
  if (!(cpu.mode & MODE_VM86) || iopl3(cpu)) return false;
  if (size !== 2 || !has(cpu, X86_CR4_VME)) raise(cpu, GP_VECTOR);
  return true;
}

/** FLAGS as the program sees them: IOPL 3, and VIF for IF. */
export const virtualImage = (flags: number): number => (flags & ~X86_EFLAGS_IF) | X86_EFLAGS_IOPL | (flags & X86_EFLAGS_VIF ? X86_EFLAGS_IF : 0);

/** Whether this image may be loaded; to be asked before anything changes. */
export function checkVirtualImage(cpu: CpuState, image: number): void {
  if (image & X86_EFLAGS_TF || (image & X86_EFLAGS_IF && flag(cpu, X86_EFLAGS_VIP))) raise(cpu, GP_VECTOR);
}
export function loadVirtualImage(cpu: CpuState, image: number): void {
  loadFlags(cpu, image, 2, 3, 0);
  setVif(cpu, (image & X86_EFLAGS_IF) !== 0);
}

const IO_MAP_BASE = 0x66;
const frame = new StackFrame();

/**
 * INT n with the extensions: the bitmap in front of the TSS's I/O map says which vectors go to the program's own
 * interrupt table. True if it was one of them and is done; else the IDT's turn has come, which needs IOPL 3.
 */
export function redirect(cpu: CpuState, vector: number): boolean {
  const tss = cpu.segBase(TR);
  const room = (at: number): void => { if (cpu.segAccess(TR) & SEG_UNUSABLE || at > cpu.segLimit(TR)) raise(cpu, GP_VECTOR); };
  room(IO_MAP_BASE + 1);
  const at = readTable(cpu, tss, IO_MAP_BASE, 2) - 32 + (vector >> 3);
  room(at);
  if (readTable(cpu, tss, at, 1) >> (vector & 7) & 1) return false;
  const target = readImplicit(cpu, vector * 4, 4);
  const flags = cpu.engine.readFlags(cpu);
  const virtual = !iopl3(cpu);
  frame.begin(2);
  frame.add(cpu.rip);
  frame.addNumber(cpu.selector(CS));
  frame.addNumber(virtual ? virtualImage(flags) : flags);
  frame.pushOnCurrent(cpu);
  cpu.engine.writeFlags(cpu, flags & ~(X86_EFLAGS_TF | (virtual ? X86_EFLAGS_VIF : X86_EFLAGS_IF)));
  loadRealCode(cpu, target >>> 16, BigInt(target & 0xffff));
  return true;
}
