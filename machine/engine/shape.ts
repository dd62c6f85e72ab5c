/**
 * What the code of a handler depends on. Instructions of one shape share a handler; everything else about them is in
 * their records.
 */
import type { Row } from '../cpu/opcode-row.ts';

export type SegmentUse =
  | 'none'      // linear = offset: 64-bit mode, or a flat segment
  | 'base'      // 64-bit mode with FS or GS: the base is added, nothing is checked
  | 'checked';  // rights, limit and base

export interface Shape {
  readonly row: Row;
  readonly opSize: 2 | 4 | 8;
  readonly codeSize: 2 | 4 | 8;
  readonly stackSize: 2 | 4 | 8;
  /** No segment of ES, CS, SS, DS needs checking or adding. */
  readonly flat: boolean;
  /** The r/m operand is memory; the next three describe it. String instructions and moffs use them too, LOOP and JrCXZ the first. */
  readonly memory: boolean;
  readonly addrSize: 2 | 4 | 8;
  readonly segment: SegmentUse;
  readonly indexed: boolean;
  /** 0xf3, 0xf2 or 0. */
  readonly rep: number;
  /** A relative jump whose target is in the same page: it is linked to the target's record. */
  readonly near: boolean;
}

const log2 = (size: number): number => size === 8 ? 2 : size === 4 ? 1 : 0;
const SEGMENT_USES = ['none', 'base', 'checked'];

/** The shape as a number; `id` is the row's. */
export const shapeKey = (id: number, s: Shape): number =>
  id * 0x1_0000 + (log2(s.opSize) | log2(s.codeSize) << 2 | log2(s.stackSize) << 4 | (s.flat ? 1 << 6 : 0) | (s.near ? 1 << 7 : 0)
    | log2(s.addrSize) << 9 | (s.memory ? 1 << 8 | SEGMENT_USES.indexOf(s.segment) << 11 | (s.indexed ? 1 << 13 : 0) : 0)) * 4
    + (s.rep === 0xf3 ? 2 : s.rep === 0xf2 ? 1 : 0);
