/**
 * /proc/<pid> and /proc/<pid>/task/<tid>: one row an entry.
 *
 * Linux: fs/proc/base.c
 */
import { ENOENT, ESRCH } from '../../../abi/errno.ts';
import { DT_DIR, DT_LNK, DT_REG, S_IFDIR, S_IFLNK, S_IFREG } from '../../../abi/fcntl.ts';
import { fromUtf8 } from '../../../lib/text.ts';
import { find_task_by_vpid } from '../../pid.ts';
import { access_process_vm } from '../../mm/uaccess.ts';
import { totalram_pages } from '../../mm/page-alloc.ts';
import type { task_struct } from '../../sched/types.ts';
import { TASK_RUNNING } from '../../sched/types.ts';
import { d_path } from '../dcache.ts';
import { TEXT_FILE, dir_emit_dots, new_inode, textFile } from '../libfs.ts';
import { show_mountinfo, show_mounts } from '../namespace.ts';
import { generic_file_llseek } from '../read-write.ts';
import type { file_operations, inode, inode_operations, path, super_block } from '../types.ts';
import { proc_pid_limits, proc_pid_sched, proc_pid_schedstat, proc_pid_statm, proc_pid_status, proc_pid_syscall, proc_tgid_stat, proc_tid_stat } from './array.ts';
import { fd_directory, fdinfo_directory } from './fd.ts';
import { proc_pid_maps, proc_pid_smaps, proc_pid_smaps_rollup } from './task-mmu.ts';
import { root_of } from './util.ts';

/** What an inode below a task's directory keeps. */
export interface proc_inode { readonly task: task_struct }
export const taskOf = (node: inode): task_struct => (node.i_private as proc_inode).task;

/** Has the task been collected by its parent? Its files then answer ESRCH, its names are gone. */
export const isGone = (task: task_struct): boolean => find_task_by_vpid(task.pid) !== task;

type Show = (task: task_struct) => string | number;
interface Entry {
  readonly name: string;
  readonly mode: number;
  /** Makes the inode; the task is known to be there. */
  make(sb: super_block, task: task_struct): inode;
}

function withTask(node: inode, task: task_struct): inode {
  node.i_private = { task } satisfies proc_inode;
  return node;
}

const file = (name: string, mode: number, show: Show, store?: (text: string, task: task_struct) => number): Entry => {
  const alive = <T>(then: (task: task_struct) => T) => (node: inode): T | number => (isGone(taskOf(node)) ? -ESRCH : then(taskOf(node)));
  const fops = textFile(alive(show), store && ((text, node) => alive((task) => store(text, task))(node)));
  return { name, mode: S_IFREG | mode, make: (sb, task) => withTask(new_inode(sb, S_IFREG | mode, TEXT_FILE, fops), task) };
};

const link = (name: string, target: (task: task_struct) => path | undefined): Entry => {
  const get = (node: inode): path | number => (isGone(taskOf(node)) ? -ESRCH : target(taskOf(node)) ?? -ENOENT);
  const iops: inode_operations = {
    get_link: get,
    readlink(node) {
      const at = get(node);
      return typeof at === 'number' ? at : d_path(at, root_of());
    },
  };
  return { name, mode: S_IFLNK | 0o777, make: (sb, task) => withTask(new_inode(sb, S_IFLNK | 0o777, iops, {}), task) };
};

const directory = (name: string, mode: number, iops: inode_operations, fops: file_operations): Entry => ({
  name, mode: S_IFDIR | mode, make: (sb, task) => withTask(new_inode(sb, S_IFDIR | mode, iops, fops), task),
});

// ---- contents

function memory(task: task_struct, start: number, end: number): string {
  const bytes = new Uint8Array(Math.max(0, end - start));
  return access_process_vm(task, start, bytes, false) === 0 ? fromUtf8(bytes) : '';
}

const cmdline: Show = (task) => (task.mm === undefined ? '' : memory(task, task.mm.arg_start, task.mm.arg_end));
const environ: Show = (task) => (task.mm === undefined ? '' : memory(task, task.mm.env_start, task.mm.env_end));

function set_comm(text: string, task: task_struct): number {
  task.comm = text.replace(/[\n\0].*$/s, '').slice(0, 15);
  return 0;
}

/** The kernel function a sleeping task waits in, 0 when it runs. */
const wchan: Show = (task) => (task.__state === TASK_RUNNING || task.wchan === '' ? '0' : task.wchan);

