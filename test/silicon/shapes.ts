/** What single instructions need of their registers and memory to do more than fault: counts, pointers, selectors, stacks. */
import { CODE, DATA, WRITABLE_SIZE } from './layout.ts';
import { type Random, word } from './random.ts';
import { farSelector } from './encode.ts';
import type { Situation } from './state.ts';

const RAX = 0, RCX = 1, RDX = 2, RBX = 3, RSP = 4, RBP = 5, RSI = 6, RDI = 7;
const SELECTORS = [0, 3, 0x23, 0x2b, 0x33, 0x20, 0x28, 0x2a, 0x07, 0x0f, 0x17, 0x1f, 0x15, 0x27, 0x7fff, 0xffff];

type Shape = (s: Situation) => void;
const inUse = (s: Situation, reg: number): boolean => s.form.memory && (s.insn.base === reg || s.insn.index === reg);
const set = (s: Situation, reg: number, v: bigint): void => { if (!inUse(s, reg)) s.test.setGpr(reg, s.insn.codeSize === 8 ? BigInt.asUintN(64, v) : BigInt.asUintN(32, v)); };
const small = (s: Situation, n: number): bigint => BigInt(s.r.below(n));
const codeTarget = (s: Situation): bigint => BigInt((s.test.u16[160]! & 4 ? 0 : CODE) + s.r.below(0x1ff0));

