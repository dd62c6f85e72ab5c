import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ApicMessage } from '../../machine/chips/apic-bus.ts';
import { IOAPIC_LEVEL, IOAPIC_MASKED, IOAPIC_REG_EOI, IOAPIC_REG_SELECT, IOAPIC_REG_TABLE, IOAPIC_REG_WINDOW, IOAPIC_REMOTE_IRR, IoApic } from '../../machine/chips/ioapic.ts';

function bench(): { io: IoApic; sent: ApicMessage[]; vectors: () => number[] } {
  const sent: ApicMessage[] = [];
  const io = new IoApic((m) => {
    sent.push(m);
    return true;
  });
  return { io, sent, vectors: () => sent.map((m) => m.vector) };
}

test('an edge-triggered pin sends on each rising edge and not on a level that stays', () => {
  const { io, vectors } = bench();
  io.route(4, 0x24, 0);
  io.setIrq(4, true);
  io.setIrq(4, true);
  io.setIrq(4, false);
  io.setIrq(4, true);
  assert.deepEqual(vectors(), [0x24, 0x24]);
});

test('a level-triggered pin waits for the EOI and sends again while its line is up', () => {
  const { io, vectors } = bench();
  io.route(10, 0x30, 0, { level: true });
  io.setIrq(10, true);
  io.setIrq(10, true);
  assert.deepEqual(vectors(), [0x30]);
  assert.ok(io.readRegister(IOAPIC_REG_TABLE + 20) & IOAPIC_REMOTE_IRR);
  io.eoi(0x31);
  assert.deepEqual(vectors(), [0x30]);
  io.eoi(0x30);
  assert.deepEqual(vectors(), [0x30, 0x30]);
  io.setIrq(10, false);
  io.eoi(0x30);
  assert.deepEqual(vectors(), [0x30, 0x30]);
  assert.equal(io.readRegister(IOAPIC_REG_TABLE + 20) & IOAPIC_REMOTE_IRR, 0);
});

test('masked: an edge is lost, a level is sent when it is unmasked', () => {
  const { io, vectors } = bench();
  io.route(1, 0x21, 0, { masked: true });
  io.route(2, 0x22, 0, { masked: true, level: true });
  io.setIrq(1, true);
  io.setIrq(2, true);
  assert.deepEqual(vectors(), []);
  io.route(1, 0x21, 0);
  io.route(2, 0x22, 0, { level: true });
  assert.deepEqual(vectors(), [0x22]);
});

test('the MMIO window: select, read, write, version, EOI register', () => {
  const { io, sent } = bench();
  const write = (index: number, value: number) => {
    io.write(IOAPIC_REG_SELECT, index);
    io.write(IOAPIC_REG_WINDOW, value);
  };
  const read = (index: number) => {
    io.write(IOAPIC_REG_SELECT, index);
    return io.read(IOAPIC_REG_WINDOW);
  };
  assert.equal(read(1), 0x0017_0020);
  assert.equal(read(0x10 + 46), IOAPIC_MASKED);
  write(0, 0x0500_0000);
  assert.equal(read(0), 0x0500_0000);
  write(0x10 + 7, 0x0300_0000);
  write(0x10 + 6, 0x0000_5940 | IOAPIC_LEVEL);       // delivery status and remote IRR are read-only
  assert.equal(read(0x10 + 6), 0x0940 | IOAPIC_LEVEL);
  io.setIrq(3, true);
  assert.deepEqual(sent, [{ vector: 0x40, deliveryMode: 1, logical: true, destination: 3, level: true, assert: true }]);
  io.write(IOAPIC_REG_EOI, 0x40);
  assert.equal(sent.length, 2);
});

test('pins that do not exist are ignored', () => {
  const { io, sent } = bench();
  io.setIrq(24, true);
  io.setIrq(-1, true);
  io.setIrq(Number.NaN, true);
  io.writeRegister(0x10 + 48, 5);
  assert.equal(sent.length, 0);
  assert.equal(io.readRegister(0x10 + 48), 0);
});
