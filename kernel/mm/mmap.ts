/**
 * The system calls that shape an address space.
 * Linux: mm/mmap.c, mm/mprotect.c, mm/mremap.c, mm/madvise.c, mm/shmem.c (shared anonymous memory)
 */
import { EACCES, EBADF, EEXIST, EFAULT, EINVAL, ENODEV, ENOMEM, EOPNOTSUPP } from '../../abi/errno.ts';
import * as M from '../../abi/mman.ts';
import { RLIMIT_AS, RLIMIT_DATA } from '../../abi/resource.ts';
import { current, machine } from '../current.ts';
import { fd_lookup, fput, get_file } from '../fs/file.ts';
import { FMODE_READ, FMODE_WRITE, type file } from '../fs/types.ts';
import type { task_struct } from '../sched/types.ts';
import { rlimit } from '../sys.ts';
import { change_protection, present, unmap_pgtables, zap_vma_range } from './memory.ts';
import { __get_free_zeroed, get_page, nr_free_pages, put_page, totalram_pages } from './page-alloc.ts';
import { for_each_pte, pte_alloc } from './page-table.ts';
import { space_of } from './space.ts';

import {
  PAGE_SIZE, VM_DONTCOPY, VM_DONTEXPAND, VM_EXEC, VM_GROWSDOWN, VM_HUGEPAGE, VM_IO, VM_LOCKED, VM_MAYEXEC, VM_MAYREAD, VM_MAYSHARE, VM_MAYWRITE, VM_NOHUGEPAGE, VM_NORESERVE, VM_READ, VM_SHARED, VM_WRITE, type mm_struct,
  vm_area_struct, type vm_operations_struct,
} from './types.ts';
import { MMAP_MIN_ADDR, find_vma, find_vma_intersection, insert_vma, isolate, merge_vmas, page_align, unmapped_area_topdown, user_range_ok, vma_index } from './vma.ts';
import { copy_to_user } from './uaccess.ts';

const PROT = M.PROT_READ | M.PROT_WRITE | M.PROT_EXEC;
const aligned = (n: number): boolean => n % PAGE_SIZE === 0;

/** Memory shared between processes without a file: frames by page, freed with the last mapping. */
class SharedAnonymous implements vm_operations_struct {
  private readonly pages = new Map<number, number>();
  private users = 1;
  open(): void { this.users++; }
  close(): void {
    if (--this.users > 0) return;
    for (const pfn of this.pages.values()) put_page(pfn);
    this.pages.clear();
  }
  fault(_vma: vm_area_struct, pgoff: number): number {
    let pfn = this.pages.get(pgoff);
    if (pfn === undefined) {
      pfn = __get_free_zeroed();
      if (pfn < 0) return pfn;
      this.pages.set(pgoff, pfn);
    }
    get_page(pfn);
    return pfn;
  }
}

/** Heuristic overcommit: only what could never be had is refused. */
const can_have = (length: number): boolean => length / PAGE_SIZE <= totalram_pages();

// ---------------------------------------------------------------- mmap

