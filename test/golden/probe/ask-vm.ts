/** Questions to a VM: interrupt chips present and absent, event descriptors, capabilities, devices, clocks. */
import * as K from '../../../abi/kvm/index.ts';
import { MAP_SHARED } from '../../../abi/mman.ts';
import type { Sys } from '../../../abi/process.ts';
import { __NR_mmap } from '../../../abi/syscalls.ts';
import { type Located, addressOf, sizeof } from '../../../abi/struct.ts';
import { close, eventfd, loadBytes, malloc, munmap, storeBytes, syscall } from '../../../userland/libc.ts';
import { bytes, make, mk, rm, words } from './machine.ts';
import { type Argument, type Recorder, rawIoctl } from './recorder.ts';

const zeroed = function* zeroed(n: number): Sys<number> {
  const at = yield* malloc(n);
  storeBytes(at, new Uint8Array(n));
  return at;
};

export function* askVm(q: Recorder, sys: number): Sys {
  const ef = yield* eventfd(0);
  yield* withoutChips(q, sys, ef);
  yield* withChips(q, sys, ef);
  yield* split(q, sys);
  yield* dirtyRing(q, sys);
  yield* close(ef);
}

const IOEVENTFDS: readonly (readonly [string, string, bigint, bigint, number, number, 'event' | 'none' | 'kvm'])[] = [
  ['ok_pio2', 'pio 0x500 len2', 0n, 0x500n, 2, 2, 'event'], ['again', 'the same again', 0n, 0x500n, 2, 2, 'event'], ['datamatch', 'pio 0x500 len2 datamatch 7', 7n, 0x500n, 2, 3, 'event'], ['len3', 'len3', 0n, 0x510n, 3, 2, 'event'],
  ['len8pio', 'pio len8', 0n, 0x520n, 8, 2, 'event'], ['len16', 'len16', 0n, 0x530n, 16, 0, 'event'], ['len0_mmio', 'mmio len0', 0n, 0x90000n, 0, 0, 'event'], ['len0_dm', 'len0 + datamatch', 1n, 0x91000n, 0, 1, 'event'],
  ['badflags', 'flags=0x100', 0n, 0x500n, 2, 0x100, 'event'], ['badfd', 'fd=-1', 0n, 0x540n, 2, 2, 'none'], ['notevent', 'fd=/dev/kvm', 0n, 0x540n, 2, 2, 'kvm'], ['wrap', 'addr+len wraps', 0n, 0xffffffffffffffffn, 8, 0, 'event'],
  ['deassign', 'deassign pio 0x500', 0n, 0x500n, 2, 6, 'event'], ['deassign_again', 'deassign again', 0n, 0x500n, 2, 6, 'event'], ['mmio8', 'mmio len8', 0n, 0x92000n, 8, 0, 'event'], ['virtio_ccw', 'VIRTIO_CCW flag', 0n, 1n, 8, 8, 'event'],
];
const ALL = 0xffffffffffffffffn;
const CAPS: readonly (readonly [number, bigint, number, string])[] = [
  [K.KVM_CAP_X86_DISABLE_EXITS, 4n, 0, 'X86_DISABLE_EXITS PAUSE'], [K.KVM_CAP_X86_DISABLE_EXITS, 0xff0n, 0, 'X86_DISABLE_EXITS bad'], [K.KVM_CAP_EXCEPTION_PAYLOAD, 1n, 0, 'EXCEPTION_PAYLOAD 1'], [K.KVM_CAP_X86_USER_SPACE_MSR, 7n, 0, 'USER_SPACE_MSR 7'],
  [K.KVM_CAP_X86_USER_SPACE_MSR, 0x80n, 0, 'USER_SPACE_MSR 0x80'], [K.KVM_CAP_X2APIC_API, 3n, 0, 'X2APIC_API 3'], [K.KVM_CAP_X2APIC_API, 8n, 0, 'X2APIC_API 8'], [K.KVM_CAP_MSR_PLATFORM_INFO, 0n, 0, 'MSR_PLATFORM_INFO 0'],
  [K.KVM_CAP_HALT_POLL, 1000n, 0, 'HALT_POLL 1000'], [K.KVM_CAP_DIRTY_LOG_RING, 4096n, 0, 'DIRTY_LOG_RING 4096 after vcpu'], [K.KVM_CAP_DIRTY_LOG_RING, 100n, 0, 'DIRTY_LOG_RING 100'], [K.KVM_CAP_SPLIT_IRQCHIP, 5000n, 0, 'SPLIT_IRQCHIP 5000'],
  [K.KVM_CAP_DISABLE_QUIRKS, 1n, 0, 'DISABLE_QUIRKS 1'], [K.KVM_CAP_DISABLE_QUIRKS2, 1n, 0, 'DISABLE_QUIRKS2 1'], [K.KVM_CAP_DISABLE_QUIRKS2, ALL, 0, 'DISABLE_QUIRKS2 ~0'], [K.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1n, 0, 'EXIT_ON_EMULATION_FAILURE 1'],
  [K.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 2n, 0, 'EXIT_ON_EMULATION_FAILURE 2'], [K.KVM_CAP_X86_BUS_LOCK_EXIT, 2n, 0, 'BUS_LOCK_EXIT 2'], [K.KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1n, 0, 'TRIPLE_FAULT_EVENT 1'], [K.KVM_CAP_X86_NOTIFY_VMEXIT, 1n, 0, 'NOTIFY_VMEXIT 1'],
  [K.KVM_CAP_PMU_CAPABILITY, 1n, 0, 'PMU_CAPABILITY 1 after vcpu'], [K.KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, 0n, 0, 'VM_DISABLE_NX_HUGE_PAGES'], [K.KVM_CAP_X86_USER_SPACE_MSR, 1n, 5, 'flags=5'], [K.KVM_CAP_HYPERV_SYNIC, 0n, 0, 'HYPERV_SYNIC on vm'], [K.KVM_CAP_MAX_VCPU_ID, 0n, 0, 'MAX_VCPU_ID 0'],
];

