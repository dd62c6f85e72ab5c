/**
 * KVM on VMX: a vCPU's VMCS and the processor it is on, entering and leaving the guest, injecting events.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c
 *
 * The hard part is ownership. A VMCS is current on one processor at most; before it is loaded on another one, the old
 * one must VMCLEAR it. And an event that was told to the processor counts as delivered only when the exit says so:
 * until then it may come back as IDT-vectoring information.
 */
import { EINVAL, ENOMEM } from '../../abi/errno.ts';
import { KVM_X86_SHADOW_INT_MOV_SS, KVM_X86_SHADOW_INT_STI } from '../../abi/kvm/index.ts';
import { STATE } from '../../machine/cpu/state.ts';
import * as C from '../../machine/vmx/controls.ts';
import * as F from '../../machine/vmx/fields.ts';
import { PAGE_SIZE, __get_free_zeroed, handle_external_interrupt, put_page, smp_call_function_single, this_processor } from '../../kernel/exports.ts';
import { BP_VECTOR, DB_VECTOR, MC_VECTOR, NMI_VECTOR, PF_VECTOR, UD_VECTOR, AC_VECTOR } from '../emulate.ts';
import {
  KVM_REQ_EVENT, KVM_REQ_TLB_FLUSH, type kvm, type kvm_vcpu, type kvm_x86_ops, is_64_bit_mode, kvm_make_request, kvm_state,
} from '../kvm_host.ts';
import { GUESTDBG_SINGLESTEP, kvm_clear_exception_queue, kvm_clear_interrupt_queue, kvm_queue_interrupt, kvm_requeue_exception } from '../events.ts';
import { kvm_arch_vcpu_memslots_id } from '../memslots.ts';
import { kvm_tdp_root } from '../mmu/tdp-tables.ts';
import { kvm_mmu_load } from '../mmu/shadow-root.ts';
import { vmx_is_plain, vmx_is_there, vmx_run_again } from './again.ts';
import { vmx_capabilities } from './capabilities.ts';
import { init_rmode_identity_map, kvm_inject_realmode_interrupt, rmode_get_rflags, rmode_set_rflags, vmx_emulation_required, vmx_set_tss_addr } from './rmode.ts';
import { vmx_handle_exit } from './exits.ts';
import { vmx_update_msr_bitmap } from './msr-bitmap.ts';
import { vmx_get_feature_msr, vmx_get_msr, vmx_load_guest_msrs, vmx_save_guest_msrs, vmx_set_msr } from './vmx-msrs.ts';
import {
  vmx_get_cpl, vmx_get_cr3, vmx_get_cs_db_l_bits, vmx_get_dt, vmx_get_segment, vmx_get_segment_base, vmx_read_cr0_owned, vmx_read_cr4_owned, vmx_set_cr0, vmx_set_cr3, vmx_set_cr4,
  vmx_set_dt, vmx_set_efer, vmx_set_guest_owned_bits, vmx_set_segment,
} from './segments.ts';
import { vcpu_vmx } from './vcpu-vmx.ts';
import { kvm_inj_virq } from '../trace.ts';
import { vmx_allow_instructions, vmx_vcpu_reset } from './vmcs-setup.ts';

const INTR_INFO_VALID = 0x8000_0000, INTR_INFO_DELIVER_CODE = 0x800, INTR_INFO_UNBLOCK_NMI = 0x1000, INTR_INFO_TYPE = 0x700, INTR_INFO_VECTOR = 0xff;
const TYPE_EXT_INTR = 0, TYPE_NMI = 2 << 8, TYPE_HARD_EXCEPTION = 3 << 8, TYPE_SOFT_INTR = 4 << 8, TYPE_SOFT_EXCEPTION = 6 << 8;
const GUEST_INTR_STATE_STI = 1, GUEST_INTR_STATE_MOV_SS = 2, GUEST_INTR_STATE_NMI = 8;
const EXIT_REASON_EXCEPTION_NMI = 0, EXIT_REASON_EXTERNAL_INTERRUPT = 1, EXIT_REASON_INVALID_STATE = 33;
const VMX_EPT_EXTENT_CONTEXT = 1, VMX_VPID_EXTENT_SINGLE_CONTEXT = 1, VMX_VPID_EXTENT_ALL_CONTEXT = 2;
const FAILED_VMENTRY = 0x8000_0000;
const VMX_AR_L_MASK = 1 << 13;
const CR2 = STATE.cr2 >>> 2;

