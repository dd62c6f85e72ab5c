/**
 * Events: faults the engine came back with, interrupts and NMIs at the pins, INT n, and what VM entry injects. Where
 * an event goes depends on the door: bare silicon and guests deliver through their IDT, ring 3 under our kernel stops
 * the run and hands the event to it, and a guest asks VMX first. SDM Vol. 3 ch. 6, 25.2 and 26.6.
 *
 * The hard part is a fault in the midst of a delivery: it may exit from the guest (and then names the event being
 * delivered), become a double fault, or a shutdown.
 */
import {
  DB_VECTOR, DF_VECTOR, Fault, NMI_VECTOR, NO_ERROR, PF_VECTOR, combine, isException, pushesError, thrownFault,
} from './exceptions.ts';
import {
  INTR_TYPE_EXT_INTR, INTR_TYPE_HARD_EXCEPTION, INTR_TYPE_NMI_INTR, VM_EXIT,
} from './hooks.ts';
import { STOP_EXIT, STOP_FAULT, type StopReason } from '../engine/stop.ts';
import { breakpointsArmed, instructionBreakpoint } from './debug.ts';
import { type Event, enterHandler } from './idt.ts';
import type { Insn } from './opcode-row.ts';
import { enterSmm } from './smm.ts';
import {
  ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_MWAIT, ACTIVITY_SHUTDOWN, type CpuState, EVENT_INTERRUPT, EVENT_NMI, EVENT_SHADOW, EVENT_SMI, EVENT_STEP, EVENT_TRAP,
  SHADOW_MOV_SS, STATE, X86_EFLAGS_IF, X86_EFLAGS_RF, X86_EFLAGS_TF,
} from './state.ts';

/**
 * What became of an event. `done`: delivered, the handler runs next. `kernel`: left in cpu.event for the kernel. `exit`:
 * VMX has noted an exit, to be completed. `shutdown`: a triple fault on bare silicon. `none`: nothing was due.
 */
export type Outcome = 'none' | 'done' | 'kernel' | 'exit' | 'shutdown';

/** Last-branch records, of which there are none, and single steps at branches only. A debug exception clears both. */
const DEBUGCTL_LBR = 1n, DEBUGCTL_BTF = 2n;

const event: Event = { vector: 0, type: 0, error: NO_ERROR, rip: 0n, flags: 0, length: 0 };

/** What is handed to the kernel when an Outcome is `kernel`. An interrupt stays pending: the kernel acknowledges it. */
export const kernelEvent: { kind: 'exception' | 'interrupt' | 'nmi' | 'syscall'; vector: number; error: number; cr2: bigint; dr6: bigint } =
  { kind: 'exception', vector: 0, error: NO_ERROR, cr2: 0n, dr6: 0n };

const second = new Fault();

/** Delivers the fault with which the last instruction was abandoned; cpu.rip is at that instruction. */
export function deliverFault(cpu: CpuState): Outcome {
  second.copy(thrownFault);
  return deliverException(cpu, second);
}

/** Delivers an exception; cpu.rip is at the instruction that made it, for traps behind it. */
export function deliverException(cpu: CpuState, fault: Fault): Outcome {
  if (cpu.door === 'kernel' && !cpu.inGuest) return hand(cpu, fault);
  if (cpu.inGuest && cpu.vmx.exceptionExits(cpu, fault, fault.type)) return 'exit';
  cpu.nmiUnblocked = false;
  commit(cpu, fault);
  const flags = cpu.engine.readFlags(cpu);
  return deliver(cpu, fault.vector, fault.type, fault.error, cpu.rip + BigInt(fault.length), fault.vector === DB_VECTOR ? flags : flags | X86_EFLAGS_RF, fault.length);
}

function hand(cpu: CpuState, fault: Fault): Outcome {
  cpu.rip += BigInt(fault.length);
  kernelEvent.kind = 'exception';
  kernelEvent.vector = fault.vector;
  kernelEvent.error = fault.error;
  kernelEvent.cr2 = BigInt.asUintN(64, BigInt(fault.address));
  kernelEvent.dr6 = BigInt(fault.dr6);
  return 'kernel';
}

/** What an exception leaves in registers before its handler is entered: CR2, DR6. An intercepted one leaves nothing. */
function commit(cpu: CpuState, fault: Fault): void {
  if (fault.vector === PF_VECTOR) cpu.u64[STATE.cr2 >>> 3] = BigInt.asUintN(64, BigInt(fault.address));
  if (fault.vector === DB_VECTOR) {
    cpu.u64[(STATE.dr >>> 3) + 6] = cpu.u64[(STATE.dr >>> 3) + 6]! & ~0xfn | BigInt(fault.dr6);
    cpu.u64[(STATE.dr >>> 3) + 7] = cpu.u64[(STATE.dr >>> 3) + 7]! & ~0x2000n;
    cpu.u64[STATE.debugctl >>> 3] = cpu.u64[STATE.debugctl >>> 3]! & ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
  }
}

