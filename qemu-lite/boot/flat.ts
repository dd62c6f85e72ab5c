/**
 * A flat image starts as a boot sector does: at 0x7c00 in real mode, with the number of the boot drive in DL. It may
 * be longer than a sector. There is no BIOS: a software interrupt finds an empty table.
 */
import { OptionError } from '../option-error.ts';
import type { BootImage } from './image.ts';
import { VGA_WINDOW } from '../memory.ts';

export const FLAT_ADDRESS = 0x7c00;
const FIRST_HARD_DISK = 0x80;

export function loadFlat(file: Uint8Array, memorySize: number, path: string): BootImage {
  const room = Math.min(memorySize, VGA_WINDOW) - FLAT_ADDRESS;
  if (file.length > room) throw new OptionError(`kernel '${path}' is neither multiboot nor ELF, and too large for a flat image: ${file.length} bytes, at most ${Math.max(room, 0)} fit`);
  return {
    chunks: [{ address: FLAT_ADDRESS, bytes: file, memorySize: file.length }],
    mode: 'real',
    registers: { rip: FLAT_ADDRESS, rsp: FLAT_ADDRESS, rdx: FIRST_HARD_DISK },
  };
}
