/**
 * The command line: QEMU's options, as far as there is a machine behind them. One row an option, in the order -help
 * prints them. QEMU: qemu-options.hx, system/vl.c
 *
 * A wrong option is an OptionError whose text is QEMU's own, without the program's name.
 */
import { cpuModels, parseCpu } from './cpu-models.ts';
import { type PropertyReader, parseProperties, parseSize } from './option-values.ts';
import { OptionError } from './option-error.ts';

/** Where a character device's bytes go. `mux`: Ctrl-a commands are taken out of what is typed. */
export type Backend =
  | { readonly kind: 'stdio'; readonly mux: boolean }
  | { readonly kind: 'stdout' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'null' }
  | { readonly kind: 'none' };

export interface PortRange { readonly iobase: number; readonly iosize: number }

export interface Configuration {
  kernel: string | undefined;
  append: string | undefined;
  name: string | undefined;
  /** What ps shows the main thread as, where -name says so. */
  processName: string | undefined;
  /** Bytes of RAM. */
  memory: number;
  cpus: number;
  cpu: string;
  /** Whether the interrupt controllers are KVM's; left open, they are when more than one CPU wants to start. */
  kernelIrqchip: boolean | undefined;
  /** An interval timer beside KVM's interrupt controllers. */
  pit: boolean;
  nographic: boolean;
  /** Backends of COM1 to COM4, in order. */
  readonly serial: Backend[];
  debugcon: Backend | undefined;
  /** Where -device put them; none given means one at 0xf4. */
  readonly debugExit: PortRange[];
  /** The device of kvm-unit-tests. */
  testdev: boolean;
  defaultDevices: boolean;
  reboot: boolean;
  /** -help, -version or a list of names was asked for: print this and do nothing. */
  answer: string | undefined;
}

interface Option {
  readonly name: string;
  /** How -help shows the argument; none for a flag. */
  readonly arg?: string;
  /** Rewrites the file name in an argument, where it holds one. */
  readonly file?: (arg: string, rename: (path: string) => string) => string;
  readonly help: string;
  readonly apply: (config: Configuration, arg: string) => void;
}

export const VERSION = 'qemu-lite version 0.1.0';
export const MAX_SERIAL_PORTS = 4;
const DEFAULT_MEMORY = 128 * 2 ** 20;
const MAX_MEMORY = 3 * 2 ** 30;
const MAX_CPUS = 255;
/** QEMU's own defaults of isa-debug-exit when -device names it without properties. */
const DEBUG_EXIT_IOBASE = 0x501;
const DEBUG_EXIT_IOSIZE = 2;

const wholeArgument = (arg: string, rename: (path: string) => string): string => rename(arg);
const afterColon = (arg: string, rename: (path: string) => string): string => (arg.startsWith('file:') ? `file:${rename(arg.slice(5))}` : arg);
const ignore = (): void => {};

/** `only` is what there is; anything else is refused with `message`. */
const accept = (only: readonly string[], message: (arg: string) => string) => (_: Configuration, arg: string): void => {
  if (!only.includes(arg)) throw new OptionError(message(arg));
};

function backend(arg: string, refused: string): Backend {
  if (arg === 'stdio') return { kind: 'stdio', mux: false };
  if (arg === 'mon:stdio') return { kind: 'stdio', mux: true };
  if (arg === 'null' || arg === 'none') return { kind: arg };
  if (arg.startsWith('file:') && arg.length > 5) return { kind: 'file', path: arg.slice(5) };
  throw new OptionError(refused);
}

function setSerial(config: Configuration, arg: string): void {
  if (config.serial.length === MAX_SERIAL_PORTS) throw new OptionError(`a PC has ${MAX_SERIAL_PORTS} serial ports`);
  config.serial.push(backend(arg, `could not connect serial device to character backend '${arg}'`));
}

