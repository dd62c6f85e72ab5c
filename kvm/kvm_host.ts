/**
 * KVM's objects: a VM, its vCPUs and memory slots.
 *
 * Linux: include/linux/kvm_host.h, arch/x86/include/asm/kvm_host.h
 *
 * A VM lives as long as any of its descriptors, those of vCPUs included. A vCPU's state may be touched only between
 * vcpu_load and vcpu_put: most of it is in the VMCS, which belongs to one processor at a time.
 */
import type { kvm_run } from '../abi/kvm/run.ts';
import type { Mem } from '../abi/struct.ts';
import type { CpuState } from '../machine/cpu/state.ts';
import { type mm_struct, type mmu_notifier, type preempt_notifier, type task_struct, PAGE_SIZE, kernelVariable, wait_queue_head } from '../kernel/exports.ts';
import type { kvm_io_bus } from './io-bus.ts';
import type { x86_emulate_ctxt, x86_exception } from './emulate.ts';
import type { kvm_cpuid_entry } from './cpuid.ts';
import type { kvm_dirty_ring } from './dirty_ring.ts';
import type { vcpu_vmx } from './vmx/vcpu-vmx.ts';
import type { kvm_mmu } from './mmu/mmu.ts';
import type { kvm_arch_irqchip } from './irq.ts';
import type { kvm_lapic } from './lapic.ts';
import type { kvm_vcpu_hv } from './hyperv.ts';
import { kvm_shadow_mmu } from './mmu/shadow-page.ts';
import { kvm_arch_clock, kvm_vcpu_pv } from './pv-state.ts';
import { kvm_x86 } from './x86-ops.ts';

export { type kvm_x86_ops, type segment, kvm_x86, set_kvm_x86_ops } from './x86-ops.ts';

export const KVM_API_VERSION = 12;
export const KVM_MAX_VCPUS = 1024;
export const KVM_MAX_VCPU_IDS = 4 * KVM_MAX_VCPUS;
/** Slots of user space in one address space; three more are KVM's own. */
export const KVM_USER_MEM_SLOTS = 32764;
/** Address space 1 is what a processor in system management mode sees. */
export const KVM_MAX_NR_ADDRESS_SPACES = 2;
export const KVM_MEM_MAX_NR_PAGES = 2 ** 31 - 1;
export const APIC_DEFAULT_PHYS_BASE = 0xfee0_0000;

// Requests: bits of vcpu.requests, looked at before each entry.
export const KVM_REQ_TLB_FLUSH     = 1 << 0;
export const KVM_REQ_UNBLOCK       = 1 << 2;
export const KVM_REQ_EVENT         = 1 << 3;
export const KVM_REQ_TRIPLE_FAULT  = 1 << 4;
export const KVM_REQ_NMI           = 1 << 5;
export const KVM_REQ_SMI           = 1 << 6;
export const KVM_REQ_MSR_FILTER_CHANGED = 1 << 8;
export const KVM_REQ_IOAPIC_EOI_EXIT = 1 << 10;
export const KVM_REQ_DIRTY_RING_SOFT_FULL = 1 << 11;
export const KVM_REQ_STEAL_UPDATE  = 1 << 16;
export const KVM_REQ_CLOCK_UPDATE  = 1 << 17;
export const KVM_REQ_GLOBAL_CLOCK_UPDATE = 1 << 18;
export const KVM_REQ_MASTERCLOCK_UPDATE = 1 << 19;
export const KVM_REQ_APF_READY     = 1 << 20;
export const KVM_REQ_REPORT_TPR_ACCESS = 1 << 21;

export const OUTSIDE_GUEST_MODE = 0;
export const IN_GUEST_MODE = 1;

