/**
 * VMCALL: services KVM offers a guest that knows it runs on KVM.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_emulate_hypercall), Documentation/virt/kvm/x86/hypercalls.rst
 */
import {
  KVM_EINVAL, KVM_ENOSYS, KVM_EPERM, KVM_EXIT_HYPERCALL, KVM_EXIT_HYPERCALL_LONG_MODE, KVM_FEATURE_PV_SCHED_YIELD, KVM_FEATURE_PV_SEND_IPI, KVM_FEATURE_PV_UNHALT, KVM_HC_CLOCK_PAIRING,
  KVM_HC_KICK_CPU, KVM_HC_MAP_GPA_RANGE, KVM_HC_SCHED_YIELD, KVM_HC_SEND_IPI, KVM_HC_VAPIC_POLL_IRQ,
} from '../abi/kvm/index.ts';
import { type MaySleep, single_task_running, yield_to } from '../kernel/exports.ts';
import { kvm_vcpu_kick } from './block.ts';
import { kvm_skip_emulated_instruction } from './guest-debug.ts';
import { KVM_REQ_EVENT, type kvm, type kvm_vcpu, is_64_bit_mode, kvm_make_request, kvm_x86 } from './kvm_host.ts';
import { guest_pv_has } from './pv-cpuid.ts';
import { kvm_pv_clock_pairing } from './pvclock.ts';
import { kvm_hypercall } from './trace.ts';

/** KVM_CAP_EXIT_HYPERCALL: calls that user space may ask to see. */
export const KVM_EXIT_HYPERCALL_VALID_MASK = 1 << KVM_HC_MAP_GPA_RANGE;
const PAGE = 4096n;
/** Of an APIC's command register: what the hypercall's fourth argument may hold. */
const VECTOR = 0xff, MODE = 0x700, LOGICAL = 0x800, LEVEL = 0x8000, SHORTHAND = 0xc0000;

const by_apic_id = (vm: kvm, id: bigint): kvm_vcpu | undefined => vm.vcpus.find((v) => v.arch.apic !== undefined && BigInt(v.vcpu_id) === id);

export function kvm_emulate_hypercall(vcpu: kvm_vcpu): number | MaySleep<number> {
  const { regs } = vcpu.arch;
  if (kvm_hypercall.enabled) kvm_hypercall.trace({ nr: regs[0]!, a0: regs[3]!, a1: regs[1]!, a2: regs[2]!, a3: regs[6]! });
  const long = is_64_bit_mode(vcpu);
  const width = long ? 64 : 32;
  const [nr, a0, a1, a2, a3] = [0, 3, 1, 2, 6].map((r) => BigInt.asUintN(width, regs[r]!)) as [bigint, bigint, bigint, bigint, bigint];
  const done = (ret: number): number => {
    regs[0] = BigInt.asUintN(width, BigInt(ret));
    vcpu.stat.hypercalls++;
    return kvm_skip_emulated_instruction(vcpu);
  };
  if (kvm_x86.get_cpl(vcpu) !== 0) return done(-KVM_EPERM);
  switch (nr) {
    case BigInt(KVM_HC_VAPIC_POLL_IRQ): return done(0);
    case BigInt(KVM_HC_KICK_CPU):
      if (!guest_pv_has(vcpu, KVM_FEATURE_PV_UNHALT)) return done(-KVM_ENOSYS);
      kvm_pv_kick_cpu_op(vcpu.kvm, a1);
      kvm_sched_yield(vcpu, a1);
      return done(0);
    case BigInt(KVM_HC_CLOCK_PAIRING): return done(kvm_pv_clock_pairing(vcpu, a0, a1));
    case BigInt(KVM_HC_SEND_IPI): return done(guest_pv_has(vcpu, KVM_FEATURE_PV_SEND_IPI) ? kvm_pv_send_ipi(vcpu.kvm, a0, a1, a2, Number(a3 & 0xffff_ffffn), long) : -KVM_ENOSYS);
    case BigInt(KVM_HC_SCHED_YIELD):
      if (!guest_pv_has(vcpu, KVM_FEATURE_PV_SCHED_YIELD)) return done(-KVM_ENOSYS);
      kvm_sched_yield(vcpu, a0);
      return done(0);
    case BigInt(KVM_HC_MAP_GPA_RANGE): return map_gpa_range(vcpu, a0, a1, a2, long) ?? done(vcpu.kvm.arch.hypercall_exit_enabled === 0n ? -KVM_ENOSYS : -KVM_EINVAL);
    default: return done(-KVM_ENOSYS);
  }
}

