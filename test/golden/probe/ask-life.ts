/** Questions about lives: descriptors closed in any order, another process, runs before anything is set up. */
import * as K from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { close, dup, fork, mmap, munmap, storeBytes, view, wait4 } from '../../../userland/libc.ts';
import { MMAP_SIZE, type Machine, anon, make, mk, rm } from './machine.ts';
import { type Recorder, rawIoctl } from './recorder.ts';

/** Real mode, CS base 0, one HLT at 0x1000. */
function* halting(m: Machine): Sys {
  storeBytes(m.mem + 0x1000, Uint8Array.of(0xf4));
  const s = yield* make(K.kvm_sregs);
  yield* rawIoctl(m.vcpu, K.KVM_GET_SREGS.nr, s);
  s.cs.base = 0n;
  s.cs.selector = 0;
  yield* rawIoctl(m.vcpu, K.KVM_SET_SREGS.nr, s);
  yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: 0x1000n, rflags: 2n }));
}

export function* askLife(q: Recorder, sys: number): Sys {
  let m = yield* mk(sys, { mem: true, vcpu: true, tss: true });
  yield* halting(m);
  yield* close(m.vm);
  yield* q.ask('life.run_after_vm_close', 'vcpu', m.vcpu, 'KVM_RUN', 'vm fd closed', 0);
  q.out('exit', m.run.exit_reason);
  yield* q.ask('life.vm_closed', 'vm', m.vm, 'KVM_CHECK_EXTENSION', 'on closed fd', 0);
  const d = yield* dup(m.vcpu);
  yield* close(m.vcpu);
  const regs = yield* make(K.kvm_regs);
  yield* q.ask('life.dup_vcpu', 'vcpu', d, 'KVM_GET_REGS', 'dup, original closed', regs);
  q.x('rip', regs.rip);
  m.run.immediate_exit = 1;
  yield* q.ask('life.dup_vcpu_run_imm', 'vcpu', d, 'KVM_RUN', 'immediate_exit=1', 0);
  q.out('exit', m.run.exit_reason);
  yield* close(d);
  q.note('life.run_page_after_close', 'vcpu', 'mmap', 'kvm_run still mapped after close', m.run.immediate_exit);
  yield* munmap(m.runAt, MMAP_SIZE);
  yield* munmap(m.mem, m.size);

  m = yield* mk(sys, { mem: true, vcpu: true });
  yield* anotherProcess(q, sys, m);
  yield* rm(m);

  m = yield* mk(sys, { vcpu: true, tss: true });
  m.run.immediate_exit = 1;
  yield* q.ask('life.run.imm', 'vcpu', m.vcpu, 'KVM_RUN', 'immediate_exit=1, no memory', 0);
  q.out('exit', m.run.exit_reason);
  m.run.immediate_exit = 0;
  m.run.kvm_valid_regs = 0xffffffffffffffffn;
  yield* q.ask('life.run.bad_valid_regs', 'vcpu', m.vcpu, 'KVM_RUN', 'kvm_valid_regs=~0', 0);
  m.run.kvm_valid_regs = 0n;
  m.run.kvm_dirty_regs = 0xffffffffffffffffn;
  yield* q.ask('life.run.bad_dirty_regs', 'vcpu', m.vcpu, 'KVM_RUN', 'kvm_dirty_regs=~0', 0);
  m.run.kvm_dirty_regs = 0n;
  yield* rm(m);

  m = yield* mk(sys, { vcpu: true, tss: true });
  yield* q.ask('life.run.nomem', 'vcpu', m.vcpu, 'KVM_RUN', 'no memory slots at all (reset vector fetch)', 0);
  const { run } = m;
  q.out('exit', run.exit_reason);
  if (run.exit_reason === K.KVM_EXIT_INTERNAL_ERROR) {
    q.out('suberror', run.internal.suberror);
    q.out('ndata', run.internal.ndata);
  } else if (run.exit_reason === K.KVM_EXIT_MMIO) {
    q.x('phys', run.mmio.phys_addr);
    q.out('len', run.mmio.len);
    q.out('is_write', run.mmio.is_write);
  }
  yield* rm(m);

  m = yield* mk(sys, { mem: true, irqchip: true });
  const v0 = yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, 0);
  const v1 = yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, 1);
  const at = yield* mmap(0, MMAP_SIZE, 3, 1, v1, 0);
  const apRun = view(K.kvm_run, at);
  apRun.immediate_exit = 1;
  yield* q.ask('life.run.ap_imm', 'vcpu', v1, 'KVM_RUN', 'uninitialised AP, immediate_exit', 0);
  q.out('exit', apRun.exit_reason);
  yield* munmap(at, MMAP_SIZE);
  yield* close(v0);
  yield* close(v1);
  yield* rm(m);

  const vms: number[] = [];
  while (vms.length < 64) {
    const fd = yield* rawIoctl(sys, K.KVM_CREATE_VM.nr, 0);
    if (fd < 0) break;
    vms.push(fd);
  }
  q.note('life.64vms', 'system', 'KVM_CREATE_VM', '64 at once', vms.length);
  for (const fd of vms) yield* close(fd);
}

/** A forked child asks; it answers through memory the two share. */
function* anotherProcess(q: Recorder, sys: number, m: Machine): Sys {
  const shared = yield* anon(4096);
  const answer = (i: number, r: number) => storeBytes(shared + 4 * i, new Uint8Array(Int32Array.of(r).buffer));
  const child = yield* fork(function* ask() {
    answer(0, yield* rawIoctl(m.vm, K.KVM_CHECK_EXTENSION.nr, 3));
    answer(1, yield* rawIoctl(m.vcpu, K.KVM_GET_REGS.nr, yield* make(K.kvm_regs)));
    answer(2, yield* rawIoctl(sys, K.KVM_GET_API_VERSION.nr, 0));
    return 0;
  });
  yield* wait4(child);
  const got = view(K.kvm_irq_level, shared);
  const third = view(K.kvm_irq_level, shared + 8);
  q.note('life.fork.vm', 'vm', 'KVM_CHECK_EXTENSION', 'in a forked child', got.status);
  q.note('life.fork.vcpu', 'vcpu', 'KVM_GET_REGS', 'in a forked child', got.level | 0);
  q.note('life.fork.sys', 'system', 'KVM_GET_API_VERSION', 'in a forked child', third.status);
  yield* munmap(shared, 4096);
}
