import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import { MAP_SHARED } from '../../abi/mman.ts';
import type { Sys } from '../../abi/process.ts';
import { __NR_read } from '../../abi/syscalls.ts';
import { close, eventfd, loadBytes, mmap, pthread_create, pthread_join, syscall, view, write } from '../../userland/libc.ts';
import { words } from '../golden/probe/machine.ts';
import { run } from '../support/boot.ts';
import { HLT, IRET, MSR_TSC_DEADLINE, STI, VECTOR, X2APIC_EOI, X2APIC_ICR, X2APIC_LVTT, X2APIC_TMICT, apicOn, chipsProgram, machine, make, next, out, picOn, rawIoctl, rm, wrmsr } from './chips-program.ts';

/** Runs a user program to its end and returns what it noted. */
function notes(body: (sys: number, note: (line: string) => void) => Sys, cpus = 2): string[] {
  const lines: string[] = [];
  const { status } = run({ init: ['-c', 'chips'], programs: [chipsProgram((sys) => body(sys, (line) => { lines.push(line); }))], cpus, seconds: 30 });
  assert.equal(status, 0);
  return lines;
}
const handler = (...eoi: number[]): number[] => [...out(0x55, VECTOR), ...eoi, IRET];
const apicEoi = wrmsr(X2APIC_EOI, 0);
const picEoi = out(0x20, 0x20);

test("the local APIC's timer ends a guest's HLT", () => {
  const code = [...apicOn, ...wrmsr(X2APIC_LVTT, VECTOR), ...wrmsr(X2APIC_TMICT, 1000), STI, HLT, ...out(0x11, 1)];
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, code, handler(...apicEoi));
    for (let i = 0; i < 2; i++) note(yield* next(g));
    yield* rm(g.m);
  }), ['out 55', 'out 11']);
});

test('a TSC deadline ends HLT, and a deadline that has passed fires at once', () => {
  const deadline = [0x0f, 0x31, 0x66, 0x05, 0x00, 0x10, 0, 0, 0x66, 0x83, 0xd2, 0, 0x66, 0xb9, MSR_TSC_DEADLINE & 0xff, MSR_TSC_DEADLINE >> 8, 0, 0, 0x0f, 0x30];
  const code = [...apicOn, ...wrmsr(X2APIC_LVTT, 0x40000 | VECTOR), ...deadline, STI, HLT, ...out(0x11, 1), ...wrmsr(MSR_TSC_DEADLINE, 1), 0x90, ...out(0x12, 1)];
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, code, handler(...apicEoi));
    for (let i = 0; i < 4; i++) note(yield* next(g));
    yield* rm(g.m);
  }), ['out 55', 'out 11', 'out 55', 'out 12']);
});

test('the interval timer interrupts through the 8259', () => {
  const code = [...picOn(0xfe), ...out(0x43, 0x34), ...out(0x40, 0xe8), ...out(0x40, 3), STI, HLT, ...out(0x11, 1), HLT, ...out(0x12, 1)];
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true, pit: true }, code, handler(...picEoi));
    for (let i = 0; i < 4; i++) note(yield* next(g));
    yield* rm(g.m);
  }), ['out 55', 'out 11', 'out 55', 'out 12']);
});

test('a second processor waits for INIT and SIPI from the first', () => {
  // The first waits for the byte the second stores.
  const code = [...apicOn, ...wrmsr(X2APIC_ICR, 0x4500, 1), ...wrmsr(X2APIC_ICR, 0x4602, 1), 0x80, 0x3e, 0x00, 0x30, 0x55, 0x75, 0xf9, ...out(0x11, 1)];
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, code, handler(...apicEoi));
    g.put(0x2000, Uint8Array.of(0xc6, 0x06, 0x00, 0x30, 0x55, ...out(0x12, 1)));
    const second = yield* rawIoctl(g.m.vm, K.KVM_CREATE_VCPU.nr, 1);
    const at = yield* mmap(0, 12288, 3, MAP_SHARED, second, 0);
    const thread = yield* pthread_create(function* ap() {
      let said = '';
      // EAGAIN: there was an INIT.
      do said = yield* next(g, second, view(K.kvm_run, at)); while (said === 'error 11');
      note(`second: ${said}`);
      return 0;
    });
    note(`first: ${yield* next(g)}`);
    yield* pthread_join(thread);
    yield* close(second);
    yield* rm(g.m);
  }).sort(), ['first: out 11', 'second: out 12']);
});

