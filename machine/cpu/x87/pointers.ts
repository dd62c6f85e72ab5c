/**
 * The pointers to the last instruction and its operand: FIP, FDP, FOP. SDM Vol. 1, 8.1.8 and 8.1.9.
 *
 * As on processors that say so in CPUID leaf 7 (EBX bits 6 and 13): FIP is that of the last instruction but control ones, FDP and FOP tell of the last
 * one that raised an unmasked exception, FDP only where that had an operand in memory. Selectors are 0.
 */
import type { Exec, Insn } from '../opcode-row.ts';
import { effectiveAddress } from '../operands.ts';
import { type CpuState, MODE_64, MODE_SIZE, STATE } from '../state.ts';
import { ES } from './stack.ts';

const FIP = STATE['fpu.fip']! >>> 2, FDP = STATE['fpu.fdp']! >>> 3, FCW = STATE['fpu.fcw']! >>> 2, RIP = STATE.rip >>> 2;

/** `meaning`, and what the pointers say afterwards, unless it faults. The row's opcode begins with its byte. */
export function pointed(opcode: string, meaning: Exec): Exec {
  const high = (Number.parseInt(opcode, 16) & 7) << 8;
  return (cpu, insn) => {
    const { u32 } = cpu;
    // FCW and FSW share a word.
    const waited = u32[FCW]! >>> 16 & ES;
    meaning(cpu, insn);
    point(cpu, insn);
    if (waited === 0 && u32[FCW]! >>> 16 & ES) {
      u32[FCW + 1] = u32[FCW + 1]! & 0xffff | (high | modRm(insn)) << 16;
      if (insn.mod !== 3) cpu.u64[FDP] = effectiveAddress(cpu, insn);
    }
  };
}
const modRm = (insn: Insn): number => insn.mod << 6 | (insn.reg & 7) << 3 | insn.rm & 7;

/** FIP = this instruction: RIP is behind it. */
function point(cpu: CpuState, insn: Insn): void {
  const { u32 } = cpu;
  const low = u32[RIP]! - insn.length;
  u32[FIP] = low;
  u32[FIP + 1] = (cpu.mode & MODE_SIZE) === MODE_64 ? u32[RIP + 1]! - (low < 0 ? 1 : 0) : 0;
}
