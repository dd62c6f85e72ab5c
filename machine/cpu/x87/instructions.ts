/**
 * x87 instructions on the register stack and memory: loads, stores, arithmetic, comparison, control. SDM Vol. 2.
 */
import { NM_VECTOR, raise } from '../exceptions.ts';
import { checkAlignment, explicit, probeWrite, readLinear, writeLinear } from '../memory.ts';
import type { Exec, Insn } from '../opcode-row.ts';
import { operandAddress, writeGpr } from '../operands.ts';
import { type CpuState, X86_CR0_MP, X86_CR0_TS, X86_EFLAGS_AF, X86_EFLAGS_CF, X86_EFLAGS_OF, X86_EFLAGS_PF, X86_EFLAGS_SF, X86_EFLAGS_ZF } from '../state.ts';
import { type Operation, apply, compare, operations, root } from './arithmetic.ts';
import {
  DE, FLOAT32, FLOAT64, type Float80, IE, INDEFINITE, OE, ONE, PE, UE, fromFormat, fromInteger, isDenormal, isInfinite, isNaN80, isSignaling, isUnsupported, isZero, make, negated,
  quieted, toFormat, toInteger, zero,
} from './float80.ts';
import { C0, C1, C2, C3, type X87, x87 } from './stack.ts';

const st = (insn: Insn) => insn.rm & 7;
/** An instruction that first takes up a pending exception. */
const waiting = (body: (f: X87, cpu: CpuState, insn: Insn) => void): Exec => (cpu, insn) => {
  const f = x87(cpu);
  f.wait();
  body(f, cpu, insn);
};
const load = (cpu: CpuState, insn: Insn, size: 2 | 4 | 8): bigint => readLinear(cpu, operandAddress(cpu, insn, size), size, explicit(cpu));
const save = (cpu: CpuState, insn: Insn, size: 2 | 4 | 8, value: bigint): void => writeLinear(cpu, operandAddress(cpu, insn, size, true), size, BigInt.asUintN(8 * size, value), explicit(cpu));

// ---------------------------------------------------------------- memory operands as values

type Source = (cpu: CpuState, insn: Insn) => Float80;
export const m32: Source = (cpu, insn) => fromFormat(load(cpu, insn, 4), FLOAT32);
export const m64: Source = (cpu, insn) => fromFormat(load(cpu, insn, 8), FLOAT64);
export const i16: Source = (cpu, insn) => fromInteger(BigInt.asIntN(16, load(cpu, insn, 2)));
export const i32: Source = (cpu, insn) => fromInteger(BigInt.asIntN(32, load(cpu, insn, 4)));
export const i64: Source = (cpu, insn) => fromInteger(BigInt.asIntN(64, load(cpu, insn, 8)));
/** Eight bytes and then two, each with its segment, alignment and page. */
function read80(cpu: CpuState, insn: Insn): { low: bigint; high: bigint } {
  const low = readLinear(cpu, operandAddress(cpu, insn, 8), 8, explicit(cpu));
  return { low, high: readLinear(cpu, operandAddress(cpu, insn, 10) + 8, 2, explicit(cpu)) };
}
export const m80: Source = (cpu, insn) => {
  const { low: mantissa, high } = read80(cpu, insn);
  const head = Number(high);
  return make(head >> 15, head & 0x7fff, mantissa);
};

// ---------------------------------------------------------------- loads and constants

/** FLD m32/m64 look at what they load; FLD m80 and integers do not. */
export const fld = (source: Source, checks: boolean): Exec => waiting((f, cpu, insn) => {
  let value = source(cpu, insn);
  if (checks && !f.full && isSignaling(value)) {
    if (f.flag(IE)) return;
    value = quieted(value);
  } else if (checks && !f.full && isDenormal(value)) f.flag(DE);
  f.push(value);
});

