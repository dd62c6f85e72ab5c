/**
 * VM entry: from a checked VMCS into the guest. SDM 27.3.2 and 27.4 to 27.6 (26 in older editions).
 */
import * as C from './controls.ts';
import * as F from './fields.ts';
import { DEBUG_ENABLED_BREAKPOINT, DEBUG_SINGLE_STEP, V, loadHost, note, WORDS as W } from './exit.ts';
import { EXIT_REASON_INVALID_STATE, EXIT_REASON_MSR_LOAD_FAIL, VMX_EXIT_REASONS_FAILED_VMENTRY } from './exit-reasons.ts';
import { ENTRY_FAIL_PDPTE, ENTRY_GOOD, GUEST_INTR_STATE_MOV_SS, GUEST_INTR_STATE_NMI, GUEST_INTR_STATE_STI, checkGuest, usesPdptes } from './guest-checks.ts';
import { checkEntry, secondaryControls, INTR_INFO_VALID_MASK } from './entry-checks.ts';
import { isCanonicalHigh } from '../cpu/memory.ts';
import { loadPdptes } from '../cpu/paging.ts';
import {
  EVENT_INTERRUPT, EVENT_INTERRUPT_WINDOW, EVENT_MTF, EVENT_NMI, EVENT_NMI_WINDOW, EVENT_SHADOW, EVENT_TRAP, RSP, X86_EFLAGS_AC, X86_EFLAGS_VM, updateMode,
} from '../cpu/state.ts';
import { loadMsrs } from './msr-lists.ts';
import { CLEAN_ALL, CLEAN_CONTROLS, CLEAN_GUEST, CLEAN_HOST, CLEAN_LOADS_ALL, SEGMENT_WORDS, type Vmcs } from './vmcs.ts';
import type { Vmx } from './vmx.ts';

const DR6_TRAPS = 0xf, DR6_BS = 0x4000;
/** TLB tag of guests that have no VPID: emptied on every entry. Real VPIDs have 16 bits. */
const NO_VPID = 0x1_0000;
const CLEAN_CHECKED = CLEAN_CONTROLS | CLEAN_HOST | CLEAN_GUEST;

/**
 * Enters the guest, or fails with an exit: the caller sees which by vmx.inGuest. Returns 0, or the VM-instruction error
 * with nothing changed.
 */
export function enter(vmx: Vmx): number {
  const { vmcs: v } = vmx;
  if (vmx.resident !== v.address || v.clean !== CLEAN_ALL || !isPlain(vmx)) return enterWithChecks(vmx);
  vmx.processor.charge(vmx.costs.vmEntry);
  vmx.cpuBased = v.u32[v.word + V.cpuBased]! | 0;
  vmx.resident = -1;
  vmx.hostDue = false;
  resume(vmx);
  vmx.setSystemDue(false);
  vmx.injection = 0;
  return 0;
}

/**
 * Whether there is nothing left to check: no event, no window, no shadow of the TPR, and what a guest that just exited
 * and had its RIP moved looks like.
 */
function isPlain(vmx: Vmx): boolean {
  const { u32, word } = vmx.vmcs;
  const unusual = C.CPU_BASED_NMI_WINDOW_EXITING | C.CPU_BASED_INTR_WINDOW_EXITING | C.CPU_BASED_TPR_SHADOW | C.CPU_BASED_MONITOR_TRAP_FLAG;
  const events = (u32[word + V.entryIntrInfo]! & INTR_INFO_VALID_MASK) | (u32[word + V.cpuBased]! & unusual)
    | u32[word + V.interruptibility]! | u32[word + V.activity]! | u32[word + V.pendingDebug]! | u32[word + V.pendingDebug + 1]!;
  const high = u32[word + V.rip + 1]! | 0;
  return events === 0 && !vmx.tlbFlushed && u32[word + V.rflags] === vmx.exitFlags && u32[word + V.rflags + 1] === 0
    && (high === 0 || (high === vmx.exitRipHigh && isCanonicalHigh(high)))
    && (vmx.pinBased & C.PIN_BASED_VMX_PREEMPTION_TIMER) === 0 && (vmx.secondary & ALWAYS_PLAIN) === ALWAYS_PLAIN;
}
const ALWAYS_PLAIN = C.SECONDARY_EXEC_ENABLE_EPT | C.SECONDARY_EXEC_ENABLE_VPID;

/** What is left to load for a guest whose registers are all there: RIP and RSP, which software moves. */
function resume(vmx: Vmx): void {
  const { cpu } = vmx;
  const { u32, word } = vmx.vmcs;
  const w = cpu.u32;
  w[W.gpr + 2 * RSP] = u32[word + V.rsp]!;
  w[W.gpr + 2 * RSP + 1] = u32[word + V.rsp + 1]!;
  w[W.rip] = u32[word + V.rip]!;
  w[W.rip + 1] = u32[word + V.rip + 1]!;
  w[W.shadow] = w[W.nmiBlocked] = w[W.activity] = 0;
  w[W.inGuest] = 1;
  if ((vmx.cpuBased & C.CPU_BASED_USE_TSC_OFFSETTING) !== 0) {
    w[W.tscOffset] = u32[word + V.tscOffset]!;
    w[W.tscOffset + 1] = u32[word + V.tscOffset + 1]!;
  }
  w[W.pending] = w[W.pending]! & (EVENT_INTERRUPT | EVENT_NMI);
  vmx.pendingDebug = 0;
  vmx.preemptionDeadline = Number.POSITIVE_INFINITY;
}

