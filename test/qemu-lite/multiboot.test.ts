import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { MULTIBOOT_AOUT_KLUDGE, multiboot_info, multiboot_mmap_entry } from '../../abi/multiboot.ts';
import { FlatSpace, Mem } from '../../abi/space.ts';
import type { BootImage } from '../../qemu-lite/boot/image.ts';
import { loadKernel } from '../../qemu-lite/boot/load.ts';
import { OptionError } from '../../qemu-lite/option-error.ts';
import { bootImages } from '../../system/boot-images.ts';

const MIB = 2 ** 20;
const load = (file: Uint8Array, memorySize = 128 * MIB, append?: string): BootImage => loadKernel(file, { memorySize, append, path: 'k' });

function refusal(file: Uint8Array, memorySize?: number): string {
  try {
    load(file, memorySize);
  } catch (e) {
    assert.ok(e instanceof OptionError, String(e));
    return e.message;
  }
  return 'accepted';
}

/** The first megabytes of guest memory after loading. */
function memoryOf(image: BootImage): FlatSpace {
  const space = new FlatSpace(new Mem(new ArrayBuffer(4 * MIB)));
  for (const { address, bytes } of image.chunks) space.mem.u8.set(bytes, address);
  return space;
}

const text = (space: FlatSpace, address: number): string => {
  const { u8 } = space.mem;
  return Buffer.from(u8.subarray(address, u8.indexOf(0, address))).toString();
};

/** A flat kernel whose multiboot header says where it goes, as 32-bit words. */
function kludge(fields: Partial<Record<'flags' | 'header_addr' | 'load_addr' | 'load_end_addr' | 'bss_end_addr' | 'entry_addr', number>>, length = 64, at = 0): Uint8Array {
  const file = new Uint8Array(length).fill(0x90);
  const flags = fields.flags ?? MULTIBOOT_AOUT_KLUDGE;
  const words = [0x1badb002, flags, -(0x1badb002 + flags), fields.header_addr ?? 0x100000, fields.load_addr ?? 0x100000, fields.load_end_addr ?? 0, fields.bss_end_addr ?? 0, fields.entry_addr ?? 0x100020];
  const view = new DataView(file.buffer);
  words.forEach((word, i) => view.setUint32(at + i * 4, word >>> 0, true));
  return file;
}

