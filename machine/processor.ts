/**
 * One processor: a clock, a register file, a local APIC, and how ring 0 sees it. The kernel's own code is TypeScript
 * between two doors (see Ring0 in machine.ts); everything below ring 0's calls is silicon.
 *
 * The clock is in TSC cycles. A step runs until `limit`, which is never past this processor's timer deadline nor the
 * machine's next event, so a timer interrupt is taken at its exact cycle.
 */
import { type Outcome, deliverFault, kernelEvent, singleStepping, stepOne, takeEvents } from './cpu/interrupts.ts';
import { resetMsrs } from './cpu/msrs.ts';
import { stillWaits } from './cpu/privileged.ts';
import { ACTIVITY_MWAIT, ACTIVITY_SHUTDOWN, CpuState, EVENT_INTERRUPT, EVENT_NMI, EVENT_SMI, EVENT_STOP, STATE, cpu_state } from './cpu/state.ts';
import { ENGINE } from './engine/layout.ts';
import { STOP_FAULT, type StopReason, elapsed, shorten } from './engine/stop.ts';
import { holdDoubles } from '../lib/doubles.ts';
import { LocalApic, type LapicHost } from './chips/lapic.ts';
import { LAPIC_TIMER_PERIOD } from './board.ts';
import { QUANTUM } from './costs.ts';
import { ProcessorBus } from './cpu-bus.ts';
import { Vmx } from './vmx/vmx.ts';
import type { Machine } from './machine.ts';

/** Why ring 3 came back to ring 0; cpu/interrupts.ts's kernelEvent says which exception. */
export type UserStop = 'limit' | typeof kernelEvent.kind;

const RETIRED = STATE.retired >>> 2;

