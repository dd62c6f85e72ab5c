/** The decoder against iced-x86: every opcode of the one-, two- and three-byte maps, and random bytes. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import type * as Iced from 'iced-x86';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { type Insn, RIP_BASE } from '../../machine/cpu/opcode-row.ts';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';

const iced = createRequire(import.meta.url)('iced-x86') as typeof Iced;
const decoder = new Decoder(buildMaps(opcodeTable));

/** What our processor does not have: instructions of these may decode to #UD. */
const ABSENT = new Set([
  'SSE4A', 'MMX', 'AESKLE', 'WIDE_KL', 'KL', 'GFNI', 'D3NOW', 'D3NOWEXT', 'RAO_INT', 'CET_SS', 'CET_IBT',
  'SMX', 'ENQCMD', 'MOVDIRI', 'MOVDIR64B', 'XSAVES', 'PADLOCK_ACE', 'PADLOCK_RNG', 'PADLOCK_PHE', 'PADLOCK_GMI', 'PADLOCK_UNDOC', 'PADLOCK_PMM',
  'CLDEMOTE', 'PTWRITE', 'SVM', 'WAITPKG', 'CLWB', 'RTM', 'SKINIT_or_SVM', 'LKGS', 'CLZERO', 'SGX1', 'PKU', 'MONITORX', 'INVLPGB', 'UINTR', 'TDX', 'SEV_ES',
  'SEV_SNP', 'OSS', 'PCONFIG', 'WRMSRNS', 'HLE_or_RTM', 'SERIALIZE', 'RDPRU', 'MCOMMIT', 'HRESET', 'TSXLDTRK', 'MSRLIST', 'FRED', 'TSE', 'RMPQUERY', 'AVX', 'AVX2', 'FMA', 'FMA4',
  'XOP', 'TBM', 'LWP', 'F16C', 'VPCLMULQDQ', 'CMPCCXADD', 'BHI', 'KNC', 'SM3', 'SM4', 'SHA512', 'MOVRS', 'AMX_TILE', 'PREFETCHITI', 'MVEX', 'SSE_or_CMOV',
]);
const isAbsent = (f: string): boolean => ABSENT.has(f) || /^(AVX|AMX|KNC)/.test(f);
/** VMFUNC: secondary controls never allow it. FEMMS, invalid registers of MOV CR, DR and Sreg: #UD when executed. */
const CHECKED_WHEN_RUN = /^(MOV|RDRAND|RDSEED|LAR|LSL)$/;
/** Of the SSE and SSE2 instructions, those on MMX registers. */
const MMX_REGISTERS = /^(Cvtp[ids]2p[ids]|Cvttp[ids]2pi|Movntq|Maskmovq|Pinsrw|Pextrw|Pshufw|Pmovmskb|Movq2dq|Movdq2q|P[a-z]+[bwdq]+|Paddq|Psubq|Pmuludq)$/;

type Verdict = 'same' | 'both refuse' | 'absent';

function compare(bits: 16 | 32 | 64, bytes: Uint8Array): Verdict {
  const d = new iced.Decoder(bits, bytes, iced.DecoderOptions.None);
  const i = d.decode();
  const ours = decoder.decode(bytes, 0, bytes.length, bits / 8 as 2 | 4 | 8);
  const context = `${bits} bits, ${Buffer.from(bytes).toString('hex')}`;
  try {
    assert.ok(ours, context);
    const refused = ours.row.opcode === '';
    const name = iced.Mnemonic[i.mnemonic]!;
    if (i.code === iced.Code.INVALID) {
      assert.ok(refused || CHECKED_WHEN_RUN.test(ours.row.mnemonic), `${context}: iced refuses what we take for ${ours.row.mnemonic}`);
      return 'both refuse';
    }
    if (refused) {
      const features = Array.from(i.cpuidFeatures() as Iterable<number>, (f) => iced.CpuidFeature[f]!);
      assert.ok(features.some(isAbsent) || (MMX_REGISTERS.test(name) && features.some((f) => f.startsWith('SSE'))) || name === 'Vmfunc' || bits < 64 && name === 'Getsec', `${context}: we refuse ${name} (${features})`);
      return 'absent';
    }
    assert.equal(ours.length, i.length, `${context}: length of ${name}`);
    operands(ours, i, context, name);
    return 'same';
  } finally {
    i.free();
    d.free();
  }
}

const MEMORY_REGISTERS: Readonly<Record<string, number>> = Object.fromEntries(
  ['A', 'C', 'D', 'B'].flatMap((l, n) => [[`${l}X`, n], [`E${l}X`, n], [`R${l}X`, n]]).concat(
    ['SP', 'BP', 'SI', 'DI'].flatMap((r, n) => [[r, n + 4], [`E${r}`, n + 4], [`R${r}`, n + 4]]),
    Array.from({ length: 8 }, (_, n) => [[`R${n + 8}`, n + 8], [`R${n + 8}D`, n + 8], [`R${n + 8}W`, n + 8]]).flat()) as [string, number][]);
const memoryRegister = (r: number): number => {
  const name = iced.Register[r]!;
  return name === 'None' ? -1 : name === 'RIP' || name === 'EIP' ? RIP_BASE : MEMORY_REGISTERS[name]!;
};

const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'];

