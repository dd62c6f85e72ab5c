/**
 * What the SDM leaves undefined after an instruction, and is therefore not compared. The last column says where: "Flags
 * Affected" of the instruction's page in Vol. 2, which for these says "undefined".
 */
import type { Insn } from '../../machine/cpu/opcode-row.ts';
import { ANSWER, type Answer, CODE_SIZE, CASE, type Case, DATA, FXSAVE, LDT_DATA32 } from './layout.ts';

const RSP = 4;
export const FLAG: Readonly<Record<string, number>> = { c: 1, p: 4, a: 0x10, z: 0x40, s: 0x80, o: 0x800 };

/** `count`: of a shift, masked to 5 or 6 bits; `bits`: the operand's width. */
type Undefined = string | ((count: number, bits: number) => string);
interface UndefinedFlags { readonly mnemonic: RegExp; readonly flags: Undefined; readonly where: string }

const u = (mnemonic: RegExp, flags: Undefined, where: string): UndefinedFlags => ({ mnemonic, flags, where });
export const undefinedFlags: readonly UndefinedFlags[] = [
  u(/^(AND|OR|XOR|TEST)$/, 'a', 'Vol. 2: AND, OR, XOR, TEST: AF undefined'),
  u(/^(ANDN|BLSR|BLSMSK|BLSI|BZHI)$/, 'ap', 'Vol. 2: ANDN, BLSR, BLSMSK, BLSI, BZHI: AF and PF undefined'),
  u(/^BEXTR$/, 'asp', 'Vol. 2: BEXTR: AF, SF, PF undefined'),
  u(/^(TZCNT|LZCNT)$/, 'ospa', 'Vol. 2: TZCNT, LZCNT: OF, SF, PF, AF undefined'),
  u(/^BS[FR]$/, 'cosap', 'Vol. 2: BSF, BSR: CF, OF, SF, AF, PF undefined'),
  u(/^BT[SRC]?$/, 'osap', 'Vol. 2: BT, BTS, BTR, BTC: OF, SF, AF, PF undefined'),
  u(/^I?MUL$/, 'szap', 'Vol. 2: MUL, IMUL: SF, ZF, AF, PF undefined'),
  u(/^I?DIV$/, 'coszap', 'Vol. 2: DIV, IDIV: CF, OF, SF, ZF, AF, PF undefined'),
  u(/^AA[AS]$/, 'oszp', 'Vol. 2: AAA, AAS: OF, SF, ZF, PF undefined'),
  u(/^AA[MD]$/, 'oac', 'Vol. 2: AAM, AAD: OF, AF, CF undefined'),
  u(/^DA[AS]$/, 'o', 'Vol. 2: DAA, DAS: OF undefined'),
  u(/^(ROL|ROR|RCL|RCR)$/, (n) => (n > 1 ? 'o' : ''), 'Vol. 2: RCL/RCR/ROL/ROR: OF undefined for counts above 1'),
  u(/^(SHL|SAL|SHR)$/, (n, bits) => (n === 0 ? '' : `a${n > 1 ? 'o' : ''}${n >= bits ? 'c' : ''}`), 'Vol. 2: SAL/SAR/SHL/SHR: AF undefined for counts above 0, OF above 1; CF for SHL and SHR by the operand size or more'),
  u(/^SAR$/, (n) => (n === 0 ? '' : n > 1 ? 'ao' : 'a'), 'Vol. 2: SAL/SAR/SHL/SHR, as above'),
  u(/^SH[LR]D$/, (n, bits) => (n === 0 ? '' : n > bits ? 'coszap' : n > 1 ? 'ao' : 'a'), 'Vol. 2: SHLD, SHRD: AF undefined; OF for counts above 1; all flags and the result for counts above the operand size'),
];

