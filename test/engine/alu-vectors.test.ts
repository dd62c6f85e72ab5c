/** The integer and SSE2 instructions against what a real processor did with the same registers, memory and flags. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';
import { readFlags, writeFlags } from '../../machine/engine/flags.ts';
import { STOP_FAULT, STOP_LIMIT } from '../../machine/engine/stop.ts';

const CASES = 8;
const M64 = (1n << 64n) - 1n;
const CODE = 0x1000, DATA = 0x8010, ARITHMETIC = 0x8d5;
const FLAG_BITS: Readonly<Record<string, number>> = { c: 1, p: 4, a: 0x10, z: 0x40, s: 0x80, o: 0x800 };

/** The recorder's generator (test/recorder/alu-vectors.c). */
class Inputs {
  private seed: bigint;
  constructor(n: number) { this.seed = BigInt(n) * 0x9e37_79b9_7f4a_7c15n & M64; }
  next(): bigint {
    let s = this.seed;
    s ^= s << 13n & M64;
    s ^= s >> 7n;
    s ^= s << 17n & M64;
    return this.seed = s;
  }
  value(): bigint {
    const edges = [0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn,
      0x7fff_ffff_ffff_ffffn, 0x8000_0000_0000_0000n, 0xffff_ffff_ffff_ffffn, 0x5555_5555_5555_5555n, 0xaaaa_aaaa_aaaa_aaaan];
    const kind = this.next() & 3n;
    const v = this.next();
    if (kind === 0n) return edges[Number(v & 15n)]!;
    if (kind === 1n) return v & 0x3fn;
    if (kind === 2n) return v >> (this.next() & 63n);
    return v;
  }
}

/** Eight bytes for floats, as the recorder makes them. */
function floating(g: Inputs): bigint {
  const doubles = [0n, 0x8000_0000_0000_0000n, 0x3ff0_0000_0000_0000n, 0xbff8_0000_0000_0000n, 0x7ff0_0000_0000_0000n, 0xfff0_0000_0000_0000n,
    0x7ff8_0000_0000_0123n, 0xfff4_0000_0000_0001n, 0x000f_ffff_ffff_ffffn, 0x7fef_ffff_ffff_ffffn, 0x3fb9_9999_9999_999an, 0x41e0_0000_0000_0000n,
    0xc1e0_0000_0000_0000n, 0x43e0_0000_0000_0000n, 0xc3e0_0000_0000_0000n, 0x4012_0000_0000_0000n];
  const floats = [0n, 0x8000_0000n, 0x3f80_0000n, 0xbfc0_0000n, 0x7f80_0000n, 0xff80_0000n, 0x7fc0_0123n, 0xffa0_0001n,
    0x007f_ffffn, 0x7f7f_ffffn, 0x3dcc_cccdn, 0x4f00_0000n, 0xcf00_0000n, 0x5f00_0000n, 0x4090_0000n, 0xc020_0000n];
  const kind = g.next() & 3n;
  const v = g.next();
  if (kind === 0n) return doubles[Number(v & 15n)]!;
  if (kind === 1n) return floats[Number(v & 15n)]! << 32n | floats[Number(v >> 4n & 15n)]!;
  if (kind === 2n) return 0x4000_0000_0000_0000n | (v & 0x80ff_ffff_ffff_ffffn);
  return g.value();
}

const long = new BareMachine(16 << 20), compatible = new BareMachine(16 << 20);
long.longMode(CODE);
compatible.protectedMode(CODE);
const decoder = new Decoder(buildMaps(opcodeTable));
const REGISTERS = [['r', 0], ['b', 3], ['s', 1], ['d', 2], ['t', 7]] as const;

/** Flags the SDM leaves undefined; shifts leave them so only for some counts, which the row cannot say. */
function undefinedFlags(name: string, code: Uint8Array, count: number, narrow: boolean): number {
  // AF after logic instructions is not defined and rides along.
  if (name.includes('#random')) return FLAG_BITS['a']!;
  if (name.includes('#')) return 0;
  const insn = decoder.decode(code, 0, code.length, narrow ? 4 : 8)!;
  const { row, opSize } = insn;
  let mask = 0;
  for (const f of row.undefined) mask |= FLAG_BITS[f]!;
  const bits = row.operands[0]?.endsWith('b') ? 8 : 8 * opSize;
  if (/^(SHL|SHR|SAL|SAR|ROL|ROR|RCL|RCR)$/.test(row.mnemonic)) {
    const n = count & (bits === 64 ? 63 : 31);
    if (n === 0) return 0;                          // nothing changes
    if (n !== 1) mask |= FLAG_BITS['o']!;
    if (n > bits && row.mnemonic.startsWith('S')) mask |= FLAG_BITS['c']!;
  }
  if (/^SH[LR]D$/.test(row.mnemonic)) {
    const n = count & (bits === 64 ? 63 : 31);
    if (n === 0) return 0;
    if (n === 1) mask &= ~FLAG_BITS['o']!;
    if (n > bits) mask |= ARITHMETIC;
  }
  return mask;
}

