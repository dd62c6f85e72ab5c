/**
 * The whole machine: RAM, processors, chips, and the loop that lets them take turns.
 *
 * Several processors run interleaved on one JavaScript thread. Always the one whose clock is furthest behind runs, up
 * to its own timer, the machine's next event, or a quantum past the next one behind: so no two clocks of running
 * processors are further apart than that, and everything has one order. Ties go to the lower id.
 */
import { PAGE_SIZE } from '../abi/space.ts';
import type { Costs } from './costs.ts';
import { costs as defaultCosts, QUANTUM, tsc_khz } from './costs.ts';
import type { Platform } from './platform.ts';
import type { Clock } from './chips/wires.ts';
import { ApicBus } from './chips/apic-bus.ts';
import { AcpiPm } from './chips/acpi-pm.ts';
import { IoApic } from './chips/ioapic.ts';
import type { SerialPort } from './chips/uart16550.ts';
import { Uart16550 } from './chips/uart16550.ts';
import { COM1_IRQ } from './board.ts';
import { Engine } from './engine/engine.ts';
import { EventQueue, type MachineEvent } from './clock.ts';
import { Processor } from './processor.ts';
import { Ram } from './ram.ts';
import { Random } from './random.ts';

export type { MachineEvent } from './clock.ts';

export const MAX_CPUS = 16;

export interface MachineOptions {
  /** Bytes of RAM. */
  memory: number;
  cpus: number;
  seed: number;
  platform: Platform;
  tscKhz?: number;
  costs?: Partial<Costs>;
}

/** What runs at ring 0. The kernel implements it. */
export interface Ring0 {
  /** Runs processor p from p.clock until p.clock >= p.limit or p.halted. Called only by Machine.run, never re-entered. */
  step(p: Processor): void;
}

/** A processor that has nobody to wait for still comes back this often, so that the host is never kept out for long. */
const LONGEST_STEP = 100 * QUANTUM;

/** When a processor can go on: a halted one at its timer's deadline. */
const dueTime = (p: Processor): number => (p.halted && p.lapic.deadline > p.clock ? p.lapic.deadline : p.clock);

/** Bytes of console output kept until the host is asked to print them. */
const CONSOLE_BUFFER = 4096;

/**
 * The far side of COM1's cable is the platform's console. What is typed at a terminal does not come this way: the host
 * schedules an event that calls uart.receive, because the time of a key press is an input too.
 */
class ConsoleCable implements SerialPort {
  readonly flowControl: boolean;
  private readonly platform: Platform;
  private readonly buffer = new Uint8Array(CONSOLE_BUFFER);
  private used = 0;
  constructor(platform: Platform) {
    this.platform = platform;
    this.flowControl = !platform.console.isTerminal;
  }
  transmit(byte: number): void {
    if (this.used === CONSOLE_BUFFER) this.flush();
    this.buffer[this.used++] = byte;
  }
  receive(max: number): Uint8Array | undefined | 'eof' {
    return this.flowControl ? this.platform.console.read(max) : undefined;
  }
  flush(): void {
    if (this.used === 0) return;
    const bytes = this.buffer.slice(0, this.used);
    this.used = 0;
    this.platform.console.write(bytes);
  }
}

export class Machine implements Clock<MachineEvent> {
  readonly ram: Ram;
  readonly processors: Processor[] = [];
  readonly apicBus = new ApicBus();
  readonly ioapic: IoApic;
  readonly uart: Uart16550;
  readonly acpi: AcpiPm;
  readonly random: Random;
  readonly platform: Platform;
  readonly costs: Costs;
  readonly tscKhz: number;
  /** The highest time stamp any processor has read: Processor.readTsc(). */
  readonly tscRead = new Float64Array(1);
  /** Exit status given to powerOff. */
  status = 0;
  /** Runs machine code of all processors. There from startEngine on: a machine that never runs any does without. */
  engine!: Engine;
  private readonly cable: ConsoleCable;
  private readonly events = new EventQueue();
  private ring0: Ring0 | undefined;
  private current: Processor | undefined;
  /** Machine time between steps. */
  private time = 0;
  private off = false;

  constructor(options: MachineOptions) {
    const { cpus } = options;
    if (!(Number.isInteger(cpus) && cpus >= 1 && cpus <= MAX_CPUS)) throw new RangeError(`${cpus} processors: give 1 to ${MAX_CPUS}`);
    this.platform = options.platform;
    this.costs = { ...defaultCosts, ...options.costs };
    this.tscKhz = options.tscKhz ?? tsc_khz;
    this.ram = new Ram(options.memory);
    this.random = new Random(options.seed);
    this.ioapic = new IoApic((message) => this.apicBus.send(message));
    this.apicBus.onEoi = (vector) => this.ioapic.eoi(vector);
    this.cable = new ConsoleCable(options.platform);
    this.uart = new Uart16550(this.cable, (level) => this.ioapic.setIrq(COM1_IRQ, level));
    this.acpi = new AcpiPm(() => this.powerOff(this.status));
    for (let id = 0; id < cpus; id++) this.processors.push(new Processor(this, id));
    for (const { cpu } of this.processors) cpu.processors = cpus;
    this.apicBus.deliver = (lapic, message) => {
      const target = this.processors[lapic.id]!;
      const now = this.now();
      // One that is behind must not see the message before it was sent.
      if (target.started && !target.halted && target !== this.current && target.clock < now) this.events.add(now, () => lapic.receive(message));
      else lapic.receive(message);
    };
  }

