/**
 * KVM_RUN: the loop that enters the guest, handles its exits, and leaves when user space must act.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_arch_vcpu_ioctl_run, vcpu_run, vcpu_enter_guest)
 *
 * Most runs end without sleeping, so the loop is plain code as long as it can be: a step that has to wait, or a guest
 * whose time slice ends, turns the run into a generator that goes on from there. Only then can the thread be scheduled
 * away, so only then is there a preempt notifier.
 */
import { EAGAIN, EINTR, EINVAL, EIO } from '../abi/errno.ts';
import {
  KVM_EXIT_INTR, KVM_EXIT_IOAPIC_EOI, KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_SHUTDOWN, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_UNINITIALIZED, KVM_RUN_X86_SMM,
  KVM_SYNC_X86_EVENTS, KVM_SYNC_X86_REGS, KVM_SYNC_X86_SREGS, KVM_SYNC_X86_VALID_FIELDS,
} from '../abi/kvm/index.ts';
import {
  type MaySleep, current, guest_enter, guest_exit, need_resched, preempt_notifier_register, preempt_notifier_unregister, schedule, set_user_sigmask, signal_pending, this_processor,
} from '../kernel/exports.ts';
import { kvm_dirty_ring_check_request } from './dirty_ring.ts';
import { kvm_vcpu_block, kvm_vcpu_running, vcpu_block } from './block.ts';
import { cr8_of, kvm_set_cr8 } from './cr.ts';
import { kvm_check_and_inject_events, kvm_exception_pending, kvm_vcpu_ioctl_x86_get_vcpu_events, kvm_vcpu_ioctl_x86_set_vcpu_events, process_nmi } from './events.ts';
import {
  IN_GUEST_MODE, KVM_REQ_APF_READY, KVM_REQ_CLOCK_UPDATE, KVM_REQ_EVENT, KVM_REQ_GLOBAL_CLOCK_UPDATE, KVM_REQ_IOAPIC_EOI_EXIT, KVM_REQ_MASTERCLOCK_UPDATE, KVM_REQ_MSR_FILTER_CHANGED, KVM_REQ_NMI, KVM_REQ_SMI, KVM_REQ_STEAL_UPDATE, KVM_REQ_REPORT_TPR_ACCESS, KVM_REQ_TLB_FLUSH, KVM_REQ_TRIPLE_FAULT, KVM_REQ_UNBLOCK, OUTSIDE_GUEST_MODE,
  type kvm_vcpu, kvm_check_request, kvm_make_request, kvm_x86, lapic_in_kernel, pic_in_kernel,
} from './kvm_host.ts';
import { kvm_apic_accept_events, kvm_apic_accept_pic_intr } from './lapic.ts';
import { kvm_check_async_pf_completion } from './async_pf.ts';
import { kvm_pv_vcpu_load } from './pv-cpuid.ts';
import { apic_sync_pv_eoi_from_guest, apic_sync_pv_eoi_to_guest } from './pv-eoi.ts';
import { kvm_gen_kvmclock_update, kvm_guest_time_update, kvm_update_masterclock } from './pvclock.ts';
import { kvm_exit_tpr_access, kvm_lapic_sync_from_vapic, kvm_lapic_sync_to_vapic } from './vapic.ts';
import { kvm_steal_time_set_preempted, record_steal_time } from './steal-time.ts';
import { forget_again, is_plain, may_run_again, run_again } from './run-again.ts';
import { ANSWERS, CR8, DIRTY_REGS, IMMEDIATE_EXIT, REQUEST_INTERRUPT_WINDOW, VALID_REGS, answer } from './run-words.ts';
import { kvm_entry, kvm_exit, kvm_fpu, kvm_userspace_exit, trace_kvm_entry, trace_kvm_exit } from './trace.ts';
import { process_smi } from './smm.ts';
import { __get_regs, __get_sregs, __set_regs, __set_sregs } from './regs.ts';

