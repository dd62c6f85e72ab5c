/**
 * The time stamp counters of a VM: offsets, writes that mean "the same as the others", and rates.
 *
 * Linux: arch/x86/kvm/x86.c (kvm_synchronize_tsc, kvm_set_tsc_khz, kvm_arch_tsc_set_attr)
 *
 * A guest sees the processor's counter plus an offset. User space that writes several vCPUs one after the other does not
 * hit the same instant, so a write close to what a TSC would hold by now is taken to mean: as the others. The silicon
 * does not scale; a faster guest is set forward at each entry, a slower one cannot be had.
 */
import { EFAULT, EINVAL, ENXIO } from '../abi/errno.ts';
import { KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, type kvm_device_attr } from '../abi/kvm/index.ts';
import type { Word } from '../abi/process.ts';
import { copy_from_user, copy_to_user, get_tsc, ktime_get, machine } from '../kernel/exports.ts';
import { unsigned } from './ioctl-table.ts';
import { KVM_REQ_CLOCK_UPDATE, KVM_REQ_MASTERCLOCK_UPDATE, type kvm, type kvm_vcpu, kvm_make_request, kvm_x86 } from './kvm_host.ts';
import { kvm_track_tsc, kvm_write_tsc_offset as kvm_write_tsc_offset_trace } from './trace-time.ts';
import { bytesOfWords } from './words.ts';

const NSEC_PER_SEC = 1_000_000_000n;
/** The host's clock is its TSC. */
export const VDSO_CLOCKMODE_TSC = 1;
/** A rate this far from the processor's counts as the same: parts per million. */
const TSC_TOLERANCE_PPM = 250;

export const host_tsc = (): bigint => BigInt(get_tsc());
export const host_tsc_khz = (): number => machine().tscKhz;

export const kvm_read_l1_tsc = (vcpu: kvm_vcpu, tsc: bigint): bigint => BigInt.asUintN(64, tsc + vcpu.arch.tsc_offset);
const kvm_compute_l1_tsc_offset = (target: bigint): bigint => BigInt.asUintN(64, target - host_tsc());

function kvm_vcpu_write_tsc_offset(vcpu: kvm_vcpu, offset: bigint): void {
  const next = BigInt.asUintN(64, offset);
  if (kvm_write_tsc_offset_trace.enabled) kvm_write_tsc_offset_trace.trace({ vcpu_id: vcpu.vcpu_id, previous_tsc_offset: vcpu.arch.tsc_offset, next_tsc_offset: next });
  vcpu.arch.tsc_offset = next;
  kvm_x86.write_tsc_offset(vcpu, next);
}
/** The guest moves its own counter. */
const adjust_tsc_offset_guest = (vcpu: kvm_vcpu, adjustment: bigint): void => kvm_vcpu_write_tsc_offset(vcpu, vcpu.arch.tsc_offset + adjustment);

/** Nanoseconds since boot: what kvmclock counts from. */
export const get_kvmclock_base_ns = (): bigint => ktime_get();

/** multiplier and shift that turn a count at `base_hz` into one at `scaled_hz`: (count << shift) * multiplier >> 32. */
export function kvm_get_time_scale(scaled_hz: bigint, base_hz: bigint): { shift: number; multiplier: number } {
  let [shift, tps64, scaled64] = [0, base_hz, scaled_hz];
  while (tps64 > scaled64 * 2n || tps64 >> 32n !== 0n) {
    tps64 >>= 1n;
    shift--;
  }
  while (tps64 <= scaled64 || scaled64 >> 32n !== 0n) {
    if (scaled64 >> 32n !== 0n || (tps64 & 0x8000_0000n) !== 0n) scaled64 >>= 1n;
    else tps64 <<= 1n;
    shift++;
  }
  return { shift, multiplier: Number((scaled64 << 32n) / tps64) };
}
export const pvclock_scale_delta = (delta: bigint, multiplier: number, shift: number): bigint =>
  BigInt.asUintN(64, ((shift < 0 ? delta >> BigInt(-shift) : BigInt.asUintN(64, delta << BigInt(shift))) * BigInt(multiplier)) >> 32n);
