/**
 * What libc knows of one process: heap, scratch buffers, standard output, environment.
 *
 * Every process shares the module, so nothing of this may live in a variable of a module. A thread reaches its
 * process's state through the thread that runs now, `cpu.current`.
 */
import { type LibcState, type UserThread, cpu } from '../../abi/process.ts';

/** Free blocks by size class (the power of two) and the arena that new ones are cut from. */
export class Heap {
  readonly free = new Map<number, number[]>();
  /** Size of each block handed out, by address. */
  readonly used = new Map<number, number>();
  next = 0;
  end = 0;
  clone(): Heap {
    const heap = new Heap();
    for (const [size, list] of this.free) heap.free.set(size, [...list]);
    for (const [address, size] of this.used) heap.used.set(address, size);
    heap.next = this.next;
    heap.end = this.end;
    return heap;
  }
}

export class Libc implements LibcState {
  heap = new Heap();
  /** Page-sized buffers that carry strings and small structs to and from the kernel. */
  scratch: number[] = [];
  /** Characters of standard output that no newline has pushed out yet. */
  stdout = '';
  /** What `getline` read from a descriptor beyond the line it gave. */
  readonly ahead = new Map<number, Uint8Array>();
  environ = new Map<string, string>();
  clone(): Libc {
    const copy = new Libc();
    copy.heap = this.heap.clone();
    copy.scratch = [...this.scratch];
    copy.stdout = this.stdout;
    for (const [fd, bytes] of this.ahead) copy.ahead.set(fd, bytes.slice());
    copy.environ = new Map(this.environ);
    return copy;
  }
}

/** The state of a fresh process image. */
export const makeLibcState = (): LibcState => new Libc();

/** The thread whose code runs now. Outside a user program there is none. */
export function self(): UserThread {
  const thread = cpu.current;
  if (thread === undefined) throw new TypeError('libc was called outside a user program');
  return thread;
}

export const libc = (): Libc => self().libc as Libc;
