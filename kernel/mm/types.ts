/**
 * Address spaces and the areas in them.
 * Linux: include/linux/mm_types.h, include/linux/mm.h
 */
import type { Space } from '../../abi/struct.ts';
import type { file } from '../fs/types.ts';
import type { task_struct } from '../sched/types.ts';

export const PAGE_SIZE = 4096;
/** End of user addresses: 2^47 less one page. */
export const TASK_SIZE = 0x7fff_ffff_f000;

export const VM_READ = 0x1;
export const VM_WRITE = 0x2;
export const VM_EXEC = 0x4;
export const VM_SHARED = 0x8;
export const VM_MAYREAD = 0x10;
export const VM_MAYWRITE = 0x20;
export const VM_MAYEXEC = 0x40;
export const VM_MAYSHARE = 0x80;
export const VM_GROWSDOWN = 0x100;
export const VM_LOCKED = 0x2000;
export const VM_IO = 0x4000;
export const VM_DONTCOPY = 0x20000;
export const VM_DONTEXPAND = 0x40000;
export const VM_NORESERVE = 0x200000;
export const VM_HUGEPAGE = 0x20000000;
export const VM_NOHUGEPAGE = 0x40000000;

export interface vm_operations_struct {
  /** A second area came to be by fork or split. */
  open?(vma: vm_area_struct): void;
  close?(vma: vm_area_struct): void;
  /**
   * The frame of page `pgoff` of the mapped object, with a reference for the page table, or -errno (the access then
   * ends in SIGBUS; -ENOMEM in the OOM killer).
   */
  fault(vma: vm_area_struct, pgoff: number, write: boolean): number;
}

export class vm_area_struct {
  vm_start: number;
  vm_end: number;
  /** Page of the object that vm_start maps. */
  vm_pgoff: number;
  vm_flags: number;
  vm_ops: vm_operations_struct | undefined;
  /** Holds one reference. */
  vm_file: file | undefined;
  readonly vm_mm: mm_struct;
  /** '[heap]', '[stack]'; '' otherwise. */
  name = '';
  constructor(mm: mm_struct, start: number, end: number, flags: number, pgoff: number, file: file | undefined, ops: vm_operations_struct | undefined) {
    this.vm_mm = mm;
    this.vm_start = start;
    this.vm_end = end;
    this.vm_flags = flags;
    this.vm_pgoff = pgoff;
    this.vm_file = file;
    this.vm_ops = ops;
  }
}

export interface mmu_notifier {
  /** Pages in [start, end) are about to change or go; no translation of them may be kept. Called before the frames are let go. */
  invalidate_range(start: number, end: number): void;
  /** The whole address space dies. */
  release(): void;
}

export class mm_struct {
  /** Page frame of the PML4. */
  readonly pgd: number;
  /** Areas by address, never overlapping. */
  readonly mmap: vm_area_struct[] = [];
  /** Tasks that run in it. */
  mm_users = 1;
  /** mm_users as one, and everyone else who needs the object itself to live. */
  mm_count = 1;
  /** Memory as programs see it; a bad access throws UserFault. */
  readonly space: Space;
  total_vm = 0;
  /** Resident pages by kind. */
  rss_anon = 0;
  rss_file = 0;
  rss_shmem = 0;
  hiwater_rss = 0;
  /** Frames its page tables take. */
  pgtables = 0;
  locked_vm = 0;
  start_code = 0;
  end_code = 0;
  start_brk = 0;
  brk = 0;
  start_stack = 0;
  arg_start = 0;
  arg_end = 0;
  env_start = 0;
  env_end = 0;
  /** The program file, for /proc/<pid>/exe. Holds one reference. */
  exe_file: file | undefined;
  readonly notifiers: mmu_notifier[] = [];
  /** Processors that may hold translations which are no longer true: they flush before they run code of this space. */
  readonly tlb_stale = new Set<number>();
  owner: task_struct | undefined;
  constructor(pgd: number, space: (mm: mm_struct) => Space) {
    this.pgd = pgd;
    this.space = space(this);
  }
}
