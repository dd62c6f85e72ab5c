/**
 * kvmclock: a page in guest memory from which a guest computes the time since its VM was made, out of its own TSC.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_guest_time_update, kvm_setup_guest_pvclock, KVM_GET_CLOCK), Documentation/virt/kvm/x86/timekeeping.rst
 *
 * The page holds a time, the TSC at that time, and how to scale the difference; an odd version means it is being written.
 * While all TSCs of a VM agree, all pages are filled from one pair of times (the master clock), so that vCPUs never
 * disagree by the moment each page was written; the page then says the clock is stable across vCPUs.
 */
import { EINVAL } from '../abi/errno.ts';
import {
  KVM_CLOCK_HOST_TSC, KVM_CLOCK_PAIRING_WALLCLOCK, KVM_CLOCK_REALTIME, KVM_CLOCK_TSC_STABLE, KVM_EFAULT, KVM_EOPNOTSUPP, type kvm_clock_data, kvm_clock_pairing, pvclock_vcpu_time_info, pvclock_wall_clock,
} from '../abi/kvm/index.ts';
import { windowOf } from '../abi/struct.ts';
import { PAGE_SIZE, ktime_get_real } from '../kernel/exports.ts';
import { kvm_vcpu_read_guest, kvm_vcpu_write_guest, kvm_read_guest_u32, kvm_write_guest_u32 } from './guest-memory.ts';
import { KVM_REQ_CLOCK_UPDATE, KVM_REQ_GLOBAL_CLOCK_UPDATE, KVM_REQ_MASTERCLOCK_UPDATE, type kvm, type kvm_vcpu, kvm_make_request } from './kvm_host.ts';
import { kvm_pv_watch_load } from './pv-cpuid.ts';
import { kvm_pvclock_update, kvm_update_master_clock } from './trace-time.ts';
import { VDSO_CLOCKMODE_TSC, get_kvmclock_base_ns, host_tsc, host_tsc_khz, kvm_catch_up_tsc, kvm_get_time_scale, kvm_read_l1_tsc, pvclock_scale_delta } from './tsc.ts';

const NSEC_PER_SEC = 1_000_000_000n;
const PVCLOCK_TSC_STABLE_BIT = 1, PVCLOCK_GUEST_STOPPED = 2;
const ENABLED = 1n;
const CLOCK_FLAGS = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;

const page_of = (vcpu: kvm_vcpu): number => Number(vcpu.arch.pv.time & ~ENABLED);

// ---------------------------------------------------------------- the VM's clock

/** Takes a new pair of times if the TSCs agree. */
function pvclock_update_vm_gtod_copy(vm: kvm): void {
  const { clock } = vm.arch;
  const matched = clock.nr_vcpus_matched_tsc + 1 === vm.vcpus.length;
  clock.use_master_clock = matched && !clock.boot_vcpu_runs_old_kvmclock;
  if (clock.use_master_clock) {
    clock.master_kernel_ns = get_kvmclock_base_ns();
    clock.master_cycle_now = host_tsc();
  }
  if (kvm_update_master_clock.enabled) kvm_update_master_clock.trace({ use_master_clock: clock.use_master_clock ? 1 : 0, host_clock: VDSO_CLOCKMODE_TSC, offset_matched: matched ? 1 : 0 });
}
const update_all_pages = (vm: kvm): void => { for (const vcpu of vm.vcpus) kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu); };

/** KVM_REQ_MASTERCLOCK_UPDATE. */
export function kvm_update_masterclock(vm: kvm): void {
  pvclock_update_vm_gtod_copy(vm);
  update_all_pages(vm);
}

