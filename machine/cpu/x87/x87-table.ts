/** Rows of the x87 instructions. The register operand ST(i) is ModRM's r/m field. */
import { type Emit, type Exec, type Row, exec, row } from '../opcode-row.ts';
import { X86_EFLAGS_CF, X86_EFLAGS_PF, X86_EFLAGS_ZF } from '../state.ts';
import * as emitted from './emitted.ts';
import { fldenv, fnsave, fnstenv, frstor } from './environment.ts';
import { FLOAT32, FLOAT64 } from './float80.ts';
import { f2xm1, fcos, fpatan, fprem, fprem1, fptan, frndint, fscale, fsin, fsincos, fxtract, fyl2x, fyl2xp1 } from './functions.ts';
import {
  arithmeticMemory, arithmeticSt, arithmeticTop, fabs, fbld, fbstp, fchs, fcmov, fcom, fcomi, fdecstp, ffree, fincstp, fist, fld, fld1, fldcw, fldl2e, fldl2t, fldlg2, fldln2, fldpi, fldSt,
  fldz, fnclex, fninit, fnop, fnstcw, fnstsw, fnstswAx, fsqrt, fst, fstp80, fstpnce, fstSt, ftst, fwait, fxam, fxch, i16, i32, i64, m32, m64, m80,
} from './instructions.ts';
import { pointed } from './pointers.ts';
import { x87 } from './stack.ts';

/** An instruction that the pointers tell of. `attributes`: the flags it reads or writes. */
const x = (opcode: string, mnemonic: string, operands: string, meaning: Exec, emit?: Emit, attributes = ''): Row =>
  row(opcode, mnemonic, operands, `fpu straight ${attributes}`, emit ? { emit, exec: pointed(opcode, meaning) } : exec(pointed(opcode, meaning)));
/** A control instruction: it leaves the pointers alone, or loads them. */
const control = (opcode: string, mnemonic: string, operands: string, meaning: Exec, emit?: Emit): Row => row(opcode, mnemonic, operands, 'fpu straight', emit ? { emit, exec: meaning } : exec(meaning));
const NAMES = ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR'] as const;
const digits = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const OPERATIONS = ['add', 'mul', 'com', 'com', 'sub', 'subr', 'div', 'divr'] as const;
/** D8, DA, DC, DE with memory: eight operations on one kind of operand. */
const memoryForms = (opcode: string, operand: string, prefix: string, meaning: Exec, kind: string, size: number): Row[] =>
  digits.map((d) => x(`${opcode} /${d} m`, prefix + NAMES[d]!.slice(1), operand, meaning,
    d === 2 || d === 3 ? emitted.memory(`fcom${kind}`, size, false, d - 2) : emitted.memory(OPERATIONS[d]! + kind, size)));
/** Name, flags, letters of those, and the number Jcc has for it. */
const conditions = [['B', X86_EFLAGS_CF, 'c', 2], ['E', X86_EFLAGS_ZF, 'z', 4], ['BE', X86_EFLAGS_CF | X86_EFLAGS_ZF, 'cz', 6], ['U', X86_EFLAGS_PF, 'p', 10]] as const;

