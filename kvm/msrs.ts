/**
 * Model-specific registers KVM answers for, and KVM_GET_MSRS, KVM_SET_MSRS and the lists of them.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_get_msr_common, kvm_set_msr_common, msr_io), mtrr.c; SDM Vol. 4
 *
 * User space ("host") may do more than the guest: it sets up what the guest may only read. A refused MSR ends
 * KVM_SET_MSRS early, and the number of those done is the result.
 */
import { E2BIG, EFAULT } from '../abi/errno.ts';
import * as K from '../abi/kvm/para.ts';
import { copy_from_user, copy_to_user } from '../kernel/exports.ts';
import { bytesOfWords } from './words.ts';
import { kvm_set_apic_base } from './cr.ts';
import { guest_cpuid_has, kvm_update_cpuid_runtime, reserved_gpa_bits } from './cpuid.ts';
import { hv_get_msr, hv_set_msr, is_hv_msr } from './hyperv.ts';
import { type kvm_vcpu, is_paging, kvm_x86 } from './kvm_host.ts';
import { KVM_MAX_MCE_BANKS, MCG_CMCI_P, MCI_CTL2_CMCI_EN, MCI_CTL2_CMCI_THRESHOLD_MASK } from './mce.ts';
import { kvm_ack_async_pf, kvm_pv_enable_async_pf, kvm_pv_enable_async_pf_int } from './async_pf.ts';
import { guest_pv_has } from './pv-cpuid.ts';
import { kvm_lapic_set_pv_eoi } from './pv-eoi.ts';
import { kvm_write_system_time, kvm_write_wall_clock } from './pvclock.ts';
import { kvm_set_steal_time } from './steal-time.ts';
import { host_tsc, kvm_guest_write_tsc, kvm_guest_write_tsc_adjust, kvm_read_l1_tsc, kvm_synchronize_tsc } from './tsc.ts';

/** Most entries of one KVM_GET_MSRS. */
const MAX_IO_MSRS = 256;

type Get = (vcpu: kvm_vcpu, host: boolean, msr: number) => bigint | undefined;
type Set = (vcpu: kvm_vcpu, data: bigint, host: boolean, msr: number) => number;
interface row { readonly get: Get | undefined; readonly set: Set | undefined }

export const is_noncanonical = (address: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, address)) !== address;
/** IBRS, STIBP and SSBD are what the processor has. */
export const spec_ctrl_is_valid = (data: bigint): boolean => (data & ~7n) === 0n;

const constant = (value: bigint): Get => () => value;
const drop: Set = () => 0;
const only_zero: Set = (_vcpu, data) => (data === 0n ? 0 : 1);
/** A register without any effect here; `valid` refuses values. */
const stored = (initial = 0n, valid: (vcpu: kvm_vcpu, data: bigint) => boolean = () => true): row => ({
  get: (vcpu, _host, msr) => vcpu.arch.msrs.get(msr) ?? initial,
  set: (vcpu, data, _host, msr) => {
    if (!valid(vcpu, data)) return 1;
    vcpu.arch.msrs.set(msr, data);
    return 0;
  },
});
const read_only = (get: Get): row => ({ get, set: undefined });
const write_only = (set: Set): row => ({ get: undefined, set });
/** User space may set it, the guest may only read. */
const host_sets = (initial: bigint): row => ({
  get: (vcpu, _host, msr) => vcpu.arch.msrs.get(msr) ?? initial,
  set: (vcpu, data, host, msr) => {
    if (!host) return 1;
    vcpu.arch.msrs.set(msr, data);
    return 0;
  },
});

// ---------------------------------------------------------------- memory types

