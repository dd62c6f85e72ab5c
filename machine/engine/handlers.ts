/**
 * The cold tier's handlers: one function a shape, made from its row's `emit` when the shape is first decoded and
 * reached through a table. Handlers that a block needs are compiled together, for a module costs 70 µs however small.
 */
import type { Row } from '../cpu/opcode-row.ts';
import { STATE } from '../cpu/state.ts';
import { ColdTranslation } from './cold-translation.ts';
import { ENGINE } from './layout.ts';
import { HEAT_COUNT, HEAT_HANDLER, RECORD_SIZE } from './record.ts';
import { RegionFunctions } from './region-functions.ts';
import { type Runtime, HANDLER_PARAMS, HANDLER_RESULTS, importRuntime } from './runtime.ts';
import { type Shape, shapeKey } from './shape.ts';
import { type L64, WasmModule, i64 } from './wasm-emitter.ts';
import { x87Module } from './x87-emitter.ts';

/** Handlers that belong to no row. */
export const HANDLER_STALE = 1;      // the code was overwritten: look it up again
export const HANDLER_END = 2;        // end of a block: go on at the next instruction through the jump cache
export const HANDLER_END_NEAR = 3;   // the same inside the page: linked
export const HANDLER_EXEC = 4;       // an exec row that ends its block
export const HANDLER_STRAIGHT = 5;   // an exec row that does not
export const HANDLER_COUNT = 6;      // the first record of a block that may become hot: counts its entries
export const HANDLER_INTERRUPT = 7;  // exec rows whose transfers are remembered: INT n, IRET of 32 and of 64 bits
export const HANDLER_RETURN32 = 8;
export const HANDLER_RETURN64 = 9;
const FIRST_HANDLER = 10;

/** A shape for what needs none of its parts. */
const nothing = (row: Row): Shape => ({
  row, opSize: 4, codeSize: 8, stackSize: 8, flat: true, memory: false, addrSize: 8, segment: 'none', indexed: false, rep: 0, near: true,
});

export class Handlers {
  /** Handlers made so far, their modules, and the bytes of those. */
  count = 0;
  modules = 0;
  bytes = 0;
  readonly table: WebAssembly.Table;
  readonly memoryPages: number;
  private readonly imports: WebAssembly.ModuleImports;
  private readonly ids = new Map<Row, number>();
  private readonly known = new Map<number, number>();
  private next = FIRST_HANDLER;
  private module: WasmModule | undefined;
  private runtime!: Runtime;
  private readonly pending: number[] = [];

  /** `imports` must hold the whole runtime by the time the first handler is compiled. */
  constructor(table: WebAssembly.Table, memoryPages: number, imports: WebAssembly.ModuleImports, anyRow: Row) {
    this.table = table;
    this.memoryPages = memoryPages;
    this.imports = imports;
    this.special(anyRow);
  }

  /** Number of the shape's handler; it can be called after compile(). */
  index(shape: Shape): number {
    let id = this.ids.get(shape.row);
    if (id === undefined) this.ids.set(shape.row, id = this.ids.size);
    const key = shapeKey(id, shape);
    let index = this.known.get(key);
    if (index === undefined) {
      index = this.next++;
      this.known.set(key, index);
      const { meaning } = shape.row;
      if (!('emit' in meaning)) throw new TypeError(`${shape.row.mnemonic} has no emit`);
      this.add(index, shape, (t) => { meaning.emit(t); t.next(); });
    }
    return index;
  }

  private add(index: number, shape: Shape, body: (t: ColdTranslation) => void): void {
    if (!this.module) {
      this.module = new WasmModule(this.memoryPages);
      this.runtime = importRuntime(this.module, () => this.addX87());
    }
    this.module.function(`h${index}`, HANDLER_PARAMS, HANDLER_RESULTS, (c) => body(new ColdTranslation(c, shape, this.runtime)));
    this.pending.push(index);
  }

  /** There is something to compile. */
  get waiting(): boolean { return this.module !== undefined; }
  /** The x87's functions, when the first handler asks for one: most guests never do. */
  addX87(): void {
    if (this.hasX87) return;
    this.hasX87 = true;
    Object.assign(this.imports, new WebAssembly.Instance(x87Module(this.memoryPages), { e: this.imports }).exports);
  }
  private hasX87 = false;

