/**
 * The page cache: contents of a regular file in page frames, read and written by copying and mapped as they are.
 *
 * Linux: mm/filemap.c, mm/truncate.c, mm/shmem.c (there is nothing behind the cache: a page that is dropped is lost)
 *
 * A hole costs no frame until it is written or mapped. Truncation must take mapped pages away from every process, so
 * the cache knows the areas that map it.
 */
import { EFAULT, EFBIG, EINVAL, ENOSPC } from '../../abi/errno.ts';
import { kernelVariable, machine } from '../current.ts';
import { zap_vma_range } from '../mm/memory.ts';
import { __get_free_zeroed, get_page, page_bytes, put_page } from '../mm/page-alloc.ts';
import { PAGE_SIZE, type vm_area_struct, type vm_operations_struct } from '../mm/types.ts';
import { current_time } from './inode.ts';
import { MAX_FILE_SIZE } from './file.ts';
import type { iov_iter } from './iov-iter.ts';
import type { file, inode } from './types.ts';

/** Frames in all page caches, for /proc/meminfo. */
export const file_pages = kernelVariable(() => ({ count: 0 }));

export class address_space {
  readonly host: inode;
  /** Frames by page index; each holds one reference. */
  readonly pages = new Map<number, number>();
  /** Areas that map the file. */
  readonly i_mmap = new Set<vm_area_struct>();
  constructor(host: inode) {
    this.host = host;
  }

  /** The frame of a page, made zero when there was none; -ENOMEM, or -ENOSPC at the limit of its file system. */
  grab(index: number): number {
    const known = this.pages.get(index);
    if (known !== undefined) return known;
    const sb = this.host.i_sb;
    if (sb.s_pages >= sb.s_maxPages) return -ENOSPC;
    const pfn = __get_free_zeroed();
    if (pfn >= 0) {
      sb.s_pages++;
      this.pages.set(index, pfn);
      file_pages().count++;
    }
    return pfn;
  }

  /** Moves up to iter.count bytes from `pos` to the reader, not past `size`. */
  read(iter: iov_iter, pos: number, size: number): number {
    let done = 0;
    while (iter.count > 0 && pos < size) {
      const offset = pos % PAGE_SIZE;
      const n = Math.min(PAGE_SIZE - offset, size - pos, iter.count);
      const pfn = this.pages.get(Math.floor(pos / PAGE_SIZE));
      const moved = pfn === undefined ? iter.zero(n) : iter.copy_to(page_bytes(pfn).subarray(offset, offset + n));
      if (moved < 0) return done || moved;
      done += moved;
      pos += moved;
      if (moved < n) break;
    }
    return done;
  }

  /** Moves the writer's bytes to `pos`. The caller extends the size. */
  write(iter: iov_iter, pos: number): number {
    let done = 0;
    while (iter.count > 0) {
      const offset = pos % PAGE_SIZE;
      const n = Math.min(PAGE_SIZE - offset, iter.count);
      const fresh = !this.pages.has(Math.floor(pos / PAGE_SIZE));
      const pfn = this.grab(Math.floor(pos / PAGE_SIZE));
      if (pfn < 0) return done || -ENOSPC;
      if (!fresh) machine().ram.codeWritten(pfn * PAGE_SIZE);
      const moved = iter.copy_from(page_bytes(pfn).subarray(offset, offset + n));
      if (moved < 0) return done || moved;
      done += moved;
      pos += moved;
      if (moved < n) break;
    }
    return done;
  }

  /** Drops what lies beyond `size`, from the cache and from everyone who maps it. */
  truncate(size: number): void {
    this.drop(Math.ceil(size / PAGE_SIZE), Number.POSITIVE_INFINITY);
    this.clear(size, Math.ceil(size / PAGE_SIZE) * PAGE_SIZE);
  }

  /** Makes [start, end) read as zeroes, with as few pages as possible. */
  punch(start: number, end: number): void {
    const first = Math.ceil(start / PAGE_SIZE);
    const last = Math.floor(end / PAGE_SIZE);
    if (first < last) this.drop(first, last);
    this.clear(start, Math.min(end, first * PAGE_SIZE));
    if (last >= first) this.clear(last * PAGE_SIZE, end);
  }

  /** Takes the pages [first, last) away. */
  private drop(first: number, last: number): void {
    for (const vma of this.i_mmap) {
      const start = Math.max(vma.vm_start, vma.vm_start + (first - vma.vm_pgoff) * PAGE_SIZE);
      const end = Math.min(vma.vm_end, vma.vm_start + (last - vma.vm_pgoff) * PAGE_SIZE);
      if (start < end) zap_vma_range(vma, start, end);
    }
    for (const [index, pfn] of this.pages) {
      if (index < first || index >= last) continue;
      this.pages.delete(index);
      this.host.i_sb.s_pages--;
      file_pages().count--;
      put_page(pfn);
    }
  }

  /** Zeroes bytes within one page. */
  private clear(start: number, end: number): void {
    const pfn = this.pages.get(Math.floor(start / PAGE_SIZE));
    if (pfn === undefined || start >= end) return;
    machine().ram.codeWritten(pfn * PAGE_SIZE);
    page_bytes(pfn).fill(0, start % PAGE_SIZE, (start % PAGE_SIZE) + end - start);
  }
}

const mappingOf = (inode: inode): address_space => inode.i_private as address_space;

export function generic_file_read(f: file, to: iov_iter, pos: number): number {
  const inode = f.f_inode;
  inode.i_atime = current_time();
  return mappingOf(inode).read(to, pos, inode.i_size);
}

export function generic_file_write(f: file, from: iov_iter, pos: number): number {
  const inode = f.f_inode;
  if (from.count === 0) return 0;
  if (pos + from.count > MAX_FILE_SIZE) return -EFBIG;
  const n = mappingOf(inode).write(from, pos);
  if (n > 0) {
    if (pos + n > inode.i_size) inode.i_size = pos + n;
    inode.i_mtime = inode.i_ctime = current_time();
  }
  return n;
}

export const generic_vm_ops: vm_operations_struct = {
  open(vma) { mappingOf(vma.vm_file!.f_inode).i_mmap.add(vma); },
  close(vma) { mappingOf(vma.vm_file!.f_inode).i_mmap.delete(vma); },
  fault(vma, pgoff) {
    const inode = vma.vm_file!.f_inode;
    if (pgoff * PAGE_SIZE >= inode.i_size) return -EFAULT;
    const pfn = mappingOf(inode).grab(pgoff);
    if (pfn >= 0) get_page(pfn);
    return pfn;
  },
};

export function generic_file_mmap(f: file, vma: vm_area_struct): number {
  if (!(f.f_inode.i_private instanceof address_space)) return -EINVAL;
  vma.vm_ops = generic_vm_ops;
  mappingOf(f.f_inode).i_mmap.add(vma);
  return 0;
}
