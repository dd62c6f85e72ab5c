/**
 * Rows of the opcode table that are not compared with silicon instruction by instruction, and why: all others are.
 */
import type { Row } from '../../machine/cpu/opcode-row.ts';

const EXCLUDED: readonly (readonly [RegExp, string])[] = [
  [/^(RDTSC|RDTSCP|RDPMC)$/, 'counts the time of the processor it runs on'],
  [/^(RDRAND|RDSEED)$/, 'random'],
  [/^(CPUID|RDPID|XGETBV)$/, 'tells what the processor is'],
  [/^(SYSCALL|SYSENTER|INT|INT3|INT1)$/, 'enters the kernel of the recording machine'],
  [/^(SGDT|SIDT|SLDT|STR|SMSW)$/, 'emulated by Linux under UMIP'],
  [/^(VM.*|INVEPT|INVVPID|MONITOR|MWAIT)$/, 'depends on the hypervisor the recording ran under'],
  [/^(RDPKRU|WRPKRU)$/, 'needs CR4.PKE, which is the kernel\'s to set'],
  [/^(XSAVE|XSAVEOPT|XSAVEC|XSAVES|XRSTOR|XRSTORS)$/, 'the area depends on the components the processor has enabled'],
];

/** The reason why a row is not compared, or undefined. */
export function excluded(row: Row): string | undefined {
  return EXCLUDED.find(([mnemonic]) => mnemonic.test(row.mnemonic))?.[1];
}
