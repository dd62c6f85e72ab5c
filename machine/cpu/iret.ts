/**
 * IRET in all its forms, and INT n, INT3, INTO, INT1, BOUND, UD. SDM Vol. 2 (IRET, INT), Vol. 3 ch. 6.12, 20.2.
 *
 * IRET lets NMIs in again before it does anything else: a fault of its own finds them unblocked (SDM Vol. 3, 6.7.1),
 * and a VM exit out of it reports that they were, so that a hypervisor can put it back.
 */
import { BP_VECTOR, BR_VECTOR, DB_VECTOR, GP_VECTOR, NO_ERROR, OF_VECTOR, UD_VECTOR, raise, raiseTrap, softwareFault } from './exceptions.ts';
import { checkOffset, checkReturnCode, loadCode, loadOuterStack, loadRealCode } from './far-transfers.ts';
import { INTR_TYPE_PRIV_SW_EXCEPTION, INTR_TYPE_SOFT_EXCEPTION, INTR_TYPE_SOFT_INTR, VM_EXIT } from './hooks.ts';
import { type Event, enterHandler } from './idt.ts';
import { explicit, readLinear, readTable } from './memory.ts';
import type { Insn } from './opcode-row.ts';
import { gpr32, moveStack, operandAddress, peekStack, peekStack32 } from './operands.ts';
import { checkStackSegment, dropInnerSegments, fetchDescriptor, loadRealSegment, markAccessed } from './segments.ts';
import {
  CS, type CpuState, DS, ES, FS, GS, MODE_64, MODE_PROTECTED, MODE_SIZE, MODE_VM86, RSP, SS, STATE, STOPPING_FLAGS, TR, X86_EFLAGS_AC, X86_EFLAGS_ARITHMETIC, X86_EFLAGS_DF,
  X86_EFLAGS_ID, X86_EFLAGS_IF, X86_EFLAGS_IOPL, X86_EFLAGS_NT, X86_EFLAGS_OF, X86_EFLAGS_RF, X86_EFLAGS_TF, X86_EFLAGS_VIF, X86_EFLAGS_VIP, X86_EFLAGS_VM, updateMode,
} from './state.ts';
import { TASK_IRET, switchTask } from './task-switch.ts';
import { checkVirtualImage, extended86, loadVirtualImage, needsVirtualFlags, redirect } from './virtual-interrupts.ts';

const NMI_BLOCKED = STATE.nmi_blocked >>> 2;
const ANY = X86_EFLAGS_ARITHMETIC | X86_EFLAGS_TF | X86_EFLAGS_DF | X86_EFLAGS_NT | X86_EFLAGS_AC | X86_EFLAGS_ID;

/** Loads RFLAGS from a popped image: IOPL and IF only as CPL and IOPL allow, 16-bit images only the low half. */
export function loadFlags(cpu: CpuState, image: number, size: number, cpl: number, extra: number): void {
  const old = cpu.engine.readFlags(cpu);
  let mask = ANY | extra;
  if (cpl === 0) mask |= X86_EFLAGS_IOPL | X86_EFLAGS_IF;
  else if (cpl <= (old & X86_EFLAGS_IOPL) >>> 12) mask |= X86_EFLAGS_IF;
  if (size === 2) mask &= 0xffff;
  const flags = old & ~mask | image & mask | 2;
  cpu.engine.writeFlags(cpu, flags);
  if ((flags & ~old & STOPPING_FLAGS) !== 0) cpu.engine.stopSoon(cpu);
}

export function iret(cpu: CpuState, insn: Insn): void {
  const size = insn.opSize;
  const blocked = cpu.u32[NMI_BLOCKED] !== 0;
  if (blocked) {
    cpu.u32[NMI_BLOCKED] = 0;
    cpu.nmiUnblocked = true;
  }
  if (cpu.mode & MODE_PROTECTED) iretProtected(cpu, insn);
  else {
    const virtual = needsVirtualFlags(cpu, size);
    const rip = peekStack(cpu, size);
    const selector = peekStack32(cpu, size, size) & 0xffff;
    const image = peekStack32(cpu, size, 2 * size);
    if (virtual) checkVirtualImage(cpu, image);
    loadRealCode(cpu, selector, rip);
    moveStack(cpu, BigInt(3 * size));
    if (virtual) loadVirtualImage(cpu, image);
    else loadFlags(cpu, image, size, cpu.cpl, X86_EFLAGS_RF);
  }
  updateMode(cpu);
  if (blocked) {
    cpu.nmiUnblocked = false;
    cpu.engine.stopSoon(cpu);
  }
}

