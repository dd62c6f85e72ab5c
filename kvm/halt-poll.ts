/**
 * HLT: the vCPU polls for a moment before its thread sleeps, as long as that has paid lately.
 *
 * Linux: virt/kvm/kvm_main.c (kvm_vcpu_halt, grow_halt_poll_ns, shrink_halt_poll_ns), Documentation/virt/kvm/halt-polling.rst
 *
 * A wake-up that is caught polling spares two switches of tasks. The time grows while halts end a little too late for it,
 * and falls to nothing once they last longer than may be polled.
 */
import { type MaySleep, cycles_to_ns, get_tsc, module_param, need_resched, ns_to_cycles, signal_pending, single_task_running, current, this_processor } from '../kernel/exports.ts';
import { kvm_vcpu_block, kvm_vcpu_woken } from './block.ts';
import { type kvm_vcpu, HALT_POLL_HIST_COUNT } from './kvm_host.ts';
import { kvm_halt_poll_ns, kvm_vcpu_wakeup } from './trace-time.ts';

const param = (name: string): number => module_param('kvm', name) as number;
const max_halt_poll_ns = (vcpu: kvm_vcpu): number => (vcpu.kvm.override_halt_poll_ns ? vcpu.kvm.max_halt_poll_ns : param('halt_poll_ns'));
/** A guest that polls itself says so. */
const may_poll = (vcpu: kvm_vcpu): boolean => (vcpu.arch.msr_kvm_poll_control & 1n) !== 0n;

function changed(vcpu: kvm_vcpu, grow: boolean, old: number): void {
  if (kvm_halt_poll_ns.enabled) kvm_halt_poll_ns.trace({ grow: grow ? 1 : 0, vcpu_id: vcpu.vcpu_id, new: vcpu.halt_poll_ns, old });
}
function grow_halt_poll_ns(vcpu: kvm_vcpu): void {
  const old = vcpu.halt_poll_ns;
  const factor = param('halt_poll_ns_grow');
  if (factor !== 0) vcpu.halt_poll_ns = Math.max(old * factor, param('halt_poll_ns_grow_start')) >>> 0;
  changed(vcpu, true, old);
}
function shrink_halt_poll_ns(vcpu: kvm_vcpu): void {
  const old = vcpu.halt_poll_ns;
  const divisor = param('halt_poll_ns_shrink');
  const value = divisor === 0 ? 0 : Math.floor(old / divisor);
  vcpu.halt_poll_ns = value < param('halt_poll_ns_grow_start') ? 0 : value;
  changed(vcpu, false, old);
}

/** Of a histogram whose bucket n holds what needs n bits. */
function log_hist_update(buckets: Float64Array, ns: number): void {
  const bits = ns < 1 ? 0 : Math.floor(Math.log2(ns)) + 1;
  buckets[Math.min(bits, HALT_POLL_HIST_COUNT - 1)]!++;
}

/**
 * Looks again and again until something comes (true), the time is up, or another task wants the processor. Within one
 * step of this processor nothing can come but its own timers, and the step ends with them: so it is passed in one go.
 */
function* poll(vcpu: kvm_vcpu, until: number): MaySleep<boolean> {
  do {
    if (kvm_vcpu_woken(vcpu) || signal_pending(current())) return true;
    const p = this_processor();
    p.charge(Math.max(1, Math.min(until, p.limit) - p.clock));
    yield;
  } while (get_tsc() < until && single_task_running() && !need_resched());
  return false;
}

export function* kvm_vcpu_halt(vcpu: kvm_vcpu): MaySleep<void> {
  const { stat } = vcpu;
  const allowed = may_poll(vcpu);
  vcpu.halt_poll_ns = Math.min(vcpu.halt_poll_ns, max_halt_poll_ns(vcpu));
  const polls = allowed && vcpu.halt_poll_ns !== 0;
  const start = get_tsc();
  const caught = polls && (yield* poll(vcpu, start + ns_to_cycles(vcpu.halt_poll_ns)));
  const polled = get_tsc();
  const waited = !caught && (yield* kvm_vcpu_block(vcpu));
  const end = get_tsc();
  if (waited) {
    const ns = cycles_to_ns(end - polled);
    stat.halt_wait_ns += ns;
    log_hist_update(vcpu.halt_wait_hist, ns);
  }
  const halt_ns = cycles_to_ns(end - start);
  if (polls) {
    const ns = cycles_to_ns(polled - start);
    stat.halt_attempted_poll++;
    if (waited) {
      stat.halt_poll_fail_ns += ns;
      log_hist_update(vcpu.halt_poll_fail_hist, ns);
    } else {
      stat.halt_successful_poll++;
      stat.halt_poll_success_ns += ns;
      log_hist_update(vcpu.halt_poll_success_hist, ns);
    }
  }
  if (allowed) {
    const max = max_halt_poll_ns(vcpu);
    if (max === 0) vcpu.halt_poll_ns = 0;
    else if (halt_ns > vcpu.halt_poll_ns) {
      if (vcpu.halt_poll_ns !== 0 && halt_ns > max) shrink_halt_poll_ns(vcpu);
      else if (vcpu.halt_poll_ns < max && halt_ns < max) grow_halt_poll_ns(vcpu);
    }
  }
  if (kvm_vcpu_wakeup.enabled) kvm_vcpu_wakeup.trace({ ns: BigInt(Math.floor(halt_ns)), waited: waited ? 1 : 0, valid: 1 });
}
