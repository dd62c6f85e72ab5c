/**
 * SSE, AES, SHA and MMX instructions against what a real processor did with the same registers, memory, flags and MXCSR, in the cold
 * and in the hot tier. The golden file holds a hash of each 16 results; `simd-vectors --show` has the recorder say more.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { fpu_state } from '../../machine/cpu/state.ts';
import { readFlags, writeFlags } from '../../machine/engine/flags.ts';
import { STOP_FAULT, STOP_LIMIT } from '../../machine/engine/stop.ts';
import { simdForms } from '../recorder/simd-forms.ts';

const CODE = 0x1000, DATA = 0x8000;
const GROUP = Number(process.env['SIMD_GROUP'] ?? 16);
const OFF = fpu_state.offset;

// ---------------------------------------------------------------- the recorder's generator (test/recorder/simd-vectors.c)

let seed = 0;
function next(): number {
  let t = seed = seed + 0x6d2b79f5 | 0;
  t = Math.imul(t ^ t >>> 15, 1 | t);
  t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
  return (t ^ t >>> 14) >>> 0;
}
const EDGES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x00ff00ff, 0x7f807f80, 0x80008000, 0xff7f0001, 0x55aa55aa];
const FLOATS = [0, 0x80000000, 0x3f800000, 0xbfc00000, 0x7f800000, 0xff800000, 0x7fc00123, 0xffa00001, 0x007fffff, 0x7f7fffff, 0x80000001, 0x00800000, 0xcf000000, 0x4f000000, 0x5f000000, 0x40900000];
const HIGHS = [0, 0x80000000, 0x3ff00000, 0xbff80000, 0x7ff00000, 0xfff00000, 0x7ff80000, 0xfff40000, 0x000fffff, 0x7fefffff, 0x80000000, 0x00100000, 0xc1e00000, 0x41e00000, 0x43e00000, 0x380fffff];
const LOWS = [0, 0, 0, 0, 0, 0, 0x123, 1, 0xffffffff, 0xffffffff, 1, 0, 0, 0, 0, 0xffffffff];
function integer(): number {
  const kind = next() & 3, v = next();
  return kind === 0 ? EDGES[v & 15]! : kind === 1 ? v & 0x0f0f0f0f : v;
}
function text(): number {
  let v = next();
  const zero = next();
  v = (v & 0x03030303) + 0x01010101;
  for (let i = 0; i < 4; i++) if ((zero >>> 8 * i & 15) === 0) v &= ~(0xff << 8 * i);
  if (zero >>> 28 === 1) v |= next() & 0x80808080;
  return v;
}
function single(): number {
  const kind = next() & 7, v = next();
  if (kind === 0) return FLOATS[v & 15]!;
  if (kind === 1) return (v & 0x807fffff) | (v >>> 20 & 7) << 23;
  if (kind === 2) return (v & 0x807fffff) | (0x78 + (v >>> 24 & 7)) << 24;
  if (kind === 3) return (v & 0x80f80000) | 0x3f000000;
  if (kind === 4) return v;
  if (kind === 5) return (v & 0x807fffff) | (0x95 + (v >>> 25 & 31)) << 23;
  return (v & 0x80ffffff) | 0x3f000000;
}
function twin(to: Uint32Array, at: number): void {
  const kind = next() & 7, v = next(), w = next();
  let low = w, high: number;
  if (kind === 0) [low, high] = [LOWS[v & 15]!, HIGHS[v & 15]!];
  else if (kind === 1) high = (v & 0x800fffff) | (v >>> 20 & 7) << 20;
  else if (kind === 2) high = (v & 0x800fffff) | (0x7f8 | (v >>> 24 & 7)) << 20;
  else if (kind === 3) [low, high] = [0, (v & 0x80ff0000) | 0x3f800000];
  else if (kind === 4) high = v;
  else if (kind === 5) high = (v & 0x800fffff) | (0x41d + (v >>> 22 & 63)) << 20;
  else if (kind === 6) [low, high] = [w & (v & 1 ? 0xe0000000 : 0xffffffff), (v & 0x800fffff) | (0x370 + (v >>> 22 & 31)) << 20];
  else high = (v & 0x801fffff) | 0x3fe00000;
  to[at] = low;
  to[at + 1] = high;
}
function fill(to: Uint32Array, at: number, words: number, kind: string): void {
  for (let i = 0; i < words; i++) {
    if (kind === 'd') { twin(to, at + i); i++; }
    else to[at + i] = kind === 'f' ? single() : kind === 's' ? text() : integer();
  }
}

// ---------------------------------------------------------------- running a case

let hash = 0;
const mix = (v: number): void => { hash = Math.imul(hash ^ v, 0x01000193); hash ^= hash >>> 15; };

class Bench {
  private readonly m = new BareMachine(16 << 20);
  private readonly fpu: Uint32Array;
  private readonly memory: Uint32Array;
  private readonly hot: boolean;
  private length = 0;

  constructor(hot: boolean) {
    const { m } = this;
    this.hot = hot;
    m.engine.code.hot.threshold = hot ? 1 : Infinity;
    m.longMode(CODE);
    m.cpu.state.cr4 |= 0x400n;
    this.fpu = new Uint32Array(m.cpu.fpu.buffer, m.cpu.fpu.byteOffset, fpu_state.size / 4);
    this.memory = m.ram.mem.u32.subarray((m.ram.base + DATA) / 4, (m.ram.base + DATA) / 4 + 8);
  }
  /** In the hot tier the instruction is the body of a loop that runs once. */
  load(hex: string): void {
    this.length = hex.length / 2;
    this.m.poke(CODE, this.hot ? `${hex}49ffc875${(0x100 - this.length - 5).toString(16).padStart(2, '0')}` : hex);
  }

  /** Prepares case i of a form as the recorder does. */
  prepare(form: number, i: number, kind: string): void {
    const { fpu, memory, m: { cpu } } = this;
    const xmm = OFF.xmm / 4, st = OFF.st / 4;
    seed = form + Math.imul(i, 0x9e3779b9) | 0;
    const how = next();
    fill(fpu, xmm, 12, kind);
    fill(memory, 0, 8, kind);
    for (const r of [0, 3, 1, 2]) { cpu.gpr32[2 * r + 1] = integer(); cpu.gpr32[2 * r] = integer(); }
    if (how & 0x100) for (const r of [0, 2]) { const n = next() % 40 - 20; cpu.gpr32[2 * r] = n; cpu.gpr32[2 * r + 1] = n >> 31; }
    fpu.fill(0, 0, 6);
    fpu[0] = 0x37f;
    fpu[1] = 0xff;
    const mm = new Uint32Array(4);
    fill(mm, 0, 4, kind === 'f' ? 'f' : 'i');
    fpu.set(mm.subarray(0, 2), st + 4);
    fpu.set(mm.subarray(2), st + 8);
    writeFlags(cpu, next() & 0x8d5 | 0x202);
    const random = next();
    fpu[OFF.mxcsr / 4] = (how & 3) === 0 ? 0x1f80 : (how & 3) === 1 ? 0x1fa0 : how & 0xc ? 0x1f80 | random & 0xe07f : random & 0xffff;
    if (how & 0x10) memory.set(fpu.subarray(xmm + 4, xmm + 8));
    if ((how & 0x60) === 0x60) fpu.copyWithin(xmm + 8, xmm + 4, xmm + 8);
    cpu.gpr[6] = BigInt(DATA);
    cpu.gpr[8] = 1n;
    cpu.rip = BigInt(CODE);
  }
  /** Runs it and mixes the result into the hash. */
  run(): void {
    const { fpu, memory, m } = this;
    const { cpu, engine } = m;
    const xmm = OFF.xmm / 4, st = OFF.st / 4;
    const why = engine.run(cpu, this.hot ? 3 : 1);
    if (why === STOP_FAULT) {
      mix(engine.fault!.vector);
      mix(fpu[OFF.mxcsr / 4]!);
      return;
    }
    assert.ok(why === STOP_LIMIT && (this.hot || cpu.rip === BigInt(CODE + this.length)));
    for (let x = 0; x < 12; x++) mix(fpu[xmm + x]!);
    for (let x = 0; x < 8; x++) mix(memory[x]!);
    for (const r of [0, 3, 1, 2]) { mix(cpu.gpr32[2 * r]!); mix(cpu.gpr32[2 * r + 1]!); }
    for (const x of [4, 5, 8, 9]) mix(fpu[st + x]!);
    mix(this.hot ? this.flagsBefore : readFlags(cpu) & 0x8d5);
    mix(fpu[OFF.mxcsr / 4]!);
  }
  /** The loop's DEC changes the flags: those of the instruction are taken from the cold tier. */
  flagsBefore = 0;
  flags(): number { return readFlags(this.m.cpu) & 0x8d5; }
  text(): string {
    const hex = (from: Uint32Array, at: number) => [3, 2, 1, 0].map((i) => from[at + i]!.toString(16).padStart(8, '0')).join('');
    const { fpu, memory, m: { cpu } } = this, xmm = OFF.xmm / 4, st = OFF.st / 4;
    return `xmm0 ${hex(fpu, xmm)} xmm1 ${hex(fpu, xmm + 4)} xmm2 ${hex(fpu, xmm + 8)}\n  mem ${hex(memory, 4)} ${hex(memory, 0)} rax ${cpu.gpr[0]!.toString(16)} rbx ${cpu.gpr[3]!.toString(16)} rcx ${cpu.gpr[1]!.toString(16)} rdx ${cpu.gpr[2]!.toString(16)}`
      + `\n  mm1 ${hex(fpu, st + 4).slice(16)} mm2 ${hex(fpu, st + 8).slice(16)} mxcsr ${fpu[OFF.mxcsr / 4]!.toString(16)} flags ${this.flags().toString(16)}`;
  }
}