/** Maps `f` (or memory without a file) into `mm`. The address, or -errno. Takes its own reference to the file. */
export function do_mmap(mm: mm_struct, f: file | undefined, address: number, length: number, prot: number, flags: number, pgoff: number): number {
  if (length === 0) return -EINVAL;
  const bytes = page_align(length);
  if (!(bytes > 0 && user_range_ok(0, bytes))) return -ENOMEM;
  const fixed = (flags & (M.MAP_FIXED | M.MAP_FIXED_NOREPLACE)) !== 0;
  if (fixed) {
    if (!user_range_ok(address, bytes)) return -ENOMEM;
    if (!aligned(address)) return -EINVAL;
    if ((flags & M.MAP_FIXED_NOREPLACE) !== 0 && find_vma_intersection(mm, address, address + bytes) !== undefined) return -EEXIST;
  } else {
    const hint = page_align(Math.max(0, address));
    const free = hint >= MMAP_MIN_ADDR && user_range_ok(hint, bytes) && find_vma_intersection(mm, hint, hint + bytes) === undefined;
    address = free ? hint : unmapped_area_topdown(mm, bytes);
    if (address < 0) return -ENOMEM;
  }
  if (mm.total_vm * PAGE_SIZE + bytes > rlimit(current(), RLIMIT_AS)) return -ENOMEM;

  let vm_flags = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
  if ((prot & M.PROT_READ) !== 0) vm_flags |= VM_READ;
  if ((prot & M.PROT_WRITE) !== 0) vm_flags |= VM_WRITE;
  if ((prot & M.PROT_EXEC) !== 0) vm_flags |= VM_EXEC;
  if ((flags & M.MAP_GROWSDOWN) !== 0) vm_flags |= VM_GROWSDOWN;
  if ((flags & M.MAP_LOCKED) !== 0) vm_flags |= VM_LOCKED;
  if ((flags & M.MAP_NORESERVE) !== 0) vm_flags |= VM_NORESERVE;
  const type = flags & M.MAP_TYPE;
  const shared = type === M.MAP_SHARED || type === M.MAP_SHARED_VALIDATE;
  if (!shared && type !== M.MAP_PRIVATE) return -EINVAL;
  let ops: vm_operations_struct | undefined;
  if (f !== undefined) {
    if ((f.f_mode & FMODE_READ) === 0) return -EACCES;
    if (shared) {
      if ((prot & M.PROT_WRITE) !== 0 && (f.f_mode & FMODE_WRITE) === 0) return -EACCES;
      vm_flags |= VM_SHARED | VM_MAYSHARE;
      if ((f.f_mode & FMODE_WRITE) === 0) vm_flags &= ~(VM_MAYWRITE | VM_SHARED);
    }
    if (f.f_op.mmap === undefined) return -ENODEV;
  } else {
    if (shared) {
      vm_flags |= VM_SHARED | VM_MAYSHARE;
      pgoff = 0;
      ops = new SharedAnonymous();
    } else pgoff = address / PAGE_SIZE;
    if ((flags & M.MAP_NORESERVE) === 0 && !can_have(bytes)) return -ENOMEM;
  }

  if (fixed) do_munmap(mm, address, bytes);
  const vma = new vm_area_struct(mm, address, address + bytes, vm_flags, pgoff, f === undefined ? undefined : get_file(f), ops);
  if (f !== undefined) {
    const error = f.f_op.mmap!(f, vma);
    if (error < 0) {
      fput(f);
      return error;
    }
  }
  insert_vma(vma);
  merge_vmas(mm, vma.vm_start, vma.vm_end);
  if ((flags & (M.MAP_POPULATE | M.MAP_LOCKED)) !== 0 && (flags & M.MAP_NONBLOCK) === 0) populate(mm, address, bytes);
  return address;
}

function populate(mm: mm_struct, start: number, length: number): void {
  const vma = find_vma(mm, start);
  if (vma === undefined) return;
  const write = (vma.vm_flags & (VM_WRITE | VM_SHARED)) === VM_WRITE;
  // What cannot be had now comes, or fails, at the first access.
  if (length / PAGE_SIZE > nr_free_pages()) return;
  for (let at = start; at < start + length; at += PAGE_SIZE) if (space_of(mm).translate(at, write) < 0) return;
}

export function sys_mmap(task: task_struct, address: number, length: number, prot: number, flags: number, fd: number, offset: number): number {
  if (!aligned(offset) || offset < 0) return -EINVAL;
  let f: file | undefined;
  if ((flags & M.MAP_ANONYMOUS) === 0) {
    f = fd_lookup(task.files!, fd) ?? undefined;
    if (f === undefined) return -EBADF;
    if ((flags & M.MAP_HUGETLB) !== 0) return -EINVAL;
  } else if ((flags & M.MAP_HUGETLB) !== 0) return -ENOMEM;
  return do_mmap(task.mm!, f, address, length, prot, flags, offset / PAGE_SIZE);
}

// ---------------------------------------------------------------- munmap

