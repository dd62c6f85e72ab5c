/**
 * Machine code to Insn: prefixes, REX and VEX, opcode maps, ModRM and SIB in 16, 32 and 64 bits, displacements and
 * immediates, and what silicon refuses. SDM Vol. 2 ch. 2.
 *
 * The rows of the opcode table say everything about single instructions; here is only the form they share. An
 * instruction that is refused decodes to a row that raises #UD (or #GP when it is longer than 15 bytes), so that the
 * fault is raised when, and if, it is executed.
 */
import { GP_VECTOR, UD_VECTOR, raise } from './exceptions.ts';
import { type Candidate, MAP_0F, MAP_0F38, MAP_0F3A, MAP_ONE, type OpcodeMaps } from './opcode-map.ts';
import { type Insn, RIP_BASE, type Row, exec, row } from './opcode-row.ts';
import { CS, DS, ES, FS, GS, SS } from './state.ts';

export const MAX_LENGTH = 15;
export const invalidRow: Row = row('', '(bad)', '', '', exec((cpu) => raise(cpu, UD_VECTOR)));
const tooLongRow: Row = row('', '(too long)', '', '', exec((cpu) => raise(cpu, GP_VECTOR)));

/** Thrown by the byte reader when the bytes given end inside the instruction. */
const TRUNCATED = new RangeError('the bytes end inside an instruction');
const TOO_LONG = new RangeError('an instruction of more than 15 bytes');

const SEGMENT_PREFIX: Readonly<Record<number, number>> = { 0x26: ES, 0x2e: CS, 0x36: SS, 0x3e: DS, 0x64: FS, 0x65: GS };
/** Base and index of the 16-bit forms by r/m. */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3], INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1];

/**
 * What undefined opcodes of the 0F map have behind them, by what an Intel Xeon counts into their length: b a byte, m ModRM and what
 * goes with it. 39 to 3F are escapes into maps that are empty.
 */
const UNDEFINED_0F: Readonly<Record<number, string>> = {
  0x39: 'bm', 0x3b: 'bmb', 0x3c: 'bm', 0x3d: 'bm', 0x3e: 'bmb', 0x3f: 'bmb', 0x7a: 'm', 0x7b: 'm', 0x7c: 'm', 0x7d: 'm', 0xa6: 'm', 0xa7: 'm', 0xd0: 'm',
};
export class Decoder {
  private readonly maps: OpcodeMaps;
  private bytes: Uint8Array = new Uint8Array(0);
  private start = 0;
  private at = 0;
  private end = 0;

  constructor(maps: OpcodeMaps) {
    this.maps = maps;
  }

  /**
   * Decodes the instruction at `at` of `bytes`, of which those before `end` may be read. undefined: it does not end
   * there. `codeSize` is the default size of the code segment; `vex`: not in real or virtual-8086 mode.
   */
  decode(bytes: Uint8Array, at: number, end: number, codeSize: 2 | 4 | 8, vex = true): Insn | undefined {
    this.bytes = bytes;
    this.start = this.at = at;
    this.end = end;
    try {
      return this.instruction(codeSize, vex);
    } catch (e) {
      if (e === TRUNCATED) return undefined;
      if (e === TOO_LONG) return this.refused(tooLongRow, codeSize);
      throw e;
    }
  }

  private refused(why: Row, codeSize: 2 | 4 | 8): Insn {
    return {
      row: why, length: Math.min(this.at - this.start, MAX_LENGTH), opSize: 4, addrSize: codeSize, codeSize, lock: false, rep: 0, rex: 0, mod: 3, reg: 0, rm: 0, vvvv: 0,
      seg: DS, base: -1, index: -1, scale: 0, disp: 0, imm: 0n, imm2: 0,
    };
  }

  private byte(): number {
    if (this.at - this.start >= MAX_LENGTH) throw TOO_LONG;
    if (this.at >= this.end) throw TRUNCATED;
    return this.bytes[this.at++]!;
  }
  /** Little-endian, unsigned, up to 4 bytes. */
  private word(size: number): number {
    let v = 0;
    for (let i = 0; i < size; i++) v += this.byte() * 2 ** (8 * i);
    return v;
  }
  private signed(size: number): number {
    const v = this.word(size);
    return size === 4 ? v | 0 : (v << (32 - 8 * size)) >> (32 - 8 * size);
  }
  private quad(): bigint {
    const low = this.word(4);
    return BigInt(low) | BigInt(this.word(4)) << 32n;
  }

