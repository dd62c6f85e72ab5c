/**
 * Random programs: up to 40 instructions in a row, with jumps over some of them, on a few bytes of memory that their operands share in every
 * size. They show what single instructions cannot: flags that a later one asks for, parts of registers, a load of what was just stored.
 *
 * RBX and RSI point to the data, RDI is a small index, RSP is the stack's; nothing else writes them. A flag the SDM leaves undefined
 * is not asked for until it is defined again, and is left out where the program ends.
 */
import type { Insn } from '../../machine/cpu/opcode-row.ts';
import { describe, differences, normalize } from './compare.ts';
import { decoder, encode, locks } from './encode.ts';
import { type Form, forms, narrowForms } from './forms.ts';
import type { Summary } from './fresh.ts';
import { inexact } from './inexact.ts';
import { ANSWER, type Answer, CASE, CODE, CODE_ROOM, Case, DATA, FXSAVE, PAGE, PATCH_SIZE, SYSTEM_CALL, TIMED_OUT, USER32_CS, USER_CS, USER_DS, WRITABLE_SIZE } from './layout.ts';
import { MachineUnderTest } from './machine.ts';
import { Random, float32, float64, float80, quad } from './random.ts';
import { record } from './recorder.ts';
import { FLAG, undefinedMask } from './undefined.ts';

const RBX = 3, RSP = 4, RSI = 6, RDI = 7;
const RESERVED: ReadonlySet<number> = new Set([RBX, RSP, RSI, RDI]);
const BATCH = 500;

const nop = decoder.decode(Uint8Array.of(0x90, ...new Array<number>(15).fill(0xcc)), 0, 16, 8)!;

/** What moves the reserved registers or the control words, leaves the program, or writes where the last x87 instruction was. */
const LEFT_OUT = /^(CALL.*|RET.*|JMP.*|IRET.*|LOOP.*|ENTER|LEAVE|PUSHA|POPA|POPF|CLI|STI|IN|OUT|INS|OUTS|HLT|LDMXCSR|F(LD|NST)ENV|FRSTOR|FNSAVE|FX.*|FLDCW|MASKMOV.*|UD.*|INTO|BOUND|ARPL|L[DEFGS]S|LSS|LAR|LSL|VER[RW]|(RD|WR)[FG]SBASE|MOV_?S|BSWAP)$/;
const shift = /^(RO[LR]|RC[LR]|SH[LR]|SA[LR]|SH[LR]D)$/;

/** Forms that go into a program, those with memory twice. */
function candidates(all: readonly Form[]): Form[] {
  const list = all.filter(({ row, operands, lock }) => {
    if (lock || row.attributes.has('rep') || inexact(row) !== undefined || LEFT_OUT.test(row.mnemonic)) return false;
    if ('exec' in row.meaning && !row.attributes.has('straight') && !row.attributes.has('fpu')) return false;
    return !operands.some((o) => 'SCDAO'.includes(o.kind) || /^[C-GS]S$/.test(o.text));
  }).filter((form) => !locks(form));
  const integer = list.filter(({ row }) => !row.attributes.has('sse') && !row.attributes.has('fpu'));
  // Integer instructions as often as all others.
  const more = Math.max(1, Math.round(list.length / integer.length) - 1);
  return [...list, ...list.filter((f) => f.memory), ...Array.from({ length: more }, () => integer).flat()];
}

/** Full registers an instruction names as operands. */
function named(form: Form, insn: Insn): number[] {
  const list: number[] = [];
  for (const o of form.operands) {
    const n = o.kind === 'G' ? insn.reg : o.kind === 'B' ? insn.vvvv : (o.kind === 'E' || o.kind === 'R') && insn.mod === 3 || o.kind === 'Z' ? insn.rm : -1;
    if (n >= 0) list.push(o.type === 'b' && insn.rex === 0 && n >= 4 && n < 8 ? n - 4 : n);
  }
  return list;
}
function fits(form: Form, insn: Insn, r: Random): boolean {
  if (named(form, insn).some((n) => RESERVED.has(n)) || insn.addrSize !== insn.codeSize) return false;
  if (/^I?DIV$/.test(form.row.mnemonic) && !r.once(8)) return false;
  if (!form.memory) return true;
  const aligned = form.row.attributes.has('sse') && (insn.disp & 15) !== 0 && !r.once(6);
  return !aligned && (insn.base === RBX || insn.base === RSI) && (insn.index < 0 || insn.index === RDI) && Math.abs(insn.disp) <= 0x100 && insn.seg === 3;
}

