import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventQueue, type MachineEvent } from '../../machine/clock.ts';
import { I8254, PIT_FREQ } from '../../machine/chips/i8254.ts';

/** A timer whose clock runs at its own input's rate: one cycle is one tick. */
function bench() {
  const events = new EventQueue();
  const b = {
    now: 0, edges: [] as [number, boolean][], level: undefined as boolean | undefined,
    pit: undefined as unknown as I8254<MachineEvent>,
    advance(to: number) {
      while (events.nextTime <= to) {
        b.now = events.nextTime;
        events.fire();
      }
      b.now = to;
    },
    read16: (n: number) => b.pit.read(0x40 + n) | (b.pit.read(0x40 + n) << 8),
  };
  b.pit = new I8254({ now: () => b.now, at: (t, fn) => events.add(t, fn), cancel: (e) => events.cancel(e) }, PIT_FREQ, (level) => {
    if (level === b.level) return;
    b.level = level;
    b.edges.push([b.now, level]);
  });
  return b;
}
const program = (pit: I8254<MachineEvent>, n: number, mode: number, count: number) => {
  pit.write(0x43, (n << 6) | 0x30 | (mode << 1));
  pit.write(0x40 + n, count & 0xff);
  pit.write(0x40 + n, count >> 8);
};

test('mode 0 rises once at the end of its count', () => {
  const b = bench();
  program(b.pit, 0, 0, 1000);
  b.advance(5000);
  assert.deepEqual(b.edges, [[0, false], [1000, true]]);
});

test('mode 2 is low for the last tick of each period', () => {
  const b = bench();
  program(b.pit, 0, 2, 100);
  b.advance(250);
  assert.deepEqual(b.edges, [[0, false], [0, true], [99, false], [100, true], [199, false], [200, true]].slice(1));
});

test('mode 3 is high for the longer half', () => {
  const b = bench();
  program(b.pit, 0, 3, 5);
  b.advance(10);
  assert.deepEqual(b.edges.slice(-4), [[3, false], [5, true], [8, false], [10, true]]);
});

test('mode 4 strobes low for one tick, once', () => {
  const b = bench();
  program(b.pit, 0, 4, 50);
  b.advance(500);
  assert.deepEqual(b.edges.slice(-2), [[50, false], [51, true]]);
});

test('modes 1 and 5 wait for the gate, and start over with it', () => {
  const b = bench();
  const out = () => (b.pit.read(0x61) & 0x20) !== 0;
  program(b.pit, 2, 1, 100);
  b.advance(50);
  assert.ok(out());
  b.pit.write(0x61, 1);
  assert.ok(!out());
  b.advance(149);
  assert.ok(!out());
  b.advance(150);
  assert.ok(out());
  program(b.pit, 2, 5, 10);
  b.pit.write(0x61, 0);
  b.pit.write(0x61, 1);
  b.advance(160);
  assert.ok(!out());
  b.advance(161);
  assert.ok(out());
});

test('the gate holds mode 0 and restarts mode 2', () => {
  const b = bench();
  b.pit.write(0x61, 1);
  program(b.pit, 2, 0, 100);
  b.advance(30);
  b.pit.write(0x61, 0);
  b.advance(80);
  assert.equal(b.read16(2), 70);
  b.pit.write(0x61, 1);
  b.advance(90);
  assert.equal(b.read16(2), 60);
  program(b.pit, 2, 2, 100);
  b.advance(120);
  b.pit.write(0x61, 0);
  b.pit.write(0x61, 1);
  assert.equal(b.read16(2), 100);
});

test('a latched count stays until it is read, low byte first', () => {
  const b = bench();
  program(b.pit, 0, 2, 1000);
  b.advance(10);
  b.pit.write(0x43, 0);
  b.advance(500);
  b.pit.write(0x43, 0);
  assert.equal(b.read16(0), 990);
  assert.equal(b.read16(0), 500);
});

test('read-back latches status and count of several counters', () => {
  const b = bench();
  program(b.pit, 0, 3, 0);
  program(b.pit, 2, 0, 300);
  b.advance(4);
  b.pit.write(0x43, 0xc0 | (1 << 1) | (1 << 3));
  assert.equal(b.pit.read(0x40), 0x80 | 0x30 | 0x06);
  assert.equal(b.read16(0), 0xfff8, 'mode 3 counts by two, and a count of 0 is 65536');
  assert.equal(b.pit.read(0x42), 0x30);
  b.pit.write(0x43, (2 << 6) | 0x30);
  b.pit.write(0x43, 0xe0 | (1 << 3));
  assert.equal(b.pit.read(0x42) & 0x40, 0x40, 'no count written yet');
});

test('BCD counts in decimal, and one-byte access sets the other byte to 0', () => {
  const b = bench();
  b.pit.write(0x43, 0x35);
  b.pit.write(0x40, 0x00);
  b.pit.write(0x40, 0x10);
  b.advance(1);
  assert.equal(b.read16(0), 0x0999);
  b.pit.write(0x43, 0x14);
  b.pit.write(0x40, 200);
  b.advance(51);
  assert.equal(b.pit.read(0x40), 150);
});

test('at a clock that is no multiple of the input the mean rate is exact', () => {
  const events = new EventQueue();
  let now = 0;
  let rises = 0;
  const pit = new I8254({ now: () => now, at: (t, fn) => events.add(t, fn), cancel: (e) => events.cancel(e) }, 1_000_000_000, (level) => {
    if (level) rises++;
  });
  program(pit, 0, 2, 11932);
  rises = 0;
  while (events.nextTime <= 1_000_000_000) {
    now = events.nextTime;
    events.fire();
  }
  assert.equal(rises, Math.floor(PIT_FREQ / 11932));
});
