import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APIC_LVT_TIMER_TSCDEADLINE, APIC_LVTT, APIC_SPIV, APIC_SPIV_APIC_ENABLED } from '../../machine/chips/apic-registers.ts';
import { QUANTUM, costs } from '../../machine/costs.ts';
import { Machine, type MachineOptions } from '../../machine/machine.ts';
import type { Platform } from '../../machine/platform.ts';
import type { Processor } from '../../machine/processor.ts';

const TIMER = 0xec;

function platform(input: (Uint8Array | 'eof')[] = []): Platform & { output: string } {
  const p = {
    output: '',
    console: {
      isTerminal: false,
      size: () => ({ cols: 80, rows: 24 }),
      write: (bytes: Uint8Array) => { p.output += String.fromCharCode(...bytes); },
      read: () => input.shift() ?? ('eof' as const),
    },
    startDate: 0n,
  };
  return p;
}

function board(cpus: number, step: (p: Processor) => void, options: Partial<MachineOptions> = {}): Machine {
  const machine = new Machine({ memory: 1 << 20, cpus, seed: 1, platform: platform(), ...options });
  machine.install({ step });
  for (const p of machine.processors) p.lapic.write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff);
  return machine;
}

const useTimer = (p: Processor) => p.lapic.write(APIC_LVTT, APIC_LVT_TIMER_TSCDEADLINE | TIMER);

test('the processor furthest behind runs, a quantum past the next one at most, and ties go to the lower id', () => {
  const order: [number, number, number][] = [];
  const m = board(2, (p) => {
    order.push([p.id, p.clock, p.limit]);
    p.clock = p.limit;
  });
  m.start(1);
  assert.equal(m.run(25_000), 'paused');
  assert.deepEqual(order, [[0, 0, QUANTUM], [1, 0, 2 * QUANTUM], [0, QUANTUM, 3 * QUANTUM], [1, 2 * QUANTUM, 4 * QUANTUM]]);
  assert.equal(m.latest(), 4 * QUANTUM);
});

test('a step ends at the deadline of the local APIC timer, whose vector is then pending', () => {
  const seen: [number, number][] = [];
  const m = board(1, (p) => {
    if (p.clock === 0) {
      useTimer(p);
      p.lapic.tscDeadline = 1234;
    }
    seen.push([p.clock, p.pendingVector()]);
    p.clock = p.limit;
  });
  m.run(5000);
  assert.deepEqual(seen, [[0, -1], [1234, TIMER]]);
});

test('a deadline programmed in a step lowers the limit of that step', () => {
  const limits: number[] = [];
  const m = board(1, (p) => {
    if (limits.length === 0) {
      useTimer(p);
      p.charge(10);
      p.lapic.tscDeadline = 500;
      limits.push(p.limit);
    }
    p.clock = p.limit;
  });
  m.run(1000);
  assert.deepEqual(limits, [500]);
});

test('an event fires at its exact time, in insertion order among equals, and one set in a step ends the step there', () => {
  const log: string[] = [];
  const m = board(1, (p) => {
    if (p.clock === 0) {
      m.at(300, () => log.push(`a${m.now()}`));
      m.at(300, () => log.push(`b${m.now()}`));
      const never = m.at(200, () => log.push('cancelled'));
      m.at(100, () => log.push(`first${m.now()}`));
      m.cancel(never);
    }
    log.push(`step${p.clock}-${p.limit}`);
    p.clock = p.limit;
  });
  m.run(1000);
  assert.deepEqual(log, ['step0-100', 'first100', 'step100-300', 'a300', 'b300', 'step300-1000300']);
});

test('halted processors jump to their next event, and with none left the machine is idle', () => {
  const woken: number[] = [];
  const m = board(2, (p) => {
    if (p.pendingVector() >= 0) {
      woken.push(p.id, p.clock);
      p.acknowledge();
      p.lapic.eoi();
    } else if (p.clock === 0) {
      useTimer(p);
      p.lapic.tscDeadline = 1_000_000_000 * (p.id + 1);
    }
    p.halt();
  });
  m.start(1);
  assert.equal(m.run(1_000_000), 'paused');
  assert.equal(m.nextWake(), 1_000_000_000);
  assert.ok(m.latest() < 100);
  assert.equal(m.run(Number.POSITIVE_INFINITY), 'idle');
  assert.equal(m.nextWake(), Number.POSITIVE_INFINITY);
  assert.deepEqual(woken, [0, 1_000_000_000, 1, 2_000_000_000]);
  assert.equal(m.processors[0]!.clock, 1_000_000_000 + costs.interruptDelivery);
});