const physical = (pfn: number): number => pfn * PAGE_SIZE;
/** EPT pointer: write-back, four levels, accessed and dirty flags. */
const eptp = (root: number): number => physical(root) + (6 | (3 << 3) | (vmx_capabilities().enable_ept_ad_bits ? 1 << 6 : 0));

// ---------------------------------------------------------------- birth and death

function vcpu_create(vcpu: kvm_vcpu): number {
  const { enable_ept, enable_unrestricted_guest } = vmx_capabilities();
  if (enable_ept && !enable_unrestricted_guest) {
    const r = init_rmode_identity_map(vcpu.kvm);
    if (r < 0) return r;
  }
  const vmcs = __get_free_zeroed();
  if (vmcs < 0) return -ENOMEM;
  const bitmap = __get_free_zeroed();
  if (bitmap < 0) {
    put_page(vmcs);
    return -ENOMEM;
  }
  const { kvm } = vcpu;
  kvm.mem.u32[(kvm.ram_base + physical(vmcs)) >>> 2] = C.VMCS_REVISION_ID;
  vcpu.vmx = new vcpu_vmx(vmcs, bitmap, allocate_vpid());
  vmx_update_msr_bitmap(vcpu);
  return 0;
}

/** The lowest that is free; 0 is the host's, and there are more than vCPUs could be. A reused one is flushed when its vCPU is first loaded. */
function allocate_vpid(): number {
  const { vpids } = kvm_state();
  let vpid = 1;
  while (vpids.has(vpid)) vpid++;
  vpids.add(vpid);
  return vpid;
}

function vcpu_free(vcpu: kvm_vcpu): void {
  const { vmx } = vcpu;
  loaded_vmcs_clear(vmx);
  kvm_state().vpids.delete(vmx.vpid);
  put_page(vmx.vmcs_pfn);
  put_page(vmx.msr_bitmap_pfn);
}

function loaded_vmcs_clear(vmx: vcpu_vmx): void {
  if (vmx.cpu < 0) return;
  smp_call_function_single(vmx.cpu, () => this_processor().vmx.vmclear(physical(vmx.vmcs_pfn)));
  vmx.cpu = -1;
  vmx.launched = false;
}

function vcpu_load(vcpu: kvm_vcpu, cpu: number): void {
  const { vmx } = vcpu;
  const hw = this_processor().vmx;
  if (vmx.cpu !== cpu) {
    loaded_vmcs_clear(vmx);
    kvm_make_request(KVM_REQ_TLB_FLUSH, vcpu);
    hw.vmclear(physical(vmx.vmcs_pfn));
  }
  if (hw.current !== physical(vmx.vmcs_pfn)) hw.vmptrld(physical(vmx.vmcs_pfn));
  vmx.hw = hw;
  vmx.cpu = cpu;
  if (vcpu.vmx.guest_msrs_loaded) throw new Error('vcpu_load: the guest MSRs are loaded already');
}

// ---------------------------------------------------------------- entry and exit

function load_guest_registers(vcpu: kvm_vcpu): boolean {
  const { arch, vmx: { hw } } = vcpu;
  if (hw.tenant === arch.leave_processor) return false;
  arch.enter_processor(hw.cpu);
  hw.tenant = arch.leave_processor;
  return true;
}

/** Points the processor at the tables the guest runs on. 0, or why there are none. */
function load_mmu_pgd(vcpu: kvm_vcpu): number {
  const { vmx } = vcpu;
  const { hw } = vmx;
  const as_id = kvm_arch_vcpu_memslots_id(vcpu);
  if (vmx.ept_root !== 0 && vmx.ept_root === vcpu.kvm.arch.tdp_roots[as_id]) return 0;
  if (vmx_capabilities().enable_ept) {
    const root = kvm_tdp_root(vcpu.kvm, as_id);
    if (root < 0) return root;
    hw.writeNumber(F.EPT_POINTER, eptp(root));
    vmx.ept_root = root;
    return 0;
  }
  const root = kvm_mmu_load(vcpu);
  if (root < 0) return root;
  if (hw.readNumber(F.GUEST_CR3) !== physical(root)) hw.writeNumber(F.GUEST_CR3, physical(root));
  return 0;
}