const mtrr_type = (type: bigint): boolean => type < 8n && ((1n << type) & 0x73n) !== 0n;
const every_byte = (data: bigint, ok: (byte: bigint) => boolean): boolean => {
  for (let i = 0n; i < 64n; i += 8n) if (!ok((data >> i) & 0xffn)) return false;
  return true;
};
const pat_valid = (data: bigint): boolean => every_byte(data, (b) => b < 8n && b !== 2n && b !== 3n);
const fixed_mtrr = stored(0n, (_vcpu, data) => every_byte(data, mtrr_type));
const variable_mtrr = (isMask: boolean): row => stored(0n, (vcpu, data) => {
  const reserved = reserved_gpa_bits(vcpu) | (isMask ? 0x7ffn : 0xf00n);
  return (isMask || mtrr_type(data & 0xffn)) && (data & reserved) === 0n;
});
const mtrr_def_type = stored(0n, (_vcpu, data) => (data & ~0xcffn) === 0n && mtrr_type(data & 0xffn));

// ---------------------------------------------------------------- machine check

const mcg_has_ctl = (vcpu: kvm_vcpu) => (vcpu.arch.mcg_cap & 0x100n) !== 0n;
const mce_bank: row = {
  get: (vcpu, _host, msr) => (msr - 0x400 < 4 * Number(vcpu.arch.mcg_cap & 0xffn) ? vcpu.arch.mce_banks[msr - 0x400]! : undefined),
  set: (vcpu, data, host, msr) => {
    const i = msr - 0x400;
    if (i >= 4 * Number(vcpu.arch.mcg_cap & 0xffn)) return 1;
    // CTL takes all zeros or all ones, with two bits some systems clear; STATUS only 0 from a guest.
    if ((i & 3) === 0 && data !== 0n && (data | 0x401n) !== 0xffff_ffff_ffff_ffffn) return 1;
    if ((i & 3) === 1 && !host && data !== 0n) return 1;
    vcpu.arch.mce_banks[i] = data;
    return 0;
  },
};
const mce_ctl2: row = {
  get: (vcpu, host, msr) => (msr - 0x280 < Number(vcpu.arch.mcg_cap & 0xffn) && (host || (vcpu.arch.mcg_cap & MCG_CMCI_P) !== 0n) ? vcpu.arch.mci_ctl2_banks[msr - 0x280]! : undefined),
  set: (vcpu, data, host, msr) => {
    if (msr - 0x280 >= Number(vcpu.arch.mcg_cap & 0xffn) || ((vcpu.arch.mcg_cap & MCG_CMCI_P) === 0n && (data !== 0n || !host))) return 1;
    if ((data & ~(MCI_CTL2_CMCI_EN | MCI_CTL2_CMCI_THRESHOLD_MASK)) !== 0n) return 1;
    vcpu.arch.mci_ctl2_banks[msr - 0x280] = data;
    return 0;
  },
};

// ---------------------------------------------------------------- time

const tsc: row = {
  get: (vcpu) => kvm_read_l1_tsc(vcpu, host_tsc()),
  set: (vcpu, data, host) => {
    if (host) kvm_synchronize_tsc(vcpu, data);
    else kvm_guest_write_tsc(vcpu, data);
    return 0;
  },
};
const tsc_adjust: row = {
  get: (vcpu) => vcpu.arch.ia32_tsc_adjust_msr,
  set: (vcpu, data, host) => {
    if (!guest_cpuid_has(vcpu, 7, 'ebx', 1)) return 0;
    if (host) vcpu.arch.ia32_tsc_adjust_msr = data;
    else kvm_guest_write_tsc_adjust(vcpu, data);
    return 0;
  },
};

// ---------------------------------------------------------------- control

