/**
 * The interval timer inside KVM: three counters, the first of which raises line 0.
 *
 * Linux: arch/x86/kvm/i8254.c
 *
 * Nothing counts: a counter knows when it was loaded. Only counter 0 sets a timer. With reinjection, a tick that finds the
 * last one not yet acknowledged waits for that, so that a guest that counts ticks misses none; without, the two merge.
 */
import { EOPNOTSUPP } from '../abi/errno.ts';
import { KVM_PIT_FLAGS_HPET_LEGACY, kvm_pit_state2 } from '../abi/kvm/index.ts';
import { windowOf } from '../abi/struct.ts';
import { hrtimer, get_tsc, ktime_get, ns_to_cycles } from '../kernel/exports.ts';
import type { kvm_io_device } from './io-bus.ts';
import { type kvm_irq_ack_notifier, type kvm_irq_mask_notifier, kvm_register_irq_ack_notifier, kvm_unregister_irq_ack_notifier } from './irq-delivery.ts';
import type { kvm } from './kvm_host.ts';

const FREQUENCY = 1_193_182n;
const NSEC = 1_000_000_000n;
/** Of a counter nobody programmed. */
const NO_MODE = 0xff;
const MSB = 2, WORD0 = 3, WORD1 = 4;
/** Periods shorter than this are made this long: 200 µs. */
const MIN_PERIOD = 200_000n;

type channel = ReturnType<kvm_pit_state2['channels']['get']>;

export class kvm_pit {
  readonly state = kvm_pit_state2.make();
  private readonly set_irq: (level: boolean) => void;
  private readonly timer: hrtimer;
  private period = 0n;
  private readonly vm: kvm;
  private reinject = false;
  /** Ticks not yet given to the guest, and whether it has acknowledged the last. */
  private pending = 0;
  private irq_ack = true;
  private readonly acked: kvm_irq_ack_notifier = { gsi: 0, irq_acked: () => {
    this.irq_ack = true;
    if (this.pending > 0 && --this.pending > 0) this.deliver();
  } };
  private readonly unmasked: kvm_irq_mask_notifier = { gsi: 0, func: (masked) => { if (!masked) this.reset_reinject(); } };

  constructor(vm: kvm, speaker: boolean, set_irq: (level: boolean) => void) {
    this.set_irq = set_irq;
    this.vm = vm;
    this.timer = new hrtimer(() => { this.tick(); });
    for (let i = 0; i < 3; i++) {
      const c = this.state.channels.get(i);
      c.mode = NO_MODE;
      c.gate = i === 2 ? 0 : 1;
      this.load(i, 0);
    }
    vm.pio_bus.register_dev(0x40, 4, this.device);
    if (speaker) vm.pio_bus.register_dev(0x61, 1, this.speaker);
  }
  destroy(): void { this.timer.cancel(); }

  private reset_reinject(): void {
    this.pending = 0;
    this.irq_ack = true;
  }
  /** KVM_REINJECT_CONTROL. */
  set_reinject(on: boolean): void {
    if (on === this.reinject) return;
    this.reinject = on;
    const { mask_notifiers } = this.vm.arch.irqchip!;
    if (on) {
      this.reset_reinject();
      kvm_register_irq_ack_notifier(this.vm, this.acked);
      mask_notifiers.add(this.unmasked);
    } else {
      kvm_unregister_irq_ack_notifier(this.vm, this.acked);
      mask_notifiers.delete(this.unmasked);
    }
  }
  private deliver(): void {
    if (this.reinject && !this.irq_ack) return;
    this.irq_ack = false;
    this.set_irq(true);
    this.set_irq(false);
  }

  private channel(i: number): channel { return this.state.channels.get(i); }
  /** Since the counter was loaded; one that was never given a mode stands still. */
  private ticks(c: channel): bigint { return c.mode === NO_MODE ? 0n : ((BigInt(ktime_get()) - c.count_load_time) * FREQUENCY) / NSEC; }

  private load(i: number, value: number): void {
    const c = this.channel(i);
    c.count = value === 0 ? 0x10000 : value;
    c.count_load_time = BigInt(ktime_get());
    if (i === 0) this.start();
  }

  /** Modes 0, 1 and 4 fire once, 2 and 3 again and again. */
  private start(): void {
    const c = this.channel(0);
    this.timer.cancel();
    // A HPET in its place drives line 0.
    if (c.mode > 4 || (this.state.flags & KVM_PIT_FLAGS_HPET_LEGACY) !== 0) return;
    const wait = (BigInt(c.count) * NSEC) / FREQUENCY;
    this.period = c.mode === 2 || c.mode === 3 ? (wait < MIN_PERIOD ? MIN_PERIOD : wait) : 0n;
    this.timer.start(get_tsc() + Number(ns_to_cycles(Number(wait))));
  }
  private tick(): void {
    if (this.reinject) this.pending++;
    this.deliver();
    if (this.period !== 0n) this.timer.start(this.timer.expires + Number(ns_to_cycles(Number(this.period))));
  }