function* withoutChips(q: Recorder, sys: number, ef: number): Sys {
  const m = yield* mk(sys, { mem: true, vcpu: true });
  const vm = (id: string, op: string, desc: string, arg: Argument, req?: number) => q.ask(id, 'vm', m.vm, op, desc, arg, req);
  const vcpu = (id: string, op: string, desc: string, arg: Argument, req?: number) => q.ask(id, 'vcpu', m.vcpu, op, desc, arg, req);
  const page = yield* zeroed(4096);
  const line = yield* make(K.kvm_irq_level, { irq: 1, level: 1 });
  const chip = yield* make(K.kvm_irqchip);
  yield* vm('nochip.irq_line', 'KVM_IRQ_LINE', 'irq1 level1', line);
  yield* vm('nochip.irq_line_status', 'KVM_IRQ_LINE_STATUS', 'irq1 level1', line);
  yield* vm('nochip.get_irqchip', 'KVM_GET_IRQCHIP', '0', chip);
  yield* vm('nochip.set_irqchip', 'KVM_SET_IRQCHIP', '0', chip);
  yield* vm('nochip.create_pit', 'KVM_CREATE_PIT', '0', 0);
  yield* vm('nochip.create_pit2', 'KVM_CREATE_PIT2', 'flags=0', yield* make(K.kvm_pit_config));
  yield* vm('nochip.get_pit2', 'KVM_GET_PIT2', '', yield* make(K.kvm_pit_state2));
  yield* vm('nochip.get_pit', 'KVM_GET_PIT', '', page);
  yield* vm('nochip.signal_msi', 'KVM_SIGNAL_MSI', 'addr=0', yield* make(K.kvm_msi));
  yield* vm('nochip.reinject', 'KVM_REINJECT_CONTROL', '1', yield* make(K.kvm_reinject_control, { pit_reinject: 1 }));
  yield* vm('nochip.irqfd', 'KVM_IRQFD', 'gsi5', yield* make(K.kvm_irqfd, { fd: ef, gsi: 5 }));
  yield* vm('nochip.routing.0', 'KVM_SET_GSI_ROUTING', 'nr=0', yield* make(K.kvm_irq_routing, undefined, 4 * 48));
  for (const [id, desc, datamatch, addr, len, flags, fd] of IOEVENTFDS) {
    yield* vm(`ioeventfd.${id}`, 'KVM_IOEVENTFD', desc, yield* make(K.kvm_ioeventfd, { datamatch, addr, len, flags, fd: fd === 'event' ? ef : fd === 'kvm' ? sys : -1 }));
  }
  const zone = yield* make(K.kvm_coalesced_mmio_zone, { addr: 0x93000n, size: 0x100 });
  yield* vm('coalesced.reg', 'KVM_REGISTER_COALESCED_MMIO', '0x93000+0x100', zone);
  yield* vm('coalesced.reg_again', 'KVM_REGISTER_COALESCED_MMIO', 'same again', zone);
  zone.pio = 2;
  yield* vm('coalesced.pio2', 'KVM_REGISTER_COALESCED_MMIO', 'pio=2', zone);
  zone.pio = 0;
  yield* vm('coalesced.unreg', 'KVM_UNREGISTER_COALESCED_MMIO', 'same', zone);
  yield* vm('coalesced.unreg_again', 'KVM_UNREGISTER_COALESCED_MMIO', 'not there', zone);
  const unknown = yield* make(K.kvm_enable_cap, { cap: 0xffff });
  yield* vm('enable_cap.unknown.vm', 'KVM_ENABLE_CAP', 'cap=0xffff', unknown);
  yield* vcpu('enable_cap.unknown.vcpu', 'KVM_ENABLE_CAP', 'cap=0xffff', unknown);
  yield* vm('enable_cap.irqchip', 'KVM_ENABLE_CAP', 'cap=IRQCHIP', yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_IRQCHIP }));
  for (const [i, [cap, value, flags, desc]] of CAPS.entries()) {
    yield* vm(`enable_cap.${i}`, 'KVM_ENABLE_CAP', desc, yield* make(K.kvm_enable_cap, { cap, flags, args: [value] }));
    q.host();
  }
  yield* vcpu('enable_cap.vcpu.synic', 'KVM_ENABLE_CAP', 'HYPERV_SYNIC without lapic', yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_HYPERV_SYNIC }));
  yield* vcpu('enable_cap.vcpu.enforce_pv', 'KVM_ENABLE_CAP', 'ENFORCE_PV_FEATURE_CPUID', yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_ENFORCE_PV_FEATURE_CPUID, args: [1n] }));
  yield* devices(q, m.vm, m.vcpu);
  yield* clocks(q, m.vm, m.vcpu, page);
  yield* rm(m);
}

