/**
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and RDFSBASE's family. SDM Vol. 2; Vol. 3 ch. 5.8.7 and 5.8.8.
 *
 * Under our kernel's door SYSCALL does to RCX and R11 what silicon does and then stops the run: the kernel is not
 * machine code, so nothing of STAR or LSTAR is followed.
 */
import { GP_VECTOR, UD_VECTOR, raise } from './exceptions.ts';
import { kernelEvent } from './interrupts.ts';
import { isCanonical } from './memory.ts';
import type { Insn } from './opcode-row.ts';
import { readGpr, writeGpr } from './operands.ts';
import {
  CS, type CpuState, EVENT_STEP, EVENT_STOP, FS, GS, MODE_64, MODE_PROTECTED, MODE_SIZE, R11, RCX, RDX, RSP, SEG_DB, SEG_DPL_SHIFT, SEG_G, SEG_L, SEG_P, SEG_S, SEGMENT_SIZE,
  SS, STATE, TYPE_ACCESSED, TYPE_CODE, TYPE_READABLE, TYPE_WRITABLE, X86_CR4_FSGSBASE, X86_EFLAGS_IF, X86_EFLAGS_RF, X86_EFLAGS_TF, X86_EFLAGS_VM, updateMode,
} from './state.ts';

const in64 = (cpu: CpuState) => (cpu.mode & MODE_SIZE) === MODE_64;
const word64 = (cpu: CpuState, offset: number): bigint => cpu.u64[offset >>> 3]!;

/** The flat segments these instructions load without looking at a descriptor. */
function loadFlatPair(cpu: CpuState, cs: number, ss: number, dpl: number, code: typeof SEG_L | typeof SEG_DB): void {
  const common = SEG_S | SEG_P | SEG_G | dpl << SEG_DPL_SHIFT | TYPE_ACCESSED;
  cpu.setSegment(CS, cs, 0n, 0xffff_ffff, common | TYPE_CODE | TYPE_READABLE | code);
  cpu.setSegment(SS, ss, 0n, 0xffff_ffff, common | TYPE_WRITABLE | SEG_DB);
}

/** SYSCALL and SYSRET look at TF when they are done: a mask with TF in it hides the kernel from a debugger. */
function stepAfter(cpu: CpuState): void {
  cpu.steppedInto = true;
  if (!(cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_TF)) return;
  cpu.pending |= EVENT_STEP;
  cpu.engine.stopSoon(cpu);
}

export function syscall(cpu: CpuState): void {
  if (!(cpu.u32[STATE.efer >>> 2]! & 1) || !in64(cpu)) raise(cpu, UD_VECTOR);
  const flags = cpu.engine.readFlags(cpu);
  cpu.gpr[RCX] = cpu.rip;
  cpu.gpr[R11] = BigInt(flags & ~X86_EFLAGS_RF);
  if (cpu.door === 'kernel' && !cpu.inGuest) {
    kernelEvent.kind = 'syscall';
    cpu.pending |= EVENT_STOP;
    cpu.engine.stopSoon(cpu);
    return;
  }
  const star = cpu.u32[(STATE.star >>> 2) + 1]! & 0xffff;
  cpu.rip = word64(cpu, STATE.lstar);
  cpu.engine.writeFlags(cpu, flags & ~Number(word64(cpu, STATE.fmask) & 0xffff_ffffn) & ~X86_EFLAGS_RF | 2);
  loadFlatPair(cpu, star & 0xfffc, star + 8, 0, SEG_L);
  updateMode(cpu);
  stepAfter(cpu);
}

