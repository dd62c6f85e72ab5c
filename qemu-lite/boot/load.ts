/** Finds out what kind of kernel a file is and has it loaded. */
import { OptionError } from '../option-error.ts';
import { isElf } from './elf.ts';
import { loadFlat } from './flat.ts';
import type { BootImage } from './image.ts';
import { type MultibootOptions, loadMultiboot } from './multiboot.ts';

/** Offset of "HdrS" in a Linux kernel. Linux: Documentation/arch/x86/boot.rst */
const LINUX_MAGIC_OFFSET = 0x202;
const LINUX_MAGIC = 'HdrS';

export function loadKernel(file: Uint8Array, options: MultibootOptions): BootImage {
  const { path } = options;
  if (file.length === 0) throw new OptionError(`kernel '${path}' is empty`);
  const multiboot = loadMultiboot(file, options);
  if (multiboot !== undefined) return multiboot;
  if (isElf(file)) throw new OptionError(`kernel '${path}' is an ELF file without a multiboot header`);
  if ([...LINUX_MAGIC].every((c, i) => file[LINUX_MAGIC_OFFSET + i] === c.charCodeAt(0))) {
    throw new OptionError(`kernel '${path}' is a Linux kernel, which cannot be booted yet`);
  }
  return loadFlat(file, options.memorySize, path);
}
