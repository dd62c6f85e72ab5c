/**
 * Multiboot, version 1: the header a kernel carries and the information a boot loader leaves for it.
 * QEMU loads such kernels itself (hw/i386/multiboot.c). Multiboot Specification 0.6.96, sections 3.1 to 3.3.
 */
import { type Of, array, struct, u16, u32, u64, u8 } from './struct.ts';

/** The header lies, 4-byte aligned, within this many bytes from the start of the file. */
export const MULTIBOOT_SEARCH = 8192;
export const MULTIBOOT_HEADER_MAGIC = 0x1badb002;
/** EAX when the kernel starts; EBX then points to multiboot_info. */
export const MULTIBOOT_BOOTLOADER_MAGIC = 0x2badb002;

// Flags of the header; a loader refuses a kernel that sets one of the low 16 bits it does not know
export const MULTIBOOT_PAGE_ALIGN  = 0x00000001;
export const MULTIBOOT_MEMORY_INFO = 0x00000002;
export const MULTIBOOT_VIDEO_MODE  = 0x00000004;
export const MULTIBOOT_AOUT_KLUDGE = 0x00010000;

// Flags of multiboot_info: which members are valid
export const MULTIBOOT_INFO_MEMORY           = 0x001;
export const MULTIBOOT_INFO_BOOTDEV          = 0x002;
export const MULTIBOOT_INFO_CMDLINE          = 0x004;
export const MULTIBOOT_INFO_MODS             = 0x008;
export const MULTIBOOT_INFO_AOUT_SYMS        = 0x010;
export const MULTIBOOT_INFO_ELF_SHDR         = 0x020;
export const MULTIBOOT_INFO_MEM_MAP          = 0x040;
export const MULTIBOOT_INFO_DRIVE_INFO       = 0x080;
export const MULTIBOOT_INFO_CONFIG_TABLE     = 0x100;
export const MULTIBOOT_INFO_BOOT_LOADER_NAME = 0x200;

export const MULTIBOOT_MEMORY_AVAILABLE        = 1;
export const MULTIBOOT_MEMORY_RESERVED         = 2;
export const MULTIBOOT_MEMORY_ACPI_RECLAIMABLE = 3;
export const MULTIBOOT_MEMORY_NVS              = 4;
export const MULTIBOOT_MEMORY_BADRAM           = 5;

/** magic + flags + checksum is 0 modulo 2^32. The addresses count only with MULTIBOOT_AOUT_KLUDGE; an ELF file has its own. */
export const multiboot_header = struct('multiboot_header', {
  magic: u32, flags: u32, checksum: u32,
  header_addr: u32, load_addr: u32, load_end_addr: u32, bss_end_addr: u32, entry_addr: u32,
  mode_type: u32, width: u32, height: u32, depth: u32,
});
export type multiboot_header = Of<typeof multiboot_header>;

/** mem_lower and mem_upper are in KiB: below 640 KiB and from 1 MiB on. */
export const multiboot_info = struct('multiboot_info', {
  flags: u32, mem_lower: u32, mem_upper: u32, boot_device: u32, cmdline: u32, mods_count: u32, mods_addr: u32,
  syms: array(u32, 4), mmap_length: u32, mmap_addr: u32, drives_length: u32, drives_addr: u32, config_table: u32,
  boot_loader_name: u32, apm_table: u32, vbe_control_info: u32, vbe_mode_info: u32, vbe_mode: u16, vbe_interface_seg: u16,
  vbe_interface_off: u16, vbe_interface_len: u16, framebuffer_addr: u64, framebuffer_pitch: u32, framebuffer_width: u32,
  framebuffer_height: u32, framebuffer_bpp: u8, framebuffer_type: u8, color_info: array(u8, 6),
}, { packed: true });
export type multiboot_info = Of<typeof multiboot_info>;

/** One range of memory. `size` counts the bytes after itself: the next entry lies size + 4 further on. */
export const multiboot_mmap_entry = struct('multiboot_mmap_entry', { size: u32, addr: u64, len: u64, type: u32 }, { packed: true });
export type multiboot_mmap_entry = Of<typeof multiboot_mmap_entry>;

export const multiboot_module = struct('multiboot_module', { mod_start: u32, mod_end: u32, cmdline: u32, pad: u32 });
export type multiboot_module = Of<typeof multiboot_module>;