const formSeed = (hex: string): number => Buffer.from(hex, 'hex').reduce((h, b) => Math.imul(h ^ b, 0x01000193), 0x811c9dc5);
const path = process.env['SIMD_VECTORS'] ?? new URL('../golden/simd-vectors.txt', import.meta.url).pathname;
const lines = readFileSync(path, 'utf8').trim().split('\n').map((line) => line.split(' ') as [string, string, string, string, string]);
const cold = new Bench(false), hot = new Bench(true);

const byMnemonic = new Map<string, typeof lines>();
for (const line of lines) {
  const mnemonic = line[0].split('.')[0]!;
  byMnemonic.set(mnemonic, [...byMnemonic.get(mnemonic) ?? [], line]);
}
let compared = 0;
for (const [mnemonic, list] of byMnemonic) {
  test(`${mnemonic} does what silicon does`, () => {
    const wrong: string[] = [];
    for (const [name, hex, kind, cases, hashes] of list) {
      cold.load(hex);
      hot.load(hex);
      const form = formSeed(hex);
      for (let group = 0; group * GROUP < Number(cases); group++) {
        const want = hashes.slice(8 * group, 8 * group + 8);
        let hotHash = 0;
        hash = 0;
        for (let i = group * GROUP; i < (group + 1) * GROUP; i++, compared++) {
          cold.prepare(form, i, kind);
          cold.run();
          const coldHash = hash;
          hot.flagsBefore = cold.flags();
          hot.prepare(form, i, kind);
          hash = hotHash;
          hot.run();
          hotHash = hash;
          hash = coldHash;
        }
        const got = (hash >>> 0).toString(16).padStart(8, '0'), gotHot = (hotHash >>> 0).toString(16).padStart(8, '0');
        if (got !== want || gotHot !== want) wrong.push(`${name} ${hex} ${kind} ${cases}: cases ${group * GROUP} to ${group * GROUP + GROUP - 1} give ${got} (hot tier: ${gotHot}), not ${want}`);
      }
    }
    assert.equal(wrong.length, 0, `${wrong.length} of ${list.length} differ:\n${wrong.slice(0, 5).join('\n')}`);
  });
}

test('every row with vector registers was compared, with 200 cases or more', () => {
  const covered = new Map<string, number>();
  for (const [, hex, , cases] of lines) covered.set(hex, Number(cases));
  const rows = new Map<object, number>();
  for (const { row, hex } of simdForms()) rows.set(row, (rows.get(row) ?? 0) + (covered.get(hex) ?? 0));
  assert.deepEqual([...rows].filter(([, n]) => n < 200).map(([row]) => (row as { mnemonic: string }).mnemonic), []);
  assert.ok(compared > 100_000, `${compared}`);
});

// What one case looks like here: SIMD_CASE="ADDPS 0f58ca f 17".
const asked = process.env['SIMD_CASE']?.split(' ');
if (asked) {
  const [, hex, kind, i] = asked as [string, string, string, string];
  cold.load(hex);
  cold.prepare(formSeed(hex), Number(i), kind);
  console.log(`before ${cold.text()}`);
  cold.run();
  console.log(`after ${cold.text()}`);
}
