/**
 * What a chip is connected to: time and lines. Chips know nothing of who provides them, so one model of a chip serves
 * the machine's board, KVM's in-kernel devices, a VMM's devices and tests.
 */

/** A thing that will happen; opaque to the chip. */
export interface Timer {
  readonly time: number;
}

/** Time in cycles. */
export interface Clock<T extends Timer = Timer> {
  now(): number;
  at(cycles: number, fn: () => void): T;
  cancel(timer: T): void;
}

/** An interrupt or signal line; called with the level on changes, may be called again with the same level. */
export type Line = (level: boolean) => void;
