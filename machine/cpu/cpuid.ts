/**
 * What CPUID says. SDM Vol. 2 (CPUID). An Intel part with VMX whose feature bits are those of this simulator and no
 * others: a bit is set exactly when the instructions or registers behind it exist.
 */
import { VM_EXIT, type VmExit } from './hooks.ts';
import type { Insn } from './opcode-row.ts';
import { MAXPHYADDR } from './paging.ts';
import { type CpuState, RAX, RBX, RCX, RDX, STATE } from './state.ts';
import { setGpr32 } from './operands.ts';

export interface CpuidResult { eax: number; ebx: number; ecx: number; edx: number }

/** Bits by name, so that the lists below can be read. */
const bits = <T extends Record<string, number>>(names: T, on: readonly (keyof T)[]): number => on.reduce((sum, name) => sum | 1 << names[name]!, 0) >>> 0;

const LEAF1_ECX = { sse3: 0, pclmulqdq: 1, monitor: 3, vmx: 5, ssse3: 9, cx16: 13, pcid: 17, sse41: 19, sse42: 20, x2apic: 21, movbe: 22, popcnt: 23, tsc_deadline: 24, aes: 25, xsave: 26, osxsave: 27, rdrand: 30 } as const;
const LEAF1_EDX = {
  fpu: 0, vme: 1, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, mce: 7, cx8: 8, apic: 9, sep: 11, mtrr: 12, pge: 13, mca: 14, cmov: 15, pat: 16, pse36: 17, clflush: 19, mmx: 23, fxsr: 24, sse: 25, sse2: 26, ss: 27,
} as const;
const LEAF7_EBX = { fsgsbase: 0, tsc_adjust: 1, bmi1: 3, fdp_excptn_only: 6, smep: 7, bmi2: 8, erms: 9, invpcid: 10, zero_fcs_fds: 13, rdseed: 18, adx: 19, smap: 20, clflushopt: 23, sha: 29 } as const;
const LEAF7_ECX = { umip: 2, pku: 3, ospke: 4, rdpid: 22 } as const;
const LEAF7_EDX = { spec_ctrl: 26, stibp: 27, arch_capabilities: 29, ssbd: 31 } as const;
const EXTENDED1_ECX = { lahf_lm: 0, lzcnt: 5 } as const;
const EXTENDED1_EDX = { syscall: 11, nx: 20, pdpe1gb: 26, rdtscp: 27, lm: 29 } as const;

const leaf1Ecx = bits(LEAF1_ECX, ['sse3', 'pclmulqdq', 'monitor', 'vmx', 'ssse3', 'cx16', 'pcid', 'sse41', 'sse42', 'x2apic', 'movbe', 'popcnt', 'tsc_deadline', 'aes', 'xsave', 'rdrand']);
const leaf1Edx = bits(LEAF1_EDX, Object.keys(LEAF1_EDX) as (keyof typeof LEAF1_EDX)[]);
const leaf7Ebx = bits(LEAF7_EBX, Object.keys(LEAF7_EBX) as (keyof typeof LEAF7_EBX)[]);
const leaf7Ecx = bits(LEAF7_ECX, ['umip', 'pku', 'rdpid']);
const leaf7Edx = bits(LEAF7_EDX, ['spec_ctrl', 'stibp', 'arch_capabilities', 'ssbd']);
const extended1Ecx = bits(EXTENDED1_ECX, ['lahf_lm', 'lzcnt']);
const extended1Edx = bits(EXTENDED1_EDX, Object.keys(EXTENDED1_EDX) as (keyof typeof EXTENDED1_EDX)[]);

/** Family 6, model 0x5e, stepping 3: a Skylake client. */
export const SIGNATURE = 0x0005_06e3;
const BRAND = 'Vitrine simulated x86-64 processor';
const MAX_LEAF = 0x16, MAX_EXTENDED = 0x8000_0008;

const word = (text: string, i: number): number => {
  let value = 0;
  for (let k = 3; k >= 0; k--) value = value << 8 | (text.charCodeAt(i + k) || 0);
  return value >>> 0;
};
const row = (eax: number, ebx = 0, ecx = 0, edx = 0): CpuidResult => ({ eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 });

/** Leaf 4: type, level, line 64, ways, sets. */
const cache = (type: number, level: number, ways: number, sets: number): CpuidResult => row(type | level << 5 | 1 << 8, (ways - 1) << 22 | 63, sets - 1);
const caches = [cache(1, 1, 8, 64), cache(2, 1, 8, 64), cache(3, 2, 4, 1024), cache(3, 3, 16, 8192)];

