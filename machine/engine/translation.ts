/** What `emit` functions are given: operands, flags and memory of one instruction, in whatever tier. */
export interface Translation {
  readonly size: number;
}