/** What an instruction leaves undefined of the flags, given what is undefined before it. */
function undefinedAfter(insn: Insn, before: number): number {
  const { row } = insn;
  let written = 0;
  for (const letter of row.writes) written |= FLAG[letter] ?? 0;
  // A count of 0 writes nothing; CL may hold any.
  if (!shift.test(row.mnemonic)) return before & ~written | undefinedMask(insn, 0n);
  if (row.operands.at(-1) !== 'CL') return before | undefinedMask(insn, 0n);
  return [1n, 2n, 15n, 31n, 63n].reduce((mask, count) => mask | undefinedMask(insn, count), before);
}
const asksFor = (insn: Insn): number => [...insn.row.reads].reduce((mask, letter) => mask | (FLAG[letter] ?? 0), /^(PUSHF|FCMOV)/.test(insn.row.mnemonic) ? ~0 : 0);

export interface Program { readonly test: Case; readonly names: readonly string[]; readonly places: readonly Place[] }
/** Where an instruction starts, and what is undefined before it; the last is the breakpoint at the end. */
interface Place { readonly at: number; readonly undefined: number; readonly insn: Insn }

export function program(r: Random, mode: 64 | 32, among: readonly Form[]): Program {
  const bytes: number[] = [], names: string[] = [], places: Place[] = [];
  const wanted = 8 + r.below(33);
  let mask = 0;
  /** Jumps whose target is still to come: where the displacement is, its size, after how many instructions, and what was undefined there. */
  let jumps: { field: number; size: number; left: number; mask: number }[] = [];
  const land = (all: boolean) => {
    for (const j of jumps) {
      if (j.left > 0 && !all) continue;
      const distance = bytes.length - j.field - j.size;
      for (let i = 0; i < j.size; i++) bytes[j.field + i] = distance >>> 8 * i & 0xff;
      mask |= j.mask;
    }
    jumps = all ? [] : jumps.filter((j) => j.left > 0);
  };
  for (let tries = 0; names.length < wanted && tries < 6000 && bytes.length < CODE_ROOM - 100; tries++) {
    const form = r.pick(among);
    const e = encode(form, r, mode);
    const { insn } = e;
    const jump = form.operands[0]?.kind === 'J';
    if (e.segmented || !fits(form, insn, r) || (asksFor(insn) & mask) !== 0 || jump && (insn.opSize === 2 || names.length === wanted - 1)) continue;
    places.push({ at: bytes.length, undefined: mask, insn });
    bytes.push(...e.bytes);
    names.push(form.row.mnemonic);
    mask = undefinedAfter(insn, mask);
    for (const j of jumps) j.left--;
    land(false);
    const size = jump ? form.operands[0]!.type === 'b' ? 1 : 4 : 0;
    if (jump) jumps.push({ field: bytes.length - size, size, left: 1 + r.below(4), mask });
  }
  land(true);
  places.push({ at: bytes.length, undefined: mask, insn: nop });
  return { test: start(r, mode, bytes), names, places };
}

function start(r: Random, mode: 64 | 32, bytes: readonly number[]): Case {
  const test = new Case();
  const { u8, u16, u32 } = test;
  u32[CASE.mode / 4] = mode;
  u32[CASE.length / 4] = bytes.length;
  u32[CASE.codeAt / 4] = CODE + (r.once(6) ? PAGE - r.below(bytes.length + 1) : 0x400 + r.below(0x400));
  u8.set(bytes, CASE.code);
  u16[CASE.cs / 2] = mode === 64 ? USER_CS : USER32_CS;
  for (const at of [CASE.ds, CASE.es, CASE.ss]) u16[at / 2] = USER_DS;
  test.u64[CASE.rip / 8] = BigInt(test.codeAt);
  test.u64[CASE.rflags / 8] = BigInt(0x202 | r.u32() & 0x8d5 | (r.once(40) ? 0x40000 : 0));
  for (let i = 0; i < 16; i++) quad(r, u32, CASE.gpr / 4 + 2 * i);
  if (mode === 32) for (let i = 0; i < 16; i++) u32[CASE.gpr / 4 + 2 * i + 1] = 0;
  const where = DATA + (r.once(6) ? PAGE - r.below(64) & ~(r.once(2) ? 15 : 0) : r.once(12) ? WRITABLE_SIZE - r.below(128) : 0x300 + (r.below(0x1a00) & ~15));
  test.setGpr(RBX, BigInt(where));
  test.setGpr(RSI, BigInt(where + r.below(5) * 8 - 16));
  test.setGpr(RDI, BigInt(r.below(9)));
  test.setGpr(RSP, BigInt(r.once(4) ? where & ~7 : DATA + 0x200));
  u16[(CASE.fxsave + FXSAVE.fcw) / 2] = r.once(4) ? 0x7f | r.below(4) << 10 | r.pick([3, 2, 0]) << 8 : 0x37f;
  u16[(CASE.fxsave + FXSAVE.fsw) / 2] = r.below(8) << 11;
  u16[(CASE.fxsave + FXSAVE.ftw) / 2] = r.pick([0xff, 0xff, 0x0f, 0]);
  u32[(CASE.fxsave + FXSAVE.mxcsr) / 4] = 0x1f80 | (r.once(4) ? r.below(4) << 13 | (r.once(2) ? 0x8040 : 0) : 0);
  for (let i = 0; i < 8; i++) float80(r, u32, (CASE.fxsave + FXSAVE.st) / 4 + 4 * i);
  for (let i = 0; i < 32; i++) {
    const at = (CASE.fxsave + FXSAVE.xmm) / 4 + 2 * i;
    const kind = r.below(4);
    if (kind < 2) { u32[at] = float32(r); u32[at + 1] = float32(r); } else if (kind === 2) float64(r, u32, at); else quad(r, u32, at);
  }
  u32[CASE.patchLength / 4] = PATCH_SIZE;
  for (const i of [0, 1]) {
    u32[CASE.patchAt / 4 + i] = Math.min(where + 64 * i - 32, DATA + WRITABLE_SIZE - PATCH_SIZE);
    for (let k = 0; k < PATCH_SIZE; k += 8) quad(r, u32, (CASE.patch + PATCH_SIZE * i + k) / 4);
  }
  return test;
}

