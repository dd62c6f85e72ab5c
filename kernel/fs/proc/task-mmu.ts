/**
 * maps, smaps, smaps_rollup.
 *
 * Linux: fs/proc/task_mmu.c
 */
import { major, minor } from '../../../abi/fcntl.ts';
import { machine } from '../../current.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_SIZE, huge_run, hugepage_enabled } from '../../mm/huge-memory.ts';
import { page_count } from '../../mm/page-alloc.ts';
import { _PAGE_ACCESSED, _PAGE_ANON, _PAGE_DIRTY, for_each_pte, pte_pfn } from '../../mm/page-table.ts';
import {
  VM_DONTCOPY, VM_DONTEXPAND, VM_EXEC, VM_GROWSDOWN, VM_HUGEPAGE, VM_IO, VM_LOCKED, VM_MAYEXEC, VM_MAYREAD, VM_MAYSHARE, VM_MAYWRITE, VM_NOHUGEPAGE, VM_NORESERVE, VM_READ, VM_SHARED, VM_WRITE,
  type vm_area_struct,
} from '../../mm/types.ts';
import type { task_struct } from '../../sched/types.ts';
import { d_path } from '../dcache.ts';
import { root_of } from './util.ts';

/** Column at which the name of an area starts. */
const NAME_COLUMN = 73;

const hex = (n: number, width: number): string => n.toString(16).padStart(width, '0');

function header(start: number, end: number, flags: string, pgoff: number, dev: number, ino: number, name: string): string {
  const head = `${hex(start, 8)}-${hex(end, 8)} ${flags} ${hex(pgoff * 4096, 8)} ${hex(major(dev), 2)}:${hex(minor(dev), 2)} ${ino} `;
  return name === '' ? `${head}\n` : `${head.padEnd(NAME_COLUMN)}${name.replaceAll('\n', '\\012')}\n`;
}

function show_map(vma: vm_area_struct): string {
  const { vm_flags: f, vm_file: file } = vma;
  const flags = `${(f & VM_READ) !== 0 ? 'r' : '-'}${(f & VM_WRITE) !== 0 ? 'w' : '-'}${(f & VM_EXEC) !== 0 ? 'x' : '-'}${(f & VM_MAYSHARE) !== 0 ? 's' : 'p'}`;
  const node = file?.f_inode;
  const name = file === undefined ? vma.name : d_path(file.f_path, root_of());
  return header(vma.vm_start, vma.vm_end, flags, file === undefined ? 0 : vma.vm_pgoff, node?.i_sb.s_dev ?? 0, node?.i_ino ?? 0, name);
}

export function proc_pid_maps({ mm }: task_struct): string { return mm === undefined ? '' : mm.mmap.map(show_map).join(''); }

/** Pages of an area, or of several, by what is known of them. */
interface Statistics { rss: number; pss: number; pssDirty: number; sharedClean: number; sharedDirty: number; privateClean: number; privateDirty: number; referenced: number; anonymous: number; hugeAnonymous: number; locked: number }

const none = (): Statistics => ({ rss: 0, pss: 0, pssDirty: 0, sharedClean: 0, sharedDirty: 0, privateClean: 0, privateDirty: 0, referenced: 0, anonymous: 0, hugeAnonymous: 0, locked: 0 });

function gather(vma: vm_area_struct, s: Statistics): void {
  const words = machine().ram.mem.u32;
  for_each_pte(vma.vm_mm, vma.vm_start, vma.vm_end, (at) => {
    const pte = words[at]!;
    const anonymous = (pte & _PAGE_ANON) !== 0;
    const dirty = (pte & _PAGE_DIRTY) !== 0 || anonymous;
    // a file's page has one reference more, the page cache's
    const users = Math.max(1, page_count(pte_pfn(pte)) - (anonymous || vma.vm_file === undefined ? 0 : 1));
    s.rss++;
    s.pss += 1 / users;
    if (dirty) s.pssDirty += 1 / users;
    if (users > 1) s[dirty ? 'sharedDirty' : 'sharedClean']++;
    else s[dirty ? 'privateDirty' : 'privateClean']++;
    if ((pte & _PAGE_ACCESSED) !== 0) s.referenced++;
    if (anonymous) s.anonymous++;
    if ((vma.vm_flags & VM_LOCKED) !== 0) s.locked += 1 / users;
  });
  if (vma.vm_ops !== undefined) return;
  const first = Math.ceil(vma.vm_start / HPAGE_PMD_SIZE) * HPAGE_PMD_SIZE;
  for (let at = first; at + HPAGE_PMD_SIZE <= vma.vm_end; at += HPAGE_PMD_SIZE) if (huge_run(vma.vm_mm, at) !== 0) s.hugeAnonymous += HPAGE_PMD_NR;
}

const row = (name: string, pages: number): string => `${`${name}:`.padEnd(16)}${String(Math.floor(pages * 4)).padStart(8)} kB\n`;

function show_smap(s: Statistics): string {
  return row('Rss', s.rss) + row('Pss', s.pss) + row('Pss_Dirty', s.pssDirty) + row('Shared_Clean', s.sharedClean) + row('Shared_Dirty', s.sharedDirty)
    + row('Private_Clean', s.privateClean) + row('Private_Dirty', s.privateDirty) + row('Referenced', s.referenced) + row('Anonymous', s.anonymous)
    + ['KSM', 'LazyFree'].map((name) => row(name, 0)).join('') + row('AnonHugePages', s.hugeAnonymous) + ['ShmemPmdMapped', 'FilePmdMapped', 'Shared_Hugetlb', 'Private_Hugetlb', 'Swap', 'SwapPss'].map((name) => row(name, 0)).join('')
    + row('Locked', s.locked);
}

const FLAGS: readonly [flag: number, name: string][] = [
  [VM_READ, 'rd'], [VM_WRITE, 'wr'], [VM_EXEC, 'ex'], [VM_SHARED, 'sh'], [VM_MAYREAD, 'mr'], [VM_MAYWRITE, 'mw'], [VM_MAYEXEC, 'me'], [VM_MAYSHARE, 'ms'],
  [VM_GROWSDOWN, 'gd'], [VM_LOCKED, 'lo'], [VM_IO, 'io'], [VM_DONTCOPY, 'dc'], [VM_DONTEXPAND, 'de'], [VM_NORESERVE, 'nr'], [VM_HUGEPAGE, 'hg'], [VM_NOHUGEPAGE, 'nh'],
];

export function proc_pid_smaps({ mm }: task_struct): string {
  let text = '';
  for (const vma of mm?.mmap ?? []) {
    const s = none();
    gather(vma, s);
    const size = (vma.vm_end - vma.vm_start) / 4096;
    const flags = FLAGS.filter(([flag]) => (vma.vm_flags & flag) !== 0).map(([, name]) => `${name} `).join('');
    text += `${show_map(vma)}${row('Size', size)}${row('KernelPageSize', 1)}${row('MMUPageSize', 1)}${show_smap(s)}THPeligible:           ${hugepage_enabled(vma) ? 1 : 0}\nVmFlags: ${flags}\n`;
  }
  return text;
}

export function proc_pid_smaps_rollup({ mm }: task_struct): string {
  if (mm === undefined || mm.mmap.length === 0) return '';
  const s = none();
  for (const vma of mm.mmap) gather(vma, s);
  return header(mm.mmap[0]!.vm_start, mm.mmap.at(-1)!.vm_end, '---p', 0, 0, 0, '[rollup]') + show_smap(s);
}
