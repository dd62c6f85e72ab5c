/**
 * Memory slots: which guest-physical ranges exist and which process memory is behind them; and their dirty logs.
 *
 * Linux: virt/kvm/kvm_main.c (__kvm_set_memory_region, kvm_get_dirty_log), Documentation/virt/kvm/api.rst 4.35
 *
 * A slot is never changed: setting one replaces it, moves the generation and takes away what the MMU had built from the
 * old one.
 */
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOMEM, ENXIO } from '../abi/errno.ts';
import { KVM_DIRTY_LOG_INITIALLY_SET, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY } from '../abi/kvm/index.ts';
import type { kvm_clear_dirty_log, kvm_dirty_log } from '../abi/kvm/index.ts';
import { bytesOfWords } from './words.ts';
import { PAGE_SIZE, copy_from_user, copy_to_user } from '../kernel/exports.ts';
import {
  KVM_MAX_NR_ADDRESS_SPACES, KVM_MEM_MAX_NR_PAGES, KVM_USER_MEM_SLOTS, type kvm, type kvm_memory_slot, type kvm_memslots, type kvm_vcpu,
} from './kvm_host.ts';
import { cpuid_maxphyaddr } from './cpuid.ts';
import { kvm_dirty_ring_push } from './dirty_ring.ts';
import { kvm_mmu_calculate_default_mmu_pages, kvm_mmu_change_mmu_pages } from './mmu/shadow-root.ts';
import { kvm_mmu_slot_start_logging, kvm_mmu_slot_stop_logging, kvm_mmu_write_protect_bitmap, kvm_mmu_flush_slot } from './mmu/slots.ts';

/** End of user addresses that access_ok lets through. */
const TASK_SIZE_MAX = 0x7fff_ffff_f000;
/** A bitmap larger than this is -ENOMEM: 2^26 pages, 256 GiB of guest memory. */
const MAX_BITMAP_PAGES = 2 ** 26;

export interface region { slot: number; flags: number; guest_phys_addr: bigint; memory_size: bigint; userspace_addr: bigint }

/** KVM_SET_USER_MEMORY_REGION. */
export const kvm_set_memory_region = (kvm: kvm, mem: region): number => __kvm_set_memory_region(kvm, mem, false);

/** The same for KVM itself, whose slots user space cannot name. */
export function __kvm_set_memory_region(kvm: kvm, mem: region, internal: boolean): number {
  if ((mem.flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) !== 0) return -EINVAL;
  const as_id = mem.slot >>> 16;
  const id = mem.slot & 0xffff;
  // The last three slots are for KVM itself.
  if (id >= KVM_USER_MEM_SLOTS && !internal) return -EINVAL;
  const misaligned = (value: bigint) => (value & BigInt(PAGE_SIZE - 1)) !== 0n;
  if (misaligned(mem.memory_size) || misaligned(mem.guest_phys_addr) || misaligned(mem.userspace_addr)) return -EINVAL;
  if (mem.userspace_addr + mem.memory_size > BigInt(TASK_SIZE_MAX)) return -EINVAL;
  if (as_id >= KVM_MAX_NR_ADDRESS_SPACES) return -EINVAL;
  if (mem.guest_phys_addr + mem.memory_size >= 1n << 64n) return -EINVAL;
  const npages = Number(mem.memory_size / BigInt(PAGE_SIZE));
  if (npages > KVM_MEM_MAX_NR_PAGES) return -EINVAL;

  const slots = kvm.memslots[as_id]!;
  const old = slots.byId.get(id);
  if (npages === 0) {
    if (old === undefined) return -EINVAL;
    replace(kvm, slots, old, undefined);
    kvm_mmu_flush_slot(kvm, old);
    return 0;
  }
  const base = mem.guest_phys_addr / BigInt(PAGE_SIZE);
  if (old !== undefined) {
    if (mem.userspace_addr !== BigInt(old.userspace_addr) || npages !== old.npages || ((mem.flags ^ old.flags) & KVM_MEM_READONLY) !== 0) return -EINVAL;
    if (base === BigInt(old.base_gfn) && mem.flags === old.flags) return 0;
  }
  const moved = old === undefined || base !== BigInt(old.base_gfn);
  if (moved) {
    // Beyond what a frame number can be; no slot overlaps there.
    if (base + BigInt(npages) - 1n >= 1n << BigInt(cpuid_maxphyaddr() - 12)) return overlaps(slots, id, base, npages) ? -EEXIST : -EINVAL;
    if (overlaps(slots, id, base, npages)) return -EEXIST;
  }
  const logged = (mem.flags & KVM_MEM_LOG_DIRTY_PAGES) !== 0;
  let bitmap = logged ? old?.dirty_bitmap : undefined;
  if (logged && bitmap === undefined && use_dirty_bitmap(kvm)) {
    if (npages > MAX_BITMAP_PAGES) return -ENOMEM;
    bitmap = new Uint32Array(Math.ceil(npages / 64) * 2);
    if (initially_set(kvm)) fillBits(bitmap, npages);
  }
  const slot: kvm_memory_slot = { id, as_id, base_gfn: Number(base), npages, userspace_addr: Number(mem.userspace_addr), flags: mem.flags, dirty_bitmap: bitmap };
  replace(kvm, slots, old, slot);
  if (old !== undefined && moved) kvm_mmu_flush_slot(kvm, old);
  else if (old !== undefined && (mem.flags & KVM_MEM_READONLY) === 0 && ((old.flags ^ mem.flags) & KVM_MEM_LOG_DIRTY_PAGES) !== 0) {
    if (!logged) kvm_mmu_slot_stop_logging(kvm, slot);
    // Where all pages count as dirty from the start, a page is protected when it is cleared first.
    else if (!initially_set(kvm)) kvm_mmu_slot_start_logging(kvm, slot);
  }
  return 0;
}

