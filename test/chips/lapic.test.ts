import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApicBus, type ApicMessage } from '../../machine/chips/apic-bus.ts';
import * as R from '../../machine/chips/apic-registers.ts';
import { LocalApic, type LapicHost } from '../../machine/chips/lapic.ts';

interface Bench { now: number; log: string[]; lapics: LocalApic[]; bus: ApicBus }

/** Local APICs on one bus, enabled, with a clock that stands where it is put. */
function bench(n = 1): Bench & { a: LocalApic } {
  const bus = new ApicBus();
  const b: Bench = { now: 0, log: [], lapics: [], bus };
  for (let id = 0; id < n; id++) {
    const host: LapicHost = {
      now: () => b.now,
      deadlineChanged: () => {},
      pendingChanged: () => {},
      nmi: () => b.log.push(`nmi ${id}`),
      init: () => b.log.push(`init ${id}`),
      startup: (vector) => b.log.push(`sipi ${id} ${vector}`),
      extint: () => b.log.push(`extint ${id}`),
    };
    const lapic = new LocalApic(id, host, bus);
    lapic.write(R.APIC_SPIV, R.APIC_SPIV_APIC_ENABLED | 0xff);
    b.lapics.push(lapic);
  }
  return { ...b, a: b.lapics[0]!, get now() { return b.now; }, set now(t) { b.now = t; } };
}

const fixed = (vector: number, destination: number, more: Partial<ApicMessage> = {}): ApicMessage =>
  ({ vector, deliveryMode: R.APIC_DM_FIXED, logical: false, destination, level: false, assert: true, ...more });

test('the highest vector is offered first, and a lower one only after its EOI', () => {
  const { a } = bench();
  a.accept(0x31, false);
  a.accept(0x82, false);
  a.accept(0x45, false);
  assert.equal(a.pendingVector(), 0x82);
  assert.equal(a.acknowledge(), 0x82);
  assert.equal(a.pendingVector(), -1);
  a.accept(0x8f, false);
  assert.equal(a.pendingVector(), -1, 'the same class does not interrupt');
  a.accept(0x91, false);
  assert.equal(a.acknowledge(), 0x91);
  a.eoi();
  a.eoi();
  assert.deepEqual([a.acknowledge(), a.isInService(0x8f)], [0x8f, true]);
  a.eoi();
  assert.equal(a.acknowledge(), 0x45);
  a.eoi();
  assert.equal(a.acknowledge(), 0x31);
});

test('the task priority holds back vectors of its class and below', () => {
  const { a } = bench();
  a.accept(0x40, false);
  a.taskPriority = 0x40;
  assert.equal(a.pendingVector(), -1);
  assert.equal(a.read(R.APIC_PROCPRI), 0x40);
  a.write(R.APIC_TASKPRI, 0x3f);
  assert.equal(a.pendingVector(), 0x40);
});

test('an acknowledge with nothing pending gives the spurious vector and nothing in service', () => {
  const { a } = bench();
  a.write(R.APIC_SPIV, R.APIC_SPIV_APIC_ENABLED | 0x7e);
  assert.equal(a.acknowledge(), 0x7e);
  a.accept(0x20, false);
  assert.equal(a.pendingVector(), 0x20);
});

test('a disabled APIC accepts nothing and masks its LVT entries', () => {
  const { a } = bench();
  a.write(R.APIC_LVTT, 0x30);
  a.write(R.APIC_SPIV, 0xff);
  a.accept(0x20, false);
  assert.equal(a.pendingVector(), -1);
  assert.equal(a.read(R.APIC_LVTT), 0x30 | R.APIC_LVT_MASKED);
  a.write(R.APIC_LVTT, 0x31);
  assert.equal(a.read(R.APIC_LVTT), 0x31 | R.APIC_LVT_MASKED);
});

test('a one-shot timer fires once after its count, divided', () => {
  const b = bench();
  const { a } = b;
  a.write(R.APIC_LVTT, 0x30);
  a.write(R.APIC_TDCR, 0b0011);           // by 16
  b.now = 100;
  a.write(R.APIC_TMICT, 10);
  assert.equal(a.deadline, 260);
  b.now = 180;
  assert.equal(a.read(R.APIC_TMCCT), 5);
  a.expire(180);
  assert.equal(a.pendingVector(), -1);
  a.expire(260);
  assert.equal(a.pendingVector(), 0x30);
  assert.equal(a.deadline, Number.POSITIVE_INFINITY);
  assert.equal(a.read(R.APIC_TMCCT), 0);
});

test('a periodic timer keeps its phase, also when it is served late', () => {
  const { a } = bench();
  a.write(R.APIC_LVTT, R.APIC_LVT_TIMER_PERIODIC | 0x30);
  a.write(R.APIC_TDCR, 0b1011);           // by 1
  a.write(R.APIC_TMICT, 100);
  a.expire(100);
  assert.equal(a.deadline, 200);
  a.expire(450);
  assert.equal(a.deadline, 500);
});

test('the deadline of TSC-deadline mode is cleared when it fires or the mode is left', () => {
  const b = bench();
  const { a } = b;
  a.tscDeadline = 500;
  assert.equal(a.deadline, Number.POSITIVE_INFINITY, 'another mode ignores it');
  a.write(R.APIC_LVTT, R.APIC_LVT_TIMER_TSCDEADLINE | 0x30);
  a.write(R.APIC_TMICT, 5);
  assert.equal(a.deadline, Number.POSITIVE_INFINITY, 'the count means nothing here');
  a.tscDeadline = 500;
  assert.equal(a.tscDeadline, 500);
  a.expire(500);
  assert.deepEqual([a.tscDeadline, a.pendingVector()], [0, 0x30]);
  a.tscDeadline = 900;
  a.write(R.APIC_LVTT, 0x30);
  assert.equal(a.deadline, Number.POSITIVE_INFINITY);
});

