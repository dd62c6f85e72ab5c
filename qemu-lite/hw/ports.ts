/**
 * The port space: 65,536 addresses, each owned by one device or by none. QEMU: system/ioport.c
 * An access wider than the device goes byte by byte; where nobody is, reads give ones and writes are lost.
 */

export interface PortDevice {
  /** The widest access the device takes in one piece, in bytes. */
  readonly width: 1 | 2 | 4;
  /** `offset` counts from the device's first port. */
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

const PORTS = 65536;
const unassigned: PortDevice = { width: 4, read: (_, size) => (size === 4 ? 0xffff_ffff : (1 << (8 * size)) - 1), write: () => {} };

export class PortTable {
  private readonly owner = new Uint8Array(PORTS);
  private readonly devices: PortDevice[] = [unassigned];
  private readonly bases: number[] = [0];

  /** A device added later hides the ones below it. */
  add(base: number, count: number, device: PortDevice): void {
    this.devices.push(device);
    this.bases.push(base);
    this.owner.fill(this.devices.length - 1, base, Math.min(base + count, PORTS));
  }

  /** Takes every device away. */
  clear(): void {
    this.devices.length = 1;
    this.bases.length = 1;
    this.owner.fill(0);
  }

  read(port: number, size: number): number {
    const id = this.owner[port] ?? 0;
    const device = this.devices[id] ?? unassigned;
    if (size <= device.width) return device.read(port - (this.bases[id] ?? 0), size);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.read((port + i) % PORTS, 1);
    return value;
  }

  write(port: number, size: number, value: number): void {
    const id = this.owner[port] ?? 0;
    const device = this.devices[id] ?? unassigned;
    if (size <= device.width) device.write(port - (this.bases[id] ?? 0), size, value);
    else for (let i = 0; i < size; i++) this.write((port + i) % PORTS, 1, (value >>> (8 * i)) & 0xff);
  }
}
