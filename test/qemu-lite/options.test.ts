import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Configuration, options, parseOptions, renameFiles, usage } from '../../qemu-lite/options.ts';
import { OptionError } from '../../qemu-lite/option-error.ts';

const parse = (text: string): Configuration => parseOptions(text.split(' ').filter((word) => word !== ''));
const refusal = (text: string): string => {
  try {
    parse(text);
  } catch (e) {
    assert.ok(e instanceof OptionError, `${text}: ${e}`);
    return e.message;
  }
  return 'accepted';
};

test('without options but a kernel there are 128 MiB, one CPU, COM1 printed and isa-debug-exit at 0xf4', () => {
  assert.deepEqual(parse('-kernel k'), {
    kernel: 'k', append: undefined, name: undefined, processName: undefined, memory: 128 << 20, cpus: 1, cpu: 'host', kernelIrqchip: undefined, pit: true, nographic: false,
    serial: [{ kind: 'stdout' }], debugcon: undefined, debugExit: [{ iobase: 0xf4, iosize: 4 }], testdev: false, defaultDevices: true,
    reboot: true, answer: undefined,
  });
});

test('an option may have one dash or two', () => {
  assert.equal(parse('--kernel k --m 64').memory, 64 << 20);
});

test('a size counts in MiB, takes suffixes and is rounded up to 8 KiB', () => {
  for (const [text, bytes] of [['64', 64 << 20], ['64M', 64 << 20], ['1G', 2 ** 30], ['0.5g', 2 ** 29], ['size=4096k', 4 << 20], ['8193b', 16384], ['0x10', 16 << 20]] as const) {
    assert.equal(parse(`-kernel k -m ${text}`).memory, bytes, text);
  }
});

test('the number of CPUs is given or follows from the topology', () => {
  for (const [text, cpus] of [['3', 3], ['cpus=4', 4], ['2,maxcpus=8', 2], ['sockets=2,cores=2,threads=2', 8], ['4,sockets=1,cores=4', 4]] as const) {
    assert.equal(parse(`-kernel k -smp ${text}`).cpus, cpus, text);
  }
});

test('-serial stdio leaves Ctrl-a to the guest, and -nographic takes it', () => {
  assert.deepEqual(parse('-kernel k -serial stdio').serial, [{ kind: 'stdio', mux: false }]);
  assert.deepEqual(parse('-kernel k -nographic').serial, [{ kind: 'stdio', mux: true }]);
  assert.deepEqual(parse('-kernel k -serial stdio -nographic').serial, [{ kind: 'stdio', mux: true }]);
  assert.deepEqual(parse('-kernel k -serial file:/tmp/x -serial mon:stdio -serial null -serial none').serial,
    [{ kind: 'file', path: '/tmp/x' }, { kind: 'stdio', mux: true }, { kind: 'null' }, { kind: 'none' }]);
});

test('isa-debug-exit has QEMU\'s own ports when none are named, and replaces the one that is there by default', () => {
  assert.deepEqual(parse('-kernel k -device isa-debug-exit').debugExit, [{ iobase: 0x501, iosize: 2 }]);
  assert.deepEqual(parse('-kernel k -device isa-debug-exit,iobase=0xf4,iosize=0x04').debugExit, [{ iobase: 0xf4, iosize: 4 }]);
  assert.deepEqual(parse('-kernel k -nodefaults').debugExit, []);
  assert.deepEqual([parse('-kernel k -device pc-testdev').testdev, parse('-kernel k -M pc,pit=off').pit], [true, false]);
  assert.deepEqual(parse('-kernel k -nodefaults').serial, []);
});

test('what most command lines carry is taken', () => {
  const config = parse('-M pc,accel=kvm -accel kvm -enable-kvm -cpu max -name guest=a,process=b -display none -vga none -monitor none -no-reboot -debugcon file:d -append root=/dev/ram -kernel k');
  assert.equal(config.cpu, 'max');
  assert.equal(parse('-kernel k -accel kvm,kernel-irqchip=off').kernelIrqchip, false);
  assert.equal(parse('-kernel k -M pc,kernel-irqchip=on').kernelIrqchip, true);
  assert.deepEqual([config.name, config.processName], ['a', 'b']);
  assert.equal(config.reboot, false);
  assert.equal(config.append, 'root=/dev/ram');
  assert.deepEqual(config.debugcon, { kind: 'file', path: 'd' });
});

test('what is wrong is said in QEMU\'s words', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['-foo', '-foo: invalid option'],
    ['-kernel', '-kernel: requires an argument'],
    ['-kernel k -m', '-m: requires an argument'],
    ['-kernel k -m x', "-m x: Parameter 'size' expects a non-negative number below 2^64"],
    ['-kernel k -m 0', '-m 0: invalid RAM size 0'],
    ['-kernel k -m 1,foo=2', "-m 1,foo=2: Invalid parameter 'foo'"],
    ['-kernel k -smp 0', '-smp 0: Invalid CPU topology: CPU count must be greater than zero'],
    ['-kernel k -smp 300', "-smp 300: Invalid SMP CPUs 300. The max CPUs supported by machine 'pc' is 255"],
    ['-kernel k -smp 4,maxcpus=2', '-smp 4,maxcpus=2: Invalid CPU topology: maxcpus must be equal to or greater than smp'],
    ['-kernel k -cpu z80', "-cpu z80: unable to find CPU model 'z80'"],
    ['-kernel k -accel tcg', '-accel tcg: invalid accelerator tcg'],
    ['-kernel k -M none', '-M none: unsupported machine type\nUse -machine help to list supported machines'],
    ['-kernel k -device e1000', "-device e1000: 'e1000' is not a valid device model name"],
    ['-kernel k -device isa-debug-exit,foo=1', "-device isa-debug-exit,foo=1: Property 'isa-debug-exit.foo' not found"],
    ['-kernel k -serial tcp:x', "-serial tcp:x: could not connect serial device to character backend 'tcp:x'"],
    ['-kernel k -serial stdio -serial stdio', 'cannot use stdio by multiple character devices'],
    ['-append x', '-append only allowed with -kernel option'],
    ['', 'nothing to boot: name a kernel with -kernel FILE'],
    ['disk.img', 'disk.img: there are no disks; a kernel is named with -kernel'],
  ];
  for (const [text, message] of cases) assert.equal(refusal(text), message, text);
});

test('help, the version and lists of names are answers, whatever else is wrong', () => {
  for (const text of ['-h', '-help', '--help', '-version', '-cpu help', '-M help', '-accel help', '-device help']) assert.ok(parse(text).answer, text);
  for (const { name } of options) assert.ok(usage().includes(`\n-${name}`), name);
});

test('only arguments that are files are renamed, and -serial file: behind its colon', () => {
  const words = ['-name', 'k', '-kernel', 'k', '--append', 'a b', '-serial', 'file:out', '-serial', 'mon:stdio', '-debugcon', 'file:d', '-foo', 'x', '-kernel'];
  assert.deepEqual(renameFiles(words, (path) => `/host/${path}`),
    ['-name', 'k', '-kernel', '/host/k', '--append', 'a b', '-serial', 'file:/host/out', '-serial', 'mon:stdio', '-debugcon', 'file:/host/d', '-foo', 'x', '-kernel']);
});
