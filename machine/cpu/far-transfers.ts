/**
 * Far JMP, CALL and RET, call gates among them. SDM Vol. 2 (the three instructions), Vol. 3 ch. 5.8.
 *
 * cpu.rip is that of the next instruction when one of these runs. Everything is read and checked first, then the
 * stack is written, then registers change.
 */
import { GP_VECTOR, NO_ERROR, NP_VECTOR, PFERR_USER, SS_VECTOR, TS_VECTOR, raise } from './exceptions.ts';
import { explicit, isCanonical, readImplicit, readLinear, readTable, readTable64, toLinear } from './memory.ts';
import type { Insn } from './opcode-row.ts';
import { moveStack, operandAddress, peekStack } from './operands.ts';
import {
  type Descriptor, TYPE_CALL16, TYPE_CALL32, TYPE_TASK, TYPE_TSS16, TYPE_TSS16_BUSY, TYPE_TSS32, TYPE_TSS32_BUSY, checkStackSegment, descriptorDpl,
  descriptorLimit, descriptorType, dropInnerSegments, fetchDescriptor, installDescriptor, installStackSegment, isCode, isConforming, isPresent, isSystem, loadNull, markAccessed,
} from './segments.ts';
import { StackFrame } from './stack-frame.ts';
import {
  CS, type CpuState, MODE_PROTECTED, RSP, SEG_DB, SEG_UNUSABLE, SS, TR, updateMode,
} from './state.ts';
import { TASK_CALL, TASK_JMP, switchTask } from './task-switch.ts';

const frame = new StackFrame();
type Slot = 2 | 4 | 8;
const truncate = (rip: bigint, size: number) => BigInt.asUintN(8 * size, rip);

/** Ap: the pointer is in the instruction. */
export const jmpFarDirect = (cpu: CpuState, insn: Insn): void => jumpFar(cpu, insn, insn.imm2, truncate(insn.imm, insn.opSize));
export const callFarDirect = (cpu: CpuState, insn: Insn): void => callFar(cpu, insn, insn.imm2, truncate(insn.imm, insn.opSize));
export const jmpFarIndirect = (cpu: CpuState, insn: Insn): void => withPointer(cpu, insn, jumpFar);
export const callFarIndirect = (cpu: CpuState, insn: Insn): void => withPointer(cpu, insn, callFar);

/** Mp: offset, then selector. */
function withPointer(cpu: CpuState, insn: Insn, go: (cpu: CpuState, insn: Insn, selector: number, offset: bigint) => void): void {
  const offset = readLinear(cpu, operandAddress(cpu, insn, insn.opSize), insn.opSize, explicit(cpu));
  const selector = readLinear(cpu, operandAddress(cpu, insn, 2, false, insn.opSize), 2, explicit(cpu));
  go(cpu, insn, Number(selector), offset);
}

/** Is the code segment one that a far branch without a gate may enter at this level? */
function checkBranchTarget(cpu: CpuState, d: Descriptor, cpl: number, rpl: number): void {
  const error = d.selector & 0xfffc;
  if (isConforming(d) ? descriptorDpl(d) > cpl : rpl > cpl || descriptorDpl(d) !== cpl) raise(cpu, GP_VECTOR, error);
  checkCode(cpu, d);
}

/** Present, and not both L and D in long mode. */
function checkCode(cpu: CpuState, d: Descriptor): void {
  const error = d.selector & 0xfffc;
  if (cpu.longMode && (d.high & 0x60_0000) === 0x60_0000) raise(cpu, GP_VECTOR, error);
  if (!isPresent(d)) raise(cpu, NP_VECTOR, error);
}

export function checkOffset(cpu: CpuState, d: Descriptor, rip: bigint): void {
  if (cpu.longMode && d.high & 0x20_0000 ? !isCanonical(rip) : rip > BigInt(descriptorLimit(d))) raise(cpu, GP_VECTOR, 0);
}

export function loadCode(cpu: CpuState, d: Descriptor, cpl: number, rip: bigint): void {
  markAccessed(cpu, d);
  installCode(cpu, d, cpl, rip);
}