/** What a step of the loop comes to, beside 1 (on), 0 (to user space) and -errno. */
const GUEST_RUNS = 2;          // the step's time is up inside the guest
const HANDLER_SLEEPS = 3;      // an exit handler has to wait: vcpu.sleeper

/** The handler that sleeps, a vCPU at a time. */
const sleepers = new WeakMap<kvm_vcpu, MaySleep<number>>();

// ---------------------------------------------------------------- loading

/** The vCPU's state becomes reachable on this processor. */
export function vcpu_load(vcpu: kvm_vcpu): void {
  const { id } = this_processor();
  kvm_x86.vcpu_load(vcpu, id);
  if (vcpu.arch.pv.watches_load) kvm_pv_vcpu_load(vcpu, vcpu.cpu, id);
  vcpu.cpu = id;
  vcpu.loaded = true;
}
export function vcpu_put(vcpu: kvm_vcpu): void {
  if (vcpu.arch.pv.watches_load) kvm_steal_time_set_preempted(vcpu);
  kvm_x86.vcpu_put(vcpu);
  vcpu.loaded = false;
}

/**
 * The guest's registers, FPU and MSRs go into the processor, unless they are there still from its last run. The thread's own
 * need no place: machine code gets its registers at each return to ring 3.
 */
function load_guest_state(vcpu: kvm_vcpu): void {
  const { arch } = vcpu;
  const changed = kvm_x86.load_guest_registers(vcpu) || arch.registers_changed;
  arch.registers_changed = false;
  if (kvm_fpu.enabled) kvm_fpu.trace({ load: 1 });
  kvm_x86.load_guest_msrs(vcpu, changed);
}
function put_guest_state(vcpu: kvm_vcpu): void {
  kvm_x86.save_guest_msrs(vcpu);
  if (kvm_fpu.enabled) kvm_fpu.trace({ load: 0 });
}

/** What the scheduler tells a thread inside KVM_RUN. */
export const kvm_preempt_ops = (vcpu: kvm_vcpu) => ({
  sched_out: () => {
    put_guest_state(vcpu);
    vcpu_put(vcpu);
    if (current().on_rq) vcpu.preempted = vcpu.ready = true;
  },
  sched_in: () => {
    vcpu.preempted = vcpu.ready = false;
    vcpu_load(vcpu);
    load_guest_state(vcpu);
  },
});

// ---------------------------------------------------------------- one entry

/** User space waits for a moment in which it may inject. */
const dm_request_for_irq_injection = (vcpu: kvm_vcpu): boolean => (vcpu.run_words[0]! & REQUEST_INTERRUPT_WINDOW) !== 0 && !pic_in_kernel(vcpu.kvm);
const accepts_dm_intr = (vcpu: kvm_vcpu): boolean => !lapic_in_kernel(vcpu) || kvm_apic_accept_pic_intr(vcpu);
function ready_for_interrupt_injection(vcpu: kvm_vcpu): boolean {
  const { arch } = vcpu;
  return kvm_x86.interrupt_allowed(vcpu) && accepts_dm_intr(vcpu) && !arch.exception.injected && !arch.interrupt.injected && !arch.nmi_injected && !kvm_exception_pending(vcpu);
}

