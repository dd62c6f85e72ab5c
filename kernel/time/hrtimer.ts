/**
 * Timers that fire at an exact cycle. Each processor keeps its own queue; the local APIC is always programmed to the
 * first of it.
 * Linux: kernel/time/hrtimer.c, clockevents in arch/x86/kernel/apic/apic.c
 */
import { kernelVariable, machine, this_processor } from '../current.ts';
import type { Processor } from '../../machine/processor.ts';

class TimerBase {
  readonly processor: Processor;
  /** By time; of equal times the one started first comes first. */
  readonly queue: hrtimer[] = [];
  constructor(processor: Processor) { this.processor = processor; }

  insert(timer: hrtimer): void {
    const { queue } = this;
    let i = queue.length;
    while (i > 0 && queue[i - 1]!.expires > timer.expires) i--;
    queue.splice(i, 0, timer);
    if (i === 0) this.program();
  }

  remove(timer: hrtimer): void {
    const i = this.queue.indexOf(timer);
    if (i < 0) return;
    this.queue.splice(i, 1);
    if (i === 0) this.program();
  }

  program(): void {
    const first = this.queue[0];
    this.processor.lapic.tscDeadline = first === undefined ? 0 : Math.max(first.expires, 1);
  }

  /** Fires what is due; functions run in interrupt context and may start timers. */
  run(): void {
    const { queue, processor } = this;
    for (let timer = queue[0]; timer !== undefined && timer.expires <= processor.clock; timer = queue[0]) {
      queue.shift();
      timer.base = undefined;
      timer.fn(timer);
    }
    this.program();
  }
}

const bases = kernelVariable(() => machine().processors.map((p) => new TimerBase(p)));

export class hrtimer {
  expires = 0;
  /** Called in interrupt context on the processor that started it, once per start. */
  fn: (timer: hrtimer) => void;
  base: TimerBase | undefined;
  constructor(fn: (timer: hrtimer) => void) { this.fn = fn; }

  get active(): boolean { return this.base !== undefined; }

  /** Fires at that cycle of this processor's TSC; at once when it has passed. Moves a timer already started. */
  start(at: number): void { this.start_on(this_processor().id, at); }

  /** The same on another processor. */
  start_on(cpu: number, at: number): void {
    this.base?.remove(this);
    this.expires = at;
    this.base = bases()[cpu]!;
    this.base.insert(this);
  }

  /** True when it had been going to fire. */
  cancel(): boolean {
    if (this.base === undefined) return false;
    this.base.remove(this);
    this.base = undefined;
    return true;
  }
}

/** The local timer interrupt. */
export function hrtimer_interrupt(): void { bases()[this_processor().id]!.run(); }
