/**
 * The side of KVM that a user program sees: /dev/kvm, the VM, and each vCPU's loop of running the guest and doing
 * what the exit asks for. QEMU: accel/kvm/kvm-all.c, target/i386/kvm/kvm.c; Linux: Documentation/virt/kvm/api.rst
 */
import type { Sys } from '../abi/process.ts';
import { type ArrayView, array, assign, offsetof, u16, u32, u64, u8 } from '../abi/struct.ts';
import { EAGAIN, EINTR, strerror } from '../abi/errno.ts';
import { O_CLOEXEC, O_RDWR } from '../abi/fcntl.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { __NR_ioctl } from '../abi/syscalls.ts';
import {
  KVM_CAP_IRQCHIP, KVM_CAP_MAX_VCPUS, KVM_CAP_NR_VCPUS, KVM_CHECK_EXTENSION, KVM_CREATE_IRQCHIP, KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_EXIT_FAIL_ENTRY,
  KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN, KVM_GET_API_VERSION, KVM_GET_DEBUGREGS, KVM_GET_REGS, KVM_GET_SREGS, KVM_GET_VCPU_MMAP_SIZE, KVM_INTERNAL_ERROR_EMULATION,
  KVM_RUN, KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_TSS_ADDR, kvm_debugregs, kvm_regs, kvm_run, type kvm_segment, kvm_sregs,
} from '../abi/kvm/index.ts';
import { Errno, alloc, arm, free, futex_wait, ioctl, loadBytes, malloc, mmap, open, view } from '../userland/libc.ts';
import type { BootImage } from './boot/image.ts';
import { kvm_set_cpuid } from './cpu-models.ts';
import type { PortTable } from './hw/ports.ts';
import type { Machine } from './machine.ts';
import { OptionError } from './option-error.ts';
import type { Configuration } from './options.ts';
import { cpu_dump_state } from './registers-dump.ts';

const KVM_API_VERSION = 12;
/** Three pages of guest-physical space that VMX needs for real mode, and one for its page table; below the firmware. */
const IDENTITY_MAP_ADDR = 0xfeff_c000;
const TSS_ADDR = IDENTITY_MAP_ADDR + 0x1000;

const u64Cell = array(u64, 1);

export interface Kvm {
  readonly fd: number;
  readonly vm: number;
  readonly mmapSize: number;
  readonly irqchip: boolean;
}

export interface Vcpu {
  readonly index: number;
  readonly fd: number;
  readonly run: kvm_run;
  /** The data of port accesses, in the page that KVM_RUN fills: one view for each width of an access. */
  readonly pio: PioData;
  /** A word nobody ever changes: what a halted processor sleeps on. */
  readonly haltWord: number;
}

interface PioData {
  /** Low half of kvm_run.io.data_offset, as a number: it never reaches 2^32, and a u64 would be a bigint at each exit. */
  readonly offset: ArrayView<number>;
  readonly bytes: ArrayView<number>;
  readonly words: ArrayView<number>;
  readonly longs: ArrayView<number>;
}

/** Runs `body`; a failed call becomes the message QEMU prints for it. */
function* orFail<T>(body: Sys<T>, message: (text: string) => string): Sys<T> {
  try {
    return yield* body;
  } catch (e) {
    if (e instanceof Errno) throw new OptionError(message(e.text));
    throw e;
  }
}

export function* kvm_init(config: Configuration): Sys<Kvm> {
  const fd = yield* orFail(open('/dev/kvm', O_RDWR | O_CLOEXEC), (text) => `Could not access KVM kernel module: ${text}\nqemu-lite: failed to initialize kvm: ${text}`);
  const version = yield* ioctl(fd, KVM_GET_API_VERSION, 0);
  if (version !== KVM_API_VERSION) throw new OptionError(`kvm version ${version} is not ${KVM_API_VERSION}\nqemu-lite: failed to initialize kvm: Invalid argument`);
  const vm = yield* orFail(ioctl(fd, KVM_CREATE_VM, 0), (text) => `ioctl(KVM_CREATE_VM) failed: ${text}`);
  const most = (yield* ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS)) || (yield* ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS)) || 4;
  if (config.cpus > most) throw new OptionError(`Number of SMP cpus requested (${config.cpus}) exceeds the maximum cpus supported by KVM (${most})`);
  const identity = yield* alloc(u64Cell);
  identity.set(0, BigInt(IDENTITY_MAP_ADDR));
  yield* ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, identity);
  yield* free(identity);
  yield* ioctl(vm, KVM_SET_TSS_ADDR, TSS_ADDR);
  const there = (yield* ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP)) !== 0;
  const irqchip = config.kernelIrqchip ?? (there && config.cpus > 1);
  if (irqchip && !there) throw new OptionError('Create kernel irqchip failed: this KVM has none');
  if (irqchip) yield* orFail(ioctl(vm, KVM_CREATE_IRQCHIP, 0), (text) => `Create kernel irqchip failed: ${text}`);
  return { fd, vm, mmapSize: yield* ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0), irqchip };
}

