/** Rules of Linux's selftests that no other test of KVM's holds: docs/selftests.md. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { loadBytes, storeBytes } from '../../userland/libc.ts';
import type { Guest } from '../golden/probe/guest.ts';
import { supportedCpuid } from '../golden/probe/machine.ts';
import { run } from '../support/boot.ts';
import { HLT, chipsProgram, machine, make, next, out, rawIoctl, rm } from './chips-program.ts';

function notes(body: (sys: number, note: (line: string) => void) => Sys): string[] {
  const lines: string[] = [];
  const { status, output } = run({ init: ['-c', 'chips'], programs: [chipsProgram((sys) => body(sys, (line) => { lines.push(line); }))], seconds: 60 });
  assert.equal(status, 0, output);
  return lines;
}
const enable = function* enable(g: Guest, cap: number, value: bigint): Sys<number> { return yield* rawIoctl(g.m.vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap, args: [value] })); };
/** A handler at 0x1900 + 16 * vector that says its vector and stops. */
function handler(g: Guest, vector: number): void {
  g.put(0x1900 + 16 * vector, Uint8Array.of(...out(0x30 + vector, 1), HLT));
  g.put32(vector * 4, 0x1900 + 16 * vector);
}

test('once a vCPU has run its CPUID may be set again, but not to anything else', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, {}, [...out(0x10, 1), HLT], []);
    const table = yield* supportedCpuid(sys);
    note(`before ${yield* rawIoctl(g.m.vcpu, K.KVM_SET_CPUID2.nr, table)}`);
    note(yield* next(g));
    note(`the same ${yield* rawIoctl(g.m.vcpu, K.KVM_SET_CPUID2.nr, table)}`);
    const edx = loadBytes(table + 8 + 40 + 24, 1)[0]!;
    storeBytes(table + 8 + 40 + 24, Uint8Array.of(edx ^ 1));
    note(`another ${yield* rawIoctl(g.m.vcpu, K.KVM_SET_CPUID2.nr, table)}`);
    yield* rm(g.m);
  }), ['before 0', 'out 10', 'the same 0', 'another -22']);
});

test('registers go through kvm_run where user space says so, and unknown ones are refused', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // OUT 10h,AL; INC BX; JMP back
    const g = yield* machine(sys, {}, [0xe6, 0x10, 0x43, 0xeb, 0xfb], []);
    const { run: page } = g.m;
    page.kvm_valid_regs = 8n;
    note(yield* next(g));
    page.kvm_valid_regs = 7n;
    note(`${yield* next(g)} BX ${page.s.regs.regs.rbx} CR0 ${page.s.regs.sregs.cr0.toString(16)}`);
    page.s.regs.regs.rbx = 0x20n;
    note(`${yield* next(g)} BX ${page.s.regs.regs.rbx}`);
    page.s.regs.regs.rbx = 0x30n;
    page.kvm_dirty_regs = 1n;
    note(`${yield* next(g)} BX ${page.s.regs.regs.rbx} dirty ${page.kvm_dirty_regs}`);
    page.kvm_dirty_regs = 0x10n;
    note(yield* next(g));
    page.kvm_dirty_regs = 0n;
    page.kvm_valid_regs = 0n;
    note(`${yield* next(g)} BX ${page.s.regs.regs.rbx}`);
    yield* rm(g.m);
  }), ['error 22', 'out 10 BX 0 CR0 60000010', 'out 10 BX 1', 'out 10 BX 49 dirty 0', 'error 22', 'out 10 BX 49']);
});

test("the other vendor's hypercall is rewritten, or with that quirk off an invalid opcode", () => {
  const tries = (quirk: boolean): string[] => notes(function* body(sys, note) {
    // VMMCALL; OUT 10h
    const g = yield* machine(sys, {}, [0x0f, 0x01, 0xd9, ...out(0x10, 1), HLT], []);
    handler(g, 6);
    if (!quirk) note(`disabled ${yield* enable(g, K.KVM_CAP_DISABLE_QUIRKS2, BigInt(K.KVM_X86_QUIRK_FIX_HYPERCALL_INSN))}`);
    note(yield* next(g));
    note(Buffer.from(loadBytes(g.m.mem + 0x1000, 3)).toString('hex'));
    yield* rm(g.m);
  });
  assert.deepEqual(tries(true), ['out 10', '0f01c1']);
  assert.deepEqual(tries(false), ['disabled 0', 'out 36', '0f01d9']);
});

test('PLATFORM_INFO can be taken from a guest', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // MOV ECX,CEh; RDMSR; OUT 10h; JMP back
    const g = yield* machine(sys, {}, [0x66, 0xb9, 0xce, 0, 0, 0, 0x0f, 0x32, 0xe6, 0x10, 0xeb, 0xf4], []);
    handler(g, 13);
    note(yield* next(g));
    yield* enable(g, K.KVM_CAP_MSR_PLATFORM_INFO, 0n);
    note(yield* next(g));
    yield* rm(g.m);
  }), ['out 10', 'out 3d']);
});

test('user space may change the count of a REP INS between two of its parts', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // MOV DI,2000h; MOV CX,3; REP INSB from DX; OUT 10h
    const g = yield* machine(sys, {}, [0xbf, 0, 0x20, 0xb9, 3, 0, 0xba, 0x50, 0, 0xf3, 0x6c, ...out(0x10, 1)], []);
    note(`${yield* next(g)} ${g.m.run.io.count}`);
    const regs = yield* make(K.kvm_regs);
    yield* rawIoctl(g.m.vcpu, K.KVM_GET_REGS.nr, regs);
    note(`CX ${regs.rcx}`);
    regs.rcx = 1n;
    yield* rawIoctl(g.m.vcpu, K.KVM_SET_REGS.nr, regs);
    note(yield* next(g));
    yield* rm(g.m);
  }), ['out 50 3', 'CX 3', 'out 10']);
});
