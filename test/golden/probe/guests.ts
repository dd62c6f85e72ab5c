/**
 * Running the guests of guests-table.ts: the machine each one gets, what the user does at its exits, and one record an
 * exit. Memory is 0 to 0x7ffff, beyond is a hole; code at 0x1000, stack top 0x7000, data at 0x2000. Byte i of an answer
 * to IN or an MMIO read is 0x11 * (i + 1).
 */
import * as K from '../../../abi/kvm/index.ts';
import type { Sys } from '../../../abi/process.ts';
import { SIGALRM } from '../../../abi/signal.ts';
import { __NR_read, __NR_setitimer } from '../../../abi/syscalls.ts';
import { addressOf } from '../../../abi/struct.ts';
import { itimerval } from '../../../abi/time.ts';
import { close, eventfd, loadBytes, sigaction, storeBytes, syscall, view } from '../../../userland/libc.ts';
import { Guest, type Value, gate, longTables, setMode } from './guest.ts';
import { type Mode, guests } from './guests-table.ts';
import { bytes, make, mk, rm, setmem, word64, words } from './machine.ts';
import { fromHex, nameOf, rawIoctl, toHex } from './recorder.ts';

export type Step = Record<string, unknown>;
export interface RunRecord { readonly id: string; readonly about: string; readonly mode: Mode; readonly irqchip: number; readonly code: string; readonly steps: Step[]; after?: Record<string, Value>; mem_2000: string }

const CODE = 0x1000;
/** What a guest's handlers do: tell the error code or return address through ports 9A to 9C, and halt. */
const HANDLER = { real16: 'b099e69989e58b4600e79af4', other: '58e79a58e79b0f20d0e79cf4' };
const ISR = 'b020e655cf';
// ---------------------------------------------------------------- what a guest needs beside its code

type Pre = (g: Guest, mode: Mode) => Sys;
/** Looks at an exit. More than 0: run again; less: stop; 0: as the exit says. */
type Hook = (g: Guest, step: number, r: number) => Sys<number>;

const handlers: Pre = function* handlers(g, mode) {
  g.put(0x1800, fromHex(HANDLER[mode === 'real16' ? 'real16' : 'other']));
  for (let v = 0; v < 256; v++) gate(g, mode, v, 0x1800);
};
const noIdt: Pre = function* noIdt(g) { g.put(0x2100, new Uint8Array(10)); };
const isr: Pre = function* isr(g) {
  g.put(0x1900, fromHex(ISR));
  for (const v of [0x20, 2, 8]) gate(g, 'real16', v, 0x1900);
};
const both = (...all: Pre[]): Pre => function* each(g, mode) { for (const one of all) yield* one(g, mode); };
const debug = (control: number, dr0 = 0n, dr7 = 0n): Pre => function* set(g) {
  const d = yield* make(K.kvm_guest_debug, { control, arch: { debugreg: [dr0, 0n, 0n, 0n, 0n, 0n, 0n, dr7] } });
  g.extra['guest_debug'] = yield* rawIoctl(g.m.vcpu, K.KVM_SET_GUEST_DEBUG.nr, d);
};
const STEP = 3, SW_BP = 0x10001, HW_BP = 0x20001, BLOCK = 0x100003;
const userMsrs: Pre = function* enable(g) {
  yield* rawIoctl(g.m.vm, K.KVM_ENABLE_CAP.nr, yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_X86_USER_SPACE_MSR, args: [7n] }));
};
const customCpuid: Pre = function* custom(g) {
  const at = addressOf(yield* make(K.kvm_cpuid2, { nent: 3 }, 3 * 40));
  const leaf = (i: number, ...w: number[]) => { const image = new DataView(new ArrayBuffer(40)); w.forEach((v, k) => { image.setUint32(4 * k, v, true); }); storeBytes(at + 8 + 40 * i, new Uint8Array(image.buffer)); };
  leaf(0, 0, 0, 0, 0x12345, 0x656d6954, 0x6d654d65, 0x79726f6d);
  leaf(1, 0x12345, 3, 1, 0xa, 0xb, 0xc, 0xd);
  leaf(2, 0x40000000, 0, 0, 0x40000001, 1, 2, 3);
  const r = yield* rawIoctl(g.m.vcpu, K.KVM_SET_CPUID2.nr, at);
  if (r < 0) g.extra['set_cpuid'] = nameOf(r);
};
const bootTables: Pre = function* tables(g) {
  g.put(0x2100, new Uint8Array(10));
  g.put(0x2100, Uint8Array.of(79, 0, 0, 5, 0, 0));
  longTables(g);
};
const logDirty: Pre = function* log(g) { g.extra['log'] = yield* setmem(g.m.vm, 0, K.KVM_MEM_LOG_DIRTY_PAGES, 0n, g.m.size, g.m.mem); };
const rom: Pre = function* slots(g) {
  yield* setmem(g.m.vm, 0, 0, 0n, 0, 0);
  const a = yield* setmem(g.m.vm, 0, 0, 0n, 0x60000, g.m.mem);
  const b = yield* setmem(g.m.vm, 1, K.KVM_MEM_READONLY, 0x60000n, 0x10000, g.m.mem + 0x60000);
  g.put(0x60010, Uint8Array.of(0x5a));
  g.put(0x60020, Uint8Array.of(0x3c));
  g.extra['slots'] = a | b;
};
const coalesce: Pre = function* zone(g) {
  g.extra['reg'] = yield* rawIoctl(g.m.vm, K.KVM_REGISTER_COALESCED_MMIO.nr, yield* make(K.kvm_coalesced_mmio_zone, { addr: 0x90000n, size: 0x100 }));
};
const ioeventfd: Pre = function* assign(g) {
  g.eventfd = yield* eventfd(0, 0o4000);
  g.extra['assign'] = yield* rawIoctl(g.m.vm, K.KVM_IOEVENTFD.nr, yield* make(K.kvm_ioeventfd, { datamatch: 7n, addr: 0x500n, len: 2, fd: g.eventfd, flags: 3 }));
};
const wantWindow: Pre = function* want(g) { g.m.run.request_interrupt_window = 1; };
const irqNow: Pre = function* now(g) { g.extra['inject'] = yield* g.interrupt(0x20); };
const syncRegs: Pre = function* sync(g) {
  g.m.run.kvm_valid_regs = 7n;
  g.m.run.kvm_dirty_regs = 0n;
};
const line1: Pre = function* line1(g) { gate(g, 'real16', 0x21, 0x1900); };

