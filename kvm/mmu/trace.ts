/** Trace points of the MMU. Linux: arch/x86/kvm/mmu/mmutrace.h (system kvmmmu) */
import { TRACE_EVENT } from '../../kernel/exports.ts';

const hex = (value: number | bigint): string => value.toString(16);

export const fast_page_fault = TRACE_EVENT('kvmmmu', 'fast_page_fault', { vcpu_id: 'int', cr2_or_gpa: 'u64', error_code: 'u64', sptep: 'u64', old_spte: 'u64', new_spte: 'u64', spurious: 'u8', fixed: 'u8' },
  (e) => `vcpu ${e.vcpu_id} gva ${hex(e.cr2_or_gpa)} error_code ${pferr(Number(e.error_code & 0x1fn))} sptep ${hex(e.sptep)} old ${`0x${hex(e.old_spte)}`} new ${hex(e.new_spte)} spurious ${e.spurious} fixed ${e.fixed}`,
  '"vcpu %d gva %llx error_code %s sptep %p old %#llx new %llx spurious %d fixed %d", REC->vcpu_id, REC->cr2_or_gpa, __print_flags(REC->error_code, "|", { 1, "P" }, { 2, "W" }, { 4, "U" }, { 8, "RSVD" }, { 16, "F" }), REC->sptep, REC->old_spte, REC->new_spte, REC->spurious, REC->fixed');

function pferr(code: number): string {
  return [[1, 'P'], [2, 'W'], [4, 'U'], [8, 'RSVD'], [16, 'F']].filter(([bit]) => (code & (bit as number)) !== 0).map(([, name]) => name).join('|');
}

export const mark_mmio_spte = TRACE_EVENT('kvmmmu', 'mark_mmio_spte', { sptep: 'u64', gfn: 'u64', access: 'unsigned int', gen: 'unsigned int' },
  (e) => `sptep:${hex(e.sptep)} gfn ${hex(e.gfn)} access ${hex(e.access)} gen ${hex(e.gen)}`,
  '"sptep:%p gfn %llx access %x gen %x", REC->sptep, REC->gfn, REC->access, REC->gen');

export const handle_mmio_page_fault_trace = TRACE_EVENT('kvmmmu', 'handle_mmio_page_fault', { addr: 'u64', gfn: 'u64', access: 'unsigned int' },
  (e) => `addr:${hex(e.addr)} gfn ${hex(e.gfn)} access ${hex(e.access)}`,
  '"addr:%llx gfn %llx access %x", REC->addr, REC->gfn, REC->access');

export const kvm_mmu_split_huge_page = TRACE_EVENT('kvmmmu', 'kvm_mmu_split_huge_page', { gfn: 'u64', spte: 'u64', level: 'int', errno: 'int' },
  (e) => `gfn ${hex(e.gfn)} spte ${hex(e.spte)} level ${e.level} errno ${e.errno}`,
  '"gfn %llx spte %llx level %d errno %d", REC->gfn, REC->spte, REC->level, REC->errno');

export const kvm_mmu_set_spte = TRACE_EVENT('kvmmmu', 'kvm_mmu_set_spte', { gfn: 'u64', spte: 'u64', sptep: 'u64', level: 'u8', r: 'u8', x: 'u8', u: 'int' },
  (e) => `gfn ${hex(e.gfn)} spte ${hex(e.spte)} (${e.r ? 'r' : '-'}${e.spte & 2n ? 'w' : '-'}${e.x ? 'x' : '-'}${e.u === -1 ? '' : e.u ? 'u' : '-'}) level ${e.level} at ${hex(e.sptep)}`,
  '"gfn %llx spte %llx (%s%s%s%s) level %d at %llx", REC->gfn, REC->spte, REC->r ? "r" : "-", REC->spte & 2 ? "w" : "-", REC->x ? "x" : "-", REC->u == -1 ? "" : (REC->u ? "u" : "-"), REC->level, REC->sptep');

/** A role as Linux prints it, as far as it is known here: level, kind, rights. */
const page = (e: { gfn: bigint; role: number; root_count: number; unsync: number }): string =>
  `sp gen 0 gfn ${hex(e.gfn)} l${e.role & 7} ${(e.role & (1 << 10)) !== 0 ? 4 : 8}-byte q${(e.role >>> 4) & 3}${(e.role & 8) !== 0 ? ' direct' : ''} ${(e.role & 0x100) !== 0 ? 'u' : '-'}${(e.role & 0x80) !== 0 ? 'w' : '-'}${(e.role & 0x40) !== 0 ? 'x' : '-'} root ${e.root_count} ${e.unsync ? 'unsync' : 'sync'}`;
const PAGE_FIELDS = { mmu_valid_gen: 'u8', gfn: 'u64', root_count: 'u32', role: 'u32', unsync: 'u8' } as const;
const PAGE_FORMAT = 'sp gen %x gfn %llx l%u %u-byte q%u%s %s%s%s root %u %s';
const PAGE_VALUES = 'REC->mmu_valid_gen, REC->gfn, REC->role & 7, (REC->role & 0x400) ? 4 : 8, (REC->role >> 4) & 3, (REC->role & 8) ? " direct" : "", '
  + '(REC->role & 0x100) ? "u" : "-", (REC->role & 0x80) ? "w" : "-", (REC->role & 0x40) ? "x" : "-", REC->root_count, REC->unsync ? "unsync" : "sync"';
const PAGE_FMT = `"${PAGE_FORMAT}", ${PAGE_VALUES}`;

export const kvm_mmu_get_page = TRACE_EVENT('kvmmmu', 'kvm_mmu_get_page', { ...PAGE_FIELDS, created: 'u8' }, (e) => `${page(e)} ${e.created ? 'new' : 'existing'}`, `"${PAGE_FORMAT} %s", ${PAGE_VALUES}, REC->created ? "new" : "existing"`);
export const kvm_mmu_sync_page = TRACE_EVENT('kvmmmu', 'kvm_mmu_sync_page', PAGE_FIELDS, page, PAGE_FMT);
export const kvm_mmu_unsync_page = TRACE_EVENT('kvmmmu', 'kvm_mmu_unsync_page', PAGE_FIELDS, page, PAGE_FMT);
export const kvm_mmu_prepare_zap_page = TRACE_EVENT('kvmmmu', 'kvm_mmu_prepare_zap_page', PAGE_FIELDS, page, PAGE_FMT);