const counted: Shape = (s) => { if (s.r.below(4)) set(s, RCX, small(s, 72) | (s.r.once(4) ? s.r.u64() << 8n : 0n)); };
const repeated: Shape = (s) => {
  const { r } = s;
  const garbage = s.insn.addrSize === 4 && s.insn.codeSize === 8 && r.once(2) ? BigInt(r.u32()) << 32n : 0n;
  const up = (s.test.rflags & 0x400) === 0;
  const from = r.once(12) ? s.place() : DATA + 0x300 + r.below(0x1a00);
  const to = r.once(2) ? s.place() : from + r.below(80) - 40;
  if (s.insn.codeSize !== 8 && s.insn.addrSize === 2 && !s.segmented) return;
  set(s, RSI, s.pointer(from) | garbage);
  set(s, RDI, (s.insn.codeSize === 8 ? BigInt(to) : s.pointer(to)) | garbage);
  set(s, RCX, (r.once(10) ? small(s, 3000) : small(s, 40)) | garbage);
  if (/^(CMPS|SCAS)/.test(s.form.row.mnemonic)) {
    // Equal stretches.
    const fill = r.once(2) ? 0 : word(r);
    if (r.below(4)) for (const [which, at] of [[0, from], [1, to]] as const) s.patch(which, up ? at : at - 56, (d) => { for (let i = 0; i + 4 <= d.byteLength; i += 4) d.setUint32(i, r.once(30) ? word(r) : fill, true); });
    if (s.form.row.mnemonic === 'SCAS' && r.once(2)) set(s, RAX, BigInt(fill));
  }
};
/** A dividend that fits its quotient about half of the time. */
const dividend: Shape = (s) => {
  const size = s.form.operands[0]!.type === 'b' ? 1 : s.insn.opSize;
  if (size === 1) { if (s.r.once(2)) set(s, RAX, BigInt.asUintN(16, BigInt((s.r.u32() << 24 >> 24)))); return; }
  switch (s.r.below(3)) {
    case 0: set(s, RDX, 0n); break;
    case 1: set(s, RDX, BigInt.asIntN(8 * size, s.test.gpr(RAX)) < 0n ? -1n : 0n); break;
    default: if (s.r.once(2)) set(s, RDX, small(s, 64));
  }
};
/** The accumulator holds what it is compared with every other time. */
const exchange: Shape = (s) => {
  if (s.r.once(2)) return;
  const size = s.form.operands[0]!.type === 'b' ? 1 : s.insn.opSize;
  if (s.form.row.mnemonic === 'CMPXCHG8B') {
    const half = s.insn.opSize === 8 ? 8 : 4;
    if (s.target === undefined) return;
    set(s, RAX, s.peek(s.target, half));
    set(s, RDX, s.peek(s.target + half, half));
  } else if (s.target !== undefined) set(s, RAX, s.peek(s.target, size));
  else if (!s.form.memory) set(s, RAX, s.test.gpr(s.insn.rm));
};
/** Bit numbers that stay near. */
const bitString: Shape = (s) => { if (s.form.memory && s.form.row.operands[1] === 'Gv' && !s.r.once(10)) set(s, s.insn.reg, BigInt(s.r.below(0x2000) - 0x1000) | (s.insn.opSize < 8 ? BigInt(s.r.u32()) << BigInt(8 * s.insn.opSize) : 0n)); };
const selector: Shape = (s) => {
  const v = s.r.pick(SELECTORS);
  if (s.form.memory) { if (s.target !== undefined) s.patch(0, s.target, (d) => { if (d.byteLength >= 2) d.setUint16(0, v, true); }); }
  else s.test.setGpr(s.insn.rm, s.test.gpr(s.insn.rm) & ~0xffffn | BigInt(v));
};
const pointerTo = (s: Situation, view: DataView, size: number, offset: bigint): number => {
  if (view.byteLength < size + 2) return 0;
  if (size === 8) view.setBigUint64(0, offset, true); else if (size === 4) view.setUint32(0, Number(offset), true); else view.setUint16(0, Number(offset & 0xffffn), true);
  void s;
  return size;
};
const farMemory = (pick: (r: Random) => number): Shape => (s) => {
  if (s.target === undefined || s.r.once(8)) return;
  s.patch(0, s.target, (d) => { const at = pointerTo(s, d, s.insn.opSize, codeTarget(s)); if (at && d.byteLength >= at + 2) d.setUint16(at, pick(s.r), true); });
};
const jump: Shape = (s) => {
  if (s.r.once(4)) return;
  if (s.form.memory) { if (s.target !== undefined) s.patch(0, s.target, (d) => pointerTo(s, d, s.insn.opSize, codeTarget(s))); }
  else s.test.setGpr(s.insn.rm, codeTarget(s));
};
const stackOf = (s: Situation): number => Number(BigInt.asUintN(32, s.test.gpr(RSP))) + (s.segmented && s.insn.codeSize !== 8 ? DATA : 0);
const onStack = (s: Situation, words: readonly bigint[]): void => s.patch(1, stackOf(s), (d) => {
  const size = s.insn.opSize;
  words.forEach((v, i) => {
    if (d.byteLength < (i + 1) * size) return;
    if (size === 8) d.setBigUint64(8 * i, BigInt.asUintN(64, v), true); else if (size === 4) d.setUint32(4 * i, Number(BigInt.asUintN(32, v)), true); else d.setUint16(2 * i, Number(v & 0xffffn), true);
  });
});
/** TF would end the case elsewhere. */
const flagsImage = (r: Random): bigint => BigInt((r.u32() & 0x24_fed5 | 0x202) & ~0x100);
const ret: Shape = (s) => { if (s.r.below(6)) onStack(s, [codeTarget(s)]); };
const retFar: Shape = (s) => { if (s.r.below(8)) onStack(s, [codeTarget(s), BigInt(farSelector(s.r)), BigInt(stackOf(s)), 0x2bn]); };
const iret: Shape = (s) => { onStack(s, [codeTarget(s), BigInt(farSelector(s.r)), flagsImage(s.r) & ~0x4000n, BigInt(stackOf(s)), s.r.once(8) ? BigInt(s.r.pick(SELECTORS)) : 0x2bn]); };
const frame: Shape = (s) => { set(s, RBP, BigInt((s.r.once(8) ? s.place() : DATA + 0x400 + s.r.below(0x1800)) - (s.segmented && s.insn.codeSize !== 8 ? DATA : 0))); };
const within: Shape = (s) => {
  const { target: at, insn, r } = s;
  if (at === undefined || r.once(4)) return;
  s.patch(0, at, (d) => {
    if (d.byteLength < 2 * insn.opSize) return;
    const bits = 8 * insn.opSize;
    const low = BigInt.asIntN(bits, BigInt(word(r))), high = BigInt.asIntN(bits, low + small(s, 100));
    const v = BigInt.asUintN(32, r.pick([low, high, low - 1n, high + 1n]));
    if (bits === 32) { d.setInt32(0, Number(low), true); d.setInt32(4, Number(high), true); } else { d.setInt16(0, Number(low), true); d.setInt16(2, Number(high), true); }
    set(s, insn.reg, v);
  });
};
const controlWord = (mask: number, offset: number): Shape => (s) => {
  if (s.target === undefined || s.r.once(6)) return;
  s.patch(0, s.target, (d) => { if (d.byteLength >= offset + 4) d.setUint32(offset, word(s.r) & mask, true); });
};
/** FXRSTOR's image has an MXCSR that may be loaded. */
const image: Shape = (s) => {
  if (s.target === undefined) return;
  s.patch(0, s.target & ~15, (d) => { for (let i = 0; i + 4 <= d.byteLength; i += 4) d.setUint32(i, s.r.u32(), true); if (d.byteLength >= 28 && !s.r.once(6)) d.setUint32(24, s.r.u32() & 0xffff, true); });
};

