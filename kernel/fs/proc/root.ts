/**
 * proc: the kernel's state as files. Here: the file system itself and the registry of its system-wide entries.
 *
 * Linux: fs/proc/root.c, fs/proc/generic.c
 *
 * Entries that anyone registered are dentries and stay; directories of tasks are made anew at each lookup, so they
 * always tell of the tasks there are.
 */
import { ENOENT } from '../../../abi/errno.ts';
import { DT_DIR, S_IFDIR, S_IFLNK } from '../../../abi/fcntl.ts';
import { current, kernelVariable } from '../../current.ts';
import { find_task_by_vpid, for_each_process } from '../../pid.ts';
import { d_make_root } from '../dcache.ts';
import { kernelEntry, kernelFile, new_inode, simple_dir_operations, textFile } from '../libfs.ts';
import { get_anon_bdev } from '../namespace.ts';
import { type dentry, type file_operations, type file_system_type, type inode, type inode_operations, super_block } from '../types.ts';
import { proc_pid_inode } from './base.ts';
import { proc_sys_init } from './sysctl.ts';
import { proc_system_init } from './system.ts';

export const PROC_SUPER_MAGIC = 0x9fa0;

/** Positions of tasks in the root's listing: their number above this. */
const FIRST_PROCESS_ENTRY = 0x10000;

const root_iops: inode_operations = {
  lookup(dir, d) {
    if (!/^[1-9]\d*$/.test(d.d_name)) return -ENOENT;
    const task = find_task_by_vpid(Number(d.d_name));
    return task === undefined ? -ENOENT : proc_pid_inode(dir.i_sb, task, true);
  },
};

const root_fops: file_operations = {
  ...simple_dir_operations,
  iterate_shared(f, emit) {
    if (f.f_pos < FIRST_PROCESS_ENTRY) {
      let full = false;
      simple_dir_operations.iterate_shared!(f, (...entry) => {
        const taken = emit(...entry);
        full = !taken;
        return taken;
      });
      if (full) return 0;
      f.f_pos = FIRST_PROCESS_ENTRY;
    }
    for (const task of for_each_process()) {
      const position = FIRST_PROCESS_ENTRY + task.pid;
      if (position < f.f_pos) continue;
      if (!emit(String(task.pid), position, DT_DIR, position + 1)) return 0;
      f.f_pos = position + 1;
    }
    return 0;
  },
};

const link = (target: () => string): inode_operations => ({ readlink: target });

const proc_sb = kernelVariable<super_block>(() => {
  const sb = new super_block(proc_type, get_anon_bdev(), PROC_SUPER_MAGIC);
  sb.s_volatile = true;
  sb.s_root = d_make_root(sb, new_inode(sb, S_IFDIR | 0o555, root_iops, root_fops));
  const symlink = (name: string, target: () => string) => kernelEntry(sb.s_root, name, new_inode(sb, S_IFLNK | 0o777, link(target), {}));
  symlink('self', () => String(current().tgid));
  symlink('thread-self', () => `${current().tgid}/task/${current().pid}`);
  symlink('mounts', () => 'self/mounts');
  return sb;
});

/** Entries of Linux that the kernel always has; made when proc is first looked at, as they need the whole kernel. */
const filled = kernelVariable(() => {
  proc_system_init();
  proc_sys_init();
  return true;
});

export const proc_type: file_system_type = { name: 'proc', nodev: true, mount: () => { filled(); return proc_sb(); } };

const dirInode = (dir: dentry): inode => new_inode(dir.d_sb, S_IFDIR | 0o555, { lookup: () => -ENOENT }, simple_dir_operations);

/** A directory by its path below /proc. */
export function proc_mkdir(path: string): dentry {
  let dir = proc_sb().s_root;
  for (const name of path.split('/')) if (name !== '') dir = dir.d_subdirs?.get(name) ?? kernelEntry(dir, name, dirInode(dir));
  return dir;
}

/** A file with operations of its own. */
export const proc_create = (name: string, mode: number, parent: dentry | undefined, fops: file_operations): dentry =>
  kernelFile(parent ?? proc_sb().s_root, name, mode, fops);

/** A file whose text is made at each reading. */
export const proc_create_single = (name: string, mode: number, show: () => string, store?: (text: string) => number, parent?: dentry): dentry =>
  proc_create(name, mode, parent, textFile(show, store));
