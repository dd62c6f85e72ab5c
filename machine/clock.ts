/**
 * Events of the machine's virtual time: what devices want to happen at an exact cycle. Ordered by (time, insertion),
 * so that two events of one cycle fire in the order they were asked for, on every run.
 */
import type { Timer } from './chips/wires.ts';

export class MachineEvent implements Timer {
  time: number;
  sequence: number;
  fn: (() => void) | undefined;
  constructor(time: number, sequence: number, fn: () => void) {
    this.time = time;
    this.sequence = sequence;
    this.fn = fn;
  }
}

const before = (a: MachineEvent, b: MachineEvent): boolean => a.time < b.time || (a.time === b.time && a.sequence < b.sequence);

/** A binary heap. A cancelled event stays in it without its function until it comes to the top. */
export class EventQueue {
  /** Time of the next live event, Infinity if there is none: the machine's loop reads it on every step. */
  nextTime = Number.POSITIVE_INFINITY;
  private readonly heap: MachineEvent[] = [];
  private sequence = 0;

  add(time: number, fn: () => void): MachineEvent {
    const event = new MachineEvent(time, this.sequence++, fn);
    const heap = this.heap;
    let i = heap.length;
    heap.push(event);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = event;
    if (time < this.nextTime) this.nextTime = time;
    return event;
  }

  /** Cancelling an event that has fired or was cancelled does nothing. */
  cancel(event: MachineEvent): void {
    event.fn = undefined;
    this.dropCancelled();
  }

  /** Takes the next event off the queue and calls it; the queue must not be empty. It may add and cancel others. */
  fire(): void {
    const event = this.removeTop();
    const fn = event.fn!;
    event.fn = undefined;
    this.dropCancelled();
    fn();
  }

  private dropCancelled(): void {
    while (this.heap.length > 0 && this.heap[0]!.fn === undefined) this.removeTop();
    this.nextTime = this.heap.length > 0 ? this.heap[0]!.time : Number.POSITIVE_INFINITY;
  }

  private removeTop(): MachineEvent {
    const heap = this.heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    const n = heap.length;
    if (n === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= n) break;
      if (child + 1 < n && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}
