/**
 * The machine's memory: one WebAssembly.Memory, so that emitted code, the engine's tables and simulated RAM share one
 * set of addresses. The engine's area comes first (register files, TLBs, translated code: nothing a kernel can see),
 * physical RAM follows: host offset = base + physical address.
 */
import { Mem, PAGE_SIZE, type Space } from '../abi/space.ts';

const WASM_PAGE = 65536;
const MiB = 1024 * 1024;

/** Address space of the engine's own tables. Untouched pages of it cost the host nothing. */
export const ENGINE_AREA = 128 * MiB;
/** What fits a 32-bit wasm memory beside the engine's area, rounded to what the command line promises. */
export const MAX_RAM = 3072 * MiB;

/** RAM by physical address. Everything is always present, so the generations never move. */
class PhysicalSpace implements Space {
  readonly mem: Mem;
  readonly base: number;
  readonly size: number;
  gen = 0;
  wgen = 0;
  constructor(mem: Mem, base: number, size: number) {
    this.mem = mem;
    this.base = base;
    this.size = size;
  }
  resolve(address: number): number {
    if (!(address >= 0 && address < this.size)) throw new RangeError(`physical address ${address} is outside ${this.size} bytes of RAM`);
    return this.base + address;
  }
}

export class Ram {
  readonly memory: WebAssembly.Memory;
  readonly mem: Mem;
  /** Host offset of physical address 0. */
  readonly base: number;
  /** Bytes of physical RAM, a multiple of the page size. */
  readonly size: number;
  readonly physical: Space;
  /**
   * Says that TypeScript code is about to write to this page of RAM: what was translated from it is dropped. The engine
   * puts its own function here; cheap for a page without code.
   */
  codeWritten: (physicalPage: number) => void = () => {};
  /** The same for a frame that is free now: whatever code its next owner puts there has nothing to do with what was there. */
  codeGone: (physicalPage: number) => void = () => {};
  /** Called by the engine when a page gets its first translated code: writes to it must be told from now on. */
  onTranslated: (physicalPage: number) => void = () => {};
  private reserved = PAGE_SIZE;

  constructor(size: number) {
    if (!(Number.isInteger(size) && size > 0 && size <= MAX_RAM)) throw new RangeError(`memory of ${size} bytes: give 1 byte to ${MAX_RAM / MiB} MiB`);
    this.size = Math.ceil(size / WASM_PAGE) * WASM_PAGE;
    this.base = ENGINE_AREA;
    const pages = (ENGINE_AREA + this.size) / WASM_PAGE;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.mem = new Mem(this.memory.buffer);
    this.physical = new PhysicalSpace(this.mem, this.base, this.size);
  }

  /**
   * Takes zeroed bytes of the engine's area for good and returns their host offset. Never returns 0, so 0 can mean
   * "none" in tables. For what exists once a machine or a processor.
   */
  reserve(bytes: number, align = 64): number {
    const at = Math.ceil(this.reserved / align) * align;
    if (at + bytes > ENGINE_AREA) throw new RangeError(`the engine's area of ${ENGINE_AREA / MiB} MiB is full: ${bytes} bytes more do not fit`);
    this.reserved = at + bytes;
    return at;
  }
}
