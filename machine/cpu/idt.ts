/**
 * The walk through the interrupt table: IVT in real-address mode, 16- and 32-bit gates in protected mode, 64-bit gates
 * with IST in long mode; privilege change with the TSS's stacks. SDM Vol. 3 ch. 6.12, 6.14 and 20.1.4.
 *
 * enterHandler() either delivers the event whole or throws a Fault with registers and RIP as they were. The hard part
 * is that order: everything is read and checked, then the frame is written, then registers change.
 */
import { GP_VECTOR, NP_VECTOR, PFERR_USER, SS_VECTOR, TS_VECTOR, raise } from './exceptions.ts';
import { INTR_TYPE_PRIV_SW_EXCEPTION, INTR_TYPE_SOFT_EXCEPTION, INTR_TYPE_SOFT_INTR } from './hooks.ts';
import { isCanonicalHigh, readImplicitWords, readTable, tableAddress } from './memory.ts';
import {
  type Descriptor, TYPE_INT16, TYPE_INT32, TYPE_TASK, TYPE_TRAP16, TYPE_TRAP32, TYPE_TSS16_BUSY, checkStackSegment, descriptorBase, descriptorDpl, descriptorLimit,
  fetchDescriptor, installDescriptor, installStackSegment, isCode, isConforming, isPresent, loadNull, markAccessed,
} from './segments.ts';
import { StackFrame } from './stack-frame.ts';
import {
  CS, type CpuState, DS, ES, FS, GS, RSP, SEG_DB, SEG_DPL_SHIFT, SEG_UNUSABLE, SS, STATE, TR,
  X86_EFLAGS_AC, X86_EFLAGS_IF, X86_EFLAGS_NT, X86_EFLAGS_RF, X86_EFLAGS_TF, X86_EFLAGS_VM, updateMode,
} from './state.ts';
import { switchTaskForEvent } from './task-switch.ts';

/** An event to be delivered. `flags` is the RFLAGS image to push, `rip` where the handler returns to. */
export interface Event {
  vector: number;
  /** INTR_TYPE_*, and whether it carries an error code (NO_ERROR = -1: none). */
  type: number;
  error: number;
  rip: bigint;
  flags: number;
  /** Length of the instruction, for events an instruction made. */
  length: number;
}

const isSoftware = (type: number) => type === INTR_TYPE_SOFT_INTR || type === INTR_TYPE_SOFT_EXCEPTION || type === INTR_TYPE_PRIV_SW_EXCEPTION;
const frame = new StackFrame();
const gate = new Uint32Array(3);

/** Delivers through the table that the current mode uses. Throws a Fault before any register has changed. */
export function enterHandler(cpu: CpuState, event: Event): void {
  if (cpu.realMode) enterReal(cpu, event);
  else if (cpu.longMode) enterLong(cpu, event);
  else enterProtected(cpu, event);
  updateMode(cpu);
}

function enterReal(cpu: CpuState, event: Event): void {
  const at = event.vector * 4;
  if (at + 3 > cpu.u32[STATE.idtr_limit >>> 2]!) raise(cpu, GP_VECTOR, at + 2);
  const target = readTable(cpu, cpu.u64[STATE.idtr_base >>> 3]!, at, 4);
  frame.begin(2);
  frame.add(event.rip);
  frame.addNumber(cpu.selector(CS));
  frame.addNumber(event.flags);
  frame.pushOnCurrent(cpu);
  cpu.engine.writeFlags(cpu, event.flags & ~(X86_EFLAGS_IF | X86_EFLAGS_TF | X86_EFLAGS_AC | X86_EFLAGS_RF));
  const selector = target >>> 16;
  cpu.setSegment(CS, selector, BigInt(selector << 4), cpu.segLimit(CS), cpu.segAccess(CS));
  cpu.rip = BigInt(target & 0xffff);
}

/** The gate's code segment, checked for an entry from `cpl`. */
function handlerCode(cpu: CpuState, selector: number, ext: number, cpl: number): Descriptor {
  if ((selector & 0xfffc) === 0) raise(cpu, GP_VECTOR, ext);
  const d = fetchDescriptor(cpu, selector, GP_VECTOR, ext);
  const error = selector & 0xfffc | ext;
  if (!isCode(d) || descriptorDpl(d) > cpl) raise(cpu, GP_VECTOR, error);
  if (!isPresent(d)) raise(cpu, NP_VECTOR, error);
  return d;
}

