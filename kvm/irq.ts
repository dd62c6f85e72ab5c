/**
 * Where a vCPU's interrupts come from: user space through KVM_INTERRUPT, or chips inside KVM.
 *
 * Linux: arch/x86/kvm/irq.c
 */
import type { kvm_vcpu } from './kvm_host.ts';
import { irqchip_split, lapic_in_kernel } from './kvm_host.ts';
import type { kvm_ioapic } from './ioapic.ts';
import type { kvm_irq_ack_notifier, kvm_irq_mask_notifier } from './irq-delivery.ts';
import type { kvm_pic } from './i8259.ts';
import type { kvm_pit } from './i8254.ts';
import { kvm_apic_accept_pic_intr, kvm_apic_has_interrupt, kvm_get_apic_interrupt } from './lapic.ts';

/** The chips of a VM that has some inside KVM. */
export interface kvm_arch_irqchip {
  readonly mode: 'kernel' | 'split';
  readonly vpic: kvm_pic | undefined;
  readonly vioapic: kvm_ioapic | undefined;
  vpit: kvm_pit | undefined;
  /** Split: pins of the I/O APIC in user space. */
  readonly nr_reserved_ioapic_pins: number;
  /** Where each line leads; irqchip.ts knows the entries. */
  routes: ReadonlyMap<number, readonly unknown[]>;
  readonly ack_notifiers: Set<kvm_irq_ack_notifier>;
  readonly mask_notifiers: Set<kvm_irq_mask_notifier>;
  /** Not 0: an I/O APIC wants to know of the end of that vector. */
  readonly handled_vectors: Uint8Array;
}

/** The PIC, or user space in its place, asserts INTR. */
export function kvm_cpu_has_extint(vcpu: kvm_vcpu): boolean {
  if (!lapic_in_kernel(vcpu)) return vcpu.arch.interrupt.injected;
  if (!kvm_apic_accept_pic_intr(vcpu)) return false;
  if (irqchip_split(vcpu.kvm)) return vcpu.arch.pending_external_vector >= 0;
  return vcpu.kvm.arch.irqchip!.vpic!.output;
}

/** Whether a new interrupt can be handed over: one without chips was queued by KVM_INTERRUPT itself. */
export function kvm_cpu_has_injectable_intr(vcpu: kvm_vcpu): boolean {
  if (!lapic_in_kernel(vcpu)) return false;
  return kvm_cpu_has_extint(vcpu) || kvm_apic_has_interrupt(vcpu) >= 0;
}

export function kvm_cpu_has_interrupt(vcpu: kvm_vcpu): boolean {
  if (kvm_cpu_has_extint(vcpu)) return true;
  return lapic_in_kernel(vcpu) && kvm_apic_has_interrupt(vcpu) >= 0;
}

/** Takes the interrupt: INTA. */
export function kvm_cpu_get_interrupt(vcpu: kvm_vcpu): number {
  if (!lapic_in_kernel(vcpu)) return vcpu.arch.interrupt.nr;
  if (kvm_cpu_has_extint(vcpu)) {
    if (irqchip_split(vcpu.kvm)) {
      const vector = vcpu.arch.pending_external_vector;
      vcpu.arch.pending_external_vector = -1;
      return vector;
    }
    return vcpu.kvm.arch.irqchip!.vpic!.read_irq();
  }
  return kvm_get_apic_interrupt(vcpu);
}
