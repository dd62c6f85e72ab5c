import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KVM_EXIT_HLT } from '../../abi/kvm/index.ts';
import { run } from '../support/boot.ts';
import { OPERAND_BYTES, type Outcome, REGS, type RegName, type Trial, emulatorProgram } from './emulator-program.ts';

const CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800;
/**
 * Opcodes with ModRM.reg where it chooses among several, bytes of immediate (-1: two or four, by operand size), and the
 * flags the SDM leaves undefined. `points` is RBX but for strings.
 */
interface Form { readonly name: string; readonly op: readonly number[]; readonly reg?: number; readonly imm?: number; readonly undefined?: number; readonly byte?: boolean; readonly string?: readonly RegName[]; readonly smallReg?: boolean }
const forms: Form[] = [];
const pair = (name: string, op: number[], more: Partial<Form> = {}): void => {
  const last = op.at(-1)!;
  forms.push({ name, op, byte: true, ...more }, { name, op: [...op.slice(0, -1), last + 1], ...more });
};
['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'].forEach((name, i) => {
  const undef = [1, 4, 6].includes(i) ? AF : 0;
  pair(name, [8 * i], { undefined: undef });
  pair(name, [8 * i + 2], { undefined: undef });
  forms.push({ name, op: [0x80], reg: i, imm: 1, byte: true, undefined: undef }, { name, op: [0x81], reg: i, imm: -1, undefined: undef }, { name, op: [0x83], reg: i, imm: 1, undefined: undef });
});
['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'sal', 'sar'].forEach((name, i) => {
  const undef = OF | (i >= 4 ? AF | CF : 0);
  pair(name, [0xc0], { reg: i, imm: 1, undefined: undef });
  pair(name, [0xd0], { reg: i, undefined: i >= 4 ? AF : 0 });
  pair(name, [0xd2], { reg: i, undefined: undef });
});
pair('test', [0x84], { undefined: AF });
pair('xchg', [0x86]);
pair('mov', [0x88]);
pair('mov', [0x8a]);
forms.push({ name: 'mov imm', op: [0xc6], reg: 0, imm: 1, byte: true }, { name: 'mov imm', op: [0xc7], reg: 0, imm: -1 });
forms.push({ name: 'test imm', op: [0xf6], reg: 0, imm: 1, byte: true, undefined: AF }, { name: 'test imm', op: [0xf7], reg: 0, imm: -1, undefined: AF });
pair('not', [0xf6], { reg: 2 });
pair('neg', [0xf6], { reg: 3 });
pair('mul', [0xf6], { reg: 4, undefined: SF | ZF | AF | PF });
pair('imul', [0xf6], { reg: 5, undefined: SF | ZF | AF | PF });
pair('inc', [0xfe], { reg: 0 });
pair('dec', [0xfe], { reg: 1 });
forms.push({ name: 'movsxd', op: [0x63] }, { name: 'imul r,m', op: [0x0f, 0xaf], undefined: SF | ZF | AF | PF }, { name: 'imul r,m,i', op: [0x69], imm: -1, undefined: SF | ZF | AF | PF }, { name: 'imul r,m,i8', op: [0x6b], imm: 1, undefined: SF | ZF | AF | PF });
for (const [i, name] of ['bt', 'bts', 'btr', 'btc'].entries()) {
  forms.push({ name, op: [0x0f, 0xa3 + 8 * i], smallReg: true, undefined: OF | SF | AF | PF }, { name, op: [0x0f, 0xba], reg: 4 + i, imm: 1, undefined: OF | SF | AF | PF });
}
pair('cmpxchg', [0x0f, 0xb0]);
pair('xadd', [0x0f, 0xc0]);
pair('movzx', [0x0f, 0xb6]);
pair('movsx', [0x0f, 0xbe]);
forms.push({ name: 'bsf', op: [0x0f, 0xbc], undefined: CF | OF | SF | AF | PF }, { name: 'bsr', op: [0x0f, 0xbd], undefined: CF | OF | SF | AF | PF });
forms.push({ name: 'shld', op: [0x0f, 0xa4], imm: 1, undefined: OF | AF | CF }, { name: 'shrd', op: [0x0f, 0xac], imm: 1, undefined: OF | AF | CF });
for (let cc = 0; cc < 16; cc++) forms.push({ name: `setcc ${cc}`, op: [0x0f, 0x90 + cc], reg: 0, byte: true }, { name: `cmovcc ${cc}`, op: [0x0f, 0x40 + cc] });
forms.push({ name: 'push', op: [0xff], reg: 6 }, { name: 'pop', op: [0x8f], reg: 0 });
for (const [i, name] of ['movs', 'movs', 'cmps', 'cmps'].entries()) forms.push({ name, op: [0xa4 + i], byte: i % 2 === 0, string: ['rsi', 'rdi'] });
for (const [i, name] of ['stos', 'stos'].entries()) forms.push({ name, op: [0xaa + i], byte: i % 2 === 0, string: ['rdi'] });
for (const [i, name] of ['lods', 'lods'].entries()) forms.push({ name, op: [0xac + i], byte: i % 2 === 0, string: ['rsi'] });
for (const [i, name] of ['scas', 'scas'].entries()) forms.push({ name, op: [0xae + i], byte: i % 2 === 0, string: ['rdi'] });

