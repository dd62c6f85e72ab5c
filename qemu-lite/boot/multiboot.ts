/**
 * Multiboot kernels: the header that marks them, where their parts go, and the information they are handed.
 * QEMU: hw/i386/multiboot.c; Multiboot Specification 0.6.96. The information lies in low memory unless the kernel
 * wants that place for itself; then it follows the kernel.
 */
import { BootImageWriter } from './writer.ts';
import type { BootImage, Segment } from './image.ts';
import { isElf, readElf, spaceOfFile } from './elf.ts';
import {
  MULTIBOOT_AOUT_KLUDGE, MULTIBOOT_BOOTLOADER_MAGIC, MULTIBOOT_HEADER_MAGIC, MULTIBOOT_INFO_BOOTDEV, MULTIBOOT_INFO_BOOT_LOADER_NAME,
  MULTIBOOT_INFO_CMDLINE, MULTIBOOT_INFO_MEMORY, MULTIBOOT_INFO_MEM_MAP, MULTIBOOT_INFO_MODS, MULTIBOOT_MEMORY_AVAILABLE, MULTIBOOT_MEMORY_INFO,
  MULTIBOOT_MEMORY_RESERVED, MULTIBOOT_PAGE_ALIGN, MULTIBOOT_SEARCH, MULTIBOOT_VIDEO_MODE, multiboot_header, multiboot_info, multiboot_mmap_entry,
} from '../../abi/multiboot.ts';
import { OptionError } from '../option-error.ts';
import { MIB, VGA_WINDOW, VGA_WINDOW_END, ramRanges } from '../memory.ts';

/** Below it lie the interrupt table and the BIOS data area of a PC. */
const INFORMATION_ADDRESS = 0x9000;
/** The first hard disk as the BIOS counts, no partition. */
const BOOT_DEVICE = 0x8000_ffff;
/** A PC's extended BIOS data area, at the end of the first 640 KiB. */
const EBDA = 0x9fc00;
const FIRMWARE = 0xf0000;
/** Of the 16 flags a loader must refuse when it does not know them, these are known. */
const KNOWN_FLAGS = MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO | MULTIBOOT_VIDEO_MODE;

export interface MultibootHeader { readonly offset: number; readonly header: multiboot_header }

/** The header in the first 8 KiB, undefined when there is none. */
export function findMultibootHeader(file: Uint8Array): MultibootHeader | undefined {
  // The address members may be cut off at the end of the file: padding makes them readable as zero.
  const padded = new Uint8Array(Math.min(file.length, MULTIBOOT_SEARCH) + multiboot_header.size);
  padded.set(file.subarray(0, padded.length));
  const space = spaceOfFile(padded);
  for (let offset = 0; offset + 12 <= Math.min(file.length, MULTIBOOT_SEARCH); offset += 4) {
    const header = multiboot_header.at(space, offset);
    if (header.magic === MULTIBOOT_HEADER_MAGIC && (header.magic + header.flags + header.checksum) % 2 ** 32 === 0) return { offset, header };
  }
  return undefined;
}

/** Where a kernel goes that says so in its header instead of in an ELF file. */
function aoutSegments(file: Uint8Array, { offset, header }: MultibootHeader, path: string): { entry: number; segments: Segment[] } {
  const bad = (what: string): never => { throw new OptionError(`kernel '${path}': invalid multiboot header: ${what}`); };
  const { header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr } = header;
  if (load_addr > header_addr) bad('load_addr is above header_addr');
  const from = offset - (header_addr - load_addr);
  if (from < 0) bad('load_addr lies before the start of the file');
  if (load_end_addr !== 0 && load_end_addr < load_addr) bad('load_end_addr is below load_addr');
  const loaded = load_end_addr === 0 ? file.length - from : load_end_addr - load_addr;
  if (from + loaded > file.length) bad('load_end_addr lies beyond the end of the file');
  if (bss_end_addr !== 0 && bss_end_addr < load_addr + loaded) bad('bss_end_addr is below load_end_addr');
  return {
    entry: entry_addr,
    segments: [{ address: load_addr, bytes: file.subarray(from, from + loaded), memorySize: bss_end_addr === 0 ? loaded : bss_end_addr - load_addr }],
  };
}

