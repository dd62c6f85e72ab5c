/**
 * Where trace records go: a ring, or straight to a consumer. Linux: kernel/trace/ring_buffer.c.
 * Records of all processors stand in one sequence, which is the order in which the machine ran.
 */
import { current, this_processor } from '../current.ts';
import type { Tracepoint, Values } from './tracepoint.ts';

export interface TraceRecord {
  readonly point: Tracepoint;
  readonly values: Values<Tracepoint['fields']>;
  /** Cycles on the processor it happened on. */
  readonly time: number;
  readonly cpu: number;
  readonly comm: string;
  readonly pid: number;
  /** The flags column: interrupts off, need-resched, hard-irq, preempt depth. */
  readonly flags: string;
}

export class TraceBuffer {
  readonly wants = new Set<Tracepoint>();
  /** Takes each record as it is made (`--trace FILE`); without one the newest `capacity` records are kept. */
  consumer: ((record: TraceRecord) => void) | undefined;
  readonly capacity = 100_000;
  readonly #ring: TraceRecord[] = [];
  #next = 0;

  enable(point: Tracepoint): void {
    if (this.wants.has(point)) return;
    this.wants.add(point);
    point.enabled++;
    if (point.group !== undefined) point.group.enabled++;
  }

  disable(point: Tracepoint): void {
    if (!this.wants.delete(point)) return;
    point.enabled--;
    if (point.group !== undefined) point.group.enabled--;
  }

  record(point: Tracepoint, values: Values<Tracepoint['fields']>): void {
    const p = this_processor();
    const task = current();
    const flags = `${p.interruptFlag ? '.' : 'd'}${task.need_resched ? 'N' : '.'}..1`;
    const record = { point, values, time: p.clock, cpu: p.id, comm: task.comm, pid: task.pid, flags };
    if (this.consumer) this.consumer(record);
    else {
      this.#ring[this.#next] = record;
      this.#next = (this.#next + 1) % this.capacity;
    }
  }

  /** The records kept, oldest first. */
  records(): TraceRecord[] {
    return this.#ring.length < this.capacity ? [...this.#ring] : [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
  }

  clear(): void {
    this.#ring.length = 0;
    this.#next = 0;
  }
}
