/**
 * Random bytes as code: what silicon refuses, how long it takes an instruction to be, and what it does then, against the
 * machine. A case ends after one instruction (RFLAGS.TF), so that the bytes behind it need not be known.
 */
import { createRequire } from 'node:module';
import type * as Iced from 'iced-x86';
import { decoder } from './encode.ts';
import { excluded } from './excluded.ts';
import { Comparison, type Summary } from './fresh.ts';
import { inexact } from './inexact.ts';
import { CASE, CODE, Case, DATA, FLAG_STEP, FXSAVE, LDT_CODE16, LDT_CODE32, LDT_DATA32, PATCH_SIZE, USER32_CS, USER_CS, USER_DS } from './layout.ts';
import { Random, quad, word } from './random.ts';

const iced = createRequire(import.meta.url)('iced-x86') as typeof Iced;
/** What the recording processor may have and the machine does not: an instruction of these is left out. */
const ABSENT = /^(AVX|AMX|KNC|FMA|XOP|TBM|F16C|VAES|VPCLMULQDQ|GFNI|RTM|HLE|CET|WAITPKG|CLWB|CLDEMOTE|MOVDIR|ENQCMD|SERIALIZE|TSXLDTRK|PTWRITE|UINTR|PKU|SMX|SGX|PCONFIG|WBNOINVD|XSAVE|MPX|KL|AESKLE|WIDE_KL|HRESET|SVM|SKINIT|D3NOW|CMPCCXADD|RAO_INT|PREFETCH|MONITOR|VMX|INVEPT|INVVPID|PADLOCK|CYRIX|CENTAUR|LWP|TSE|OSS|UDBG|MSRLIST|FRED|LKGS|TDX|SEV|RDPRU|MCOMMIT|CLZERO|INVLPGB|SHA512|SM3|SM4)/;

const LEGACY = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65];
function bytes(r: Random, long: boolean): number[] {
  const list: number[] = [];
  for (let n = r.once(8) ? r.below(14) : r.below(4); n > 0; n--) list.push(r.once(5) ? 0xf0 : r.pick(LEGACY));
  if (long && r.once(2)) list.push(0x40 | r.below(16));
  if (r.once(12)) list.push(r.pick(LEGACY));
  switch (r.below(8)) {
    case 0: case 1: case 2: break;
    case 3: case 4: list.push(0x0f); break;
    case 5: list.push(0x0f, 0x38); break;
    case 6: list.push(0x0f, 0x3a); break;
    default: if (r.once(2)) list.push(r.pick([0xc4, 0xc5, 0x62, 0x8f, 0x0f]));
  }
  while (list.length < 16) list.push(r.below(256));
  return list.slice(0, 16);
}

/** VEX and EVEX codes that the machine refuses: the recording processor may know them, and goes by their length. */
function isForeign(code: Uint8Array, bits: number, refused: boolean): boolean {
  const at = code.findIndex((b) => !LEGACY.includes(b) && (bits !== 64 || (b & 0xf0) !== 0x40));
  return at >= 0 && (code[at] === 0x62 || refused && (code[at] === 0xc4 || code[at] === 0xc5));
}

/** Whether the two processors can be expected to agree, and the case is harmless. */
function comparable(code: Uint8Array, bits: 16 | 32 | 64): boolean {
  const insn = decoder.decode(code, 0, code.length, bits / 8 as 2 | 4 | 8);
  if (!insn || isForeign(code, bits, insn.row.opcode === '') || excluded(insn.row) !== undefined || inexact(insn.row) !== undefined) return false;
  const d = new iced.Decoder(bits, code, iced.DecoderOptions.None);
  const i = d.decode();
  try {
    return i.code === iced.Code.INVALID || !Array.from(i.cpuidFeatures() as Iterable<number>, (f) => iced.CpuidFeature[f]!).some((f) => ABSENT.test(f));
  } finally {
    i.free();
    d.free();
  }
}

function fill(test: Case, code: readonly number[], mode: 64 | 32 | 16, r: Random): void {
  const { u8, u16, u32, u64 } = test;
  const segmented = mode === 16 || mode === 32 && r.once(2);
  u8.fill(0);
  u32[CASE.mode / 4] = mode;
  u32[CASE.flags / 4] = FLAG_STEP;
  u32[CASE.length / 4] = code.length;
  u32[CASE.codeAt / 4] = CODE + 0x700;
  u8.set(code, CASE.code);
  const cs = mode === 64 ? USER_CS : mode === 16 ? LDT_CODE16 : segmented ? LDT_CODE32 : USER32_CS;
  u16[CASE.cs / 2] = cs;
  for (const at of [CASE.ds, CASE.es, CASE.ss]) u16[at / 2] = segmented ? LDT_DATA32 : USER_DS;
  u64[CASE.rip / 8] = BigInt(cs & 4 ? 0x700 : CODE + 0x700);
  u64[CASE.rflags / 8] = BigInt(0x202 | r.u32() & 0x8d5 | (r.once(8) ? 0x400 : 0));
  for (let i = 0; i < 16; i++) {
    if (i === 4 || r.below(3)) test.setGpr(i, BigInt((segmented ? 0 : DATA) + 0x200 + (r.below(0x1800) & ~7)));
    else quad(r, u32, CASE.gpr / 4 + 2 * i);
    if (mode !== 64) u32[CASE.gpr / 4 + 2 * i + 1] = 0;
  }
  u32[CASE.patchAt / 4] = DATA + r.below(0x1e00);
  u32[CASE.patchAt / 4 + 1] = DATA + r.below(0x1e00);
  u32[CASE.patchLength / 4] = PATCH_SIZE;
  for (let i = 0; i < PATCH_SIZE / 2; i++) u32[CASE.patch / 4 + i] = word(r);
  u16[(CASE.fxsave + FXSAVE.fcw) / 2] = 0x37f;
  u16[(CASE.fxsave + FXSAVE.ftw) / 2] = r.once(2) ? 0xff : 0;
  u32[(CASE.fxsave + FXSAVE.mxcsr) / 4] = 0x1f80;
  for (let i = 0; i < 8; i++) u16[(CASE.fxsave + FXSAVE.st + 16 * i) / 2 + 3] = 0x8000, u16[(CASE.fxsave + FXSAVE.st + 16 * i) / 2 + 4] = 0x4000 + i;
  for (let i = 0; i < 64; i++) u32[(CASE.fxsave + FXSAVE.xmm) / 4 + i] = word(r);
}

export function randomBytes(count: number, seed: number): Summary {
  const comparison = new Comparison();
  const r = new Random(seed, 0x6279_7465);
  for (let made = 0; made < count;) {
    const mode = r.pick([64, 64, 32, 16] as const);
    const code = bytes(r, mode === 64);
    const array = Uint8Array.from(code);
    if (!comparable(array, mode)) continue;
    const insn = decoder.decode(array, 0, 16, mode / 8 as 2 | 4 | 8)!;
    const test = new Case();
    fill(test, code, mode, r);
    comparison.add({ name: `${mode}-bit code, ${insn.row.opcode} ${insn.row.mnemonic}`, insn, test });
    made++;
  }
  comparison.flush();
  return comparison.summary;
}
