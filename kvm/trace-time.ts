/**
 * Trace points of clocks and of vCPUs that wait. Linux: arch/x86/kvm/trace.h, include/trace/events/kvm.h
 */
import { TRACE_EVENT } from '../kernel/exports.ts';

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const clocks = ['none', 'tsc'];
const symbolic = (value: string): string => `__print_symbolic(${value}, { 0, "none" }, { 1, "tsc" })`;

export const kvm_write_tsc_offset = TRACE_EVENT('kvm', 'kvm_write_tsc_offset', { vcpu_id: 'unsigned int', previous_tsc_offset: 'u64', next_tsc_offset: 'u64' },
  (e) => `vcpu=${e.vcpu_id} prev=${e.previous_tsc_offset} next=${e.next_tsc_offset}`,
  '"vcpu=%u prev=%llu next=%llu", REC->vcpu_id, REC->previous_tsc_offset, REC->next_tsc_offset');

export const kvm_update_master_clock = TRACE_EVENT('kvm', 'kvm_update_master_clock', { use_master_clock: 'bool', host_clock: 'unsigned int', offset_matched: 'bool' },
  (e) => `masterclock ${e.use_master_clock} hostclock ${clocks[e.host_clock]} offsetmatched ${e.offset_matched}`,
  `"masterclock %d hostclock %s offsetmatched %u", REC->use_master_clock, ${symbolic('REC->host_clock')}, REC->offset_matched`);

export const kvm_track_tsc = TRACE_EVENT('kvm', 'kvm_track_tsc', {
  vcpu_id: 'unsigned int', nr_vcpus_matched_tsc: 'unsigned int', online_vcpus: 'unsigned int', use_master_clock: 'bool', host_clock: 'unsigned int',
}, (e) => `vcpu_id ${e.vcpu_id} masterclock ${e.use_master_clock} offsetmatched ${e.nr_vcpus_matched_tsc} nr_online ${e.online_vcpus} hostclock ${clocks[e.host_clock]}`,
  `"vcpu_id %u masterclock %u offsetmatched %u nr_online %u hostclock %s", REC->vcpu_id, REC->use_master_clock, REC->nr_vcpus_matched_tsc, REC->online_vcpus, ${symbolic('REC->host_clock')}`);

export const kvm_pvclock_update = TRACE_EVENT('kvm', 'kvm_pvclock_update', {
  vcpu_id: 'unsigned int', version: 'u32', tsc_timestamp: 'u64', system_time: 'u64', tsc_to_system_mul: 'u32', tsc_shift: 's8', flags: 'u8',
}, (e) => `vcpu_id ${e.vcpu_id}, pvclock { version ${e.version}, tsc_timestamp ${hex(e.tsc_timestamp)}, system_time ${hex(e.system_time)}, tsc_to_system_mul ${hex(e.tsc_to_system_mul)}, tsc_shift ${e.tsc_shift}, flags ${hex(e.flags)} }`,
  '"vcpu_id %u, pvclock { version %u, tsc_timestamp 0x%llx, system_time 0x%llx, tsc_to_system_mul 0x%x, tsc_shift %d, flags 0x%x }", '
  + 'REC->vcpu_id, REC->version, REC->tsc_timestamp, REC->system_time, REC->tsc_to_system_mul, REC->tsc_shift, REC->flags');

export const kvm_pv_tlb_flush = TRACE_EVENT('kvm', 'kvm_pv_tlb_flush', { vcpu_id: 'unsigned int', need_flush_tlb: 'bool' },
  (e) => `vcpu ${e.vcpu_id} need_flush_tlb ${e.need_flush_tlb ? 'true' : 'false'}`,
  '"vcpu %u need_flush_tlb %s", REC->vcpu_id, REC->need_flush_tlb ? "true" : "false"');

export const kvm_halt_poll_ns = TRACE_EVENT('kvm', 'kvm_halt_poll_ns', { grow: 'bool', vcpu_id: 'unsigned int', new: 'unsigned int', old: 'unsigned int' },
  (e) => `vcpu ${e.vcpu_id}: halt_poll_ns ${e.new} (${e.grow ? 'grow' : 'shrink'} ${e.old})`,
  '"vcpu %u: halt_poll_ns %u (%s %u)", REC->vcpu_id, REC->new, REC->grow ? "grow" : "shrink", REC->old');

export const kvm_vcpu_wakeup = TRACE_EVENT('kvm', 'kvm_vcpu_wakeup', { ns: 'u64', waited: 'bool', valid: 'bool' },
  (e) => `${e.waited ? 'wait' : 'poll'} time ${e.ns} ns, polling ${e.valid ? 'valid' : 'invalid'}`,
  '"%s time %lld ns, polling %s", REC->waited ? "wait" : "poll", REC->ns, REC->valid ? "valid" : "invalid"');

export const kvm_async_pf_ready = TRACE_EVENT('kvm', 'kvm_async_pf_ready', { token: 'u64', gva: 'u64' },
  (e) => `token ${hex(e.token)} gva ${hex(e.gva)}`, '"token %#llx gva %#llx", REC->token, REC->gva');
