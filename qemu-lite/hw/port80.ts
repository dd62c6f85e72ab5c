/** Port 0x80: takes power-on test codes and gives guests a short delay; nobody looks at what is written. QEMU: hw/i386/pc.c */
import type { PortDevice } from './ports.ts';

export const PORT80 = 0x80;

export const port80: PortDevice = { width: 4, read: (_, size) => (size === 4 ? 0xffff_ffff : (1 << (8 * size)) - 1), write: () => {} };
