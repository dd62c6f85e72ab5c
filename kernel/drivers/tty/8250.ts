/**
 * The serial port driver: the machine's 16550 as terminal ttyS0 and as the kernel's console.
 *
 * Linux: drivers/tty/serial/8250/8250_port.c, drivers/tty/serial/serial_core.c
 *
 * RTS follows the readers: asserted while one waits with too little input, dropped as soon as it has enough. At the other
 * end a scripted console sends only while RTS is asserted, so its bytes come when they are asked for and not before.
 * Loss of carrier is the end of that script. Output still goes through then, so it is an end of input and no hang-up.
 */
import { makedev } from '../../../abi/fcntl.ts';
import { utf8 } from '../../../lib/text.ts';
import { COM1_IRQ } from '../../../machine/board.ts';
import {
  UART_FCR, UART_FCR_ENABLE_FIFO, UART_IER, UART_IER_MSI, UART_IER_RDI, UART_IIR, UART_IIR_NO_INT, UART_LSR, UART_LSR_DR, UART_MCR, UART_MCR_DTR, UART_MCR_OUT2,
  UART_MCR_RTS, UART_MSR, UART_MSR_DCD, UART_RX, UART_TX, type Uart16550,
} from '../../../machine/chips/uart16550.ts';
import { machine } from '../../current.ts';
import { request_irq } from '../../irq.ts';
import { pr_info } from '../../printk.ts';
import { TTY_MAJOR, tty_register_device } from './tty_io.ts';
import { tty_struct, type tty_operations } from './tty.ts';

const TTYS_MINOR = 64;
const BASE_MCR = UART_MCR_DTR | UART_MCR_OUT2;

class Uart8250Port implements tty_operations {
  readonly tty: tty_struct;
  private readonly uart: Uart16550;
  private rts = false;

  constructor(uart: Uart16550, line: number) {
    this.uart = uart;
    this.tty = new tty_struct(`ttyS${line}`, makedev(TTY_MAJOR, TTYS_MINOR + line), this);
  }

  startup(): void {
    const { uart } = this;
    uart.write(UART_FCR, UART_FCR_ENABLE_FIFO);
    uart.write(UART_MCR, BASE_MCR);
    uart.write(UART_IER, UART_IER_RDI | UART_IER_MSI);
  }

  write(bytes: Uint8Array): void {
    const { uart } = this;
    for (let i = 0; i < bytes.length; i++) uart.write(UART_TX, bytes[i]!);
  }

  unthrottle(): void {
    if (this.rts || this.tty.inputEnded) return;
    this.rts = true;
    this.uart.write(UART_MCR, BASE_MCR | UART_MCR_RTS);
  }

  throttle(): void {
    if (!this.rts) return;
    this.rts = false;
    this.uart.write(UART_MCR, BASE_MCR);
  }

  /** Serves every cause the chip shows. Bytes go to the discipline one by one: the one that completes a line drops RTS. */
  interrupt(): void {
    const { uart, tty } = this;
    while ((uart.read(UART_IIR) & UART_IIR_NO_INT) === 0) {
      while ((uart.read(UART_LSR) & UART_LSR_DR) !== 0) {
        tty.ldisc.receive(Uint8Array.of(uart.read(UART_RX)));
        if (this.rts && tty.ldisc.available()) this.throttle();
      }
      if ((uart.read(UART_MSR) & UART_MSR_DCD) === 0 && !tty.inputEnded) {
        tty.inputEnded = true;
        tty.read_wait.wake_up_all();
      }
    }
  }
}

export function serial8250_init(): void {
  const port = new Uart8250Port(machine().uart, 0);
  request_irq(COM1_IRQ, () => port.interrupt(), 'ttyS0');
  tty_register_device(port.tty);
  port.startup();
  pr_info(`serial8250: ttyS0 at I/O 0x3f8 (irq = ${COM1_IRQ}, base_baud = 115200) is a 16550A`);
}

/** What the kernel prints, before there is a terminal too. A newline is sent as CR LF when a terminal is at the other end. */
export function serial8250_console_write(text: string): void {
  const { uart, platform } = machine();
  const bytes = utf8(platform.console.isTerminal ? text.replaceAll('\n', '\r\n') : text);
  for (const byte of bytes) uart.write(UART_TX, byte);
}
