/**
 * Registers, flags and memory for an encoded instruction: random, but such that its memory operand mostly lies in the data
 * pages, and its operands where it has something to decide. What an instruction needs beyond that is in shapes.ts.
 */
import { type Insn, RIP_BASE } from '../../machine/cpu/opcode-row.ts';
import { type Encoding, locks } from './encode.ts';
import type { Form } from './forms.ts';
import {
  CASE, CODE, type Case, DATA, FS_BASE, FXSAVE, GS_BASE, LDT_CODE16, LDT_CODE32, LDT_DATA16, LDT_DATA32, PAGE, PATCH_SIZE, USER32_CS, USER_CS, USER_DS, WRITABLE_SIZE, pristine,
} from './layout.ts';
import { type Random, float32, float64, float80, quad } from './random.ts';
import { shape } from './shapes.ts';

const M64 = (1n << 64n) - 1n;
const ARITHMETIC = 0x8d5, DF = 0x400, AC = 0x40000;
const FS = 4, GS = 5;

/** What shapes.ts works on. */
export interface Situation {
  readonly form: Form;
  readonly insn: Insn;
  readonly r: Random;
  readonly test: Case;
  readonly segmented: boolean;
  /** What a register must hold to point to an address of the data pages. */
  pointer(linear: number): bigint;
  /** A random place in the data pages, mostly a good one. */
  place(): number;
  /** Where the memory operand lies, if it is in the data pages. */
  readonly target: number | undefined;
  /** The bytes that will lie at an address of the data pages. */
  peek(linear: number, size: number): bigint;
  /** Puts bytes into a patch: 0 is that of the memory operand, 1 the stack's or a second operand's. */
  patch(which: 0 | 1, linear: number, bytes: (to: DataView) => void): void;
}

const segmentBase = (insn: Insn, segmented: boolean): number =>
  insn.codeSize === 8 ? insn.seg === FS ? FS_BASE : insn.seg === GS ? GS_BASE : 0 : !segmented ? 0 : insn.seg === 1 ? CODE : DATA;

/** A place for a memory operand: anywhere, over the edge of a page, or where it faults. */
function place(r: Random, aligned: boolean, edges: boolean): number {
  const offset = (() => {
    switch (r.below(edges ? 4 : 16)) {
      case 0: return PAGE - r.below(16);
      case 1: return r.below(3) ? 0x2000 - r.below(16) : 0x3000 - r.below(16);
      case 2: return r.below(0x3000);
      default: return 16 + r.below(0x1d00);
    }
  })();
  return DATA + (aligned && !r.once(8) ? offset & ~15 : r.once(3) ? offset & ~7 : offset);
}

/** Solves base + (index << scale) + disp = address for the registers. */
function aim(test: Case, insn: Insn, r: Random, address: number): void {
  const bits = BigInt(8 * insn.addrSize);
  const garbage = () => (insn.codeSize === 8 && r.once(2) ? r.u64() : insn.codeSize !== 8 ? BigInt(r.u32()) : 0n) >> bits << bits & M64;
  const want = BigInt(address) - BigInt(insn.disp);
  const set = (reg: number, v: bigint) => test.setGpr(reg, insn.addrSize === 8 ? v & M64 : BigInt.asUintN(Number(bits), v) | garbage());
  if (insn.base < 0 && insn.index < 0 || insn.base === RIP_BASE) return;
  if (insn.index < 0) return set(insn.base, want);
  if (insn.base < 0) return set(insn.index, want >> BigInt(insn.scale));
  if (insn.base === insn.index) return set(insn.base, want / (1n + (1n << BigInt(insn.scale))));
  const step = r.once(8) ? r.u64() : BigInt(r.below(200) - 100);
  set(insn.index, step);
  set(insn.base, want - (step << BigInt(insn.scale)));
}

/** The linear address that the registers give. */
function linearAddress(test: Case, insn: Insn, base: number): number {
  const next = test.rip + BigInt(insn.length);
  let a = BigInt(insn.disp);
  if (insn.base === RIP_BASE) a += next; else if (insn.base >= 0) a += test.gpr(insn.base);
  if (insn.index >= 0) a += test.gpr(insn.index) << BigInt(insn.scale);
  return Number(BigInt.asUintN(8 * insn.addrSize, a)) + base;
}
/** The same if it lies in the data pages. */
function target(test: Case, insn: Insn, base: number): number | undefined {
  const linear = linearAddress(test, insn, base);
  return linear >= DATA && linear < DATA + WRITABLE_SIZE ? linear : undefined;
}