/** A range of guest-physical memory and the process memory behind it. */
export interface kvm_memory_slot {
  readonly id: number;
  readonly as_id: number;
  readonly base_gfn: number;
  readonly npages: number;
  readonly userspace_addr: number;
  readonly flags: number;
  /** One bit a page, bit 0 of word 0 first; present while the slot is logged. */
  readonly dirty_bitmap: Uint32Array | undefined;
}

/** Slots of one address space, by base_gfn. */
export interface kvm_memslots { readonly slots: kvm_memory_slot[]; readonly byId: Map<number, kvm_memory_slot>; generation: number }

/** One part of an MMIO access that user space must perform, at most a page of it. */
export interface kvm_mmio_fragment { gpa: number; at: number; len: number }

/** Buckets of a histogram of times. */
export const HALT_POLL_HIST_COUNT = 32;
/** Counters of debugfs and KVM_GET_STATS_FD. */
export const vcpu_stat_names = [
  'halt_successful_poll', 'halt_attempted_poll', 'halt_poll_invalid', 'halt_wakeup', 'halt_poll_success_ns', 'halt_poll_fail_ns', 'halt_wait_ns', 'blocking',
  'pf_taken', 'pf_fixed', 'pf_emulate', 'pf_spurious', 'pf_fast', 'pf_mmio_spte_created', 'pf_guest', 'tlb_flush', 'invlpg', 'exits', 'io_exits', 'mmio_exits', 'signal_exits',
  'irq_window_exits', 'nmi_window_exits', 'l1d_flush', 'halt_exits', 'request_irq_exits', 'irq_exits', 'host_state_reload', 'fpu_reload', 'insn_emulation', 'insn_emulation_fail',
  'hypercalls', 'irq_injections', 'nmi_injections', 'req_event', 'nested_run', 'directed_yield_attempted', 'directed_yield_successful', 'preemption_reported', 'preemption_other',
  'guest_mode', 'notify_window_exits',
] as const;
export const vm_stat_names = ['mmu_shadow_zapped', 'mmu_pte_write', 'mmu_pde_zapped', 'mmu_flooded', 'mmu_recycled', 'mmu_cache_miss', 'mmu_unsync', 'pages_4k', 'pages_2m', 'pages_1g',
  'nx_lpage_splits', 'max_mmu_page_hash_collisions', 'max_mmu_rmap_size', 'remote_tlb_flush', 'remote_tlb_flush_requests'] as const;
export type kvm_vcpu_stat = Record<(typeof vcpu_stat_names)[number], number>;
export type kvm_vm_stat = Record<(typeof vm_stat_names)[number], number>;
const zeros = <K extends string>(names: readonly K[]): Record<K, number> => Object.fromEntries(names.map((n) => [n, 0])) as Record<K, number>;

/** An exception on its way: pending (not yet begun) or injected (the processor was told, delivery may have to be repeated). */
export class kvm_queued_exception {
  pending = false;
  injected = false;
  has_error_code = false;
  vector = 0;
  error_code = 0;
  has_payload = false;
  payload = 0n;
}