function setAccelerator(config: Configuration, name: string, properties: PropertyReader): void {
  if (name === 'help') config.answer = 'Accelerators supported in QEMU binary:\nkvm';
  else if (name !== 'kvm') throw new OptionError(`invalid accelerator ${name}`);
  const irqchip = properties.take('kernel-irqchip');
  if (irqchip !== undefined) {
    if (irqchip !== 'on' && irqchip !== 'off') throw new OptionError(`Parameter 'kernel-irqchip' does not accept value '${irqchip}'`);
    config.kernelIrqchip = irqchip === 'on';
  }
  properties.finish((key) => `Property 'kvm-accel.${key}' not found`);
}

function setAccel(config: Configuration, arg: string): void {
  const { first, properties } = parseProperties(arg, 'accel');
  setAccelerator(config, first, properties);
}

function setMachine(config: Configuration, arg: string): void {
  const { first, properties } = parseProperties(arg, 'type');
  if (first === 'help') config.answer = 'Supported machines are:\npc                   Standard PC (default)';
  else if (first !== '' && first !== 'pc') throw new OptionError('unsupported machine type\nUse -machine help to list supported machines');
  const accelerator = properties.take('accel');
  if (accelerator !== undefined || properties.has('kernel-irqchip')) setAccelerator(config, accelerator?.split(':')[0] ?? 'kvm', properties);
  const pit = properties.take('pit');
  if (pit !== undefined) {
    if (pit !== 'on' && pit !== 'off') throw new OptionError(`Parameter 'pit' expects 'on' or 'off'`);
    config.pit = pit === 'on';
  }
  properties.finish((key) => `Property 'pc-machine.${key}' not found`);
}

function setMemory(config: Configuration, arg: string): void {
  const { first, properties } = parseProperties(arg, 'size');
  const size = parseSize(first, 2 ** 20, 'size');
  properties.finish((key) => `Invalid parameter '${key}'`);
  if (size === 0) throw new OptionError('invalid RAM size 0');
  if (size > MAX_MEMORY) throw new OptionError(`RAM size ${first} is too large: at most 3G`);
  config.memory = Math.ceil(size / 8192) * 8192;
}

function setCpus(config: Configuration, arg: string): void {
  const { first, properties } = parseProperties(arg, 'cpus');
  const count = (key: string, text: string): number => {
    if (!/^\d+$/.test(text)) throw new OptionError(`Parameter '${key}' expects a number`);
    return Number(text);
  };
  const topology = ['sockets', 'dies', 'cores', 'threads'].map((key) => {
    const value = properties.take(key);
    return value === undefined ? undefined : count(key, value);
  });
  const max = properties.take('maxcpus');
  properties.finish((key) => `Invalid parameter '${key}'`);
  const product = topology.reduce<number>((n, part) => n * (part ?? 1), 1);
  const cpus = first === '' ? product : count('cpus', first);
  if (cpus === 0) throw new OptionError('Invalid CPU topology: CPU count must be greater than zero');
  if (cpus > MAX_CPUS) throw new OptionError(`Invalid SMP CPUs ${cpus}. The max CPUs supported by machine 'pc' is ${MAX_CPUS}`);
  if (max !== undefined && count('maxcpus', max) < cpus) throw new OptionError('Invalid CPU topology: maxcpus must be equal to or greater than smp');
  config.cpus = cpus;
}

function setName(config: Configuration, arg: string): void {
  const { first, properties } = parseProperties(arg, 'guest');
  config.name = first;
  config.processName = properties.take('process');
  properties.take('debug-threads');
  properties.finish((key) => `Invalid parameter '${key}'`);
}

function setCpu(config: Configuration, arg: string): void {
  const names = Object.keys(cpuModels);
  if (arg === 'help') config.answer = `Available CPUs:\n${names.map((name) => `  ${name.padEnd(10)} ${cpuModels[name]?.description}`).join('\n')}`;
  else {
    parseCpu(arg);
    config.cpu = arg;
  }
}

