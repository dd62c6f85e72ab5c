/**
 * Coalesced MMIO and PIO: writes to these addresses are put into a ring, which user space reads when it comes by anyway.
 *
 * Linux: virt/kvm/coalesced_mmio.c, Documentation/virt/kvm/api.rst 4.116
 */
import { EINVAL, EOPNOTSUPP } from '../abi/errno.ts';
import { KVM_COALESCED_MMIO_MAX, kvm_coalesced_mmio_ring, type kvm_coalesced_mmio_zone } from '../abi/kvm/index.ts';
import { PAGE_SIZE, machine } from '../kernel/exports.ts';
import type { kvm_io_device } from './io-bus.ts';
import type { kvm } from './kvm_host.ts';

interface zone { readonly addr: number; readonly size: number; readonly pio: number; readonly dev: kvm_io_device }
const zones = (vm: kvm): zone[] => vm.coalesced_zones as zone[];
const bus_of = (vm: kvm, pio: number) => (pio !== 0 ? vm.pio_bus : vm.mmio_bus);

/** A full ring, or indices user space spoiled, leave the write to user space. */
const device = (vm: kvm, addr: number, size: number, pio: number): kvm_io_device => ({
  write: (_vcpu, at, len, data) => {
    if (at < addr || at + len > addr + size) return -EOPNOTSUPP;
    const ring = kvm_coalesced_mmio_ring.at(machine().ram.physical, vm.coalesced_pfn * PAGE_SIZE);
    const { last } = ring;
    if (last >= KVM_COALESCED_MMIO_MAX || (last + 1) % KVM_COALESCED_MMIO_MAX === ring.first) return -EOPNOTSUPP;
    const entry = ring.coalesced_mmio.get(last);
    entry.phys_addr = BigInt(at);
    entry.len = len;
    for (let i = 0; i < len; i++) entry.data.set(i, data[i]!);
    entry.pio = pio;
    ring.last = (last + 1) % KVM_COALESCED_MMIO_MAX;
    return 0;
  },
});

export function kvm_vm_ioctl_register_coalesced_mmio(vm: kvm, z: kvm_coalesced_mmio_zone): number {
  if (z.pio !== 0 && z.pio !== 1) return -EINVAL;
  const addr = Number(z.addr);
  const dev = device(vm, addr, z.size, z.pio);
  bus_of(vm, z.pio).register_dev(addr, z.size, dev);
  zones(vm).push({ addr, size: z.size, pio: z.pio, dev });
  return 0;
}

/** Takes away every zone that lies inside this one. */
export function kvm_vm_ioctl_unregister_coalesced_mmio(vm: kvm, z: kvm_coalesced_mmio_zone): number {
  if (z.pio !== 0 && z.pio !== 1) return -EINVAL;
  const addr = Number(z.addr);
  const list = zones(vm);
  for (const one of [...list]) {
    if (one.pio !== z.pio || addr < one.addr || addr + z.size > one.addr + one.size) continue;
    bus_of(vm, one.pio).unregister_dev(one.dev);
    list.splice(list.indexOf(one), 1);
  }
  return 0;
}
