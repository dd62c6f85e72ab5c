/**
 * The two ways a PC is reset by software: the pulse command of the keyboard controller and the PCI host bridge's
 * reset control register. No keyboard is attached: the controller's buffers are always empty.
 * QEMU: hw/input/pckbd.c, hw/isa/piix.c (RCR)
 */
import type { PortDevice } from './ports.ts';

export const KBD_PORTS = [0x60, 0x64] as const;
export const RESET_CONTROL_PORT = 0xcf9;

/** Pulses output lines low for each zero in its low nibble; line 0 is the processors' reset. */
const KBD_CCMD_PULSE_BITS = 0xf0;
/** System flag set, nothing to read, nothing left to write. */
const KBD_STATUS_IDLE = 0x1c;
const RESET_NOW = 0x04;

export const keyboardController = (reset: () => void): PortDevice => ({
  width: 1,
  read: () => KBD_STATUS_IDLE,
  write: (_, __, value) => {
    if ((value & KBD_CCMD_PULSE_BITS) === KBD_CCMD_PULSE_BITS && (value & 1) === 0) reset();
  },
});

/** Port 0x60: nothing was ever typed. */
export const keyboardData: PortDevice = { width: 1, read: () => 0, write: () => {} };

export function resetControl(reset: () => void): PortDevice {
  let register = 0;
  return {
    width: 1,
    read: () => register,
    write: (_, __, value) => {
      register = value & ~RESET_NOW;
      if ((value & RESET_NOW) !== 0) reset();
    },
  };
}