/** Ends the HLT of a vCPU that waits for a lock. */
function kvm_pv_kick_cpu_op(vm: kvm, apicid: bigint): void {
  const target = by_apic_id(vm, apicid);
  if (target === undefined) return;
  target.arch.pv.unhalted = true;
  kvm_make_request(KVM_REQ_EVENT, target);
  kvm_vcpu_kick(target);
}

/** Lets a vCPU that could run go first: it holds what this one waits for. */
function kvm_sched_yield(vcpu: kvm_vcpu, apicid: bigint): void {
  vcpu.stat.directed_yield_attempted++;
  if (single_task_running()) return;
  const target = by_apic_id(vcpu.kvm, apicid);
  if (target === undefined || target === vcpu || !target.ready || target.owner === undefined) return;
  if (yield_to(target.owner)) vcpu.stat.directed_yield_successful++;
}

/** One interrupt to the processors named in a bitmap of 128 (64) bits that begins at APIC id `min`. How many took it, or -errno. */
function kvm_pv_send_ipi(vm: kvm, low: bigint, high: bigint, min: bigint, icr: number, long: boolean): number {
  if ((icr & (LOGICAL | SHORTHAND)) !== 0) return -KVM_EINVAL;
  const message = { vector: icr & VECTOR, deliveryMode: (icr & MODE) >> 8, logical: false, destination: 0, level: (icr & LEVEL) !== 0, assert: true };
  const cluster = long ? 64n : 32n;
  const set = low | (high << cluster);
  const first = BigInt.asUintN(32, min);
  let count = 0;
  for (const { vcpu_id, arch: { apic } } of vm.vcpus) {
    const bit = BigInt(vcpu_id) - first;
    if (apic !== undefined && bit >= 0n && bit < 2n * cluster && ((set >> bit) & 1n) !== 0n) count += apic.accept(message);
  }
  return count;
}

/** The guest shares or hides memory; only user space can do that. undefined: it is not asked, or the range is none. */
function map_gpa_range(vcpu: kvm_vcpu, gpa: bigint, npages: bigint, attributes: bigint, long: boolean): number | undefined {
  const asked = (vcpu.kvm.arch.hypercall_exit_enabled & (1n << BigInt(KVM_HC_MAP_GPA_RANGE))) !== 0n;
  const gfn = gpa / PAGE;
  if (!asked || gpa % PAGE !== 0n || npages === 0n || BigInt.asUintN(64, gfn + npages) <= gfn) return undefined;
  const { run } = vcpu;
  run.exit_reason = KVM_EXIT_HYPERCALL;
  run.hypercall.nr = BigInt(KVM_HC_MAP_GPA_RANGE);
  // What KVM does not set, user space must not take for an answer.
  run.hypercall.ret = 0n;
  [gpa, npages, attributes].forEach((value, i) => { run.hypercall.args.set(i, value); });
  run.hypercall.flags = long ? BigInt(KVM_EXIT_HYPERCALL_LONG_MODE) : 0n;
  vcpu.arch.complete_userspace_io = complete_hypercall_exit;
  return 0;
}
function complete_hypercall_exit(vcpu: kvm_vcpu): number {
  vcpu.arch.regs[0] = BigInt.asUintN(is_64_bit_mode(vcpu) ? 64 : 32, vcpu.run.hypercall.ret);
  vcpu.stat.hypercalls++;
  return kvm_skip_emulated_instruction(vcpu);
}
