/**
 * VMCALL: services KVM offers a guest that knows it runs on KVM.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_emulate_hypercall), Documentation/virt/kvm/x86/hypercalls.rst
 */
import { type MaySleep, cond_resched } from '../kernel/exports.ts';
import { kvm_hypercall } from './trace.ts';
import { kvm_skip_emulated_instruction } from './guest-debug.ts';
import { type kvm_vcpu, is_64_bit_mode, kvm_x86 } from './kvm_host.ts';

const KVM_HC_VAPIC_POLL_IRQ = 1;
const KVM_HC_KICK_CPU = 5;
const KVM_HC_SCHED_YIELD = 11;
const KVM_ENOSYS = 1000n, KVM_EPERM = 1n;

export function kvm_emulate_hypercall(vcpu: kvm_vcpu): number | MaySleep<number> {
  const { regs, regs32 } = vcpu.arch;
  vcpu.stat.hypercalls++;
  const long = is_64_bit_mode(vcpu);
  const nr = long ? regs[0]! : BigInt(regs32[0]!);
  if (kvm_hypercall.enabled) kvm_hypercall.trace({ nr, a0: regs[3]!, a1: regs[1]!, a2: regs[2]!, a3: regs[6]! });
  let ret = -KVM_ENOSYS;
  if (kvm_x86.get_cpl(vcpu) !== 0) ret = -KVM_EPERM;
  else if (nr === BigInt(KVM_HC_VAPIC_POLL_IRQ) || nr === BigInt(KVM_HC_KICK_CPU)) ret = 0n;
  else if (nr === BigInt(KVM_HC_SCHED_YIELD)) {
    regs[0] = 0n;
    return yield_to_others(vcpu);
  }
  regs[0] = BigInt.asUintN(long ? 64 : 32, ret);
  return kvm_skip_emulated_instruction(vcpu);
}

function* yield_to_others(vcpu: kvm_vcpu): MaySleep<number> {
  vcpu.stat.directed_yield_attempted++;
  yield* cond_resched();
  return kvm_skip_emulated_instruction(vcpu);
}