  compile(): void {
    if (!this.module) return;
    const bytes = this.module.finish();
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: this.imports });
    this.modules++;
    this.bytes += bytes.length;
    this.count += this.pending.length;
    if (this.next > this.table.length) this.table.grow(Math.max(this.next - this.table.length, 256));
    for (const i of this.pending) this.table.set(i, exports[`h${i}`] as () => number);
    this.pending.length = 0;
    this.module = undefined;
  }

  /** Puts a region's module into the table: number of its handler. */
  place(bytes: Uint8Array<ArrayBuffer>): number { return this.regions.use(bytes, () => this.instantiate(bytes)); }
  private instantiate(bytes: Uint8Array<ArrayBuffer>): number {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: this.imports });
    const index = this.vacant.pop() ?? this.next++;
    if (index >= this.table.length) this.table.grow(256);
    this.table.set(index, exports['region'] as () => number);
    return index;
  }
  /** Takes a region out again: no record of its page leads to it any more. */
  remove(index: number): void {
    const unused = this.regions.release(index);
    if (unused === undefined) return;
    this.table.set(unused, null);
    this.vacant.push(unused);
  }
  private readonly vacant: number[] = [];
  readonly regions = new RegionFunctions();

  private special(row: Row): void {
    const shape = nothing(row);
    /** These are no instructions: the cycle the loop has counted is given back. */
    const uncount = ({ c, cpu }: ColdTranslation) => c.store32(c.get(cpu), c.add32(c.load32(c.get(cpu), STATE.budget), c.const32(1)), STATE.budget);
    /** cpu.rip and next_rip = what follows. */
    const storeRip = (t: ColdTranslation): L64 => {
      const { c } = t;
      const rip = c.local(i64);
      c.set(rip, t.currentRip());
      return rip;
    };
    this.add(HANDLER_STALE, shape, (t) => {
      const { c } = t;
      uncount(t);
      c.store64(c.get(t.cpu), t.currentRip(), ENGINE.access_address);
      c.call32(t.runtime.lookup, c.get(t.cpu));
    });
    this.add(HANDLER_END, shape, (t) => {
      uncount(t);
      t.jumpTo(storeRip(t));
      t.next();
    });
    this.add(HANDLER_END_NEAR, shape, (t) => {
      uncount(t);
      t.jump();
      t.next();
    });
    this.add(HANDLER_COUNT, shape, (t) => {
      const { c } = t;
      const at = c.keep32(c.sub32(t.rec, c.const32(RECORD_SIZE)));
      const left = c.keep32(c.sub32(c.load32(c.get(at), HEAT_COUNT), c.const32(1)));
      c.store32(c.get(at), c.get(left), HEAT_COUNT);
      c.if(c.eqz32(c.get(left)), () => c.call(t.runtime.heat, c.get(t.cpu), t.rec));
      c.call32(t.runtime.handle, c.get(t.cpu), t.rec, c.load32(c.get(at), HEAT_HANDLER));
    });
    const execute = (index: number, run: (t: ColdTranslation) => void): void => {
      this.add(index, shape, (t) => {
        const { c } = t;
        const rip = c.keep64(t.followingRip());
        c.store64(c.get(t.cpu), c.get(rip), STATE.rip);
        c.store64(c.get(t.cpu), c.get(rip), STATE.next_rip);
        run(t);
        if (index === HANDLER_STRAIGHT) { t.next(); return; }
        c.if(c.les32(c.load32(c.get(t.cpu), STATE.budget), c.const32(0)), () => {
          c.store32(c.get(t.cpu), c.const32(1), ENGINE.boundary);
          t.leave();
        });
        c.call32(t.runtime.jumpTo, c.get(t.cpu), c.load64(c.get(t.cpu), STATE.rip));
      });
    };
    for (const index of [HANDLER_EXEC, HANDLER_STRAIGHT]) execute(index, (t) => t.c.if(t.c.eqz32(t.c.call32(t.runtime.execute, t.c.get(t.cpu), t.rec)), () => t.leave()));
    for (const [index, name] of [[HANDLER_INTERRUPT, 'interrupt'], [HANDLER_RETURN32, 'return32'], [HANDLER_RETURN64, 'return64']] as const) {
      execute(index, (t) => {
        const { c, cpu, runtime } = t;
        c.if(c.eqz32(c.call32(runtime[name], c.get(cpu), t.rec)), () => c.if(c.eqz32(c.call32(runtime.transfer, c.get(cpu), t.rec)), () => t.leave()));
      });
    }
  }
}
