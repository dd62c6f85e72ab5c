/**
 * /proc/sys: settings as files, one row each.
 *
 * Linux: kernel/sysctl.c, fs/proc/proc_sysctl.c, Documentation/admin-guide/sysctl/
 */
import { EINVAL, EPERM } from '../../../abi/errno.ts';
import { kernelVariable } from '../../current.ts';
import { log } from '../../printk.ts';
import { nodename } from '../../sys.ts';
import { NAME, RELEASE, VERSION } from '../../version.ts';
import { files_stat } from '../file.ts';
import { proc_create_single, proc_mkdir } from './root.ts';

interface Setting { readonly path: string; readonly get: () => string; readonly set?: (text: string) => number }

const numbers = kernelVariable(() => new Map<string, number>());

/** A number that is only remembered and reported: what it governs in Linux has no counterpart here. */
const remembered = (path: string, initial: number): Setting => ({
  path,
  get: () => String(numbers().get(path) ?? initial),
  set(text) {
    if (!/^-?\d+$/.test(text)) return -EINVAL;
    numbers().set(path, Number(text));
    return 0;
  },
});

const settings: readonly Setting[] = [
  { path: 'kernel/ostype', get: () => NAME },
  { path: 'kernel/osrelease', get: () => RELEASE },
  { path: 'kernel/version', get: () => VERSION },
  { path: 'kernel/hostname', get: nodename },
  { path: 'kernel/pid_max', get: () => '32768' },
  { path: 'kernel/threads-max', get: () => '4096' },
  {
    path: 'kernel/printk', get: () => `${log().console_loglevel}\t4\t1\t7`,
    set(text) {
      const level = Number(text.split(/\s+/)[0]);
      if (!Number.isInteger(level)) return -EINVAL;
      log().console_loglevel = level;
      return 0;
    },
  },
  { path: 'kernel/sched_rr_timeslice_ms', get: () => '100' },
  { path: 'kernel/random/entropy_avail', get: () => '256' },
  { path: 'fs/file-max', get: () => String(files_stat().max_files) },
  { path: 'fs/file-nr', get: () => `${files_stat().nr_files}\t0\t${files_stat().max_files}` },
  { path: 'fs/nr_open', get: () => '1048576' },
  { path: 'fs/pipe-max-size', get: () => '1048576' },
  remembered('vm/overcommit_memory', 1),
  remembered('vm/swappiness', 60),
];

export function proc_sys_init(): void {
  for (const { path, get, set } of settings) {
    const cut = path.lastIndexOf('/');
    const store = set === undefined ? () => -EPERM : (text: string) => set(text.trim());
    proc_create_single(path.slice(cut + 1), set === undefined ? 0o444 : 0o644, () => `${get()}\n`, store, proc_mkdir(`sys/${path.slice(0, cut)}`));
  }
}
