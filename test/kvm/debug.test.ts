import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { type Guest, setMode } from '../golden/probe/guest.ts';
import { type Parts, words } from '../golden/probe/machine.ts';
import { run } from '../support/boot.ts';
import { HLT, chipsProgram, machine, make, next, out, rawIoctl, rm } from './chips-program.ts';

const ENABLE = K.KVM_GUESTDBG_ENABLE, STEP = K.KVM_GUESTDBG_SINGLESTEP, SW = K.KVM_GUESTDBG_USE_SW_BP, HW = K.KVM_GUESTDBG_USE_HW_BP, BLOCKIRQ = K.KVM_GUESTDBG_BLOCKIRQ;
const DR6 = 0xffff0ff0n;

function notes(body: (sys: number, note: (line: string) => void) => Sys): string[] {
  const lines: string[] = [];
  const { status } = run({ init: ['-c', 'chips'], programs: [chipsProgram((sys) => body(sys, (line) => { lines.push(line); }))], seconds: 60 });
  assert.equal(status, 0);
  return lines;
}
function* long(sys: number, code: readonly number[], parts: Parts = {}): Sys<Guest> {
  const g = yield* machine(sys, parts, code, []);
  yield* setMode(g, 'long64');
  return g;
}
function* debug(g: Guest, control: number, registers: Readonly<Record<number, bigint>> = {}): Sys<number> {
  return yield* rawIoctl(g.m.vcpu, K.KVM_SET_GUEST_DEBUG.nr, yield* make(K.kvm_guest_debug, { control, arch: { debugreg: Array.from({ length: 8 }, (_, i) => registers[i] ?? 0n) } }));
}
function* regs(g: Guest, change?: (r: K.kvm_regs) => void): Sys<K.kvm_regs> {
  const r = yield* make(K.kvm_regs);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_REGS.nr, r);
  if (change !== undefined) {
    change(r);
    yield* rawIoctl(g.m.vcpu, K.KVM_SET_REGS.nr, r);
  }
  return r;
}
/** Runs on; an exit for the debugger is told by exception, place and what of DR6 is not constant. */
function* stop(g: Guest): Sys<string> {
  const line = yield* next(g);
  const { arch } = g.m.run.debug;
  return line === `exit ${K.KVM_EXIT_DEBUG}` ? `debug ${arch.exception} at ${arch.pc.toString(16)} dr6 ${(arch.dr6 ^ DR6).toString(16)}` : line;
}

test('a software breakpoint stops on the INT3, which has not run', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* long(sys, [0x90, 0xcc, ...out(0x10, 1)]);
    yield* debug(g, ENABLE | SW);
    note((yield* stop(g)).replace(/ dr6.*/, ''));
    note(`rip ${(yield* regs(g, (r) => { r.rip += 1n; })).rip.toString(16)}`);
    note(yield* stop(g));
    yield* rm(g.m);
  }), ['debug 3 at 1001', 'rip 1002', 'out 10']);
});

test('hardware breakpoints: instructions before they run, accesses behind them, also when the page was not yet mapped', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // NOP; MOV RAX,1234h; MOV [2000h],RAX; MOV BL,[2001h]
    const g = yield* long(sys, [0x90, 0x48, 0xc7, 0xc0, 0x34, 0x12, 0, 0, 0x48, 0x89, 0x04, 0x25, 0, 0x20, 0, 0, 0x8a, 0x1c, 0x25, 1, 0x20, 0, 0, ...out(0x10, 1)]);
    for (let i = 0; i < 4; i++) {
      yield* debug(g, ENABLE | HW, { [i]: 0x1000n, 7: 0x400n | (2n << BigInt(2 * i)) });
      note(yield* stop(g));
    }
    for (let i = 0; i < 4; i++) {
      yield* debug(g, ENABLE | HW, { [i]: 0x2000n, 7: 0x400n | (2n << BigInt(2 * i)) | (0xdn << BigInt(16 + 4 * i)) });
      note(yield* stop(g));
      yield* regs(g, (r) => { r.rip -= 8n; });
    }
    // Reads count with type 3, not with type 1.
    yield* debug(g, ENABLE | HW, { 0: 0x2000n, 1: 0x2001n, 7: 0x40an | (0xdn << 16n) | (3n << 20n) });
    note(yield* stop(g));
    note(yield* stop(g));
    note(yield* stop(g));
    yield* rm(g.m);
  }), [0, 1, 2, 3].map((i) => `debug 1 at 1000 dr6 ${(1 << i).toString(16)}`).concat([0, 1, 2, 3].map((i) => `debug 1 at 1010 dr6 ${(1 << i).toString(16)}`), ['debug 1 at 1010 dr6 3', 'debug 1 at 1017 dr6 2', 'out 10']));
});

