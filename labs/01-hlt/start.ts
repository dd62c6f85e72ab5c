/**
 * Lab 01-hlt: one guest, one instruction. README.md beside this file says what to do; each step that is still missing
 * says so when the program runs. Replace `return yield* missing(…)` of one step after the other.
 */
import { O_CLOEXEC, O_RDWR, type Sys } from 'vitrine/abi';
import { eputs, exit, open, printf } from 'vitrine/libc';

/** Ends the program with a line that says which step comes next. */
function* missing(step: number, what: string): Sys<never> {
  yield* eputs(`01-hlt: step ${step} is missing: ${what}`);
  return yield* exit(1);
}

/** Bytes of a page, and the guest-physical address at which the guest's page lies and its code starts. */
export const PAGE = 0x1000;
export const ENTRY = 0x1000;

/** Step 1. Asks KVM for the version of its interface. You need ioctl, KVM_GET_API_VERSION. */
function* apiVersion(kvm: number): Sys<number> {
  return yield* missing(1, `ask for the API version on descriptor ${kvm}`);
}

/**
 * Step 2. Makes a VM whose page at ENTRY holds one HLT (0xf4); gives its descriptor.
 * You need KVM_CREATE_VM, mmap, storeBytes, kvm_userspace_memory_region, alloc, assign, KVM_SET_USER_MEMORY_REGION.
 */
function* makeVm(kvm: number): Sys<number> {
  return yield* missing(2, `create a VM on descriptor ${kvm} and give it a page with a HLT`);
}

/**
 * Step 3. Makes a vCPU that will start at ENTRY in real mode with a code segment of base 0; gives its descriptor.
 * You need KVM_CREATE_VCPU, kvm_sregs, KVM_GET_SREGS, KVM_SET_SREGS, kvm_regs, KVM_SET_REGS.
 */
function* makeVcpu(vm: number): Sys<number> {
  return yield* missing(3, `create a vCPU on descriptor ${vm} and set its registers`);
}

/**
 * Step 4. Maps kvm_run, then runs the vCPU once, in a thread of its own that is named `CPU 0/KVM`. That thread prints
 * KVM_EXIT_HLT when that is why the guest stopped. You need KVM_GET_VCPU_MMAP_SIZE, mmap, view, kvm_run, pthread_create, pthread_join,
 * KVM_RUN, KVM_EXIT_HLT, puts.
 *
 * Step 5. The same thread then prints two lines about itself, as README.md shows them:
 *     thread: pid 7, tid 8, CPU 0/KVM
 *     guest mode: 2 exits
 * You need getpid, gettid, readFile.
 */
function* runVcpu(kvm: number, vm: number, vcpu: number): Sys<number> {
  return yield* missing(4, `map kvm_run of descriptor ${vcpu} (VM ${vm}, KVM ${kvm}) and run the vCPU in a thread`);
}

export function* main(): Sys<number> {
  const kvm = yield* open('/dev/kvm', O_RDWR | O_CLOEXEC);
  const version = yield* apiVersion(kvm);
  yield* printf('KVM API version %d\n', version);
  if (version !== 12) return 1;
  const vm = yield* makeVm(kvm);
  const vcpu = yield* makeVcpu(vm);
  return yield* runVcpu(kvm, vm, vcpu);
}
