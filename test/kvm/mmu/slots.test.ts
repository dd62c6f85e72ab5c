import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as K from '../../../abi/kvm/index.ts';
import { MADV_DONTNEED } from '../../../abi/mman.ts';
import { __NR_madvise } from '../../../abi/syscalls.ts';
import type { Sys } from '../../../abi/process.ts';
import { pthread_create, pthread_join, storeBytes, syscall, usleep } from '../../../userland/libc.ts';
import { make, setmem } from '../../golden/probe/machine.ts';
import { rawIoctl } from '../../golden/probe/recorder.ts';
import { sh } from '../../support/boot.ts';
import { HUGE, TEST_GPA, type Vm, begin, contents, create, destroy, inSystem, next, read, stat, write } from './guest.ts';
import { generator } from './paging-scripts.ts';

const EINVAL = 22, ENOENT = 2, EOPNOTSUPP = 95;
const MMUS = [['ept=1', 'long'], ['ept=1', 'none'], ['ept=0', 'long'], ['ept=0', 'paged32'], ['ept=0', 'none']] as const;

/** Runs a vCPU to the end of its script; what it did to addresses without memory goes to `missed`. */
function* runThrough(vm: Vm, i: number, missed: Set<number>): Sys {
  const cpu = vm.cpus[i]!;
  for (;;) {
    const why = yield* next(cpu);
    if (why === 'done') return;
    if (why !== `exit ${K.KVM_EXIT_MMIO}`) throw new Error(why);
    missed.add(Number(cpu.run.mmio.phys_addr));
  }
}

for (const [parameters, paging] of MMUS) {
  test(`while a slot moves, goes and comes back, each write of two vCPUs is in memory or was an MMIO exit: ${parameters}, ${paging}`, () => {
    let landed = 0, exits = 0;
    inSystem(function* body(sys) {
      const random = generator(7);
      const bytes = 2 * HUGE;
      const vm = yield* create(sys, { paging, bytes, huge: paging !== 'long', cpus: 2 });
      const missed = new Set<number>();
      const scripts = vm.cpus.map(() => Array.from({ length: 3000 }, () => (random(4) === 0 ? read(random(1024), random(4096)) : write(random(1024), random(4096)))));
      let running = 2;
      let failure: unknown;
      const threads: Parameters<typeof pthread_join>[0][] = [];
      for (const cpu of vm.cpus) {
        yield* begin(vm, cpu, scripts[cpu.id]!);
        threads.push(yield* pthread_create(function* vcpu() {
          try { yield* runThrough(vm, cpu.id, missed); } catch (e) { failure ??= e; }
          running--;
          return 0;
        }));
      }
      for (let turn = 0; running > 0; turn++) {
        yield* usleep(paging === 'none' ? 4 : 20);
        const elsewhere = BigInt(0x8000_0000 + random(16) * HUGE);
        if (turn % 3 === 0) {
          yield* setmem(vm.vm, 1, 0, elsewhere, bytes, vm.mem);
          yield* usleep(paging === 'none' ? 30 : 8);
          yield* setmem(vm.vm, 1, 0, BigInt(TEST_GPA), bytes, vm.mem);
        } else if (turn % 3 === 1) {
          yield* setmem(vm.vm, 1, 0, 0n, 0, vm.mem);
          yield* usleep(paging === 'none' ? 30 : 8);
          yield* setmem(vm.vm, 1, turn & 1 ? K.KVM_MEM_LOG_DIRTY_PAGES : 0, BigInt(TEST_GPA), bytes, vm.mem);
        } else yield* setmem(vm.vm, 2, 0, 0x1_0000_0000n + BigInt(turn % 7) * 0x10_0000n, 4096, vm.low);
      }
      for (const thread of threads) yield* pthread_join(thread);
      if (failure !== undefined) throw failure;
      const written = new Set(scripts.flat().filter((e) => (e & 1) === 0));
      for (let page = 0; page < bytes / 4096; page++) {
        const words = new Uint32Array(contents(vm, page).buffer);
        words.forEach((value, i) => {
          const address = TEST_GPA + page * 4096 + i * 4;
          if (value === address) {
            assert.ok(written.has(address));
            landed++;
          } else {
            assert.equal(value, 0);
            if (written.has(address)) assert.ok(missed.has(address), `the write to ${address.toString(16)} is lost`);
          }
        });
      }
      exits = missed.size;
      yield* destroy(vm);
    }, parameters);
    assert.ok(landed > 500 && exits > 20, `${landed} landed, ${exits} exits`);
  });
}

test('what the process throws away, a guest with shadow tables loses too, and reads what came instead', () => {
  inSystem(function* body(sys) {
    const vm = yield* create(sys, { paging: 'long', bytes: HUGE, huge: true, cpus: 1 });
    const cpu = vm.cpus[0]!;
    const seen = function* seen(): Sys<bigint> {
      yield* begin(vm, cpu, [read(5, 16)]);
      assert.equal(yield* next(cpu), 'done');
      const regs = yield* make(K.kvm_regs);
      yield* rawIoctl(cpu.fd, K.KVM_GET_REGS.nr, regs);
      return regs.rbx;
    };
    yield* begin(vm, cpu, [write(5, 16)]);
    assert.equal(yield* next(cpu), 'done');
    assert.equal(yield* seen(), BigInt(write(5, 16)));
    yield* syscall(__NR_madvise, vm.mem + 5 * 4096, 4096, MADV_DONTNEED);
    assert.equal(yield* seen(), 0n);
    storeBytes(vm.mem + 5 * 4096 + 16, Uint8Array.of(7, 0, 0, 0));
    assert.equal(yield* seen(), 7n);
    yield* destroy(vm);
  }, 'ept=0');
});

