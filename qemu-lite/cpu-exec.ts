/**
 * A vCPU's thread: runs the guest, does what the exit asks for, and runs it again.
 * QEMU: accel/kvm/kvm-accel-ops.c, kvm-all.c (kvm_cpu_exec); Linux: Documentation/virt/kvm/api.rst, section 5
 */
import type { Sys } from '../abi/process.ts';
import { EAGAIN, EINTR, strerror } from '../abi/errno.ts';
import { __NR_ioctl } from '../abi/syscalls.ts';
import {
  KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN, KVM_GET_DEBUGREGS, KVM_GET_REGS, KVM_GET_SREGS, KVM_INTERNAL_ERROR_EMULATION, KVM_RUN, kvm_debugregs, kvm_regs, type kvm_run, kvm_sregs,
} from '../abi/kvm/index.ts';
import { Errno, alloc, arm, free, futex_wait, ioctl, loadBytes } from '../userland/libc.ts';
import { type PioData, type Vcpu, kvm_init_vcpu, kvm_put_boot_registers } from './accel-kvm.ts';
import { pc_plug } from './hw/pc.ts';
import type { PortTable } from './hw/ports.ts';
import type { Machine } from './machine.ts';
import { loadChunk } from './memory.ts';
import { OptionError } from './option-error.ts';
import { cpu_dump_state } from './registers-dump.ts';
import { writeVcpuState } from './vcpu-state.ts';

/** Makes the vCPU and brings it to where it starts: the image's entry for the first, waiting for the others. */
function* startVcpu(machine: Machine, index: number): Sys<Vcpu> {
  try {
    const vcpu = yield* kvm_init_vcpu(machine.kvm, index, machine.config);
    if (index === 0) yield* kvm_put_boot_registers(vcpu, machine.image);
    else if (!machine.kvm.irqchip) yield* halted(machine, vcpu);
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
export function* kvm_cpu_exec(machine: Machine, index: number): Sys<never> {
  const vcpu = yield* startVcpu(machine, index);
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
        machine.mmio.access(mmio);
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
    if (machine.attention) {
      yield* machine.attend();
      if (machine.resetRequested) yield* system_reset(machine, vcpu);
    }
  }
}

/** What a guest gets that resets its machine: the same kernel again, with fresh devices. QEMU: qemu_system_reset */
function* system_reset(machine: Machine, vcpu: Vcpu): Sys {
  const { config, image, memory } = machine;
  machine.resetRequested = false;
  if (!config.reboot) yield* machine.end({ status: 0, message: undefined });
  if (machine.kvm.irqchip) yield* machine.end({ status: 1, message: 'qemu-lite: a machine whose interrupt controllers are KVM\'s cannot be reset yet' });
  // KVM finishes the access that asked for the reset before it looks at immediate_exit.
  vcpu.run.immediate_exit = 1;
  arm(__NR_ioctl, vcpu.fd, KVM_RUN.nr, 0);
  yield;
  vcpu.run.immediate_exit = 0;
  for (const chunk of image.chunks) loadChunk(memory, chunk, true);
  pc_plug(machine);
  yield* writeVcpuState(vcpu.fd, vcpu.reset);
  yield* kvm_put_boot_registers(vcpu, image);
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
