/**
 * -cpu: which of the features KVM supports the guest is told of. QEMU: target/i386/cpu.c, target/i386/kvm/kvm.c
 */
import { alloc_flex, free, ioctl } from '../userland/libc.ts';
import type { Sys } from '../abi/process.ts';
import { KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, kvm_cpuid2 } from '../abi/kvm/index.ts';

interface CpuModel {
  readonly description: string;
  /** What leaf 0 and leaf 1 say of the maker and the model; the host's own where undefined. */
  readonly vendor?: string;
  readonly signature?: number;
  readonly brand?: string;
  /** Features by leaf and register; those not named are hidden. All of the host's where undefined. */
  readonly features?: Readonly<Record<number, { readonly ebx?: number; readonly ecx?: number; readonly edx?: number }>>;
}

const CPUID_EXT_HYPERVISOR = 2 ** 31;
const KVM_CPUID_SIGNATURE = 0x4000_0000;
/** Room for what KVM reports; it answers E2BIG when that is not enough. */
const MAX_ENTRIES = 256;

/**
 * qemu64 is QEMU's machine-independent model: what every 64-bit processor has, plus SSE3 and CMPXCHG16B.
 * Bits as the SDM names them, volume 2A, CPUID.
 */
export const cpuModels: Readonly<Record<string, CpuModel>> = {
  host: { description: 'the processor KVM runs on, with all features KVM supports' },
  max: { description: 'all features this accelerator supports' },
  qemu64: {
    description: 'QEMU Virtual CPU version 2.5+',
    vendor: 'AuthenticAMD',
    signature: 0x0060_0fb1, // family 15, model 107, stepping 1
    brand: 'QEMU Virtual CPU version 2.5+',
    features: {
      0x1: { ecx: 0x8000_2001, edx: 0x078b_fbfd }, // HYPERVISOR CX16 SSE3; SSE2 SSE FXSR MMX CLFSH PSE36 PAT CMOV MCA PGE MTRR SEP APIC CX8 MCE PAE MSR TSC PSE DE FPU
      0x8000_0001: { ecx: 0x0000_0001, edx: 0x2010_0800 }, // LAHF_LM; LM NX SYSCALL
    },
  },
};

const word = (text: string, at: number): number => [3, 2, 1, 0].reduce((value, i) => value * 256 + (text.charCodeAt(at + i) || 0), 0);

/** Leaves of features; with a model's own list, one it does not name shows none. */
const FEATURE_LEAVES: readonly number[] = [0x1, 0x6, 0x7, 0xd, 0x14, 0x8000_0001, 0x8000_0007, 0x8000_0008];

/** Gives the vCPU its CPUID: what KVM supports, narrowed to the model, with the vCPU's own number as APIC ID. */
export function* kvm_set_cpuid(kvm: number, vcpu: number, modelName: string, index: number, cpus: number): Sys {
  const model = cpuModels[modelName] ?? { description: '' };
  const cpuid = yield* alloc_flex(kvm_cpuid2, MAX_ENTRIES);
  cpuid.nent = MAX_ENTRIES;
  yield* ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
  for (let i = 0; i < cpuid.nent; i++) {
    const entry = cpuid.entries.get(i);
    const leaf = entry.function;
    if (model.features !== undefined && FEATURE_LEAVES.includes(leaf) && leaf < KVM_CPUID_SIGNATURE + 2 ** 31) {
      const shown = model.features[leaf] ?? {};
      if (leaf !== 0x1 && leaf !== 0x8000_0008) entry.ebx = (entry.ebx & (shown.ebx ?? 0)) >>> 0;
      entry.ecx = (entry.ecx & (shown.ecx ?? 0)) >>> 0;
      entry.edx = (entry.edx & (shown.edx ?? 0)) >>> 0;
    }
    if (leaf === 0x0 && model.vendor !== undefined) [entry.ebx, entry.edx, entry.ecx] = [0, 4, 8].map((at) => word(model.vendor ?? '', at)) as [number, number, number];
    if (leaf === 0x1) {
      if (model.signature !== undefined) entry.eax = model.signature;
      entry.ebx = ((entry.ebx & 0x0000_ffff) | (Math.min(cpus, 255) << 16) | (index << 24)) >>> 0;
      entry.ecx = (entry.ecx | CPUID_EXT_HYPERVISOR) >>> 0;
    }
    if (leaf === 0xb) entry.edx = index;
    if (leaf >= 0x8000_0002 && leaf <= 0x8000_0004 && model.brand !== undefined) {
      const at = (leaf - 0x8000_0002) * 16;
      [entry.eax, entry.ebx, entry.ecx, entry.edx] = [0, 4, 8, 12].map((i4) => word(model.brand ?? '', at + i4)) as [number, number, number, number];
    }
  }
  yield* ioctl(vcpu, KVM_SET_CPUID2, cpuid);
  yield* free(cpuid);
}
