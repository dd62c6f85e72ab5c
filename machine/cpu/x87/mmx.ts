/**
 * MMX: eight 64-bit registers that lie in the mantissas of the x87 registers, lane arithmetic on them, and the SSE
 * instructions that touch them. SDM Vol. 1 ch. 9, Vol. 2.
 *
 * Every MMX instruction makes all x87 tags valid, the top of the stack 0 and the exponents all ones; EMMS makes the
 * tags empty.
 */
import { checkAlignment, explicit, linearAddress, probeWrite, readLinear, writeLinear } from '../memory.ts';
import type { Exec, Insn } from '../opcode-row.ts';
import { effectiveAddress, operandAddress, readGpr, writeGpr } from '../operands.ts';
import { type CpuState, RDI, fpu_state } from '../state.ts';
import { GP_VECTOR, raise, simdVector } from '../exceptions.ts';
import { DOUBLE, SINGLE, begin, direction, finish, fromInteger, integerOf } from '../soft-float.ts';
import { type X87, x87 } from './stack.ts';

const OFF = fpu_state.offset;
const SLOT = 16;

/** Eight bytes, seen as lanes of every width. */
class Lanes {
  readonly u8 = new Uint8Array(8);
  readonly s8 = new Int8Array(this.u8.buffer);
  readonly u16 = new Uint16Array(this.u8.buffer);
  readonly s16 = new Int16Array(this.u8.buffer);
  readonly u32 = new Uint32Array(this.u8.buffer);
  readonly s32 = new Int32Array(this.u8.buffer);
  readonly u64 = new BigUint64Array(this.u8.buffer);
}
type LaneType = 'u8' | 's8' | 'u16' | 's16' | 'u32' | 's32';
const d = new Lanes(), s = new Lanes();

const at = (reg: number) => OFF.st + (reg & 7) * SLOT;
function readMm(cpu: CpuState, reg: number, into: Lanes): void {
  into.u8.set(cpu.fpu.subarray(at(reg), at(reg) + 8));
}
function writeMm(cpu: CpuState, reg: number, from: Lanes): void {
  cpu.fpu.set(from.u8, at(reg));
  cpu.fpu[at(reg) + 8] = cpu.fpu[at(reg) + 9] = 0xff;
}

/** What begins every MMX instruction: a pending x87 exception is taken up, and the stack becomes a register file. */
function enter(cpu: CpuState): X87 {
  const f = x87(cpu);
  f.wait();
  while (f.top !== 0) f.incrementTop();
  f.tags = 0xff;
  return f;
}

/** The source operand; a pending x87 exception comes before a fault of memory. */
function readSource(cpu: CpuState, insn: Insn, size: 4 | 8): void {
  x87(cpu).wait();
  if (insn.mod === 3) return readMm(cpu, insn.rm, s);
  s.u64[0] = readLinear(cpu, operandAddress(cpu, insn, size), size, explicit(cpu));
}

/** mm op= mm/m64, by a function that changes d. `size`: what a memory operand has. */
const binary = (operate: (insn: Insn) => void, size: 4 | 8 = 8): Exec => (cpu, insn) => {
  readSource(cpu, insn, size);
  enter(cpu);
  if (insn.mod === 3) readMm(cpu, insn.rm, s);
  readMm(cpu, insn.reg, d);
  operate(insn);
  writeMm(cpu, insn.reg, d);
};
const lanes = (type: LaneType, f: (a: number, b: number) => number): Exec => binary(() => {
  const a = d[type], b = s[type];
  for (let i = 0; i < a.length; i++) a[i] = f(a[i]!, b[i]!);
});
const clamp = (low: number, high: number) => (n: number): number => Math.min(Math.max(n, low), high);
const saturate = { u8: clamp(0, 255), s8: clamp(-128, 127), u16: clamp(0, 65535), s16: clamp(-32768, 32767) } as const;

