import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../abi/kvm/index.ts';
import type { Sys } from '../../abi/process.ts';
import { addressOf } from '../../abi/struct.ts';
import { ApicBus } from '../../machine/chips/apic-bus.ts';
import { I8254 } from '../../machine/chips/i8254.ts';
import { I8259Pair } from '../../machine/chips/i8259.ts';
import { IoApic } from '../../machine/chips/ioapic.ts';
import { LocalApic } from '../../machine/chips/lapic.ts';
import { loadBytes, storeBytes } from '../../userland/libc.ts';
import { Guest, gate, setMode } from '../golden/probe/guest.ts';
import { mk, word64 } from '../golden/probe/machine.ts';
import { make, notes, out, rawIoctl, rm } from './chips-program.ts';

const le32 = (v: number): number[] => [v & 0xff, (v >>> 8) & 0xff, (v >>> 16) & 0xff, v >>> 24];
/** MOV DWORD [at],value */
const store = (at: number, value: number): number[] => [0xc7, 0x05, ...le32(at), ...le32(value)];
/** STI; wait; CLI; CMP DWORD [at],n; JB back */
const until = (wait: readonly number[], at: number, n: number): number[] => [0xfb, ...wait, 0xfa, 0x83, 0x3d, ...le32(at), n, 0x72, 0x100 - 11 - wait.length];
/** With local APICs inside KVM a HLT does not come out to where the other chips are: the guest asks at a port instead. */
const HLT = [0xf4], ASK = [0xe6, 0x80];
const IOAPIC = 0xfec00000, LAPIC = 0xfee00000;
const ioapic = (index: number, value: number): number[] => [...store(IOAPIC, index), ...store(IOAPIC + 0x10, value)];
const TICKS = 5;
/** Ticks of the interval timer through the 8259, then through the I/O APIC, then of the local APIC's timer. */
const code = (wait: readonly number[]): number[] => [
  ...out(0x20, 0x11), ...out(0x21, 0x20), ...out(0x21, 4), ...out(0x21, 1), ...out(0x21, 0xfe), ...out(0x43, 0x34), ...out(0x40, 0xa9), ...out(0x40, 4), ...until(wait, 0x8000, TICKS),
  ...out(0x21, 0xff), ...store(LAPIC + 0xf0, 0x1ff), ...ioapic(0x11, 0), ...ioapic(0x10, 0x30), ...until(wait, 0x8004, TICKS),
  ...ioapic(0x10, 0x10030), ...store(LAPIC + 0x3e0, 0xb), ...store(LAPIC + 0x320, 0x20031), ...store(LAPIC + 0x380, 100_000), ...until(wait, 0x8008, TICKS),
  ...store(LAPIC + 0x320, 0x10031), ...out(0x10, 1),
];
const inc = (at: number): number[] => [0xff, 0x05, ...le32(at)];
const handlers: readonly (readonly [vector: number, code: readonly number[]])[] = [
  [0x20, [0x50, ...inc(0x8000), ...out(0x20, 0x20), 0x58, 0xcf]],
  [0x30, [...inc(0x8004), ...store(LAPIC + 0xb0, 0), 0xcf]],
  [0x31, [...inc(0x8008), ...store(LAPIC + 0xb0, 0), 0xcf]],
];

/** The chips a monitor has itself, on a clock that jumps to the next timer whenever the guest halts. */
class Board {
  private readonly queue: { time: number; fn: () => void }[] = [];
  private time = 0;
  readonly messages: { vector: number; data: number; address: number }[] = [];
  readonly pic = new I8259Pair(() => {});
  readonly ioapic: IoApic;
  readonly lapic: LocalApic | undefined;
  readonly pit = new I8254({
    now: () => this.time,
    at: (time: number, fn: () => void) => { const t = { time, fn }; this.queue.push(t); return t; },
    cancel: (t: { time: number }) => { const i = this.queue.indexOf(t as (typeof this.queue)[number]); if (i >= 0) this.queue.splice(i, 1); },
  }, 1e9, (level) => { this.pic.setIrq(0, level); this.ioapic.setIrq(0, level); });
  constructor(lapic: boolean) {
    const nothing = (): void => {};
    this.lapic = lapic ? new LocalApic(0, { now: () => this.time, deadlineChanged: nothing, pendingChanged: nothing, nmi: nothing, init: nothing, startup: nothing, extint: nothing }, new ApicBus()) : undefined;
    this.ioapic = new IoApic((m) => {
      if (this.lapic !== undefined) this.lapic.receive(m);
      else this.messages.push({ vector: m.vector, data: m.vector | (m.deliveryMode << 8), address: 0xfee00000 | (m.destination << 12) });
      return true;
    });
  }
  /** Time passes until something happens. */
  advance(): void {
    const next = this.queue.reduce<{ time: number; fn: () => void } | undefined>((a, b) => (a === undefined || b.time < a.time ? b : a), undefined);
    const deadline = this.lapic?.deadline ?? Number.POSITIVE_INFINITY;
    this.time = Math.min(next?.time ?? Number.POSITIVE_INFINITY, deadline);
    assert.ok(this.time !== Number.POSITIVE_INFINITY, 'the guest waits for nothing');
    if (this.time === deadline) this.lapic!.expire(this.time);
    else {
      this.queue.splice(this.queue.indexOf(next!), 1);
      next!.fn();
    }
  }
  get pending(): boolean { return this.pic.pending || (this.lapic?.pendingVector() ?? -1) >= 0; }
  acknowledge(): number { return (this.lapic?.pendingVector() ?? -1) >= 0 ? this.lapic!.acknowledge() : this.pic.acknowledge(); }
}

