/**
 * Functions of regions, found by the bytes of their modules: nothing in a region says on which page it lies, so the same code on
 * several pages, that of guests which run one kernel above all, shares one function, which V8 has compiled and optimised once.
 * One that no page needs any more is kept for a while: code that was written over is often written again as it was.
 */

interface RegionFunction { readonly bytes: Uint8Array; readonly hash: number; readonly index: number; uses: number }

/** Functions that no page needs and that are kept. */
const MAX_IDLE = 256;

export class RegionFunctions {
  /** Modules compiled so far. */
  modules = 0;
  private readonly byHash = new Map<number, RegionFunction[]>();
  private readonly byIndex = new Map<number, RegionFunction>();
  private readonly idle = new Set<RegionFunction>();

  /** Number of the function of a module; `make` makes it if there is none. */
  use(bytes: Uint8Array<ArrayBuffer>, make: () => number): number {
    const hash = hashOf(bytes);
    let alike = this.byHash.get(hash);
    if (!alike) this.byHash.set(hash, alike = []);
    let f = alike.find((g) => isEqual(g.bytes, bytes));
    if (!f) {
      f = { bytes, hash, index: make(), uses: 0 };
      this.modules++;
      alike.push(f);
      this.byIndex.set(f.index, f);
    }
    f.uses++;
    this.idle.delete(f);
    return f.index;
  }

  /** One use less. Gives the number of a function that is needed no longer, if there is one to take out. */
  release(index: number): number | undefined {
    const f = this.byIndex.get(index)!;
    if (--f.uses > 0) return undefined;
    this.idle.add(f);
    if (this.idle.size <= MAX_IDLE) return undefined;
    const [oldest] = this.idle;
    const { hash } = oldest!;
    const rest = this.byHash.get(hash)!.filter((g) => g !== oldest);
    if (rest.length > 0) this.byHash.set(hash, rest); else this.byHash.delete(hash);
    this.byIndex.delete(oldest!.index);
    this.idle.delete(oldest!);
    return oldest!.index;
  }
}

/** FNV-1a. */
function hashOf(bytes: Uint8Array): number {
  let h = 0x811c_9dc5;
  for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ bytes[i]!, 0x0100_0193);
  return h;
}
function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
