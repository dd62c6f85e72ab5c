/**
 * Power-up and RESET. SDM Vol. 3 table 9-1.
 */
import { DR6_FIXED, DR7_FIXED } from './debug.ts';
import { resetFpu } from './fpu-state.ts';
import { APIC_BASE_BSP, resetMsrs } from './msrs.ts';
import { SIGNATURE } from './cpuid.ts';
import {
  ACTIVITY_ACTIVE, CS, type CpuState, DS, ES, FS, GS, LDTR, RDX, SS, TR, X86_CR0_CD, X86_CR0_ET, X86_CR0_NW, X86_EFLAGS_FIXED, updateMode,
} from './state.ts';

/** Accessed, writable data / readable code; present, S. In real-address mode these never change. */
const REAL_DATA = 0x93, REAL_CODE = 0x9b, BUSY_TSS32 = 0x8b, LDT = 0x82;

export function resetCpu(cpu: CpuState): void {
  cpu.gpr.fill(0n);
  cpu.gpr[RDX] = BigInt(SIGNATURE);
  cpu.rip = 0xfff0n;
  cpu.engine.writeFlags(cpu, X86_EFLAGS_FIXED);
  for (const seg of [ES, SS, DS, FS, GS]) cpu.setSegment(seg, 0, 0n, 0xffff, REAL_DATA);
  cpu.setSegment(CS, 0xf000, 0xffff_0000n, 0xffff, REAL_CODE);
  cpu.setSegment(LDTR, 0, 0n, 0xffff, LDT);
  cpu.setSegment(TR, 0, 0n, 0xffff, BUSY_TSS32);
  const { state } = cpu;
  state.gdtr_base = state.idtr_base = 0n;
  state.gdtr_limit = state.idtr_limit = 0xffff;
  state.cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
  state.cr2 = state.cr3 = state.cr4 = state.cr8 = state.efer = 0n;
  for (let i = 0; i < 4; i++) state.dr.set(i, 0n);
  state.dr.set(6, DR6_FIXED);
  state.dr.set(7, DR7_FIXED);
  state.shadow = state.nmi_blocked = state.pending = 0;
  state.activity = ACTIVITY_ACTIVE;
  state.xcr0 = 1n;
  cpu.smm.base = 0x3_0000;
  cpu.smm.inside = false;
  state.pkru = 0;
  resetFpu(cpu.fpu);
  resetMsrs(cpu);
  if (cpu.id === 0) state.apic_base |= APIC_BASE_BSP;
  cpu.engine.flushTlb(cpu, true);
  updateMode(cpu);
}