/** The whole way: checks what was written, loads what is not there. */
function enterWithChecks(vmx: Vmx): number {
  const { vmcs: v, cpu } = vmx;
  const resident = vmx.resident === v.address && (v.clean & CLEAN_CHECKED) === CLEAN_CHECKED && loadsAll(v);
  if (!resident) vmx.saveSystemState();
  const error = checkEntry(v, vmx.ram);
  if (error !== 0) return error;
  const failure = checkGuest(v);
  if (failure !== ENTRY_GOOD) {
    failEntry(vmx, EXIT_REASON_INVALID_STATE, failure);
    return 0;
  }
  vmx.processor.charge(vmx.costs.vmEntry);
  vmx.cpuBased = v.read32(F.CPU_BASED_VM_EXEC_CONTROL) | 0;
  if (!resident) {
    vmx.pinBased = v.read32(F.PIN_BASED_VM_EXEC_CONTROL) | 0;
    vmx.secondary = secondaryControls(v) | 0;
    vmx.loadHostState();
    loadGuest(vmx);
  }
  if (loadsAll(v)) v.clean |= CLEAN_LOADS_ALL;
  vmx.resident = -1;
  vmx.hostDue = false;
  loadExecution(vmx, resident);
  if ((vmx.secondary & C.SECONDARY_EXEC_ENABLE_VPID) === 0) cpu.engine.flushTlb(cpu, true);
  const badMsr = resident ? 0 : loadMsrs(vmx, F.VM_ENTRY_MSR_LOAD_COUNT, F.VM_ENTRY_MSR_LOAD_ADDR);
  if (badMsr !== 0) {
    failEntry(vmx, EXIT_REASON_MSR_LOAD_FAIL, badMsr);
    return 0;
  }
  // Without EPT the four top entries of PAE paging are in memory, and may be found wrong only now.
  if (cpu.u32[W.ept] === 0 && !cpu.longMode && (cpu.u32[W.cr0]! & 0x8000_0000) !== 0 && (cpu.u32[W.cr4]! & 0x20) !== 0 && !loadPdptes(cpu, v.read64(F.GUEST_CR3))) {
    failEntry(vmx, EXIT_REASON_INVALID_STATE, ENTRY_FAIL_PDPTE);
    return 0;
  }
  vmx.setSystemDue(false);
  const timer = (vmx.pinBased & C.PIN_BASED_VMX_PREEMPTION_TIMER) !== 0;
  vmx.preemptionDeadline = timer ? vmx.processor.clock + v.read32(F.VMX_PREEMPTION_TIMER_VALUE) * (1 << C.PREEMPTION_TIMER_RATE) : Number.POSITIVE_INFINITY;
  vmx.injection = v.read32(F.VM_ENTRY_INTR_INFO_FIELD);
  if ((vmx.injection & INTR_INFO_VALID_MASK) === 0) vmx.injection = 0;
  return 0;
}

/** Whether this entry loads everything that the exit before it should have replaced by the host's, and from the VMCS alone. */
function loadsAll(v: Vmcs): boolean {
  if (v.read32(F.VM_ENTRY_MSR_LOAD_COUNT) !== 0) return false;
  const entry = v.read32(F.VM_ENTRY_CONTROLS);
  const always = C.VM_ENTRY_LOAD_DEBUG_CONTROLS | C.VM_ENTRY_LOAD_IA32_EFER;
  return (entry & always) === always && ((v.read32(F.VM_EXIT_CONTROLS) & C.VM_EXIT_LOAD_IA32_PAT) === 0 || (entry & C.VM_ENTRY_LOAD_IA32_PAT) !== 0);
}

/** An exit out of the entry itself: no guest state is saved, the host's is loaded. */
function failEntry(vmx: Vmx, reason: number, qualification: number): void {
  vmx.saveSystemState();
  note(vmx, (reason | VMX_EXIT_REASONS_FAILED_VMENTRY) >>> 0, qualification, 0);
  vmx.noted = false;
  vmx.vmcs.store32(F.IDT_VECTORING_INFO_FIELD, 0);
  vmx.resident = -1;
  vmx.hostDue = false;
  loadHost(vmx);
}