/** Undefined bits of RFLAGS after an instruction; `rcx` is what CL counts from. */
export function undefinedMask(insn: Insn, rcx: bigint): number {
  const { row } = insn;
  const entry = undefinedFlags.find((e) => e.mnemonic.test(row.mnemonic));
  if (!entry) return 0;
  const bits = row.operands[0]?.endsWith('b') ? 8 : 8 * insn.opSize;
  const last = row.operands.at(-1);
  const count = (last === 'CL' ? Number(rcx & 0xffn) : last === 'Ib' ? Number(insn.imm) : 1) & (bits === 64 ? 63 : 31);
  const letters = typeof entry.flags === 'string' ? entry.flags : entry.flags(count, bits);
  let mask = 0;
  for (const f of letters) mask |= FLAG[f]!;
  return mask;
}

/** Results that are not architectural, besides flags: which instruction, and what is taken out of its answer. */
interface UndefinedResult { readonly mnemonic: RegExp; readonly where: string; readonly ignore: (a: Answer, test: Case, insn: Insn, faulted: boolean) => void }

/** Takes memory from an answer. */
function forget(a: Answer, from: number, to: number): void {
  let kept = 0;
  for (let i = 0; i < a.changes; i++) {
    const change = a.u32[ANSWER.change / 4 + i]!;
    const linear = DATA + (change >>> 8) - CODE_SIZE;
    if (linear < from || linear >= to) a.u32[ANSWER.change / 4 + kept++] = change;
  }
  a.u32[ANSWER.changes / 4] = kept;
}
const stackTop = (test: Case): number => Number(BigInt.asUintN(test.mode === 64 ? 48 : 32, test.gpr(4))) + (test.mode !== 64 && test.u16[CASE.ss / 2] === LDT_DATA32 ? DATA : 0);

export const undefinedResults: readonly UndefinedResult[] = [
  {
    mnemonic: /^CALLF?$/, where: 'memory below the stack pointer after a fault: silicon has pushed before it looks at the target',
    ignore: (a, test, _insn, faulted) => { if (faulted) forget(a, stackTop(test) - 16, stackTop(test)); },
  },
  {
    mnemonic: /^POPA$/, where: 'registers after a fault: silicon keeps what it has popped by then, the machine has changed nothing',
    ignore: (a, _test, _insn, faulted) => { if (faulted) for (let i = 0; i < 8; i++) if (i !== RSP) a.u64[ANSWER.gpr / 8 + i] = 0n; },
  },
  {
    mnemonic: /^(MOVD|MOVQ|MOVNTQ|MASKMOVQ)$/, where: 'the top of the x87 stack after an MMX store that faulted: silicon has set it to 0, the machine has changed nothing',
    ignore: (a, _test, insn, faulted) => { if (faulted && insn.row.attributes.has('fpu')) { a.u8.fill(0, ANSWER.fxsave, ANSWER.fxsave + FXSAVE.mxcsr); a.u8.fill(0, ANSWER.fxsave + FXSAVE.st, ANSWER.fxsave + FXSAVE.xmm); } },
  },
  {
    mnemonic: /^(FLDENV|FNSTENV|FNSAVE|FRSTOR)$/, where: 'the address of a page fault names any byte of an operand of 14 to 108 bytes',
    ignore: (a) => { a.u32[ANSWER.cr2 / 4] = 0; },
  },
  {
    mnemonic: /^(FSTP|FBSTP)$/, where: 'memory after a fault of an 80-bit store: silicon may have written the first eight bytes',
    ignore: (a, _test, insn, faulted) => { if (faulted && insn.row.operands[0] === 'M') a.u32[ANSWER.changes / 4] = 0; },
  },
  {
    mnemonic: /^LAR$/, where: 'Vol. 2: LAR: bits 19:16 of the result are undefined; silicon gives those of the limit',
    ignore: (a, _test, insn, faulted) => { if (!faulted) a.u32[ANSWER.gpr / 4 + 2 * insn.reg] = a.u32[ANSWER.gpr / 4 + 2 * insn.reg]! & ~0xf_0000; },
  },
];

export function ignoreUndefined(a: Answer, test: Case, insn: Insn, faulted: boolean): void {
  for (const r of undefinedResults) if (r.mnemonic.test(insn.row.mnemonic)) r.ignore(a, test, insn, faulted);
}
