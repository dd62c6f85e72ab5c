/**
 * The hot tier: basic blocks of one page that reach each other by direct jumps become one WebAssembly function, made
 * from the same `emit` as the cold tier's handlers, with general registers, flags and the budget in locals.
 *
 * A region takes the place of the handler in the first record of the block it begins with, so the inner loop knows
 * nothing of it, and whatever makes that record stale ends the region too. It returns what any handler returns: the next
 * record, that of the place where it was left. Only complete instructions are left behind; whatever is not plain (a
 * TLB miss, a device, an exception, an instruction the hot tier does not take) is left to the cold tier before it begins.
 *
 * Deadlines stay exact: the header of a loop is gone to only if the budget covers the longest way from there to the next header or
 * out, and each way subtracts the instructions on it. FUEL bounds a call, for V8 cannot replace the code of a running one.
 */
import { floatKind, holdsDenormal } from '../cpu/opcodes/ordinary.ts';
import { EXIT_BUDGET, EXIT_COMPUTED, EXIT_IN_FRONT, EXIT_JUMP } from './counters.ts';
import { CS, SEGMENT_SIZE, STATE } from '../cpu/state.ts';
import { type FlagState, HotFlags, UNKNOWN, WORDS } from './hot-flags.ts';
import { type Frame, type HotInsn, HotTranslation, type Span } from './hot-translation.ts';
import { ENGINE } from './layout.ts';
import { type Block, type Item, type Loop, type RegionPlan, isLoop, replaces } from './region-plan.ts';
import { HANDLER_PARAMS, HANDLER_RESULTS, importRuntime } from './runtime.ts';
import { type Reaches, Values, planSpans } from './spans.ts';
import { SCRATCH_SLOT } from './tlb.ts';
import { type Code, type I32, type L32, type L64, type LV, type Local, WasmModule, i32, i64, v128 } from './wasm-emitter.ts';

const FUEL = 200_000;

/** XMM registers that an instruction writes: all it names but plain sources, and one that it does not name. */
const xmmWritten = ({ insn }: HotInsn): number[] => {
  const [first = '', second = ''] = insn.row.operands;
  if ('GE'.includes(first[0]!) && first !== '' || /^U?COMIS|^PTEST/.test(insn.row.mnemonic)) return [];
  if ('WU'.includes(first[0]!)) return insn.mod === 3 ? [insn.rm] : [];
  return second === '' ? [insn.reg] : /^PCMP.STRM/.test(insn.row.mnemonic) ? [insn.reg, 0] : [insn.reg];
};


/** Emits a planned region as a function of its own module. `original` is the handler the region takes the place of. */
export function emitRegion(plan: RegionPlan, original: number, wide: boolean, memoryPages: number, needsX87: () => void): Uint8Array<ArrayBuffer> {
  const long = new Set<number>();
  for (;;) {
    const known = long.size;
    const module = new WasmModule(memoryPages);
    const runtime = importRuntime(module, needsX87);
    module.function('region', HANDLER_PARAMS, HANDLER_RESULTS, (c) => new RegionEmitter(c, plan, runtime, wide, long).emit(original));
    if (long.size === known) return module.finish();
    plan.marks.length = 0;
  }
}

class RegionEmitter implements Frame {
  readonly c: Code;
  readonly cpu: L32;
  readonly runtime: Frame['runtime'];
  readonly flags: HotFlags;
  readonly ripPage: L64;
  private readonly record: L32;
  private readonly budget: L32;
  /** Budget kept back so that the call ends early. */
  private readonly rest: L32;
  private readonly leftAt: L32;
  /** Set when the region's first instruction is what it cannot do. */
  private readonly stuck: L32;
  /** EXIT_ number. */
  private readonly why: L32;
  private readonly rip: L64;
  readonly wide: boolean;
  private readonly plan: RegionPlan;
  private readonly small: boolean;
  private readonly long: Set<number>;
  private readonly registers: (L64 | L32)[] = [];
  private readonly written = new Set<number>();
  private readonly byStart: ReadonlyMap<number, Block>;
  private readonly forward = new Map<Block, number>();
  private readonly back = new Map<Block, number>();
  /** What is known at the start of blocks that only one way leads to, from where it was taken. */
  private readonly arrived = new Map<Block, { readonly flags: FlagState; readonly clean: ReadonlySet<number> }>();
  private current!: Block;
  clean = new Set<number>();
  nesting = 0;
  private exitKnown = 0;
  private exitComputed = 0;

