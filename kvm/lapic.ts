/** The local APIC inside KVM: placeholder. */
import type { kvm_vcpu } from './kvm_host.ts';
export class kvm_lapic {
  sipi_pending = false;
  tscdeadline = 0n;
  set_version(): void {}
  set_tpr(_tpr: number): void {}
  get_tpr(): number { return 0; }
  base_changed(_data: bigint): void {}
  x2apic_read(_msr: number, _host: boolean): bigint | undefined { return undefined; }
  x2apic_write(_msr: number, _data: bigint, _host: boolean): number { return 1; }
  set_tscdeadline(_data: bigint): void {}
  mmio_read(_gpa: number, _n: number, _data: Uint8Array): boolean { return false; }
  mmio_write(_gpa: number, _n: number, _data: Uint8Array): boolean { return false; }
}
export const kvm_apic_accept_events = (_vcpu: kvm_vcpu): number => 0;
export const kvm_apic_has_events = (_vcpu: kvm_vcpu): boolean => false;
export const kvm_apic_accept_pic_intr = (_vcpu: kvm_vcpu): boolean => true;
export const kvm_apic_has_interrupt = (_vcpu: kvm_vcpu): number => -1;
export const kvm_get_apic_interrupt = (_vcpu: kvm_vcpu): number => -1;