function iretProtected(cpu: CpuState, insn: Insn): void {
  const size = insn.opSize;
  const cpl = cpu.cpl;
  const flags = cpu.engine.readFlags(cpu);
  if (flags & X86_EFLAGS_NT) {
    if (cpu.longMode) raise(cpu, GP_VECTOR);
    const back = readTable(cpu, cpu.segBase(TR), 0, 2);
    return switchTask(cpu, back, TASK_IRET, cpu.rip, flags, insn.length, NO_ERROR, 0);
  }
  const rip = peekStack(cpu, size);
  const selector = peekStack32(cpu, size, size) & 0xffff;
  const image = peekStack32(cpu, size, 2 * size);
  if (image & X86_EFLAGS_VM && size === 4 && cpl === 0 && !cpu.longMode) return toVm86(cpu, rip, selector, image);
  if ((selector & 0xfffc) === 0) raise(cpu, GP_VECTOR);
  const d = fetchDescriptor(cpu, selector);
  checkReturnCode(cpu, d, cpl);
  const rpl = selector & 3;
  const from64 = (cpu.mode & MODE_SIZE) === MODE_64;
  const extra = size === 2 ? 0 : X86_EFLAGS_RF | (cpl === 0 ? X86_EFLAGS_VIF | X86_EFLAGS_VIP : 0);
  if (rpl === cpl && !from64) {
    checkOffset(cpu, d, rip);
    loadCode(cpu, d, rpl, rip);
    moveStack(cpu, BigInt(3 * size));
    return loadFlags(cpu, image, size, cpl, extra);
  }
  const rsp = peekStack(cpu, size, 3 * size);
  const ssSelector = peekStack32(cpu, size, 4 * size) & 0xffff;
  const ss = checkStackSegment(cpu, ssSelector, rpl, GP_VECTOR, 0, cpu.longMode && (d.high & 0x20_0000) !== 0);
  checkOffset(cpu, d, rip);
  if (ss !== undefined) markAccessed(cpu, ss);
  loadCode(cpu, d, rpl, rip);
  loadFlags(cpu, image, size, cpl, extra);
  loadOuterStack(cpu, ssSelector, ss, rsp, size);
  if (rpl !== cpl) dropInnerSegments(cpu, rpl);
}

/** From CPL 0 into virtual-8086 mode: nine values on the stack. */
function toVm86(cpu: CpuState, rip: bigint, selector: number, image: number): void {
  const pop = (i: number) => peekStack32(cpu, 4, 4 * i);
  const [esp, ss, es, ds, fs, gs] = [pop(3), pop(4), pop(5), pop(6), pop(7), pop(8)];
  if (rip > 0xffffn) raise(cpu, GP_VECTOR);
  cpu.engine.writeFlags(cpu, image & (ANY | X86_EFLAGS_IOPL | X86_EFLAGS_IF | X86_EFLAGS_RF | X86_EFLAGS_VM | X86_EFLAGS_VIF | X86_EFLAGS_VIP) | 2);
  if (image & STOPPING_FLAGS) cpu.engine.stopSoon(cpu);
  cpu.rip = rip;
  cpu.gpr[RSP] = BigInt(esp);
  const values: readonly (readonly [number, number])[] = [[CS, selector], [SS, ss & 0xffff], [ES, es & 0xffff], [DS, ds & 0xffff], [FS, fs & 0xffff], [GS, gs & 0xffff]];
  for (const [seg, value] of values) loadRealSegment(cpu, seg, value);
}

// ---------------------------------------------------------------- software interrupts

/**
 * Enters the handler from within the instruction. A fault on the way leaves the instruction undone and is the program's
 * own: software interrupts never become double faults. Under our kernel the event is thrown to it like a fault.
 */
function enter(cpu: CpuState, insn: Insn, vector: number, type: 4 | 5 | 6): void {
  if (cpu.door === 'kernel' && !cpu.inGuest) raiseTrap(cpu, vector, type, insn.length);
  if (cpu.inGuest) {
    if (type !== INTR_TYPE_SOFT_INTR && cpu.vmx.exceptionExits(cpu, softwareFault(vector, type, insn.length), type)) throw VM_EXIT;
    cpu.vmx.deliveryBegins(cpu, vector, type, NO_ERROR, insn.length);
  }
  event.vector = vector;
  event.type = type;
  event.rip = cpu.rip;
  event.flags = cpu.engine.readFlags(cpu);
  event.length = insn.length;
  enterHandler(cpu, event);
  cpu.steppedInto = true;
  if (cpu.inGuest) cpu.vmx.deliveryEnds(cpu);
}
const event: Event = { vector: 0, type: 0, error: NO_ERROR, rip: 0n, flags: 0, length: 0 };

export function intN(cpu: CpuState, insn: Insn): void {
  const vector = Number(insn.imm & 0xffn);
  if (extended86(cpu) && redirect(cpu, vector)) {
    cpu.steppedInto = true;
    return updateMode(cpu);
  }
  if (cpu.mode & MODE_VM86 && (cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_IOPL) !== X86_EFLAGS_IOPL) raise(cpu, GP_VECTOR);
  // Our kernel's gates are open to ring 3 for INT3 and INTO only.
  if (cpu.door === 'kernel' && !cpu.inGuest && vector !== BP_VECTOR && vector !== OF_VECTOR) raise(cpu, GP_VECTOR, vector * 8 + 2);
  enter(cpu, insn, vector, INTR_TYPE_SOFT_INTR);
}

export const int3 = (cpu: CpuState, insn: Insn): void => enter(cpu, insn, BP_VECTOR, INTR_TYPE_SOFT_EXCEPTION);
export const int1 = (cpu: CpuState, insn: Insn): void => enter(cpu, insn, DB_VECTOR, INTR_TYPE_PRIV_SW_EXCEPTION);
export function into(cpu: CpuState, insn: Insn): void {
  if (cpu.engine.readFlags(cpu) & X86_EFLAGS_OF) enter(cpu, insn, OF_VECTOR, INTR_TYPE_SOFT_EXCEPTION);
}

export function ud(cpu: CpuState): never { raise(cpu, UD_VECTOR); }

/** The index, a signed register, must lie between two bounds in memory. */
export function bound(cpu: CpuState, insn: Insn): void {
  const size = insn.opSize === 2 ? 2 : 4;
  const read = (skip: number) => BigInt.asIntN(8 * size, readLinear(cpu, operandAddress(cpu, insn, size, false, skip), size, explicit(cpu)));
  const index = BigInt.asIntN(8 * size, BigInt(gpr32(cpu, insn.reg)));
  if (index < read(0) || index > read(size)) raise(cpu, BR_VECTOR);
}