/** The VM's clock now, and what KVM_GET_CLOCK says beside it. */
function get_kvmclock(vm: kvm): { clock: bigint; flags: number; host_tsc: bigint } {
  const { clock, kvmclock_offset } = vm.arch;
  const tsc = host_tsc();
  if (!clock.use_master_clock) return { clock: BigInt.asUintN(64, get_kvmclock_base_ns() + kvmclock_offset), flags: 0, host_tsc: tsc };
  const { shift, multiplier } = kvm_get_time_scale(NSEC_PER_SEC, BigInt(host_tsc_khz()) * 1000n);
  const since = pvclock_scale_delta(tsc - clock.master_cycle_now, multiplier, shift);
  return { clock: BigInt.asUintN(64, clock.master_kernel_ns + kvmclock_offset + since), flags: CLOCK_FLAGS, host_tsc: tsc };
}

export function kvm_vm_ioctl_get_clock(vm: kvm, data: kvm_clock_data): number {
  const now = get_kvmclock(vm);
  data.clock = now.clock;
  data.flags = now.flags;
  data.host_tsc = now.flags === 0 ? 0n : now.host_tsc;
  data.realtime = now.flags === 0 ? 0n : ktime_get_real();
  return 0;
}
/** With KVM_CLOCK_REALTIME the clock is set forward by the time that passed since it was read, wherever that was. */
export function kvm_vm_ioctl_set_clock(vm: kvm, data: kvm_clock_data): number {
  if ((data.flags & ~CLOCK_FLAGS) !== 0) return -EINVAL;
  const { arch } = vm;
  pvclock_update_vm_gtod_copy(vm);
  let { clock } = data;
  const passed = ktime_get_real() - data.realtime;
  if ((data.flags & KVM_CLOCK_REALTIME) !== 0 && passed > 0n) clock += passed;
  arch.kvmclock_offset = clock - (arch.clock.use_master_clock ? arch.clock.master_kernel_ns : get_kvmclock_base_ns());
  update_all_pages(vm);
  return 0;
}

// ---------------------------------------------------------------- a vCPU's page

/** MSR_KVM_SYSTEM_TIME, by its old or new number. */
export function kvm_write_system_time(vcpu: kvm_vcpu, data: bigint, old_msr: boolean, host: boolean): void {
  const { clock } = vcpu.kvm.arch;
  const { pv } = vcpu.arch;
  if (vcpu.vcpu_id === 0 && !host) {
    if (clock.boot_vcpu_runs_old_kvmclock !== old_msr) kvm_make_request(KVM_REQ_MASTERCLOCK_UPDATE, vcpu);
    clock.boot_vcpu_runs_old_kvmclock = old_msr;
  }
  pv.time = data;
  // The structure may not reach into a second page.
  pv.time_active = (data & ENABLED) !== 0n && (page_of(vcpu) % PAGE_SIZE) + pvclock_vcpu_time_info.size <= PAGE_SIZE;
  kvm_pv_watch_load(vcpu);
  kvm_make_request(KVM_REQ_GLOBAL_CLOCK_UPDATE, vcpu);
}

/** KVM_REQ_GLOBAL_CLOCK_UPDATE: this page now, the others when their vCPUs enter next. */
export const kvm_gen_kvmclock_update = (vcpu: kvm_vcpu): void => { update_all_pages(vcpu.kvm); };

const bytes = new Uint8Array(pvclock_vcpu_time_info.size);
const view = new DataView(bytes.buffer);
const VERSION = pvclock_vcpu_time_info.offset.version, FLAGS = pvclock_vcpu_time_info.offset.flags;

/** Writes the page: odd version, contents, even version. One step of the simulator, so the guest sees only the last. */
function kvm_setup_guest_pvclock(vcpu: kvm_vcpu): void {
  const { pv } = vcpu.arch;
  const { hv_clock } = pv;
  const at = page_of(vcpu);
  if (kvm_vcpu_read_guest(vcpu, at, bytes) !== 0) return;
  hv_clock.version = ((((view.getUint32(VERSION, true) + 1) | 1) >>> 0) + 1) >>> 0;
  // The guest takes this flag back itself.
  hv_clock.flags |= bytes[FLAGS]! & PVCLOCK_GUEST_STOPPED;
  if (pv.set_guest_stopped_request) {
    hv_clock.flags |= PVCLOCK_GUEST_STOPPED;
    pv.set_guest_stopped_request = false;
  }
  if (kvm_vcpu_write_guest(vcpu, at, windowOf(hv_clock)) !== 0 || !kvm_pvclock_update.enabled) return;
  const { version, tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, flags } = hv_clock;
  kvm_pvclock_update.trace({ vcpu_id: vcpu.vcpu_id, version, tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, flags });
}

