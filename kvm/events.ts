/**
 * Exceptions, interrupts and NMIs of a vCPU: queued by whoever finds them, injected in the architecture's order.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_queue_exception, inject_pending_event); SDM Vol. 3, 6.9 and table 6-5
 *
 * "Pending" is an event not begun; "injected" one the processor was told of. What was injected comes first, for its
 * delivery has begun; a second exception meanwhile makes a double fault or, at last, a shutdown.
 */
import { kvm_inj_exception, trace_kvm_inj_exception } from './trace.ts';
import { EINVAL } from '../abi/errno.ts';
import {
  KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_PAYLOAD, KVM_VCPUEVENT_VALID_SHADOW, KVM_VCPUEVENT_VALID_SIPI_VECTOR, KVM_VCPUEVENT_VALID_SMM, KVM_VCPUEVENT_VALID_TRIPLE_FAULT,
  type kvm_vcpu_events,
} from '../abi/kvm/index.ts';
import { BP_VECTOR, DB_VECTOR, DE_VECTOR, DF_VECTOR, GP_VECTOR, NMI_VECTOR, NP_VECTOR, OF_VECTOR, PF_VECTOR, SS_VECTOR, TS_VECTOR, type x86_exception } from './emulate.ts';
import { kvm_skip_emulated_instruction } from './guest-debug.ts';
import { kvm_lapic_latched_init } from './lapic.ts';
import { enter_smm, kvm_smm_changed, process_smi } from './smm.ts';
import { kvm_cpu_get_interrupt, kvm_cpu_has_injectable_intr } from './irq.ts';
import { KVM_REQ_EVENT, KVM_REQ_SMI, KVM_REQ_TRIPLE_FAULT, type kvm_queued_exception, type kvm_vcpu, kvm_check_request, kvm_make_request, kvm_test_request, kvm_x86, lapic_in_kernel } from './kvm_host.ts';

// ---------------------------------------------------------------- queueing

const BENIGN = 0, CONTRIBUTORY = 1, PAGE = 2;
const classOf = (vector: number): number =>
  vector === PF_VECTOR ? PAGE : [DE_VECTOR, TS_VECTOR, NP_VECTOR, SS_VECTOR, GP_VECTOR].includes(vector) ? CONTRIBUTORY : BENIGN;

export function kvm_clear_exception_queue(vcpu: kvm_vcpu): void {
  vcpu.arch.exception.pending = false;
  vcpu.arch.exception.injected = false;
}
export const kvm_exception_pending = (vcpu: kvm_vcpu): boolean => vcpu.arch.exception.pending || kvm_test_request(KVM_REQ_TRIPLE_FAULT, vcpu);

function multiple_exception(vcpu: kvm_vcpu, vector: number, has_error: boolean, error: number, has_payload: boolean, payload: bigint, reinject: boolean): void {
  const { exception: ex } = vcpu.arch;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  if (!ex.pending && !ex.injected) {
    ex.injected = reinject;
    ex.pending = !reinject;
    ex.has_payload = !reinject && has_payload;
    ex.payload = payload;
    ex.has_error_code = has_error;
    ex.vector = vector;
    ex.error_code = error;
    return;
  }
  const before = ex.vector;
  if (before === DF_VECTOR) {
    kvm_make_request(KVM_REQ_TRIPLE_FAULT, vcpu);
    return;
  }
  const first = classOf(before);
  const second = classOf(vector);
  if ((first === CONTRIBUTORY && second === CONTRIBUTORY) || (first === PAGE && second !== BENIGN)) {
    ex.injected = false;
    ex.pending = true;
    ex.has_error_code = true;
    ex.vector = DF_VECTOR;
    ex.error_code = 0;
    ex.has_payload = false;
    return;
  }
  // The new one replaces the old, which will come again when the instruction is restarted.
  ex.injected = reinject;
  ex.pending = !reinject;
  ex.has_payload = !reinject && has_payload;
  ex.payload = payload;
  ex.has_error_code = has_error;
  ex.vector = vector;
  ex.error_code = error;
}

