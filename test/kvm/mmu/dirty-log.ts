/** Collects what a VM dirtied, by whichever of the logs it has, and keeps a copy of the memory as a migration would. */
import * as K from '../../../abi/kvm/index.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../../abi/mman.ts';
import type { Sys } from '../../../abi/process.ts';
import { loadBytes, malloc, mmap, pthread_create, pthread_join, storeBytes } from '../../../userland/libc.ts';
import { make, setmem } from '../../golden/probe/machine.ts';
import { rawIoctl } from '../../golden/probe/recorder.ts';
import { type Cpu, type Options, type Vm, TEST_GPA, begin, contents, next } from './guest.ts';

export const LOGS = ['bitmap', 'manual', 'initially set', 'ring'] as const;
export type Log = (typeof LOGS)[number];

/** Bytes of a ring: 256 entries. */
const RING = 4096;
export const logOptions = (log: Log): Pick<Options, 'ring' | 'manual'> =>
  (log === 'ring' ? { ring: RING } : log === 'bitmap' ? {} : { manual: log === 'manual' ? 1n : 3n });

export interface Collector { readonly vm: Vm; readonly log: Log; readonly rings: number[]; readonly fetched: number[]; readonly bitmap: number; readonly seen: Set<number>; readonly copy: Uint8Array[] }

export function* collector(vm: Vm, log: Log): Sys<Collector> {
  const rings: number[] = [];
  if (log === 'ring') for (const cpu of vm.cpus) rings.push(yield* mmap(0, RING, PROT_READ | PROT_WRITE, MAP_SHARED, cpu.fd, K.KVM_DIRTY_LOG_PAGE_OFFSET * 4096));
  const pages = vm.bytes / 4096;
  return { vm, log, rings, fetched: rings.map(() => 0), bitmap: yield* malloc(pages / 8), seen: new Set(), copy: Array.from({ length: pages }, (_, i) => contents(vm, i)) };
}

export const logging = (vm: Vm, on: boolean): Sys<number> => setmem(vm.vm, 1, on ? K.KVM_MEM_LOG_DIRTY_PAGES : 0, BigInt(TEST_GPA), vm.bytes, vm.mem);

function take(c: Collector, page: number): void {
  c.seen.add(page);
  c.copy[page] = contents(c.vm, page);
}

/** Fetches what is dirty, starts over, and copies those pages: in this order, so that a write in between is told again. */
export function* harvest(c: Collector): Sys {
  const { vm } = c;
  if (c.log === 'ring') {
    const pages = harvestRings(c);
    if (pages.length === 0) return;
    yield* rawIoctl(vm.vm, K.KVM_RESET_DIRTY_RINGS.nr, 0);
    for (const page of pages) take(c, page);
    return;
  }
  const npages = vm.bytes / 4096;
  const r = yield* rawIoctl(vm.vm, K.KVM_GET_DIRTY_LOG.nr, yield* make(K.kvm_dirty_log, { slot: 1, dirty_bitmap: BigInt(c.bitmap) }));
  if (r !== 0) throw new Error(`KVM_GET_DIRTY_LOG: ${r}`);
  const bits = loadBytes(c.bitmap, npages / 8);
  if (c.log !== 'bitmap') {
    storeBytes(c.bitmap, bits);
    const cleared = yield* rawIoctl(vm.vm, K.KVM_CLEAR_DIRTY_LOG.nr, yield* make(K.kvm_clear_dirty_log, { slot: 1, num_pages: npages, dirty_bitmap: BigInt(c.bitmap) }));
    if (cleared !== 0) throw new Error(`KVM_CLEAR_DIRTY_LOG: ${cleared}`);
  }
  for (let page = 0; page < npages; page++) if ((bits[page >>> 3]! & (1 << (page & 7))) !== 0) take(c, page);
}

function harvestRings(c: Collector): number[] {
  const pages: number[] = [];
  c.rings.forEach((ring, i) => {
    for (;;) {
      const at = ring + (c.fetched[i]! % (RING / 16)) * 16;
      const entry = new Uint32Array(loadBytes(at, 16).buffer);
      if (entry[0] !== K.KVM_DIRTY_GFN_F_DIRTY) return;
      if (entry[1] !== 1) throw new Error(`an entry of slot ${entry[1]}`);
      pages.push(entry[2]!);
      storeBytes(at, Uint8Array.of(K.KVM_DIRTY_GFN_F_RESET, 0, 0, 0));
      c.fetched[i]!++;
    }
  });
  return pages;
}

/** Runs a script to its end, emptying the ring when the guest has to leave for it. How often it had to. */
export function* runScript(c: Collector, cpu: Cpu, script: readonly number[]): Sys<number> {
  yield* begin(c.vm, cpu, script);
  let full = 0;
  for (;;) {
    const why = yield* next(cpu);
    if (why === 'done') return full;
    if (why !== `exit ${K.KVM_EXIT_DIRTY_RING_FULL}`) throw new Error(why);
    full++;
    yield* harvest(c);
  }
}

/** All vCPUs at once, each with its script, while the caller does something else. */
export function* together(c: Collector, scripts: readonly (readonly number[])[], meanwhile: () => Sys): Sys<number> {
  let full = 0;
  let failure: unknown;
  const threads: Parameters<typeof pthread_join>[0][] = [];
  for (const cpu of c.vm.cpus) {
    threads.push(yield* pthread_create(function* vcpu() {
      try {
        full += yield* runScript(c, cpu, scripts[cpu.id]!);
      } catch (e) {
        failure ??= e;
      }
      return 0;
    }));
  }
  yield* meanwhile();
  for (const thread of threads) yield* pthread_join(thread);
  if (failure !== undefined) throw failure;
  return full;
}
