/**
 * What KVM does about each VM exit. 1: back into the guest; 0: out to user space, kvm_run says why; negative: -errno.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c (the handle_ functions), x86.c (the kvm_emulate_ ones); qualifications in SDM Vol. 3, 28.2.1
 */
import { EIO } from '../../abi/errno.ts';
import {
  KVM_EXIT_DEBUG, KVM_EXIT_EXCEPTION, KVM_EXIT_HLT, KVM_EXIT_SET_TPR, KVM_EXIT_SHUTDOWN, KVM_INTERNAL_ERROR_SIMUL_EX, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
  KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE,
} from '../../abi/kvm/index.ts';
import * as C from '../../machine/vmx/controls.ts';
import * as F from '../../machine/vmx/fields.ts';
import { type MaySleep, machine, this_processor } from '../../kernel/exports.ts';
import { guest_cpuid_has, kvm_cpuid, kvm_find_cpuid_entry } from '../cpuid.ts';
import { kvm_get_cr8, kvm_set_cr0, kvm_set_cr3, kvm_set_cr4, kvm_set_cr8, kvm_set_xcr } from '../cr.ts';
import { AC_VECTOR, BP_VECTOR, DB_VECTOR, MC_VECTOR, PF_VECTOR, UD_VECTOR } from '../emulate.ts';
import { GUESTDBG_SINGLESTEP, GUESTDBG_USE_HW_BP, kvm_clear_exception_queue, kvm_clear_interrupt_queue, kvm_complete_insn_gp, kvm_inject_gp, kvm_queue_exception, kvm_queue_exception_e, kvm_queue_exception_p } from '../events.ts';
import { DR6_ACTIVE_LOW, kvm_get_dr, kvm_set_dr, kvm_skip_emulated_instruction } from '../guest-debug.ts';
import { KVM_REQ_EVENT, type kvm_vcpu, kvm_get_linear_rip, kvm_make_request, kvm_read_cr0, kvm_register_read, kvm_register_write, kvm_x86, lapic_in_kernel } from '../kvm_host.ts';
import { RET_PF_EMULATE, RET_PF_ERROR, handle_mmio_page_fault, kvm_tdp_page_fault } from '../mmu/tdp.ts';
import { kvm_emulate_rdmsr, kvm_emulate_wrmsr } from '../msr-exits.ts';
import { kvm_fast_pio } from '../pio.ts';
import { kvm_mmu_unprotect_gfn, kvm_shadow_page_fault } from '../mmu/shadow.ts';
import { kvm_mmu_invlpg } from '../mmu/shadow-sync.ts';
import { EMULTYPE_ALLOW_RETRY_PF, EMULTYPE_PF, EMULTYPE_SKIP, handle_ud, kvm_emulate_instruction, kvm_task_switch } from '../x86-emulate.ts';
import { kvm_emulate_hypercall as hypercall } from '../hypercall.ts';
import { kvm_vcpu_has_events } from '../block.ts';
import { kvm_fast_mmio, kvm_cpuid as kvm_cpuid_trace, kvm_cr, kvm_page_fault } from '../trace.ts';
import { TASK_SWITCH_GATE } from '../emulate/task-switch.ts';
import { internal_error } from './internal-error.ts';
import { handle_rmode_exception } from './rmode.ts';

const VALID = 0x8000_0000, TYPE = 0x700, VECTOR = 0xff, DELIVER_CODE = 0x800, UNBLOCK_NMI = 0x1000;
const TYPE_EXT_INTR = 0, TYPE_NMI = 2 << 8, TYPE_HARD_EXCEPTION = 3 << 8, TYPE_SOFT_INTR = 4 << 8, TYPE_SOFT_EXCEPTION = 6 << 8, TYPE_PRIV_SW_EXCEPTION = 5 << 8;
const DR6_BS = 0x4000n;

const qualification = (vcpu: kvm_vcpu): bigint => vcpu.vmx.hw.read64(F.EXIT_QUALIFICATION);

// ---------------------------------------------------------------- events

