/** What a loader makes of a kernel file: bytes to put into guest memory and the state the processor starts in. */

/** A stretch of guest memory: the bytes, then zeroes up to `memorySize`. */
export interface Segment {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly memorySize: number;
}

export interface BootImage {
  /** Disjoint, inside RAM. */
  readonly chunks: readonly Segment[];
  /** `real`: real mode with every segment at 0. `protected`: flat 32-bit segments, paging off. */
  readonly mode: 'real' | 'protected';
  readonly registers: { readonly rip: number; readonly rax?: number; readonly rbx?: number; readonly rdx?: number; readonly rsp?: number };
}