export const add = (type: LaneType): Exec => lanes(type, (a, b) => a + b);
export const subtract = (type: LaneType): Exec => lanes(type, (a, b) => a - b);
export const addSaturating = (type: keyof typeof saturate): Exec => lanes(type, (a, b) => saturate[type](a + b));
export const subtractSaturating = (type: keyof typeof saturate): Exec => lanes(type, (a, b) => saturate[type](a - b));
export const equal = (type: LaneType): Exec => lanes(type, (a, b) => (a === b ? -1 : 0));
export const greater = (type: LaneType): Exec => lanes(type, (a, b) => (a > b ? -1 : 0));
export const minimum = (type: LaneType): Exec => lanes(type, Math.min), maximum = (type: LaneType): Exec => lanes(type, Math.max);
export const average = (type: LaneType): Exec => lanes(type, (a, b) => (a + b + 1) >> 1);
export const multiplyLow = lanes('s16', (a, b) => a * b), multiplyHigh = lanes('s16', (a, b) => (a * b) >> 16), multiplyHighUnsigned = lanes('u16', (a, b) => (a * b) >>> 16);
export const bitwise = (f: (a: number, b: number) => number): Exec => lanes('u32', f);
export const addQuad = binary(() => { d.u64[0] = d.u64[0]! + s.u64[0]!; }), subtractQuad = binary(() => { d.u64[0] = d.u64[0]! - s.u64[0]!; });
export const multiplyUnsigned = binary(() => { d.u64[0] = BigInt(d.u32[0]!) * BigInt(s.u32[0]!); });
export const multiplyAdd = binary(() => {
  const a = Array.from(d.s16), b = s.s16;
  for (let i = 0; i < 2; i++) d.s32[i] = a[2 * i]! * b[2 * i]! + a[2 * i + 1]! * b[2 * i + 1]!;
});
export const sumOfDifferences = binary(() => {
  let sum = 0;
  for (let i = 0; i < 8; i++) sum += Math.abs(d.u8[i]! - s.u8[i]!);
  d.u64[0] = BigInt(sum);
});

/** PACKSSWB, PACKSSDW, PACKUSWB: the wide lanes of both, saturated into narrow ones. */
export const pack = (from: 's16' | 's32', to: 's8' | 'u8' | 's16'): Exec => binary(() => {
  const wide = [...d[from], ...s[from]];
  wide.forEach((n, i) => { d[to][i] = saturate[to](n); });
});
/** PUNPCKL and PUNPCKH. */
export const unpack = (type: 'u8' | 'u16' | 'u32', high: boolean): Exec => binary(() => {
  const a = Array.from(d[type]), b = s[type];
  const half = a.length / 2, from = high ? half : 0;
  for (let i = 0; i < half; i++) {
    d[type][2 * i] = a[from + i]!;
    d[type][2 * i + 1] = b[from + i]!;
  }
}, high ? 8 : 4);
export const shuffle: Exec = binary((insn) => {
  const order = Number(insn.imm);
  for (let i = 0; i < 4; i++) d.u16[i] = s.u16[order >> 2 * i & 3]!;
});

// ---------------------------------------------------------------- SSSE3

export const absolute = (type: 's8' | 's16' | 's32'): Exec => lanes(type, (_a, b) => Math.abs(b));
export const sign = (type: 's8' | 's16' | 's32'): Exec => lanes(type, (a, b) => (b < 0 ? -a : b === 0 ? 0 : a));
/** Neighbours within the destination, then within the source. */
export const horizontal = (type: 's16' | 's32', f: (a: number, b: number) => number): Exec => binary(() => {
  const wide = [...d[type], ...s[type]];
  for (let i = 0; i < d[type].length; i++) d[type][i] = f(wide[2 * i]!, wide[2 * i + 1]!);
});
export const saturate16 = saturate.s16;
export const multiplyAddBytes = binary(() => {
  const a = Array.from(d.u8);
  for (let i = 0; i < 4; i++) d.s16[i] = saturate16(a[2 * i]! * s.s8[2 * i]! + a[2 * i + 1]! * s.s8[2 * i + 1]!);
});
export const multiplyRound = lanes('s16', (a, b) => ((a * b >> 14) + 1) >> 1);
export const shuffleBytes = binary(() => {
  const a = Array.from(d.u8);
  for (let i = 0; i < 8; i++) d.u8[i] = s.u8[i]! & 0x80 ? 0 : a[s.u8[i]! & 7]!;
});
export const alignRight = binary((insn) => {
  const both = [...s.u8, ...d.u8], n = Number(insn.imm);
  for (let i = 0; i < 8; i++) d.u8[i] = both[i + n] ?? 0;
});

// ---------------------------------------------------------------- shifts

