/**
 * Hardware task switching: far JMP and CALL to a TSS or task gate, a task gate in the IDT, IRET with NT. SDM Vol. 3
 * ch. 7.3. Long mode has none. A guest never gets here: task switches always exit.
 *
 * The hard part is where faults belong: until the new TSS has been read and the old one written they are the old
 * task's; from then on (segments, stack) they are #TS in the new one, whose state is already loaded.
 */
import { loadCr3 } from './control-registers.ts';
import { GP_VECTOR, NP_VECTOR, PFERR_WRITE, TS_VECTOR, isException, raise, raiseDebug } from './exceptions.ts';
import type { Event } from './idt.ts';
import { readImplicit, tableAddress, writeLinear } from './memory.ts';
import { ACCESS_IMPLICIT, walk } from './paging.ts';
import {
  TYPE_LDT, TYPE_TSS16, TYPE_TSS32, checkStackSegment, descriptorAccess, descriptorBase, descriptorDpl, descriptorLimit, descriptorType, fetchDescriptor,
  installDescriptor, installStackSegment, isCode, isConforming, isPresent, isSystem, loadLdt, loadNull, loadRealSegment, loadSegment, markAccessed, markBusy,
} from './segments.ts';
import { StackFrame } from './stack-frame.ts';
import {
  CS, type CpuState, DS, ES, FS, GS, LDTR, RAX, SEG_DB, SEG_DPL_SHIFT, SEG_UNUSABLE, SS, STATE, STOPPING_FLAGS, TR,
  X86_CR0_TS, X86_EFLAGS_NT, X86_EFLAGS_VM, updateMode,
} from './state.ts';

export const TASK_CALL = 0, TASK_IRET = 1, TASK_JMP = 2, TASK_GATE = 3;

/** Byte offsets in the TSS, 32- and 16-bit (SDM figures 7-2 and 7-10). */
const LAYOUT32 = { size: 4, cr3: 0x1c, eip: 0x20, eflags: 0x24, gpr: 0x28, seg: 0x48, ldt: 0x60, segments: 6, limit: 0x67 } as const;
const LAYOUT16 = { size: 2, cr3: -1, eip: 0x0e, eflags: 0x10, gpr: 0x12, seg: 0x22, ldt: 0x2a, segments: 4, limit: 0x2b } as const;

/** A task gate in the IDT. The selector is the gate's; an error code goes to the new task's stack. */
export function switchTaskForEvent(cpu: CpuState, selector: number, event: Event): void {
  const length = isException(event.type) && event.type === 3 ? 0 : event.length;
  switchTask(cpu, selector, TASK_GATE, event.rip, event.flags, length, event.error, event.type >= 4 ? 0 : 1);
}

