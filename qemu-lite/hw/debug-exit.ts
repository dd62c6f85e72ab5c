/** isa-debug-exit: a guest that writes v ends the program with status (v << 1) | 1. QEMU: hw/misc/debugexit.c */
import type { PortDevice } from './ports.ts';

export const debugExit = (shutdown: (status: number) => void): PortDevice => ({
  width: 4,
  read: () => 0,
  write: (_, __, value) => shutdown(((value << 1) | 1) & 0xff),
});