export function handle_exception_nmi(vcpu: kvm_vcpu): number {
  const { vmx, run } = vcpu;
  const { hw } = vmx;
  const info = vmx.exit_intr_info;
  const vector = info & VECTOR;
  if ((info & TYPE) === TYPE_NMI || ((info & TYPE) === TYPE_HARD_EXCEPTION && vector === MC_VECTOR)) return 1;   // taken with interrupts off already
  if ((info & TYPE) === TYPE_HARD_EXCEPTION && vector === UD_VECTOR) return handle_ud(vcpu);
  const error = (info & DELIVER_CODE) !== 0 ? hw.read32(F.VM_EXIT_INTR_ERROR_CODE) : 0;
  if ((vmx.idt_vectoring_info & VALID) !== 0 && vector !== PF_VECTOR) {
    return internal_error(vcpu, KVM_INTERNAL_ERROR_SIMUL_EX, [BigInt(vmx.idt_vectoring_info >>> 0), BigInt(info >>> 0), BigInt(error), BigInt(vcpu.arch.last_vmentry_cpu)]);
  }
  if (vector === PF_VECTOR && !kvm_x86.tdp_enabled()) return handle_page_fault(vcpu, error, qualification(vcpu));
  if (vmx.rmode.vm86_active && vector !== DB_VECTOR) {
    vmx.event_exit_inst_len = hw.read32(F.VM_EXIT_INSTRUCTION_LEN);
    return handle_rmode_exception(vcpu, vector, error, kvm_queue_exception, kvm_emulate_halt_noskip);
  }
  switch (vector) {
    case DB_VECTOR: {
      const dr6 = qualification(vcpu);
      if ((vcpu.guest_debug & (GUESTDBG_SINGLESTEP | GUESTDBG_USE_HW_BP)) === 0) {
        if ((info & TYPE) === TYPE_PRIV_SW_EXCEPTION) kvm_skip_emulated_instruction(vcpu);
        // Entry insists on a pending single step while the trap flag is set inside a shadow.
        else if ((kvm_x86.get_rflags(vcpu) & 0x100) !== 0 && kvm_x86.get_interrupt_shadow(vcpu) !== 0) {
          hw.write64(F.GUEST_PENDING_DBG_EXCEPTIONS, hw.read64(F.GUEST_PENDING_DBG_EXCEPTIONS) | DR6_BS);
        }
        kvm_queue_exception_p(vcpu, DB_VECTOR, dr6);
        return 1;
      }
      run.debug.arch.dr6 = dr6 | DR6_ACTIVE_LOW;
      run.debug.arch.dr7 = hw.read64(F.GUEST_DR7);
      return debug_exit(vcpu, vector);
    }
    case BP_VECTOR: return debug_exit(vcpu, vector);
    case AC_VECTOR:
      kvm_queue_exception_e(vcpu, AC_VECTOR, error);
      return 1;
    default:
      run.exit_reason = KVM_EXIT_EXCEPTION;
      run.ex.exception = vector;
      run.ex.error_code = error;
      return 0;
  }
}

/** Shadow paging: every page fault of the guest comes here. */
function handle_page_fault(vcpu: kvm_vcpu, error_code: number, gva: bigint): number {
  if (kvm_page_fault.enabled) kvm_page_fault.trace({ vcpu_id: vcpu.vcpu_id, guest_rip: kvm_x86.get_rip(vcpu), fault_address: gva, error_code: BigInt(error_code) });
  const { arch } = vcpu;
  const delivering = arch.exception.injected || arch.interrupt.injected || arch.nmi_injected;
  this_processor().charge(machine().costs.kvmPageFault);
  const r = kvm_shadow_page_fault(vcpu, gva, error_code);
  if (r !== RET_PF_EMULATE) return r < 0 ? r : 1;
  // An event that is being delivered cannot be emulated: what it writes to is no table from now on.
  if (delivering && arch.mmu.tracked_gfn >= 0 && kvm_mmu_unprotect_gfn(vcpu, arch.mmu.tracked_gfn)) return 1;
  return kvm_emulate_instruction(vcpu, EMULTYPE_PF | (arch.mmu.tracked_gfn >= 0 ? EMULTYPE_ALLOW_RETRY_PF : 0));
}