const use_dirty_bitmap = (kvm: kvm): boolean => kvm.dirty_ring_size === 0 || kvm.dirty_ring_with_bitmap;
const initially_set = (kvm: kvm): boolean => (kvm.manual_dirty_log_protect & BigInt(KVM_DIRTY_LOG_INITIALLY_SET)) !== 0n;

function fillBits(bitmap: Uint32Array, n: number): void {
  bitmap.fill(0xffff_ffff, 0, n >>> 5);
  if (n & 31) bitmap[n >>> 5] = 2 ** (n & 31) - 1;
}

function overlaps(slots: kvm_memslots, id: number, base: bigint, npages: number): boolean {
  const end = base + BigInt(npages);
  return slots.slots.some((s) => s.id !== id && base < BigInt(s.base_gfn + s.npages) && end > BigInt(s.base_gfn));
}

function replace(kvm: kvm, slots: kvm_memslots, old: kvm_memory_slot | undefined, slot: kvm_memory_slot | undefined): void {
  if (old !== undefined) {
    slots.slots.splice(slots.slots.indexOf(old), 1);
    slots.byId.delete(old.id);
    kvm.nr_memslot_pages -= old.npages;
  }
  if (slot !== undefined) {
    const i = slots.slots.findIndex((s) => s.base_gfn > slot.base_gfn);
    slots.slots.splice(i < 0 ? slots.slots.length : i, 0, slot);
    slots.byId.set(slot.id, slot);
    kvm.nr_memslot_pages += slot.npages;
  }
  for (const s of kvm.memslots) s.generation++;
  if ((old === undefined || slot === undefined) && kvm.arch.n_requested_mmu_pages === 0) kvm_mmu_change_mmu_pages(kvm, kvm_mmu_calculate_default_mmu_pages(kvm));
}

/** The slot of address space `as_id` that holds the frame, by bisection. */
export function gfn_to_memslot(slots: kvm_memslots, gfn: number): kvm_memory_slot | undefined {
  let low = 0;
  let high = slots.slots.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const s = slots.slots[middle]!;
    if (gfn < s.base_gfn) high = middle;
    else if (gfn >= s.base_gfn + s.npages) low = middle + 1;
    else return s;
  }
  return undefined;
}

/** The address space the vCPU is in: 1 in system management mode. */
export const kvm_arch_vcpu_memslots_id = (vcpu: kvm_vcpu): number => (vcpu.arch.smm ? 1 : 0);
export const kvm_vcpu_memslots = (vcpu: kvm_vcpu): kvm_memslots => vcpu.kvm.memslots[kvm_arch_vcpu_memslots_id(vcpu)]!;

