/** CPUID tells the truth: a feature bit is set exactly when the instructions behind it are in the opcode table. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuidLeaf } from '../../machine/cpu/cpuid.ts';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';
import { TestCpu } from './support.ts';

const decoder = new Decoder(buildMaps(opcodeTable));
const known = (hex: string): boolean => {
  const bytes = Uint8Array.from(hex.split(' ').map((h) => Number.parseInt(h, 16)));
  return decoder.decode(bytes, 0, bytes.length, 8)?.row.mnemonic.startsWith('(') === false;
};

/** [leaf, register, bit, name, instructions of it] */
const features: readonly (readonly [number, 'eax' | 'ebx' | 'ecx' | 'edx', number, string, readonly string[]])[] = [
  [1, 'edx', 0, 'fpu', ['d9 e8', 'de c1', 'df e0']],
  [1, 'edx', 4, 'tsc', ['0f 31']],
  [1, 'edx', 5, 'msr', ['0f 30', '0f 32']],
  [1, 'edx', 8, 'cx8', ['0f c7 0e']],
  [1, 'edx', 11, 'sep', ['0f 34', '0f 35']],
  [1, 'edx', 15, 'cmov', ['0f 44 c1', 'da c1', 'db e9']],
  [1, 'edx', 19, 'clflush', ['0f ae 3e']],
  [1, 'edx', 23, 'mmx', ['0f 6f c1', '0f fe c1', '0f 77', '0f 71 d1 01']],
  [1, 'edx', 24, 'fxsr', ['0f ae 06', '0f ae 0e']],
  [1, 'edx', 25, 'sse', ['0f 10 c1', '0f 28 c1', 'f3 0f 10 c1', 'f3 0f 58 c1', '0f 58 c1', '0f 54 c1', '0f 57 c1', 'f3 0f 2a c1', 'f3 0f 2c c1', '0f 2e c1', '0f c6 c1 00', '0f 14 c1', '0f 51 c1', 'f3 0f 53 c1', '0f 16 c1', '0f 50 c1', '0f 2b 06', '0f ae 16', '0f 70 c1 00', '0f e7 06', '0f f7 c1', '0f 2a c1', '0f 2d c1', '0f e0 c1']],
  [1, 'edx', 26, 'sse2', ['66 0f 28 c1', 'f2 0f 10 c1', 'f2 0f 58 c1', '66 0f 59 c1', '66 0f 6e c1', 'f3 0f 7e c1', '66 0f 6f c1', 'f3 0f 6f c1', '66 0f fe c1', '66 0f ef c1', '66 0f 70 c1 00', '66 0f 72 f1 04', '66 0f 73 f9 04', '66 0f d4 c1',
    '66 0f 62 c1', '66 0f 6c c1', '66 0f 74 c1', '66 0f d7 c1', '66 0f f4 c1', '66 0f d5 c1', '66 0f 63 c1', '66 0f 67 c1', 'f2 0f 2d c1', 'f3 0f e6 c1', '66 0f e6 c1', '66 0f 5a c1', '0f c3 06', '0f d4 c1', '0f f4 c1', 'f3 0f d6 c1', 'f2 0f d6 c1', '66 0f 2a c1', '66 0f f6 c1', '66 0f c6 c1 00']],
  [1, 'ecx', 0, 'sse3', ['f2 0f f0 06', '66 0f 7c c1', 'f2 0f d0 c1', 'f2 0f 12 c1', 'f3 0f 16 c1', 'db 0e', 'df 0e', 'dd 0e']],
  [1, 'ecx', 1, 'pclmulqdq', ['66 0f 3a 44 c1 00']],
  [1, 'ecx', 9, 'ssse3', ['66 0f 38 00 c1', '0f 38 00 c1', '66 0f 38 0b c1', '66 0f 38 1e c1', '66 0f 3a 0f c1 01', '0f 3a 0f c1 01']],
  [1, 'ecx', 3, 'monitor', ['0f 01 c8', '0f 01 c9']],
  [1, 'ecx', 13, 'cx16', ['48 0f c7 0e']],
  [1, 'ecx', 19, 'sse4.1', ['66 0f 38 10 c1', '66 0f 38 17 c1', '66 0f 38 20 c1', '66 0f 38 2a 06', '66 0f 38 41 c1', '66 0f 3a 08 c1 00', '66 0f 3a 0b c1 00', '66 0f 3a 16 c1 00', '66 0f 3a 21 c1 00', '66 0f 3a 40 c1 00', '66 0f 3a 42 c1 00']],
  [1, 'ecx', 20, 'sse4.2', ['66 0f 38 37 c1', '66 0f 3a 60 c1 00', '66 0f 3a 63 c1 00', 'f2 0f 38 f1 c1', '66 0f 3a 41 c1 00']],
  [1, 'ecx', 22, 'movbe', ['0f 38 f0 06', '0f 38 f1 06']],
  [1, 'ecx', 23, 'popcnt', ['f3 0f b8 c1']],
  [1, 'ecx', 25, 'aes', ['66 0f 38 db c1', '66 0f 38 dc c1', '66 0f 38 df c1', '66 0f 3a df c1 00']],
  [1, 'ecx', 26, 'xsave', ['0f ae 26', '0f ae 2e', '0f 01 d0', '0f 01 d1']],
  [1, 'ecx', 28, 'avx', ['c5 f8 58 c1']],
  [1, 'ecx', 30, 'rdrand', ['0f c7 f0']],
  [0xd, 'eax', 0, 'xsaveopt', ['0f ae 36']],
  [0xd, 'eax', 1, 'xsavec', ['0f c7 26']],
  [0xd, 'eax', 3, 'xsaves', ['0f c7 2e', '0f c7 1e']],
  [7, 'ebx', 0, 'fsgsbase', ['f3 0f ae c0', 'f3 0f ae d8']],
  [7, 'ebx', 3, 'bmi1', ['c4 e2 78 f2 c1', 'c4 e2 78 f3 c9', 'f3 0f bc c1']],
  [7, 'ebx', 8, 'bmi2', ['c4 e2 7b f5 c1', 'c4 e2 7b f6 c1', 'c4 e3 7b f0 c1 05', 'c4 e2 79 f7 c1']],
  [7, 'ebx', 10, 'invpcid', ['66 0f 38 82 06']],
  [7, 'ebx', 18, 'rdseed', ['0f c7 f8']],
  [7, 'ebx', 19, 'adx', ['66 0f 38 f6 c1', 'f3 0f 38 f6 c1']],
  [7, 'ebx', 20, 'smap', ['0f 01 ca', '0f 01 cb']],
  [7, 'ebx', 23, 'clflushopt', ['66 0f ae 3e']],
  [7, 'ebx', 29, 'sha', ['0f 38 c8 c1', '0f 38 cd c1', '0f 3a cc c1 00']],
  [7, 'ecx', 3, 'pku', ['0f 01 ee', '0f 01 ef']],
  [7, 'ecx', 22, 'rdpid', ['f3 0f c7 f8']],
  [0x8000_0001, 'ecx', 0, 'lahf', ['9f', '9e']],
  [0x8000_0001, 'ecx', 5, 'lzcnt', ['f3 0f bd c1']],
  [0x8000_0001, 'edx', 11, 'syscall', ['0f 05', '0f 07']],
  [0x8000_0001, 'edx', 27, 'rdtscp', ['0f 01 f9']],
];

test('a feature is claimed exactly when its instructions are there', () => {
  const { cpu } = new TestCpu();
  const lies: string[] = [];
  for (const [leaf, register, bit, name, instructions] of features) {
    const claimed = (cpuidLeaf(cpu, leaf, leaf === 0xd ? 1 : 0)[register] >>> bit & 1) === 1;
    const missing = instructions.filter((i) => !known(i));
    if (claimed && missing.length > 0) lies.push(`${name} is claimed, but not there: ${missing.join(', ')}`);
    if (!claimed && missing.length === 0) lies.push(`${name} is there, but not claimed`);
  }
  assert.deepEqual(lies, []);
});