function debug_exit(vcpu: kvm_vcpu, vector: number): number {
  const { run, vmx } = vcpu;
  // User space may have the guest handle it after all; reinjection then needs the length.
  vmx.event_exit_inst_len = vmx.hw.read32(F.VM_EXIT_INSTRUCTION_LEN);
  run.exit_reason = KVM_EXIT_DEBUG;
  run.debug.arch.pc = kvm_get_linear_rip(vcpu);
  run.debug.arch.exception = vector;
  return 0;
}

/** The host's interrupt was served when the exit was taken. */
export function handle_external_interrupt_exit(vcpu: kvm_vcpu): number {
  vcpu.stat.irq_exits++;
  return 1;
}

export function handle_triple_fault(vcpu: kvm_vcpu): number {
  vcpu.run.exit_reason = KVM_EXIT_SHUTDOWN;
  vcpu.mmio_needed = false;
  return 0;
}

const clear_exec_bit = (vcpu: kvm_vcpu, bit: number): void => {
  const { hw } = vcpu.vmx;
  hw.write32(F.CPU_BASED_VM_EXEC_CONTROL, hw.read32(F.CPU_BASED_VM_EXEC_CONTROL) & ~bit);
};
export function handle_interrupt_window(vcpu: kvm_vcpu): number {
  clear_exec_bit(vcpu, C.CPU_BASED_INTR_WINDOW_EXITING);
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  vcpu.stat.irq_window_exits++;
  return 1;
}
export function handle_nmi_window(vcpu: kvm_vcpu): number {
  clear_exec_bit(vcpu, C.CPU_BASED_NMI_WINDOW_EXITING);
  vcpu.stat.nmi_window_exits++;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  return 1;
}
export function handle_tpr_below_threshold(vcpu: kvm_vcpu): number {
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  return 1;
}

// ---------------------------------------------------------------- memory

/** 1, 0 or -errno from what a page fault came to. */
function after_fault(vcpu: kvm_vcpu, r: number): number {
  if (r === RET_PF_EMULATE) return kvm_emulate_instruction(vcpu, EMULTYPE_PF);
  return r < 0 ? r : 1;
}
function* after_waiting(vcpu: kvm_vcpu, faulting: MaySleep<number>): MaySleep<number> {
  return after_fault(vcpu, yield* faulting);
}

/** An EPT violation in a page fault's terms, and whether it was of the final address or of a page table's (PFERR_GUEST_*). */
const error_code_of = (q: number): bigint =>
  BigInt(((q & 1) << 2) | (q & 2) | ((q & 4) << 2) | ((q & 0x38) !== 0 ? 1 : 0)) | ((q & 0x100) !== 0 ? 1n << 32n : 1n << 33n);

export function handle_ept_violation(vcpu: kvm_vcpu): number | MaySleep<number> {
  const { vmx } = vcpu;
  const { hw } = vmx;
  const q = hw.read32(F.EXIT_QUALIFICATION);
  // An IRET from an NMI handler that faulted here has not let NMIs in after all.
  if ((vmx.idt_vectoring_info & VALID) === 0 && (q & UNBLOCK_NMI) !== 0) kvm_x86.set_nmi_mask(vcpu, true);
  if (kvm_page_fault.enabled) {
    kvm_page_fault.trace({ vcpu_id: vcpu.vcpu_id, guest_rip: kvm_x86.get_rip(vcpu), fault_address: hw.read64(F.GUEST_PHYSICAL_ADDRESS), error_code: error_code_of(q) });
  }
  this_processor().charge(machine().costs.kvmPageFault);
  const r = kvm_tdp_page_fault(vcpu, hw.readNumber(F.GUEST_PHYSICAL_ADDRESS), (q & 2) !== 0, (q & 0x38) !== 0);
  return typeof r === 'number' ? after_fault(vcpu, r) : after_waiting(vcpu, r);
}

