/**
 * Devices in memory: what answers a guest-physical address where no memory slot is. QEMU: system/memory.c
 * Where nobody is, reads give ones and writes are lost.
 */
import type { kvm_run } from '../../abi/kvm/index.ts';

export interface MmioDevice {
  /** `offset` counts from the device's first byte; both fill or take `bytes` whole. */
  read(offset: number, bytes: Uint8Array): void;
  write(offset: number, bytes: Uint8Array): void;
}

export class MmioTable {
  private readonly regions: { readonly start: number; readonly size: number; readonly device: MmioDevice }[] = [];

  add(start: number, size: number, device: MmioDevice): void {
    this.regions.push({ start, size, device });
  }

  clear(): void {
    this.regions.length = 0;
  }

  /** Does what a KVM_EXIT_MMIO asks for. */
  access(mmio: kvm_run['mmio']): void {
    const address = Number(mmio.phys_addr);
    const bytes = new Uint8Array(mmio.len).fill(0xff);
    const region = this.regions.find(({ start, size }) => address >= start && address + bytes.length <= start + size);
    if (mmio.is_write !== 0) {
      for (let i = 0; i < bytes.length; i++) bytes[i] = mmio.data.get(i);
      region?.device.write(address - region.start, bytes);
      return;
    }
    region?.device.read(address - region.start, bytes);
    bytes.forEach((byte, i) => { mmio.data.set(i, byte); });
  }
}
