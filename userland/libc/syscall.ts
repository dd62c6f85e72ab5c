/**
 * Making a system call: registers are filled, one bare `yield` is the SYSCALL instruction, the value it gives is RAX.
 * Strings and out-parameters travel in scratch buffers in user memory, so real page tables carry them too.
 */
import type { Sys, Word } from '../../abi/process.ts';
import { type Located, addressOf, copyIn, copyOut } from '../../abi/struct.ts';
import { FlatSpace } from '../../abi/space.ts';
import { ENAMETOOLONG } from '../../abi/errno.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { __NR_mmap } from '../../abi/syscalls.ts';
import { Errno, check } from './errno.ts';
import { libc, self } from './state.ts';

/**
 * Fills the registers for a system call that the caller then makes with a bare `yield`. The form without a generator
 * of its own, for a loop that enters the kernel a million times: `arm(__NR_ioctl, vcpu, KVM_RUN.nr, 0); if ((yield) < 0) …`.
 */
export function arm(nr: number, a0: Word = 0, a1: Word = 0, a2: Word = 0, a3: Word = 0, a4: Word = 0, a5: Word = 0): void {
  const t = self();
  t.nr = nr;
  t.a0 = a0;
  t.a1 = a1;
  t.a2 = a2;
  t.a3 = a3;
  t.a4 = a4;
  t.a5 = a5;
}

/** syscall(2), but the raw form: gives what the kernel gave, -errno on failure, and throws nothing. */
export function* syscall(nr: number, a0: Word = 0, a1: Word = 0, a2: Word = 0, a3: Word = 0, a4: Word = 0, a5: Word = 0): Sys<number> {
  arm(nr, a0, a1, a2, a3, a4, a5);
  return yield;
}

/** A system call by its name in messages; throws Errno on failure. */
export function* call(name: string, nr: number, a0: Word = 0, a1: Word = 0, a2: Word = 0, a3: Word = 0, a4: Word = 0, a5: Word = 0): Sys<number> {
  arm(nr, a0, a1, a2, a3, a4, a5);
  return check(name, yield);
}

/** Where a view lies in user memory. A view that lies elsewhere (made by `Struct.make`) has no address the kernel could use. */
export function userAddress(view: Located): number {
  if (view['@space'] instanceof FlatSpace && self().space !== view['@space']) {
    throw new TypeError(`a ${view['@type'].name} handed to the kernel must lie in user memory: make it with alloc()`);
  }
  return addressOf(view);
}

// ---------------------------------------------------------------- scratch buffers

export const SCRATCH = 4096;

/** `size` bytes of fresh zeroed memory from the kernel. */
export function* mapMemory(size: number): Sys<number> {
  arm(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return check('mmap', yield);
}

/** Takes a page-sized buffer; hand it back with `putScratch`. Two threads never share one. */
export function* getScratch(): Sys<number> {
  const pool = libc().scratch;
  const buffer = pool.pop();
  if (buffer !== undefined) return buffer;
  const few = 4;
  const pages = yield* mapMemory(few * SCRATCH);
  for (let i = 1; i < few; i++) pool.push(pages + i * SCRATCH);
  return pages;
}

export function putScratch(buffer: number): void {
  libc().scratch.push(buffer);
}

const encoder = new TextEncoder();

/** The bytes of a string in UTF-8; characters U+DC80..U+DCFF give back the bytes that were no UTF-8 (see `decode`). */
export function encode(text: string): Uint8Array {
  if (!/[\udc80-\udcff]/.test(text)) return encoder.encode(text);
  const bytes: number[] = [];
  for (const c of text) {
    const code = c.codePointAt(0) ?? 0;
    if (code >= 0xdc80 && code <= 0xdcff) bytes.push(code & 0xff);
    else bytes.push(...encoder.encode(c));
  }
  return Uint8Array.from(bytes);
}

/** Text of bytes. A byte that is no UTF-8 becomes U+DC80..U+DCFF, so that `encode` gives the same bytes again. */
export function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return decodeLoosely(bytes);
  }
}

function decodeLoosely(bytes: Uint8Array): string {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let text = '';
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i] ?? 0;
    const length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
    try {
      if (length === 0 || i + length > bytes.length) throw new TypeError('no character');
      text += strict.decode(bytes.subarray(i, i + length));
      i += length;
    } catch {
      text += String.fromCharCode(0xdc00 + first);
      i++;
    }
  }
  return text;
}

/** Bytes of `text` as a C string. */
export function cString(text: string): Uint8Array {
  const bytes = encode(text);
  const terminated = new Uint8Array(bytes.length + 1);
  terminated.set(bytes);
  return terminated;
}

/** Stores a C string that must fit into `room` bytes; a longer one is ENAMETOOLONG, as the kernel would say. */
export function storeString(address: number, text: string, room = SCRATCH): void {
  const bytes = cString(text);
  if (bytes.length > room) throw new Errno('open', ENAMETOOLONG);
  copyOut(self().space, address, bytes);
}

/** The C string at `address`. */
export function loadString(address: number, limit = 1 << 16): string {
  const { space } = self();
  const bytes: number[] = [];
  for (let i = 0; i < limit; i++) {
    const byte = space.mem.u8[space.resolve(address + i, false)] ?? 0;
    if (byte === 0) break;
    bytes.push(byte);
  }
  return decode(Uint8Array.from(bytes));
}

/** A system call whose first argument is a path. */
export function* pathCall(name: string, nr: number, path: string, a1: Word = 0, a2: Word = 0, a3: Word = 0): Sys<number> {
  const buffer = yield* getScratch();
  storeString(buffer, path);
  arm(nr, buffer, a1, a2, a3);
  const result = yield;
  putScratch(buffer);
  return check(name, result);
}

/** A system call on two paths. */
export function* twoPathCall(name: string, nr: number, first: string, second: string): Sys<number> {
  const a = yield* getScratch();
  const b = yield* getScratch();
  storeString(a, first);
  storeString(b, second);
  arm(nr, a, b);
  const result = yield;
  putScratch(b);
  putScratch(a);
  return check(name, result);
}

/** A fresh copy of `n` bytes of user memory. */
export function loadBytes(address: number, n: number): Uint8Array {
  const bytes = new Uint8Array(n);
  copyIn(self().space, address, bytes);
  return bytes;
}

export function storeBytes(address: number, bytes: Uint8Array): void {
  copyOut(self().space, address, bytes);
}
