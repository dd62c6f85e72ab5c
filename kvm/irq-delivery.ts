/**
 * Interrupt messages to the local APICs of a VM, and where the lines of its chips lead.
 *
 * Linux: arch/x86/kvm/irq_comm.c (kvm_irq_delivery_to_apic, kvm_set_msi)
 */
import type { ApicMessage } from '../machine/chips/apic-bus.ts';
import { type kvm, irqchip_split } from './kvm_host.ts';
import type { kvm_lapic } from './lapic.ts';

const LOWEST = 1;
const MSI_LEVEL = 0x8000;

/** One end of a line: a pin of a chip, or a message. */
export type route = { readonly kind: 'pic' | 'ioapic'; readonly pin: number } | { readonly kind: 'msi'; readonly address_lo: number; readonly address_hi: number; readonly data: number } | { readonly kind: 'none' };

export const routes = (vm: kvm): Map<number, route[]> => vm.arch.irqchip!.routes as Map<number, route[]>;

/** How many processors took it: 0 also where none is addressed. */
export function deliver_to_apics(vm: kvm, message: ApicMessage, shorthand = 0, source?: kvm_lapic): number {
  const addressed: kvm_lapic[] = [];
  for (const vcpu of vm.vcpus) {
    const { apic } = vcpu.arch;
    if (apic === undefined) continue;
    const hit = shorthand === 1 ? apic === source : shorthand === 2 ? true : shorthand === 3 ? apic !== source
      : message.logical ? apic.chip.matchesLogical(message.destination) : apic.chip.matchesPhysical(message.destination);
    if (hit) addressed.push(apic);
  }
  if (message.deliveryMode !== LOWEST || shorthand !== 0) return addressed.reduce((n, apic) => n + apic.accept(message), 0);
  const ready = addressed.filter((apic) => apic.chip.enabled);
  const chosen = ready.reduce<kvm_lapic | undefined>((best, apic) => (best === undefined || apic.chip.taskPriority < best.chip.taskPriority ? apic : best), undefined);
  return chosen === undefined ? 0 : chosen.accept(message);
}

/** A write to the MSI window. */
export const deliver_msi = (vm: kvm, address_lo: number, address_hi: number, data: number): number => deliver_to_apics(vm, {
  vector: data & 0xff, deliveryMode: (data >> 8) & 7, logical: (address_lo & 4) !== 0,
  destination: (((address_lo >>> 12) & 0xff) | (vm.arch.x2apic_format ? address_hi & 0xffff_ff00 : 0)) >>> 0, level: (data & MSI_LEVEL) !== 0, assert: true,
});

/** Split irqchip: whether a line of user space's I/O APIC sends this vector and stays up until its EOI. */
export function kvm_ioapic_handles_vector(vm: kvm, vector: number): boolean {
  if (!irqchip_split(vm)) return false;
  for (const [gsi, ends] of routes(vm)) {
    if (gsi < vm.arch.irqchip!.nr_reserved_ioapic_pins && ends.some((r) => r.kind === 'msi' && (r.data & 0xff) === vector && (r.data & MSI_LEVEL) !== 0)) return true;
  }
  return false;
}
