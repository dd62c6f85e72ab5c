/**
 * Brings up the file systems and the devices that are always there.
 *
 * Linux: init/do_mounts.c, fs/dcache.c (vfs_caches_init), drivers/base/init.c
 */
import { chr_dev_init } from '../drivers/char/mem.ts';
import { serial8250_init } from '../drivers/tty/8250.ts';
import { tty_init } from '../drivers/tty/tty_io.ts';
import { totalram_pages } from '../mm/page-alloc.ts';
import { debugfs_type, tracefs_type } from './debugfs.ts';
import { devtmpfs_type } from './devtmpfs.ts';
import { hostfs_type } from './hostfs.ts';
import { kernelMkdir } from './libfs.ts';
import { attach, do_new_mount, new_fs_struct, register_filesystem } from './namespace.ts';
import { proc_type } from './proc/root.ts';
import { type InitialEntry, RAMFS_MAGIC, limit_pages, memory_super_block, populate, ramfs_type, tmpfs_type } from './ramfs.ts';
import { root_path, set_root_path } from './root-path.ts';
import { sysfs_type } from './sysfs.ts';
import type { file_system_type, fs_struct, super_block } from './types.ts';

/** What the initial tree is unpacked into: a ramfs that leaves half of RAM to the programs. */
const rootfs_type: file_system_type = { name: 'rootfs', nodev: true, mount: () => limit_pages(memory_super_block(rootfs_type, RAMFS_MAGIC), Math.floor(totalram_pages() / 2)) };

/** Makes the root file system from the initial tree and registers every type that mount(2) knows. Called once, before the first task. */
export function fs_init(tree: readonly InitialEntry[]): void {
  for (const type of [sysfs_type, tmpfs_type, proc_type, devtmpfs_type, debugfs_type, tracefs_type, hostfs_type, ramfs_type]) register_filesystem(type);
  const sb = rootfs_type.mount('rootfs', '') as super_block;
  const mnt = attach(sb, 'rootfs', 0, undefined);
  set_root_path({ mnt, dentry: sb.s_root });
  populate(sb.s_root, tree);
}

/** Registers the devices without which nothing can be said or read. Messages before wait in the log. */
export function drivers_init(): void {
  chr_dev_init();
  tty_init();
  serial8250_init();
}

/** Working directory and root of the first task. */
export const init_fs = (): fs_struct => new_fs_struct(root_path());

/** Mounts a host directory (the --mount option), making the mount point. 0 or -errno. */
export function mount_host(hostPath: string, mountPoint: string, flags: number): number {
  let dir = root_path().dentry;
  for (const name of mountPoint.split('/')) if (name !== '') dir = kernelMkdir(dir, name);
  return do_new_mount({ mnt: root_path().mnt, dentry: dir }, 'hostfs', hostPath, flags, '');
}
