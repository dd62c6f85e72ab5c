import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kvm_run } from '../../abi/kvm/index.ts';
import { Chardev } from '../../qemu-lite/chardev.ts';
import { acpiPm } from '../../qemu-lite/hw/acpi-pm.ts';
import { debugExit } from '../../qemu-lite/hw/debug-exit.ts';
import { debugcon } from '../../qemu-lite/hw/debugcon.ts';
import { pciConfigAddress } from '../../qemu-lite/hw/pci-config.ts';
import { fwCfg } from '../../qemu-lite/hw/fw-cfg.ts';
import { MmioTable } from '../../qemu-lite/hw/mmio.ts';
import { pcTestdev } from '../../qemu-lite/hw/pc-testdev.ts';
import { type PortDevice, PortTable } from '../../qemu-lite/hw/ports.ts';
import { keyboardController, resetControl } from '../../qemu-lite/hw/reset.ts';
import { serial } from '../../qemu-lite/hw/serial.ts';
import type { Machine } from '../../qemu-lite/machine.ts';
import { Mux } from '../../qemu-lite/mux.ts';
import { parseOptions } from '../../qemu-lite/options.ts';

/** A device that writes down what reaches it and answers with its offset. */
function recorder(width: 1 | 2 | 4): PortDevice & { readonly log: string[] } {
  const log: string[] = [];
  return {
    log, width,
    read: (offset, size) => { log.push(`r${size}@${offset}`); return offset + 0x10; },
    write: (offset, size, value) => { log.push(`w${size}@${offset}=${value.toString(16)}`); },
  };
}

/** A character device whose output is remembered instead of sent. */
function terminal(): Chardev & { readonly sent: () => string } {
  const bytes: number[] = [];
  const chardev = new Chardev(1, 0, false, { output: () => {}, room: () => { bytes.push(0x2191); } });
  chardev.put = (byte) => { bytes.push(byte); };
  return Object.assign(chardev, { sent: () => String.fromCharCode(...bytes) });
}

test('ports that nobody owns read as ones and lose what is written', () => {
  const ports = new PortTable();
  ports.write(0x1234, 4, 5);
  assert.deepEqual([1, 2, 4].map((size) => ports.read(0x1234, size)), [0xff, 0xffff, 0xffff_ffff]);
});

test('an access as wide as the device arrives in one piece, a wider one byte by byte at each byte\'s own device', () => {
  const ports = new PortTable();
  const narrow = recorder(1);
  const wide = recorder(4);
  ports.add(0x100, 2, narrow);
  ports.add(0x102, 8, wide);
  ports.write(0x100, 4, 0x44332211);
  assert.deepEqual([narrow.log, wide.log], [['w1@0=11', 'w1@1=22'], ['w1@0=33', 'w1@1=44']]);
  assert.equal(ports.read(0x100, 2), 0x1110);
  ports.write(0x104, 4, 0xdeadbeef);
  assert.equal(wide.log.at(-1), 'w4@2=deadbeef');
  assert.equal(ports.read(0xffff, 2), 0xffff, 'the last port wraps');
});

test('a device added later hides the one below it', () => {
  const ports = new PortTable();
  const [first, second] = [recorder(1), recorder(1)];
  ports.add(0x10, 4, first);
  ports.add(0x12, 1, second);
  ports.write(0x12, 1, 1);
  ports.write(0x13, 1, 1);
  assert.deepEqual([first.log, second.log], [['w1@3=1'], ['w1@0=1']]);
});

test('isa-debug-exit ends with (v << 1) | 1 in the eight bits an exit status has', () => {
  const seen: number[] = [];
  const device = debugExit((status) => seen.push(status));
  for (const value of [0, 0x10, 0x7f, 0x80, 0x1234]) device.write(0, 4, value);
  assert.deepEqual(seen, [1, 0x21, 0xff, 1, 0x69]);
});

test('PM1a control powers off at SLP_EN with sleep type 0 and otherwise keeps what it is given', () => {
  let off = 0;
  const pm = acpiPm(() => { off++; });
  pm.write(4, 2, 0x2400);
  pm.write(4, 2, 0x0001);
  assert.deepEqual([off, pm.read(4, 2)], [0, 1]);
  pm.write(4, 2, 0x2000);
  assert.equal(off, 1);
  assert.equal(pm.read(0, 2), 0);
});

test('the keyboard controller resets on the pulse commands that pull line 0 low, the host bridge on bit 2', () => {
  let resets = 0;
  const keyboard = keyboardController(() => { resets++; });
  keyboard.write(0, 1, 0xfe);
  keyboard.write(0, 1, 0xff);
  keyboard.write(0, 1, 0xd1);
  assert.equal(resets, 1);
  assert.equal(keyboard.read(0, 1) & 3, 0, 'nothing to read, nothing left to write');
  const bridge = resetControl(() => { resets++; });
  bridge.write(0, 1, 2);
  bridge.write(0, 1, 6);
  assert.deepEqual([resets, bridge.read(0, 1)], [2, 2]);
});