export const x87Table: readonly Row[] = [
  ...memoryForms('D8', 'Md', 'F', arithmeticMemory(m32), '32', 4),
  ...memoryForms('DC', 'Mq', 'F', arithmeticMemory(m64), '64', 8),
  ...memoryForms('DA', 'Md', 'FI', arithmeticMemory(i32), 'i32', 4),
  ...memoryForms('DE', 'Mw', 'FI', arithmeticMemory(i16), 'i16', 2),
  ...digits.filter((d) => d !== 2 && d !== 3).flatMap((d) => [
    x(`D8 /${d} r`, NAMES[d]!, '', arithmeticTop, emitted.register(`${OPERATIONS[d]!}St`, 0)),
    x(`DC /${d} r`, NAMES[d >= 4 ? d ^ 1 : d]!, '', arithmeticSt(false), emitted.toRegister(OPERATIONS[d >= 4 ? d ^ 1 : d]!, false)),
    x(`DE /${d} r`, `${NAMES[d >= 4 ? d ^ 1 : d]!}P`, '', arithmeticSt(true), emitted.toRegister(OPERATIONS[d >= 4 ? d ^ 1 : d]!, true)),
  ]),
  x('D8 /2 r', 'FCOM',    '',   fcom(true, 0), emitted.register('fcomSt', 0)),
  x('D8 /3 r', 'FCOMP',   '',   fcom(true, 1), emitted.register('fcomSt', 1)),
  x('DC /2 r', 'FCOM',    '',   fcom(true, 0), emitted.register('fcomSt', 0)),
  x('DC /3 r', 'FCOMP',   '',   fcom(true, 1), emitted.register('fcomSt', 1)),
  x('DE /2 r', 'FCOMP',   '',   fcom(true, 1), emitted.register('fcomSt', 1)),
  x('DE D9',   'FCOMPP',  '',   fcom(true, 2), emitted.register('fcomSt', 2)),

  x('D9 /0 m', 'FLD',     'Md', fld(m32, true), emitted.memory('fld32', 4)),
  x('D9 /2 m', 'FST',     'Md', fst(FLOAT32, 4, false), emitted.store('fst32', 4, false)),
  x('D9 /3 m', 'FSTP',    'Md', fst(FLOAT32, 4, true), emitted.store('fst32', 4, true)),
  control('D9 /4 m', 'FLDENV',  'M',  fldenv),
  control('D9 /5 m', 'FLDCW',   'Mw', fldcw, emitted.loadControl),
  control('D9 /6 m', 'FNSTENV', 'M',  fnstenv),
  control('D9 /7 m', 'FNSTCW',  'Mw', fnstcw, emitted.storeControl),
  x('D9 /0 r', 'FLD',     '',   fldSt, emitted.register('fldSt')),
  x('D9 /1 r', 'FXCH',    '',   fxch, emitted.register('fxch')),
  x('D9 D0',   'FNOP',    '',   fnop),
  x('D9 /3 r', 'FSTPNCE', '',   fstpnce),
  x('D9 E0',   'FCHS',    '',   fchs, emitted.implicit('fsign', 0xffff, 0x8000)),
  x('D9 E1',   'FABS',    '',   fabs, emitted.implicit('fsign', 0x7fff, 0)),
  x('D9 E4',   'FTST',    '',   ftst, emitted.implicit('ftst')),
  x('D9 E5',   'FXAM',    '',   fxam),
  x('D9 E8',   'FLD1',    '',   fld1, emitted.constant(0x3fff, 1n << 63n)),
  x('D9 E9',   'FLDL2T',  '',   fldl2t, emitted.constant(0x4000, 0xd49a_784b_cd1b_8afen)),
  x('D9 EA',   'FLDL2E',  '',   fldl2e, emitted.constant(0x3fff, 0xb8aa_3b29_5c17_f0bcn)),
  x('D9 EB',   'FLDPI',   '',   fldpi, emitted.constant(0x4000, 0xc90f_daa2_2168_c235n)),
  x('D9 EC',   'FLDLG2',  '',   fldlg2, emitted.constant(0x3ffd, 0x9a20_9a84_fbcf_f799n)),
  x('D9 ED',   'FLDLN2',  '',   fldln2, emitted.constant(0x3ffe, 0xb172_17f7_d1cf_79acn)),
  x('D9 EE',   'FLDZ',    '',   fldz, emitted.constant(0, 0n)),
  x('D9 F0',   'F2XM1',   '',   f2xm1, emitted.implicit('f2xm1')),
  x('D9 F1',   'FYL2X',   '',   fyl2x, emitted.implicit('fyl2x')),
  x('D9 F2',   'FPTAN',   '',   fptan, emitted.implicit('fptan')),
  x('D9 F3',   'FPATAN',  '',   fpatan, emitted.implicit('fpatan')),
  x('D9 F4',   'FXTRACT', '',   fxtract),
  x('D9 F5',   'FPREM1',  '',   fprem1),
  x('D9 F6',   'FDECSTP', '',   fdecstp),
  x('D9 F7',   'FINCSTP', '',   fincstp),
  x('D9 F8',   'FPREM',   '',   fprem),
  x('D9 F9',   'FYL2XP1', '',   fyl2xp1, emitted.implicit('fyl2xp1')),
  x('D9 FA',   'FSQRT',   '',   fsqrt, emitted.implicit('fsqrt')),
  x('D9 FB',   'FSINCOS', '',   fsincos, emitted.implicit('fsincos')),
  x('D9 FC',   'FRNDINT', '',   frndint, emitted.implicit('frndint')),
  x('D9 FD',   'FSCALE',  '',   fscale),
  x('D9 FE',   'FSIN',    '',   fsin, emitted.implicit('fsin')),
  x('D9 FF',   'FCOS',    '',   fcos, emitted.implicit('fcos')),

  ...conditions.flatMap(([name, flag, letters, cc], d) => [
    x(`DA /${d} r`, `FCMOV${name}`, '', fcmov(flag, true), emitted.move(cc), `r:${letters}`),
    x(`DB /${d} r`, `FCMOVN${name}`, '', fcmov(flag, false), emitted.move(cc + 1), `r:${letters}`),
  ]),
  x('DA E9',   'FUCOMPP', '',   fcom(false, 2), emitted.register('fcomSt', 2)),

  x('DB /0 m', 'FILD',    'Md', fld(i32, false), emitted.memory('fild32', 4)),
  x('DB /1 m', 'FISTTP',  'Md', fist(4, true, true), emitted.store('fist32', 4, true, true)),
  x('DB /2 m', 'FIST',    'Md', fist(4, false), emitted.store('fist32', 4, false)),
  x('DB /3 m', 'FISTP',   'Md', fist(4, true), emitted.store('fist32', 4, true)),
  x('DB /5 m', 'FLD',     'M',  fld(m80, false), emitted.memory('fld80', 10)),
  x('DB /7 m', 'FSTP',    'M',  fstp80, emitted.memory('fstp80', 10, true)),
  control('DB E0',   'FNENI',   '',   () => {}),
  control('DB E1',   'FNDISI',  '',   () => {}),
  control('DB E2',   'FNCLEX',  '',   fnclex),
  control('DB E3',   'FNINIT',  '',   fninit),
  control('DB E4',   'FNSETPM', '',   () => {}),
  x('DB /5 r', 'FUCOMI',  '',   fcomi(false, false), emitted.flags(false), 'w:oszapc'),
  x('DB /6 r', 'FCOMI',   '',   fcomi(true, false), emitted.flags(false), 'w:oszapc'),

  x('DD /0 m', 'FLD',     'Mq', fld(m64, true), emitted.memory('fld64', 8)),
  x('DD /1 m', 'FISTTP',  'Mq', fist(8, true, true), emitted.store('fist64', 8, true, true)),
  x('DD /2 m', 'FST',     'Mq', fst(FLOAT64, 8, false), emitted.store('fst64', 8, false)),
  x('DD /3 m', 'FSTP',    'Mq', fst(FLOAT64, 8, true), emitted.store('fst64', 8, true)),
  control('DD /4 m', 'FRSTOR',  'M',  frstor),
  control('DD /6 m', 'FNSAVE',  'M',  fnsave),
  control('DD /7 m', 'FNSTSW',  'Mw', fnstsw, emitted.storeStatus),
  x('DD /0 r', 'FFREE',   '',   ffree),
  x('DD /1 r', 'FXCH',    '',   fxch, emitted.register('fxch')),
  x('DD /2 r', 'FST',     '',   fstSt(false), emitted.register('fstSt', 0)),
  x('DD /3 r', 'FSTP',    '',   fstSt(true), emitted.register('fstSt', 1)),
  x('DD /4 r', 'FUCOM',   '',   fcom(false, 0), emitted.register('fcomSt', 0)),
  x('DD /5 r', 'FUCOMP',  '',   fcom(false, 1), emitted.register('fcomSt', 1)),

  x('DF /0 m', 'FILD',    'Mw', fld(i16, false), emitted.memory('fild16', 2)),
  x('DF /1 m', 'FISTTP',  'Mw', fist(2, true, true), emitted.store('fist16', 2, true, true)),
  x('DF /2 m', 'FIST',    'Mw', fist(2, false), emitted.store('fist16', 2, false)),
  x('DF /3 m', 'FISTP',   'Mw', fist(2, true), emitted.store('fist16', 2, true)),
  x('DF /4 m', 'FBLD',    'M',  fbld),
  x('DF /5 m', 'FILD',    'Mq', fld(i64, false), emitted.memory('fild64', 8)),
  x('DF /6 m', 'FBSTP',   'M',  fbstp),
  x('DF /7 m', 'FISTP',   'Mq', fist(8, true), emitted.store('fist64', 8, true)),
  control('DF E0',   'FNSTSW',  'AX', fnstswAx, emitted.statusToAx),
  x('DF /0 r', 'FFREEP',  '',   (cpu, insn) => { ffree(cpu, insn); x87(cpu).pop(); }),
  x('DF /1 r', 'FXCH',    '',   fxch, emitted.register('fxch')),
  x('DF /2 r', 'FSTP',    '',   fstSt(true), emitted.register('fstSt', 1)),
  x('DF /3 r', 'FSTP',    '',   fstSt(true), emitted.register('fstSt', 1)),
  x('DF /5 r', 'FUCOMIP', '',   fcomi(false, true), emitted.flags(true), 'w:oszapc'),
  x('DF /6 r', 'FCOMIP',  '',   fcomi(true, true), emitted.flags(true), 'w:oszapc'),

  row('9B', 'WAIT', '', 'straight', { emit: emitted.wait, exec: fwait }),
];
