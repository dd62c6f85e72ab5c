/**
 * The machine's one source of randomness, for RDRAND, RDSEED and the kernel's getrandom: the same seed gives the same
 * run. SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): 64 bits of state,
 * every seed is good. No secrets depend on it.
 */
export class Random {
  private state: bigint;
  constructor(seed: number) {
    this.state = BigInt.asUintN(64, BigInt(Math.trunc(seed)));
  }

  next64(): bigint {
    this.state = BigInt.asUintN(64, this.state + 0x9e3779b97f4a7c15n);
    let z = this.state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }

  next32(): number {
    return Number(this.next64() & 0xffff_ffffn);
  }

  fill(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; ) {
      let word = this.next64();
      for (let n = Math.min(8, bytes.length - i); n > 0; n--) {
        bytes[i++] = Number(word & 0xffn);
        word >>= 8n;
      }
    }
  }
}