/** Registers go to the processor and the guest is entered. What failed is told by the exit that follows. */
function vcpu_enter(vcpu: kvm_vcpu): void {
  const { vmx, arch } = vcpu;
  // Events of real mode were delivered when they were injected.
  if (vmx.rmode.vm86_active) arch.exception.injected = arch.interrupt.injected = arch.nmi_injected = false;
  vmx.emulation_required = !vmx_capabilities().enable_unrestricted_guest && vmx_emulation_required(vcpu);
  if (vmx.emulation_required) {
    vmx.fail = false;
    return;
  }
  const { hw } = vmx;
  // With the trap flag set a shadow asks for a pending step, which a debugger from outside does not mean.
  if ((vcpu.guest_debug & GUESTDBG_SINGLESTEP) !== 0) set_interrupt_shadow(vcpu, 0);
  const { cpu } = this_processor();
  cpu.u32[CR2] = arch.cr2_words[0]!;
  cpu.u32[CR2 + 1] = arch.cr2_words[1]!;
  const status = vmx.launched ? hw.vmresume() : hw.vmlaunch();
  vmx.fail = status !== 'ok';
  if (hw.inGuest) vmx.launched = true;
}

/** false: the step's time is up with the guest still inside. */
const vcpu_run = (vcpu: kvm_vcpu): boolean => {
  const { vmx } = vcpu;
  if (vmx.fail) return true;
  // What is emulated takes its time as well.
  if (vmx.emulation_required) return this_processor().clock < this_processor().limit;
  return !vmx.hw.inGuest || vmx.hw.run() === 'exit';
};

function vcpu_exited(vcpu: kvm_vcpu): void {
  const { vmx, arch } = vcpu;
  if (vmx.fail) {
    vmx.exit_reason = 0xdead;
    return;
  }
  if (vmx.emulation_required) {
    vmx.exit_reason = EXIT_REASON_INVALID_STATE;
    vmx.idt_vectoring_info = vmx.exit_intr_info = 0;
    return;
  }
  const { hw } = vmx;
  const { cpu } = this_processor();
  arch.cr2_words[0] = cpu.u32[CR2]!;
  arch.cr2_words[1] = cpu.u32[CR2 + 1]!;
  vmx.exit_reason = hw.read32(F.VM_EXIT_REASON);
  if ((vmx.exit_reason & FAILED_VMENTRY) !== 0) {
    vmx.idt_vectoring_info = 0;
    return;
  }
  vmx.idt_vectoring_info = hw.read32(F.IDT_VECTORING_INFO_FIELD);
  const reason = vmx.exit_reason & 0xffff;
  vmx.exit_intr_info = reason <= EXIT_REASON_EXTERNAL_INTERRUPT ? hw.read32(F.VM_EXIT_INTR_INFO) : 0;
  recover_nmi_blocking(vcpu, reason);
  complete_interrupts(vcpu, vmx.idt_vectoring_info, F.VM_EXIT_INSTRUCTION_LEN, F.IDT_VECTORING_ERROR_CODE);
}

/** An IRET that faulted has let NMIs in again although the handler is not through. SDM Vol. 3, 28.2.3. */
function recover_nmi_blocking(vcpu: kvm_vcpu, reason: number): void {
  const { vmx } = vcpu;
  if (reason !== EXIT_REASON_EXCEPTION_NMI || (vmx.idt_vectoring_info & INTR_INFO_VALID) !== 0) return;
  const info = vmx.exit_intr_info;
  if ((info & INTR_INFO_UNBLOCK_NMI) !== 0 && (info & INTR_INFO_VECTOR) !== 8) set_nmi_mask(vcpu, true);
}

/** What was being delivered when the guest exited is queued again. */
function complete_interrupts(vcpu: kvm_vcpu, info: number, lengthField: number, errorField: number): void {
  const { arch, vmx } = vcpu;
  const { hw } = vmx;
  arch.nmi_injected = false;
  if (arch.exception.injected || arch.exception.pending) kvm_clear_exception_queue(vcpu);
  kvm_clear_interrupt_queue(vcpu);
  if ((info & INTR_INFO_VALID) === 0) return;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  const vector = info & INTR_INFO_VECTOR;
  switch (info & INTR_INFO_TYPE) {
    case TYPE_NMI:
      arch.nmi_injected = true;
      set_nmi_mask(vcpu, false);
      break;
    case TYPE_SOFT_EXCEPTION:
      vmx.event_exit_inst_len = hw.read32(lengthField);
      kvm_requeue_exception(vcpu, vector, (info & INTR_INFO_DELIVER_CODE) !== 0, hw.read32(errorField));
      break;
    case TYPE_HARD_EXCEPTION:
      kvm_requeue_exception(vcpu, vector, (info & INTR_INFO_DELIVER_CODE) !== 0, (info & INTR_INFO_DELIVER_CODE) !== 0 ? hw.read32(errorField) : 0);
      break;
    case TYPE_SOFT_INTR:
      vmx.event_exit_inst_len = hw.read32(lengthField);
      kvm_queue_interrupt(vcpu, vector, true);
      break;
    case TYPE_EXT_INTR:
      kvm_queue_interrupt(vcpu, vector, false);
      break;
  }
}

