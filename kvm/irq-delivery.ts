/**
 * Interrupt messages to the local APICs of a VM, where the lines of its chips lead, and who is told when one is acknowledged.
 *
 * Linux: arch/x86/kvm/irq_comm.c (kvm_irq_delivery_to_apic, kvm_set_msi, mask notifiers), virt/kvm/eventfd.c (ack notifiers)
 */
import type { ApicMessage } from '../machine/chips/apic-bus.ts';
import * as R from '../machine/chips/apic-registers.ts';
import { type kvm, irqchip_split } from './kvm_host.ts';
import type { kvm_lapic } from './lapic.ts';
import { kvm_ack_irq, kvm_msi_set_irq } from './trace-irq.ts';

const MSI_LEVEL = 0x8000, MSI_REDIRECTION_HINT = 8, MSI_LOGICAL = 4;
const XAPIC_BROADCAST = 0xff, X2APIC_BROADCAST = 0xffff_ffff;
const SELF = 1, ALL = 2, OTHERS = 3;

/** One end of a line: a pin of a chip, or a message. */
export type route = { readonly kind: 'pic' | 'ioapic'; readonly pin: number } | { readonly kind: 'msi'; readonly address_lo: number; readonly address_hi: number; readonly data: number } | { readonly kind: 'none' };

export const routes = (vm: kvm): Map<number, route[]> => vm.arch.irqchip!.routes as Map<number, route[]>;

/** Who may drive a line: it is up while one of them holds it up. */
export const KVM_USERSPACE_IRQ_SOURCE_ID = 0, KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID = 1, KVM_PIT_IRQ_SOURCE_ID = 2;
/** The level of a pin after one source changed its own. */
export function irq_line_state(states: Uint8Array, pin: number, source: number, level: boolean): boolean {
  states[pin] = level ? states[pin]! | (1 << source) : states[pin]! & ~(1 << source);
  return states[pin] !== 0;
}

// ---------------------------------------------------------------- destinations

/** An interrupt of a device to 0xff means all, also those in x2APIC mode, until user space says it knows better. */
function effective(apic: kvm_lapic, destination: number, ipi: boolean): number {
  return !ipi && destination === XAPIC_BROADCAST && apic.chip.x2apic && !apic.vcpu.kvm.arch.x2apic_broadcast_quirk_disabled ? X2APIC_BROADCAST : destination;
}
function matches(apic: kvm_lapic, message: ApicMessage, shorthand: number, source: kvm_lapic | undefined): boolean {
  if (shorthand === SELF) return apic === source;
  if (shorthand === ALL) return true;
  if (shorthand === OTHERS) return apic !== source;
  const { chip } = apic;
  const mda = effective(apic, message.destination, source !== undefined);
  if (mda === (chip.x2apic ? X2APIC_BROADCAST : XAPIC_BROADCAST)) return true;
  if (!message.logical) return chip.matchesPhysical(mda) || (!chip.x2apic && chip.id > 0xff && mda === chip.id);
  return chip.matchesLogical(mda);
}

/** How many processors took it: 0 also where none is addressed. Of several candidates for one interrupt the vector chooses. */
export function deliver_to_apics(vm: kvm, message: ApicMessage, shorthand = 0, source?: kvm_lapic, one = message.deliveryMode === R.APIC_DM_LOWEST): number {
  let count = 0;
  const ready: kvm_lapic[] = [];
  for (const { arch: { apic } } of vm.vcpus) {
    if (apic === undefined || !matches(apic, message, shorthand, source)) continue;
    if (!one || shorthand !== 0) count += apic.accept(message);
    else if (apic.chip.enabled) ready.push(apic);
  }
  return ready.length > 0 ? ready[message.vector % ready.length]!.accept(message) : count;
}

