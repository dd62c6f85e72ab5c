/**
 * KVM_X86_SET_MSR_FILTER: user space takes MSRs away from the guest, to answer for them itself.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_msr_allowed, kvm_vm_ioctl_set_msr_filter), Documentation/virt/kvm/api.rst 4.97
 */
import { EFAULT, EINVAL } from '../abi/errno.ts';
import {
  KVM_MSR_FILTER_DEFAULT_DENY, KVM_MSR_FILTER_MAX_BITMAP_SIZE, KVM_MSR_FILTER_RANGE_VALID_MASK, KVM_MSR_FILTER_READ, KVM_MSR_FILTER_VALID_MASK, KVM_MSR_FILTER_WRITE,
  type kvm_msr_filter,
} from '../abi/kvm/index.ts';
import { copy_from_user } from '../kernel/exports.ts';
import { KVM_REQ_MSR_FILTER_CHANGED, type kvm, kvm_make_request, type msr_filter } from './kvm_host.ts';

/** Whether the guest itself may access the MSR. x2APIC registers are never filtered. */
export function kvm_msr_allowed(kvm: kvm, msr: number, write: boolean): boolean {
  const filter = kvm.arch.msr_filter;
  if (filter === undefined || (msr >= 0x800 && msr <= 0x8ff)) return true;
  const type = write ? KVM_MSR_FILTER_WRITE : KVM_MSR_FILTER_READ;
  for (const range of filter.ranges) {
    const i = msr - range.base;
    if (i >= 0 && i < range.nmsrs && (range.flags & type) !== 0) return (range.bitmap[i >>> 3]! & (1 << (i & 7))) !== 0;
  }
  return filter.default_allow;
}

export function kvm_vm_ioctl_set_msr_filter(kvm: kvm, arg: kvm_msr_filter): number {
  if ((arg.flags & ~KVM_MSR_FILTER_VALID_MASK) !== 0) return -EINVAL;
  const used = [...arg.ranges].filter((r) => r.nmsrs !== 0);
  const allow = (arg.flags & KVM_MSR_FILTER_DEFAULT_DENY) === 0;
  if (used.length === 0 && !allow) return -EINVAL;
  const ranges: msr_filter['ranges'][number][] = [];
  for (const r of used) {
    if ((r.flags & ~KVM_MSR_FILTER_RANGE_VALID_MASK) !== 0) return -EINVAL;
    const size = Math.ceil(r.nmsrs / 64) * 8;
    if (size === 0 || size > KVM_MSR_FILTER_MAX_BITMAP_SIZE) return -EINVAL;
    const bitmap = new Uint8Array(size);
    if (copy_from_user(bitmap, Number(r.bitmap)) !== 0) return -EFAULT;
    ranges.push({ flags: r.flags, base: r.base, nmsrs: r.nmsrs, bitmap });
  }
  kvm.arch.msr_filter = { default_allow: allow, ranges };
  for (const vcpu of kvm.vcpus) kvm_make_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu);
  return 0;
}
