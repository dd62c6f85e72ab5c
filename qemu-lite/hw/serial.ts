/**
 * The serial ports of a PC: a 16550A on a character device. Its interrupt goes nowhere yet, so guests poll.
 * QEMU: hw/char/serial-isa.c
 */
import { Uart16550 } from '../../machine/chips/uart16550.ts';
import type { Chardev } from '../chardev.ts';
import type { PortDevice } from './ports.ts';

/** I/O bases of COM1 to COM4. */
export const SERIAL_PORTS = [0x3f8, 0x2f8, 0x3e8, 0x2e8] as const;
export const SERIAL_REGISTERS = 8;

export function serial(chardev: Chardev): PortDevice {
  const uart = new Uart16550({
    flowControl: false,
    transmit: (byte) => chardev.put(byte),
    receive: (max) => chardev.take(max),
  }, () => {});
  chardev.onInput = () => uart.receive(new Uint8Array(0));
  return {
    width: 1,
    read: (register) => uart.read(register),
    write: (register, _, value) => uart.write(register, value),
  };
}