test('PCI configuration keeps a 32-bit address, and every function is absent', () => {
  const ports = new PortTable();
  ports.add(0xcf8, 4, pciConfigAddress());
  ports.write(0xcf8, 4, 0x8000_0800);
  assert.equal(ports.read(0xcf8, 4), 0x8000_0800);
  assert.equal(ports.read(0xcfc, 4), 0xffff_ffff);
});

test('the debug console prints what is written and reads as its own port', () => {
  const out = terminal();
  const device = debugcon(out);
  for (const c of 'hi') device.write(0, 1, c.charCodeAt(0));
  assert.deepEqual([out.sent(), device.read(0, 1)], ['hi', 0xe9]);
});

test('a serial port sends at once, and gives what was typed byte by byte', () => {
  const out = terminal();
  const uart = serial(out);
  uart.write(3, 1, 0x80);
  uart.write(0, 1, 1);
  uart.write(1, 1, 0);
  uart.write(3, 1, 3);
  for (const c of 'ok\n') uart.write(0, 1, c.charCodeAt(0));
  assert.equal(out.sent(), 'ok\n');
  assert.equal(uart.read(5, 1) & 0x61, 0x60);
  out.receive([...Buffer.from('abc')]);
  let typed = '';
  while ((uart.read(5, 1) & 1) !== 0) typed += String.fromCharCode(uart.read(0, 1));
  assert.equal(typed, 'abc');
});

test('a guest that does not read stops the reading ahead, and starts it again when it takes a byte', () => {
  const out = terminal();
  const uart = serial(out);
  out.receive(new Array<number>(65).fill(0x78));
  assert.equal(out.inputFull, true);
  const told = out.sent().length;
  uart.read(0, 1);
  assert.equal(out.sent().length, told + 1, 'the main loop is told that there is room');
  assert.equal(out.inputFull, false);
});

test('Ctrl-a takes the next key as a command; twice, it is itself', () => {
  const mux = new Mux();
  const press = (text: string) => {
    const { data, commands } = mux.filter(Buffer.from(text));
    return [String.fromCharCode(...data), ...commands];
  };
  assert.deepEqual(press('ab\x01xc'), ['abc', 'quit']);
  assert.deepEqual(press('\x01\x01\x01h\x01c'), ['\x01', 'help', 'monitor']);
  assert.deepEqual(press('a\x01'), ['a']);
  assert.deepEqual(press('x'), ['', 'quit'], 'an escape may end one read and its command begin the next');
  assert.deepEqual(press('\x01zy'), ['y']);
});

test('the firmware configuration device gives the selected item byte by byte, and zeroes behind its end', () => {
  const device = fwCfg(parseOptions(['-kernel', 'k', '-m', '65', '-smp', '3']));
  const item = (key: number, length: number): number[] => {
    device.write(0, 2, key);
    return Array.from({ length }, () => device.read(1, 1));
  };
  assert.equal(String.fromCharCode(...item(0, 4)), 'QEMU');
  assert.deepEqual(item(3, 8), [0, 0, 0x10, 4, 0, 0, 0, 0]);
  assert.deepEqual(item(5, 4), [3, 0, 0, 0]);
  assert.deepEqual(item(0x77, 2), [0, 0]);
});

/** One access of a guest, as KVM reports it. */
function access(table: MmioTable, address: number, bytes: readonly number[] | number): number[] {
  const { mmio } = kvm_run.make();
  mmio.phys_addr = BigInt(address);
  mmio.is_write = typeof bytes === 'number' ? 0 : 1;
  mmio.len = typeof bytes === 'number' ? bytes : bytes.length;
  if (typeof bytes !== 'number') bytes.forEach((byte, i) => { mmio.data.set(i, byte); });
  table.access(mmio);
  return Array.from({ length: mmio.len }, (_, i) => mmio.data.get(i));
}

test('memory that nobody owns reads as ones and loses what is written', () => {
  const table = new MmioTable();
  access(table, 0xfee0_0000, [1, 2]);
  assert.deepEqual(access(table, 0xfee0_0000, 2), [0xff, 0xff]);
});

test('pc-testdev remembers what its ports and its memory were given, and moves interrupt lines', () => {
  const lines: number[][] = [];
  const machine = { ports: new PortTable(), mmio: new MmioTable(), setLine: (irq: number, level: number) => { lines.push([irq, level]); } };
  pcTestdev(machine as unknown as Machine);
  machine.ports.write(0xe0, 4, 0x8765_4321);
  machine.ports.write(0xe1, 1, 0xaa);
  assert.deepEqual([machine.ports.read(0xe0, 4), machine.ports.read(0xe2, 2)], [0x8765_aa21, 0x8765]);
  access(machine.mmio, 0xff00_0ffe, [1, 2, 3, 4]);
  assert.deepEqual(access(machine.mmio, 0xff00_1000, 4), [3, 4, 0, 0]);
  machine.ports.write(0x2000 + 23, 1, 5);
  machine.ports.write(0x2000, 1, 0);
  assert.deepEqual(lines, [[23, 1], [0, 0]]);
});