  /** `long`: registers of which 16-bit code touches more than the lower half, as far as is known; it is added to. */
  constructor(c: Code, plan: RegionPlan, runtime: Frame['runtime'], wide: boolean, long: Set<number>) {
    this.c = c;
    this.long = long;
    this.small = plan.entry.insns[0]!.shape.codeSize === 2;
    this.plan = plan;
    this.runtime = runtime;
    this.wide = wide;
    this.cpu = c.param(0, i32);
    this.record = c.param(1, i32);
    this.budget = c.local(i32);
    this.rest = c.local(i32);
    this.leftAt = c.local(i32);
    this.stuck = c.local(i32);
    this.why = c.local(i32);
    this.unusual = c.local(i32);
    this.ripPage = c.local(i64);
    this.rip = c.local(i64);
    for (let n = 0; n < (wide ? 16 : 8); n++) this.registers.push(wide ? c.local(i64) : c.local(i32));
    this.flags = new HotFlags(c, this.cpu, runtime);
    this.byStart = new Map(plan.order.map((b) => [b.start, b]));
    c.trackLocals();
  }

  emit(original: number): void {
    const { c, cpu, budget, wide } = this;
    const { items } = this.plan;
    const { need } = this.plan.entry;
    // The inner loop has counted one instruction: it is given back.
    c.set(budget, c.add32(c.load32(c.get(cpu), STATE.budget), c.const32(1)));
    c.if(c.lts32(c.get(budget), c.const32(need)), () => c.return(c.call32(this.runtime.handle, c.get(cpu), c.get(this.record), c.const32(original))));
    this.checkBounds(original);
    c.set(this.rest, c.select(c.sub32(c.get(budget), c.const32(FUEL)), c.const32(0), c.lts32(c.const32(FUEL), c.get(budget))));
    c.set(budget, c.sub32(c.get(budget), c.get(this.rest)));
    c.set(this.ripPage, c.load64(c.get(cpu), ENGINE.rip_page));
    this.flags.loadAll();
    c.set(this.why, c.const32(EXIT_JUMP));
    const body = c.length;
    c.block((computed) => {
      this.exitComputed = computed;
      c.block((known) => {
        this.exitKnown = known;
        this.sequence(items, items.length - 1);
        c.unreachable();
      });
      const rip = c.add(c.get(this.ripPage), c.extendu(c.get(this.leftAt)));
      c.set(this.rip, wide ? rip : c.and(rip, c.const(0xffff_ffff)));
    });
    const before = c.length;
    c.insert(body, () => {
      if (this.usesMxcsr) c.set(this.unusual, c.ne32(c.and32(c.load32(c.get(cpu), STATE['fpu.mxcsr']!), c.const32(0x7fa0)), c.const32(0x1fa0)));
      this.loadSegments();
      this.loadRegisters(original);
      for (const [n, l] of this.vectors) c.set(l, c.loadV(c.get(cpu), STATE['fpu.xmm']! + 16 * n));
    });
    for (const m of this.plan.marks) m.at += c.length - before;
    for (const n of this.written) {
      const l = this.registers[n]!;
      c.storeSized(this.isShort(n) ? 2 : 8, c.get(cpu), wide ? c.get(l as L64) : c.extendu(c.get(l as L32)), STATE.gpr + 8 * n);
    }
    for (const n of this.vectorsWritten) c.storeV(c.get(cpu), c.get(this.vectors.get(n)!), STATE['fpu.xmm']! + 16 * n);
    this.flags.storeAll();
    const counter = c.keep32(c.add32(c.get(cpu), c.shl32(c.get(this.why), c.const32(3))));
    c.store64(c.get(counter), c.add(c.load64(c.get(counter), ENGINE.region_exits), c.const(1)), ENGINE.region_exits);
    c.store32(c.get(cpu), c.sub32(c.add32(c.get(budget), c.get(this.rest)), c.get(this.stuck)), STATE.budget);
    c.if(c.get(this.stuck), () => c.return(c.call32(this.runtime.handle, c.get(cpu), c.get(this.record), c.const32(original))));
    c.call32(this.runtime.jumpTo, c.get(cpu), c.get(this.rip));
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
    const { c } = this;
    const blocks = this.plan.order.slice(loop.header.index, loop.last + 1);
    const insns = blocks.flatMap((b) => b.insns).filter(({ insn }) => insn.row.attributes.has('sse'));
    const written = new Set(insns.flatMap((i) => xmmWritten(i)));
    const tested = new Map<string, L32>(this.invariants);
    for (const { insn } of insns) {
      const kind = floatKind(insn.row.mnemonic);
      if (kind === undefined || insn.mod !== 3 || written.has(insn.rm) || tested.has(`${kind}${insn.rm}`)) continue;
      const l = c.local(i32);
      c.keepForever(l);
      c.set(l, holdsDenormal(c, kind, c.get(this.vector(insn.rm, false))));
      tested.set(`${kind}${insn.rm}`, l);
    }
    return tested;
  }

