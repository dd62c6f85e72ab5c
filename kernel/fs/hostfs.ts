/**
 * hostfs: a directory of the real host as a file system. What --mount and `mount -t hostfs /dir /mnt` show.
 *
 * Linux: fs/hostfs/hostfs_kern.c (User Mode Linux)
 *
 * Nothing is cached, because the host changes its files behind our back: each name and each size is asked again. A path
 * goes to the host only as directory plus names that lookups have found, so links and '..' are resolved in here and
 * nothing outside the mounted directory can be reached.
 */
import { EINVAL, EIO, ENODEV, ENOENT, EOPNOTSUPP } from '../../abi/errno.ts';
import { O_ACCMODE, O_RDONLY, S_IFDIR, S_IFLNK, S_IFREG } from '../../abi/fcntl.ts';
import type { HostFiles, HostStat } from '../../machine/platform.ts';
import { machine } from '../current.ts';
import { page_bytes, __get_free_zeroed, put_page } from '../mm/page-alloc.ts';
import { PAGE_SIZE, VM_SHARED, VM_WRITE } from '../mm/types.ts';
import { d_make_root } from './dcache.ts';
import { dir_emit_dots, fs_umode_to_dtype } from './libfs.ts';
import { get_anon_bdev } from './namespace.ts';
import { generic_file_llseek } from './read-write.ts';
import { type dentry, type file, type file_operations, type file_system_type, type inode_operations, inode, super_block } from './types.ts';

const HOSTFS_SUPER_MAGIC = 0x00c0ffee;
const CHUNK = 1 << 20;

const host = (): HostFiles | undefined => machine().platform.hostFiles;
const pathOf = (node: inode): string => node.i_private as string;
const join = (dir: inode, d: dentry): string => (pathOf(dir).endsWith('/') ? pathOf(dir) + d.d_name : `${pathOf(dir)}/${d.d_name}`);

const KIND = { file: S_IFREG, directory: S_IFDIR, symlink: S_IFLNK, other: S_IFREG } as const;

function fill(node: inode, s: HostStat): void {
  node.i_mode = KIND[s.kind] | s.mode;
  node.i_size = s.size;
  node.i_nlink = s.nlink;
  node.i_atime = node.i_mtime = node.i_ctime = s.mtime;
}

function makeInode(sb: super_block, path: string, s: HostStat): inode {
  const fop = s.kind === 'directory' ? hostfs_dir_fops : s.kind === 'symlink' ? {} : hostfs_file_fops;
  const node = new inode(sb, KIND[s.kind] | s.mode, s.kind === 'directory' ? hostfs_dir_iops : hostfs_iops, fop, s.ino);
  node.i_private = path;
  fill(node, s);
  return node;
}

/** Asks the host for an inode, or -errno. */
function ask(sb: super_block, path: string): inode | number {
  const s = host()!.stat(path);
  return typeof s === 'number' ? s : makeInode(sb, path, s);
}

// ---- names

/** Does one thing on the host and binds the new name to what is there afterwards. */
function make(dir: inode, d: dentry, act: (files: HostFiles, path: string) => number): number {
  const path = join(dir, d);
  const done = act(host()!, path);
  if (done < 0) return done;
  const node = ask(dir.i_sb, path);
  if (typeof node === 'number') return node;
  d.d_inode = node;
  return 0;
}

const hostfs_iops: inode_operations = {
  readlink: (node) => host()!.readlink(pathOf(node)),
  getattr(node) {
    const s = host()!.stat(pathOf(node));
    if (typeof s !== 'number') fill(node, s);
  },
  setattr(node, change) {
    // the host takes sizes only; setting the size it has makes its time the present one
    const present = typeof change.mtime !== 'bigint' && typeof change.atime !== 'bigint';
    if (change.mode !== undefined || change.uid !== undefined || change.gid !== undefined || !present) return -EOPNOTSUPP;
    const handle = host()!.open(pathOf(node), true);
    if (handle < 0) return handle;
    if (change.size === undefined) node.i_op.getattr!(node);
    const size = change.size ?? node.i_size;
    const result = host()!.truncate(handle, size);
    host()!.close(handle);
    if (result < 0) return result;
    node.i_size = size;
    return 0;
  },
};

