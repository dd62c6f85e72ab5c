/**
 * -cpu: which of the features KVM supports the guest is told of. QEMU: target/i386/cpu.c, target/i386/kvm/kvm.c
 */
import { alloc_flex, eputs, free, ioctl } from '../userland/libc.ts';
import type { Sys } from '../abi/process.ts';
import { KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2, kvm_cpuid2, type kvm_cpuid_entry2 } from '../abi/kvm/index.ts';
import { type Feature, type FeatureWord, featureText, featureWords, findFeature } from './cpu-features.ts';
import { OptionError } from './option-error.ts';

interface CpuModel {
  readonly description: string;
  /** What the guest is told of the maker and the model; the host's own where undefined. */
  readonly level?: number;
  readonly vendor?: string;
  readonly family?: number;
  readonly model?: number;
  readonly stepping?: number;
  readonly brand?: string;
  /** Names of its features; all of the host's where undefined. */
  readonly features?: string;
}

/** Room for what KVM reports; it answers E2BIG when that is not enough. */
const MAX_ENTRIES = 256;
const KVM_PV_LEAF = 0x4000_0001;

/** What every 64-bit model has, and what QEMU adds to each under KVM. */
const COMMON = 'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni syscall nx lm hypervisor x2apic ';
const CONROE = `${COMMON} ssse3 lahf-lm`, PENRYN = `${CONROE} cx16 sse4.1`, NEHALEM = `${PENRYN} sse4.2 popcnt`;

/** As `qemu-system-x86_64 -cpu help` names them. */
export const cpuModels: Readonly<Record<string, CpuModel>> = {
  host: { description: 'the processor KVM runs on, with all features KVM supports' },
  max: { description: 'all features this accelerator supports' },
  qemu64: {
    description: 'QEMU Virtual CPU version 2.5+', brand: 'QEMU Virtual CPU version 2.5+',
    level: 0xd, vendor: 'AuthenticAMD', family: 15, model: 107, stepping: 1, features: `${COMMON} cx16 lahf-lm`,
  },
  kvm64: {
    description: 'Common KVM processor', brand: 'Common KVM processor',
    level: 0xd, vendor: 'GenuineIntel', family: 15, model: 6, stepping: 1, features: `${COMMON} cx16`,
  },
  Opteron_G1: {
    description: 'AMD Opteron 240 (Gen 1 Class Opteron)', brand: 'AMD Opteron 240 (Gen 1 Class Opteron)',
    level: 5, vendor: 'AuthenticAMD', family: 15, model: 6, stepping: 1, features: COMMON,
  },
  Conroe: {
    description: 'Intel Celeron_4x0 (Conroe/Merom Class Core 2)', brand: 'Intel Celeron_4x0 (Conroe/Merom Class Core 2)',
    level: 10, vendor: 'GenuineIntel', family: 6, model: 15, stepping: 3, features: CONROE,
  },
  Penryn: {
    description: 'Intel Core 2 Duo P9xxx (Penryn Class Core 2)', brand: 'Intel Core 2 Duo P9xxx (Penryn Class Core 2)',
    level: 10, vendor: 'GenuineIntel', family: 6, model: 23, stepping: 3, features: PENRYN,
  },
  Nehalem: {
    description: 'Intel Core i7 9xx (Nehalem Class Core i7)', brand: 'Intel Core i7 9xx (Nehalem Class Core i7)',
    level: 11, vendor: 'GenuineIntel', family: 6, model: 26, stepping: 3, features: NEHALEM,
  },
  Westmere: {
    description: 'Westmere E56xx/L56xx/X56xx (Nehalem-C)', brand: 'Westmere E56xx/L56xx/X56xx (Nehalem-C)',
    level: 11, vendor: 'GenuineIntel', family: 6, model: 44, stepping: 1, features: `${NEHALEM} aes pclmulqdq arat`,
  },
};

// ---------------------------------------------------------------- the option

interface Cpu extends CpuModel {
  readonly requested: readonly Feature[];
  readonly removed: readonly Feature[];
  readonly enforce: boolean;
  readonly physBits?: number;
}
/** Accepted, and nothing to do: what they ask for is so. */
const ACCEPTED: readonly string[] = ['check', 'migratable', 'host-phys-bits', 'l3-cache', 'pmu', 'kvm', 'host-cache-info', 'fill-mtrr-mask', 'full-cpuid-auto-level', 'tcg-cpuid'];

/** MODEL[,+feature|-feature|feature=on|off|property=value…]. Throws OptionError with QEMU's words. */
export function parseCpu(text: string): Cpu {
  const [name = '', ...words] = text.split(',');
  const model = cpuModels[name];
  if (model === undefined) throw new OptionError(`unable to find CPU model '${name}'`);
  const requested: Feature[] = [], removed: Feature[] = [];
  const own: { -readonly [K in keyof Cpu]?: Cpu[K] } = {};
  for (const w of words.filter((v) => v !== '')) {
    const sign = w[0] === '+' || w[0] === '-' ? w[0] : '';
    const [key = '', value = sign === '-' ? 'off' : 'on'] = w.slice(sign.length).split('=');
    const feature = findFeature(key);
    const number = (): number => {
      if (!/^(0x[0-9a-f]+|\d+)$/i.test(value)) throw new OptionError(`Parameter '${key}' expects a number`);
      return Number(value);
    };
    if (feature !== undefined) {
      if (!['on', 'off', 'true', 'false', 'yes', 'no', 'y', 'n'].includes(value)) throw new OptionError(`Invalid parameter type for '${key}', expected: boolean`);
      (['on', 'true', 'yes', 'y'].includes(value) ? requested : removed).push(feature);
    } else if (key === 'vendor') {
      if (value.length !== 12) throw new OptionError(`Property '.vendor' doesn't take value '${value}'`);
      own.vendor = value;
    } else if (key === 'model-id') own.brand = value;
    else if (key === 'family') own.family = number();
    else if (key === 'model') own.model = number();
    else if (key === 'stepping') own.stepping = number();
    else if (key === 'level') own.level = number();
    else if (key === 'phys-bits') own.physBits = number();
    else if (key === 'enforce') own.enforce = value !== 'off';
    else if (!ACCEPTED.includes(key)) throw new OptionError(`Property '${name}-x86_64-cpu.${key}' not found`);
  }
  return { ...model, enforce: false, ...own, requested, removed };
}