/** Removes [start, start + length) from the address space; areas that reach beyond are cut. */
export function do_munmap(mm: mm_struct, start: number, length: number): number {
  if (!aligned(start) || !user_range_ok(start, length) || length === 0) return -EINVAL;
  const end = start + page_align(length);
  const gone = isolate(mm, start, end);
  for (const vma of gone) {
    zap_vma_range(vma, vma.vm_start, vma.vm_end);
    mm.mmap.splice(mm.mmap.indexOf(vma), 1);
    mm.total_vm -= (vma.vm_end - vma.vm_start) / PAGE_SIZE;
    vma.vm_ops?.close?.(vma);
    if (vma.vm_file !== undefined) fput(vma.vm_file);
  }
  if (gone.length > 0) unmap_pgtables(mm, start, end);
  return 0;
}

export const sys_munmap = (task: task_struct, start: number, length: number): number => do_munmap(task.mm!, start, length);

/** For the kernel itself: memory in the current process. */
export const vm_mmap = (f: file | undefined, address: number, length: number, prot: number, flags: number, offset: number): number =>
  do_mmap(current().mm!, f, address, length, prot, flags, offset / PAGE_SIZE);
export const vm_munmap = (start: number, length: number): number => do_munmap(current().mm!, start, length);

// ---------------------------------------------------------------- mprotect

export function sys_mprotect(task: task_struct, start: number, length: number, prot: number): number {
  const mm = task.mm!;
  if ((prot & ~(PROT | M.PROT_GROWSDOWN | M.PROT_GROWSUP)) !== 0 || !aligned(start)) return -EINVAL;
  if (length === 0) return 0;
  const end = start + page_align(length);
  if (!(end > start) || !user_range_ok(start, end - start)) return -ENOMEM;
  let at = start;
  for (let i = vma_index(mm, start); i < mm.mmap.length && at < end; i++) {
    const vma = mm.mmap[i]!;
    if (vma.vm_start > at) break;
    const wanted = (prot & M.PROT_READ ? VM_MAYREAD : 0) | (prot & M.PROT_WRITE ? VM_MAYWRITE : 0) | (prot & M.PROT_EXEC ? VM_MAYEXEC : 0);
    if ((wanted & ~vma.vm_flags) !== 0) return -EACCES;
    at = vma.vm_end;
  }
  if (at < end) return -ENOMEM;
  for (const vma of isolate(mm, start, end)) {
    vma.vm_flags = (vma.vm_flags & ~(VM_READ | VM_WRITE | VM_EXEC)) | (prot & M.PROT_READ ? VM_READ : 0) | (prot & M.PROT_WRITE ? VM_WRITE : 0) | (prot & M.PROT_EXEC ? VM_EXEC : 0);
    change_protection(vma, vma.vm_start, vma.vm_end);
  }
  merge_vmas(mm, start, end);
  return 0;
}

// ---------------------------------------------------------------- brk

export function sys_brk(task: task_struct, address: number): number {
  const mm = task.mm!;
  if (!(address >= mm.start_brk)) return mm.brk;
  const old = page_align(mm.brk);
  const fresh = page_align(address);
  if (!user_range_ok(0, fresh) || fresh - mm.start_brk > rlimit(current(), RLIMIT_DATA)) return mm.brk;
  if (fresh < old) do_munmap(mm, fresh, old - fresh);
  else if (fresh > old) {
    if (find_vma_intersection(mm, old, fresh + PAGE_SIZE) !== undefined || !can_have(fresh - mm.start_brk)) return mm.brk;
    const vma = new vm_area_struct(mm, old, fresh, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC, old / PAGE_SIZE, undefined, undefined);
    vma.name = '[heap]';
    insert_vma(vma);
    merge_vmas(mm, old, fresh);
  }
  mm.brk = address;
  return address;
}

// ---------------------------------------------------------------- mremap

