import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import { MAP_SHARED } from '../../abi/mman.ts';
import type { Sys } from '../../abi/process.ts';
import { burn, close, loadBytes, mmap, pthread_create, pthread_join, type pthread_t, storeBytes, usleep, view } from '../../userland/libc.ts';
import { word64, words } from '../golden/probe/machine.ts';
import { CLI, HLT, IRET, STI, VECTOR, X2APIC_EOI, X2APIC_ICR, apicOn, machine, make, next, notes, out, rawIoctl, rm, setCpuid, wrmsr } from './chips-program.ts';

const handler = (...eoi: number[]): number[] => [...out(0x55, VECTOR), ...eoi, IRET];
const PAGE = 0x3000;
/** MOV EAX,nr; MOV EBX,… ; VMCALL */
const vmcall = (nr: number, rbx = 0, rcx = 0, rdx = 0, rsi = 0): number[] =>
  [0x66, 0xb8, ...le32(nr), 0x66, 0xbb, ...le32(rbx), 0x66, 0xb9, ...le32(rcx), 0x66, 0xba, ...le32(rdx), 0x66, 0xbe, ...le32(rsi), 0x0f, 0x01, 0xc1];
const le32 = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, v >>> 24];
const u32 = (at: number): number => Number(word64(at) & 0xffff_ffffn);
/** One MSR set by user space, or read. */
function* setMsr(vcpu: number, msr: number, data: bigint): Sys<number> { return yield* rawIoctl(vcpu, K.KVM_SET_MSRS.nr, yield* words(1n, BigInt(msr), data)); }
function* getMsr(vcpu: number, msr: number): Sys<bigint> {
  const at = yield* words(1n, BigInt(msr), 0n);
  return (yield* rawIoctl(vcpu, K.KVM_GET_MSRS.nr, at)) === 1 ? word64(at + 16) : -1n;
}
function* getClock(vm: number): Sys<K.kvm_clock_data> {
  const data = yield* make(K.kvm_clock_data);
  yield* rawIoctl(vm, K.KVM_GET_CLOCK.nr, data);
  return data;
}
/** Nanoseconds the page says it is at this TSC. */
function pvclock(at: number, tsc: bigint): bigint {
  const [stamp, system, scale] = [word64(at + 8), word64(at + 16), word64(at + 24)];
  const shift = BigInt.asIntN(8, scale >> 32n);
  const delta = tsc - stamp;
  return system + (((shift < 0n ? delta >> -shift : delta << shift) * (scale & 0xffff_ffffn)) >> 32n);
}

test("kvmclock's page and the TSC give the time KVM_GET_CLOCK gives, and setting the clock moves both", () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, [...wrmsr(K.MSR_KVM_SYSTEM_TIME_NEW, PAGE | 1), ...out(0x10, 1), ...out(0x11, 1), ...out(0x12, 1), HLT], []);
    const at = g.m.mem + PAGE;
    const agree = function* agree(): Sys<boolean> {
      const data = yield* getClock(g.m.vm);
      const offset = yield* words(0n);
      yield* rawIoctl(g.m.vcpu, K.KVM_GET_DEVICE_ATTR.nr, yield* make(K.kvm_device_attr, { group: K.KVM_VCPU_TSC_CTRL, attr: BigInt(K.KVM_VCPU_TSC_OFFSET), addr: BigInt(offset) }));
      return pvclock(at, BigInt.asUintN(64, data.host_tsc + word64(offset))) === data.clock;
    };
    note(yield* next(g));
    note(`version ${u32(at) % 2} flags ${loadBytes(at + 29, 1)[0]} agree ${yield* agree()}`);
    note(`flags ${(yield* getClock(g.m.vm)).flags}`);
    note(`set ${yield* rawIoctl(g.m.vm, K.KVM_SET_CLOCK.nr, yield* make(K.kvm_clock_data, { clock: 5_000_000_000n }))}`);
    note(yield* next(g));
    const { clock } = yield* getClock(g.m.vm);
    note(`agree ${yield* agree()} ${clock >= 5_000_000_000n && clock < 5_100_000_000n}`);
    note(`stopped ${yield* rawIoctl(g.m.vcpu, K.KVM_KVMCLOCK_CTRL.nr, 0)}`);
    note(`${yield* next(g)} flags ${loadBytes(at + 29, 1)[0]}`);
    note(`msr ${(yield* getMsr(g.m.vcpu, K.MSR_KVM_SYSTEM_TIME)).toString(16)}`);
    yield* rm(g.m);
    const bare = yield* machine(sys, {}, [HLT], []);
    note(`without a page ${yield* rawIoctl(bare.m.vcpu, K.KVM_KVMCLOCK_CTRL.nr, 0)}`);
    yield* rm(bare.m);
  }), ['out 10', 'version 0 flags 1 agree true', 'flags 14', 'set 0', 'out 11', 'agree true true', 'stopped 0', 'out 12 flags 3', 'msr 3001', 'without a page -22']);
});

