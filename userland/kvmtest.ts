/**
 * The sample that everyone who learns KVM starts from: sixteen-bit code adds two numbers, prints the digit on a
 * serial port, and halts. Each line here stands beside its C original.
 * Linux: Documentation/virt/kvm/api.rst describes every call in it.
 */
import type { Sys } from '../abi/process.ts';
import { O_CLOEXEC, O_RDWR } from '../abi/fcntl.ts';
import { MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import {
  KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_IO, KVM_EXIT_IO_OUT,
  KVM_GET_API_VERSION, KVM_GET_SREGS, KVM_GET_VCPU_MMAP_SIZE, KVM_RUN, KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_USER_MEMORY_REGION,
  kvm_regs, kvm_run, kvm_sregs, kvm_userspace_memory_region,
} from '../abi/kvm/index.ts';
import { addressOf, assign } from '../abi/struct.ts';
import { alloc, eputs, ioctl, mmap, open, printf, puts, storeBytes, view, write } from './libc.ts';

const code = Uint8Array.of(
  0xba, 0xf8, 0x03, // mov $0x3f8, %dx
  0x00, 0xd8,       // add %bl, %al
  0x04, 0x30,       // add $'0', %al
  0xee,             // out %al, (%dx)
  0xb0, 0x0a,       // mov $'\n', %al
  0xee,             // out %al, (%dx)
  0xf4,             // hlt
);

export function* main(): Sys<number> {
  const kvm = yield* open('/dev/kvm', O_RDWR | O_CLOEXEC);                                        // kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

  const version = yield* ioctl(kvm, KVM_GET_API_VERSION, 0);                                      // ret = ioctl(kvm, KVM_GET_API_VERSION, NULL);
  if (version !== 12) { yield* eputs(`KVM_GET_API_VERSION ${version}, expected 12`); return 1; }  // if (ret != 12) errx(1, …);

  const vmfd = yield* ioctl(kvm, KVM_CREATE_VM, 0);                                               // vmfd = ioctl(kvm, KVM_CREATE_VM, 0);

  // One page of guest memory holds the code.
  const mem = yield* mmap(0, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);  // mem = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, …);
  storeBytes(mem, code);                                                                          // memcpy(mem, code, sizeof(code));

  // It is the guest's second page frame: the real-mode interrupt table would be at 0.
  const region = yield* alloc(kvm_userspace_memory_region);                                       // struct kvm_userspace_memory_region region = {
  assign(region, {
    slot: 0,                                                                                      //   .slot = 0,
    guest_phys_addr: 0x1000n,                                                                     //   .guest_phys_addr = 0x1000,
    memory_size: 0x1000n,                                                                         //   .memory_size = 0x1000,
    userspace_addr: BigInt(mem),                                                                  //   .userspace_addr = (uint64_t)mem,
  });                                                                                             // };
  yield* ioctl(vmfd, KVM_SET_USER_MEMORY_REGION, region);                                         // ioctl(vmfd, KVM_SET_USER_MEMORY_REGION, &region);

  const vcpufd = yield* ioctl(vmfd, KVM_CREATE_VCPU, 0);                                          // vcpufd = ioctl(vmfd, KVM_CREATE_VCPU, 0);

  // The page that the kernel and this program share says why the guest stopped.
  const size = yield* ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);                                      // mmap_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
  const shared = yield* mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpufd, 0);
  const run = view(kvm_run, shared);                                                              // run = mmap(NULL, mmap_size, …, MAP_SHARED, vcpufd, 0);

  // The reset vector is 0xfffffff0; a zero base puts CS:IP on the page instead.
  const sregs = yield* alloc(kvm_sregs);                                                          // struct kvm_sregs sregs;
  yield* ioctl(vcpufd, KVM_GET_SREGS, sregs);                                                     // ioctl(vcpufd, KVM_GET_SREGS, &sregs);
  sregs.cs.base = 0n;                                                                             // sregs.cs.base = 0;
  sregs.cs.selector = 0;                                                                          // sregs.cs.selector = 0;
  yield* ioctl(vcpufd, KVM_SET_SREGS, sregs);                                                     // ioctl(vcpufd, KVM_SET_SREGS, &sregs);

  // Bit 1 of RFLAGS is always set.
  const regs = yield* alloc(kvm_regs);                                                            // struct kvm_regs regs = {
  regs.rip = 0x1000n;                                                                             //   .rip = 0x1000,
  regs.rax = 2n;                                                                                  //   .rax = 2,
  regs.rbx = 2n;                                                                                  //   .rbx = 2,
  regs.rflags = 0x2n;                                                                             //   .rflags = 0x2, };
  yield* ioctl(vcpufd, KVM_SET_REGS, regs);                                                       // ioctl(vcpufd, KVM_SET_REGS, &regs);

  for (;;) {                                                                                      // while (1) {
    yield* ioctl(vcpufd, KVM_RUN, 0);                                                             //   ioctl(vcpufd, KVM_RUN, NULL);
    switch (run.exit_reason) {                                                                    //   switch (run->exit_reason) {
      case KVM_EXIT_HLT:                                                                          //   case KVM_EXIT_HLT:
        yield* puts('KVM_EXIT_HLT');                                                              //     puts("KVM_EXIT_HLT");
        return 0;                                                                                 //     return 0;
      case KVM_EXIT_IO:                                                                           //   case KVM_EXIT_IO:
        if (run.io.direction === KVM_EXIT_IO_OUT && run.io.size === 1 &&                          //     if (run->io.direction == KVM_EXIT_IO_OUT && run->io.size == 1 &&
            run.io.port === 0x3f8 && run.io.count === 1) {                                        //         run->io.port == 0x3f8 && run->io.count == 1)
          yield* write(1, addressOf(run) + Number(run.io.data_offset), 1);                        //       putchar(*(((char *)run) + run->io.data_offset));
          break;
        }
        yield* eputs('unhandled KVM_EXIT_IO');                                                    //     else errx(1, "unhandled KVM_EXIT_IO");
        return 1;
      case KVM_EXIT_FAIL_ENTRY:                                                                   //   case KVM_EXIT_FAIL_ENTRY:
        yield* printf('KVM_EXIT_FAIL_ENTRY: hardware_entry_failure_reason = 0x%llx\n', run.fail_entry.hardware_entry_failure_reason);
        return 1;
      case KVM_EXIT_INTERNAL_ERROR:                                                               //   case KVM_EXIT_INTERNAL_ERROR:
        yield* printf('KVM_EXIT_INTERNAL_ERROR: suberror = 0x%x\n', run.internal.suberror);       //     errx(1, …, run->internal.suberror);
        return 1;
      default:
        yield* eputs(`exit_reason = 0x${run.exit_reason.toString(16)}`);
        return 1;
    }
  }
}
