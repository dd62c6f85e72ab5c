/**
 * Port I/O: devices inside KVM first, then user space through the second page of kvm_run.
 *
 * Linux: arch/x86/kvm/x86.c (emulator_pio_in_out, kvm_fast_pio)
 *
 * OUT of a register is the fast path, without the emulator: the guest's RIP stays on the instruction until the next
 * KVM_RUN, so that user space sees where it is, and the instruction is over only if RIP is still there then.
 */
import { KVM_EXIT_IO, KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT, kvm_run } from '../abi/kvm/index.ts';
import { PAGE_SIZE } from '../kernel/exports.ts';
import { kvm_skip_emulated_instruction } from './guest-debug.ts';
import { type kvm_vcpu, kvm_rax_write, kvm_x86 } from './kvm_host.ts';
import { kvm_pio } from './trace.ts';
import { EMULTYPE_NO_DECODE, x86_emulate_instruction } from './x86-emulate.ts';

/** The first element is what a trace line shows. */
function trace_pio(write: boolean, port: number, size: number, count: number, data: Uint8Array, at = 0): void {
  let val = 0;
  for (let i = size - 1; i >= 0; i--) val = val * 256 + data[at + i]!;
  kvm_pio.trace({ rw: write ? 1 : 0, port, size, count, val });
}

/** Bytes of the port data page. */
const data_page = (vcpu: kvm_vcpu): number => vcpu.kvm.ram_base + vcpu.pio_pfn * PAGE_SIZE;
/** Words of kvm_run. The first of `io` has direction, size and port. */
const EXIT_REASON = kvm_run.offset.exit_reason >>> 2;
const IO = kvm_run.offset.io >>> 2;
const IO_COUNT = kvm_run.offset['io.count']! >>> 2;
const IO_DATA_OFFSET = kvm_run.offset['io.data_offset']! >>> 2;

/** Tries the devices inside KVM for each element. true: all were taken. */
function in_kernel(vcpu: kvm_vcpu, size: number, port: number, data: Uint8Array, count: number, isIn: boolean): boolean {
  const bus = vcpu.kvm.pio_bus;
  if (bus.empty) return false;
  for (let i = 0; i < count; i++) {
    const element = data.subarray(i * size, (i + 1) * size);
    const r = isIn ? bus.read(vcpu, port, size, element) : bus.write(vcpu, port, size, element);
    if (r === 0) continue;
    // The first decides; a device that fails in the midst reads as zero and takes writes.
    if (i === 0) return false;
    if (isIn) element.fill(0);
  }
  return true;
}

function exit_io(vcpu: kvm_vcpu, size: number, port: number, count: number, isIn: boolean): void {
  const { run_words } = vcpu;
  const { pio } = vcpu.arch;
  pio.port = port;
  pio.in = isIn;
  pio.count = count;
  pio.size = size;
  run_words[EXIT_REASON] = KVM_EXIT_IO;
  run_words[IO] = (isIn ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT) | (size << 8) | (port << 16);
  run_words[IO_COUNT] = count;
  run_words[IO_DATA_OFFSET] = PAGE_SIZE;
  run_words[IO_DATA_OFFSET + 1] = 0;
}

/** Reads `count` elements into `data`. false: user space must give them first. */
export function emulator_pio_in(vcpu: kvm_vcpu, size: number, port: number, data: Uint8Array, count: number): boolean {
  const { pio } = vcpu.arch;
  if (pio.count !== 0) {
    // They are here: the instruction is being executed again.
    const at = data_page(vcpu);
    data.set(vcpu.kvm.mem.u8.subarray(at, at + size * pio.count));
    if (kvm_pio.enabled) trace_pio(false, port, size, pio.count, data);
    pio.count = 0;
    return true;
  }
  if (in_kernel(vcpu, size, port, data, count, true)) {
    if (kvm_pio.enabled) trace_pio(false, port, size, count, data);
    return true;
  }
  const at = data_page(vcpu);
  vcpu.kvm.mem.u8.fill(0, at, at + size * count);
  exit_io(vcpu, size, port, count, true);
  return false;
}

/** Writes `count` elements. false: they are on their way to user space. */
export function emulator_pio_out(vcpu: kvm_vcpu, size: number, port: number, data: Uint8Array, count: number): boolean {
  if (kvm_pio.enabled) trace_pio(true, port, size, count, data);
  if (in_kernel(vcpu, size, port, data, count, false)) return true;
  vcpu.kvm.mem.u8.set(data.subarray(0, size * count), data_page(vcpu));
  exit_io(vcpu, size, port, count, false);
  return false;
}

