/**
 * The pair of 8259 interrupt controllers inside KVM. Their registers are kvm_pic_state itself, so that saving them is a copy.
 *
 * Linux: arch/x86/kvm/i8259.c
 *
 * It differs from the silicon in one thing guests rely on: a request of an edge stays when its line falls. What setting a
 * line returns tells user space whether the interrupt was new (1), merged into one that waits (0), or masked (-1).
 */
import { EOPNOTSUPP } from '../abi/errno.ts';
import { kvm_pic_state } from '../abi/kvm/index.ts';
import type { kvm_io_device } from './io-bus.ts';
import { KVM_REQ_EVENT, type kvm, kvm_make_request } from './kvm_host.ts';
import { kvm_vcpu_kick } from './block.ts';
import { irq_line_state, kvm_fire_mask_notifiers, kvm_notify_acked_irq } from './irq-delivery.ts';
import { kvm_pic_set_irq } from './trace-irq.ts';
import { kvm_apic_accept_pic_intr } from './lapic.ts';

const CASCADE = 2;

export class kvm_pic {
  readonly pics: readonly [kvm_pic_state, kvm_pic_state];
  /** The INTR line to the processors. */
  output = false;
  private readonly vm: kvm;
  private readonly irq_states = new Uint8Array(16);

  constructor(vm: kvm) {
    this.vm = vm;
    this.pics = [kvm_pic_state.make({ elcr_mask: 0xf8 }), kvm_pic_state.make({ elcr_mask: 0xde })];
    const port = (first: number, count: number): void => vm.pio_bus.register_dev(first, count, this.device);
    port(0x20, 2);
    port(0xa0, 2);
    port(0x4d0, 2);
  }

  /** Sets what one source makes of one of 16 lines: 1, 0 or -1. */
  set_irq(irq: number, source: number, asserted: boolean): number {
    const level = irq_line_state(this.irq_states, irq, source, asserted);
    const s = this.pics[irq >> 3]!;
    const mask = 1 << (irq & 7);
    let ret = 1;
    if ((s.elcr & mask) !== 0) {
      if (level) {
        ret = (s.irr & mask) === 0 ? 1 : 0;
        s.irr |= mask;
        s.last_irr |= mask;
      } else {
        s.irr &= ~mask;
        s.last_irr &= ~mask;
      }
    } else if (level) {
      if ((s.last_irr & mask) === 0) {
        ret = (s.irr & mask) === 0 ? 1 : 0;
        s.irr |= mask;
      }
      s.last_irr |= mask;
    } else s.last_irr &= ~mask;
    this.update();
    if ((s.imr & mask) !== 0) ret = -1;
    if (kvm_pic_set_irq.enabled) kvm_pic_set_irq.trace({ chip: irq >> 3, pin: irq & 7, elcr: s.elcr, imr: s.imr, coalesced: ret === 0 ? 1 : 0 });
    return ret;
  }

  /** Rank of the most urgent pin in the set, 8 when it is empty. */
  private static priority(s: kvm_pic_state, set: number): number {
    if (set === 0) return 8;
    let rank = 0;
    while ((set & (1 << ((rank + s.priority_add) & 7))) === 0) rank++;
    return rank;
  }

  /** The pin that asks to be served, -1 none. */
  private pending(which: 0 | 1): number {
    const s = this.pics[which];
    const rank = kvm_pic.priority(s, s.irr & ~s.imr);
    if (rank === 8) return -1;
    let serving = s.isr;
    // Fully nested on the slave: its own requests may interrupt what it serves.
    if (s.special_fully_nested_mode !== 0 && which === 0) serving &= ~(1 << CASCADE);
    return rank < kvm_pic.priority(s, serving) ? (rank + s.priority_add) & 7 : -1;
  }

  private update(): void {
    if (this.pending(1) >= 0) {
      // An edge for each request of the slave.
      for (const level of [true, false]) this.cascade(level);
    }
    const output = this.pending(0) >= 0;
    if (output && !this.output) this.wake();
    this.output = output;
  }
  private cascade(level: boolean): void {
    const s = this.pics[0];
    const mask = 1 << CASCADE;
    if (level && (s.last_irr & mask) === 0) s.irr |= mask;
    s.last_irr = level ? s.last_irr | mask : s.last_irr & ~mask;
  }
  private wake(): void {
    const vcpu = this.vm.vcpus.find(kvm_apic_accept_pic_intr);
    if (vcpu === undefined) return;
    kvm_make_request(KVM_REQ_EVENT, vcpu);
    kvm_vcpu_kick(vcpu);
  }

  private acknowledge(which: 0 | 1, pin: number): void {
    const s = this.pics[which];
    s.isr |= 1 << pin;
    if ((s.elcr & (1 << pin)) === 0) s.irr &= ~(1 << pin);
    if (s.auto_eoi !== 0) {
      if (s.rotate_on_auto_eoi !== 0) s.priority_add = (pin + 1) & 7;
      this.clear_isr(which, pin);
    }
  }
  /** An interrupt is over, for whoever waits for that. */
  private clear_isr(which: 0 | 1, pin: number): void {
    this.pics[which].isr &= ~(1 << pin);
    kvm_notify_acked_irq(this.vm, 'pic', pin + 8 * which);
  }