test('a masked timer still expires, without an interrupt', () => {
  const { a } = bench();
  a.write(R.APIC_LVTT, R.APIC_LVT_MASKED | R.APIC_LVT_TIMER_TSCDEADLINE | 0x30);
  a.tscDeadline = 10;
  a.expire(10);
  assert.deepEqual([a.pendingVector(), a.deadline], [-1, Number.POSITIVE_INFINITY]);
});

test('the ICR reaches one, itself, all, and all but itself', () => {
  const { a, lapics } = bench(3);
  const pending = () => lapics.map((l) => l.pendingVector());
  a.write(R.APIC_ICR2, 2 << 24);
  a.write(R.APIC_ICR, 0x40 | R.APIC_ICR_LEVEL_ASSERT);
  assert.deepEqual(pending(), [-1, -1, 0x40]);
  a.write(R.APIC_ICR, 0x51 | (R.APIC_DEST_SELF << 18));
  assert.deepEqual(pending(), [0x51, -1, 0x40]);
  a.write(R.APIC_ICR, 0x62 | (R.APIC_DEST_ALLBUT << 18));
  assert.deepEqual(pending(), [0x51, 0x62, 0x62]);
  a.write(R.APIC_ICR, 0x73 | (R.APIC_DEST_ALLINC << 18));
  assert.deepEqual(pending(), [0x73, 0x73, 0x73]);
});

test('NMI, INIT and SIPI go to the processor, not to IRR; INIT de-assert does nothing', () => {
  const { a, log } = bench(2);
  const send = (low: number) => {
    a.write(R.APIC_ICR2, 1 << 24);
    a.write(R.APIC_ICR, low);
  };
  send((R.APIC_DM_NMI << 8) | R.APIC_ICR_LEVEL_ASSERT);
  send((R.APIC_DM_INIT << 8) | R.APIC_ICR_LEVEL_ASSERT | R.APIC_LVT_LEVEL_TRIGGER);
  send((R.APIC_DM_INIT << 8) | R.APIC_LVT_LEVEL_TRIGGER);
  send((R.APIC_DM_STARTUP << 8) | 0x9a | R.APIC_ICR_LEVEL_ASSERT);
  assert.deepEqual(log, ['nmi 1', 'init 1', 'sipi 1 154']);
});

test('logical destinations match by flat bit, or by cluster', () => {
  const { lapics, bus } = bench(3);
  lapics.forEach((l, i) => l.write(R.APIC_LDR, (1 << i) << 24));
  bus.send(fixed(0x40, 0b101, { logical: true }));
  assert.deepEqual(lapics.map((l) => l.pendingVector()), [0x40, -1, 0x40]);
  lapics.forEach((l, i) => {
    l.write(R.APIC_DFR, 0);
    l.write(R.APIC_LDR, (i < 2 ? 0x10 | (1 << i) : 0x21) << 24);
  });
  bus.send(fixed(0x50, 0x12, { logical: true }));
  assert.deepEqual(lapics.map((l) => l.pendingVector()), [0x40, 0x50, 0x40]);
});

test('lowest-priority delivery chooses the least task priority, ties the lowest id', () => {
  const { lapics, bus } = bench(3);
  lapics[0]!.taskPriority = 0x20;
  bus.send(fixed(0x60, 0xff, { deliveryMode: R.APIC_DM_LOWEST }));
  assert.deepEqual(lapics.map((l) => l.pendingVector()), [-1, 0x60, -1]);
});

test('the EOI of a level-triggered vector is broadcast, of an edge not', () => {
  const { a, bus } = bench();
  const ended: number[] = [];
  bus.onEoi = (vector) => ended.push(vector);
  for (const level of [false, true]) {
    a.accept(0x44, level);
    a.acknowledge();
    a.write(R.APIC_EOI, 0);
  }
  assert.deepEqual(ended, [0x44]);
});

test('errors are latched by a write to ESR, and raise the error interrupt', () => {
  const { a } = bench();
  a.write(R.APIC_LVTERR, 0xfe);
  a.accept(5, false);
  assert.equal(a.pendingVector(), 0xfe);
  assert.equal(a.read(R.APIC_ESR), 0);
  a.write(R.APIC_ESR, 0);
  assert.equal(a.read(R.APIC_ESR), R.APIC_ESR_RECVILL);
  a.write(R.APIC_ICR, 3);
  a.read(0x3c0);
  a.write(R.APIC_ESR, 0);
  assert.equal(a.read(R.APIC_ESR), R.APIC_ESR_SENDILL);
});

test('x2APIC: a 64-bit ICR, self IPI, the id in full, and #GP for what does not exist', () => {
  const { a, lapics } = bench(2);
  for (const l of lapics) l.x2apic = true;
  assert.equal(a.readX2apic(0x802), 0n);
  assert.equal(lapics[1]!.readX2apic(0x80d), 2n);
  assert.ok(a.writeX2apic(0x830, (1n << 32n) | 0x40n));
  assert.equal(lapics[1]!.pendingVector(), 0x40);
  assert.ok(a.writeX2apic(0x83f, 0x55n));
  assert.equal(a.pendingVector(), 0x55);
  assert.equal(a.readX2apic(0x80e), undefined);
  assert.equal(a.readX2apic(0x831), undefined);
  assert.equal(a.writeX2apic(0x803, 0n), false);
  assert.equal(a.writeX2apic(0x808, 0x100n), false);
  assert.equal(a.writeX2apic(0x80b, 1n), false);
  assert.ok(a.writeX2apic(0x80b, 0n));
});
