import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { loadBytes, storeBytes } from '../../userland/libc.ts';
import { Guest, setMode } from '../golden/probe/guest.ts';
import type { Mode } from '../golden/probe/guests-table.ts';
import { type Parts, anon, bytes, make, mk, rm, setmem, word64, words } from '../golden/probe/machine.ts';
import { run } from '../support/boot.ts';
import { HLT, apicOn, chipsProgram, next, out, rawIoctl, wrmsr } from './chips-program.ts';

const SMBASE = 0x30000, HANDLER = SMBASE + 0x8000, AREA = SMBASE + 0xfe00;
const RSM = [0x0f, 0xaa];
const MSR_SMI_COUNT = 0x34n;

function notes(body: (sys: number, note: (line: string) => void) => Sys): string[] {
  const lines: string[] = [];
  const { status } = run({ init: ['-c', 'chips'], programs: [chipsProgram((sys) => body(sys, (line) => { lines.push(line); }))], seconds: 60 });
  assert.equal(status, 0);
  return lines;
}

/** A guest whose address space 1 has memory of its own with this SMI handler; ordinary memory holds a HLT in its place. */
function* guest(sys: number, code: readonly number[], handler: readonly number[], mode: Mode = 'real16', parts: Parts = { cpuid: true }): Sys<Guest & { smram: number }> {
  const m = yield* mk(sys, { mem: true, vcpu: true, tss: true, ...parts });
  const g = Object.assign(new Guest(m, sys), { smram: yield* anon(m.size) });
  yield* setMode(g, mode);
  g.put(0x1000, Uint8Array.from(code));
  g.put(HANDLER, Uint8Array.of(HLT));
  assert.equal(yield* setmem(m.vm, 1 << 16, 0, 0n, m.size, g.smram), 0);
  storeBytes(g.smram + HANDLER, Uint8Array.from(handler));
  yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: 0x1000n, rflags: 0x46n, rsp: 0x7000n, rax: parts.cpuid ? 0x1122334455667788n : 0x55667788n, rbx: 3n, rcx: 4n, rdx: 5n, rsi: 6n, rdi: 7n, rbp: 8n, ...(parts.cpuid ? { r8: 9n, r15: 0x123456789n } : {}) }));
  return g;
}
const smi = (g: Guest): Sys<number> => rawIoctl(g.m.vcpu, K.KVM_SMI.nr, 0);
function* events(g: Guest): Sys<K.kvm_vcpu_events> {
  const e = yield* make(K.kvm_vcpu_events);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_VCPU_EVENTS.nr, e);
  return e;
}
const smiOf = (e: K.kvm_vcpu_events): string => `smm ${e.smi.smm} pending ${e.smi.pending} in NMI ${e.smi.smm_inside_nmi} INIT ${e.smi.latched_init} NMI masked ${e.nmi.masked}`;
function* state(g: Guest): Sys<string> {
  const regs = yield* make(K.kvm_regs);
  const sregs = yield* make(K.kvm_sregs2);
  const debug = yield* make(K.kvm_debugregs);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_REGS.nr, regs);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_SREGS2.nr, sregs);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_DEBUGREGS.nr, debug);
  return [regs, sregs, debug].map((v) => Buffer.from(bytes(v)).toString('hex')).join(' ');
}
function* counted(g: Guest): Sys<bigint> {
  const list = yield* words(1n, MSR_SMI_COUNT, 0n);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_MSRS.nr, list);
  return word64(list + 16);
}