/** Share of RAM in thousandths, scaled so that half of the range is left for adjustments. */
function oom_score(task: task_struct): string {
  const { mm } = task;
  if (mm === undefined) return '0\n';
  const points = mm.rss_anon + mm.rss_file + mm.rss_shmem + mm.pgtables;
  return `${Math.floor(((1000 + Math.floor((points * 1000) / totalram_pages())) * 2) / 3)}\n`;
}

/** Entries that processes and threads have alike. */
const common: readonly Entry[] = [
  directory('fd', 0o500, fd_directory.iops, fd_directory.fops),
  directory('fdinfo', 0o555, fdinfo_directory.iops, fdinfo_directory.fops),
  file('environ', 0o400, environ),
  file('status', 0o444, proc_pid_status),
  file('personality', 0o400, () => '00000000\n'),
  file('limits', 0o444, proc_pid_limits),
  file('sched', 0o644, proc_pid_sched),
  file('comm', 0o644, (task) => `${task.comm}\n`, set_comm),
  file('syscall', 0o400, proc_pid_syscall),
  file('cmdline', 0o444, cmdline),
  file('statm', 0o444, proc_pid_statm),
  file('maps', 0o444, proc_pid_maps),
  file('smaps', 0o444, proc_pid_smaps),
  file('smaps_rollup', 0o444, proc_pid_smaps_rollup),
  file('mounts', 0o444, (task) => show_mounts(task.fs?.root ?? root_of())),
  file('mountinfo', 0o444, (task) => show_mountinfo(task.fs?.root ?? root_of())),
  link('cwd', (task) => task.fs?.pwd),
  link('root', (task) => task.fs?.root),
  link('exe', (task) => task.mm?.exe_file?.f_path),
  file('wchan', 0o444, wchan),
  file('schedstat', 0o444, proc_pid_schedstat),
  file('oom_score', 0o444, oom_score),
];

const tid_entries: readonly Entry[] = [...common, file('stat', 0o444, proc_tid_stat)];

// ---- directories

function tableDirectory(entries: () => readonly Entry[]): { iops: inode_operations; fops: file_operations } {
  return {
    iops: {
      lookup(dir, d) {
        const task = taskOf(dir);
        const entry = entries().find((e) => e.name === d.d_name);
        return entry === undefined || isGone(task) ? -ENOENT : entry.make(dir.i_sb, task);
      },
    },
    fops: {
      llseek: generic_file_llseek,
      iterate_shared(f, emit) {
        if (isGone(taskOf(f.f_inode))) return -ENOENT;
        if (!dir_emit_dots(f, emit)) return 0;
        for (let i = f.f_pos - 2; i < entries().length; i++) {
          const { name, mode } = entries()[i]!;
          const kind = mode & 0o170000;
          if (!emit(name, taskOf(f.f_inode).pid * 256 + i, kind === S_IFDIR ? DT_DIR : kind === S_IFLNK ? DT_LNK : DT_REG, i + 3)) return 0;
          f.f_pos = i + 3;
        }
        return 0;
      },
    },
  };
}

const task_iops: inode_operations = {
  lookup(dir, d) {
    const thread = /^[1-9]\d*$/.test(d.d_name) ? find_task_by_vpid(Number(d.d_name)) : undefined;
    return thread === undefined || thread.tgid !== taskOf(dir).tgid ? -ENOENT : proc_pid_inode(dir.i_sb, thread, false);
  },
  getattr(node) { node.i_nlink = 2 + taskOf(node).signal.threads.length; },
};
const task_fops: file_operations = {
  llseek: generic_file_llseek,
  iterate_shared(f, emit) {
    const leader = taskOf(f.f_inode);
    if (isGone(leader)) return -ENOENT;
    if (!dir_emit_dots(f, emit)) return 0;
    const threads = leader.signal.threads.map((t) => t.pid).sort((a, b) => a - b);
    for (const tid of threads) {
      if (tid + 2 < f.f_pos) continue;
      if (!emit(String(tid), tid * 256, DT_DIR, tid + 3)) return 0;
      f.f_pos = tid + 3;
    }
    return 0;
  },
};

const tgid_entries: readonly Entry[] = [directory('task', 0o555, task_iops, task_fops), ...common, file('stat', 0o444, proc_tgid_stat)];

const tgid_directory = tableDirectory(() => tgid_entries);
const tid_directory = tableDirectory(() => tid_entries);

/** The directory of a process (`whole`) or of one thread. */
export function proc_pid_inode(sb: super_block, task: task_struct, whole: boolean): inode {
  const { iops, fops } = whole ? tgid_directory : tid_directory;
  return withTask(new_inode(sb, S_IFDIR | 0o555, iops, fops), task);
}