/**
 * Delivers an event through the interrupt table, whatever the door: VM entry injects with it too. `rip` is where the
 * handler is to return to. Faults on the way are combined by the double-fault rules.
 */
export function deliver(cpu: CpuState, vector: number, type: number, error: number, rip: bigint, flags: number, length: number): Outcome {
  event.vector = vector;
  event.type = type;
  event.error = error;
  event.rip = rip;
  event.flags = flags;
  event.length = length;
  let first = isException(type) ? vector : -1;
  for (;;) {
    if (cpu.inGuest) cpu.vmx.deliveryBegins(cpu, event.vector, event.type as 0, event.error, event.length);
    try {
      enterHandler(cpu, event);
      if (cpu.inGuest) cpu.vmx.deliveryEnds(cpu);
      cpu.u32[STATE.shadow >>> 2] = 0;
      cpu.pending &= ~(EVENT_SHADOW | EVENT_TRAP);
      return 'done';
    } catch (thrown) {
      if (thrown === VM_EXIT) {
        // RFLAGS is saved as the frame would have had it (SDM 28.3.3), so that the event can be injected again.
        cpu.u32[STATE.rflags >>> 2] = cpu.u32[STATE.rflags >>> 2]! | event.flags & X86_EFLAGS_RF;
        return 'exit';
      }
      if (!(thrown instanceof Fault)) throw thrown;
      second.copy(thrown);
    }
    if (cpu.inGuest && cpu.vmx.exceptionExits(cpu, second, INTR_TYPE_HARD_EXCEPTION)) return 'exit';
    const next = combine(first, second.vector);
    if (next < 0) return shutdown(cpu);
    commit(cpu, second);
    if (next === DF_VECTOR && second.vector !== DF_VECTOR) {
      second.vector = DF_VECTOR;
      second.error = 0;
      if (cpu.inGuest && cpu.vmx.exceptionExits(cpu, second, INTR_TYPE_HARD_EXCEPTION)) return 'exit';
    }
    // The handler of the second event returns to where the first one was to have been entered from.
    event.rip = cpu.rip;
    event.flags = cpu.engine.readFlags(cpu) | (next === DF_VECTOR ? 0 : X86_EFLAGS_RF);
    event.vector = first = next;
    event.type = INTR_TYPE_HARD_EXCEPTION;
    event.error = pushesError(next) ? second.error : NO_ERROR;
    event.length = 0;
  }
}

/** Triple fault. A guest exits; bare silicon stops until it is reset. */
function shutdown(cpu: CpuState): Outcome {
  if (cpu.inGuest) {
    cpu.vmx.tripleFault(cpu);
    return 'exit';
  }
  cpu.u32[STATE.activity >>> 2] = ACTIVITY_SHUTDOWN;
  return 'shutdown';
}

// ---------------------------------------------------------------- between instructions

/** True while STI, MOV SS or POP SS keep interrupts out for one instruction. */
const shadowed = (cpu: CpuState) => cpu.u32[STATE.shadow >>> 2] !== 0;

/**
 * Takes what is pending and may be taken now: a single-step trap, SMI, NMI, then an interrupt. Called between two instructions, never within
 * one. A halted processor is awake afterwards if something was taken.
 */
export function takeEvents(cpu: CpuState): Outcome {
  const pending = cpu.pending;
  if (pending & EVENT_STEP) {
    cpu.pending &= ~EVENT_STEP;
    return deliverException(cpu, singleStep(0x4000));
  }
  if (pending & EVENT_SMI && !cpu.smm.inside && !cpu.inGuest && cpu.door === 'architectural' && !shadowed(cpu)) {
    enterSmm(cpu);
    return 'done';
  }
  if (pending & EVENT_NMI && !cpu.u32[STATE.nmi_blocked >>> 2] && !shadowed(cpu)) return takeNmi(cpu);
  if (pending & EVENT_INTERRUPT && !shadowed(cpu)) return takeInterrupt(cpu);
  return 'none';
}

function takeNmi(cpu: CpuState): Outcome {
  if (cpu.inGuest && cpu.vmx.nmiExits(cpu)) return 'exit';
  if (cpu.door === 'kernel' && !cpu.inGuest) return handKind('nmi');
  wake(cpu);
  cpu.pending &= ~EVENT_NMI;
  cpu.u32[STATE.nmi_blocked >>> 2] = 1;
  return deliver(cpu, NMI_VECTOR, INTR_TYPE_NMI_INTR, NO_ERROR, cpu.rip, cpu.engine.readFlags(cpu), 0);
}

/**
 * An exit by external-interrupt exiting does not look at RFLAGS.IF. The kernel's ring 3 always runs with interrupts on,
 * and the kernel itself acknowledges.
 */
