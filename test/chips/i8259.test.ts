import assert from 'node:assert/strict';
import { test } from 'node:test';
import { I8259Pair } from '../../machine/chips/i8259.ts';

/** A pair initialized as Linux does: vectors 0x30 and 0x38, all unmasked. */
function pair(icw4 = 0x01) {
  const b = { line: false, pic: undefined as unknown as I8259Pair };
  b.pic = new I8259Pair((level) => { b.line = level; });
  for (const [command, data, base, cascade] of [[0x20, 0x21, 0x30, 4], [0xa0, 0xa1, 0x38, 2]] as const) {
    b.pic.write(command, 0x11);
    b.pic.write(data, base);
    b.pic.write(data, cascade);
    b.pic.write(data, icw4);
    b.pic.write(data, 0);
  }
  return b;
}
const pulse = (pic: I8259Pair, irq: number) => {
  pic.setIrq(irq, false);
  pic.setIrq(irq, true);
};

test('requests are served by priority, and a lower one waits for the EOI', () => {
  const b = pair();
  pulse(b.pic, 4);
  pulse(b.pic, 1);
  assert.ok(b.line);
  assert.equal(b.pic.acknowledge(), 0x31);
  assert.ok(!b.line);
  pulse(b.pic, 0);
  assert.ok(b.line, 'a higher one nests');
  assert.equal(b.pic.acknowledge(), 0x30);
  b.pic.write(0x20, 0x20);
  b.pic.write(0x20, 0x20);
  assert.equal(b.pic.acknowledge(), 0x34);
});

test('the slave\'s vector comes through the cascade, and both chips need their EOI', () => {
  const b = pair();
  pulse(b.pic, 12);
  assert.ok(b.line);
  assert.equal(b.pic.acknowledge(), 0x3c);
  pulse(b.pic, 14);
  assert.ok(!b.line);
  b.pic.write(0xa0, 0x20);
  assert.ok(!b.line, 'the master still serves its cascade');
  b.pic.write(0x20, 0x20);
  assert.ok(b.line);
  assert.equal(b.pic.acknowledge(), 0x3e);
});

test('the slave ranks between the master\'s 1 and 3', () => {
  const b = pair();
  pulse(b.pic, 3);
  pulse(b.pic, 15);
  assert.equal(b.pic.acknowledge(), 0x3f);
});

test('a request that goes away before the acknowledge is spurious: vector 7, not in service', () => {
  const b = pair();
  pulse(b.pic, 5);
  b.pic.setIrq(5, false);
  assert.ok(!b.line);
  assert.equal(b.pic.acknowledge(), 0x37);
  b.pic.write(0x20, 0x0b);
  assert.equal(b.pic.read(0x20), 0);
});

test('a mask holds a request back without losing it', () => {
  const b = pair();
  b.pic.write(0x21, 0x10);
  pulse(b.pic, 4);
  assert.ok(!b.line);
  assert.equal(b.pic.read(0x21), 0x10);
  b.pic.write(0x21, 0);
  assert.equal(b.pic.acknowledge(), 0x34);
});

test('OCW3 chooses what the command port reads: IRR or ISR', () => {
  const b = pair();
  pulse(b.pic, 6);
  pulse(b.pic, 3);
  b.pic.acknowledge();
  b.pic.write(0x20, 0x0a);
  assert.equal(b.pic.read(0x20), 0x40);
  b.pic.write(0x20, 0x0b);
  assert.equal(b.pic.read(0x20), 0x08);
});

test('a level-triggered input asks again after its EOI while its line is up', () => {
  const b = pair();
  b.pic.write(0x4d1, 0x08);
  assert.equal(b.pic.read(0x4d1), 0x08);
  b.pic.setIrq(11, true);
  assert.equal(b.pic.acknowledge(), 0x3b);
  b.pic.write(0xa0, 0x20);
  b.pic.write(0x20, 0x20);
  assert.ok(b.line);
  b.pic.setIrq(11, false);
  assert.ok(!b.line);
  b.pic.write(0x4d0, 0xff);
  assert.equal(b.pic.read(0x4d0), 0xf8, 'timer, keyboard and cascade stay edge-triggered');
});

test('a specific EOI ends the one it names', () => {
  const b = pair();
  pulse(b.pic, 4);
  b.pic.acknowledge();
  pulse(b.pic, 1);
  b.pic.acknowledge();
  b.pic.write(0x20, 0x64);
  b.pic.write(0x20, 0x0b);
  assert.equal(b.pic.read(0x20), 0x02);
});

test('rotation gives the served input the lowest priority', () => {
  const b = pair();
  pulse(b.pic, 4);
  assert.equal(b.pic.acknowledge(), 0x34);
  b.pic.write(0x20, 0xa0);
  pulse(b.pic, 4);
  pulse(b.pic, 3);
  pulse(b.pic, 5);
  assert.equal(b.pic.acknowledge(), 0x35);
  b.pic.write(0x20, 0x20);
  b.pic.write(0x20, 0xc2);                 // lowest is 2: order 3 4 …
  assert.equal(b.pic.acknowledge(), 0x33);
});

test('automatic EOI leaves nothing in service, and may rotate', () => {
  const b = pair(0x03);
  pulse(b.pic, 1);
  assert.equal(b.pic.acknowledge(), 0x31);
  b.pic.write(0x20, 0x0b);
  assert.equal(b.pic.read(0x20), 0);
  b.pic.write(0x20, 0x80);
  pulse(b.pic, 1);
  b.pic.acknowledge();
  pulse(b.pic, 1);
  pulse(b.pic, 6);
  assert.equal(b.pic.acknowledge(), 0x36);
});

test('special mask mode lets a masked service be interrupted from below', () => {
  const b = pair();
  pulse(b.pic, 1);
  b.pic.acknowledge();
  b.pic.write(0x21, 0x02);
  pulse(b.pic, 6);
  assert.ok(!b.line);
  b.pic.write(0x20, 0x68);
  assert.ok(b.line);
  assert.equal(b.pic.acknowledge(), 0x36);
  b.pic.write(0x20, 0x48);
});

test('special fully nested mode lets the slave interrupt its own service', () => {
  const b = pair(0x11);
  pulse(b.pic, 12);
  b.pic.acknowledge();
  pulse(b.pic, 9);
  assert.ok(b.line);
  assert.equal(b.pic.acknowledge(), 0x39);
});

test('a poll acknowledges through a read', () => {
  const b = pair();
  b.pic.write(0x20, 0x0c);
  assert.equal(b.pic.read(0x20), 0);
  pulse(b.pic, 6);
  b.pic.write(0x20, 0x0c);
  assert.equal(b.pic.read(0x20), 0x86);
  b.pic.write(0x20, 0x0b);
  assert.equal(b.pic.read(0x20), 0x40);
});

test('initialization clears masks and forgets edges', () => {
  const b = pair();
  pulse(b.pic, 4);
  b.pic.write(0x21, 0xff);
  b.pic.write(0x20, 0x11);
  for (const value of [0x40, 4, 1]) b.pic.write(0x21, value);
  assert.equal(b.pic.read(0x21), 0);
  assert.ok(!b.line);
  pulse(b.pic, 4);
  assert.equal(b.pic.acknowledge(), 0x44);
});
