/**
 * Guest memory: slots, the dirty log and ring, attributes, coalesced MMIO.
 * Linux: include/uapi/linux/kvm.h
 */
import { type Of, anonymousUnion, array, flex, struct, u32, u64, u8 } from '../struct.ts';

// Flags of a memory slot
export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_MEM_READONLY        = 2;
export const KVM_MEM_GUEST_MEMFD     = 4;

/** A slot: guest-physical range → range of this process. The high half of `slot` is the address space (1 is SMM). Size 0 deletes. */
export const kvm_userspace_memory_region = struct('kvm_userspace_memory_region', { slot: u32, flags: u32, guest_phys_addr: u64, memory_size: u64, userspace_addr: u64 });
export type kvm_userspace_memory_region = Of<typeof kvm_userspace_memory_region>;

export const kvm_userspace_memory_region2 = struct('kvm_userspace_memory_region2', {
  slot: u32, flags: u32, guest_phys_addr: u64, memory_size: u64, userspace_addr: u64, guest_memfd_offset: u64, guest_memfd: u32,
  pad1: u32, pad2: array(u64, 14),
});
export type kvm_userspace_memory_region2 = Of<typeof kvm_userspace_memory_region2>;

/** dirty_bitmap: one bit a page, rounded up to 64 pages. */
export const kvm_dirty_log = struct('kvm_dirty_log', { slot: u32, padding1: u32, _bitmap: anonymousUnion({ dirty_bitmap: u64, padding2: u64 }) });
export type kvm_dirty_log = Of<typeof kvm_dirty_log>;

export const kvm_clear_dirty_log = struct('kvm_clear_dirty_log', { slot: u32, num_pages: u32, first_page: u64, _bitmap: anonymousUnion({ dirty_bitmap: u64, padding2: u64 }) });
export type kvm_clear_dirty_log = Of<typeof kvm_clear_dirty_log>;

// Arguments of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
export const KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE = 1;
export const KVM_DIRTY_LOG_INITIALLY_SET         = 2;

// State of an entry of the dirty ring
export const KVM_DIRTY_GFN_F_DIRTY = 1;
export const KVM_DIRTY_GFN_F_RESET = 2;
export const KVM_DIRTY_GFN_F_MASK  = 3;

export const kvm_dirty_gfn = struct('kvm_dirty_gfn', { flags: u32, slot: u32, offset: u64 });
export type kvm_dirty_gfn = Of<typeof kvm_dirty_gfn>;

export const KVM_MEMORY_ATTRIBUTE_PRIVATE = 8;

export const kvm_memory_attributes = struct('kvm_memory_attributes', { address: u64, size: u64, attributes: u64, flags: u64 });
export type kvm_memory_attributes = Of<typeof kvm_memory_attributes>;

export const kvm_create_guest_memfd = struct('kvm_create_guest_memfd', { size: u64, flags: u64, reserved: array(u64, 6) });
export type kvm_create_guest_memfd = Of<typeof kvm_create_guest_memfd>;

export const kvm_pre_fault_memory = struct('kvm_pre_fault_memory', { gpa: u64, size: u64, flags: u64, padding: array(u64, 5) });
export type kvm_pre_fault_memory = Of<typeof kvm_pre_fault_memory>;

export const kvm_coalesced_mmio_zone = struct('kvm_coalesced_mmio_zone', { addr: u64, size: u32, _pad: anonymousUnion({ pad: u32, pio: u32 }) });
export type kvm_coalesced_mmio_zone = Of<typeof kvm_coalesced_mmio_zone>;

export const kvm_coalesced_mmio = struct('kvm_coalesced_mmio', { phys_addr: u64, len: u32, _pad: anonymousUnion({ pad: u32, pio: u32 }), data: array(u8, 8) });
export type kvm_coalesced_mmio = Of<typeof kvm_coalesced_mmio>;

export const kvm_coalesced_mmio_ring = struct('kvm_coalesced_mmio_ring', { first: u32, last: u32, coalesced_mmio: flex(kvm_coalesced_mmio) });
export type kvm_coalesced_mmio_ring = Of<typeof kvm_coalesced_mmio_ring>;

/** How many entries the ring's page holds. Linux: KVM_COALESCED_MMIO_MAX */
export const KVM_COALESCED_MMIO_MAX = Math.floor((4096 - kvm_coalesced_mmio_ring.size) / kvm_coalesced_mmio.size);

export const kvm_enc_region = struct('kvm_enc_region', { addr: u64, size: u64 });
export type kvm_enc_region = Of<typeof kvm_enc_region>;