/** The entry was called off: the event goes back to the queue. */
function cancel_injection(vcpu: kvm_vcpu): void {
  const { hw } = vcpu.vmx;
  complete_interrupts(vcpu, hw.read32(F.VM_ENTRY_INTR_INFO_FIELD), F.VM_ENTRY_INSTRUCTION_LEN, F.VM_ENTRY_EXCEPTION_ERROR_CODE);
  hw.write32(F.VM_ENTRY_INTR_INFO_FIELD, 0);
}

/** Host interrupts and NMIs that made the guest exit are taken before anything else runs. */
function handle_exit_irqoff(vcpu: kvm_vcpu): void {
  const { vmx } = vcpu;
  if (vmx.fail) return;
  const reason = vmx.exit_reason;
  if (reason === EXIT_REASON_EXTERNAL_INTERRUPT) {
    handle_external_interrupt(vmx.exit_intr_info & INTR_INFO_VECTOR);
    vcpu.arch.at_instruction_boundary = true;
  } else if (reason === EXIT_REASON_EXCEPTION_NMI && (vmx.exit_intr_info & INTR_INFO_TYPE) === TYPE_NMI) this_processor().acknowledgeNmi();
}

// ---------------------------------------------------------------- events

function inject_irq(vcpu: kvm_vcpu): void {
  const { hw } = vcpu.vmx;
  const { interrupt } = vcpu.arch;
  vcpu.stat.irq_injections++;
  if (kvm_inj_virq.enabled) kvm_inj_virq.trace({ vector: interrupt.nr, soft: interrupt.soft ? 1 : 0, reinjected: 0 });
  if (vcpu.vmx.rmode.vm86_active) {
    kvm_inject_realmode_interrupt(vcpu, interrupt.nr, interrupt.soft ? vcpu.vmx.event_exit_inst_len : 0);
    hw.write32(F.GUEST_ACTIVITY_STATE, 0);
    return;
  }
  hw.write32(F.VM_ENTRY_INTR_INFO_FIELD, interrupt.nr | INTR_INFO_VALID | (interrupt.soft ? TYPE_SOFT_INTR : TYPE_EXT_INTR));
  if (interrupt.soft) hw.write32(F.VM_ENTRY_INSTRUCTION_LEN, vcpu.vmx.event_exit_inst_len);
  hw.write32(F.GUEST_ACTIVITY_STATE, 0);
}

function inject_nmi(vcpu: kvm_vcpu): void {
  const { hw } = vcpu.vmx;
  vcpu.stat.nmi_injections++;
  if (vcpu.vmx.rmode.vm86_active) {
    kvm_inject_realmode_interrupt(vcpu, NMI_VECTOR, 0);
    set_nmi_mask(vcpu, true);
    hw.write32(F.GUEST_ACTIVITY_STATE, 0);
    return;
  }
  hw.write32(F.VM_ENTRY_INTR_INFO_FIELD, TYPE_NMI | INTR_INFO_VALID | NMI_VECTOR);
  hw.write32(F.GUEST_ACTIVITY_STATE, 0);
}

function inject_exception(vcpu: kvm_vcpu): void {
  const { hw } = vcpu.vmx;
  const { exception: ex } = vcpu.arch;
  if (vcpu.vmx.rmode.vm86_active) {
    kvm_inject_realmode_interrupt(vcpu, ex.vector, ex.vector === BP_VECTOR || ex.vector === 4 ? vcpu.vmx.event_exit_inst_len : 0);
    return;
  }
  let info = ex.vector | INTR_INFO_VALID;
  if (ex.has_error_code) {
    // The processor refuses an error code in real mode, and more than 16 bits of one.
    hw.write32(F.VM_ENTRY_EXCEPTION_ERROR_CODE, ex.error_code & 0xffff);
    if ((vcpu.arch.cr0 & 1n) !== 0n) info |= INTR_INFO_DELIVER_CODE;
  }
  if (ex.vector === BP_VECTOR || ex.vector === 4) {
    hw.write32(F.VM_ENTRY_INSTRUCTION_LEN, vcpu.vmx.event_exit_inst_len);
    info |= TYPE_SOFT_EXCEPTION;
  } else info |= TYPE_HARD_EXCEPTION;
  hw.write32(F.VM_ENTRY_INTR_INFO_FIELD, info);
  hw.write32(F.GUEST_ACTIVITY_STATE, 0);
}