  /** In 32-bit code what lies above 32 bits must be 0, as it is unless 64-bit code left something there: then the cold tier goes on. */
  private loadRegisters(original: number): void {
    const { c, cpu } = this;
    const all = c.local(i64);
    for (const n of this.used) {
      if (this.isShort(n)) {
        c.set(this.registers[n] as L32, c.load32_16u(c.get(cpu), STATE.gpr + 8 * n));
        continue;
      }
      const v = c.keep64(c.load64(c.get(cpu), STATE.gpr + 8 * n));
      if (this.wide) c.set(this.registers[n] as L64, c.get(v));
      else {
        c.set(this.registers[n] as L32, c.wrap(c.get(v)));
        c.set(all, c.or(c.get(all), c.get(v)));
      }
      c.release(v);
    }
    if (!this.wide && [...this.used].some((n) => !this.isShort(n))) c.if(c.ne(c.shru(c.get(all), c.const(32)), c.const(0)), () => c.return(c.call32(this.runtime.handle, c.get(cpu), c.get(this.record), c.const32(original))));
  }

  /** Unless code runs from 0 to the end of its 4 GiB: all of the region must lie in the code segment, and IP must not wrap in it. */
  private checkBounds(original: number): void {
    const { c, cpu } = this;
    const { flat, codeSize } = this.plan.entry.insns[0]!.shape;
    if (codeSize === 8 || (flat && codeSize === 4)) return;
    const first = Math.min(...this.plan.ranges.map(([start]) => start)), end = Math.max(...this.plan.ranges.map(([, last]) => last));
    const last = c.keep64(c.add(c.extendu(c.wrap(c.add(c.load64(c.get(cpu), ENGINE.rip_page), c.const(first)))), c.const(end - first - 1)));
    const beyond = c.gtu(c.get(last), c.extendu(c.load32(c.get(cpu), STATE.seg + CS * SEGMENT_SIZE + 8)));
    c.if(codeSize === 4 ? beyond : c.or32(beyond, c.gtu(c.get(last), c.const(0xffff))), () => c.return(c.call32(this.runtime.handle, c.get(cpu), c.get(this.record), c.const32(original))));
  }

  /** Base, and the last offset for reads and writes, of segment registers in use. */
  private readonly segments = new Map<number, { readonly base: L32; readonly last: [L64 | undefined, L64 | undefined] }>();
  private segment(seg: number): { readonly base: L32; readonly last: [L64 | undefined, L64 | undefined] } {
    let s = this.segments.get(seg);
    if (!s) this.segments.set(seg, s = { base: this.c.ownLocal(i32), last: [undefined, undefined] });
    return s;
  }
  segmentBase(seg: number): L32 { return this.segment(seg).base; }
  segmentEnd(seg: number, write: boolean): L64 { return this.segment(seg).last[write ? 1 : 0] ??= this.c.ownLocal(i64); }
  private loadSegments(): void {
    const { c, cpu } = this;
    for (const [seg, { base, last }] of this.segments) {
      const at = STATE.seg + seg * SEGMENT_SIZE;
      c.set(base, c.load32(c.get(cpu), at));
      last.forEach((l, write) => { if (l) c.set(l, c.call64(this.runtime.reach, c.get(cpu), c.const32(at), c.const32(write))); });
    }
  }

  private block(b: Block): void {
    const { c, flags } = this;
    this.current = b;
    this.ordinary.clear();
    this.nesting = c.nesting;
    const from = this.arrived.get(b);
    this.arrived.delete(b);
    flags.state = from?.flags ?? (b === this.plan.entry && !b.header ? WORDS : UNKNOWN);
    this.clean = new Set(this.wide ? from?.clean : this.registers.keys());
    this.values = new Values();
    this.reaches = planSpans(b.insns, replaces);
    b.insns.forEach((i, k) => {
      this.plan.marks.push({ at: c.length, start: i.start });
      flags.begin(i.use, b.live[k]!);
      const before = this.values.copy();
      const { meaning } = i.insn.row;
      const t = new HotTranslation(this, i, k);
      if ('emit' in meaning) meaning.emit(t);
      else meaning.real?.(t);
      this.values.follow(i, before);
      for (const [key, s] of this.spans) if (s.last <= k) this.spans.delete(key);
      c.reclaim((l) => HotFlags.holds(flags.state, l) || this.isAwaited(l) || this.isHost(l));
    });
    this.spans.clear();
    if (b.next !== undefined) this.edge(b.insns.length, b.next);
    c.reclaim((l) => this.isAwaited(l));
  }
  private isHost(l: Local): boolean {
    for (const { host } of this.spans.values()) if (host === l) return true;
    return false;
  }
  private isAwaited(l: Local): boolean {
    for (const { flags } of this.arrived.values()) if (HotFlags.holds(flags, l)) return true;
    return false;
  }

