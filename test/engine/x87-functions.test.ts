/** The functions of engine/x87-emitter.ts against the exec rows they stand for, which silicon was asked about (test/silicon). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareMachine } from '../../bench/bare-machine.ts';
import { STATE } from '../../machine/cpu/state.ts';
import { type Float80, make } from '../../machine/cpu/x87/float80.ts';
import { x87 } from '../../machine/cpu/x87/stack.ts';
import { x87Table } from '../../machine/cpu/x87/x87-table.ts';
import { generator } from '../support/random.ts';

const CODE = 0x1000, ROUNDS = 400;
const random = generator(87);
const mantissa = (): bigint => {
  const v = BigInt(random(0x1_0000_0000)) << 32n | BigInt(random(0x1_0000_0000)) | 1n << 63n;
  return random(6) ? v : random(2) ? v >> 50n << 50n : v | 0xffff_ffff_ffffn;
};
const HALF_PI = 0xc90f_daa2_2168_c235n, TOP = 1n << 63n;
/** Zero, denormal, infinite, a NaN, about 1/2, 1, π/4, π/2, π, a power of two, any. */
const strange: readonly ((sign: number) => Float80)[] = [
  (s) => make(s, 0, 0n), (s) => make(s, 0, 5n), (s) => make(s, 0x7fff, TOP), (s) => make(s, 0x7fff, 3n << 62n), (s) => make(s, 16382, TOP), (s) => make(s, 16383, TOP + BigInt(random(2))),
  (s) => make(s, 16382, 2n ** 64n - 1n), (s) => make(s, 16382 + random(3), HALF_PI - BigInt(random(3))), (s) => make(s, 16363 + random(40), TOP), (s) => make(s, 1 + random(32766), mantissa()),
];
const CONTROLS = [0x27f, 0x7f, 0xf7f, 0x77f, 0xb7f, 0x35f, 0x37e, 0x300];
/** Operands: exponents from and to, and whether they may be negative. */
const FUNCTIONS: readonly (readonly [string, number, number, boolean])[] = [
  ['FSIN', -29, 20, true], ['FCOS', -29, 20, true], ['FSINCOS', -29, 20, true], ['F2XM1', -60, -1, true], ['FYL2X', -40, 40, false], ['FPATAN', -20, 20, true], ['FPTAN', -31, 20, true], ['FYL2XP1', -62, -2, true],
  ['FSQRT', -200, 200, false], ['FRNDINT', -3, 70, true],
];

for (const [mnemonic, from, to, signed] of FUNCTIONS) {
  test(`${mnemonic} in WebAssembly has every bit of what it has in TypeScript`, () => {
    const m = new BareMachine(2 << 20);
    m.longMode(CODE);
    const { cpu } = m, f = x87(cpu);
    const row = x87Table.find((r) => r.mnemonic === mnemonic)!;
    assert.ok('exec' in row.meaning && 'emit' in row.meaning);
    const code = row.opcode.split(' ').map((b) => Number.parseInt(b, 16));
    m.ram.mem.u8.set(code, m.ram.base + CODE);
    const insn = { row, length: 2, mod: 3, reg: code[1]! >> 3 & 7, rm: code[1]! & 7, opSize: 4, addrSize: 8, codeSize: 8, lock: false, rep: 0, rex: 0, vvvv: 0, seg: 3, base: -1, index: -1, scale: 0, disp: 0, imm: 0n, imm2: 0 } as const;
    const { exec } = row.meaning;
    const number = () => make(signed ? random(2) : 0, 16383 + from + random(to - from + 1), mantissa());
    let left = 0;
    for (let i = 0; i < ROUNDS; i++) {
      const top = random(4) ? number() : strange[random(strange.length)]!(random(2));
      const next = random(5) ? make(random(2), Math.min(Math.max(top.exponent - 10 + random(20), 1), 0x7ffe), mantissa()) : strange[random(strange.length)]!(random(2));
      const control = random(3) ? 0x37f : CONTROLS[random(CONTROLS.length)]!;
      const [exact, quick] = [true, false].map((inTypeScript) => {
        cpu.fpu.fill(0, 0, 160);
        f.reset();
        f.push(next);
        f.push(top);
        f.status |= 0x4200;
        f.control = control;
        cpu.rip = BigInt(CODE + (inTypeScript ? code.length : 0));
        if (inTypeScript) exec(cpu, insn); else m.engine.run(cpu, 1);
        return Buffer.from(cpu.fpu.buffer, cpu.base + STATE['fpu.st']!, 128).toString('hex') + f.status.toString(16) + f.tags.toString(16) + cpu.state.fpu.fip.toString(16);
      });
      assert.equal(quick, exact, `${mnemonic} of ${top.sign}_${top.exponent.toString(16)}_${top.mantissa.toString(16)}, ${next.sign}_${next.exponent.toString(16)}_${next.mantissa.toString(16)}, control ${control.toString(16)}`);
      left += control === 0x37f ? 0 : 1;
    }
    assert.ok(left > 0 && left < ROUNDS / 2);
  });
}
