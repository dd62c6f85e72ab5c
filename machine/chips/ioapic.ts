/**
 * The I/O APIC (82093AA, with the EOI register of version 0x20): 24 pins, each with a redirection entry that turns
 * its line into a message to local APICs. A level-triggered pin sends once and waits for the EOI (remote IRR); if the
 * line is still up then, it sends again.
 */
import { APIC_DM_FIXED, APIC_DM_LOWEST } from './apic-registers.ts';
import type { ApicMessage } from './apic-bus.ts';

export const IOAPIC_DEFAULT_BASE = 0xfec0_0000;
export const IOAPIC_NUM_PINS = 24;

/** Offsets in the MMIO window. */
export const IOAPIC_REG_SELECT = 0x00;
export const IOAPIC_REG_WINDOW = 0x10;
export const IOAPIC_REG_EOI = 0x40;

/** Indirect registers. */
export const IOAPIC_REG_ID = 0x00;
export const IOAPIC_REG_VERSION = 0x01;
export const IOAPIC_REG_ARB_ID = 0x02;
export const IOAPIC_REG_TABLE = 0x10;

const VERSION = 0x20;
/** Low half of a redirection entry. */
export const IOAPIC_LOGICAL = 1 << 11;
export const IOAPIC_REMOTE_IRR = 1 << 14;
export const IOAPIC_LEVEL = 1 << 15;
export const IOAPIC_MASKED = 1 << 16;
const READ_ONLY = (1 << 12) | IOAPIC_REMOTE_IRR;
const LOW_BITS = 0x1_ffff;

export class IoApic {
  /** Redirection entries: low half at 2n, high half at 2n+1. */
  readonly table = new Uint32Array(IOAPIC_NUM_PINS * 2);
  id = 0;
  private select = 0;
  /** Line levels; an edge is found against the level before. One that comes while its pin is masked is lost. */
  private levels = 0;
  private readonly deliver: (message: ApicMessage) => boolean;

  constructor(deliver: (message: ApicMessage) => boolean) {
    this.deliver = deliver;
    this.reset();
  }

  reset(): void {
    this.id = 0;
    this.select = 0;
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
      this.table[2 * pin] = IOAPIC_MASKED;
      this.table[2 * pin + 1] = 0;
    }
  }

  /** Sets the level of a pin's line. Pins outside 0..23 do not exist and change nothing. */
  setIrq(pin: number, level: boolean): void {
    if (!(pin >= 0 && pin < IOAPIC_NUM_PINS)) return;
    const bit = 1 << pin;
    const rose = level && (this.levels & bit) === 0;
    this.levels = level ? this.levels | bit : this.levels & ~bit;
    if (!level) return;
    if ((this.table[2 * pin]! & IOAPIC_LEVEL) !== 0) this.serviceLevel(pin);
    else if (rose) this.send(pin);
  }

  /** EOI of a vector, from a local APIC's broadcast or the EOI register. */
  eoi(vector: number): void {
    for (let pin = 0; pin < IOAPIC_NUM_PINS; pin++) {
      const low = this.table[2 * pin]!;
      if ((low & 0xff) !== vector || (low & IOAPIC_LEVEL) === 0) continue;
      this.table[2 * pin] = low & ~IOAPIC_REMOTE_IRR;
      this.serviceLevel(pin);
    }
  }

  read(offset: number): number {
    if (offset === IOAPIC_REG_SELECT) return this.select;
    return offset === IOAPIC_REG_WINDOW ? this.readRegister(this.select) : 0;
  }

  write(offset: number, value: number): void {
    if (offset === IOAPIC_REG_SELECT) this.select = value & 0xff;
    else if (offset === IOAPIC_REG_WINDOW) this.writeRegister(this.select, value);
    else if (offset === IOAPIC_REG_EOI) this.eoi(value & 0xff);
  }

  readRegister(index: number): number {
    switch (index) {
      case IOAPIC_REG_ID:
      case IOAPIC_REG_ARB_ID: return (this.id << 24) >>> 0;
      case IOAPIC_REG_VERSION: return ((IOAPIC_NUM_PINS - 1) << 16) | VERSION;
      default: return this.table[index - IOAPIC_REG_TABLE] ?? 0;
    }
  }

  writeRegister(index: number, value: number): void {
    if (index === IOAPIC_REG_ID) {
      this.id = (value >>> 24) & 0xf;
      return;
    }
    const half = index - IOAPIC_REG_TABLE;
    if (!(half >= 0 && half < this.table.length)) return;
    if ((half & 1) !== 0) {
      this.table[half] = value & 0xff00_0000;
      return;
    }
    const level = (value & IOAPIC_LEVEL) !== 0;
    let kept = (value & LOW_BITS & ~READ_ONLY) | (this.table[half]! & READ_ONLY);
    if (!level) kept &= ~IOAPIC_REMOTE_IRR;
    this.table[half] = kept;
    if (level) this.serviceLevel(half >> 1);
  }

  /** Routes a pin with one call, as a kernel's set-up does. */
  route(pin: number, vector: number, destination: number, options: { level?: boolean; logical?: boolean; masked?: boolean } = {}): void {
    this.writeRegister(IOAPIC_REG_TABLE + 2 * pin + 1, (destination << 24) >>> 0);
    this.writeRegister(IOAPIC_REG_TABLE + 2 * pin,
      vector | (options.level ? IOAPIC_LEVEL : 0) | (options.logical ? IOAPIC_LOGICAL : 0) | (options.masked ? IOAPIC_MASKED : 0));
  }

  private serviceLevel(pin: number): void {
    const low = this.table[2 * pin]!;
    if ((this.levels & (1 << pin)) === 0 || (low & (IOAPIC_REMOTE_IRR | IOAPIC_MASKED)) !== 0) return;
    this.send(pin);
  }

  private send(pin: number): void {
    const low = this.table[2 * pin]!;
    if ((low & IOAPIC_MASKED) !== 0) return;
    const deliveryMode = (low >> 8) & 7;
    const level = (low & IOAPIC_LEVEL) !== 0;
    if (level && (deliveryMode === APIC_DM_FIXED || deliveryMode === APIC_DM_LOWEST)) this.table[2 * pin] = low | IOAPIC_REMOTE_IRR;
    this.deliver({ vector: low & 0xff, deliveryMode, logical: (low & IOAPIC_LOGICAL) !== 0, destination: this.table[2 * pin + 1]! >>> 24, level, assert: true });
  }
}