/** KVM_SET_MSRS of EFER, WRMSR of it. 1: refused. LMA follows CR0.PG and cannot be set. */
function set_efer(vcpu: kvm_vcpu, data: bigint, host: boolean): number {
  if ((data & ~0xd01n) !== 0n) return 1;
  const old = vcpu.arch.efer;
  if (!host) {
    if ((data & 0x800n) !== 0n && !guest_cpuid_has(vcpu, 0x8000_0001, 'edx', 20)) return 1;
    if ((data & 0x500n) !== 0n && !guest_cpuid_has(vcpu, 0x8000_0001, 'edx', 29)) return 1;
    if ((data & 1n) !== 0n && !guest_cpuid_has(vcpu, 0x8000_0001, 'edx', 11)) return 1;
    if (is_paging(vcpu) && (old & 0x100n) !== (data & 0x100n)) return 1;
  }
  kvm_x86.set_efer(vcpu, (data & ~0x400n) | (old & 0x400n));
  return 0;
}
const efer: row = { get: (vcpu) => vcpu.arch.efer, set: set_efer };
const MISC_ENABLE_EMON = 1n << 7n, MISC_ENABLE_PMU_RO = 0x1800n, MISC_ENABLE_MWAIT = 1n << 18n, QUIRK_MISC_ENABLE_NO_MWAIT = 1n << 4n;
const misc_enable: row = {
  get: (vcpu) => vcpu.arch.ia32_misc_enable_msr,
  set: (vcpu, value, host) => {
    const old = vcpu.arch.ia32_misc_enable_msr;
    // What tells of missing performance features the guest may not write; the bit of its counters it may, to no effect.
    if (!host && ((old ^ value) & MISC_ENABLE_PMU_RO) !== 0n) return 1;
    const data = host ? value : (value & ~MISC_ENABLE_EMON) | (old & MISC_ENABLE_EMON);
    const switchesMwait = ((old ^ data) & MISC_ENABLE_MWAIT) !== 0n && (vcpu.kvm.arch.disabled_quirks & QUIRK_MISC_ENABLE_NO_MWAIT) !== 0n;
    if (switchesMwait && !guest_cpuid_has(vcpu, 1, 'ecx', 0)) return 1;
    vcpu.arch.ia32_misc_enable_msr = data;
    if (switchesMwait) kvm_update_cpuid_runtime(vcpu);
    return 0;
  },
};
const x2apic: row = {
  get: (vcpu, host, msr) => vcpu.arch.apic?.x2apic_read(msr, host),
  set: (vcpu, data, host, msr) => (vcpu.arch.apic === undefined ? 1 : vcpu.arch.apic.x2apic_write(msr, data, host)),
};

// ---------------------------------------------------------------- paravirtual

/** A register of a service the guest's CPUID may have to name. */
const pv = (feature: number, get: (vcpu: kvm_vcpu) => bigint, set: (vcpu: kvm_vcpu, data: bigint, host: boolean) => number): row => ({
  get: (vcpu) => (guest_pv_has(vcpu, feature) ? get(vcpu) : undefined),
  set: (vcpu, data, host) => (guest_pv_has(vcpu, feature) ? set(vcpu, data, host) : unsupported(data, host)),
});
/** User space may write 0 to what it was told of and is not there. */
const unsupported = (data: bigint, host: boolean): number => (host && data === 0n ? 0 : 1);
const wall_clock = (feature: number): row => pv(feature, (vcpu) => vcpu.kvm.arch.wall_clock, (vcpu, data) => { kvm_write_wall_clock(vcpu, data); return 0; });
const system_time = (feature: number): row => pv(feature, (vcpu) => vcpu.arch.pv.time, (vcpu, data, host) => {
  kvm_write_system_time(vcpu, data, feature === K.KVM_FEATURE_CLOCKSOURCE, host);
  return 0;
});

const hwcr: row = {
  get: (vcpu) => vcpu.arch.msrs.get(0xc001_0015) ?? 0n,
  set: (vcpu, value) => {
    const data = value & ~0x148n;                                       // bits an errata workaround sets
    if ((data & ~0x104_0000n) !== 0n) return 1;
    vcpu.arch.msrs.set(0xc001_0015, data);
    return 0;
  },
};