const SHAPES: readonly (readonly [RegExp, Shape])[] = [
  [/^(ROL|ROR|RCL|RCR|SHL|SHR|SAL|SAR|SHLD|SHRD)$/, counted],
  [/^(MOVS|CMPS|STOS|LODS|SCAS|INS|OUTS)$/, repeated],
  [/^(DIV|IDIV)$/, dividend],
  [/^(CMPXCHG|CMPXCHG8B)$/, exchange],
  [/^BT[SRC]?$/, bitString],
  [/^(LOOP|LOOPE|LOOPNE|JCXZ)$/, (s) => { if (s.r.below(4)) set(s, RCX, BigInt.asUintN(64, BigInt(s.r.pick([0, 1, 2, 3, -1]))) | (s.r.once(4) ? 1n << 32n : 0n)); }],
  [/^(SHLX|SHRX|SARX|BEXTR|BZHI)$/, (s) => { if (s.r.once(2)) set(s, s.insn.vvvv, small(s, 80) | (s.r.once(2) ? small(s, 80) << 8n : 0n)); }],
  [/^XLAT$/, (s) => { if (s.insn.addrSize !== 2 || s.segmented) set(s, RBX, s.pointer(s.place())); }],
  [/^MASKMOV/, (s) => { set(s, RDI, s.pointer(s.r.once(4) ? s.place() : DATA + s.r.below(WRITABLE_SIZE - 16))); }],
  [/^(JMP|CALL)$/, (s) => { if (s.form.hasModrm) jump(s); }],
  [/^(JMPF|CALLF)$/, (s) => { if (s.form.memory) farMemory(farSelector)(s); }],
  [/^L[DEFGS]S$/, farMemory((r) => r.pick(SELECTORS))],
  [/^RET$/, ret], [/^RETF$/, retFar], [/^IRET$/, iret],
  [/^POPF$/, (s) => { onStack(s, [flagsImage(s.r)]); }],
  [/^(LEAVE|ENTER)$/, frame],
  [/^BOUND$/, within],
  [/^(LAR|LSL|VERR|VERW|LLDT|LTR|LMSW)$/, selector],
  [/^ARPL$/, selector],
  [/^MOV$/, (s) => { if (s.form.row.operands[0] === 'Sw') selector(s); }],
  [/^POP$/, (s) => { if (/^[DEFGS]S$/.test(s.form.row.operands[0]!)) onStack(s, [BigInt(s.r.pick(SELECTORS))]); }],
  [/^LDMXCSR$/, controlWord(0xffff, 0)],
  [/^FXRSTOR$/, image],
  [/^PCMPESTR/, (s) => { set(s, RAX, BigInt(s.r.below(40) - 20)); set(s, RDX, BigInt(s.r.below(40) - 20)); }],
];

export function shape(s: Situation): void {
  for (const [mnemonic, f] of SHAPES) if (mnemonic.test(s.form.row.mnemonic)) { f(s); return; }
}
