/**
 * What KVM keeps of the services it shares memory with a guest for: kvmclock, steal time, asynchronous page faults,
 * end-of-interrupt without an exit, and which of them the guest's CPUID names.
 *
 * Linux: arch/x86/include/asm/kvm_host.h (members of struct kvm_vcpu_arch and struct kvm_arch)
 */
import { pvclock_vcpu_time_info } from '../abi/kvm/index.ts';

/** Of a vCPU. The MSRs hold guest-physical addresses with flags in their low bits. */
export class kvm_vcpu_pv {
  /** MSR_KVM_SYSTEM_TIME, whichever number it was written by. */
  time = 0n;
  /** Its page can be written. */
  time_active = false;
  readonly hv_clock = pvclock_vcpu_time_info.make();
  /** The rate hv_clock's multiplier stands for. */
  hw_tsc_khz = 0;
  set_guest_stopped_request = false;
  steal_msr = 0n;
  /** Cycles the thread had waited for a processor when steal time was recorded last. */
  last_steal = 0;
  /** The page says "preempted". */
  preempted = false;
  eoi_msr = 0n;
  /** The guest may end its interrupt by clearing a bit; whether it did is seen at the next exit. */
  eoi_pending = false;
  apf_en_msr = 0n;
  apf_int_msr = 0n;
  /** The guest was told of a ready page and has not acknowledged it. */
  pageready_pending = false;
  /** The word that wakes all waiters of the guest is still to be delivered. */
  apf_wakeup_all = false;
  /** KVM_HC_KICK_CPU came. */
  unhalted = false;
  /** EAX of the guest's KVM_CPUID_FEATURES, and whether a service missing there is refused. */
  features = 0;
  enforce = false;
  /** The guest's TSC does not run at the processor's rate and is set forward before entries. */
  tsc_catchup = false;
  tsc_always_catchup = false;
  virtual_tsc_mult = 0;
  virtual_tsc_shift = 0;
  this_tsc_generation = 0;
  this_tsc_nsec = 0n;
  this_tsc_write = 0n;
  /** Something has to be done when the vCPU is loaded or put. */
  watches_load = false;
}

/** Of a VM: its clock, and how the TSCs of its vCPUs were set last. */
export class kvm_arch_clock {
  /** All TSCs agree, so that one pair of times serves all vCPUs and GET_CLOCK. */
  use_master_clock = false;
  master_kernel_ns = 0n;
  master_cycle_now = 0n;
  boot_vcpu_runs_old_kvmclock = false;
  last_tsc_nsec = 0n;
  last_tsc_write = 0n;
  last_tsc_khz = 0;
  last_tsc_offset = 0n;
  cur_tsc_nsec = 0n;
  cur_tsc_write = 0n;
  cur_tsc_offset = 0n;
  /** Moves when a TSC is set that does not go with the others. */
  cur_tsc_generation = 0;
  /** vCPUs beside the first that are of this generation. */
  nr_vcpus_matched_tsc = 0;
  user_set_tsc = false;
}