const shiftLanes = (type: 'u16' | 's16' | 'u32' | 's32', left: boolean, count: number): void => {
  const bits = type.endsWith('16') ? 16 : 32;
  const a = d[type];
  const arithmetic = type.startsWith('s');
  for (let i = 0; i < a.length; i++) a[i] = count >= bits ? (arithmetic ? a[i]! >> 31 : 0) : left ? a[i]! << count : arithmetic ? a[i]! >> count : a[i]! >>> count;
};
const shiftQuad = (left: boolean, count: number): void => {
  d.u64[0] = count > 63 ? 0n : left ? d.u64[0]! << BigInt(count) : d.u64[0]! >> BigInt(count);
};
/** By the low 64 bits of the source, which saturate. */
export const shift = (type: 'u16' | 's16' | 'u32' | 's32' | 'u64', left: boolean): Exec => binary(() => {
  const count = s.u32[1] === 0 ? Math.min(s.u32[0]!, 64) : 64;
  if (type === 'u64') shiftQuad(left, count);
  else shiftLanes(type, left, count);
});
export const shiftImmediate = (type: 'u16' | 's16' | 'u32' | 's32' | 'u64', left: boolean): Exec => (cpu, insn) => {
  enter(cpu);
  readMm(cpu, insn.rm, d);
  const count = Number(insn.imm & 0xffn);
  if (type === 'u64') shiftQuad(left, count);
  else shiftLanes(type, left, count);
  writeMm(cpu, insn.rm, d);
};

// ---------------------------------------------------------------- moves

export const emms: Exec = (cpu) => {
  enter(cpu).tags = 0;
};
const wide = (insn: Insn): 4 | 8 => (insn.opSize === 8 ? 8 : 4);
/** Address of a memory operand that is sure to take a write: the x87 must not have changed when it does not. */
function writable(cpu: CpuState, insn: Insn, size: number): number {
  x87(cpu).wait();
  const to = operandAddress(cpu, insn, size, true);
  checkAlignment(cpu, to, size, explicit(cpu));
  probeWrite(cpu, to, size, explicit(cpu));
  return to;
}

/** MOVD and MOVQ from a general register or memory, and back. */
export const fromGeneral: Exec = (cpu, insn) => {
  const size = wide(insn);
  x87(cpu).wait();
  const value = insn.mod === 3 ? readGpr(cpu, insn, insn.rm, size) : readLinear(cpu, operandAddress(cpu, insn, size), size, explicit(cpu));
  enter(cpu);
  d.u64[0] = value;
  writeMm(cpu, insn.reg, d);
};
export const toGeneral: Exec = (cpu, insn) => {
  const size = wide(insn);
  const to = insn.mod === 3 ? undefined : writable(cpu, insn, size);
  enter(cpu);
  readMm(cpu, insn.reg, d);
  const value = size === 8 ? d.u64[0]! : BigInt(d.u32[0]!);
  if (to === undefined) writeGpr(cpu, insn, insn.rm, size, value);
  else writeLinear(cpu, to, size, value, explicit(cpu));
};
export const load: Exec = (cpu, insn) => {
  readSource(cpu, insn, 8);
  enter(cpu);
  if (insn.mod === 3) readMm(cpu, insn.rm, s);
  writeMm(cpu, insn.reg, s);
};
export const store: Exec = (cpu, insn) => {
  const to = insn.mod === 3 ? undefined : writable(cpu, insn, 8);
  enter(cpu);
  readMm(cpu, insn.reg, d);
  if (to === undefined) writeMm(cpu, insn.rm, d);
  else writeLinear(cpu, to, 8, d.u64[0]!, explicit(cpu));
};
export const insertWord: Exec = (cpu, insn) => {
  x87(cpu).wait();
  const value = insn.mod === 3 ? readGpr(cpu, insn, insn.rm, 2) : readLinear(cpu, operandAddress(cpu, insn, 2), 2, explicit(cpu));
  enter(cpu);
  readMm(cpu, insn.reg, d);
  d.u16[Number(insn.imm) & 3] = Number(value);
  writeMm(cpu, insn.reg, d);
};
export const extractWord: Exec = (cpu, insn) => {
  enter(cpu);
  readMm(cpu, insn.rm, d);
  writeGpr(cpu, insn, insn.reg, 4, BigInt(d.u16[Number(insn.imm) & 3]!));
};
export const moveMask: Exec = (cpu, insn) => {
  enter(cpu);
  readMm(cpu, insn.rm, d);
  writeGpr(cpu, insn, insn.reg, 4, BigInt(d.u8.reduce((bits, byte, i) => bits | (byte >> 7) << i, 0)));
};
/** MASKMOVQ: the bytes whose mask has its top bit set go to [rDI]. */
export const maskMove: Exec = (cpu, insn) => {
  x87(cpu).wait();
  const mask = (1n << BigInt(8 * insn.addrSize)) - 1n;
  const to = linearAddress(cpu, insn.seg, cpu.gpr[RDI]! & mask, 8, true);
  checkAlignment(cpu, to, 8, explicit(cpu));
  probeWrite(cpu, to, 8, explicit(cpu));
  enter(cpu);
  readMm(cpu, insn.reg, d);
  readMm(cpu, insn.rm, s);
  for (let i = 0; i < 8; i++) if (s.u8[i]! & 0x80) writeLinear(cpu, to + i, 1, BigInt(d.u8[i]!), explicit(cpu));
};