/** A remembered MMIO address. Where only the address matters the instruction is not even decoded. */
export function handle_ept_misconfig(vcpu: kvm_vcpu): number {
  const gpa = vcpu.vmx.hw.readNumber(F.GUEST_PHYSICAL_ADDRESS);
  const { fast_mmio_bus } = vcpu.kvm;
  if (!fast_mmio_bus.empty && fast_mmio_bus.write(vcpu, gpa, 0, nothing) === 0) {
    if (kvm_fast_mmio.enabled) kvm_fast_mmio.trace({ gpa: BigInt(gpa) });
    // The processor does not say how long the instruction is.
    return kvm_emulate_instruction(vcpu, EMULTYPE_SKIP);
  }
  const r = handle_mmio_page_fault(vcpu, gpa);
  if (r === RET_PF_ERROR) return internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, [BigInt(vcpu.vmx.exit_reason), BigInt(vcpu.arch.last_vmentry_cpu)]);
  return after_fault(vcpu, r);
}
const nothing = new Uint8Array(0);

export const handle_apic_access = (vcpu: kvm_vcpu): number => kvm_emulate_instruction(vcpu, 0);

// ---------------------------------------------------------------- ports and MSRs

export function handle_io(vcpu: kvm_vcpu): number {
  const q = vcpu.vmx.hw.read32(F.EXIT_QUALIFICATION);
  vcpu.stat.io_exits++;
  if ((q & 16) !== 0) return kvm_emulate_instruction(vcpu, 0);
  return kvm_fast_pio(vcpu, (q & 7) + 1, q >>> 16, (q & 8) !== 0);
}
export const handle_rdmsr = kvm_emulate_rdmsr;
export const handle_wrmsr = kvm_emulate_wrmsr;

// ---------------------------------------------------------------- control and debug registers

export function handle_cr(vcpu: kvm_vcpu): number {
  const q = Number(qualification(vcpu) & 0xffff_ffffn);
  const cr = q & 15;
  const reg = (q >>> 8) & 15;
  switch ((q >>> 4) & 3) {
    case 0: {
      const value = kvm_register_read(vcpu, reg);
      if (kvm_cr.enabled) kvm_cr.trace({ rw: 1, cr, val: value });
      switch (cr) {
        case 0: return kvm_complete_insn_gp(vcpu, kvm_set_cr0(vcpu, value));
        case 3: return kvm_complete_insn_gp(vcpu, kvm_set_cr3(vcpu, value));
        case 4: return kvm_complete_insn_gp(vcpu, kvm_set_cr4(vcpu, value));
        case 8: {
          const before = kvm_get_cr8(vcpu);
          const r = kvm_complete_insn_gp(vcpu, kvm_set_cr8(vcpu, value & 0xffn));
          // A lower priority may let an interrupt in that user space holds back.
          if (lapic_in_kernel(vcpu) || before <= (value & 0xffn)) return r;
          vcpu.run.exit_reason = KVM_EXIT_SET_TPR;
          return 0;
        }
      }
      break;
    }
    case 1:
      kvm_register_write(vcpu, reg, cr === 3 ? kvm_x86.get_cr3(vcpu) : kvm_get_cr8(vcpu));
      if (kvm_cr.enabled) kvm_cr.trace({ rw: 0, cr, val: kvm_register_read(vcpu, reg) });
      return kvm_skip_emulated_instruction(vcpu);
    case 2:
      // CLTS: TS is the guest's own, so this comes only while it is not.
      return kvm_complete_insn_gp(vcpu, kvm_set_cr0(vcpu, kvm_read_cr0(vcpu) & ~8n));
    case 3:
      // LMSW sets PE but cannot clear it.
      kvm_set_cr0(vcpu, (kvm_read_cr0(vcpu) & ~0xen) | BigInt((q >>> 16) & 15));
      return kvm_skip_emulated_instruction(vcpu);
  }
  return -EIO;
}