// ---------------------------------------------------------------- the table

/** Four characters of a text as a register holds them. */
const word = (text: string, at: number): number => [3, 2, 1, 0].reduce((value, i) => value * 256 + (text.charCodeAt(at + i) || 0), 0);

/** The bits of a word that the guest is to be told of, of those KVM supports. */
export function wanted(w: FeatureWord, supported: number, { features, requested, removed }: Cpu): number {
  const mask = (list: readonly Feature[]) => list.reduce((bits, f) => (f.word === w ? bits | 1 << f.bit : bits), 0);
  const own = features === undefined || w.leaf === KVM_PV_LEAF ? -1 : mask(features.split(' ').flatMap((name) => findFeature(name) ?? []));
  return (supported & (own | mask(requested)) & ~mask(removed)) >>> 0;
}
/** Family, model and stepping as leaf 1 has them. */
function signature(family: number, model: number, stepping: number): number {
  return (Math.min(family, 15) << 8 | Math.max(family - 15, 0) << 20 | (model & 15) << 4 | model >> 4 << 16 | stepping) >>> 0;
}

/** Hides what the model does not have and says what it calls itself. */
function narrow(entry: kvm_cpuid_entry2, cpu: Cpu): void {
  const leaf = entry.function;
  for (const w of featureWords) if (w.leaf === leaf && w.index === entry.index) entry[w.register] = wanted(w, entry[w.register], cpu);
  // Of a named model, what no name stands for is hidden too.
  if (cpu.features !== undefined && leaf === 0x7) entry.eax = 0;
  if (leaf === 0x0) {
    if (cpu.level !== undefined) entry.eax = Math.min(entry.eax, Math.max(cpu.level, cpu.requested.reduce((most, f) => (f.word.leaf < 0x20 ? Math.max(most, f.word.leaf) : most), 0)));
    if (cpu.vendor !== undefined) {
      entry.ebx = word(cpu.vendor, 0);
      entry.edx = word(cpu.vendor, 4);
      entry.ecx = word(cpu.vendor, 8);
    }
  }
  if (leaf === 0x1 && (cpu.family !== undefined || cpu.model !== undefined || cpu.stepping !== undefined)) {
    const now = entry.eax;
    const family = (now >>> 8 & 15) + (now >>> 20 & 0xff);
    entry.eax = signature(cpu.family ?? family, cpu.model ?? ((now >>> 4 & 15) | (now >>> 12 & 0xf0)), cpu.stepping ?? (now & 15));
  }
  if (leaf >= 0x8000_0002 && leaf <= 0x8000_0004 && cpu.brand !== undefined) {
    const at = (leaf - 0x8000_0002) * 16;
    entry.eax = word(cpu.brand, at);
    entry.ebx = word(cpu.brand, at + 4);
    entry.ecx = word(cpu.brand, at + 8);
    entry.edx = word(cpu.brand, at + 12);
  }
  if (leaf === 0x8000_0008 && cpu.physBits !== undefined) entry.eax = (entry.eax & ~0xff | cpu.physBits) >>> 0;
}

/** Which of the VM's processors this one is. */
function identify(entry: kvm_cpuid_entry2, index: number, cpus: number): void {
  if (entry.function === 0x1) {
    entry.ebx = ((entry.ebx & 0x0000_ffff) | (Math.min(cpus, 255) << 16) | (index << 24)) >>> 0;
  }
  if (entry.function === 0xb) entry.edx = index;
}

/** Gives the vCPU its CPUID: what KVM supports, narrowed to the model, with the vCPU's own number as APIC ID. */
export function* kvm_set_cpuid(kvm: number, vcpu: number, text: string, index: number, cpus: number): Sys {
  const cpu = parseCpu(text);
  const cpuid = yield* alloc_flex(kvm_cpuid2, MAX_ENTRIES);
  cpuid.nent = MAX_ENTRIES;
  yield* ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
  const entries = Array.from({ length: cpuid.nent }, (_, i) => cpuid.entries.get(i));
  const missing = cpu.requested.filter(({ word: w, bit }) => ((entries.find((e) => e.function === w.leaf && e.index === w.index)?.[w.register] ?? 0) >>> bit & 1) === 0 && !cpu.removed.some((f) => f.word === w && f.bit === bit));
  for (const f of missing) yield* eputs(`qemu-lite: warning: host doesn't support requested feature: ${featureText(f)}`);
  if (cpu.enforce && missing.length > 0) throw new OptionError("Host doesn't support requested features");
  const xsave = cpu.features === undefined || cpu.requested.some((f) => f.name === 'xsave');
  const saves = xsave && !cpu.removed.some((f) => f.name === 'xsave');
  for (const entry of entries) {
    narrow(entry, cpu);
    if (entry.function === 0xd && !saves) entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
    identify(entry, index, cpus);
  }
  yield* ioctl(vcpu, KVM_SET_CPUID2, cpuid);
  yield* free(cpuid);
}