const nsec_to_cycles = (vcpu: kvm_vcpu, ns: bigint): bigint => pvclock_scale_delta(ns, vcpu.arch.pv.virtual_tsc_mult, vcpu.arch.pv.virtual_tsc_shift);

/** What the guest's TSC should hold at that time, had it its own rate. */
function compute_guest_tsc(vcpu: kvm_vcpu, kernel_ns: bigint): bigint {
  const { pv } = vcpu.arch;
  return BigInt.asUintN(64, nsec_to_cycles(vcpu, kernel_ns - pv.this_tsc_nsec) + pv.this_tsc_write);
}
/** Sets a TSC forward that should have run faster. Returns what it holds. */
export function kvm_catch_up_tsc(vcpu: kvm_vcpu, kernel_ns: bigint, timestamp: bigint): bigint {
  const tsc = compute_guest_tsc(vcpu, kernel_ns);
  if (tsc <= timestamp) return timestamp;
  adjust_tsc_offset_guest(vcpu, tsc - timestamp);
  return tsc;
}

// ---------------------------------------------------------------- writes

/** Whether the VM may use one clock for all vCPUs changes with their TSCs. */
function kvm_track_tsc_matching(vcpu: kvm_vcpu): void {
  const { clock } = vcpu.kvm.arch;
  const online = vcpu.kvm.vcpus.length;
  const matched = clock.nr_vcpus_matched_tsc + 1 === online;
  if ((matched && !clock.use_master_clock) || clock.use_master_clock) kvm_make_request(KVM_REQ_MASTERCLOCK_UPDATE, vcpu);
  if (kvm_track_tsc.enabled) {
    kvm_track_tsc.trace({ vcpu_id: vcpu.vcpu_id, nr_vcpus_matched_tsc: clock.nr_vcpus_matched_tsc, online_vcpus: online, use_master_clock: clock.use_master_clock ? 1 : 0, host_clock: VDSO_CLOCKMODE_TSC });
  }
}

function __kvm_synchronize_tsc(vcpu: kvm_vcpu, offset: bigint, tsc: bigint, ns: bigint, matched: boolean): void {
  const { clock } = vcpu.kvm.arch;
  const { pv } = vcpu.arch;
  clock.last_tsc_nsec = ns;
  clock.last_tsc_write = tsc;
  clock.last_tsc_khz = vcpu.arch.virtual_tsc_khz;
  clock.last_tsc_offset = offset;
  kvm_vcpu_write_tsc_offset(vcpu, offset);
  if (!matched) {
    clock.cur_tsc_generation++;
    clock.cur_tsc_nsec = ns;
    clock.cur_tsc_write = tsc;
    clock.cur_tsc_offset = offset;
    clock.nr_vcpus_matched_tsc = 0;
  } else if (pv.this_tsc_generation !== clock.cur_tsc_generation) clock.nr_vcpus_matched_tsc++;
  pv.this_tsc_generation = clock.cur_tsc_generation;
  pv.this_tsc_nsec = clock.cur_tsc_nsec;
  pv.this_tsc_write = clock.cur_tsc_write;
  kvm_track_tsc_matching(vcpu);
}

/** User space sets the TSC, or (undefined) a vCPU is new and starts at 0. */
export function kvm_synchronize_tsc(vcpu: kvm_vcpu, user_value?: bigint): void {
  const { clock } = vcpu.kvm.arch;
  const data = user_value ?? 0n;
  const ns = get_kvmclock_base_ns();
  let synchronizing = data === 0n;
  if (!synchronizing && clock.user_set_tsc) {
    const expected = clock.last_tsc_write + nsec_to_cycles(vcpu, ns - clock.last_tsc_nsec);
    const second = BigInt(vcpu.arch.virtual_tsc_khz) * 1000n;
    synchronizing = data < expected + second && data + second > expected;
  }
  if (user_value !== undefined) clock.user_set_tsc = true;
  const matched = synchronizing && vcpu.arch.virtual_tsc_khz === clock.last_tsc_khz;
  __kvm_synchronize_tsc(vcpu, matched ? clock.cur_tsc_offset : kvm_compute_l1_tsc_offset(data), data, ns, matched);
}