function* devices(q: Recorder, vm: number, vcpu: number): Sys {
  const create = function* create(id: string, desc: string, type: number, flags: number, isHost = false): Sys {
    yield* q.ask(`device.${id}`, 'vm', vm, 'KVM_CREATE_DEVICE', desc, yield* make(K.kvm_create_device, { type, flags }));
    if (isHost) q.host();
  };
  yield* create('unknown', 'type=999', 999, 0);
  yield* create('vfio_test', 'VFIO TEST', K.KVM_DEV_TYPE_VFIO, K.KVM_CREATE_DEVICE_TEST, true);
  yield* create('vfio', 'VFIO', K.KVM_DEV_TYPE_VFIO, 0, true);
  yield* create('mpic', 'FSL_MPIC_20', 1, 0);
  const bad = yield* make(K.kvm_device_attr, { group: 9 });
  yield* q.ask('device.vm_has_attr', 'vm', vm, 'KVM_HAS_DEVICE_ATTR', 'group=9', bad);
  yield* q.ask('device.vcpu_has_attr', 'vcpu', vcpu, 'KVM_HAS_DEVICE_ATTR', 'group=9', bad);
  const offset = yield* make(K.kvm_device_attr, { addr: BigInt(yield* words(0n)) });
  yield* q.ask('device.vcpu_tsc_offset_has', 'vcpu', vcpu, 'KVM_HAS_DEVICE_ATTR', 'TSC_CTRL/OFFSET', offset);
  yield* q.ask('device.vcpu_tsc_offset_get', 'vcpu', vcpu, 'KVM_GET_DEVICE_ATTR', 'TSC_CTRL/OFFSET', offset);
  q.host();
}