const stopWithState: Hook = function* stop(g, _k, r) {
  if (r >= 0) return 0;
  const mp = yield* make(K.kvm_mp_state);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_MP_STATE.nr, mp);
  g.extra['mp_state'] = mp.mp_state;
  return -1;
};
const answerMsrs: Hook = function* answer(g, _k, r) {
  const { run } = g.m;
  if (r !== 0) return 0;
  if (run.exit_reason === K.KVM_EXIT_X86_RDMSR) {
    run.msr.data = 0x99n;
    run.msr.error = 0;
    return 1;
  }
  if (run.exit_reason !== K.KVM_EXIT_X86_WRMSR) return 0;
  run.msr.error = 1;
  return 1;
};
const again: Hook = function* once(g, k) { return g.m.run.exit_reason === K.KVM_EXIT_HLT && k === 0 ? 1 : -1; };
const injectFirst: Hook = function* inject(g, k) { if (k === 0) g.extra['inject'] = yield* g.interrupt(0x20); return 0; };
const nmiFirst: Hook = function* nmi(g, k) { if (k === 0) g.extra['nmi'] = yield* rawIoctl(g.m.vcpu, K.KVM_NMI.nr, 0); return 0; };
const windowThenInject: Hook = function* open(g, _k, r) {
  if (r !== 0 || g.m.run.exit_reason !== K.KVM_EXIT_IRQ_WINDOW_OPEN) return 0;
  g.m.run.request_interrupt_window = 0;
  yield* g.interrupt(0x20);
  return 1;
};
const haltThenInject: Hook = function* wake(g, k) {
  if (k !== 0 || g.m.run.exit_reason !== K.KVM_EXIT_HLT) return 0;
  yield* g.interrupt(0x20);
  return 1;
};
const toggleImmediate: Hook = function* toggle(g, k) { g.m.run.immediate_exit = k === 0 ? 1 : 0; return k < 2 ? 1 : 0; };
const whileDebug: Hook = function* debugged(g, _k, r) { return r === 0 && g.m.run.exit_reason === K.KVM_EXIT_DEBUG ? 1 : 0; };
const showSync: Hook = function* show(g, k, r) {
  const { regs } = g.m.run.s;
  if (r === 0) {
    g.extra['sync_rip'] = hex(regs.regs.rip);
    g.extra['sync_rax'] = hex(regs.regs.rax);
    g.extra['sync_cr0'] = hex(regs.sregs.cr0);
  }
  if (k === 0) {
    regs.regs.rbx = 0x77n;
    g.m.run.kvm_dirty_regs = BigInt(K.KVM_SYNC_X86_REGS);
  }
  return 0;
};
const raiseLine1: Hook = function* raise(g, k, r) {
  if (k === 0 && r === 0) for (const level of [1, 0]) yield* rawIoctl(g.m.vm, K.KVM_IRQ_LINE.nr, yield* make(K.kvm_irq_level, { irq: 1, level }));
  return r < 0 ? -1 : 0;
};

