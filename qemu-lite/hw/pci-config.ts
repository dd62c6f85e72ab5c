/**
 * PCI configuration space without any PCI device: the address register holds what is written to it, and every
 * function that is looked for reads as ones, which means absent. PCI 3.0, 3.2.2.3.2; QEMU: hw/pci/pci_host.c
 */
import type { PortDevice } from './ports.ts';

export const PCI_CONFIG_ADDRESS = 0xcf8;
export const PCI_CONFIG_DATA = 0xcfc;

export function pciConfigAddress(): PortDevice {
  let address = 0;
  return {
    width: 4,
    read: (_, size) => (size === 4 ? address : (1 << (8 * size)) - 1),
    write: (_, size, value) => { if (size === 4) address = value >>> 0; },
  };
}
