/**
 * Task priority without exits, for guests that read and write it at every interrupt: a monitor learns where they do
 * (KVM_TPR_ACCESS_REPORTING), patches those instructions to use a page of memory, and KVM keeps that page and the local
 * APIC in step around each entry (KVM_SET_VAPIC_ADDR).
 *
 * Linux: arch/x86/kvm/lapic.c (kvm_lapic_sync_to_vapic), x86.c (vcpu_ioctl_tpr_access_reporting)
 */
import { EINVAL } from '../abi/errno.ts';
import { KVM_EXIT_TPR_ACCESS, type kvm_tpr_access_ctl } from '../abi/kvm/index.ts';
import { gfn_of, kvm_read_guest_u32, kvm_write_guest_u32 } from './guest-memory.ts';
import { KVM_REQ_REPORT_TPR_ACCESS, type kvm_vcpu, kvm_make_request, kvm_rip_read } from './kvm_host.ts';
import { kvm_vcpu_gfn_to_memslot } from './memslots.ts';

export function vcpu_tpr_access_reporting(vcpu: kvm_vcpu, tac: kvm_tpr_access_ctl): number {
  if (tac.flags !== 0) return -EINVAL;
  vcpu.arch.tpr_access_reporting = tac.enabled !== 0;
  return 0;
}
/** The guest's instruction is emulated first; the exit follows. */
export function report_tpr_access(vcpu: kvm_vcpu, write: boolean): void {
  if (!vcpu.arch.tpr_access_reporting) return;
  vcpu.run.tpr_access.rip = kvm_rip_read(vcpu);
  vcpu.run.tpr_access.is_write = write ? 1 : 0;
  kvm_make_request(KVM_REQ_REPORT_TPR_ACCESS, vcpu);
}
export function kvm_exit_tpr_access(vcpu: kvm_vcpu): void { vcpu.run.exit_reason = KVM_EXIT_TPR_ACCESS; }

/** Address 0 switches the page off. */
export function kvm_lapic_set_vapic_addr(vcpu: kvm_vcpu, address: bigint): number {
  if (address >= 1n << 52n || (address !== 0n && kvm_vcpu_gfn_to_memslot(vcpu, gfn_of(Number(address))) === undefined)) return -EINVAL;
  vcpu.arch.apic!.vapic_addr = Number(address);
  return 0;
}

/** After an exit: the guest's priority. */
export function kvm_lapic_sync_from_vapic(vcpu: kvm_vcpu): void {
  const apic = vcpu.arch.apic!;
  const data = kvm_read_guest_u32(vcpu, apic.vapic_addr);
  if (data !== undefined) apic.chip.taskPriority = data & 0xff;
}
/** Before an entry: priority, the class of what is in service, and what waits. */
export function kvm_lapic_sync_to_vapic(vcpu: kvm_vcpu): void {
  const apic = vcpu.arch.apic!;
  const { chip } = apic;
  const irr = Math.max(chip.highestRequested(), 0), isr = Math.max(chip.highestInService(), 0);
  kvm_write_guest_u32(vcpu, apic.vapic_addr, (chip.taskPriority | ((isr & 0xf0) << 8) | (irr << 24)) >>> 0);
}
