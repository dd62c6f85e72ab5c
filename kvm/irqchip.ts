/**
 * Interrupt chips inside KVM: their creation, the routing of lines to them, and the requests that reach them.
 *
 * Linux: virt/kvm/irqchip.c, arch/x86/kvm/irq_comm.c, x86.c
 */
import { EEXIST, EFAULT, EINVAL, ENOENT, ENXIO } from '../abi/errno.ts';
import * as K from '../abi/kvm/index.ts';
import { windowOf } from '../abi/struct.ts';
import { copy_from_user } from '../kernel/exports.ts';
import { KVM_PIT_IRQ_SOURCE_ID, KVM_USERSPACE_IRQ_SOURCE_ID, deliver_msi, type kvm_irq_ack_notifier, type kvm_irq_mask_notifier, kvm_scan_ioapic, type route, routes } from './irq-delivery.ts';
import { kvm_set_irq as kvm_set_irq_trace } from './trace-irq.ts';
import { kvm_irqfd, release_irqfds } from './irqfd.ts';
import { kvm_pit } from './i8254.ts';
import { kvm_pic } from './i8259.ts';
import { IOAPIC_NUM_PINS, kvm_ioapic } from './ioapic.ts';
import { on, raw, type row } from './ioctl-table.ts';
import { type kvm, type kvm_vcpu, irqchip_in_kernel, irqchip_split, pic_in_kernel } from './kvm_host.ts';
import { kvm_lapic } from './lapic.ts';
import { kvm_lapic_set_vapic_addr } from './vapic.ts';
import { bytesOfWords } from './words.ts';

export const KVM_MAX_IRQ_ROUTES = 4096;
const ENTRY_SIZE = 48;


/** The wiring of a PC: 16 lines to both chips, the rest to the I/O APIC. */
function default_routes(): Map<number, route[]> {
  const table = new Map<number, route[]>();
  for (let gsi = 0; gsi < IOAPIC_NUM_PINS; gsi++) table.set(gsi, [...(gsi < 16 ? [{ kind: 'pic', pin: gsi } as const] : []), { kind: 'ioapic', pin: gsi }]);
  return table;
}

/** Sets what one source makes of a line: how many took the interrupt, -1 when nobody could. */
export function kvm_set_irq(vm: kvm, gsi: number, source: number, level: boolean): number {
  if (kvm_set_irq_trace.enabled) kvm_set_irq_trace.trace({ gsi, level: level ? 1 : 0, irq_source_id: source });
  let ret = -1;
  for (const r of routes(vm).get(gsi) ?? []) {
    const n = r.kind === 'pic' ? vm.arch.irqchip!.vpic!.set_irq(r.pin, source, level)
      : r.kind === 'ioapic' ? vm.arch.irqchip!.vioapic!.set_irq(r.pin, source, level)
      : r.kind === 'msi' && level ? deliver_msi(vm, r.address_lo, r.address_hi, r.data) : -1;
    if (n >= 0) ret = n + Math.max(ret, 0);
  }
  return ret;
}

// ---------------------------------------------------------------- creation

const nobody = () => ({ ack_notifiers: new Set<kvm_irq_ack_notifier>(), mask_notifiers: new Set<kvm_irq_mask_notifier>(), handled_vectors: new Uint8Array(256) });

function kvm_vm_ioctl_create_irqchip(vm: kvm): number {
  if (irqchip_in_kernel(vm)) return -EEXIST;
  if (vm.created_vcpus > 0) return -EINVAL;
  vm.arch.irqchip = { mode: 'kernel', vpic: new kvm_pic(vm), vioapic: new kvm_ioapic(vm), vpit: undefined, nr_reserved_ioapic_pins: 0, routes: default_routes(), ...nobody() };
  return 0;
}

/** KVM_CAP_SPLIT_IRQCHIP: local APICs here, the other chips in user space. */
export function kvm_setup_split_irqchip(vm: kvm, pins: bigint): number {
  if (pins > BigInt(KVM_MAX_IRQ_ROUTES)) return -EINVAL;
  if (irqchip_in_kernel(vm) || vm.created_vcpus > 0) return -EEXIST;
  vm.arch.irqchip = { mode: 'split', vpic: undefined, vioapic: undefined, vpit: undefined, nr_reserved_ioapic_pins: Number(pins), routes: new Map(), ...nobody() };
  return 0;
}

