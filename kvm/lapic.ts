/**
 * A vCPU's local APIC inside KVM: the chip, its timer on the kernel's clock, INIT and SIPI, and its two windows.
 *
 * Linux: arch/x86/kvm/lapic.c
 *
 * The chip itself is machine/chips/lapic.ts; KVM gives it a bus that reaches the vCPUs of one VM, a version of its own,
 * and turns what it has for the processor into requests of the vCPU.
 */
import { EINVAL } from '../abi/errno.ts';
import { KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_RUNNABLE, type kvm_lapic_state } from '../abi/kvm/index.ts';
import { ApicBus, type ApicMessage } from '../machine/chips/apic-bus.ts';
import { LocalApic, type LapicHost } from '../machine/chips/lapic.ts';
import { windowOf } from '../abi/struct.ts';
import { get_tsc, hrtimer, ns_to_cycles } from '../kernel/exports.ts';
import { kvm_vcpu_kick } from './block.ts';
import { kvm_inject_nmi } from './events.ts';
import { deliver_to_apics, kvm_ioapic_handles_vector } from './irq-delivery.ts';
import { APIC_DEFAULT_PHYS_BASE, KVM_REQ_EVENT, KVM_REQ_IOAPIC_EOI_EXIT, type kvm_vcpu, kvm_make_request, kvm_x86 } from './kvm_host.ts';
import { kvm_inject_smi } from './smm.ts';
import { guest_cpuid_has } from './cpuid.ts';
import { report_tpr_access } from './vapic.ts';
import { kvm_apic, kvm_apic_accept_irq, kvm_apic_ipi, kvm_eoi } from './trace-irq.ts';
import { kvm_vcpu_reset } from './vcpu-create.ts';

const APIC_LVR = 0x30 >> 2, APIC_LVTCMCI = 0x2f0 >> 2, APIC_LVT0 = 0x350 >> 2, APIC_ID = 0x20 >> 2, APIC_SPIV = 0xf0 >> 2, APIC_LDR = 0xd0 >> 2, APIC_TASKPRI = 0x80, APIC_TMCCT = 0x390 >> 2;
const VERSION = 0x14, MAX_LVT = 5;
const APIC_ICR = 0x300, X2APIC_ICR = 0x830, APIC_ICR_BUSY = 1n << 12n;
const X2APIC_LVT_CMCI = 0x82f, MCG_CMCI_P = 0x400n;
const LVT_MASKED = 0x10000, EXTINT = 0x700;
const DM_FIXED = 0, DM_LOWEST = 1, DM_SMI = 2, DM_NMI = 4, DM_INIT = 5, DM_STARTUP = 6, DM_EXTINT = 7;
const DIRECTED_EOI = 0x1000, LVR_DIRECTED_EOI = 1 << 24;
const QUIRK_LINT0_REENABLED = 1n, QUIRK_LAPIC_MMIO_HOLE = 4n;
const ENABLE = 0x800n, X2APIC = 0x400n, APIC_BASE_ADDRESS = 0xf_ffff_ffff_f000n;

const icr_of = (m: ApicMessage, shorthand: number): number =>
  (m.vector | (m.deliveryMode << 8) | (m.logical ? 0x800 : 0) | (m.assert ? 0x4000 : 0) | (m.level ? 0x8000 : 0) | (shorthand << 18)) >>> 0;

/** The bus of one local APIC: its messages go to the vCPUs of the VM. */
class VcpuBus extends ApicBus {
  private readonly apic: kvm_lapic;
  constructor(apic: kvm_lapic) {
    super();
    this.apic = apic;
  }
  override send(message: ApicMessage, shorthand = 0): boolean {
    if (kvm_apic_ipi.enabled) kvm_apic_ipi.trace({ icr_low: icr_of(message, shorthand), dest_id: message.destination });
    return deliver_to_apics(this.apic.vcpu.kvm, message, shorthand, this.apic) > 0;
  }
}

export class kvm_lapic {
  readonly vcpu: kvm_vcpu;
  readonly chip: LocalApic;
  init_pending = false;
  sipi_pending = false;
  /** 0: none. */
  vapic_addr = 0;
  /** The vector taken last, -1 once one was ended since: then there may be several in service. */
  highest_isr_cache = -1;
  private readonly timer: hrtimer;
  private deadline = 0n;
  private was_on = true;
  private base_address = APIC_DEFAULT_PHYS_BASE;

