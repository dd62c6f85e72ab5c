/**
 * The MSR bitmap: which MSRs a guest reads and writes without an exit. SDM Vol. 3, 25.6.9.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c (vmx_disable_intercept_for_msr)
 */
import { PAGE_SIZE } from '../../kernel/exports.ts';
import type { kvm_vcpu } from '../kvm_host.ts';
import { kvm_msr_allowed } from '../msr-filter.ts';

/** Which way an MSR passes through. */
const R = 1, W = 2;

/** The MSRs that live in the VMCS or in the processor while the guest runs. TSC is read through the offset. */
const passthrough: readonly (readonly [number, number])[] = [
  [0x10, R],                  // IA32_TIME_STAMP_COUNTER
  [0x174, R | W],             // IA32_SYSENTER_CS
  [0x175, R | W],             // IA32_SYSENTER_ESP
  [0x176, R | W],             // IA32_SYSENTER_EIP
  [0xc000_0100, R | W],       // FS_BASE
  [0xc000_0101, R | W],       // GS_BASE
  [0xc000_0102, R | W],       // KERNEL_GS_BASE
];

export function vmx_update_msr_bitmap(vcpu: kvm_vcpu): void {
  const { kvm } = vcpu;
  const at = kvm.ram_base + vcpu.vmx.msr_bitmap_pfn * PAGE_SIZE;
  const bytes = kvm.mem.u8.subarray(at, at + PAGE_SIZE);
  bytes.fill(0xff);
  for (const [msr, ways] of passthrough) {
    const offset = (msr >= 0xc000_0000 ? 1024 : 0) + ((msr & 0x1fff) >>> 3);
    const bit = 1 << (msr & 7);
    if ((ways & R) !== 0 && kvm_msr_allowed(kvm, msr, false)) bytes[offset]! &= ~bit;
    if ((ways & W) !== 0 && kvm_msr_allowed(kvm, msr, true)) bytes[offset + 2048]! &= ~bit;
  }
}