/** The part of it that cannot fault. */
function installCode(cpu: CpuState, d: Descriptor, cpl: number, rip: bigint): void {
  installDescriptor(cpu, CS, d.selector & 0xfffc | cpl, d);
  cpu.rip = rip;
}

/** Real-address and virtual-8086 mode. */
export function loadRealCode(cpu: CpuState, selector: number, rip: bigint): void {
  if (rip > BigInt(cpu.segLimit(CS))) raise(cpu, GP_VECTOR, 0);
  cpu.setSegment(CS, selector, BigInt(selector << 4), cpu.segLimit(CS), cpu.segAccess(CS));
  cpu.rip = rip;
}

/** Of an offset of 64 bits, code that is not of 64-bit mode takes the lower half. */
const offsetIn = (cpu: CpuState, d: Descriptor, offset: bigint): bigint => (cpu.longMode && d.high & 0x20_0000 ? offset : BigInt.asUintN(32, offset));

function jumpFar(cpu: CpuState, insn: Insn, selector: number, offset: bigint): void {
  if (!(cpu.mode & MODE_PROTECTED)) {
    loadRealCode(cpu, selector, offset);
    return updateMode(cpu);
  }
  const d = targetDescriptor(cpu, selector);
  const cpl = cpu.cpl;
  if (isCode(d)) {
    checkBranchTarget(cpu, d, cpl, selector & 3);
    const rip = offsetIn(cpu, d, offset);
    checkOffset(cpu, d, rip);
    loadCode(cpu, d, cpl, rip);
  } else if (isCallGate(cpu, d)) {
    const { code, rip } = throughGate(cpu, d, cpl);
    if (isConforming(code) ? descriptorDpl(code) > cpl : descriptorDpl(code) !== cpl) raise(cpu, GP_VECTOR, code.selector & 0xfffc);
    checkOffset(cpu, code, rip);
    loadCode(cpu, code, cpl, rip);
  } else taskTransfer(cpu, insn, d, TASK_JMP);
  updateMode(cpu);
}

function targetDescriptor(cpu: CpuState, selector: number): Descriptor {
  if ((selector & 0xfffc) === 0) raise(cpu, GP_VECTOR, 0);
  return fetchDescriptor(cpu, selector);
}

const isCallGate = (cpu: CpuState, d: Descriptor): boolean =>
  isSystem(d) && (descriptorType(d) === TYPE_CALL32 || (descriptorType(d) === TYPE_CALL16 && !cpu.longMode));

/** Checks the gate and the code segment behind it as far as JMP and CALL agree. */
function throughGate(cpu: CpuState, gate: Descriptor, cpl: number): { code: Descriptor; rip: bigint; parameters: number; slot: Slot } {
  const error = gate.selector & 0xfffc;
  if (descriptorDpl(gate) < Math.max(cpl, gate.selector & 3)) raise(cpu, GP_VECTOR, error);
  if (!isPresent(gate)) raise(cpu, NP_VECTOR, error);
  const wide = descriptorType(gate) === TYPE_CALL32;
  let rip = BigInt(((wide ? gate.high & 0xffff_0000 : 0) | gate.low & 0xffff) >>> 0);
  if (cpu.longMode) {
    if (readImplicit(cpu, gate.at + 12, 4) & 0x1f00) raise(cpu, GP_VECTOR, error);
    rip |= BigInt(readImplicit(cpu, gate.at + 8, 4)) << 32n;
  }
  const selector = gate.low >>> 16;
  if ((selector & 0xfffc) === 0) raise(cpu, GP_VECTOR, 0);
  const code = fetchDescriptor(cpu, selector);
  if (!isCode(code) || descriptorDpl(code) > cpl) raise(cpu, GP_VECTOR, selector & 0xfffc);
  if (cpu.longMode && (code.high & 0x60_0000) !== 0x20_0000) raise(cpu, GP_VECTOR, selector & 0xfffc);
  if (!isPresent(code)) raise(cpu, NP_VECTOR, selector & 0xfffc);
  return { code, rip, parameters: cpu.longMode ? 0 : gate.high & 0x1f, slot: cpu.longMode ? 8 : wide ? 4 : 2 };
}

