/**
 * FNSTENV, FLDENV, FNSAVE, FRSTOR: the environment in its 14- and 28-byte forms. SDM Vol. 1, 8.1.10.
 * Here the tag word has its two bits a register; the register file keeps the abridged one.
 * The selectors are always 0 (pointers.ts).
 */
import { checkAlignment, explicit, readBlock, writeBlock } from '../memory.ts';
import type { Exec, Insn } from '../opcode-row.ts';
import { operandAddress } from '../operands.ts';
import { type CpuState, MODE_PROTECTED } from '../state.ts';
import { isZero, make } from './float80.ts';
import { type X87, x87 } from './stack.ts';

const sizeOf = (insn: Insn): 14 | 28 => (insn.opSize === 2 ? 14 : 28);

/** 0 valid, 1 zero, 2 special, 3 empty, by physical register. */
function tagWord(f: X87): number {
  let word = 0;
  for (let i = 0; i < 8; i++) {
    const value = f.get(i);
    const special = value.exponent === 0 || value.exponent === 0x7fff || !(value.mantissa >> 63n);
    const tag = f.isEmpty(i) ? 3 : isZero(value) ? 1 : special ? 2 : 0;
    word |= tag << 2 * (f.top + i & 7);
  }
  return word;
}
function abridged(word: number): number {
  let bits = 0;
  for (let i = 0; i < 8; i++) if ((word >> 2 * i & 3) !== 3) bits |= 1 << i;
  return bits;
}

function environment(cpu: CpuState, insn: Insn): Uint8Array {
  const f = x87(cpu);
  const { fpu } = cpu.state;
  const bytes = new Uint8Array(sizeOf(insn));
  const view = new DataView(bytes.buffer);
  const ip = Number(fpu.fip & 0xffff_ffffn), dp = Number(fpu.fdp & 0xffff_ffffn);
  const step = bytes.length / 7;
  const put = (i: number, value: number) => { view.setUint16(i * step, value & 0xffff, true); if (step === 4) view.setUint16(i * step + 2, i < 3 || i === 6 ? 0xffff : value >>> 16, true); };
  put(0, f.control);
  put(1, f.status);
  put(2, tagWord(f));
  if (cpu.mode & MODE_PROTECTED) {
    put(3, ip);
    put(4, step === 4 ? fpu.fop << 16 : 0);
    put(5, dp);
    put(6, 0);
  } else if (step === 4) {
    put(3, ip & 0xffff);
    view.setUint32(16, fpu.fop & 0x7ff | ip >>> 16 << 12, true);
    put(5, dp & 0xffff);
    view.setUint32(24, dp >>> 16 << 12, true);
  } else {
    put(3, ip);
    put(4, fpu.fop & 0x7ff | (ip >>> 16 & 0xf) << 12);
    put(5, dp);
    put(6, (dp >>> 16 & 0xf) << 12);
  }
  return bytes;
}

function loadEnvironment(cpu: CpuState, bytes: Uint8Array): void {
  const f = x87(cpu);
  const step = bytes.length === 14 ? 2 : 4;
  const word = (i: number) => bytes[i * step]! | bytes[i * step + 1]! << 8;
  const wide = (i: number) => (step === 4 ? (word(i) | (bytes[i * step + 2]! | bytes[i * step + 3]! << 8) << 16) >>> 0 : word(i));
  const { fpu } = cpu.state;
  f.moveTop(word(1) >> 11 & 7);
  f.status = word(1);
  f.tags = abridged(word(2));
  if (cpu.mode & MODE_PROTECTED) {
    fpu.fip = BigInt(wide(3));
    fpu.fop = step === 4 ? wide(4) >>> 16 & 0x7ff : 0;
    fpu.fdp = BigInt(wide(5));
  } else {
    const high = step === 4 ? 0xffff : 0xf;
    fpu.fip = BigInt((word(3) | (wide(4) >>> 12 & high) << 16) >>> 0);
    fpu.fop = word(4) & 0x7ff;
    fpu.fdp = BigInt((word(5) | (wide(6) >>> 12 & high) << 16) >>> 0);
  }
  f.control = word(0) & 0x1f3f;
}

/** Where the environment, and the registers behind it, lie: in words of 2 or 4 bytes, for alignment. */
function area(cpu: CpuState, insn: Insn, size: number, write: boolean): number {
  const word = insn.opSize === 2 ? 2 : 4;
  checkAlignment(cpu, operandAddress(cpu, insn, word, write), word, explicit(cpu));
  return operandAddress(cpu, insn, size, write);
}

export const fnstenv: Exec = (cpu, insn) => {
  const bytes = environment(cpu, insn);
  writeBlock(cpu, area(cpu, insn, bytes.length, true), bytes, explicit(cpu));
  x87(cpu).control |= 0x3f;
};

export const fldenv: Exec = (cpu, insn) => {
  x87(cpu).wait();
  loadEnvironment(cpu, readBlock(cpu, area(cpu, insn, sizeOf(insn), false), sizeOf(insn), explicit(cpu)));
};

export const fnsave: Exec = (cpu, insn) => {
  const head = environment(cpu, insn);
  const bytes = new Uint8Array(head.length + 80);
  bytes.set(head);
  const { st } = cpu.state.fpu;
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 8; i++) {
    view.setBigUint64(head.length + 10 * i, st.get(2 * i), true);
    view.setUint16(head.length + 10 * i + 8, Number(st.get(2 * i + 1) & 0xffffn), true);
  }
  writeBlock(cpu, area(cpu, insn, bytes.length, true), bytes, explicit(cpu));
  x87(cpu).reset();
};

export const frstor: Exec = (cpu, insn) => {
  const f = x87(cpu);
  f.wait();
  const size = sizeOf(insn);
  const bytes = readBlock(cpu, area(cpu, insn, size + 80, false), size + 80, explicit(cpu));
  loadEnvironment(cpu, bytes.subarray(0, size));
  const { tags } = f;
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 8; i++) {
    const head = view.getUint16(size + 10 * i + 8, true);
    f.set(i, make(head >> 15, head & 0x7fff, view.getBigUint64(size + 10 * i, true)));
  }
  f.tags = tags;
};
