/** The debug console: what is written to its port is printed, and reading it tells that it is there. QEMU: hw/char/debugcon.c */
import type { Chardev } from '../chardev.ts';
import type { PortDevice } from './ports.ts';

export const DEBUGCON_PORT = 0xe9;

export const debugcon = (chardev: Chardev): PortDevice => ({
  width: 1,
  read: () => DEBUGCON_PORT,
  write: (_, __, value) => chardev.put(value),
});