/** A TSS, or a task gate, as the target. Anything else is not one. */
function taskTransfer(cpu: CpuState, insn: Insn, d: Descriptor, source: number): void {
  const error = d.selector & 0xfffc;
  const type = descriptorType(d);
  const task = type === TYPE_TASK || type === TYPE_TSS16 || type === TYPE_TSS32 || type === TYPE_TSS16_BUSY || type === TYPE_TSS32_BUSY;
  if (!isSystem(d) || !task || cpu.longMode) raise(cpu, GP_VECTOR, error);
  if (descriptorDpl(d) < Math.max(cpu.cpl, d.selector & 3)) raise(cpu, GP_VECTOR, error);
  if (!isPresent(d)) raise(cpu, NP_VECTOR, error);
  switchTask(cpu, type === TYPE_TASK ? d.low >>> 16 : d.selector, source, cpu.rip, cpu.engine.readFlags(cpu), insn.length, NO_ERROR, 0);
}

function callFar(cpu: CpuState, insn: Insn, selector: number, offset: bigint): void {
  frame.begin(insn.opSize);
  frame.add(cpu.rip);
  frame.addNumber(cpu.selector(CS));
  if (!(cpu.mode & MODE_PROTECTED)) {
    if (offset > BigInt(cpu.segLimit(CS))) raise(cpu, GP_VECTOR, 0);
    frame.pushOnCurrent(cpu);
    loadRealCode(cpu, selector, offset);
    return updateMode(cpu);
  }
  const d = targetDescriptor(cpu, selector);
  const cpl = cpu.cpl;
  if (isCode(d)) {
    checkBranchTarget(cpu, d, cpl, selector & 3);
    markAccessed(cpu, d);
    // The stack is used as in the mode that is entered, and before the offset is looked at.
    const rsp = cpu.gpr[RSP]!;
    frame.pushOnCurrent(cpu, 0, cpu.longMode && (d.high & 0x20_0000) !== 0);
    const moved = cpu.gpr[RSP]!;
    cpu.gpr[RSP] = rsp;
    const rip = offsetIn(cpu, d, offset);
    checkOffset(cpu, d, rip);
    cpu.gpr[RSP] = moved;
    installCode(cpu, d, cpl, rip);
  } else if (isCallGate(cpu, d)) callGate(cpu, d, cpl);
  else taskTransfer(cpu, insn, d, TASK_CALL);
  updateMode(cpu);
}

function callGate(cpu: CpuState, gate: Descriptor, cpl: number): void {
  const { code, rip, parameters, slot } = throughGate(cpu, gate, cpl);
  checkOffset(cpu, code, rip);
  markAccessed(cpu, code);
  const dpl = descriptorDpl(code);
  frame.begin(slot);
  frame.add(cpu.rip);
  frame.addNumber(cpu.selector(CS));
  if (isConforming(code) || dpl === cpl) {
    frame.pushOnCurrent(cpu);
    installCode(cpu, code, cpl, rip);
    return;
  }
  const error = cpu.selector(TR) & 0xfffc;
  const tss = cpu.segBase(TR);
  const room = (at: number) => { if (cpu.segAccess(TR) & SEG_UNUSABLE || at > cpu.segLimit(TR)) raise(cpu, TS_VECTOR, error); };
  if (slot === 8) {
    room(4 + 8 * dpl + 7);
    const top = readTable64(cpu, tss, 4 + 8 * dpl);
    frame.add(cpu.gpr[RSP]!);
    frame.addNumber(cpu.selector(SS));
    const rsp = BigInt.asUintN(64, top - BigInt(frame.size));
    if (!isCanonical(rsp) || !isCanonical(top)) raise(cpu, SS_VECTOR, 0);
    frame.writeAt(cpu, toLinear(rsp), dpl === 3 ? PFERR_USER : 0);
    loadNull(cpu, SS, dpl);
    cpu.gpr[RSP] = rsp;
  } else {
    const narrow = (cpu.segAccess(TR) & 0xf) === TYPE_TSS16_BUSY;
    const at = narrow ? 2 + 4 * dpl : 4 + 8 * dpl;
    room(at + (narrow ? 3 : 5));
    const pointer = readTable(cpu, tss, at, narrow ? 2 : 4);
    const selector = readTable(cpu, tss, at + (narrow ? 2 : 4), 2);
    const ss = checkStackSegment(cpu, selector, dpl, TS_VECTOR, 0, false)!;
    for (let i = 0; i < parameters; i++) frame.add(peekStack(cpu, slot, i * slot));
    frame.add(cpu.gpr[RSP]!);
    frame.addNumber(cpu.selector(SS));
    const rsp = frame.pushOnNew(cpu, ss, pointer, dpl === 3 ? PFERR_USER : 0, selector & 0xfffc);
    installStackSegment(cpu, selector, ss);
    cpu.gpr[RSP] = rsp;
  }
  installCode(cpu, code, dpl, rip);
}