  private instruction(codeSize: 2 | 4 | 8, vexAllowed: boolean): Insn {
    let operandPrefix = false, addressPrefix = false, lock = false, rep = 0, rex = 0, seg = -1, opcode: number;
    for (;;) {
      opcode = this.byte();
      if (opcode === 0x66) operandPrefix = true;
      else if (opcode === 0x67) addressPrefix = true;
      else if (opcode === 0xf0) lock = true;
      else if (opcode === 0xf2 || opcode === 0xf3) rep = opcode;
      else if (opcode in SEGMENT_PREFIX) {
        const s = SEGMENT_PREFIX[opcode]!;
        if (codeSize !== 8 || s >= FS) seg = s;
      } else if (codeSize === 8 && (opcode & 0xf0) === 0x40) {
        rex = opcode;
        continue;
      } else break;
      rex = 0;       // REX counts only right before the opcode
    }

    let map: number = MAP_ONE, vex = false, vexL = 0, vexW = 0, vvvv = 0;
    const prefixed = operandPrefix || rep !== 0 || lock || rex !== 0;
    if ((opcode === 0xc4 || opcode === 0xc5 || opcode === 0x62) && vexAllowed && (codeSize === 8 || (this.peek() & 0xc0) === 0xc0)) {
      if (opcode === 0x62) return this.refused(invalidRow, codeSize);      // EVEX
      vex = true;
      const p = this.byte();
      let last = p;
      map = MAP_0F;
      rex = 0x40 | (p & 0x80 ? 0 : 4);
      if (opcode === 0xc4) {
        last = this.byte();
        rex |= (p & 0x40 ? 0 : 2) | (p & 0x20 ? 0 : 1) | (last & 0x80 ? 8 : 0);
        vexW = last >> 7;
        map = p & 0x1f;
      }
      if (codeSize !== 8) rex = 0x40 | (rex & 8);
      vexL = last >> 2 & 1;
      vvvv = ~(last >> 3) & 0xf;
      if (codeSize !== 8) vvvv &= 7;
      const pp = last & 3;
      rep = pp === 2 ? 0xf3 : pp === 3 ? 0xf2 : 0;
      operandPrefix = pp === 1;
      // A map that is not there is refused before there is a length.
      if (map === MAP_ONE || map > MAP_0F3A) return this.refused(invalidRow, codeSize);
      opcode = this.byte();
    } else if (opcode === 0x0f) {
      map = MAP_0F;
      opcode = this.byte();
      if (opcode === 0x38) { map = MAP_0F38; opcode = this.byte(); }
      else if (opcode === 0x3a) { map = MAP_0F3A; opcode = this.byte(); }
    }

    const candidates = (vex ? this.maps.vex : this.maps.legacy)[map]?.candidates(opcode);
    if (!candidates || candidates.length === 0) {
      if (!vex) this.skipUndefined(map, opcode, rex, codeSize, addressPrefix);
      return this.refused(invalidRow, codeSize);
    }
    const modrm = candidates[0]!.modrm ? this.byte() : -1;
    let c: Candidate | undefined;
    for (const x of candidates) {
      if (matches(x, modrm, rep, operandPrefix, codeSize, rex) && (!vex || ((x.vexL < 0 || x.vexL === vexL) && (x.vexW < 0 || x.vexW === vexW)))) { c = x; break; }
    }
    if (!c) {
      if (modrm >= 0) this.memory(modrm, rex, codeSize, addressPrefix);
      for (const o of candidates[0]!.immediates) {
        const wide = (codeSize === 2) === operandPrefix || rex & 8 ? 4 : 2;
        this.word(o.type.startsWith('b') ? 1 : o.type === 'w' ? 2 : wide);
        if (o.kind === 'A') this.word(2);
      }
      return this.refused(invalidRow, codeSize);
    }

    // Sizes
    const mandatory66 = c.prefix === 0x66 && !c.operandPrefix;
    let opSize: 2 | 4 | 8;
    if (vex) opSize = codeSize === 8 && rex & 8 ? 8 : 4;
    else if (codeSize === 8) opSize = c.force64 || rex & 8 ? 8 : operandPrefix && !mandatory66 ? 2 : c.default64 ? 8 : 4;
    else opSize = (codeSize === 2) === (operandPrefix && !mandatory66) ? 4 : 2;
    const addrSize = addressPrefix ? codeSize === 4 ? 2 : 4 : codeSize;

    // ModRM
    let mod = 3, reg = 0, rm = 0, base = -1, index = -1, scale = 0, disp = 0, defaultSeg = DS;
    if (modrm >= 0) {
      mod = modrm >> 6;
      reg = (modrm >> 3 & 7) | (rex & 4) << 1;
      rm = (modrm & 7) | (rex & 1) << 3;
      if (c.ignoresMod) mod = 3;
      if (mod !== 3) {
        const m = this.memory(modrm, rex, codeSize, addressPrefix);
        ({ base, index, scale, disp } = m);
        defaultSeg = m.seg;
      }
    } else if (c.opcodeRegister) rm = (opcode & 7) | (rex & 1) << 3;
    if (c.source) base = c.row.mnemonic === 'XLAT' ? 3 : 6;

    // Immediates
    let imm = 0n, imm2 = 0;
    for (let i = 0; i < c.immediates.length; i++) {
      const o = c.immediates[i]!;
      if (i === 1) { imm2 = this.word(1); continue; }
      switch (o.kind) {
        case 'O': imm = addrSize === 8 ? this.quad() : BigInt(this.word(addrSize)); break;
        case 'A': imm = BigInt(this.word(opSize)); imm2 = this.word(2); break;
        case 'J': imm = BigInt(this.signed(o.type === 'b' ? 1 : Math.min(opSize, 4))); break;
        default:
          if (o.type === 'b') imm = BigInt(this.word(1));
          else if (o.type === 'bs') imm = BigInt(this.signed(1));
          else if (o.type === 'w') imm = BigInt(this.word(2));
          else if (o.type === 'z') imm = BigInt(this.signed(Math.min(opSize, 4)));
          else imm = opSize === 8 ? this.quad() : BigInt(this.word(opSize));
      }
    }

    if (this.at - this.start > MAX_LENGTH) return this.refused(tooLongRow, codeSize);
    if (vex && prefixed) return this.refused(invalidRow, codeSize);
    if (lock && !(c.lockable && mod !== 3)) return this.refused(invalidRow, codeSize);
    if (vex && vvvv !== 0 && !c.usesVvvv) return this.refused(invalidRow, codeSize);
    return {
      row: c.row, length: this.at - this.start, opSize, addrSize, codeSize, lock, rex, mod, reg, rm, vvvv, base, index, scale, disp, imm, imm2,
      rep: c.prefix === rep ? 0 : rep,
      seg: seg >= 0 ? seg : defaultSeg,
    };
  }