test('stepping passes STI, instructions KVM executes and ports, and with BLOCKIRQ no interrupt leads it away', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // STI; XOR EAX,EAX; CPUID; MOV ECX,1A0h; RDMSR; CLI; OUT 10h,AL; NOP
    const g = yield* long(sys, [0xfb, 0x31, 0xc0, 0x0f, 0xa2, 0xb9, 0xa0, 1, 0, 0, 0x0f, 0x32, 0xfa, 0xe6, 0x10, 0x90, HLT]);
    yield* g.interrupt(0x20);
    yield* rawIoctl(g.m.vcpu, K.KVM_SET_VCPU_EVENTS.nr, yield* make(K.kvm_vcpu_events));
    for (let i = 0; i < 6; i++) {
      yield* debug(g, ENABLE | STEP | BLOCKIRQ);
      note(yield* stop(g));
      if (i === 0) note(`flags ${(yield* regs(g)).rflags.toString(16)}`);
    }
    note(yield* stop(g));
    note(yield* stop(g));
    note(yield* stop(g));
    yield* rm(g.m);
  }), ['debug 1 at 1001 dr6 4000', 'flags 202', ...['1003', '1005', '100a', '100c', '100d'].map((at) => `debug 1 at ${at} dr6 4000`), 'out 10', 'debug 1 at 100f dr6 4000', 'debug 1 at 1010 dr6 4000']);
});

test('general detect stops on a MOV of a debug register', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* long(sys, [0x0f, 0x21, 0xc0, ...out(0x10, 1)]);
    yield* debug(g, ENABLE | HW, { 7: 0x400n | 0x2000n });
    note(yield* stop(g));
    yield* debug(g, 0);
    note(yield* stop(g));
    yield* rm(g.m);
  }), ['debug 1 at 1000 dr6 2000', 'out 10']);
});

test("a debugger's exceptions go to the guest's handlers, one at a time; its registers stay its own", () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, {}, [0x90, 0xcc, ...out(0x10, 1), HLT], []);
    for (const [vector, port] of [[1, 0x31], [3, 0x33]] as const) {
      g.put(0x1900 + 16 * vector, Uint8Array.of(...out(port, 1), 0xcf));
      g.put32(vector * 4, 0x1900 + 16 * vector);
    }
    yield* rawIoctl(g.m.vcpu, K.KVM_SET_DEBUGREGS.nr, yield* make(K.kvm_debugregs, { db: [1n, 2n, 3n, 4n], dr6: DR6, dr7: 0x400n }));
    note(`DB ${yield* debug(g, ENABLE | K.KVM_GUESTDBG_INJECT_DB)}`);
    note(`again ${yield* debug(g, ENABLE | K.KVM_GUESTDBG_INJECT_BP)}`);
    note(yield* stop(g));
    // Not the debugger's breakpoint: the guest may have it.
    yield* debug(g, ENABLE | SW);
    note((yield* stop(g)).replace(/ dr6.*/, ''));
    note(`BP ${yield* debug(g, ENABLE | SW | K.KVM_GUESTDBG_INJECT_BP)}`);
    note(yield* stop(g));
    yield* debug(g, ENABLE | HW, { 0: 0x1002n, 7: 0x402n });
    note(yield* stop(g));
    const d = yield* make(K.kvm_debugregs);
    yield* rawIoctl(g.m.vcpu, K.KVM_GET_DEBUGREGS.nr, d);
    note(`${[0, 1, 2, 3].map((i) => d.db.get(i)).join(' ')} ${d.dr7.toString(16)}`);
    yield* rm(g.m);
  }), ['DB 0', 'again -16', 'out 31', 'debug 3 at 1001', 'BP 0', 'out 33', 'debug 1 at 1002 dr6 1', '1 2 3 4 400']);
});

