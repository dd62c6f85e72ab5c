/**
 * debugfs and tracefs: trees of small files that other parts of the kernel fill while they run.
 *
 * Linux: fs/debugfs/inode.c, fs/tracefs/inode.c, Documentation/filesystems/debugfs.rst
 *
 * Both trees exist from the start and outlive their mounts; user space can neither make nor remove names in them.
 */
import { S_IFDIR } from '../../abi/fcntl.ts';
import { kernelVariable } from '../current.ts';
import { d_drop, d_make_root } from './dcache.ts';
import { engine_fops } from './engine-debugfs.ts';
import { kernelEntry, kernelFile, kernelMkdir, new_inode, simple_dir_operations, textFile } from './libfs.ts';
import { get_anon_bdev } from './namespace.ts';
import { tracefs_init } from './tracefs.ts';
import { type dentry, type file_operations, type file_system_type, super_block } from './types.ts';

/** A file system of one tree that the kernel alone writes names into; `fill` makes what is there when it is first mounted. */
function kernelTree(name: string, magic: number, fill: () => void = () => {}): { type: file_system_type; root: () => dentry } {
  const sb = kernelVariable(() => {
    const made = new super_block(type, get_anon_bdev(), magic);
    made.s_root = d_make_root(made, new_inode(made, S_IFDIR | 0o700, {}, simple_dir_operations));
    return made;
  });
  const filled = kernelVariable(() => {
    fill();
    return true;
  });
  const type: file_system_type = { name, nodev: true, mount: () => { filled(); return sb(); } };
  return { type, root: () => sb().s_root };
}

const debugfs = kernelTree('debugfs', 0x64626720, () => { debugfs_create_file('engine', 0o444, debugfs_create_dir('vitrine'), engine_fops); });
const tracefs = kernelTree('tracefs', 0x74726163, () => tracefs_init());
export const debugfs_type = debugfs.type;
export const tracefs_type = tracefs.type;
export const debugfs_root = debugfs.root;
export const tracefs_root = tracefs.root;

/** A directory; `parent` undefined means the root of debugfs. */
export const debugfs_create_dir = (name: string, parent?: dentry): dentry => kernelMkdir(parent ?? debugfs_root(), name);

/** A directory whose files `fill` makes when somebody first looks into it: most are never looked into. */
export function debugfs_create_dir_unfilled(name: string, parent: dentry, fill: (dir: dentry) => void): dentry {
  let filled = false;
  const look = (): void => {
    if (filled || dir.d_unhashed) return;
    filled = true;
    fill(dir);
    const { i_atime, i_mtime, i_ctime } = node;
    for (const file of dir.d_subdirs?.values() ?? []) Object.assign(file.d_inode!, { i_atime, i_mtime, i_ctime });
  };
  const node = new_inode(parent.d_sb, S_IFDIR | 0o755, {
    lookup: (_node, child) => {
      look();
      return dir.d_subdirs?.get(child.d_name)?.d_inode;
    },
  }, {
    ...simple_dir_operations,
    iterate_shared: (f, emit) => {
      look();
      return simple_dir_operations.iterate_shared!(f, emit);
    },
  });
  const dir = kernelEntry(parent, name, node);
  parent.d_inode!.i_nlink++;
  return dir;
}

export const debugfs_create_file = (name: string, mode: number, parent: dentry | undefined, fops: file_operations): dentry =>
  kernelFile(parent ?? debugfs_root(), name, mode, fops);

/** A file that shows a number, and takes one when `set` is given. */
export function debugfs_create_u64(name: string, mode: number, parent: dentry | undefined, get: () => number | bigint, set?: (value: bigint) => number): dentry {
  const store = set && ((text: string) => (/^\s*(0x[0-9a-f]+|\d+)\s*$/i.test(text) ? set(BigInt(text.trim())) : -22));
  return debugfs_create_file(name, mode, parent, textFile(() => `${get()}\n`, store));
}

/** Takes a file or a whole directory away; files that are open stay readable. */
export function debugfs_remove(entry: dentry): void {
  for (const child of [...(entry.d_subdirs?.values() ?? [])]) debugfs_remove(child);
  if (entry.d_inode !== undefined && entry.d_parent !== entry) {
    if ((entry.d_inode.i_mode & S_IFDIR) === S_IFDIR) entry.d_parent.d_inode!.i_nlink--;
    entry.d_inode.i_nlink = 0;
    d_drop(entry);
  }
}

export const tracefs_create_dir = (name: string, parent?: dentry): dentry => kernelMkdir(parent ?? tracefs_root(), name);
export const tracefs_create_file = (name: string, mode: number, parent: dentry | undefined, fops: file_operations): dentry =>
  kernelFile(parent ?? tracefs_root(), name, mode, fops);