/** Rows by MSR; a range names its first and last. */
const rows: readonly (readonly [number, number, row])[] = [
  [0x0, 0x1, read_only(constant(0n))],                                  // P5_MC_ADDR, P5_MC_TYPE
  [0x10, 0x10, tsc],
  [K.MSR_KVM_WALL_CLOCK, K.MSR_KVM_WALL_CLOCK, wall_clock(K.KVM_FEATURE_CLOCKSOURCE)],
  [K.MSR_KVM_SYSTEM_TIME, K.MSR_KVM_SYSTEM_TIME, system_time(K.KVM_FEATURE_CLOCKSOURCE)],
  [0x17, 0x17, read_only(constant(0n))],                                // PLATFORM_ID
  [0x1b, 0x1b, { get: (vcpu) => vcpu.arch.apic_base, set: (vcpu, data, host) => kvm_set_apic_base(vcpu, data, host) }],
  [0x2a, 0x2a, read_only(constant(0n))],                                // EBL_CR_POWERON
  [0x2c, 0x2c, read_only(constant(1n << 24n))],                         // EBC_FREQUENCY_ID
  [0x34, 0x34, { get: (vcpu) => vcpu.arch.smi_count, set: (vcpu, data, host) => (host ? (vcpu.arch.smi_count = data, 0) : 1) }],   // SMI_COUNT
  [0x3b, 0x3b, tsc_adjust],
  [0x49, 0x49, write_only((vcpu, data, host) => ((data & ~1n) !== 0n || (!host && !guest_cpuid_has(vcpu, 7, 'edx', 26) && !guest_cpuid_has(vcpu, 0x8000_0008, 'ebx', 12)) ? 1 : 0))],   // PRED_CMD: SPEC_CTRL or IBPB
  [0x79, 0x79, write_only(drop)],                                       // UCODE_WRITE
  [0x8b, 0x8b, { get: host_sets(0x1_0000_0000n).get, set: (vcpu, data, host) => { if (host) vcpu.arch.msrs.set(0x8b, data); return 0; } }],
  [0x9e, 0x9e, { get: (vcpu, host) => (host ? vcpu.arch.smbase : undefined), set: (vcpu, data, host) => (host ? (vcpu.arch.smbase = data, 0) : 1) }],
  [0xc1, 0xc2, { get: constant(0n), set: drop }],                       // P6_PERFCTR
  [0xcd, 0xcd, read_only(constant(3n))],
  [0xce, 0xce, {
    get: (vcpu, host) => (host || vcpu.kvm.arch.guest_can_read_msr_platform_info ? vcpu.arch.msrs.get(0xce) ?? 0x8000_0000n : undefined),
    set: (vcpu, data, host) => (host && !((data & 0x8000_0000n) === 0n && (vcpu.arch.msr_misc_features_enables & 1n) !== 0n) ? (vcpu.arch.msrs.set(0xce, data), 0) : 1),
  }],
  [0xfe, 0xfe, read_only(constant(0x508n))],                            // MTRRcap: write combining, fixed ranges, eight variable ones
  [0x10a, 0x10a, {
    get: (vcpu, host) => (host || guest_cpuid_has(vcpu, 7, 'edx', 29) ? vcpu.arch.msrs.get(0x10a) ?? ARCH_CAPABILITIES : undefined),
    set: (vcpu, data, host) => (host ? (vcpu.arch.msrs.set(0x10a, data), 0) : 1),
  }],
  [0x11e, 0x11e, { get: constant(0xbe70_2111n), set: drop }],           // BBL_CR_CTL3
  [0x140, 0x140, {
    get: (vcpu) => vcpu.arch.msr_misc_features_enables,
    set: (vcpu, data) => ((data & ~1n) !== 0n || ((data & 1n) !== 0n && ((vcpu.arch.msrs.get(0xce) ?? 0x8000_0000n) & 0x8000_0000n) === 0n) ? 1 : (vcpu.arch.msr_misc_features_enables = data, 0)),
  }],
  [0x179, 0x179, read_only((vcpu) => vcpu.arch.mcg_cap)],
  [0x17a, 0x17a, { get: (vcpu) => vcpu.arch.mcg_status, set: (vcpu, data) => { vcpu.arch.mcg_status = data; return 0; } }],
  [0x17b, 0x17b, {
    get: (vcpu, host) => (mcg_has_ctl(vcpu) || host ? vcpu.arch.mcg_ctl : undefined),
    set: (vcpu, data, host) => (!mcg_has_ctl(vcpu) && (data !== 0n || !host) ? 1 : data !== 0n && data !== 0xffff_ffff_ffff_ffffn ? 1 : (vcpu.arch.mcg_ctl = data, 0)),
  }],
  [0x186, 0x187, { get: constant(0n), set: drop }],                     // P6_EVNTSEL
  [0x1fc, 0x1fc, { get: (vcpu) => vcpu.arch.msr_ia32_power_ctl, set: (vcpu, data) => { vcpu.arch.msr_ia32_power_ctl = data; return 0; } }],   // POWER_CTL
  [0x198, 0x198, read_only(constant(1000n | (4n << 40n)))],             // PERF_STATUS
  [0x199, 0x199, read_only(constant(0n))],                              // PERF_CTL
  [0x1a0, 0x1a0, misc_enable],
  [0x1db, 0x1de, read_only(constant(0n))],                              // last branch and interrupt
  ...Array.from({ length: 16 }, (_, i) => [0x200 + i, 0x200 + i, variable_mtrr((i & 1) === 1)] as const),
  [0x250, 0x250, fixed_mtrr], [0x258, 0x259, fixed_mtrr], [0x268, 0x26f, fixed_mtrr],
  [0x277, 0x277, { get: (vcpu) => vcpu.arch.pat, set: (vcpu, data) => (pat_valid(data) ? (vcpu.arch.pat = data, 0) : 1) }],
  [0x280, 0x280 + KVM_MAX_MCE_BANKS - 1, mce_ctl2],
  [0x2ff, 0x2ff, mtrr_def_type],
  [0x345, 0x345, { get: (vcpu, host) => (host || guest_cpuid_has(vcpu, 1, 'ecx', 15) ? 0n : undefined), set: (_vcpu, data, host) => (host && data === 0n ? 0 : 1) }],
  [0x400, 0x400 + 4 * KVM_MAX_MCE_BANKS - 1, mce_bank],
  [0x606, 0x606, read_only(constant(0n))], [0x611, 0x611, read_only(constant(0n))], [0x619, 0x619, read_only(constant(0n))],
  [0x639, 0x639, read_only(constant(0n))], [0x641, 0x641, read_only(constant(0n))],
  [0x6e0, 0x6e0, { get: (vcpu) => vcpu.arch.apic?.tscdeadline ?? 0n, set: (vcpu, data) => { vcpu.arch.apic?.set_tscdeadline(data); return 0; } }],
  [0x800, 0x8ff, x2apic],
  [0xda0, 0xda0, { get: (vcpu, host) => (host || guest_cpuid_has(vcpu, 1, 'ecx', 26) ? 0n : undefined), set: only_zero }],
  [K.MSR_KVM_WALL_CLOCK_NEW, K.MSR_KVM_WALL_CLOCK_NEW, wall_clock(K.KVM_FEATURE_CLOCKSOURCE2)],
  [K.MSR_KVM_SYSTEM_TIME_NEW, K.MSR_KVM_SYSTEM_TIME_NEW, system_time(K.KVM_FEATURE_CLOCKSOURCE2)],
  [K.MSR_KVM_ASYNC_PF_EN, K.MSR_KVM_ASYNC_PF_EN, pv(K.KVM_FEATURE_ASYNC_PF, (vcpu) => vcpu.arch.pv.apf_en_msr, kvm_pv_enable_async_pf)],
  [K.MSR_KVM_STEAL_TIME, K.MSR_KVM_STEAL_TIME, pv(K.KVM_FEATURE_STEAL_TIME, (vcpu) => vcpu.arch.pv.steal_msr, kvm_set_steal_time)],
  [K.MSR_KVM_PV_EOI_EN, K.MSR_KVM_PV_EOI_EN, pv(K.KVM_FEATURE_PV_EOI, (vcpu) => vcpu.arch.pv.eoi_msr, kvm_lapic_set_pv_eoi)],
  [K.MSR_KVM_POLL_CONTROL, K.MSR_KVM_POLL_CONTROL, pv(K.KVM_FEATURE_POLL_CONTROL, (vcpu) => vcpu.arch.msr_kvm_poll_control,
    (vcpu, data) => ((data & ~1n) !== 0n ? 1 : (vcpu.arch.msr_kvm_poll_control = data, 0)))],
  [K.MSR_KVM_ASYNC_PF_INT, K.MSR_KVM_ASYNC_PF_INT, pv(K.KVM_FEATURE_ASYNC_PF_INT, (vcpu) => vcpu.arch.pv.apf_int_msr, kvm_pv_enable_async_pf_int)],
  [K.MSR_KVM_ASYNC_PF_ACK, K.MSR_KVM_ASYNC_PF_ACK, pv(K.KVM_FEATURE_ASYNC_PF_INT, () => 0n, (vcpu, data) => { kvm_ack_async_pf(vcpu, data); return 0; })],
  [0xc000_0080, 0xc000_0080, efer],
  // AMD's, which guests probe on any processor.
  [0xc001_0000, 0xc001_0007, { get: constant(0n), set: drop }],         // K7_EVNTSEL, K7_PERFCTR
  [0xc001_0010, 0xc001_0010, read_only(constant(0n))],                  // SYSCFG
  [0xc001_0015, 0xc001_0015, hwcr],
  [0xc001_001b, 0xc001_001b, { get: constant(0x2000_0000n), set: drop }],
  [0xc001_001f, 0xc001_001f, { get: constant(0n), set: drop }],
  [0xc001_0020, 0xc001_0020, write_only(drop)],                         // PATCH_LOADER
  [0xc001_0055, 0xc001_0055, read_only(constant(0n))],
  [0xc001_0058, 0xc001_0058, { get: constant(0n), set: only_zero }],    // FAM10H_MMIO_CONF_BASE
  [0xc001_0112, 0xc001_0113, read_only(constant(0n))],
  [0xc001_0117, 0xc001_0117, { get: constant(0n), set: drop }],         // VM_HSAVE_PA
  [0xc001_1022, 0xc001_1023, { get: constant(0n), set: drop }],         // DC_CFG, TW_CFG
  [0xc001_102a, 0xc001_102a, { get: constant(0n), set: drop }],
  [0xc001_102c, 0xc001_102c, { get: constant(0n), set: drop }],
];