test('a quirk that is disabled does as the processor would, and only the last word on quirks counts', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // MONITOR; OUT 10h; MWAIT; OUT 11h, with #UD at vector 6.
    const g = yield* machine(sys, {}, [0x0f, 0x01, 0xc8, ...out(0x10, 1), 0x0f, 0x01, 0xc9, ...out(0x11, 1), HLT], []);
    g.put(0x1960, Uint8Array.of(...out(0x36, 1), HLT));
    g.put32(6 * 4, 0x1960);
    const quirks = function* quirks(value: number): Sys<number> { return yield* rawIoctl(g.m.vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_DISABLE_QUIRKS2, args: [BigInt(value)] })); };
    note(`unknown ${yield* quirks(0x8000)}`);
    note(`both ${yield* quirks(K.KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS | K.KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT)}, one ${yield* quirks(K.KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT)}`);
    note(yield* next(g));
    yield* quirks(K.KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS);
    note(yield* next(g));
    yield* rm(g.m);
  }), ['unknown -22', 'both 0, one 0', 'out 10', 'out 36']);
});

test('the window of a local APIC that is off reads as ones, or with that quirk off is a hole', () => {
  const reads = (quirk: boolean): string[] => notes(function* body(sys, note) {
    // MOV ECX,1Bh; RDMSR; AND AH,F7h; WRMSR; then, in 32-bit addresses, MOV EAX,[FEE00030h]; OUT 10h
    const g = yield* machine(sys, { irqchip: true }, [0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x80, 0xe4, 0xf7, 0x0f, 0x30, 0x66, 0x67, 0xa1, 0x30, 0, 0xe0, 0xfe, ...out(0x10, 1)], []);
    const s = yield* g.sregs();
    s.ds.limit = 0xffffffff;
    s.ds.g = 1;
    yield* rawIoctl(g.m.vcpu, K.KVM_SET_SREGS.nr, s);
    if (!quirk) yield* rawIoctl(g.m.vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_DISABLE_QUIRKS2, args: [BigInt(K.KVM_X86_QUIRK_LAPIC_MMIO_HOLE)] }));
    note(yield* next(g));
    if (quirk) note(((yield* regs(g)).rax & 0xffffff00n).toString(16));
    yield* rm(g.m);
  });
  assert.deepEqual(reads(true), ['out 10', 'ffffff00']);
  assert.deepEqual(reads(false), [`exit ${K.KVM_EXIT_MMIO}`]);
});

test('CPUID shows OSXSAVE as CR4 has it, whoever sets it', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // CPUID 1; MOV EAX,ECX; SHR EAX,27; AND AL,1; OUT 10h,AL; JMP back
    const g = yield* machine(sys, {}, [0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x66, 0x89, 0xc8, 0x66, 0xc1, 0xe8, 27, 0x24, 1, 0xe6, 0x10, 0xeb, 0xeb], []);
    const seen = function* seen(): Sys<string> { yield* next(g); const r = yield* regs(g); return `${r.rax & 1n}`; };
    note(yield* seen());
    const s = yield* g.sregs();
    s.cr4 |= 1n << 18n;
    yield* rawIoctl(g.m.vcpu, K.KVM_SET_SREGS.nr, s);
    note(yield* seen());
    yield* words(0n);
    yield* rm(g.m);
  }), ['0', '1']);
});