export function handle_dr(vcpu: kvm_vcpu): number {
  const { arch, vmx, run } = vcpu;
  const q = vmx.hw.read32(F.EXIT_QUALIFICATION);
  const dr = q & 7;
  if ((dr === 4 || dr === 5) && (arch.cr4 & 8n) !== 0n) {
    kvm_queue_exception(vcpu, UD_VECTOR);
    return 1;
  }
  if (kvm_x86.get_cpl(vcpu) > 0) {
    kvm_inject_gp(vcpu, 0);
    return 1;
  }
  if (((vcpu.guest_debug & GUESTDBG_USE_HW_BP) !== 0 ? arch.guest_debug_dr7 : arch.dr7) & 0x2000n) {
    // General detect: the access itself is the debug event.
    if ((vcpu.guest_debug & GUESTDBG_USE_HW_BP) !== 0) {
      run.debug.arch.dr6 = 0x2000n | DR6_ACTIVE_LOW;
      run.debug.arch.dr7 = arch.guest_debug_dr7;
      run.debug.arch.pc = kvm_get_linear_rip(vcpu);
      run.debug.arch.exception = DB_VECTOR;
      run.exit_reason = KVM_EXIT_DEBUG;
      return 0;
    }
    kvm_queue_exception_p(vcpu, DB_VECTOR, 0x2000n);
    return 1;
  }
  const reg = (q >>> 8) & 15;
  if ((q & 16) !== 0) {
    kvm_register_write(vcpu, reg, kvm_get_dr(vcpu, dr));
    return kvm_skip_emulated_instruction(vcpu);
  }
  return kvm_complete_insn_gp(vcpu, kvm_set_dr(vcpu, dr, kvm_register_read(vcpu, reg)));
}

export function handle_xsetbv(vcpu: kvm_vcpu): number {
  const { arch } = vcpu;
  const value = (BigInt(arch.regs32[4]!) << 32n) | BigInt(arch.regs32[0]!);
  const refused = kvm_x86.get_cpl(vcpu) !== 0 ? 1 : kvm_set_xcr(vcpu, arch.regs32[2]!, value);
  if (refused === 0) this_processor().cpu.state.xcr0 = arch.xcr0;
  return kvm_complete_insn_gp(vcpu, refused);
}

// ---------------------------------------------------------------- instructions

export function kvm_emulate_cpuid(vcpu: kvm_vcpu): number {
  const { regs, regs32 } = vcpu.arch;
  if ((vcpu.arch.msr_misc_features_enables & 1n) !== 0n && kvm_x86.get_cpl(vcpu) !== 0) {
    kvm_inject_gp(vcpu, 0);
    return 1;
  }
  const { eax, ebx, ecx, edx } = kvm_cpuid(vcpu, regs32[0]!, regs32[2]!);
  if (kvm_cpuid_trace.enabled) {
    const leaf = regs32[0]!;
    kvm_cpuid_trace.trace({ function: leaf, index: regs32[2]!, rax: BigInt(eax), rbx: BigInt(ebx), rcx: BigInt(ecx), rdx: BigInt(edx), found: kvm_find_cpuid_entry(vcpu, leaf, regs32[2]!) ? 1 : 0 });
  }
  regs[0] = BigInt(eax);
  regs[3] = BigInt(ebx);
  regs[1] = BigInt(ecx);
  regs[2] = BigInt(edx);
  return kvm_skip_emulated_instruction(vcpu);
}