function checkPlaces(segments: readonly Segment[], memorySize: number, path: string): void {
  const ranges = ramRanges(memorySize);
  const hex = (value: number): string => `0x${value.toString(16)}`;
  for (const { address, memorySize: size } of segments) {
    if (ranges.some(({ start, end }) => address >= start && address + size <= end)) continue;
    throw new OptionError(`kernel '${path}' does not fit in guest memory: it wants ${hex(address)}-${hex(address + size - 1)}, and RAM ends at ${hex(memorySize - 1)}`);
  }
  const sorted = [...segments].sort((a, b) => a.address - b.address);
  sorted.forEach((segment, i) => {
    const next = sorted[i + 1];
    if (next !== undefined && segment.address + segment.memorySize > next.address) throw new OptionError(`kernel '${path}': segments overlap`);
  });
}

/** The memory of a PC as its BIOS would report it. */
function memoryMap(memorySize: number): { start: number; end: number; type: number }[] {
  return [
    { start: 0, end: Math.min(EBDA, memorySize), type: MULTIBOOT_MEMORY_AVAILABLE },
    { start: EBDA, end: VGA_WINDOW, type: MULTIBOOT_MEMORY_RESERVED },
    { start: FIRMWARE, end: MIB, type: MULTIBOOT_MEMORY_RESERVED },
    { start: MIB, end: memorySize, type: MULTIBOOT_MEMORY_AVAILABLE },
  ].filter(({ start, end }) => start < end && start < memorySize);
}

/** Lays out multiboot_info and all it points to, from `address` on. */
function information(address: number, memorySize: number, cmdline: string): Uint8Array {
  const map = memoryMap(memorySize);
  const writer = new BootImageWriter(address);
  const info = writer.reserve(multiboot_info.size);
  const entries = writer.reserve(map.length * multiboot_mmap_entry.size);
  const text = writer.string(cmdline);
  const loader = writer.string('qemu');
  map.forEach(({ start, end, type }, i) => {
    writer.store(multiboot_mmap_entry, entries + i * multiboot_mmap_entry.size, {
      size: multiboot_mmap_entry.size - 4, addr: BigInt(start), len: BigInt(end - start), type,
    });
  });
  writer.store(multiboot_info, info, {
    flags: MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_BOOTDEV | MULTIBOOT_INFO_CMDLINE | MULTIBOOT_INFO_MODS | MULTIBOOT_INFO_MEM_MAP | MULTIBOOT_INFO_BOOT_LOADER_NAME,
    mem_lower: Math.min(memorySize, EBDA) / 1024, mem_upper: Math.max(memorySize - MIB, 0) / 1024, boot_device: BOOT_DEVICE,
    cmdline: text, mmap_addr: entries, mmap_length: map.length * multiboot_mmap_entry.size, boot_loader_name: loader,
  });
  return writer.bytes();
}

export interface MultibootOptions { readonly memorySize: number; readonly append: string | undefined; readonly path: string }

/** Undefined when the file carries no multiboot header. */
export function loadMultiboot(file: Uint8Array, { memorySize, append, path }: MultibootOptions): BootImage | undefined {
  const found = findMultibootHeader(file);
  if (found === undefined) return undefined;
  const { flags } = found.header;
  const unknown = flags & 0xffff & ~KNOWN_FLAGS;
  if (unknown !== 0) throw new OptionError(`kernel '${path}' wants unknown multiboot features 0x${unknown.toString(16)}`);
  if ((flags & MULTIBOOT_AOUT_KLUDGE) === 0 && !isElf(file)) throw new OptionError(`kernel '${path}' has a multiboot header without addresses and is no ELF file`);
  const { entry, segments } = (flags & MULTIBOOT_AOUT_KLUDGE) !== 0 ? aoutSegments(file, found, path) : readElf(file, path);
  checkPlaces(segments, memorySize, path);

  const cmdline = append === undefined ? path : `${path} ${append}`;
  const length = information(0, memorySize, cmdline).length;
  const overlaps = segments.some(({ address, memorySize: size }) => address < VGA_WINDOW && address + size > INFORMATION_ADDRESS && address < INFORMATION_ADDRESS + length);
  const end = Math.max(VGA_WINDOW_END, ...segments.map(({ address, memorySize: size }) => address + size));
  const place = overlaps || INFORMATION_ADDRESS + length > EBDA ? Math.ceil(end / 4096) * 4096 : INFORMATION_ADDRESS;
  if (place + length > memorySize) throw new OptionError(`guest memory is too small for the boot information of kernel '${path}'`);
  return {
    chunks: [...segments, { address: place, bytes: information(place, memorySize, cmdline), memorySize: length }],
    mode: 'protected',
    registers: { rip: entry, rax: MULTIBOOT_BOOTLOADER_MAGIC, rbx: place },
  };
}
