/**
 * The smallest VMM that shows the point: a process of its own with one VM, whose vCPU is one of its threads. What it
 * sees it writes to a page shared with `hybrid`; the guest's memory is shared too, as it is ordinary memory.
 */
import type { Sys } from '../../abi/process.ts';
import { EINTR } from '../../abi/errno.ts';
import { O_CLOEXEC, O_RDWR } from '../../abi/fcntl.ts';
import {
  KVM_CREATE_VCPU, KVM_CREATE_VM, KVM_EXIT_IO, KVM_GET_SREGS, KVM_GET_VCPU_MMAP_SIZE, KVM_RUN, KVM_SET_REGS, KVM_SET_SREGS, KVM_SET_USER_MEMORY_REGION,
  kvm_regs, kvm_run, kvm_sregs, kvm_userspace_memory_region,
} from '../../abi/kvm/index.ts';
import { MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { SIGUSR1 } from '../../abi/signal.ts';
import { type Of, array, assign, struct, u32, u64, u8 } from '../../abi/struct.ts';
import { __NR_ioctl } from '../../abi/syscalls.ts';
import { alloc, arm, fork, getpid, gettid, ioctl, mmap, open, pthread_create, pthread_join, sigaction, storeBytes, view } from '../libc.ts';
import { CODE, type Guest, MEMORY, TEXT } from './guests.ts';

/** What the VMM tells of itself, in a page it shares with whoever started it. */
export const vmm_report = struct('vmm_report', {
  ready: u32, vm_fd: u32, tid: u32, error: u32, last_exit: u32, interrupted: u32, exits: u64, said: u32, text: array(u8, 64),
});
export type vmm_report = Of<typeof vmm_report>;

const SHARED = MAP_SHARED | MAP_ANONYMOUS;

export interface Vmm { readonly guest: Guest; readonly pid: number; readonly report: vmm_report; readonly ram: number }

/** Starts a VMM around `guest` as a child process. */
export function* startVmm(guest: Guest): Sys<Vmm> {
  const page = yield* mmap(0, 4096, PROT_READ | PROT_WRITE, SHARED, -1, 0);
  const ram = yield* mmap(0, MEMORY, PROT_READ | PROT_WRITE, SHARED, -1, 0);
  storeBytes(ram + CODE, guest.code);
  const pid = yield* fork(function* child(): Sys<number> {
    const vcpu = yield* createVm(page, ram);
    // A handler that does nothing: the signal's work is to make KVM_RUN return.
    yield* sigaction(SIGUSR1, function* interrupted() {});
    const thread = yield* pthread_create(() => vcpuThread(vcpu, page), 'CPU 0/KVM');
    yield* pthread_join(thread);
    return 0;
  });
  return { guest, pid, report: view(vmm_report, page), ram };
}

interface Vcpu { readonly fd: number; readonly shared: number }

function* createVm(page: number, ram: number): Sys<Vcpu> {
  const kvm = yield* open('/dev/kvm', O_RDWR | O_CLOEXEC);
  const vm = yield* ioctl(kvm, KVM_CREATE_VM, 0);
  const region = yield* alloc(kvm_userspace_memory_region);
  assign(region, { slot: 0, guest_phys_addr: 0n, memory_size: BigInt(MEMORY), userspace_addr: BigInt(ram) });
  yield* ioctl(vm, KVM_SET_USER_MEMORY_REGION, region);
  const fd = yield* ioctl(vm, KVM_CREATE_VCPU, 0);
  const shared = yield* mmap(0, yield* ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const sregs = yield* alloc(kvm_sregs);
  yield* ioctl(fd, KVM_GET_SREGS, sregs);
  sregs.cs.base = 0n;
  sregs.cs.selector = 0;
  yield* ioctl(fd, KVM_SET_SREGS, sregs);
  const regs = yield* alloc(kvm_regs);
  regs.rip = BigInt(CODE);
  regs.rflags = 2n;
  yield* ioctl(fd, KVM_SET_REGS, regs);
  view(vmm_report, page).vm_fd = vm;
  return { fd, shared };
}

/** The vCPU: an ordinary thread that spends its time in one system call. */
function* vcpuThread({ fd, shared }: Vcpu, page: number): Sys<number> {
  const report = view(vmm_report, page);
  const run = view(kvm_run, shared);
  report.tid = yield* gettid();
  report.ready = yield* getpid();
  for (;;) {
    arm(__NR_ioctl, fd, KVM_RUN.nr, 0);
    const result = yield;
    if (result === -EINTR) {
      report.interrupted++;
      continue;
    }
    report.exits++;
    report.last_exit = run.exit_reason;
    if (result < 0 || run.exit_reason !== KVM_EXIT_IO) {
      report.error = result < 0 ? -result : 0x10000 + run.exit_reason;
      return 1;
    }
    report.text.set(report.said % TEXT.length, view(u8, shared + Number(run.io.data_offset)));
    report.said++;
  }
}