function get_interrupt_shadow(vcpu: kvm_vcpu): number {
  const state = vcpu.vmx.hw.read32(F.GUEST_INTERRUPTIBILITY_INFO);
  return (state & GUEST_INTR_STATE_STI ? KVM_X86_SHADOW_INT_STI : 0) | (state & GUEST_INTR_STATE_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0);
}
function set_interrupt_shadow(vcpu: kvm_vcpu, mask: number): void {
  const { hw } = vcpu.vmx;
  const old = hw.read32(F.GUEST_INTERRUPTIBILITY_INFO);
  let state = old & ~(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS);
  if (mask & KVM_X86_SHADOW_INT_MOV_SS) state |= GUEST_INTR_STATE_MOV_SS;
  else if (mask & KVM_X86_SHADOW_INT_STI) state |= GUEST_INTR_STATE_STI;
  if (state !== old) hw.write32(F.GUEST_INTERRUPTIBILITY_INFO, state);
}

const interrupt_allowed = (vcpu: kvm_vcpu): boolean =>
  (vcpu.vmx.hw.read32(F.GUEST_RFLAGS) & 0x200) !== 0 && (vcpu.vmx.hw.read32(F.GUEST_INTERRUPTIBILITY_INFO) & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)) === 0;
const nmi_allowed = (vcpu: kvm_vcpu): boolean =>
  (vcpu.vmx.hw.read32(F.GUEST_INTERRUPTIBILITY_INFO) & (GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS | GUEST_INTR_STATE_NMI)) === 0;
const get_nmi_mask = (vcpu: kvm_vcpu): boolean => (vcpu.vmx.hw.read32(F.GUEST_INTERRUPTIBILITY_INFO) & GUEST_INTR_STATE_NMI) !== 0;
function set_nmi_mask(vcpu: kvm_vcpu, masked: boolean): void {
  const { hw } = vcpu.vmx;
  const state = hw.read32(F.GUEST_INTERRUPTIBILITY_INFO);
  hw.write32(F.GUEST_INTERRUPTIBILITY_INFO, masked ? state | GUEST_INTR_STATE_NMI : state & ~GUEST_INTR_STATE_NMI);
}

const set_exec_bit = (vcpu: kvm_vcpu, bit: number, on: boolean): void => {
  const { hw } = vcpu.vmx;
  const control = hw.read32(F.CPU_BASED_VM_EXEC_CONTROL);
  hw.write32(F.CPU_BASED_VM_EXEC_CONTROL, on ? control | bit : control & ~bit);
};

/** Which exceptions KVM wants to see. With EPT page faults are the guest's own affair; without it they may be KVM's. */
function update_exception_bitmap(vcpu: kvm_vcpu): void {
  let bitmap = (1 << UD_VECTOR) | (1 << MC_VECTOR) | (1 << AC_VECTOR) | (1 << DB_VECTOR);
  if ((vcpu.guest_debug & 0x10001) === 0x10001) bitmap |= 1 << BP_VECTOR;
  if (!vmx_capabilities().enable_ept) bitmap |= 1 << PF_VECTOR;
  // In virtual-8086 mode none may reach an IDT: the guest's is none of protected mode.
  if (vcpu.vmx.rmode.vm86_active) bitmap = 0xffff_ffff;
  vcpu.vmx.hw.write32(F.EXCEPTION_BITMAP, bitmap);
}

/** Past the instruction that exited; it also ends an interrupt shadow. Always 1. */
function skip_emulated_instruction(vcpu: kvm_vcpu): number {
  const { hw } = vcpu.vmx;
  const low = hw.read32(F.GUEST_RIP) + hw.read32(F.VM_EXIT_INSTRUCTION_LEN);
  const high = hw.readHigh(F.GUEST_RIP) + (low > 0xffff_ffff ? 1 : 0);
  // Outside 64-bit code RIP wraps at 32 bits, but only where it did not lie beyond them before.
  hw.writeHalves(F.GUEST_RIP, low >>> 0, high !== 1 || is_64_bit_mode(vcpu) ? high >>> 0 : 0);
  if (hw.read32(F.GUEST_INTERRUPTIBILITY_INFO) & 3) set_interrupt_shadow(vcpu, 0);
  return 1;
}

