/**
 * Debug registers: MOV to and from them, and breakpoints on instructions, data and ports. SDM Vol. 3 ch. 18.2.
 *
 * While one is armed instructions run one at a time and every data access takes the slow path, which reports it here;
 * what was hit becomes a #DB trap after the instruction.
 */
import { DB_VECTOR, Fault, GP_VECTOR, NO_ERROR, UD_VECTOR, raise, raiseDebug } from './exceptions.ts';
import { VM_EXIT, type VmExit } from './hooks.ts';
import type { Insn } from './opcode-row.ts';
import { CS, type CpuState, EVENT_TRAP, MODE_64, MODE_SIZE, STATE, X86_CR4_DE, X86_EFLAGS_RF } from './state.ts';

const DR = STATE.dr >>> 3;
export const DR6_FIXED = 0xffff_0ff0n, DR7_FIXED = 0x400n;
const DR6_BITS = 0xe00fn, DR7_BITS = 0xffff_2bffn;
const DR6_BD = 0x2000, DR7_GD = 0x2000n;

/** Checks in the order silicon makes them, and which register is meant: 4 and 5 are 6 and 7 unless CR4.DE. -1: the guest exits. */
function which(cpu: CpuState, insn: Insn, write: boolean): number {
  if (insn.reg > 7) raise(cpu, UD_VECTOR);
  const alias = insn.reg === 4 || insn.reg === 5;
  if (alias && cpu.u64[STATE.cr4 >>> 3]! & X86_CR4_DE) raise(cpu, UD_VECTOR);
  if (cpu.cpl !== 0) raise(cpu, GP_VECTOR);
  const dr = alias ? insn.reg + 2 : insn.reg;
  if (cpu.inGuest && cpu.vmx.movDr(cpu, insn, dr, write)) return -1;
  if (cpu.u64[DR + 7]! & DR7_GD) raiseDebug(cpu, DR6_BD);
  return dr;
}

export function movFromDr(cpu: CpuState, insn: Insn): VmExit | undefined {
  const dr = which(cpu, insn, false);
  if (dr < 0) return VM_EXIT;
  const value = cpu.u64[DR + dr]!;
  cpu.gpr[insn.rm] = insn.codeSize === 8 ? value : value & 0xffff_ffffn;
  return undefined;
}

export function movToDr(cpu: CpuState, insn: Insn): VmExit | undefined {
  const dr = which(cpu, insn, true);
  if (dr < 0) return VM_EXIT;
  const value = insn.codeSize === 8 ? cpu.gpr[insn.rm]! : cpu.gpr[insn.rm]! & 0xffff_ffffn;
  if (dr >= 6 && value >> 32n) raise(cpu, GP_VECTOR);
  cpu.u64[DR + dr] = dr === 6 ? value & DR6_BITS | DR6_FIXED : dr === 7 ? value & DR7_BITS | DR7_FIXED : value;
  if (dr === 7) cpu.engine.stopSoon(cpu);
  return undefined;
}

const TYPE_EXECUTE = 0, TYPE_WRITE = 1, TYPE_IO = 2, TYPE_READ_WRITE = 3;
/** Bytes by the LEN field. */
const LENGTHS = [1, 2, 8, 4] as const;
const isEnabled = (dr7: number, i: number) => (dr7 >>> 2 * i & 3) !== 0;
const typeOf = (dr7: number, i: number) => dr7 >>> 16 + 4 * i & 3;

/** Is any breakpoint enabled? Then instructions run one at a time. */
export const breakpointsArmed = (cpu: CpuState): boolean => (cpu.u32[2 * (DR + 7)]! & 0xff) !== 0;

/** Reports a data access of the instruction in progress. Call it only while breakpointsArmed(). */
export function noteAccess(cpu: CpuState, linear: number, size: number, write: boolean): void {
  note(cpu, linear, size, (type) => type === TYPE_READ_WRITE || (type === TYPE_WRITE && write));
}

/** Reports a port access; breakpoints on ports exist with CR4.DE only. */
export function notePort(cpu: CpuState, port: number, size: number): void {
  if (breakpointsArmed(cpu) && cpu.u64[STATE.cr4 >>> 3]! & X86_CR4_DE) note(cpu, port, size, (type) => type === TYPE_IO);
}

function note(cpu: CpuState, address: number, size: number, wanted: (type: number) => boolean): void {
  const dr7 = cpu.u32[2 * (DR + 7)]!;
  for (let i = 0; i < 4; i++) {
    if (!isEnabled(dr7, i) || !wanted(typeOf(dr7, i))) continue;
    const length = LENGTHS[dr7 >>> 18 + 4 * i & 3]!;
    const start = Number(BigInt.asIntN(64, cpu.u64[DR + i]! & ~BigInt(length - 1)));
    if (address < start + length && start < address + size) {
      cpu.debugHits |= 1 << i;
      cpu.pending |= EVENT_TRAP;
    }
  }
}

const hit = new Fault();
/** The #DB due before the instruction at RIP, undefined if none is: a fault, held off by RFLAGS.RF. */
export function instructionBreakpoint(cpu: CpuState): Fault | undefined {
  if (cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_RF) return undefined;
  const dr7 = cpu.u32[2 * (DR + 7)]!;
  const linear = (cpu.mode & MODE_SIZE) === MODE_64 ? cpu.rip : cpu.rip + cpu.segBase(CS) & 0xffff_ffffn;
  let dr6 = 0;
  for (let i = 0; i < 4; i++) {
    if (isEnabled(dr7, i) && typeOf(dr7, i) === TYPE_EXECUTE && cpu.u64[DR + i] === linear) dr6 |= 1 << i;
  }
  if (dr6 === 0) return undefined;
  hit.vector = DB_VECTOR;
  hit.error = NO_ERROR;
  hit.dr6 = dr6;
  hit.type = 3;
  hit.length = 0;
  return hit;
}
