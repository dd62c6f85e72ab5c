/**
 * The loadable segments of an ELF file, at their physical addresses. A 64-bit file is a container only: its code is
 * entered in 32-bit mode like any multiboot kernel's. System V ABI, chapter 4 and 5.
 */
import { FlatSpace, Mem } from '../../abi/space.ts';
import { EI_CLASS, EI_DATA, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELF_MAGIC, EM_386, EM_X86_64, Elf32_Ehdr, Elf32_Phdr, Elf64_Ehdr, Elf64_Phdr, PT_LOAD } from '../../abi/elf.ts';
import { OptionError } from '../option-error.ts';
import type { Segment } from './image.ts';

export interface ElfImage { readonly entry: number; readonly segments: readonly Segment[] }

/** `file` as memory, for struct views: padded, so that the last words can be read too. */
export function spaceOfFile(file: Uint8Array): FlatSpace {
  const buffer = new ArrayBuffer(Math.ceil(file.length / 8) * 8);
  new Uint8Array(buffer).set(file);
  return new FlatSpace(new Mem(buffer));
}

export const isElf = (file: Uint8Array): boolean =>
  file.length >= 4 && new DataView(file.buffer, file.byteOffset).getUint32(0, true) === ELF_MAGIC;

export function readElf(file: Uint8Array, path: string): ElfImage {
  const bad = (what: string): never => { throw new OptionError(`kernel '${path}': ${what}`); };
  if (file.length < Elf32_Ehdr.size) bad('truncated ELF file');
  const wide = file[EI_CLASS] === ELFCLASS64;
  if (!wide && file[EI_CLASS] !== ELFCLASS32) bad('ELF file of an unknown class');
  if (file[EI_DATA] !== ELFDATA2LSB) bad('ELF file is not little-endian');
  if (wide && file.length < Elf64_Ehdr.size) bad('truncated ELF file');
  const space = spaceOfFile(file);
  const header = (wide ? Elf64_Ehdr : Elf32_Ehdr).at(space, 0);
  if (header.e_machine !== EM_386 && header.e_machine !== EM_X86_64) bad('ELF file is not for x86');
  const table = Number(header.e_phoff);
  const headers = Array.from({ length: header.e_phnum }, (_, i) => {
    const at = table + i * header.e_phentsize;
    if (at + (wide ? Elf64_Phdr : Elf32_Phdr).size > file.length) bad('program headers lie outside the file');
    const segment = (wide ? Elf64_Phdr : Elf32_Phdr).at(space, at);
    return {
      type: segment.p_type, offset: Number(segment.p_offset), virtual: Number(segment.p_vaddr), physical: Number(segment.p_paddr),
      fileSize: Number(segment.p_filesz), memorySize: Number(segment.p_memsz),
    };
  }).filter((segment) => segment.type === PT_LOAD && segment.memorySize > 0);
  if (headers.length === 0) bad('ELF file has nothing to load');
  for (const { offset, fileSize, memorySize } of headers) {
    if (offset + fileSize > file.length) bad('a segment lies outside the file');
    if (fileSize > memorySize) bad('a segment is larger in the file than in memory');
  }
  // The entry is a virtual address; paging is off, so what counts is where its segment lies physically.
  const entry = Number(header.e_entry);
  const home = headers.find(({ virtual, memorySize }) => entry >= virtual && entry < virtual + memorySize);
  return {
    entry: home === undefined ? entry : entry - home.virtual + home.physical,
    segments: headers.map(({ physical, offset, fileSize, memorySize }) => ({ address: physical, bytes: file.subarray(offset, offset + fileSize), memorySize })),
  };
}