  /** INTA: the vector. */
  read_irq(): number {
    this.output = false;
    const pin = this.pending(0);
    let vector = this.pics[0].irq_base + (pin < 0 ? 7 : pin);
    if (pin >= 0) {
      this.acknowledge(0, pin);
      if (pin === CASCADE) {
        const second = this.pending(1);
        if (second >= 0) this.acknowledge(1, second);
        vector = this.pics[1].irq_base + (second < 0 ? 7 : second);
      }
    }
    this.update();
    return vector;
  }

  // -------------------------------------------------------------- registers

  private write(which: 0 | 1, offset: number, value: number): void {
    const s = this.pics[which];
    if (offset === 0) {
      if ((value & 0x10) !== 0) this.initialize(which, value);
      else if ((value & 0x08) !== 0) {
        if ((value & 0x04) !== 0) s.poll = 1;
        if ((value & 0x02) !== 0) s.read_reg_select = value & 1;
        if ((value & 0x40) !== 0) s.special_mask = (value >> 5) & 1;
      } else this.operate(which, value);
    } else switch (s.init_state) {
      case 0: {
        const changed = s.imr ^ value;
        s.imr = value;
        for (let pin = 0; pin < 8; pin++) if ((changed & (1 << pin)) !== 0) kvm_fire_mask_notifiers(this.vm, 'pic', pin + 8 * which, (value & (1 << pin)) !== 0);
        break;
      }
      case 1: s.irq_base = value & 0xf8; s.init_state = 2; break;
      case 2: s.init_state = s.init4 !== 0 ? 3 : 0; break;
      default:
        s.special_fully_nested_mode = (value >> 4) & 1;
        s.auto_eoi = (value >> 1) & 1;
        s.init_state = 0;
    }
    this.update();
  }

  private initialize(which: 0 | 1, value: number): void {
    const s = this.pics[which];
    const edges = s.irr & ~s.elcr;
    s.init4 = value & 1;
    s.last_irr = 0;
    s.irr &= s.elcr;
    s.imr = 0;
    s.priority_add = 0;
    s.special_mask = 0;
    s.read_reg_select = 0;
    if (s.init4 === 0) {
      s.special_fully_nested_mode = 0;
      s.auto_eoi = 0;
    }
    s.isr = 0;
    s.init_state = 1;
    // Requests that are forgotten here count as served, so that their devices go on.
    if (!this.vm.vcpus.some(kvm_apic_accept_pic_intr)) return;
    for (let pin = 0; pin < 8; pin++) if ((edges & (1 << pin)) !== 0) this.clear_isr(which, pin);
  }

  private operate(which: 0 | 1, value: number): void {
    const s = this.pics[which];
    const command = value >> 5;
    const pin = value & 7;
    switch (command) {
      case 0: case 4: s.rotate_on_auto_eoi = command >> 2; break;
      case 1: case 5: {
        const rank = kvm_pic.priority(s, s.isr);
        if (rank === 8) break;
        const served = (rank + s.priority_add) & 7;
        if (command === 5) s.priority_add = (served + 1) & 7;
        this.clear_isr(which, served);
        break;
      }
      case 3: this.clear_isr(which, pin); break;
      case 6: s.priority_add = (pin + 1) & 7; break;
      case 7: s.priority_add = (pin + 1) & 7; this.clear_isr(which, pin); break;
    }
  }

  private read(which: 0 | 1, offset: number): number {
    const s = this.pics[which];
    if (s.poll !== 0) {
      s.poll = 0;
      const pin = this.pending(which);
      if (pin < 0) return 7;
      this.acknowledge(which, pin);
      this.update();
      return pin | 0x80;
    }
    if (offset !== 0) return s.imr;
    return s.read_reg_select !== 0 ? s.isr : s.irr;
  }

  private readonly device: kvm_io_device = {
    write: (_vcpu, port, len, data) => {
      if (len !== 1) return 0;
      if (port >= 0x4d0) {
        const s = this.pics[port === 0x4d0 ? 0 : 1];
        s.elcr = data[0]! & s.elcr_mask;
      } else this.write(port >= 0xa0 ? 1 : 0, port & 1, data[0]!);
      return 0;
    },
    read: (_vcpu, port, len, data) => {
      if (len !== 1) return -EOPNOTSUPP;
      data[0] = port >= 0x4d0 ? this.pics[port === 0x4d0 ? 0 : 1].elcr : this.read(port >= 0xa0 ? 1 : 0, port & 1);
      return 0;
    },
  };

  /** After user space stored the registers. */
  restored(): void { this.update(); }
}