// ---------------------------------------------------------------- RET far

export function retFar(cpu: CpuState, insn: Insn): void {
  const size = insn.opSize;
  const release = Number(insn.imm & 0xffffn);
  const rip = peekStack(cpu, size);
  const selector = Number(peekStack(cpu, size, size) & 0xffffn);
  if (!(cpu.mode & MODE_PROTECTED)) {
    loadRealCode(cpu, selector, rip);
    moveStack(cpu, BigInt(2 * size + release));
    return updateMode(cpu);
  }
  returnTo(cpu, selector, rip, size, 2 * size + release, release);
  updateMode(cpu);
}

/**
 * The protected-mode half of RET far: `rip` and `selector` are popped, `popped` bytes of this stack are consumed before
 * the outer stack pointer, `release` more are dropped from the outer stack.
 */
function returnTo(cpu: CpuState, selector: number, rip: bigint, size: Slot, popped: number, release: number): void {
  if ((selector & 0xfffc) === 0) raise(cpu, GP_VECTOR, 0);
  const cpl = cpu.cpl;
  const rpl = selector & 3;
  const d = fetchDescriptor(cpu, selector);
  checkReturnCode(cpu, d, cpl);
  checkOffset(cpu, d, rip);
  if (rpl === cpl) {
    loadCode(cpu, d, rpl, rip);
    moveStack(cpu, BigInt(popped));
    return;
  }
  const rsp = peekStack(cpu, size, popped);
  const ssSelector = Number(peekStack(cpu, size, popped + size) & 0xffffn);
  const to64 = cpu.longMode && (d.high & 0x20_0000) !== 0;
  const ss = checkStackSegment(cpu, ssSelector, rpl, GP_VECTOR, 0, to64);
  if (ss !== undefined) markAccessed(cpu, ss);
  loadCode(cpu, d, rpl, rip);
  loadOuterStack(cpu, ssSelector, ss, rsp, size);
  updateMode(cpu);
  moveStack(cpu, BigInt(release));
  dropInnerSegments(cpu, rpl);
}

/** A code segment to return to: RPL at or above CPL, and its DPL as the RPL wants it. */
export function checkReturnCode(cpu: CpuState, d: Descriptor, cpl: number): void {
  const error = d.selector & 0xfffc;
  const rpl = d.selector & 3;
  if (!isCode(d) || rpl < cpl || (isConforming(d) ? descriptorDpl(d) > rpl : descriptorDpl(d) !== rpl)) raise(cpu, GP_VECTOR, error);
  checkCode(cpu, d);
}

/** SS and the stack pointer as a return to an outer level, or IRET, loads them; SS is marked accessed already. */
export function loadOuterStack(cpu: CpuState, selector: number, d: Descriptor | undefined, rsp: bigint, size: Slot): void {
  installStackSegment(cpu, selector, d);
  const wide = size === 8 || d === undefined || (cpu.segAccess(SS) & SEG_DB) !== 0;
  cpu.gpr[RSP] = wide ? rsp : cpu.gpr[RSP]! & ~0xffffn | rsp & 0xffffn;
}
