import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { close, loadBytes, open, writeAll } from '../../userland/libc.ts';
import { Guest, setMode } from '../golden/probe/guest.ts';
import type { Mode } from '../golden/probe/guests-table.ts';
import { bytes, make, mk, rm } from '../golden/probe/machine.ts';
import { run } from '../support/boot.ts';
import { chipsProgram, rawIoctl } from './chips-program.ts';

/**
 * Each instruction runs twice from the same state: by the processor, and, behind the prefix that asks KVM for it, in
 * KVM's emulator. The prefix lies in front of the instruction both times, so that addresses are the same.
 */
const PREFIX = [0x0f, 0x0b, 0x6b, 0x76, 0x6d], CODE = 0x1000, AT = CODE + PREFIX.length, HLT = 0xf4;
const DATA = 0x2000, DATA_BYTES = 0x1000, STACK = 0x7000, HANDLERS = 0x1800, IDT = 0x3000, GDT_BYTES = 0x200;
const MEMORY = 0x8000;

type Random = (n: number) => number;
/** What one trial is: code, and what it wants in registers and memory. */
interface Trial { code: number[]; regs: Record<string, bigint>; patch?: [at: number, data: number[]][] }
const le = (value: number, n: number): number[] => Array.from({ length: n }, (_, i) => (value / 2 ** (8 * i)) & 0xff);
/** Selectors of the probe's descriptors, some with a privilege level, and some that are none. */
const SELECTORS = [0, 3, 8, 16, 24, 32, 35, 40, 43, 48, 56, 64, 72, 80, 8 + 3, 16 + 1, 4, 0x1000, 0xfff8];
const selector = (r: Random, mode: Mode): number => (mode === 'real16' ? r(0x20) : SELECTORS[r(SELECTORS.length)]!);
const target = (r: Random): number => 0x4100 + r(0x1e00);
const opBytes = (mode: Mode, prefixed: boolean): number => (mode === 'real16' ? (prefixed ? 4 : 2) : prefixed ? 2 : 4);

/** A memory operand: ModRM and displacement for DATA + 0x100. */
const memory = (mode: Mode, reg: number): number[] => (mode === 'real16' ? [(reg << 3) | 6, ...le(DATA + 0x100, 2)] : mode === 'long64' ? [(reg << 3) | 4, 0x25, ...le(DATA + 0x100, 4)] : [(reg << 3) | 5, ...le(DATA + 0x100, 4)]);
const ax = (value: number) => ({ rax: BigInt(value) });

