/**
 * Non-root operation: guest code between an entry and an exit. Everything that is due between two instructions is
 * looked at here, in the order of SDM 26.2, 26.5 and 27.7 (25.2, 25.5 and 26.7 in older editions); the instructions
 * themselves run in the engine, as many as fit before the next thing can happen.
 */
import * as C from './controls.ts';
import * as E from './exit-reasons.ts';
import { note } from './exit.ts';
import { DB_VECTOR, Fault, NO_ERROR } from '../cpu/exceptions.ts';
import { INTR_TYPE_EXT_INTR, INTR_TYPE_HARD_EXCEPTION, INTR_TYPE_NMI_INTR } from '../cpu/hooks.ts';
import { type Outcome, deliver, deliverException, deliverFault, singleStepping, stepOne, takeEvents } from '../cpu/interrupts.ts';
import {
  ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_MWAIT, type CpuState, EVENT_INTERRUPT_WINDOW, EVENT_MTF, EVENT_NMI, EVENT_NMI_WINDOW, SHADOW_MOV_SS, STATE,
  X86_EFLAGS_IF,
} from '../cpu/state.ts';
import { stillWaits } from '../cpu/privileged.ts';
import { STOP_EXIT, STOP_FAULT } from '../engine/stop.ts';
import type { Vmx } from './vmx.ts';

const ACTIVITY = STATE.activity >>> 2;
const RFLAGS = STATE.rflags >>> 2;
const SHADOW = STATE.shadow >>> 2;
const NMI_BLOCKED = STATE.nmi_blocked >>> 2;
/** Interruption type of an injected MTF exit. */
const INTR_TYPE_OTHER_EVENT = 7;

const DR6_TRAPS = 0xf;
const DR6_BS = 0x4000;

/** Runs until the processor's limit (false) or until an exit has been noted (true). */
export function runGuest(vmx: Vmx): boolean {
  const { processor: p, cpu } = vmx;
  if (vmx.injection !== 0) {
    vmx.pendingDebug = 0;
    if (inject(vmx)) return true;
  } else if (vmx.pendingDebug !== 0 && happened(vmx, deliverPendingDebug(vmx), vmx.costs.exception)) {
    return true;
  }
  for (;;) {
    if (vmx.tprBelowThreshold) {
      vmx.tprBelowThreshold = false;
      note(vmx, E.EXIT_REASON_TPR_BELOW_THRESHOLD, 0, 0);
      return true;
    }
    if (p.clock >= vmx.preemptionDeadline) {
      note(vmx, E.EXIT_REASON_PREEMPTION_TIMER, 0, 0);
      return true;
    }
    if (cpu.pending !== 0 && lookAtEvents(vmx)) return true;
    if (p.clock >= p.limit) return false;
    const until = Math.min(p.limit, vmx.preemptionDeadline);
    const activity = cpu.u32[ACTIVITY];
    if (activity !== ACTIVITY_ACTIVE && (activity !== ACTIVITY_MWAIT || stillWaits(cpu))) {
      p.clock = until;
      continue;
    }
    if (singleStepping(cpu) || (cpu.pending & EVENT_MTF) !== 0) {
      if (step(vmx)) return true;
      continue;
    }
    const stop = p.execute(until - p.clock);
    if (stop === STOP_EXIT) return true;
    if (stop === STOP_FAULT && happened(vmx, deliverFault(cpu), vmx.costs.exception)) return true;
  }
}

const debugFault = new Fault();

/** The #DB that an exit, or the hypervisor, left pending: it comes before the first instruction. */
function deliverPendingDebug(vmx: Vmx): Outcome {
  debugFault.vector = DB_VECTOR;
  debugFault.dr6 = vmx.pendingDebug & (DR6_TRAPS | DR6_BS);
  debugFault.error = NO_ERROR;
  vmx.pendingDebug = 0;
  return deliverException(vmx.cpu, debugFault);
}

/** Charges an event that was delivered; true if it became an exit instead. */
function happened(vmx: Vmx, outcome: Outcome, cycles: number): boolean {
  if (outcome === 'exit') return true;
  if (outcome === 'done') vmx.processor.charge(cycles);
  return false;
}

/** One instruction by itself: under TF, MTF, or in the shadow of STI and MOV SS. */
function step(vmx: Vmx): boolean {
  const outcome = stepOne(vmx.cpu, vmx.processor.executeOne);
  return happened(vmx, outcome, vmx.costs.exception) || monitorTrap(vmx);
}

function monitorTrap(vmx: Vmx): boolean {
  if ((vmx.cpu.pending & EVENT_MTF) === 0) return false;
  note(vmx, E.EXIT_REASON_MONITOR_TRAP_FLAG, 0, 0);
  return true;
}

/** NMI window, NMI, interrupt window, interrupt. What is shut out by blocking or RFLAGS.IF stays pending. */
function lookAtEvents(vmx: Vmx): boolean {
  const { cpu } = vmx;
  const { pending } = cpu;
  const nmiBlocked = cpu.u32[NMI_BLOCKED] !== 0;
  if ((pending & EVENT_NMI_WINDOW) !== 0 && !nmiBlocked && (cpu.u32[SHADOW]! & SHADOW_MOV_SS) === 0) {
    note(vmx, E.EXIT_REASON_NMI_WINDOW, 0, 0);
    return true;
  }
  // With virtual NMIs the blocking is the guest's own, and does not keep the host's NMIs away.
  if ((pending & EVENT_NMI) !== 0 && (vmx.pinBased & C.PIN_BASED_VIRTUAL_NMIS) !== 0) return vmx.intercepts.nmiExits();
  if ((pending & EVENT_INTERRUPT_WINDOW) !== 0 && (cpu.u32[RFLAGS]! & X86_EFLAGS_IF) !== 0 && cpu.u32[SHADOW] === 0) {
    note(vmx, E.EXIT_REASON_INTERRUPT_WINDOW, 0, 0);
    return true;
  }
  return happened(vmx, takeEvents(cpu), vmx.costs.interruptDelivery);
}

/** Event injection: the first thing after an entry, subject to no intercept but to faults on its own way. */
function inject(vmx: Vmx): boolean {
  const { cpu } = vmx;
  const info = vmx.injection;
  const vector = info & 0xff;
  const type = (info >> 8) & 7;
  const error = vmx.injectionError;
  vmx.injection = 0;
  if (type === INTR_TYPE_OTHER_EVENT) {
    note(vmx, E.EXIT_REASON_MONITOR_TRAP_FLAG, 0, 0);
    return true;
  }
  wake(cpu);
  cpu.u32[SHADOW] = 0;
  if (type === INTR_TYPE_NMI_INTR) cpu.u32[NMI_BLOCKED] = 1;
  const software = type !== INTR_TYPE_EXT_INTR && type !== INTR_TYPE_NMI_INTR && type !== INTR_TYPE_HARD_EXCEPTION;
  const length = software ? vmx.entryInstructionLength : 0;
  const outcome = deliver(cpu, vector, type, error, cpu.rip + BigInt(length), cpu.engine.readFlags(cpu), length);
  return happened(vmx, outcome, vmx.costs.interruptDelivery) || monitorTrap(vmx);
}

function wake(cpu: CpuState): void {
  if (cpu.u32[ACTIVITY] === ACTIVITY_HLT || cpu.u32[ACTIVITY] === ACTIVITY_MWAIT) cpu.u32[ACTIVITY] = ACTIVITY_ACTIVE;
}
