/**
 * memfd_create: a file in memory without a name, with seals; fallocate.
 *
 * Linux: mm/memfd.c, mm/shmem.c, fs/open.c (vfs_fallocate)
 */
import { EBADF, EBUSY, EFAULT, EFBIG, EINVAL, EISDIR, ENODEV, ENOSPC, EOPNOTSUPP, EPERM, ESPIPE } from '../../abi/errno.ts';
import {
  F_ADD_SEALS, F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, MFD_ALLOW_SEALING, MFD_CLOEXEC, O_RDWR, S_IFREG, S_ISDIR, S_ISFIFO, S_ISREG,
} from '../../abi/fcntl.ts';
import { kernelVariable } from '../current.ts';
import { nr_free_pages, totalram_pages } from '../mm/page-alloc.ts';
import { PAGE_SIZE, VM_MAYWRITE, VM_SHARED, VM_WRITE } from '../mm/types.ts';
import { strncpy_from_user } from '../mm/uaccess.ts';
import type { task_struct } from '../sched/types.ts';
import { alloc_file_pseudo, pseudo_mount } from './anon-inodes.ts';
import { MAX_FILE_SIZE, fd_install, fd_lookup, get_unused_fd } from './file.ts';
import { address_space, generic_file_mmap, generic_file_read, generic_file_write } from './filemap.ts';
import { current_time } from './inode.ts';
import { TMPFS_MAGIC, limit_pages, makeFile } from './ramfs.ts';
import { generic_file_llseek } from './read-write.ts';
import { FMODE_LSEEK, FMODE_PREAD, FMODE_PWRITE, FMODE_STREAM, FMODE_WRITE, type file, type file_operations, type inode } from './types.ts';

const MFD_NAME_MAX = 249;
const ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;

/** The home of memory files; as in a tmpfs, half of RAM is theirs. */
const shmem = kernelVariable(() => {
  const mnt = pseudo_mount({ name: 'tmpfs', nodev: true, mount: () => -EINVAL }, TMPFS_MAGIC);
  limit_pages(mnt.mnt_sb, Math.floor(totalram_pages() / 2));
  return mnt;
});

/** Seals by inode. */
const seals = kernelVariable(() => new WeakMap<inode, number>());
const sealsOf = (node: inode): number => seals().get(node) ?? 0;

const memfd_fops: file_operations = {
  read: generic_file_read,
  llseek: generic_file_llseek,
  fsync: () => 0,
  write(f, from, pos) {
    const sealed = sealsOf(f.f_inode);
    if ((sealed & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) !== 0 || ((sealed & F_SEAL_GROW) !== 0 && pos + from.count > f.f_inode.i_size)) return -EPERM;
    return generic_file_write(f, from, pos);
  },
  mmap(f, vma) {
    if ((sealsOf(f.f_inode) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) !== 0 && (vma.vm_flags & VM_SHARED) !== 0) {
      if ((vma.vm_flags & VM_WRITE) !== 0) return -EPERM;
      vma.vm_flags &= ~VM_MAYWRITE;
    }
    return generic_file_mmap(f, vma);
  },
};

export function sys_memfd_create(task: task_struct, address: number, flags: number): number {
  if ((flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING)) !== 0) return -EINVAL;
  const name = strncpy_from_user(address, MFD_NAME_MAX + 1);
  if (typeof name === 'number') return -EFAULT;
  if (name === undefined) return -EINVAL;
  const fd = get_unused_fd(task);
  if (fd < 0) return fd;
  const mnt = shmem();
  const node = makeFile(mnt.mnt_sb, S_IFREG | 0o777);
  node.i_nlink = 0;
  const ordinary = node.i_op.setattr!;
  node.i_op = {
    setattr(inode, change) {
      const sealed = sealsOf(inode);
      if (change.size !== undefined && ((change.size < inode.i_size && (sealed & F_SEAL_SHRINK) !== 0) || (change.size > inode.i_size && (sealed & F_SEAL_GROW) !== 0))) return -EPERM;
      return ordinary(inode, change);
    },
  };
  seals().set(node, (flags & MFD_ALLOW_SEALING) !== 0 ? 0 : F_SEAL_SEAL);
  const f = alloc_file_pseudo(node, mnt, `/memfd:${name} (deleted)`, O_RDWR, memfd_fops);
  f.f_mode = (f.f_mode & ~FMODE_STREAM) | FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
  f.f_flags |= 0o100000;
  fd_install(task.files!, fd, f, (flags & MFD_CLOEXEC) !== 0);
  return fd;
}

/** F_ADD_SEALS, F_GET_SEALS. */
export function memfd_fcntl(f: file, cmd: number, arg: number): number {
  if (f.f_op !== memfd_fops) return -EINVAL;
  const node = f.f_inode;
  const before = sealsOf(node);
  if (cmd !== F_ADD_SEALS) return before;
  if ((f.f_mode & FMODE_WRITE) === 0) return -EPERM;
  if ((arg & ~ALL_SEALS) !== 0) return -EINVAL;
  if ((before & F_SEAL_SEAL) !== 0) return -EPERM;
  if ((arg & F_SEAL_WRITE) !== 0 && [...(node.i_private as address_space).i_mmap].some((vma) => (vma.vm_flags & VM_SHARED) !== 0 && (vma.vm_flags & VM_MAYWRITE) !== 0)) return -EBUSY;
  seals().set(node, before | arg);
  return 0;
}

/** Makes the pages [first, last) exist, all or none. */
function reserve(mapping: address_space, first: number, last: number): boolean {
  if (last - first - mapping.pages.size > nr_free_pages()) return false;
  const fresh: number[] = [];
  for (let index = first; index < last; index++) {
    const known = mapping.pages.has(index);
    if (mapping.grab(index) < 0) {
      for (const page of fresh) mapping.punch(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      return false;
    }
    if (!known) fresh.push(index);
  }
  return true;
}

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/** Makes the pages of a range exist, or with PUNCH_HOLE not exist. */
export function sys_fallocate(task: task_struct, fd: number, mode: number, offset: number, length: number): number {
  const f = fd_lookup(task.files!, fd);
  if (f === null) return -EBADF;
  if (offset < 0 || length <= 0) return -EINVAL;
  if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) !== 0 || mode === FALLOC_FL_PUNCH_HOLE) return -EOPNOTSUPP;
  if ((f.f_mode & FMODE_WRITE) === 0) return -EBADF;
  const node = f.f_inode;
  if (S_ISFIFO(node.i_mode)) return -ESPIPE;
  if (S_ISDIR(node.i_mode)) return -EISDIR;
  if (!S_ISREG(node.i_mode)) return -ENODEV;
  if (offset + length > MAX_FILE_SIZE) return -EFBIG;
  if (!(node.i_private instanceof address_space)) return -EOPNOTSUPP;
  const mapping = node.i_private;
  if ((mode & FALLOC_FL_PUNCH_HOLE) !== 0) {
    if ((sealsOf(node) & F_SEAL_WRITE) !== 0) return -EPERM;
    mapping.punch(offset, offset + length);
  } else {
    if ((sealsOf(node) & F_SEAL_GROW) !== 0 && offset + length > node.i_size) return -EPERM;
    if (!reserve(mapping, Math.floor(offset / PAGE_SIZE), Math.ceil((offset + length) / PAGE_SIZE))) return -ENOSPC;
    if ((mode & FALLOC_FL_KEEP_SIZE) === 0 && offset + length > node.i_size) node.i_size = offset + length;
  }
  node.i_mtime = node.i_ctime = current_time();
  return 0;
}
