/** XSAVE and its kin: which components are written, what the header says, and what XRSTOR refuses. An Intel Xeon was asked for what the SDM leaves open. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decoder } from '../../machine/cpu/decoder.ts';
import { GP_VECTOR, UD_VECTOR } from '../../machine/cpu/exceptions.ts';
import { buildMaps } from '../../machine/cpu/opcode-map.ts';
import { opcodeTable } from '../../machine/cpu/opcode-table.ts';
import { fpu_state } from '../../machine/cpu/state.ts';
import { TestCpu, enterProtected } from './support.ts';

const decoder = new Decoder(buildMaps(opcodeTable));
const AT = 0x5000, XSTATE_BV = AT + 512, XCOMP_BV = AT + 520, OFF = fpu_state.offset;

class Bench extends TestCpu {
  constructor(xmm: number, mxcsr = 0x1f80) {
    super();
    enterProtected(this);
    this.cpu.state.cr4 |= 0x40600n;
    this.cpu.state.xcr0 = 3n;
    this.cpu.gpr[0] = BigInt(AT);
    this.bytes.fill(0xee, 0, 512);
    this.bytes.fill(0, 512, 576);
    this.cpu.state.fpu.xmm.set(0, BigInt(xmm));
    this.cpu.state.fpu.mxcsr = mxcsr;
  }
  get bytes(): Uint8Array { return this.mem.u8.subarray(this.cpu.ram + AT, this.cpu.ram + AT + 640); }
  word(at: number): number { return this.read32(at); }
  set(at: number, value: number): void { new DataView(this.mem.u8.buffer, this.cpu.ram).setUint32(at, value, true); }
  /** The instruction with [ECX] as operand and the mask in EAX. */
  issue(bytes: readonly number[], mask = 3): void {
    this.cpu.gpr[1] = BigInt(AT);
    this.cpu.gpr[0] = BigInt(mask);
    this.cpu.gpr[2] = 0n;
    const insn = decoder.decode(Uint8Array.from(bytes), 0, bytes.length, 4)!;
    if ('exec' in insn.row.meaning) insn.row.meaning.exec(this.cpu, insn);
  }
}
const XSAVE = [0x0f, 0xae, 0x21], XRSTOR = [0x0f, 0xae, 0x29], XSAVEOPT = [0x0f, 0xae, 0x31], XSAVEC = [0x0f, 0xc7, 0x21], XGETBV = [0x0f, 0x01, 0xd0];
const fault = (vector: number) => (e: { vector?: number }) => e.vector === vector;