  /** What follows the opcode of an instruction that is none, whose length is looked at all the same (UNDEFINED_0F). */
  private skipUndefined(map: number, opcode: number, rex: number, codeSize: number, addressPrefix: boolean): void {
    if (map === MAP_ONE) return;
    const bytes = map === MAP_0F3A ? 'mb' : map === MAP_0F38 ? 'm' : UNDEFINED_0F[opcode] ?? '';
    for (const what of bytes) if (what === 'b') this.byte(); else this.memory(this.byte(), rex, codeSize, addressPrefix);
  }

  private peek(): number {
    const b = this.byte();
    this.at--;
    return b;
  }

  /** The memory operand of ModRM: base, index, scale, displacement, default segment. */
  private memory(modrm: number, rex: number, codeSize: number, addressPrefix: boolean): { base: number; index: number; scale: number; disp: number; seg: number } {
    const mod = modrm >> 6, rm = modrm & 7;
    if (mod === 3) return { base: -1, index: -1, scale: 0, disp: 0, seg: DS };
    if (codeSize === 2 ? !addressPrefix : codeSize === 4 && addressPrefix) {
      if (mod === 0 && rm === 6) return { base: -1, index: -1, scale: 0, disp: this.signed(2), seg: DS };
      const disp = mod === 1 ? this.signed(1) : mod === 2 ? this.signed(2) : 0;
      return { base: BASE16[rm]!, index: INDEX16[rm]!, scale: 0, disp, seg: BASE16[rm] === 5 ? SS : DS };
    }
    let base = rm | (rex & 1) << 3, index = -1, scale = 0;
    if (rm === 4) {
      const sib = this.byte();
      index = (sib >> 3 & 7) | (rex & 2) << 2;
      if (index === 4) index = -1;
      scale = sib >> 6;
      base = (sib & 7) | (rex & 1) << 3;
      if ((sib & 7) === 5 && mod === 0) return { base: -1, index, scale, disp: this.signed(4), seg: DS };
    } else if (rm === 5 && mod === 0) return { base: codeSize === 8 ? RIP_BASE : -1, index: -1, scale: 0, disp: this.signed(4), seg: DS };
    const disp = mod === 1 ? this.signed(1) : mod === 2 ? this.signed(4) : 0;
    return { base, index, scale, disp, seg: base === 4 || base === 5 ? SS : DS };
  }
}

function matches(c: Candidate, modrm: number, rep: number, operandPrefix: boolean, codeSize: number, rex: number): boolean {
  if (rex & 1 && c.noRexB) return false;
  if (codeSize === 8 ? c.invalid64 : c.only64) return false;
  if (c.prefix >= 0) {
    if (c.prefix === 0 ? rep !== 0 || operandPrefix : c.prefix === 0x66 ? rep !== 0 || !operandPrefix : rep !== c.prefix) return false;
  }
  if (modrm < 0) return true;
  if (c.modrmByte >= 0) return c.modrmByte === modrm;
  if (c.digit >= 0 && (modrm >> 3 & 7) !== c.digit) return false;
  return modrm >= 0xc0 ? !c.memoryOnly : !c.registerOnly;
}