function* kvm_init_vcpu(kvm: Kvm, index: number, config: Configuration): Sys<Vcpu> {
  const fd = yield* orFail(ioctl(kvm.vm, KVM_CREATE_VCPU, index), (text) => `kvm_init_vcpu: kvm_get_vcpu failed (${index}): ${text}`);
  const address = yield* orFail(mmap(0, kvm.mmapSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), (text) => `kvm_init_vcpu: mmap'ing vcpu state failed: ${text}`);
  yield* kvm_set_cpuid(kvm.fd, fd, config.cpu, index, config.cpus);
  return {
    index, fd,
    run: view(kvm_run, address),
    pio: {
      offset: view(array(u32, 1), address + offsetof(kvm_run, 'io.data_offset')),
      bytes: view(array(u8, kvm.mmapSize), address),
      words: view(array(u16, kvm.mmapSize / 2), address),
      longs: view(array(u32, kvm.mmapSize / 4), address),
    },
    haltWord: yield* malloc(4),
  };
}

const flatCode = (selector: number): Partial<kvm_segment> => ({ ...flatData(selector), type: 0xb });
const flatData = (selector: number): Partial<kvm_segment> =>
  ({ base: 0n, limit: 0xffff_ffff, selector, type: 3, present: 1, dpl: 0, db: 1, s: 1, l: 0, g: 1, avl: 0, unusable: 0 });
const realMode = (type: number): Partial<kvm_segment> =>
  ({ base: 0n, limit: 0xffff, selector: 0, type, present: 1, dpl: 0, db: 0, s: 1, l: 0, g: 0, avl: 0, unusable: 0 });

const CR0_PE = 0x1n;
const CR0_ET = 0x10n;
/** The segment selectors QEMU's multiboot loader uses. */
const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;

/** Puts the processor where the boot image wants it to start. QEMU: kvm_arch_put_registers */
function* kvm_put_boot_registers(vcpu: Vcpu, { mode, registers }: BootImage): Sys {
  const sregs = yield* alloc(kvm_sregs);
  yield* ioctl(vcpu.fd, KVM_GET_SREGS, sregs);
  const real = mode === 'real';
  assign(sregs.cs, real ? realMode(0xb) : flatCode(CODE_SELECTOR));
  for (const segment of [sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss]) assign(segment, real ? realMode(3) : flatData(DATA_SELECTOR));
  sregs.cr0 = real ? CR0_ET : CR0_ET | CR0_PE;
  sregs.cr3 = 0n;
  sregs.cr4 = 0n;
  sregs.efer = 0n;
  yield* ioctl(vcpu.fd, KVM_SET_SREGS, sregs);
  yield* free(sregs);
  const regs = yield* alloc(kvm_regs);
  const { rip, rax = 0, rbx = 0, rdx = 0, rsp = 0 } = registers;
  assign(regs, { rip: BigInt(rip), rax: BigInt(rax), rbx: BigInt(rbx), rdx: BigInt(rdx), rsp: BigInt(rsp), rflags: 2n });
  yield* ioctl(vcpu.fd, KVM_SET_REGS, regs);
  yield* free(regs);
}

/** Makes the vCPU and brings it to where it starts: the image's entry for the first, waiting for the others. */
function* startVcpu(machine: Machine, kvm: Kvm, index: number): Sys<Vcpu> {
  try {
    const vcpu = yield* kvm_init_vcpu(kvm, index, machine.config);
    if (index === 0) yield* kvm_put_boot_registers(vcpu, machine.image);
    else if (!kvm.irqchip) yield* halted(machine, vcpu);
    return vcpu;
  } catch (e) {
    if (!(e instanceof OptionError || e instanceof Errno)) throw e;
    return yield* machine.end({ status: 1, message: `qemu-lite: ${e.message}` });
  }
}

/**
 * The thread of one vCPU, which alone creates and runs it, until the machine ends. Only what an exit asks for is done
 * between two runs; what devices noted is done by `machine.attend`. QEMU: kvm_vcpu_thread_fn, kvm_cpu_exec
 */
