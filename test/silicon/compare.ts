/** Two answers side by side: what cannot be compared is taken out of both, then they must be the same. */
import type { Insn } from '../../machine/cpu/opcode-row.ts';
import { ANSWER, type Answer, CASE, type Case, FXSAVE, USER_CS } from './layout.ts';
import { ignoreUndefined, undefinedMask } from './undefined.ts';

const RSP = 4;
/** CF PF AF ZF SF DF OF NT AC ID. */
const FLAGS = 0x24_4cd5;
/** #DF #TS #NP #SS #GP #PF #AC push an error code. */
const hasError = (vector: number): boolean => (0x27d00 >>> vector & 1) !== 0 && vector < 32;
const REGISTERS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
export const PARTS = ['trap and registers', 'flags', 'memory', 'x87 and SSE'] as const;

/** Takes out of an answer what is not the instruction's doing. `silicon`: it comes from the recorder. */
export function normalize(a: Answer, test: Case, insn: Insn, silicon: boolean): void {
  const { u8, u32, u64 } = a;
  if (silicon) {
    if (a.trap !== 14) u64[ANSWER.cr2 / 8] = 0n;
    if (!hasError(a.trap)) u64[ANSWER.error / 8] = 0n;
  }
  // Linux says of every address that is not a user program's that something is there.
  if (a.trap === 14 && u64[ANSWER.cr2 / 8]! >= 0x7fff_ffff_f000n) u64[ANSWER.error / 8] = u64[ANSWER.error / 8]! | 1n;
  const faulted = a.trap !== 3 && a.trap !== 1;
  u64[ANSWER.rflags / 8] = BigInt(u32[ANSWER.rflags / 4]! & FLAGS & ~(faulted ? 0 : undefinedMask(insn, test.gpr(1))));
  // The return from the kernel makes a null selector 0.
  for (let i = 0; i < 6; i++) if (a.u16[ANSWER.cs / 2 + i]! < 4) a.u16[ANSWER.cs / 2 + i] = 0;
  // The upper halves of registers mean nothing outside 64-bit mode.
  if (test.mode !== 64) for (let i = 0; i < 16; i++) u32[ANSWER.gpr / 4 + 2 * i + 1] = 0;
  // They are undefined once it has been left (Vol. 1, 3.4.1.1): the breakpoint there has taken that of RSP away.
  else if (a.u16[ANSWER.cs / 2] !== USER_CS) u32[ANSWER.gpr / 4 + 2 * RSP + 1] = 0;
  u32[(ANSWER.fxsave + FXSAVE.mxcsrMask) / 4] = 0;
  ignoreUndefined(a, test, insn, faulted);
  for (let i = 0; i < 8; i++) u8.fill(0, ANSWER.fxsave + FXSAVE.st + 16 * i + 10, ANSWER.fxsave + FXSAVE.st + 16 * i + 16);
  u8.fill(0, ANSWER.fxsave + FXSAVE.end, ANSWER.changes);
  u32[ANSWER.changes / 4 + 1] = 0;
}

function hash(words: Uint32Array, from: number, to: number, h: number): number {
  for (let i = from; i < to; i++) {
    h = Math.imul(h ^ words[i]!, 0x9e37_79b1);
    h = h << 13 | h >>> 19;
  }
  return h;
}
const fold = (h: number): number => { h ^= h >>> 15; h = Math.imul(h, 0x2c1b_3c6d); h ^= h >>> 12; return (h ^ h >>> 20) & 0xff; };

/** A normalized answer in 32 bits, eight for each of PARTS. */
export function digest(a: Answer): number {
  const { u32 } = a;
  const general = hash(u32, ANSWER.gpr / 4, ANSWER.fxsave / 4, hash(u32, ANSWER.trap / 4, ANSWER.rflags / 4, 1));
  return (fold(general) | fold(hash(u32, ANSWER.rflags / 4, ANSWER.gpr / 4, 2)) << 8
    | fold(hash(u32, ANSWER.change / 4, ANSWER.change / 4 + a.changes, 3)) << 16 | fold(hash(u32, ANSWER.fxsave / 4, ANSWER.changes / 4, 4)) << 24) >>> 0;
}
/** Which of PARTS two digests differ in. */
export const differingParts = (a: number, b: number): string[] => PARTS.filter((_, i) => (a ^ b) >>> 8 * i & 0xff);

