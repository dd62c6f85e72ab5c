/** qemu-lite at a terminal: keys go where they should, and the terminal comes back as it was. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestConsole, boot } from '../support/boot.ts';

const MS = 1_000_000;

/** A shell at a terminal: types each text, lets the machine run a while, and gives what was printed since. */
function session(): (text: string, ms?: number) => string {
  const port = new TestConsole('', true);
  const { system } = boot({}, port);
  const { machine } = system;
  let now = 50 * MS;
  machine.run(now);
  return (text, ms = 30) => {
    const before = port.output.length;
    machine.at(machine.latest(), () => machine.uart.receive(Buffer.from(text)));
    now = machine.latest() + ms * MS;
    machine.run(now);
    return port.output.slice(before);
  };
}

test('with -nographic keys reach the guest unechoed, Ctrl-C too, until Ctrl-a x; then the shell has the terminal again', () => {
  const type = session();
  const settings = type('stty -a\r');
  assert.match(settings, / echo /);
  assert.match(type('qemu-lite -kernel /boot/busy.elf -nographic\r'), /busy: counting/);
  assert.equal(type('abc\x03'), '');
  assert.match(type('\x01h'), /^C-a h +print this help\r\n/);
  assert.match(type('\x01x'), /^qemu-lite: Terminated\r\n/);
  assert.equal(type('stty -a\r').replace(/^[^\n]*\n/, ''), settings.replace(/^[^\n]*\n/, ''));
});

test('without it Ctrl-C ends the machine, as a signal does', () => {
  const type = session();
  assert.match(type('qemu-lite -kernel /boot/busy.elf\r'), /busy: counting/);
  assert.match(type('\x03'), /qemu-lite: terminating on signal 2\r\n/);
  assert.match(type('echo $?\r'), /\n0\r\n/);
});

test('a guest in the background leaves the terminal to the shell, and takes it when it is brought to the front', () => {
  const type = session();
  type('qemu-lite -kernel /boot/busy.elf -nographic &\r');
  assert.match(type('echo here\r'), /\nhere\r\n/);
  assert.match(type('jobs\r'), /Running +qemu-lite/);
  type('fg\r');
  assert.match(type('\x01x'), /qemu-lite: Terminated/);
  assert.match(type('echo back\r'), /\nback\r\n/);
});

test('Ctrl-Z stops a machine whose terminal has signals, fg goes on, and kill -9 leaves the shell a sane terminal', () => {
  const type = session();
  type('qemu-lite -kernel /boot/busy.elf -serial stdio\r');
  assert.match(type('\x1a'), /Stopped/);
  assert.match(type('echo here\r'), /\nhere\r\n/);
  type('fg\r');
  assert.match(type('\x1a'), /Stopped/);
  type('kill -9 %1\r');
  assert.match(type('echo $((6 * 7))\r'), /\n42\r\n/);
});