function* clocks(q: Recorder, vm: number, vcpu: number, page: number): Sys {
  const clock = yield* make(K.kvm_clock_data);
  yield* q.ask('clock.get', 'vm', vm, 'KVM_GET_CLOCK', '', clock);
  q.x('flags', clock.flags);
  q.host();
  clock.flags = 0x80;
  yield* q.ask('clock.set.badflags', 'vm', vm, 'KVM_SET_CLOCK', 'flags=0x80', clock);
  yield* q.ask('clock.set.0', 'vm', vm, 'KVM_SET_CLOCK', '0', yield* make(K.kvm_clock_data));
  yield* q.ask('mmu.get_nr_pages', 'vm', vm, 'KVM_GET_NR_MMU_PAGES', '0', 0);
  q.host();
  yield* q.ask('mmu.set_nr_pages.0', 'vm', vm, 'KVM_SET_NR_MMU_PAGES', '0', 0);
  yield* q.ask('mmu.set_nr_pages.64', 'vm', vm, 'KVM_SET_NR_MMU_PAGES', '64', 64);
  const blank = yield* zeroed(256);
  for (const [id, op] of [['xen.hvm_config', 'KVM_XEN_HVM_CONFIG'], ['hyperv.eventfd', 'KVM_HYPERV_EVENTFD'], ['sev.op', 'KVM_MEMORY_ENCRYPT_OP']] as const) {
    yield* q.ask(id, 'vm', vm, op, 'zero', blank);
    q.host();
  }
  const filter = function* filter(id: string, desc: string, action: number, nevents: number): Sys {
    storeBytes(page, new Uint8Array(4096));
    storeBytes(page, new Uint8Array(Uint32Array.of(action, nevents).buffer));
    yield* q.ask(`pmu_filter.${id}`, 'vm', vm, 'KVM_SET_PMU_EVENT_FILTER', desc, page);
  };
  yield* filter('badaction', 'action=7', 7, 0);
  yield* filter('toomany', 'nevents=100000', 0, 100000);
  yield* filter('zero', 'nevents=0', 0, 0);
  yield* q.ask('identity.unaligned', 'vm', vm, 'KVM_SET_IDENTITY_MAP_ADDR', '0x1001', yield* words(0x1001n));
  yield* q.ask('ring.reset', 'vm', vm, 'KVM_RESET_DIRTY_RINGS', '0 no ring', 0);
  storeBytes(page, new Uint8Array(4096));
  yield* q.ask('nested.get_state', 'vcpu', vcpu, 'KVM_GET_NESTED_STATE', 'size=0', page);
  q.host();
  yield* q.ask('mem_fault.pre', 'vcpu', vcpu, '_IOWR(KVMIO, 0xd5, u8[64])', 'KVM_PRE_FAULT_MEMORY zero', page, 0xc040aed5);
  q.host();
  yield* q.ask('guest_memfd', 'vm', vm, '_IOWR(KVMIO, 0xd4, u8[64])', 'KVM_CREATE_GUEST_MEMFD size=0', page, 0xc040aed4);
  q.host();
}