const POINTERS = [0x3210_fedc, 0x7654, 0x8765_cba9, 0x4321] as const, NO_POINTERS = [0, 0, 0, 0] as const;
/** x87 registers and control words; MMX wants them as a register file. */
function x87(form: Form, r: Random, test: Case): void {
  const at = CASE.fxsave;
  const { u16, u32 } = test;
  const fpu = form.row.attributes.has('fpu') || /^(WAIT|EMMS)$/.test(form.row.mnemonic);
  const mmx = form.operands.some((o) => 'PQN'.includes(o.kind));
  let fcw = 0x37f;
  if (fpu && r.once(2)) fcw = 0x40 | r.below(4) << 10 | r.pick([3, 3, 2, 0, 1]) << 8 | (r.once(4) ? r.below(64) : 0x3f);
  let fsw = 0;
  if (fpu) {
    fsw = r.below(8) << 11 | (r.once(3) ? r.u32() & 0x4700 : 0) | (r.once(4) ? r.u32() & 0x7f : 0);
    if (fsw & ~fcw & 0x3f && !r.once(3)) fsw &= ~0x3f;
    if (fsw & ~fcw & 0x3f) fsw |= 0x8080;
  }
  u16[(at + FXSAVE.fcw) / 2] = fcw;
  u16[(at + FXSAVE.fsw) / 2] = fsw;
  u16[(at + FXSAVE.ftw) / 2] = fpu ? r.below(4) ? 0xff : r.below(256) : 0;
  // Pointers that no instruction here leaves.
  u16[(at + FXSAVE.fop) / 2] = fpu ? 0x5a5 : 0;
  u32.set(fpu ? POINTERS : NO_POINTERS, (at + FXSAVE.fip) / 4);
  for (let i = 0; i < 8; i++) {
    const st = (at + FXSAVE.st) / 4 + 4 * i;
    if (!fpu) { u32[st] = u32[st + 1] = u32[st + 2] = 0; continue; }
    if (mmx && !r.once(4)) { vectorHalf(form, r, u32, st); u32[st + 2] = 0xffff; } else float80(r, u32, st);
    if (i > 0 && r.once(6)) { u32[st] = u32[st - 4]!; u32[st + 1] = u32[st - 3]!; u32[st + 2] = u32[st - 2]!; }
  }
}

/** Eight bytes of a vector, of the kind the instruction takes. */
function vectorHalf(form: Form, r: Random, to: Uint32Array, at: number): void {
  const { mnemonic } = form.row;
  const kind = r.once(6) ? r.below(4) : /PS$|SS$|PS2|SS2|DQ2PS/.test(mnemonic) ? 0 : /PD$|SD$|PD2|SD2/.test(mnemonic) ? 1 : 2 + r.below(2);
  if (kind === 0) { to[at] = float32(r); to[at + 1] = float32(r); } else if (kind === 1) float64(r, to, at); else if (kind === 2) quad(r, to, at);
  else for (const i of [0, 1]) to[at + i] = r.pick([0x8000_7fff, 0x0000_0001, 0xffff_ffff, 0x7f80_ff01, 0x0001_8000, 0x00ff_0100]) ^ (r.once(2) ? r.u32() & 0x0101_0101 : 0);
}

function sse(form: Form, r: Random, test: Case): void {
  const { u32 } = test;
  let mxcsr = 0x1f80;
  if (form.row.attributes.has('sse') && r.once(2)) mxcsr = (r.once(4) ? r.below(64) << 7 : 0x1f80) | r.below(4) << 13 | (r.once(3) ? 0x8000 : 0) | (r.once(3) ? 0x40 : 0) | (r.once(3) ? r.below(64) : 0);
  u32[(CASE.fxsave + FXSAVE.mxcsr) / 4] = mxcsr;
  for (let i = 0; i < 32; i++) {
    const at = (CASE.fxsave + FXSAVE.xmm) / 4 + 2 * i;
    if (!form.row.attributes.has('sse') && i > 3) { u32[at] = u32[at + 1] = i; continue; }
    vectorHalf(form, r, u32, at);
    if (i > 1 && r.once(6)) { u32[at] = u32[at - 4]!; u32[at + 1] = u32[at - 3]!; }
  }
  // Shift counts are small.
  if (/^PS[RL][LA]/.test(form.row.mnemonic) && r.below(4)) {
    const n = r.below(16);
    const at = (CASE.fxsave + FXSAVE.xmm) / 4 + 4 * n;
    u32[at] = r.below(70); u32[at + 1] = 0;
  }
}

