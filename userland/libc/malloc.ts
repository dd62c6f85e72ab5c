/**
 * malloc in user memory, and C structs in it.
 *
 * Blocks up to a page are powers of two aligned to their size, so a struct never crosses a page and its view keeps
 * one translation; larger ones are mappings of their own, 128 KiB and more unmapped when freed. Bookkeeping lies outside user memory: a stray store cannot
 * break the heap.
 */
import type { Sys } from '../../abi/process.ts';
import { type Field, type Located, addressOf, fill } from '../../abi/struct.ts';
import { __NR_mmap, __NR_mprotect, __NR_mremap, __NR_munmap, __NR_madvise } from '../../abi/syscalls.ts';
import { check } from './errno.ts';
import { libc, self } from './state.ts';
import { SCRATCH, arm, call, mapMemory } from './syscall.ts';

const PAGE = SCRATCH;
const ARENA = 16 * PAGE;
const SMALLEST = 16;
/** Blocks beyond this size go back to the kernel when freed. */
const MMAP_THRESHOLD = 32 * PAGE;

export function* mmap(address: number, length: number, prot: number, flags: number, fd: number, offset: number): Sys<number> {
  arm(__NR_mmap, address, length, prot, flags, fd, offset);
  return check('mmap', yield);
}
export const munmap = (address: number, length: number): Sys<number> => call('munmap', __NR_munmap, address, length);
export const mprotect = (address: number, length: number, prot: number): Sys<number> => call('mprotect', __NR_mprotect, address, length, prot);
export const madvise = (address: number, length: number, advice: number): Sys<number> => call('madvise', __NR_madvise, address, length, advice);
export const mremap = (address: number, oldLength: number, newLength: number, flags: number): Sys<number> =>
  call('mremap', __NR_mremap, address, oldLength, newLength, flags);

/** Bytes of the block that serves a request: a power of two up to the threshold, whole pages above. */
const blockSize = (size: number): number =>
  size <= SMALLEST ? SMALLEST : size <= MMAP_THRESHOLD ? 2 ** Math.ceil(Math.log2(size)) : Math.ceil(size / PAGE) * PAGE;

/** `size` bytes of zeroed memory, aligned to 16 or better. */
export function* malloc(size: number): Sys<number> {
  const block = blockSize(size);
  const { heap } = libc();
  let address = heap.free.get(block)?.pop();
  if (address !== undefined) {
    fill(self().space, address, block);
  } else if (block > PAGE) {
    address = yield* mapMemory(block);
  } else {
    address = Math.ceil(heap.next / block) * block;
    if (heap.next === 0 || address + block > heap.end) {
      address = yield* mapMemory(ARENA);
      heap.end = address + ARENA;
    }
    heap.next = address + block;
  }
  heap.used.set(address, block);
  return address;
}

/** Gives back what malloc or alloc gave. An address that malloc did not give is a TypeError: glibc would abort. */
export function* free(what: number | Located): Sys {
  const address = typeof what === 'number' ? what : addressOf(what);
  if (address === 0) return;
  const { heap } = libc();
  const block = heap.used.get(address);
  if (block === undefined) throw new TypeError(`free(): invalid pointer 0x${address.toString(16)}`);
  heap.used.delete(address);
  if (block > MMAP_THRESHOLD) {
    yield* munmap(address, block);
    return;
  }
  const list = heap.free.get(block);
  if (list) list.push(address);
  else heap.free.set(block, [address]);
}

/** A C object of type `type` at `address` of this process: what a pointer cast is in C. */
export const view = <T>(type: Field<T>, address: number): T => type.load(self().space, address);

/** A zeroed C object in user memory: `const regs = yield* alloc(kvm_regs)`. */
export function* alloc<T extends Located>(type: Field<T>): Sys<T> {
  return view(type, yield* malloc(type.size));
}

/** A zeroed struct whose flexible array member has room for `n` elements of `elementSize` bytes. */
export function* alloc_flex<T extends Located>(type: Field<T>, n: number): Sys<T> {
  const last = (type as unknown as { members?: readonly { field: Field<unknown> & { of?: Field<unknown> } }[] }).members?.at(-1)?.field;
  if (last?.kind !== 'flex' || !last.of) throw new TypeError(`${type.name} does not end in a flexible array`);
  return view(type, yield* malloc(type.size + n * last.of.size));
}