/** What the Xeon left: XSTATE_BV, then of FCW, MXCSR and the first XMM register whether they were written. */
const ANSWERS: readonly (readonly [string, readonly number[], number, number, number, string, boolean, boolean, boolean])[] = [
  ['XSAVE writes what is asked for, and says what is in use', XSAVE, 3, 0, 0x1f80, '1', true, true, true],
  ['XSAVE with an XMM register in use', XSAVE, 3, 5, 0x1f80, '3', true, true, true],
  ['XSAVE of the x87 leaves MXCSR alone', XSAVE, 1, 5, 0x1f80, '1', true, false, false],
  ['XSAVE of SSE leaves the x87 alone', XSAVE, 2, 0, 0x1f80, '0', false, true, true],
  ['XSAVEOPT leaves what is not in use, but for MXCSR', XSAVEOPT, 3, 0, 0x1f80, '1', true, true, false],
  ['MXCSR does not count for XSAVE', XSAVE, 3, 0, 0x1fa0, '1', true, true, true],
  ['XSAVEC leaves what is not in use, with MXCSR', XSAVEC, 3, 0, 0x1f80, '1', true, false, false],
  ['MXCSR counts for XSAVEC', XSAVEC, 3, 0, 0x1fa0, '3', true, true, true],
];
for (const [name, code, mask, xmm, mxcsr, xstate, fcw, withMxcsr, withXmm] of ANSWERS) {
  test(`${name}, as silicon does`, () => {
    const t = new Bench(xmm, mxcsr);
    t.issue(code, mask);
    assert.equal(t.word(XSTATE_BV).toString(16), xstate);
    assert.deepEqual([t.bytes[0] !== 0xee, t.bytes[OFF.mxcsr] !== 0xee, t.bytes[OFF.xmm] !== 0xee], [fcw, withMxcsr, withXmm]);
    assert.equal(t.word(XCOMP_BV + 4) >>> 31, code === XSAVEC ? 1 : 0);
    if (code === XSAVEC) assert.equal(t.word(XCOMP_BV), mask);
    assert.equal(t.bytes[OFF.xmm + 256], 0xee, 'the rest of the legacy area is software\'s');
  });
}
test('XSAVE keeps the bits of XSTATE_BV that it was not asked for', () => {
  const t = new Bench(5);
  t.set(XSTATE_BV, 0x104);
  t.issue(XSAVE, 1);
  assert.equal(t.word(XSTATE_BV), 0x105);
});
test('XRSTOR brings back what XSAVEC saved, and the state after reset where XSTATE_BV has no bit', () => {
  const t = new Bench(5, 0x1fa0);
  t.issue(XSAVEC);
  t.cpu.state.fpu.xmm.set(0, 9n);
  t.cpu.state.fpu.mxcsr = 0x1f80;
  t.issue(XRSTOR);
  assert.deepEqual([t.cpu.state.fpu.xmm.get(0), t.cpu.state.fpu.mxcsr], [5n, 0x1fa0]);
  t.set(XSTATE_BV, 1);
  t.issue(XRSTOR);
  assert.deepEqual([t.cpu.state.fpu.xmm.get(0), t.cpu.state.fpu.mxcsr], [0n, 0x1f80], 'a compacted image has no MXCSR without SSE');
  t.set(XCOMP_BV, 0);
  t.set(XCOMP_BV + 4, 0);
  t.issue(XRSTOR);
  assert.equal(t.cpu.state.fpu.mxcsr, 0x1fa0, 'the standard form always has one');
});
test('XRSTOR refuses a malformed header and a bad MXCSR', () => {
  const refused = (change: (t: Bench) => void, mask = 3) => {
    const t = new Bench(5);
    t.issue(XSAVE);
    change(t);
    assert.throws(() => t.issue(XRSTOR, mask), fault(GP_VECTOR));
  };
  refused((t) => t.set(XSTATE_BV, 7));
  refused((t) => t.set(XCOMP_BV, 1));
  refused((t) => t.set(XCOMP_BV + 8, 1));
  refused((t) => { t.set(XCOMP_BV, 1); t.set(XCOMP_BV + 4, 2 ** 31); });
  refused((t) => { t.set(XCOMP_BV, 7); t.set(XCOMP_BV + 4, 2 ** 31); });
  refused((t) => { t.set(XCOMP_BV, 3); t.set(XCOMP_BV + 4, 2 ** 31); t.set(XSTATE_BV + 60, 1); });
  refused((t) => t.set(AT + OFF.mxcsr, 0x1_0000));
  const t = new Bench(5);
  t.issue(XSAVE);
  t.set(AT + OFF.mxcsr, 0x1_0000);
  t.issue(XRSTOR, 1);
});
test('the area is aligned to 64 bytes, and CR4.OSXSAVE allows it', () => {
  const t = new Bench(5);
  const misaligned = [0x0f, 0xae, 0x61, 0x20];
  assert.throws(() => t.issue(misaligned), fault(GP_VECTOR));
  t.cpu.state.cr4 &= ~0x40000n;
  for (const code of [XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV]) assert.throws(() => t.issue(code), fault(UD_VECTOR));
});
test('XGETBV with ECX = 1 gives the enabled components that are not as after reset', () => {
  const t = new Bench(0);
  const get = (which: number) => { t.cpu.gpr[1] = BigInt(which); t.cpu.gpr[0] = 0n; const insn = decoder.decode(Uint8Array.from(XGETBV), 0, 3, 4)!; if ('exec' in insn.row.meaning) insn.row.meaning.exec(t.cpu, insn); return t.cpu.gpr[0]; };
  assert.deepEqual([get(0), get(1)], [3n, 1n]);
  t.cpu.state.fpu.mxcsr = 0x1fa0;
  assert.equal(get(1), 3n);
  assert.throws(() => get(2), fault(GP_VECTOR));
});