/** Not vulnerable to Meltdown, L1TF, MDS, TAA; no need to disable prediction on return: a simulator speculates nothing. */
const ARCH_CAPABILITIES = 0x16bn;
let table: Map<number, row> | undefined;
function find(msr: number): row | undefined {
  if (table === undefined) {
    table = new Map();
    for (const [first, last, r] of rows) for (let i = first; i <= last; i++) table.set(i, r);
  }
  return table.get(msr);
}

/** Advertised MSRs answer user space with 0, and take 0 from it, though they are not supported. */
const is_advertised = (msr: number): boolean => msrs_to_save().includes(msr);

export function kvm_get_msr_common(vcpu: kvm_vcpu, msr: number, host: boolean): bigint | undefined {
  if (is_hv_msr(msr)) return hv_get_msr(vcpu, msr, host);
  const r = find(msr);
  const value = r?.get?.(vcpu, host, msr);
  return value === undefined && host && is_advertised(msr) ? 0n : value;
}
export function kvm_set_msr_common(vcpu: kvm_vcpu, msr: number, data: bigint, host: boolean): number {
  if (is_hv_msr(msr)) return hv_set_msr(vcpu, msr, data, host);
  const r = find(msr);
  if (r?.set !== undefined) return r.set(vcpu, data, host, msr);
  return host && data === 0n && is_advertised(msr) ? 0 : 1;
}