/** 1: enter; else as vcpu_run. */
function handle_requests(vcpu: kvm_vcpu): number {
  if (kvm_check_request(KVM_REQ_TLB_FLUSH, vcpu)) {
    kvm_x86.flush_tlb_current(vcpu);
    vcpu.stat.tlb_flush++;
  }
  if (kvm_check_request(KVM_REQ_REPORT_TPR_ACCESS, vcpu)) {
    kvm_exit_tpr_access(vcpu);
    return 0;
  }
  if (kvm_check_request(KVM_REQ_TRIPLE_FAULT, vcpu)) {
    vcpu.run.exit_reason = KVM_EXIT_SHUTDOWN;
    vcpu.mmio_needed = false;
    return 0;
  }
  if (kvm_check_request(KVM_REQ_IOAPIC_EOI_EXIT, vcpu)) {
    vcpu.run.exit_reason = KVM_EXIT_IOAPIC_EOI;
    vcpu.run.eoi.vector = vcpu.arch.pending_ioapic_eoi;
    return 0;
  }
  if (kvm_dirty_ring_check_request(vcpu)) return 0;
  if (kvm_check_request(KVM_REQ_NMI, vcpu)) process_nmi(vcpu);
  if ((vcpu.requests & PV_REQUESTS) !== 0) handle_pv_requests(vcpu);
  if (kvm_check_request(KVM_REQ_SMI, vcpu)) process_smi(vcpu);
  if (kvm_check_request(KVM_REQ_MSR_FILTER_CHANGED, vcpu)) kvm_x86.msr_filter_changed(vcpu);
  return 1;
}

const PV_REQUESTS = KVM_REQ_STEAL_UPDATE | KVM_REQ_CLOCK_UPDATE | KVM_REQ_GLOBAL_CLOCK_UPDATE | KVM_REQ_MASTERCLOCK_UPDATE | KVM_REQ_APF_READY;
/** What the guest shares with KVM is brought up to date. */
function handle_pv_requests(vcpu: kvm_vcpu): void {
  if (kvm_check_request(KVM_REQ_MASTERCLOCK_UPDATE, vcpu)) kvm_update_masterclock(vcpu.kvm);
  if (kvm_check_request(KVM_REQ_GLOBAL_CLOCK_UPDATE, vcpu)) kvm_gen_kvmclock_update(vcpu);
  if (kvm_check_request(KVM_REQ_CLOCK_UPDATE, vcpu)) kvm_guest_time_update(vcpu);
  if (kvm_check_request(KVM_REQ_STEAL_UPDATE, vcpu)) record_steal_time(vcpu);
  if (kvm_check_request(KVM_REQ_APF_READY, vcpu)) kvm_check_async_pf_completion(vcpu);
}

function vcpu_enter_guest(vcpu: kvm_vcpu): number {
  const { arch } = vcpu;
  const wantsWindow = dm_request_for_irq_injection(vcpu) && accepts_dm_intr(vcpu);
  if ((vcpu.requests & ~(KVM_REQ_EVENT | KVM_REQ_UNBLOCK)) !== 0) {
    const r = handle_requests(vcpu);
    if (r <= 0) return r;
  }
  if ((vcpu.requests & KVM_REQ_EVENT) !== 0 || wantsWindow) {
    vcpu.requests &= ~KVM_REQ_EVENT;
    vcpu.stat.req_event++;
    if (arch.nmi_queued !== 0) process_nmi(vcpu);
    if (lapic_in_kernel(vcpu)) {
      const r = kvm_apic_accept_events(vcpu);
      if (r < 0) return r;
      if (arch.mp_state === KVM_MP_STATE_INIT_RECEIVED) return 1;
    }
    kvm_check_and_inject_events(vcpu);
    if (vcpu.kvm.vm_dead) return -EIO;
    if (wantsWindow) kvm_x86.enable_irq_window(vcpu);
    if (arch.apic !== undefined) {
      if ((arch.pv.eoi_msr & 1n) !== 0n) apic_sync_pv_eoi_to_guest(vcpu);
      if (arch.apic.vapic_addr !== 0) kvm_lapic_sync_to_vapic(vcpu);
    }
  }
  const loaded = kvm_x86.load_mmu_pgd(vcpu);
  if (loaded < 0) {
    kvm_x86.cancel_injection(vcpu);
    return loaded;
  }
  if (need_resched() || signal_pending(current()) || (vcpu.requests & ~(KVM_REQ_UNBLOCK | KVM_REQ_EVENT)) !== 0) {
    kvm_x86.cancel_injection(vcpu);
    return 1;
  }
  const p = this_processor();
  p.interruptFlag = false;
  vcpu.mode = IN_GUEST_MODE;
  arch.last_vmentry_cpu = p.id;
  load_debug_registers(vcpu);
  if (kvm_entry.enabled) trace_kvm_entry(vcpu);
  guest_enter();
  kvm_x86.vcpu_enter(vcpu);
  return in_guest(vcpu);
}