type Form = readonly [name: string, modes: string, make: (r: Random, mode: Mode, prefixed: boolean) => Trial];
const plain = (name: string, modes: string, ...code: number[]): Form => [name, modes, () => ({ code, regs: {} })];
const onMemory = (name: string, modes: string, op: number[], reg: number): Form => [name, modes, (_r, mode) => ({ code: [...op, ...memory(mode, reg)], regs: {} })];
const farPointer = (name: string, modes: string, op: number[], reg: number): Form => [name, modes, (r, mode, prefixed) => {
  const n = opBytes(mode, prefixed);
  return { code: [...op, ...memory(mode, reg)], regs: {}, patch: [[DATA + 0x100, [...le(target(r), n), ...le(selector(r, mode), 2)]]] };
}];
/** R: real, P: protected 32-bit, L: 64-bit. */
const forms: readonly Form[] = [
  ['mov sreg', 'RPL', (r, mode) => ({ code: [0x8e, 0xc0 | ([0, 2, 3, 4, 5, 1, 6][r(7)]! << 3)], regs: ax(selector(r, mode)) })],
  ['mov sreg,m', 'RPL', (r, mode) => ({ code: [0x8e, ...memory(mode, [0, 3, 4, 5][r(4)]!)], regs: {}, patch: [[DATA + 0x100, le(selector(r, mode), 2)]] })],
  ['mov r,sreg', 'RPL', (r) => ({ code: [0x8c, 0xc0 | (r(6) << 3)], regs: {} })],
  ...[[0x07], [0x17], [0x1f]].map((op): Form => ['pop sreg', 'RP', (r, mode) => ({ code: op, regs: {}, patch: [[STACK, le(selector(r, mode), 8)]] })]),
  ...[[0x0f, 0xa1], [0x0f, 0xa9]].map((op): Form => ['pop fs, gs', 'RPL', (r, mode) => ({ code: op, regs: {}, patch: [[STACK, le(selector(r, mode), 8)]] })]),
  plain('push sreg', 'RP', 0x06), plain('push sreg', 'RP', 0x0e), plain('push sreg', 'RPL', 0x0f, 0xa0),
  farPointer('les', 'RP', [0xc4], 1), farPointer('lds', 'RP', [0xc5], 2), farPointer('lss', 'RPL', [0x0f, 0xb2], 1), farPointer('lfs', 'RPL', [0x0f, 0xb4], 2), farPointer('lgs', 'RPL', [0x0f, 0xb5], 3),
  ['jmp far', 'RP', (r, mode, prefixed) => ({ code: [0xea, ...le(target(r), opBytes(mode, prefixed)), ...le(selector(r, mode), 2)], regs: {} })],
  ['call far', 'RP', (r, mode, prefixed) => ({ code: [0x9a, ...le(target(r), opBytes(mode, prefixed)), ...le(selector(r, mode), 2)], regs: {} })],
  farPointer('jmp far m', 'RPL', [0xff], 5), farPointer('call far m', 'RPL', [0xff], 3),
  ...[[0xcb], [0xca, 4, 0]].map((op): Form => ['ret far', 'RPL', (r, mode, prefixed) => {
    const n = opBytes(mode, prefixed);
    return { code: op, regs: {}, patch: [[STACK, [...le(target(r), n), ...le(selector(r, mode), n)]]] };
  }]),
  plain('int3', 'R', 0xcc), plain('into', 'R', 0xce), ['int', 'R', (r) => ({ code: [0xcd, r(256)], regs: {} })],
  ['iret', 'R', (r, _mode, prefixed) => {
    const n = prefixed ? 4 : 2;
    return { code: [0xcf], regs: {}, patch: [[STACK, [...le(target(r), n), ...le(r(0x20), n), ...le(r(0x10000) & ~0x100, n)]]] };
  }],
  ...['lgdt', 'lidt'].map((name, i): Form => [name, 'RPL', (r, mode) => ({ code: [0x0f, 0x01, ...memory(mode, 2 + i)], regs: {}, patch: [[DATA + 0x100, [...le(r(0x10000), 2), ...le(0x2000 + r(0x1000), 8)]]] })]),
  onMemory('sgdt', 'RPL', [0x0f, 0x01], 0), onMemory('sidt', 'RPL', [0x0f, 0x01], 1),
  onMemory('smsw', 'RPL', [0x0f, 0x01], 4), plain('smsw', 'RPL', 0x0f, 0x01, 0xe0),
  ['lmsw', 'RPL', (r) => ({ code: [0x0f, 0x01, 0xf0], regs: ax(r(16) | 1) })],
  onMemory('sldt', 'RPL', [0x0f, 0x00], 0), plain('str', 'RPL', 0x0f, 0x00, 0xc8),
  ['lldt', 'RPL', (r, mode) => ({ code: [0x0f, 0x00, 0xd0], regs: ax(selector(r, mode)) })],
  ['ltr', 'RPL', (r, mode) => ({ code: [0x0f, 0x00, 0xd8], regs: ax(selector(r, mode)) })],
  plain('clts', 'RPL', 0x0f, 0x06), plain('wbinvd', 'RPL', 0x0f, 0x09),
  ['mov r,cr', 'RPL', (r) => ({ code: [0x0f, 0x20, 0xc3 | ([0, 2, 3, 4, 1, 5][r(6)]! << 3)], regs: {} })],
  ['mov cr2,r', 'RPL', () => ({ code: [0x0f, 0x22, 0xd3], regs: {} })],
  ['mov cr0,r', 'RPL', (r, mode) => ({ code: [0x0f, 0x22, 0xc0], regs: ax((mode === 'long64' ? 0x80000011 : mode === 'real16' ? 0x10 : 0x11) | (r(2) << 3) | (r(2) << 1) | (r(2) << 16)) })],
  ['mov r,dr', 'RPL', (r) => ({ code: [0x0f, 0x21, 0xc3 | (r(8) << 3)], regs: {} })],
  ['mov dr,r', 'RPL', (r) => ({ code: [0x0f, 0x23, 0xc0 | (r(8) << 3)], regs: ax(r(0x1000) & ~0x2000 & ~0xff) })],
  ['rdmsr', 'RPL', (r) => ({ code: [0x0f, 0x32], regs: { rcx: BigInt([0x1a0, 0x174, 0x175, 0x277, 0xc0000080, 0xc0000081, 0x12345][r(7)]!) } })],
  ['wrmsr', 'RPL', (r) => ({ code: [0x0f, 0x30], regs: { rcx: BigInt([0x174, 0x175, 0x277, 0x12345][r(4)]!), rdx: 0n, rax: BigInt(r(0x10000)) } })],
  ['cpuid', 'RPL', (r) => ({ code: [0x0f, 0xa2], regs: { rax: BigInt([0, 1, 7, 0x80000000, 0x40000000][r(5)]!), rcx: 0n } })],
  plain('rdpmc', 'RPL', 0x0f, 0x33),
  ['aam', 'RP', (r) => ({ code: [0xd4, r(20)], regs: ax(r(0x10000)) })], ['aad', 'RP', (r) => ({ code: [0xd5, r(256)], regs: ax(r(0x10000)) })],
  ['das', 'RP', (r) => ({ code: [0x2f], regs: ax(r(0x10000)) })], plain('salc', 'RP', 0xd6),
  ['xlat', 'RPL', (r) => ({ code: [0xd7], regs: { rbx: BigInt(DATA), rax: BigInt(r(256)) } })],
  ['enter', 'RPL', (r) => ({ code: [0xc8, r(64), 0, 0], regs: {} })], ['leave', 'RPL', (r) => ({ code: [0xc9], regs: { rbp: BigInt(STACK + r(64)) } })],
  plain('pusha', 'RP', 0x60), plain('popa', 'RP', 0x61), plain('pushf', 'RPL', 0x9c),
  ['popf', 'RPL', (r) => ({ code: [0x9d], regs: {}, patch: [[STACK, le(r(0x10000) & ~0x4100, 8)]] })],
  plain('cli', 'RPL', 0xfa), plain('sti', 'RPL', 0xfb), plain('lahf', 'RPL', 0x9f), plain('fninit', 'RPL', 0xdb, 0xe3), plain('mfence', 'L', 0x0f, 0xae, 0xf0),
  onMemory('fxsave', 'RP', [0x0f, 0xae], 0),
  ['fxrstor', 'RP', (r, mode) => ({ code: [0x0f, 0xae, ...memory(mode, 1)], regs: {}, patch: [[DATA + 0x118, le(r(0x10000) & 0xffff, 4)], ...(r(4) === 0 ? [[DATA + 0x11a, [1]] as [number, number[]]] : [])] })],
  onMemory('movbe', 'PL', [0x0f, 0x38, 0xf0], 1), onMemory('cmpxchg8b', 'PL', [0x0f, 0xc7], 1), onMemory('xadd', 'RPL', [0x0f, 0xc1], 2), onMemory('lea', 'RPL', [0x8d], 1), onMemory('clflush', 'L', [0x0f, 0xae], 7),
];