/** What changes from entry to entry of one guest without a change of its mode. */
function loadExecution(vmx: Vmx, resident: boolean): void {
  const { vmcs: v, cpu } = vmx;
  const w = cpu.u32;
  v.copyTo(F.GUEST_RSP, w, W.gpr + 2 * RSP);
  v.copyTo(F.GUEST_RIP, w, W.rip);
  const blocked = v.read32(F.GUEST_INTERRUPTIBILITY_INFO);
  const shadow = blocked & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS);
  w[W.shadow] = shadow;
  w[W.nmiBlocked] = (blocked & GUEST_INTR_STATE_NMI) !== 0 ? 1 : 0;
  w[W.activity] = v.read32(F.GUEST_ACTIVITY_STATE);
  w[W.inGuest] = 1;
  if ((vmx.cpuBased & C.CPU_BASED_USE_TSC_OFFSETTING) !== 0) v.copyTo(F.TSC_OFFSET, w, W.tscOffset);
  let pending = w[W.pending]! & (EVENT_INTERRUPT | EVENT_NMI);
  if (shadow !== 0) pending |= EVENT_SHADOW;
  vmx.pendingDebug = v.read32(F.GUEST_PENDING_DBG_EXCEPTIONS);
  if ((vmx.pendingDebug & (DEBUG_ENABLED_BREAKPOINT | DEBUG_SINGLE_STEP)) === 0) vmx.pendingDebug = 0;
  else if ((shadow & GUEST_INTR_STATE_MOV_SS) !== 0) {
    // Held back until the instruction after MOV SS is through.
    cpu.debugHits = vmx.pendingDebug & (DR6_TRAPS | DR6_BS);
    vmx.pendingDebug = 0;
    pending |= EVENT_TRAP;
  }
  if ((vmx.cpuBased & C.CPU_BASED_INTR_WINDOW_EXITING) !== 0) pending |= EVENT_INTERRUPT_WINDOW;
  if ((vmx.cpuBased & C.CPU_BASED_NMI_WINDOW_EXITING) !== 0) pending |= EVENT_NMI_WINDOW;
  if ((vmx.cpuBased & C.CPU_BASED_MONITOR_TRAP_FLAG) !== 0) pending |= EVENT_MTF;
  w[W.pending] = pending;
  const rflags = v.read32(F.GUEST_RFLAGS);
  const modes = (rflags ^ w[W.rflags]!) & (X86_EFLAGS_VM | X86_EFLAGS_AC);
  cpu.engine.writeFlags(cpu, rflags);
  if (!resident || modes !== 0 || vmx.tlbFlushed) updateMode(cpu);
  vmx.tlbFlushed = false;
}

/** Everything else. The host's state must be in the register file, for not all of it is the guest's to set. */
function loadGuest(vmx: Vmx): void {
  const { vmcs: v, cpu } = vmx;
  const w = cpu.u32;
  const all = cpu.mem.u32;
  const entry = v.read32(F.VM_ENTRY_CONTROLS);
  const to = (cpu.base >>> 2) + W.seg;
  const from = v.segments;
  for (let i = 0; i < SEGMENT_WORDS; i++) all[to + i] = all[from + i]!;
  v.copyTo(F.GUEST_CR0, w, W.cr0);
  v.copyTo(F.GUEST_CR3, w, W.cr3);
  v.copyTo(F.GUEST_CR4, w, W.cr4);
  v.copyTo(F.GUEST_GDTR_BASE, w, W.gdtrBase);
  v.copyTo(F.GUEST_IDTR_BASE, w, W.idtrBase);
  w[W.gdtrLimit] = v.read32(F.GUEST_GDTR_LIMIT);
  w[W.idtrLimit] = v.read32(F.GUEST_IDTR_LIMIT);
  w[W.sysenterCs] = v.read32(F.GUEST_SYSENTER_CS);
  v.copyTo(F.GUEST_SYSENTER_ESP, w, W.sysenterEsp);
  v.copyTo(F.GUEST_SYSENTER_EIP, w, W.sysenterEip);
  if ((entry & C.VM_ENTRY_LOAD_DEBUG_CONTROLS) !== 0) {
    v.copyTo(F.GUEST_DR7, w, W.dr7);
    v.copyTo(F.GUEST_IA32_DEBUGCTL, w, W.debugctl);
  }
  if ((entry & C.VM_ENTRY_LOAD_IA32_PAT) !== 0) v.copyTo(F.GUEST_IA32_PAT, w, W.pat);
  if ((entry & C.VM_ENTRY_LOAD_IA32_EFER) !== 0) v.copyTo(F.GUEST_IA32_EFER, w, W.efer);
  else if ((entry & C.VM_ENTRY_IA32E_MODE) !== 0) w[W.efer] = w[W.efer]! | 0x500;
  else w[W.efer] = w[W.efer]! & ((w[W.cr0]! & 0x8000_0000) !== 0 ? ~0x500 : ~0x400);
  if (usesPdptes(v)) {
    v.copyTo(F.GUEST_PDPTR0, w, W.pdpte);
    v.copyTo(F.GUEST_PDPTR1, w, W.pdpte + 2);
    v.copyTo(F.GUEST_PDPTR2, w, W.pdpte + 4);
    v.copyTo(F.GUEST_PDPTR3, w, W.pdpte + 6);
  }
  if ((vmx.secondary & C.SECONDARY_EXEC_ENABLE_EPT) !== 0) v.copyTo(F.EPT_POINTER, w, W.ept);
  w[W.vpid] = (vmx.secondary & C.SECONDARY_EXEC_ENABLE_VPID) !== 0 ? v.read32(F.VIRTUAL_PROCESSOR_ID) : NO_VPID;
}