const LINES: readonly (readonly [number, number, string])[] = [[0, 1, '0 up'], [0, 0, '0 down'], [3, 1, '3 up'], [23, 1, '23 up'], [24, 1, '24 up'], [100, 1, '100 up'], [0xffffffff, 1, '-1 up']];
const MSIS: readonly (readonly [number, number, number, string])[] = [
  [0xfee00000, 0x41, 0, 'fixed vec 0x41 dest 0'], [0xfee00000, 0, 0, 'vector 0'], [0xfee7f000, 0x41, 0, 'dest 0x7f (absent)'], [0, 0x41, 0, 'addr 0'], [0xfee00000, 0x41, 1, 'flags=VALID_DEVID'], [0xfee00000, 0x441, 0, 'NMI delivery'],
];
/** id, in words, count, flags, then of the first entry: gsi, type, flags, and three words of its union. */
const ROUTES: readonly (readonly [string, string, number, number, number, number, number, readonly number[]])[] = [
  ['ok_irqchip', 'gsi5 -> ioapic pin5', 1, 0, 5, 1, 0, [2, 5]], ['ok_msi', 'gsi24 msi', 1, 0, 24, 2, 0, [0xfee00000, 0, 0x41]], ['badtype', 'type=9', 1, 0, 5, 9, 0, []], ['badchip', 'irqchip=7', 1, 0, 5, 1, 0, [7, 5]],
  ['badpin', 'ioapic pin 24', 1, 0, 5, 1, 0, [2, 24]], ['picpin', 'pic pin 8', 1, 0, 5, 1, 0, [0, 8]], ['biggsi', 'gsi=4096', 1, 0, 4096, 2, 0, []], ['gsi4095', 'gsi=4095', 1, 0, 4095, 2, 0, []], ['flags', 'flags=1', 1, 1, 5, 1, 0, [2, 5]],
  ['entryflags', 'entry flags=1 irqchip', 1, 0, 5, 1, 1, [2, 5]], ['toomany', 'nr=5000', 5000, 0, 0, 0, 0, []], ['zero', 'nr=0', 0, 0, 0, 0, 0, []],
];

