/**
 * The side of KVM that a user program sees: /dev/kvm, the VM, a vCPU and the state it starts in.
 * QEMU: accel/kvm/kvm-all.c, target/i386/kvm/kvm.c; Linux: Documentation/virt/kvm/api.rst
 */
import type { Sys } from '../abi/process.ts';
import { type ArrayView, array, assign, offsetof, u16, u32, u64, u8 } from '../abi/struct.ts';
import { O_CLOEXEC, O_RDWR } from '../abi/fcntl.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import {
  KVM_CAP_IRQCHIP, KVM_CAP_MAX_VCPUS, KVM_CAP_NR_VCPUS, KVM_CHECK_EXTENSION, KVM_CREATE_IRQCHIP, KVM_CREATE_PIT2, KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_GET_API_VERSION,
  KVM_GET_SREGS, KVM_GET_VCPU_MMAP_SIZE, KVM_PIT_SPEAKER_DUMMY, KVM_SET_IDENTITY_MAP_ADDR, KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_TSS_ADDR, kvm_pit_config, kvm_regs, kvm_run, type kvm_segment, kvm_sregs,
} from '../abi/kvm/index.ts';
import { Errno, alloc, free, ioctl, malloc, mmap, open, view } from '../userland/libc.ts';
import type { BootImage } from './boot/image.ts';
import { kvm_set_cpuid } from './cpu-models.ts';
import { OptionError } from './option-error.ts';
import type { Configuration } from './options.ts';
import { type VcpuState, readVcpuState } from './vcpu-state.ts';

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
  /** As KVM made it: where a reset begins. */
  readonly reset: VcpuState;
  /** A word nobody ever changes: what a halted processor sleeps on. */
  readonly haltWord: number;
}

export interface PioData {
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
  if (irqchip && config.pit) {
    const pit = yield* alloc(kvm_pit_config);
    pit.flags = KVM_PIT_SPEAKER_DUMMY;
    yield* orFail(ioctl(vm, KVM_CREATE_PIT2, pit), (text) => `Create kernel PIC irqchip failed: ${text}`);
    yield* free(pit);
  }
  return { fd, vm, mmapSize: yield* ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0), irqchip };
}

export function* kvm_init_vcpu(kvm: Kvm, index: number, config: Configuration): Sys<Vcpu> {
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
    reset: yield* readVcpuState(fd),
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
export function* kvm_put_boot_registers(vcpu: Vcpu, { mode, registers }: BootImage): Sys {
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
