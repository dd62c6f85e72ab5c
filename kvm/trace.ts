/**
 * KVM's trace points. Linux: arch/x86/kvm/trace.h, include/trace/events/kvm.h
 *
 * The functions below the declarations gather what a record holds; call sites ask `enabled` first.
 */
import { exitReasonName } from '../abi/kvm/index.ts';
import { EINTR } from '../abi/errno.ts';
import * as reasons from '../machine/vmx/exit-reasons.ts';
import { TRACE_EVENT } from '../kernel/exports.ts';
import { type kvm_vcpu, kvm_x86 } from './kvm_host.ts';

const hex = (value: number | bigint, digits = 0): string => `0x${value.toString(16).padStart(digits, '0')}`;

/** `HLT` for EXIT_REASON_HLT. */
const reasonNames: ReadonlyMap<number, string> = new Map(
  Object.entries(reasons).filter(([name]) => name.startsWith('EXIT_REASON_')).map(([name, value]) => [value as number, name.slice('EXIT_REASON_'.length)]));
/** A value by its name, as tools that read binary traces understand it. */
const symbolic = (value: string, names: Iterable<readonly [number, string]>): string =>
  `__print_symbolic(${value}, ${[...names].map(([n, name]) => `{ ${n}, "${name}" }`).join(', ')})`;
const userspaceReasons = Array.from({ length: 64 }, (_, n) => [n, exitReasonName(n)] as const).filter(([n, name]) => name !== String(n));
const reasonText = (reason: number): string => {
  const basic = reason & 0xffff;
  return `${reasonNames.get(basic) ?? hex(basic)}${reason >>> 31 ? ' FAILED_VMENTRY' : ''}`;
};

export const kvm_entry = TRACE_EVENT('kvm', 'kvm_entry', { vcpu_id: 'unsigned int', rip: 'unsigned long', immediate_exit: 'int' },
  (e) => `vcpu ${e.vcpu_id}, rip ${hex(e.rip)}${e.immediate_exit ? '[immediate exit]' : ''}`,
  '"vcpu %u, rip 0x%lx%s", REC->vcpu_id, REC->rip, REC->immediate_exit ? "[immediate exit]" : ""');

export const kvm_exit = TRACE_EVENT('kvm', 'kvm_exit', {
  vcpu_id: 'unsigned int', exit_reason: 'unsigned int', guest_rip: 'unsigned long', info1: 'u64', info2: 'u64', intr_info: 'u32', error_code: 'u32',
}, (e) => `vcpu ${e.vcpu_id} reason ${reasonText(e.exit_reason)} rip ${hex(e.guest_rip)} info1 ${hex(e.info1, 16)} info2 ${hex(e.info2, 16)} intr_info ${hex(e.intr_info >>> 0, 8)} error_code ${hex(e.error_code >>> 0, 8)}`,
  '"vcpu %u reason %s%s%s rip 0x%lx info1 0x%016llx info2 0x%016llx intr_info 0x%08x error_code 0x%08x", REC->vcpu_id, '
  + `${symbolic('REC->exit_reason & 0xffff', reasonNames)}, REC->exit_reason & 0x80000000 ? " " : "", REC->exit_reason & 0x80000000 ? "FAILED_VMENTRY" : "", `
  + 'REC->guest_rip, REC->info1, REC->info2, REC->intr_info, REC->error_code');

export const kvm_pio = TRACE_EVENT('kvm', 'kvm_pio', { rw: 'unsigned int', port: 'unsigned int', size: 'unsigned int', count: 'unsigned int', val: 'unsigned int' },
  (e) => `pio_${e.rw ? 'write' : 'read'} at ${hex(e.port)} size ${e.size} count ${e.count} val ${hex(e.val >>> 0)} ${e.count > 1 ? '(...)' : ''}`,
  '"pio_%s at 0x%x size %d count %d val 0x%x %s", REC->rw ? "write" : "read", REC->port, REC->size, REC->count, REC->val, REC->count > 1 ? "(...)" : ""');