export const kvm_queue_exception = (vcpu: kvm_vcpu, vector: number): void => multiple_exception(vcpu, vector, false, 0, false, 0n, false);
export const kvm_queue_exception_e = (vcpu: kvm_vcpu, vector: number, error: number): void => multiple_exception(vcpu, vector, true, error, false, 0n, false);
/** With what goes to DR6 or CR2 when it is delivered. */
export const kvm_queue_exception_p = (vcpu: kvm_vcpu, vector: number, payload: bigint): void => multiple_exception(vcpu, vector, false, 0, true, payload, false);
export const kvm_requeue_exception = (vcpu: kvm_vcpu, vector: number, has_error: boolean, error: number): void => multiple_exception(vcpu, vector, has_error, error, false, 0n, true);
export const kvm_inject_gp = (vcpu: kvm_vcpu, error: number): void => kvm_queue_exception_e(vcpu, GP_VECTOR, error);

export function kvm_inject_page_fault(vcpu: kvm_vcpu, fault: x86_exception): void {
  vcpu.stat.pf_guest++;
  multiple_exception(vcpu, PF_VECTOR, true, fault.error_code, true, fault.address, false);
}

/** An instruction that faults with err != 0, or is done. */
export function kvm_complete_insn_gp(vcpu: kvm_vcpu, err: number): number {
  if (err === 0) return kvm_skip_emulated_instruction(vcpu);
  kvm_inject_gp(vcpu, 0);
  return 1;
}

export function kvm_queue_interrupt(vcpu: kvm_vcpu, vector: number, soft: boolean): void {
  const { interrupt } = vcpu.arch;
  interrupt.injected = true;
  interrupt.soft = soft;
  interrupt.nr = vector;
}
export function kvm_clear_interrupt_queue(vcpu: kvm_vcpu): void { vcpu.arch.interrupt.injected = false; }

export function kvm_inject_nmi(vcpu: kvm_vcpu): void {
  vcpu.arch.nmi_queued++;
  kvm_make_request(KVM_REQ_EVENT, vcpu);
}
/** At most two NMIs wait: one taken next, one behind it; while NMIs are masked only one. */
export function process_nmi(vcpu: kvm_vcpu): void {
  const { arch } = vcpu;
  const limit = kvm_x86.get_nmi_mask(vcpu) || arch.nmi_injected ? 1 : 2;
  arch.nmi_pending = Math.min(arch.nmi_pending + arch.nmi_queued, limit);
  arch.nmi_queued = 0;
}

// ---------------------------------------------------------------- injecting

/** Puts an exception's payload where the guest looks for it. SDM: #DB merges into DR6, #PF sets CR2. */
export function kvm_deliver_exception_payload(vcpu: kvm_vcpu, ex: kvm_queued_exception): void {
  if (!ex.has_payload) return;
  if (ex.vector === DB_VECTOR) {
    vcpu.arch.dr6 &= ~0xfn;                                  // trap bits
    vcpu.arch.dr6 |= 0xffff0ff0n;                            // active low
    vcpu.arch.dr6 |= ex.payload;
    vcpu.arch.dr6 ^= ex.payload & 0xffff0ff0n & 0x10800n;    // BLD, RTM: reported inverted
    vcpu.arch.dr6 &= ~(1n << 12n);
  } else if (ex.vector === PF_VECTOR) vcpu.arch.cr2 = ex.payload;
  ex.has_payload = false;
  ex.payload = 0n;
}

/** Faults restart the instruction and set RF; #DB by a data breakpoint or single step, #BP and #OF are traps. */
const is_fault = (ex: kvm_queued_exception): boolean => ex.vector !== BP_VECTOR && ex.vector !== OF_VECTOR && ex.vector !== DB_VECTOR && ex.vector !== NMI_VECTOR;

function inject_exception(vcpu: kvm_vcpu, reinjected: boolean): void {
  if (kvm_inj_exception.enabled) trace_kvm_inj_exception(vcpu, reinjected);
  kvm_x86.inject_exception(vcpu);
}

/**
 * Hands the processor the next event, and asks for a window where one must wait.
 * false: nothing was decided because an immediate exit is needed first.
 */
