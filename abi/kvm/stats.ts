/**
 * KVM_GET_STATS_FD: a file of statistics that describes itself. Header, descriptors, then the values.
 * Linux: include/uapi/linux/kvm.h, Documentation/virt/kvm/api.rst section 4.133
 */
import { type Of, flex, s16, struct, u16, u32, u8 } from '../struct.ts';

// flags of a descriptor: type, unit, base
export const KVM_STATS_BASE_POW10       = 0;
export const KVM_STATS_TYPE_CUMULATIVE  = 0;
export const KVM_STATS_TYPE_SHIFT       = 0;
export const KVM_STATS_UNIT_NONE        = 0;
export const KVM_STATS_TYPE_INSTANT     = 1;
export const KVM_STATS_TYPE_PEAK        = 2;
export const KVM_STATS_TYPE_LINEAR_HIST = 3;
export const KVM_STATS_TYPE_LOG_HIST    = 4;
export const KVM_STATS_TYPE_MAX         = 4;
export const KVM_STATS_UNIT_SHIFT       = 4;
export const KVM_STATS_BASE_SHIFT       = 0x8;
export const KVM_STATS_TYPE_MASK        = 0xf;
export const KVM_STATS_UNIT_BYTES       = 0x10;
export const KVM_STATS_UNIT_SECONDS     = 0x20;
export const KVM_STATS_UNIT_CYCLES      = 0x30;
export const KVM_STATS_UNIT_BOOLEAN     = 0x40;
export const KVM_STATS_UNIT_MAX         = 0x40;
export const KVM_STATS_UNIT_MASK        = 0xf0;
export const KVM_STATS_BASE_MAX         = 0x100;
export const KVM_STATS_BASE_POW2        = 0x100;
export const KVM_STATS_BASE_MASK        = 0xf00;

export const kvm_stats_header = struct('kvm_stats_header', { flags: u32, name_size: u32, num_desc: u32, id_offset: u32, desc_offset: u32, data_offset: u32 });
export type kvm_stats_header = Of<typeof kvm_stats_header>;

/** The value is size × u64 at data_offset + offset; the name is name_size bytes. */
export const kvm_stats_desc = struct('kvm_stats_desc', { flags: u32, exponent: s16, size: u16, offset: u32, bucket_size: u32, name: flex(u8) });
export type kvm_stats_desc = Of<typeof kvm_stats_desc>;
