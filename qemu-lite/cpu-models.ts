/**
 * -cpu: which of the features KVM supports the guest is told of. QEMU: target/i386/cpu.c, target/i386/kvm/kvm.c
 */
import { alloc_flex, free, ioctl } from '../userland/libc.ts';
import type { Sys } from '../abi/process.ts';
import { KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, kvm_cpuid2, type kvm_cpuid_entry2 } from '../abi/kvm/index.ts';

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

/** Leaves whose ECX and EDX, and EBX of those in the second list, are feature bits. */
const FEATURE_LEAVES: readonly number[] = [0x1, 0x6, 0x7, 0xd, 0x14, 0x8000_0001, 0x8000_0007, 0x8000_0008];
const EBX_FEATURE_LEAVES: readonly number[] = [0x7, 0x14, 0x8000_0007, 0x8000_0008];

/** Four characters of a text as a register holds them. */
const word = (text: string, at: number): number => [3, 2, 1, 0].reduce((value, i) => value * 256 + (text.charCodeAt(at + i) || 0), 0);

/** Hides what the model does not have and says what it calls itself. */
function narrow(entry: kvm_cpuid_entry2, { vendor, signature, brand, features }: CpuModel): void {
  const leaf = entry.function;
  if (features !== undefined && FEATURE_LEAVES.includes(leaf)) {
    const { ebx = 0, ecx = 0, edx = 0 } = features[leaf] ?? {};
    if (EBX_FEATURE_LEAVES.includes(leaf)) entry.ebx = (entry.ebx & ebx) >>> 0;
    entry.ecx = (entry.ecx & ecx) >>> 0;
    entry.edx = (entry.edx & edx) >>> 0;
  }
  if (leaf === 0x0 && vendor !== undefined) {
    entry.ebx = word(vendor, 0);
    entry.edx = word(vendor, 4);
    entry.ecx = word(vendor, 8);
  }
  if (leaf === 0x1 && signature !== undefined) entry.eax = signature;
  if (leaf >= 0x8000_0002 && leaf <= 0x8000_0004 && brand !== undefined) {
    const at = (leaf - 0x8000_0002) * 16;
    entry.eax = word(brand, at);
    entry.ebx = word(brand, at + 4);
    entry.ecx = word(brand, at + 8);
    entry.edx = word(brand, at + 12);
  }
}

/** Which of the VM's processors this one is. */
function identify(entry: kvm_cpuid_entry2, index: number, cpus: number): void {
  if (entry.function === 0x1) {
    entry.ebx = ((entry.ebx & 0x0000_ffff) | (Math.min(cpus, 255) << 16) | (index << 24)) >>> 0;
    entry.ecx = (entry.ecx | CPUID_EXT_HYPERVISOR) >>> 0;
  }
  if (entry.function === 0xb) entry.edx = index;
}

/** Gives the vCPU its CPUID: what KVM supports, narrowed to the model, with the vCPU's own number as APIC ID. */
export function* kvm_set_cpuid(kvm: number, vcpu: number, modelName: string, index: number, cpus: number): Sys {
  const model = cpuModels[modelName] ?? { description: '' };
  const cpuid = yield* alloc_flex(kvm_cpuid2, MAX_ENTRIES);
  cpuid.nent = MAX_ENTRIES;
  yield* ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
  for (let i = 0; i < cpuid.nent; i++) {
    const entry = cpuid.entries.get(i);
    narrow(entry, model);
    identify(entry, index, cpus);
  }
  yield* ioctl(vcpu, KVM_SET_CPUID2, cpuid);
  yield* free(cpuid);
}