test('an IPI wakes a halted processor at the time it was sent, and the sender soon lets it run', () => {
  const log: string[] = [];
  const m = board(2, (p) => {
    if (p.id === 1) {
      if (p.pendingVector() >= 0) {
        log.push(`woken ${p.clock} by ${p.lapic.acknowledge()}`);
        p.lapic.eoi();
      }
      return p.halt();
    }
    if (p.clock === 0) {
      p.clock = p.limit;
      return;
    }
    if (log.length === 0) {
      p.charge(5);
      log.push(`sent ${p.clock}`);
      p.lapic.sendIpi(1, 0x40);
      log.push(`limit ${p.limit}`);
    }
    p.clock = p.limit;
  });
  m.start(1);
  m.run(100_000);
  assert.deepEqual(log, ['sent 10005', 'limit 20005', 'woken 10005 by 64']);
});

test('a running processor that is behind sees an IPI when its own clock reaches the sending', () => {
  let sent = 0;
  const seen: number[] = [];
  const m = board(2, (p) => {
    if (p.id === 0 && sent === 0) {
      p.charge(7000);
      sent = p.clock;
      p.lapic.sendIpi(1, 0x40);
    }
    if (p.id === 1 && p.pendingVector() >= 0) {
      seen.push(p.clock);
      p.lapic.acknowledge();
    }
    p.clock = p.limit;
  });
  m.start(1);
  m.run(50_000);
  assert.deepEqual(seen, [sent]);
});

test('a step that takes no time costs a cycle, so nothing can stop the machine', () => {
  let steps = 0;
  const m = board(1, () => { steps++; });
  assert.equal(m.run(100), 'paused');
  assert.equal(steps, 100);
});

test('powering off ends the run with the status given, and prints what the console still holds', () => {
  const host = platform();
  const m = board(1, () => {
    for (const c of 'bye') m.uart.write(0, c.charCodeAt(0));
    m.powerOff(3);
  }, { platform: host });
  assert.equal(m.run(Number.POSITIVE_INFINITY), 'off');
  assert.equal(m.status, 3);
  assert.equal(host.output, 'bye');
});

test('the same machine run in one piece and in many pieces does the same', () => {
  const history = (piece: number) => {
    const log: string[] = [];
    const random = [1, 2, 3];
    const next = (id: number, n: number) => {
      random[id] = (Math.imul(random[id]!, 1664525) + 1013904223) >>> 0;
      return (random[id]! >>> 8) % n;
    };
    const m = board(3, (p) => {
      useTimer(p);
      while (p.clock < p.limit && !p.halted) {
        if (p.pendingVector() >= 0) {
          log.push(`${p.id}@${p.clock}:${p.acknowledge()}`);
          p.lapic.eoi();
          continue;
        }
        // Instructions of a cycle each, until something happens at a cycle of this processor's own choice.
        const work = 1 + next(p.id, 40);
        for (let i = 0; i < work; i++) p.charge(1);
        switch (next(p.id, 200)) {
          case 0: p.lapic.sendIpi(next(p.id, 3), 0x41); break;
          case 1: p.lapic.tscDeadline = p.clock + next(p.id, 5000); break;
          case 2:
            if (p.lapic.tscDeadline === 0) p.lapic.tscDeadline = p.clock + 20_000;
            p.halt();
            break;
          case 3: m.at(p.clock + next(p.id, 3000), () => m.processors[0]!.lapic.accept(0x50, false)); break;
          case 4: p.endQuantum(); break;
        }
      }
    });
    m.start(1);
    m.start(2);
    for (let t = piece; t <= 2_000_000; t += piece) m.run(t);
    return log;
  };
  const whole = history(2_000_000);
  assert.ok(whole.length > 300);
  assert.deepEqual(history(1000), whole);
  assert.deepEqual(history(100_000), whole);
});
