/**
 * The other end of a read or write: a walk over user buffers, or over one buffer of the kernel.
 *
 * Linux: include/linux/uio.h, lib/iov_iter.c
 *
 * A copy that hits a bad address stops there; what was moved before counts, so a partly readable buffer gives a
 * short write and only a copy that moved nothing answers EFAULT.
 */
import { EFAULT } from '../../abi/errno.ts';
import { copy_from_user, copy_to_user } from '../mm/uaccess.ts';

const PAGE_SIZE = 4096;

export class iov_iter {
  /** Bytes still to be moved. */
  count: number;
  /** User address of the current segment, meaningless for a kernel buffer. */
  private address: number;
  private left: number;
  private readonly more: readonly number[] | undefined;
  private next = 0;
  private readonly buffer: Uint8Array | undefined;
  private offset = 0;

  /** `more` holds further segments as address, length, address, length… */
  constructor(address: number, length: number, buffer?: Uint8Array, more?: readonly number[]) {
    this.address = address;
    this.left = length;
    this.count = length;
    this.buffer = buffer;
    this.more = more;
    if (more) for (let i = 1; i < more.length; i += 2) this.count += more[i]!;
  }

  /** Moves all of `src` or as much as fits towards the reader. Returns the bytes moved, -EFAULT when none could be. */
  copy_to(src: Uint8Array): number { return this.move(src, true); }

  /** Fills `dst` from the writer. Returns the bytes moved, -EFAULT when none could be. */
  copy_from(dst: Uint8Array): number { return this.move(dst, false); }

  /** Moves n zero bytes towards the reader. */
  zero(n: number): number {
    let done = 0;
    while (done < n && this.count > 0) {
      const moved = this.move(n - done < PAGE_SIZE ? zeroes.subarray(0, n - done) : zeroes, true);
      if (moved < 0) return done || moved;
      done += moved;
    }
    return done;
  }

  /** Passes over n bytes. */
  advance(n: number): void {
    n = Math.min(n, this.count);
    this.count -= n;
    while (n > 0) {
      const step = Math.min(n, this.left);
      this.skip(step);
      n -= step;
      if (n > 0) this.nextSegment();
    }
  }

  private move(bytes: Uint8Array, out: boolean): number {
    const total = Math.min(bytes.length, this.count);
    let done = 0;
    while (done < total) {
      if (this.left === 0) { this.nextSegment(); continue; }
      const n = Math.min(total - done, this.left);
      const part = n === bytes.length ? bytes : bytes.subarray(done, done + n);
      if (this.buffer !== undefined) {
        if (out) this.buffer.set(part, this.offset);
        else part.set(this.buffer.subarray(this.offset, this.offset + n));
        this.skip(n);
      } else {
        const error = this.user(part, out);
        if (error > 0) { this.skip(error); this.count -= error; return done + error; }
        if (error < 0) return done || error;
        this.skip(n);
      }
      this.count -= n;
      done += n;
    }
    return done;
  }

  /** 0 when all was copied; else the length of the good prefix, or -EFAULT when there is none. */
  private user(part: Uint8Array, out: boolean): number {
    if ((out ? copy_to_user(this.address, part) : copy_from_user(part, this.address)) === 0) return 0;
    let good = 0;
    while (good < part.length) {
      const n = Math.min(PAGE_SIZE - (this.address + good) % PAGE_SIZE, part.length - good);
      const piece = part.subarray(good, good + n);
      if ((out ? copy_to_user(this.address + good, piece) : copy_from_user(piece, this.address + good)) !== 0) break;
      good += n;
    }
    return good || -EFAULT;
  }

  private skip(n: number): void {
    this.left -= n;
    this.address += n;
    this.offset += n;
  }

  private nextSegment(): void {
    this.address = this.more![this.next]!;
    this.left = this.more![this.next + 1]!;
    this.next += 2;
  }
}

const zeroes = new Uint8Array(PAGE_SIZE);

/** An iterator over one buffer of the kernel. */
export const kernelIter = (buffer: Uint8Array): iov_iter => new iov_iter(0, buffer.length, buffer);
