/** Machine code that reaches for whatever there is: made from a seed, for guests that do their worst. */

/** Memory that such code thinks it has. */
export const MEMORY = 0x80000;

/** xorshift32: numbers that make a run what it is. */
export class Dice {
  private state: number;
  constructor(seed: number) { this.state = seed | 1; }
  word(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (this.state = x) >>> 0;
  }
  below(n: number): number { return this.word() % n; }
  pick<T>(of: readonly T[]): T { return of[this.below(of.length)]!; }
  bytes(n: number): number[] { return Array.from({ length: n }, () => this.word() & 0xff); }
  le32(): number[] { return this.bytes(4); }
  /** An address worth trying: in memory, at its end, around 1 MiB, anywhere. */
  address(): number { return this.pick([this.below(MEMORY), MEMORY - this.below(16), 0x100000 + this.below(0x1000), 0xfee00000 + this.below(0x1000), this.word()]); }
}
export const le = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, v >>> 24];

/** Instructions that reach for something: one of them with random operands. Those with 32-bit addresses have a 67 in 16-bit code. */
export function reach(d: Dice, width: 16 | 32 | 64): number[] {
  const wide = width === 16 ? [0x66, 0x67] : [];
  const operand = width === 16 ? [0x66] : [];
  const reg = d.below(8);
  const at = (opcode: number[], r = reg): number[] => (width === 64 ? [...wide, ...opcode, r << 3 | 4, 0x25, ...le(d.address() & 0x7fffffff)] : [...wide, ...opcode, r << 3 | 5, ...le(d.address())]);
  return d.pick<() => number[]>([
    () => at([0x8b]), () => at([0x8b]), () => at([0x89]), () => at([0x89]), () => at([0x87]), () => at([0x01]), () => at([0x0f, 0xb1]), () => at([0xf0, 0x0f, 0xc1]),
    () => [...operand, 0xb8 + reg, ...le(d.address())],
    () => [...operand, 0xbe, ...le(d.address()), ...operand, 0xbf, ...le(d.address()), ...operand, 0xb9, ...le(d.below(600)), d.pick([0xf2, 0xf3]), ...wide, d.pick([0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xa6])],
    () => [...operand, 0xba, ...le(d.below(0x10000)), d.pick([0xec, 0xed, 0xee, 0xef])],
    () => [...operand, 0xbf, ...le(d.address()), ...operand, 0xb9, ...le(d.below(40)), ...operand, 0xba, ...le(d.below(0x10000)), 0xf3, ...wide, d.pick([0x6c, 0x6d, 0x6e, 0x6f])],
    () => [...operand, 0xb9, ...d.pick([le(d.below(0x1000)), le(0xc0000080 + d.below(8)), le(0x4b564d00 + d.below(8)), d.le32()]), 0x0f, d.pick([0x30, 0x32])],
    () => at([0x0f, 0x01], d.below(8)), () => at([0x0f, 0x00], d.below(8)), () => at([0x0f, 0xae], d.below(8)), () => at([0x0f, 0xc7], d.pick([1, 3, 4, 5])), () => at([0xdd], d.below(8)),
    () => [0x0f, d.pick([0x20, 0x22]), 0xc0 | d.pick([0, 2, 3, 4, 8]) << 3 | reg], () => [0x0f, d.pick([0x21, 0x23]), 0xc0 | d.word() & 0x3f],
    () => [0x8e, 0xc0 | d.below(6) << 3 | reg], () => [0xff, 0xe0 | reg], () => [0xcd, d.word() & 0xff], () => [0x0f, 0x01, d.pick([0xc1, 0xd0, 0xd1, 0xf9, 0xc8, 0xc9])],
    () => [0x0f, 0xa2], () => [d.pick([0x50, 0x58, 0x60, 0x61, 0x9c, 0x9d, 0xcf, 0xcb, 0xc3, 0xfa, 0xfb, 0xf4, 0x06, 0x07, 0x0e]) + 0],
    () => [0xea, ...le(d.address()).slice(0, width === 16 ? 2 : 4), ...d.bytes(2)], () => d.bytes(6), () => [0xeb, d.word() & 0xff],
  ])();
}