  constructor(vcpu: kvm_vcpu) {
    this.vcpu = vcpu;
    this.timer = new hrtimer(() => {
      this.chip.expire(get_tsc());
      kvm_vcpu_kick(vcpu);
    });
    const host: LapicHost = {
      now: get_tsc,
      deadlineChanged: () => { this.arm(); },
      pendingChanged: () => { this.wake(); },
      nmi: () => { kvm_inject_nmi(vcpu); this.wake(); },
      init: () => { this.init_pending = true; this.sipi_pending = false; this.wake(); },
      startup: (vector) => { vcpu.arch.sipi_vector = vector; this.sipi_pending = true; this.wake(); },
      extint: () => { this.wake(); },
      ended: (vector) => {
        this.highest_isr_cache = -1;
        if (kvm_eoi.enabled) kvm_eoi.trace({ apicid: vcpu.vcpu_id, vector });
        if (kvm_ioapic_handles_vector(vcpu.kvm, vector)) this.send_eoi(vector);
      },
    };
    this.chip = new LocalApic(vcpu.vcpu_id, host, new VcpuBus(this), ns_to_cycles(vcpu.kvm.arch.apic_bus_cycle_ns));
  }

  /** To the I/O APIC here, or in user space. */
  private send_eoi(vector: number): void {
    const { vcpu } = this;
    const { vioapic } = vcpu.kvm.arch.irqchip!;
    if (vioapic !== undefined) {
      vioapic.eoi(this, vector, this.chip.isLevel(vector));
      return;
    }
    vcpu.arch.pending_ioapic_eoi = vector;
    kvm_make_request(KVM_REQ_IOAPIC_EOI_EXIT, vcpu);
  }
  /** The guest tells I/O APICs itself of ends. */
  get directed_eoi(): boolean { return (this.chip.registers[APIC_SPIV]! & DIRECTED_EOI) !== 0; }

  private wake(): void {
    kvm_make_request(KVM_REQ_EVENT, this.vcpu);
    kvm_vcpu_kick(this.vcpu);
  }
  private arm(): void {
    // Called while the chip is being built, too.
    const at = this.chip?.deadline ?? Number.POSITIVE_INFINITY;
    if (at === Number.POSITIVE_INFINITY) this.timer.cancel();
    else this.timer.start(at);
  }

  reset(init_event: boolean): void {
    this.chip.reset();
    this.set_version();
    this.chip.registers[APIC_LVTCMCI] = this.has_cmci ? LVT_MASKED : 0;
    const bsp = this.vcpu.vcpu_id === this.vcpu.kvm.arch.bsp_vcpu_id;
    if (bsp && (this.vcpu.kvm.arch.disabled_quirks & QUIRK_LINT0_REENABLED) === 0n) this.chip.registers[APIC_LVT0] = EXTINT;
    if (!init_event) this.base_changed(this.vcpu.arch.apic_base);
  }
  destroy(): void { this.timer.cancel(); }

  /** Directed EOI is for guests with an I/O APIC that has a register for it: never the one here. */
  set_version(): void {
    const directed = this.vcpu.kvm.arch.irqchip!.mode === 'split' && guest_cpuid_has(this.vcpu, 1, 'ecx', 21);
    this.chip.registers[APIC_LVR] = VERSION | ((this.has_cmci ? MAX_LVT + 1 : MAX_LVT) << 16) | (directed ? LVR_DIRECTED_EOI : 0);
  }
  get hw_enabled(): boolean { return (this.vcpu.arch.apic_base & ENABLE) !== 0n; }
  /** IA32_APIC_BASE was written. Whoever switches an APIC on, or back from x2APIC mode, finds the ID it was made with. */
  base_changed(data: bigint): void {
    const { chip } = this;
    const on = (data & ENABLE) !== 0n, x2apic = on && (data & X2APIC) !== 0n;
    if (on && !x2apic && (!this.was_on || chip.x2apic)) chip.registers[APIC_ID] = chip.id << 24;
    this.was_on = on;
    chip.x2apic = x2apic;
    this.base_address = Number(data & APIC_BASE_ADDRESS);
  }

  /** Takes a message: 1 when it did. */
  accept(message: ApicMessage): number {
    switch (message.deliveryMode) {
      case DM_FIXED: case DM_LOWEST:
        if (!this.chip.enabled || !this.hw_enabled) return 0;
        if (kvm_apic_accept_irq.enabled) kvm_apic_accept_irq.trace({ apicid: this.vcpu.vcpu_id, dm: message.deliveryMode << 8, tm: message.level ? 1 : 0, vec: message.vector });
        this.chip.accept(message.vector, message.level);
        return 1;
      case DM_NMI:
        kvm_inject_nmi(this.vcpu);
        this.wake();
        return 1;
      case DM_INIT:
        if (!message.level || message.assert) this.chip.receive({ ...message, assert: true });
        return 1;
      case DM_STARTUP:
        this.chip.receive(message);
        return 1;
      case DM_SMI:
        kvm_inject_smi(this.vcpu);
        this.wake();
        return 1;
      case DM_EXTINT: return 0;
      default: return 0;
    }
  }