/** KVM_REQ_CLOCK_UPDATE. */
export function kvm_guest_time_update(vcpu: kvm_vcpu): void {
  const { clock, kvmclock_offset } = vcpu.kvm.arch;
  const { pv } = vcpu.arch;
  const { hv_clock } = pv;
  const kernel_ns = clock.use_master_clock ? clock.master_kernel_ns : get_kvmclock_base_ns();
  let timestamp = kvm_read_l1_tsc(vcpu, clock.use_master_clock ? clock.master_cycle_now : host_tsc());
  if (pv.tsc_catchup) timestamp = kvm_catch_up_tsc(vcpu, kernel_ns, timestamp);
  const khz = host_tsc_khz();
  if (pv.hw_tsc_khz !== khz) {
    const { shift, multiplier } = kvm_get_time_scale(NSEC_PER_SEC, BigInt(khz) * 1000n);
    hv_clock.tsc_shift = shift;
    hv_clock.tsc_to_system_mul = multiplier;
    pv.hw_tsc_khz = khz;
  }
  hv_clock.tsc_timestamp = timestamp;
  hv_clock.system_time = BigInt.asUintN(64, kernel_ns + kvmclock_offset);
  hv_clock.flags = clock.use_master_clock ? PVCLOCK_TSC_STABLE_BIT : 0;
  if (pv.time_active) kvm_setup_guest_pvclock(vcpu);
}

/** KVM_KVMCLOCK_CTRL: tells the guest that user space stopped it, so that its watchdogs hold still. */
export function kvm_set_guest_paused(vcpu: kvm_vcpu): number {
  if (!vcpu.arch.pv.time_active) return -EINVAL;
  vcpu.arch.pv.set_guest_stopped_request = true;
  kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu);
  return 0;
}

// ---------------------------------------------------------------- the wall clock

/** MSR_KVM_WALL_CLOCK: the date at which the VM's clock was zero, written once into guest memory. */
export function kvm_write_wall_clock(vcpu: kvm_vcpu, data: bigint): void {
  const { kvm } = vcpu;
  kvm.arch.wall_clock = data;
  const at = Number(data);
  if (at === 0) return;
  const there = kvm_read_guest_u32(vcpu, at);
  if (there === undefined) return;
  const version = (there + (there & 1) + 1) >>> 0;
  if (kvm_write_guest_u32(vcpu, at, version) !== 0) return;
  const ns = ktime_get_real() - get_kvmclock(kvm).clock;
  const wall = pvclock_wall_clock.make({ version, sec: Number(BigInt.asUintN(32, ns / NSEC_PER_SEC)), nsec: Number(ns % NSEC_PER_SEC) });
  kvm_vcpu_write_guest(vcpu, at, windowOf(wall));
  kvm_write_guest_u32(vcpu, at, (version + 1) >>> 0);
}

/** KVM_HC_CLOCK_PAIRING: the date and the guest's TSC of one instant. Returns what goes to RAX. */
export function kvm_pv_clock_pairing(vcpu: kvm_vcpu, at: bigint, type: bigint): number {
  if (type !== BigInt(KVM_CLOCK_PAIRING_WALLCLOCK) || vcpu.arch.pv.tsc_always_catchup) return -KVM_EOPNOTSUPP;
  const now = ktime_get_real();
  const pairing = kvm_clock_pairing.make({ sec: now / NSEC_PER_SEC, nsec: now % NSEC_PER_SEC, tsc: kvm_read_l1_tsc(vcpu, host_tsc()), flags: 0 });
  return kvm_vcpu_write_guest(vcpu, Number(at), windowOf(pairing)) !== 0 ? -KVM_EFAULT : 0;
}
