/**
 * Memory operands of a basic block that lie a known distance from each other: fields behind one pointer, a stack frame,
 * a row of PUSHes. A region looks for the page of such a span once, where its first operand is accessed; if all of the span lies in
 * that page the others are at known places behind its host address. Which operands those are is found out here, before code is emitted.
 *
 * A register's value is written as an unknown (a number) plus a constant, which ADD, PUSH, LEA and their like move. What is said of
 * instructions to come is a guess that nothing but speed depends on; while code is emitted every write of a register counts.
 */
import { RIP_BASE } from '../cpu/opcode-row.ts';
import { RBP, RSP } from '../cpu/state.ts';
import type { HotInsn } from './hot-translation.ts';
import { operandSize, parseOperand } from './operand.ts';

/** Register numbers of what displacements without a base count from. */
const NO_BASE = RIP_BASE + 1;
const MAX_SPAN = 512;
/** Operands from which on one look is cheaper: it costs as much as two others, and a register. */
const MIN_OPERANDS = 4;

/** The values of registers, each an unknown plus a constant. */
export class Values {
  private readonly unknown: number[] = Array.from({ length: NO_BASE + 1 }, (_, n) => n);
  private readonly plus: number[] = new Array<number>(NO_BASE + 1).fill(0);
  private next = NO_BASE + 1;
  of(n: number): { readonly unknown: number; readonly plus: number } { return { unknown: this.unknown[n]!, plus: this.plus[n]! }; }
  /** Register n has been written. */
  forget(n: number): void {
    this.unknown[n] = this.next++;
    this.plus[n] = 0;
  }
  /** An instruction has run that was at `before`: registers it moves by a constant are known again. */
  follow(i: HotInsn, before: Values): void {
    const m = movement(i);
    if (!m) return;
    this.unknown[m.register] = before.unknown[m.from]!;
    this.plus[m.register] = before.plus[m.from]! + m.by;
  }
  copy(): Values {
    const v = new Values();
    for (let n = 0; n <= NO_BASE; n++) {
      v.unknown[n] = this.unknown[n]!;
      v.plus[n] = this.plus[n]!;
    }
    v.next = this.next;
    return v;
  }
}

/** register = from + by, when an instruction does just that to it, with all of the bits that addresses are made of. */
function movement({ insn, shape }: HotInsn): { readonly register: number; readonly from: number; readonly by: number } | undefined {
  const { mnemonic, operands } = insn.row;
  const { opSize, stackSize, codeSize } = shape;
  const to = (register: number, from: number, by: number) => ({ register, from, by });
  const wide = codeSize === 8 ? 8 : 4;
  if (STACK.has(mnemonic) && stackSize !== wide) return undefined;
  if (mnemonic === 'PUSH' || mnemonic === 'CALL') return to(RSP, RSP, -opSize);
  if (mnemonic === 'POP') return operands[0]![0] === 'Z' && insn.rm === RSP ? undefined : to(RSP, RSP, opSize);
  if (mnemonic === 'LEAVE') return to(RSP, RBP, opSize);
  if (opSize !== wide) return undefined;
  if (mnemonic === 'LEA' && insn.index < 0 && insn.base >= 0 && insn.base < RIP_BASE && insn.addrSize === opSize) return to(insn.reg, insn.base, insn.disp);
  if (mnemonic === 'MOV' && insn.mod === 3 && operands[1] === 'Gv') return to(insn.rm, insn.reg, 0);
  if (mnemonic === 'MOV' && insn.mod === 3 && operands[0] === 'Gv' && operands[1] === 'Ev') return to(insn.reg, insn.rm, 0);
  if (insn.mod !== 3 || operands[0] !== 'Ev' && operands[0] !== 'Zv') return undefined;
  const sign = mnemonic === 'ADD' || mnemonic === 'INC' ? 1 : mnemonic === 'SUB' || mnemonic === 'DEC' ? -1 : 0;
  if (sign === 0) return undefined;
  if (operands.length === 1) return to(insn.rm, insn.rm, sign);
  return operands[1]![0] === 'I' ? to(insn.rm, insn.rm, sign * Number(BigInt.asIntN(32, insn.imm))) : undefined;
}