  /** Called before the first machine code is run. */
  startEngine(): void {
    if (this.engine !== undefined) return;
    this.engine = new Engine(this.ram, this.costs);
    this.ram.codeWritten = (page) => this.engine.codeWritten(this.processors[0]!.cpu, page, PAGE_SIZE);
    this.ram.codeGone = (page) => this.engine.code.forget(page);
    for (const { cpu } of this.processors) {
      const flags = cpu.engine.readFlags(cpu);
      this.engine.attach(cpu);
      cpu.engine.writeFlags(cpu, flags);
    }
  }

  /** Puts the software in: processor 0 starts in it. */
  install(ring0: Ring0): void {
    this.ring0 = ring0;
    this.start(0);
  }

  /** What INIT and SIPI do to an application processor: it takes part from now on. */
  start(id: number): void {
    const p = this.processors[id];
    if (p === undefined) throw new RangeError(`processor ${id} of ${this.processors.length} does not exist`);
    if (p.started) return;
    p.started = true;
    p.halted = false;
    p.clock = Math.max(p.clock, this.now());
    this.letRun(p);
  }

  /** Cycles: the clock of the processor that runs now, else the time the machine has reached. */
  now(): number {
    return this.current === undefined ? this.time : this.current.now();
  }

  /** The processor whose step is in progress. */
  get running(): Processor | undefined {
    return this.current;
  }

  /** Calls fn at that machine time, between two steps; a time in the past means as soon as this step has ended. */
  at(cycles: number, fn: () => void): MachineEvent {
    const event = this.events.add(cycles, fn);
    this.current?.stopAt(cycles);
    return event;
  }

  cancel(event: MachineEvent): void {
    this.events.cancel(event);
  }

  /** Ends HLT of a processor that got an interrupt. Called by the processor. */
  wake(p: Processor): void {
    if (!p.halted) return;
    p.halted = false;
    p.clock = Math.max(p.clock, this.now());
    this.letRun(p);
  }

  powerOff(status: number): void {
    this.status = status;
    this.off = true;
    this.current?.endQuantum();
  }

  /** Cycle of the next event or timer; Infinity if there is none, the present if a processor has work. */
  nextWake(): number {
    let wake = this.events.nextTime;
    for (const p of this.processors) if (p.started) wake = Math.min(wake, dueTime(p));
    return wake;
  }

  /** The clock of the processor furthest ahead: what comes from outside is scheduled later than that. */
  latest(): number {
    let latest = this.time;
    for (const p of this.processors) latest = Math.max(latest, p.clock);
    return latest;
  }

  /**
   * Interleaves processors until the one furthest behind has reached `until`, in whole steps: how the host divides a
   * run into pieces changes nothing inside. Time never jumps past `until`. 'idle': all are halted and nothing is due
   * ever, only an event from outside could wake it.
   */
  run(until: number): 'paused' | 'idle' | 'off' {
    if (this.ring0 === undefined) throw new Error('Machine.run before install: there is no ring 0 to run');
    try {
      return this.interleave(until, this.ring0);
    } finally {
      this.current = undefined;
      this.cable.flush();
    }
  }

  private interleave(until: number, ring0: Ring0): 'paused' | 'idle' | 'off' {
    const { processors, events } = this;
    const n = processors.length;
    while (!this.off) {
      let next: Processor | undefined;
      let first = Number.POSITIVE_INFINITY;
      let second = Number.POSITIVE_INFINITY;
      for (let i = 0; i < n; i++) {
        const p = processors[i]!;
        if (!p.started) continue;
        const due = dueTime(p);
        if (due < first) {
          second = first;
          first = due;
          next = p;
        } else if (due < second) {
          second = due;
        }
      }
      const eventTime = events.nextTime;
      const now = eventTime <= first ? eventTime : first;
      if (now >= until) return now === Number.POSITIVE_INFINITY ? 'idle' : 'paused';
      if (now > this.time) this.time = now;
      if (eventTime <= first) {
        events.fire();
        continue;
      }
      const p = next!;
      if (p.halted) p.clock = first;
      if (p.lapic.deadline <= p.clock) {
        this.current = p;
        p.lapic.expire(p.clock);
        this.current = undefined;
        if (p.halted) continue;
      }
      p.rival = second;
      this.step(ring0, p, Math.min(p.lapic.deadline, events.nextTime, second + QUANTUM, p.clock + LONGEST_STEP));
    }
    return 'off';
  }

  private step(ring0: Ring0, p: Processor, limit: number): void {
    const start = p.clock;
    p.limit = limit;
    this.current = p;
    ring0.step(p);
    this.current = undefined;
    // A step that took no time and went not to sleep would be repeated for ever.
    if (p.clock === start && !p.halted) p.clock++;
  }

  /** A processor has come back: whoever runs now must not run far past it. */
  private letRun(p: Processor): void {
    if (this.current !== p) this.current?.overtaken(p.clock);
  }
}
