/**
 * Birth, copy and death of an address space, and who is told when its pages change.
 * Linux: kernel/fork.c (mm_init, dup_mm, mmput), mm/mmu_notifier.c
 */
import { ENOMEM } from '../../abi/errno.ts';
import { fput } from '../fs/file.ts';
import { ADDRESS_END, copy_page_range, zap_vma_range } from './memory.ts';
import { __get_free_zeroed, put_page } from './page-alloc.ts';
import { free_pgtables } from './page-table.ts';
import { UserSpace, space_born, space_gone, space_of } from './space.ts';
import { VM_DONTCOPY, mm_struct, type mmu_notifier, vm_area_struct } from './types.ts';
import { insert_vma } from './vma.ts';

/** An empty address space with one user, or -ENOMEM. */
export function mm_alloc(): mm_struct | number {
  const pgd = __get_free_zeroed();
  if (pgd < 0) return pgd;
  const mm = new mm_struct(pgd, (m) => new UserSpace(m));
  mm.pgtables = 1;
  space_born(space_of(mm));
  return mm;
}

/** fork's copy: same areas, same frames, copy-on-write. -ENOMEM leaves nothing behind. */
export function dup_mm(old: mm_struct): mm_struct | number {
  const mm = mm_alloc();
  if (typeof mm === 'number') return mm;
  for (const key of ['start_code', 'end_code', 'start_brk', 'brk', 'start_stack', 'arg_start', 'arg_end', 'env_start', 'env_end'] as const) mm[key] = old[key];
  if (space_of(old).has_machine_code) space_of(mm).begin_machine_code();
  mm.exe_file = old.exe_file;
  if (mm.exe_file !== undefined) mm.exe_file.f_count++;
  for (const vma of old.mmap) {
    if ((vma.vm_flags & VM_DONTCOPY) !== 0) continue;
    const copy = new vm_area_struct(mm, vma.vm_start, vma.vm_end, vma.vm_flags, vma.vm_pgoff, vma.vm_file, vma.vm_ops);
    copy.name = vma.name;
    if (copy.vm_file !== undefined) copy.vm_file.f_count++;
    copy.vm_ops?.open?.(copy);
    insert_vma(copy);
    if (copy_page_range(copy, vma) < 0) {
      mmput(mm);
      return -ENOMEM;
    }
  }
  return mm;
}

export function mmgrab(mm: mm_struct): void { mm.mm_count++; }

/** Lets the object go; its last holder frees the top page table. */
export function mmdrop(mm: mm_struct): void {
  if (--mm.mm_count === 0) put_page(mm.pgd);
}

export function mmget(mm: mm_struct): void { mm.mm_users++; }

/** One user fewer; the last takes all areas down. */
export function mmput(mm: mm_struct): void {
  if (--mm.mm_users > 0) return;
  space_gone(space_of(mm));
  for (const notifier of [...mm.notifiers]) notifier.release();
  for (const vma of mm.mmap) {
    zap_vma_range(vma, vma.vm_start, vma.vm_end);
    vma.vm_ops?.close?.(vma);
    if (vma.vm_file !== undefined) fput(vma.vm_file);
  }
  for (let i = 0; i < mm.mmap.length; i++) {
    const { vm_start, vm_end } = mm.mmap[i]!;
    free_pgtables(mm, vm_start, vm_end, 0, mm.mmap[i + 1]?.vm_start ?? ADDRESS_END);
  }
  mm.mmap.length = 0;
  mm.total_vm = 0;
  if (mm.exe_file !== undefined) fput(mm.exe_file);
  mm.exe_file = undefined;
  mmdrop(mm);
}

export function mmu_notifier_register(mm: mm_struct, notifier: mmu_notifier): void { mm.notifiers.push(notifier); }
export function mmu_notifier_unregister(mm: mm_struct, notifier: mmu_notifier): void {
  const i = mm.notifiers.indexOf(notifier);
  if (i >= 0) mm.notifiers.splice(i, 1);
}