export function kvm_create_lapic(vcpu: kvm_vcpu): void {
  if (!irqchip_in_kernel(vcpu.kvm)) return;
  vcpu.arch.apic = new kvm_lapic(vcpu);
  if (vcpu.vcpu_id !== vcpu.kvm.arch.bsp_vcpu_id) vcpu.arch.mp_state = K.KVM_MP_STATE_UNINITIALIZED;
}
export function kvm_destroy_irqchip(vm: kvm): void {
  release_irqfds(vm);
  vm.arch.irqchip?.vpit?.destroy();
  vm.arch.irqchip?.vioapic?.destroy();
  for (const vcpu of vm.vcpus) vcpu.arch.apic?.destroy();
}

function create_pit(vm: kvm, flags: number): number {
  const chips = vm.arch.irqchip;
  if (chips?.vpit !== undefined) return -EEXIST;
  if (chips === undefined || !pic_in_kernel(vm)) return -ENOENT;
  chips.vpit = new kvm_pit(vm, (flags & K.KVM_PIT_SPEAKER_DUMMY) !== 0, (level) => { kvm_set_irq(vm, 0, KVM_PIT_IRQ_SOURCE_ID, level); });
  chips.vpit.set_reinject(true);
  return 0;
}

// ---------------------------------------------------------------- state

function chip_state(vm: kvm, chip: K.kvm_irqchip, store: boolean): number {
  const chips = vm.arch.irqchip;
  if (chips === undefined || chips.vpic === undefined) return -ENXIO;
  if (chip.chip_id > K.KVM_IRQCHIP_IOAPIC) return -EINVAL;
  const theirs = chip.chip_id === K.KVM_IRQCHIP_IOAPIC ? chip.chip.ioapic : chip.chip.pic;
  const bytes = memberBytes(chip, theirs);
  if (chip.chip_id === K.KVM_IRQCHIP_IOAPIC) {
    if (store) chips.vioapic!.set_state(bytes);
    else chips.vioapic!.get_state(bytes);
    return 0;
  }
  const ours = windowOf(chips.vpic.pics[chip.chip_id as 0 | 1]);
  if (store) {
    ours.set(bytes);
    chips.vpic.restored();
  } else bytes.set(ours);
  return 0;
}
/** The bytes of a member of a struct in the kernel's own memory. */
function memberBytes(whole: K.kvm_irqchip, member: K.kvm_pic_state | K.kvm_ioapic_state): Uint8Array {
  const at = member['@base'] - whole['@base'];
  return windowOf(whole).subarray(at, at + member['@type'].size);
}
const with_pit = <T>(f: (pit: kvm_pit, arg: T) => number) => (vm: kvm, arg: T): number => {
  const pit = vm.arch.irqchip?.vpit;
  return pit === undefined ? -ENXIO : f(pit, arg);
};

function irq_line(vm: kvm, line: K.kvm_irq_level): number {
  if (!irqchip_in_kernel(vm)) return -ENXIO;
  line.status = kvm_set_irq(vm, line.irq, KVM_USERSPACE_IRQ_SOURCE_ID, line.level !== 0);
  return 0;
}

function signal_msi(vm: kvm, msi: K.kvm_msi): number {
  if (!irqchip_in_kernel(vm) || (msi.flags & ~K.KVM_MSI_VALID_DEVID) !== 0) return -EINVAL;
  return deliver_msi(vm, msi.address_lo, msi.address_hi, msi.data);
}

// ---------------------------------------------------------------- routing

/** A route as user space describes it, or undefined when there is no such thing. */
function route_of(vm: kvm, words: Uint32Array, at: number): route | undefined {
  const [type, flags] = [words[at + 1]!, words[at + 2]!];
  const [a, b, c] = [words[at + 4]!, words[at + 5]!, words[at + 6]!];
  if ((flags & ~(type === K.KVM_IRQ_ROUTING_MSI ? K.KVM_MSI_VALID_DEVID : 0)) !== 0) return undefined;
  switch (type) {
    case K.KVM_IRQ_ROUTING_IRQCHIP:
      if (irqchip_split(vm)) return undefined;
      if (a === K.KVM_IRQCHIP_IOAPIC) return b < IOAPIC_NUM_PINS ? { kind: 'ioapic', pin: b } : undefined;
      return a <= K.KVM_IRQCHIP_PIC_SLAVE && b < 8 ? { kind: 'pic', pin: b + 8 * a } : undefined;
    case K.KVM_IRQ_ROUTING_MSI: return vm.arch.x2apic_format && (b & 0xff) !== 0 ? undefined : { kind: 'msi', address_lo: a, address_hi: b, data: c };
    case K.KVM_IRQ_ROUTING_HV_SINT: return { kind: 'none' };
    default: return undefined;
  }
}