/** User space has filled in what IN, INS reads: the instruction goes on. */
export const complete_emulated_pio = (vcpu: kvm_vcpu): number => x86_emulate_instruction(vcpu, EMULTYPE_NO_DECODE);

// ---------------------------------------------------------------- IN and OUT of a register

const scratch = new Uint8Array(4);

/** OUT 0x7e: BIOSes expect to be past the instruction already when user space sees it. */
export const PORT_7E = 0x7e;
const QUIRK_OUT_7E_INC_RIP = 1n << 3n;

export function kvm_fast_pio(vcpu: kvm_vcpu, size: number, port: number, isIn: boolean): number {
  return isIn ? fast_in(vcpu, size, port) : fast_out(vcpu, size, port);
}

function fast_out(vcpu: kvm_vcpu, size: number, port: number): number {
  const { arch, kvm } = vcpu;
  const value = arch.regs32[0]!;
  if (kvm_pio.enabled) kvm_pio.trace({ rw: 1, port, size, count: 1, val: size === 4 ? value : value & ((1 << (8 * size)) - 1) });
  if (!kvm.pio_bus.empty) {
    for (let i = 0; i < size; i++) scratch[i] = value >>> (8 * i);
    if (in_kernel(vcpu, size, port, scratch, 1, false)) return kvm_skip_emulated_instruction(vcpu);
  }
  out_to_user(vcpu, size, port);
  if (port === PORT_7E && (kvm.arch.disabled_quirks & QUIRK_OUT_7E_INC_RIP) === 0n) {
    kvm_skip_emulated_instruction(vcpu);
    arch.complete_userspace_io = complete_fast_pio_out_port_0x7e;
  } else arch.pio.linear_rip = kvm_x86.linear_rip(vcpu);
  return 0;
}

/** The value goes to user space. The caller remembers where the instruction is: arch.pio.linear_rip. */
export function out_to_user(vcpu: kvm_vcpu, size: number, port: number): void {
  const { arch, kvm: { mem } } = vcpu;
  const value = arch.regs32[0]!;
  const at = data_page(vcpu) >>> 2;
  mem.u32[at] = size === 4 ? value : (mem.u32[at]! & (-1 << (8 * size))) | (value & ((1 << (8 * size)) - 1));
  exit_io(vcpu, size, port, 1, false);
  arch.pio.count = 0;
  arch.complete_userspace_io = complete_fast_pio_out;
}
const complete_fast_pio_out_port_0x7e = (): number => 1;
export const complete_fast_pio_out = (vcpu: kvm_vcpu): number =>
  kvm_x86.linear_rip(vcpu) !== vcpu.arch.pio.linear_rip ? 1 : kvm_skip_emulated_instruction(vcpu);

function fast_in(vcpu: kvm_vcpu, size: number, port: number): number {
  const { arch, kvm } = vcpu;
  if (in_kernel(vcpu, size, port, scratch, 1, true)) {
    store(vcpu, size, scratch, 0);
    return kvm_skip_emulated_instruction(vcpu);
  }
  const at = data_page(vcpu);
  kvm.mem.u8.fill(0, at, at + size);
  exit_io(vcpu, size, port, 1, true);
  arch.pio.linear_rip = kvm_x86.linear_rip(vcpu);
  arch.complete_userspace_io = complete_fast_pio_in;
  return 0;
}
function complete_fast_pio_in(vcpu: kvm_vcpu): number {
  const { pio } = vcpu.arch;
  pio.count = 0;
  if (kvm_x86.linear_rip(vcpu) !== pio.linear_rip) return 1;
  store(vcpu, pio.size, vcpu.kvm.mem.u8, data_page(vcpu));
  return kvm_skip_emulated_instruction(vcpu);
}

/** The value read goes to AL, AX or EAX; only the last clears the upper half of RAX. */
function store(vcpu: kvm_vcpu, size: number, data: Uint8Array, at: number): void {
  if (kvm_pio.enabled) trace_pio(false, vcpu.arch.pio.port, size, 1, data, at);
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + data[at + i]!;
  if (size === 4) kvm_rax_write(vcpu, BigInt(value));
  else vcpu.arch.regs32[0] = (vcpu.arch.regs32[0]! & (-1 << (8 * size))) | value;
}