  // -------------------------------------------------------------- priority, timer, windows

  set_tpr(tpr: number): void {
    this.chip.taskPriority = tpr;
    kvm_make_request(KVM_REQ_EVENT, this.vcpu);
  }
  get_tpr(): number { return this.chip.taskPriority; }

  /** In the guest's TSC. */
  get tscdeadline(): bigint { return this.chip.tscDeadline === 0 ? 0n : this.deadline; }
  set_tscdeadline(data: bigint): void {
    const at = BigInt.asIntN(64, data - this.vcpu.arch.tsc_offset);
    this.deadline = data;
    this.chip.tscDeadline = data === 0n ? 0 : Math.max(1, Number(at));
  }

  private in_window(gpa: number): boolean { return gpa >= this.base_address && gpa < this.base_address + 0x1000; }
  /** An APIC that is off or in x2APIC mode leaves a hole, or by a quirk a window that reads as ones. */
  private get closed(): boolean { return !this.hw_enabled || this.chip.x2apic; }
  private get has_hole(): boolean { return (this.vcpu.kvm.arch.disabled_quirks & QUIRK_LAPIC_MMIO_HOLE) !== 0n; }
  /** Reads of 1, 2 or 4 bytes inside one register. */
  mmio_read(gpa: number, n: number, data: Uint8Array): boolean {
    if (!this.in_window(gpa)) return false;
    if (this.closed) {
      if (!this.has_hole) data.fill(0xff, 0, n);
      return !this.has_hole;
    }
    const offset = gpa - this.base_address;
    const register = offset & 0xff0;
    if (register === APIC_TASKPRI) report_tpr_access(this.vcpu, false);
    const word = this.chip.read(register);
    if (kvm_apic.enabled) kvm_apic.trace({ rw: 0, reg: offset, val: BigInt(word >>> 0) });
    const value = (offset & 15) + n > 4 || n > 4 ? 0 : word >>> (8 * (offset & 3));
    for (let i = 0; i < n; i++) data[i] = value >>> (8 * i);
    return true;
  }
  /** Only aligned writes of a whole register count. */
  mmio_write(gpa: number, n: number, data: Uint8Array): boolean {
    if (!this.in_window(gpa)) return false;
    if (this.closed) return !this.has_hole;
    const offset = gpa - this.base_address;
    if (n !== 4 || (offset & 15) !== 0) return true;
    const value = (data[0]! | (data[1]! << 8) | (data[2]! << 16) | (data[3]! << 24)) >>> 0;
    if (kvm_apic.enabled) kvm_apic.trace({ rw: 1, reg: offset, val: BigInt(value) });
    if (offset === APIC_TASKPRI) report_tpr_access(this.vcpu, true);
    this.chip.write(offset, value);
    // KVM keeps ICR as it was written, reserved bits and all.
    if (offset === APIC_ICR) this.chip.registers[APIC_ICR >> 2] = value & ~Number(APIC_ICR_BUSY);
    return true;
  }
  /** KVM_X86_SETUP_MCE: the entry for machine checks comes or goes. */
  after_set_mcg_cap(): void {
    this.chip.registers[APIC_LVTCMCI] = this.has_cmci ? LVT_MASKED : 0;
    this.set_version();
  }
  /** The entry for machine checks that need no action is there if user space said so. */
  private get has_cmci(): boolean { return (this.vcpu.arch.mcg_cap & MCG_CMCI_P) !== 0n; }
  private has_lvt(msr: number): boolean {
    return msr !== X2APIC_LVT_CMCI || this.has_cmci;
  }
  x2apic_read(msr: number, _host: boolean): bigint | undefined {
    const value = this.chip.x2apic && this.has_lvt(msr) ? this.chip.readX2apic(msr) : undefined;
    if (value !== undefined && kvm_apic.enabled) kvm_apic.trace({ rw: 0, reg: (msr - 0x800) << 4, val: value });
    return value;
  }
  x2apic_write(msr: number, data: bigint, _host: boolean): number {
    if (!this.chip.x2apic || !this.has_lvt(msr)) return 1;
    if (kvm_apic.enabled) kvm_apic.trace({ rw: 1, reg: (msr - 0x800) << 4, val: data });
    // "Busy" in ICR is nobody's to set, and not refused.
    return this.chip.writeX2apic(msr, msr === X2APIC_ICR ? data & ~APIC_ICR_BUSY : data) ? 0 : 1;
  }

