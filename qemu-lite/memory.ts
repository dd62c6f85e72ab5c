/**
 * RAM of the guest: one anonymous mapping of this process, given to KVM in slots around the holes of a PC.
 * QEMU: hw/i386/pc.c, accel/kvm/kvm-all.c (kvm_set_phys_mem). Below 1 MiB a PC has RAM up to 640 KiB, then the
 * graphics card's window, which nobody fills here; the firmware's area is plain RAM, because there is no firmware.
 */
import type { Sys } from '../abi/process.ts';
import { assign } from '../abi/struct.ts';
import { MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { KVM_SET_USER_MEMORY_REGION, kvm_userspace_memory_region } from '../abi/kvm/index.ts';
import { alloc, free, ioctl, madvise, mmap, munmap, storeBytes } from '../userland/libc.ts';
import type { Segment } from './boot/image.ts';

export const VGA_WINDOW = 0xa0000;
export const VGA_WINDOW_END = 0xc0000;
export const MIB = 2 ** 20;
/** Alignment of the guest's RAM in this process, so that what is one 2 MiB page there can be one in the guest. */
const QEMU_VMALLOC_ALIGN = 2 * MIB;

export interface GuestMemory {
  readonly size: number;
  /** Where guest-physical 0 lies in this process. */
  readonly host: number;
}

/** What of the guest-physical addresses up to `size` is RAM, in order. */
export function ramRanges(size: number): { readonly start: number; readonly end: number }[] {
  return [{ start: 0, end: Math.min(size, VGA_WINDOW) }, { start: VGA_WINDOW_END, end: size }].filter(({ start, end }) => start < end);
}

/** QEMU: util/mmap-alloc.c (qemu_ram_mmap), system/physmem.c (ram_block_add) */
function* qemu_anon_ram_alloc(size: number): Sys<number> {
  const total = size + QEMU_VMALLOC_ALIGN;
  const room = yield* mmap(0, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  const host = Math.ceil(room / QEMU_VMALLOC_ALIGN) * QEMU_VMALLOC_ALIGN;
  yield* mmap(host, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (host > room) yield* munmap(room, host - room);
  yield* munmap(host + size, room + total - (host + size));
  yield* madvise(host, size, MADV_HUGEPAGE);
  return host;
}

export function* createMemory(vm: number, size: number): Sys<GuestMemory> {
  const host = yield* qemu_anon_ram_alloc(size);
  const region = yield* alloc(kvm_userspace_memory_region);
  let slot = 0;
  for (const { start, end } of ramRanges(size)) {
    assign(region, { slot: slot++, guest_phys_addr: BigInt(start), memory_size: BigInt(end - start), userspace_addr: BigInt(host + start) });
    yield* ioctl(vm, KVM_SET_USER_MEMORY_REGION, region);
  }
  yield* free(region);
  return { size, host };
}

/** Puts the bytes of a boot image into memory that is zero or, with `clear`, was used before. */
export function loadChunk(memory: GuestMemory, { address, bytes, memorySize }: Segment, clear = false): void {
  storeBytes(memory.host + address, bytes);
  if (!clear) return;
  const zeroes = new Uint8Array(4096);
  for (let at = bytes.length; at < memorySize; at += zeroes.length) {
    storeBytes(memory.host + address + at, zeroes.subarray(0, Math.min(zeroes.length, memorySize - at)));
  }
}