function* withChips(q: Recorder, sys: number, ef: number): Sys {
  const m = yield* mk(sys, { mem: true });
  const vm = (id: string, op: string, desc: string, arg: Argument) => q.ask(id, 'vm', m.vm, op, desc, arg);
  yield* vm('chip.create', 'KVM_CREATE_IRQCHIP', '0', 0);
  yield* vm('chip.create_again', 'KVM_CREATE_IRQCHIP', 'again', 0);
  yield* vm('chip.split_after', 'KVM_ENABLE_CAP', 'SPLIT_IRQCHIP after IRQCHIP', yield* make(K.kvm_enable_cap, { cap: K.KVM_CAP_SPLIT_IRQCHIP, args: [24n] }));
  yield* vm('chip.pit2.badflags', 'KVM_CREATE_PIT2', 'flags=2', yield* make(K.kvm_pit_config, { flags: 2 }));
  const dummy = yield* make(K.kvm_pit_config, { flags: 1 });
  yield* vm('chip.pit2.dummy', 'KVM_CREATE_PIT2', 'flags=SPEAKER_DUMMY', dummy);
  yield* vm('chip.pit2.again', 'KVM_CREATE_PIT2', 'again', dummy);
  yield* vm('chip.pit.again', 'KVM_CREATE_PIT', 'after PIT2', 0);
  const pit = yield* make(K.kvm_pit_state2);
  yield* vm('chip.get_pit2', 'KVM_GET_PIT2', 'after create', pit);
  q.hex('ch0_no_time', bytes(pit, 16));
  q.out('flags', pit.flags);
  const chip = yield* make(K.kvm_irqchip);
  for (let i = 0; i < 4; i++) {
    storeBytes(addressOf(chip), new Uint8Array(sizeof(chip)));
    chip.chip_id = i;
    yield* vm(`chip.get_irqchip.${i}`, 'KVM_GET_IRQCHIP', `chip ${i}`, chip);
    q.hex('state', loadBytes(addressOf(chip) + 8, i === 2 ? K.kvm_ioapic_state.size : K.kvm_pic_state.size));
  }
  yield* vm('chip.set_irqchip.3', 'KVM_SET_IRQCHIP', 'chip 3', chip);
  const line = yield* make(K.kvm_irq_level);
  for (const [i, [irq, level, desc]] of LINES.entries()) {
    line.irq = irq;
    line.level = level;
    yield* vm(`chip.irq_line.${i}`, 'KVM_IRQ_LINE', desc, line);
    line.irq = irq;
    line.level = level;
    yield* vm(`chip.irq_line_status.${i}`, 'KVM_IRQ_LINE_STATUS', desc, line);
    q.out('status', line.status | 0);
  }
  const v = yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, 0);
  const v1 = yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, 1);
  yield* withLapics(q, v, v1);
  for (const [i, [address_lo, data, flags, desc]] of MSIS.entries()) yield* vm(`chip.signal_msi.${i}`, 'KVM_SIGNAL_MSI', desc, yield* make(K.kvm_msi, { address_lo, data, flags }));
  const table = yield* zeroed(8 + 5001 * 48);
  for (const [id, desc, nr, flags, gsi, type, entryFlags, u] of ROUTES) {
    storeBytes(table, new Uint8Array(Uint32Array.of(nr, flags, gsi, type, entryFlags, 0, ...u, ...Array.from({ length: 8 - u.length }, () => 0)).buffer));
    yield* vm(`routing.${id}`, 'KVM_SET_GSI_ROUTING', desc, table);
  }
  const none = 0xffffffff;
  for (const [id, desc, fd, gsi, flags, resamplefd] of [
    ['ok', 'gsi5', ef, 5, 0, 0], ['again', 'same fd again', ef, 5, 0, 0], ['badflags', 'flags=4', ef, 6, 4, 0], ['badfd', 'fd=-1', none, 6, 0, 0], ['notevent', 'fd=/dev/kvm', sys, 6, 0, 0], ['biggsi', 'gsi=99999', ef, 99999, 0, 0],
    ['resample_bad', 'RESAMPLE resamplefd=-1', ef, 6, 2, none], ['deassign', 'DEASSIGN', ef, 5, 1, 0], ['deassign_again', 'DEASSIGN again', ef, 5, 1, 0],
  ] as const) yield* vm(`irqfd.${id}`, 'KVM_IRQFD', desc, yield* make(K.kvm_irqfd, { fd, gsi, flags, resamplefd }));
  yield* close(v);
  yield* close(v1);
  yield* rm(m);
}

/** Registers of a local APIC that are not zero. */
function showLapic(q: Recorder, at: Located): void {
  const words = new Uint32Array(bytes(at).buffer);
  for (let i = 0; i < 0x400; i += 16) if (words[i / 4] !== 0) q.x(i.toString(16).padStart(3, '0'), words[i / 4]!);
}

