/** Questions about vCPUs: creation, registers, events, run state, debugging, and requests made too late. */
import * as K from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { __NR_fcntl, __NR_read } from '../../../abi/syscalls.ts';
import { close, loadBytes, malloc, readlink, storeBytes, syscall } from '../../../userland/libc.ts';
import { bytes, make, mk, rm, words } from './machine.ts';
import { type Argument, type Recorder, rawIoctl } from './recorder.ts';

export function* askVcpus(q: Recorder, sys: number): Sys {
  const m = yield* mk(sys, { mem: true });
  const onVm = (id: string, op: string, desc: string, arg: Argument) => q.ask(id, 'vm', m.vm, op, desc, arg);
  yield* onVm('vcpu.id_huge', 'KVM_CREATE_VCPU', '0x7fffffff', 0x7fffffff);
  yield* onVm('vcpu.id_4096x4', 'KVM_CREATE_VCPU', '65536', 65536);
  yield* onVm('vcpu.id_4096', 'KVM_CREATE_VCPU', '4096', 4096);
  q.host();
  yield* onVm('vcpu.id_neg', 'KVM_CREATE_VCPU', '-1', -1);
  const v = yield* onVm('vcpu.create0', 'KVM_CREATE_VCPU', '0', 0);
  q.out('proc_link', yield* readlink(`/proc/self/fd/${v}`));
  q.out('cloexec', (yield* syscall(__NR_fcntl, v, 1)) & 1);
  yield* onVm('vcpu.create0_again', 'KVM_CREATE_VCPU', '0 again', 0);
  const v5 = yield* onVm('vcpu.create5', 'KVM_CREATE_VCPU', '5 (gap)', 5);
  const v255 = yield* onVm('vcpu.create255', 'KVM_CREATE_VCPU', '255', 255);
  yield* onVm('vcpu.irqchip_after', 'KVM_CREATE_IRQCHIP', 'after vcpus exist', 0);
  yield* onVm('vcpu.split_after', 'KVM_ENABLE_CAP', 'SPLIT_IRQCHIP after vcpus exist', yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_SPLIT_IRQCHIP, args: [24n] }));
  yield* onVm('vcpu.set_tss_after', 'KVM_SET_TSS_ADDR', '0xfffbd000', 0xfffbd000);
  yield* onVm('vcpu.set_tss_high', 'KVM_SET_TSS_ADDR', '0xfffff000', 0xfffff000);
  yield* onVm('vcpu.set_tss_4g', 'KVM_SET_TSS_ADDR', '0x100000000', 0x1_0000_0000);
  yield* onVm('vcpu.set_identity_after', 'KVM_SET_IDENTITY_MAP_ADDR', 'after vcpus exist', yield* words(0xfffbc000n));
  yield* onVm('vcpu.set_boot_id_after', 'KVM_SET_BOOT_CPU_ID', '5', 5);
  yield* registers(q, v, v5);
  yield* events(q, v, v5);
  yield* extended(q, v);
  yield* rest(q, m.vm, v, v5);
  for (const fd of [v, v5, v255]) yield* close(fd);
  yield* rm(m);
  yield* others(q, sys);
}

