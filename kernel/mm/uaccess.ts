/**
 * Copies between the kernel and the memory of the task that made the system call. A bad address is an answer here,
 * never an exception.
 * Linux: arch/x86/include/asm/uaccess.h, lib/strncpy_from_user.c
 */
import type { Space } from '../../abi/struct.ts';
import { EFAULT } from '../../abi/errno.ts';
import { fromUtf8 } from '../../lib/text.ts';
import { current } from '../current.ts';
import type { task_struct } from '../sched/types.ts';
import { space_of } from './space.ts';
import { PAGE_SIZE } from './types.ts';

/** The memory of a task as its own program sees it. */
export const user_space = (task: task_struct): Space => task.mm!.space;

/** Fills `dst` from user memory. 0 or -EFAULT; what lies before the bad page is copied. */
export function copy_from_user(dst: Uint8Array, address: number): number {
  const mm = current().mm;
  if (mm === undefined) return dst.length === 0 ? 0 : -EFAULT;
  return access_mm(space_of(mm), address, dst, false);
}

/** Stores `src` in user memory. 0 or -EFAULT; what lies before the bad page is stored. */
export function copy_to_user(address: number, src: Uint8Array): number {
  const mm = current().mm;
  if (mm === undefined) return src.length === 0 ? 0 : -EFAULT;
  return access_mm(space_of(mm), address, src, true);
}

/** Up to here a loop is faster than making a subarray for set(). */
const SHORT = 64;

function access_mm(space: ReturnType<typeof space_of>, address: number, bytes: Uint8Array, write: boolean): number {
  const u8 = space.mem.u8;
  for (let done = 0; done < bytes.length; ) {
    const at = space.translate(address + done, write);
    if (at < 0) return -EFAULT;
    const n = Math.min(bytes.length - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
    if (n <= SHORT) {
      if (write) for (let i = 0; i < n; i++) u8[at + i] = bytes[done + i]!;
      else for (let i = 0; i < n; i++) bytes[done + i] = u8[at + i]!;
    } else if (n === bytes.length) {
      if (write) u8.set(bytes, at);
      else bytes.set(u8.subarray(at, at + n));
    } else if (write) u8.set(bytes.subarray(done, done + n), at);
    else bytes.set(u8.subarray(at, at + n), done);
    done += n;
  }
  return 0;
}

/** Sets n bytes of user memory to zero. 0 or -EFAULT. */
export function clear_user(address: number, n: number): number {
  const space = space_of(current().mm!);
  while (n > 0) {
    const at = space.translate(address, true);
    if (at < 0) return -EFAULT;
    const step = Math.min(n, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
    space.mem.u8.fill(0, at, at + step);
    address += step;
    n -= step;
  }
  return 0;
}

const word = new Uint8Array(8);
const words = new DataView(word.buffer);

/** A 32-bit word of user memory, undefined when the address is bad. */
export function get_user32(address: number): number | undefined {
  return copy_from_user(word.subarray(0, 4), address) === 0 ? words.getInt32(0, true) : undefined;
}
export function get_user64(address: number): bigint | undefined {
  return copy_from_user(word, address) === 0 ? words.getBigUint64(0, true) : undefined;
}
export function put_user32(address: number, value: number): number {
  words.setInt32(0, value, true);
  return copy_to_user(address, word.subarray(0, 4));
}
export function put_user64(address: number, value: bigint): number {
  words.setBigUint64(0, value, true);
  return copy_to_user(address, word);
}

/** A string that ends in NUL: its text, -EFAULT, or undefined when no NUL comes within `max` bytes. */
export function strncpy_from_user(address: number, max: number): string | number | undefined {
  const mm = current().mm;
  if (mm === undefined) return -EFAULT;
  const space = space_of(mm);
  const u8 = space.mem.u8;
  const parts: Uint8Array[] = [];
  for (let done = 0; done < max; ) {
    const at = space.translate(address + done, false);
    if (at < 0) return -EFAULT;
    const n = Math.min(max - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
    const piece = u8.subarray(at, at + n);
    const end = piece.indexOf(0);
    parts.push(end < 0 ? piece : piece.subarray(0, end));
    if (end >= 0) return fromUtf8(join(parts));
    done += n;
  }
  return undefined;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Reads or writes another task's memory: 0 or -EFAULT. For process_vm_readv and ptrace. */
export const access_process_vm = (task: task_struct, address: number, bytes: Uint8Array, write: boolean): number =>
  task.mm === undefined ? -EFAULT : access_mm(space_of(task.mm), address, bytes, write);
