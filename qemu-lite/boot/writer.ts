/** Builds a block of guest memory piece by piece: structs and strings, each at an address known before it is written. */
import { FlatSpace, Mem } from '../../abi/space.ts';
import type { Field, Init, Located } from '../../abi/struct.ts';
import { encode } from '../../userland/libc.ts';

export class BootImageWriter {
  private readonly base: number;
  private space = new FlatSpace(new Mem(new ArrayBuffer(4096)));
  private used = 0;

  /** `base`: guest-physical address of the block. */
  constructor(base: number) {
    this.base = base;
  }

  /** Room for `size` bytes, aligned to 8; gives its guest-physical address. */
  reserve(size: number): number {
    const at = Math.ceil(this.used / 8) * 8;
    this.used = at + size;
    if (this.used > this.space.mem.u8.length) {
      const larger = new FlatSpace(new Mem(new ArrayBuffer(2 ** Math.ceil(Math.log2(this.used)))));
      larger.mem.u8.set(this.space.mem.u8);
      this.space = larger;
    }
    return this.base + at;
  }

  store<T extends Located>(type: Field<T>, address: number, value: Init<T>): void {
    (type as Field<unknown>).store(this.space, address - this.base, value);
  }

  /** A zero-terminated string; gives its address. */
  string(text: string): number {
    const bytes = encode(text);
    const address = this.reserve(bytes.length + 1);
    this.space.mem.u8.set(bytes, address - this.base);
    return address;
  }

  bytes(): Uint8Array {
    return this.space.mem.u8.slice(0, this.used);
  }
}
