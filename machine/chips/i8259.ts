/**
 * The pair of 8259A interrupt controllers of a PC: the slave's output is the master's input 2, and each pin can be edge-
 * or level-triggered by ELCR. Intel 8259A data sheet (231468); ELCR from the 82371 (PIIX) data sheet.
 *
 * A request passes if no request of the same or a higher priority is in service. Priority rotates: `lowest` is the pin
 * with the lowest one, 7 at start.
 */
import type { Line } from './wires.ts';

export const PIC_MASTER_CMD = 0x20;
export const PIC_MASTER_IMR = 0x21;
export const PIC_SLAVE_CMD = 0xa0;
export const PIC_SLAVE_IMR = 0xa1;
export const PIC_ELCR1 = 0x4d0;
export const PIC_ELCR2 = 0x4d1;
/** The master's input that the slave is wired to. */
export const PIC_CASCADE_IR = 2;

const ICW1_INIT = 0x10;
const ICW1_SINGLE = 0x02;
const ICW1_ICW4 = 0x01;
const ICW4_AUTO_EOI = 0x02;
const ICW4_SPECIAL_FULLY_NESTED = 0x10;
const OCW3 = 0x08;
const OCW3_POLL = 0x04;
const OCW3_READ = 0x02;
const OCW3_READ_ISR = 0x01;
const OCW3_SPECIAL_MASK_SET = 0x40;
const OCW3_SPECIAL_MASK = 0x20;

/** One 8259A. */
export class I8259 {
  /** Interrupt request, mask and in-service registers. */
  irr = 0;
  imr = 0;
  isr = 0;
  /** Pin levels as last seen: an edge is found against them. */
  lines = 0;
  lowest = 7;
  vectorBase = 0;
  /** Edge/level control: 1 is level. */
  elcr = 0;
  readonly elcrMask: number;
  /** Position in the initialization sequence: 0 done, else the next ICW. */
  private icw = 0;
  private wantsIcw4 = false;
  private single = false;
  private autoEoi = false;
  private rotateOnAutoEoi = false;
  private specialMask = false;
  private specialFullyNested = false;
  private poll = false;
  private readIsr = false;
  /** Both chips look alike but for their cascade: the master has no slave of its own to ask here. */
  private readonly isMaster: boolean;
  private readonly changed: () => void;

  constructor(isMaster: boolean, elcrMask: number, changed: () => void) {
    this.isMaster = isMaster;
    this.elcrMask = elcrMask;
    this.changed = changed;
  }

  setLine(pin: number, level: boolean): void {
    const bit = 1 << pin;
    if ((this.elcr & bit) !== 0) {
      this.irr = level ? this.irr | bit : this.irr & ~bit;
    } else if (!level) {
      // The request of an edge is kept only as long as the line stays up.
      this.irr &= ~bit;
    } else if ((this.lines & bit) === 0) {
      this.irr |= bit;
    }
    this.lines = level ? this.lines | bit : this.lines & ~bit;
    this.changed();
  }

  /** Rank of the most urgent pin of a set, 0 the highest; 8 if the set is empty. */
  private rank(set: number): number {
    for (let rank = 0; rank < 8; rank++) if ((set & (1 << ((this.lowest + 1 + rank) & 7))) !== 0) return rank;
    return 8;
  }

  private pinOf(rank: number): number {
    return (this.lowest + 1 + rank) & 7;
  }

  /** Pin to be served next, -1 if none may interrupt now. */
  pendingPin(): number {
    const requested = this.rank(this.irr & ~this.imr);
    if (requested === 8) return -1;
    let inService = this.isr;
    if (this.specialMask) inService &= ~this.imr;
    // The slave may interrupt itself: its own in-service bit at the master must not stand in the way.
    if (this.specialFullyNested && this.isMaster) inService &= ~(1 << PIC_CASCADE_IR);
    return requested < this.rank(inService) ? this.pinOf(requested) : -1;
  }

  /** INTA: what the processor is told. Without a request it is pin 7, which is then not in service (spurious). */
  acknowledge(): number {
    const pin = this.pendingPin();
    if (pin >= 0) this.serve(pin);
    return pin >= 0 ? pin : 7;
  }

  private serve(pin: number): void {
    const bit = 1 << pin;
    if ((this.elcr & bit) === 0) this.irr &= ~bit;
    if (!this.autoEoi) this.isr |= bit;
    else if (this.rotateOnAutoEoi) this.lowest = pin;
    this.changed();
  }

  writeCommand(value: number): void {
    if ((value & ICW1_INIT) !== 0) this.initialize(value);
    else if ((value & OCW3) !== 0) this.operate3(value);
    else this.operate2(value);
    this.changed();
  }

  private initialize(icw1: number): void {
    this.imr = 0;
    this.isr = 0;
    // Edge sensing starts anew: only what rises from now on, or is level-triggered, is a request.
    this.irr &= this.elcr;
    this.lowest = 7;
    this.specialMask = false;
    this.specialFullyNested = false;
    this.autoEoi = false;
    this.rotateOnAutoEoi = false;
    this.readIsr = false;
    this.poll = false;
    this.wantsIcw4 = (icw1 & ICW1_ICW4) !== 0;
    this.single = (icw1 & ICW1_SINGLE) !== 0;
    this.icw = 2;
  }

