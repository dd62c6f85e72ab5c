/**
 * Which instructions become one region: the basic blocks of a page that direct jumps reach from the block that got hot and
 * that have run, in reverse postorder, with the loops among them and the longest ways between loop headers.
 */
import type { Insn } from '../cpu/opcode-row.ts';
import { flagUse } from './hot-flags.ts';
import type { HotInsn } from './hot-translation.ts';
import type { Shape } from './shape.ts';

const PAGE = 4096;
const MAX_INSTRUCTIONS = 400;
const MAX_RETURN_SITES = 8;
/** A region must be worth its frame, or spare a call of TypeScript. */
const MIN_INSTRUCTIONS = 4;

/** Rows that touch the state in memory behind the translation's back, or would restart half done. */
const LEFT_TO_COLD = new Set(['LAHF', 'SAHF', 'PUSHA', 'POPA', 'ENTER']);

/** Gives the instruction at an offset of the page; undefined when it leaves the page or cannot run. */
export type Fetch = (offset: number) => { readonly insn: Insn; readonly shape: Shape } | undefined;

export interface Edge { readonly count: number; readonly target: number }
export interface Block {
  readonly start: number;
  readonly insns: HotInsn[];
  /** Offset of what comes after the last instruction, if control can get there. */
  next: number | undefined;
  end: number;
  edges: Edge[];
  /** Position in the order of emission. */
  index: number;
  /** Somebody may look at the flags there are on entry; after each instruction. */
  liveIn: boolean;
  live: boolean[];
  /** A loop begins here: the budget is checked on the way in. */
  header: boolean;
  /** Instructions on the longest way from here to the next header or out. */
  need: number;
  /** How many ways lead here inside the region. */
  ways: number;
  /** The innermost loop it lies in. */
  loop: Loop | undefined;
}

/** `marks`: where in the emitted code each instruction begins, filled in by emitRegion. */
export interface RegionPlan {
  readonly marks: { at: number; readonly start: number }[];
  readonly entry: Block;
  readonly order: readonly Block[];
  readonly items: readonly Item[];
  readonly ranges: readonly (readonly [number, number])[];
}

function hotInsn(offset: number, fetch: Fetch): HotInsn | undefined {
  const f = fetch(offset);
  if (!f) return undefined;
  const { insn, shape } = f;
  const { row } = insn;
  if (!('emit' in row.meaning) && !row.meaning.real || insn.rep !== 0 && row.attributes.has('rep') || LEFT_TO_COLD.has(row.mnemonic)) return undefined;
  if (!('emit' in row.meaning) && shape.codeSize !== 2) return undefined;
  if (offset + insn.length > PAGE) return undefined;
  const mask = shape.opSize === 8 && row.operands[0] !== 'Eb' ? 63 : 31;
  const text = row.operands[1];
  const count = text === '1' ? 1 : text === 'Ib' ? Number(insn.imm) & mask : undefined;
  const use = flagUse(row.mnemonic, row.reads, row.writes, row.undefined, count);
  return { insn, shape, start: offset, end: offset + insn.length, use, leaves: mayLeave(insn, shape) };
}
const STACK = new Set(['PUSH', 'POP', 'CALL', 'RET', 'LEAVE', 'DIV', 'IDIV', 'XLAT', 'JMP']);
/** Whether it can leave the region before it has begun, but for what all of its block have in common. */
const mayLeave = (insn: Insn, shape: Shape): boolean =>
  shape.memory || 'exec' in insn.row.meaning || insn.row.attributes.has('sse') || insn.row.attributes.has('fpu') || STACK.has(insn.row.mnemonic) || insn.row.operands.some((o) => o[0] === 'J') && !shape.near;

const isUnconditional = (i: HotInsn): boolean => i.insn.row.mnemonic === 'JMP' || i.insn.row.mnemonic === 'CALL' || i.insn.row.mnemonic === 'RET';
/** Goes elsewhere, to an address that is not known or not in the page. */
const jumps = (i: HotInsn): boolean => isUnconditional(i) || i.insn.row.operands.some((o) => o[0] === 'J');
export const target = (i: HotInsn): number | undefined => i.shape.near ? i.end + Number(i.insn.imm) : undefined;

