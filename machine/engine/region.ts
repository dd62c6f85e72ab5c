/**
 * The hot tier: basic blocks of one page that reach each other by direct jumps become one WebAssembly function, made
 * from the same `emit` as the cold tier's handlers, with general registers, flags and the budget in locals.
 *
 * A region takes the place of the handler in the first record of the block it begins with, so the inner loop knows
 * nothing of it, and whatever makes that record stale ends the region too. It returns what any handler returns: the next
 * record, that of the place where it was left. Only complete instructions are left behind; whatever is not plain (a
 * TLB miss, a device, an exception, an instruction the hot tier does not take) is left to the cold tier before it begins.
 *
 * Deadlines stay exact: a header of a loop is entered only if the budget covers the longest way to the next header or
 * out, and each way subtracts the instructions on it. FUEL bounds a call, for V8 cannot replace the code of a running one.
 */
import type { Insn } from '../cpu/opcode-row.ts';
import { floatKind, holdsDenormal } from '../cpu/opcodes/ordinary.ts';
import { STATE } from '../cpu/state.ts';
import { HotFlags, flagUse } from './hot-flags.ts';
import { type Frame, type HotInsn, HotTranslation } from './hot-translation.ts';
import { ENGINE } from './layout.ts';
import { HANDLER_PARAMS, HANDLER_RESULTS, importRuntime } from './runtime.ts';
import type { Shape } from './shape.ts';
import { type Code, type I32, type L32, type L64, WasmModule, i32, i64 } from './wasm-emitter.ts';

const PAGE = 4096;
const MAX_INSTRUCTIONS = 400;
const MAX_RETURN_SITES = 8;
const FUEL = 200_000;
/** A region must be worth its frame. */
const MIN_INSTRUCTIONS = 4;

/** Rows that touch the state in memory behind the translation's back, or would restart half done. */
const LEFT_TO_COLD = new Set(['LAHF', 'SAHF', 'PUSHA', 'POPA', 'ENTER']);

/** Gives the instruction at an offset of the page; undefined when it leaves the page or cannot run. */
export type Fetch = (offset: number) => { readonly insn: Insn; readonly shape: Shape } | undefined;

interface Edge { readonly count: number; readonly target: number }
interface Block {
  readonly start: number;
  readonly insns: HotInsn[];
  /** Offset of what comes after the last instruction, if control can get there. */
  next: number | undefined;
  end: number;
  edges: Edge[];
  /** Position in the order of emission. */
  index: number;
  liveIn: boolean;
  header: boolean;
  need: number;
}

export interface RegionPlan { readonly entry: Block; readonly order: readonly Block[]; readonly ranges: readonly (readonly [number, number])[] }

function hotInsn(offset: number, fetch: Fetch): HotInsn | undefined {
  const f = fetch(offset);
  if (!f) return undefined;
  const { insn, shape } = f;
  const { row } = insn;
  if (!('emit' in row.meaning) || row.attributes.has('rep') || LEFT_TO_COLD.has(row.mnemonic)) return undefined;
  if (shape.memory && shape.segment === 'checked') return undefined;
  if (offset + insn.length > PAGE) return undefined;
  const mask = shape.opSize === 8 ? 63 : 31;
  const text = row.operands[1];
  const count = text === '1' ? 1 : text === 'Ib' ? Number(insn.imm) & mask : undefined;
  const use = flagUse(row.mnemonic, row.reads, row.writes, row.undefined, count);
  return { insn, shape, start: offset, end: offset + insn.length, use, leaves: mayLeave(insn, shape) };
}
/** XMM registers that an instruction writes: all it names but plain sources, and one that it does not name. */
const xmmWritten = ({ insn }: HotInsn): number[] => {
  const [first = '', second = ''] = insn.row.operands;
  if ('GE'.includes(first[0]!) && first !== '' || /^U?COMIS|^PTEST/.test(insn.row.mnemonic)) return [];
  if ('WU'.includes(first[0]!)) return insn.mod === 3 ? [insn.rm] : [];
  return second === '' ? [insn.reg] : /^PCMP.STRM/.test(insn.row.mnemonic) ? [insn.reg, 0] : [insn.reg];
};
const STACK = new Set(['PUSH', 'POP', 'CALL', 'RET', 'LEAVE', 'DIV', 'IDIV', 'XLAT', 'JMP']);
/** Whether it can leave the region before it has begun, but for what all of its block have in common. */
const mayLeave = (insn: Insn, shape: Shape): boolean =>
  shape.memory || STACK.has(insn.row.mnemonic) || insn.row.operands.some((o) => o[0] === 'J') && !shape.near;

