/**
 * End of interrupt without an exit: where nothing hangs on it, KVM sets a bit in guest memory at injection, and a guest
 * that finds it set clears it instead of writing EOI.
 *
 * Linux: arch/x86/kvm/lapic.c (apic_sync_pv_eoi_to_guest, apic_sync_pv_eoi_from_guest), Documentation/virt/kvm/x86/msr.rst
 *
 * KVM learns of it at the next exit, so the bit is offered only while no other interrupt waits for that EOI, and none of
 * an I/O APIC's line does.
 */
import { KVM_PV_EOI_DISABLED, KVM_PV_EOI_ENABLED } from '../abi/kvm/index.ts';
import { gfn_of, kvm_vcpu_read_guest, kvm_vcpu_write_guest } from './guest-memory.ts';
import { kvm_ioapic_handles_vector } from './irq-delivery.ts';
import type { kvm_vcpu } from './kvm_host.ts';
import { kvm_vcpu_gfn_to_memslot } from './memslots.ts';
import { kvm_pv_eoi } from './trace-irq.ts';

const ENABLED = 1n;
const one = new Uint8Array(1);

export const pv_eoi_enabled = (vcpu: kvm_vcpu): boolean => (vcpu.arch.pv.eoi_msr & ENABLED) !== 0n;
const byte_of = (vcpu: kvm_vcpu): number => Number(vcpu.arch.pv.eoi_msr & ~ENABLED);

/** MSR_KVM_PV_EOI_EN. 1: refused. */
export function kvm_lapic_set_pv_eoi(vcpu: kvm_vcpu, data: bigint): number {
  const address = data & ~ENABLED;
  if ((address & 3n) !== 0n) return 1;
  if ((data & ENABLED) !== 0n && (address >= 1n << 52n || kvm_vcpu_gfn_to_memslot(vcpu, gfn_of(Number(address))) === undefined)) return 1;
  vcpu.arch.pv.eoi_msr = data;
  return 0;
}

function put(vcpu: kvm_vcpu, value: number): boolean {
  one[0] = value;
  return kvm_vcpu_write_guest(vcpu, byte_of(vcpu), one) === 0;
}

/** Before an entry. */
export function apic_sync_pv_eoi_to_guest(vcpu: kvm_vcpu): void {
  const apic = vcpu.arch.apic!;
  if (!pv_eoi_enabled(vcpu) || apic.chip.highestRequested() >= 0 || apic.highest_isr_cache === -1 || kvm_ioapic_handles_vector(vcpu.kvm, apic.highest_isr_cache)) return;
  if (put(vcpu, KVM_PV_EOI_ENABLED)) vcpu.arch.pv.eoi_pending = true;
}

/** After an exit, when the bit was offered. */
export function apic_sync_pv_eoi_from_guest(vcpu: kvm_vcpu): void {
  const apic = vcpu.arch.apic!;
  if (kvm_vcpu_read_guest(vcpu, byte_of(vcpu), one) !== 0) return;
  const unused = (one[0]! & KVM_PV_EOI_ENABLED) !== 0;
  if (unused && !put(vcpu, KVM_PV_EOI_DISABLED)) return;
  vcpu.arch.pv.eoi_pending = false;
  if (unused) return;
  const vector = apic.chip.eoi();
  if (kvm_pv_eoi.enabled) kvm_pv_eoi.trace({ apicid: vcpu.vcpu_id, vector });
}