test('KVM_SET_NR_MMU_PAGES limits shadow pages: the oldest go, and the guest does not notice', () => {
  inSystem(function* body(sys) {
    const bytes = 180 << 20;
    const vm = yield* create(sys, { paging: 'long', bytes, huge: false, cpus: 1 });
    const cpu = vm.cpus[0]!;
    assert.equal(yield* rawIoctl(vm.vm, K.KVM_SET_NR_MMU_PAGES.nr, 63), -EINVAL);
    assert.equal(yield* rawIoctl(vm.vm, K.KVM_SET_NR_MMU_PAGES.nr, 64), 0);
    for (let round = 0; round < 2; round++) {
      yield* begin(vm, cpu, Array.from({ length: bytes / HUGE }, (_, i) => write(i * 512)));
      assert.equal(yield* next(cpu), 'done');
    }
    for (let i = 0; i < bytes / HUGE; i++) assert.equal(new Uint32Array(contents(vm, i * 512).buffer)[0], write(i * 512));
    assert.ok((yield* stat(vm, 'mmu_recycled')) >= 90);
    yield* destroy(vm);
  }, 'ept=0', 1, 60, 256 << 20);
});

test('KVM_PRE_FAULT_MEMORY maps ahead of the guest, stops where there is no memory, and is not there with shadow paging', () => {
  inSystem(function* body(sys) {
    const vm = yield* create(sys, { paging: 'none', bytes: HUGE, huge: false, cpus: 1 });
    const cpu = vm.cpus[0]!;
    assert.equal(yield* rawIoctl(sys, K.KVM_CHECK_EXTENSION.nr, K.KVM_CAP_PRE_FAULT_MEMORY), 1);
    const ask = function* ask(gpa: number, size: number, flags = 0n): Sys<[number, bigint, bigint]> {
      const range = yield* make(K.kvm_pre_fault_memory, { gpa: BigInt(gpa), size: BigInt(size), flags });
      const r = yield* rawIoctl(cpu.fd, K.KVM_PRE_FAULT_MEMORY.nr, range);
      return [r, range.gpa, range.size];
    };
    assert.deepEqual(yield* ask(0, HUGE, 1n), [-EINVAL, 0n, BigInt(HUGE)]);
    assert.deepEqual(yield* ask(8, HUGE), [-EINVAL, 8n, BigInt(HUGE)]);
    assert.deepEqual(yield* ask(0, 0), [-EINVAL, 0n, 0n]);
    assert.deepEqual(yield* ask(0x9000_0000, 4096), [-ENOENT, 0x9000_0000n, 4096n]);
    const end = TEST_GPA + HUGE;
    assert.deepEqual(yield* ask(0, end), [0, BigInt(end), 0n]);
    assert.deepEqual(yield* ask(end - 4096, 8192), [0, BigInt(end), 4096n]);
    const before = yield* stat(vm, 'pf_taken');
    yield* begin(vm, cpu, Array.from({ length: 512 }, (_, page) => read(page)));
    assert.equal(yield* next(cpu), 'done');
    assert.equal(yield* stat(vm, 'pf_taken'), before);
    yield* destroy(vm);
  });
  inSystem(function* body(sys) {
    const vm = yield* create(sys, { paging: 'none', bytes: HUGE, huge: false, cpus: 1 });
    assert.equal(yield* rawIoctl(sys, K.KVM_CHECK_EXTENSION.nr, K.KVM_CAP_PRE_FAULT_MEMORY), 0);
    const range = yield* make(K.kvm_pre_fault_memory, { size: 4096n });
    assert.equal(yield* rawIoctl(vm.cpus[0]!.fd, K.KVM_PRE_FAULT_MEMORY.nr, range), -EOPNOTSUPP);
    yield* destroy(vm);
  }, 'ept=0');
});

test('the write faults of a dirty log are mended without the slots, and counted so', () => {
  inSystem(function* body(sys) {
    const vm = yield* create(sys, { paging: 'none', bytes: HUGE, huge: false, cpus: 1 });
    const cpu = vm.cpus[0]!;
    const all = Array.from({ length: 100 }, (_, page) => write(page));
    yield* begin(vm, cpu, all);
    assert.equal(yield* next(cpu), 'done');
    assert.equal(yield* stat(vm, 'pf_fast'), 0);
    yield* setmem(vm.vm, 1, K.KVM_MEM_LOG_DIRTY_PAGES, BigInt(TEST_GPA), HUGE, vm.mem);
    yield* begin(vm, cpu, all);
    assert.equal(yield* next(cpu), 'done');
    assert.equal(yield* stat(vm, 'pf_fast'), 100);
    yield* destroy(vm);
  });
});

test('parameters of kvm_intel show what is in force: without EPT no unrestricted guest, nothing the processor has not', () => {
  const { output } = sh('cd /sys/module/kvm_intel/parameters; grep . ept unrestricted_guest eptad nested ple_gap; rmmod kvm_intel; modprobe kvm_intel ept=0 nested=1 ple_gap=128; cd /; grep . /sys/module/kvm_intel/parameters/*; modprobe -r kvm_intel; modprobe kvm_intel ept=maybe');
  const lines = output.replaceAll('/sys/module/kvm_intel/parameters/', '').split('\n');
  for (const line of ['ept:Y', 'unrestricted_guest:Y', 'eptad:Y', 'nested:N', 'ple_gap:0', 'ept:N', 'unrestricted_guest:N', 'eptad:N', 'vpid:Y']) assert.ok(lines.includes(line), `${line} in ${output}`);
  assert.match(output, /could not insert 'kvm_intel': Invalid parameters/);
});