/** The same for a vCPU, which remembers where it looked last. */
export function kvm_vcpu_gfn_to_memslot(vcpu: kvm_vcpu, gfn: number): kvm_memory_slot | undefined {
  const slots = kvm_vcpu_memslots(vcpu);
  const last = vcpu.last_used_slot;
  if (last !== undefined && vcpu.last_used_generation === slots.generation && last.as_id === kvm_arch_vcpu_memslots_id(vcpu) && gfn >= last.base_gfn && gfn < last.base_gfn + last.npages) return last;
  const slot = gfn_to_memslot(slots, gfn);
  if (slot !== undefined) {
    vcpu.last_used_slot = slot;
    vcpu.last_used_generation = slots.generation;
  }
  return slot;
}

/** The vCPU, or KVM for it, wrote to the page. */
export function mark_page_dirty_in_slot(vcpu: kvm_vcpu, slot: kvm_memory_slot, gfn: number): void {
  if ((slot.flags & KVM_MEM_LOG_DIRTY_PAGES) === 0) return;
  const bit = gfn - slot.base_gfn;
  if (vcpu.dirty_ring !== undefined) kvm_dirty_ring_push(vcpu, slot, bit);
  if (slot.dirty_bitmap === undefined) return;
  slot.dirty_bitmap[bit >>> 5]! |= 1 << (bit & 31);
}

// ---------------------------------------------------------------- dirty log

/** The logged slot a request names, or its errno. */
function logged_slot(kvm: kvm, number: number): kvm_memory_slot | number {
  const as_id = number >>> 16;
  const id = number & 0xffff;
  if (as_id >= KVM_MAX_NR_ADDRESS_SPACES || id >= KVM_USER_MEM_SLOTS) return -EINVAL;
  const slot = kvm.memslots[as_id]!.byId.get(id);
  return slot === undefined || slot.dirty_bitmap === undefined ? -ENOENT : slot;
}

/** KVM_GET_DIRTY_LOG: hands the bitmap out and, unless the caller clears it by himself, starts over. */
export function kvm_vm_ioctl_get_dirty_log(kvm: kvm, log: kvm_dirty_log): number {
  if (!use_dirty_bitmap(kvm)) return -ENXIO;
  const slot = logged_slot(kvm, log.slot);
  if (typeof slot === 'number') return slot;
  const bitmap = slot.dirty_bitmap!;
  const manual = (kvm.manual_dirty_log_protect & BigInt(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)) !== 0n;
  const image = bytesOfWords(bitmap).slice();
  if (!manual) {
    kvm_mmu_write_protect_bitmap(kvm, slot, bitmap);
    bitmap.fill(0);
  }
  return copy_to_user(Number(log.dirty_bitmap), image) !== 0 ? -EFAULT : 0;
}

/** KVM_CLEAR_DIRTY_LOG: the pages named in the bitmap are clean from now on. */
export function kvm_vm_ioctl_clear_dirty_log(kvm: kvm, log: kvm_clear_dirty_log): number {
  if (!use_dirty_bitmap(kvm)) return -ENXIO;
  const as_id = log.slot >>> 16;
  const id = log.slot & 0xffff;
  if (as_id >= KVM_MAX_NR_ADDRESS_SPACES || id >= KVM_USER_MEM_SLOTS) return -EINVAL;
  if ((log.first_page & 63n) !== 0n) return -EINVAL;
  const slot = kvm.memslots[as_id]!.byId.get(id);
  if (slot === undefined || slot.dirty_bitmap === undefined) return -ENOENT;
  const first = log.first_page;
  const n = log.num_pages;
  if (first > BigInt(slot.npages) || BigInt(n) > BigInt(slot.npages) - first || (BigInt(n) < BigInt(slot.npages) - first && (n & 63) !== 0)) return -EINVAL;
  const words = new Uint32Array(Math.ceil(n / 64) * 2);
  if (copy_from_user(bytesOfWords(words), Number(log.dirty_bitmap)) !== 0) return -EFAULT;
  const clean = new Uint32Array(slot.dirty_bitmap.length);
  const at = Number(first) >>> 5;
  for (let i = 0; i < words.length && at + i < clean.length; i++) {
    clean[at + i] = words[i]! & slot.dirty_bitmap[at + i]!;
    slot.dirty_bitmap[at + i]! &= ~words[i]!;
  }
  kvm_mmu_write_protect_bitmap(kvm, slot, clean);
  return 0;
}
