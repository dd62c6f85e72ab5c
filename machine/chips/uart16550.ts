/**
 * The 16550A UART: registers, both FIFOs, modem lines and the interrupt. National Semiconductor PC16550D data sheet;
 * names as in Linux's <linux/serial_reg.h>.
 *
 * The wire is infinitely fast: a byte written is sent at once, so THR is always empty, and what the far side has to
 * say is taken as soon as there is room. The far side may be under hardware flow control: then it is asked for bytes
 * only while RTS is asserted. Its end of input shows as a lost carrier (DCD).
 */
import type { Line } from './wires.ts';

export const UART_RX = 0;
export const UART_TX = 0;
export const UART_DLL = 0;
export const UART_IER = 1;
export const UART_DLM = 1;
export const UART_IIR = 2;
export const UART_FCR = 2;
export const UART_LCR = 3;
export const UART_MCR = 4;
export const UART_LSR = 5;
export const UART_MSR = 6;
export const UART_SCR = 7;

export const UART_IER_RDI = 0x01;
export const UART_IER_THRI = 0x02;
export const UART_IER_RLSI = 0x04;
export const UART_IER_MSI = 0x08;

export const UART_IIR_NO_INT = 0x01;
export const UART_IIR_MSI = 0x00;
export const UART_IIR_THRI = 0x02;
export const UART_IIR_RDI = 0x04;
export const UART_IIR_RLSI = 0x06;
export const UART_IIR_RX_TIMEOUT = 0x0c;
export const UART_IIR_FIFO_ENABLED = 0xc0;

export const UART_FCR_ENABLE_FIFO = 0x01;
export const UART_FCR_CLEAR_RCVR = 0x02;
export const UART_FCR_CLEAR_XMIT = 0x04;

export const UART_LCR_DLAB = 0x80;

export const UART_MCR_DTR = 0x01;
export const UART_MCR_RTS = 0x02;
export const UART_MCR_OUT1 = 0x04;
export const UART_MCR_OUT2 = 0x08;
export const UART_MCR_LOOP = 0x10;

export const UART_LSR_DR = 0x01;
export const UART_LSR_OE = 0x02;
export const UART_LSR_BI = 0x10;
export const UART_LSR_THRE = 0x20;
export const UART_LSR_TEMT = 0x40;

export const UART_MSR_DCTS = 0x01;
export const UART_MSR_DDCD = 0x08;
export const UART_MSR_CTS = 0x10;
export const UART_MSR_DSR = 0x20;
export const UART_MSR_RI = 0x40;
export const UART_MSR_DCD = 0x80;

const FIFO_SIZE = 16;
const TRIGGER_LEVELS = [1, 4, 8, 14];

/** The far side of the cable. */
export interface SerialPort {
  /** Asked only while RTS is asserted. Otherwise the far side sends whenever the UART has room. */
  readonly flowControl: boolean;
  transmit(byte: number): void;
  /** Up to max bytes that have arrived, undefined if none have, 'eof' once there will never be more. */
  receive(max: number): Uint8Array | undefined | 'eof';
}

export class Uart16550 {
  private readonly port: SerialPort;
  private readonly irq: Line;
  private ier = 0;
  private fcr = 0;
  private lcr = 0;
  private mcr = 0;
  private scr = 0;
  private divisor = 12;
  private overrun = false;
  private msrDelta = 0;
  /** Inputs of the modem lines: CTS and DSR are wired up, DCD falls at end of input. */
  private lines = UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD;
  /** THR has become empty and nobody was told yet. */
  private thrPending = false;
  private readonly fifo = new Uint8Array(FIFO_SIZE);
  private readonly wire: number[] = [];
  private head = 0;
  private count = 0;
  private level = false;

  constructor(port: SerialPort, irq: Line) {
    this.port = port;
    this.irq = irq;
  }

  read(register: number): number {
    const dlab = (this.lcr & UART_LCR_DLAB) !== 0;
    switch (register & 7) {
      case UART_RX: return dlab ? this.divisor & 0xff : this.readByte();
      case UART_IER: return dlab ? this.divisor >> 8 : this.ier;
      case UART_IIR: {
        const id = this.interruptId();
        if (id === UART_IIR_THRI) {
          this.thrPending = false;
          this.updateLine();
        }
        return id | ((this.fcr & UART_FCR_ENABLE_FIFO) !== 0 ? UART_IIR_FIFO_ENABLED : 0);
      }
      case UART_LCR: return this.lcr;
      case UART_MCR: return this.mcr;
      case UART_LSR: {
        const lsr = UART_LSR_THRE | UART_LSR_TEMT | (this.count > 0 ? UART_LSR_DR : 0) | (this.overrun ? UART_LSR_OE : 0);
        this.overrun = false;
        this.updateLine();
        return lsr;
      }
      case UART_MSR: {
        const msr = this.modemStatus() | this.msrDelta;
        this.msrDelta = 0;
        this.updateLine();
        return msr;
      }
      default: return this.scr;
    }
  }