const isUnconditional = (i: HotInsn): boolean => i.insn.row.mnemonic === 'JMP' || i.insn.row.mnemonic === 'CALL' || i.insn.row.mnemonic === 'RET';
const target = (i: HotInsn): number | undefined => i.shape.near ? i.end + Number(i.insn.imm) : undefined;

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
    const b: Block = { start, insns: [], next: start, end: start, edges: [], index: -1, liveIn: true, header: false, need: 0 };
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
  if (!loops && total < MIN_INSTRUCTIONS) return undefined;
  return { entry: first, order, ranges: order.map((b) => [b.start, b.end] as const) };
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

/** What is emitted one after another: a block, or a loop with what lies in it. */
type Item = Block | Loop;
interface Loop { readonly header: Block; last: number; readonly items: Item[] }
const isLoop = (item: Item): item is Loop => 'items' in item;

/** Emits a planned region as a function of its own module. `original` is the handler the region takes the place of. */
export function emitRegion(plan: RegionPlan, original: number, wide: boolean, memoryPages: number): Uint8Array<ArrayBuffer> {
  const module = new WasmModule(memoryPages);
  const runtime = importRuntime(module);
  module.function('region', HANDLER_PARAMS, HANDLER_RESULTS, (c) => new RegionEmitter(c, plan, runtime, wide).emit(original));
  return module.finish();
}

class RegionEmitter implements Frame {
  readonly c: Code;
  readonly cpu: L32;
  readonly runtime: Frame['runtime'];
  readonly flags: HotFlags;
  readonly ripPage: L64;
  readonly tlbRead: L32;
  readonly tlbWrite: L32;
  readonly tlbTag: L64;
  private readonly record: L32;
  private readonly budget: L32;
  /** Budget kept back so that the call ends early. */
  private readonly rest: L32;
  private readonly leftAt: L32;
  /** Set when the region's first instruction is what it cannot do. */
  private readonly stuck: L32;
  private readonly rip: L64;
  private readonly wide: boolean;
  private readonly plan: RegionPlan;
  private readonly registers: (L64 | undefined)[] = [];
  private readonly written = new Set<number>();
  private readonly byStart: ReadonlyMap<number, Block>;
  private readonly loops = new Map<Block, Loop>();
  /** Loops around each block, innermost last. */
  private readonly around = new Map<Block, readonly Loop[]>();
  private readonly forward = new Map<Block, number>();
  private readonly back = new Map<Block, number>();
  private current!: Block;
  private exitKnown = 0;
  private exitComputed = 0;

  constructor(c: Code, plan: RegionPlan, runtime: Frame['runtime'], wide: boolean) {
    this.c = c;
    this.plan = plan;
    this.runtime = runtime;
    this.wide = wide;
    this.cpu = c.param(0, i32);
    this.record = c.param(1, i32);
    this.budget = c.local(i32);
    this.rest = c.local(i32);
    this.leftAt = c.local(i32);
    this.stuck = c.local(i32);
    this.unusual = c.local(i32);
    this.tlbRead = c.local(i32);
    this.tlbWrite = c.local(i32);
    this.tlbTag = c.local(i64);
    this.ripPage = c.local(i64);
    this.rip = c.local(i64);
    for (let n = 0; n < (wide ? 16 : 8); n++) this.registers.push(c.local(i64));
    this.flags = new HotFlags(c, this.cpu);
    this.byStart = new Map(plan.order.map((b) => [b.start, b]));
    c.trackLocals();
  }