  // ---------------------------------------------------------------- Frame

  values = new Values();
  reaches: Reaches = new Map();
  readonly spans = new Map<string, Span>();
  private readonly used = new Set<number>();
  readonly ordinary = new Map<number, string>();
  invariants = new Map<string, L32>();
  private usesMxcsr = false;
  private readonly unusual: L32;
  unusualMxcsr(): I32 {
    this.usesMxcsr = true;
    return this.c.get(this.unusual);
  }
  isShort(n: number): boolean { return this.small && !this.long.has(n); }
  lengthen(n: number): void { this.long.add(n); }
  register(n: number, written: boolean): L64 | L32 {
    this.used.add(n);
    if (written) {
      this.written.add(n);
      this.values.forget(n);
    }
    return this.registers[n]!;
  }
  private readonly vectors = new Map<number, LV>();
  private readonly vectorsWritten = new Set<number>();
  vector(n: number, written: boolean): LV {
    let l = this.vectors.get(n);
    if (!l) this.vectors.set(n, l = this.c.ownLocal(v128));
    if (written) this.vectorsWritten.add(n);
    return l;
  }
  spare(): I32 { const { c } = this; return c.sub32(c.get(this.budget), c.const32(this.current.need)); }
  remaining(count: number): I32 {
    const { c } = this;
    return c.sub32(c.add32(c.get(this.budget), c.get(this.rest)), c.const32(count));
  }
  charge(cycles: L32): void {
    const { c, cpu, budget } = this;
    c.set(budget, c.sub32(c.get(budget), c.get(cycles)));
    c.store32(c.get(cpu), c.add32(c.load32(c.get(cpu), ENGINE.charged), c.get(cycles)), ENGINE.charged);
  }
  paid(): void { const { c, budget } = this; c.set(budget, c.sub32(c.get(budget), c.load32(c.get(this.cpu), ENGINE.paid))); }
  private readonly pairs = new Map<string, number>();
  pointer(base: number, index: number, disp: number): number | undefined {
    const { loop } = this.current;
    if (!loop || base >= 0 && loop.wild.has(base) || index >= 0 && loop.wild.has(index)) return undefined;
    const key = `${loop.header.start} ${base} ${index} ${disp >> 12}`;
    const known = this.pairs.get(key) ?? 2 * (this.pairs.size + 1);
    if (known >= SCRATCH_SLOT) return undefined;
    this.pairs.set(key, known);
    return known;
  }
  private count(n: number): void {
    const { c, budget } = this;
    if (n > 0) c.set(budget, c.sub32(c.get(budget), c.const32(n)));
  }
  edge(count: number, offset: number): void {
    const { c, flags } = this;
    const t = this.byStart.get(offset);
    if (!t || !this.current.edges.some((e) => e.target === offset)) {
      this.exit(count, offset, EXIT_JUMP);
      return;
    }
    if (t.header) c.if(c.lts32(c.get(this.budget), c.const32(count + t.need)), () => {
      c.seldom();
      this.exit(count, offset, EXIT_BUDGET);
    });
    if (t.ways === 1 && !t.header && t !== this.plan.entry) this.arrived.set(t, { flags: flags.state, clean: new Set(this.clean) });
    else if (t.liveIn) flags.spill();
    this.count(count);
    c.br(t.index <= this.current.index ? this.back.get(t)! : this.forward.get(t)!);
  }
  leave(count: number, offset: number): void {
    this.c.seldom();
    // The record there is the region itself: the cold tier's handler must be called from here.
    if (offset === this.plan.entry.start) this.c.set(this.stuck, this.c.const32(1));
    this.exit(count, offset, EXIT_IN_FRONT);
  }
  private exit(count: number, offset: number, why: number): void {
    const { c } = this;
    this.flags.spill();
    this.count(count);
    c.set(this.leftAt, c.const32(offset));
    if (why !== EXIT_JUMP) c.set(this.why, c.const32(why));
    c.br(this.exitKnown);
  }
  returns(count: number, rip: L64, pop: () => void): void {
    const { c } = this;
    for (const { target: site, count: way } of this.current.edges) {
      if (way !== count) continue;
      const equal = this.wide ? c.eq(c.get(rip), c.add(c.get(this.ripPage), c.const(site)))
        : c.eq32(c.wrap(c.get(rip)), c.add32(c.wrap(c.get(this.ripPage)), c.const32(site)));
      c.if(equal, () => {
        pop();
        this.edge(count, site);
      });
    }
  }
  exitTo(count: number, rip: L64): void {
    const { c } = this;
    this.flags.spill();
    this.count(count);
    c.set(this.why, c.const32(EXIT_COMPUTED));
    c.set(this.rip, c.get(rip));
    c.br(this.exitComputed);
  }
}