test('the wall clock plus kvmclock is the date, and so is the pairing of both', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, [...wrmsr(K.MSR_KVM_WALL_CLOCK_NEW, PAGE), ...vmcall(K.KVM_HC_CLOCK_PAIRING, PAGE + 0x40), ...out(0x10, 1), HLT], []);
    note(yield* next(g));
    const data = yield* getClock(g.m.vm);
    const wall = BigInt(u32(g.m.mem + PAGE + 4)) * 1_000_000_000n + BigInt(u32(g.m.mem + PAGE + 8));
    note(`version ${u32(g.m.mem + PAGE)} ${wall + data.clock === data.realtime}`);
    const pair = g.m.mem + PAGE + 0x40;
    const paired = word64(pair) * 1_000_000_000n + word64(pair + 8);
    note(`${data.realtime - paired < 1_000_000n && data.realtime >= paired}`);
    yield* rm(g.m);
  }), ['out 10', 'version 2 true', 'true']);
});

test('a TSC can be written, offset, read back, and made faster than the processor but not slower', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    // RDTSC to 3000h
    const rdtsc = [0x0f, 0x31, 0x66, 0xa3, 0x00, 0x30, 0x66, 0x89, 0x16, 0x04, 0x30];
    const g = yield* machine(sys, {}, [...rdtsc, ...out(0x10, 1), ...rdtsc, ...out(0x11, 1), ...rdtsc, ...out(0x12, 1)], []);
    note(`set ${yield* setMsr(g.m.vcpu, 0x10, 1_000_000_000_000n)} ${yield* next(g)}`);
    const seen = word64(g.m.mem + PAGE);
    note(`${seen > 1_000_000_000_000n && seen < 1_000_001_000_000n}`);
    const attr = function* attr(nr: number, value: bigint): Sys<bigint> {
      const at = yield* words(value);
      const r = yield* rawIoctl(g.m.vcpu, nr, yield* make(K.kvm_device_attr, { group: K.KVM_VCPU_TSC_CTRL, attr: BigInt(K.KVM_VCPU_TSC_OFFSET), addr: BigInt(at) }));
      return r === 0 ? word64(at) : BigInt(r);
    };
    const offset = yield* attr(K.KVM_GET_DEVICE_ATTR.nr, 0n);
    yield* attr(K.KVM_SET_DEVICE_ATTR.nr, offset + 7_000_000_000_000n);
    note(`${yield* next(g)} ${word64(g.m.mem + PAGE) - seen > 7_000_000_000_000n && word64(g.m.mem + PAGE) - seen < 7_000_001_000_000n}`);
    const khz = yield* rawIoctl(g.m.vcpu, K.KVM_GET_TSC_KHZ.nr, 0);
    note(`slower ${yield* rawIoctl(g.m.vcpu, K.KVM_SET_TSC_KHZ.nr, khz / 2)}`);
    note(`faster ${yield* rawIoctl(g.m.vcpu, K.KVM_SET_TSC_KHZ.nr, khz * 3)} ${(yield* rawIoctl(g.m.vcpu, K.KVM_GET_TSC_KHZ.nr, 0)) === khz * 3}`);
    yield* setMsr(g.m.vcpu, 0x10, 0n);
    yield* usleep(1000);
    note(yield* next(g));
    note(`${word64(g.m.mem + PAGE) >= 3_000_000n}`);
    yield* rm(g.m);
  }), ['set 1 out 10', 'true', 'out 11 true', 'slower -22', 'faster 0 true', 'out 12', 'true']);
});

/** Goes on when user space stores something at 3800h. */
const untilTold = [0x80, 0x3e, 0x00, 0x38, 0x00, 0x74, 0xf9];

test('steal time counts what the thread waited, and a vCPU that lost its processor is called preempted', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, [...wrmsr(K.MSR_KVM_STEAL_TIME, PAGE | 1), ...out(0x10, 1), ...untilTold, ...out(0x11, 1)], []);
    note(yield* next(g));
    const at = g.m.mem + PAGE;
    const before = word64(at);
    const thread = yield* pthread_create(function* vcpu() { note(yield* next(g)); return 0; });
    // A rival on the only processor: while it looks, the vCPU does not run.
    let preempted = 0;
    for (let i = 0; i < 12; i++) {
      yield* usleep(1000);
      burn(2_000_000);
      preempted |= loadBytes(at + 16, 1)[0]!;
    }
    note(`preempted ${preempted} stole ${word64(at) - before > 1_000_000n} version ${u32(at + 8) % 2}`);
    // Another vCPU of the guest may ask for a flush instead of an IPI.
    storeBytes(at + 16, Uint8Array.of(K.KVM_VCPU_PREEMPTED | K.KVM_VCPU_FLUSH_TLB));
    yield* usleep(3000);
    note(`taken ${loadBytes(at + 16, 1)[0]! & K.KVM_VCPU_FLUSH_TLB}`);
    g.put(0x3800, Uint8Array.of(1));
    yield* pthread_join(thread);
    yield* rm(g.m);
  }, 1), ['out 10', 'preempted 1 stole true version 0', 'taken 0', 'out 11']);
});

