/**
 * Devices inside KVM by address: ports, memory, and the writes whose data nobody looks at.
 *
 * Linux: virt/kvm/kvm_main.c (kvm_io_bus_*), include/kvm/iodev.h
 */
import { EOPNOTSUPP } from '../abi/errno.ts';
import type { kvm_vcpu } from './kvm_host.ts';

export interface kvm_io_device {
  /** 0, or -EOPNOTSUPP to let the next device on the same address try. */
  read?(vcpu: kvm_vcpu, addr: number, len: number, data: Uint8Array): number;
  write?(vcpu: kvm_vcpu, addr: number, len: number, data: Uint8Array): number;
}

interface range { readonly addr: number; readonly len: number; readonly dev: kvm_io_device }

/** Ranges by address, then length; equal ones in the order they came. */
export class kvm_io_bus {
  readonly ranges: range[] = [];

  register_dev(addr: number, len: number, dev: kvm_io_device): void {
    let i = 0;
    while (i < this.ranges.length && (this.ranges[i]!.addr < addr || (this.ranges[i]!.addr === addr && this.ranges[i]!.len <= len))) i++;
    this.ranges.splice(i, 0, { addr, len, dev });
  }

  unregister_dev(dev: kvm_io_device): void {
    const i = this.ranges.findIndex((r) => r.dev === dev);
    if (i >= 0) this.ranges.splice(i, 1);
  }

  /** A device of length 0 takes accesses of every length at its address. */
  write(vcpu: kvm_vcpu, addr: number, len: number, data: Uint8Array): number {
    for (const r of this.ranges) {
      if (r.addr > addr) break;
      if (addr + (r.len === 0 ? 0 : len) <= r.addr + r.len && r.dev.write !== undefined && r.dev.write(vcpu, addr, len, data) === 0) return 0;
    }
    return -EOPNOTSUPP;
  }

  read(vcpu: kvm_vcpu, addr: number, len: number, data: Uint8Array): number {
    for (const r of this.ranges) {
      if (r.addr > addr) break;
      if (addr + len <= r.addr + r.len && r.dev.read !== undefined && r.dev.read(vcpu, addr, len, data) === 0) return 0;
    }
    return -EOPNOTSUPP;
  }

  get empty(): boolean { return this.ranges.length === 0; }
}
