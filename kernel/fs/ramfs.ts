/**
 * ramfs: files in the page cache, names in the dentry tree, nothing else. The root file system, /tmp and /dev.
 *
 * Linux: fs/ramfs/inode.c, init/initramfs.c
 */
import { ENOSPC } from '../../abi/errno.ts';
import { S_IFDIR, S_IFLNK, S_IFREG, S_ISREG } from '../../abi/fcntl.ts';
import { utf8 } from '../../lib/text.ts';
import { d_make_root } from './dcache.ts';
import { address_space, generic_file_mmap, generic_file_read, generic_file_write } from './filemap.ts';
import { current_time } from './inode.ts';
import { kernelIter } from './iov-iter.ts';
import { kernelEntry, kernelMkdir, new_inode, simple_dir_operations, simple_rename, simple_rmdir, simple_unlink } from './libfs.ts';
import { get_anon_bdev } from './namespace.ts';
import { totalram_pages } from '../mm/page-alloc.ts';
import { PAGE_SIZE } from '../mm/types.ts';
import { generic_file_llseek } from './read-write.ts';
import { type dentry, type file_operations, type file_system_type, type inode, type inode_operations, super_block } from './types.ts';

export const RAMFS_MAGIC = 0x858458f6;
export const TMPFS_MAGIC = 0x01021994;

export const ramfs_file_operations: file_operations = {
  read: generic_file_read,
  write: generic_file_write,
  mmap: generic_file_mmap,
  llseek: generic_file_llseek,
  fsync: () => 0,
};

const fileInode: inode_operations = {
  setattr(inode, change) {
    if (change.size !== undefined) {
      (inode.i_private as address_space).truncate(change.size);
      inode.i_size = change.size;
    }
    return 0;
  },
};
const special: inode_operations = {};
const symlinkInode: inode_operations = { readlink: (inode) => inode.i_private as string };

/** An inode that counts against the limit of its file system until it is gone. */
function countedInode(sb: super_block, mode: number, op: inode_operations, fop: file_operations): inode {
  const inode = new_inode(sb, mode, op, fop);
  sb.s_inodes++;
  inode.evict = uncount;
  return inode;
}
const uncount = (gone: inode): void => { gone.i_sb.s_inodes--; };

/** A regular file with an empty page cache. */
export function makeFile(sb: super_block, mode: number): inode {
  const inode = countedInode(sb, mode, fileInode, ramfs_file_operations);
  inode.i_private = new address_space(inode);
  inode.evict = evictFile;
  return inode;
}
function evictFile(gone: inode): void {
  (gone.i_private as address_space).truncate(0);
  uncount(gone);
}

function touch(dir: inode): void { dir.i_mtime = dir.i_ctime = current_time(); }

/** One name more in a directory, unless the file system has all it may have. */
function addName(dir: inode, d: dentry, make: () => inode): number {
  if (dir.i_sb.s_inodes >= dir.i_sb.s_maxInodes) return -ENOSPC;
  d.d_inode = make();
  touch(dir);
  return 0;
}

export const ramfs_dir_inode_operations: inode_operations = {
  unlink: simple_unlink,
  rmdir: simple_rmdir,
  rename: simple_rename,
  create: (dir, d, mode) => addName(dir, d, () => makeFile(dir.i_sb, mode)),
  mkdir: (dir, d, mode) => addName(dir, d, () => {
    dir.i_nlink++;
    return countedInode(dir.i_sb, S_IFDIR | mode, dir.i_op, dir.i_fop);
  }),
  mknod: (dir, d, mode, rdev) => addName(dir, d, () => {
    if (S_ISREG(mode)) return makeFile(dir.i_sb, mode);
    const node = countedInode(dir.i_sb, mode, special, {});
    node.i_rdev = rdev;
    return node;
  }),
  symlink: (dir, d, target) => addName(dir, d, () => makeSymlink(dir.i_sb, target)),
  link: (old, dir, d) => addName(dir, d, () => {
    old.d_inode!.i_nlink++;
    dir.i_sb.s_inodes++;
    return old.d_inode!;
  }),
};

