/**
 * KVM's trace points. Linux: arch/x86/kvm/trace.h, include/trace/events/kvm.h
 *
 * The functions below the declarations gather what a record holds; call sites ask `enabled` first.
 */
import { exitReasonName } from '../abi/kvm/index.ts';
import { EINTR } from '../abi/errno.ts';
import * as reasons from '../machine/vmx/exit-reasons.ts';
import { TRACE_EVENT } from '../kernel/exports.ts';
import { VCPU_SREG_CS, X86EMUL_MODE_PROT16, X86EMUL_MODE_PROT32, X86EMUL_MODE_PROT64, X86EMUL_MODE_REAL, X86EMUL_MODE_VM86 } from './emulate/types.ts';
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

const exceptionNames = Object.entries({ 0: 'DE', 1: 'DB', 3: 'BP', 4: 'OF', 5: 'BR', 6: 'UD', 7: 'NM', 8: 'DF', 10: 'TS', 11: 'NP', 12: 'SS', 13: 'GP', 14: 'PF', 16: 'MF', 17: 'AC', 18: 'MC' })
  .map(([vector, name]) => [Number(vector), `#${name}`] as const);
const exceptionName = new Map(exceptionNames);
export const kvm_inj_exception = TRACE_EVENT('kvm', 'kvm_inj_exception', { exception: 'u8', has_error: 'u8', error_code: 'u32', reinjected: 'u8' },
  (e) => `${exceptionName.get(e.exception) ?? hex(e.exception)}${e.has_error ? ` (${hex(e.error_code >>> 0)})` : ''}${e.reinjected ? ' [reinjected]' : ''}`,
  `"%s%s%s%s%s", ${symbolic('REC->exception', exceptionNames)}, !REC->has_error ? "" : " (", !REC->has_error ? "" : __print_symbolic(REC->error_code, { }), !REC->has_error ? "" : ")", REC->reinjected ? " [reinjected]" : ""`);

export const kvm_fast_mmio = TRACE_EVENT('kvm', 'kvm_fast_mmio', { gpa: 'u64' }, (e) => `fast mmio at gpa ${hex(e.gpa)}`, '"fast mmio at gpa 0x%llx", REC->gpa');

/** By KVM_EMUL_INSN_F_CR0_PE 1, EFL_VM 2, CS_D 4, CS_L 8. */
const emulationModes = [[0, 'real'], [3, 'vm16'], [1, 'prot16'], [5, 'prot32'], [9, 'prot64']] as const;
const emulationMode = new Map<number, string>(emulationModes);
const emulationFlags: Readonly<Record<number, number>> = { [X86EMUL_MODE_REAL]: 0, [X86EMUL_MODE_VM86]: 3, [X86EMUL_MODE_PROT16]: 1, [X86EMUL_MODE_PROT32]: 5, [X86EMUL_MODE_PROT64]: 9 };
export const kvm_emulate_insn = TRACE_EVENT('kvm', 'kvm_emulate_insn', { rip: 'u64', csbase: 'u32', len: 'u8', insn: 'u8[15]', flags: 'u8', failed: 'u8' },
  (e) => `${(e.csbase >>> 0).toString(16)}:${e.rip.toString(16)}:${Array.from(e.insn.subarray(0, e.len), (b) => b.toString(16).padStart(2, '0')).join(' ')} (${emulationMode.get(e.flags) ?? hex(e.flags)})${e.failed ? ' failed' : ''}`,
  `"%x:%llx:%s (%s)%s", REC->csbase, REC->rip, __print_hex(REC->insn, REC->len), ${symbolic('REC->flags', emulationModes)}, REC->failed ? " failed" : ""`);

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

export function trace_kvm_inj_exception(vcpu: kvm_vcpu, reinjected: boolean): void {
  const { vector, has_error_code, error_code } = vcpu.arch.exception;
  kvm_inj_exception.trace({ exception: vector, has_error: has_error_code ? 1 : 0, error_code, reinjected: reinjected ? 1 : 0 });
}

/** The instruction the emulator has fetched, at its start or when it gave up. */
export function trace_kvm_emulate_insn(vcpu: kvm_vcpu, failed: boolean): void {
  const { fetched, fetch_ptr, _eip, mode } = vcpu.arch.emulate_ctxt;
  kvm_emulate_insn.trace({
    rip: BigInt.asUintN(64, _eip - BigInt(fetch_ptr)), csbase: Number(BigInt.asUintN(32, kvm_x86.get_segment_base(vcpu, VCPU_SREG_CS))), len: fetch_ptr, insn: fetched.slice(0, 15),
    flags: emulationFlags[mode] ?? 0, failed: failed ? 1 : 0,
  });
}