const guests = readdirSync(new URL('../../bench/guests/built', import.meta.url), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.elf'));
const guest = (name: string): Uint8Array => readFileSync(new URL(`../../bench/guests/built/${name}`, import.meta.url));

test('every bench guest is loaded at 1 MiB and entered inside what was loaded, with the magic in EAX', () => {
  assert.ok(guests.length >= 58, `${guests.length} guests`);
  for (const name of guests) {
    const file = guest(name);
    const { chunks, mode, registers } = load(file);
    assert.equal(mode, 'protected', name);
    assert.equal(registers.rax, 0x2badb002, name);
    const home = chunks.find(({ address, bytes }) => registers.rip >= address && registers.rip < address + bytes.length);
    assert.ok(home, `${name}: entry 0x${registers.rip.toString(16)}`);
    assert.equal(home.address, MIB, name);
    const first = name.endsWith('.16.elf') ? 0xfa : 0xfc;
    assert.equal(home.bytes[registers.rip - home.address], first, `${name} begins with ${first === 0xfa ? 'CLI' : 'CLD'}`);
  }
});

test('the images of /boot are multiboot kernels of less than 1 KiB', () => {
  const images = [...bootImages()];
  assert.deepEqual(images.map(([path]) => path).sort(), ['/boot/busy.elf', '/boot/hello.elf']);
  for (const [path, file] of images) {
    assert.ok(file.length < 1024, path);
    assert.equal(load(file).mode, 'protected', path);
  }
});

test('the kernel is told the memory, the command line and who loaded it', () => {
  const image = load(guest('tiny/fib.32.elf'), 64 * MIB, 'quiet x=1');
  const space = memoryOf(image);
  const info = multiboot_info.at(space, image.registers.rbx ?? 0);
  assert.equal(info.flags, 0x001 | 0x002 | 0x004 | 0x008 | 0x040 | 0x200);
  assert.equal(info.mem_lower, 639);
  assert.equal(info.mem_upper, 63 * 1024);
  assert.equal(text(space, info.cmdline), 'k quiet x=1');
  assert.equal(text(space, info.boot_loader_name), 'qemu');
  const map = [];
  for (let at = info.mmap_addr; at < info.mmap_addr + info.mmap_length; ) {
    const { size, addr, len, type } = multiboot_mmap_entry.at(space, at);
    map.push([addr, addr + len, type]);
    at += size + 4;
  }
  assert.deepEqual(map, [[0n, 0x9fc00n, 1], [0x9fc00n, 0xa0000n, 2], [0xf0000n, 0x100000n, 2], [0x100000n, 0x4000000n, 1]]);
});

test('the information moves behind a kernel that lies where it would go', () => {
  const image = load(kludge({ header_addr: 0x8000, load_addr: 0x8000, entry_addr: 0x8020 }, 0x3000));
  const info = image.chunks.at(-1);
  assert.ok(info && info.address >= 0xc0000, `0x${info?.address.toString(16)}`);
  assert.equal(image.registers.rbx, info.address);
});

test('a kernel that is no ELF file goes where its header says', () => {
  const image = load(kludge({ header_addr: 0x200010, load_addr: 0x200000, load_end_addr: 0x200040, bss_end_addr: 0x201000, entry_addr: 0x200030 }, 0x100, 0x30));
  const [kernel] = image.chunks;
  assert.equal(kernel?.address, 0x200000);
  assert.equal(kernel?.memorySize, 0x1000);
  assert.equal(kernel?.bytes.length, 0x40);
  assert.equal(new DataView(kernel!.bytes.buffer, kernel!.bytes.byteOffset).getUint32(0x10, true), 0x1badb002);
  assert.equal(image.registers.rip, 0x200030);
});

test('a header whose checksum is wrong, that is misaligned or lies beyond 8 KiB is none', () => {
  const wrong = kludge({});
  wrong[8]! ^= 1;
  assert.equal(load(wrong).mode, 'real');
  assert.equal(load(kludge({}, 0x100, 2)).mode, 'real');
  assert.equal(load(kludge({}, 0x3000, 8192)).mode, 'real');
  assert.equal(load(kludge({ header_addr: 0x101ff0, load_addr: 0x100000 }, 0x3000, 8176)).mode, 'protected');
});

test('a file that is neither ELF nor multiboot starts in real mode at 0x7c00 with the boot drive in DL', () => {
  const { chunks, mode, registers } = load(Uint8Array.of(0xf4));
  assert.equal(mode, 'real');
  assert.deepEqual(registers, { rip: 0x7c00, rsp: 0x7c00, rdx: 0x80 });
  assert.deepEqual(chunks.map(({ address, memorySize }) => [address, memorySize]), [[0x7c00, 1]]);
});

test('a file that cannot be booted is refused with the reason', () => {
  const elf = guest('tiny/fib.32.elf');
  const patched = (change: (view: DataView, bytes: Uint8Array) => void): Uint8Array => {
    const copy = Uint8Array.from(elf);
    change(new DataView(copy.buffer), copy);
    return copy;
  };
  const magic = Buffer.from(elf).indexOf(Buffer.from([0x02, 0xb0, 0xad, 0x1b]));
  const linux = new Uint8Array(0x400);
  linux.set([0x48, 0x64, 0x72, 0x53], 0x202);
  const cases: readonly (readonly [Uint8Array, string, number?])[] = [
    [new Uint8Array(0), "kernel 'k' is empty"],
    [linux, "kernel 'k' is a Linux kernel, which cannot be booted yet"],
    [patched((_, b) => b.fill(0, magic, magic + 4)), "kernel 'k' is an ELF file without a multiboot header"],
    [new Uint8Array(700_000), "kernel 'k' is neither multiboot nor ELF, and too large for a flat image: 700000 bytes, at most 623616 fit"],
    [kludge({ flags: MULTIBOOT_AOUT_KLUDGE | 0x40 }), "kernel 'k' wants unknown multiboot features 0x40"],
    [kludge({ flags: 0 }), "kernel 'k' has a multiboot header without addresses and is no ELF file"],
    [kludge({ load_addr: 0x100010 }), "kernel 'k': invalid multiboot header: load_addr is above header_addr"],
    [kludge({ load_addr: 0xff000 }), "kernel 'k': invalid multiboot header: load_addr lies before the start of the file"],
    [kludge({ load_end_addr: 0x100100 }), "kernel 'k': invalid multiboot header: load_end_addr lies beyond the end of the file"],
    [kludge({ bss_end_addr: 0x100010 }), "kernel 'k': invalid multiboot header: bss_end_addr is below load_end_addr"],
    [kludge({ header_addr: 0xa0000, load_addr: 0xa0000 }), "kernel 'k' does not fit in guest memory: it wants 0xa0000-0xa003f, and RAM ends at 0x7ffffff"],
    [kludge({}), "kernel 'k' does not fit in guest memory: it wants 0x100000-0x10003f, and RAM ends at 0xfffff", MIB],
    [patched((v) => v.setUint16(18, 183, true)), "kernel 'k': ELF file is not for x86"],
    [patched((v) => v.setUint32(28, 0xffff00, true)), "kernel 'k': program headers lie outside the file"],
    [patched((v) => v.setUint32(52 + 16, 0xffff00, true)), "kernel 'k': a segment lies outside the file"],
    [patched((v) => v.setUint32(52 + 20, 1, true)), "kernel 'k': a segment is larger in the file than in memory"],
    [patched((v) => v.setUint32(52 + 32 + 12, 0x100000, true)), "kernel 'k': segments overlap"],
  ];
  for (const [file, message, memorySize] of cases) assert.equal(refusal(file, memorySize), message);
});

test('no random change to a kernel file makes the loader fail otherwise than by refusing it', () => {
  const elf = guest('tiny/fib.64.elf');
  let seed = 1;
  const random = (n: number): number => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n;
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const file = Uint8Array.from(elf.subarray(0, i % 10 === 0 ? random(elf.length) : elf.length));
    for (let k = random(4); k >= 0; k--) file[random(Math.min(file.length, 148)) || 0] = random(256);
    if (refusal(file) !== 'accepted') refused++;
  }
  assert.ok(refused > 100 && refused < 2000, `${refused} refused`);
});
