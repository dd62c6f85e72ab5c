/** The names of CPUID's feature bits as -cpu takes them, by leaf, subleaf and register. QEMU: target/i386/cpu.c, feature_word_info */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';
export interface FeatureWord { readonly leaf: number; readonly index: number; readonly register: CpuidRegister; readonly names: Readonly<Record<number, string>> }

const word = (leaf: number, index: number, register: CpuidRegister, names: Readonly<Record<number, string>>): FeatureWord => ({ leaf, index, register, names });

export const featureWords: readonly FeatureWord[] = [
  word(0x1, 0, 'edx', {
    0: 'fpu', 1: 'vme', 2: 'de', 3: 'pse', 4: 'tsc', 5: 'msr', 6: 'pae', 7: 'mce', 8: 'cx8', 9: 'apic', 11: 'sep', 12: 'mtrr', 13: 'pge', 14: 'mca', 15: 'cmov', 16: 'pat', 17: 'pse36', 18: 'pn',
    19: 'clflush', 21: 'ds', 22: 'acpi', 23: 'mmx', 24: 'fxsr', 25: 'sse', 26: 'sse2', 27: 'ss', 28: 'ht', 29: 'tm', 30: 'ia64', 31: 'pbe',
  }),
  word(0x1, 0, 'ecx', {
    0: 'pni', 1: 'pclmulqdq', 2: 'dtes64', 3: 'monitor', 4: 'ds-cpl', 5: 'vmx', 6: 'smx', 7: 'est', 8: 'tm2', 9: 'ssse3', 10: 'cid', 12: 'fma', 13: 'cx16', 14: 'xtpr', 15: 'pdcm', 17: 'pcid', 18: 'dca',
    19: 'sse4.1', 20: 'sse4.2', 21: 'x2apic', 22: 'movbe', 23: 'popcnt', 24: 'tsc-deadline', 25: 'aes', 26: 'xsave', 28: 'avx', 29: 'f16c', 30: 'rdrand', 31: 'hypervisor',
  }),
  word(0x6, 0, 'eax', { 2: 'arat' }),
  word(0x7, 0, 'ebx', {
    0: 'fsgsbase', 1: 'tsc-adjust', 2: 'sgx', 3: 'bmi1', 4: 'hle', 5: 'avx2', 6: 'fdp-excptn-only', 7: 'smep', 8: 'bmi2', 9: 'erms', 10: 'invpcid', 11: 'rtm', 13: 'zero-fcs-fds', 14: 'mpx', 16: 'avx512f', 17: 'avx512dq', 18: 'rdseed', 19: 'adx', 20: 'smap',
    21: 'avx512ifma', 22: 'pcommit', 23: 'clflushopt', 24: 'clwb', 25: 'intel-pt', 26: 'avx512pf', 27: 'avx512er', 28: 'avx512cd', 29: 'sha-ni', 30: 'avx512bw', 31: 'avx512vl',
  }),
  word(0x7, 0, 'ecx', { 1: 'avx512vbmi', 2: 'umip', 3: 'pku', 5: 'waitpkg', 6: 'avx512vbmi2', 8: 'gfni', 9: 'vaes', 10: 'vpclmulqdq', 11: 'avx512vnni', 12: 'avx512bitalg', 14: 'avx512-vpopcntdq', 16: 'la57', 22: 'rdpid', 24: 'bus-lock-detect', 25: 'cldemote', 27: 'movdiri', 28: 'movdir64b', 30: 'sgxlc', 31: 'pks' }),
  word(0x7, 0, 'edx', { 2: 'avx512-4vnniw', 3: 'avx512-4fmaps', 4: 'fsrm', 8: 'avx512-vp2intersect', 10: 'md-clear', 14: 'serialize', 16: 'tsx-ldtrk', 22: 'amx-bf16', 23: 'avx512-fp16', 24: 'amx-tile', 25: 'amx-int8', 26: 'spec-ctrl', 27: 'stibp', 28: 'flush-l1d', 29: 'arch-capabilities', 30: 'core-capability', 31: 'ssbd' }),
  word(0xd, 1, 'eax', { 0: 'xsaveopt', 1: 'xsavec', 2: 'xgetbv1', 3: 'xsaves', 4: 'xfd' }),
  word(0x4000_0001, 0, 'eax', {
    0: 'kvmclock', 1: 'kvm-nopiodelay', 2: 'kvm-mmu', 3: 'kvmclock2', 4: 'kvm-asyncpf', 5: 'kvm-steal-time', 6: 'kvm-pv-eoi', 7: 'kvm-pv-unhalt', 9: 'kvm-pv-tlb-flush', 10: 'kvm-asyncpf-vmexit', 11: 'kvm-pv-ipi',
    12: 'kvm-poll-control', 13: 'kvm-pv-sched-yield', 14: 'kvm-asyncpf-int', 15: 'kvm-msi-ext-dest-id', 24: 'kvmclock-stable-bit',
  }),
  word(0x8000_0001, 0, 'edx', { 11: 'syscall', 19: 'mp', 20: 'nx', 22: 'mmxext', 25: 'fxsr-opt', 26: 'pdpe1gb', 27: 'rdtscp', 29: 'lm', 30: '3dnowext', 31: '3dnow' }),
  word(0x8000_0001, 0, 'ecx', { 0: 'lahf-lm', 1: 'cmp-legacy', 2: 'svm', 3: 'extapic', 4: 'cr8legacy', 5: 'abm', 6: 'sse4a', 7: 'misalignsse', 8: '3dnowprefetch', 9: 'osvw', 10: 'ibs', 11: 'xop', 12: 'skinit', 13: 'wdt', 15: 'lwp', 16: 'fma4', 17: 'tce', 19: 'nodeid-msr', 21: 'tbm', 22: 'topoext', 23: 'perfctr-core', 24: 'perfctr-nb' }),
  word(0x8000_0007, 0, 'edx', { 8: 'invtsc' }),
  word(0x8000_0008, 0, 'ebx', { 0: 'clzero', 2: 'xsaveerptr', 9: 'wbnoinvd', 12: 'ibpb', 14: 'ibrs', 15: 'amd-stibp', 24: 'amd-ssbd', 25: 'virt-ssbd', 26: 'amd-no-ssb', 28: 'amd-psfd' }),
];

/** Other spellings. */
const ALIASES: Readonly<Record<string, string>> = { sse3: 'pni', pclmuldq: 'pclmulqdq', 'sse4-1': 'sse4.1', 'sse4-2': 'sse4.2', xd: 'nx', i64: 'lm', 'ds-cpl': 'ds-cpl', 'ffxsr': 'fxsr-opt' };
/** With underscores for hyphens as well. */
export const featureName = (text: string): string => { const name = text.replaceAll('_', '-'); return ALIASES[name] ?? name; };

export interface Feature { readonly name: string; readonly word: FeatureWord; readonly bit: number }
const byName: ReadonlyMap<string, Feature> = new Map(featureWords.flatMap((w) => Object.entries(w.names).map(([bit, name]): [string, Feature] => [name, { name, word: w, bit: Number(bit) }])));
export const findFeature = (text: string): Feature | undefined => byName.get(featureName(text));

/** "CPUID.07H:EBX.avx512f [bit 16]" */
export const featureText = ({ name, word: w, bit }: Feature): string => `CPUID.${w.leaf.toString(16).toUpperCase().padStart(2, '0')}H:${w.register.toUpperCase()}.${name} [bit ${bit}]`;
