/**
 * sysfs: /sys, a tree of directories for objects and files for their attributes.
 *
 * Linux: fs/sysfs/, lib/kobject.c, kernel/params.c (module/NAME/parameters), drivers/base/cpu.c
 */
import { EIO } from '../../abi/errno.ts';
import { S_IFDIR } from '../../abi/fcntl.ts';
import { kernelVariable, machine } from '../current.ts';
import { d_make_root } from './dcache.ts';
import { debugfs_remove } from './debugfs.ts';
import { kernelFile, kernelMkdir, new_inode, simple_dir_operations, textFile } from './libfs.ts';
import { get_anon_bdev } from './namespace.ts';
import { type dentry, type file_system_type, super_block } from './types.ts';

const SYSFS_MAGIC = 0x62656572;

const sysfs_sb = kernelVariable<super_block>(() => {
  const sb = new super_block(sysfs_type, get_anon_bdev(), SYSFS_MAGIC);
  sb.s_root = d_make_root(sb, new_inode(sb, S_IFDIR | 0o755, {}, simple_dir_operations));
  // where debugfs and tracefs are mounted
  for (const name of ['block', 'bus', 'class', 'dev', 'devices', 'firmware', 'fs', 'kernel', 'module', 'power']) kernelMkdir(sb.s_root, name);
  const kernel = kernelMkdir(sb.s_root, 'kernel');
  kernelMkdir(kernel, 'debug', 0o700);
  kernelMkdir(kernel, 'tracing', 0o700);
  const fs = kernelMkdir(sb.s_root, 'fs');
  kernelMkdir(fs, 'cgroup');
  const cpu = kernelMkdir(kernelMkdir(kernelMkdir(sb.s_root, 'devices'), 'system'), 'cpu');
  const cpus = machine().processors.length;
  const range = cpus === 1 ? '0' : `0-${cpus - 1}`;
  for (const name of ['online', 'possible', 'present']) kernelFile(cpu, name, 0o444, textFile(() => `${range}\n`));
  kernelFile(cpu, 'offline', 0o444, textFile(() => '\n'));
  kernelFile(cpu, 'kernel_max', 0o444, textFile(() => '15\n'));
  for (let i = 0; i < cpus; i++) {
    const topology = kernelMkdir(kernelMkdir(cpu, `cpu${i}`), 'topology');
    kernelFile(topology, 'core_id', 0o444, textFile(() => `${i}\n`));
    kernelFile(topology, 'physical_package_id', 0o444, textFile(() => '0\n'));
    kernelFile(topology, 'thread_siblings_list', 0o444, textFile(() => `${i}\n`));
  }
  return sb;
});

export const sysfs_type: file_system_type = { name: 'sysfs', nodev: true, mount: () => sysfs_sb() };

/** A directory by its path below /sys, made as needed. */
export const sysfs_dir = (path: string): dentry => path.split('/').filter((name) => name !== '').reduce((dir, name) => kernelMkdir(dir, name), sysfs_sb().s_root);

/** An attribute file. `store` gets what one write carried, and answers 0 or -errno. */
export function sysfs_create_file(dir: dentry, name: string, mode: number, show?: () => string, store?: (text: string) => number): dentry {
  return kernelFile(dir, name, mode, textFile(show ?? (() => -EIO), store ?? (() => -EIO)));
}

/** Takes a directory and all below it away. */
export const sysfs_remove = (entry: dentry): void => debugfs_remove(entry);
