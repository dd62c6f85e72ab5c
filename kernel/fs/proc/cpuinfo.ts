/**
 * /proc/cpuinfo: what CPUID says, in the kernel's words.
 *
 * Linux: arch/x86/kernel/cpu/proc.c, arch/x86/include/asm/cpufeatures.h (names and order of the flags)
 */
import { cpuidLeaf } from '../../../machine/cpu/cpuid.ts';
import { machine } from '../../current.ts';

type Names = Readonly<Record<number, string>>;

/** Words of feature bits in the order Linux prints them: leaf, subleaf, register, names by bit. */
const words: readonly (readonly [leaf: number, subleaf: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', names: Names])[] = [
  [1, 0, 'edx', {
    0: 'fpu', 1: 'vme', 2: 'de', 3: 'pse', 4: 'tsc', 5: 'msr', 6: 'pae', 7: 'mce', 8: 'cx8', 9: 'apic', 11: 'sep', 12: 'mtrr', 13: 'pge', 14: 'mca', 15: 'cmov', 16: 'pat', 17: 'pse36',
    19: 'clflush', 23: 'mmx', 24: 'fxsr', 25: 'sse', 26: 'sse2', 27: 'ss', 28: 'ht',
  }],
  [0x8000_0001, 0, 'edx', { 11: 'syscall', 20: 'nx', 26: 'pdpe1gb', 27: 'rdtscp', 29: 'lm' }],
  [0x8000_0007, 0, 'edx', { 8: 'constant_tsc' }],
  [1, 0, 'ecx', {
    0: 'pni', 1: 'pclmulqdq', 3: 'monitor', 5: 'vmx', 9: 'ssse3', 12: 'fma', 13: 'cx16', 17: 'pcid', 19: 'sse4_1', 20: 'sse4_2', 21: 'x2apic', 22: 'movbe', 23: 'popcnt',
    24: 'tsc_deadline_timer', 25: 'aes', 26: 'xsave', 28: 'avx', 29: 'f16c', 30: 'rdrand', 31: 'hypervisor',
  }],
  [0x8000_0001, 0, 'ecx', { 0: 'lahf_lm', 5: 'abm', 8: '3dnowprefetch' }],
  [7, 0, 'ebx', { 0: 'fsgsbase', 1: 'tsc_adjust', 3: 'bmi1', 5: 'avx2', 7: 'smep', 8: 'bmi2', 9: 'erms', 10: 'invpcid', 18: 'rdseed', 19: 'adx', 20: 'smap', 23: 'clflushopt', 24: 'clwb', 29: 'sha_ni' }],
  [0xd, 1, 'eax', { 0: 'xsaveopt', 1: 'xsavec', 2: 'xgetbv1', 3: 'xsaves' }],
  [7, 0, 'ecx', { 2: 'umip', 22: 'rdpid' }],
  [7, 0, 'edx', { 4: 'fsrm', 29: 'arch_capabilities' }],
];

const text = (...registers: number[]): string =>
  String.fromCharCode(...registers.flatMap((r) => [r & 0xff, (r >>> 8) & 0xff, (r >>> 16) & 0xff, r >>> 24])).replace(/\0.*$/s, '');

export function cpuinfo(): string {
  const { processors, tscKhz } = machine();
  return processors.map(({ id, cpu }) => {
    const leaf0 = cpuidLeaf(cpu, 0, 0);
    const { eax, ebx } = cpuidLeaf(cpu, 1, 0);
    const family = (eax >>> 8) & 0xf;
    const model = ((eax >>> 4) & 0xf) | (family === 6 || family === 15 ? (eax >>> 12) & 0xf0 : 0);
    const brand = [2, 3, 4].map((n) => { const r = cpuidLeaf(cpu, 0x8000_0000 + n, 0); return text(r.eax, r.ebx, r.ecx, r.edx); }).join('');
    const flags = words.flatMap(([leaf, subleaf, register, names]) => {
      const value = cpuidLeaf(cpu, leaf, subleaf)[register];
      return Object.entries(names).filter(([bit]) => ((value >>> Number(bit)) & 1) !== 0).map(([, name]) => name);
    });
    const mhz = (tscKhz / 1000).toFixed(3);
    const rows: [string, string | number][] = [
      ['processor', id], ['vendor_id', text(leaf0.ebx, leaf0.edx, leaf0.ecx)], ['cpu family', family], ['model', model], ['model name', brand.trim()], ['stepping', eax & 0xf],
      ['cpu MHz', mhz], ['physical id', 0], ['siblings', processors.length], ['core id', id], ['cpu cores', processors.length], ['apicid', ebx >>> 24], ['initial apicid', ebx >>> 24],
      ['fpu', 'yes'], ['fpu_exception', 'yes'], ['cpuid level', leaf0.eax], ['wp', 'yes'], ['flags', flags.join(' ')], ['bugs', ''],
      ['bogomips', (tscKhz / 500).toFixed(2)], ['clflush size', 64], ['cache_alignment', 64],
      ['address sizes', `${cpuidLeaf(cpu, 0x8000_0008, 0).eax & 0xff} bits physical, ${(cpuidLeaf(cpu, 0x8000_0008, 0).eax >>> 8) & 0xff} bits virtual`], ['power management', ''],
    ];
    const tabs = (name: string): string => (name.length < 8 ? '\t\t' : name.length < 16 ? '\t' : '');
    return `${rows.map(([name, value]) => `${name}${tabs(name)}: ${value}`.trimEnd()).join('\n').replace(/^power management$/m, 'power management:')}\n\n`;
  }).join('');
}
