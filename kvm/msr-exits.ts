/**
 * RDMSR and WRMSR of a guest, and the exit by which user space answers for those KVM does not.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_emulate_rdmsr, kvm_msr_user_space), Documentation/virt/kvm/api.rst 8.29
 */
import { KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR, KVM_MSR_EXIT_REASON_FILTER, KVM_MSR_EXIT_REASON_INVAL, KVM_MSR_EXIT_REASON_UNKNOWN } from '../abi/kvm/index.ts';
import { X86EMUL_CONTINUE, X86EMUL_IO_NEEDED, X86EMUL_UNHANDLEABLE, type x86_emulate_ctxt } from './emulate.ts';
import { EMULTYPE_SKIP, kvm_emulate_instruction } from './x86-emulate.ts';
import { kvm_complete_insn_gp, kvm_inject_gp } from './events.ts';
import { kvm_skip_emulated_instruction } from './guest-debug.ts';
import { type kvm_vcpu, kvm_x86 } from './kvm_host.ts';
import { kvm_msr_allowed } from './msr-filter.ts';
import { is_hv_msr } from './hyperv.ts';
import { kvm_msr } from './trace.ts';
import { is_known_msr } from './msrs.ts';

const ecx = (vcpu: kvm_vcpu): number => vcpu.arch.regs32[2]!;
const reason = (msr: number, filtered: boolean): number =>
  filtered ? KVM_MSR_EXIT_REASON_FILTER : is_known_msr(msr) || is_hv_msr(msr) ? KVM_MSR_EXIT_REASON_INVAL : KVM_MSR_EXIT_REASON_UNKNOWN;

/** Leaves to user space if it asked for this kind of failure. */
function kvm_msr_user_space(vcpu: kvm_vcpu, exit: number, why: number, data: bigint, complete: (vcpu: kvm_vcpu) => number): boolean {
  if ((vcpu.kvm.arch.user_space_msr_mask & why) === 0) return false;
  const { run } = vcpu;
  run.exit_reason = exit;
  run.msr.error = 0;
  for (let i = 0; i < 7; i++) run.msr.pad.set(i, 0);
  run.msr.reason = why;
  run.msr.index = ecx(vcpu);
  run.msr.data = data;
  vcpu.arch.complete_userspace_io = complete;
  return true;
}

export function kvm_emulate_rdmsr(vcpu: kvm_vcpu): number {
  const msr = ecx(vcpu);
  const allowed = kvm_msr_allowed(vcpu.kvm, msr, false);
  const value = allowed && kvm_x86.get_cpl(vcpu) === 0 ? kvm_x86.get_msr(vcpu, msr, false) : undefined;
  if (value !== undefined) {
    if (kvm_msr.enabled) kvm_msr.trace({ write: 0, ecx: msr, data: value, exception: 0 });
    store(vcpu, value);
    return kvm_skip_emulated_instruction(vcpu);
  }
  if (kvm_msr_user_space(vcpu, KVM_EXIT_X86_RDMSR, reason(msr, !allowed), 0n, complete_rdmsr)) return 0;
  if (kvm_msr.enabled) kvm_msr.trace({ write: 0, ecx: msr, data: 0n, exception: 1 });
  kvm_inject_gp(vcpu, 0);
  return 1;
}
function store(vcpu: kvm_vcpu, value: bigint): void {
  vcpu.arch.regs[0] = value & 0xffff_ffffn;
  vcpu.arch.regs[2] = value >> 32n;
}
function complete_rdmsr(vcpu: kvm_vcpu): number {
  if (vcpu.run.msr.error === 0) store(vcpu, vcpu.run.msr.data);
  return kvm_complete_insn_gp(vcpu, vcpu.run.msr.error);
}

export function kvm_emulate_wrmsr(vcpu: kvm_vcpu): number {
  const msr = ecx(vcpu);
  const data = (BigInt(vcpu.arch.regs32[4]!) << 32n) | BigInt(vcpu.arch.regs32[0]!);
  const allowed = kvm_msr_allowed(vcpu.kvm, msr, true);
  if (allowed && kvm_x86.set_msr(vcpu, msr, data, false) === 0) {
    if (kvm_msr.enabled) kvm_msr.trace({ write: 1, ecx: msr, data, exception: 0 });
    return kvm_skip_emulated_instruction(vcpu);
  }
  if (kvm_msr_user_space(vcpu, KVM_EXIT_X86_WRMSR, reason(msr, !allowed), data, complete_wrmsr)) return 0;
  if (kvm_msr.enabled) kvm_msr.trace({ write: 1, ecx: msr, data, exception: 1 });
  kvm_inject_gp(vcpu, 0);
  return 1;
}
const complete_wrmsr = (vcpu: kvm_vcpu): number => kvm_complete_insn_gp(vcpu, vcpu.run.msr.error);

// ---------------------------------------------------------------- the same for the emulator

/** X86EMUL_CONTINUE with the value in ctxt.msr, X86EMUL_IO_NEEDED while user space answers, X86EMUL_UNHANDLEABLE for #GP. */
export function emulator_get_msr(vcpu: kvm_vcpu, ctxt: x86_emulate_ctxt, msr: number): number {
  const allowed = kvm_msr_allowed(vcpu.kvm, msr, false);
  const value = allowed ? kvm_x86.get_msr(vcpu, msr, false) : undefined;
  if (value === undefined) return kvm_msr_user_space(vcpu, KVM_EXIT_X86_RDMSR, reason(msr, !allowed), 0n, complete_emulated_rdmsr) ? X86EMUL_IO_NEEDED : X86EMUL_UNHANDLEABLE;
  ctxt.msr = value;
  return X86EMUL_CONTINUE;
}
export function emulator_set_msr(vcpu: kvm_vcpu, msr: number, data: bigint): number {
  const allowed = kvm_msr_allowed(vcpu.kvm, msr, true);
  if (allowed && kvm_x86.set_msr(vcpu, msr, data, false) === 0) return X86EMUL_CONTINUE;
  return kvm_msr_user_space(vcpu, KVM_EXIT_X86_WRMSR, reason(msr, !allowed), data, complete_emulated_msr) ? X86EMUL_IO_NEEDED : X86EMUL_UNHANDLEABLE;
}
/** The instruction is over but for its length, which only decoding it tells. */
function complete_emulated_msr(vcpu: kvm_vcpu): number {
  if (vcpu.run.msr.error === 0) return kvm_emulate_instruction(vcpu, EMULTYPE_SKIP);
  kvm_inject_gp(vcpu, 0);
  return 1;
}
function complete_emulated_rdmsr(vcpu: kvm_vcpu): number {
  if (vcpu.run.msr.error === 0) store(vcpu, vcpu.run.msr.data);
  return complete_emulated_msr(vcpu);
}
