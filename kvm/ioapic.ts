/**
 * The I/O APIC inside KVM: 24 lines turned into messages to local APICs. Its registers are kvm_ioapic_state itself.
 *
 * Linux: arch/x86/kvm/ioapic.c
 *
 * Setting a line returns how many processors took the interrupt, 0 when it merged into one that waits, -1 when masked.
 * The polarity of a pin is ignored: a line is up or down, however a board would wire it.
 */
import { EOPNOTSUPP } from '../abi/errno.ts';
import { kvm_ioapic_state } from '../abi/kvm/index.ts';
import { windowOf } from '../abi/struct.ts';
import { get_tsc, hrtimer, ns_to_cycles } from '../kernel/exports.ts';
import { deliver_to_apics, irq_line_state, kvm_fire_mask_notifiers, kvm_irq_has_notifier, kvm_notify_acked_irq, kvm_scan_ioapic } from './irq-delivery.ts';
import type { kvm_io_device } from './io-bus.ts';
import type { kvm } from './kvm_host.ts';
import type { kvm_lapic } from './lapic.ts';
import { kvm_ioapic_set_irq } from './trace-irq.ts';

export const IOAPIC_NUM_PINS = 24;
const DEFAULT_BASE = 0xfec0_0000;
const MASKED = 1n << 16n, LEVEL = 1n << 15n, REMOTE_IRR = 1n << 14n, DELIVERY_STATUS = 1n << 12n, LOGICAL = 1n << 11n;
/** A level that is up again after so many ends in a row is a storm: the next waits 10 ms. */
const IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT = 10_000;
const STORM_DELAY_NS = 10_000_000;

export class kvm_ioapic {
  readonly state = kvm_ioapic_state.make({ base_address: BigInt(DEFAULT_BASE) });
  private readonly vm: kvm;
  /** Edges that were sent on: they show in IRR as long as the line is up, and are not pending any more. */
  private delivered = 0;
  private readonly irq_states = new Uint8Array(IOAPIC_NUM_PINS);
  private readonly irq_eoi = new Uint32Array(IOAPIC_NUM_PINS);
  private readonly storm = new hrtimer(() => { this.inject_stormy(); });

