/**
 * Debugging a guest from user space: single step, breakpoints in software and in the debug registers.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_arch_vcpu_ioctl_set_guest_debug, kvm_vcpu_do_singlestep), Documentation/virt/kvm/api.rst 4.87
 *
 * Stepping uses the guest's own trap flag, so reading RFLAGS hides it and writing them sets it again.
 */
import { EBUSY } from '../abi/errno.ts';
import { KVM_EXIT_DEBUG, type kvm_guest_debug } from '../abi/kvm/index.ts';
import { BP_VECTOR, DB_VECTOR, TF } from './emulate.ts';
import { GUESTDBG_ENABLE, GUESTDBG_INJECT_BP, GUESTDBG_INJECT_DB, GUESTDBG_SINGLESTEP, GUESTDBG_USE_HW_BP, kvm_exception_pending, kvm_queue_exception, kvm_queue_exception_p, kvm_update_dr7 } from './events.ts';
import { KVM_REQ_EVENT, type kvm_vcpu, kvm_get_linear_rip, kvm_make_request, kvm_x86 } from './kvm_host.ts';

const DR6_BS = 0x4000n;
export const DR6_ACTIVE_LOW = 0xffff_0ff0n;

/** The debugger steps and has not stepped yet: the instruction it asked for is still the next one. */
const steps_here = (vcpu: kvm_vcpu): boolean => (vcpu.guest_debug & GUESTDBG_SINGLESTEP) !== 0 && kvm_get_linear_rip(vcpu) === vcpu.arch.singlestep_rip;

/** RFLAGS without the trap flag that is the debugger's. */
export const kvm_get_rflags64 = (vcpu: kvm_vcpu): bigint =>
  (vcpu.guest_debug & GUESTDBG_SINGLESTEP) !== 0 ? kvm_x86.get_rflags64(vcpu) & ~BigInt(TF) : kvm_x86.get_rflags64(vcpu);
/** The same as 32 bits, for the emulator. */
export const kvm_get_rflags = (vcpu: kvm_vcpu): number =>
  (vcpu.guest_debug & GUESTDBG_SINGLESTEP) !== 0 ? kvm_x86.get_rflags(vcpu) & ~TF : kvm_x86.get_rflags(vcpu);
export function kvm_set_rflags(vcpu: kvm_vcpu, value: number): void {
  kvm_x86.set_rflags(vcpu, steps_here(vcpu) ? value | TF : value);
}
export function kvm_set_rflags64(vcpu: kvm_vcpu, value: bigint): void {
  kvm_x86.set_rflags64(vcpu, steps_here(vcpu) ? value | BigInt(TF) : value);
  kvm_make_request(KVM_REQ_EVENT, vcpu);
}

/** An instruction KVM executed is over while the trap flag was set. */
export function kvm_vcpu_do_singlestep(vcpu: kvm_vcpu): number {
  if ((vcpu.guest_debug & GUESTDBG_SINGLESTEP) === 0) {
    kvm_queue_exception_p(vcpu, DB_VECTOR, DR6_BS);
    return 1;
  }
  const { run } = vcpu;
  const { arch } = run.debug;
  arch.dr6 = DR6_BS | DR6_ACTIVE_LOW;
  arch.pc = kvm_get_linear_rip(vcpu);
  arch.exception = DB_VECTOR;
  run.exit_reason = KVM_EXIT_DEBUG;
  return 0;
}

/** Past the instruction that exited. 0 when a debugger steps. */
export function kvm_skip_emulated_instruction(vcpu: kvm_vcpu): number {
  const flags = kvm_x86.get_rflags(vcpu);
  const r = kvm_x86.skip_emulated_instruction(vcpu);
  return (flags & TF) !== 0 ? kvm_vcpu_do_singlestep(vcpu) : r;
}

export function kvm_arch_vcpu_ioctl_set_guest_debug(vcpu: kvm_vcpu, dbg: kvm_guest_debug): number {
  const { arch } = vcpu;
  if ((dbg.control & (GUESTDBG_INJECT_DB | GUESTDBG_INJECT_BP)) !== 0) {
    if (kvm_exception_pending(vcpu)) return -EBUSY;
    kvm_queue_exception(vcpu, (dbg.control & GUESTDBG_INJECT_DB) !== 0 ? DB_VECTOR : BP_VECTOR);
  }
  const flags = kvm_get_rflags64(vcpu);
  vcpu.guest_debug = (dbg.control & GUESTDBG_ENABLE) !== 0 ? dbg.control : 0;
  const hardware = (vcpu.guest_debug & GUESTDBG_USE_HW_BP) !== 0;
  for (let i = 0; i < 4; i++) arch.eff_db[i] = hardware ? dbg.arch.debugreg.get(i) : arch.db[i]!;
  if (hardware) arch.guest_debug_dr7 = dbg.arch.debugreg.get(7);
  kvm_update_dr7(vcpu);
  if ((vcpu.guest_debug & GUESTDBG_SINGLESTEP) !== 0) arch.singlestep_rip = kvm_get_linear_rip(vcpu);
  kvm_set_rflags64(vcpu, flags);
  kvm_x86.update_exception_bitmap(vcpu);
  return 0;
}

// ---------------------------------------------------------------- the guest's debug registers

const DR6_VOLATILE = 0x1e00fn, DR7_VOLATILE = 0xffff_2bffn, DR7_FIXED_1 = 0x400n;

/** DR4 and DR5 are DR6 and DR7. */
export const kvm_get_dr = (vcpu: kvm_vcpu, dr: number): bigint => (dr < 4 ? vcpu.arch.db[dr]! : dr === 4 || dr === 6 ? vcpu.arch.dr6 : vcpu.arch.dr7);

/** MOV to a debug register. 1: #GP(0). */
export function kvm_set_dr(vcpu: kvm_vcpu, dr: number, value: bigint): number {
  const { arch } = vcpu;
  if (dr < 4) {
    arch.db[dr] = value;
    if ((vcpu.guest_debug & GUESTDBG_USE_HW_BP) === 0) arch.eff_db[dr] = value;
    return 0;
  }
  if (value >> 32n !== 0n) return 1;
  if (dr === 4 || dr === 6) arch.dr6 = (value & DR6_VOLATILE) | DR6_ACTIVE_LOW;
  else {
    arch.dr7 = (value & DR7_VOLATILE) | DR7_FIXED_1;
    kvm_update_dr7(vcpu);
  }
  return 0;
}