export function sys_mremap(task: task_struct, address: number, old_length: number, new_length: number, flags: number, new_address: number): number {
  const mm = task.mm!;
  if ((flags & ~(M.MREMAP_MAYMOVE | M.MREMAP_FIXED)) !== 0 || ((flags & M.MREMAP_FIXED) !== 0 && (flags & M.MREMAP_MAYMOVE) === 0)) return -EINVAL;
  if (!aligned(address)) return -EINVAL;
  const old = page_align(old_length);
  const fresh = page_align(new_length);
  if (!(fresh > 0)) return -EINVAL;
  const fixed = (flags & M.MREMAP_FIXED) !== 0;
  if (fixed && (!aligned(new_address) || !user_range_ok(new_address, fresh) || (new_address < address + old && address < new_address + fresh))) return -EINVAL;
  const vma = find_vma(mm, address);
  if (vma === undefined || vma.vm_start > address) return -EFAULT;
  if (old === 0) return (vma.vm_flags & (VM_SHARED | VM_MAYSHARE)) === 0 ? -EINVAL : -EOPNOTSUPP;
  if (address + old > vma.vm_end) return -EFAULT;
  if (fresh > old && (vma.vm_flags & (VM_DONTEXPAND | VM_IO)) !== 0) return -EFAULT;
  if (!fixed && fresh <= old) {
    if (fresh < old) do_munmap(mm, address + fresh, old - fresh);
    return address;
  }
  if (fresh > old && !can_have(fresh - old)) return -ENOMEM;
  if (!fixed && address + old === vma.vm_end && user_range_ok(address, fresh) && find_vma_intersection(mm, vma.vm_end, address + fresh) === undefined) {
    mm.total_vm += (fresh - old) / PAGE_SIZE;
    vma.vm_end = address + fresh;
    merge_vmas(mm, vma.vm_start, vma.vm_end);
    return address;
  }
  if ((flags & M.MREMAP_MAYMOVE) === 0) return -ENOMEM;
  const to = fixed ? new_address : unmapped_area_topdown(mm, fresh);
  if (to < 0) return -ENOMEM;
  if (fixed) do_munmap(mm, to, fresh);
  return move_vma(mm, address, old, to, fresh);
}

/** Moves an area's pages to another address by moving their entries. */
function move_vma(mm: mm_struct, from: number, old: number, to: number, length: number): number {
  const keep = Math.min(old, length);
  const [source] = isolate(mm, from, from + old);
  if (source === undefined) return -EFAULT;
  const pgoff = source.vm_ops === undefined ? to / PAGE_SIZE : source.vm_pgoff;
  const copy = new vm_area_struct(mm, to, to + length, source.vm_flags, pgoff, source.vm_file === undefined ? undefined : get_file(source.vm_file), source.vm_ops);
  copy.name = source.name;
  copy.vm_ops?.open?.(copy);
  insert_vma(copy);
  for (const notifier of [...mm.notifiers]) notifier.invalidate_range(from, from + old);
  space_of(mm).narrowed();
  const words = machine().ram.mem.u32;
  const moved: [number, number, number][] = [];
  for_each_pte(mm, from, from + keep, (at, address) => {
    moved.push([to + (address - from), words[at]!, words[at + 1]!]);
  });
  for (const [address, low, high] of moved) {
    const at = pte_alloc(mm, address);
    // Without a table the page stays behind and is freed below; the new place faults in afresh.
    if (at < 0) continue;
    words[at] = low;
    words[at + 1] = high;
    clear_entry(mm, from + (address - to));
  }
  do_munmap(mm, from, old);
  merge_vmas(mm, to, to + length);
  return to;
}

function clear_entry(mm: mm_struct, address: number): void {
  const words = machine().ram.mem.u32;
  for_each_pte(mm, address, address + PAGE_SIZE, (at) => {
    words[at] = 0;
    words[at + 1] = 0;
  });
}

// ---------------------------------------------------------------- advice and questions

const HARMLESS = new Set<number>([
  M.MADV_NORMAL, M.MADV_RANDOM, M.MADV_SEQUENTIAL, M.MADV_WILLNEED, M.MADV_MERGEABLE, M.MADV_UNMERGEABLE, M.MADV_DONTDUMP, M.MADV_DODUMP, M.MADV_COLD, M.MADV_PAGEOUT,
]);

