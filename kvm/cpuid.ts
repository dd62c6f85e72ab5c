/**
 * CPUID: what KVM offers a guest, what user space chose, and the instruction itself.
 *
 * Linux: arch/x86/kvm/cpuid.c
 *
 * Offered is what the processor has, less what a guest cannot be given, plus what KVM emulates. User space may set
 * anything; only the width of linear addresses is vetted, and after the first run the table may not change any more.
 */
import { E2BIG, EFAULT, EINVAL } from '../abi/errno.ts';
import * as K from '../abi/kvm/para.ts';
import { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from '../abi/kvm/index.ts';
import { cpuidLeaf } from '../machine/cpu/cpuid.ts';
import { copy_from_user, copy_to_user, this_processor } from '../kernel/exports.ts';
import { bytesOfWords } from './words.ts';
import { type kvm_vcpu, kvm_x86, lapic_in_kernel } from './kvm_host.ts';
import { cr4_reserved_for } from './cr.ts';
import { kvm_update_pv_runtime } from './pv-cpuid.ts';

export const KVM_MAX_CPUID_ENTRIES = 256;
export const KVM_CPUID_SIGNATURE = 0x4000_0000;
export const KVM_CPUID_FEATURES = 0x4000_0001;

export interface kvm_cpuid_entry { function: number; index: number; flags: number; eax: number; ebx: number; ecx: number; edx: number }

const XSAVEC = 1 << 1, XSAVES = 1 << 3;
const HYPERVISOR = 2 ** 31, X2APIC = 1 << 21, TSC_DEADLINE = 1 << 24, OSXSAVE = 1 << 27, VMX = 1 << 5, MONITOR = 1 << 3, APIC = 1 << 9, PCID = 1 << 17, INVPCID = 1 << 10, PKU = 1 << 3, OSPKE = 1 << 4;
/** The services KVM offers a guest that looks for them. */
const PV_FEATURES = [
  K.KVM_FEATURE_CLOCKSOURCE, K.KVM_FEATURE_NOP_IO_DELAY, K.KVM_FEATURE_CLOCKSOURCE2, K.KVM_FEATURE_ASYNC_PF, K.KVM_FEATURE_STEAL_TIME, K.KVM_FEATURE_PV_EOI, K.KVM_FEATURE_PV_UNHALT,
  K.KVM_FEATURE_PV_TLB_FLUSH, K.KVM_FEATURE_ASYNC_PF_VMEXIT, K.KVM_FEATURE_PV_SEND_IPI, K.KVM_FEATURE_POLL_CONTROL, K.KVM_FEATURE_PV_SCHED_YIELD, K.KVM_FEATURE_ASYNC_PF_INT,
  K.KVM_FEATURE_CLOCKSOURCE_STABLE_BIT,
].reduce((all, bit) => all | (1 << bit), 0);
const QUIRK_MISC_ENABLE_NO_MWAIT = 1n << 4n;
/** Leaves whose subleaves are told apart. */
const INDEXED = new Set([4, 7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1f, 0x8000_001d]);

const entry = (fn: number, index: number, flags: number, r: { eax: number; ebx: number; ecx: number; edx: number }): kvm_cpuid_entry =>
  ({ function: fn >>> 0, index, flags, eax: r.eax >>> 0, ebx: r.ebx >>> 0, ecx: r.ecx >>> 0, edx: r.edx >>> 0 });
const nothing = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** One leaf as offered, with its subleaves. */
function do_cpuid_func(fn: number): kvm_cpuid_entry[] {
  const { cpu } = this_processor();
  const raw = (index: number) => cpuidLeaf(cpu, fn, index);
  const r = raw(0);
  const flags = INDEXED.has(fn) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
  const one = (result: { eax: number; ebx: number; ecx: number; edx: number }) => [entry(fn, 0, flags, result)];
  const each = (first: kvm_cpuid_entry, last: number) => [first, ...Array.from({ length: last }, (_, i) => entry(fn, i + 1, flags, raw(i + 1)))];
  switch (fn) {
    case 0: return one({ ...r, eax: Math.min(r.eax, 0x24) });
    case 1: return one({ ...r, ebx: r.ebx & 0xff00 | 1 << 16, ecx: (r.ecx & ~(VMX | MONITOR | OSXSAVE | (kvm_x86.tdp_enabled() ? 0 : PCID))) | X2APIC | TSC_DEADLINE | HYPERVISOR, edx: (r.edx | APIC) & ~(1 << 28) });
    case 2: return one(r);
    case 4: return [...Array.from({ length: 8 }, (_, i) => entry(fn, i, flags, raw(i))).filter((e) => (e.eax & 0x1f) !== 0), entry(fn, [...Array(8).keys()].filter((i) => (raw(i).eax & 0x1f) !== 0).length, flags, nothing)];
    case 6: return one({ ...nothing, eax: 4 });
    // Shadow tables know no tagged translations; protection keys would need CR4.PKE in the host.
    case 7: return one({ ...r, ebx: kvm_x86.tdp_enabled() ? r.ebx : r.ebx & ~INVPCID, ecx: r.ecx & ~(PKU | OSPKE) });
    case 0xd: {
      const features = Number(supported_xcr0());
      const first = entry(fn, 0, flags, { eax: features, ebx: r.ebx, ecx: r.ecx, edx: 0 });
      const { eax, ebx } = raw(1);
      return [first, entry(fn, 1, flags, { ...nothing, eax, ebx })];
    }
    case 0xb: case 0x1f: return one(nothing);
    case KVM_CPUID_SIGNATURE: return one({ eax: KVM_CPUID_FEATURES, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d });
    case KVM_CPUID_FEATURES: return one({ ...nothing, eax: PV_FEATURES });
    case 0x8000_0000: return one({ ...r, eax: Math.min(r.eax, 0x8000_0022) });
    case 0x8000_0001: return one(r);
    case 0x8000_0002: case 0x8000_0003: case 0x8000_0004: case 0x8000_0006: return one(r);
    case 0x8000_0007: return one({ ...nothing, edx: r.edx & 0x100 });
    case 0x8000_0008: return one({ ...nothing, eax: r.eax & 0xffff });
    default: return fn === 4 ? each(entry(fn, 0, flags, r), 3) : one(nothing);
  }
}

/** KVM_GET_SUPPORTED_CPUID: the basic, the extended and KVM's own range. */
export function supported_cpuid(): kvm_cpuid_entry[] {
  const table: kvm_cpuid_entry[] = [];
  for (const first of [0, 0x8000_0000, KVM_CPUID_SIGNATURE]) {
    const head = do_cpuid_func(first);
    table.push(...head);
    for (let fn = first + 1; fn <= head[0]!.eax; fn++) table.push(...do_cpuid_func(fn));
  }
  return table;
}

/** KVM_GET_EMULATED_CPUID: what the emulator adds though the processor may lack it. */
export const emulated_cpuid = (): kvm_cpuid_entry[] => [
  entry(0, 0, 0, { ...nothing, eax: 7 }),
  entry(1, 0, 0, { ...nothing, ecx: 1 << 22 }),                                        // MOVBE
  entry(7, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, nothing),
];

/** A feature of the processor KVM can give a guest. */
export const kvm_cpu_cap = (fn: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', bit: number): boolean => ((do_cpuid_func(fn)[0]?.[register] ?? 0) >>> bit & 1) !== 0;

export const supported_xcr0 = (): bigint => BigInt(cpuidLeaf(this_processor().cpu, 0xd, 0).eax) & 3n;
/** Width of the processor's physical addresses. */
export const cpuid_maxphyaddr = (): number => cpuidLeaf(this_processor().cpu, 0x8000_0008, 0).eax & 0xff;

// ---------------------------------------------------------------- the guest's table

export const kvm_find_cpuid_entry = (vcpu: kvm_vcpu, fn: number, index = 0): kvm_cpuid_entry | undefined =>
  vcpu.arch.cpuid_entries.find((e) => e.function === fn && ((e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) === 0 || e.index === index));
export const guest_cpuid_has = (vcpu: kvm_vcpu, fn: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', bit: number): boolean =>
  ((kvm_find_cpuid_entry(vcpu, fn)?.[register] ?? 0) >>> bit & 1) !== 0;

/** AuthenticAMD or HygonGenuine. */
export function guest_cpuid_is_amd(vcpu: kvm_vcpu): boolean {
  const e = kvm_find_cpuid_entry(vcpu, 0);
  return e !== undefined && ((e.ebx === 0x6874_7541 && e.edx === 0x6974_6e65) || (e.ebx === 0x6f67_7948 && e.edx === 0x656e_6975));
}

/** Bits of guest-physical addresses no memory can have. */
export const reserved_gpa_bits = (vcpu: kvm_vcpu): bigint => BigInt.asUintN(64, ~((1n << BigInt(vcpu.arch.maxphyaddr)) - 1n));
export const kvm_vcpu_is_illegal_gpa = (vcpu: kvm_vcpu, gpa: bigint): boolean => (gpa & reserved_gpa_bits(vcpu)) !== 0n;

/** Bits that follow the vCPU's state: OSXSAVE, APIC, the size of the XSAVE area. */
function update_cpuid_runtime(vcpu: kvm_vcpu, entries: kvm_cpuid_entry[]): void {
  const find = (fn: number, index = 0) => entries.find((e) => e.function === fn && ((e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) === 0 || e.index === index));
  const one = find(1);
  if (one !== undefined) {
    if (kvm_cpu_cap(1, 'ecx', 26)) one.ecx = ((one.ecx & ~OSXSAVE) | ((vcpu.arch.cr4 & 0x40000n) !== 0n ? OSXSAVE : 0)) >>> 0;
    one.edx = ((one.edx & ~APIC) | ((vcpu.arch.apic_base & 0x800n) !== 0n ? APIC : 0)) >>> 0;
  }
  if (one !== undefined && (vcpu.kvm.arch.disabled_quirks & QUIRK_MISC_ENABLE_NO_MWAIT) !== 0n) one.ecx = ((one.ecx & ~MONITOR) | ((vcpu.arch.ia32_misc_enable_msr & 0x40000n) !== 0n ? MONITOR : 0)) >>> 0;
  const xsave = find(0xd);
  if (xsave !== undefined) xsave.ebx = 576;
  const extensions = find(0xd, 1);
  if (extensions !== undefined && (extensions.eax & (XSAVEC | XSAVES)) !== 0) extensions.ebx = 576;
}
export const kvm_update_cpuid_runtime = (vcpu: kvm_vcpu): void => update_cpuid_runtime(vcpu, vcpu.arch.cpuid_entries);

/** Linear addresses are 48 bits wide, or the leaf does not say. */
const is_valid = (entries: readonly kvm_cpuid_entry[]): boolean => {
  const e = entries.find((x) => x.function === 0x8000_0008);
  return e === undefined || [0, 48, 57].includes((e.eax >>> 8) & 0xff);
};

function set_cpuid(vcpu: kvm_vcpu, entries: kvm_cpuid_entry[]): number {
  update_cpuid_runtime(vcpu, entries);
  if (vcpu.ran_at_least_once) {
    const old = vcpu.arch.cpuid_entries;
    const same = old.length === entries.length && old.every((e, i) => {
      const f = entries[i]!;
      return e.function === f.function && e.index === f.index && e.flags === f.flags && e.eax === f.eax && e.ebx === f.ebx && e.ecx === f.ecx && e.edx === f.edx;
    });
    return same ? 0 : -EINVAL;
  }
  if (!is_valid(entries)) return -EINVAL;
  vcpu.arch.cpuid_entries = entries;
  kvm_vcpu_after_set_cpuid(vcpu);
  return 0;
}

/** What follows from the table. */
function kvm_vcpu_after_set_cpuid(vcpu: kvm_vcpu): void {
  const { arch } = vcpu;
  const width = kvm_find_cpuid_entry(vcpu, 0x8000_0000);
  const physical = width !== undefined && width.eax >= 0x8000_0008 ? kvm_find_cpuid_entry(vcpu, 0x8000_0008) : undefined;
  arch.maxphyaddr = physical === undefined ? 36 : physical.eax & 0xff;
  const xsave = kvm_find_cpuid_entry(vcpu, 0xd);
  arch.guest_supported_xcr0 = xsave === undefined ? 0n : BigInt(xsave.eax) & supported_xcr0();
  arch.cr4_guest_rsvd_bits = cr4_reserved_for((fn, register, bit) => guest_cpuid_has(vcpu, fn, register, bit));
  const hv = kvm_find_cpuid_entry(vcpu, 0x4000_0001);
  arch.hv_enabled = hv !== undefined && hv.eax === 0x3123_7648;
  kvm_update_pv_runtime(vcpu);
  if (lapic_in_kernel(vcpu)) arch.apic!.set_version();
  kvm_x86.vcpu_after_set_cpuid(vcpu);
}

// ---------------------------------------------------------------- ioctls

const ENTRY2 = 40, ENTRY1 = 24, HEADER = 8;

function read_header(at: number): number {
  const words = new Uint32Array(2);
  return copy_from_user(bytesOfWords(words), at) !== 0 ? -EFAULT : words[0]!;
}

function read_table(at: number, count: number, size: number): Uint32Array | number {
  const words = new Uint32Array((count * size) / 4);
  return copy_from_user(bytesOfWords(words), at + HEADER) !== 0 ? -EFAULT : words;
}

export function kvm_vcpu_ioctl_set_cpuid2(vcpu: kvm_vcpu, at: number): number {
  const nent = read_header(at);
  if (nent < 0) return nent;
  if (nent > KVM_MAX_CPUID_ENTRIES) return -E2BIG;
  const w = read_table(at, nent, ENTRY2);
  if (typeof w === 'number') return w;
  return set_cpuid(vcpu, Array.from({ length: nent }, (_, i) => {
    const o = (i * ENTRY2) / 4;
    return { function: w[o]!, index: w[o + 1]!, flags: w[o + 2]!, eax: w[o + 3]!, ebx: w[o + 4]!, ecx: w[o + 5]!, edx: w[o + 6]! };
  }));
}

/** The old form: no subleaves. */
export function kvm_vcpu_ioctl_set_cpuid(vcpu: kvm_vcpu, at: number): number {
  const nent = read_header(at);
  if (nent < 0) return nent;
  if (nent > KVM_MAX_CPUID_ENTRIES) return -E2BIG;
  const w = read_table(at, nent, ENTRY1);
  if (typeof w === 'number') return w;
  return set_cpuid(vcpu, Array.from({ length: nent }, (_, i) => {
    const o = (i * ENTRY1) / 4;
    return { function: w[o]!, index: 0, flags: 0, eax: w[o + 1]!, ebx: w[o + 2]!, ecx: w[o + 3]!, edx: w[o + 4]! };
  }));
}

function write_table(at: number, entries: readonly kvm_cpuid_entry[]): number {
  const words = new Uint32Array((entries.length * ENTRY2) / 4);
  entries.forEach((e, i) => { words.set([e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx], (i * ENTRY2) / 4); });
  return copy_to_user(at + HEADER, bytesOfWords(words));
}

export function kvm_vcpu_ioctl_get_cpuid2(vcpu: kvm_vcpu, at: number): number {
  const nent = read_header(at);
  if (nent < 0) return nent;
  const { cpuid_entries } = vcpu.arch;
  if (nent < cpuid_entries.length) return -E2BIG;
  if (write_table(at, cpuid_entries) !== 0) return -EFAULT;
  return copy_to_user(at, bytesOfWords(Uint32Array.of(cpuid_entries.length, 0))) !== 0 ? -EFAULT : 0;
}

/** KVM_GET_SUPPORTED_CPUID and KVM_GET_EMULATED_CPUID. */
export function kvm_dev_ioctl_get_cpuid(at: number, table: () => kvm_cpuid_entry[]): number {
  let nent = read_header(at);
  if (nent < 0) return nent;
  if (nent < 1) return -E2BIG;
  nent = Math.min(nent, KVM_MAX_CPUID_ENTRIES);
  const entries = table();
  if (entries.length > nent) return -E2BIG;
  if (write_table(at, entries) !== 0) return -EFAULT;
  return copy_to_user(at, bytesOfWords(Uint32Array.of(entries.length, 0))) !== 0 ? -EFAULT : 0;
}

// ---------------------------------------------------------------- the instruction

/** A leaf above the highest of its range answers as the highest basic leaf does on Intel. */
function out_of_range(vcpu: kvm_vcpu, fn: number): kvm_cpuid_entry | undefined {
  const basic = kvm_find_cpuid_entry(vcpu, 0);
  if (basic === undefined || (basic.ebx === 0x6874_7541 && basic.edx === 0x6974_6e65)) return undefined;   // AuthenticAMD gives zeros
  const first = fn >= 0x4000_0000 && fn <= 0x4fff_ffff ? (fn & 0xffff_ff00) >>> 0 : fn >= 0x8000_0000 && fn < 0xc000_0000 ? 0x8000_0000 : fn >= 0xc000_0000 ? 0xc000_0000 : 0;
  const range = kvm_find_cpuid_entry(vcpu, first);
  return range !== undefined && fn <= range.eax ? undefined : basic;
}

/** What CPUID gives this guest. */
export function kvm_cpuid(vcpu: kvm_vcpu, fn: number, index: number): { eax: number; ebx: number; ecx: number; edx: number } {
  const exact = kvm_find_cpuid_entry(vcpu, fn, index);
  if (exact !== undefined) return exact;
  const basic = out_of_range(vcpu, fn);
  if (basic !== undefined) return kvm_find_cpuid_entry(vcpu, basic.eax, index) ?? nothing;
  // Topology leaves answer subleaves beyond the last with the APIC id.
  if (fn === 0xb || fn === 0x1f) {
    const first = kvm_find_cpuid_entry(vcpu, fn, 1);
    if (first !== undefined) return { eax: 0, ebx: 0, ecx: index & 0xff, edx: first.edx };
  }
  return nothing;
}