/** The region that begins at an offset, of code that `known` has seen executed; undefined if it is not worth one. */
export function planRegion(entry: number, fetch: Fetch, known: (offset: number) => boolean): RegionPlan | undefined {
  const leaders = new Set([entry]);
  const work = [entry];
  const seen = new Map<number, HotInsn>();
  for (let at = work.shift(); at !== undefined && seen.size < MAX_INSTRUCTIONS; at = work.shift()) {
    const reach = (offset: number) => {
      if (offset >= PAGE || leaders.has(offset) || !known(offset)) return;
      leaders.add(offset);
      work.push(offset);
    };
    for (let offset = at; !seen.has(offset);) {
      const i = hotInsn(offset, fetch);
      if (!i) break;
      seen.set(offset, i);
      const to = target(i);
      if (to !== undefined) reach(to);
      if (i.insn.row.mnemonic === 'CALL') reach(i.end);
      if (isUnconditional(i) || seen.size >= MAX_INSTRUCTIONS) break;
      offset = i.end;
    }
  }
  const blocks = new Map<number, Block>();
  for (const start of leaders) {
    if (!seen.has(start)) continue;
    const b: Block = { start, insns: [], next: start, end: start, edges: [], index: -1, liveIn: false, live: [], header: false, need: 0, ways: 0, loop: undefined };
    for (let i = seen.get(start); i && (i.start === start || !leaders.has(i.start)); i = seen.get(i.end)) {
      b.insns.push(i);
      b.end = i.end;
      b.next = isUnconditional(i) ? undefined : i.end;
      if (b.next === undefined) break;
    }
    blocks.set(start, b);
  }
  const first = blocks.get(entry);
  if (!first) return undefined;
  const sites = [...blocks.values()].flatMap((b) => b.insns.filter((i) => i.insn.row.mnemonic === 'CALL' && blocks.has(i.end)).map((i) => i.end));
  const returnSites = [...new Set(sites)].slice(0, MAX_RETURN_SITES);
  for (const b of blocks.values()) {
    b.insns.forEach((i, k) => {
      const to = target(i);
      if (to !== undefined && blocks.has(to)) b.edges.push({ count: k + 1, target: to });
      if (i.insn.row.mnemonic === 'RET') for (const r of returnSites) b.edges.push({ count: k + 1, target: r });
    });
    if (b.next !== undefined && blocks.has(b.next)) b.edges.push({ count: b.insns.length, target: b.next });
  }
  const order = reversePostorder(first, blocks);
  const total = order.reduce((n, b) => n + b.insns.length, 0);
  const loops = order.some((b) => b.edges.some((e) => blocks.get(e.target)!.index <= b.index));
  const quick = order.some((b) => b.insns.some((i) => 'exec' in i.insn.row.meaning));
  if (!loops && !quick && total < MIN_INSTRUCTIONS) return undefined;
  const items = nest(order, blocks);
  measure(order, blocks);
  return { marks: [], entry: first, order, items, ranges: order.map((b) => [b.start, b.end] as const) };
}

function reversePostorder(entry: Block, blocks: ReadonlyMap<number, Block>): Block[] {
  const order: Block[] = [];
  const visited = new Set<Block>();
  const visit = (b: Block): void => {
    visited.add(b);
    for (const e of b.edges) {
      const t = blocks.get(e.target)!;
      if (!visited.has(t)) visit(t);
    }
    order.push(b);
  };
  visit(entry);
  order.reverse();
  order.forEach((b, i) => { b.index = i; });
  return order;
}

// ---------------------------------------------------------------- loops

/** What is emitted one after another: a block, or a loop with what lies in it. */
export type Item = Block | Loop;
export interface Loop {
  readonly header: Block;
  last: number;
  readonly items: Item[];
  /** Registers that do not just move on a little at each turn. */
  readonly wild: Set<number>;
}
export const isLoop = (item: Item): item is Loop => 'items' in item;