export function* kvm_cpu_exec(machine: Machine, kvm: Kvm, index: number): Sys<never> {
  const vcpu = yield* startVcpu(machine, kvm, index);
  const { fd, run, pio } = vcpu;
  const { ports } = machine;
  const { io, mmio } = run;
  for (;;) {
    arm(__NR_ioctl, fd, KVM_RUN.nr, 0);
    const result = yield;
    if (result < 0) {
      if (result === -EINTR || result === -EAGAIN) continue;
      yield* runFailed(machine, vcpu, -result);
    }
    switch (run.exit_reason) {
      case KVM_EXIT_IO:
        kvm_handle_io(ports, io, pio);
        break;
      case KVM_EXIT_MMIO:
        // No device lives in memory: writes are lost, reads give ones.
        if (mmio.is_write === 0) for (let i = 0; i < 8; i++) mmio.data.set(i, 0xff);
        break;
      case KVM_EXIT_HLT:
        yield* halted(machine, vcpu);
        break;
      case KVM_EXIT_INTR:
      case KVM_EXIT_IRQ_WINDOW_OPEN:
        break;
      case KVM_EXIT_SHUTDOWN:
        yield* tripleFault(machine, vcpu);
        break;
      case KVM_EXIT_FAIL_ENTRY:
        yield* stopped(machine, vcpu, `KVM: entry failed, hardware error 0x${run.fail_entry.hardware_entry_failure_reason.toString(16)}`);
        break;
      case KVM_EXIT_INTERNAL_ERROR:
        yield* stopped(machine, vcpu, internalError(run));
        break;
      default:
        yield* stopped(machine, vcpu, `KVM: unknown exit, hardware reason ${run.hw.hardware_exit_reason.toString(16)} (exit reason ${run.exit_reason})`);
    }
    if (machine.attention) yield* machine.attend();
  }
}

/** A port access: one element for most instructions, several for string instructions. */
function kvm_handle_io(ports: PortTable, io: kvm_run['io'], pio: PioData): void {
  const { size, port, count } = io;
  const out = io.direction === KVM_EXIT_IO_OUT;
  const data = size === 1 ? pio.bytes : size === 2 ? pio.words : pio.longs;
  let at = pio.offset.get(0) / size;
  for (let i = 0; i < count; i++, at++) {
    if (out) ports.write(port, size, data.get(at));
    else data.set(at, ports.read(port, size));
  }
}

/** HLT, or a processor no one can start: without an interrupt controller in the kernel only the machine's end stops the wait. */
function* halted(machine: Machine, vcpu: Vcpu): Sys {
  if (machine.attention) yield* machine.attend();
  for (;;) yield* futex_wait(vcpu.haltWord, 0);
}

function internalError(run: kvm_run): string {
  const { suberror, ndata, data } = run.internal;
  const lines = [`KVM internal error. Suberror: ${suberror}`];
  for (let i = 0; i < Math.min(ndata, 16); i++) lines.push(`extra data[${i}]: 0x${data.get(i).toString(16).padStart(16, '0')}`);
  if (suberror === KVM_INTERNAL_ERROR_EMULATION) lines.push('emulation failure');
  return lines.join('\n');
}

function* runFailed(machine: Machine, vcpu: Vcpu, error: number): Sys<never> {
  return yield* stopped(machine, vcpu, `error: kvm run failed ${strerror(error)}`);
}

/** Ends the machine after an error of KVM or of the processor: what happened, then the registers. */
function* stopped(machine: Machine, vcpu: Vcpu, message: string): Sys<never> {
  return yield* machine.end({ status: 1, message: `${message}\n${(yield* kvm_dump(machine, vcpu)).trimEnd()}` });
}

function* tripleFault(machine: Machine, vcpu: Vcpu): Sys<never> {
  const regs = yield* alloc(kvm_regs);
  yield* ioctl(vcpu.fd, KVM_GET_REGS, regs);
  return yield* machine.end({ status: 1, message: `qemu-lite: CPU ${vcpu.index}: triple fault at rip 0x${regs.rip.toString(16)} (KVM_EXIT_SHUTDOWN), the guest is shut down` });
}

const CODE_BYTES = 16;

/** The registers of a vCPU as text. Code bytes only where RIP is a physical address: paging is off. */
export function* kvm_dump(machine: Machine, vcpu: Vcpu): Sys<string> {
  const regs = yield* alloc(kvm_regs);
  const sregs = yield* alloc(kvm_sregs);
  const debugregs = yield* alloc(kvm_debugregs);
  yield* ioctl(vcpu.fd, KVM_GET_REGS, regs);
  yield* ioctl(vcpu.fd, KVM_GET_SREGS, sregs);
  yield* ioctl(vcpu.fd, KVM_GET_DEBUGREGS, debugregs);
  const paged = (sregs.cr0 & 0x8000_0000n) !== 0n;
  const address = Number(sregs.cs.base + regs.rip);
  const { memory } = machine;
  const code = !paged && address + CODE_BYTES <= memory.size ? loadBytes(memory.host + address, CODE_BYTES) : undefined;
  const text = cpu_dump_state({ regs, sregs, debugregs, code });
  for (const registers of [regs, sregs, debugregs]) yield* free(registers);
  return text;
}