/** Linear address of the instruction. As a signed number it is exact wherever code can be. */
function linear_rip(vcpu: kvm_vcpu): number {
  const { hw } = vcpu.vmx;
  const is64Bit = (hw.read32(F.VM_ENTRY_CONTROLS) & C.VM_ENTRY_IA32E_MODE) !== 0 && (hw.read32(F.GUEST_CS_AR_BYTES) & VMX_AR_L_MASK) !== 0;
  return is64Bit ? hw.readSigned(F.GUEST_RIP) : (hw.read32(F.GUEST_CS_BASE) + hw.read32(F.GUEST_RIP)) >>> 0;
}

// ---------------------------------------------------------------- the table

export const vmx_x86_ops: kvm_x86_ops = {
  name: 'kvm_intel',
  check_processor_compatibility: () => true,
  enable_virtualization_cpu: () => {
    const p = this_processor();
    const region = __get_free_zeroed();
    if (region < 0) return -ENOMEM;
    const { ram } = p.machine;
    ram.mem.u32[(ram.base + physical(region)) >>> 2] = C.VMCS_REVISION_ID;
    if (p.vmx.vmxon(physical(region)) !== 'ok') {
      put_page(region);
      return -EINVAL;
    }
    return region;
  },
  disable_virtualization_cpu: () => { this_processor().vmx.vmxoff(); },
  set_tss_addr: vmx_set_tss_addr,
  vcpu_create, vcpu_free, vcpu_load,
  vcpu_put: () => {},
  vcpu_reset: vmx_vcpu_reset,
  vcpu_after_set_cpuid: (vcpu) => {
    vmx_set_guest_owned_bits(vcpu);
    vmx_allow_instructions(vcpu);
  },
  get_rip: (vcpu) => vcpu.vmx.hw.read64(F.GUEST_RIP),
  set_rip: (vcpu, value) => vcpu.vmx.hw.write64(F.GUEST_RIP, value),
  get_rsp: (vcpu) => vcpu.vmx.hw.read64(F.GUEST_RSP),
  set_rsp: (vcpu, value) => vcpu.vmx.hw.write64(F.GUEST_RSP, value),
  get_rflags: (vcpu) => (vcpu.vmx.rmode.vm86_active ? rmode_get_rflags(vcpu) : vcpu.vmx.hw.read32(F.GUEST_RFLAGS)),
  set_rflags: (vcpu, value) => (vcpu.vmx.rmode.vm86_active ? rmode_set_rflags(vcpu, value) : vcpu.vmx.hw.write64(F.GUEST_RFLAGS, BigInt(value >>> 0))),
  get_rflags64: (vcpu) => (vcpu.vmx.rmode.vm86_active ? BigInt(rmode_get_rflags(vcpu) >>> 0) : vcpu.vmx.hw.read64(F.GUEST_RFLAGS)),
  set_rflags64: (vcpu, value) => (vcpu.vmx.rmode.vm86_active ? rmode_set_rflags(vcpu, Number(value & 0xffff_ffffn)) : vcpu.vmx.hw.write64(F.GUEST_RFLAGS, value)),
  get_segment: vmx_get_segment, get_segment_base: vmx_get_segment_base, set_segment: vmx_set_segment,
  get_cpl: vmx_get_cpl, get_cs_db_l_bits: vmx_get_cs_db_l_bits, get_dt: vmx_get_dt, set_dt: vmx_set_dt,
  get_cr3: vmx_get_cr3, set_cr3: vmx_set_cr3,
  read_cr0_owned: vmx_read_cr0_owned, read_cr4_owned: vmx_read_cr4_owned,
  set_cr0: vmx_set_cr0, set_cr4: vmx_set_cr4, set_efer: vmx_set_efer,
  is_valid_cr0: () => true,
  is_valid_cr4: () => true,
  set_pdptr: (vcpu, i, value) => vcpu.vmx.hw.write64(F.GUEST_PDPTR0 + 2 * i, value),
  get_pdptr: (vcpu, i) => vcpu.vmx.hw.read64(F.GUEST_PDPTR0 + 2 * i),
  set_dr7: (vcpu, value) => vcpu.vmx.hw.write64(F.GUEST_DR7, value),
  get_msr: vmx_get_msr, set_msr: vmx_set_msr, get_feature_msr: vmx_get_feature_msr,
  msr_filter_changed: vmx_update_msr_bitmap,
  update_exception_bitmap,
  get_interrupt_shadow, set_interrupt_shadow, interrupt_allowed, nmi_allowed, get_nmi_mask, set_nmi_mask,
  inject_irq, inject_nmi, inject_exception, cancel_injection,
  enable_irq_window: (vcpu) => set_exec_bit(vcpu, C.CPU_BASED_INTR_WINDOW_EXITING, true),
  enable_nmi_window: (vcpu) => {
    // A shadow of STI blocks NMIs here too; the interrupt window ends with it.
    if (vcpu.vmx.hw.read32(F.GUEST_INTERRUPTIBILITY_INFO) & GUEST_INTR_STATE_STI) set_exec_bit(vcpu, C.CPU_BASED_INTR_WINDOW_EXITING, true);
    else set_exec_bit(vcpu, C.CPU_BASED_NMI_WINDOW_EXITING, true);
  },
  write_tsc_offset: (vcpu, offset) => vcpu.vmx.hw.write64(F.TSC_OFFSET, offset),
  flush_tlb_current: (vcpu) => {
    const { enable_ept, enable_vpid } = vmx_capabilities();
    const { hw, vpid } = vcpu.vmx;
    const root = enable_ept ? vcpu.kvm.arch.tdp_roots[kvm_arch_vcpu_memslots_id(vcpu)]! : 0;
    if (root !== 0) hw.invept(VMX_EPT_EXTENT_CONTEXT, BigInt(eptp(root)));
    // Without a VPID each entry begins with an empty TLB.
    if (enable_vpid) hw.invvpid(VMX_VPID_EXTENT_SINGLE_CONTEXT, vpid, 0n);
  },
  flush_tlb_all: (kvm: kvm) => {
    const { vmx: hw } = this_processor();
    if (!vmx_capabilities().enable_ept) hw.invvpid(VMX_VPID_EXTENT_ALL_CONTEXT, 0, 0n);
    else for (const root of kvm.arch.tdp_roots) if (root !== 0) hw.invept(VMX_EPT_EXTENT_CONTEXT, BigInt(eptp(root)));
  },
  tdp_enabled: () => vmx_capabilities().enable_ept,
  load_mmu_pgd, vcpu_enter, vcpu_run, vcpu_exited, handle_exit_irqoff,
  handle_exit: vmx_handle_exit,
  skip_emulated_instruction, linear_rip,
  get_exit_info: (vcpu) => {
    const { hw, exit_reason, exit_intr_info } = vcpu.vmx;
    const failed = (exit_reason & FAILED_VMENTRY) !== 0;
    return {
      reason: exit_reason, info1: hw.read64(F.EXIT_QUALIFICATION), info2: BigInt(failed ? 0 : vcpu.vmx.idt_vectoring_info),
      intr_info: failed ? 0 : exit_intr_info, error_code: (exit_intr_info & INTR_INFO_DELIVER_CODE) !== 0 ? hw.read32(F.VM_EXIT_INTR_ERROR_CODE) : 0,
    };
  },
  patch_hypercall: (code) => { code[0] = 0x0f; code[1] = 0x01; code[2] = 0xc1; },
  load_guest_registers,
  is_plain: vmx_is_plain, is_there: vmx_is_there, run_again: vmx_run_again,
  load_guest_msrs: vmx_load_guest_msrs, save_guest_msrs: vmx_save_guest_msrs,
  apic_init_signal_blocked: () => false,
  enter_smm: (vcpu) => vcpu.vmx.hw.write32(F.GUEST_ACTIVITY_STATE, 0),
  request_immediate_exit: (vcpu) => {
    // A preemption timer that has run out lets an injected event be delivered and nothing else happen.
    const { hw } = vcpu.vmx;
    hw.write32(F.PIN_BASED_VM_EXEC_CONTROL, hw.read32(F.PIN_BASED_VM_EXEC_CONTROL) | C.PIN_BASED_VMX_PREEMPTION_TIMER);
    hw.write32(F.VMX_PREEMPTION_TIMER_VALUE, 0);
  },
};