const hex = (v: bigint | number, digits = 0): string => v.toString(16).padStart(digits, '0');
/** What two normalized answers differ in, in words. */
export function differences(want: Answer, got: Answer): string[] {
  const list: string[] = [];
  const one = (name: string, a: bigint | number, b: bigint | number, digits = 0) => { if (a !== b) list.push(`${name} ${hex(a, digits)}, here ${hex(b, digits)}`); };
  one('vector', want.trap, got.trap);
  for (const [name, at] of [['error', ANSWER.error], ['cr2', ANSWER.cr2], ['rip', ANSWER.rip], ['rflags', ANSWER.rflags], ['fs base', ANSWER.fsBase], ['gs base', ANSWER.gsBase]] as const) one(name, want.u64[at / 8]!, got.u64[at / 8]!);
  REGISTERS.forEach((name, i) => { one(name, want.u64[ANSWER.gpr / 8 + i]!, got.u64[ANSWER.gpr / 8 + i]!); });
  ['cs', 'ds', 'es', 'ss', 'fs', 'gs'].forEach((name, i) => { one(name, want.u16[ANSWER.cs / 2 + i]!, got.u16[ANSWER.cs / 2 + i]!); });
  const image = ANSWER.fxsave;
  for (const [name, at] of [['fcw', 0], ['fsw', 2], ['ftw', 4], ['fop', 6]] as const) one(name, want.u16[(image + at) / 2]!, got.u16[(image + at) / 2]!);
  one('fip', want.u64[(image + 8) / 8]!, got.u64[(image + 8) / 8]!);
  one('fdp', want.u64[(image + 16) / 8]!, got.u64[(image + 16) / 8]!);
  one('mxcsr', want.u32[(image + 24) / 4]!, got.u32[(image + 24) / 4]!);
  for (let i = 0; i < 8; i++) {
    const at = (image + FXSAVE.st + 16 * i) / 8;
    const text = (a: Answer) => `${hex(a.u64[at + 1]!, 4)}_${hex(a.u64[at]!, 16)}`;
    if (text(want) !== text(got)) list.push(`st${i} ${text(want)}, here ${text(got)}`);
  }
  for (let i = 0; i < 16; i++) {
    const at = (image + FXSAVE.xmm + 16 * i) / 8;
    const text = (a: Answer) => `${hex(a.u64[at + 1]!, 16)}_${hex(a.u64[at]!, 16)}`;
    if (text(want) !== text(got)) list.push(`xmm${i} ${text(want)}, here ${text(got)}`);
  }
  const memory = (a: Answer) => new Map(Array.from({ length: a.changes }, (_, i) => [a.u32[ANSWER.change / 4 + i]! >>> 8, a.u32[ANSWER.change / 4 + i]! & 0xff]));
  const w = memory(want), g = memory(got);
  const wrong = [...new Set([...w.keys(), ...g.keys()])].filter((at) => w.get(at) !== g.get(at)).sort((a, b) => a - b);
  if (wrong.length > 0) list.push(`memory ${wrong.slice(0, 24).map((at) => `+${hex(at)}: ${w.has(at) ? hex(w.get(at)!) : '='}, here ${g.has(at) ? hex(g.get(at)!) : '='}`).join('; ')}`);
  return list;
}

/** A case in words. */
export function describe(test: Case): string {
  const fx = CASE.fxsave;
  const u16 = (at: number) => hex(test.u16[(fx + at) / 2]!);
  return [
    `${Buffer.from(test.code).toString('hex')} at ${hex(test.codeAt)}, ${test.mode}-bit code, flags ${hex(test.rflags)}, cs ${hex(test.u16[CASE.cs / 2]!)} ds ${hex(test.u16[CASE.ds / 2]!)} es ${hex(test.u16[CASE.es / 2]!)}`,
    REGISTERS.map((name, i) => `${name}=${hex(test.gpr(i))}`).join(' '),
    `patches ${[0, 1].map((i) => `${hex(test.u32[CASE.patchAt / 4 + i]!)}: ${Buffer.from(test.u8.subarray(CASE.patch + 64 * i, CASE.patch + 64 * i + 64)).toString('hex')}`).join(', ')}`,
    `fcw ${u16(0)} fsw ${u16(2)} ftw ${u16(4)} mxcsr ${hex(test.u32[(fx + 24) / 4]!)} ${Array.from({ length: 8 }, (_, i) => `st${i}=${hex(test.u16[(fx + FXSAVE.st + 16 * i + 8) / 2]!, 4)}_${hex(test.u64[(fx + FXSAVE.st + 16 * i) / 8]!, 16)}`).join(' ')}`,
    Array.from({ length: 16 }, (_, i) => `xmm${i}=${hex(test.u64[(fx + FXSAVE.xmm + 16 * i) / 8 + 1]!, 16)}_${hex(test.u64[(fx + FXSAVE.xmm + 16 * i) / 8]!, 16)}`).join(' '),
  ].join('\n    ');
}
