/**
 * pc-testdev, the device kvm-unit-tests are written for: ports that remember what was written, 64 KiB of memory that
 * every access leaves the guest for, and ports that move interrupt lines. QEMU: hw/misc/pc-testdev.c
 */
import type { Machine } from '../machine.ts';
import type { PortDevice } from './ports.ts';

const IOPORT = 0xe0, IRQ_LINES = 0x2000, LINES = 24;
const IOMEM = 0xff00_0000, IOMEM_SIZE = 0x1_0000;

function rememberingPort(): PortDevice {
  let value = 0;
  return {
    width: 4,
    read: (offset, size) => (size === 4 ? value : (value >>> 8 * offset) & ((1 << (8 * size)) - 1)),
    write: (offset, size, written) => {
      const mask = (size === 4 ? 0xffff_ffff : (1 << (8 * size)) - 1) << (8 * offset);
      value = ((value & ~mask) | ((written << (8 * offset)) & mask)) >>> 0;
    },
  };
}

export function pcTestdev(machine: Machine): void {
  const bytes = new Uint8Array(IOMEM_SIZE);
  machine.ports.add(IOPORT, 4, rememberingPort());
  machine.ports.add(IRQ_LINES, LINES, { width: 1, read: () => 0xff, write: (line, _, level) => { machine.setLine(line, level === 0 ? 0 : 1); } });
  machine.mmio.add(IOMEM, IOMEM_SIZE, {
    read: (offset, into) => { into.set(bytes.subarray(offset, offset + into.length)); },
    write: (offset, from) => { bytes.set(from, offset); },
  });
}