/** Takes out what is not compared: undefined flags where the program ended, and where the last x87 instruction was. */
function clean(a: Answer, { test, places }: Program, ofSilicon: boolean): void {
  const at = Number(a.rip) - test.codeAt;
  const place = places.find((p) => p.at === at) ?? places.at(-1)!;
  normalize(a, test, place.insn, ofSilicon);
  a.u32[ANSWER.rflags / 4] = a.u32[ANSWER.rflags / 4]! & ~place.undefined;
  a.u8.fill(0, ANSWER.fxsave + FXSAVE.fop, ANSWER.fxsave + FXSAVE.mxcsr);
}

/** The first of its beginnings that already differs: the program cut off behind one of its instructions. */
function shortest(p: Program, tier: MachineUnderTest): string {
  const cut = p.places.slice(1).map(({ at }, i): Program => {
    const test = new Case();
    test.u8.set(p.test.u8);
    test.u32[CASE.length / 4] = at;
    return { test, names: p.names.slice(0, i + 1), places: [...p.places.slice(0, i + 1), { ...p.places[i + 1]!, insn: nop }] };
  });
  const answers = record(cut.map((c) => c.test));
  for (const [i, c] of cut.entries()) {
    const want = answers[i]!, got = tier.run(c.test);
    clean(want, c, true);
    clean(got, c, false);
    const list = differences(want, got);
    if (list.length > 0) return `after ${c.names.join(' ')}: ${list.join('\n    ')}\n    ${describe(c.test)}`;
  }
  return `only the whole program: ${describe(p.test)}`;
}

/** Compares programs of both modes in both tiers with the silicon at hand. */
export function randomPrograms(count: number, seed: number): Summary & { instructions: number } {
  const summary = { compared: 0, left: 0, regions: 0, wrong: new Map<string, string[]>(), instructions: 0 };
  const tiers = [new MachineUnderTest(false), new MachineUnderTest(true)];
  const long = candidates(forms.filter((f) => f.mode === 64)), narrow = candidates(narrowForms);
  for (let made = 0; made < count;) {
    const batch = Array.from({ length: Math.min(BATCH, count - made) }, (_, i): Program => {
      const r = new Random(seed, 0x9e0, made + i);
      return r.below(3) ? program(r, 64, long) : program(r, 32, narrow);
    });
    made += batch.length;
    record(batch.map((p) => p.test)).forEach((want, i) => {
      const p = batch[i]!;
      if (want.trap === TIMED_OUT || want.trap === SYSTEM_CALL) { summary.left++; return; }
      summary.compared++;
      clean(want, p, true);
      summary.instructions += Math.max(p.places.findIndex((place) => place.at === Number(want.rip) - p.test.codeAt - (want.trap === 3 ? 1 : 0)), 0);
      for (const [k, tier] of tiers.entries()) {
        const got = tier.run(p.test);
        clean(got, p, false);
        if (differences(want, got).length === 0) continue;
        const name = `${p.test.mode}-bit program, ${k ? 'hot' : 'cold'} tier`;
        const list = summary.wrong.get(name) ?? [];
        summary.wrong.set(name, list);
        list.push(list.length > 7 ? '' : shortest(p, tier));
      }
    });
  }
  summary.regions = tiers[1]!.regions;
  return summary;
}
