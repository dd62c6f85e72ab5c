/**
 * What the generic part of KVM leaves to the vendor's: VMX fills in this table.
 *
 * Linux: arch/x86/include/asm/kvm_host.h (struct kvm_x86_ops), arch/x86/include/asm/kvm-x86-ops.h
 */
import type { MaySleep } from '../kernel/exports.ts';
import type { kvm, kvm_vcpu } from './kvm_host.ts';

/** A segment register as KVM passes it between its parts: kvm_segment's members. */
export interface segment { selector: number; base: bigint; limit: number; type: number; present: number; dpl: number; db: number; s: number; l: number; g: number; avl: number; unusable: number }

/** What the vendor module does for the generic one. Linux: struct kvm_x86_ops. */
export interface kvm_x86_ops {
  readonly name: string;
  check_processor_compatibility(): boolean;
  enable_virtualization_cpu(): number;
  disable_virtualization_cpu(): void;
  /** Pages for a processor that cannot run real mode by itself. 0 or -errno. */
  set_tss_addr(kvm: kvm, address: number): number;
  vcpu_create(vcpu: kvm_vcpu): number;
  vcpu_free(vcpu: kvm_vcpu): void;
  vcpu_reset(vcpu: kvm_vcpu, init_event: boolean): void;
  vcpu_load(vcpu: kvm_vcpu, cpu: number): void;
  vcpu_put(vcpu: kvm_vcpu): void;
  vcpu_after_set_cpuid(vcpu: kvm_vcpu): void;
  get_rip(vcpu: kvm_vcpu): bigint;
  set_rip(vcpu: kvm_vcpu, value: bigint): void;
  get_rsp(vcpu: kvm_vcpu): bigint;
  set_rsp(vcpu: kvm_vcpu, value: bigint): void;
  get_rflags(vcpu: kvm_vcpu): number;
  set_rflags(vcpu: kvm_vcpu, value: number): void;
  /** All 64 bits, as user space stored them. */
  get_rflags64(vcpu: kvm_vcpu): bigint;
  set_rflags64(vcpu: kvm_vcpu, value: bigint): void;
  get_segment(vcpu: kvm_vcpu, seg: number): segment;
  get_segment_base(vcpu: kvm_vcpu, seg: number): bigint;
  set_segment(vcpu: kvm_vcpu, seg: number, value: segment): void;
  get_cpl(vcpu: kvm_vcpu): number;
  get_cs_db_l_bits(vcpu: kvm_vcpu): { db: number; l: number };
  get_dt(vcpu: kvm_vcpu, which: 'gdt' | 'idt'): { base: bigint; limit: number };
  set_dt(vcpu: kvm_vcpu, which: 'gdt' | 'idt', base: bigint, limit: number): void;
  get_cr3(vcpu: kvm_vcpu): bigint;
  set_cr3(vcpu: kvm_vcpu, value: bigint): void;
  read_cr0_owned(vcpu: kvm_vcpu): bigint;
  read_cr4_owned(vcpu: kvm_vcpu): bigint;
  set_cr0(vcpu: kvm_vcpu, value: bigint): void;
  is_valid_cr0(vcpu: kvm_vcpu, value: bigint): boolean;
  is_valid_cr4(vcpu: kvm_vcpu, value: bigint): boolean;
  set_cr4(vcpu: kvm_vcpu, value: bigint): void;
  set_efer(vcpu: kvm_vcpu, value: bigint): void;
  set_pdptr(vcpu: kvm_vcpu, i: number, value: bigint): void;
  get_pdptr(vcpu: kvm_vcpu, i: number): bigint;
  set_dr7(vcpu: kvm_vcpu, value: bigint): void;
  get_msr(vcpu: kvm_vcpu, index: number, host: boolean): bigint | undefined;
  set_msr(vcpu: kvm_vcpu, index: number, data: bigint, host: boolean): number;
  get_feature_msr(index: number): bigint | undefined;
  msr_filter_changed(vcpu: kvm_vcpu): void;
  update_exception_bitmap(vcpu: kvm_vcpu): void;
  get_interrupt_shadow(vcpu: kvm_vcpu): number;
  set_interrupt_shadow(vcpu: kvm_vcpu, mask: number): void;
  interrupt_allowed(vcpu: kvm_vcpu): boolean;
  nmi_allowed(vcpu: kvm_vcpu): boolean;
  get_nmi_mask(vcpu: kvm_vcpu): boolean;
  set_nmi_mask(vcpu: kvm_vcpu, masked: boolean): void;
  inject_irq(vcpu: kvm_vcpu): void;
  inject_nmi(vcpu: kvm_vcpu): void;
  inject_exception(vcpu: kvm_vcpu): void;
  cancel_injection(vcpu: kvm_vcpu): void;
  enable_irq_window(vcpu: kvm_vcpu): void;
  enable_nmi_window(vcpu: kvm_vcpu): void;
  write_tsc_offset(vcpu: kvm_vcpu, offset: bigint): void;
  flush_tlb_current(vcpu: kvm_vcpu): void;
  /** Makes this processor forget every translation of the VM. */
  flush_tlb_all(kvm: kvm): void;
  /** Is the second dimension of translation the processor's, or are the guest's page tables shadowed? */
  tdp_enabled(): boolean;
  /** Before each entry: the tables the guest runs on. 0 or -errno. */
  load_mmu_pgd(vcpu: kvm_vcpu): number;
  /** Enters the guest. true: it is in; false: an exit or a failed entry is waiting in the VMCS. */
  vcpu_enter(vcpu: kvm_vcpu): void;
  /** The guest runs. false: this step's time is up and it has to be called again. */
  vcpu_run(vcpu: kvm_vcpu): boolean;
  /** Fetches what an exit leaves in the VMCS, interrupts still off. */
  vcpu_exited(vcpu: kvm_vcpu): void;
  handle_exit_irqoff(vcpu: kvm_vcpu): void;
  handle_exit(vcpu: kvm_vcpu): number | MaySleep<number>;
  skip_emulated_instruction(vcpu: kvm_vcpu): number;
  /** Linear address of the instruction as a signed number. */
  linear_rip(vcpu: kvm_vcpu): number;
  get_exit_info(vcpu: kvm_vcpu): { reason: number; info1: bigint; info2: bigint; intr_info: number; error_code: number };
  patch_hypercall(code: Uint8Array): void;
  /** Puts general registers and FPU into the processor. false: they were there. */
  load_guest_registers(vcpu: kvm_vcpu): boolean;
  /** The shortest way from one OUT to the next, in three parts: vmx/again.ts. */
  is_plain(vcpu: kvm_vcpu): boolean;
  is_there(vcpu: kvm_vcpu): boolean;
  run_again(vcpu: kvm_vcpu): boolean;
  load_guest_msrs(vcpu: kvm_vcpu, changed: boolean): void;
  save_guest_msrs(vcpu: kvm_vcpu): void;
  apic_init_signal_blocked(vcpu: kvm_vcpu): boolean;
  /** What of the processor's own state an SMI changes. */
  enter_smm(vcpu: kvm_vcpu): void;
  /** The next entry delivers its event and exits again at once. */
  request_immediate_exit(vcpu: kvm_vcpu): void;
}

/** The vendor's operations: constants, the same in every kernel, filled in when its module is loaded first. */
export let kvm_x86: kvm_x86_ops;
export function set_kvm_x86_ops(ops: kvm_x86_ops): void { kvm_x86 = ops; }