const shown = (g: { m: { runAt: number; run: K.kvm_run } }): number => loadBytes(g.m.runAt + Number(g.m.run.io.data_offset), 1)[0]!;

test('an interrupt with nothing behind it is ended by clearing a bit, and the next one comes', () => {
  // The page is touched first: an exit between injection and the look at the bit takes the offer back.
  // BTR [3400h],0; SETC AL; OUT 56h,AL; EOI only where the bit was clear
  const eoi = wrmsr(X2APIC_EOI, 0);
  const isr = [0x0f, 0xba, 0x36, 0x00, 0x34, 0x00, 0x0f, 0x92, 0xc0, 0xe6, 0x56, 0x72, eoi.length, ...eoi, IRET];
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, [0xc6, 0x06, 0x00, 0x34, 0x00, ...apicOn, ...wrmsr(K.MSR_KVM_PV_EOI_EN, 0x3401), ...out(0x10, 1), STI, HLT, CLI, ...out(0x11, 1), STI, HLT, ...out(0x12, 1)], isr);
    for (let i = 0; i < 2; i++) {
      note(yield* next(g));
      note(`msi ${yield* rawIoctl(g.m.vm, K.KVM_SIGNAL_MSI.nr, yield* make(K.kvm_msi, { address_lo: 0xfee00000, data: VECTOR }))}`);
      note(`${yield* next(g)} ${shown(g)}`);
    }
    note(yield* next(g));
    const lapic = yield* make(K.kvm_lapic_state);
    yield* rawIoctl(g.m.vcpu, K.KVM_GET_LAPIC.nr, lapic);
    note(`in service ${lapic.regs.get(0x110)} ${lapic.regs.get(0x111)}`);
    yield* rm(g.m);
  }), ['out 10', 'msi 1', 'out 56 1', 'out 11', 'msi 1', 'out 56 1', 'out 12', 'in service 0 0']);
});

/** A second vCPU that runs code at 2000h in a thread of its own. */
function* second(g: Parameters<typeof next>[0], code: readonly number[], note: (line: string) => void, exits = 1): Sys<{ fd: number; thread: pthread_t }> {
  g.put(0x2000, Uint8Array.from(code));
  const fd = yield* rawIoctl(g.m.vm, K.KVM_CREATE_VCPU.nr, 1);
  const at = yield* mmap(0, 12288, 3, MAP_SHARED, fd, 0);
  yield* setCpuid(sysOf(g), fd);
  const thread = yield* pthread_create(function* ap() {
    for (let i = 0; i < exits; i++) {
      let said = '';
      do said = yield* next(g, fd, view(K.kvm_run, at)); while (said === 'error 11');
      note(`second: ${said}`);
    }
    return 0;
  });
  return { fd, thread };
}
const sysOf = (g: Parameters<typeof next>[0]): number => g.sys;
const startSecond = [...wrmsr(X2APIC_ICR, 0x4500, 1), ...wrmsr(X2APIC_ICR, 0x4602, 1)];
/** Waits for the byte at 3800h. */
const waitForSecond = untilTold;
const tellFirst = [0xc6, 0x06, 0x00, 0x38, 0x01];

test('one hypercall interrupts several processors, and another wakes a halted one', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const first = [...apicOn, ...startSecond, ...waitForSecond, ...vmcall(K.KVM_HC_SEND_IPI, 3, 0, 0, VECTOR), 0xe6, 0x57, STI, 0x90, ...out(0x10, 1), ...vmcall(K.KVM_HC_KICK_CPU, 0, 1), 0xe6, 0x58];
    const g = yield* machine(sys, { irqchip: true }, first, [...wrmsr(X2APIC_EOI, 0), IRET]);
    // Interrupts on, HLT; then off and HLT again, which only a kick ends.
    const ap = yield* second(g, [...apicOn, STI, ...tellFirst, HLT, ...out(0x12, 1), 0xfa, HLT, ...out(0x13, 1)], note, 2);
    for (let i = 0; i < 3; i++) {
      const said = yield* next(g);
      note(`first: ${said} ${shown(g)}`);
      if (i === 1) yield* usleep(2000);
    }
    yield* pthread_join(ap.thread);
    yield* close(ap.fd);
    yield* rm(g.m);
  }).sort(), ['first: out 10 1', 'first: out 57 2', 'first: out 58 0', 'second: out 12', 'second: out 13']);
});

