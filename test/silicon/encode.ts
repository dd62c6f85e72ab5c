/**
 * Machine code of a form: random registers, addressing modes, immediates, and prefixes that change nothing. What
 * the bytes say is read back with the machine's own decoder; where that errs, silicon and machine will differ.
 */
import { Decoder } from '../../machine/cpu/decoder.ts';
import { MAP_0F38, MAP_0F3A, MAP_ONE, buildMaps } from '../../machine/cpu/opcode-map.ts';
import { type Insn, RIP_BASE } from '../../machine/cpu/opcode-row.ts';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';
import type { Form } from './forms.ts';
import { CODE, DATA, PAGE, WRITABLE_SIZE } from './layout.ts';
import { type Random, word } from './random.ts';

export interface Encoding {
  readonly bytes: readonly number[];
  readonly insn: Insn;
  readonly codeAt: number;
  /** Data are reached through segments with a base. */
  readonly segmented: boolean;
}

export const decoder = new Decoder(buildMaps(opcodeTable));
/** Rows in which 66, F2 and F3 would select another instruction. */
const legacyMapOne = (form: Form): boolean => form.opcode.map === MAP_ONE && !form.opcode.vex && form.opcode.prefix < 0;
/** Instructions whose memory operand is big: it shall fit. */
const offsetOfData = (r: Random): number => r.once(12) ? PAGE - r.below(16) : r.below(WRITABLE_SIZE - 600);

class Writer {
  readonly bytes: number[] = [];
  put(value: number, size: number): void { for (let i = 0; i < size; i++) this.bytes.push(value >>> 8 * i & 0xff); }
}

/** ModRM, SIB and displacement of a memory operand; `base` is what DS counts from, `alignment` a mask for absolute addresses. */
function memoryOperand(w: Writer, r: Random, reg: number, addressSize: number, extended: boolean, base: number, alignment: number): { x: number; b: number } {
  const absolute = DATA + (offsetOfData(r) & alignment) - base;
  const modrm = (mod: number, rm: number) => w.bytes.push(mod << 6 | (reg & 7) << 3 | rm);
  if (addressSize === 2) {
    const rm = r.below(8), mod = r.below(3);
    modrm(mod, rm);
    if (mod === 0 && rm === 6) w.put(absolute, 2); else if (mod) w.put(r.u32(), mod);
    return { x: 0, b: 0 };
  }
  if (r.once(14)) {                               // no base: absolute, or relative to RIP in 64-bit code
    modrm(0, 5);
    w.put(absolute, 4);
    return { x: 0, b: 0 };
  }
  const mod = r.below(3);
  const b = extended ? r.below(2) : 0, x = extended ? r.below(2) : 0;
  const displacement = () => { if (mod === 1) w.put(r.u32(), 1); if (mod === 2) w.put(r.once(3) ? r.u32() : r.u32() >>> 18, 4); };
  if (r.once(3)) {
    const sibBase = r.below(8);
    modrm(mod, 4);
    w.bytes.push(r.below(4) << 6 | r.below(8) << 3 | sibBase);
    if (mod === 0 && sibBase === 5) w.put(r.once(2) ? absolute : r.below(0x4000), 4); else displacement();
    return { x, b };
  }
  const rm = r.pick(mod === 0 ? [0, 1, 2, 3, 6, 7] : [0, 1, 2, 3, 5, 6, 7]);
  modrm(mod, rm);
  displacement();
  return { x: 0, b };
}