const word = fc.oneof(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.constantFrom(0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n));
const trial: fc.Arbitrary<Trial & { readonly undefinedFlags: number }> = fc.record({
  form: fc.constantFrom(...forms), size: fc.constantFrom('16', '32', '64'), register: fc.nat(7), imm: fc.uint8Array({ minLength: 4, maxLength: 4 }),
  values: fc.array(word, { minLength: 16, maxLength: 16 }), flags: fc.nat(0xffff), memory: fc.uint8Array({ minLength: OPERAND_BYTES, maxLength: OPERAND_BYTES }), repeat: fc.constantFrom(0, 0xf2, 0xf3),
}).map(({ form, size, register, imm, values, flags, memory, repeat }) => {
  const regs = Object.fromEntries(REGS.map((r, i) => [r, values[i]!])) as Record<RegName, bigint>;
  regs.rsp = 0x7000n;
  if (form.smallReg) for (const r of REGS) if (r !== 'rsp') regs[r] &= 0x3fn;
  if (form.string !== undefined) regs.rcx &= 3n;
  // Not RBX, which points to the operand, and so not BH either.
  const other = (form.byte ? [0, 1, 2, 6, 5] : [0, 1, 2, 6, 5, 7])[register % (form.byte ? 5 : 6)]!;
  const modrm = form.string !== undefined ? [] : [((form.reg ?? other) << 3) | 3];
  const immediate = form.imm === undefined ? 0 : form.imm > 0 ? form.imm : size === '16' ? 2 : 4;
  // Shifting a pair by more than its size gives anything.
  if (form.name.startsWith('sh') && form.imm === 1) imm[0]! &= 0xf;
  const prefix = [...(form.string !== undefined && repeat !== 0 ? [repeat] : []), ...(size === '16' ? [0x66] : []), ...(size === '64' ? [0x48] : [])];
  return {
    name: `${form.name} ${size}`, code: Uint8Array.of(...prefix, ...form.op, ...modrm, ...imm.subarray(0, immediate)), regs, flags: BigInt(flags & 0xcd5) | (form.string !== undefined ? BigInt(flags & 0x400) : 0n),
    memory, points: form.string ?? ['rbx'], undefinedFlags: form.undefined ?? 0,
  };
});

const TRIALS = 2500;

test(`KVM's emulator does to device memory what the processor does to RAM: ${TRIALS} instructions`, () => {
  const trials = fc.sample(trial, { numRuns: TRIALS, seed: 7 });
  const wrong: string[] = [];
  let emulated = 0;
  const hex = (b: Uint8Array): string => Buffer.from(b).toString('hex');
  const visible = (o: Outcome, undefinedFlags: number) => ({ exit: o.exit, rip: o.rip, flags: o.flags & ~BigInt(undefinedFlags), regs: o.regs, memory: hex(o.memory) });
  const program = emulatorProgram(trials, (t, native, other) => {
    const { undefinedFlags } = t as (typeof trials)[number];
    if (other.exits > 0) emulated++;
    const a = visible(native, undefinedFlags);
    const b = visible(other, undefinedFlags);
    const show = (x: unknown): string => JSON.stringify(x, (_key, v: unknown) => (typeof v === 'bigint' ? v.toString(16) : v));
    if (native.exit !== KVM_EXIT_HLT || show(a) !== show(b)) wrong.push(`${t.name} ${hex(t.code)} memory ${hex(t.memory)} flags ${t.flags.toString(16)}\n processor ${show(a)}\n emulator  ${show(b)}`);
  });
  const { status } = run({ init: ['-c', 'emulate'], programs: [program], seconds: 60 });
  assert.equal(status, 0);
  assert.deepEqual(wrong.slice(0, 5), [], `${wrong.length} of ${TRIALS} differ`);
  assert.ok(emulated > TRIALS * 0.95, `${emulated} reached the emulator`);
});
