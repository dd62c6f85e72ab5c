/**
 * What file systems that live in memory share: directories made of dentries, small files made of text.
 *
 * Linux: fs/libfs.c, fs/seq_file.c
 */
import { EINVAL, ENOTEMPTY } from '../../abi/errno.ts';
import {
  DT_BLK, DT_CHR, DT_DIR, DT_FIFO, DT_LNK, DT_REG, DT_SOCK, DT_UNKNOWN, SEEK_CUR, SEEK_SET, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG,
  S_IFSOCK,
} from '../../abi/fcntl.ts';
import { fromUtf8, utf8 } from '../../lib/text.ts';
import type { MaySleep } from '../sched/types.ts';
import { d_add } from './dcache.ts';
import { current_time, drop_nlink } from './inode.ts';
import type { iov_iter } from './iov-iter.ts';
import { generic_file_llseek, generic_file_llseek_size } from './read-write.ts';
import { type DirEmit, type file, type file_operations, type inode_operations, type super_block, dentry, inode } from './types.ts';

const DT: Record<number, number> = {
  [S_IFIFO]: DT_FIFO, [S_IFCHR]: DT_CHR, [S_IFDIR]: DT_DIR, [S_IFBLK]: DT_BLK, [S_IFREG]: DT_REG, [S_IFLNK]: DT_LNK, [S_IFSOCK]: DT_SOCK,
};
/** The type a directory entry shows for a mode. */
export const fs_umode_to_dtype = (mode: number): number => DT[mode & S_IFMT] ?? DT_UNKNOWN;

/** `.` and `..` at positions 0 and 1. False when the buffer is full. */
export function dir_emit_dots(f: file, emit: DirEmit): boolean {
  const at = f.f_path.dentry;
  if (f.f_pos === 0) {
    if (!emit('.', at.d_inode!.i_ino, DT_DIR, 1)) return false;
    f.f_pos = 1;
  }
  if (f.f_pos === 1) {
    if (!emit('..', at.d_parent.d_inode!.i_ino, DT_DIR, 2)) return false;
    f.f_pos = 2;
  }
  return true;
}

/** A directory whose entries are the children of its dentry. */
export const simple_dir_operations: file_operations = {
  llseek: (f, offset, whence) => (whence === SEEK_SET || whence === SEEK_CUR ? generic_file_llseek(f, offset, whence) : -EINVAL),
  iterate_shared(f, emit) {
    if (!dir_emit_dots(f, emit)) return 0;
    // An entry's position is fixed when it is made, so that a listing goes on rightly while names come and go.
    const children = f.f_path.dentry.d_subdirs;
    if (children === undefined) return 0;
    for (const child of children.values()) {
      if (child.d_pos < f.f_pos || child.d_inode === undefined) continue;
      if (!emit(child.d_name, child.d_inode.i_ino, fs_umode_to_dtype(child.d_inode.i_mode), child.d_pos + 1)) return 0;
      f.f_pos = child.d_pos + 1;
    }
    return 0;
  },
};

export const simple_empty = (d: dentry): boolean => d.d_subdirs === undefined || d.d_subdirs.size === 0;

/** New inode in the file system of `sb`, with all times now. */
export function new_inode(sb: super_block, mode: number, op: inode_operations, fop: file_operations): inode {
  const i = new inode(sb, mode, op, fop);
  i.i_atime = i.i_mtime = i.i_ctime = current_time();
  if ((mode & S_IFMT) === S_IFDIR) i.i_nlink = 2;
  return i;
}

// unlink, rmdir and rename of file systems made of dentries

export function simple_unlink(dir: inode, d: dentry): number {
  dir.i_mtime = dir.i_ctime = current_time();
  drop_nlink(d.d_inode!);
  return 0;
}

export function simple_rmdir(dir: inode, d: dentry): number {
  if (!simple_empty(d)) return -ENOTEMPTY;
  dir.i_nlink--;
  dir.i_mtime = dir.i_ctime = current_time();
  drop_nlink(d.d_inode!);
  return 0;
}

export function simple_rename(oldDir: inode, old: dentry, newDir: inode, target: dentry): number {
  const isDirectory = (old.d_inode!.i_mode & S_IFMT) === S_IFDIR;
  if (target.d_inode !== undefined) {
    if (isDirectory && !simple_empty(target)) return -ENOTEMPTY;
    if (isDirectory) newDir.i_nlink--;
    drop_nlink(target.d_inode);
  }
  if (isDirectory && oldDir !== newDir) { oldDir.i_nlink--; newDir.i_nlink++; }
  const now = current_time();
  oldDir.i_mtime = oldDir.i_ctime = newDir.i_mtime = newDir.i_ctime = old.d_inode!.i_ctime = now;
  return 0;
}

// ---- files of text, made anew at each open

/** A read that serves a byte array. */
export function simple_read_from_buffer(to: iov_iter, pos: number, bytes: Uint8Array): number {
  return pos >= bytes.length ? 0 : to.copy_to(bytes.subarray(pos));
}

/**
 * A file whose text `show` makes when it is first read and again after a seek to the start; `store` takes one write
 * and answers 0 or -errno. What seq_file, single_open and sysfs attributes are in Linux.
 */
export function textFile(show: ((inode: inode) => string | number) | undefined, store?: (text: string, inode: inode) => number | MaySleep<number>): file_operations {
  const ops: file_operations = {
    llseek: (f, offset, whence) => generic_file_llseek_size(f, offset, whence, f.f_inode.i_size),
  };
  if (show !== undefined) {
    ops.read = (f, to, pos) => {
      if (pos === 0 || !(f.private_data instanceof Uint8Array)) {
        const text = show(f.f_inode);
        if (typeof text === 'number') return text;
        f.private_data = utf8(text);
      }
      return simple_read_from_buffer(to, pos, f.private_data as Uint8Array);
    };
  }
  if (store !== undefined) {
    ops.write = (f, from) => {
      const bytes = new Uint8Array(Math.min(from.count, 65536));
      const n = from.copy_from(bytes);
      if (n < 0) return n;
      const result = store(fromUtf8(bytes.subarray(0, n)), f.f_inode);
      if (typeof result !== 'number') return stored(result, n);
      return result < 0 ? result : n;
    };
  }
  return ops;
}
function* stored(storing: MaySleep<number>, n: number): MaySleep<number> {
  const result = yield* storing;
  return result < 0 ? result : n;
}

// ---- trees that the kernel itself fills

/** Files without contents of their own: emptying one, as `echo 1 >file` does, changes nothing. */
export const TEXT_FILE: inode_operations = { setattr: () => 0 };

/** A directory of `parent`, made when it is not there yet. The kernel's own way into a file system of dentries. */
export function kernelMkdir(parent: dentry, name: string, mode = 0o755): dentry {
  const known = parent.d_subdirs?.get(name);
  if (known !== undefined) return known;
  const above = parent.d_inode!;
  above.i_nlink++;
  return kernelEntry(parent, name, new_inode(parent.d_sb, S_IFDIR | mode, above.i_op, above.i_fop));
}

/** A name for an inode, in place of what had it. */
export function kernelEntry(parent: dentry, name: string, node: inode): dentry {
  const child = new dentry(name, parent, parent.d_sb, node);
  d_add(child, node);
  return child;
}

/** A text file of `parent`. */
export function kernelFile(parent: dentry, name: string, mode: number, ops: file_operations, op: inode_operations = TEXT_FILE): dentry {
  return kernelEntry(parent, name, new_inode(parent.d_sb, S_IFREG | mode, op, ops));
}
