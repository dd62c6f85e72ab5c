/**
 * MSRs whose home is the VMCS or, while the guest runs, the processor itself.
 *
 * Linux: arch/x86/kvm/vmx/vmx.c (vmx_get_msr, vmx_set_msr, vmx_prepare_switch_to_guest)
 */
import { STATE } from '../../machine/cpu/state.ts';
import * as F from '../../machine/vmx/fields.ts';
import { this_processor } from '../../kernel/exports.ts';
import { guest_cpuid_has } from '../cpuid.ts';
import type { kvm_vcpu } from '../kvm_host.ts';
import { is_noncanonical, kvm_get_msr_common, kvm_set_msr_common, spec_ctrl_is_valid } from '../msrs.ts';
import type { vcpu_vmx } from './vcpu-vmx.ts';

/** Registers of the processor that are the guest's between vcpu_load and vcpu_put: MSR and place in cpu_state. */
const SWITCHED: readonly (readonly [msr: number, offset: number])[] = [
  [0xc000_0081, STATE.star], [0xc000_0082, STATE.lstar], [0xc000_0083, STATE.cstar], [0xc000_0084, STATE.fmask], [0xc000_0102, STATE.kernel_gs_base], [0xc000_0103, STATE.tsc_aux], [0x48, STATE.spec_ctrl],
];
const KERNEL_GS_BASE = 4, TSC_AUX = 5, SPEC_CTRL = 6;
/** The words they take in cpu_state, low and high. */
const WORDS = SWITCHED.flatMap(([, offset]) => [offset >>> 2, (offset >>> 2) + 1]);
const KERNEL_GS_BASE_WORD = STATE.kernel_gs_base >>> 2;
const index_of = (msr: number): number => SWITCHED.findIndex(([number]) => number === msr);

export function vmx_load_guest_msrs(vcpu: kvm_vcpu, changed: boolean): void {
  const { vmx } = vcpu;
  if (vmx.guest_msrs_loaded) return;
  vmx.guest_msrs_loaded = true;
  if (!changed) return;
  const { cpu } = this_processor();
  for (let i = 0; i < WORDS.length; i++) cpu.u32[WORDS[i]!] = vmx.msr_words[i]!;
  cpu.u32[STATE.xcr0 >>> 2] = Number(vcpu.arch.xcr0);
}
export function vmx_save_guest_msrs(vcpu: kvm_vcpu): void {
  const { vmx } = vcpu;
  if (!vmx.guest_msrs_loaded) return;
  // The only one a guest writes without an exit.
  const { cpu } = this_processor();
  vmx.msr_words[2 * KERNEL_GS_BASE] = cpu.u32[KERNEL_GS_BASE_WORD]!;
  vmx.msr_words[2 * KERNEL_GS_BASE + 1] = cpu.u32[KERNEL_GS_BASE_WORD + 1]!;
  vmx.guest_msrs_loaded = false;
}
function set_switched(vmx: vcpu_vmx, i: number, value: bigint): void {
  vmx.msrs[i] = value;
  if (vmx.guest_msrs_loaded) this_processor().cpu.u64[SWITCHED[i]![1] >>> 3] = value;
}
const get_switched = (vmx: vcpu_vmx, i: number): bigint => (vmx.guest_msrs_loaded ? this_processor().cpu.u64[SWITCHED[i]![1] >>> 3]! : vmx.msrs[i]!);

const FEAT_CTL_BITS = 0x1n | 0x2n | 0x4n | 0x20000n | 0x40000n | 0x100000n;

/** The value, or undefined for #GP (the guest) and "not there" (user space). */
export function vmx_get_msr(vcpu: kvm_vcpu, msr: number, host: boolean): bigint | undefined {
  const { vmx } = vcpu;
  const i = index_of(msr);
  if (i >= 0) {
    if (i === TSC_AUX && !host && !has_tsc_aux(vcpu)) return undefined;
    if (i === SPEC_CTRL && !host && !guest_cpuid_has(vcpu, 7, 'edx', 26)) return undefined;
    return get_switched(vmx, i);
  }
  switch (msr) {
    case 0xc000_0100: return vmx.hw.read64(F.GUEST_FS_BASE);
    case 0xc000_0101: return vmx.hw.read64(F.GUEST_GS_BASE);
    case 0x174: return BigInt(vmx.hw.read32(F.GUEST_SYSENTER_CS));
    case 0x175: return vmx.hw.read64(F.GUEST_SYSENTER_ESP);
    case 0x176: return vmx.hw.read64(F.GUEST_SYSENTER_EIP);
    case 0x1d9: return vmx.hw.read64(F.GUEST_IA32_DEBUGCTL);
    case 0x3a: return vmx.msr_ia32_feature_control;
    default: return kvm_get_msr_common(vcpu, msr, host);
  }
}
const has_tsc_aux = (vcpu: kvm_vcpu): boolean => guest_cpuid_has(vcpu, 0x8000_0001, 'edx', 27) || guest_cpuid_has(vcpu, 7, 'ecx', 22);

/** 0, or 1 where the value or the MSR is refused. */
export function vmx_set_msr(vcpu: kvm_vcpu, msr: number, value: bigint, host: boolean): number {
  const { vmx } = vcpu;
  let data = value;
  const i = index_of(msr);
  if (i >= 0) {
    if ((msr === 0xc000_0082 || msr === 0xc000_0083 || i === KERNEL_GS_BASE) && is_noncanonical(data)) return 1;
    if (i === TSC_AUX && ((!host && !has_tsc_aux(vcpu)) || data >> 32n !== 0n)) return 1;
    if (i === SPEC_CTRL && ((!host && !guest_cpuid_has(vcpu, 7, 'edx', 26)) || !spec_ctrl_is_valid(data))) return 1;
    set_switched(vmx, i, data);
    return 0;
  }
  switch (msr) {
    case 0xc000_0100: case 0xc000_0101:
      if (is_noncanonical(data)) return 1;
      vmx.hw.write64(msr === 0xc000_0100 ? F.GUEST_FS_BASE : F.GUEST_GS_BASE, data);
      return 0;
    case 0x174: vmx.hw.write32(F.GUEST_SYSENTER_CS, Number(data & 0xffff_ffffn)); return 0;
    case 0x175: case 0x176:
      data = BigInt.asUintN(64, BigInt.asIntN(48, data));
      vmx.hw.write64(msr === 0x175 ? F.GUEST_SYSENTER_ESP : F.GUEST_SYSENTER_EIP, data);
      return 0;
    case 0x1d9:
      // Branch trap and last-branch records are accepted and left out.
      if ((data & ~3n) !== 0n) return 1;
      vmx.hw.write64(F.GUEST_IA32_DEBUGCTL, 0n);
      return 0;
    case 0x3a:
      if ((data & ~(host ? FEAT_CTL_BITS : 1n)) !== 0n || (!host && (vmx.msr_ia32_feature_control & 1n) !== 0n)) return 1;
      vmx.msr_ia32_feature_control = data;
      return 0;
    case 0x277: {
      const r = kvm_set_msr_common(vcpu, msr, data, host);
      if (r === 0) vmx.hw.write64(F.GUEST_IA32_PAT, data);
      return r;
    }
    default: return kvm_set_msr_common(vcpu, msr, data, host);
  }
}

/** Feature MSRs of VMX: none while guests get no VMX of their own. */
export const vmx_get_feature_msr = (_msr: number): bigint | undefined => undefined;