/** A level or edge MSI for VECTOR as the route of line 5. */
function* routeMsi(vm: number, data: number): Sys<number> {
  return yield* rawIoctl(vm, K.KVM_SET_GSI_ROUTING.nr, yield* words(1n, 5n | (BigInt(K.KVM_IRQ_ROUTING_MSI) << 32n), 0n, 0xfee00000n, BigInt(data), 0n, 0n));
}

test('an eventfd raises a line that leads to a message', () => {
  const code = [...apicOn, ...out(0x10, 1), STI, HLT, ...out(0x11, 1)];
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, code, handler(...apicEoi));
    const fd = yield* eventfd(0);
    note(`route ${yield* routeMsi(g.m.vm, VECTOR)}`);
    note(`irqfd ${yield* rawIoctl(g.m.vm, K.KVM_IRQFD.nr, yield* make(K.kvm_irqfd, { fd, gsi: 5 }))}`);
    note(yield* next(g));
    // From another thread while the guest sleeps.
    const thread = yield* pthread_create(function* device() { yield* write(fd, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)); return 0; });
    for (let i = 0; i < 2; i++) note(yield* next(g));
    yield* pthread_join(thread);
    yield* rm(g.m);
    yield* close(fd);
  }), ['route 0', 'irqfd 0', 'out 10', 'out 55', 'out 11']);
});

test('with the split chips the end of a level-triggered interrupt goes to user space', () => {
  const code = [...apicOn, ...out(0x10, 1), STI, HLT, ...out(0x11, 1)];
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { split: true }, code, handler(...apicEoi));
    note(`route ${yield* routeMsi(g.m.vm, 0xc000 | VECTOR)}`);
    note(yield* next(g));
    note(`msi ${yield* rawIoctl(g.m.vm, K.KVM_SIGNAL_MSI.nr, yield* make(K.kvm_msi, { address_lo: 0xfee00000, data: 0xc000 | VECTOR }))}`);
    for (let i = 0; i < 3; i++) note(yield* next(g));
    yield* rm(g.m);
  }), ['route 0', 'out 10', 'msi 1', 'out 55', `eoi ${VECTOR.toString(16)}`, 'out 11']);
});

test("the I/O APIC's level-triggered line stays up until EOI, which signals the second eventfd", () => {
  const code = [...picOn(0xff), ...apicOn, ...out(0x10, 1), STI, HLT, ...out(0x11, 1)];
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, code, handler(...apicEoi));
    const [fd, again] = [yield* eventfd(0), yield* eventfd(0, 0o4000)];
    const chip = yield* make(K.kvm_irqchip, { chip_id: K.KVM_IRQCHIP_IOAPIC });
    yield* rawIoctl(g.m.vm, K.KVM_GET_IRQCHIP.nr, chip);
    chip.chip.ioapic.redirtbl.get(5).bits = BigInt(0x8000 | VECTOR);
    note(`chip ${yield* rawIoctl(g.m.vm, K.KVM_SET_IRQCHIP.nr, chip)}`);
    note(`irqfd ${yield* rawIoctl(g.m.vm, K.KVM_IRQFD.nr, yield* make(K.kvm_irqfd, { fd, gsi: 5, flags: K.KVM_IRQFD_FLAG_RESAMPLE, resamplefd: again }))}`);
    note(yield* next(g));
    yield* write(fd, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    for (let i = 0; i < 2; i++) note(yield* next(g));
    const at = yield* words(0n);
    note(`resampled ${yield* syscall(__NR_read, again, at, 8)} ${loadBytes(at, 1)[0]}`);
    yield* rm(g.m);
  }), ['chip 0', 'irqfd 0', 'out 10', 'out 55', 'out 11', 'resampled 8 1']);
});
