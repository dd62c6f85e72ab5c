/**
 * VM exits: what is reported, saving the guest, loading the host. SDM chapter 28 (27 in older editions).
 *
 * An exit has two halves. note() puts reason and qualification into the VMCS, in the midst of an instruction, which is
 * then undone; complete() runs between two instructions, when RIP and everything else is what the exit is to save.
 */
import * as C from './controls.ts';
import * as F from './fields.ts';
import { EXIT_REASON_EXCEPTION_NMI } from './exit-reasons.ts';
import { GUEST_INTR_STATE_NMI } from './guest-checks.ts';
import { INTR_INFO_DELIVER_CODE_MASK, INTR_INFO_VALID_MASK } from './entry-checks.ts';
import { DB_VECTOR } from '../cpu/exceptions.ts';
import { ACTIVITY_ACTIVE, EVENT_INTERRUPT, EVENT_NMI, EVENT_TRAP, RSP, SEGMENT_SIZE, STATE, TR, CS, SS, DS, ES, FS, GS, LDTR, SEG_UNUSABLE, SHADOW_MOV_SS, X86_EFLAGS_TF, updateMode } from '../cpu/state.ts';
import { loadMsrs, storeMsrs } from './msr-lists.ts';
import { wordOf } from './vmcs.ts';
import type { Vmx } from './vmx.ts';

const W = {
  rflags: STATE.rflags >>> 2, rip: STATE.rip >>> 2, gpr: STATE.gpr >>> 2, seg: STATE.seg >>> 2, cr0: STATE.cr0 >>> 2, cr3: STATE.cr3 >>> 2, cr4: STATE.cr4 >>> 2,
  dr7: (STATE.dr >>> 2) + 14, debugctl: STATE.debugctl >>> 2, efer: STATE.efer >>> 2, pat: STATE.pat >>> 2, pdpte: STATE.pdpte >>> 2,
  sysenterCs: STATE.sysenter_cs >>> 2, sysenterEsp: STATE.sysenter_esp >>> 2, sysenterEip: STATE.sysenter_eip >>> 2,
  gdtrBase: STATE.gdtr_base >>> 2, idtrBase: STATE.idtr_base >>> 2, gdtrLimit: STATE.gdtr_limit >>> 2, idtrLimit: STATE.idtr_limit >>> 2,
  shadow: STATE.shadow >>> 2, activity: STATE.activity >>> 2, nmiBlocked: STATE.nmi_blocked >>> 2, inGuest: STATE.in_guest >>> 2,
  ept: STATE.ept_pointer >>> 2, vpid: STATE.vpid >>> 2, tscOffset: STATE.tsc_offset >>> 2, pending: STATE.pending >>> 2,
} as const;
const SEGMENT_STRIDE = SEGMENT_SIZE >> 2;
/** Word indices of the register file's members that entry and exit move. */
export { W as WORDS };

/** Bits of the pending debug exceptions beside B0 to B3. */
export const DEBUG_ENABLED_BREAKPOINT = 1 << 12, DEBUG_SINGLE_STEP = 1 << 14;

/** Words of the VMCS that every exit, and every entry, touches. */
export const V = {
  exitReason: wordOf(F.VM_EXIT_REASON), qualification: wordOf(F.EXIT_QUALIFICATION), exitLength: wordOf(F.VM_EXIT_INSTRUCTION_LEN), exitIntrInfo: wordOf(F.VM_EXIT_INTR_INFO),
  vectoring: wordOf(F.IDT_VECTORING_INFO_FIELD), entryIntrInfo: wordOf(F.VM_ENTRY_INTR_INFO_FIELD), entryControls: wordOf(F.VM_ENTRY_CONTROLS), exitControls: wordOf(F.VM_EXIT_CONTROLS),
  exitStores: wordOf(F.VM_EXIT_MSR_STORE_COUNT), exitLoads: wordOf(F.VM_EXIT_MSR_LOAD_COUNT), cpuBased: wordOf(F.CPU_BASED_VM_EXEC_CONTROL), tscOffset: wordOf(F.TSC_OFFSET),
  cr0: wordOf(F.GUEST_CR0), cr3: wordOf(F.GUEST_CR3), rsp: wordOf(F.GUEST_RSP), rip: wordOf(F.GUEST_RIP), rflags: wordOf(F.GUEST_RFLAGS),
  interruptibility: wordOf(F.GUEST_INTERRUPTIBILITY_INFO), activity: wordOf(F.GUEST_ACTIVITY_STATE), pendingDebug: wordOf(F.GUEST_PENDING_DBG_EXCEPTIONS),
  preemptionTimer: wordOf(F.VMX_PREEMPTION_TIMER_VALUE),
} as const;

