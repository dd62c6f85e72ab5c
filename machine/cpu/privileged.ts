/**
 * Privileged and system-flag instructions that belong to no larger family: HLT, CLI, STI, PUSHF, POPF, CLAC, STAC,
 * INVLPG, INVPCID, INVD, WBINVD, MONITOR, MWAIT, RDTSC, RDTSCP, RDPMC, RDPID, RDRAND, RDSEED, VMX outside a guest.
 * SDM Vol. 2.
 */
import { charge } from '../engine/stop.ts';
import { GP_VECTOR, UD_VECTOR, raise } from './exceptions.ts';
import { VM_EXIT, type VmExit } from './hooks.ts';
import { loadFlags } from './iret.ts';
import { explicit, isCanonical, linearAddress, readLinear, toLinear, translate } from './memory.ts';
import type { Insn } from './opcode-row.ts';
import { effectiveAddress, moveStack, operandAddress, peekStack, push, setGpr32, writeGpr } from './operands.ts';
import { checkVirtualImage, flagIsVirtual, loadVirtualImage, needsVirtualFlags, setVif, virtualImage } from './virtual-interrupts.ts';
import {
  ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_MWAIT, type CpuState, EVENT_INTERRUPT, EVENT_SHADOW, MODE_32, MODE_64, MODE_LONG, MODE_PROTECTED, MODE_SIZE, RAX, RCX, RDX, SHADOW_STI, STATE, X86_CR4_PCE, X86_CR4_PCIDE, X86_CR4_TSD,
  X86_EFLAGS_AC, X86_EFLAGS_ARITHMETIC, X86_EFLAGS_CF, X86_EFLAGS_IF, X86_EFLAGS_IOPL, X86_EFLAGS_RF, X86_EFLAGS_VM, updateMode,
} from './state.ts';

const EXIT_REASON_VMCALL = 18;
const EXIT_REASON_HLT = 12, EXIT_REASON_INVD = 13, EXIT_REASON_INVLPG = 14, EXIT_REASON_RDPMC = 15, EXIT_REASON_RDTSC = 16;
const EXIT_REASON_MWAIT = 36, EXIT_REASON_MONITOR = 39, EXIT_REASON_PAUSE = 40, EXIT_REASON_RDTSCP = 51, EXIT_REASON_WBINVD = 54;
const EXIT_REASON_RDRAND = 57, EXIT_REASON_INVPCID = 58, EXIT_REASON_RDSEED = 61;

function requireCpl0(cpu: CpuState): void {
  if (cpu.cpl !== 0) raise(cpu, GP_VECTOR);
}
const iopl = (cpu: CpuState) => (cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_IOPL) >>> 12;
const cr4 = (cpu: CpuState, bit: bigint) => (cpu.u64[STATE.cr4 >>> 3]! & bit) !== 0n;

export function hlt(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireCpl0(cpu);
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_HLT, 0n)) return VM_EXIT;
  cpu.u32[STATE.activity >>> 2] = ACTIVITY_HLT;
  cpu.engine.stopSoon(cpu);
  return undefined;
}

// ---------------------------------------------------------------- flags

export function cli(cpu: CpuState): void {
  if (cpu.cpl > iopl(cpu)) {
    if (!flagIsVirtual(cpu)) raise(cpu, GP_VECTOR);
    return setVif(cpu, false);
  }
  cpu.u32[STATE.rflags >>> 2] = cpu.u32[STATE.rflags >>> 2]! & ~X86_EFLAGS_IF;
}

/** Interrupts are held off for one more instruction if they were off before. */
export function sti(cpu: CpuState): void {
  if (cpu.cpl > iopl(cpu)) {
    if (!flagIsVirtual(cpu)) raise(cpu, GP_VECTOR);
    return setVif(cpu, true);
  }
  const at = STATE.rflags >>> 2;
  if (cpu.u32[at]! & X86_EFLAGS_IF) return;
  cpu.u32[at] = cpu.u32[at]! | X86_EFLAGS_IF;
  cpu.u32[STATE.shadow >>> 2] = SHADOW_STI;
  cpu.pending |= EVENT_SHADOW;
  cpu.engine.stopSoon(cpu);
}

export function pushf(cpu: CpuState, insn: Insn): void {
  const flags = cpu.engine.readFlags(cpu);
  const seen = needsVirtualFlags(cpu, insn.opSize) ? virtualImage(flags) : flags;
  push(cpu, insn.opSize, BigInt((seen & ~(X86_EFLAGS_RF | X86_EFLAGS_VM)) >>> 0));
}