export const fldSt = waiting((f, _cpu, insn) => {
  if (!f.isEmpty(st(insn))) f.push(f.get(st(insn)));
  else if (!f.stackFault(false)) f.pushUnchecked(INDEFINITE);
});
/** `above`: the rounded mantissa is above the exact one; what rounding down or up makes of it then is its neighbour. */
const constant = (exponent: number, mantissa: bigint, above: boolean): Exec => waiting((f) => {
  const { direction } = f;
  f.push(make(0, exponent, above && (direction === 1 || direction === 3) ? mantissa - 1n : !above && direction === 2 ? mantissa + 1n : mantissa));
});
export const fld1 = waiting((f) => f.push(ONE)), fldz = waiting((f) => f.push(zero(0)));
export const fldl2t = constant(0x4000, 0xd49a_784b_cd1b_8afen, false), fldl2e = constant(0x3fff, 0xb8aa_3b29_5c17_f0bcn, true), fldpi = constant(0x4000, 0xc90f_daa2_2168_c235n, true);
export const fldlg2 = constant(0x3ffd, 0x9a20_9a84_fbcf_f799n, true), fldln2 = constant(0x3ffe, 0xb172_17f7_d1cf_79acn, true);

// ---------------------------------------------------------------- stores

/** What a store makes of ST(0): `put` writes it, with the exceptions of doing so. */
interface Stored { readonly flags: number; readonly up: boolean; readonly put: () => void }
const UNSTORED = IE | OE | UE;

/**
 * A store to memory. An invalid operation, overflow or underflow that is unmasked keeps it from touching memory; otherwise
 * memory may fault, and has changed nothing of the x87 then.
 */
function storing(f: X87, pop: boolean, convert: (value: Float80) => Stored): void {
  const empty = f.isEmpty(0);
  const { flags, up, put } = convert(empty ? INDEFINITE : f.get(0));
  const raised = empty ? IE : flags;
  const stays = (raised & UNSTORED & ~f.control) !== 0;
  if (!stays) put();
  f.setC1(!stays && !empty && up);
  if (empty) f.stackFault(false); else f.flag(stays ? flags & ~PE : flags);
  if (!stays && pop) f.pop();
}
/** Address of an 80-bit operand that is sure to take a write: eight bytes and then two, each with its segment, alignment and page. */
function writable80(cpu: CpuState, insn: Insn): number {
  const probe = (at: number, size: 2 | 8) => {
    checkAlignment(cpu, at, size, explicit(cpu));
    probeWrite(cpu, at, size, explicit(cpu));
  };
  probe(operandAddress(cpu, insn, 8, true), 8);
  const to = operandAddress(cpu, insn, 10, true);
  probe(to + 8, 2);
  return to;
}

export const fst = (format: typeof FLOAT32, size: 4 | 8, pop: boolean): Exec => waiting((f, cpu, insn) => storing(f, pop, (value) => {
  const { bits, flags, up } = isUnsupported(value) ? { ...toFormat(INDEFINITE, format, 0), flags: IE } : toFormat(value, format, f.direction);
  return { flags, up, put: () => save(cpu, insn, size, bits) };
}));

export const fstp80 = waiting((f, cpu, insn) => storing(f, true, (value) => ({
  flags: 0, up: false,
  put: () => {
    const at = writable80(cpu, insn);
    writeLinear(cpu, at, 8, value.mantissa, explicit(cpu));
    writeLinear(cpu, at + 8, 2, BigInt(value.sign << 15 | value.exponent), explicit(cpu));
  },
})));

export const fstSt = (pop: boolean): Exec => waiting((f, _cpu, insn) => {
  const value = top(f);
  if (value === undefined) return;
  f.set(st(insn), value);
  if (pop) f.pop();
});
/** The form of FSTP that does not look whether there is anything to store. */
export const fstpnce = waiting((f, _cpu, insn) => {
  f.setC1(false);
  if (!f.isEmpty(0)) f.set(st(insn), f.get(0));
  f.pop();
});
/** ST(0), or the indefinite value if it is empty; undefined if that is unmasked. */
function top(f: X87): Float80 | undefined {
  f.setC1(false);
  if (!f.isEmpty(0)) return f.get(0);
  return f.stackFault(false) ? undefined : INDEFINITE;
}

