import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { close, readFile } from '../../userland/libc.ts';
import { words } from '../golden/probe/machine.ts';
import { HLT, IRET, STI, VECTOR, X2APIC_EOI, X2APIC_LVTT, X2APIC_TMICT, apicOn, machine, make, next, notes, out, rawIoctl, readStats, rm, writeFile, wrmsr } from './chips-program.ts';

/** 20 times: a timer of 20 µs (divided by 2), HLT. */
const naps = (count: number): number[] => {
  const nap = [...wrmsr(X2APIC_TMICT, count), HLT];
  return [...apicOn, ...wrmsr(X2APIC_LVTT, VECTOR), STI, 0xbd, 20, 0, ...nap, 0x4d, 0x0f, 0x85, ...le16(-(nap.length + 5)), ...out(0x10, 1)];
};
const le16 = (v: number): number[] => [v & 0xff, (v >> 8) & 0xff];
const isr = [...wrmsr(X2APIC_EOI, 0), IRET];

/** What the counters say after a guest's naps. */
function* nap(sys: number, count: number, prepare: (g: { m: { vm: number; vcpu: number } }) => Sys<unknown>): Sys<Map<string, number[]>> {
  const g = yield* machine(sys, { irqchip: true }, naps(count), isr);
  yield* prepare(g);
  assert.equal(yield* next(g), 'out 10');
  const fd = yield* rawIoctl(g.m.vcpu, K.KVM_GET_STATS_FD.nr, 0);
  const stats = yield* readStats(fd);
  yield* close(fd);
  yield* rm(g.m);
  return stats;
}
const value = (stats: Map<string, number[]>, name: string): number => stats.get(name)![0]!;
const sum = (stats: Map<string, number[]>, name: string): number => stats.get(name)!.reduce((a, b) => a + b, 0);

test('a vCPU whose halts are short learns to poll, one whose halts are long does not, and the counters add up', () => {
  notes(function* body(sys) {
    const nothing = function* nothing(): Sys<void> {};
    const short = yield* nap(sys, 10_000, nothing);
    assert.equal(value(short, 'halt_exits'), 20);
    const polls = value(short, 'halt_attempted_poll');
    assert.ok(polls >= 15, `${polls} polls`);
    assert.ok(value(short, 'halt_successful_poll') >= 15 && value(short, 'halt_successful_poll') <= polls);
    assert.equal(sum(short, 'halt_poll_success_hist'), value(short, 'halt_successful_poll'));
    assert.equal(sum(short, 'halt_poll_fail_hist'), polls - value(short, 'halt_successful_poll'));
    assert.equal(short.get('halt_wait_hist')!.length, K.KVM_STATS_TYPE_LOG_HIST * 8);
    assert.ok(value(short, 'halt_poll_success_ns') > 15 * 15_000, `${value(short, 'halt_poll_success_ns')} ns`);
    const long = yield* nap(sys, 500_000, nothing);
    assert.equal(value(long, 'halt_attempted_poll'), 0);
    assert.equal(sum(long, 'halt_wait_hist'), 20);
    assert.ok(value(long, 'halt_wait_ns') > 20 * 900_000);
  });
});

test('polling ends where the VM, the module or the guest says so', () => {
  notes(function* body(sys) {
    const cap = yield* nap(sys, 10_000, function* off({ m }) { yield* rawIoctl(m.vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_HALT_POLL, args: [0n] })); });
    assert.equal(value(cap, 'halt_attempted_poll'), 0);
    const guest = yield* nap(sys, 10_000, function* off({ m }) { yield* rawIoctl(m.vcpu, K.KVM_SET_MSRS.nr, yield* words(1n, BigInt(K.MSR_KVM_POLL_CONTROL), 0n)); });
    assert.equal(value(guest, 'halt_attempted_poll'), 0);
    yield* writeFile('/sys/module/kvm/parameters/halt_poll_ns', '0\n');
    const module = yield* nap(sys, 10_000, function* nothing() {});
    assert.equal(value(module, 'halt_attempted_poll'), 0);
  });
});

test('the growing and shrinking of the time to poll can be traced', () => {
  notes(function* body(sys) {
    const events = '/sys/kernel/tracing/events/kvm';
    for (const name of ['kvm_halt_poll_ns', 'kvm_vcpu_wakeup']) yield* writeFile(`${events}/${name}/enable`, '1');
    yield* nap(sys, 10_000, function* nothing() {});
    const lines = yield* readFile('/sys/kernel/tracing/trace');
    assert.match(lines, /kvm_halt_poll_ns: vcpu 0: halt_poll_ns 10000 \(grow 0\)\n/);
    assert.match(lines, /kvm_halt_poll_ns: vcpu 0: halt_poll_ns 20000 \(grow 10000\)\n/);
    assert.match(lines, /kvm_vcpu_wakeup: wait time \d+ ns, polling valid\n/);
    assert.match(lines, /kvm_vcpu_wakeup: poll time \d+ ns, polling valid\n/);
  });
});