/** `rip` and `flags` are what the old task is to continue with. */
export function switchTask(cpu: CpuState, selector: number, source: number, rip: bigint, flags: number, length: number, error: number, ext: number): void {
  if (cpu.inGuest) cpu.vmx.taskSwitch(cpu, selector, source, length);
  const fail = selector & 0xfffc | ext;
  const vector = source === TASK_GATE || source === TASK_IRET ? TS_VECTOR : GP_VECTOR;
  if (cpu.longMode || selector & 4) raise(cpu, vector, fail);
  const d = fetchDescriptor(cpu, selector, vector, ext);
  const busy = (descriptorType(d) & 2) !== 0;
  const type = descriptorType(d) & ~2;
  if (!isSystem(d) || (type !== TYPE_TSS32 && type !== TYPE_TSS16) || busy !== (source === TASK_IRET)) raise(cpu, vector, fail);
  if (!isPresent(d)) raise(cpu, NP_VECTOR, fail);
  const next = type === TYPE_TSS32 ? LAYOUT32 : LAYOUT16;
  if (descriptorLimit(d) < next.limit) raise(cpu, TS_VECTOR, fail);
  const old = (cpu.segAccess(TR) & 0xf) >= TYPE_TSS32 ? LAYOUT32 : LAYOUT16;
  const oldBase = tableAddress(cpu, cpu.segBase(TR), 0);
  const newBase = descriptorBase(d);
  for (const [base, limit] of [[oldBase, old.limit], [newBase, next.limit]] as const) {
    walk(cpu, base, ACCESS_IMPLICIT | PFERR_WRITE);
    walk(cpu, (base + limit) >>> 0, ACCESS_IMPLICIT | PFERR_WRITE);
  }

  const read = (at: number, size: 2 | 4) => readImplicit(cpu, (newBase + at) >>> 0, size);
  const eip = read(next.eip, next.size);
  let eflags = read(next.eflags, next.size) | 2;
  const registers = Array.from({ length: 8 }, (_, i) => read(next.gpr + i * next.size, next.size));
  const selectors = Array.from({ length: next.segments }, (_, i) => read(next.seg + i * next.size, 2));
  const ldt = read(next.ldt, 2);
  const cr3 = next.cr3 < 0 ? undefined : BigInt(read(next.cr3, 4));
  const debug = next === LAYOUT32 && (read(0x64, 2) & 1) !== 0;

  const save = (at: number, size: number, value: bigint) => writeLinear(cpu, (oldBase + at) >>> 0, size, BigInt.asUintN(8 * size, value), ACCESS_IMPLICIT);
  const oldSelector = cpu.selector(TR);
  const oldDescriptor = tableAddress(cpu, cpu.u64[STATE.gdtr_base >>> 3]!, oldSelector & 0xfff8);
  save(old.eip, old.size, rip);
  save(old.eflags, old.size, BigInt(source === TASK_IRET ? flags & ~X86_EFLAGS_NT : flags));
  for (let i = 0; i < 8; i++) save(old.gpr + i * old.size, old.size, cpu.gpr[RAX + i]!);
  for (let i = 0; i < old.segments; i++) save(old.seg + i * old.size, 2, BigInt(cpu.selector(i)));
  if (source === TASK_JMP || source === TASK_IRET) markBusy(cpu, oldDescriptor, false);
  if (source === TASK_CALL || source === TASK_GATE) {
    writeLinear(cpu, newBase, 2, BigInt(oldSelector), ACCESS_IMPLICIT);
    eflags |= X86_EFLAGS_NT;
  }
  if (source !== TASK_IRET) markBusy(cpu, d.at, true);

  // From here on the new task runs, and what fails is its fault.
  cpu.setSegment(TR, selector, BigInt(newBase), descriptorLimit(d), descriptorAccess(d) | 2);
  cpu.u64[STATE.cr0 >>> 3] = cpu.u64[STATE.cr0 >>> 3]! | X86_CR0_TS;
  if (cr3 !== undefined && cpu.u32[STATE.cr0 >>> 2]! >= 0x8000_0000) loadCr3(cpu, cr3);
  cpu.rip = BigInt(eip);
  for (let i = 0; i < 8; i++) cpu.gpr[RAX + i] = BigInt(registers[i]!);
  cpu.engine.writeFlags(cpu, eflags);
  if (eflags & STOPPING_FLAGS) cpu.engine.stopSoon(cpu);
  loadNewSegments(cpu, selectors, ldt, (eflags & X86_EFLAGS_VM) !== 0);
  updateMode(cpu);
  if (error >= 0) {
    const frame = new StackFrame();
    frame.begin(next.size);
    frame.addNumber(error);
    frame.pushOnCurrent(cpu, 1);
  }
  if (debug) raiseDebug(cpu, 0x8000);
}

function loadNewSegments(cpu: CpuState, selectors: readonly number[], ldt: number, vm86: boolean): void {
  const data = [ES, DS, FS, GS];
  for (const seg of data) loadNull(cpu, seg, selectors[seg] ?? 0);
  cpu.setSegment(LDTR, ldt, 0n, 0, SEG_UNUSABLE);
  if (ldt & 0xfffc) {
    const d = ldt & 4 ? undefined : fetchDescriptor(cpu, ldt, TS_VECTOR);
    if (!d || !isSystem(d) || descriptorType(d) !== TYPE_LDT || !isPresent(d)) raise(cpu, TS_VECTOR, ldt & 0xfffc);
    loadLdt(cpu, ldt);
  }
  if (vm86) {
    cpu.setSegment(SS, 0, 0n, 0xffff, 0xf3);
    updateMode(cpu);
    for (const seg of [CS, SS, ...data]) loadRealSegment(cpu, seg, selectors[seg] ?? 0);
    return;
  }
  const cs = selectors[CS]!;
  const cpl = cs & 3;
  cpu.setSegment(SS, selectors[SS]!, 0n, 0, SEG_UNUSABLE | SEG_DB | cpl << SEG_DPL_SHIFT);
  const code = fetchDescriptor(cpu, cs, TS_VECTOR);
  if (!isCode(code) || (isConforming(code) ? descriptorDpl(code) > cpl : descriptorDpl(code) !== cpl)) raise(cpu, TS_VECTOR, cs & 0xfffc);
  if (!isPresent(code)) raise(cpu, NP_VECTOR, cs & 0xfffc);
  markAccessed(cpu, code);
  installDescriptor(cpu, CS, cs, code);
  const ss = checkStackSegment(cpu, selectors[SS]!, cpl, TS_VECTOR, 0, false);
  installStackSegment(cpu, selectors[SS]!, ss);
  updateMode(cpu);
  for (const seg of data) {
    const selector = selectors[seg] ?? 0;
    if (selector & 0xfffc) loadSegment(cpu, seg, selector);
  }
}
