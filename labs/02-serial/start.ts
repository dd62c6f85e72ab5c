/**
 * Lab 02-serial: a serial port made of VM exits, and fewer of them. README.md beside this file says what to do. Run it as
 * `02-serial loop TEXT`, `02-serial string TEXT`, `02-serial few TEXT`; each step that is still missing says so.
 */
import {
  KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_GET_SREGS, KVM_GET_VCPU_MMAP_SIZE, KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_USER_MEMORY_REGION,
  MAP_ANONYMOUS, MAP_SHARED, O_CLOEXEC, O_RDWR, PROT_READ, PROT_WRITE, type Sys, assign, kvm_regs, kvm_run, kvm_sregs, kvm_userspace_memory_region,
} from 'vitrine/abi';
import { alloc, encode, eputs, exit, ioctl, mmap, open, storeBytes, view } from 'vitrine/libc';

/** Ends the program with a line that says which step comes next. */
function* missing(step: number, what: string): Sys<never> {
  yield* eputs(`02-serial: step ${step} is missing: ${what}`);
  return yield* exit(1);
}

/** The first serial port of a PC: a byte written there is a byte sent. */
const SERIAL = 0x3f8;

/** Where things lie in the guest's memory, which starts at 0. */
const MEMORY = 0x10000;
const CODE = 0x1000;
const TEXT = 0x2000;
export const BUFFER = 0x4000;

/** Mode `loop`: sends the text at TEXT, up to its NUL byte, character by character. */
const loopCode = Uint8Array.of(
  0xbe, TEXT & 0xff, TEXT >> 8,     // 1000: mov $TEXT, %si
  0xba, SERIAL & 0xff, SERIAL >> 8, // 1003: mov $SERIAL, %dx
  0xac,                             // 1006: lodsb
  0x08, 0xc0,                       // 1007: or %al, %al
  0x74, 0x03,                       // 1009: jz 0x100e
  0xee,                             // 100b: out %al, (%dx)
  0xeb, 0xf8,                       // 100c: jmp 0x1006
  0xf4,                             // 100e: hlt
);

/** Mode `string`: receives CX characters into BUFFER, then sends them, with one instruction each. */
const stringCode = Uint8Array.of(
  0xba, SERIAL & 0xff, SERIAL >> 8, // 1000: mov $SERIAL, %dx
  0x89, 0xcb,                       // 1003: mov %cx, %bx
  0xbf, BUFFER & 0xff, BUFFER >> 8, // 1005: mov $BUFFER, %di
  0xf3, 0x6c,                       // 1008: rep insb
  0x89, 0xd9,                       // 100a: mov %bx, %cx
  0xbe, BUFFER & 0xff, BUFFER >> 8, // 100c: mov $BUFFER, %si
  0xf3, 0x6e,                       // 100f: rep outsb
  0xf4,                             // 1011: hlt
);

/** Step 4, mode `few`: a guest of yours that gets the text at TEXT out with far fewer exits. CX holds its length; a NUL byte follows it. */
const fewCode = Uint8Array.of(
  0xf4, // 1000: hlt
);

/** A VM with one vCPU, as lab 01-hlt makes it. */
interface Vm { readonly memory: number; readonly vcpu: number; readonly run: kvm_run }

/** Makes a VM that will start at CODE in real mode, with `length` in CX and all segments at 0. */
function* makeVm(code: Uint8Array, length: number): Sys<Vm> {
  const kvm = yield* open('/dev/kvm', O_RDWR | O_CLOEXEC);
  const vm = yield* ioctl(kvm, KVM_CREATE_VM, 0);
  const memory = yield* mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  storeBytes(memory + CODE, code);
  const region = yield* alloc(kvm_userspace_memory_region);
  assign(region, { slot: 0, guest_phys_addr: 0n, memory_size: BigInt(MEMORY), userspace_addr: BigInt(memory) });
  yield* ioctl(vm, KVM_SET_USER_MEMORY_REGION, region);
  const vcpu = yield* ioctl(vm, KVM_CREATE_VCPU, 0);
  const run = view(kvm_run, yield* mmap(0, yield* ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
  const sregs = yield* alloc(kvm_sregs);
  yield* ioctl(vcpu, KVM_GET_SREGS, sregs);
  sregs.cs.base = 0n;
  sregs.cs.selector = 0;
  yield* ioctl(vcpu, KVM_SET_SREGS, sregs);
  const regs = yield* alloc(kvm_regs);
  assign(regs, { rip: BigInt(CODE), rflags: 2n, rcx: BigInt(length) });
  yield* ioctl(vcpu, KVM_SET_REGS, regs);
  return { memory, vcpu, run };
}

/**
 * Step 1. Runs the vCPU over and over until it halts, and writes to standard output what the guest sends to SERIAL.
 * The bytes lie io.data_offset bytes behind kvm_run. You need KVM_RUN, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_HLT,
 * addressOf, write.
 *
 * Step 2. Counts how often KVM_RUN returned, the last time included, and prints it at the end: `exits: 24`. You need printf.
 *
 * Step 3. Mode `string`: when the guest reads (KVM_EXIT_IO_IN), gives it the next bytes of `input`. One exit may ask for
 * more than one element: io.count of io.size bytes each. You need storeBytes.
 */
function* runLoop(vm: Vm, input: Uint8Array): Sys<number> {
  return yield* missing(1, `run the vCPU on descriptor ${vm.vcpu} until it halts (${input.length} characters to come)`);
}

export function* main(argv: string[]): Sys<number> {
  const [, mode = 'loop', text = 'Hello from guest mode!\n'] = argv;
  const code = { loop: loopCode, string: stringCode, few: fewCode }[mode];
  if (code === undefined) {
    yield* eputs(`02-serial: ${mode}: the modes are loop, string and few`);
    return 2;
  }
  const bytes = encode(text);
  const vm = yield* makeVm(code, bytes.length);
  // In mode string the guest has no text yet: it asks for it.
  if (mode !== 'string') storeBytes(vm.memory + TEXT, bytes);
  return yield* runLoop(vm, bytes);
}