export const fist = (size: 2 | 4 | 8, pop: boolean, truncates = false): Exec => waiting((f, cpu, insn) => storing(f, pop, (value) => {
  const least = -(1n << BigInt(8 * size - 1));
  const finite = !isNaN80(value) && !isInfinite(value) && !isUnsupported(value);
  // A number of 2^70 and more is out of range without looking at its digits.
  const small = finite && value.exponent < 16383 + 70;
  const { value: n, inexact, up } = small ? toInteger(value, truncates ? 3 : f.direction) : { value: 0n, inexact: false, up: false };
  const fits = small && n >= least && n < -least;
  return { flags: fits ? (inexact ? PE : 0) : IE, up: fits && up, put: () => save(cpu, insn, size, fits ? n : least) };
}));

/** Eighteen decimal digits, two a byte, and a sign. */
export const fbld = waiting((f, cpu, insn) => {
  const { low, high } = read80(cpu, insn);
  const digits = low | high << 64n;
  let n = 0n;
  for (let i = 17; i >= 0; i--) n = n * 10n + (digits >> BigInt(4 * i) & 15n);
  const sign = digits >> 79n;
  f.push(sign ? negated(fromInteger(n)) : fromInteger(n));
});
export const fbstp = waiting((f, cpu, insn) => storing(f, true, (value) => {
  const small = !isNaN80(value) && !isInfinite(value) && !isUnsupported(value) && value.exponent < 16383 + 60;
  const r = small ? toInteger(value, f.direction) : undefined;
  const magnitude = r === undefined ? -1n : r.value < 0n ? -r.value : r.value;
  const fits = magnitude >= 0n && magnitude < 10n ** 18n;
  return {
    flags: fits ? (r!.inexact ? PE : 0) : IE, up: fits && r!.up,
    put: () => {
      const at = writable80(cpu, insn);
      let digits = magnitude;
      for (let i = 0; i < 10; i++) {
        const byte = fits ? (i === 9 ? value.sign << 7 : Number(digits % 10n) | Number(digits / 10n % 10n) << 4) : i >= 8 ? 0xff : i === 7 ? 0xc0 : 0;
        writeLinear(cpu, at + i, 1, BigInt(byte), explicit(cpu));
        digits /= 100n;
      }
    },
  };
}));

// ---------------------------------------------------------------- arithmetic

/** ST(0) op= memory; the reg field names the operation. */
export const arithmeticMemory = (source: Source): Exec => waiting((f, cpu, insn) => {
  const value = source(cpu, insn);
  const which = insn.reg & 7;
  const operation = operations[which];
  if (operation) apply(f, 0, f.isEmpty(0), f.get(0), value, operation);
  else comparison(f, value, f.isEmpty(0), true, which === 3 ? 1 : 0);
});
/** D8: ST(0) op= ST(i). */
export const arithmeticTop = waiting((f, _cpu, insn) => {
  const operation = operations[insn.reg & 7]!;
  apply(f, 0, f.isEmpty(0) || f.isEmpty(st(insn)), f.get(0), f.get(st(insn)), operation);
});
/** DC and DE: ST(i) op= ST(0); the encodings of the reversed forms are exchanged. */
export const arithmeticSt = (pop: boolean): Exec => waiting((f, _cpu, insn) => {
  const which = insn.reg & 7;
  const operation: Operation = operations[which >= 4 ? which ^ 1 : which]!;
  const i = st(insn);
  if (apply(f, i, f.isEmpty(0) || f.isEmpty(i), f.get(i), f.get(0), operation) && pop) f.pop();
});

export const fsqrt = waiting((f) => { apply(f, 0, f.isEmpty(0), f.get(0), f.get(0), (a, _b, rounding) => root(a, rounding)); });
const signOnly = (change: (a: Float80) => Float80): Exec => waiting((f) => {
  const value = top(f);
  if (value !== undefined) f.set(0, f.isEmpty(0) ? INDEFINITE : change(value));
});
export const fchs = signOnly(negated), fabs = signOnly((a) => make(0, a.exponent, a.mantissa));

// ---------------------------------------------------------------- comparison

