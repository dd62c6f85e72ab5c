/**
 * A vCPU's birth and reset.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_arch_vcpu_create, kvm_vcpu_reset)
 */
import { ENOMEM } from '../abi/errno.ts';
import { KVM_MP_STATE_RUNNABLE, kvm_run } from '../abi/kvm/index.ts';
import { PAGE_SIZE, __get_free_zeroed, machine, put_page } from '../kernel/exports.ts';
import { kvm_find_cpuid_entry } from './cpuid.ts';
import { kvm_update_dr7 } from './events.ts';
import { kvm_create_lapic } from './irqchip.ts';
import { KVM_REQ_EVENT, type kvm, kvm_make_request, kvm_vcpu, kvm_vcpu_arch, kvm_x86 } from './kvm_host.ts';
import { kvm_mmu } from './mmu/mmu.ts';
import { kvm_mmu_destroy } from './mmu/shadow-root.ts';
import { kvm_set_tsc_khz } from './tsc.ts';
import { new_fpu } from './regs.ts';
import { kvm_preempt_ops, vcpu_load, vcpu_put } from './run.ts';
import { alloc_emulate_ctxt } from './x86-emulate.ts';

/** A vCPU that nobody knows yet, or -ENOMEM. */
export function kvm_arch_vcpu_create(kvm: kvm, id: number): kvm_vcpu | number {
  const run_pfn = __get_free_zeroed();
  if (run_pfn < 0) return -ENOMEM;
  const pio_pfn = __get_free_zeroed();
  if (pio_pfn < 0) {
    put_page(run_pfn);
    return -ENOMEM;
  }
  let vcpu: kvm_vcpu;
  const arch = new kvm_vcpu_arch(new kvm_mmu(), alloc_emulate_ctxt(() => vcpu));
  vcpu = new kvm_vcpu(kvm, id, kvm.vcpus.length, { run_pfn, pio_pfn, run: kvm_run.at(machine().ram.physical, run_pfn * PAGE_SIZE) }, arch, kvm_preempt_ops);
  arch.mcg_cap = 32n;
  arch.mp_state = KVM_MP_STATE_RUNNABLE;
  const r = kvm_x86.vcpu_create(vcpu);
  if (r < 0) {
    put_page(run_pfn);
    put_page(pio_pfn);
    return r;
  }
  kvm_create_lapic(vcpu);
  kvm_set_tsc_khz(vcpu, kvm.arch.default_tsc_khz);
  vcpu_load(vcpu);
  kvm_vcpu_reset(vcpu, false);
  vcpu_put(vcpu);
  return vcpu;
}

export function kvm_arch_vcpu_destroy(vcpu: kvm_vcpu): void {
  vcpu.arch.apic?.destroy();
  kvm_mmu_destroy(vcpu);
  kvm_x86.vcpu_free(vcpu);
  put_page(vcpu.run_pfn);
  put_page(vcpu.pio_pfn);
}

/** RESET, or INIT, which keeps what an operating system set up for all processors. */
export function kvm_vcpu_reset(vcpu: kvm_vcpu, init_event: boolean): void {
  const { arch } = vcpu;
  arch.nmi_queued = arch.nmi_pending = 0;
  arch.nmi_injected = false;
  arch.interrupt.injected = false;
  arch.exception.pending = arch.exception.injected = false;
  arch.smm = arch.smm_inside_nmi = arch.smi_pending = false;
  arch.smi_count = 0n;
  arch.db.fill(0n);
  arch.eff_db.fill(0n);
  arch.dr6 = 0xffff_0ff0n;
  arch.dr7 = 0x400n;
  arch.cr2 = 0n;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  if (!init_event) {
    arch.smbase = 0x30000n;
    arch.pat = 0x0007_0406_0007_0406n;
    arch.msr_misc_features_enables = 0n;
    arch.ia32_misc_enable_msr = 0x1800n;
    arch.xcr0 = 1n;
    arch.guest_fpu.set(new_fpu());
    arch.apic_base = 0xfee0_0800n | (vcpu.vcpu_id === vcpu.kvm.arch.bsp_vcpu_id ? 0x100n : 0n);
  }
  arch.apic?.reset(init_event);
  const cd_nw = init_event ? arch.cr0 & 0x6000_0000n : 0x6000_0000n;
  arch.regs.fill(0n);
  arch.regs[2] = BigInt(kvm_find_cpuid_entry(vcpu, 1)?.eax ?? 0x600);
  kvm_x86.vcpu_reset(vcpu, init_event);
  kvm_x86.set_rflags64(vcpu, 2n);
  kvm_x86.set_rip(vcpu, 0xfff0n);
  kvm_x86.set_cr3(vcpu, 0n);
  kvm_x86.set_cr0(vcpu, cd_nw | 0x10n);
  kvm_x86.set_cr4(vcpu, 0n);
  kvm_x86.set_efer(vcpu, 0n);
  kvm_update_dr7(vcpu);
  kvm_x86.update_exception_bitmap(vcpu);
  kvm_x86.flush_tlb_current(vcpu);
}