export class Processor implements LapicHost {
  readonly id: number;
  readonly machine: Machine;
  readonly cpu: CpuState;
  readonly lapic: LocalApic;
  readonly vmx: Vmx;
  clock = 0;
  /** End of the step in progress; lowered when something nearer is programmed. */
  limit = 0;
  /** When the first of the other processors wants to run; Infinity: none ever. Holds during a step. */
  rival = Number.POSITIVE_INFINITY;
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
    this.cpu.bus = new ProcessorBus(this);
    this.cpu.tscKhz = machine.tscKhz;
    this.cpu.costs = machine.costs;
    this.lapic = new LocalApic(id, this, machine.apicBus, LAPIC_TIMER_PERIOD);
    this.vmx = new Vmx(this);
    holdDoubles<'clock' | 'limit'>(this, 'clock', 'limit');
    holdDoubles(this.retired, 'user', 'guest');
    resetMsrs(this.cpu);
  }

  charge(cycles: number): void {
    this.clock += cycles;
  }

  /** The rest of this step is given away: whoever is behind runs next. */
  endQuantum(): void {
    this.limit = Math.min(this.limit, this.clock);
  }
  /** Something is due sooner than the step's limit. Exact in the midst of machine code too. */
  stopAt(cycle: number): void {
    if (cycle >= this.limit) return;
    this.limit = cycle;
    shorten(this.cpu, cycle - this.now());
  }
  /** Another processor wants to run, from that cycle on. */
  overtaken(cycle: number): void {
    if (this.rival === Number.POSITIVE_INFINITY) this.readTsc();
    this.rival = Math.min(this.rival, cycle);
    this.cpu.u32[ENGINE.quick >>> 2] = 0;
    this.stopAt(cycle + QUANTUM);
  }
  /** PAUSE: the step ends if another processor is behind this one. */
  pause(): void {
    if (this.now() < this.rival) return;
    this.endQuantum();
    this.cpu.engine.stopSoon(this.cpu);
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

  // -------------------------------------------------------------- machine code

  /** Runs machine code for that many cycles, or until the engine stops for another reason; the clock moves along. */
  execute(cycles: number): StopReason {
    const w = this.cpu.u32;
    const before = w[RETIRED]!;
    const { engine } = this.machine;
    const stop = engine.run(this.cpu, cycles);
    this.clock += engine.used;
    // Code that ran alone may have read any time until now.
    if (this.rival === Number.POSITIVE_INFINITY) this.readTsc();
    const retired = (w[RETIRED]! - before) >>> 0;
    if (this.cpu.inGuest) this.retired.guest += retired;
    else this.retired.user += retired;
    return stop;
  }

  /**
   * The register file with the host's state in it. Ring 0 asks for it before it sets up ring 3: after a VM exit the
   * guest's system registers stand there until somebody needs the place.
   */
  hostRegisters(): CpuState {
    this.vmx.evict();
    return this.cpu;
  }

  /**
   * Ring 3, from the registers in `cpu`, until the step's limit or something for ring 0. An interrupt that is pending
   * stays so: ring 0 acknowledges it.
   */
  runUser(): UserStop {
    this.machine.startEngine();
    this.cpu.door = 'kernel';
    return this.runCode() === 'kernel' ? kernelEvent.kind : 'limit';
  }

  /**
   * Machine code with no kernel under it, through its own IDT, until the step's limit. 'halted': HLT with nothing
   * pending; 'shutdown': a triple fault.
   */
  runBare(): 'limit' | 'halted' | 'shutdown' {
    this.machine.startEngine();
    this.cpu.door = 'architectural';
    const outcome = this.runCode();
    const activity = this.cpu.u32[STATE.activity >>> 2];
    // In MWAIT it goes on when another processor writes: its turns must not end.
    return outcome === 'shutdown' || activity === ACTIVITY_SHUTDOWN ? 'shutdown' : activity !== 0 && activity !== ACTIVITY_MWAIT ? 'halted' : 'limit';
  }

  /** One instruction; for stepOne(). */
  readonly executeOne = (): StopReason => this.execute(1);

  /** Until the limit, or an outcome that ends the run. */
  private runCode(): Outcome {
    const { cpu } = this;
    while (this.clock < this.limit) {
      let outcome: Outcome = cpu.pending === 0 ? 'none' : takeEvents(cpu);
      let cost = this.machine.costs.interruptDelivery;
      if (outcome === 'none') {
        cost = this.machine.costs.exception;
        const activity = cpu.u32[STATE.activity >>> 2];
        if (activity === ACTIVITY_MWAIT && stillWaits(cpu)) this.clock = this.limit;
        if (cpu.u32[STATE.activity >>> 2] !== 0) return 'none';
        outcome = singleStepping(cpu) ? stepOne(cpu, this.executeOne) : this.execute(this.limit - this.clock) === STOP_FAULT ? deliverFault(cpu) : 'none';
        if ((cpu.pending & EVENT_STOP) !== 0) {
          cpu.pending &= ~EVENT_STOP;
          return 'kernel';
        }
      }
      if (outcome === 'done') this.clock += cost;
      else if (outcome !== 'none') return outcome;
    }
    return 'none';
  }

  // -------------------------------------------------------------- what the local APIC reports

  /** Exact in the midst of machine code too. */
  now(): number {
    return this.clock + elapsed(this.cpu);
  }

  /**
   * The time stamp counter as software reads it. Processors take turns, so the clock of one may be ahead of another's that runs
   * next; yet who learns of a reading must not read less: until its clock has come so far, a processor reads what was read last.
   */
  readTsc(): number {
    const { tscRead } = this.machine;
    const now = this.now();
    if (now > tscRead[0]!) tscRead[0] = now;
    return tscRead[0]!;
  }

  /** CpuBus.timeAlone(), between two runs. */
  timeAlone(): number {
    return this.rival === Number.POSITIVE_INFINITY && this.clock >= this.machine.tscRead[0]! ? this.clock : -1;
  }

  deadlineChanged(): void {
    this.stopAt(this.lapic.deadline);
  }

  pendingChanged(vector: number): void {
    if (vector < 0) {
      this.cpu.pending &= ~EVENT_INTERRUPT;
      return;
    }
    this.cpu.pending |= EVENT_INTERRUPT;
    this.cpu.engine.stopSoon(this.cpu);
    this.machine.wake(this);
  }

  nmi(): void {
    this.nmiPending = true;
    this.cpu.pending |= EVENT_NMI;
    this.cpu.engine.stopSoon(this.cpu);
    this.machine.wake(this);
  }

  smi(): void {
    this.cpu.pending |= EVENT_SMI;
    this.cpu.engine.stopSoon(this.cpu);
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
