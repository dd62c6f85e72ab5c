/**
 * devtmpfs: the one tree of device nodes, kept by the kernel, mounted on /dev.
 *
 * Linux: drivers/base/devtmpfs.c
 */
import { kernelVariable } from '../current.ts';
import { d_drop } from './dcache.ts';
import { kernelEntry, kernelMkdir, new_inode } from './libfs.ts';
import { type InitialEntry, TMPFS_MAGIC, memory_super_block, populate } from './ramfs.ts';
import type { dentry, file_system_type, super_block } from './types.ts';

export const devtmpfs_type: file_system_type = { name: 'devtmpfs', nodev: true, mount: () => devtmpfs_sb() };

/** All mounts show the same super block, and it outlives them. */
const devtmpfs_sb = kernelVariable<super_block>(() => {
  const sb = memory_super_block(devtmpfs_type, TMPFS_MAGIC);
  populate(sb.s_root, STANDARD_LINKS);
  return sb;
});

/** Names that every Linux system has; there udev makes them. */
const STANDARD_LINKS: readonly InitialEntry[] = [
  { path: 'fd', target: '/proc/self/fd' }, { path: 'stdin', target: '/proc/self/fd/0' }, { path: 'stdout', target: '/proc/self/fd/1' }, { path: 'stderr', target: '/proc/self/fd/2' },
];

/** The directory and last name of a node's path ("kvm", "net/tun"). */
function place(name: string): { dir: dentry; last: string } {
  const names = name.split('/');
  const last = names.pop()!;
  return { dir: names.reduce((dir, part) => kernelMkdir(dir, part), devtmpfs_sb().s_root), last };
}

export function devtmpfs_create(name: string, mode: number, dev: number): void {
  const { dir, last } = place(name);
  const node = new_inode(dir.d_sb, mode, {}, {});
  node.i_rdev = dev;
  kernelEntry(dir, last, node);
}

export function devtmpfs_remove(name: string): void {
  const { dir, last } = place(name);
  const found = dir.d_subdirs?.get(last);
  if (found !== undefined) d_drop(found);
}