export function kvm_check_and_inject_events(vcpu: kvm_vcpu): boolean {
  const { arch } = vcpu;
  const { exception: ex, interrupt } = arch;
  let injected = true;
  if (ex.injected) inject_exception(vcpu, true);
  else if (arch.nmi_injected) kvm_x86.inject_nmi(vcpu);
  else if (interrupt.injected) kvm_x86.inject_irq(vcpu);
  else injected = false;

  if (ex.pending) {
    if (is_fault(ex)) kvm_x86.set_rflags(vcpu, kvm_x86.get_rflags(vcpu) | 0x10000);
    if (ex.vector === DB_VECTOR) {
      kvm_deliver_exception_payload(vcpu, ex);
      if ((arch.dr7 & 0x2000n) !== 0n) {
        arch.dr7 &= ~0x2000n;                                // general detect ends with its #DB
        kvm_update_dr7(vcpu);
      }
    } else kvm_deliver_exception_payload(vcpu, ex);
    inject_exception(vcpu, false);
    ex.pending = false;
    ex.injected = true;
    injected = true;
  }
  // With single step by user space the guest must not be led away into a handler.
  if ((vcpu.guest_debug & GUESTDBG_BLOCKIRQ) !== 0) return true;

  if (arch.smi_pending && !arch.smm) {
    if (injected) {
      // What is under way is delivered first; then the SMI.
      kvm_make_request(KVM_REQ_EVENT, vcpu);
      kvm_x86.request_immediate_exit(vcpu);
      return true;
    }
    arch.smi_pending = false;
    arch.smi_count++;
    enter_smm(vcpu);
    injected = true;
  }
  if (arch.nmi_pending !== 0) {
    if (!injected && kvm_x86.nmi_allowed(vcpu)) {
      arch.nmi_pending--;
      arch.nmi_injected = true;
      kvm_x86.inject_nmi(vcpu);
      injected = true;
    }
    if (arch.nmi_pending !== 0) kvm_x86.enable_nmi_window(vcpu);
  }
  if (kvm_cpu_has_injectable_intr(vcpu)) {
    if (!injected && kvm_x86.interrupt_allowed(vcpu)) {
      const irq = kvm_cpu_get_interrupt(vcpu);
      if (irq >= 0) {
        kvm_queue_interrupt(vcpu, irq, false);
        kvm_x86.inject_irq(vcpu);
      }
    }
    if (kvm_cpu_has_injectable_intr(vcpu)) kvm_x86.enable_irq_window(vcpu);
  }
  return true;
}

export const GUESTDBG_ENABLE = 1, GUESTDBG_SINGLESTEP = 2, GUESTDBG_USE_SW_BP = 0x10000, GUESTDBG_USE_HW_BP = 0x20000, GUESTDBG_INJECT_DB = 0x40000, GUESTDBG_INJECT_BP = 0x80000, GUESTDBG_BLOCKIRQ = 0x100000;

/** DR7 as the processor gets it: the debugger's while it uses the breakpoints. */
export function kvm_update_dr7(vcpu: kvm_vcpu): void {
  const dr7 = (vcpu.guest_debug & GUESTDBG_USE_HW_BP) !== 0 ? vcpu.arch.guest_debug_dr7 : vcpu.arch.dr7;
  kvm_x86.set_dr7(vcpu, dr7);
  vcpu.arch.switch_db_regs = (dr7 & 0xffn) !== 0n;
}

// ---------------------------------------------------------------- KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS

/** KVM_GET_VCPU_EVENTS. Without KVM_CAP_EXCEPTION_PAYLOAD user space knows no pending state: it is told "injected". */
export function kvm_vcpu_ioctl_x86_get_vcpu_events(vcpu: kvm_vcpu, e: kvm_vcpu_events): number {
  const { arch, kvm } = vcpu;
  const { exception: ex } = arch;
  process_nmi(vcpu);
  if (kvm_check_request(KVM_REQ_SMI, vcpu)) process_smi(vcpu);
  if (!kvm.arch.exception_payload_enabled && ex.pending && ex.has_payload) kvm_deliver_exception_payload(vcpu, ex);
  // Software exceptions come again by themselves when the instruction is executed again.
  if (ex.vector !== BP_VECTOR && ex.vector !== OF_VECTOR) {
    e.exception.injected = ex.injected ? 1 : 0;
    e.exception.pending = ex.pending ? 1 : 0;
    if (!kvm.arch.exception_payload_enabled) e.exception.injected |= ex.pending ? 1 : 0;
  }
  e.exception.nr = ex.vector;
  e.exception.has_error_code = ex.has_error_code ? 1 : 0;
  e.exception.error_code = ex.error_code;
  e.exception_has_payload = ex.has_payload ? 1 : 0;
  e.exception_payload = ex.payload;
  e.interrupt.injected = arch.interrupt.injected && !arch.interrupt.soft ? 1 : 0;
  e.interrupt.nr = arch.interrupt.nr;
  e.interrupt.shadow = kvm_x86.get_interrupt_shadow(vcpu);
  e.nmi.injected = arch.nmi_injected ? 1 : 0;
  e.nmi.pending = arch.nmi_pending;
  e.nmi.masked = kvm_x86.get_nmi_mask(vcpu) ? 1 : 0;
  e.smi.smm = arch.smm ? 1 : 0;
  e.smi.pending = arch.smi_pending ? 1 : 0;
  e.smi.smm_inside_nmi = arch.smm_inside_nmi ? 1 : 0;
  e.smi.latched_init = kvm_lapic_latched_init(vcpu) ? 1 : 0;
  e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
  if (kvm.arch.exception_payload_enabled) e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
  if (kvm.arch.triple_fault_event) {
    e.triple_fault.pending = kvm_test_request(KVM_REQ_TRIPLE_FAULT, vcpu) ? 1 : 0;
    e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
  }
  return 0;
}

