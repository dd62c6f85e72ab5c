/**
 * ELF: headers of executables, both classes, and the auxiliary vector.
 * Linux: include/uapi/linux/elf.h, elf-em.h, auxvec.h
 */
import { type Of, array, s32, s64, struct, u16, u32, u64, u8, union } from './struct.ts';

// Indices into e_ident and what stands there
export const EI_CLASS       = 4;
export const EI_DATA        = 5;
export const EI_VERSION     = 6;
export const EI_OSABI       = 7;
export const EI_ABIVERSION  = 8;
export const EI_NIDENT      = 16;
export const ELFCLASS32     = 1;
export const ELFCLASS64     = 2;
export const ELFDATA2LSB    = 1;
export const ELFDATA2MSB    = 2;
export const ELFOSABI_SYSV  = 0;
export const ELFOSABI_LINUX = 3;
export const EV_CURRENT     = 1;

// e_type and e_machine
export const ET_NONE   = 0;
export const ET_REL    = 1;
export const ET_EXEC   = 2;
export const ET_DYN    = 3;
export const ET_CORE   = 4;
export const EM_386    = 3;
export const EM_X86_64 = 62;

// p_type and p_flags
export const PT_NULL         = 0;
export const PT_LOAD         = 1;
export const PT_DYNAMIC      = 2;
export const PT_INTERP       = 3;
export const PT_NOTE         = 4;
export const PT_SHLIB        = 5;
export const PT_PHDR         = 6;
export const PT_TLS          = 7;
export const PT_GNU_EH_FRAME = 0x6474e550;
export const PT_GNU_STACK    = 0x6474e551;
export const PT_GNU_RELRO    = 0x6474e552;
export const PT_GNU_PROPERTY = 0x6474e553;
export const PF_X            = 1;
export const PF_W            = 2;
export const PF_R            = 4;

// sh_type, sh_flags and special section indices
export const SHT_NULL      = 0;
export const SHT_PROGBITS  = 1;
export const SHT_SYMTAB    = 2;
export const SHT_STRTAB    = 3;
export const SHT_RELA      = 4;
export const SHT_HASH      = 5;
export const SHT_DYNAMIC   = 6;
export const SHT_NOTE      = 7;
export const SHT_NOBITS    = 0x8;
export const SHT_REL       = 0x9;
export const SHT_DYNSYM    = 0xb;
export const SHF_WRITE     = 1;
export const SHF_ALLOC     = 2;
export const SHF_EXECINSTR = 4;
export const SHN_UNDEF     = 0;
export const SHN_ABS       = 0xfff1;
export const SHN_COMMON    = 0xfff2;

// Symbols: binding and type of st_info
export const STB_LOCAL   = 0;
export const STB_GLOBAL  = 1;
export const STB_WEAK    = 2;
export const STT_NOTYPE  = 0;
export const STT_OBJECT  = 1;
export const STT_FUNC    = 2;
export const STT_SECTION = 3;
export const STT_FILE    = 4;
export const STT_TLS     = 6;

// Auxiliary vector
export const AT_NULL         = 0;
export const AT_IGNORE       = 1;
export const AT_EXECFD       = 2;
export const AT_PHDR         = 3;
export const AT_PHENT        = 4;
export const AT_PHNUM        = 5;
export const AT_PAGESZ       = 6;
export const AT_BASE         = 7;
export const AT_FLAGS        = 8;
export const AT_ENTRY        = 9;
export const AT_UID          = 11;
export const AT_EUID         = 12;
export const AT_GID          = 13;
export const AT_EGID         = 14;
export const AT_PLATFORM     = 15;
export const AT_HWCAP        = 16;
export const AT_CLKTCK       = 17;
export const AT_SECURE       = 23;
export const AT_RANDOM       = 25;
export const AT_HWCAP2       = 26;
export const AT_EXECFN       = 31;
export const AT_SYSINFO_EHDR = 33;
export const AT_MINSIGSTKSZ  = 51;

/** The first four bytes, and the same as a little-endian word. */
export const ELFMAG = '\x7fELF';
export const ELF_MAGIC = 0x464c457f;

