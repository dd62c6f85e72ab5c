/**
 * Who handles which VM exit. A missing row is a compile error.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c (kvm_vmx_exit_handlers)
 */
import type * as reasons from '../../machine/vmx/exit-reasons.ts';
import * as R from '../../machine/vmx/exit-reasons.ts';
import type { MaySleep } from '../../kernel/exports.ts';
import type { kvm_vcpu } from '../kvm_host.ts';
import {
  handle_apic_access, handle_cr, handle_desc, handle_dr, handle_ept_misconfig, handle_ept_violation, handle_exception_nmi, handle_external_interrupt_exit, handle_interrupt_window,
  handle_invlpg, handle_io, handle_mwait, handle_nmi_window, handle_nothing, handle_notify, handle_preemption_timer, handle_rdmsr, handle_task_switch, handle_tpr_below_threshold, handle_triple_fault, handle_unexpected,
  handle_vmx_instruction, handle_wrmsr, handle_xsetbv, kvm_emulate_as_nop, kvm_emulate_cpuid, kvm_emulate_halt, kvm_emulate_hypercall, kvm_emulate_rdpmc, kvm_handle_invalid_op,
} from './exit-handlers.ts';

/** 1: back into the guest; 0: out to user space, kvm_run says why; negative: -errno. */
export type ExitHandler = (vcpu: kvm_vcpu) => number | MaySleep<number>;
type ReasonName = Exclude<keyof typeof reasons, 'VMX_EXIT_REASONS_FAILED_VMENTRY'>;
export type ExitReason = (typeof reasons)[Extract<ReasonName, `EXIT_REASON_${string}`>];

export const kvm_vmx_exit_handlers = {
  [R.EXIT_REASON_EXCEPTION_NMI]:       handle_exception_nmi,
  [R.EXIT_REASON_EXTERNAL_INTERRUPT]:  handle_external_interrupt_exit,
  [R.EXIT_REASON_TRIPLE_FAULT]:        handle_triple_fault,
  [R.EXIT_REASON_INIT_SIGNAL]:         handle_unexpected,
  [R.EXIT_REASON_SIPI_SIGNAL]:         handle_unexpected,
  [R.EXIT_REASON_INTERRUPT_WINDOW]:    handle_interrupt_window,
  [R.EXIT_REASON_NMI_WINDOW]:          handle_nmi_window,
  [R.EXIT_REASON_TASK_SWITCH]:         handle_task_switch,
  [R.EXIT_REASON_CPUID]:               kvm_emulate_cpuid,
  [R.EXIT_REASON_HLT]:                 kvm_emulate_halt,
  [R.EXIT_REASON_INVD]:                kvm_emulate_as_nop,
  [R.EXIT_REASON_INVLPG]:              handle_invlpg,
  [R.EXIT_REASON_RDPMC]:               kvm_emulate_rdpmc,
  [R.EXIT_REASON_RDTSC]:               handle_unexpected,
  [R.EXIT_REASON_VMCALL]:              kvm_emulate_hypercall,
  [R.EXIT_REASON_VMCLEAR]:             handle_vmx_instruction,
  [R.EXIT_REASON_VMLAUNCH]:            handle_vmx_instruction,
  [R.EXIT_REASON_VMPTRLD]:             handle_vmx_instruction,
  [R.EXIT_REASON_VMPTRST]:             handle_vmx_instruction,
  [R.EXIT_REASON_VMREAD]:              handle_vmx_instruction,
  [R.EXIT_REASON_VMRESUME]:            handle_vmx_instruction,
  [R.EXIT_REASON_VMWRITE]:             handle_vmx_instruction,
  [R.EXIT_REASON_VMOFF]:               handle_vmx_instruction,
  [R.EXIT_REASON_VMON]:                handle_vmx_instruction,
  [R.EXIT_REASON_CR_ACCESS]:           handle_cr,
  [R.EXIT_REASON_DR_ACCESS]:           handle_dr,
  [R.EXIT_REASON_IO_INSTRUCTION]:      handle_io,
  [R.EXIT_REASON_MSR_READ]:            handle_rdmsr,
  [R.EXIT_REASON_MSR_WRITE]:           handle_wrmsr,
  [R.EXIT_REASON_INVALID_STATE]:       handle_unexpected,
  [R.EXIT_REASON_MSR_LOAD_FAIL]:       handle_unexpected,
  [R.EXIT_REASON_MWAIT_INSTRUCTION]:   handle_mwait,
  [R.EXIT_REASON_MONITOR_TRAP_FLAG]:   handle_nothing,
  [R.EXIT_REASON_MONITOR_INSTRUCTION]: handle_mwait,
  [R.EXIT_REASON_PAUSE_INSTRUCTION]:   kvm_emulate_as_nop,
  [R.EXIT_REASON_MCE_DURING_VMENTRY]:  handle_nothing,
  [R.EXIT_REASON_TPR_BELOW_THRESHOLD]: handle_tpr_below_threshold,
  [R.EXIT_REASON_APIC_ACCESS]:         handle_apic_access,
  [R.EXIT_REASON_EOI_INDUCED]:         handle_unexpected,
  [R.EXIT_REASON_GDTR_IDTR]:           handle_desc,
  [R.EXIT_REASON_LDTR_TR]:             handle_desc,
  [R.EXIT_REASON_EPT_VIOLATION]:       handle_ept_violation,
  [R.EXIT_REASON_EPT_MISCONFIG]:       handle_ept_misconfig,
  [R.EXIT_REASON_INVEPT]:              handle_vmx_instruction,
  [R.EXIT_REASON_RDTSCP]:              handle_unexpected,
  [R.EXIT_REASON_PREEMPTION_TIMER]:    handle_preemption_timer,
  [R.EXIT_REASON_INVVPID]:             handle_vmx_instruction,
  [R.EXIT_REASON_WBINVD]:              kvm_emulate_as_nop,
  [R.EXIT_REASON_XSETBV]:              handle_xsetbv,
  [R.EXIT_REASON_APIC_WRITE]:          handle_unexpected,
  [R.EXIT_REASON_RDRAND]:              kvm_handle_invalid_op,
  [R.EXIT_REASON_INVPCID]:             handle_unexpected,
  [R.EXIT_REASON_VMFUNC]:              handle_vmx_instruction,
  [R.EXIT_REASON_ENCLS]:               kvm_handle_invalid_op,
  [R.EXIT_REASON_RDSEED]:              kvm_handle_invalid_op,
  [R.EXIT_REASON_PML_FULL]:            handle_unexpected,
  [R.EXIT_REASON_XSAVES]:              handle_unexpected,
  [R.EXIT_REASON_XRSTORS]:             handle_unexpected,
  [R.EXIT_REASON_UMWAIT]:              handle_unexpected,
  [R.EXIT_REASON_TPAUSE]:              handle_unexpected,
  [R.EXIT_REASON_BUS_LOCK]:            handle_unexpected,
  [R.EXIT_REASON_NOTIFY]:              handle_notify,
} satisfies Record<ExitReason, ExitHandler>;