const TRIALS = 1500;
const modes: readonly (readonly [Mode, string])[] = [['real16', 'R'], ['prot32', 'P'], ['long64', 'L']];
/** AF is undefined after AAM and AAD, OF after all of the decimal ones, and what LEA's neighbour RDTSC reads is time. */
const UNDEFINED: Readonly<Record<string, bigint>> = { aam: 0x811n, aad: 0x811n, das: 0x800n };
/** What Linux leaves to the processor: call gates, tasks, returns to outer levels. The emulator then gives #UD and tells user space. */
const MAY_BE_UNHANDLED = new Set(['jmp far', 'call far', 'jmp far m', 'call far m', 'ret far']);

test(`behind the prefix KVM's emulator does what the processor does without it: ${TRIALS} system instructions`, () => {
  const wrong: string[] = [];
  let unhandled = 0;
  let seed = 99;
  const r: Random = (n) => Math.floor(((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32) * n);
  const program = chipsProgram(function* body(sys): Sys {
    const fd = yield* open('/sys/module/kvm/parameters/force_emulation_prefix', 1);
    yield* writeAll(fd, '1\n');
    yield* close(fd);
    for (const [mode, letter] of modes) {
      const m = yield* mk(sys, { mem: true, vcpu: true, cpuid: true, tss: true });
      const g = new Guest(m, sys);
      yield* setMode(g, mode);
      if (mode !== 'real16') g.put64(0x500 + 0x48, 0x0000820006000067n | (2n << 40n));     // an LDT
      const sregs = yield* g.sregs();
      sregs.cr4 |= 0x200n;                                                                      // OSFXSR
      const image = new Uint8Array(MEMORY).fill(HLT);
      image.set(loadBytes(m.mem + 0x500, GDT_BYTES), 0x500);
      for (let i = 0; i < DATA_BYTES; i++) image[DATA + i] = r(256);
      for (let v = 0; v < 32; v++) {
        if (mode === 'real16') image.set(le(HANDLERS + v, 4), 4 * v);
        else image.set([...le(HANDLERS + v, 2), ...le(mode === 'long64' ? 24 : 8, 2), 0, 0x8e, 0, 0, ...(mode === 'long64' ? [0, 0, 0, 0, 0, 0, 0, 0] : [])], IDT + v * (mode === 'long64' ? 16 : 8));
      }
      if (mode === 'real16') for (let v = 32; v < 256; v++) image.set(le(HANDLERS + v, 4), 4 * v);
      const ofMode = forms.filter(([, in_]) => in_.includes(letter));
      const outcome = function* outcome(t: Trial, values: Record<string, bigint>, rip: number): Sys<string[]> {
        g.put(0, image);
        g.put(CODE, Uint8Array.of(...PREFIX, ...t.code, HLT));
        for (const [at, data] of t.patch ?? []) g.put(at, Uint8Array.from(data));
        yield* rawIoctl(m.vcpu, K.KVM_SET_VCPU_EVENTS.nr, yield* make(K.kvm_vcpu_events, { flags: K.KVM_VCPUEVENT_VALID_SHADOW | K.KVM_VCPUEVENT_VALID_NMI_PENDING }));
        yield* rawIoctl(m.vcpu, K.KVM_SET_SREGS.nr, sregs);
        yield* rawIoctl(m.vcpu, K.KVM_SET_DEBUGREGS.nr, yield* make(K.kvm_debugregs, { dr6: 0xffff0ff0n, dr7: 0x400n }));
        const regs = yield* make(K.kvm_regs, { ...values, ...t.regs, rip: BigInt(rip), rsp: BigInt(STACK) });
        yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, regs);
        const result = yield* rawIoctl(m.vcpu, K.KVM_RUN.nr, 0);
        yield* rawIoctl(m.vcpu, K.KVM_GET_REGS.nr, regs);
        const after = yield* make(K.kvm_sregs);
        yield* rawIoctl(m.vcpu, K.KVM_GET_SREGS.nr, after);
        // The attributes of a segment that cannot be used mean nothing.
        for (const seg of [after.ds, after.es, after.fs, after.gs, after.ss, after.ldt]) if (seg.unusable !== 0) Object.assign(seg, { type: 0, dpl: 0, db: 0, s: 0, l: 0, g: 0, avl: 0, limit: 0, base: 0n });
        const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');
        const whole = loadBytes(m.mem, MEMORY);
        const fpu = yield* make(K.kvm_fpu);
        yield* rawIoctl(m.vcpu, K.KVM_GET_FPU.nr, fpu);
        return [`${result} ${m.run.exit_reason}`, hex(bytes(regs)), hex(bytes(after)), hex(whole), hex(bytes(fpu))];
      };
      // Pages are mapped by what touches them first, the handlers' among them.
      yield* outcome({ code: [0x0f, 0x0b], regs: {} }, { rflags: 2n }, AT);
      for (let i = 0; i < TRIALS / 3; i++) {
        const [name, , make_] = ofMode[i % ofMode.length]!;
        const prefixed = mode !== 'long64' && r(3) === 0;
        const t = make_(r, mode, prefixed);
        if (prefixed) t.code = [0x66, ...t.code];
        const values: Record<string, bigint> = { rflags: BigInt(r(0x10000) & 0xad5) | 2n };
        for (const reg of ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp']) values[reg] = BigInt(r(2 ** 32));
        const native = yield* outcome(t, values, AT);
        const emulated = yield* outcome(t, values, CODE);
        if (emulated[0] === `0 ${K.KVM_EXIT_INTERNAL_ERROR}` && MAY_BE_UNHANDLED.has(name)) {
          unhandled++;
          continue;
        }
        const drop = UNDEFINED[name] ?? 0n;
        if (drop !== 0n) for (const o of [native, emulated]) o[1] = o[1]!.slice(0, 17 * 16 + 0) + (BigInt(`0x${Buffer.from(o[1]!.slice(17 * 16), 'hex').reverse().toString('hex')}`) & ~drop).toString(16);
        if (native.join() === emulated.join()) continue;
        const part = native.findIndex((x, j) => x !== emulated[j]);
        const at = [...native[part]!].findIndex((c, j) => c !== emulated[part]![j]) >> 1;
        const cut = (s: string) => (part === 0 ? s : s.slice(2 * at, 2 * at + 32));
        wrong.push(`${mode} ${name} ${Buffer.from(t.code).toString('hex')} ax ${(t.regs['rax'] ?? values['rax'])!.toString(16)} patch ${JSON.stringify(t.patch ?? [])}: ${['exit', 'regs', 'sregs', 'memory', 'fpu'][part]} at ${at.toString(16)}: processor ${cut(native[part]!)} emulator ${cut(emulated[part]!)} (${native[0]}, ${emulated[0]})`);
      }
      yield* rm(m);
    }
  });
  const { status, output } = run({ init: ['-c', 'chips'], programs: [program], seconds: 120 });
  assert.equal(status, 0, output);
  assert.deepEqual(wrong.slice(0, 12), [], `${wrong.length} of ${TRIALS} differ`);
  assert.ok(unhandled < TRIALS / 20, `${unhandled} were not emulated`);
});