export class kvm_vcpu_arch {
  private readonly saved_regs = new BigUint64Array(16);
  private readonly saved_regs32 = new Uint32Array(this.saved_regs.buffer);
  private readonly saved_fpu = new Uint8Array(512);
  /**
   * General registers except RSP, which is in the VMCS with RIP and RFLAGS. Once the guest has run they stay in the
   * processor's own register file, and these are windows on it, until something else needs the place.
   */
  regs: BigUint64Array = this.saved_regs;
  regs32: Uint32Array = this.saved_regs32;
  /** The FXSAVE image, in the same way. */
  guest_fpu: Uint8Array = this.saved_fpu;
  cr0 = 0n;
  cr0_guest_owned_bits = 0n;
  /** CR2 as two words: it is copied at each entry and exit. */
  readonly cr2_words = new Uint32Array(2);
  private readonly cr2_value = new BigUint64Array(this.cr2_words.buffer);
  get cr2(): bigint { return this.cr2_value[0]!; }
  set cr2(value: bigint) { this.cr2_value[0] = value; }
  /** The guest's CR3 where the processor's is another. */
  cr3 = 0n;
  cr4 = 0n;
  cr4_guest_owned_bits = 0n;
  /** CR4 bits the guest may not set: what its CPUID does not have. */
  cr4_guest_rsvd_bits = 0n;
  cr8 = 0;
  efer = 0n;
  xcr0 = 1n;
  /** IA32_APIC_BASE as two words: kvm_run tells it after each run. */
  readonly apic_base_words = new Uint32Array(2);
  private readonly apic_base_value = new BigUint64Array(this.apic_base_words.buffer);
  get apic_base(): bigint { return this.apic_base_value[0]!; }
  set apic_base(value: bigint) { this.apic_base_value[0] = value; }
  apic: kvm_lapic | undefined = undefined;
  mp_state = 0;
  readonly mmu: kvm_mmu;
  readonly exception = new kvm_queued_exception();
  readonly interrupt = { injected: false, soft: false, nr: 0 };
  nmi_queued = 0;
  nmi_pending = 0;
  nmi_injected = false;
  smi_pending = false;
  smi_count = 0n;
  smm = false;
  /** The SMI came while NMIs were masked: RSM leaves them so. */
  smm_inside_nmi = false;
  sipi_vector = 0;
  /** Split chips: the vector user space's PIC wants to inject, -1 none. */
  pending_external_vector = -1;
  /** Split irqchip: the vector whose EOI user space's I/O APIC waits for. */
  pending_ioapic_eoi = -1;
  /** A port access user space is performing. */
  readonly pio = { count: 0, in: false, port: 0, size: 0, linear_rip: 0 };
  /**
   * The last run ended with an OUT, nothing unusual is on in this vCPU, and no other request has come since: run_again.
   * Where the instruction is was not noted.
   */
  again = false;
  /** Continues the instruction when user space has answered. */
  complete_userspace_io: ((vcpu: kvm_vcpu) => number) | undefined = undefined;
  readonly emulate_ctxt: x86_emulate_ctxt;
  emulate_regs_need_sync_to_vcpu = false;
  emulate_regs_need_sync_from_vcpu = false;
  readonly fault: x86_exception = { vector: 0, error_code_valid: false, error_code: 0, address: 0n };
  cpuid_entries: kvm_cpuid_entry[] = [];
  maxphyaddr = 36;
  /** XCR0 bits the guest's CPUID has. */
  guest_supported_xcr0 = 3n;
  last_vmentry_cpu = -1;
  readonly db = new BigUint64Array(4);
  dr6 = 0xffff0ff0n;
  dr7 = 0x400n;
  /** What is in the debug registers while guest_debug uses them. */
  readonly eff_db = new BigUint64Array(4);
  guest_debug_dr7 = 0n;
  /** A breakpoint is armed: the debug registers change with the guest. */
  switch_db_regs = false;
  singlestep_rip = 0n;
  /** A request may have changed an MSR since the last run. */
  registers_changed = true;
  /** MSRs without a home of their own. */
  readonly msrs = new Map<number, bigint>();
  pat = 0x0007_0406_0007_0406n;
  mcg_cap = 0n;
  mcg_status = 0n;
  mcg_ctl = 0n;
  readonly mce_banks = new BigUint64Array(32 * 4);
  readonly mci_ctl2_banks = new BigUint64Array(32);
  ia32_misc_enable_msr = 0x1800n;
  msr_ia32_power_ctl = 0n;
  smbase = 0x30000n;
  tpr_access_reporting = false;
  tsc_offset = 0n;
  virtual_tsc_khz = 0;
  ia32_tsc_adjust_msr = 0n;
  msr_kvm_poll_control = 1n;
  /** Services shared with the guest: kvmclock, steal time and so on. */
  readonly pv = new kvm_vcpu_pv();
  msr_misc_features_enables = 0n;
  hv: kvm_vcpu_hv | undefined = undefined;
  hv_enabled = false;
  at_instruction_boundary = false;
  /** The emulator met HLT. */
  halt_request = false;
  constructor(mmu: kvm_mmu, emulate_ctxt: x86_emulate_ctxt) {
    this.mmu = mmu;
    this.emulate_ctxt = emulate_ctxt;
  }