export function encode(form: Form, r: Random, mode: 64 | 32 | 16 = form.mode): Encoding {
  const { opcode, row, operands, opSize } = form;
  const long = mode === 64, codeSize = long ? 8 : mode === 32 ? 4 : 2;
  const segmented = !long && (mode === 16 || r.once(2));
  const base = segmented ? DATA : 0;
  const hasAddress = form.memory || operands.some((o) => 'OXY'.includes(o.kind)) || /^(XLAT|LOOP.*|JCXZ|MASKMOV.*)$/.test(row.mnemonic);
  // 16-bit addresses reach the data only through a segment with a base.
  const addressPrefix = hasAddress && (mode === 16 ? r.once(2) : r.once(long ? 12 : segmented ? 3 : 1000));
  const addressSize = long ? addressPrefix ? 4 : 8 : (mode === 32) !== addressPrefix ? 4 : 2;
  const operandPrefix = opcode.prefix === 0x66 || (codeSize === 2 ? opSize === 4 && sized(form) : opSize === 2);
  const bytesOnly = legacyMapOne(form) && operands.length > 0 && operands.every((o) => o.type === 'b' || o.kind === 'fixed');
  const prefixes: number[] = [];
  if (operandPrefix || (bytesOnly && r.once(20))) prefixes.push(0x66);
  if (addressPrefix) prefixes.push(0x67);
  if (form.lock) prefixes.push(0xf0);
  if (form.rep) prefixes.push(form.rep);
  if (hasAddress && r.once(12)) prefixes.push(r.pick(long ? [0x64, 0x65, 0x2e, 0x3e] : segmented ? [0x3e, 0x36, 0x26, 0x2e] : [0x3e, 0x36, 0x26]));
  for (let i = prefixes.length - 1; i > 0; i--) {
    const j = r.below(i + 1);
    [prefixes[i], prefixes[j]] = [prefixes[j]!, prefixes[i]!];
  }
  if (opcode.prefix > 0 && opcode.prefix !== 0x66) prefixes.splice(r.below(prefixes.length + 1), 0, opcode.prefix);

  const w = new Writer();
  let rexR = long ? r.below(2) : 0;
  const rexB = long ? r.below(2) : 0;
  // Registers that cannot have an upper half of the file, and segment registers that exist.
  if (operands.some((o) => 'SPCD'.includes(o.kind))) rexR = 0;
  const sreg = r.pick([0, 1, 2, 3, 4, 5]);
  const reg = operands.some((o) => o.kind === 'S') ? sreg : opcode.digit >= 0 ? opcode.digit : r.below(8);
  const modrmAt = new Writer();
  let x = 0, b = rexB;
  if (opcode.modrm >= 0) modrmAt.bytes.push(opcode.modrm);
  else if (form.hasModrm && form.memory) ({ x, b } = memoryOperand(modrmAt, r, reg, addressSize, long, base, locks(form) ? ~15 : ~0));
  else if (form.hasModrm) modrmAt.bytes.push(0xc0 | reg << 3 | r.below(8));
  else if (!opcode.plus) b = 0;
  if (row.attributes.has('rexb0')) b = 0;
  const wide = opSize === 8 && !row.attributes.has('f64') && !row.attributes.has('d64') || (bytesOnly && long && r.once(20));
  if (opcode.vex) {
    const pp = opcode.prefix === 0x66 ? 1 : opcode.prefix === 0xf3 ? 2 : opcode.prefix === 0xf2 ? 3 : 0;
    const vvvv = operands.some((o) => 'BH'.includes(o.kind)) ? r.below(long ? 16 : 8) : 0;
    w.bytes.push(...prefixes.filter((p) => p === 0x67 || p === 0x64 || p === 0x65 || p === 0x2e || p === 0x3e || p === 0x36 || p === 0x26));
    const map = opcode.map;
    w.bytes.push(0xc4, (long ? (rexR ? 0 : 0x80) | (x ? 0 : 0x40) | (b ? 0 : 0x20) : 0xe0) | map, (wide ? 0x80 : 0) | (~vvvv & 15) << 3 | pp);
  } else {
    w.bytes.push(...prefixes);
    const rex = (wide ? 8 : 0) | (form.hasModrm && opcode.modrm < 0 ? rexR << 2 | x << 1 | b : b);
    if (long && (rex !== 0 || r.once(4))) w.bytes.push(0x40 | rex);
    if (opcode.map !== MAP_ONE) w.bytes.push(0x0f);
    if (opcode.map === MAP_0F38) w.bytes.push(0x38);
    if (opcode.map === MAP_0F3A) w.bytes.push(0x3a);
  }
  w.bytes.push(opcode.byte + (opcode.plus ? (row.mnemonic === 'XCHG' && !b && opcode.byte === 0x90 ? 1 + r.below(7) : r.below(8)) : 0), ...modrmAt.bytes);

  for (const o of operands) {
    switch (o.kind) {
      case 'I': {
        const size = o.type === 'b' || o.type === 'bs' ? 1 : o.type === 'w' ? 2 : o.type === 'z' ? Math.min(opSize, 4) : opSize;
        w.put(/^(ENTER|RET|RETF)$/.test(row.mnemonic) ? r.below(size === 1 ? 34 : r.once(8) ? 0x1000 : 0x80) : word(r), Math.min(size, 4));
        if (size === 8) w.put(word(r), 4);
        break;
      }
      case 'O':
        w.put(DATA + offsetOfData(r) - base, Math.min(addressSize, 4));
        if (addressSize === 8) w.put(0, 4);
        break;
      case 'J': {
        // Somewhere else on the code page, which is filled with INT3.
        const short = 20 + r.below(70), far = r.once(16) ? word(r) : 20 + r.below(1200);
        const d = o.type === 'b' ? short : far;
        w.put(r.once(2) && !(o.type !== 'b' && far > 0xffff) ? -d - 20 : d, o.type === 'b' ? 1 : Math.min(opSize, 4));
        break;
      }
      case 'A':
        w.put(r.once(6) ? word(r) : r.below(0x2000) + (r.once(2) ? CODE : 0), opSize);
        w.put(farSelector(r), 2);
        break;
    }
  }
  const { bytes } = w;
  const decode = () => decoder.decode(Uint8Array.from([...bytes, ...new Array<number>(16).fill(0xcc)]), 0, bytes.length + 16, codeSize)!;
  let insn = decode();
  const codeAt = CODE + (r.once(10) ? PAGE - r.below(bytes.length + 1) : 0x600 + r.below(0x200));
  if (insn.base === RIP_BASE) {
    // The displacement was written as if it counted from 0.
    const at = bytes.length - insn.row.operands.filter((o) => o[0] === 'I').reduce((n, o) => n + (o === 'Iz' ? Math.min(opSize, 4) : 1), 0) - 4;
    const displacement = insn.disp - codeAt - bytes.length;
    for (let i = 0; i < 4; i++) bytes[at + i] = displacement >>> 8 * i & 0xff;
    insn = decode();
  }
  return { bytes, insn, codeAt, segmented };
}

/** It locks the bus: Linux makes a program wait that does so across cache lines. */
export const locks = (form: Form): boolean => form.memory && (form.lock || form.row.mnemonic === 'XCHG');
const sized = (form: Form): boolean => form.operands.some((o) => 'vzpa'.includes(o.type) || o.kind === 'A' || o.kind === 'fixed' && /^[er]AX$/.test(o.text)) || form.row.attributes.has('d64') || form.row.attributes.has('f64') ||
  /^(CBW|CWD|PUSHA|POPA|RETF|IRET)$/.test(form.row.mnemonic) || form.row.operands[0] === 'ES' || /^PUSH|^POP/.test(form.row.mnemonic);
/** A code selector for a far transfer: those there are, now and then others. */
export const farSelector = (r: Random): number => r.pick([0x33, 0x23, 0x07, 0x0f, 0x33, 0x23, 0x07, 0x0f, 0x2b, 0x17, 0, 3, 0x30, 0x27, 0x7ff7, 0x3f]);