const hostfs_dir_iops: inode_operations = {
  ...hostfs_iops,
  lookup(dir, d) {
    const found = ask(dir.i_sb, join(dir, d));
    return found === -ENOENT ? undefined : found;
  },
  create: (dir, d, mode) => make(dir, d, (files, path) => files.create(path, mode & 0o777)),
  mkdir: (dir, d, mode) => make(dir, d, (files, path) => files.mkdir(path, mode & 0o777)),
  unlink: (dir, d) => host()!.unlink(join(dir, d)),
  rmdir: (dir, d) => host()!.rmdir(join(dir, d)),
  rename(oldDir, old, newDir, target) {
    const to = join(newDir, target);
    const done = host()!.rename(join(oldDir, old), to);
    if (done === 0) old.d_inode!.i_private = to;
    return done;
  },
};

// ---- files

const handleOf = (f: file): number => f.private_data as number;

const hostfs_file_fops: file_operations = {
  open(node, f) {
    const handle = host()!.open(pathOf(node), (f.f_flags & O_ACCMODE) !== O_RDONLY);
    if (handle < 0) return handle;
    f.private_data = handle;
    node.i_op.getattr!(node);
    return 0;
  },
  release(_node, f) { host()!.close(handleOf(f)); },
  read(f, to, pos) {
    let done = 0;
    while (to.count > 0) {
      const buffer = new Uint8Array(Math.min(to.count, CHUNK));
      const n = host()!.read(handleOf(f), buffer, pos + done);
      if (n <= 0) return done || n;
      const moved = to.copy_to(buffer.subarray(0, n));
      if (moved < 0) return done || moved;
      done += moved;
      if (moved < buffer.length) break;
    }
    return done;
  },
  write(f, from, pos) {
    let done = 0;
    while (from.count > 0) {
      const buffer = new Uint8Array(Math.min(from.count, CHUNK));
      const got = from.copy_from(buffer);
      if (got < 0) return done || got;
      const n = host()!.write(handleOf(f), buffer.subarray(0, got), pos + done);
      if (n < 0) return done || n;
      done += n;
      if (n < buffer.length) break;
    }
    const node = f.f_inode;
    if (pos + done > node.i_size) node.i_size = pos + done;
    return done;
  },
  llseek(f, offset, whence) {
    f.f_inode.i_op.getattr!(f.f_inode);
    return generic_file_llseek(f, offset, whence);
  },
  /** Pages are read from the host when touched. Writes of a shared mapping could not be carried back, so there is none. */
  mmap(f, vma) {
    if ((vma.vm_flags & VM_SHARED) !== 0 && (vma.vm_flags & VM_WRITE) !== 0) return -ENODEV;
    const { i_size } = f.f_inode;
    vma.vm_ops = {
      fault(area, pgoff) {
        if (pgoff * PAGE_SIZE >= i_size) return -EINVAL;
        const pfn = __get_free_zeroed();
        if (pfn < 0) return pfn;
        const n = host()!.read(handleOf(area.vm_file!), page_bytes(pfn), pgoff * PAGE_SIZE);
        if (n >= 0) return pfn;
        put_page(pfn);
        return -EIO;
      },
    };
    return 0;
  },
  fsync: () => 0,
};

const hostfs_dir_fops: file_operations = {
  llseek: generic_file_llseek,
  /** The listing is taken when reading starts; positions 2 and up are its lines. */
  iterate_shared(f, emit) {
    if (!dir_emit_dots(f, emit)) return 0;
    if (f.f_pos === 2 || !Array.isArray(f.private_data)) {
      const names = host()!.readdir(pathOf(f.f_inode));
      if (typeof names === 'number') return names;
      f.private_data = names;
    }
    const names = f.private_data as string[];
    for (let i = f.f_pos - 2; i < names.length; i++) {
      const s = host()!.stat(`${pathOf(f.f_inode)}/${names[i]!}`);
      if (typeof s !== 'number' && !emit(names[i]!, s.ino, fs_umode_to_dtype(KIND[s.kind]), i + 3)) return 0;
      f.f_pos = i + 3;
    }
    return 0;
  },
};

export const hostfs_type: file_system_type = {
  name: 'hostfs', nodev: true,
  mount(source) {
    if (host() === undefined) return -ENODEV;
    if (!source.startsWith('/') && !/^[A-Za-z]:/.test(source)) return -EINVAL;
    const sb = new super_block(hostfs_type, get_anon_bdev(), HOSTFS_SUPER_MAGIC);
    sb.s_volatile = true;
    const root = ask(sb, source);
    if (typeof root === 'number') return root;
    sb.s_root = d_make_root(sb, root);
    return sb;
  },
};