/** The memory operand's parts, immediates and branch targets. */
function operands(ours: Insn, i: Iced.Instruction, context: string, name: string): void {
  for (let n = 0; n < i.opCount; n++) {
    const kind = i.opKind(n);
    if (kind === iced.OpKind.Memory && ours.mod !== 3) {
      let base = memoryRegister(i.memoryBase), index = memoryRegister(i.memoryIndex);
      const scale = Math.log2(i.memoryIndexScale);
      if (ours.addrSize === 2 && index >= 0 && base < 0) [base, index] = [index, -1];
      assert.equal(ours.base, base, `${context}: base of ${name}`);
      assert.equal(ours.index, index, `${context}: index of ${name}`);
      if (index >= 0) assert.equal(ours.scale, scale, `${context}: scale of ${name}`);
      const bits = 8 * ours.addrSize;
      const disp = base === RIP_BASE ? BigInt(ours.disp) + BigInt(ours.length) : BigInt(ours.disp);
      assert.equal(BigInt.asUintN(bits, disp), BigInt.asUintN(bits, BigInt(i.memoryDisplacement)), `${context}: displacement of ${name}`);
      // In 64-bit mode prefixes of other segments than FS and GS do nothing; iced names them all the same.
      const seg = SEGMENTS.indexOf(iced.Register[i.memorySegment]!);
      assert.ok(ours.seg === seg || ours.codeSize === 8 && seg < 4 && ours.seg < 4, `${context}: segment of ${name}`);
    } else if (kind === iced.OpKind.NearBranch16 || kind === iced.OpKind.NearBranch32 || kind === iced.OpKind.NearBranch64) {
      const bits = kind === iced.OpKind.NearBranch16 ? 16 : kind === iced.OpKind.NearBranch32 ? 32 : 64;
      assert.equal(BigInt.asUintN(bits, ours.imm + BigInt(ours.length)), BigInt(i.nearBranchTarget), `${context}: target of ${name}`);
    } else if (kind >= iced.OpKind.Immediate8 && kind <= iced.OpKind.Immediate32to64 && kind !== iced.OpKind.Immediate8_2nd && ours.row.operands.some((o) => o.startsWith('I'))) {
      const bits = 8 * Math.max(ours.opSize, 1);
      assert.equal(BigInt.asUintN(bits, ours.imm), BigInt.asUintN(bits, BigInt(i.immediate(n))), `${context}: immediate of ${name}`);
    }
  }
}

const TAIL = [0x24, 0x92, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x11, 0x22, 0x33, 0x44];
const PREFIXES = [[], [0x66], [0xf2], [0xf3], [0x67], [0xf0], [0x64], [0x66, 0xf3]];
const REX = [[0x48], [0x45], [0x66, 0x4f], [0xf3, 0x41], [0x41, 0x66]];
const ALONE = new Set([0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0xc4, 0xc5, 0x62]);

for (const bits of [16, 32, 64] as const) {
  test(`all opcodes decode as iced decodes them, with all prefixes, in ${bits}-bit code`, () => {
    const seen = { same: 0, 'both refuse': 0, absent: 0 };
    for (const map of [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]]) {
      for (const prefix of bits === 64 ? [...PREFIXES, ...REX] : PREFIXES) {
        for (let opcode = 0; opcode < 256; opcode++) {
          if (map.length === 0 && (ALONE.has(opcode) || bits === 64 && (opcode & 0xf0) === 0x40)) continue;
          if (map.length === 1 && (opcode === 0x38 || opcode === 0x3a || opcode === 0x0f)) continue;
          // Every reg field with a register and with each kind of address.
          for (let modrm = 0; modrm < 256; modrm += map.length === 2 ? 9 : 1) {
            if (prefix.length > 0 && modrm % 7 !== opcode % 7) continue;
            seen[compare(bits, Uint8Array.from([...prefix, ...map, opcode, modrm, ...TAIL].slice(0, 15)))]++;
          }
        }
      }
    }
    assert.ok(seen.same > 30_000 && seen['both refuse'] > 1000, JSON.stringify(seen));
  });

  test(`random bytes decode as iced decodes them in ${bits}-bit code`, () => {
    let seed = 12345 + bits;
    const random = () => (seed = Math.imul(seed, 1664525) + 1013904223 | 0) >>> 24;
    const seen = { same: 0, 'both refuse': 0, absent: 0 };
    for (let n = 0; n < 60_000; n++) {
      const bytes = Uint8Array.from({ length: 24 }, random);
      if (n % 3 === 0) bytes[0] = 0x0f;
      seen[compare(bits, bytes)]++;
    }
    assert.ok(seen.same > 20_000, JSON.stringify(seen));
  });
}

test('an instruction of more than 15 bytes raises #GP, one that ends early asks for more bytes', () => {
  const bytes = new Uint8Array(20).fill(0x66);
  bytes[14] = 0x90;
  assert.equal(decoder.decode(bytes, 0, 20, 4)!.row.mnemonic, 'NOP');
  bytes[14] = 0x66;
  bytes[15] = 0x90;
  assert.equal(decoder.decode(bytes, 0, 20, 4)!.row.mnemonic, '(too long)');
  assert.equal(decoder.decode(bytes, 0, 10, 4), undefined);
});
