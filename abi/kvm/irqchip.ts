/**
 * Interrupt controllers and timers of the VM: 8259, I/O APIC, local APIC, 8254; routing, irqfd, ioeventfd, MSI.
 * Linux: arch/x86/include/uapi/asm/kvm.h, include/uapi/linux/kvm.h
 */
import { type Of, anonymousUnion, array, flex, s32, s64, struct, u16, u32, u64, u8, union } from '../struct.ts';

// chip_id of kvm_irqchip
export const KVM_IRQCHIP_PIC_MASTER = 0;
export const KVM_IRQCHIP_PIC_SLAVE  = 1;
export const KVM_IRQCHIP_IOAPIC     = 2;
export const KVM_NR_IRQCHIPS        = 3;

export const KVM_IOAPIC_NUM_PINS = 24;

export const KVM_APIC_REG_SIZE = 0x400;

/** One 8259. elcr: bit set for a level-triggered line. */
export const kvm_pic_state = struct('kvm_pic_state', {
  last_irr: u8, irr: u8, imr: u8, isr: u8, priority_add: u8, irq_base: u8, read_reg_select: u8, poll: u8, special_mask: u8,
  init_state: u8, auto_eoi: u8, rotate_on_auto_eoi: u8, special_fully_nested_mode: u8, init4: u8, elcr: u8, elcr_mask: u8,
});
export type kvm_pic_state = Of<typeof kvm_pic_state>;

/**
 * A redirection entry. In C bytes 1 and 2 are bit-fields: delivery_mode:3 dest_mode:1 delivery_status:1 polarity:1
 * remote_irr:1 trig_mode:1, then mask:1 reserve:7.
 */
const redirtbl_fields = struct('kvm_ioapic_state.redirtbl.fields', { vector: u8, bits_8_15: u8, bits_16_23: u8, reserved: array(u8, 4), dest_id: u8 });

export const kvm_ioapic_state = struct('kvm_ioapic_state', {
  base_address: u64, ioregsel: u32, id: u32, irr: u32, pad: u32,
  redirtbl: array(union('kvm_ioapic_state.redirtbl', { bits: u64, fields: redirtbl_fields }), KVM_IOAPIC_NUM_PINS),
});
export type kvm_ioapic_state = Of<typeof kvm_ioapic_state>;

export const kvm_irqchip = struct('kvm_irqchip', {
  chip_id: u32, pad: u32,
  chip: union('kvm_irqchip.chip', { dummy: array(u8, 512), pic: kvm_pic_state, ioapic: kvm_ioapic_state }),
});
export type kvm_irqchip = Of<typeof kvm_irqchip>;

/** The register page: register n of the SDM at byte 16 n. */
export const kvm_lapic_state = struct('kvm_lapic_state', { regs: array(u8, KVM_APIC_REG_SIZE) });
export type kvm_lapic_state = Of<typeof kvm_lapic_state>;

export const kvm_pit_channel_state = struct('kvm_pit_channel_state', {
  count: u32, latched_count: u16, count_latched: u8, status_latched: u8, status: u8, read_state: u8, write_state: u8,
  write_latch: u8, rw_mode: u8, mode: u8, bcd: u8, gate: u8, count_load_time: s64,
});
export type kvm_pit_channel_state = Of<typeof kvm_pit_channel_state>;

// Flags of kvm_pit_config, of kvm_pit_state2
export const KVM_PIT_FLAGS_HPET_LEGACY     = 1;
export const KVM_PIT_SPEAKER_DUMMY         = 1;
export const KVM_PIT_FLAGS_SPEAKER_DATA_ON = 2;

export const kvm_pit_state = struct('kvm_pit_state', { channels: array(kvm_pit_channel_state, 3) });
export type kvm_pit_state = Of<typeof kvm_pit_state>;

export const kvm_pit_state2 = struct('kvm_pit_state2', { channels: array(kvm_pit_channel_state, 3), flags: u32, reserved: array(u32, 9) });
export type kvm_pit_state2 = Of<typeof kvm_pit_state2>;

export const kvm_pit_config = struct('kvm_pit_config', { flags: u32, pad: array(u32, 15) });
export type kvm_pit_config = Of<typeof kvm_pit_config>;

export const kvm_reinject_control = struct('kvm_reinject_control', { pit_reinject: u8, reserved: array(u8, 31) });
export type kvm_reinject_control = Of<typeof kvm_reinject_control>;