/** One exit's port or memory access, done on the board. */
function access(g: Guest, board: Board): void {
  const { run, runAt } = g.m;
  if (run.exit_reason === K.KVM_EXIT_IO) {
    const { port, direction } = run.io;
    const data = runAt + Number(run.io.data_offset);
    const chip = port >= 0x40 && port < 0x44 ? board.pit : board.pic;
    if (direction === K.KVM_EXIT_IO_OUT) chip.write(port, loadBytes(data, 1)[0]!);
    else storeBytes(data, Uint8Array.of(chip.read(port)));
    return;
  }
  const { phys_addr, is_write } = run.mmio;
  const at = Number(phys_addr), buffer = addressOf(run.mmio.data as never);
  const chip = at >= LAPIC ? board.lapic! : board.ioapic;
  if (is_write !== 0) chip.write(at & 0xfff, new DataView(loadBytes(buffer, 4).buffer).getUint32(0, true));
  else storeBytes(buffer, new Uint8Array(Uint32Array.of(chip.read(at & 0xfff)).buffer));
}

/** Runs the guest to its end with the chips KVM does not have, and returns how often each interrupt came. */
function* play(sys: number, parts: { irqchip?: boolean; pit?: boolean; split?: boolean }): Sys<number[]> {
  const m = yield* mk(sys, { mem: true, vcpu: true, cpuid: true, tss: true, ...parts });
  const g = new Guest(m, sys);
  yield* setMode(g, 'prot32');
  g.put(0x1000, Uint8Array.from(code(parts.split === true ? ASK : HLT)));
  handlers.forEach(([vector, body], i) => { gate(g, 'prot32', vector, 0x2000 + 0x100 * i); g.put(0x2000 + 0x100 * i, Uint8Array.from(body)); });
  yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: 0x1000n, rflags: 2n, rsp: 0x7000n }));
  const board = new Board(parts.split !== true);
  const outside = parts.irqchip !== true;
  for (let exits = 0; ; exits++) {
    assert.ok(exits < 5000, 'the guest comes to no end');
    if (outside) {
      for (const { data, address } of board.messages.splice(0)) yield* rawIoctl(m.vm, K.KVM_SIGNAL_MSI.nr, yield* make(K.kvm_msi, { address_lo: address, data }));
      if (board.pending && m.run.ready_for_interrupt_injection !== 0) yield* g.interrupt(board.acknowledge());
      m.run.request_interrupt_window = board.pending ? 1 : 0;
    }
    assert.equal(yield* rawIoctl(m.vcpu, K.KVM_RUN.nr, 0), 0);
    switch (m.run.exit_reason) {
      case K.KVM_EXIT_HLT: if (!board.pending) board.advance(); break;
      case K.KVM_EXIT_IRQ_WINDOW_OPEN: break;
      case K.KVM_EXIT_IO:
        if (m.run.io.port === 0x10) {
          const counts = [0x8000, 0x8004, 0x8008].map((at) => Number(word64(m.mem + at) & 0xffff_ffffn));
          yield* rm(m);
          return counts;
        }
        if (m.run.io.port !== 0x80) access(g, board);
        else if (!board.pending) board.advance();
        break;
      case K.KVM_EXIT_MMIO: access(g, board); break;
      default: assert.fail(`exit ${m.run.exit_reason}`);
    }
  }
}

for (const [name, parts] of [['inside KVM', { irqchip: true, pit: true }], ['in user space', {}], ['in user space but for the local APIC', { split: true }]] as const) {
  test(`a guest is interrupted by PIC, I/O APIC and the APIC's timer with the chips ${name}`, () => {
    notes(function* body(sys) { assert.deepEqual(yield* play(sys, parts), [TICKS, TICKS, TICKS]); });
  });
}
