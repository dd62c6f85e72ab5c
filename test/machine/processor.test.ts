import assert from 'node:assert/strict';
import { test } from 'node:test';
import { APIC_LVT_TIMER_TSCDEADLINE, APIC_LVTT, APIC_SPIV, APIC_SPIV_APIC_ENABLED } from '../../machine/chips/apic-registers.ts';
import { kernelEvent } from '../../machine/cpu/interrupts.ts';
import { CS, DS, ES, RAX, RCX, RSP, SS, updateMode } from '../../machine/cpu/state.ts';
import { costs } from '../../machine/costs.ts';
import { Machine } from '../../machine/machine.ts';
import type { Processor } from '../../machine/processor.ts';

function machineWith(step: (p: Processor) => void, cpus = 1): Machine & { printed: () => string } {
  let output = '';
  const m = new Machine({
    memory: 1 << 20, cpus, seed: 1,
    platform: { console: { isTerminal: false, size: () => ({ cols: 80, rows: 24 }), write: (b) => { output += String.fromCharCode(...b); }, read: () => 'eof' }, startDate: 0n },
  });
  m.install({ step });
  m.processors[0]!.lapic.write(APIC_SPIV, APIC_SPIV_APIC_ENABLED | 0xff);
  return Object.assign(m, { printed: () => output });
}
const ram = (m: Machine) => m.ram.mem.u8.subarray(m.ram.base, m.ram.base + m.ram.size);

/** Real mode at 0:7c00, as after a boot sector was loaded. */
function realMode(p: Processor, code: number[]): void {
  const { cpu } = p;
  ram(p.machine).set(code, 0x7c00);
  for (const seg of [ES, SS, DS]) cpu.setSegment(seg, 0, 0n, 0xffff, 0x93);
  cpu.setSegment(CS, 0, 0n, 0xffff, 0x9b);
  cpu.state.cr0 = 0x10n;
  cpu.state.idtr_limit = 0x3ff;
  cpu.gpr[RSP] = 0x7000n;
  cpu.rip = 0x7c00n;
  p.machine.startEngine();
  cpu.engine.writeFlags(cpu, 0x202);
  updateMode(cpu);
}

/** 64-bit ring 3 with the first 2 MiB mapped one to one. */
function userMode(p: Processor, code: number[]): void {
  const cpu = p.hostRegisters();
  const words = p.machine.ram.mem.u64;
  const at = (address: number) => (p.machine.ram.base + address) >>> 3;
  words[at(0x1000)] = 0x2007n;
  words[at(0x2000)] = 0x3007n;
  words[at(0x3000)] = 0x87n;
  ram(p.machine).set(code, 0x7c00);
  cpu.state.cr0 = 0x8000_0011n;
  cpu.state.cr3 = 0x1000n;
  cpu.state.cr4 = 0x20n;
  cpu.state.efer = 0x501n;
  cpu.setSegment(CS, 0x33, 0n, 0xffff_ffff, 0xa0fb);
  cpu.setSegment(SS, 0x2b, 0n, 0xffff_ffff, 0xc0f3);
  cpu.rip = 0x7c00n;
  p.machine.startEngine();
  cpu.engine.writeFlags(cpu, 0x202);
  updateMode(cpu);
}

test('bare machine code reaches the console, takes the timer interrupt at its cycle, and halts', () => {
  const stops: string[] = [];
  const m = machineWith((p) => {
    if (stops.length === 0) {
      // mov dx,3f8h; mov al,'v'; out dx,al; hlt; out dx,al; cli; hlt
      realMode(p, [0xba, 0xf8, 0x03, 0xb0, 0x76, 0xee, 0xf4, 0xee, 0xfa, 0xf4]);
      ram(m).set([0x00, 0x80, 0, 0], 0x40 * 4);
      ram(m).set([0x40, 0xcf], 0x8000);          // inc ax; iret
      p.lapic.write(APIC_LVTT, APIC_LVT_TIMER_TSCDEADLINE | 0x40);
      p.lapic.tscDeadline = 10_000;
    }
    stops.push(`${p.runBare()} ${p.clock}`);
    p.halt();
  });
  assert.equal(m.run(Number.POSITIVE_INFINITY), 'idle');
  assert.equal(m.printed(), 'vw');
  assert.equal(stops.length, 2);
  assert.match(stops[0]!, /^halted \d\d?$/);
  assert.match(stops[1]!, /^halted 10\d\d\d$/);
});