export function sys_madvise(task: task_struct, start: number, length: number, advice: number): number {
  const mm = task.mm!;
  const known = HARMLESS.has(advice) || [M.MADV_DONTNEED, M.MADV_FREE, M.MADV_DONTFORK, M.MADV_DOFORK, M.MADV_HUGEPAGE, M.MADV_NOHUGEPAGE, M.MADV_POPULATE_READ, M.MADV_POPULATE_WRITE].includes(advice as never);
  if (!known || !aligned(start) || length < 0) return -EINVAL;
  const end = start + page_align(length);
  if (end === start) return 0;
  let at = start;
  let hole = false;
  for (let i = vma_index(mm, start); at < end; i++) {
    const vma = mm.mmap[i];
    if (vma === undefined || vma.vm_start >= end) { hole = true; break; }
    if (vma.vm_start > at) hole = true;
    const from = Math.max(at, vma.vm_start);
    const to = Math.min(end, vma.vm_end);
    if (advice === M.MADV_DONTNEED || advice === M.MADV_FREE) {
      if ((vma.vm_flags & (VM_LOCKED | VM_IO)) !== 0) return -EINVAL;
      zap_vma_range(vma, from, to);
    } else if (advice === M.MADV_POPULATE_READ || advice === M.MADV_POPULATE_WRITE) {
      for (let page = from; page < to; page += PAGE_SIZE) if (space_of(mm).translate(page, advice === M.MADV_POPULATE_WRITE) < 0) return -EFAULT;
    }
    at = to;
  }
  if (advice === M.MADV_DONTFORK || advice === M.MADV_DOFORK) {
    for (const vma of isolate(mm, start, end)) vma.vm_flags = advice === M.MADV_DONTFORK ? vma.vm_flags | VM_DONTCOPY : vma.vm_flags & ~VM_DONTCOPY;
  }
  if (advice === M.MADV_HUGEPAGE || advice === M.MADV_NOHUGEPAGE) {
    const [set, clear] = advice === M.MADV_HUGEPAGE ? [VM_HUGEPAGE, VM_NOHUGEPAGE] : [VM_NOHUGEPAGE, VM_HUGEPAGE];
    for (const vma of isolate(mm, start, end)) vma.vm_flags = (vma.vm_flags | set) & ~clear;
    merge_vmas(mm, start, end);
  }
  return hole ? -ENOMEM : 0;
}

/** Nothing is ever dirty against a disk; the range is checked as on Linux. */
export function sys_msync(task: task_struct, start: number, length: number, flags: number): number {
  if ((flags & ~(M.MS_ASYNC | M.MS_INVALIDATE | M.MS_SYNC)) !== 0 || !aligned(start) || ((flags & M.MS_ASYNC) !== 0 && (flags & M.MS_SYNC) !== 0)) return -EINVAL;
  return covered(task.mm!, start, start + page_align(length)) ? 0 : -ENOMEM;
}

function covered(mm: mm_struct, start: number, end: number): boolean {
  let at = start;
  for (let i = vma_index(mm, start); at < end; i++) {
    const vma = mm.mmap[i];
    if (vma === undefined || vma.vm_start > at) return false;
    at = vma.vm_end;
  }
  return true;
}

/** No page ever leaves memory, so locking is only remembered and filled in. */
export function sys_mlock(task: task_struct, start: number, length: number): number {
  const from = Math.floor(start / PAGE_SIZE) * PAGE_SIZE;
  const end = page_align(start + length);
  if (!covered(task.mm!, from, end)) return -ENOMEM;
  for (const vma of isolate(task.mm!, from, end)) vma.vm_flags |= VM_LOCKED;
  populate(task.mm!, from, end - from);
  return 0;
}
export function sys_munlock(task: task_struct, start: number, length: number): number {
  const from = Math.floor(start / PAGE_SIZE) * PAGE_SIZE;
  const end = page_align(start + length);
  if (!covered(task.mm!, from, end)) return -ENOMEM;
  for (const vma of isolate(task.mm!, from, end)) vma.vm_flags &= ~VM_LOCKED;
  merge_vmas(task.mm!, from, end);
  return 0;
}

export function sys_mincore(task: task_struct, start: number, length: number, vec: number): number {
  if (!aligned(start)) return -EINVAL;
  const pages = page_align(length) / PAGE_SIZE;
  if (!user_range_ok(start, pages * PAGE_SIZE) || !covered(task.mm!, start, start + pages * PAGE_SIZE)) return -ENOMEM;
  const bits = new Uint8Array(pages);
  for (let i = 0; i < pages; i++) bits[i] = present(task.mm!, start + i * PAGE_SIZE) ? 1 : 0;
  return copy_to_user(vec, bits);
}