  /** Moves general registers and FPU into a processor. */
  enter_processor(cpu: CpuState): void {
    cpu.gpr.set(this.saved_regs);
    cpu.fpu.set(this.saved_fpu);
    this.regs = cpu.gpr;
    this.regs32 = cpu.gpr32;
    this.guest_fpu = cpu.fpu;
  }
  /** Moves them out of it again. */
  readonly leave_processor = (): void => {
    this.saved_regs.set(this.regs);
    this.saved_fpu.set(this.guest_fpu);
    this.regs = this.saved_regs;
    this.regs32 = this.saved_regs32;
    this.guest_fpu = this.saved_fpu;
  };
}

export class kvm_vcpu {
  readonly kvm: kvm;
  readonly vcpu_id: number;
  readonly vcpu_idx: number;
  /** Processor it is loaded on, or was last; -1 before. */
  cpu = -1;
  loaded = false;
  mode = OUTSIDE_GUEST_MODE;
  requests = KVM_REQ_EVENT;
  /** The thread inside a vCPU ioctl; others wait. */
  owner: task_struct | undefined = undefined;
  readonly mutex = new wait_queue_head();
  /** Whom a blocked vCPU is woken through. */
  readonly wq = new wait_queue_head();
  blocking = false;
  readonly preempt_notifier: preempt_notifier;
  preempted = false;
  /** It could run and does not. */
  ready = false;
  /** Frames of kvm_run, of port data and of the coalesced ring. */
  readonly run_pfn: number;
  readonly pio_pfn: number;
  readonly run: kvm_run;
  /** The same page as words: kvm_run's 64-bit members without a BigInt each time. */
  readonly run_words: Uint32Array;
  sigset_active = false;
  sigset = 0n;
  guest_debug = 0;
  mmio_needed = false;
  mmio_read_completed = false;
  mmio_is_write = false;
  mmio_cur_fragment = 0;
  mmio_nr_fragments = 0;
  readonly mmio_fragments: kvm_mmio_fragment[] = [];
  /** Bytes of the access in progress, behind the fragments. */
  readonly mmio_data = new Uint8Array(1024);
  readonly stat: kvm_vcpu_stat = zeros(vcpu_stat_names);
  last_used_slot: kvm_memory_slot | undefined = undefined;
  last_used_generation = -1;
  halt_poll_ns = 0;
  readonly halt_poll_success_hist = new Float64Array(HALT_POLL_HIST_COUNT);
  readonly halt_poll_fail_hist = new Float64Array(HALT_POLL_HIST_COUNT);
  readonly halt_wait_hist = new Float64Array(HALT_POLL_HIST_COUNT);
  ran_at_least_once = false;
  readonly arch: kvm_vcpu_arch;
  dirty_ring: kvm_dirty_ring | undefined = undefined;
  vmx!: vcpu_vmx;
  constructor(kvm: kvm, id: number, idx: number, pages: { run_pfn: number; pio_pfn: number; run: kvm_run }, arch: kvm_vcpu_arch, notifier: (vcpu: kvm_vcpu) => preempt_notifier) {
    this.kvm = kvm;
    this.vcpu_id = id;
    this.vcpu_idx = idx;
    this.run_pfn = pages.run_pfn;
    this.pio_pfn = pages.pio_pfn;
    this.run = pages.run;
    this.run_words = new Uint32Array(kvm.mem.u32.buffer, kvm.ram_base + pages.run_pfn * PAGE_SIZE, PAGE_SIZE >>> 2);
    this.arch = arch;
    this.preempt_notifier = notifier(this);
  }
}