  constructor(vm: kvm) {
    this.vm = vm;
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) this.state.redirtbl.get(pin).bits = MASKED;
    vm.mmio_bus.register_dev(DEFAULT_BASE, 0x100, this.device);
  }
  destroy(): void { this.storm.cancel(); }

  set_irq(pin: number, source: number, level: boolean): number {
    return this.set_level(pin, irq_line_state(this.irq_states, pin, source, level));
  }
  private set_level(pin: number, level: boolean): number {
    const { state } = this;
    const mask = 1 << pin;
    const entry = state.redirtbl.get(pin).bits;
    let ret = 1;
    if (!level) state.irr &= ~mask;
    else {
      const waits = (state.irr & mask) !== 0;
      state.irr |= mask;
      if ((entry & LEVEL) === 0n) this.delivered &= ~mask;
      ret = (entry & LEVEL) === 0n && waits ? 0 : this.service(pin);
    }
    if (kvm_ioapic_set_irq.enabled) kvm_ioapic_set_irq.trace({ e: entry, pin, coalesced: ret === 0 ? 1 : 0 });
    return ret;
  }

  private service(pin: number): number {
    const slot = this.state.redirtbl.get(pin);
    const entry = slot.bits;
    const level = (entry & LEVEL) !== 0n;
    if ((entry & MASKED) !== 0n || (level && (entry & REMOTE_IRR) !== 0n)) return -1;
    if (!level) this.delivered |= 1 << pin;
    const taken = deliver_to_apics(this.vm, {
      vector: Number(entry & 0xffn), deliveryMode: Number((entry >> 8n) & 7n), logical: (entry & LOGICAL) !== 0n, destination: Number(entry >> 56n), level, assert: true,
    });
    if (taken !== 0 && level) slot.bits = entry | REMOTE_IRR;
    return taken;
  }

  /** A local APIC ended this vector. */
  eoi(apic: kvm_lapic, vector: number, level: boolean): void {
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
      const slot = this.state.redirtbl.get(pin);
      if (Number(slot.bits & 0xffn) !== vector) continue;
      kvm_notify_acked_irq(this.vm, 'ioapic', pin);
      if (!level || apic.directed_eoi || (slot.bits & LEVEL) === 0n) continue;
      slot.bits &= ~REMOTE_IRR;
      if ((slot.bits & MASKED) !== 0n || (this.state.irr & (1 << pin)) === 0) this.irq_eoi[pin] = 0;
      else if (++this.irq_eoi[pin]! === IOAPIC_SUCCESSIVE_IRQ_MAX_COUNT) {
        this.irq_eoi[pin] = 0;
        if (!this.storm.active) this.storm.start(get_tsc() + Math.ceil(ns_to_cycles(STORM_DELAY_NS)));
      } else this.service(pin);
    }
  }
  private inject_stormy(): void {
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
      const { bits } = this.state.redirtbl.get(pin);
      if ((bits & LEVEL) !== 0n && (this.state.irr & (1 << pin)) !== 0 && (bits & REMOTE_IRR) === 0n) this.service(pin);
    }
  }

  /** Marks the vectors whose ends matter here. */
  scan(handled: Uint8Array): void {
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
      const { bits } = this.state.redirtbl.get(pin);
      if ((bits & LEVEL) !== 0n || kvm_irq_has_notifier(this.vm, 'ioapic', pin)) handled[Number(bits & 0xffn)] = 1;
    }
  }

  // -------------------------------------------------------------- registers

  private read_register(): number {
    const index = this.state.ioregsel;
    if (index === 0 || index === 2) return (this.state.id & 0xf) << 24;
    if (index === 1) return ((IOAPIC_NUM_PINS - 1) << 16) | 0x11;
    const pin = (index - 0x10) >> 1;
    if (pin < 0 || pin >= IOAPIC_NUM_PINS) return -1;
    const { bits } = this.state.redirtbl.get(pin);
    return Number((index & 1 ? bits >> 32n : bits) & 0xffff_ffffn);
  }

  private write_register(value: number): void {
    const index = this.state.ioregsel;
    if (index === 0) this.state.id = (value >>> 24) & 0xf;
    const pin = (index - 0x10) >> 1;
    if (index < 0x10 || pin >= IOAPIC_NUM_PINS) return;
    const slot = this.state.redirtbl.get(pin);
    const old = slot.bits;
    const kept = REMOTE_IRR | DELIVERY_STATUS;
    let bits = index & 1 ? (old & 0xffff_ffffn) | (BigInt(value >>> 0) << 32n) : (old & ~0xffff_ffffn) | (BigInt(value >>> 0) & ~kept) | (old & kept);
    // A pin made edge-triggered forgets what it waited for: operating systems end a lost interrupt that way.
    if ((bits & LEVEL) === 0n) bits &= ~REMOTE_IRR;
    slot.bits = bits;
    if (((bits ^ old) & MASKED) !== 0n) kvm_fire_mask_notifiers(this.vm, 'ioapic', pin, (bits & MASKED) !== 0n);
    if ((bits & (LEVEL | MASKED | REMOTE_IRR)) === LEVEL && (this.state.irr & (1 << pin)) !== 0) {
      // The line may have gone down while it was masked. A device behind an irqfd is asked, and raises it again if not.
      if (kvm_irq_has_notifier(this.vm, 'ioapic', pin)) kvm_notify_acked_irq(this.vm, 'ioapic', pin);
      else this.service(pin);
    }
    kvm_scan_ioapic(this.vm);
  }

  private readonly device: kvm_io_device = {
    read: (_vcpu, addr, len, data) => {
      const offset = addr - DEFAULT_BASE;
      if (![1, 2, 4, 8].includes(len) || (addr & (len - 1)) !== 0) return -EOPNOTSUPP;
      const value = (offset & 0xf0) === 0 ? this.state.ioregsel : (offset & 0xf0) === 0x10 ? this.read_register() : 0;
      for (let i = 0; i < len; i++) data[i] = i < 4 ? value >>> (8 * i) : 0;
      return 0;
    },
    write: (_vcpu, addr, len, data) => {
      const offset = (addr - DEFAULT_BASE) & 0xf0;
      let value = 0;
      for (let i = Math.min(len, 4) - 1; i >= 0; i--) value = (value * 256 + data[i]!) >>> 0;
      if (offset === 0) this.state.ioregsel = value & 0xff;
      else if (offset === 0x10) this.write_register(value);
      return 0;
    },
  };

  // -------------------------------------------------------------- KVM_GET_IRQCHIP, KVM_SET_IRQCHIP

  get_state(to: Uint8Array): void {
    const { irr } = this.state;
    this.state.irr = irr & ~this.delivered;
    to.set(windowOf(this.state));
    this.state.irr = irr;
  }
  /** What is pending in the new state is delivered. */
  set_state(from: Uint8Array): void {
    windowOf(this.state).set(from);
    const { irr } = this.state;
    this.state.irr = this.delivered = 0;
    kvm_scan_ioapic(this.vm);
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) if ((irr & (1 << pin)) !== 0) this.set_level(pin, true);
  }
}