export function kvm_emulate_halt(vcpu: kvm_vcpu): number {
  const stepped = kvm_skip_emulated_instruction(vcpu);
  const r = kvm_emulate_halt_noskip(vcpu);
  return r === 0 ? 0 : stepped;
}
/** RIP is past the HLT. Without a local APIC here it is user space that knows what wakes the guest. */
export function kvm_emulate_halt_noskip(vcpu: kvm_vcpu): number {
  vcpu.stat.halt_exits++;
  if (!lapic_in_kernel(vcpu)) {
    vcpu.run.exit_reason = KVM_EXIT_HLT;
    return 0;
  }
  vcpu.arch.mp_state = kvm_vcpu_has_events(vcpu) ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_HALTED;
  return 1;
}
export const kvm_emulate_as_nop = (vcpu: kvm_vcpu): number => kvm_skip_emulated_instruction(vcpu);
export const kvm_emulate_hypercall = hypercall;
export function kvm_emulate_rdpmc(vcpu: kvm_vcpu): number {
  kvm_inject_gp(vcpu, 0);                        // no counter exists
  return 1;
}
export function kvm_handle_invalid_op(vcpu: kvm_vcpu): number {
  kvm_queue_exception(vcpu, UD_VECTOR);
  return 1;
}
/** VMX instructions of a guest that has no VMX. */
export const handle_vmx_instruction = kvm_handle_invalid_op;

/** MWAIT and MONITOR do nothing; #UD where neither the quirk nor the guest's CPUID has them. */
export function handle_mwait(vcpu: kvm_vcpu): number {
  const QUIRK_MWAIT_NEVER_UD_FAULTS = 1n << 6n;
  if ((vcpu.kvm.arch.disabled_quirks & QUIRK_MWAIT_NEVER_UD_FAULTS) !== 0n && !guest_cpuid_has(vcpu, 1, 'ecx', 3)) return kvm_handle_invalid_op(vcpu);
  return kvm_skip_emulated_instruction(vcpu);
}
/** Only where the guest's tables are shadowed. */
export function handle_invlpg(vcpu: kvm_vcpu): number {
  kvm_mmu_invlpg(vcpu, qualification(vcpu));
  return kvm_skip_emulated_instruction(vcpu);
}
export const handle_desc = (vcpu: kvm_vcpu): number => kvm_emulate_instruction(vcpu, 0);

/** What a task gate was to deliver is delivered by the switch; instructions that switch are over, their length counted. */
export function handle_task_switch(vcpu: kvm_vcpu): number {
  const { vmx, arch } = vcpu;
  const info = vmx.idt_vectoring_info;
  const delivering = (info & VALID) !== 0;
  const type = info & TYPE;
  const q = vmx.hw.read32(F.EXIT_QUALIFICATION);
  const reason = q >>> 30;
  let error: number | undefined;
  if (reason === TASK_SWITCH_GATE && delivering) {
    switch (type) {
      case TYPE_NMI:
        arch.nmi_injected = false;
        kvm_x86.set_nmi_mask(vcpu, true);
        break;
      case TYPE_EXT_INTR: case TYPE_SOFT_INTR: kvm_clear_interrupt_queue(vcpu); break;
      case TYPE_HARD_EXCEPTION: case TYPE_SOFT_EXCEPTION:
        if (type === TYPE_HARD_EXCEPTION && (info & DELIVER_CODE) !== 0) error = vmx.hw.read32(F.IDT_VECTORING_ERROR_CODE);
        kvm_clear_exception_queue(vcpu);
        break;
    }
  }
  if (!delivering || (type !== TYPE_HARD_EXCEPTION && type !== TYPE_EXT_INTR && type !== TYPE_NMI)) kvm_x86.skip_emulated_instruction(vcpu);
  return kvm_task_switch(vcpu, q & 0xffff, delivering && type === TYPE_SOFT_INTR ? info & VECTOR : -1, reason, error);
}

/** An immediate exit was asked for; once. */
export function handle_preemption_timer(vcpu: kvm_vcpu): number {
  const { hw } = vcpu.vmx;
  hw.write32(F.PIN_BASED_VM_EXEC_CONTROL, hw.read32(F.PIN_BASED_VM_EXEC_CONTROL) & ~C.PIN_BASED_VMX_PREEMPTION_TIMER);
  return 1;
}
export const handle_nothing = (): number => 1;
export const handle_notify = (): number => 1;

/** An exit that was never asked for. */
export const handle_unexpected = (vcpu: kvm_vcpu): number =>
  internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, [BigInt(vcpu.vmx.exit_reason >>> 0), BigInt(vcpu.arch.last_vmentry_cpu)]);