for (const [mode, parts] of [['real16', {}], ['prot32', {}], ['paged32', {}], ['pae32', {}], ['pae32', { cpuid: true }], ['long64', { cpuid: true }]] as [Mode, Parts][]) {
  test(`RSM brings back what the SMI interrupted: ${mode}, save area of ${parts.cpuid ? '64' : '32'} bits`, () => {
    assert.deepEqual(notes(function* body(sys, note) {
      // The handler destroys what it can reach: AX, DI, flags, DS.
      const g = yield* guest(sys, [...out(0x10, 1), 0x90, ...out(0x11, 1)], [0xb8, 0, 0x12, 0x8e, 0xd8, 0x31, 0xff, 0xf9, 0xe6, 0x98, ...RSM], mode, parts);
      note(yield* next(g));
      g.m.run.immediate_exit = 1;
      note(yield* next(g));
      g.m.run.immediate_exit = 0;
      const before = yield* state(g);
      yield* smi(g);
      note(`${yield* next(g)} flags ${g.m.run.flags}`);
      note(`revision ${new DataView(loadBytes(g.smram + AREA + 0xfc, 4).buffer).getUint32(0, true).toString(16)}`);
      // A step over RSM stops behind it, where nothing else has run yet.
      g.m.run.immediate_exit = 1;
      yield* next(g);
      g.m.run.immediate_exit = 0;
      yield* rawIoctl(g.m.vcpu, K.KVM_SET_GUEST_DEBUG.nr, yield* make(K.kvm_guest_debug, { control: K.KVM_GUESTDBG_ENABLE | K.KVM_GUESTDBG_SINGLESTEP }));
      note(`${yield* next(g)} flags ${g.m.run.flags}`);
      yield* rawIoctl(g.m.vcpu, K.KVM_SET_GUEST_DEBUG.nr, yield* make(K.kvm_guest_debug, {}));
      note((yield* state(g)) === before ? 'as before' : `was ${before}\nis  ${yield* state(g)}`);
      note(yield* next(g));
      note(`counted ${yield* counted(g)}`);
      yield* rm(g.m);
    }), ['out 10', 'error 4', 'out 98 flags 1', `revision ${parts.cpuid ? 20064 : 20000}`, `exit ${K.KVM_EXIT_DEBUG} flags 0`, 'as before', 'out 11', 'counted 1']);
  });
}

test('while in SMM further SMIs, NMIs and INIT wait, and come after RSM in their order', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* guest(sys, [...out(0x10, 1), ...out(0x11, 1)], [0xe6, 0x98, ...RSM], 'real16', { cpuid: true, irqchip: true });
    g.put(0x1900, Uint8Array.of(...out(0x30, 1), 0xcf));
    g.put32(2 * 4, 0x1900);
    note(yield* next(g));
    yield* smi(g);
    yield* rawIoctl(g.m.vcpu, K.KVM_NMI.nr, 0);
    note(smiOf(yield* events(g)));
    note(yield* next(g));
    note(smiOf(yield* events(g)));
    yield* smi(g);
    yield* smi(g);
    note(smiOf(yield* events(g)));
    const mp = yield* make(K.kvm_mp_state, { mp_state: K.KVM_MP_STATE_INIT_RECEIVED });
    note(`INIT_RECEIVED ${yield* rawIoctl(g.m.vcpu, K.KVM_SET_MP_STATE.nr, mp)}`);
    for (let i = 0; i < 3; i++) note(yield* next(g));
    note(`counted ${yield* counted(g)}`);
    yield* rm(g.m);
  }), ['out 10', 'smm 0 pending 1 in NMI 0 INIT 0 NMI masked 0', 'out 98', 'smm 1 pending 0 in NMI 0 INIT 0 NMI masked 1', 'smm 1 pending 1 in NMI 0 INIT 0 NMI masked 1', 'INIT_RECEIVED -22',
    'out 98', 'out 30', 'out 11', 'counted 2']);
});

test('an SMI inside an NMI handler leaves NMIs masked after RSM', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* guest(sys, [...out(0x10, 1), ...out(0x11, 1)], [0xe6, 0x98, ...RSM]);
    g.put(0x1900, Uint8Array.of(...out(0x30, 1), ...out(0x31, 1), 0xcf));
    g.put32(2 * 4, 0x1900);
    note(yield* next(g));
    yield* rawIoctl(g.m.vcpu, K.KVM_NMI.nr, 0);
    note(yield* next(g));
    yield* smi(g);
    note(yield* next(g));
    note(smiOf(yield* events(g)));
    note(yield* next(g));
    note(smiOf(yield* events(g)));
    note(yield* next(g));
    yield* rm(g.m);
  }), ['out 10', 'out 30', 'out 98', 'smm 1 pending 0 in NMI 1 INIT 0 NMI masked 1', 'out 31', 'smm 0 pending 0 in NMI 0 INIT 0 NMI masked 1', 'out 11']);
});