/** Which accesses to MSRs leave to user space. */
export interface msr_filter { readonly default_allow: boolean; readonly ranges: readonly { flags: number; base: number; nmsrs: number; bitmap: Uint8Array }[] }

export class kvm_arch {
  readonly shadow = new kvm_shadow_mmu();
  /** EPT tables: the root frame of each address space, 0 while there is none. */
  readonly tdp_roots: number[] = Array.from({ length: KVM_MAX_NR_ADDRESS_SPACES }, () => 0);
  tss_addr = 0;
  identity_map_addr = 0;
  identity_map_done = false;
  disabled_quirks = 0n;
  bsp_vcpu_id = 0;
  max_vcpu_ids = 0;
  default_tsc_khz = 0;
  mwait_in_guest = false;
  hlt_in_guest = false;
  pause_in_guest = false;
  cstate_in_guest = false;
  exception_payload_enabled = false;
  triple_fault_event = false;
  exit_on_emulation_error = false;
  user_space_msr_mask = 0;
  guest_can_read_msr_platform_info = true;
  hypercall_exit_enabled = 0n;
  x2apic_format = false;
  x2apic_broadcast_quirk_disabled = false;
  /** Nanoseconds of one count of a local APIC's timer. */
  apic_bus_cycle_ns = 1;
  n_requested_mmu_pages = 0;
  n_max_mmu_pages = 0;
  n_used_mmu_pages = 0;
  /** Frames that EPT tables take. */
  tdp_mmu_pages = 0;
  msr_filter: msr_filter | undefined = undefined;
  kvmclock_offset = 0n;
  readonly clock = new kvm_arch_clock();
  hv_guest_os_id = 0n;
  hv_hypercall = 0n;
  readonly hv_misc = new Map<number, bigint>();
  wall_clock = 0n;
  irqchip: kvm_arch_irqchip | undefined = undefined;
  pmu_event_filter: unknown = undefined;
}

export class kvm {
  readonly mm: mm_struct;
  readonly mem: Mem;
  readonly ram_base: number;
  users_count = 1;
  /** Name of its debugfs directory: pid-fd. */
  debugfs_name = '';
  readonly vcpus: kvm_vcpu[] = [];
  created_vcpus = 0;
  max_vcpus = KVM_MAX_VCPUS;
  readonly memslots: readonly kvm_memslots[];
  nr_memslot_pages = 0;
  readonly mmio_bus: kvm_io_bus;
  readonly pio_bus: kvm_io_bus;
  readonly fast_mmio_bus: kvm_io_bus;
  readonly ioeventfds: unknown[] = [];
  readonly irqfds: unknown[] = [];
  readonly coalesced_zones: unknown[] = [];
  coalesced_pfn = 0;
  manual_dirty_log_protect = 0n;
  dirty_ring_size = 0;
  dirty_ring_with_bitmap = false;
  max_halt_poll_ns = 200_000;
  override_halt_poll_ns = false;
  /** Its state is lost: every request is -EIO. */
  vm_dead = false;
  readonly mmu_notifier: mmu_notifier;
  /** Moves with each invalidation, so that a fault that slept sees it must start over. */
  mmu_invalidate_seq = 0;
  readonly stat: kvm_vm_stat = zeros(vm_stat_names);
  readonly arch = new kvm_arch();
  constructor(mm: mm_struct, mem: Mem, ram_base: number, buses: { mmio: kvm_io_bus; pio: kvm_io_bus; fast: kvm_io_bus }, notifier: (kvm: kvm) => mmu_notifier) {
    this.mm = mm;
    this.mem = mem;
    this.ram_base = ram_base;
    this.mmio_bus = buses.mmio;
    this.pio_bus = buses.pio;
    this.fast_mmio_bus = buses.fast;
    this.memslots = Array.from({ length: KVM_MAX_NR_ADDRESS_SPACES }, () => ({ slots: [], byId: new Map(), generation: 0 }));
    this.mmu_notifier = notifier(this);
  }
}

