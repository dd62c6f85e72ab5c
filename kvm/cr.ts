/**
 * Control registers as a guest or user space sets them: which values are legal, and what follows from one.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_set_cr0, kvm_set_cr3, kvm_set_cr4, kvm_set_xcr)
 */
import { kvm_cpu_cap, kvm_update_cpuid_runtime, kvm_vcpu_is_illegal_gpa, guest_cpuid_has } from './cpuid.ts';
import { kvm_read_guest_u64 } from './guest-memory.ts';
import { type kvm_vcpu, is_64_bit_mode, is_long_mode, is_pae, is_pae_paging, is_paging, kvm_read_cr0, kvm_read_cr3, kvm_read_cr4, kvm_x86, KVM_REQ_EVENT, kvm_make_request } from './kvm_host.ts';

const PE = 1n, PG = 0x8000_0000n, NW = 0x2000_0000n, CD = 0x4000_0000n, ET = 0x10n;
/** PE MP EM TS ET NE WP AM NW CD PG. */
const CR0_BITS = 0xe005_003fn;
const PAE = 0x20n, PCIDE = 0x20000n;
const PDPTR_BITS_CR0 = CD | NW | PG;
const PDPTR_BITS_CR4 = 0x80n | 0x10n | PAE | 0x100000n;

type Has = (fn: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', bit: number) => boolean;
/** CR4 bits that need a feature, and where CPUID tells of it. */
const CR4_FEATURES: readonly (readonly [bigint, number, 'eax' | 'ebx' | 'ecx' | 'edx', number])[] = [
  [1n << 18n, 1, 'ecx', 26],      // OSXSAVE: XSAVE
  [1n << 20n, 7, 'ebx', 7],       // SMEP
  [1n << 21n, 7, 'ebx', 20],      // SMAP
  [1n << 16n, 7, 'ebx', 0],       // FSGSBASE
  [1n << 22n, 7, 'ecx', 3],       // PKE: PKU
  [1n << 12n, 7, 'ecx', 16],      // LA57
  [1n << 11n, 7, 'ecx', 2],       // UMIP
  [1n << 13n, 1, 'ecx', 5],       // VMXE: VMX, which needs nesting
  [PCIDE, 1, 'ecx', 17],          // PCID
];
/** VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT and what the table names. */
const CR4_BITS = CR4_FEATURES.reduce((all, [bit]) => all | bit, 0x7ffn);

/** Bits of CR4 that may not be set where these features are. */
export const cr4_reserved_for = (has: Has): bigint =>
  CR4_FEATURES.reduce((reserved, [bit, fn, register, at]) => (has(fn, register, at) ? reserved : reserved | bit), BigInt.asUintN(64, ~CR4_BITS));

export function kvm_is_valid_cr0(vcpu: kvm_vcpu, cr0: bigint): boolean {
  if (cr0 >> 32n !== 0n) return false;
  if ((cr0 & NW) !== 0n && (cr0 & CD) === 0n) return false;
  if ((cr0 & PG) !== 0n && (cr0 & PE) === 0n) return false;
  return kvm_x86.is_valid_cr0(vcpu, cr0);
}
export const kvm_is_valid_cr4 = (vcpu: kvm_vcpu, cr4: bigint): boolean =>
  (cr4 & cr4_reserved_for(kvm_cpu_cap)) === 0n && (cr4 & vcpu.arch.cr4_guest_rsvd_bits) === 0n && kvm_x86.is_valid_cr4(vcpu, cr4);

/** Loads the four PAE directory pointers. false: a reserved bit is set, or there is no memory. */
export function load_pdptrs(vcpu: kvm_vcpu, cr3: bigint): boolean {
  const at = Number(cr3 & 0xffff_ffe0n);
  const reserved = 0x1e6n | (1n << 63n) - (1n << BigInt(vcpu.arch.maxphyaddr)) | (1n << 63n);
  const pdptrs: bigint[] = [];
  for (let i = 0; i < 4; i++) {
    const entry = kvm_read_guest_u64(vcpu, at + i * 8);
    if (entry === undefined || ((entry & 1n) !== 0n && (entry & reserved) !== 0n)) return false;
    pdptrs.push(entry);
  }
  pdptrs.forEach((entry, i) => { kvm_x86.set_pdptr(vcpu, i, entry); });
  return true;
}

/** MOV to CR0, LMSW. 1: #GP(0). */
export function kvm_set_cr0(vcpu: kvm_vcpu, value: bigint): number {
  if (!kvm_is_valid_cr0(vcpu, value)) return 1;
  const old = kvm_read_cr0(vcpu);
  const cr0 = (value | ET) & CR0_BITS;
  const lme = (vcpu.arch.efer & 0x100n) !== 0n;
  if (lme && !is_paging(vcpu) && (cr0 & PG) !== 0n && (!is_pae(vcpu) || kvm_x86.get_cs_db_l_bits(vcpu).l !== 0)) return 1;
  if (!lme && (cr0 & PG) !== 0n && is_pae(vcpu) && ((cr0 ^ old) & PDPTR_BITS_CR0) !== 0n && !load_pdptrs(vcpu, kvm_read_cr3(vcpu))) return 1;
  if ((cr0 & PG) === 0n && (is_64_bit_mode(vcpu) || (kvm_read_cr4(vcpu) & PCIDE) !== 0n)) return 1;
  kvm_x86.set_cr0(vcpu, cr0);
  if (((cr0 ^ old) & PG) !== 0n) kvm_x86.flush_tlb_current(vcpu);
  return 0;
}

export function kvm_set_cr3(vcpu: kvm_vcpu, value: bigint): number {
  const cr3 = (kvm_read_cr4(vcpu) & PCIDE) !== 0n ? value & ~(1n << 63n) : value;
  if (kvm_vcpu_is_illegal_gpa(vcpu, cr3)) return 1;
  if (is_pae_paging(vcpu) && !load_pdptrs(vcpu, cr3)) return 1;
  kvm_x86.set_cr3(vcpu, cr3);
  kvm_x86.flush_tlb_current(vcpu);
  return 0;
}

export function kvm_set_cr4(vcpu: kvm_vcpu, cr4: bigint): number {
  const old = kvm_read_cr4(vcpu);
  if (!kvm_is_valid_cr4(vcpu, cr4)) return 1;
  if (is_long_mode(vcpu)) {
    if ((cr4 & PAE) === 0n) return 1;
  } else if (is_paging(vcpu) && (cr4 & PAE) !== 0n && ((cr4 ^ old) & PDPTR_BITS_CR4) !== 0n && !load_pdptrs(vcpu, kvm_read_cr3(vcpu))) return 1;
  if ((cr4 & PCIDE) !== 0n && (old & PCIDE) === 0n && (!is_long_mode(vcpu) || (kvm_read_cr3(vcpu) & 0xfffn) !== 0n)) return 1;
  kvm_x86.set_cr4(vcpu, cr4);
  if ((cr4 ^ old) !== 0n) kvm_x86.flush_tlb_current(vcpu);
  kvm_update_cpuid_runtime(vcpu);
  return 0;
}

export function kvm_set_cr8(vcpu: kvm_vcpu, value: bigint): number {
  if ((value & ~0xfn) !== 0n) return 1;
  const { apic } = vcpu.arch;
  if (apic !== undefined) apic.set_tpr(Number(value) << 4);
  else vcpu.arch.cr8 = Number(value);
  return 0;
}
export const cr8_of = (vcpu: kvm_vcpu): number => (vcpu.arch.apic !== undefined ? vcpu.arch.apic.get_tpr() >> 4 : vcpu.arch.cr8);
export const kvm_get_cr8 = (vcpu: kvm_vcpu): bigint => BigInt(cr8_of(vcpu));

/** XSETBV and KVM_SET_XCRS. 1: #GP(0). x87 is always on, and each state needs those below it. */
export function kvm_set_xcr(vcpu: kvm_vcpu, index: number, value: bigint): number {
  if (index !== 0) return 1;
  if ((value & 1n) === 0n || ((value & 4n) !== 0n && (value & 2n) === 0n)) return 1;
  if ((value & ~(vcpu.arch.guest_supported_xcr0 | 1n)) !== 0n) return 1;
  vcpu.arch.xcr0 = value;
  kvm_update_cpuid_runtime(vcpu);
  return 0;
}

const X2APIC_ENABLE = 0x400n, XAPIC_ENABLE = 0x800n;
/** IA32_APIC_BASE. 1: refused. */
export function kvm_set_apic_base(vcpu: kvm_vcpu, data: bigint, host: boolean): number {
  const reserved = BigInt.asUintN(64, ~((1n << BigInt(vcpu.arch.maxphyaddr)) - 1n)) | 0x2ffn | (guest_cpuid_has(vcpu, 1, 'ecx', 21) ? 0n : X2APIC_ENABLE);
  if ((data & reserved) !== 0n || (data & (X2APIC_ENABLE | XAPIC_ENABLE)) === X2APIC_ENABLE) return 1;
  if (!host) {
    const old = vcpu.arch.apic_base & (X2APIC_ENABLE | XAPIC_ENABLE);
    const mode = data & (X2APIC_ENABLE | XAPIC_ENABLE);
    if ((old === (X2APIC_ENABLE | XAPIC_ENABLE) && mode === XAPIC_ENABLE) || (old === 0n && mode === (X2APIC_ENABLE | XAPIC_ENABLE))) return 1;
  }
  vcpu.arch.apic_base = data;
  vcpu.arch.apic?.base_changed(data);
  kvm_update_cpuid_runtime(vcpu);
  kvm_make_request(KVM_REQ_EVENT, vcpu);
  return 0;
}
