/**
 * /proc/<pid>/fd and fdinfo.
 *
 * Linux: fs/proc/fd.c
 */
import { ENOENT, ESRCH } from '../../../abi/errno.ts';
import { DT_LNK, DT_REG, O_CLOEXEC, S_IFLNK, S_IFREG } from '../../../abi/fcntl.ts';
import { find_task_by_vpid } from '../../pid.ts';
import type { task_struct } from '../../sched/types.ts';
import { d_path } from '../dcache.ts';
import { fd_lookup } from '../file.ts';
import { dir_emit_dots, new_inode, textFile } from '../libfs.ts';
import { generic_file_llseek } from '../read-write.ts';
import { FMODE_READ, FMODE_WRITE, type file, type file_operations, type inode, type inode_operations } from '../types.ts';
import { root_of } from './util.ts';

interface FdInode { readonly task: task_struct; readonly fd: number }

/** The open file such an inode stands for now, or -errno. */
function fileOf(node: inode): file | number {
  const { task, fd } = node.i_private as FdInode;
  if (find_task_by_vpid(task.pid) !== task || task.files === undefined) return -ESRCH;
  return fd_lookup(task.files, fd) ?? -ENOENT;
}

const link_iops: inode_operations = {
  get_link(node) {
    const f = fileOf(node);
    return typeof f === 'number' ? f : f.f_path;
  },
  readlink(node) {
    const f = fileOf(node);
    return typeof f === 'number' ? f : d_path(f.f_path, root_of());
  },
  getattr: permissions,
};

/** Readable and writable as the descriptor is. */
function permissions(node: inode): void {
  const f = fileOf(node);
  if (typeof f === 'number') return;
  node.i_mode = S_IFLNK | ((f.f_mode & FMODE_READ) !== 0 ? 0o500 : 0) | ((f.f_mode & FMODE_WRITE) !== 0 ? 0o300 : 0);
  node.i_size = 64;
}

const fdinfo_fops = textFile((node) => {
  const f = fileOf(node);
  if (typeof f === 'number') return f;
  const { task, fd } = node.i_private as FdInode;
  const flags = f.f_flags | (task.files!.close_on_exec[fd] === 1 ? O_CLOEXEC : 0);
  const head = `pos:\t${Math.max(0, f.f_pos)}\nflags:\t0${flags.toString(8)}\nmnt_id:\t${f.f_path.mnt.mnt_id}\nino:\t${f.f_inode.i_ino}\n`;
  return head + (f.f_op.show_fdinfo?.(f) ?? '');
});

function numbered(mode: number, type: number, iops: inode_operations, fops: file_operations): { iops: inode_operations; fops: file_operations } {
  return {
    iops: {
      lookup(dir, d) {
        const { task } = dir.i_private as { task: task_struct };
        const fd = /^(0|[1-9]\d*)$/.test(d.d_name) ? Number(d.d_name) : -1;
        if (task.files === undefined || fd_lookup(task.files, fd) === null) return -ENOENT;
        const node = new_inode(dir.i_sb, mode, iops, fops);
        node.i_private = { task, fd } satisfies FdInode;
        iops.getattr?.(node);
        return node;
      },
    },
    fops: {
      llseek: generic_file_llseek,
      iterate_shared(f, emit) {
        if (!dir_emit_dots(f, emit)) return 0;
        const { task } = f.f_inode.i_private as { task: task_struct };
        const table = task.files?.fd ?? [];
        for (let fd = f.f_pos - 2; fd < table.length; fd++) {
          if (table[fd] !== null && !emit(String(fd), task.pid * 256 + 128 + fd, type, fd + 3)) return 0;
          f.f_pos = fd + 3;
        }
        return 0;
      },
    },
  };
}

export const fd_directory = numbered(S_IFLNK | 0o700, DT_LNK, link_iops, {});
export const fdinfo_directory = numbered(S_IFREG | 0o444, DT_REG, {}, fdinfo_fops);