// ---------------------------------------------------------------- lists

/** MSRs with state of their own, in Linux's order: hardware's that exist, then those KVM emulates. */
const ALL_MSRS = [
  0x174, 0x175, 0x176, 0xc000_0081, 0xc000_0083, 0xc000_0102, 0xc000_0084, 0xc000_0082, 0x10, 0x277, 0x3a, 0xc000_0103, 0x48, 0x1d9, 0x1db, 0x1dc, 0x1dd, 0x1de,
  0x12, 0x11, 0x4b56_4d01, 0x4b56_4d00, 0x4000_0000, 0x4000_0001, 0x4000_0020, 0x4000_0021, 0x4b56_4d02, 0x4b56_4d03, 0x4b56_4d04, 0x4b56_4d06, 0x4b56_4d07,
  0x3b, 0x6e0, 0x10a, 0x345, 0x1a0, 0x17a, 0x17b, 0x9e, 0x34, 0xce, 0x140, 0x1fc, 0x8b, 0xc001_0015, 0x4b56_4d05,
] as const;
export const msrs_to_save = (): readonly number[] => ALL_MSRS;
/** What user space may read of a guest-to-be before there is one. */
export const msr_based_features = (): readonly number[] => [0x8b, 0x10a, 0x345, 0xce];
const FEATURE_VALUES: Record<number, bigint> = { 0x8b: 0x1_0000_0000n, 0x10a: ARCH_CAPABILITIES, 0x345: 0n, 0xce: 0x8000_0000n };
export const kvm_get_feature_msr = (msr: number): bigint | undefined => FEATURE_VALUES[msr] ?? kvm_x86.get_feature_msr(msr);