/** Reports an exit. `length` is that of the instruction that made it, 0 if none did. */
export function note(vmx: Vmx, reason: number, qualification: number, length: number): void {
  const { u32, word } = vmx.vmcs;
  u32[word + V.exitReason] = reason;
  u32[word + V.qualification] = qualification;
  u32[word + V.qualification + 1] = Math.floor(qualification / 0x1_0000_0000);
  u32[word + V.exitLength] = length;
  u32[word + V.exitIntrInfo] = 0;
  vmx.noted = true;
}

/** Reports an exit by an exception, an NMI or an acknowledged interrupt. `error` is -1 for none; `flags` are further bits of the interruption information. */
export function noteEvent(vmx: Vmx, reason: number, vector: number, type: number, error: number, qualification: number, length: number, flags = 0): void {
  note(vmx, reason, qualification, length);
  const v = vmx.vmcs;
  v.store32(F.VM_EXIT_INTR_INFO, vector | (type << 8) | (error >= 0 ? INTR_INFO_DELIVER_CODE_MASK : 0) | INTR_INFO_VALID_MASK | flags);
  v.store32(F.VM_EXIT_INTR_ERROR_CODE, error >= 0 ? error : 0);
  // A double fault's exit is not one during the delivery of the fault that led to it.
  if (reason === EXIT_REASON_EXCEPTION_NMI && vector === 8) vmx.vectoring = 0;
}

/** The second half: afterwards the processor is in root operation, with the host's state. */
export function complete(vmx: Vmx): void {
  const { vmcs: v, cpu } = vmx;
  const { u32, word } = v;
  u32[word + V.vectoring] = vmx.vectoring;
  if (vmx.vectoring !== 0) {
    v.store32(F.IDT_VECTORING_ERROR_CODE, vmx.vectoringError);
    if (vmx.vectoringLength !== 0) v.store32(F.VM_EXIT_INSTRUCTION_LEN, vmx.vectoringLength);
    vmx.vectoring = 0;
  }
  u32[word + V.entryIntrInfo] = u32[word + V.entryIntrInfo]! & ~INTR_INFO_VALID_MASK;
  vmx.noted = false;
  cpu.nmiUnblocked = false;
  saveExecution(vmx, u32, word);
  vmx.setSystemDue(true);
  if (u32[word + V.exitStores] !== 0) storeMsrs(vmx, F.VM_EXIT_MSR_STORE_COUNT, F.VM_EXIT_MSR_STORE_ADDR);
  cpu.u32[W.inGuest] = 0;
  vmx.resident = v.address;
  vmx.hostDue = true;
  if (u32[word + V.exitLoads] !== 0) {
    vmx.loadHostState();
    loadMsrs(vmx, F.VM_EXIT_MSR_LOAD_COUNT, F.VM_EXIT_MSR_LOAD_ADDR);
  }
  const p = vmx.processor;
  p.charge(vmx.costs.vmExit);
  cpu.u32[W.pending] = (p.lapic.pendingVector() >= 0 ? EVENT_INTERRUPT : 0) | (p.nmiPending ? EVENT_NMI : 0);
}

/** What most handlers of an exit look at, and what the next entry loads in any case. */
function saveExecution(vmx: Vmx, u32: Uint32Array, word: number): void {
  const { cpu } = vmx;
  const w = cpu.u32;
  saveSegment(u32, vmx.vmcs.segments, w, CS);
  saveSegment(u32, vmx.vmcs.segments, w, SS);
  u32[word + V.cr0] = w[W.cr0]!;
  u32[word + V.cr0 + 1] = w[W.cr0 + 1]!;
  u32[word + V.cr3] = w[W.cr3]!;
  u32[word + V.cr3 + 1] = w[W.cr3 + 1]!;
  u32[word + V.rsp] = w[W.gpr + 2 * RSP]!;
  u32[word + V.rsp + 1] = w[W.gpr + 2 * RSP + 1]!;
  u32[word + V.rip] = w[W.rip]!;
  u32[word + V.rip + 1] = w[W.rip + 1]!;
  vmx.exitFlags = u32[word + V.rflags] = cpu.engine.readFlags(cpu);
  vmx.exitRipHigh = w[W.rip + 1]! | 0;
  const entry = u32[word + V.entryControls]!;
  u32[word + V.entryControls] = (w[W.efer]! & 0x400) !== 0 ? entry | C.VM_ENTRY_IA32E_MODE : entry & ~C.VM_ENTRY_IA32E_MODE;
  u32[word + V.interruptibility] = w[W.shadow]! | (w[W.nmiBlocked] !== 0 ? GUEST_INTR_STATE_NMI : 0);
  // MWAIT's is none of the architectural states: a guest in it is active.
  u32[word + V.activity] = w[W.activity]! & 3;
  u32[word + V.pendingDebug] = (w[W.shadow]! & SHADOW_MOV_SS) !== 0 ? pendingDebug(vmx) : 0;
  u32[word + V.pendingDebug + 1] = 0;
  if ((u32[word + V.exitControls]! & C.VM_EXIT_SAVE_VMX_PREEMPTION_TIMER) !== 0) {
    u32[word + V.preemptionTimer] = Math.max(0, Math.ceil((vmx.preemptionDeadline - vmx.processor.clock) / (1 << C.PREEMPTION_TIMER_RATE)));
  }
}

