/**
 * Programs of machine code: 64-bit ELF executables, static or static-pie.
 *
 * Linux: fs/binfmt_elf.c
 */
import { EACCES, EINVAL, ELIBBAD, ENOEXEC, ENOMEM } from '../abi/errno.ts';
import * as E from '../abi/elf.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { flat, Mem } from '../abi/struct.ts';
import { kernel_read } from './fs/read-write.ts';
import type { file } from './fs/types.ts';
import { do_mmap } from './mm/mmap.ts';
import { space_of } from './mm/space.ts';
import { PAGE_SIZE, type mm_struct } from './mm/types.ts';

/** Where a position-independent program lies: ELF_ET_DYN_BASE without randomization. */
const ET_DYN_BASE = 0x5555_5555_4000;
const MAX_HEADERS = 64;

export interface ElfImage {
  readonly entry: number;
  /** Pairs for the stack: AT_* and value. */
  readonly auxv: readonly (readonly [number, number])[];
}

export const is_elf = (head: Uint8Array): boolean => head[0] === 0x7f && head[1] === 0x45 && head[2] === 0x4c && head[3] === 0x46;

/** Reads `n` bytes at `offset` into memory of their own, zero-filled to the next 8. */
function read(f: file, offset: number, n: number): Mem | number {
  const bytes = new Uint8Array(Math.ceil(n / 8) * 8);
  const got = kernel_read(f, bytes.subarray(0, n), offset);
  return got < 0 ? got : got < n ? -ENOEXEC : new Mem(bytes.buffer);
}

const number = (n: bigint): number => (n < 2n ** 53n ? Number(n) : Number.MAX_SAFE_INTEGER);

interface Segment { readonly offset: number; readonly vaddr: number; readonly filesz: number; readonly memsz: number; readonly flags: number }

/** Maps the program of `f` into the empty `mm`. -ENOEXEC: no such program; other errors as Linux gives them. */
export function load_elf_binary(mm: mm_struct, f: file): ElfImage | number {
  const head = read(f, 0, E.Elf64_Ehdr.size);
  if (typeof head === 'number') return -ENOEXEC;
  const ehdr = E.Elf64_Ehdr.at(flat(head), 0);
  if (ehdr.e_ident.get(E.EI_CLASS) !== E.ELFCLASS64 || ehdr.e_machine !== E.EM_X86_64) return -ENOEXEC;
  if ((ehdr.e_type !== E.ET_EXEC && ehdr.e_type !== E.ET_DYN) || ehdr.e_phentsize !== E.Elf64_Phdr.size || ehdr.e_phnum < 1 || ehdr.e_phnum > MAX_HEADERS) return -ENOEXEC;
  const phoff = number(ehdr.e_phoff);
  const table = read(f, phoff, ehdr.e_phnum * E.Elf64_Phdr.size);
  if (typeof table === 'number') return -ENOEXEC;
  const segments: Segment[] = [];
  for (let i = 0; i < ehdr.e_phnum; i++) {
    const ph = E.Elf64_Phdr.at(flat(table), i * E.Elf64_Phdr.size);
    // There is no dynamic linker to hand over to.
    if (ph.p_type === E.PT_INTERP) return -ELIBBAD;
    if (ph.p_type !== E.PT_LOAD) continue;
    segments.push({ offset: number(ph.p_offset), vaddr: number(ph.p_vaddr), filesz: number(ph.p_filesz), memsz: number(ph.p_memsz), flags: ph.p_flags });
  }
  if (segments.length === 0) return -ENOEXEC;

  const bias = ehdr.e_type === E.ET_DYN ? ET_DYN_BASE : 0;
  let end = 0;
  for (const segment of segments) {
    const error = map_segment(mm, f, segment, bias);
    if (error < 0) return error;
    end = Math.max(end, bias + segment.vaddr + segment.memsz);
    if ((segment.flags & E.PF_X) !== 0) {
      mm.start_code ||= bias + segment.vaddr;
      mm.end_code = Math.max(mm.end_code, bias + segment.vaddr + segment.filesz);
    }
  }
  mm.start_brk = mm.brk = Math.ceil(end / PAGE_SIZE) * PAGE_SIZE;
  const first = segments.find((s) => s.offset <= phoff && phoff < s.offset + s.filesz);
  const entry = bias + number(ehdr.e_entry);
  return {
    entry,
    auxv: [
      [E.AT_HWCAP, 0x0783_fbff], [E.AT_PAGESZ, PAGE_SIZE], [E.AT_CLKTCK, 100], [E.AT_PHDR, first === undefined ? 0 : bias + first.vaddr + phoff - first.offset],
      [E.AT_PHENT, E.Elf64_Phdr.size], [E.AT_PHNUM, ehdr.e_phnum], [E.AT_BASE, 0], [E.AT_FLAGS, 0], [E.AT_ENTRY, entry],
      [E.AT_UID, 0], [E.AT_EUID, 0], [E.AT_GID, 0], [E.AT_EGID, 0], [E.AT_SECURE, 0],
    ],
  };
}

/** The file's part of a segment, zeros to the end of its last page, anonymous memory for the rest. */
function map_segment(mm: mm_struct, f: file, { offset, vaddr, filesz, memsz, flags }: Segment, bias: number): number {
  if (filesz > memsz || vaddr % PAGE_SIZE !== offset % PAGE_SIZE || !(bias + vaddr + memsz < 2 ** 47)) return -EINVAL;
  const prot = (flags & E.PF_R ? PROT_READ : 0) | (flags & E.PF_W ? PROT_WRITE : 0) | (flags & E.PF_X ? PROT_EXEC : 0);
  const within = vaddr % PAGE_SIZE;
  const start = bias + vaddr - within;
  const file_end = bias + vaddr + filesz;
  const page_end = Math.ceil(file_end / PAGE_SIZE) * PAGE_SIZE;
  if (filesz > 0) {
    const at = do_mmap(mm, f, start, filesz + within, prot, MAP_PRIVATE | MAP_FIXED, (offset - within) / PAGE_SIZE);
    if (at < 0) return at;
  }
  const memory_end = bias + vaddr + memsz;
  if (memory_end > file_end && filesz > 0 && (prot & PROT_WRITE) !== 0 && file_end < page_end) {
    const at = space_of(mm).translate(file_end, true);
    if (at < 0) return -EACCES;
    space_of(mm).mem.u8.fill(0, at, at + page_end - file_end);
  }
  const anonymous = filesz > 0 ? page_end : start;
  if (memory_end > anonymous) {
    const at = do_mmap(mm, undefined, anonymous, memory_end - anonymous, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, 0);
    if (at < 0) return -ENOMEM;
  }
  return 0;
}