export const kvm_mmio = TRACE_EVENT('kvm', 'kvm_mmio', { type: 'u32', len: 'u32', gpa: 'u64', val: 'u64' },
  (e) => `mmio ${['unsatisfied-read', 'read', 'write'][e.type]} len ${e.len} gpa ${hex(e.gpa)} val ${hex(e.val)}`,
  '"mmio %s len %u gpa 0x%llx val 0x%llx", __print_symbolic(REC->type, { 0, "unsatisfied-read" }, { 1, "read" }, { 2, "write" }), REC->len, REC->gpa, REC->val');
export const KVM_TRACE_MMIO_READ_UNSATISFIED = 0, KVM_TRACE_MMIO_READ = 1, KVM_TRACE_MMIO_WRITE = 2;

export const kvm_page_fault = TRACE_EVENT('kvm', 'kvm_page_fault', { vcpu_id: 'unsigned int', guest_rip: 'unsigned long', fault_address: 'u64', error_code: 'u64' },
  (e) => `vcpu ${e.vcpu_id} rip ${hex(e.guest_rip)} address ${hex(e.fault_address, 16)} error_code ${hex(e.error_code)}`,
  '"vcpu %u rip 0x%lx address 0x%016llx error_code 0x%llx", REC->vcpu_id, REC->guest_rip, REC->fault_address, REC->error_code');

export const kvm_userspace_exit = TRACE_EVENT('kvm', 'kvm_userspace_exit', { reason: 'u32', errno: 'int' },
  (e) => `reason ${e.errno < 0 ? (e.errno === -EINTR ? 'restart' : 'error') : exitReasonName(e.reason)} (${e.errno < 0 ? -e.errno : e.reason})`,
  `"reason %s (%d)", REC->errno < 0 ? (REC->errno == -${EINTR} ? "restart" : "error") : ${symbolic('REC->reason', userspaceReasons)}, REC->errno < 0 ? -REC->errno : REC->reason`);

export const kvm_inj_virq = TRACE_EVENT('kvm', 'kvm_inj_virq', { vector: 'unsigned int', soft: 'int', reinjected: 'int' },
  (e) => `${e.soft ? 'Soft/INTn ' : 'IRQ '}${hex(e.vector)}${e.reinjected ? ' [reinjected]' : ''}`,
  '"%s0x%x%s", REC->soft ? "Soft/INTn " : "IRQ ", REC->vector, REC->reinjected ? " [reinjected]" : ""');

export const kvm_fpu = TRACE_EVENT('kvm', 'kvm_fpu', { load: 'u32' }, (e) => (e.load ? 'load' : 'unload'),
  '"%s", __print_symbolic(REC->load, { 0, "unload" }, { 1, "load" })');

export const kvm_cpuid = TRACE_EVENT('kvm', 'kvm_cpuid', {
  function: 'unsigned int', index: 'unsigned int', rax: 'unsigned long', rbx: 'unsigned long', rcx: 'unsigned long', rdx: 'unsigned long', found: 'int',
}, (e) => `func ${(e.function >>> 0).toString(16)} idx ${(e.index >>> 0).toString(16)} rax ${e.rax.toString(16)} rbx ${e.rbx.toString(16)} rcx ${e.rcx.toString(16)} rdx ${e.rdx.toString(16)}, cpuid entry ${e.found ? 'found' : 'not found'}`,
  '"func %x idx %x rax %lx rbx %lx rcx %lx rdx %lx, cpuid entry %s", REC->function, REC->index, REC->rax, REC->rbx, REC->rcx, REC->rdx, REC->found ? "found" : "not found"');