const STACK = new Set(['PUSH', 'CALL', 'POP', 'LEAVE']);

/** An operand of an instruction, and how far it lies from a register's value before the instruction. */
export interface Place { readonly register: number; readonly offset: number }
/** That of the ModRM operand, if nothing else is part of its address. */
export function operandPlace({ insn, shape, end }: HotInsn): Place | undefined {
  if (!shape.memory || shape.segment !== 'none' || shape.addrSize !== (shape.codeSize === 8 ? 8 : 4) || insn.index >= 0) return undefined;
  if (insn.base < 0) return { register: NO_BASE, offset: insn.disp };
  return { register: insn.base, offset: insn.base === RIP_BASE ? insn.disp + end : insn.disp };
}

const READS = new Set(['CMP', 'TEST', 'BT', 'PUSH', 'CALL', 'JMP', 'MUL', 'IMUL', 'DIV', 'IDIV', 'COMISS', 'COMISD', 'UCOMISS', 'UCOMISD', 'PTEST']);
interface Access extends Place { readonly size: number; readonly write: boolean; readonly stack: boolean }
function accesses(i: HotInsn): Access[] {
  const { insn, shape } = i;
  const { mnemonic, operands } = insn.row;
  const found: Access[] = [];
  const place = mnemonic === 'LEA' || mnemonic === 'NOP' ? undefined : operandPlace(i);
  if (place) {
    const at = operands.findIndex((o) => 'EMWQ'.includes(o[0]!));
    if (at >= 0) found.push({ ...place, size: operandSize(parseOperand(operands[at]!), shape.opSize), write: at === 0 && !READS.has(mnemonic), stack: false });
  }
  if (mnemonic === 'PUSH' || mnemonic === 'CALL') found.push({ register: RSP, offset: -shape.opSize, size: shape.opSize, write: true, stack: true });
  if (mnemonic === 'POP' || mnemonic === 'RET') found.push({ register: RSP, offset: 0, size: shape.opSize, write: false, stack: true });
  return found;
}

/** Of an access: how far its span reaches to both sides of its address, and whether others come after it. */
export interface Reach { readonly below: number; readonly above: number; readonly last: number }
export type Reaches = ReadonlyMap<string, Reach>;
/** Key of an instruction's access: its number in the block, to the stack or to its operand. */
export const reachKey = (k: number, stack: boolean, write: boolean): string => `${k}${stack ? 's' : 'm'}${write ? 'w' : 'r'}`;

/** Spans of a block, at each access that others follow. `written`: registers an instruction replaces. */
export function planSpans(insns: readonly HotInsn[], written: (i: HotInsn, into: Set<number>) => void): Reaches {
  const values = new Values();
  const all: { readonly key: string; readonly k: number; readonly unknown: number; readonly at: number; readonly size: number; readonly write: boolean }[] = [];
  insns.forEach((i, k) => {
    for (const a of accesses(i)) {
      const { unknown, plus } = values.of(a.register);
      all.push({ key: reachKey(k, a.stack, a.write), k, unknown, at: plus + a.offset, size: a.size, write: a.write });
    }
    const before = values.copy();
    const changed = new Set<number>();
    written(i, changed);
    for (const n of changed) values.forget(n);
    values.follow(i, before);
  });
  const reaches = new Map<string, Reach>();
  all.forEach((a, n) => {
    let low = a.at, high = a.at + a.size, last = a.k, operands = 1;
    for (const b of all.slice(n + 1)) {
      if (b.unknown !== a.unknown || b.write !== a.write) continue;
      const lower = Math.min(low, b.at), higher = Math.max(high, b.at + b.size);
      if (higher - lower > MAX_SPAN) continue;
      low = lower;
      high = higher;
      last = b.k;
      operands++;
    }
    if (operands >= MIN_OPERANDS) reaches.set(a.key, { below: a.at - low, above: high - a.at, last });
  });
  return reaches;
}
