/** Decimal adjustment: AAA AAS AAM AAD DAA DAS, all invalid in 64-bit mode. SDM Vol. 2 gives them as programs. */
import { DE_VECTOR, raise } from '../exceptions.ts';
import type { CpuState } from '../state.ts';
import { X86_EFLAGS_AF, X86_EFLAGS_CF, X86_EFLAGS_PF, X86_EFLAGS_SF, X86_EFLAGS_ZF, X86_EFLAGS_ARITHMETIC } from '../state.ts';
import { type Exec, type Row, exec, row } from '../opcode-row.ts';

const ax = (cpu: CpuState): number => cpu.gpr32[0]! & 0xffff;
const setAx = (cpu: CpuState, v: number): void => { cpu.gpr32[0] = (cpu.gpr32[0]! & 0xffff_0000) | (v & 0xffff); };

/** SF, ZF and PF of AL; CF, AF and OF as given. */
function setFlags(cpu: CpuState, al: number, more: number): void {
  let f = cpu.engine.readFlags(cpu) & ~X86_EFLAGS_ARITHMETIC | more;
  al &= 0xff;
  if (al === 0) f |= X86_EFLAGS_ZF;
  if (al & 0x80) f |= X86_EFLAGS_SF;
  let p = al ^ al >> 4;
  p ^= p >> 2;
  if (((p ^ p >> 1) & 1) === 0) f |= X86_EFLAGS_PF;
  cpu.engine.writeFlags(cpu, f);
}

const ascii = (sign: 1 | -1): Exec => (cpu) => {
  const v = ax(cpu);
  const carries = (v & 0xf) > 9 || (cpu.engine.readFlags(cpu) & X86_EFLAGS_AF) !== 0;
  const r = carries ? sign > 0 ? v + 0x106 : v - 6 - 0x100 : v;
  setAx(cpu, r & 0xff0f);
  setFlags(cpu, r & 0xf, carries ? X86_EFLAGS_AF | X86_EFLAGS_CF : 0);
};
const packed = (sign: 1 | -1): Exec => (cpu) => {
  const flags = cpu.engine.readFlags(cpu);
  const old = ax(cpu) & 0xff;
  let al = old, more = 0;
  if ((old & 0xf) > 9 || flags & X86_EFLAGS_AF) {
    al += 6 * sign;
    more |= X86_EFLAGS_AF | (flags & X86_EFLAGS_CF) | (sign < 0 && al < 0 ? X86_EFLAGS_CF : 0);
  }
  if (old > 0x99 || flags & X86_EFLAGS_CF) {
    al += 0x60 * sign;
    more |= X86_EFLAGS_CF;
  }
  setAx(cpu, (ax(cpu) & 0xff00) | (al & 0xff));
  setFlags(cpu, al, more);
};
const aam: Exec = (cpu, insn) => {
  const base = Number(insn.imm);
  if (base === 0) raise(cpu, DE_VECTOR);
  const al = ax(cpu) & 0xff;
  setAx(cpu, Math.floor(al / base) << 8 | al % base);
  setFlags(cpu, al % base, 0);
};
const aad: Exec = (cpu, insn) => {
  const v = ax(cpu);
  const al = (v & 0xff) + (v >> 8) * Number(insn.imm) & 0xff;
  setAx(cpu, al);
  setFlags(cpu, al, 0);
};

export const decimalRows: readonly Row[] = [
  row('27', 'DAA', '',   'i64 straight r:ac w:szapc u:o', exec(packed(1))),
  row('2F', 'DAS', '',   'i64 straight r:ac w:szapc u:o', exec(packed(-1))),
  row('37', 'AAA', '',   'i64 straight r:a w:ac u:oszp',  exec(ascii(1))),
  row('3F', 'AAS', '',   'i64 straight r:a w:ac u:oszp',  exec(ascii(-1))),
  row('D4', 'AAM', 'Ib', 'i64 straight w:szp u:oac',      exec(aam)),
  row('D5', 'AAD', 'Ib', 'i64 straight w:szp u:oac',      exec(aad)),
];