const sregsAfter: Pre = function* after(g) {
  const s = yield* g.sregs();
  const mp = yield* make(K.kvm_mp_state, { mp_state: 99 });
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_MP_STATE.nr, mp);
  Object.assign(g.extra, { cr0: hex(s.cr0), cr3: hex(s.cr3), cr4: hex(s.cr4), efer: hex(s.efer), cs: hex(s.cs.selector), cs_base: hex(s.cs.base), cs_type: s.cs.type, cs_l: s.cs.l, cs_limit: hex(s.cs.limit), ss: hex(s.ss.selector), ds_type: s.ds.type, idt_limit: s.idt.limit, mp_state: mp.mp_state });
};
const eventsAfter: Pre = function* after(g) {
  const e = yield* make(K.kvm_vcpu_events);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_VCPU_EVENTS.nr, e);
  Object.assign(g.extra, { exc_inj: e.exception.injected, exc_nr: e.exception.nr, int_inj: e.interrupt.injected, int_nr: e.interrupt.nr, shadow: e.interrupt.shadow, nmi_pend: e.nmi.pending, nmi_mask: e.nmi.masked, flags: hex(e.flags) });
};
const dirtyAfter: Pre = function* after(g) {
  const at = yield* words(0n, 0n);
  const log = yield* make(K.kvm_dirty_log, { dirty_bitmap: BigInt(at) });
  for (let i = 0; i < 2; i++) {
    yield* rawIoctl(g.m.vm, K.KVM_GET_DIRTY_LOG.nr, log);
    g.extra[`dirty${i}`] = hex(word64(at));
  }
};
const ringAfter: Pre = function* after(g) {
  const page = yield* rawIoctl(g.sys, K.KVM_CHECK_EXTENSION.nr, K.KVM_CAP_COALESCED_MMIO);
  const ring = view(K.kvm_coalesced_mmio_ring, g.m.runAt + page * 4096);
  Object.assign(g.extra, { page, first: ring.first, last: ring.last });
  for (let i = ring.first; i < ring.last && i < 8; i++) {
    const e = ring.coalesced_mmio.get(i);
    g.extra[`e${i}`] = `addr=${hex(e.phys_addr)} len=${e.len} pio=${e.pio} data=${toHex(bytes(e.data, Math.min(e.len, 8)))}`;
  }
};
const eventAfter: Pre = function* after(g) {
  const at = yield* words(0n);
  g.extra['read'] = yield* syscall(__NR_read, g.eventfd, at, 8);
  g.extra['value'] = Number(word64(at));
  yield* close(g.eventfd);
};
const translateAfter: Pre = function* after(g) {
  const addresses = [0n, 0x1234n, 0x90000n, 0x3fffffffn, 0x40000000n, 0x7fffffff0000n, 0x8000000000000000n];
  for (const [i, la] of addresses.entries()) {
    const t = yield* make(K.kvm_translation, { linear_address: la });
    const ret = yield* rawIoctl(g.m.vcpu, K.KVM_TRANSLATE.nr, t);
    g.extra[`t${i}`] = `la=${hex(la)} ret=${ret} pa=${hex(t.physical_address)} valid=${t.valid} w=${t.writeable} u=${t.usermode}`;
  }
};