/**
 * What waits while MOV SS holds debug exceptions back: breakpoints it hit, and the single-step trap. An exit by #DB
 * itself leaves nothing pending (SDM 28.3.4).
 */
function pendingDebug({ vmcs: v, cpu }: Vmx): number {
  const w = cpu.u32;
  if (v.read32(F.VM_EXIT_REASON) === EXIT_REASON_EXCEPTION_NMI && (v.read32(F.VM_EXIT_INTR_INFO) & 0xff) === DB_VECTOR) return 0;
  const hits = (w[W.pending]! & EVENT_TRAP) !== 0 ? cpu.debugHits & 0xf : 0;
  return hits | (hits !== 0 ? DEBUG_ENABLED_BREAKPOINT : 0) | ((w[W.rflags]! & X86_EFLAGS_TF) !== 0 ? DEBUG_SINGLE_STEP : 0);
}

/** One segment register, word by word: a loop takes three times as long. */
function saveSegment(u32: Uint32Array, segments: number, w: Uint32Array, seg: number): void {
  const to = segments + seg * SEGMENT_STRIDE, from = W.seg + seg * SEGMENT_STRIDE;
  u32[to] = w[from]!;
  u32[to + 1] = w[from + 1]!;
  u32[to + 2] = w[from + 2]!;
  u32[to + 3] = w[from + 3]!;
  u32[to + 4] = w[from + 4]!;
}

/** Moves segment registers `first` to `last` into the VMCS. */
function saveSegments(vmx: Vmx, first: number, last: number): void {
  const all = vmx.cpu.mem.u32;
  const from = (vmx.cpu.base >>> 2) + W.seg;
  const to = vmx.vmcs.segments;
  for (let i = first * SEGMENT_STRIDE; i < (last + 1) * SEGMENT_STRIDE; i++) all[to + i] = all[from + i]!;
}

/** The rest of the guest's state, from the register file where the exit left it. */
export function saveSystem(vmx: Vmx): void {
  const { vmcs: v, cpu } = vmx;
  const w = cpu.u32;
  const exit = v.read32(F.VM_EXIT_CONTROLS);
  saveSegments(vmx, ES, ES);
  saveSegments(vmx, DS, TR);
  v.copyFrom(F.GUEST_CR4, w, W.cr4);
  v.copyFrom(F.GUEST_GDTR_BASE, w, W.gdtrBase);
  v.copyFrom(F.GUEST_IDTR_BASE, w, W.idtrBase);
  v.store32(F.GUEST_GDTR_LIMIT, w[W.gdtrLimit]!);
  v.store32(F.GUEST_IDTR_LIMIT, w[W.idtrLimit]!);
  v.store32(F.GUEST_SYSENTER_CS, w[W.sysenterCs]!);
  v.copyFrom(F.GUEST_SYSENTER_ESP, w, W.sysenterEsp);
  v.copyFrom(F.GUEST_SYSENTER_EIP, w, W.sysenterEip);
  if ((exit & C.VM_EXIT_SAVE_DEBUG_CONTROLS) !== 0) {
    v.copyFrom(F.GUEST_DR7, w, W.dr7);
    v.copyFrom(F.GUEST_IA32_DEBUGCTL, w, W.debugctl);
  }
  if ((exit & C.VM_EXIT_SAVE_IA32_PAT) !== 0) v.copyFrom(F.GUEST_IA32_PAT, w, W.pat);
  if ((exit & C.VM_EXIT_SAVE_IA32_EFER) !== 0) v.copyFrom(F.GUEST_IA32_EFER, w, W.efer);
  const long = (w[W.efer]! & 0x400) !== 0;
  if ((vmx.secondary & C.SECONDARY_EXEC_ENABLE_EPT) !== 0 && !long && (w[W.cr0]! & 0x8000_0000) !== 0 && (w[W.cr4]! & 0x20) !== 0) {
    v.copyFrom(F.GUEST_PDPTR0, w, W.pdpte);
    v.copyFrom(F.GUEST_PDPTR1, w, W.pdpte + 2);
    v.copyFrom(F.GUEST_PDPTR2, w, W.pdpte + 4);
    v.copyFrom(F.GUEST_PDPTR3, w, W.pdpte + 6);
  }
}