function set_gsi_routing(vm: kvm, at: number): number {
  const head = new Uint32Array(2);
  if (copy_from_user(bytesOfWords(head), at) !== 0) return -EFAULT;
  const nr = head[0]!;
  if (!irqchip_in_kernel(vm) || nr > KVM_MAX_IRQ_ROUTES || head[1] !== 0) return -EINVAL;
  const words = new Uint32Array((nr * ENTRY_SIZE) / 4);
  if (copy_from_user(bytesOfWords(words), at + 8) !== 0) return -EFAULT;
  const table = new Map<number, route[]>();
  for (let i = 0; i < nr; i++) {
    const gsi = words[(i * ENTRY_SIZE) / 4]!;
    const r = route_of(vm, words, (i * ENTRY_SIZE) / 4);
    if (gsi >= KVM_MAX_IRQ_ROUTES || r === undefined) return -EINVAL;
    const there = table.get(gsi) ?? [];
    // A line reaches each chip once, and a message only alone.
    if (there.some((other) => other.kind === r.kind || other.kind === 'msi' || r.kind === 'msi')) return -EINVAL;
    table.set(gsi, [...there, r]);
  }
  vm.arch.irqchip!.routes = table;
  kvm_scan_ioapic(vm);
  return 0;
}

const apic_of = (vcpu: kvm_vcpu, f: (apic: kvm_lapic) => number): number => (vcpu.arch.apic === undefined ? -EINVAL : f(vcpu.arch.apic));

export const irqchip_vm_ioctls: row<kvm>[] = [
  on (K.KVM_CREATE_IRQCHIP,    kvm_vm_ioctl_create_irqchip),
  on (K.KVM_GET_IRQCHIP,       (vm, chip) => chip_state(vm, chip, false)),
  on (K.KVM_SET_IRQCHIP,       (vm, chip) => chip_state(vm, chip, true)),
  on (K.KVM_IRQ_LINE,          irq_line),
  on (K.KVM_IRQ_LINE_STATUS,   irq_line),
  on (K.KVM_SIGNAL_MSI,        signal_msi),
  on (K.KVM_CREATE_PIT,        (vm) => create_pit(vm, K.KVM_PIT_SPEAKER_DUMMY)),
  on (K.KVM_CREATE_PIT2,       (vm, config) => create_pit(vm, config.flags)),
  on (K.KVM_GET_PIT,           with_pit((pit, to) => pit.get_state(to))),
  on (K.KVM_SET_PIT,           with_pit((pit, from) => pit.set_state(from))),
  on (K.KVM_GET_PIT2,          with_pit((pit, to) => pit.get_state(to))),
  on (K.KVM_SET_PIT2,          with_pit((pit, from) => pit.set_state(from))),
  raw(K.KVM_REINJECT_CONTROL,  with_pit((pit, at) => {
    const control = new Uint8Array(K.kvm_reinject_control.size);
    if (copy_from_user(control, at) !== 0) return -EFAULT;
    pit.set_reinject(control[0] !== 0);
    return 0;
  })),
  raw(K.KVM_SET_GSI_ROUTING,   set_gsi_routing),
  on (K.KVM_IRQFD,             kvm_irqfd),
];
export const irqchip_vcpu_ioctls: row<kvm_vcpu>[] = [
  on (K.KVM_GET_LAPIC,         (vcpu, to) => apic_of(vcpu, (apic) => apic.get_state(to))),
  on (K.KVM_SET_LAPIC,         (vcpu, from) => apic_of(vcpu, (apic) => apic.set_state(from))),
  on (K.KVM_SET_VAPIC_ADDR,    (vcpu, va) => apic_of(vcpu, () => kvm_lapic_set_vapic_addr(vcpu, va.vapic_addr))),
];