/** The guest runs, until its exit or the end of the step. */
function in_guest(vcpu: kvm_vcpu): number {
  if (!kvm_x86.vcpu_run(vcpu)) return GUEST_RUNS;
  guest_exit();
  vcpu.mode = OUTSIDE_GUEST_MODE;
  kvm_x86.vcpu_exited(vcpu);
  if (kvm_exit.enabled) trace_kvm_exit(vcpu);
  save_debug_registers(vcpu);
  vcpu.ran_at_least_once = true;
  vcpu.stat.exits++;
  kvm_x86.handle_exit_irqoff(vcpu);
  this_processor().interruptFlag = true;
  if (vcpu.arch.pv.eoi_pending) apic_sync_pv_eoi_from_guest(vcpu);
  if (vcpu.arch.apic !== undefined && vcpu.arch.apic.vapic_addr !== 0) kvm_lapic_sync_from_vapic(vcpu);
  if (vcpu.arch.pv.tsc_always_catchup) kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu);
  const r = kvm_x86.handle_exit(vcpu);
  if (typeof r === 'number') return r;
  sleepers.set(vcpu, r);
  return HANDLER_SLEEPS;
}

function load_debug_registers(vcpu: kvm_vcpu): void {
  if (!vcpu.arch.switch_db_regs) return;
  const { dr } = this_processor().cpu.state;
  for (let i = 0; i < 4; i++) dr.set(i, vcpu.arch.eff_db[i]!);
  dr.set(6, vcpu.arch.dr6);
}
function save_debug_registers(vcpu: kvm_vcpu): void {
  if (vcpu.arch.switch_db_regs) for (let i = 0; i < 4; i++) this_processor().cpu.state.dr.set(i, 0n);
}

// ---------------------------------------------------------------- the loop

/** One turn. */
function step(vcpu: kvm_vcpu): number {
  vcpu.arch.at_instruction_boundary = false;
  const r = vcpu_enter_guest(vcpu);
  return r === 1 ? after(vcpu) : r;
}

/** Between two entries: 1 to go on, 0 for an open window. */
function after(vcpu: kvm_vcpu): number {
  vcpu.requests &= ~KVM_REQ_UNBLOCK;
  if (dm_request_for_irq_injection(vcpu) && ready_for_interrupt_injection(vcpu)) {
    vcpu.run.exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
    vcpu.stat.request_irq_exits++;
    return 0;
  }
  return 1;
}

/**
 * A delivery that exits each time is repeated without the guest ever running: the end of the step is noticed here, where
 * the host's interrupts can be taken.
 */
function delivers_too_long(vcpu: kvm_vcpu): boolean {
  const { exception, interrupt, nmi_injected } = vcpu.arch;
  if (!exception.injected && !exception.pending && !interrupt.injected && !nmi_injected) return false;
  const p = this_processor();
  return p.clock >= p.limit;
}

const may_go_on = (vcpu: kvm_vcpu): boolean => kvm_vcpu_running(vcpu) && !need_resched() && !signal_pending(current()) && !delivers_too_long(vcpu);

/** Runs without sleeping as far as that goes; the result is final unless it is above 1 or the vCPU must wait. */
function run_fast(vcpu: kvm_vcpu): number {
  let r = 1;
  while (r === 1 && may_go_on(vcpu)) r = step(vcpu);
  return r;
}