function makeSymlink(sb: super_block, target: string): inode {
  const inode = countedInode(sb, S_IFLNK | 0o777, symlinkInode, {});
  inode.i_private = target;
  inode.i_size = utf8(target).length;
  return inode;
}

/** A fresh, empty file system made of dentries. */
export function memory_super_block(type: file_system_type, magic: number, mode = 0o755): super_block {
  const sb = new super_block(type, get_anon_bdev(), magic);
  sb.s_root = d_make_root(sb, new_inode(sb, S_IFDIR | mode, ramfs_dir_inode_operations, simple_dir_operations));
  return sb;
}

/** Gives the frames of every file back when a file system that nobody mounts any more goes. */
export function kill_litter_super(sb: super_block): void {
  // a chain of directories may be deeper than the host's stack
  const left = [sb.s_root];
  for (let d = left.pop(); d !== undefined; d = left.pop()) {
    for (const child of d.d_subdirs?.values() ?? []) left.push(child);
    d.d_inode?.evict_inode();
  }
}

const modeOption = (data: string, otherwise: number): number => {
  const found = /(?:^|,)mode=([0-7]+)/.exec(data);
  return found ? Number.parseInt(found[1]!, 8) : otherwise;
};

export const ramfs_type: file_system_type = {
  name: 'ramfs', nodev: true, kill_sb: kill_litter_super,
  mount: (_source, data) => memory_super_block(ramfs_type, RAMFS_MAGIC, modeOption(data, 0o755)),
};

/** Half of RAM, or what size= says: bytes with k, m or g, or a share of RAM with %. */
function sizeOption(data: string): number {
  const [, number, unit] = /(?:^|,)size=(\d+)([kmg%]?)/i.exec(data) ?? [undefined, '50', '%'];
  const factor = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }[unit!.toLowerCase()];
  return factor === undefined ? Math.floor((totalram_pages() * Number(number)) / 100) : Math.ceil((Number(number) * factor) / PAGE_SIZE);
}

/** Lets the files of a file system take so many pages and no more, and it have as many files as Linux's tmpfs lets one have. */
export function limit_pages(sb: super_block, pages: number): super_block {
  sb.s_maxPages = pages;
  sb.s_maxInodes = Math.floor(totalram_pages() / 2);
  sb.statfs = () => ({ blocks: pages, bfree: pages - sb.s_pages, bsize: PAGE_SIZE });
  return sb;
}

export const tmpfs_type: file_system_type = {
  name: 'tmpfs', nodev: true, kill_sb: kill_litter_super,
  mount: (_source, data) => limit_pages(memory_super_block(tmpfs_type, TMPFS_MAGIC, modeOption(data, 0o1777)), sizeOption(data)),
};

// ---- the initial tree

/** One entry of the initial tree: a directory, a symbolic link, or a file with its contents. Parents are made as needed. */
export type InitialEntry =
  | { readonly path: string; readonly directory: true; readonly mode?: number }
  | { readonly path: string; readonly target: string }
  | { readonly path: string; readonly contents: string | Uint8Array; readonly mode?: number };

/** Writes entries into a file system made of dentries, as unpacking an initramfs does. Later entries replace earlier ones. */
export function populate(root: dentry, entries: readonly InitialEntry[]): void {
  for (const entry of entries) {
    const names = entry.path.split('/').filter((name) => name !== '');
    const last = names.pop();
    if (last === undefined) continue;
    let dir = root;
    for (const name of names) dir = kernelMkdir(dir, name);
    if ('directory' in entry) {
      const made = kernelMkdir(dir, last);
      if (entry.mode !== undefined) made.d_inode!.i_mode = S_IFDIR | entry.mode;
    } else if ('target' in entry) kernelEntry(dir, last, makeSymlink(dir.d_sb, entry.target));
    else {
      const inode = makeFile(dir.d_sb, S_IFREG | (entry.mode ?? 0o644));
      const bytes = typeof entry.contents === 'string' ? utf8(entry.contents) : entry.contents;
      const n = (inode.i_private as address_space).write(kernelIter(bytes), 0);
      inode.i_size = Math.max(n, 0);
      kernelEntry(dir, last, inode);
    }
  }
}
