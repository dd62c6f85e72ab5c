/**
 * kvm_run: the page a vCPU shares with user space, with one arm of a union for each exit reason.
 * The pages behind it, at the offsets below, hold what does not fit: port data, coalesced MMIO, the dirty ring.
 * Linux: include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h
 */
import { type Of, anonymousUnion, array, struct, u16, u32, u64, u8, union } from '../struct.ts';
import { kvm_vcpu_events } from './events.ts';
import { kvm_regs, kvm_sregs } from './regs.ts';
import { kvm_hyperv_exit, kvm_xen_exit } from './xen-hyperv.ts';

// Pages of a vCPU's mapping, by page number
export const KVM_PIO_PAGE_OFFSET            = 1;
export const KVM_COALESCED_MMIO_PAGE_OFFSET = 2;
export const KVM_DIRTY_LOG_PAGE_OFFSET      = 64;

// io.direction
export const KVM_EXIT_IO_IN  = 0;
export const KVM_EXIT_IO_OUT = 1;

// hypercall.flags
export const KVM_EXIT_HYPERCALL_LONG_MODE = 1;

// internal.suberror
export const KVM_INTERNAL_ERROR_EMULATION              = 1;
export const KVM_INTERNAL_ERROR_SIMUL_EX               = 2;
export const KVM_INTERNAL_ERROR_DELIVERY_EV            = 3;
export const KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4;

// emulation_failure.flags
export const KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES = 1;

// system_event.type
export const KVM_SYSTEM_EVENT_SHUTDOWN = 1;
export const KVM_SYSTEM_EVENT_RESET    = 2;
export const KVM_SYSTEM_EVENT_CRASH    = 3;
export const KVM_SYSTEM_EVENT_WAKEUP   = 4;
export const KVM_SYSTEM_EVENT_SUSPEND  = 5;
export const KVM_SYSTEM_EVENT_SEV_TERM = 6;

// msr.reason
export const KVM_MSR_EXIT_REASON_INVAL      = 1;
export const KVM_MSR_EXIT_REASON_UNKNOWN    = 2;
export const KVM_MSR_EXIT_REASON_FILTER     = 4;
export const KVM_MSR_EXIT_REASON_VALID_MASK = 7;

// notify.flags, memory_fault.flags
export const KVM_NOTIFY_CONTEXT_INVALID   = 1;
export const KVM_MEMORY_EXIT_FLAG_PRIVATE = 8;

// flags
export const KVM_RUN_X86_SMM        = 1;
export const KVM_RUN_X86_BUS_LOCK   = 2;
export const KVM_RUN_X86_GUEST_MODE = 4;

// kvm_valid_regs and kvm_dirty_regs: what of the vCPU is copied to and from s.regs around each run
export const KVM_SYNC_X86_REGS         = 1;
export const KVM_SYNC_X86_SREGS        = 2;
export const KVM_SYNC_X86_EVENTS       = 4;
export const KVM_SYNC_X86_VALID_FIELDS = 7;

export const kvm_debug_exit_arch = struct('kvm_debug_exit_arch', { exception: u32, pad: u32, pc: u64, dr6: u64, dr7: u64 });
export type kvm_debug_exit_arch = Of<typeof kvm_debug_exit_arch>;

export const kvm_sync_regs = struct('kvm_sync_regs', { regs: kvm_regs, sregs: kvm_sregs, events: kvm_vcpu_events });
export type kvm_sync_regs = Of<typeof kvm_sync_regs>;

const io = struct('kvm_run.io', { direction: u8, size: u8, port: u16, count: u32, data_offset: u64 });
const mmio = struct('kvm_run.mmio', { phys_addr: u64, data: array(u8, 8), len: u32, is_write: u8 });
const hypercall = struct('kvm_run.hypercall', {
  nr: u64, args: array(u64, 6), ret: u64, _flags: anonymousUnion({ longmode: u32, flags: u64 }),
});
const emulation_failure = struct('kvm_run.emulation_failure', {
  suberror: u32, ndata: u32, flags: u64, insn_size: u8, insn_bytes: array(u8, 15),
});

/** The arms of other architectures are left out; `padding` gives the union its size, as in C. */
export const kvm_run = struct('kvm_run', {
  // in
  request_interrupt_window: u8, immediate_exit: u8, padding1: array(u8, 6),
  // out
  exit_reason: u32, ready_for_interrupt_injection: u8, if_flag: u8, flags: u16,
  // in before the run, out after it
  cr8: u64, apic_base: u64,
  _exit: anonymousUnion({
    hw: struct('kvm_run.hw', { hardware_exit_reason: u64 }),
    fail_entry: struct('kvm_run.fail_entry', { hardware_entry_failure_reason: u64, cpu: u32 }),
    ex: struct('kvm_run.ex', { exception: u32, error_code: u32 }),
    io,
    debug: struct('kvm_run.debug', { arch: kvm_debug_exit_arch }),
    mmio,
    hypercall,
    tpr_access: struct('kvm_run.tpr_access', { rip: u64, is_write: u32, pad: u32 }),
    internal: struct('kvm_run.internal', { suberror: u32, ndata: u32, data: array(u64, 16) }),
    emulation_failure,
    system_event: struct('kvm_run.system_event', { type: u32, ndata: u32, _data: anonymousUnion({ flags: u64, data: array(u64, 16) }) }),
    eoi: struct('kvm_run.eoi', { vector: u8 }),
    hyperv: kvm_hyperv_exit,
    msr: struct('kvm_run.msr', { error: u8, pad: array(u8, 7), reason: u32, index: u32, data: u64 }),
    xen: kvm_xen_exit,
    notify: struct('kvm_run.notify', { flags: u32 }),
    memory_fault: struct('kvm_run.memory_fault', { flags: u64, gpa: u64, size: u64 }),
    padding: array(u8, 256),
  }),
  kvm_valid_regs: u64, kvm_dirty_regs: u64,
  s: union('kvm_run.s', { regs: kvm_sync_regs, padding: array(u8, 2048) }),
});
export type kvm_run = Of<typeof kvm_run>;