function* registers(q: Recorder, v: number, v5: number): Sys {
  const regs = yield* make(K.kvm_regs);
  yield* q.ask('vcpu.get_regs', 'vcpu', v, 'KVM_GET_REGS', 'after create', regs);
  q.hex('regs', bytes(regs));
  for (const name of ['rip', 'rflags', 'rdx'] as const) q.x(name, regs[name]);
  q.host();
  const s = yield* make(K.kvm_sregs);
  yield* q.ask('vcpu.get_sregs', 'vcpu', v, 'KVM_GET_SREGS', 'after create', s);
  q.hex('sregs', bytes(s));
  for (const name of ['cr0', 'cr4', 'efer', 'apic_base'] as const) q.x(name, s[name]);
  q.x('cs_base', s.cs.base);
  q.x('cs_sel', s.cs.selector);
  q.out('tr_type', s.tr.type);
  q.out('ldt_type', s.ldt.type);
  q.out('cs_type', s.cs.type);
  yield* q.ask('vcpu.get_sregs.v5', 'vcpu', v5, 'KVM_GET_SREGS', 'second vcpu (id 5)', s);
  q.x('apic_base', s.apic_base);
  q.hex('sregs', bytes(s));
  const f = yield* make(K.kvm_fpu);
  yield* q.ask('vcpu.get_fpu', 'vcpu', v, 'KVM_GET_FPU', 'after create', f);
  q.hex('fpu', bytes(f));
  for (const name of ['fcw', 'ftwx', 'mxcsr'] as const) q.x(name, f[name]);
  const mp = yield* make(K.kvm_mp_state);
  yield* q.ask('vcpu.mp_state', 'vcpu', v, 'KVM_GET_MP_STATE', 'no irqchip, id 0', mp);
  q.out('mp_state', mp.mp_state);
  yield* q.ask('vcpu.mp_state.v5', 'vcpu', v5, 'KVM_GET_MP_STATE', 'no irqchip, id 5', mp);
  q.out('mp_state', mp.mp_state);
  for (let i = 0; i < 12; i++) {
    mp.mp_state = i;
    yield* q.ask(`vcpu.set_mp_state.${i}`, 'vcpu', v5, 'KVM_SET_MP_STATE', String(i), mp);
  }
}

function* events(q: Recorder, v: number, v5: number): Sys {
  const junk = yield* malloc(4096);
  storeBytes(junk, new Uint8Array(4096));
  yield* q.ask('vcpu.get_lapic.nochip', 'vcpu', v, 'KVM_GET_LAPIC', 'no irqchip', junk);
  yield* q.ask('vcpu.set_lapic.nochip', 'vcpu', v, 'KVM_SET_LAPIC', 'no irqchip', junk);
  const got = yield* make(K.kvm_vcpu_events);
  yield* q.ask('vcpu.get_events', 'vcpu', v, 'KVM_GET_VCPU_EVENTS', 'after create', got);
  q.hex('events', bytes(got));
  q.x('flags', got.flags);
  const set = (id: string, desc: string, fd: number, e: K.kvm_vcpu_events) => q.ask(`vcpu.set_events.${id}`, 'vcpu', fd, 'KVM_SET_VCPU_EVENTS', desc, e);
  yield* set('zero', 'zero', v, yield* make(K.kvm_vcpu_events));
  yield* set('badflags', 'flags=0x8000', v, yield* make(K.kvm_vcpu_events, { flags: 0x8000 }));
  yield* set('exc2', 'exception nr=2 (NMI)', v, yield* make(K.kvm_vcpu_events, { exception: { injected: 1, nr: 2 } }));
  yield* set('exc32', 'exception nr=32', v, yield* make(K.kvm_vcpu_events, { exception: { injected: 1, nr: 32 } }));
  yield* set('pend_noflag', 'pending without VALID_PAYLOAD', v, yield* make(K.kvm_vcpu_events, { exception: { injected: 1, nr: 13, pending: 1 } }));
  yield* set('smm', 'VALID_SMM smm=1 pending=1', v5, yield* make(K.kvm_vcpu_events, { flags: K.KVM_VCPUEVENT_VALID_SMM, smi: { smm: 1, pending: 1 } }));
  yield* set('tf_nocap', 'VALID_TRIPLE_FAULT without cap', v5, yield* make(K.kvm_vcpu_events, { flags: K.KVM_VCPUEVENT_VALID_TRIPLE_FAULT, triple_fault: { pending: 1 } }));
}

