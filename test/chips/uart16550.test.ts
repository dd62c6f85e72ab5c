import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as U from '../../machine/chips/uart16550.ts';

function bench(input: (number[] | undefined | 'eof')[] = [], flowControl = false) {
  const b = {
    sent: '', irq: false, edges: 0, asked: 0,
    uart: undefined as unknown as U.Uart16550,
  };
  b.uart = new U.Uart16550({
    flowControl,
    transmit: (byte) => { b.sent += String.fromCharCode(byte); },
    receive: () => {
      b.asked++;
      const next = input.shift();
      return next === undefined || next === 'eof' ? next : Uint8Array.from(next);
    },
  }, (level) => {
    b.irq = level;
    b.edges++;
  });
  return b;
}
const bytes = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const enable = (u: U.Uart16550, ier: number) => {
  u.write(U.UART_FCR, U.UART_FCR_ENABLE_FIFO);
  u.write(U.UART_MCR, U.UART_MCR_OUT2 | U.UART_MCR_RTS);
  u.write(U.UART_IER, ier);
};

test('a byte written is sent at once and the transmitter is always empty', () => {
  const b = bench();
  for (const c of bytes('ok')) b.uart.write(U.UART_TX, c);
  assert.equal(b.sent, 'ok');
  assert.equal(b.uart.read(U.UART_LSR), U.UART_LSR_THRE | U.UART_LSR_TEMT);
});

test('DLAB shows the divisor in place of data and interrupt enable', () => {
  const b = bench();
  b.uart.write(U.UART_LCR, U.UART_LCR_DLAB | 3);
  b.uart.write(U.UART_DLL, 0x34);
  b.uart.write(U.UART_DLM, 0x12);
  assert.deepEqual([b.uart.read(U.UART_DLL), b.uart.read(U.UART_DLM)], [0x34, 0x12]);
  b.uart.write(U.UART_LCR, 3);
  assert.equal(b.uart.read(U.UART_IER), 0);
  assert.equal(b.sent, '');
});

test('received bytes raise an interrupt that goes with the last byte read', () => {
  const b = bench();
  enable(b.uart, U.UART_IER_RDI);
  b.uart.receive(bytes('hi'));
  assert.ok(b.irq);
  assert.equal(b.uart.read(U.UART_IIR) & 0x0f, U.UART_IIR_RDI);
  assert.equal(b.uart.read(U.UART_RX), 0x68);
  assert.ok(b.irq);
  assert.equal(b.uart.read(U.UART_RX), 0x69);
  assert.ok(!b.irq);
  assert.equal(b.uart.read(U.UART_LSR) & U.UART_LSR_DR, 0);
});

test('below the trigger level it is the time-out interrupt', () => {
  const b = bench();
  enable(b.uart, U.UART_IER_RDI);
  b.uart.write(U.UART_FCR, U.UART_FCR_ENABLE_FIFO | 0x80);
  b.uart.receive(bytes('1234567'));
  assert.equal(b.uart.read(U.UART_IIR) & 0x0f, U.UART_IIR_RX_TIMEOUT);
  b.uart.receive(bytes('8'));
  assert.equal(b.uart.read(U.UART_IIR) & 0x0f, U.UART_IIR_RDI);
});

test('bytes beyond the FIFO wait on the wire and come in order', () => {
  const b = bench();
  enable(b.uart, U.UART_IER_RDI);
  const text = 'abcdefghijklmnopqrstuvwxyz0123456789';
  b.uart.receive(bytes(text));
  let got = '';
  while (b.uart.read(U.UART_LSR) & U.UART_LSR_DR) got += String.fromCharCode(b.uart.read(U.UART_RX));
  assert.equal(got, text);
});

test('the THR interrupt comes when it is enabled and after each byte, and reading IIR ends it', () => {
  const b = bench();
  enable(b.uart, U.UART_IER_THRI);
  assert.ok(b.irq);
  assert.equal(b.uart.read(U.UART_IIR) & 0x0f, U.UART_IIR_THRI);
  assert.ok(!b.irq);
  assert.equal(b.uart.read(U.UART_IIR) & 0x0f, U.UART_IIR_NO_INT);
  b.uart.write(U.UART_TX, 65);
  assert.ok(b.irq);
  b.uart.write(U.UART_IER, 0);
  b.uart.read(U.UART_IIR);
  assert.ok(!b.irq);
});

test('OUT2 gates the interrupt', () => {
  const b = bench();
  b.uart.write(U.UART_IER, U.UART_IER_THRI);
  assert.ok(!b.irq);
  b.uart.write(U.UART_MCR, U.UART_MCR_OUT2);
  assert.ok(b.irq);
});

test('under flow control the far side is asked only while RTS is asserted', () => {
  const b = bench([[1, 2], [3], undefined], true);
  b.uart.write(U.UART_FCR, U.UART_FCR_ENABLE_FIFO);
  b.uart.write(U.UART_MCR, U.UART_MCR_OUT2);
  assert.equal(b.asked, 0);
  b.uart.write(U.UART_MCR, U.UART_MCR_OUT2 | U.UART_MCR_RTS);
  assert.equal(b.asked, 3);
  b.uart.write(U.UART_MCR, U.UART_MCR_OUT2);
  assert.deepEqual([b.uart.read(U.UART_RX), b.uart.read(U.UART_RX), b.uart.read(U.UART_RX)], [1, 2, 3]);
  assert.equal(b.asked, 3);
});

test('the end of input drops the carrier, once, with a modem-status interrupt', () => {
  const b = bench([[7], 'eof'], true);
  enable(b.uart, U.UART_IER_RDI | U.UART_IER_MSI);
  assert.equal(b.uart.read(U.UART_RX), 7);
  assert.ok(b.irq);
  assert.equal(b.uart.read(U.UART_IIR) & 0x0f, U.UART_IIR_MSI);
  assert.equal(b.uart.read(U.UART_MSR), U.UART_MSR_CTS | U.UART_MSR_DSR | U.UART_MSR_DDCD);
  assert.equal(b.uart.read(U.UART_MSR), U.UART_MSR_CTS | U.UART_MSR_DSR);
  assert.ok(!b.irq);
  const { asked } = b;
  b.uart.write(U.UART_MCR, U.UART_MCR_OUT2 | U.UART_MCR_RTS);
  assert.equal(b.asked, asked);
});

test('loopback brings bytes and modem lines back and keeps the wire silent', () => {
  const b = bench();
  b.uart.write(U.UART_FCR, U.UART_FCR_ENABLE_FIFO);
  b.uart.write(U.UART_MCR, U.UART_MCR_LOOP | U.UART_MCR_OUT2 | U.UART_MCR_RTS);
  b.uart.write(U.UART_TX, 0x5a);
  assert.equal(b.sent, '');
  assert.equal(b.uart.read(U.UART_RX), 0x5a);
  assert.equal(b.uart.read(U.UART_MSR) & 0xf0, U.UART_MSR_DCD | U.UART_MSR_CTS);
});

test('without FIFO a byte in loopback that comes too early destroys the one before and is an overrun', () => {
  const b = bench();
  b.uart.write(U.UART_MCR, U.UART_MCR_LOOP);
  b.uart.write(U.UART_TX, 1);
  b.uart.write(U.UART_TX, 2);
  assert.equal(b.uart.read(U.UART_LSR) & U.UART_LSR_OE, U.UART_LSR_OE);
  assert.equal(b.uart.read(U.UART_LSR) & U.UART_LSR_OE, 0);
  assert.equal(b.uart.read(U.UART_RX), 2);
});