test('ring 3 runs to the exact cycle of the limit and counts what it retired', () => {
  const seen: [string, number][] = [];
  const m = machineWith((p) => {
    if (seen.length === 0) userMode(p, [0x48, 0xff, 0xc0, 0xeb, 0xfb]);    // 1: inc rax; jmp 1b
    p.limit = Math.min(p.limit, p.clock + 777);
    seen.push([p.runUser(), p.clock]);
  });
  m.run(2000);
  assert.deepEqual(seen, [['limit', 777], ['limit', 1554], ['limit', 2331]]);
  const p = m.processors[0]!;
  assert.equal(p.retired.user, 2331);
  assert.equal(p.cpu.gpr[RAX], 1166n);
});

test('SYSCALL, exceptions and a pending interrupt bring ring 3 back, each by its name', () => {
  const seen: string[] = [];
  const m = machineWith((p) => {
    // mov eax,39; syscall; ud2 / mov eax,[0x400000] / jmp $
    if (seen.length === 0) userMode(p, [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x0f, 0x0b, 0x8b, 0x04, 0x25, 0, 0, 0x40, 0, 0xeb, 0xfe]);
    const stop = p.runUser();
    const { cpu } = p;
    seen.push(stop === 'exception' ? `exception ${kernelEvent.vector} ${kernelEvent.error} ${kernelEvent.cr2.toString(16)} at ${(cpu.rip - 0x7c00n)}` : `${stop} at ${cpu.rip - 0x7c00n}`);
    switch (seen.length) {
      case 1: assert.deepEqual([cpu.gpr[RAX], cpu.gpr[RCX]], [39n, 0x7c07n]); break;
      case 2: cpu.rip = 0x7c09n; break;
      case 3:
        cpu.rip = 0x7c10n;
        p.lapic.accept(0x50, false);
        break;
      case 4:
        assert.equal(p.acknowledge(), 0x50);
        m.powerOff(0);
    }
  });
  m.run(100_000);
  assert.deepEqual(seen, ['syscall at 7', 'exception 6 -1 0 at 7', 'exception 14 4 400000 at 9', 'interrupt at 16']);
});

test('PAUSE ends the step of a processor that is ahead of another, and of no other', () => {
  const turn = 1 + costs.pause;
  const steps = (cpus: number) => {
    const starts: string[] = [];
    const m = machineWith((p) => {
      if (p.clock < turn) userMode(p, [0xf3, 0x90, 0xeb, 0xfc]);
      starts.push(`${p.id} at ${p.clock}`);
      assert.equal(p.runUser(), 'limit');
    }, cpus);
    if (cpus > 1) m.start(1);
    m.run(6 * turn);
    return starts;
  };
  assert.deepEqual(steps(1), ['0 at 0']);
  assert.deepEqual(steps(2).slice(0, 4), ['0 at 0', '1 at 0', `0 at ${turn}`, `1 at ${turn}`]);
});

test('a timer that machine code programs in the midst of its step expires at its cycle', () => {
  const taken: number[] = [];
  const m = machineWith((p) => {
    if (p.clock === 0) {
      // mov ecx,6e0h; mov eax,500; wrmsr; sti; 1: jmp 1b
      realMode(p, [0x66, 0xb9, 0xe0, 0x06, 0, 0, 0x66, 0xb8, 0xf4, 0x01, 0, 0, 0x0f, 0x30, 0xfb, 0xeb, 0xfe]);
      ram(m).set([0x00, 0x80, 0, 0], 0x40 * 4);
      ram(m).set([0xfa, 0xf4], 0x8000);          // cli; hlt
      p.lapic.write(APIC_LVTT, APIC_LVT_TIMER_TSCDEADLINE | 0x40);
    }
    p.runBare();
    if (p.cpu.rip === 0x8002n) {
      taken.push(p.clock);
      p.halt();
    }
  });
  assert.equal(m.run(Number.POSITIVE_INFINITY), 'idle');
  assert.deepEqual(taken, [500 + m.costs.interruptDelivery + 2]);
});

test('a triple fault shuts bare silicon down', () => {
  let stop = '';
  const m = machineWith((p) => {
    realMode(p, [0x0f, 0x0b]);
    p.cpu.state.idtr_limit = 0;
    stop = p.runBare();
    m.powerOff(1);
  });
  m.run(1000);
  assert.equal(stop, 'shutdown');
});