/** KVM_GET_MSR_INDEX_LIST and KVM_GET_MSR_FEATURE_INDEX_LIST: the count is told even when it does not fit. */
export function get_msr_list(at: number, list: readonly number[]): number {
  const head = new Uint32Array(1);
  if (copy_from_user(bytesOfWords(head), at) !== 0) return -EFAULT;
  const room = head[0]!;
  if (copy_to_user(at, bytesOfWords(Uint32Array.of(list.length))) !== 0) return -EFAULT;
  if (room < list.length) return -E2BIG;
  return copy_to_user(at + 4, bytesOfWords(Uint32Array.from(list))) !== 0 ? -EFAULT : 0;
}

/** KVM_GET_MSRS and KVM_SET_MSRS: entry after entry until one is refused; the result is how many were not. */
export function msr_io(at: number, write: boolean, one: (msr: number, data: bigint) => bigint | undefined): number {
  const head = new Uint32Array(2);
  if (copy_from_user(bytesOfWords(head), at) !== 0) return -EFAULT;
  const n = head[0]!;
  if (n >= MAX_IO_MSRS) return -E2BIG;
  const entries = new BigUint64Array(2 * n);
  if (copy_from_user(bytesOfWords(entries), at + 8) !== 0) return -EFAULT;
  let done = 0;
  for (; done < n; done++) {
    const value = one(Number(entries[2 * done]! & 0xffff_ffffn), entries[2 * done + 1]!);
    if (value === undefined) {
      if (!write) entries[2 * done + 1] = 0n;
      break;
    }
    entries[2 * done + 1] = value;
  }
  if (!write && copy_to_user(at + 8, bytesOfWords(entries)) !== 0) return -EFAULT;
  return done;
}
export const kvm_vcpu_get_msrs = (vcpu: kvm_vcpu, at: number): number => msr_io(at, false, (msr) => kvm_x86.get_msr(vcpu, msr, true));
export const kvm_vcpu_set_msrs = (vcpu: kvm_vcpu, at: number): number => msr_io(at, true, (msr, data) => (kvm_x86.set_msr(vcpu, msr, data, true) === 0 ? data : undefined));

/** Whether the MSR is one KVM handles at all: a refused access to it is "invalid", else "unknown". */
export const is_known_msr = (msr: number): boolean => find(msr) !== undefined || is_advertised(msr);