function takeInterrupt(cpu: CpuState): Outcome {
  if (cpu.inGuest && cpu.vmx.externalInterruptExits(cpu)) return 'exit';
  if (cpu.door === 'kernel' && !cpu.inGuest) return handKind('interrupt');
  if (!(cpu.u32[STATE.rflags >>> 2]! & X86_EFLAGS_IF)) return 'none';
  const vector = cpu.bus.acknowledge(cpu);
  if (vector < 0) return 'none';
  wake(cpu);
  return deliver(cpu, vector, INTR_TYPE_EXT_INTR, NO_ERROR, cpu.rip, cpu.engine.readFlags(cpu), 0);
}

function handKind(kind: 'interrupt' | 'nmi'): Outcome {
  kernelEvent.kind = kind;
  return 'kernel';
}

function wake(cpu: CpuState): void {
  const activity = cpu.u32[STATE.activity >>> 2];
  if (activity === ACTIVITY_HLT || activity === ACTIVITY_MWAIT) cpu.u32[STATE.activity >>> 2] = ACTIVITY_ACTIVE;
}

/** True if the next instruction must run alone, by stepOne(): TF, RF, a pending trap, a shadow, breakpoints. */
export const singleStepping = (cpu: CpuState): boolean =>
  (cpu.u32[STATE.rflags >>> 2]! & (X86_EFLAGS_TF | X86_EFLAGS_RF)) !== 0 || shadowed(cpu) || (cpu.pending & EVENT_TRAP) !== 0 || breakpointsArmed(cpu);

/**
 * Runs one instruction, with what surrounds it when it is looked at singly: an instruction breakpoint before it, RF
 * and the interrupt shadow that end with it, the single-step trap after it. `execute` runs it in the engine.
 */
export function stepOne(cpu: CpuState, execute: () => StopReason): Outcome {
  // The shadow of MOV SS keeps instruction breakpoints out too (SDM 6.8.3).
  const breakpoint = breakpointsArmed(cpu) && !(cpu.u32[STATE.shadow >>> 2]! & SHADOW_MOV_SS) ? instructionBreakpoint(cpu) : undefined;
  if (breakpoint) return deliverException(cpu, breakpoint);
  const flags = STATE.rflags >>> 2;
  const before = cpu.u32[flags]!;
  const shadow = cpu.u32[STATE.shadow >>> 2]!;
  // What MOV SS hit is told with what the next instruction does.
  const held = cpu.pending & EVENT_TRAP ? cpu.debugHits : 0;
  cpu.debugHits = held;
  cpu.steppedInto = false;
  const stepped = (before & X86_EFLAGS_TF) !== 0;
  const insn = stepped && (cpu.u64[STATE.debugctl >>> 3]! & DEBUGCTL_BTF) !== 0n ? cpu.engine.instruction(cpu) : undefined;
  const rip = cpu.rip;
  const stop = execute();
  if (stop === STOP_EXIT || stop === STOP_FAULT) {
    // The instruction will run again and hit its breakpoint then.
    if (held === 0 && cpu.debugHits !== 0) cpu.pending &= ~EVENT_TRAP;
    cpu.debugHits = held;
    return stop === STOP_EXIT ? 'exit' : deliverFault(cpu);
  }
  if (before & X86_EFLAGS_RF) cpu.u32[flags] = cpu.u32[flags]! & ~X86_EFLAGS_RF;
  return afterSingle(cpu, stepped && !cpu.steppedInto && (insn === undefined || hasBranched(cpu, insn, rip)), shadow);
}

/** Did the instruction go elsewhere than behind itself? A string instruction that is to be repeated stays where it is. */
function hasBranched(cpu: CpuState, insn: Insn, rip: bigint): boolean {
  const behind = rip + BigInt(insn.length);
  return cpu.rip !== (insn.codeSize === 8 ? BigInt.asUintN(64, behind) : behind & 0xffff_ffffn) && !(cpu.rip === rip && insn.rep !== 0);
}

/**
 * After one instruction that ran alone and did not fault. `trap`: RFLAGS.TF was set when it began. `shadow`: the shadow
 * it ran in, which ends now unless the instruction has begun another.
 */
function afterSingle(cpu: CpuState, trap: boolean, shadow: number): Outcome {
  const now = cpu.u32[STATE.shadow >>> 2]!;
  if (shadow !== 0) {
    cpu.u32[STATE.shadow >>> 2] = 0;
    cpu.pending &= ~EVENT_SHADOW;
  }
  const pendingTrap = (cpu.pending & EVENT_TRAP) !== 0;
  if (!trap && !pendingTrap) return 'none';
  // A MOV SS holds back what it has hit, and has no single-step trap of its own (SDM 6.8.3, 18.3.1.4).
  if (shadow === 0 && now & SHADOW_MOV_SS) return 'none';
  cpu.pending &= ~EVENT_TRAP;
  const hits = cpu.debugHits;
  cpu.debugHits = 0;
  return deliverException(cpu, singleStep((trap ? 0x4000 : 0) | hits));
}

function singleStep(dr6: number): Fault {
  second.vector = DB_VECTOR;
  second.error = NO_ERROR;
  second.address = 0;
  second.type = INTR_TYPE_HARD_EXCEPTION;
  second.length = 0;
  second.dr6 = dr6;
  return second;
}
