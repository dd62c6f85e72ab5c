/**
 * One processor: a clock, a register file, a local APIC, and how ring 0 sees it. The kernel's own code is TypeScript
 * between two doors (see Ring0 in machine.ts); everything below ring 0's calls is silicon.
 *
 * The clock is in TSC cycles. A step runs until `limit`, which is never past this processor's timer deadline nor the
 * machine's next event, so a timer interrupt is taken at its exact cycle.
 */
import { CpuState, EVENT_INTERRUPT, EVENT_NMI, cpu_state } from './cpu/state.ts';
import { LocalApic, type LapicHost } from './chips/lapic.ts';
import { LAPIC_TIMER_PERIOD } from './board.ts';
import type { Machine } from './machine.ts';

export class Processor implements LapicHost {
  readonly id: number;
  readonly machine: Machine;
  readonly cpu: CpuState;
  readonly lapic: LocalApic;
  clock = 0;
  /** End of the step in progress; lowered when something nearer is programmed. */
  limit = 0;
  /** RFLAGS.IF of ring 0. */
  interruptFlag = false;
  halted = false;
  /** False until INIT and SIPI have come: such a processor takes no part in anything. */
  started = false;
  /** An NMI has arrived and was not taken. */
  nmiPending = false;
  /** Instructions retired, by who ran. */
  readonly retired = { user: 0, guest: 0 };

  constructor(machine: Machine, id: number) {
    this.machine = machine;
    this.id = id;
    const { ram } = machine;
    this.cpu = new CpuState(ram.mem, ram.reserve(cpu_state.size, 64), id, ram.base, ram.size);
    this.lapic = new LocalApic(id, this, machine.apicBus, LAPIC_TIMER_PERIOD);
  }

  charge(cycles: number): void {
    this.clock += cycles;
  }

  /** The rest of this step is given away, as PAUSE does: whoever is behind runs next. */
  endQuantum(): void {
    this.limit = Math.min(this.limit, this.clock);
  }

  /** Highest deliverable vector, -1 none. Does not look at interruptFlag. */
  pendingVector(): number {
    return this.lapic.pendingVector();
  }

  /** Takes the pending vector: INTA, IRR to ISR. Charges the delivery. */
  acknowledge(): number {
    this.clock += this.machine.costs.interruptDelivery;
    return this.lapic.acknowledge();
  }

  /** Takes the pending NMI; false if there is none. */
  acknowledgeNmi(): boolean {
    if (!this.nmiPending) return false;
    this.nmiPending = false;
    this.cpu.pending &= ~EVENT_NMI;
    this.clock += this.machine.costs.interruptDelivery;
    return true;
  }

  /** HLT: nothing runs here until an interrupt or an NMI is pending. With one pending already it does nothing. */
  halt(): void {
    if (this.lapic.pendingVector() < 0 && !this.nmiPending) this.halted = true;
  }

  // -------------------------------------------------------------- what the local APIC reports

  now(): number {
    return this.clock;
  }

  deadlineChanged(): void {
    if (this.lapic.deadline < this.limit) this.limit = this.lapic.deadline;
  }

  pendingChanged(vector: number): void {
    if (vector < 0) {
      this.cpu.pending &= ~EVENT_INTERRUPT;
      return;
    }
    this.cpu.pending |= EVENT_INTERRUPT;
    this.machine.wake(this);
  }

  nmi(): void {
    this.nmiPending = true;
    this.cpu.pending |= EVENT_NMI;
    this.machine.wake(this);
  }

  init(): void {
    this.started = false;
    this.halted = false;
    this.interruptFlag = false;
    this.lapic.reset();
  }

  startup(): void {
    if (!this.started) this.machine.start(this.id);
  }

  extint(): void {}
}