function addDevice(config: Configuration, arg: string): void {
  const { first, properties } = parseProperties(arg, 'driver');
  if (first === 'help') {
    config.answer = 'name "isa-debug-exit", bus ISA\nname "pc-testdev", bus ISA';
    return;
  }
  if (first === 'pc-testdev') {
    config.testdev = true;
    return properties.finish((key) => `Property 'pc-testdev.${key}' not found`);
  }
  if (first !== 'isa-debug-exit') throw new OptionError(`'${first}' is not a valid device model name`);
  const port = (key: string, otherwise: number): number => {
    const text = properties.take(key);
    if (text === undefined) return otherwise;
    const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
    if (!(value <= 0xffff)) throw new OptionError(`Parameter '${key}' expects a port number`);
    return value;
  };
  config.debugExit.push({ iobase: port('iobase', DEBUG_EXIT_IOBASE), iosize: port('iosize', DEBUG_EXIT_IOSIZE) });
  properties.finish((key) => `Property 'isa-debug-exit.${key}' not found`);
}

export const options: readonly Option[] = [
  { name: 'h',          help: 'display this help and exit', apply: (c) => { c.answer = usage(); } },
  { name: 'help',       help: 'display this help and exit', apply: (c) => { c.answer = usage(); } },
  { name: 'version',    help: 'display version information and exit', apply: (c) => { c.answer = VERSION; } },
  { name: 'machine',    arg: '[type=]pc[,accel=kvm][,pit=on|off]', help: 'selects the machine', apply: setMachine },
  { name: 'M',          arg: '[type=]pc[,accel=kvm]', help: 'the same', apply: setMachine },
  { name: 'cpu',        arg: 'MODEL[,+FEATURE][,-FEATURE][,PROPERTY=VALUE]', help: "processor the guest sees ('-cpu help' for a list)", apply: setCpu },
  { name: 'accel',      arg: '[accel=]kvm[,kernel-irqchip=on|off]', help: 'selects the accelerator: there is no other', apply: setAccel },
  { name: 'enable-kvm', help: 'the same as -accel kvm', apply: ignore },
  { name: 'smp',        arg: '[[cpus=]N][,sockets=N][,cores=N][,threads=N]', help: 'number of vCPUs, each a thread [default=1]', apply: setCpus },
  { name: 'm',          arg: '[size=]SIZE', help: 'RAM of the guest in MiB, or with suffix k, M or G [default=128M]', apply: setMemory },
  { name: 'name',       arg: '[guest=]STRING[,process=STRING]', help: 'name of the guest, and of the process in ps', apply: setName },
  { name: 'kernel',     arg: 'FILE', file: wholeArgument, help: 'multiboot ELF file, or a flat image for 0x7c00 in real mode', apply: (c, arg) => { c.kernel = arg; } },
  { name: 'append',     arg: 'CMDLINE', help: 'command line of the kernel', apply: (c, arg) => { c.append = arg; } },
  { name: 'device',     arg: 'DRIVER[,PROP=VALUE…]', help: 'adds a device: isa-debug-exit,iobase=0xf4,iosize=4 or pc-testdev', apply: addDevice },
  { name: 'serial',     arg: 'DEV', file: afterColon, help: 'COM1 (COM2 …) on stdio, mon:stdio, file:PATH, null or none [default: printed, nothing is read]', apply: setSerial },
  { name: 'debugcon',   arg: 'DEV', file: afterColon, help: 'debug console at port 0xe9 to DEV', apply: (c, arg) => { c.debugcon = backend(arg, `could not connect debug console to character backend '${arg}'`); } },
  { name: 'monitor',    arg: 'none', help: 'there is no monitor yet', apply: accept(['none'], (arg) => `could not connect monitor to character backend '${arg}': there is no monitor yet`) },
  { name: 'nographic',  help: 'COM1 on this terminal: Ctrl-a h for help, Ctrl-a x to quit', apply: (c) => { c.nographic = true; } },
  { name: 'display',    arg: 'none', help: 'there is no display', apply: accept(['none'], (arg) => `Parameter 'type' does not accept value '${arg}'`) },
  { name: 'vga',        arg: 'none', help: 'there is no graphics card', apply: accept(['none'], (arg) => `Unknown vga type: ${arg}`) },
  { name: 'nodefaults', help: 'no devices but those named', apply: (c) => { c.defaultDevices = false; } },
  { name: 'no-reboot',  help: 'exit instead of rebooting', apply: (c) => { c.reboot = false; } },
];