function* run_slow(vcpu: kvm_vcpu, first: number): MaySleep<number> {
  let r = first;
  for (;;) {
    if (r === GUEST_RUNS) {
      yield;
      r = in_guest(vcpu);
      if (r === 1) r = after(vcpu);
    } else if (r === HANDLER_SLEEPS) {
      r = yield* sleepers.get(vcpu)!;
      sleepers.delete(vcpu);
      if (r === 1) r = after(vcpu);
    } else if (r !== 1) return r;
    else if (signal_pending(current())) {
      vcpu.run.exit_reason = KVM_EXIT_INTR;
      vcpu.stat.signal_exits++;
      return -EINTR;
    } else if (need_resched()) yield* schedule();
    else if (!kvm_vcpu_running(vcpu)) {
      vcpu.arch.at_instruction_boundary = false;
      r = yield* vcpu_block(vcpu);
      if (r === 1) r = after(vcpu);
    } else if (delivers_too_long(vcpu)) yield;
    else r = step(vcpu);
  }
}

// ---------------------------------------------------------------- the request

/** 1, or what ends the run before it began. */
function before_run(vcpu: kvm_vcpu): number {
  const { run, run_words, arch } = vcpu;
  if (((run_words[VALID_REGS]! | run_words[DIRTY_REGS]!) & ~KVM_SYNC_X86_VALID_FIELDS) !== 0 || (run_words[VALID_REGS + 1]! | run_words[DIRTY_REGS + 1]!) !== 0) return -EINVAL;
  if (run_words[DIRTY_REGS] !== 0) {
    const r = sync_regs(vcpu);
    if (r !== 0) return r;
  }
  if (arch.apic === undefined && (run_words[CR8] !== arch.cr8 || run_words[CR8 + 1] !== 0) && kvm_set_cr8(vcpu, run.cr8) !== 0) return -EINVAL;
  const complete = arch.complete_userspace_io;
  if (complete !== undefined) {
    arch.complete_userspace_io = undefined;
    const r = complete(vcpu);
    if (r <= 0) return r;
  }
  return (run_words[0]! & IMMEDIATE_EXIT) !== 0 ? -EINTR : 1;
}

function sync_regs(vcpu: kvm_vcpu): number {
  const { run, run_words } = vcpu;
  const { regs } = run.s;
  const dirty = run_words[DIRTY_REGS]!;
  if ((dirty & KVM_SYNC_X86_REGS) !== 0) {
    __set_regs(vcpu, regs.regs);
    run_words[DIRTY_REGS]! &= ~KVM_SYNC_X86_REGS;
  }
  if ((dirty & KVM_SYNC_X86_SREGS) !== 0) {
    if (__set_sregs(vcpu, regs.sregs) !== 0) return -EINVAL;
    run_words[DIRTY_REGS]! &= ~KVM_SYNC_X86_SREGS;
  }
  if ((dirty & KVM_SYNC_X86_EVENTS) !== 0) {
    if (kvm_vcpu_ioctl_x86_set_vcpu_events(vcpu, regs.events) !== 0) return -EINVAL;
    run_words[DIRTY_REGS]! &= ~KVM_SYNC_X86_EVENTS;
  }
  return 0;
}

/** What user space finds in kvm_run after any run, however it ended. */
function after_run(vcpu: kvm_vcpu): void {
  const { run, run_words, arch } = vcpu;
  const valid = run_words[VALID_REGS]!;
  if (valid !== 0) {
    const { regs } = run.s;
    if ((valid & KVM_SYNC_X86_REGS) !== 0) __get_regs(vcpu, regs.regs);
    if ((valid & KVM_SYNC_X86_SREGS) !== 0) __get_sregs(vcpu, regs.sregs);
    if ((valid & KVM_SYNC_X86_EVENTS) !== 0) kvm_vcpu_ioctl_x86_get_vcpu_events(vcpu, regs.events);
  }
  run_words[CR8] = cr8_of(vcpu);
  run_words[CR8 + 1] = 0;
  const ready = pic_in_kernel(vcpu.kvm) || ready_for_interrupt_injection(vcpu) ? 1 : 0;
  answer(vcpu, (run_words[ANSWERS]! & 0xffff_0000) | (arch.smm ? KVM_RUN_X86_SMM << 16 : 0), ready);
  arch.again = is_plain(vcpu);
}