function comparison(f: X87, b: Float80, empty: boolean, ordered: boolean, pops: number): void {
  f.setC1(false);
  if (empty) {
    f.condition(C0 | C2 | C3);
    if (f.stackFault(false)) return;
  } else {
    const { bits, flags } = compare(f.get(0), b, ordered);
    f.condition(bits);
    if (f.flag(flags)) return;
  }
  for (let i = 0; i < pops; i++) f.pop();
}
export const fcom = (ordered: boolean, pops: number): Exec => waiting((f, _cpu, insn) => comparison(f, f.get(st(insn)), f.isEmpty(0) || f.isEmpty(st(insn)), ordered, pops));
export const ftst = waiting((f) => comparison(f, zero(0), f.isEmpty(0), true, 0));

/** FCOMI and kin: the result goes to ZF, PF and CF. */
export const fcomi = (ordered: boolean, pop: boolean): Exec => waiting((f, cpu, insn) => {
  const i = st(insn);
  let bits = C0 | C2 | C3, unmasked: boolean;
  if (f.isEmpty(0) || f.isEmpty(i)) unmasked = f.stackFault(false);
  else {
    const result = compare(f.get(0), f.get(i), ordered);
    ({ bits } = result);
    unmasked = f.flag(result.flags);
  }
  const arithmetic = X86_EFLAGS_OF | X86_EFLAGS_SF | X86_EFLAGS_ZF | X86_EFLAGS_AF | X86_EFLAGS_PF | X86_EFLAGS_CF;
  const flags = (bits & C0 ? X86_EFLAGS_CF : 0) | (bits & C2 ? X86_EFLAGS_PF : 0) | (bits & C3 ? X86_EFLAGS_ZF : 0);
  cpu.engine.writeFlags(cpu, cpu.engine.readFlags(cpu) & ~arithmetic | flags);
  if (pop && !unmasked) f.pop();
});

export const fxam = waiting((f) => {
  const a = f.get(0);
  const kind = f.isEmpty(0) ? C3 | C0 : isUnsupported(a) ? 0 : isNaN80(a) ? C0 : isInfinite(a) ? C2 | C0 : isZero(a) ? C3 : isDenormal(a) ? C3 | C2 : C2;
  f.condition(kind | (a.sign ? C1 : 0));
});

// ---------------------------------------------------------------- the stack itself

export const fxch = waiting((f, _cpu, insn) => {
  const i = st(insn);
  f.setC1(false);
  const empty = f.isEmpty(0) || f.isEmpty(i);
  if (empty && f.stackFault(false)) return;
  const a = f.isEmpty(0) ? INDEFINITE : f.get(0);
  const b = f.isEmpty(i) ? INDEFINITE : f.get(i);
  f.set(0, b);
  f.set(i, a);
});
export const ffree = waiting((f, _cpu, insn) => { f.setC1(false); f.free(st(insn)); });
export const fincstp = waiting((f) => { f.setC1(false); f.incrementTop(); }), fdecstp = waiting((f) => { f.setC1(false); f.decrementTop(); });
export const fnop = waiting(() => {});
export const fcmov = (flag: number, when: boolean): Exec => waiting((f, cpu, insn) => {
  const i = st(insn);
  if (f.isEmpty(0) || f.isEmpty(i)) {
    if (!f.stackFault(false)) f.set(0, INDEFINITE);
  } else if (((cpu.engine.readFlags(cpu) & flag) !== 0) === when) f.set(0, f.get(i));
});

// ---------------------------------------------------------------- control

/** #NM goes by CR0.MP and TS here, not by EM. */
export const fwait: Exec = (cpu) => {
  if ((cpu.state.cr0 & (X86_CR0_MP | X86_CR0_TS)) === (X86_CR0_MP | X86_CR0_TS)) raise(cpu, NM_VECTOR);
  x87(cpu).wait();
};

export const fnstsw: Exec = (cpu, insn) => save(cpu, insn, 2, BigInt(x87(cpu).status));
export const fnstswAx: Exec = (cpu, insn) => writeGpr(cpu, insn, 0, 2, BigInt(x87(cpu).status));
export const fnstcw: Exec = (cpu, insn) => save(cpu, insn, 2, BigInt(x87(cpu).control));
export const fldcw = waiting((f, cpu, insn) => { f.control = Number(load(cpu, insn, 2)) & 0x1f3f; });
export const fnclex: Exec = (cpu) => { const f = x87(cpu); f.status &= 0x7f00; };
export const fninit: Exec = (cpu) => {
  x87(cpu).reset();
};
