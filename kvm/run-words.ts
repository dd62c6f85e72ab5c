/** kvm_run as words: what each run of a vCPU reads in it and writes to it, without a BigInt for its 64-bit members. */
import { kvm_run } from '../abi/kvm/index.ts';
import { type kvm_vcpu, kvm_x86 } from './kvm_host.ts';

/** Words of kvm_run. The first has request_interrupt_window and immediate_exit, the one of the answers ready_for_interrupt_injection, if_flag and flags. */
export const REQUEST_INTERRUPT_WINDOW = 0xff, IMMEDIATE_EXIT = 0xff00;
export const ANSWERS = kvm_run.offset.ready_for_interrupt_injection >>> 2;
export const APIC_BASE = kvm_run.offset.apic_base >>> 2;
export const CR8 = kvm_run.offset.cr8 >>> 2;
export const VALID_REGS = kvm_run.offset.kvm_valid_regs >>> 2;
export const DIRTY_REGS = kvm_run.offset.kvm_dirty_regs >>> 2;

/** apic_base, the flags given, if_flag and ready_for_interrupt_injection. */
export function answer(vcpu: kvm_vcpu, flags: number, ready: number): void {
  const { run_words, arch } = vcpu;
  run_words[APIC_BASE] = arch.apic_base_words[0]!;
  run_words[APIC_BASE + 1] = arch.apic_base_words[1]!;
  run_words[ANSWERS] = flags | ((kvm_x86.get_rflags(vcpu) & 0x200) !== 0 ? 0x100 : 0) | ready;
}