/** A write to the MSI window. */
export function deliver_msi(vm: kvm, address_lo: number, address_hi: number, data: number): number {
  if (kvm_msi_set_irq.enabled) kvm_msi_set_irq.trace({ address: (BigInt(vm.arch.x2apic_format ? address_hi >>> 0 : 0) << 32n) | BigInt(address_lo >>> 0), data: BigInt(data >>> 0) });
  const deliveryMode = (data >> 8) & 7;
  return deliver_to_apics(vm, {
    vector: data & 0xff, deliveryMode, logical: (address_lo & MSI_LOGICAL) !== 0,
    destination: (((address_lo >>> 12) & 0xff) | (vm.arch.x2apic_format ? address_hi & 0xffff_ff00 : 0)) >>> 0, level: (data & MSI_LEVEL) !== 0, assert: true,
  }, 0, undefined, deliveryMode === R.APIC_DM_LOWEST || (address_lo & MSI_REDIRECTION_HINT) !== 0);
}

// ---------------------------------------------------------------- acknowledgements

/** Told when the interrupt of a line is ended, by either chip. */
export interface kvm_irq_ack_notifier { readonly gsi: number; readonly irq_acked: () => void }
/** Told when a line is masked or unmasked at a chip. */
export interface kvm_irq_mask_notifier { readonly gsi: number; readonly func: (masked: boolean) => void }

type chip = 'pic' | 'ioapic';
/** The line that leads to a pin, -1 none. */
function gsi_of_pin(vm: kvm, kind: chip, pin: number): number {
  for (const [gsi, ends] of routes(vm)) for (const r of ends) if (r.kind === kind && r.pin === pin) return gsi;
  return -1;
}
export function kvm_notify_acked_irq(vm: kvm, kind: chip, pin: number): void {
  if (kvm_ack_irq.enabled) kvm_ack_irq.trace({ irqchip: kind === 'ioapic' ? 2 : pin >> 3, pin });
  const { ack_notifiers } = vm.arch.irqchip!;
  if (ack_notifiers.size === 0) return;
  const gsi = gsi_of_pin(vm, kind, pin);
  for (const told of ack_notifiers) if (told.gsi === gsi) told.irq_acked();
}
export const kvm_irq_has_notifier = (vm: kvm, kind: chip, pin: number): boolean => {
  const { ack_notifiers } = vm.arch.irqchip!;
  if (ack_notifiers.size === 0) return false;
  const gsi = gsi_of_pin(vm, kind, pin);
  return [...ack_notifiers].some((told) => told.gsi === gsi);
};
export function kvm_fire_mask_notifiers(vm: kvm, kind: chip, pin: number, masked: boolean): void {
  const { mask_notifiers } = vm.arch.irqchip!;
  if (mask_notifiers.size === 0) return;
  const gsi = gsi_of_pin(vm, kind, pin);
  for (const told of mask_notifiers) if (told.gsi === gsi) told.func(masked);
}
export function kvm_register_irq_ack_notifier(vm: kvm, told: kvm_irq_ack_notifier): void {
  vm.arch.irqchip!.ack_notifiers.add(told);
  kvm_scan_ioapic(vm);
}
export function kvm_unregister_irq_ack_notifier(vm: kvm, told: kvm_irq_ack_notifier): void {
  vm.arch.irqchip!.ack_notifiers.delete(told);
  kvm_scan_ioapic(vm);
}

/** Notes for which vectors the end of an interrupt matters to an I/O APIC: after lines, pins or notifiers changed. */
export function kvm_scan_ioapic(vm: kvm): void {
  const { handled_vectors, vioapic, nr_reserved_ioapic_pins } = vm.arch.irqchip!;
  handled_vectors.fill(0);
  if (irqchip_split(vm)) {
    for (const [gsi, ends] of routes(vm)) {
      if (gsi < nr_reserved_ioapic_pins) for (const r of ends) if (r.kind === 'msi' && (r.data & MSI_LEVEL) !== 0) handled_vectors[r.data & 0xff] = 1;
    }
  } else vioapic!.scan(handled_vectors);
}
/** An I/O APIC, here or in user space, wants to know of the end of this vector. */
export const kvm_ioapic_handles_vector = (vm: kvm, vector: number): boolean => vm.arch.irqchip!.handled_vectors[vector] !== 0;