const byName = new Map(options.map((option) => [option.name, option])) as ReadonlyMap<string, Option>;

/** The row an argument names, with one dash or two. */
function optionOf(word: string): Option | undefined {
  return word.startsWith('-') ? byName.get(word.slice(word.startsWith('--') ? 2 : 1)) : undefined;
}

export function usage(): string {
  const rows = options.map(({ name, arg, help }) => `-${name}${arg === undefined ? '' : ` ${arg}`}\n                ${help}`);
  return `usage: qemu-lite [options] -kernel FILE\n\n${rows.join('\n')}`;
}

/** Reads `argv` without its first word. Throws OptionError. */
export function parseOptions(words: readonly string[]): Configuration {
  const config: Configuration = {
    kernel: undefined, append: undefined, name: undefined, processName: undefined, memory: DEFAULT_MEMORY, cpus: 1, cpu: 'host', kernelIrqchip: undefined, pit: true,
    nographic: false, serial: [], debugcon: undefined, debugExit: [], testdev: false, defaultDevices: true, reboot: true, answer: undefined,
  };
  for (let i = 0; i < words.length && config.answer === undefined; i++) {
    const word = words[i] ?? '';
    if (!word.startsWith('-')) throw new OptionError(`${word}: there are no disks; a kernel is named with -kernel`);
    const option = optionOf(word);
    if (option === undefined) throw new OptionError(`${word}: invalid option`);
    const arg = option.arg === undefined ? '' : words[++i];
    if (arg === undefined) throw new OptionError(`${word}: requires an argument`);
    try {
      option.apply(config, arg);
    } catch (e) {
      if (e instanceof OptionError) throw new OptionError(`${word} ${arg}: ${e.message}`);
      throw e;
    }
  }
  if (config.answer === undefined) finish(config);
  return config;
}

/**
 * What only the whole command line can tell: defaults, and options that need each other.
 * Without -serial and -nographic QEMU shows COM1 in a window and leaves standard input alone; here there is no window,
 * so it is shown on standard output.
 */
function finish(config: Configuration): void {
  if (config.kernel === undefined) {
    throw new OptionError(config.append === undefined ? 'nothing to boot: name a kernel with -kernel FILE' : '-append only allowed with -kernel option');
  }
  const { serial, debugExit } = config;
  if (serial.length === 0 && config.nographic) serial.push({ kind: 'stdio', mux: true });
  if (serial.length === 0 && config.defaultDevices) serial.push({ kind: 'stdout' });
  if (config.nographic) serial.forEach((port, i) => { if (port.kind === 'stdio') serial[i] = { kind: 'stdio', mux: true }; });
  if (serial.filter((port) => port.kind === 'stdio').length > 1) throw new OptionError('cannot use stdio by multiple character devices');
  if (debugExit.length === 0 && config.defaultDevices) debugExit.push({ iobase: 0xf4, iosize: 4 });
}

/** `words` with every file name in them replaced, for a caller whose files lie elsewhere. What is wrong stays as it is. */
export function renameFiles(words: readonly string[], rename: (path: string) => string): string[] {
  const renamed: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    renamed.push(word);
    const option = optionOf(word);
    const arg = option?.arg === undefined ? undefined : words[i + 1];
    if (arg === undefined) continue;
    renamed.push(option?.file?.(arg, rename) ?? arg);
    i++;
  }
  return renamed;
}
