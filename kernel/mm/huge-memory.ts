/**
 * Transparent huge pages: anonymous memory that madvise(MADV_HUGEPAGE) asked for comes in aligned runs of 2 MiB.
 *
 * Linux: mm/huge_memory.c, Documentation/admin-guide/mm/transhuge.rst
 *
 * The page tables keep 512 entries for such a run: the frames are one aligned block of the buddy allocator, but every
 * entry is its own, so copy-on-write, unmapping and protection take a run apart by changing the entries they mean.
 * Who profits is KVM: a run that is still whole can be mapped into a guest by one entry of two dimensions.
 */
import { kernelVariable, machine } from '../current.ts';
import { sysfs_create_file, sysfs_dir } from '../fs/sysfs.ts';
import { EINVAL } from '../../abi/errno.ts';
import { zone } from './page-alloc.ts';
import { _PAGE_ACCESSED, _PAGE_ANON, _PAGE_NX_HIGH, _PAGE_PRESENT, _PAGE_RW, _PAGE_USER, pte_alloc, pte_offset, pte_pfn } from './page-table.ts';
import { PAGE_SIZE, VM_EXEC, VM_HUGEPAGE, VM_NOHUGEPAGE, VM_WRITE, type mm_struct, type vm_area_struct } from './types.ts';

export const HPAGE_PMD_ORDER = 9;
export const HPAGE_PMD_NR = 1 << HPAGE_PMD_ORDER;
export const HPAGE_PMD_SIZE = HPAGE_PMD_NR * PAGE_SIZE;

const MODES = ['always', 'madvise', 'never'] as const;
const transparent_hugepage = kernelVariable<{ enabled: (typeof MODES)[number] }>(() => ({ enabled: 'madvise' }));

/** May faults in this area be served with 2 MiB at once? */
export function hugepage_enabled(vma: vm_area_struct): boolean {
  const { enabled } = transparent_hugepage();
  if (vma.vm_ops !== undefined || (vma.vm_flags & VM_NOHUGEPAGE) !== 0) return false;
  return enabled === 'always' || (enabled === 'madvise' && (vma.vm_flags & VM_HUGEPAGE) !== 0);
}

/**
 * Fills the 2 MiB around `address`. False: they reach beyond the area, something is mapped there already, or no block
 * is free; the fault then takes one page.
 */
export function do_huge_pmd_anonymous_page(vma: vm_area_struct, address: number): boolean {
  const mm = vma.vm_mm;
  const start = address - (address % HPAGE_PMD_SIZE);
  if (start < vma.vm_start || start + HPAGE_PMD_SIZE > vma.vm_end) return false;
  const words = machine().ram.mem.u32;
  const at = pte_alloc(mm, start);
  if (at < 0) return false;
  for (let i = 0; i < HPAGE_PMD_NR; i++) if (words[at + 2 * i] !== 0) return false;
  const z = zone();
  const pfn = z.alloc(HPAGE_PMD_ORDER);
  if (pfn < 0) return false;
  const low = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_ANON | ((vma.vm_flags & VM_WRITE) !== 0 ? _PAGE_RW : 0);
  const high = (vma.vm_flags & VM_EXEC) !== 0 ? 0 : _PAGE_NX_HIGH;
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    z.zero(pfn + i);
    words[at + 2 * i] = ((pfn + i) * PAGE_SIZE | low) >>> 0;
    words[at + 2 * i + 1] = high;
  }
  mm.rss_anon += HPAGE_PMD_NR;
  return true;
}

/**
 * The first frame of the aligned 2 MiB block behind the 2 MiB around `address`, if they are one, whole and writable; 0
 * otherwise. Takes no reference.
 */
export function huge_run(mm: mm_struct, address: number): number {
  const at = pte_offset(mm, address - (address % HPAGE_PMD_SIZE));
  if (at === 0) return 0;
  const words = machine().ram.mem.u32;
  const first = pte_pfn(words[at]!);
  if (first % HPAGE_PMD_NR !== 0) return 0;
  const rights = _PAGE_PRESENT | _PAGE_RW;
  for (let i = 0; i < HPAGE_PMD_NR; i++) {
    const entry = words[at + 2 * i]!;
    if ((entry & rights) !== rights || pte_pfn(entry) !== first + i) return 0;
  }
  return first;
}

/** /sys/kernel/mm/transparent_hugepage */
export function hugepage_init(): void {
  const dir = sysfs_dir('kernel/mm/transparent_hugepage');
  sysfs_create_file(dir, 'enabled', 0o644,
    () => `${MODES.map((mode) => (mode === transparent_hugepage().enabled ? `[${mode}]` : mode)).join(' ')}\n`,
    (text) => {
      const mode = MODES.find((m) => m === text.trim());
      if (mode === undefined) return -EINVAL;
      transparent_hugepage().enabled = mode;
      return 0;
    });
  sysfs_create_file(dir, 'hpage_pmd_size', 0o444, () => `${HPAGE_PMD_SIZE}\n`);
}
