/**
 * Decides which code becomes hot: the entries of blocks are counted by a handler in place of their first instruction's,
 * and a block that reaches the threshold gets a region in that place, or its own handler back for good.
 *
 * Both counting and what is counted are part of the run, so the same run makes the same regions at the same instructions.
 */
import type { Ram } from '../ram.ts';
import { HANDLER_COUNT, type Handlers } from './handlers.ts';
import { HEAT_COUNT, HEAT_FIRST, HEAT_HANDLER, HEAT_MODE, HEAT_PAGE, RECORD_SIZE, REC_HANDLER, REC_START } from './record.ts';
import { emitRegion } from './region.ts';
import { type Fetch, type RegionPlan, planRegion } from './region-plan.ts';

/** With V8's compilers a region takes as long as the cold tier needs for some 200,000 instructions; a kernel that boots does best with few of them. */
const THRESHOLD = 25_000;
/** A region takes in what has been entered this fraction of the threshold's times: the rest is not worth compiling. */
const WORTH = 32;
/** Pages with regions that are written to wait longer each time, up to so many doublings. */
const MAX_DOUBLINGS = 8;

/** What the code cache knows of a page's code in one mode. */
export interface HotCode {
  readonly fetch: Fetch;
  /** Record of the valid block at an offset, or 0. */
  block(offset: number): number;
}

export class HotTier {
  /** Entries of a block before it is considered for a region; Infinity: never. Applies to blocks translated from now on. */
  threshold = THRESHOLD;
  /** Regions made so far. */
  regions = 0;
  /** Their modules' bytes, and how many of them are gone again. */
  bytes = 0;
  dropped = 0;
  /** For who wants to look at each region that is made. */
  onRegion: ((page: number, plan: RegionPlan, module: Uint8Array<ArrayBuffer>) => void) | undefined;
  private readonly ram: Ram;
  private readonly rewritten = new Map<number, number>();
  /** Handlers of the regions that are there, by the regions' own numbers: several may share one. */
  private readonly placed = new Map<number, number>();
  private last = 0;

  constructor(ram: Ram) { this.ram = ram; }

  /** Begins to count the entries of the block at `record`; the record in front of it is free. */
  watch(record: number, page: number, mode: number): void {
    if (this.threshold === Infinity) return;
    const { u32 } = this.ram.mem;
    const at = (record - RECORD_SIZE) >>> 2, handler = (record + REC_HANDLER) >>> 2;
    const count = Math.min(Math.max(this.threshold, 1) * 2 ** (this.rewritten.get(page) ?? 0), 0x7fff_ffff);
    u32[at + HEAT_COUNT / 4] = u32[at + HEAT_FIRST / 4] = count;
    u32[at + HEAT_HANDLER / 4] = u32[handler]!;
    u32[at + HEAT_PAGE / 4] = page;
    u32[at + HEAT_MODE / 4] = mode;
    u32[handler] = HANDLER_COUNT;
  }
  private isWarm(record: number): boolean {
    const { u32 } = this.ram.mem;
    const at = (record - RECORD_SIZE) >>> 2;
    if (record === 0) return false;
    const first = u32[at + HEAT_FIRST / 4]!;
    return first - u32[at + HEAT_COUNT / 4]! >= Math.max(first / WORTH, 1);
  }

  /** Page and mode of a watched block. */
  key(record: number): { page: number; mode: number } {
    const at = (record - RECORD_SIZE) >>> 2;
    return { page: this.ram.mem.u32[at + HEAT_PAGE / 4]!, mode: this.ram.mem.u32[at + HEAT_MODE / 4]! };
  }

  /** A watched block has become hot. Gives the region and the bytes it covers, unless it is not worth one. */
  heat(record: number, code: HotCode, wide: boolean, handlers: Handlers): { region: number; ranges: readonly (readonly [number, number])[] } | undefined {
    const { u32, u16 } = this.ram.mem;
    const original = u32[(record - RECORD_SIZE + HEAT_HANDLER) >>> 2]!;
    u32[(record + REC_HANDLER) >>> 2] = original;
    const plan = planRegion(u16[(record + REC_START) >>> 1]!, code.fetch, (offset) => this.isWarm(code.block(offset)));
    if (!plan) return undefined;
    const bytes = emitRegion(plan, original, wide, handlers.memoryPages, () => handlers.addX87());
    const handler = handlers.place(bytes);
    const region = ++this.last;
    this.placed.set(region, handler);
    this.bytes += bytes.length;
    this.onRegion?.(this.key(record).page, plan, bytes);
    u32[(record + REC_HANDLER) >>> 2] = handler;
    this.regions++;
    return { region, ranges: plan.ranges };
  }

  /** No record leads to these blocks' regions any more, because the page they lie on was written to if it is named. */
  drop(page: number | undefined, blocks: readonly { readonly region: number }[], handlers: Handlers): void {
    const regions = new Set(blocks.map((b) => b.region));
    regions.delete(0);
    for (const r of regions) {
      handlers.remove(this.placed.get(r)!);
      this.placed.delete(r);
    }
    this.dropped += regions.size;
    if (page !== undefined && regions.size > 0) this.rewritten.set(page, Math.min((this.rewritten.get(page) ?? 0) + 1, MAX_DOUBLINGS));
  }

  /** What was learnt about a page does not hold for what comes next. */
  forget(page: number): void { this.rewritten.delete(page); }
}
