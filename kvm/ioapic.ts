/**
 * The I/O APIC inside KVM: 24 lines turned into messages to local APICs. Its registers are kvm_ioapic_state itself.
 *
 * Linux: arch/x86/kvm/ioapic.c
 *
 * Setting a line returns how many processors took the interrupt, 0 when it merged into one that waits, -1 when masked.
 */
import { EOPNOTSUPP } from '../abi/errno.ts';
import { kvm_ioapic_state } from '../abi/kvm/index.ts';
import { deliver_to_apics } from './irq-delivery.ts';
import type { kvm_io_device } from './io-bus.ts';
import type { kvm } from './kvm_host.ts';

export const IOAPIC_NUM_PINS = 24;
const DEFAULT_BASE = 0xfec0_0000;
const MASKED = 1n << 16n, LEVEL = 1n << 15n, REMOTE_IRR = 1n << 14n, DELIVERY_STATUS = 1n << 12n;

export class kvm_ioapic {
  readonly state = kvm_ioapic_state.make({ base_address: BigInt(DEFAULT_BASE) });
  private readonly vm: kvm;
  /** Told of the EOI of a pin: for level-triggered irqfds. */
  readonly ack_notifiers = new Set<(pin: number) => void>();

  constructor(vm: kvm) {
    this.vm = vm;
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) this.state.redirtbl.get(pin).bits = MASKED;
    vm.mmio_bus.register_dev(DEFAULT_BASE, 0x100, this.device);
  }

  set_irq(pin: number, level: boolean): number {
    const { state } = this;
    const mask = 1 << pin;
    if (!level) {
      state.irr &= ~mask;
      return 1;
    }
    const entry = state.redirtbl.get(pin).bits;
    const waits = (state.irr & mask) !== 0;
    state.irr |= mask;
    if ((entry & LEVEL) === 0n && waits) return 0;
    return this.service(pin);
  }

  private service(pin: number): number {
    const slot = this.state.redirtbl.get(pin);
    const entry = slot.bits;
    const level = (entry & LEVEL) !== 0n;
    if ((entry & MASKED) !== 0n || (level && (entry & REMOTE_IRR) !== 0n)) return -1;
    const taken = deliver_to_apics(this.vm, {
      vector: Number(entry & 0xffn), deliveryMode: Number((entry >> 8n) & 7n), logical: (entry & 0x800n) !== 0n, destination: Number(entry >> 56n), level, assert: true,
    });
    if (taken > 0 && level) slot.bits = entry | REMOTE_IRR;
    else if (!level) this.state.irr &= ~(1 << pin);
    return taken;
  }

  /** A local APIC ended this vector. */
  eoi(vector: number): void {
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
      const slot = this.state.redirtbl.get(pin);
      if (Number(slot.bits & 0xffn) !== vector) continue;
      for (const told of this.ack_notifiers) told(pin);
      if ((slot.bits & LEVEL) === 0n) continue;
      slot.bits &= ~REMOTE_IRR;
      if ((slot.bits & MASKED) === 0n && (this.state.irr & (1 << pin)) !== 0) this.service(pin);
    }
  }

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
    if (index & 1) slot.bits = (old & 0xffff_ffffn) | (BigInt(value >>> 0) << 32n);
    else {
      const kept = REMOTE_IRR | DELIVERY_STATUS;
      slot.bits = (old & ~0xffff_ffffn) | (BigInt(value >>> 0) & ~kept & 0x1_ffffn) | (old & kept);
      if ((slot.bits & LEVEL) === 0n) slot.bits &= ~REMOTE_IRR;
    }
    if ((slot.bits & LEVEL) !== 0n && (this.state.irr & (1 << pin)) !== 0) this.service(pin);
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
}