export function popf(cpu: CpuState, insn: Insn): void {
  const virtual = needsVirtualFlags(cpu, insn.opSize);
  const image = Number(peekStack(cpu, insn.opSize) & 0xffff_ffffn);
  if (virtual) checkVirtualImage(cpu, image);
  moveStack(cpu, BigInt(insn.opSize));
  if (virtual) return loadVirtualImage(cpu, image);
  loadFlags(cpu, image & ~X86_EFLAGS_RF, insn.opSize, cpu.cpl, X86_EFLAGS_RF);
  updateMode(cpu);
}

const accessFlag = (set: boolean) => (cpu: CpuState): void => {
  if (cpu.cpl !== 0) raise(cpu, UD_VECTOR);
  const at = STATE.rflags >>> 2;
  cpu.u32[at] = set ? cpu.u32[at]! | X86_EFLAGS_AC : cpu.u32[at]! & ~X86_EFLAGS_AC;
  updateMode(cpu);
};
export const clac = accessFlag(false), stac = accessFlag(true);

// ---------------------------------------------------------------- caches and translations

export function invlpg(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireCpl0(cpu);
  const offset = effectiveAddress(cpu, insn);
  const long = (cpu.mode & MODE_SIZE) === MODE_64;
  const linear = long ? BigInt.asUintN(64, offset + (insn.seg >= 4 ? cpu.segBase(insn.seg) : 0n)) : BigInt.asUintN(32, offset + cpu.segBase(insn.seg));
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_INVLPG, linear)) return VM_EXIT;
  if (isCanonical(linear)) cpu.engine.flushPage(cpu, toLinear(linear));
  return undefined;
}

/** Individual address, single context, all contexts with and without global translations. */
export function invpcid(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireCpl0(cpu);
  if (cpu.inGuest && cpu.vmx.memoryInstruction(cpu, insn, EXIT_REASON_INVPCID)) return VM_EXIT;
  const type = insn.codeSize === 8 ? cpu.gpr[insn.reg]! : cpu.gpr[insn.reg]! & 0xffff_ffffn;
  const low = readLinear(cpu, operandAddress(cpu, insn, 16), 8, explicit(cpu));
  const linear = readLinear(cpu, operandAddress(cpu, insn, 8, false, 8), 8, explicit(cpu));
  if (type > 3n || low >> 12n !== 0n || (type <= 1n && low !== 0n && !cr4(cpu, X86_CR4_PCIDE)) || (type === 0n && !isCanonical(linear))) raise(cpu, GP_VECTOR);
  if (type === 0n) cpu.engine.flushPage(cpu, toLinear(linear));
  else if (type === 1n) cpu.engine.flushPcid(cpu, Number(low));
  else cpu.engine.flushTlb(cpu, true);
  return undefined;
}

const cacheControl = (reason: number) => (cpu: CpuState, insn: Insn): VmExit | undefined => {
  requireCpl0(cpu);
  return cpu.inGuest && cpu.vmx.instruction(cpu, insn, reason, 0n) ? VM_EXIT : undefined;
};
export const invd = cacheControl(EXIT_REASON_INVD), wbinvd = cacheControl(EXIT_REASON_WBINVD);

// ---------------------------------------------------------------- waiting

export function pause(cpu: CpuState, insn: Insn): VmExit | undefined {
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_PAUSE, 0n)) return VM_EXIT;
  charge(cpu, cpu.costs.pause);
  cpu.bus.pause();
  return undefined;
}

/** MISC_ENABLE can take both instructions away. */
function requireMonitor(cpu: CpuState): void {
  if (cpu.cpl !== 0 || !(cpu.u32[STATE.misc_enable >>> 2]! & 0x4_0000)) raise(cpu, UD_VECTOR);
}

/** Arms the monitor with the 64 bytes around DS:rAX. */
export function monitor(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireMonitor(cpu);
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_MONITOR, 0n)) return VM_EXIT;
  if (cpu.gpr32[2 * RCX]! !== 0) raise(cpu, GP_VECTOR);
  const mask = insn.addrSize === 8 ? (1n << 64n) - 1n : insn.addrSize === 4 ? 0xffff_ffffn : 0xffffn;
  const linear = linearAddress(cpu, insn.seg < 0 ? 3 : insn.seg, cpu.gpr[RAX]! & mask, 1);
  readLinear(cpu, linear, 1, explicit(cpu));
  const physical = translate(cpu, linear, explicit(cpu));
  if (physical < cpu.ramSize) cpu.monitor.arm(cpu.mem.u32, cpu.ram + physical);
  else cpu.monitor.disarm();
  return undefined;
}

/** Waits for a change of the armed line, an interrupt or an NMI; without an armed line it is a NOP. */
export function mwait(cpu: CpuState, insn: Insn): VmExit | undefined {
  requireMonitor(cpu);
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_MWAIT, 0n)) return VM_EXIT;
  const extensions = cpu.gpr32[2 * RCX]!;
  if (extensions > 1) raise(cpu, GP_VECTOR);
  cpu.monitor.breaksOnMasked = extensions === 1;
  cpu.u32[STATE.activity >>> 2] = ACTIVITY_MWAIT;
  if (!stillWaits(cpu)) return undefined;
  cpu.engine.stopSoon(cpu);
  return undefined;
}

