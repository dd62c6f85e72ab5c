/**
 * qemu-lite: an ordinary user program that builds a PC around a guest and lets KVM run it. QEMU: system/vl.c
 *
 * Each vCPU is a thread of its own; this one reads what is typed and takes signals.
 */
import type { Sys } from '../abi/process.ts';
import { EFD_CLOEXEC } from '../abi/eventfd.ts';
import { SIG_SETMASK } from '../abi/signal.ts';
import { Errno, close, eputs, eventfd, open, pthread_create, puts, readAll, setName, sigprocmask } from '../userland/libc.ts';
import { type Kvm, kvm_init } from './accel-kvm.ts';
import { kvm_cpu_exec } from './cpu-exec.ts';
import { loadKernel } from './boot/load.ts';
import { pc_open_chardevs, pc_plug } from './hw/pc.ts';
import { Machine } from './machine.ts';
import { main_loop, main_loop_init } from './main-loop.ts';
import { createMemory, loadChunk } from './memory.ts';
import { OptionError } from './option-error.ts';
import { type Configuration, parseOptions } from './options.ts';

const ALL_SIGNALS = 2n ** 64n - 1n;

function* readKernel(path: string): Sys<Uint8Array> {
  try {
    const fd = yield* open(path);
    const bytes = yield* readAll(fd);
    yield* close(fd);
    return bytes;
  } catch (e) {
    if (e instanceof Errno) throw new OptionError(`could not open kernel file '${path}': ${e.text}`);
    throw e;
  }
}

function* createMachine(config: Configuration, kvm: Kvm, wakeFd: number): Sys<Machine> {
  const path = config.kernel ?? '';
  const image = loadKernel(yield* readKernel(path), { memorySize: config.memory, append: config.append, path });
  try {
    const machine = new Machine(config, kvm, yield* createMemory(kvm.vm, config.memory), image, wakeFd);
    for (const chunk of image.chunks) loadChunk(machine.memory, chunk);
    yield* pc_open_chardevs(machine);
    pc_plug(machine);
    return machine;
  } catch (e) {
    if (e instanceof Errno) throw new OptionError(`cannot set up guest memory 'pc.ram': ${e.text}`);
    throw e;
  }
}

function* run(config: Configuration): Sys<number> {
  if (config.answer !== undefined) {
    yield* puts(config.answer);
    return 0;
  }
  if (config.processName !== undefined) yield* setName(config.processName);
  const kvm = yield* kvm_init(config);
  const wakeFd = yield* eventfd(0, EFD_CLOEXEC);
  const machine = yield* createMachine(config, kvm, wakeFd);
  if (config.cpus > 1 && !kvm.irqchip) {
    yield* eputs(`qemu-lite: warning: without an interrupt controller in the kernel only CPU 0 can start; CPU 1${config.cpus > 2 ? ` to ${config.cpus - 1}` : ''} stay halted`);
  }
  const loop = yield* main_loop_init(machine, wakeFd);
  // Threads inherit the mask: signals are the main loop's.
  const mask = yield* sigprocmask(SIG_SETMASK, ALL_SIGNALS);
  for (let index = 0; index < config.cpus; index++) yield* pthread_create(() => kvm_cpu_exec(machine, index), `CPU ${index}/KVM`);
  yield* sigprocmask(SIG_SETMASK, mask);
  return yield* main_loop(loop);
}

export function* main(argv: string[]): Sys<number> {
  try {
    return yield* run(parseOptions(argv.slice(1)));
  } catch (e) {
    if (!(e instanceof OptionError)) throw e;
    yield* eputs(`qemu-lite: ${e.message}`);
    return 1;
  }
}