function* withLapics(q: Recorder, v: number, v1: number): Sys {
  const lapic = yield* make(K.kvm_lapic_state);
  yield* q.ask('chip.get_lapic', 'vcpu', v, 'KVM_GET_LAPIC', 'vcpu0 after create', lapic);
  showLapic(q, lapic);
  yield* q.ask('chip.get_lapic.1', 'vcpu', v1, 'KVM_GET_LAPIC', 'vcpu1 after create', lapic);
  showLapic(q, lapic);
  yield* q.ask('chip.set_lapic.same', 'vcpu', v1, 'KVM_SET_LAPIC', 'same', lapic);
  const mp = yield* make(K.kvm_mp_state);
  for (const [id, fd] of [['0', v], ['1', v1]] as const) {
    yield* q.ask(`chip.mp_state.${id}`, 'vcpu', fd, 'KVM_GET_MP_STATE', `vcpu${id}`, mp);
    q.out('mp_state', mp.mp_state);
  }
  for (let i = 0; i < 12; i++) {
    mp.mp_state = i;
    yield* q.ask(`chip.set_mp_state.${i}`, 'vcpu', v1, 'KVM_SET_MP_STATE', String(i), mp);
    if ((yield* rawIoctl(v1, K.KVM_GET_MP_STATE.nr, mp)) === 0) q.out('then', mp.mp_state);
  }
  yield* q.ask('chip.interrupt', 'vcpu', v, 'KVM_INTERRUPT', 'with in-kernel irqchip', yield* make(K.kvm_interrupt, { irq: 0x20 }));
  const s = yield* make(K.kvm_sregs);
  yield* rawIoctl(v, K.KVM_GET_SREGS.nr, s);
  q.note('chip.apic_base', 'vcpu', 'KVM_GET_SREGS', 'apic_base with irqchip', 0);
  q.x('apic_base', s.apic_base);
  q.x('cr8', s.cr8);
  yield* rawIoctl(v1, K.KVM_GET_SREGS.nr, s);
  q.note('chip.apic_base.1', 'vcpu', 'KVM_GET_SREGS', 'apic_base vcpu1', 0);
  q.x('apic_base', s.apic_base);
}

function* split(q: Recorder, sys: number): Sys {
  const m = yield* mk(sys, { mem: true, split: true, vcpu: true });
  yield* q.ask('split.irq_line', 'vm', m.vm, 'KVM_IRQ_LINE', 'irq1', yield* make(K.kvm_irq_level, { irq: 1, level: 1 }));
  yield* q.ask('split.get_irqchip', 'vm', m.vm, 'KVM_GET_IRQCHIP', '0', yield* make(K.kvm_irqchip));
  yield* q.ask('split.pit2', 'vm', m.vm, 'KVM_CREATE_PIT2', '', yield* make(K.kvm_pit_config));
  yield* q.ask('split.get_lapic', 'vcpu', m.vcpu, 'KVM_GET_LAPIC', '', yield* make(K.kvm_lapic_state));
  yield* q.ask('split.create_irqchip', 'vm', m.vm, 'KVM_CREATE_IRQCHIP', 'after split', 0);
  yield* q.ask('split.interrupt', 'vcpu', m.vcpu, 'KVM_INTERRUPT', '0x20 with split irqchip', yield* make(K.kvm_interrupt, { irq: 0x20 }));
  yield* rm(m);
}

function* dirtyRing(q: Recorder, sys: number): Sys {
  let m = yield* mk(sys, { mem: true });
  const enable = (size: bigint) => make(K.kvm_enable_cap, { cap: K.KVM_CAP_DIRTY_LOG_RING, args: [size] });
  yield* q.ask('ring.enable_4096', 'vm', m.vm, 'KVM_ENABLE_CAP', 'DIRTY_LOG_RING 4096', yield* enable(4096n));
  q.host();
  yield* q.ask('ring.enable_3000', 'vm', m.vm, 'KVM_ENABLE_CAP', 'DIRTY_LOG_RING 3000', yield* enable(3000n));
  yield* rm(m);
  m = yield* mk(sys, { mem: true });
  yield* q.ask('ring.enable_65536', 'vm', m.vm, 'KVM_ENABLE_CAP', 'DIRTY_LOG_RING 65536', yield* enable(65536n));
  q.host();
  const v = yield* rawIoctl(m.vm, K.KVM_CREATE_VCPU.nr, 0);
  const r = yield* syscall(__NR_mmap, 0, 65536, 3, MAP_SHARED, v, 64 * 4096);
  q.note('ring.mmap_64', 'vcpu', 'mmap', '65536 at page 64', r > 0 ? 0 : r);
  q.host();
  if (r > 0) yield* munmap(r, 65536);
  yield* q.ask('ring.get_dirty_log', 'vm', m.vm, 'KVM_GET_DIRTY_LOG', 'with ring', yield* make(K.kvm_dirty_log));
  q.host();
  yield* close(v);
  yield* rm(m);
}