/** Is the processor, which is in MWAIT, to stay there? It is active afterwards if not. */
export function stillWaits(cpu: CpuState): boolean {
  const { monitor: armed } = cpu;
  const waits = armed.holds(cpu.mem.u32) && !(armed.breaksOnMasked && cpu.pending & EVENT_INTERRUPT);
  if (!waits) {
    armed.disarm();
    cpu.u32[STATE.activity >>> 2] = ACTIVITY_ACTIVE;
  }
  return waits;
}

// ---------------------------------------------------------------- counters and random numbers

const TSC_ADJUST = STATE.tsc_adjust >>> 2, TSC_OFFSET = STATE.tsc_offset >>> 2;
/** EDX:EAX = readTsc(), in 32-bit halves: guests ask often. */
function storeTsc(cpu: CpuState): void {
  const { u32 } = cpu;
  const now = cpu.bus.readTsc();
  const high = Math.floor(now / 0x1_0000_0000);
  const low = now - high * 0x1_0000_0000 + u32[TSC_ADJUST]! + u32[TSC_OFFSET]!;
  setGpr32(cpu, RAX, low >>> 0);
  setGpr32(cpu, RDX, (high + u32[TSC_ADJUST + 1]! + u32[TSC_OFFSET + 1]! + Math.floor(low / 0x1_0000_0000)) >>> 0);
}

export function rdtsc(cpu: CpuState, insn: Insn): VmExit | undefined {
  if (cpu.cpl !== 0 && cr4(cpu, X86_CR4_TSD)) raise(cpu, GP_VECTOR);
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_RDTSC, 0n)) return VM_EXIT;
  storeTsc(cpu);
  charge(cpu, cpu.costs.rdtsc);
  return undefined;
}

export function rdtscp(cpu: CpuState, insn: Insn): VmExit | undefined {
  if (cpu.cpl !== 0 && cr4(cpu, X86_CR4_TSD)) raise(cpu, GP_VECTOR);
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_RDTSCP, 0n)) return VM_EXIT;
  storeTsc(cpu);
  charge(cpu, cpu.costs.rdtscp);
  setGpr32(cpu, RCX, Number(cpu.u64[STATE.tsc_aux >>> 3]! & 0xffff_ffffn));
  return undefined;
}

export function rdpid(cpu: CpuState, insn: Insn): void {
  writeGpr(cpu, insn, insn.rm, insn.codeSize === 8 ? 8 : 4, cpu.u64[STATE.tsc_aux >>> 3]! & 0xffff_ffffn);
}

/** There are no performance counters, so any index is #GP. */
export function rdpmc(cpu: CpuState, insn: Insn): VmExit | undefined {
  if (cpu.cpl !== 0 && !cr4(cpu, X86_CR4_PCE)) raise(cpu, GP_VECTOR);
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_RDPMC, 0n)) return VM_EXIT;
  raise(cpu, GP_VECTOR);
}

const random = (reason: number) => (cpu: CpuState, insn: Insn): VmExit | undefined => {
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, reason, 0n)) return VM_EXIT;
  writeGpr(cpu, insn, insn.rm, insn.opSize, BigInt.asUintN(8 * insn.opSize, cpu.bus.random()));
  cpu.engine.writeFlags(cpu, cpu.engine.readFlags(cpu) & ~X86_EFLAGS_ARITHMETIC | X86_EFLAGS_CF);
  return undefined;
};
export const rdrand = random(EXIT_REASON_RDRAND), rdseed = random(EXIT_REASON_RDSEED);

// ---------------------------------------------------------------- VMX

/** Root operation is entered by our kernel's calls; for machine code there is only the guest, where all of these exit. */
export const vmx = (reason: number) => (cpu: CpuState, insn: Insn): VmExit | undefined => {
  if (!cpu.inGuest) raise(cpu, UD_VECTOR);
  const compatibility = (cpu.mode & (MODE_LONG | MODE_SIZE)) === MODE_LONG || (cpu.mode & (MODE_LONG | MODE_SIZE)) === (MODE_LONG | MODE_32);
  if (reason !== EXIT_REASON_VMCALL && (!(cpu.mode & MODE_PROTECTED) || compatibility)) raise(cpu, UD_VECTOR);
  const exits = insn.mod !== 3 ? cpu.vmx.memoryInstruction(cpu, insn, reason) : cpu.vmx.instruction(cpu, insn, reason, 0n);
  return exits ? VM_EXIT : undefined;
};