  emit(original: number): void {
    const { c, cpu, budget } = this;
    const items = this.structure();
    this.measure();
    const { need } = this.plan.entry;
    // The inner loop has counted one instruction: it is given back.
    c.set(budget, c.add32(c.load32(c.get(cpu), STATE.budget), c.const32(1)));
    c.if(c.lts32(c.get(budget), c.const32(need)), () => c.return(c.call32(this.runtime.handle, c.get(cpu), c.get(this.record), c.const32(original))));
    c.set(this.rest, c.select(c.sub32(c.get(budget), c.const32(FUEL)), c.const32(0), c.lts32(c.const32(FUEL), c.get(budget))));
    c.set(budget, c.sub32(c.get(budget), c.get(this.rest)));
    c.set(this.tlbRead, c.load32(c.get(cpu), ENGINE.tlb_read));
    c.set(this.tlbWrite, c.load32(c.get(cpu), ENGINE.tlb_write));
    c.set(this.tlbTag, c.load64(c.get(cpu), ENGINE.tlb_tag));
    c.set(this.ripPage, c.load64(c.get(cpu), ENGINE.rip_page));
    this.flags.loadAll();
    const body = c.length;
    c.block((computed) => {
      this.exitComputed = computed;
      c.block((known) => {
        this.exitKnown = known;
        this.sequence(items, items.length - 1);
        c.unreachable();
      });
      const rip = c.add(c.get(this.ripPage), c.extendu(c.get(this.leftAt)));
      c.set(this.rip, this.wide ? rip : c.and(rip, c.const(0xffff_ffff)));
    });
    c.insert(body, () => {
      if (this.usesMxcsr) c.set(this.unusual, c.ne32(c.and32(c.load32(c.get(cpu), STATE['fpu.mxcsr']!), c.const32(0x7fa0)), c.const32(0x1fa0)));
      this.used.forEach((n) => c.set(this.registers[n]!, c.load64(c.get(cpu), STATE.gpr + 8 * n)));
    });
    for (const n of this.written) c.store64(c.get(cpu), c.get(this.registers[n]!), STATE.gpr + 8 * n);
    this.flags.storeAll();
    c.store32(c.get(cpu), c.sub32(c.add32(c.get(budget), c.get(this.rest)), c.get(this.stuck)), STATE.budget);
    c.if(c.get(this.stuck), () => c.return(c.call32(this.runtime.handle, c.get(cpu), c.get(this.record), c.const32(original))));
    c.call32(this.runtime.jumpTo, c.get(cpu), c.get(this.rip));
  }

  // ---------------------------------------------------------------- structure