function enterProtected(cpu: CpuState, event: Event): void {
  const software = isSoftware(event.type);
  const ext = software ? 0 : 1;
  const gateError = event.vector * 8 + 2 + ext;
  if (event.vector * 8 + 7 > cpu.u32[STATE.idtr_limit >>> 2]!) raise(cpu, GP_VECTOR, gateError);
  const idt = cpu.u64[STATE.idtr_base >>> 3]!;
  readImplicitWords(cpu, tableAddress(cpu, idt, event.vector * 8), 2, gate);
  const low = gate[0]!, high = gate[1]!;
  const type = high >>> 8 & 0x1f;
  if (type !== TYPE_TASK && (type & ~8) !== TYPE_INT16 && (type & ~8) !== TYPE_TRAP16) raise(cpu, GP_VECTOR, gateError);
  const cpl = cpu.cpl;
  if (software && event.type !== INTR_TYPE_PRIV_SW_EXCEPTION && (high >>> 13 & 3) < cpl) raise(cpu, GP_VECTOR, gateError);
  if (!(high & 0x8000)) raise(cpu, NP_VECTOR, gateError);
  const selector = low >>> 16;
  if (type === TYPE_TASK) return switchTaskForEvent(cpu, selector, event);

  const wide = type === TYPE_INT32 || type === TYPE_TRAP32;
  const code = handlerCode(cpu, selector, ext, cpl);
  const dpl = descriptorDpl(code);
  const vm86 = (event.flags & X86_EFLAGS_VM) !== 0;
  const inner = !isConforming(code) && dpl < cpl;
  if (vm86 && (!inner || dpl !== 0)) raise(cpu, GP_VECTOR, selector & 0xfffc | ext);
  const offset = BigInt(((wide ? high & 0xffff_0000 : 0) | low & 0xffff) >>> 0);
  if (offset > BigInt(descriptorLimit(code))) raise(cpu, GP_VECTOR, ext);

  markAccessed(cpu, code);
  frame.begin(wide ? 4 : 2);
  if (event.error >= 0) frame.addNumber(event.error);
  frame.add(event.rip);
  frame.addNumber(cpu.selector(CS));
  frame.addNumber(event.flags);
  if (inner) {
    frame.add(cpu.gpr[RSP]!);
    frame.addNumber(cpu.selector(SS));
    if (vm86) for (const seg of [ES, DS, FS, GS]) frame.addNumber(cpu.selector(seg));
    const { selector: ssSelector, pointer } = innerStack(cpu, dpl, ext);
    const ss = checkStackSegment(cpu, ssSelector, dpl, TS_VECTOR, ext, false)!;
    const rsp = frame.pushOnNew(cpu, ss, pointer, dpl === 3 ? PFERR_USER : 0, ssSelector & 0xfffc | ext);
    installStackSegment(cpu, ssSelector, ss);
    cpu.gpr[RSP] = rsp;
    if (vm86) for (const seg of [ES, DS, FS, GS]) loadNull(cpu, seg, 0);
  } else frame.pushOnCurrent(cpu, ext);

  installDescriptor(cpu, CS, selector & 0xfffc | (inner ? dpl : cpl), code);
  finish(cpu, event, offset, (type & 1) === 0);
}

/** SS and ESP of a privilege level from the current TSS (SDM figures 7-2 and 7-10). */
function innerStack(cpu: CpuState, dpl: number, ext: number): { selector: number; pointer: number } {
  const error = cpu.selector(TR) & 0xfffc | ext;
  const narrow = (cpu.segAccess(TR) & 0xf) === TYPE_TSS16_BUSY;
  const at = narrow ? 2 + 4 * dpl : 4 + 8 * dpl;
  if (cpu.segAccess(TR) & SEG_UNUSABLE || at + (narrow ? 3 : 5) > cpu.segLimit(TR)) raise(cpu, TS_VECTOR, error);
  const base = cpu.segBase(TR);
  return narrow ? { pointer: readTable(cpu, base, at, 2), selector: readTable(cpu, base, at + 2, 2) }
    : { pointer: readTable(cpu, base, at, 4), selector: readTable(cpu, base, at + 4, 2) };
}

