/**
 * Random programs that make sense: loops, calls, memory, faults, stores of new bytes into their own code, and all that decides
 * whether an interrupt comes in, in 16-, 32- and 64-bit code.
 */
import assert from 'node:assert/strict';
import { generator } from '../support/random.ts';

export interface ProgramOptions {
  readonly width: 16 | 32 | 64;
  /** Offset of the program in its code segment. */
  readonly origin: number;
  /** How far below rDI the code is, and whether a store may reach it there; else only GS does. */
  readonly flat: boolean;
  /** HLT is allowed. */
  readonly ring0: boolean;
  /** Selector loads do not change what they find. */
  readonly reloads: boolean;
  /** A selector is a base. */
  readonly real: boolean;
}

export const le16 = (v: number): number[] => [v & 0xff, v >>> 8 & 0xff];
export const le32 = (v: number): number[] => [...le16(v), v >>> 16 & 0xff, v >>> 24];

export interface Program { readonly code: Uint8Array; /** Where in it bytes are that may be any number. */ readonly numbers: readonly number[] }

/** rSP, rDI (base of data) and rCX (loop counter) keep their values but for the code that counts and pushes. */
export function program(seed: number, { width, origin, flat, ring0, reloads, real }: ProgramOptions): Program {
  const random = generator(seed);
  const code: number[] = [];
  const labels: number[] = [], jumps: { at: number; label: number }[] = [];
  /** Bytes that may become another number, and ModRM bytes of two registers that may become another pair. */
  const numbers: number[] = [], pairs: number[] = [], words: number[] = [];
  const patches: { at: number; site: () => number }[] = [];
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const reg = () => pick([0, 2, 3, 5, 6]);
  const modrm = (r: number, rm: number) => 0xc0 | r << 3 | rm;
  const rex = () => { if (width === 64) { if (random(2)) code.push(0x48 | (random(4) === 0 ? 4 : 0)); } else if (random(width === 16 ? 4 : 8) === 0) code.push(0x66); };
  const offset = (n: number) => (width === 16 ? le16(n) : le32(n));
  /** A word as wide as the code's default. */
  const word = offset;
  /** The memory operand of the instruction that follows: its prefixes now, ModRM and the rest by the function. */
  const memory = (r: number, plain = false): (() => void) => {
    const masked = random(3) === 0;
    if (masked) code.push(0x81, 0xe6, ...word(0xfff + random(2) * 0x1000));             // and rSI, 0xfff or 0x1fff
    if (!plain && random(6) === 0) code.push(pick([0x26, 0x36, 0x64]));
    if (width === 16) {
      if (random(6) === 0) {
        code.push(0x67);                                                                // [edi+disp32]
        return () => { code.push(0x87 | r << 3, ...le32(random(0x2000))); };
      }
      if (masked) return () => { code.push(0x44 | r << 3, random(128)); };              // [si+disp8]
      if (random(8) === 0) return () => { code.push(0x43 | r << 3, random(128)); };     // [bp+di+disp8], on the stack
      return () => { code.push(0x85 | r << 3, random(256), random(32)); };              // [di+disp16]
    }
    if (masked) return () => { code.push(0x44 | r << 3, pick([0, 0x40, 0x80]) | 6 << 3 | 7, random(128)); };
    return () => { code.push(0x87 | r << 3, random(256), random(32), 0, 0); };
  };
  const jump = (bytes: number[], label: number) => { code.push(...bytes); jumps.push({ at: code.length, label }); code.push(...word(0)); };
  const arithmetic = (): void => { const op = random(8) * 8; rex(); code.push(op | pick([1, 3])); pairs.push(code.length); code.push(modrm(reg(), reg())); };
  const immediate = (): void => { rex(); code.push(0x83, modrm(random(8), reg())); numbers.push(code.length); code.push(random(256)); };
  /** ALU with an immediate of 32 or, in 16-bit code, 16 bits: it may lie in two pages. */
  const wideImmediate = (): void => { code.push(0x81, modrm(random(8), reg())); words.push(code.length); code.push(...word(random(0x1_0000))); };
  /** A store of other bytes into the code, once in sixteen turns of the loop around it: at times into what follows. */
  const patch = (): void => {
    code.push(0xf6, 0xc1, 0x0f, 0x75, 0);                                               // test cl, 15; jnz over
    const over = code.length;
    const kind = random(3);
    const known = [numbers, pairs, words][kind]!;
    if (!flat || random(2)) code.push(0x65);
    code.push(kind === 2 ? 0xc7 : 0xc6, width === 16 ? 6 : width === 32 ? 5 : 4);
    if (width === 64) code.push(0x25);
    const here = known.length;
    const earlier = here > 0 && random(3) > 0 ? known[random(here)]! : -1;
    patches.push({ at: code.length, site: () => (earlier >= 0 ? earlier : known[Math.min(here, known.length - 1)] ?? 0) });
    code.push(...offset(0));
    if (kind === 2) code.push(...word(random(0x1_0000)));
    else code.push(kind === 1 ? modrm(reg(), reg()) : random(256));
    code[over - 1] = code.length - over;
    [immediate, arithmetic, wideImmediate][kind]!();
  };
  const interrupts = (): void => {
    switch (random(12)) {
      case 0: case 1: code.push(0xfa); return;
      case 2: case 3: code.push(0xfb); return;
      case 4: code.push(0x68, ...word(pick([0x002, 0x202, 0x8d7, 0xad7, 0x603])), 0x9d); return;    // push flags; popf
      case 5: code.push(0x9c, 0x58 | reg()); return;                                    // pushf; pop
      case 6: code.push(0xcd, 0x30); return;
      case 8: code.push(0x0f, 0x31); return;                                            // rdtsc
      case 9: code.push(0xf3, 0x90); return;                                            // pause
      case 10: code.push(0x8c, modrm(random(6), reg())); return;                        // mov eax, sreg
      case 7: if (reloads) code.push(0x8c, 0xd0, 0x8e, 0xd0); else code.push(0xfb); return;         // mov eax, ss; mov ss, eax
      default: if (ring0) code.push(0xfb, 0xf4); else code.push(0xfa);
    }
  };
  /** ES and FS from each other, from anywhere in the data, and now and then from nowhere for one access. */
  const selectors = (): void => {
    const seg = pick([0, 4]);
    const set = (to: number) => { code.push(0xb8, ...le16(to), 0x8e, 0xc0 | seg << 3); };
    switch (random(real ? 5 : 2)) {
      case 0: code.push(0x1e, ...pick([[0x07], [0x0f, 0xa1]])); return;                 // push ds; pop es or fs
      case 1: code.push(0x8c, 0xd8, 0x8e, 0xc0 | seg << 3); return;                     // mov eax, ds; mov es or fs, eax
      case 2: set(0x1800 + random(0x500)); return;
      case 3: code.push(0x68, ...le16(0x1800 + random(0x500)), ...(seg === 0 ? [0x07] : [0x0f, 0xa1])); return;
      default: {
        const address = memory(reg(), true);
        rex();
        code.push(...(seg === 0 ? [0xc4] : [0x0f, 0xb4]));
        address();
        code.push(seg === 0 ? 0x26 : 0x64, 0x03, 0x84 | reg() << 3, random(256), random(256));      // add r, es:[si+disp]
        set(0x1800 + random(0x500));
      }
    }
  };
  const strings = (): void => {
    code.push(0x57, 0x56, 0x81, 0xe6, ...word(0x7ff));                                  // push rDI, rSI; and esi, 0x7ff
    if (flat) code.push(0x01, 0xfe);                                                    // add esi, edi
    const times = random(3) === 0;
    if (times) code.push(0x51, 0xb9, ...word(random(40)), pick([0xf2, 0xf3]));
    code.push(pick([0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6, 0xa7, 0xae, 0xaf]));
    if (times) code.push(0x59);
    code.push(0x5e, 0x5f);
  };
  /** Loads and stores of all formats, arithmetic between registers and with memory, control words; now and then a fresh start. */
  const floating = (): void => {
    if (random(6) === 0) { code.push(0xdb, 0xe3, 0xd9, 0xe8 + random(7)); return; }
    if (random(2)) {
      const [opcode, digit] = pick([[0xd9, 0], [0xdd, 0], [0xdb, 0], [0xdb, 5], [0xdf, 5], [0xd9, 3], [0xdd, 3], [0xdb, 3], [0xdb, 7], [0xdf, 7], [0xdb, 1], [0xd8, random(8)], [0xdc, random(8)], [0xda, random(8)], [0xd9, 7], [0xdd, 7]]);
      const address = memory(digit!);
      code.push(opcode!);
      address();
    } else code.push(...pick([[0xd8, 0xc0 + random(64)], [0xde, pick([0xc1, 0xc9, 0xe1, 0xe9, 0xf1, 0xf9])], [0xd9, 0xc0 + random(16)], [0xd9, pick([0xe0, 0xe1, 0xfa, 0xfc])], [0xdb, 0xe8 + random(16)], [0xda, 0xc0 + random(32)], [0xdd, 0xd8 + random(8)], [0xdf, 0xe0]]));
  };
  const one = (): void => {
    const kind = random(28);
    if (kind > 25) { floating(); return; }
    if (kind < 5) { arithmetic(); return; }
    if (kind === 5) {                                                                   // byte registers; none of rDI, rSP, rCX as a target
      const op = random(8) * 8, target = pick([0, 2, 3, 4, 6, 7]), other = pick([0, 2, 3, 4, 6, 7]);
      code.push(op | 2, modrm(width === 64 ? pick([0, 2, 3]) : target, other));
      return;
    }
    if (kind === 6) { immediate(); return; }
    if (kind === 7) { rex(); code.push(0xc1, modrm(random(8), reg()), random(70)); return; }
    if (kind === 8) { rex(); code.push(pick([0xd1, 0xd3]), modrm(random(8), reg())); return; }
    if (kind === 9) { rex(); code.push(0xff, modrm(random(2), reg())); return; }
    if (kind === 10) { rex(); code.push(0xf7, modrm(pick([2, 3, 4, 5]), reg())); return; }
    if (kind === 11) { rex(); code.push(0x0f, 0xaf, modrm(reg(), reg())); return; }
    if (kind === 12) { rex(); code.push(0x0f, 0x40 | random(16), modrm(reg(), reg())); return; }
    if (kind === 13) { code.push(0x0f, 0x90 | random(16), modrm(0, pick([0, 2, 3]))); return; }
    if (kind === 14) { rex(); code.push(0x0f, pick([0xb6, 0xb7, 0xbe, 0xbf, 0xa3, 0xbc, 0xbd]), modrm(reg(), reg())); return; }
    if (kind === 15) { const r = reg(); code.push(0x50 | r, 0x58 | reg()); return; }
    if (kind === 16) { code.push(pick([0xf5, 0xf8, 0xf9, 0x98, 0x99, 0x9f, 0x9e, 0x90])); return; }
    if (kind === 17) { const address = memory(reg(), true); rex(); code.push(0x8d); address(); return; }
    if (kind === 18) { if (random(20)) code.push(0x31, 0xd2, 0x80, 0xcb, 1); rex(); code.push(0xf7, modrm(6 + random(2), random(12) ? 3 : reg())); return; }   // div, which faults now and then
    if (kind === 19) { interrupts(); return; }
    if (kind === 20) { if (random(2)) strings(); else if (width === 64 || random(2)) wideImmediate(); else selectors(); return; }
    const address = memory(reg());
    rex();
    code.push(pick([0x8b, 0x89, 0x03, 0x01, 0x29, 0x33, 0x3b, 0x39, 0x87, 0x85, 0x8b, 0x89, 0x8a, 0x88, 0x13, 0x19]));
    address();
  };
  const body = (depth: number): void => {
    for (let n = 2 + random(8); n > 0; n--) {
      const what = random(16);
      if (what === 0 && depth < 3) {                  // a loop, rCX saved around it
        code.push(0x51, 0xb9, ...word(1 + random(30)));
        const top = labels.push(code.length) - 1;
        body(depth + 1);
        const back = labels[top]! - (code.length + 2);
        if (back >= -128 && random(2)) code.push(0xe2, back & 0xff);
        else {
          if (random(2)) code.push(0xff, 0xc9); else code.push(0x83, 0xe9, 1);
          jump([0x0f, 0x85], top);
        }
        code.push(0x59);
      } else if (what === 1 && depth < 3) {           // if
        const over = labels.push(-1) - 1;
        jump([0x0f, 0x80 | random(16)], over);
        body(depth + 1);
        labels[over] = code.length;
      } else if (what === 2 && depth < 3) {           // a function and a call of it
        const over = labels.push(-1) - 1, f = labels.push(-1) - 1;
        jump([0xe9], over);
        labels[f] = code.length;
        body(depth + 2);
        code.push(0xc3);
        labels[over] = code.length;
        jump([0xe8], f);
        if (random(2)) jump([0xe8], f);
      } else if (what === 3) {
        if (random(3) === 0) patch();
      } else one();
    }
  };
  const top = labels.push(code.length) - 1;
  body(0);
  body(1);
  jump([0xe9], top);
  assert.ok(code.length < 0x2000);
  const put = (at: number, bytes: readonly number[]): void => bytes.forEach((b, i) => { code[at + i] = b; });
  for (const { at, label } of jumps) put(at, word(labels[label]! - (at + word(0).length)));
  for (const { at, site } of patches) put(at, offset(origin + site()));
  return { code: Uint8Array.from(code), numbers };
}