  private operate2(value: number): void {
    const pin = value & 7;
    switch (value >> 5) {
      case 0: this.rotateOnAutoEoi = false; break;
      case 4: this.rotateOnAutoEoi = true; break;
      case 1: this.endOfInterrupt(this.highestInService(), false); break;
      case 5: this.endOfInterrupt(this.highestInService(), true); break;
      case 3: this.endOfInterrupt(pin, false); break;
      case 7: this.endOfInterrupt(pin, true); break;
      case 6: this.lowest = pin; break;
    }
  }

  /** In special mask mode a masked interrupt is not found by a non-specific EOI. */
  private highestInService(): number {
    const rank = this.rank(this.specialMask ? this.isr & ~this.imr : this.isr);
    return rank === 8 ? -1 : this.pinOf(rank);
  }

  private endOfInterrupt(pin: number, rotate: boolean): void {
    if (pin < 0) return;
    this.isr &= ~(1 << pin);
    if (rotate) this.lowest = pin;
  }

  private operate3(value: number): void {
    if ((value & OCW3_POLL) !== 0) this.poll = true;
    else if ((value & OCW3_READ) !== 0) this.readIsr = (value & OCW3_READ_ISR) !== 0;
    if ((value & OCW3_SPECIAL_MASK_SET) !== 0) this.specialMask = (value & OCW3_SPECIAL_MASK) !== 0;
  }

  writeData(value: number): void {
    switch (this.icw) {
      case 0: this.imr = value; break;
      case 2:
        this.vectorBase = value & 0xf8;
        this.icw = this.single ? (this.wantsIcw4 ? 4 : 0) : 3;
        break;
      case 3: this.icw = this.wantsIcw4 ? 4 : 0; break;
      case 4:
        this.specialFullyNested = (value & ICW4_SPECIAL_FULLY_NESTED) !== 0;
        this.autoEoi = (value & ICW4_AUTO_EOI) !== 0;
        this.icw = 0;
        break;
    }
    this.changed();
  }

  readCommand(): number {
    if (this.poll) return this.answerPoll();
    return this.readIsr ? this.isr : this.irr;
  }

  readData(): number {
    return this.poll ? this.answerPoll() : this.imr;
  }

  /** A poll is an acknowledge through a read: bit 7 says whether there was a request. */
  private answerPoll(): number {
    this.poll = false;
    const pin = this.pendingPin();
    if (pin < 0) return 0;
    this.serve(pin);
    return 0x80 | pin;
  }

  reset(): void {
    this.irr = 0;
    this.lines = 0;
    this.vectorBase = 0;
    this.elcr = 0;
    this.initialize(0);
    this.icw = 0;
    this.changed();
  }
}

/** Both chips on their ports, with one line to the processor. */
export class I8259Pair {
  readonly master: I8259;
  readonly slave: I8259;
  private readonly output: Line;
  private level = false;

  constructor(output: Line) {
    this.output = output;
    this.master = new I8259(true, 0xf8, () => this.update());
    this.slave = new I8259(false, 0xde, () => this.updateSlave());
  }

  /** Level of one of the 16 inputs; 2 is the cascade and belongs to the slave. */
  setIrq(irq: number, level: boolean): void {
    if (irq < 0 || irq > 15 || irq === PIC_CASCADE_IR) return;
    if (irq < 8) this.master.setLine(irq, level);
    else this.slave.setLine(irq - 8, level);
  }

  /** Whether the line to the processor is up. */
  get pending(): boolean {
    return this.level;
  }

  /** Both INTA cycles: the vector. */
  acknowledge(): number {
    const pin = this.master.acknowledge();
    if (pin !== PIC_CASCADE_IR || !this.slaveAsks()) return this.master.vectorBase + pin;
    const vector = this.slave.vectorBase + this.slave.acknowledge();
    this.updateSlave();
    return vector;
  }

  private slaveAsks(): boolean {
    return (this.master.lines & (1 << PIC_CASCADE_IR)) !== 0;
  }

  read(port: number): number {
    switch (port) {
      case PIC_MASTER_CMD: return this.master.readCommand();
      case PIC_MASTER_IMR: return this.master.readData();
      case PIC_SLAVE_CMD: return this.slave.readCommand();
      case PIC_SLAVE_IMR: return this.slave.readData();
      case PIC_ELCR1: return this.master.elcr;
      case PIC_ELCR2: return this.slave.elcr;
      default: return 0xff;
    }
  }

  write(port: number, value: number): void {
    value &= 0xff;
    switch (port) {
      case PIC_MASTER_CMD: this.master.writeCommand(value); break;
      case PIC_MASTER_IMR: this.master.writeData(value); break;
      case PIC_SLAVE_CMD: this.slave.writeCommand(value); break;
      case PIC_SLAVE_IMR: this.slave.writeData(value); break;
      case PIC_ELCR1: this.master.elcr = value & this.master.elcrMask; break;
      case PIC_ELCR2: this.slave.elcr = value & this.slave.elcrMask; break;
    }
  }

  reset(): void {
    this.slave.reset();
    this.master.reset();
  }

  private updateSlave(): void {
    const asks = this.slave.pendingPin() >= 0;
    // A further request of the slave is a new edge at the master.
    if (asks && this.slaveAsks()) this.master.setLine(PIC_CASCADE_IR, false);
    this.master.setLine(PIC_CASCADE_IR, asks);
  }

  private update(): void {
    const level = this.master.pendingPin() >= 0;
    if (level === this.level) return;
    this.level = level;
    this.output(level);
  }
}