interface Special { readonly pre?: Pre; readonly hook?: Hook; readonly post?: Pre; readonly max?: number; readonly chip?: 'irqchip' | 'split' | 'pit'; readonly signal?: boolean }
const special: Readonly<Record<string, Special>> = {
  'real.hlt_again':       { hook: again },
  'real.hlt_irqchip':     { chip: 'irqchip', signal: true, hook: stopWithState },
  'real.hlt_split':       { chip: 'split', signal: true, hook: stopWithState },
  'real.triple':          { pre: noIdt, post: sregsAfter },
  'real.cpuid_custom':    { pre: customCpuid },
  'real.cpuid_custom_hi': { pre: customCpuid },
  'real.rdmsr_user':      { pre: both(handlers, userMsrs), hook: answerMsrs },
  'real.wrmsr_user':      { pre: both(handlers, userMsrs), hook: answerMsrs },
  'real.pic':             { chip: 'pit' },
  'real.signal':          { signal: true, hook: stopWithState },
  'real.immediate_exit':  { max: 4, hook: toggleImmediate },
  'real.irq_inject':      { pre: isr, hook: injectFirst, post: eventsAfter },
  'real.irq_pending_if0': { pre: both(isr, irqNow), post: eventsAfter },
  'real.irq_window':      { pre: both(isr, wantWindow), hook: windowThenInject },
  'real.irq_shadow':      { pre: both(isr, wantWindow), hook: windowThenInject },
  'real.nmi':             { pre: isr, hook: nmiFirst, post: eventsAfter },
  'real.sti_hlt':         { pre: isr, hook: haltThenInject },
  'real.pic_irq':         { pre: both(isr, line1), chip: 'irqchip', signal: true, hook: raiseLine1 },
  'real.step':            { pre: debug(STEP), hook: whileDebug },
  'real.rep_step':        { pre: debug(STEP), hook: whileDebug },
  'real.sw_bp':           { pre: both(handlers, debug(SW_BP)), max: 3 },
  'real.hw_bp':           { pre: debug(HW_BP, 0x1003n, 0x402n), max: 3 },
  'real.hw_watch_w':      { pre: debug(HW_BP, 0x2010n, 0x50402n), max: 3 },
  'real.hw_watch_rw':     { pre: debug(HW_BP, 0x2010n, 0x70402n), max: 4, hook: whileDebug },
  'real.step_block':      { pre: debug(BLOCK), max: 2 },
  'real.boot_to_long':    { pre: bootTables, post: sregsAfter },
  'real.dirty':           { pre: logDirty, post: dirtyAfter },
  'real.readonly':        { pre: rom },
  'real.coalesced':       { pre: coalesce, post: ringAfter },
  'real.ioeventfd':       { pre: ioeventfd, post: eventAfter },
  'real.sync_regs':       { pre: syncRegs, hook: showSync },
  'prot.p_high_chip':     { pre: handlers, chip: 'irqchip', signal: true, hook: stopWithState },
  'prot.triple':          { pre: noIdt, post: sregsAfter },
  'paged.translate':      { pre: handlers, post: translateAfter },
  'long.triple':          { pre: noIdt, post: sregsAfter },
  'long.int3_bp':         { pre: both(handlers, debug(SW_BP)), max: 3 },
  'long.step':            { pre: debug(STEP), hook: whileDebug },
  'long.hw_bp':           { pre: debug(HW_BP, 0x1005n, 0x402n), max: 2 },
  'long.translate':       { pre: handlers, post: translateAfter },
};
/** Real-mode guests that raise an exception and want the interrupt table. */
const WITH_HANDLERS = new Set(['divzero', 'int21', 'into', 'int3', 'ud2', 'bound', 'vmcall', 'vmmcall', 'rdmsr_unk', 'wrmsr_unk', 'edge64k', 'popf_tf'].map((name) => `real.${name}`));
const specialOf = (id: string, mode: Mode): Special => special[id] ?? (mode !== 'real16' || WITH_HANDLERS.has(id) ? { pre: handlers } : {});

// ---------------------------------------------------------------- running and recording

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

function exitDetails(run: K.kvm_run, runAt: number): Step {
  switch (run.exit_reason) {
    case K.KVM_EXIT_IO: {
      const { direction, size, port, count, data_offset } = run.io;
      return { io: { direction, size, port, count, data_offset: Number(data_offset), ...(direction ? { data: toHex(loadBytes(runAt + Number(data_offset), size * count)) } : {}) } };
    }
    case K.KVM_EXIT_MMIO: return { mmio: { phys_addr: hex(run.mmio.phys_addr), len: run.mmio.len, is_write: run.mmio.is_write, data: run.mmio.is_write ? toHex(bytes(run.mmio.data)) : '' } };
    case K.KVM_EXIT_DEBUG: return { debug: { exception: run.debug.arch.exception, pc: hex(run.debug.arch.pc), dr6: hex(run.debug.arch.dr6), dr7: hex(run.debug.arch.dr7) } };
    case K.KVM_EXIT_INTERNAL_ERROR: return { internal: { suberror: run.internal.suberror, ndata: run.internal.ndata, data0: hex(run.internal.data.get(0)), data1: hex(run.internal.data.get(1)), data2: hex(run.internal.data.get(2)) } };
    case K.KVM_EXIT_FAIL_ENTRY: return { fail_entry: { reason: hex(run.fail_entry.hardware_entry_failure_reason) } };
    case K.KVM_EXIT_X86_RDMSR: case K.KVM_EXIT_X86_WRMSR: return { msr: { error: run.msr.error, reason: run.msr.reason, index: hex(run.msr.index), data: hex(run.msr.data) } };
    case K.KVM_EXIT_HYPERCALL: return { hypercall: { nr: Number(run.hypercall.nr) } };
    case K.KVM_EXIT_SYSTEM_EVENT: return { system_event: { type: run.system_event.type } };
    default: return {};
  }
}

