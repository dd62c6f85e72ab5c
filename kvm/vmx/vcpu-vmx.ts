/**
 * What a vCPU has under VMX: its VMCS, its MSR bitmap, and what the last exit left behind.
 *
 * Linux: arch/x86/kvm/vmx/vmx.h (struct vcpu_vmx, struct loaded_vmcs)
 */
import type { Vmx } from '../../machine/vmx/vmx.ts';
import type { segment } from '../x86-ops.ts';

export class vcpu_vmx {
  /** Frames of the VMCS and of the MSR bitmap. */
  readonly vmcs_pfn: number;
  readonly msr_bitmap_pfn: number;
  /** Tag of its TLB entries; no two vCPUs share one. */
  readonly vpid: number;
  /** Frame of the table that the VMCS's EPT pointer names; 0 before there is one. */
  ept_root = 0;
  /** The processor whose current VMCS it is, or was last; -1 when it is nobody's. */
  cpu = -1;
  launched = false;
  /** The processor's VMX unit while loaded. */
  hw!: Vmx;
  exit_reason = 0;
  exit_intr_info = 0;
  idt_vectoring_info = 0;
  exit_qualification = 0;
  /** The entry failed: VMfail, with the instruction error in the VMCS. */
  fail = false;
  /** Instruction length of the event being reinjected. */
  event_exit_inst_len = 0;
  /** Real mode on a processor without unrestricted guests: what the guest sees while virtual-8086 mode stands in for it. */
  readonly rmode = { vm86_active: false, save_rflags: 0, segs: [] as segment[], idt: { base: 0n, limit: 0 } };
  /** The state is none the processor could be entered with. */
  emulation_required = false;
  guest_msrs_loaded = false;
  /** The MSRs the processor holds while the guest runs, in the order of vmx-msrs.ts; as 64-bit and as 32-bit words. */
  readonly msrs = new BigUint64Array(8);
  readonly msr_words = new Uint32Array(this.msrs.buffer);
  msr_ia32_feature_control = 0n;
  constructor(vmcs_pfn: number, msr_bitmap_pfn: number, vpid: number) {
    this.vmcs_pfn = vmcs_pfn;
    this.msr_bitmap_pfn = msr_bitmap_pfn;
    this.vpid = vpid;
  }
}