/** Bytes of the XSAVE area: legacy region and header. */
const XSAVE_SIZE = 576;

/** The answer for a leaf and subleaf, on this processor as it stands (OSXSAVE and OSPKE follow CR4, APIC and MONITOR follow their MSRs). */
export function cpuidLeaf(cpu: CpuState, leaf: number, subleaf: number): CpuidResult {
  const topology = Math.max(0, 32 - Math.clz32(cpu.processors - 1));
  switch (leaf) {
    case 0: return row(MAX_LEAF, word('GenuineIntel', 0), word('GenuineIntel', 8), word('GenuineIntel', 4));
    case 1: {
      const osxsave = cpu.u32[STATE.cr4 >>> 2]! & 0x4_0000 ? 1 << LEAF1_ECX.osxsave : 0;
      const apicOff = cpu.u32[STATE.apic_base >>> 2]! & 0x800 ? 0 : 1 << LEAF1_EDX.apic;
      const monitorOff = cpu.u32[STATE.misc_enable >>> 2]! & 0x4_0000 ? 0 : 1 << LEAF1_ECX.monitor;
      const htt = cpu.processors > 1 ? 1 << 28 : 0;
      return row(SIGNATURE, cpu.id << 24 | Math.max(1, 1 << topology) << 16 | 8 << 8, leaf1Ecx & ~monitorOff | osxsave, (leaf1Edx & ~apicOff) | htt);
    }
    case 2: return row(0x00fe_ff01, 0, 0, 0);
    case 4: return caches[subleaf] ?? row(0);
    case 5: return row(64, 64, 3, 0);
    case 6: return row(4);
    case 7: return subleaf === 0 ? row(0, leaf7Ebx, leaf7Ecx | (cpu.u32[STATE.cr4 >>> 2]! & 0x40_0000 ? 1 << LEAF7_ECX.ospke : 0), leaf7Edx) : row(0);
    case 0xb:
      if (subleaf === 0) return row(0, 1, 0x100, cpu.id);
      if (subleaf === 1) return row(topology, cpu.processors, 0x201, cpu.id);
      return row(0, 0, subleaf & 0xff, cpu.id);
    // Subleaf 1: XSAVEOPT, XSAVEC and XGETBV with ECX = 1; no XSAVES.
    case 0xd: return subleaf === 0 ? row(3, XSAVE_SIZE, XSAVE_SIZE, 0) : subleaf === 1 ? row(7, XSAVE_SIZE) : row(0);
    // The crystal runs at 25 MHz; TSC = crystal × ebx / eax.
    case 0x15: return row(1000, Math.round(cpu.tscKhz / 25), 25_000_000);
    case 0x16: return row(Math.round(cpu.tscKhz / 1000), Math.round(cpu.tscKhz / 1000), 100);
    case 0x8000_0000: return row(MAX_EXTENDED);
    case 0x8000_0001: return row(0, 0, extended1Ecx, extended1Edx);
    case 0x8000_0002: case 0x8000_0003: case 0x8000_0004: {
      const i = (leaf - 0x8000_0002) * 16;
      return row(word(BRAND, i), word(BRAND, i + 4), word(BRAND, i + 8), word(BRAND, i + 12));
    }
    case 0x8000_0006: return row(0, 0, 64 | 6 << 12 | 256 << 16);
    // Invariant TSC.
    case 0x8000_0007: return row(0, 0, 0, 1 << 8);
    case 0x8000_0008: return row(MAXPHYADDR | 48 << 8);
  }
  // Beyond the highest basic leaf, Intel answers as for that leaf.
  if (leaf > MAX_LEAF && leaf < 0x8000_0000) return cpuidLeaf(cpu, MAX_LEAF, subleaf);
  return leaf > MAX_EXTENDED ? cpuidLeaf(cpu, MAX_LEAF, subleaf) : row(0);
}

const EXIT_REASON_CPUID = 10;
export function cpuid(cpu: CpuState, insn: Insn): VmExit | undefined {
  if (cpu.inGuest && cpu.vmx.instruction(cpu, insn, EXIT_REASON_CPUID, 0n)) return VM_EXIT;
  const { eax, ebx, ecx, edx } = cpuidLeaf(cpu, cpu.gpr32[2 * RAX]!, cpu.gpr32[2 * RCX]!);
  setGpr32(cpu, RAX, eax);
  setGpr32(cpu, RBX, ebx);
  setGpr32(cpu, RCX, ecx);
  setGpr32(cpu, RDX, edx);
  return undefined;
}