/** All VMs of a kernel, and how many there were. */
export const kvm_state = kernelVariable(() => ({ vm_list: new Set<kvm>(), usage_count: 0, vpids: new Set<number>() }));

export const kvm_make_request = (req: number, vcpu: kvm_vcpu): void => { vcpu.requests |= req; };
export const kvm_test_request = (req: number, vcpu: kvm_vcpu): boolean => (vcpu.requests & req) !== 0;
export function kvm_check_request(req: number, vcpu: kvm_vcpu): boolean {
  if ((vcpu.requests & req) === 0) return false;
  vcpu.requests &= ~req;
  return true;
}

// ---- registers by the names Linux gives the accessors
export const kvm_rip_read = (vcpu: kvm_vcpu): bigint => kvm_x86.get_rip(vcpu);
export const kvm_register_read = (vcpu: kvm_vcpu, reg: number): bigint => (reg === 4 ? kvm_x86.get_rsp(vcpu) : vcpu.arch.regs[reg]!);
export function kvm_register_write(vcpu: kvm_vcpu, reg: number, value: bigint): void {
  if (reg === 4) kvm_x86.set_rsp(vcpu, value);
  else vcpu.arch.regs[reg] = value;
}
export const kvm_rax_write = (vcpu: kvm_vcpu, value: bigint): void => { vcpu.arch.regs[0] = value; };
export const kvm_read_cr0 = (vcpu: kvm_vcpu): bigint => {
  const owned = vcpu.arch.cr0_guest_owned_bits;
  return (vcpu.arch.cr0 & ~owned) | (kvm_x86.read_cr0_owned(vcpu) & owned);
};
export const kvm_read_cr4 = (vcpu: kvm_vcpu): bigint => {
  const owned = vcpu.arch.cr4_guest_owned_bits;
  return (vcpu.arch.cr4 & ~owned) | (kvm_x86.read_cr4_owned(vcpu) & owned);
};
export const kvm_read_cr3 = (vcpu: kvm_vcpu): bigint => kvm_x86.get_cr3(vcpu);
export const is_protmode = (vcpu: kvm_vcpu): boolean => (vcpu.arch.cr0 & 1n) !== 0n;
export const is_paging = (vcpu: kvm_vcpu): boolean => (vcpu.arch.cr0 & 0x8000_0000n) !== 0n;
export const is_pae = (vcpu: kvm_vcpu): boolean => (vcpu.arch.cr4 & 0x20n) !== 0n;
export const is_long_mode = (vcpu: kvm_vcpu): boolean => (vcpu.arch.efer & 0x400n) !== 0n;
export const is_pae_paging = (vcpu: kvm_vcpu): boolean => !is_long_mode(vcpu) && is_pae(vcpu) && is_paging(vcpu);
export const is_64_bit_mode = (vcpu: kvm_vcpu): boolean => is_long_mode(vcpu) && kvm_x86.get_cs_db_l_bits(vcpu).l !== 0;
export const kvm_get_linear_rip = (vcpu: kvm_vcpu): bigint =>
  is_64_bit_mode(vcpu) ? kvm_rip_read(vcpu) : (kvm_x86.get_segment_base(vcpu, 1) + kvm_rip_read(vcpu)) & 0xffff_ffffn;
export const lapic_in_kernel = (vcpu: kvm_vcpu): boolean => vcpu.arch.apic !== undefined;
export const irqchip_in_kernel = (kvm: kvm): boolean => kvm.arch.irqchip !== undefined;
export const irqchip_split = (kvm: kvm): boolean => kvm.arch.irqchip?.mode === 'split';
export const pic_in_kernel = (kvm: kvm): boolean => kvm.arch.irqchip?.mode === 'kernel';