// ---------------------------------------------------------------- between MMX and XMM

const xmm = (cpu: CpuState, reg: number): DataView => new DataView(cpu.fpu.buffer, cpu.fpu.byteOffset + OFF.xmm + reg * 16, 16);
export const toXmm: Exec = (cpu, insn) => {
  enter(cpu);
  readMm(cpu, insn.rm, d);
  xmm(cpu, insn.reg).setBigUint64(0, d.u64[0]!, true);
  xmm(cpu, insn.reg).setBigUint64(8, 0n, true);
};
export const fromXmm: Exec = (cpu, insn) => {
  enter(cpu);
  d.u64[0] = xmm(cpu, insn.rm).getBigUint64(0, true);
  writeMm(cpu, insn.reg, d);
};

/** What is not masked is raised before the x87 state changes. */
function finishOrRaise(cpu: CpuState): void {
  if (!finish(cpu)) raise(cpu, simdVector(cpu));
}
/** CVTPI2PS and CVTPI2PD. A memory operand leaves the x87 alone, and an exception that waits there too. */
export const integersToFloats = (double: boolean): Exec => (cpu, insn) => {
  if (insn.mod === 3) {
    x87(cpu).wait();
    // The registers are still a stack.
    readMm(cpu, insn.rm - x87(cpu).top, s);
  } else s.u64[0] = readLinear(cpu, operandAddress(cpu, insn, 8), 8, explicit(cpu));
  begin(cpu);
  const values = [0, 1].map((i) => fromInteger(BigInt(s.s32[i]!), double ? DOUBLE : SINGLE));
  finishOrRaise(cpu);
  if (insn.mod === 3) enter(cpu);
  const to = xmm(cpu, insn.reg);
  values.forEach((value, i) => {
    if (double) to.setBigUint64(8 * i, value, true);
    else to.setUint32(4 * i, Number(value), true);
  });
};
/** CVTPS2PI, CVTTPS2PI, CVTPD2PI, CVTTPD2PI: out of range and NaN give 80000000h. */
export const floatsToIntegers = (double: boolean, truncate: boolean): Exec => (cpu, insn) => {
  const size = double ? 16 : 8;
  x87(cpu).wait();
  // Alignment comes before the segment's limits, whose base counts.
  if (double && insn.mod !== 3 && (effectiveAddress(cpu, insn) + cpu.segBase(insn.seg) & 15n) !== 0n) raise(cpu, GP_VECTOR);
  const base = insn.mod === 3 ? 0 : operandAddress(cpu, insn, size);
  if (!double && insn.mod !== 3) checkAlignment(cpu, base, 8, explicit(cpu));
  const bits = [0, size / 2].map((offset) => (insn.mod !== 3 ? readLinear(cpu, base + offset, double ? 8 : 4, explicit(cpu))
    : double ? xmm(cpu, insn.rm).getBigUint64(offset, true) : BigInt(xmm(cpu, insn.rm).getUint32(offset, true))));
  begin(cpu);
  const values = bits.map((value) => integerOf(value, double ? DOUBLE : SINGLE, 32, truncate ? 3 : direction()));
  finishOrRaise(cpu);
  enter(cpu);
  values.forEach((value, i) => { d.s32[i] = Number(value); });
  writeMm(cpu, insn.reg, d);
};