export function sysret(cpu: CpuState, insn: Insn): void {
  if (!(cpu.u32[STATE.efer >>> 2]! & 1) || !in64(cpu)) raise(cpu, UD_VECTOR);
  if (cpu.cpl !== 0) raise(cpu, GP_VECTOR);
  const to64 = insn.opSize === 8;
  if (to64 && !isCanonical(cpu.gpr[RCX]!)) raise(cpu, GP_VECTOR);
  const star = cpu.u32[(STATE.star >>> 2) + 1]! >>> 16;
  cpu.rip = to64 ? cpu.gpr[RCX]! : cpu.gpr[RCX]! & 0xffff_ffffn;
  const flags = Number(cpu.gpr[R11]! & 0x3c_7fd7n) | 2;
  cpu.engine.writeFlags(cpu, flags);
  loadFlatPair(cpu, (star + (to64 ? 16 : 0)) | 3, (star + 8) | 3, 3, to64 ? SEG_L : SEG_DB);
  updateMode(cpu);
  stepAfter(cpu);
  if (flags & X86_EFLAGS_IF) cpu.engine.stopSoon(cpu);
}

export function sysenter(cpu: CpuState): void {
  const cs = Number(word64(cpu, STATE.sysenter_cs) & 0xffffn);
  if (cpu.realMode || (cs & 0xfffc) === 0) raise(cpu, GP_VECTOR);
  cpu.engine.writeFlags(cpu, cpu.engine.readFlags(cpu) & ~(X86_EFLAGS_VM | X86_EFLAGS_IF));
  const mask = cpu.longMode ? (1n << 64n) - 1n : 0xffff_ffffn;
  cpu.gpr[RSP] = word64(cpu, STATE.sysenter_esp) & mask;
  cpu.rip = word64(cpu, STATE.sysenter_eip) & mask;
  loadFlatPair(cpu, cs & 0xfffc, (cs & 0xfffc) + 8, 0, cpu.longMode ? SEG_L : SEG_DB);
  updateMode(cpu);
}

export function sysexit(cpu: CpuState, insn: Insn): void {
  const cs = Number(word64(cpu, STATE.sysenter_cs) & 0xffffn);
  if (!(cpu.mode & MODE_PROTECTED) || (cs & 0xfffc) === 0 || cpu.cpl !== 0) raise(cpu, GP_VECTOR);
  const to64 = insn.opSize === 8;
  const rip = cpu.gpr[RDX]!, rsp = cpu.gpr[RCX]!;
  if (to64 && (!isCanonical(rip) || !isCanonical(rsp))) raise(cpu, GP_VECTOR);
  cpu.rip = to64 ? rip : rip & 0xffff_ffffn;
  cpu.gpr[RSP] = to64 ? rsp : rsp & 0xffff_ffffn;
  const base = cs & 0xfffc;
  loadFlatPair(cpu, (base + (to64 ? 32 : 16)) | 3, (base + (to64 ? 40 : 24)) | 3, 3, to64 ? SEG_L : SEG_DB);
  updateMode(cpu);
}

export function swapgs(cpu: CpuState): void {
  if (cpu.cpl !== 0) raise(cpu, GP_VECTOR);
  const at = (STATE.seg + GS * SEGMENT_SIZE) >>> 3;
  const base = cpu.u64[at]!;
  cpu.u64[at] = word64(cpu, STATE.kernel_gs_base);
  cpu.u64[STATE.kernel_gs_base >>> 3] = base;
}

// ---------------------------------------------------------------- RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE

function requireFsgsbase(cpu: CpuState): void {
  if (!(word64(cpu, STATE.cr4) & X86_CR4_FSGSBASE)) raise(cpu, UD_VECTOR);
}
const readBase = (seg: number) => (cpu: CpuState, insn: Insn): void => {
  requireFsgsbase(cpu);
  writeGpr(cpu, insn, insn.rm, insn.opSize === 8 ? 8 : 4, cpu.segBase(seg));
};
const writeBase = (seg: number) => (cpu: CpuState, insn: Insn): void => {
  requireFsgsbase(cpu);
  const base = readGpr(cpu, insn, insn.rm, insn.opSize === 8 ? 8 : 4);
  if (!isCanonical(base)) raise(cpu, GP_VECTOR);
  cpu.u64[(STATE.seg + seg * SEGMENT_SIZE) >>> 3] = base;
};
export const rdfsbase = readBase(FS), rdgsbase = readBase(GS), wrfsbase = writeBase(FS), wrgsbase = writeBase(GS);