const lines = readFileSync(new URL('../golden/alu-vectors.txt', import.meta.url), 'utf8').trim().split('\n');
const byMnemonic = new Map<string, string[]>();
lines.forEach((line, i) => {
  const mnemonic = line.slice(0, line.search(/[. ]/));
  byMnemonic.set(mnemonic, [...byMnemonic.get(mnemonic) ?? [], `${i} ${line}`]);
});

let compared = 0;
for (const [mnemonic, list] of byMnemonic) {
  test(`${mnemonic} computes what silicon computes`, () => {
    for (const line of list) {
      const [form, name, hex, ...cases] = line.split(' ');
      const code = Buffer.from(hex!, 'hex');
      const narrow = name!.startsWith('%');
      const m = narrow ? compatible : long;
      m.poke(CODE, hex!);
      const { cpu } = m;
      const mem = m.ram.mem.u64, at = (m.ram.base + DATA) >>> 3;
      cases.forEach((expected, i) => {
        const g = new Inputs(Number(form) * CASES + i + 1);
        const [rax, rbx, rcx, rdx0, rdi] = [g.value(), g.value(), g.value(), g.value(), g.value()];
        g.value(); g.value();
        let mem0 = g.value(), mem1 = g.value();
        const flags = Number(g.next() & 0x8d5n) | 0x202;
        let rdx = rdx0;
        if (g.next() & 1n) rdx = g.next() & 1n ? 0n : BigInt.asUintN(64, BigInt.asIntN(64, rax!) >> 63n);
        const xmm = [0, 1, 2, 3].map(() => floating(g));
        if (name!.startsWith('*')) [mem0, mem1] = [floating(g), floating(g)];
        xmm.forEach((v, x) => cpu.state.fpu.xmm.set(x, v));
        const want: Record<string, bigint> = { r: rax!, b: rbx!, s: rcx!, d: rdx!, t: rdi!, m: mem0, n: mem1, x: xmm[0]!, y: xmm[1]! };
        for (const [letter, reg] of REGISTERS) cpu.gpr[reg] = want[letter]!;
        cpu.gpr[6] = BigInt(DATA);
        cpu.gpr[4] = 0x7000n;
        mem[at] = mem0;
        mem[at + 1] = mem1;
        writeFlags(cpu, flags);
        cpu.rip = BigInt(CODE);
        let why = m.engine.run(cpu, 1);
        for (let n = 0; name!.includes('#') && why === STOP_LIMIT && cpu.rip !== BigInt(CODE + code.length) && n < 200; n++) why = m.engine.run(cpu, 1);
        const context = `${name} ${hex} case ${i}: rax=${rax!.toString(16)} rbx=${rbx!.toString(16)} rcx=${rcx!.toString(16)} rdx=${rdx!.toString(16)} rdi=${rdi!.toString(16)} mem=${mem0.toString(16)},${mem1.toString(16)} flags=${flags.toString(16)}`;
        compared++;
        if (expected === 'DE') {
          assert.equal(why, STOP_FAULT, context);
          assert.equal(m.engine.fault!.vector, 0, context);
          return;
        }
        assert.equal(why, STOP_LIMIT, context);
        const parts = expected.split(',');
        const wantFlags = Number.parseInt(parts.pop()!, 16);
        for (const p of parts) want[p[0]!] = BigInt(`0x${p.slice(1)}`);
        const width = narrow ? 32 : 64;
        for (const [letter, reg] of REGISTERS) assert.equal(BigInt.asUintN(width, cpu.gpr[reg]!).toString(16), BigInt.asUintN(width, want[letter]!).toString(16), `${context}: ${letter}`);
        assert.equal(mem[at]!.toString(16), want['m']!.toString(16), `${context}: memory`);
        assert.equal(mem[at + 1]!.toString(16), want['n']!.toString(16), `${context}: memory`);
        for (const [letter, x] of [['x', 0], ['y', 1]] as const) assert.equal(cpu.state.fpu.xmm.get(x).toString(16), want[letter]!.toString(16), `${context} xmm=${xmm.map((v) => v.toString(16))}: ${letter}`);
        const count = insnCount(code, rcx!, narrow);
        const mask = ARITHMETIC & ~undefinedFlags(name!, code, count, narrow);
        assert.equal((readFlags(cpu) & mask).toString(16), (wantFlags & mask).toString(16), `${context}: flags`);
        assert.equal(cpu.rip, BigInt(CODE + code.length));
      });
    }
  });
}
test('the vectors were all compared', () => assert.ok(compared === lines.length * CASES && compared > 1000, `${compared}`));

/** The count of a shift: CL, 1 or the immediate. */
function insnCount(code: Uint8Array, rcx: bigint, narrow: boolean): number {
  const insn = decoder.decode(code, 0, code.length, narrow ? 4 : 8)!;
  const last = insn.row.operands.at(-1);
  return last === 'CL' ? Number(rcx & 0xffn) : last === 'Ib' ? Number(insn.imm) : 1;
}