/** In: line and level. Out, with KVM_IRQ_LINE_STATUS: how many CPUs it was delivered to, -1 if masked. */
export const kvm_irq_level = struct('kvm_irq_level', { _irq: anonymousUnion({ irq: u32, status: s32 }), level: u32 });
export type kvm_irq_level = Of<typeof kvm_irq_level>;

// type of a routing entry
export const KVM_IRQ_ROUTING_IRQCHIP    = 1;
export const KVM_IRQ_ROUTING_MSI        = 2;
export const KVM_IRQ_ROUTING_HV_SINT    = 4;
export const KVM_IRQ_ROUTING_XEN_EVTCHN = 5;

export const KVM_IRQ_ROUTING_XEN_EVTCHN_PRIO_2LEVEL = 0xffffffff;

export const kvm_irq_routing_irqchip = struct('kvm_irq_routing_irqchip', { irqchip: u32, pin: u32 });
export type kvm_irq_routing_irqchip = Of<typeof kvm_irq_routing_irqchip>;

export const kvm_irq_routing_msi = struct('kvm_irq_routing_msi', { address_lo: u32, address_hi: u32, data: u32, _pad: anonymousUnion({ pad: u32, devid: u32 }) });
export type kvm_irq_routing_msi = Of<typeof kvm_irq_routing_msi>;

/** Another architecture's, and here only because it gives the union its alignment. */
export const kvm_irq_routing_s390_adapter = struct('kvm_irq_routing_s390_adapter', {
  ind_addr: u64, summary_addr: u64, ind_offset: u64, summary_offset: u32, adapter_id: u32,
});
export type kvm_irq_routing_s390_adapter = Of<typeof kvm_irq_routing_s390_adapter>;

export const kvm_irq_routing_hv_sint = struct('kvm_irq_routing_hv_sint', { vcpu: u32, sint: u32 });
export type kvm_irq_routing_hv_sint = Of<typeof kvm_irq_routing_hv_sint>;

export const kvm_irq_routing_xen_evtchn = struct('kvm_irq_routing_xen_evtchn', { port: u32, vcpu: u32, priority: u32 });
export type kvm_irq_routing_xen_evtchn = Of<typeof kvm_irq_routing_xen_evtchn>;

export const kvm_irq_routing_entry = struct('kvm_irq_routing_entry', {
  gsi: u32, type: u32, flags: u32, pad: u32,
  u: union('kvm_irq_routing_entry.u', {
    irqchip: kvm_irq_routing_irqchip, msi: kvm_irq_routing_msi, adapter: kvm_irq_routing_s390_adapter, hv_sint: kvm_irq_routing_hv_sint,
    xen_evtchn: kvm_irq_routing_xen_evtchn, pad: array(u32, 8),
  }),
});
export type kvm_irq_routing_entry = Of<typeof kvm_irq_routing_entry>;

export const kvm_irq_routing = struct('kvm_irq_routing', { nr: u32, flags: u32, entries: flex(kvm_irq_routing_entry) });
export type kvm_irq_routing = Of<typeof kvm_irq_routing>;

export const KVM_IRQFD_FLAG_DEASSIGN = 1;
export const KVM_IRQFD_FLAG_RESAMPLE = 2;

export const kvm_irqfd = struct('kvm_irqfd', { fd: u32, gsi: u32, flags: u32, resamplefd: u32, pad: array(u8, 16) });
export type kvm_irqfd = Of<typeof kvm_irqfd>;

export const KVM_IOEVENTFD_FLAG_DATAMATCH  = 1;
export const KVM_IOEVENTFD_FLAG_PIO        = 2;
export const KVM_IOEVENTFD_FLAG_DEASSIGN   = 4;
export const KVM_IOEVENTFD_VALID_FLAG_MASK = 0x1f;

/** A write of `len` bytes (0: any) to `addr` signals the eventfd and does not leave the kernel. */
export const kvm_ioeventfd = struct('kvm_ioeventfd', { datamatch: u64, addr: u64, len: u32, fd: s32, flags: u32, pad: array(u8, 36) });
export type kvm_ioeventfd = Of<typeof kvm_ioeventfd>;

export const KVM_MSI_VALID_DEVID = 1;

export const kvm_msi = struct('kvm_msi', { address_lo: u32, address_hi: u32, data: u32, flags: u32, devid: u32, pad: array(u8, 12) });
export type kvm_msi = Of<typeof kvm_msi>;
