/**
 * Debug registers: MOV to and from them, and instruction breakpoints. SDM Vol. 3 ch. 18.2.
 *
 * Breakpoints on data and ports are accepted in DR7 but never hit: the TLB does not know of them.
 */
import { DB_VECTOR, Fault, GP_VECTOR, NO_ERROR, UD_VECTOR, raise, raiseDebug } from './exceptions.ts';
import type { Insn } from './opcode-row.ts';
import { CS, type CpuState, MODE_64, MODE_SIZE, STATE, X86_CR4_DE, X86_EFLAGS_RF } from './state.ts';

const DR = STATE.dr >>> 3;
export const DR6_FIXED = 0xffff_0ff0n, DR6_BITS = 0xe00fn, DR7_FIXED = 0x400n, DR7_BITS = 0xffff_2bffn;
const DR6_BD = 0x2000, DR7_GD = 0x2000n;

/** Checks in the order silicon makes them, and which register is meant: 4 and 5 are 6 and 7 unless CR4.DE. */
function which(cpu: CpuState, insn: Insn, write: boolean): number {
  if (insn.reg > 7) raise(cpu, UD_VECTOR);
  const alias = insn.reg === 4 || insn.reg === 5;
  if (alias && cpu.u64[STATE.cr4 >>> 3]! & X86_CR4_DE) raise(cpu, UD_VECTOR);
  if (cpu.cpl !== 0) raise(cpu, GP_VECTOR);
  const dr = alias ? insn.reg + 2 : insn.reg;
  if (cpu.inGuest) cpu.vmx.movDr(cpu, insn, dr, write);
  if (cpu.u64[DR + 7]! & DR7_GD) raiseDebug(cpu, DR6_BD);
  return dr;
}

export function movFromDr(cpu: CpuState, insn: Insn): void {
  const value = cpu.u64[DR + which(cpu, insn, false)]!;
  cpu.gpr[insn.rm] = insn.codeSize === 8 ? value : value & 0xffff_ffffn;
}

export function movToDr(cpu: CpuState, insn: Insn): void {
  const dr = which(cpu, insn, true);
  const value = insn.codeSize === 8 ? cpu.gpr[insn.rm]! : cpu.gpr[insn.rm]! & 0xffff_ffffn;
  if (dr >= 6 && value >> 32n) raise(cpu, GP_VECTOR);
  cpu.u64[DR + dr] = dr === 6 ? value & DR6_BITS | DR6_FIXED : dr === 7 ? value & DR7_BITS | DR7_FIXED : value;
  if (dr === 7) cpu.engine.stopSoon(cpu);
}

/** Is an instruction breakpoint enabled at all? Then instructions run one at a time. */
export function breakpointsArmed(cpu: CpuState): boolean {
  const dr7 = cpu.u32[2 * (DR + 7)]!;
  if ((dr7 & 0xff) === 0) return false;
  for (let i = 0; i < 4; i++) if (dr7 >>> 2 * i & 3 && (dr7 >>> 16 + 4 * i & 3) === 0) return true;
  return false;
}

const hit = new Fault();
/** The #DB due before the instruction at RIP, undefined if none is: a fault, held off by RFLAGS.RF. */
export function instructionBreakpoint(cpu: CpuState): Fault | undefined {
  if (cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_RF) return undefined;
  const dr7 = cpu.u32[2 * (DR + 7)]!;
  const linear = (cpu.mode & MODE_SIZE) === MODE_64 ? cpu.rip : cpu.rip + cpu.segBase(CS) & 0xffff_ffffn;
  let dr6 = 0;
  for (let i = 0; i < 4; i++) {
    if (dr7 >>> 2 * i & 3 && (dr7 >>> 16 + 4 * i & 3) === 0 && cpu.u64[DR + i] === linear) dr6 |= 1 << i;
  }
  if (dr6 === 0) return undefined;
  hit.vector = DB_VECTOR;
  hit.error = NO_ERROR;
  hit.dr6 = dr6;
  hit.type = 3;
  hit.length = 0;
  return hit;
}