/** Loads the host's state from the current VMCS. The host is 64-bit; its segments get the fixed attributes of SDM 28.5.2, bases and limits included. */
export function loadHost(vmx: Vmx): void {
  const { vmcs: v, cpu } = vmx;
  const w = cpu.u32;
  const exit = v.read32(F.VM_EXIT_CONTROLS);
  v.copyTo(F.HOST_CR0, w, W.cr0);
  v.copyTo(F.HOST_CR3, w, W.cr3);
  v.copyTo(F.HOST_CR4, w, W.cr4);
  w[W.dr7] = 0x400;
  w[W.dr7 + 1] = 0;
  w[W.debugctl] = 0;
  w[W.debugctl + 1] = 0;
  w[W.sysenterCs] = v.read32(F.HOST_IA32_SYSENTER_CS);
  v.copyTo(F.HOST_IA32_SYSENTER_ESP, w, W.sysenterEsp);
  v.copyTo(F.HOST_IA32_SYSENTER_EIP, w, W.sysenterEip);
  if ((exit & C.VM_EXIT_LOAD_IA32_PAT) !== 0) v.copyTo(F.HOST_IA32_PAT, w, W.pat);
  if ((exit & C.VM_EXIT_LOAD_IA32_EFER) !== 0) v.copyTo(F.HOST_IA32_EFER, w, W.efer);
  else w[W.efer] = w[W.efer]! | 0x500;
  loadHostSegment(vmx, CS, v.read32(F.HOST_CS_SELECTOR), 0xffff_ffff, 0xa09b);
  loadHostSegment(vmx, SS, v.read32(F.HOST_SS_SELECTOR), 0xffff_ffff, 0xc093);
  loadHostSegment(vmx, DS, v.read32(F.HOST_DS_SELECTOR), 0xffff_ffff, 0xc093);
  loadHostSegment(vmx, ES, v.read32(F.HOST_ES_SELECTOR), 0xffff_ffff, 0xc093);
  loadHostSegment(vmx, FS, v.read32(F.HOST_FS_SELECTOR), 0xffff_ffff, 0xc093);
  loadHostSegment(vmx, GS, v.read32(F.HOST_GS_SELECTOR), 0xffff_ffff, 0xc093);
  loadHostSegment(vmx, TR, v.read32(F.HOST_TR_SELECTOR), 0x67, 0x8b);
  loadHostSegment(vmx, LDTR, 0, 0, SEG_UNUSABLE);
  v.copyTo(F.HOST_FS_BASE, w, segmentBase(FS));
  v.copyTo(F.HOST_GS_BASE, w, segmentBase(GS));
  v.copyTo(F.HOST_TR_BASE, w, segmentBase(TR));
  v.copyTo(F.HOST_GDTR_BASE, w, W.gdtrBase);
  v.copyTo(F.HOST_IDTR_BASE, w, W.idtrBase);
  w[W.gdtrLimit] = 0xffff;
  w[W.idtrLimit] = 0xffff;
  v.copyTo(F.HOST_RSP, w, W.gpr + 2 * RSP);
  v.copyTo(F.HOST_RIP, w, W.rip);
  cpu.engine.writeFlags(cpu, 2);
  w[W.inGuest] = 0;
  w[W.ept] = 0;
  w[W.ept + 1] = 0;
  w[W.vpid] = 0;
  w[W.tscOffset] = 0;
  w[W.tscOffset + 1] = 0;
  w[W.shadow] = 0;
  w[W.activity] = ACTIVITY_ACTIVE;
  w[W.nmiBlocked] = 0;
  updateMode(cpu);
}

const segmentBase = (seg: number): number => W.seg + seg * SEGMENT_STRIDE;

function loadHostSegment(vmx: Vmx, seg: number, selector: number, limit: number, access: number): void {
  const w = vmx.cpu.u32;
  const at = segmentBase(seg);
  w[at] = 0;
  w[at + 1] = 0;
  w[at + 2] = limit;
  w[at + 3] = access;
  w[at + 4] = selector;
}