export function kvm_vcpu_ioctl_x86_set_vcpu_events(vcpu: kvm_vcpu, e: kvm_vcpu_events): number {
  const { arch, kvm } = vcpu;
  const valid = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM | KVM_VCPUEVENT_VALID_PAYLOAD | KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
  if ((e.flags & ~valid) !== 0) return -EINVAL;
  let { injected, pending } = e.exception;
  let hasPayload = e.exception_has_payload;
  if ((e.flags & KVM_VCPUEVENT_VALID_PAYLOAD) !== 0) {
    if (!kvm.arch.exception_payload_enabled) return -EINVAL;
    if (pending) injected = 0;
    else hasPayload = 0;
  } else pending = hasPayload = 0;
  if ((injected || pending) && (e.exception.nr > 31 || e.exception.nr === NMI_VECTOR)) return -EINVAL;
  // INITs are latched while in SMM; an SMM vCPU must run.
  if ((e.flags & KVM_VCPUEVENT_VALID_SMM) !== 0 && (e.smi.smm || e.smi.pending) && arch.mp_state === 2) return -EINVAL;
  if ((e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) !== 0 && !kvm.arch.triple_fault_event) return -EINVAL;

  process_nmi(vcpu);
  const { exception: ex } = arch;
  ex.injected = injected !== 0;
  ex.pending = pending !== 0;
  ex.vector = e.exception.nr;
  ex.has_error_code = e.exception.has_error_code !== 0;
  ex.error_code = e.exception.error_code;
  ex.has_payload = hasPayload !== 0;
  ex.payload = e.exception_payload;
  arch.interrupt.injected = e.interrupt.injected !== 0;
  arch.interrupt.nr = e.interrupt.nr;
  arch.interrupt.soft = e.interrupt.soft !== 0;
  if ((e.flags & KVM_VCPUEVENT_VALID_SHADOW) !== 0) kvm_x86.set_interrupt_shadow(vcpu, e.interrupt.shadow);
  arch.nmi_injected = e.nmi.injected !== 0;
  if ((e.flags & KVM_VCPUEVENT_VALID_NMI_PENDING) !== 0) {
    arch.nmi_pending = 0;
    arch.nmi_queued = e.nmi.pending;
    process_nmi(vcpu);
  }
  kvm_x86.set_nmi_mask(vcpu, e.nmi.masked !== 0);
  if ((e.flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR) !== 0 && lapic_in_kernel(vcpu)) arch.sipi_vector = e.sipi_vector;
  if ((e.flags & KVM_VCPUEVENT_VALID_SMM) !== 0) {
    if (arch.smm !== (e.smi.smm !== 0)) kvm_smm_changed(vcpu, e.smi.smm !== 0);
    arch.smi_pending = e.smi.pending !== 0;
    if (arch.smm) arch.smm_inside_nmi = e.smi.smm_inside_nmi !== 0;
    if (arch.apic !== undefined) arch.apic.init_pending = e.smi.latched_init !== 0;
  }
  if ((e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) !== 0) {
    if (e.triple_fault.pending) kvm_make_request(KVM_REQ_TRIPLE_FAULT, vcpu);
    else kvm_check_request(KVM_REQ_TRIPLE_FAULT, vcpu);
  }
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  return 0;
}
