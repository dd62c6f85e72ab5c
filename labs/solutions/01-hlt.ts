/** Solution of lab 01-hlt: one guest, one instruction, seen as a thread and as guest mode. */
import {
  KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_EXIT_HLT, KVM_GET_API_VERSION, KVM_GET_SREGS, KVM_GET_VCPU_MMAP_SIZE, KVM_RUN, KVM_SET_REGS, KVM_SET_SREGS,
  KVM_SET_USER_MEMORY_REGION, MAP_ANONYMOUS, MAP_SHARED, O_CLOEXEC, O_RDWR, PROT_READ, PROT_WRITE, type Sys, assign, kvm_regs, kvm_run, kvm_sregs,
  kvm_userspace_memory_region,
} from 'vitrine/abi';
import { alloc, eputs, getpid, gettid, ioctl, mmap, open, printf, pthread_create, pthread_join, puts, readFile, storeBytes, view } from 'vitrine/libc';

const PAGE = 0x1000;
const ENTRY = 0x1000;
const guestCode = Uint8Array.of(
  0xf4, // hlt
);

export function* main(): Sys<number> {
  // Step 1: the system descriptor.
  const kvm = yield* open('/dev/kvm', O_RDWR | O_CLOEXEC);
  const version = yield* ioctl(kvm, KVM_GET_API_VERSION, 0);
  yield* printf('KVM API version %d\n', version);
  if (version !== 12) return 1;

  // Step 2: a VM with one page of memory.
  const vm = yield* ioctl(kvm, KVM_CREATE_VM, 0);
  const memory = yield* mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  storeBytes(memory, guestCode);
  const region = yield* alloc(kvm_userspace_memory_region);
  assign(region, { slot: 0, guest_phys_addr: BigInt(ENTRY), memory_size: BigInt(PAGE), userspace_addr: BigInt(memory) });
  yield* ioctl(vm, KVM_SET_USER_MEMORY_REGION, region);

  // Step 3: a vCPU that starts at ENTRY.
  const vcpu = yield* ioctl(vm, KVM_CREATE_VCPU, 0);
  const size = yield* ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  const run = view(kvm_run, yield* mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
  const sregs = yield* alloc(kvm_sregs);
  yield* ioctl(vcpu, KVM_GET_SREGS, sregs);
  sregs.cs.base = 0n;
  sregs.cs.selector = 0;
  yield* ioctl(vcpu, KVM_SET_SREGS, sregs);
  const regs = yield* alloc(kvm_regs);
  regs.rip = BigInt(ENTRY);
  regs.rflags = 2n;
  yield* ioctl(vcpu, KVM_SET_REGS, regs);

  // Steps 4 and 5: the vCPU runs as a thread of its own, which looks at itself from both sides.
  const thread = yield* pthread_create(function* vcpuThread(): Sys<number> {
    yield* ioctl(vcpu, KVM_RUN, 0);
    if (run.exit_reason !== KVM_EXIT_HLT) {
      yield* eputs(`exit reason ${run.exit_reason}, expected KVM_EXIT_HLT`);
      return 1;
    }
    yield* puts('KVM_EXIT_HLT');
    const pid = yield* getpid();
    const tid = yield* gettid();
    const name = (yield* readFile(`/proc/${pid}/task/${tid}/comm`)).trim();
    const exits = (yield* readFile(`/sys/kernel/debug/kvm/${pid}-${vm}/exits`)).trim();
    yield* printf('thread: pid %d, tid %d, %s\n', pid, tid, name);
    yield* printf('guest mode: %s exits\n', exits);
    return 0;
  }, 'CPU 0/KVM');
  return (yield* pthread_join(thread)) ?? 1;
}