test('a message of the local APIC brings an SMI, and wakes a halted processor for it', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const SELF_SMI = 0x4_4200;
    const g = yield* guest(sys, [...apicOn, ...wrmsr(0x830, SELF_SMI), HLT, ...out(0x11, 1)], [0xe6, 0x98, ...RSM], 'real16', { cpuid: true, irqchip: true });
    note(yield* next(g));
    note(smiOf(yield* events(g)));
    yield* rm(g.m);
  }), ['out 98', 'smm 1 pending 0 in NMI 0 INIT 0 NMI masked 1']);
});

test('the handler may move SMBASE; the next SMI goes there', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // MOV DWORD PTR CS:[FF00h], 20000h
    const move = [0x66, 0x67, 0x2e, 0xc7, 0x05, 0x00, 0xff, 0, 0, 0, 0, 2, 0];
    const g = yield* guest(sys, [...out(0x10, 1), ...out(0x11, 1)], [0xe6, 0x98, ...move, ...RSM]);
    storeBytes(g.smram + 0x28000, Uint8Array.of(0xe6, 0x21, ...RSM));
    note(yield* next(g));
    yield* smi(g);
    note(yield* next(g));
    yield* smi(g);
    note(yield* next(g));
    const base = yield* words(1n, 0x9en, 0n);
    yield* rawIoctl(g.m.vcpu, K.KVM_GET_MSRS.nr, base);
    note(`SMBASE ${word64(base + 16).toString(16)}`);
    note(yield* next(g));
    yield* rm(g.m);
  }), ['out 10', 'out 98', 'out 21', 'SMBASE 20000', 'out 11']);
});

test('RSM outside SMM is an invalid opcode, and an SMI without memory for its state ends the VM', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* guest(sys, [...RSM, HLT], [HLT]);
    g.put(0x1900, Uint8Array.of(...out(0x30, 1)));
    g.put32(6 * 4, 0x1900);
    note(yield* next(g));
    yield* setmem(g.m.vm, 1 << 16, 0, 0n, 0, 0);
    yield* smi(g);
    note(yield* next(g));
    note(yield* next(g));
    yield* rm(g.m);
  }), ['out 30', 'error 5', 'error 5']);
});

test('whatever RSM finds in the save area, the guest goes on, shuts down or cannot be entered: 150 random areas', () => {
  const seen = new Set(notes(function* body(sys, note) {
    let seed = 12345;
    const random = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8;
    for (let i = 0; i < 150; i++) {
      const g = yield* guest(sys, [...out(0x10, 1), HLT], [0xe6, 0x98, ...RSM], 'real16', { cpuid: i % 2 === 0 });
      yield* next(g);
      yield* smi(g);
      yield* next(g);
      const area = loadBytes(g.smram + AREA, 512).slice();
      if (i % 3 === 0) for (let j = 0; j < 512; j++) area[j] = random();
      else for (let j = 0; j < 8; j++) area[random() % 512] = random();
      storeBytes(g.smram + AREA, area);
      // Wherever it lands, it may run for ever: single steps are enough.
      const step = yield* make(K.kvm_guest_debug, { control: K.KVM_GUESTDBG_ENABLE | K.KVM_GUESTDBG_SINGLESTEP });
      for (let j = 0; j < 4; j++) {
        yield* rawIoctl(g.m.vcpu, K.KVM_SET_GUEST_DEBUG.nr, step);
        note(yield* next(g));
      }
      yield* rm(g.m);
    }
  }));
  const allowed = ['DEBUG', 'SHUTDOWN', 'FAIL_ENTRY', 'INTERNAL_ERROR', 'MMIO', 'HLT'].map((name) => `exit ${(K as unknown as Record<string, number>)[`KVM_EXIT_${name}`]}`);
  for (const line of seen) assert.ok(allowed.includes(line) || line.startsWith('out') || line === 'error 14', `${line}: ${[...seen]}`);
  assert.ok(seen.size >= 3, [...seen].join());
});