  private count(c: channel): number {
    const d = this.ticks(c);
    const n = BigInt(c.count);
    switch (c.mode) {
      case 0: case 1: case 4: case 5: return Number((n - d) & 0xffffn);
      case 3: return Number(n - ((2n * d) % n)) & 0xffff;
      default: return Number(n - (d % n)) & 0xffff;
    }
  }
  private output(c: channel): number {
    const d = this.ticks(c);
    const n = BigInt(c.count);
    switch (c.mode) {
      case 1: return d < n ? 1 : 0;
      case 2: return d % n === 0n && d !== 0n ? 1 : 0;
      case 3: return d % n < (n + 1n) / 2n ? 1 : 0;
      case 4: case 5: return d === n ? 1 : 0;
      default: return d >= n ? 1 : 0;
    }
  }

  // -------------------------------------------------------------- ports

  private latch_count(c: channel): void {
    if (c.count_latched !== 0) return;
    c.latched_count = this.count(c);
    c.count_latched = c.rw_mode;
  }
  private latch_status(c: channel): void {
    if (c.status_latched !== 0) return;
    c.status = (this.output(c) << 7) | (c.rw_mode << 4) | (c.mode << 1) | c.bcd;
    c.status_latched = 1;
  }

  private control(value: number): void {
    const which = value >> 6;
    if (which === 3) {
      for (let i = 0; i < 3; i++) {
        if ((value & (2 << i)) === 0) continue;
        if ((value & 0x20) === 0) this.latch_count(this.channel(i));
        if ((value & 0x10) === 0) this.latch_status(this.channel(i));
      }
      return;
    }
    const c = this.channel(which);
    const access = (value >> 4) & 3;
    if (access === 0) return this.latch_count(c);
    c.rw_mode = access;
    c.read_state = c.write_state = access;
    c.mode = (value >> 1) & 7;
    if (c.mode > 5) c.mode -= 4;
    c.bcd = value & 1;
  }

  private write(i: number, value: number): void {
    const c = this.channel(i);
    switch (c.write_state) {
      case MSB: this.load(i, value << 8); break;
      case WORD0:
        c.write_latch = value;
        c.write_state = WORD1;
        break;
      case WORD1:
        this.load(i, c.write_latch | (value << 8));
        c.write_state = WORD0;
        break;
      default: this.load(i, value);
    }
  }

  private read(i: number): number {
    const c = this.channel(i);
    if (c.status_latched !== 0) {
      c.status_latched = 0;
      return c.status;
    }
    if (c.count_latched !== 0) {
      switch (c.count_latched) {
        case MSB: c.count_latched = 0; return c.latched_count >> 8;
        case WORD0: c.count_latched = MSB; return c.latched_count & 0xff;
        default: c.count_latched = 0; return c.latched_count & 0xff;
      }
    }
    switch (c.read_state) {
      case MSB: return (this.count(c) >> 8) & 0xff;
      case WORD0: c.read_state = WORD1; return this.count(c) & 0xff;
      case WORD1: c.read_state = WORD0; return (this.count(c) >> 8) & 0xff;
      default: return this.count(c) & 0xff;
    }
  }

  private readonly device: kvm_io_device = {
    write: (_vcpu, port, _len, data) => {
      if ((port & 3) === 3) this.control(data[0]!);
      else this.write(port & 3, data[0]!);
      return 0;
    },
    read: (_vcpu, port, len, data) => {
      if ((port & 3) === 3) return -EOPNOTSUPP;
      data.fill(0, 0, len);
      data[0] = this.read(port & 3);
      return 0;
    },
  };
  /** Port 61: gate of counter 2, speaker, its output, the refresh bit. */
  private readonly speaker: kvm_io_device = {
    write: (_vcpu, _port, _len, data) => {
      this.channel(2).gate = data[0]! & 1;
      this.state.flags = data[0]! & 2 ? this.state.flags | 2 : this.state.flags & ~2;
      return 0;
    },
    read: (_vcpu, _port, _len, data) => {
      const c = this.channel(2);
      const refresh = Number((BigInt(ktime_get()) >> 14n) & 1n);
      data[0] = c.gate | (this.state.flags & 2) | (this.output(c) << 5) | (refresh << 4);
      return 0;
    },
  };

  // -------------------------------------------------------------- KVM_GET_PIT2, KVM_SET_PIT2

  get_state(to: Parameters<typeof windowOf>[0]): number {
    const bytes = windowOf(to);
    bytes.set(windowOf(this.state).subarray(0, bytes.length));
    return 0;
  }
  set_state(from: Parameters<typeof windowOf>[0]): number {
    windowOf(this.state).set(windowOf(from));
    for (let i = 0; i < 3; i++) this.load(i, this.channel(i).count & 0xffff);
    return 0;
  }
}
