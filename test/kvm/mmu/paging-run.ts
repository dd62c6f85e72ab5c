/** Runs a memory image on bare silicon, and on KVM with either MMU: what memory holds afterwards, and what it took. */
import * as K from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { addressOf } from '../../../abi/struct.ts';
import { __NR_clock_gettime } from '../../../abi/syscalls.ts';
import { CLOCK_MONOTONIC, timespec } from '../../../abi/time.ts';
import { BareMachine } from '../../../bench/bare-machine.ts';
import { costs } from '../../../machine/costs.ts';
import { close, loadBytes, mmap, munmap, readFile, getpid, storeBytes, syscall, view } from '../../../userland/libc.ts';
import { make, setmem, supportedCpuid, words } from '../../golden/probe/machine.ts';
import { rawIoctl } from '../../golden/probe/recorder.ts';
import { inSystem, memory } from './guest.ts';
import { ENTRY, MEMORY } from './paging-scripts.ts';

export interface PagingResult { readonly memory: Uint8Array; readonly cycles: number; readonly exits: number; readonly faults: number; readonly injected: number }

export function onSilicon(image: Uint8Array): PagingResult {
  const m = new BareMachine(MEMORY, costs);
  m.ram.mem.u8.set(image, m.ram.base);
  m.protectedMode(ENTRY);
  m.run(100_000_000);
  if (m.status === undefined) throw new Error('the guest did not leave');
  return { memory: m.ram.mem.u8.slice(m.ram.base, m.ram.base + MEMORY), cycles: m.clock, exits: 0, faults: 0, injected: 0 };
}

function* onKvm(sys: number, image: Uint8Array): Sys<PagingResult> {
  const vm = yield* rawIoctl(sys, K.KVM_CREATE_VM.nr, 0);
  yield* rawIoctl(vm, K.KVM_SET_IDENTITY_MAP_ADDR.nr, yield* words(0xfffbc000n));
  yield* rawIoctl(vm, K.KVM_SET_TSS_ADDR.nr, 0xfffbd000);
  const mem = yield* memory(MEMORY, false);
  storeBytes(mem, image);
  yield* setmem(vm, 0, 0, 0n, MEMORY, mem);
  const vcpu = yield* rawIoctl(vm, K.KVM_CREATE_VCPU.nr, 0);
  const run = view(K.kvm_run, yield* mmap(0, 12288, 3, 1, vcpu, 0));
  yield* rawIoctl(vcpu, K.KVM_SET_CPUID2.nr, yield* supportedCpuid(sys));
  const s = yield* make(K.kvm_sregs);
  yield* rawIoctl(vcpu, K.KVM_GET_SREGS.nr, s);
  for (const seg of [s.cs, s.ds, s.es, s.fs, s.gs, s.ss]) Object.assign(seg, { base: 0n, limit: 0xffff_ffff, selector: 16, type: 3, present: 1, dpl: 0, db: 1, s: 1, l: 0, g: 1, avl: 0, unusable: 0 });
  Object.assign(s.cs, { selector: 8, type: 11 });
  s.cr0 = 0x11n;
  if ((yield* rawIoctl(vcpu, K.KVM_SET_SREGS.nr, s)) !== 0) throw new Error('KVM_SET_SREGS');
  yield* rawIoctl(vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: BigInt(ENTRY), rflags: 2n }));
  // One nanosecond is one cycle.
  const at = yield* make(timespec);
  const tsc = function* tsc(): Sys<number> {
    yield* syscall(__NR_clock_gettime, CLOCK_MONOTONIC, addressOf(at));
    return Number(at.tv_sec) * 1e9 + Number(at.tv_nsec);
  };
  const before = yield* tsc();
  const r = yield* rawIoctl(vcpu, K.KVM_RUN.nr, 0);
  const cycles = (yield* tsc()) - before;
  if (r !== 0 || run.exit_reason !== K.KVM_EXIT_IO) throw new Error(`KVM_RUN: ${r}, exit ${run.exit_reason}, suberror ${run.internal.suberror}`);
  const dir = `/sys/kernel/debug/kvm/${yield* getpid()}-${vm}`;
  const stat = function* stat(name: string): Sys<number> { return Number(yield* readFile(`${dir}/${name}`)); };
  const result = { memory: loadBytes(mem, MEMORY), cycles, exits: yield* stat('exits'), faults: yield* stat('pf_taken'), injected: yield* stat('pf_guest') };
  yield* close(vcpu);
  yield* close(vm);
  yield* munmap(mem, MEMORY);
  return result;
}

/** All images in one boot. */
export function underKvm(images: readonly Uint8Array[], parameters: string): PagingResult[] {
  const results: PagingResult[] = [];
  inSystem(function* body(sys) { for (const image of images) results.push(yield* onKvm(sys, image)); }, parameters, 1);
  return results;
}