export const kvm_msr = TRACE_EVENT('kvm', 'kvm_msr', { write: 'unsigned int', ecx: 'u32', data: 'u64', exception: 'u8' },
  (e) => `msr_${e.write ? 'write' : 'read'} ${(e.ecx >>> 0).toString(16)} = ${hex(e.data)}${e.exception ? ' (#GP)' : ''}`,
  '"msr_%s %x = 0x%llx%s", REC->write ? "write" : "read", REC->ecx, REC->data, REC->exception ? " (#GP)" : ""');

export const kvm_cr = TRACE_EVENT('kvm', 'kvm_cr', { rw: 'unsigned int', cr: 'unsigned int', val: 'unsigned long' },
  (e) => `cr_${e.rw ? 'write' : 'read'} ${e.cr.toString(16)} = ${hex(e.val)}`,
  '"cr_%s %x = 0x%lx", REC->rw ? "write" : "read", REC->cr, REC->val');

export const kvm_hypercall = TRACE_EVENT('kvm', 'kvm_hypercall', { nr: 'unsigned long', a0: 'unsigned long', a1: 'unsigned long', a2: 'unsigned long', a3: 'unsigned long' },
  (e) => `nr ${hex(e.nr)} a0 ${hex(e.a0)} a1 ${hex(e.a1)} a2 ${hex(e.a2)}  a3 ${hex(e.a3)}`,
  '"nr 0x%lx a0 0x%lx a1 0x%lx a2 0x%lx  a3 0x%lx", REC->nr, REC->a0, REC->a1, REC->a2, REC->a3');

export const kvm_smm_transition = TRACE_EVENT('kvm', 'kvm_smm_transition', { vcpu_id: 'unsigned int', smbase: 'u64', entering: 'u8' },
  (e) => `vcpu ${e.vcpu_id}: ${e.entering ? 'entering' : 'leaving'} SMM, smbase ${hex(e.smbase)}`,
  '"vcpu %u: %s SMM, smbase 0x%llx", REC->vcpu_id, REC->entering ? "entering" : "leaving", REC->smbase');

export const kvm_dirty_ring_push = TRACE_EVENT('kvm', 'kvm_dirty_ring_push', { index: 'int', dirty_index: 'u32', reset_index: 'u32', slot: 'u32', offset: 'u64' },
  (e) => `ring ${e.index}: dirty ${hex(e.dirty_index)} reset ${hex(e.reset_index)} slot ${e.slot} offset ${hex(e.offset)} (used ${e.dirty_index - e.reset_index})`,
  '"ring %d: dirty 0x%x reset 0x%x slot %u offset 0x%llx (used %u)", REC->index, REC->dirty_index, REC->reset_index, REC->slot, REC->offset, REC->dirty_index - REC->reset_index');

export const kvm_dirty_ring_reset = TRACE_EVENT('kvm', 'kvm_dirty_ring_reset', { index: 'int', dirty_index: 'u32', reset_index: 'u32' },
  (e) => `ring ${e.index}: dirty ${hex(e.dirty_index)} reset ${hex(e.reset_index)} (used ${e.dirty_index - e.reset_index})`,
  '"ring %d: dirty 0x%x reset 0x%x (used %u)", REC->index, REC->dirty_index, REC->reset_index, REC->dirty_index - REC->reset_index');

export const kvm_dirty_ring_exit = TRACE_EVENT('kvm', 'kvm_dirty_ring_exit', { vcpu_id: 'int' }, (e) => `vcpu ${e.vcpu_id}`, '"vcpu %d", REC->vcpu_id');

export function trace_kvm_entry(vcpu: kvm_vcpu): void {
  kvm_entry.trace({ vcpu_id: vcpu.vcpu_id, rip: kvm_x86.get_rip(vcpu), immediate_exit: 0 });
}

export function trace_kvm_exit(vcpu: kvm_vcpu): void {
  const { reason, info1, info2, intr_info, error_code } = kvm_x86.get_exit_info(vcpu);
  kvm_exit.trace({ vcpu_id: vcpu.vcpu_id, exit_reason: reason >>> 0, guest_rip: kvm_x86.get_rip(vcpu), info1, info2, intr_info, error_code });
}