const e_ident = array(u8, EI_NIDENT);
export const Elf32_Ehdr = struct('Elf32_Ehdr', {
  e_ident, e_type: u16, e_machine: u16, e_version: u32, e_entry: u32, e_phoff: u32, e_shoff: u32, e_flags: u32,
  e_ehsize: u16, e_phentsize: u16, e_phnum: u16, e_shentsize: u16, e_shnum: u16, e_shstrndx: u16,
});
export type Elf32_Ehdr = Of<typeof Elf32_Ehdr>;
export const Elf64_Ehdr = struct('Elf64_Ehdr', {
  e_ident, e_type: u16, e_machine: u16, e_version: u32, e_entry: u64, e_phoff: u64, e_shoff: u64, e_flags: u32,
  e_ehsize: u16, e_phentsize: u16, e_phnum: u16, e_shentsize: u16, e_shnum: u16, e_shstrndx: u16,
});
export type Elf64_Ehdr = Of<typeof Elf64_Ehdr>;

// p_flags stands elsewhere in the 64-bit header, to keep its words aligned
export const Elf32_Phdr = struct('Elf32_Phdr', {
  p_type: u32, p_offset: u32, p_vaddr: u32, p_paddr: u32, p_filesz: u32, p_memsz: u32, p_flags: u32, p_align: u32,
});
export type Elf32_Phdr = Of<typeof Elf32_Phdr>;
export const Elf64_Phdr = struct('Elf64_Phdr', {
  p_type: u32, p_flags: u32, p_offset: u64, p_vaddr: u64, p_paddr: u64, p_filesz: u64, p_memsz: u64, p_align: u64,
});
export type Elf64_Phdr = Of<typeof Elf64_Phdr>;

export const Elf32_Shdr = struct('Elf32_Shdr', {
  sh_name: u32, sh_type: u32, sh_flags: u32, sh_addr: u32, sh_offset: u32, sh_size: u32, sh_link: u32, sh_info: u32,
  sh_addralign: u32, sh_entsize: u32,
});
export type Elf32_Shdr = Of<typeof Elf32_Shdr>;
export const Elf64_Shdr = struct('Elf64_Shdr', {
  sh_name: u32, sh_type: u32, sh_flags: u64, sh_addr: u64, sh_offset: u64, sh_size: u64, sh_link: u32, sh_info: u32,
  sh_addralign: u64, sh_entsize: u64,
});
export type Elf64_Shdr = Of<typeof Elf64_Shdr>;

export const Elf32_Sym = struct('Elf32_Sym', { st_name: u32, st_value: u32, st_size: u32, st_info: u8, st_other: u8, st_shndx: u16 });
export type Elf32_Sym = Of<typeof Elf32_Sym>;
export const Elf64_Sym = struct('Elf64_Sym', { st_name: u32, st_info: u8, st_other: u8, st_shndx: u16, st_value: u64, st_size: u64 });
export type Elf64_Sym = Of<typeof Elf64_Sym>;

export const Elf32_Rel = struct('Elf32_Rel', { r_offset: u32, r_info: u32 });
export type Elf32_Rel = Of<typeof Elf32_Rel>;
export const Elf64_Rela = struct('Elf64_Rela', { r_offset: u64, r_info: u64, r_addend: s64 });
export type Elf64_Rela = Of<typeof Elf64_Rela>;

export const Elf32_Nhdr = struct('Elf32_Nhdr', { n_namesz: u32, n_descsz: u32, n_type: u32 });
export type Elf32_Nhdr = Of<typeof Elf32_Nhdr>;

export const Elf64_Dyn = struct('Elf64_Dyn', { d_tag: s64, d_un: union('Elf64_Dyn.d_un', { d_val: u64, d_ptr: u64 }) });
export type Elf64_Dyn = Of<typeof Elf64_Dyn>;
export const Elf32_Dyn = struct('Elf32_Dyn', { d_tag: s32, d_un: union('Elf32_Dyn.d_un', { d_val: u32, d_ptr: u32 }) });
export type Elf32_Dyn = Of<typeof Elf32_Dyn>;