/** WRMSR of IA32_TSC by the guest shows in IA32_TSC_ADJUST. */
export function kvm_guest_write_tsc(vcpu: kvm_vcpu, data: bigint): void {
  const adjustment = kvm_compute_l1_tsc_offset(data) - vcpu.arch.tsc_offset;
  adjust_tsc_offset_guest(vcpu, adjustment);
  vcpu.arch.ia32_tsc_adjust_msr = BigInt.asUintN(64, vcpu.arch.ia32_tsc_adjust_msr + adjustment);
}
/** WRMSR of IA32_TSC_ADJUST by the guest moves the TSC, and its kvmclock must not jump with it. */
export function kvm_guest_write_tsc_adjust(vcpu: kvm_vcpu, data: bigint): void {
  adjust_tsc_offset_guest(vcpu, data - vcpu.arch.ia32_tsc_adjust_msr);
  vcpu.arch.ia32_tsc_adjust_msr = data;
  kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu);
}

// ---------------------------------------------------------------- rates

/** The rate of a vCPU's TSC. false: it cannot be had. */
export function kvm_set_tsc_khz(vcpu: kvm_vcpu, khz: number): boolean {
  const { arch } = vcpu;
  const { pv } = arch;
  if (khz === 0) return false;
  const scale = kvm_get_time_scale(BigInt(khz) * 1000n, NSEC_PER_SEC);
  pv.virtual_tsc_shift = scale.shift;
  pv.virtual_tsc_mult = scale.multiplier;
  arch.virtual_tsc_khz = khz;
  const own = host_tsc_khz();
  const tolerance = (own * TSC_TOLERANCE_PPM) / 1e6;
  if (Math.abs(khz - own) <= tolerance) return true;
  if (khz < own) return false;
  pv.tsc_catchup = pv.tsc_always_catchup = true;
  kvm_make_request(KVM_REQ_CLOCK_UPDATE, vcpu);
  return true;
}
const khz_of = (arg: Word): number => Number(BigInt.asUintN(32, unsigned(arg))) || host_tsc_khz();
export const kvm_vcpu_set_tsc_khz = (vcpu: kvm_vcpu, arg: Word): number => (kvm_set_tsc_khz(vcpu, khz_of(arg)) ? 0 : -EINVAL);
export const kvm_vcpu_get_tsc_khz = (vcpu: kvm_vcpu): number => vcpu.arch.virtual_tsc_khz;
/** Of vCPUs to come. */
export function kvm_vm_set_tsc_khz(vm: kvm, arg: Word): number {
  vm.arch.default_tsc_khz = khz_of(arg);
  return 0;
}
export const kvm_vm_get_tsc_khz = (vm: kvm): number => vm.arch.default_tsc_khz;

// ---------------------------------------------------------------- KVM_VCPU_TSC_CTRL

const is_tsc_offset = (attr: kvm_device_attr): boolean => attr.group === KVM_VCPU_TSC_CTRL && attr.attr === BigInt(KVM_VCPU_TSC_OFFSET);
export const kvm_vcpu_has_device_attr = (_vcpu: kvm_vcpu, attr: kvm_device_attr): number => (is_tsc_offset(attr) ? 0 : -ENXIO);
export function kvm_vcpu_get_device_attr(vcpu: kvm_vcpu, attr: kvm_device_attr): number {
  if (!is_tsc_offset(attr)) return -ENXIO;
  return copy_to_user(Number(attr.addr), bytesOfWords(BigUint64Array.of(vcpu.arch.tsc_offset))) !== 0 ? -EFAULT : 0;
}
export function kvm_vcpu_set_device_attr(vcpu: kvm_vcpu, attr: kvm_device_attr): number {
  if (!is_tsc_offset(attr)) return -ENXIO;
  const value = new BigUint64Array(1);
  if (copy_from_user(bytesOfWords(value), Number(attr.addr)) !== 0) return -EFAULT;
  const { clock } = vcpu.kvm.arch;
  const offset = value[0]!;
  const matched = clock.last_tsc_khz === vcpu.arch.virtual_tsc_khz && clock.last_tsc_offset === offset;
  __kvm_synchronize_tsc(vcpu, offset, BigInt.asUintN(64, host_tsc() + offset), get_kvmclock_base_ns(), matched);
  return 0;
}