function enterLong(cpu: CpuState, event: Event): void {
  const software = isSoftware(event.type);
  const ext = software ? 0 : 1;
  const gateError = event.vector * 8 + 2 + ext;
  const at = event.vector * 16;
  if (at + 15 > cpu.u32[STATE.idtr_limit >>> 2]!) raise(cpu, GP_VECTOR, gateError);
  const idt = cpu.u64[STATE.idtr_base >>> 3]!;
  readImplicitWords(cpu, tableAddress(cpu, idt, at), 3, gate);
  const low = gate[0]!, high = gate[1]!;
  const type = high >>> 8 & 0x1f;
  if (type !== TYPE_INT32 && type !== TYPE_TRAP32) raise(cpu, GP_VECTOR, gateError);
  const cpl = cpu.cpl;
  if (software && event.type !== INTR_TYPE_PRIV_SW_EXCEPTION && (high >>> 13 & 3) < cpl) raise(cpu, GP_VECTOR, gateError);
  if (!(high & 0x8000)) raise(cpu, NP_VECTOR, gateError);
  const selector = low >>> 16;
  const code = handlerCode(cpu, selector, ext, cpl);
  if ((code.high & 0x60_0000) !== 0x20_0000) raise(cpu, GP_VECTOR, selector & 0xfffc | ext);
  const dpl = descriptorDpl(code);
  const inner = !isConforming(code) && dpl < cpl;
  const ist = high & 7;
  if (!isCanonicalHigh(gate[2]!)) raise(cpu, GP_VECTOR, ext);
  const offsetHigh = gate[2]!, offsetLow = (high & 0xffff_0000 | low & 0xffff) >>> 0;

  const newCpl = inner ? dpl : cpl;
  const sp = 2 * RSP;
  if (ist !== 0 || inner) tssPointer(cpu, ist !== 0 ? 28 + 8 * ist : 4 + 8 * dpl, ext);
  else {
    pointer[0] = cpu.gpr32[sp]!;
    pointer[1] = cpu.gpr32[sp + 1]!;
  }
  markAccessed(cpu, code);
  frame.begin(8);
  if (event.error >= 0) frame.addNumber(event.error);
  frame.add(event.rip);
  frame.addNumber(cpu.selector(CS));
  frame.addNumber(event.flags);
  frame.addWords(cpu.gpr32[sp]!, cpu.gpr32[sp + 1]!);
  frame.addNumber(cpu.selector(SS));
  const top = (pointer[1]! | 0) * 0x1_0000_0000 + ((pointer[0]! & ~0xf) >>> 0);
  const rsp = top - frame.size;
  if (rsp < -(2 ** 47) || top > 2 ** 47) raise(cpu, SS_VECTOR, ext);
  frame.writeAt(cpu, rsp, newCpl === 3 ? PFERR_USER : 0);

  if (inner) cpu.setSegment(SS, newCpl, 0n, 0, SEG_UNUSABLE | SEG_DB | newCpl << SEG_DPL_SHIFT);
  cpu.gpr32[sp] = rsp >>> 0;
  cpu.gpr32[sp + 1] = Math.floor(rsp / 0x1_0000_0000);
  cpu.setSegment(CS, selector & 0xfffc | newCpl, BigInt(descriptorBase(code)), descriptorLimit(code), code.high >>> 8 & 0xf0ff | 1);
  loadFlags(cpu, event, (type & 1) === 0);
  cpu.u32[STATE.rip >>> 2] = offsetLow;
  cpu.u32[(STATE.rip >>> 2) + 1] = offsetHigh;
}

/** Reads a stack pointer of the 64-bit TSS (SDM figure 7-11) into `pointer`. */
function tssPointer(cpu: CpuState, at: number, ext: number): void {
  if (cpu.segAccess(TR) & SEG_UNUSABLE || at + 7 > cpu.segLimit(TR)) raise(cpu, TS_VECTOR, cpu.selector(TR) & 0xfffc | ext);
  readImplicitWords(cpu, tableAddress(cpu, cpu.segBase(TR), at), 2, pointer);
}
const pointer = new Uint32Array(2);

function finish(cpu: CpuState, event: Event, offset: bigint, interruptGate: boolean): void {
  loadFlags(cpu, event, interruptGate);
  cpu.rip = offset;
}

function loadFlags(cpu: CpuState, event: Event, interruptGate: boolean): void {
  cpu.engine.writeFlags(cpu, event.flags & ~(X86_EFLAGS_TF | X86_EFLAGS_NT | X86_EFLAGS_RF | X86_EFLAGS_VM | (interruptGate ? X86_EFLAGS_IF : 0)));
}