/** The rest of a run whose last turn came to `last`. */
function go_on(vcpu: kvm_vcpu, last: number): number | MaySleep<number> {
  let r = last === 1 ? after(vcpu) : last;
  if (r === 1) r = run_fast(vcpu);
  return r > 0 ? run_on(vcpu, r) : finish(vcpu, r);
}

/** KVM_RUN. 0: kvm_run says why the guest stopped. */
export function kvm_arch_vcpu_ioctl_run(vcpu: kvm_vcpu): number | MaySleep<number> {
  if (vcpu.arch.again && may_run_again(vcpu)) return run_again(vcpu) ? 0 : go_on(vcpu, in_guest(vcpu));
  if (vcpu.sigset_active || vcpu.arch.mp_state === KVM_MP_STATE_UNINITIALIZED) return run_whole(vcpu);
  begin(vcpu);
  let r = before_run(vcpu);
  if (r === 1) {
    r = run_fast(vcpu);
    if (r > 0) return run_on(vcpu, r);
  }
  return finish(vcpu, r);
}

function begin(vcpu: kvm_vcpu): void {
  vcpu_load(vcpu);
  if (vcpu.arch.again) forget_again(vcpu);
  vcpu.run_words[ANSWERS]! &= 0xffff;
  load_guest_state(vcpu);
}

function finish(vcpu: kvm_vcpu, r: number): number {
  put_guest_state(vcpu);
  if (kvm_userspace_exit.enabled) kvm_userspace_exit.trace({ reason: vcpu.run.exit_reason, errno: r });
  after_run(vcpu);
  vcpu_put(vcpu);
  return r;
}

/** The rest of a run that has to yield. */
function* run_on(vcpu: kvm_vcpu, first: number): MaySleep<number> {
  const task = current();
  vcpu.owner = task;
  preempt_notifier_register(task, vcpu.preempt_notifier);
  const r = yield* run_slow(vcpu, first);
  preempt_notifier_unregister(task, vcpu.preempt_notifier);
  const result = finish(vcpu, r);
  vcpu.owner = undefined;
  vcpu.mutex.wake_up();
  return result;
}

/** The run of a vCPU with a signal mask of its own, or of one that waits for its INIT. */
function* run_whole(vcpu: kvm_vcpu): MaySleep<number> {
  const task = current();
  vcpu.owner = task;
  const saved = vcpu.sigset_active ? set_user_sigmask(vcpu.sigset) : undefined;
  begin(vcpu);
  preempt_notifier_register(task, vcpu.preempt_notifier);
  let r: number;
  if (vcpu.arch.mp_state === KVM_MP_STATE_UNINITIALIZED) r = yield* wait_for_init(vcpu);
  else {
    r = before_run(vcpu);
    if (r === 1) r = yield* run_slow(vcpu, 1);
  }
  preempt_notifier_unregister(task, vcpu.preempt_notifier);
  finish(vcpu, r);
  if (saved !== undefined) set_user_sigmask(saved);
  vcpu.owner = undefined;
  vcpu.mutex.wake_up();
  return r;
}

function* wait_for_init(vcpu: kvm_vcpu): MaySleep<number> {
  const { run } = vcpu;
  if (run.immediate_exit !== 0) return -EINTR;
  yield* kvm_vcpu_block(vcpu);
  if (kvm_apic_accept_events(vcpu) < 0) return 0;
  if (!signal_pending(current())) return -EAGAIN;
  run.exit_reason = KVM_EXIT_INTR;
  vcpu.stat.signal_exits++;
  return -EINTR;
}