function* extended(q: Recorder, v: number): Sys {
  const d = yield* make(K.kvm_debugregs);
  yield* q.ask('vcpu.get_debugregs', 'vcpu', v, 'KVM_GET_DEBUGREGS', 'after create', d);
  q.x('dr6', d.dr6);
  q.x('dr7', d.dr7);
  d.flags = 1n;
  yield* q.ask('vcpu.set_debugregs.flags', 'vcpu', v, 'KVM_SET_DEBUGREGS', 'flags=1', d);
  d.flags = 0n;
  d.dr6 = 1n << 32n;
  yield* q.ask('vcpu.set_debugregs.dr6hi', 'vcpu', v, 'KVM_SET_DEBUGREGS', 'dr6 high bits', d);
  d.dr6 = 0xffff0ff0n;
  d.dr7 = 1n << 32n;
  yield* q.ask('vcpu.set_debugregs.dr7hi', 'vcpu', v, 'KVM_SET_DEBUGREGS', 'dr7 high bits', d);
  const x = yield* make(K.kvm_xcrs);
  yield* q.ask('vcpu.get_xcrs', 'vcpu', v, 'KVM_GET_XCRS', 'after create', x);
  q.out('nr', x.nr_xcrs);
  q.out('xcr', x.xcrs.get(0).xcr);
  q.x('value', x.xcrs.get(0).value);
  q.host();
  const xcrs = function* xcrs(id: string, desc: string, nr: number, flags: number, value?: bigint): Sys {
    x.nr_xcrs = nr;
    x.flags = flags;
    if (value !== undefined) { x.xcrs.get(0).xcr = 0; x.xcrs.get(0).value = value; }
    yield* q.ask(`vcpu.set_xcrs.${id}`, 'vcpu', v, 'KVM_SET_XCRS', desc, x);
  };
  yield* xcrs('17', 'nr_xcrs=17', 17, 0);
  yield* xcrs('flags', 'flags=1', 1, 1);
  yield* xcrs('0', 'xcr0=0', 1, 0, 0n);
  yield* xcrs('5', 'xcr0=5 (AVX without SSE)', 1, 0, 5n);
  const area = yield* malloc(4096);
  storeBytes(area, new Uint8Array(4096).fill(0xcc));
  yield* q.ask('vcpu.get_xsave', 'vcpu', v, 'KVM_GET_XSAVE', 'after create', area);
  q.hex('first576', loadBytes(area, 576));
  q.host();
  yield* q.ask('vcpu.set_xsave.same', 'vcpu', v, 'KVM_SET_XSAVE', 'what GET gave', area);
  storeBytes(area + 24, Uint8Array.of(255, 255, 255, 255));
  yield* q.ask('vcpu.set_xsave.badmxcsr', 'vcpu', v, 'KVM_SET_XSAVE', 'mxcsr=0xffffffff', area);
  storeBytes(area + 24, Uint8Array.of(0x80, 0x1f, 0, 0));
  storeBytes(area + 512, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0x40));
  yield* q.ask('vcpu.set_xsave.badxstate', 'vcpu', v, 'KVM_SET_XSAVE', 'xstate_bv bit 62', area);
}
function* rest(q: Recorder, vm: number, v: number, v5: number): Sys {
  yield* q.ask('vcpu.get_tsc_khz', 'vcpu', v, 'KVM_GET_TSC_KHZ', '0', 0);
  q.host();
  yield* q.ask('vcpu.set_tsc_khz.0', 'vcpu', v, 'KVM_SET_TSC_KHZ', '0', 0);
  yield* q.ask('vcpu.set_tsc_khz.1', 'vcpu', v, 'KVM_SET_TSC_KHZ', '1', 1);
  q.host();
  yield* q.ask('vcpu.set_tsc_khz.big', 'vcpu', v, 'KVM_SET_TSC_KHZ', '0xffffffff', 0xffffffff);
  q.host();
  yield* q.ask('vm.get_tsc_khz', 'vm', vm, 'KVM_GET_TSC_KHZ', '0', 0);
  q.host();
  yield* q.ask('vm.set_tsc_khz', 'vm', vm, 'KVM_SET_TSC_KHZ', '1000000 after vcpus', 1000000);
  q.host();
  yield* q.ask('vcpu.kvmclock_ctrl', 'vcpu', v, 'KVM_KVMCLOCK_CTRL', 'pvclock not set up', 0);
  const junk = yield* malloc(4096);
  storeBytes(junk, new Uint8Array(4096));
  const one = yield* make(K.kvm_one_reg, { id: 0x2030000000000001n, addr: BigInt(junk) });
  yield* q.ask('vcpu.get_one_reg', 'vcpu', v, 'KVM_GET_ONE_REG', 'id', one);
  yield* q.ask('vcpu.set_one_reg', 'vcpu', v, 'KVM_SET_ONE_REG', 'id', one);
  yield* q.ask('vcpu.get_reg_list', 'vcpu', v, 'KVM_GET_REG_LIST', 'n=0', yield* make(K.kvm_reg_list));
  for (const length of [8, 4, 16, 128]) {
    storeBytes(junk, Uint8Array.of(length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    yield* q.ask(`vcpu.sigmask.${length}`, 'vcpu', v, 'KVM_SET_SIGNAL_MASK', `len=${length}`, junk);
  }
  yield* q.ask('vcpu.sigmask.null', 'vcpu', v, 'KVM_SET_SIGNAL_MASK', 'NULL', 0);
  const tr = yield* make(K.kvm_translation, { linear_address: 0x1234n });
  yield* q.ask('vcpu.translate.real', 'vcpu', v, 'KVM_TRANSLATE', '0x1234, paging off', tr);
  q.x('pa', tr.physical_address);
  q.out('valid', tr.valid);
  q.out('writeable', tr.writeable);
  q.out('usermode', tr.usermode);
  tr.linear_address = 0x123456789000n;
  yield* q.ask('vcpu.translate.high', 'vcpu', v, 'KVM_TRANSLATE', '0x123456789000, paging off', tr);
  q.x('pa', tr.physical_address);
  q.out('valid', tr.valid);
  yield* q.ask('vcpu.smi', 'vcpu', v5, 'KVM_SMI', '0', 0);
  yield* q.ask('vcpu.nmi', 'vcpu', v5, 'KVM_NMI', '0', 0);
  const irq = yield* make(K.kvm_interrupt, { irq: 0x20 });
  yield* q.ask('vcpu.interrupt.ok', 'vcpu', v5, 'KVM_INTERRUPT', 'irq=0x20, no irqchip', irq);
  yield* q.ask('vcpu.interrupt.twice', 'vcpu', v5, 'KVM_INTERRUPT', 'irq=0x20 again', irq);
  irq.irq = 256;
  yield* q.ask('vcpu.interrupt.256', 'vcpu', v5, 'KVM_INTERRUPT', 'irq=256', irq);
  irq.irq = 0xffffffff;
  yield* q.ask('vcpu.interrupt.neg', 'vcpu', v5, 'KVM_INTERRUPT', 'irq=-1', irq);
  yield* q.ask('vcpu.interrupt.null', 'vcpu', v5, 'KVM_INTERRUPT', 'NULL', 0);
  yield* q.ask('vcpu.get_regs.null', 'vcpu', v, 'KVM_GET_REGS', 'NULL', 0);
  yield* q.ask('vcpu.set_regs.null', 'vcpu', v, 'KVM_SET_REGS', 'NULL', 0);
  yield* q.ask('vcpu.get_sregs.bad', 'vcpu', v, 'KVM_GET_SREGS', '(void*)8', 8);
  const tpr = yield* make(K.kvm_tpr_access_ctl, { enabled: 1 });
  yield* q.ask('vcpu.tpr_reporting', 'vcpu', v, 'KVM_TPR_ACCESS_REPORTING', 'enabled=1 without irqchip', tpr);
  tpr.flags = 1;
  yield* q.ask('vcpu.tpr_reporting.flags', 'vcpu', v, 'KVM_TPR_ACCESS_REPORTING', 'flags=1', tpr);
  yield* q.ask('vcpu.vapic_addr.nochip', 'vcpu', v, 'KVM_SET_VAPIC_ADDR', 'no irqchip', yield* words(0x1000n));
  for (const [id, desc, value] of [['0', '0', 0n], ['10', '10 banks', 10n], ['255', '255 banks', 255n], ['all', '~0', -1n]] as const) {
    yield* q.ask(`vcpu.setup_mce.${id}`, 'vcpu', v, 'KVM_X86_SETUP_MCE', desc, yield* words(value));
  }
  yield* q.ask('vcpu.run.arg', 'vcpu', v, 'KVM_RUN', 'arg=1', 1);
  const stats = yield* q.ask('vcpu.stats_fd', 'vcpu', v, 'KVM_GET_STATS_FD', '0', 0);
  if (stats >= 0) {
    q.out('read', yield* syscall(__NR_read, stats, junk, 24));
    yield* close(stats);
  }
  const vmStats = yield* q.ask('vm.stats_fd', 'vm', vm, 'KVM_GET_STATS_FD', '0', 0);
  if (vmStats >= 0) yield* close(vmStats);
  const gd = yield* make(K.kvm_guest_debug);
  const debug = function* debug(id: string, desc: string, fd: number, control: number): Sys {
    gd.control = control;
    yield* q.ask(`vcpu.guest_debug.${id}`, 'vcpu', fd, 'KVM_SET_GUEST_DEBUG', desc, gd);
  };
  yield* debug('0', 'control=0', v, 0);
  yield* debug('unk', 'control=1<<31', v, 0x80000000);
  yield* debug('injectdb', 'INJECT_DB', v5, K.KVM_GUESTDBG_INJECT_DB);
  yield* debug('inject2', 'INJECT_DB|BP while pending', v5, K.KVM_GUESTDBG_INJECT_DB | K.KVM_GUESTDBG_INJECT_BP);
  yield* q.ask('vcpu.x86_set_msr_filter.on_vcpu', 'vcpu', v, 'KVM_X86_SET_MSR_FILTER', 'zero', junk);
}

function* others(q: Recorder, sys: number): Sys {
  let m = yield* mk(sys, { mem: true });
  const v = yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, 3);
  yield* close(v);
  yield* q.ask('vcpu.recreate_after_close', 'vm', m.vm, 'KVM_CREATE_VCPU', '3 after its fd was closed', 3);
  yield* rm(m);
  m = yield* mk(sys, {});
  yield* q.ask('vm.boot_id.early', 'vm', m.vm, 'KVM_SET_BOOT_CPU_ID', '1 before vcpus', 1);
  yield* rm(m);
  m = yield* mk(sys, {});
  const fds: number[] = [];
  while (fds.length <= 301) {
    const fd = yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, fds.length);
    if (fd < 0) break;
    fds.push(fd);
  }
  q.note('vcpu.count_over_300', 'vm', 'KVM_CREATE_VCPU', 'ids 0..300 all made?', fds.length);
  for (const fd of fds) yield* close(fd);
  yield* rm(m);
  m = yield* mk(sys, {});
  const cap = yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_MAX_VCPU_ID, args: [4n] });
  yield* q.ask('vm.max_vcpu_id', 'vm', m.vm, 'KVM_ENABLE_CAP', 'MAX_VCPU_ID 4', cap);
  yield* q.ask('vm.max_vcpu_id.again', 'vm', m.vm, 'KVM_ENABLE_CAP', 'MAX_VCPU_ID 4 again', cap);
  yield* q.ask('vm.max_vcpu_id.create4', 'vm', m.vm, 'KVM_CREATE_VCPU', '4', 4);
  yield* rm(m);
}