/** Finds the loops, and what lies in each. A jump into the middle of a loop from outside becomes a way out of the region. */
function nest(order: readonly Block[], blocks: ReadonlyMap<number, Block>): Item[] {
  const spans = new Map<Block, number>();
  for (const b of order) {
    for (const e of b.edges) {
      const t = blocks.get(e.target)!;
      if (t.index <= b.index) spans.set(t, Math.max(spans.get(t) ?? 0, b.index));
    }
  }
  const headers = [...spans.keys()].sort((a, b) => a.index - b.index);
  // A loop that begins in another ends in it.
  for (let again = true; again;) {
    again = false;
    for (const a of headers) {
      for (const b of headers) {
        if (b.index > a.index && b.index <= spans.get(a)! && spans.get(b)! > spans.get(a)!) {
          spans.set(a, spans.get(b)!);
          again = true;
        }
      }
    }
  }
  const top: Item[] = [];
  const open: Loop[] = [];
  const around = new Map<Block, readonly Loop[]>();
  for (const b of order) {
    while (open.length > 0 && open[open.length - 1]!.last < b.index) open.pop();
    around.set(b, [...open]);
    const last = spans.get(b);
    if (last !== undefined) {
      b.header = true;
      const loop: Loop = { header: b, last, items: [], wild: new Set() };
      (open[open.length - 1]?.items ?? top).push(loop);
      open.push(loop);
    }
    (open[open.length - 1]?.items ?? top).push(b);
    b.loop = open[open.length - 1];
  }
  for (const b of order) {
    // What comes behind the last jump that stays in a loop is no longer part of it.
    for (const loop of [...around.get(b)!, ...(b.loop?.header === b ? [b.loop] : [])]) {
      const inside = b.edges.filter((e) => { const { index } = blocks.get(e.target)!; return index >= loop.header.index && index <= loop.last; });
      for (const i of b.insns.slice(0, Math.max(0, ...inside.map((e) => e.count)))) changes(i, loop.wild);
    }
  }
  for (const b of order) {
    const outside = around.get(b)!;
    b.edges = b.edges.filter((e) => around.get(blocks.get(e.target)!)!.every((l) => outside.includes(l) || l.header === b));
    for (const e of b.edges) blocks.get(e.target)!.ways++;
  }
  return top;
}

/** Adds the general registers whose value an instruction replaces; a guess, on which nothing but speed depends. */
function changes({ insn, shape }: HotInsn, into: Set<number>): void {
  const { mnemonic, operands } = insn.row;
  if (UNCHANGING.has(mnemonic)) return;
  const small = operands[1]?.[0] === 'I' && Math.abs(Number(BigInt.asIntN(64, insn.imm))) <= 64 || operands.length === 1;
  if (STEPS.has(mnemonic) && small || mnemonic === 'LEA' && insn.base === insn.reg && insn.index < 0 && Math.abs(insn.disp) <= 64) return;
  replaces({ insn, shape }, into);
}
/** The same, however little they move. */
export function replaces({ insn, shape }: Pick<HotInsn, 'insn' | 'shape'>, into: Set<number>): void {
  const { mnemonic, operands } = insn.row;
  if (UNCHANGING.has(mnemonic)) return;
  if (/^I?(MUL|DIV)$/.test(mnemonic)) for (const n of [0, 2]) into.add(n);
  operands.slice(0, mnemonic.startsWith('X') ? 2 : 1).forEach((text) => {
    const kind = text[0];
    if (kind === 'G') into.add(insn.reg);
    else if ((kind === 'E' || kind === 'Z') && !(kind === 'E' && shape.memory)) into.add(insn.rm);
    else if (/^(AL|AX|eAX|rAX)$/.test(text)) into.add(0);
  });
}
const UNCHANGING = new Set(['CMP', 'TEST', 'PUSH', 'CALL', 'JMP', 'BT', 'NOP']), STEPS = new Set(['ADD', 'SUB', 'INC', 'DEC']);

/** Longest ways between headers, and where flags may be looked at before they are written. */
function measure(order: readonly Block[], blocks: ReadonlyMap<number, Block>): void {
  const backwards = [...order].reverse();
  for (const b of backwards) {
    const needs = b.edges.map((e) => {
      const t = blocks.get(e.target)!;
      return e.count + (t.header ? 0 : t.need);
    });
    b.need = Math.max(b.insns.length, ...needs);
  }
  for (let again = true; again;) {
    again = false;
    for (const b of backwards) {
      const live = flowFlags(b, blocks);
      if (live !== b.liveIn) {
        b.liveIn = live;
        again = true;
      }
    }
  }
}
function flowFlags(b: Block, blocks: ReadonlyMap<number, Block>): boolean {
  /** Outside, and at a header whose check may end the region, anybody may look. */
  const liveAt = (offset: number): boolean => {
    const t = b.edges.some((e) => e.target === offset) ? blocks.get(offset)! : undefined;
    return !t || t.header || t.liveIn;
  };
  let live = b.next !== undefined && liveAt(b.next);
  for (let k = b.insns.length - 1; k >= 0; k--) {
    const i = b.insns[k]!;
    const to = target(i);
    if (to !== undefined) live ||= liveAt(to);
    else if (jumps(i)) live = true;
    b.live[k] = live;
    if (i.leaves || i.use.reads) live = true;
    else if (i.use.kills) live = false;
  }
  return live;
}