/** Fills a case for an encoding. `edges`: mostly with operands at the ends of pages and segments, and with alignment checks. */
export function fill(form: Form, e: Encoding, r: Random, test: Case, edges = false): void {
  const { insn, segmented } = e;
  const { u8, u16, u32, u64 } = test;
  const long = insn.codeSize === 8;
  u8.fill(0, 0, CASE.fxsave);
  u32[CASE.mode / 4] = long ? 64 : insn.codeSize === 4 ? 32 : 16;
  u32[CASE.length / 4] = e.bytes.length;
  u32[CASE.codeAt / 4] = e.codeAt;
  u8.set(e.bytes, CASE.code);
  const cs = long ? USER_CS : insn.codeSize === 2 ? LDT_CODE16 : segmented ? LDT_CODE32 : USER32_CS;
  u16[CASE.cs / 2] = cs;
  u16[CASE.ds / 2] = segmented ? LDT_DATA32 : USER_DS;
  u16[CASE.es / 2] = segmented ? r.once(4) ? LDT_DATA16 : LDT_DATA32 : USER_DS;
  u16[CASE.ss / 2] = segmented ? LDT_DATA32 : USER_DS;
  u64[CASE.rip / 8] = BigInt(cs & 4 ? e.codeAt - CODE : e.codeAt);
  const string = form.row.attributes.has('rep');
  u64[CASE.rflags / 8] = BigInt(0x202 | r.u32() & ARITHMETIC | (r.once(string ? 3 : 8) ? DF : 0) | (r.once(edges ? 2 : 24) ? AC : 0));

  for (let i = 0; i < 16; i++) quad(r, u32, CASE.gpr / 4 + 2 * i);
  if (!long) for (let i = 0; i < 16; i++) u32[CASE.gpr / 4 + 2 * i + 1] = 0;
  const dataBase = segmented ? DATA : 0;
  const stack = edges && r.once(2) ? DATA + r.pick([PAGE, 2 * PAGE]) + r.below(40) - 20 : DATA + 0x200 + (r.below(0x1a00) & (r.once(8) ? ~0 : ~7));
  test.setGpr(4, BigInt(stack - dataBase));

  const base = segmentBase(insn, segmented);
  const vector = form.row.attributes.has('sse') || form.row.mnemonic === 'CMPXCHG8B' || /^FX/.test(form.row.mnemonic);
  if (locks(form)) {
    // Where the registers cannot say an aligned address, another is tried.
    for (let n = 0; n < 50; n++) {
      aim(test, insn, r, (place(r, vector, edges) & ~15) - base);
      if ((linearAddress(test, insn, base) & 63) <= 48) break;
    }
  } else if (form.memory && !r.once(40)) aim(test, insn, r, place(r, vector, edges) - base);
  const where = form.memory ? target(test, insn, base) : undefined;

  x87(form, r, test);
  sse(form, r, test);
  u32[CASE.patchLength / 4] = PATCH_SIZE;
  const view = new DataView(u8.buffer);
  const setPatch = (which: number, linear: number) => {
    const at = Math.min(Math.max(linear, DATA), DATA + WRITABLE_SIZE - PATCH_SIZE);
    u32[CASE.patchAt / 4 + which] = at;
    return at;
  };
  const at = setPatch(0, (where ?? DATA + 0x800) - 16);
  for (let i = 0; i < PATCH_SIZE; i += 8) vectorHalf(form, r, u32, (CASE.patch + i) / 4);
  if (form.row.attributes.has('fpu') && where !== undefined && where - at === 16 && r.once(2)) {
    const words = new Uint32Array(3);
    float80(r, words, 0);
    u8.set(new Uint8Array(words.buffer, 0, 10), CASE.patch + 16);
  }
  const top = Number(BigInt.asUintN(32, test.gpr(4))) + (long ? 0 : dataBase);
  setPatch(1, top >= DATA && top < DATA + WRITABLE_SIZE ? top : DATA + 0x1000);
  for (let i = 0; i < PATCH_SIZE; i += 8) quad(r, u32, (CASE.patch + PATCH_SIZE + i) / 4);

  shape({
    form, insn, r, test, segmented, target: where,
    pointer: (linear) => BigInt(linear - (long ? base : dataBase)),
    place: () => place(r, false, edges),
    peek: (linear, size) => {
      let v = 0n;
      for (let i = size - 1; i >= 0; i--) {
        let byte = pristine[linear + i - DATA] ?? 0;
        for (const which of [0, 1]) {
          const offset = linear + i - u32[CASE.patchAt / 4 + which]!;
          if (offset >= 0 && offset < PATCH_SIZE) byte = u8[CASE.patch + PATCH_SIZE * which + offset]!;
        }
        v = v << 8n | BigInt(byte);
      }
      return v;
    },
    patch: (which, linear, bytes) => {
      const start = setPatch(which, linear);
      const offset = linear < start || linear > start + PATCH_SIZE ? PATCH_SIZE : linear - start;
      bytes(new DataView(view.buffer, CASE.patch + PATCH_SIZE * which + offset, PATCH_SIZE - offset));
    },
  });
}
