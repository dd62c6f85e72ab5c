/** Solution of lab 02-serial: an exit loop for port I/O, string input, and a text in one exit. */
import {
  KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_EXIT_HLT, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_GET_SREGS, KVM_GET_VCPU_MMAP_SIZE, KVM_RUN, KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_USER_MEMORY_REGION,
  MAP_ANONYMOUS, MAP_SHARED, O_CLOEXEC, O_RDWR, PROT_READ, PROT_WRITE, type Sys, addressOf, array, assign, kvm_regs, kvm_run, kvm_sregs, kvm_userspace_memory_region, u32, u8,
} from 'vitrine/abi';
import { alloc, encode, eputs, ioctl, mmap, open, printf, storeBytes, view, write } from 'vitrine/libc';

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

/** The port on which the guest names the address of a text that ends with a NUL byte. */
const DOORBELL = 0x500;

/** Mode `few`: one OUT hands over the address of the whole text. */
const fewCode = Uint8Array.of(
  0x66, 0xb8, TEXT & 0xff, TEXT >> 8, 0, 0, // 1000: mov $TEXT, %eax
  0xba, DOORBELL & 0xff, DOORBELL >> 8,     // 1006: mov $DOORBELL, %dx
  0x66, 0xef,                               // 1009: out %eax, (%dx)
  0xf4,                                     // 100b: hlt
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

/** Sends out the text at `address` of guest memory. */
function* sendText(vm: Vm, address: number): Sys {
  const memory = view(array(u8, MEMORY), vm.memory);
  let end = address;
  while (end < MEMORY && memory.get(end) !== 0) end++;
  yield* write(1, vm.memory + address, end - address);
}

/** Runs the vCPU until it halts; `input` is what the guest's IN instructions read. */
function* runLoop(vm: Vm, input: Uint8Array): Sys<number> {
  const { run, vcpu } = vm;
  let given = 0;
  for (let exits = 1; ; exits++) {
    yield* ioctl(vcpu, KVM_RUN, 0);
    if (run.exit_reason === KVM_EXIT_HLT) {
      yield* printf('exits: %d\n', exits);
      return 0;
    }
    if (run.exit_reason !== KVM_EXIT_IO) {
      yield* eputs(`exit reason ${run.exit_reason}`);
      return 1;
    }
    const { direction, port, size, count } = run.io;
    const data = addressOf(run) + Number(run.io.data_offset);
    if (direction !== KVM_EXIT_IO_OUT) {
      storeBytes(data, input.subarray(given, given + size * count));
      given += size * count;
    } else if (port === SERIAL) yield* write(1, data, size * count);
    else if (port === DOORBELL && size === 4) yield* sendText(vm, view(u32, data));
  }
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