test('a call to change what memory is goes to user space only where it asked, and its answer to the guest', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const call = [...vmcall(K.KVM_HC_MAP_GPA_RANGE, 0x2000, 3, 0x10), 0xe6, 0x10, ...vmcall(K.KVM_HC_MAP_GPA_RANGE, 0x2001, 3), 0xe6, 0x11, HLT];
    const g = yield* machine(sys, {}, call, []);
    note(`enable ${yield* rawIoctl(g.m.vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_EXIT_HYPERCALL, args: [1n << 12n] }))}`);
    note(yield* next(g));
    const { hypercall } = g.m.run;
    note(`${hypercall.nr} ${hypercall.args.get(0)} ${hypercall.args.get(1)} ${hypercall.args.get(2)} ${hypercall.flags}`);
    hypercall.ret = 0x42n;
    note(`${yield* next(g)} ${shown(g)}`);
    note(`${yield* next(g)} ${shown(g)}`);
    yield* rm(g.m);
    const plain = yield* machine(sys, {}, call, []);
    note(`${yield* next(plain)} ${shown(plain)} ${yield* rawIoctl(plain.m.vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_EXIT_HYPERCALL, args: [1n << 13n] }))}`);
    yield* rm(plain.m);
  }), ['enable 0', `exit ${K.KVM_EXIT_HYPERCALL}`, '12 8192 3 16 0', 'out 10 66', `out 11 ${-K.KVM_EINVAL & 0xff}`, `out 10 ${-K.KVM_ENOSYS & 0xff} -22`]);
});

test('a guest that switches asynchronous page faults on is told once to wake whoever waits', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const isr = [0xa0, 0x04, 0x34, 0xe6, 0x56, 0x66, 0xc7, 0x06, 0x04, 0x34, 0, 0, 0, 0, ...wrmsr(K.MSR_KVM_ASYNC_PF_ACK, 1), ...wrmsr(X2APIC_EOI, 0), IRET];
    const on = K.KVM_ASYNC_PF_ENABLED | K.KVM_ASYNC_PF_DELIVERY_AS_INT;
    const g = yield* machine(sys, { irqchip: true }, [...apicOn, ...wrmsr(K.MSR_KVM_ASYNC_PF_INT, VECTOR), ...wrmsr(K.MSR_KVM_ASYNC_PF_EN, 0x3400 | on), STI, 0x90, 0x90, ...out(0x10, 1)], isr);
    note(`${yield* next(g)} ${shown(g)}`);
    note(yield* next(g));
    note(`reserved ${yield* setMsr(g.m.vcpu, K.MSR_KVM_ASYNC_PF_EN, 0x3411n)} no memory ${yield* setMsr(g.m.vcpu, K.MSR_KVM_ASYNC_PF_EN, BigInt(0x7000_0000 | on))} vector ${yield* setMsr(g.m.vcpu, K.MSR_KVM_ASYNC_PF_INT, 0x100n)}`);
    yield* rm(g.m);
  }), ['out 56 255', 'out 10', 'reserved 0 no memory 0 vector 0']);
});

test('with the CPUID to decide, a guest has the services it names and no others', () => {
  assert.deepEqual(notes(function* body(sys, note) {
    const g = yield* machine(sys, { irqchip: true }, [...wrmsr(K.MSR_KVM_STEAL_TIME, PAGE | 1), ...out(0x10, 1), ...wrmsr(K.MSR_KVM_SYSTEM_TIME_NEW, PAGE | 1), ...out(0x11, 1)], handler());
    // #GP
    g.put32(13 * 4, 0x1900);
    yield* setCpuid(sys, g.m.vcpu, (e) => { if (e.function === K.KVM_CPUID_FEATURES) e.eax = 1 << K.KVM_FEATURE_STEAL_TIME; });
    note(`enforce ${yield* rawIoctl(g.m.vcpu, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_ENFORCE_PV_FEATURE_CPUID, args: [1n] }))}`);
    note(yield* next(g));
    note(yield* next(g));
    note(`user space ${yield* setMsr(g.m.vcpu, K.MSR_KVM_SYSTEM_TIME_NEW, 1n)} ${yield* setMsr(g.m.vcpu, K.MSR_KVM_SYSTEM_TIME_NEW, 0n)} ${yield* getMsr(g.m.vcpu, K.MSR_KVM_SYSTEM_TIME_NEW)}`);
    yield* rm(g.m);
  }), ['enforce 0', 'out 10', 'out 55', 'user space 0 1 0']);
});
