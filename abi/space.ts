/**
 * Where C data lies: host buffers (Mem) and address spaces over them (Space), with copies between the two.
 *
 * A kernel's own structures, simulated RAM and the paged memory of a process are all Spaces, so one struct view
 * serves them all. The hard part is the promise behind `gen` and `wgen`: a view keeps the host offset it resolved
 * once, and goes on using it for as long as the generation has not moved.
 */

export const PAGE_SIZE = 4096;

/**
 * Typed arrays over one host buffer. All widths at once: a u64 through DataView costs ten times as much as
 * through BigUint64Array. The buffer's length is rounded down to 8 bytes.
 */
export class Mem {
  readonly u8: Uint8Array;
  readonly s8: Int8Array;
  readonly u16: Uint16Array;
  readonly s16: Int16Array;
  readonly u32: Uint32Array;
  readonly s32: Int32Array;
  readonly u64: BigUint64Array;
  readonly s64: BigInt64Array;
  constructor(buffer: ArrayBufferLike) {
    const words = Math.floor(buffer.byteLength / 8);
    this.u8 = new Uint8Array(buffer, 0, words * 8);
    this.s8 = new Int8Array(buffer, 0, words * 8);
    this.u16 = new Uint16Array(buffer, 0, words * 4);
    this.s16 = new Int16Array(buffer, 0, words * 4);
    this.u32 = new Uint32Array(buffer, 0, words * 2);
    this.s32 = new Int32Array(buffer, 0, words * 2);
    this.u64 = new BigUint64Array(buffer, 0, words);
    this.s64 = new BigInt64Array(buffer, 0, words);
  }
}

/** An address space a struct view can lie in. Flat buffers and paged user memory alike. */
export interface Space {
  readonly mem: Mem;
  /** Moves whenever a present translation is removed or narrowed; cached translations of an older generation are void. */
  gen: number;
  /**
   * The same for writes: also moves when a page becomes copy-on-write, clean for dirty tracking, or gets translated
   * code. A space that must see each access sets both to NaN, which equals no remembered generation.
   */
  wgen: number;
  /**
   * Host byte offset in `mem` of `address`; valid to the end of its 4 KiB page, and equal to the address in its low
   * 12 bits. A space that cannot map throws its own fault. May move `gen` itself.
   */
  resolve(address: number, write: boolean): number;
}

/** A buffer as its own address space: address = offset, every byte always present. */
export class FlatSpace implements Space {
  readonly mem: Mem;
  gen = 0;
  wgen = 0;
  constructor(mem: Mem) {
    this.mem = mem;
  }
  resolve(address: number): number {
    if (!(address >= 0 && address < this.mem.u8.length)) throw new RangeError(`address ${address} is outside a flat space of ${this.mem.u8.length} bytes`);
    return address;
  }
}

export const flat = (mem: Mem): Space => new FlatSpace(mem);

/** Number of bytes from `address` on that one resolve covers. */
export const contiguous = (space: Space, address: number): number =>
  space instanceof FlatSpace ? space.mem.u8.length - address : PAGE_SIZE - (address & (PAGE_SIZE - 1));

/** Fills `dst` from `address` on, page by page. A fault leaves the bytes before it copied. */
export function copyIn(space: Space, address: number, dst: Uint8Array): void {
  for (let done = 0; done < dst.length; ) {
    const from = space.resolve(address + done, false);
    const n = Math.min(dst.length - done, contiguous(space, address + done));
    dst.set(space.mem.u8.subarray(from, from + n), done);
    done += n;
  }
}

/** Stores `src` from `address` on, page by page. A fault leaves the bytes before it stored. */
export function copyOut(space: Space, address: number, src: Uint8Array): void {
  for (let done = 0; done < src.length; ) {
    const to = space.resolve(address + done, true);
    const n = Math.min(src.length - done, contiguous(space, address + done));
    space.mem.u8.set(src.subarray(done, done + n), to);
    done += n;
  }
}

/** memset: `n` bytes of `value` from `address` on. */
export function fill(space: Space, address: number, n: number, value = 0): void {
  for (let done = 0; done < n; ) {
    const to = space.resolve(address + done, true);
    const step = Math.min(n - done, contiguous(space, address + done));
    space.mem.u8.fill(value, to, to + step);
    done += step;
  }
}

/** A fresh copy of `n` bytes. */
export function bytesAt(space: Space, address: number, n: number): Uint8Array {
  const bytes = new Uint8Array(n);
  copyIn(space, address, bytes);
  return bytes;
}

/** Little-endian load of 1..8 bytes at any alignment; may lie across two pages. */
export function loadBytes(space: Space, address: number, size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(space.mem.u8[space.resolve(address + i, false)]!);
  return value;
}

/** Little-endian store of 1..8 bytes at any alignment. Both pages are resolved before the first byte changes. */
export function storeBytes(space: Space, address: number, size: number, value: bigint): void {
  space.resolve(address, true);
  space.resolve(address + size - 1, true);
  for (let i = 0; i < size; i++) space.mem.u8[space.resolve(address + i, true)] = Number((value >> BigInt(8 * i)) & 0xffn);
}