  /** Finds the loops, and what lies in each. */
  private structure(): Item[] {
    const { order } = this.plan;
    const spans = new Map<Block, number>();
    for (const b of order) {
      for (const e of b.edges) {
        const t = this.byStart.get(e.target)!;
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
    for (const b of order) {
      while (open.length > 0 && open[open.length - 1]!.last < b.index) open.pop();
      const inside = [...open];
      const last = spans.get(b);
      if (last !== undefined) {
        b.header = true;
        const loop: Loop = { header: b, last, items: [] };
        this.loops.set(b, loop);
        (open[open.length - 1]?.items ?? top).push(loop);
        open.push(loop);
      }
      (open[open.length - 1]?.items ?? top).push(b);
      this.around.set(b, inside);
    }
    // A jump into the middle of a loop from outside leaves the region.
    for (const b of order) b.edges = b.edges.filter((e) => this.reachable(b, this.byStart.get(e.target)!));
    return top;
  }
  private reachable(from: Block, to: Block): boolean {
    const outside = this.around.get(from)!;
    return this.around.get(to)!.every((l) => outside.includes(l) || l.header === from);
  }

  /** Longest ways between headers, and where flags are looked at before they are written. */
  private measure(): void {
    for (const b of [...this.plan.order].reverse()) {
      const needs = b.edges.map((e) => {
        const t = this.byStart.get(e.target)!;
        return e.count + (t.header ? 0 : t.need);
      });
      b.need = Math.max(b.insns.length, ...needs);
      b.liveIn = b.header || this.looksAtFlags(b);
    }
  }
  private looksAtFlags(b: Block): boolean {
    for (const i of b.insns) {
      if (i.leaves || i.use.reads) return true;
      if (i.use.kills) return false;
      if (target(i) !== undefined) return true;
    }
    return true;
  }

  private sequence(items: readonly Item[], i: number): void {
    if (i > 0) {
      const item = items[i]!;
      this.c.block((label) => {
        this.forward.set(isLoop(item) ? item.header : item, label);
        this.sequence(items, i - 1);
      });
    }
    const item = items[i]!;
    if (!isLoop(item)) { this.block(item); return; }
    const outside = this.invariants;
    this.invariants = this.testInvariants(item);
    this.c.loop((label) => {
      this.back.set(item.header, label);
      this.sequence(item.items, item.items.length - 1);
    });
    this.invariants = outside;
  }

  /** Tests XMM registers that a loop reads as numbers and does not write, before it begins. */
  private testInvariants(loop: Loop): Map<string, L32> {
    const { c, cpu } = this;
    const blocks = this.plan.order.filter((b) => b === loop.header || this.around.get(b)!.includes(loop));
    const insns = blocks.flatMap((b) => b.insns).filter(({ insn }) => insn.row.attributes.has('sse'));
    const written = new Set(insns.flatMap((i) => xmmWritten(i)));
    const tested = new Map<string, L32>(this.invariants);
    for (const { insn } of insns) {
      const kind = floatKind(insn.row.mnemonic);
      if (kind === undefined || insn.mod !== 3 || written.has(insn.rm) || tested.has(`${kind}${insn.rm}`)) continue;
      const l = c.local(i32);
      c.keepForever(l);
      c.set(l, holdsDenormal(c, kind, c.loadV(c.get(cpu), STATE['fpu.xmm']! + 16 * insn.rm)));
      tested.set(`${kind}${insn.rm}`, l);
    }
    return tested;
  }

  private block(b: Block): void {
    const { c, flags } = this;
    this.current = b;
    this.ordinary.clear();
    flags.forget();
    if (b.header) c.if(c.lts32(c.get(this.budget), c.const32(b.need)), () => this.exit(0, b.start));
    b.insns.forEach((i, k) => {
      flags.begin(i.use);
      const { meaning } = i.insn.row;
      if ('emit' in meaning) meaning.emit(new HotTranslation(this, i, k));
      c.reclaim((l) => flags.isPending(l));
    });
    if (b.next !== undefined) this.edge(b.insns.length, b.next);
    flags.forget();
    c.reclaim(() => false);
  }

  // ---------------------------------------------------------------- Frame

  private readonly used = new Set<number>();
  readonly ordinary = new Map<number, string>();
  invariants = new Map<string, L32>();
  private usesMxcsr = false;
  private readonly unusual: L32;
  unusualMxcsr(): I32 {
    this.usesMxcsr = true;
    return this.c.get(this.unusual);
  }
  register(n: number, written: boolean): L64 {
    this.used.add(n);
    if (written) this.written.add(n);
    return this.registers[n]!;
  }
  private count(n: number): void {
    const { c, budget } = this;
    if (n > 0) c.set(budget, c.sub32(c.get(budget), c.const32(n)));
  }
  edge(count: number, offset: number): void {
    const { c } = this;
    const t = this.byStart.get(offset);
    if (!t || !this.current.edges.some((e) => e.target === offset)) {
      this.exit(count, offset);
      return;
    }
    if (t.liveIn) this.flags.materialize();
    this.count(count);
    c.br(t.index <= this.current.index ? this.back.get(t)! : this.forward.get(t)!);
  }
  leave(count: number, offset: number): void {
    // The record there is the region itself: the cold tier's handler must be called from here.
    if (offset === this.plan.entry.start) this.c.set(this.stuck, this.c.const32(1));
    this.exit(count, offset);
  }
  private exit(count: number, offset: number): void {
    const { c } = this;
    this.flags.materialize();
    this.count(count);
    c.set(this.leftAt, c.const32(offset));
    c.br(this.exitKnown);
  }
  exitTo(count: number, rip: L64, isReturn: boolean): void {
    const { c } = this;
    if (isReturn) {
      for (const { target: site } of this.current.edges) {
        const at = c.add(c.get(this.ripPage), c.const(site));
        c.if(c.eq(c.get(rip), this.wide ? at : c.and(at, c.const(0xffff_ffff))), () => this.edge(count, site));
      }
    }
    this.flags.materialize();
    this.count(count);
    c.set(this.rip, c.get(rip));
    c.br(this.exitComputed);
  }
}