  write(register: number, value: number): void {
    value &= 0xff;
    const dlab = (this.lcr & UART_LCR_DLAB) !== 0;
    switch (register & 7) {
      case UART_TX:
        if (dlab) this.divisor = (this.divisor & 0xff00) | value;
        else this.writeByte(value);
        break;
      case UART_IER:
        if (dlab) {
          this.divisor = (this.divisor & 0xff) | (value << 8);
          break;
        }
        if ((value & ~this.ier & UART_IER_THRI) !== 0) this.thrPending = true;
        this.ier = value & 0x0f;
        break;
      case UART_FCR:
        if (((value ^ this.fcr) & UART_FCR_ENABLE_FIFO) !== 0 || (value & UART_FCR_CLEAR_RCVR) !== 0) this.count = 0;
        this.fcr = value & 0xc9;
        this.poll();
        break;
      case UART_LCR: this.lcr = value; break;
      case UART_MCR: {
        const before = this.modemStatus();
        this.mcr = value & 0x1f;
        this.noteModemChange(before);
        this.poll();
        break;
      }
      case UART_SCR: this.scr = value; break;
    }
    this.updateLine();
  }

  /** Bytes come from the far side, any number: what finds no room in the FIFO waits on the wire. */
  receive(bytes: Uint8Array): void {
    for (const byte of bytes) this.wire.push(byte);
    this.poll();
  }

  /** Takes what the far side has for us, as far as there is room: whenever bytes, room or RTS appear. */
  private poll(): void {
    while ((this.mcr & UART_MCR_LOOP) === 0 && (this.lines & UART_MSR_DCD) !== 0) {
      if (this.port.flowControl && (this.mcr & UART_MCR_RTS) === 0) break;
      const room = this.capacity() - this.count;
      if (room <= 0) break;
      if (this.wire.length > 0) {
        for (const byte of this.wire.splice(0, room)) this.push(byte);
        continue;
      }
      const bytes = this.port.receive(room);
      if (bytes === undefined) break;
      if (bytes === 'eof') {
        const before = this.modemStatus();
        this.lines &= ~UART_MSR_DCD;
        this.noteModemChange(before);
        break;
      }
      if (bytes.length === 0) break;
      for (const byte of bytes) this.push(byte);
    }
    this.updateLine();
  }

  private capacity(): number {
    return (this.fcr & UART_FCR_ENABLE_FIFO) !== 0 ? FIFO_SIZE : 1;
  }

  private push(byte: number): void {
    if (this.count === this.capacity()) {
      // With the FIFO the newcomer is lost, without it the byte that was not read.
      this.overrun = true;
      if (this.count === 1) this.fifo[this.head] = byte;
      return;
    }
    this.fifo[(this.head + this.count++) & (FIFO_SIZE - 1)] = byte;
  }

  private readByte(): number {
    if (this.count === 0) return 0;
    const byte = this.fifo[this.head]!;
    this.head = (this.head + 1) & (FIFO_SIZE - 1);
    this.count--;
    if (this.count === 0) this.poll();
    else this.updateLine();
    return byte;
  }

  private writeByte(byte: number): void {
    if ((this.mcr & UART_MCR_LOOP) !== 0) this.push(byte);
    else this.port.transmit(byte);
    this.thrPending = true;
  }

  /** In loopback the modem inputs are the modem outputs. */
  private modemStatus(): number {
    if ((this.mcr & UART_MCR_LOOP) === 0) return this.lines;
    return ((this.mcr & UART_MCR_RTS) !== 0 ? UART_MSR_CTS : 0) | ((this.mcr & UART_MCR_DTR) !== 0 ? UART_MSR_DSR : 0)
      | ((this.mcr & UART_MCR_OUT1) !== 0 ? UART_MSR_RI : 0) | ((this.mcr & UART_MCR_OUT2) !== 0 ? UART_MSR_DCD : 0);
  }

  private noteModemChange(before: number): void {
    this.msrDelta |= ((before ^ this.modemStatus()) >> 4) & 0x0f;
  }

  /** Priorities of the data sheet: line status, data, THR empty, modem status. */
  private interruptId(): number {
    if ((this.ier & UART_IER_RLSI) !== 0 && this.overrun) return UART_IIR_RLSI;
    if ((this.ier & UART_IER_RDI) !== 0 && this.count > 0) {
      const trigger = (this.fcr & UART_FCR_ENABLE_FIFO) !== 0 ? TRIGGER_LEVELS[this.fcr >> 6]! : 1;
      return this.count >= trigger ? UART_IIR_RDI : UART_IIR_RX_TIMEOUT;
    }
    if ((this.ier & UART_IER_THRI) !== 0 && this.thrPending) return UART_IIR_THRI;
    if ((this.ier & UART_IER_MSI) !== 0 && this.msrDelta !== 0) return UART_IIR_MSI;
    return UART_IIR_NO_INT;
  }

  /** OUT2 gates the interrupt on a PC; off in loopback. */
  private updateLine(): void {
    const level = this.interruptId() !== UART_IIR_NO_INT && (this.mcr & (UART_MCR_OUT2 | UART_MCR_LOOP)) === UART_MCR_OUT2;
    if (level === this.level) return;
    this.level = level;
    this.irq(level);
  }
}