function* record(g: Guest, r: number): Sys<Step> {
  const { run } = g.m;
  const regs = yield* make(K.kvm_regs);
  yield* rawIoctl(g.m.vcpu, K.KVM_GET_REGS.nr, regs);
  const s = yield* g.sregs();
  const names = ['rip', 'rflags', 'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const;
  return {
    ret: r < 0 ? -1 : r, errno: nameOf(r), exit_reason: run.exit_reason, ...exitDetails(run, g.m.runAt),
    if_flag: run.if_flag, ready: run.ready_for_interrupt_injection, flags: run.flags, cr8: Number(run.cr8), apic_base: hex(run.apic_base),
    ...Object.fromEntries(names.map((n) => [n, hex(regs[n])])), cs: hex(s.cs.selector), cr0: hex(s.cr0), cr2: hex(s.cr2), efer: hex(s.efer), ...g.extra,
  };
}

function* timer(us: number): Sys {
  const t = yield* make(itimerval, { it_value: { tv_sec: 0n, tv_usec: BigInt(us) }, it_interval: { tv_sec: 0n, tv_usec: us === 0 ? 0n : 500n } });
  yield* syscall(__NR_setitimer, 0, addressOf(t), 0);
}

/** A guest that hangs is ended by the same timer that some are meant to be ended by. */
const SIGNAL_AFTER = 2000, HANG_AFTER = 50_000;

function* runGuest(sys: number, id: string, mode: Mode, code: string, about: string): Sys<RunRecord> {
  const { pre, hook, post, max = 12, chip, signal = false } = specialOf(id, mode);
  const m = yield* mk(sys, { mem: true, vcpu: true, cpuid: true, tss: true, irqchip: chip === 'irqchip' || chip === 'pit', pit: chip === 'pit', split: chip === 'split' });
  const g = new Guest(m, sys);
  g.put(CODE, fromHex(code));
  g.put(0x2000, Uint8Array.from({ length: 256 }, (_, i) => i));
  g.put(0x2ffc, Uint8Array.from({ length: 8 }, (_, i) => 0xa0 + i));
  yield* setMode(g, mode);
  yield* rawIoctl(m.vcpu, K.KVM_SET_REGS.nr, yield* make(K.kvm_regs, { rip: BigInt(CODE), rflags: 2n, rsp: 0x7000n }));
  if (pre !== undefined) yield* pre(g, mode);
  const steps: Step[] = [];
  const result: RunRecord = { id, about, mode, irqchip: chip === 'irqchip' || chip === 'pit' ? 1 : 0, ...g.extra, code, steps, mem_2000: '' };
  g.extra = {};
  for (let k = 0; k < max; k++) {
    yield* timer(signal ? SIGNAL_AFTER : HANG_AFTER);
    m.run.exit_reason = 0xdead;
    const r = yield* rawIoctl(m.vcpu, K.KVM_RUN.nr, 0);
    yield* timer(0);
    const more = hook !== undefined ? yield* hook(g, k, r) : 0;
    steps.push(yield* record(g, r));
    g.extra = {};
    if (more < 0 || (r !== 0 && more === 0)) break;
    const reason = m.run.exit_reason;
    if (reason === K.KVM_EXIT_IO && m.run.io.direction === 0) {
      const n = m.run.io.size * m.run.io.count;
      storeBytes(m.runAt + Number(m.run.io.data_offset), Uint8Array.from({ length: n }, (_, i) => 0x11 * ((i % 15) + 1)));
    } else if (reason === K.KVM_EXIT_MMIO && m.run.mmio.is_write === 0) {
      for (let i = 0; i < 8; i++) m.run.mmio.data.set(i, 0x11 * (i + 1));
    } else if (reason !== K.KVM_EXIT_IO && reason !== K.KVM_EXIT_MMIO && more === 0) break;
  }
  if (post !== undefined) yield* post(g, mode);
  if (Object.keys(g.extra).length > 0) result.after = g.extra;
  result.mem_2000 = toHex(loadBytes(m.mem + 0x2000, 32));
  yield* rm(m);
  return result;
}

/** Runs the guests whose id is wanted, one after the other. */
export function* runGuests(sys: number, wanted: (id: string) => boolean, done: (r: RunRecord) => void): Sys {
  yield* sigaction(SIGALRM, function* ignore() {});
  for (const [id, mode, code, about] of guests) if (wanted(id)) done(yield* runGuest(sys, id, mode, code, about));
}