  // -------------------------------------------------------------- KVM_GET_LAPIC, KVM_SET_LAPIC

  get_state(to: kvm_lapic_state): number {
    const { registers, id, x2apic } = this.chip;
    registers[APIC_TMCCT] = this.chip.read(0x390);
    const bytes = windowOf(to);
    bytes.set(new Uint8Array(registers.buffer, registers.byteOffset, 0x400));
    if (!x2apic) return 0;
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, 0x100);
    words[APIC_ID] = this.vcpu.kvm.arch.x2apic_format ? id : id << 24;
    words[APIC_LDR] = this.chip.read(0xd0);
    return 0;
  }
  set_state(from: kvm_lapic_state): number {
    const bytes = windowOf(from);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, 0x100);
    const { registers, id, x2apic } = this.chip;
    // In x2APIC mode the ID cannot be changed. Only user space that knows 32-bit IDs is told of a wrong one.
    if (x2apic && this.vcpu.kvm.arch.x2apic_format && words[APIC_ID] !== id) return -EINVAL;
    registers.set(words);
    if (x2apic) registers[APIC_ID] = id << 24;
    this.set_version();
    this.highest_isr_cache = -1;
    this.chip.restored(words[APIC_TMCCT]!);
    kvm_make_request(KVM_REQ_EVENT, this.vcpu);
    return 0;
  }
}

// ---------------------------------------------------------------- what the rest of KVM asks

export const kvm_apic_init_sipi_allowed = (vcpu: kvm_vcpu): boolean => !vcpu.arch.smm && !kvm_x86.apic_init_signal_blocked(vcpu);
export const kvm_lapic_latched_init = (vcpu: kvm_vcpu): boolean => vcpu.arch.apic?.init_pending === true;

/** INIT and SIPI that have come in. 0 or -errno. */
export function kvm_apic_accept_events(vcpu: kvm_vcpu): number {
  const { arch } = vcpu;
  const { apic } = arch;
  if (apic === undefined || !(apic.init_pending || apic.sipi_pending)) return 0;
  if (!kvm_apic_init_sipi_allowed(vcpu)) {
    // INIT is latched until RSM; a SIPI is lost.
    apic.sipi_pending = false;
    return 0;
  }
  if (apic.init_pending) {
    apic.init_pending = false;
    kvm_vcpu_reset(vcpu, true);
    arch.mp_state = vcpu.vcpu_id === vcpu.kvm.arch.bsp_vcpu_id ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_INIT_RECEIVED;
  }
  if (apic.sipi_pending) {
    apic.sipi_pending = false;
    if (arch.mp_state !== KVM_MP_STATE_INIT_RECEIVED) return 0;
    const cs = { ...kvm_x86.get_segment(vcpu, 1), selector: arch.sipi_vector << 8, base: BigInt(arch.sipi_vector << 12) };
    kvm_x86.set_segment(vcpu, 1, cs);
    kvm_x86.set_rip(vcpu, 0n);
    arch.mp_state = KVM_MP_STATE_RUNNABLE;
  }
  return 0;
}
export const kvm_apic_has_events = (vcpu: kvm_vcpu): boolean => vcpu.arch.apic !== undefined && kvm_apic_init_sipi_allowed(vcpu) && (vcpu.arch.apic.init_pending || vcpu.arch.apic.sipi_pending);

/** Whether the 8259's line reaches this processor: through an APIC that is off, or LINT0 set to ExtINT. */
export function kvm_apic_accept_pic_intr(vcpu: kvm_vcpu): boolean {
  const { apic } = vcpu.arch;
  if (apic === undefined || !apic.hw_enabled) return true;
  const lvt0 = apic.chip.registers[APIC_LVT0]!;
  return (lvt0 & LVT_MASKED) === 0 && (lvt0 & 0x700) === EXTINT;
}
export const kvm_apic_has_interrupt = (vcpu: kvm_vcpu): number => (vcpu.arch.apic?.hw_enabled === true ? vcpu.arch.apic.chip.pendingVector() : -1);
export function kvm_get_apic_interrupt(vcpu: kvm_vcpu): number {
  if (kvm_apic_has_interrupt(vcpu) < 0) return -1;
  const apic = vcpu.arch.apic!;
  apic.highest_isr_cache = apic.chip.acknowledge();
  return apic.highest_isr_cache;
}
